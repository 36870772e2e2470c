"""numpy's .npz archives from elsewhere: numbers and texts, no objects, and no more of them than the archive holds."""

import math
import zipfile
from collections.abc import Collection
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from handtool.archives import open_zip
from handtool.errors import DamagedFile

HINT = "np.savez(path, name=array, …), no object arrays"


def read_npz(path: Path, names: Collection[str] | None = None) -> dict[str, np.ndarray]:
    """The arrays, or those of `names` that are there. Raises HandtoolError where there is no such file, DamagedFile
    where it is damaged, a zip bomb, or holds objects."""
    with open_zip(path, HINT) as archive:
        there = {member.filename.removesuffix(".npy"): member for member in archive.infolist()}
        wanted = [name for name in there if names is None or name in names]
        try:
            return {name: read_member(archive, there[name]) for name in wanted}
        except ValueError as error:
            raise DamagedFile(f"{path} cannot be read: {str(error).splitlines()[0]}", HINT) from None


def read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    """Raises ValueError."""
    with archive.open(member) as file:
        version = npy.read_magic(file)
        read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, is_fortran, dtype = read_header(file)
        if dtype.hasobject:
            raise ValueError(f"{member.filename} holds objects")
        size = math.prod(shape) * dtype.itemsize
        if min(shape, default=0) < 0 or size != member.file_size - file.tell():
            raise ValueError(f"{member.filename} says that it has the shape {shape}, and holds another number of bytes")
        data = bytearray(file.read())  # the file's end, so its crc32 is verified; writable
    array = np.frombuffer(data, dtype) if size else np.empty(0, dtype)
    return array.reshape(shape, order="F" if is_fortran else "C")
