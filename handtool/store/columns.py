"""One array as one dataset, and back: chunked with fletcher32, or contiguous; always with a crc32 attribute.

The crc32 is needed because fletcher32 cannot tell 0x0000 from 0xFFFF, and because a contiguous dataset has no filter.
"""

import zlib
from typing import Any

import h5py
import numpy as np

from handtool.errors import DamagedFile, first_line
from handtool.store.schema import ENUMS, Column
from handtool.store.text import decode_all, encode, encode_all

CHUNK_BYTES = 65536


def storage_dtype(column: Column) -> np.dtype:
    """The HDF5 type of a column. Not for "utf8": there the data decide the fixed length."""
    if column.dtype in ENUMS:
        return h5py.enum_dtype(ENUMS[column.dtype], basetype="i1")
    return np.dtype("bool" if column.dtype == "bool" else "<" + column.dtype)


def to_storage(column: Column, values: Any) -> np.ndarray:
    """The values as the array that is written. Asserts that their shape is the schema's."""
    if column.dtype == "utf8":
        return encode_all(values)
    array = np.ascontiguousarray(np.asarray(values), dtype=storage_dtype(column))
    assert array.ndim == 1 + len(column.shape), f"{column.path}: {array.shape}"
    for have, want in zip(array.shape[1:], column.shape):
        assert want is None or have == want, f"{column.path}: {array.shape} is not (n, {column.shape})"
    return array


def from_storage(column: Column, values: np.ndarray) -> np.ndarray:
    if column.dtype == "utf8":
        return decode_all(values)
    return values.astype(np.int8) if column.dtype in ENUMS else values


def crc32(array: np.ndarray, start: int = 0) -> int:
    return zlib.crc32(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data, start) if array.size else start


def create_chunked(
    group: h5py.Group, name: str, dtype: np.dtype, shape: tuple[int, ...], growing: bool
) -> h5py.Dataset:
    row_bytes = max(1, int(np.prod(shape[1:], dtype=np.int64)) * dtype.itemsize)
    rows = max(1, CHUNK_BYTES // row_bytes)
    if not growing:
        rows = max(1, min(rows, shape[0]))
    largest, chunks = (None if growing else shape[0], *shape[1:]), (rows, *(max(1, n) for n in shape[1:]))
    return group.create_dataset(name, shape, dtype, maxshape=largest, chunks=chunks, fletcher32=True)


def write_array(
    group: h5py.Group, name: str, array: np.ndarray, unit: str | None = None, contiguous: bool = False
) -> int:
    """Writes a whole dataset and returns its crc32. A scalar becomes one element with the attribute `scalar`."""
    scalar = array.ndim == 0
    array = np.ascontiguousarray(array).reshape(array.shape or (1,))
    if contiguous or array.size == 0:
        dataset = group.create_dataset(name, shape=array.shape, dtype=array.dtype)
    else:
        dataset = create_chunked(group, name, array.dtype, array.shape, growing=False)
    if array.size:
        dataset[...] = array
    return write_checksum(dataset, crc32(array), unit, scalar)


def write_checksum(dataset: h5py.Dataset, checksum: int, unit: str | None = None, scalar: bool = False) -> int:
    dataset.attrs["crc32"] = np.uint32(checksum)
    if unit is not None:
        dataset.attrs["unit"] = encode(unit)
    if scalar:
        dataset.attrs["scalar"] = np.True_
    return checksum


def read_array(dataset: h5py.Dataset, path: object) -> np.ndarray:
    """The whole dataset, its crc32 verified. Errors: DamagedFile."""
    try:
        array = dataset[...]
    except (OSError, RuntimeError) as error:
        raise DamagedFile(
            f"{path}: {dataset.name} cannot be read ({first_line(error)})", hint=f"handtool check --deep {path}"
        ) from error
    verify(crc32(array), dataset, path)
    return array[0] if dataset.attrs.get("scalar", False) else array


def verify(checksum: int, dataset: h5py.Dataset, path: object) -> None:
    if int(dataset.attrs.get("crc32", -1)) != checksum:
        raise DamagedFile(f"{path}: {dataset.name} does not match its checksum", hint=f"handtool check --deep {path}")
