"""Reading: a checked, read-only file, and the tables that it owns or links to."""

import contextlib
import json
import os
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from handtool.errors import DamagedFile, HandtoolError, first_line
from handtool.store.columns import crc32, from_storage, read_array, verify
from handtool.store.disk import linked_path
from handtool.store.gatekeeper import ensure_sound, identity
from handtool.store.provenance import read_chain
from handtool.store.schema import CROPS, ROW_TABLES, TABLES, VIDEOS, Column, Table
from handtool.store.text import decode

opened_as: dict[Path, tuple] = {}  # what the files of this process were like when they were opened
relocated: list[Path] = []  # new places of moved files (--linked FILE), which are recognised by their uuid


class File:
    """An open file, made by `open_file`; a context manager. `carried`: it came by pipe and has no lasting path."""

    def __init__(self, path: Path, carried: bool = False, trusted: bool = False) -> None:
        self.path = path
        self.carried = carried
        if not trusted:
            ensure_sound(path)
        opened_as[path.absolute()] = identity(path)
        try:
            self.h5 = h5py.File(path, "r", locking=False)
        except OSError as error:
            raise DamagedFile(f"{path} is damaged ({first_line(error)})", hint="make it again") from error
        self.uuid = decode(self.h5.attrs["uuid"])
        self.links: dict[str, dict] = json.loads(decode(self.h5.attrs.get("links", "{}")))
        self.trusted = trusted
        self.opened: dict[str, File] = {}
        self.verified: set[str] = set()  # columns that were read whole and matched their crc32

    def __enter__(self) -> "File":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        for other in self.opened.values():
            other.close()
        self.opened.clear()
        self.h5.close()

    @property
    def tables(self) -> list[str]:
        """Names of all tables, own and linked, in the schema's order."""
        return [name for name in TABLES if self.has(name)]

    def owns(self, name: str) -> bool:
        return name not in self.links and name in self.h5

    def has(self, what: Table | Column | str) -> bool:
        if isinstance(what, Column):
            return self.has(TABLES[what.table]) and what.name in self.owner(what.table).h5[what.table]
        name = what if isinstance(what, str) else what.group
        return name in self.links or name in self.h5

    def need(self, table: Table | str, hint: str | None = None) -> None:
        name = table if isinstance(table, str) else table.group
        if not self.has(name):
            raise HandtoolError(f"{self.path} has no /{name}", hint=hint.format(path=self.path) if hint else None)

    def count(self, table: Table) -> int:
        """Number of rows: hands, videos, pairs, steps or hands on frames."""
        column = next(c for c in table.columns if c.length in ("N", "V", "M", "T", "H"))
        return dataset_of(self, PAIRS_ANCHOR if table.group == "pairs" else column).shape[0]

    def owner(self, name: str) -> "File":
        """The file that holds the table, opened and with its uuid verified. Errors: HandtoolError, DamagedFile."""
        if name not in self.links:
            return self
        link = self.links[name]
        if link["uuid"] not in self.opened:
            self.opened[link["uuid"]] = self.open_linked(name, link)
        return self.opened[link["uuid"]]

    def open_linked(self, name: str, link: dict) -> "File":
        path = find_moved(link["uuid"]) or self.place_of(name)
        if not path.exists():
            hint = f"put it back, or name where it is now: --linked FILE (it has uuid {link['uuid']})"
            if self.carried:
                hint = "the links of a file hold where it lies: give it by name, or by < FILE"
            origin = "standard input" if self.carried else self.path
            raise HandtoolError(f"{origin} links to {path} for /{name}, which is not there", hint=hint)
        other = open_file(path, trusted=self.trusted)
        if other.uuid != link["uuid"]:
            other.close()
            message = f"{self.path} was made with {path} {link['uuid']}, found {other.uuid}"
            raise HandtoolError(message, hint=f"make {self.path} again, or name the right file: --linked FILE")
        if not other.owns(name.removeprefix("pool/")):
            other.close()
            raise DamagedFile(f"{self.path} links to {path}, which has no /{name.removeprefix('pool/')} of its own")
        own, others = (None, None) if name.startswith("pool/") else (self.own_hands(), other.own_hands())
        if None not in (own, others) and own != others:
            other.close()
            raise DamagedFile(f"{self.path} has {own} hands, and {path}, which it links to, has {others}")
        return other

    def own_hands(self) -> int | None:
        """The number of hands in the tables that this file owns; None if it owns no table of hands."""
        for table in ROW_TABLES:
            if self.owns(table.group):
                return self.count(table)
        return self.h5["pairs/anchor_offset"].shape[0] - 1 if self.owns("pairs") else None

    def linked_paths(self) -> list[Path]:
        """Paths of the files with the linked tables. Whether they exist is not checked."""
        return [self.place_of(name) for name in self.links]

    def place_of(self, name: str) -> Path:
        """Path of the file with a linked table, as the link has it."""
        return linked_path(self.path, self.links[name]["file"])

    @cached_property
    def pool(self) -> "File | None":
        """The hands that `pairs/positive` counts, if they were mined in another file; else None."""
        owner = self.owner("pairs") if self.has("pairs") else self
        return Pool(owner) if "pool" in owner.h5 else None

    @cached_property
    def provenance(self) -> list[dict]:
        """The steps that made this file, oldest first."""
        return read_chain(self.h5, self.path)

    @property
    def report(self) -> dict:
        return self.provenance[-1].get("report", {}) if self.provenance else {}


class Pool(File):
    """The group /pool of a file, read like a file: links to tables of other files, or tables that came by pipe."""

    def __init__(self, anchors: File) -> None:
        self.path, self.carried, self.trusted, self.uuid = anchors.path, anchors.carried, anchors.trusted, anchors.uuid
        self.h5 = anchors.h5["pool"]
        pooled = [name for name in anchors.links if name.startswith("pool/")]
        self.links = {name.removeprefix("pool/"): anchors.links[name] for name in pooled}
        self.opened = anchors.opened


PAIRS_ANCHOR = TABLES["pairs"].anchor


def find_changed() -> Path | None:
    """A file that was overwritten in place since it was opened: the same file, of another size or time."""
    for path, before in opened_as.items():
        with contextlib.suppress(OSError):
            now = identity(path)
            if now != before and now[:2] == before[:2]:
                return path
    return None


def find_moved(uuid: str) -> Path | None:
    """The path of the file with that uuid, if the user named it (--linked)."""
    for path in relocated:
        with open_file(path) as candidate:
            if candidate.uuid == uuid:
                return path.absolute()
    return None


def open_file(path: Path | str, carried: bool = False, trusted: bool = False) -> File:
    """Opens a handtool file. A child process checks it first, unless `trusted`: another process of this run did.

    Errors: HandtoolError (no such file), DamagedFile (not HDF5, not ours, damaged, hostile, newer).
    """
    path = Path(path)
    if not path.exists():
        raise HandtoolError(f"{path} does not exist", hint=f"ls {path.parent}")
    if path.is_dir():
        raise HandtoolError(f"{path} is a folder, not a handtool file", hint=f"handtool extract {path} -o crops.h5")
    if not path.is_file():
        raise HandtoolError(
            f"{path} is no regular file, and HDF5 cannot be read from a stream",
            hint="give it by standard input: … | handtool …",
        )
    if not os.access(path, os.R_OK):
        raise HandtoolError(f"{path} cannot be read: permission denied", hint=f"ls -l {path}")
    return File(path, carried, trusted)


def dataset_of(file: File, column: Column) -> h5py.Dataset:
    owner = file.owner(column.table)
    if column.table not in owner.h5 or column.name not in owner.h5[column.table]:
        raise HandtoolError(f"{file.path} has no /{column.path}")
    return owner.h5[column.table][column.name]


def read_column(file: File, column: Column, rows: slice | np.ndarray | None = None) -> np.ndarray:
    """A whole column (its crc32 verified), or some rows of it in the given order.

    "utf8" gives (n,) str objects, enums int8. Errors: HandtoolError (no such column), DamagedFile.
    """
    dataset = dataset_of(file, column)
    path = file.owner(column.table).path
    if rows is None:
        return check_numbers(file, column, from_storage(column, read_array(dataset, path)))
    try:
        values = from_storage(column, dataset[rows] if isinstance(rows, slice) else pick(dataset, np.asarray(rows)))
        return check_numbers(file, column, values)
    except (OSError, RuntimeError) as error:
        raise DamagedFile(
            f"{path}: {dataset.name} cannot be read ({first_line(error)})", hint=f"handtool check --deep {path}"
        ) from error


def check_numbers(file: File, column: Column, values: np.ndarray) -> np.ndarray:
    """The values again, after a check that row numbers of videos and hands exist. Errors: DamagedFile."""
    if column.path not in ("crops/video", "truth/video", "pairs/anchor", "pairs/positive") or not len(values):
        return values
    if column.name == "video":
        rows, what = file.count(VIDEOS), "videos"
    else:
        rows, what = dataset_of(file, TABLES["pairs"].anchor_offset).shape[0] - 1, "hands"
    if column.path == "pairs/positive" and file.pool:
        rows, what = file.pool.count(CROPS), "hands of its pool"
    if values.min() < 0 or values.max() >= rows:
        raise DamagedFile(f"{file.owner(column.table).path}: /{column.path} points outside the {rows} {what}")
    return values


def pick(dataset: h5py.Dataset, rows: np.ndarray) -> np.ndarray:
    """Rows by number, in any order, also repeated. One contiguous read, cut by numpy, is 100 times faster for many."""
    if rows.dtype == bool:
        rows = np.flatnonzero(rows)
    if rows.size == 0:
        return dataset[:0]
    low, high = int(rows.min()), int(rows.max()) + 1
    if (high - low) < 64 * rows.size:
        return dataset[low:high][rows - low]
    unique, inverse = np.unique(rows, return_inverse=True)
    return dataset[unique][inverse]


def read_blocks(file: File, column: Column, size: int = 65536) -> Iterator[tuple[int, np.ndarray]]:
    """Yields (first row, array) in blocks of about `size` rows; the first complete pass verifies the crc32."""
    dataset, verified = dataset_of(file, column), file.owner(column.table).verified
    if dataset.chunks and dataset.chunks[0] <= size:
        size -= size % dataset.chunks[0]  # whole chunks, so that none is read twice
    path = file.owner(column.table).path
    checksum = 0
    for start in range(0, dataset.shape[0], size):
        try:
            block = dataset[start : start + size]
        except (OSError, RuntimeError) as error:
            raise DamagedFile(
                f"{path}: {dataset.name} cannot be read ({first_line(error)})", hint=f"handtool check --deep {path}"
            ) from error
        if column.path not in verified:
            checksum = crc32(block, checksum)
        yield start, from_storage(column, block)
    if column.path not in verified:
        verify(checksum, dataset, path)
        verified.add(column.path)


def read_attrs(file: File, table: Table | str) -> dict:
    """The attributes of a table: numbers, strings, small arrays."""
    name = table if isinstance(table, str) else table.group
    owner = file.owner(name)
    if name not in owner.h5:
        raise HandtoolError(f"{file.path} has no /{name}")
    return plain_attrs(owner.h5[name])


def plain_attrs(item: h5py.Group) -> dict:
    return {key: plain_attr(value) for key, value in item.attrs.items()}


def plain_attr(value: Any) -> Any:
    return decode(value) if isinstance(value, bytes) else value.item() if isinstance(value, np.generic) else value


def video_names(file: File) -> list[str]:
    return read_column(file, VIDEOS.name).tolist()
