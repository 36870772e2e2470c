"""HDF5 files of others: arrays of numbers and short texts, and no more of them than the file can hold.

A dataset is reached by hard links alone, so nothing outside of the file is opened; it is neither virtual nor kept in
another file, and only libhdf5's own filters may have packed it, so no plug-in is loaded. Sizes are looked at before
memory is taken. A damaged file may still crash libhdf5 or make it loop: read such files in a worker process, whose end
costs one video.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from handtool.archives import PLAIN, RATIO
from handtool.errors import DamagedFile, HandtoolError, first_line
from handtool.sources.plain_file import check_plain

SIGNATURE = b"\x89HDF\r\n\x1a\n"
FILTERS = {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32}
LARGEST = 1 << 30  # bytes that are read of one file
LARGEST_CHUNK = 64 << 20  # bytes
LARGEST_TEXT = 1 << 16  # bytes of an attribute
LONGEST_TEXT = 200  # characters that are kept


class Hdf5:
    """An open file. left: bytes that may still be read of it."""

    def __init__(self, path: Path, h5: h5py.File) -> None:
        self.path, self.h5 = path, h5
        self.left = min(LARGEST, max(PLAIN, RATIO * os.path.getsize(path)))

    def find(self, name: str) -> h5py.Dataset | None:
        """The dataset of that name (parts divided by /), None where there is none. Raises DamagedFile."""
        item: Any = self.h5
        for part in name.split("/"):
            link = item.get(part, getlink=True) if isinstance(item, h5py.Group) else None
            if link is None:
                return None
            if not isinstance(link, h5py.HardLink):
                raise DamagedFile(f"{self.path} has a link in place of {name}, which may lead out of it")
            item = item[part]
        if not isinstance(item, h5py.Dataset):
            raise DamagedFile(f"{self.path} has no table of numbers at {name}")
        return item

    def read(self, name: str, shape: tuple[int | None, ...]) -> np.ndarray | None:
        """float32, as the file has it. shape: None where a length is free. None: it is not there. Raises
        DamagedFile."""
        if (table := self.find(name)) is None:
            return None
        fits = table.shape is not None and len(table.shape) == len(shape)
        if table.dtype.kind not in "fiu" or not fits or any(n not in (None, m) for n, m in zip(shape, table.shape)):
            wanted = " x ".join("n" if n is None else str(n) for n in shape)
            raise DamagedFile(f"{self.path}: {name} is {table.dtype} {table.shape}, expected numbers, {wanted}")
        self.check_storage(name, table)
        self.left -= table.size * max(table.dtype.itemsize, 4)
        if self.left < 0:
            raise DamagedFile(f"{self.path} says that {name} has the shape {table.shape}, more than the file can hold")
        return table[()].astype(np.float32)

    def check_storage(self, name: str, table: h5py.Dataset) -> None:
        properties = table.id.get_create_plist()
        filters = {properties.get_filter(place)[0] for place in range(properties.get_nfilters())}
        if properties.get_layout() == h5py.h5d.VIRTUAL or properties.get_external_count():
            raise DamagedFile(f"{self.path} keeps {name} in another file")
        if filters - FILTERS:
            raise DamagedFile(f"{self.path} has packed {name} by a filter that is not HDF5's own")
        if table.chunks and np.prod(table.chunks, dtype=object) * table.dtype.itemsize > LARGEST_CHUNK:
            raise DamagedFile(f"{self.path}: {name} is stored in pieces of {table.chunks}, too large for a sound file")

    def text(self, name: str) -> str:
        """An attribute of the file as one short line, "" where there is none."""
        if name not in self.h5.attrs or self.h5.attrs.get_id(name).get_storage_size() > LARGEST_TEXT:
            return ""
        value = self.h5.attrs[name]
        if isinstance(value, np.ndarray) and value.size != 1:
            return ""
        value = value.item() if isinstance(value, (np.ndarray, np.generic)) else value
        raw = value if isinstance(value, bytes) else str(value).encode("utf-8", "replace")
        return " ".join(raw.decode("utf-8", "replace").replace("\0", " ").split())[:LONGEST_TEXT]


@contextmanager
def open_hdf5(path: Path) -> Iterator[Hdf5]:
    """Raises HandtoolError where there is no such file, DamagedFile where it is damaged or none of HDF5."""
    if problem := check_plain(path):
        raise HandtoolError(f"{path}: {problem}")
    with path.open("rb") as file:
        if file.read(len(SIGNATURE)) != SIGNATURE:
            raise DamagedFile(f"{path} is no HDF5 file")
    try:
        with h5py.File(path, "r", locking=False) as h5:
            yield Hdf5(path, h5)
    except HandtoolError:
        raise
    except (MemoryError, AssertionError):
        raise
    except Exception as error:  # h5py raises exceptions of many types on damaged files
        raise DamagedFile(f"{path} is damaged ({first_line(error)})") from None
