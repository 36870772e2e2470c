"""A file inside a tar, read where it lies: the bytes of the tar from `offset` on. Nothing is unpacked."""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

BUFFER = 1 << 16  # bytes that FFmpeg asks for at once; each question costs some 4 us of Python
SUFFIX = ".tar"


class Member(NamedTuple):
    """tar: its path; offset, size: bytes; name: the path of the tar, `/`, the name of the member."""

    tar: str
    offset: int
    size: int
    name: str


class MemberFile(io.RawIOBase):
    """A member as a file that can be read and sought, with the name by whose ending FFmpeg knows some formats."""

    def __init__(self, member: Member) -> None:
        self.name, self.offset, self.size, self.place = member.name, member.offset, member.size, 0
        self.disk = os.open(member.tar, os.O_RDONLY | os.O_CLOEXEC)

    def read(self, size: int = -1) -> bytes:
        left = max(0, self.size - self.place)
        block = os.pread(self.disk, left if size is None or size < 0 else min(size, left), self.offset + self.place)
        self.place += len(block)
        return block

    def readinto(self, buffer) -> int:
        block = self.read(len(buffer))
        buffer[: len(block)] = block
        return len(block)

    def seek(self, place: int, whence: int = os.SEEK_SET) -> int:
        before = {os.SEEK_SET: 0, os.SEEK_CUR: self.place, os.SEEK_END: self.size}[whence]
        if before + place < 0:
            raise ValueError("before the beginning of the member")
        self.place = before + place
        return self.place

    def tell(self) -> int:
        return self.place

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def close(self) -> None:
        if not self.closed:
            os.close(self.disk)
        super().close()


Source = Path | Member  # where a film or an image is read
BinaryFile = BinaryIO | MemberFile


def open_source(source: Source) -> BinaryFile:
    return MemberFile(source) if isinstance(source, Member) else source.open("rb")


def check_member(member: Member) -> str:
    """Why it cannot be read whole, "" where it can."""
    try:
        there = os.stat(member.tar).st_size - member.offset
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    if not member.size:
        return "empty file"
    return f"cut short: its tar holds {max(there, 0):,} of {member.size:,} bytes" if there < member.size else ""


def read_member(member: Member, largest: int) -> bytes:
    """The whole content. Raises OSError, and ValueError where it has more than `largest` bytes or is not whole."""
    if member.size > largest or check_member(member):
        raise ValueError
    with MemberFile(member) as file:
        return file.read()


@contextmanager
def open_for_ffmpeg(source: Source) -> Iterator[str | MemberFile]:
    """What FFmpeg is told to open."""
    if isinstance(source, Path):
        yield f"file:{source}"
    else:
        with MemberFile(source) as file:
            yield file


def split_path(path: str) -> tuple[str, str] | None:
    """`shards/000.tar/a/b.mp4` as the path of the tar, which is a file, and the name in it; None for any other path."""
    at = path.find(f"{SUFFIX}/")
    while at >= 0:
        tar = path[: at + len(SUFFIX)]
        if Path(tar).is_file():
            return tar, path[at + len(SUFFIX) + 1 :]
        at = path.find(f"{SUFFIX}/", at + 1)
    return None
