"""The JPEG bytes of crops: one contiguous column, each crop read by itself and verified by its crc32.

There is no memory map: where a file is overwritten in place, that would end the process (SIGBUS) instead of a read.
"""

import json
import os
import zlib
from typing import BinaryIO

import numpy as np

from handtool.errors import DamagedFile, HandtoolError
from handtool.store.disk import linked_path
from handtool.store.file import File, find_moved, open_file, plain_attrs, read_column
from handtool.store.schema import CROPS


class Jpegs:
    """`len(jpegs)`, `jpegs[i]` -> bytes. Can be pickled: a worker process opens the files itself on first use.

    Row i is in `files[which[i]]` (path, and the byte where its jpeg column starts): `size[i]` bytes from `start[i]`.
    """

    def __init__(
        self,
        files: list[tuple[str, int]],
        which: np.ndarray | None,
        start: np.ndarray,
        size: np.ndarray,
        crc: np.ndarray,
    ) -> None:
        self.files, self.which = files, which
        self.start, self.size, self.crc = start, size, crc
        self.opened: dict[int, BinaryIO] = {}

    def __len__(self) -> int:
        return len(self.size)

    def __getstate__(self) -> dict:
        return {**self.__dict__, "opened": {}}

    def __del__(self) -> None:
        for file in self.opened.values():
            file.close()

    def __getitem__(self, row: int) -> bytes:
        """The JPEG of one hand. Errors: DamagedFile when it does not match its crc32."""
        number = self.file_of(row)
        begin = self.files[number][1] + int(self.start[row])
        data = self.read(number, begin, int(self.size[row]))
        if zlib.crc32(data) != self.crc[row]:
            path = self.files[number][0]
            raise DamagedFile(
                f"{path}: the crop in row {row} does not match its checksum", hint=f"handtool check --deep {path}"
            )
        return data

    def file_of(self, row: int) -> int:
        return 0 if self.which is None else int(self.which[row])

    def read(self, number: int, begin: int, size: int) -> bytes:
        """Fewer bytes where the file ends before. Processes and threads may share the open file."""
        path = self.files[number][0]
        try:
            if number not in self.opened:
                self.opened[number] = open(path, "rb", buffering=0)
            return os.pread(self.opened[number].fileno(), size, begin)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise HandtoolError(f"{path} cannot be read any more: {reason}", hint=f"ls -l {path}") from None


def open_jpegs(file: File) -> Jpegs:
    """The crops of a file. Errors: HandtoolError (no crops, a linked file gone), DamagedFile."""
    file.need(CROPS, hint="handtool extract VIDEOS -o crops.h5")
    owner = file.owner("crops")
    offset = read_column(file, CROPS.jpeg_offset)
    size, crc = np.diff(offset), read_column(file, CROPS.jpeg_crc32)
    if not file.has(CROPS.jpeg_file):
        files = [(str(owner.path.absolute()), column_start(owner, int(offset[-1])))]
        check_offsets(owner, offset, owner.h5["crops/jpeg"].shape[0])
        return Jpegs(files, None, offset[:-1], size, crc)
    check_offsets(owner, offset, None)
    which, start = read_column(file, CROPS.jpeg_file), read_column(file, CROPS.jpeg_start)
    files, ends = open_jpeg_files(owner)
    if len(which) and (
        which.min() < 0 or which.max() >= len(files) or start.min() < 0 or ((start + size) > ends[which]).any()
    ):
        raise DamagedFile(f"{owner.path}: /crops/jpeg_file points outside the files it names")
    return Jpegs(files, which, start, size, crc)


def open_jpeg_files(owner: File) -> tuple[list[tuple[str, int]], np.ndarray]:
    """The k files with the images of a `cat --link`, uuids verified: [(path, first byte)], column lengths (k,)."""
    files, ends = [], []
    for entry in read_jpeg_files(owner):
        path = find_moved(entry["uuid"]) or linked_path(owner.path, entry["file"])
        if not path.exists():
            hint = f"put it back, or name where it is now: --linked FILE (it has uuid {entry['uuid']})"
            raise HandtoolError(f"{owner.path} keeps its crops in {path}, which is not there", hint=hint)
        with open_file(path, trusted=owner.trusted) as shard:
            if shard.uuid != entry["uuid"]:
                raise HandtoolError(
                    f"{owner.path} was made with {path} {entry['uuid']}, found {shard.uuid}",
                    hint="join again: handtool cat",
                )
            length = shard.h5["crops/jpeg"].shape[0]
            files.append((str(path), column_start(shard, length)))
            ends.append(length)
    return files, np.array(ends, dtype=np.int64)


def read_jpeg_files(owner: File) -> list[dict]:
    """[{"file", "uuid"}]. Errors: DamagedFile."""
    try:
        entries = json.loads(plain_attrs(owner.h5["crops"])["jpeg_files"])
        return [{"file": str(entry["file"]), "uuid": str(entry["uuid"])} for entry in entries]
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedFile(f"{owner.path}: /crops does not say in which files its images are (jpeg_files)") from error


def column_start(owner: File, length: int) -> int:
    """The byte of the file at which /crops/jpeg begins; 0 for an empty column."""
    start = owner.h5["crops/jpeg"].id.get_offset()
    if start is None and length:
        raise DamagedFile(f"{owner.path}: /crops/jpeg is not contiguous")
    return start or 0


def check_offsets(owner: File, offset: np.ndarray, length: int | None) -> None:
    good = len(offset) and offset[0] == 0 and (np.diff(offset) >= 0).all() and length in (None, int(offset[-1]))
    if not good:
        raise DamagedFile(
            f"{owner.path}: /crops/jpeg_offset does not fit /crops/jpeg", hint=f"handtool check --deep {owner.path}"
        )
