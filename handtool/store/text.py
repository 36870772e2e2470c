"""Fixed-length UTF-8 strings: damaged variable-length strings of HDF5 read back wrong without an error."""

import json
from collections.abc import Mapping

import h5py
import numpy as np


def encode(text: str) -> np.ndarray:
    """One string as a zero-dimensional fixed-length array, for an attribute."""
    data = text.encode("utf-8", "replace")  # file names can hold bytes other than UTF-8
    assert b"\0" not in data, "NUL pads fixed-length strings, so it cannot be part of one"
    return np.array(data, dtype=h5py.string_dtype("utf-8", max(1, len(data))))


def encode_all(texts: list[str] | np.ndarray) -> np.ndarray:
    """(n,) strings as one fixed-length column, as wide as the longest."""
    data = [str(text).replace("\0", "").encode("utf-8", "replace") for text in texts]
    width = max([1, *map(len, data)])
    return np.array(data, dtype=h5py.string_dtype("utf-8", width))


def write_attrs(group: h5py.Group, attrs: Mapping[str, object]) -> None:
    for key, value in attrs.items():
        if value is not None:
            group.attrs[key] = encode(value) if isinstance(value, str) else np.asarray(value)


def decode(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def decode_all(values: np.ndarray) -> np.ndarray:
    """(n,) fixed-length bytes -> (n,) str objects."""
    return np.array([value.decode("utf-8", "replace") for value in values.tolist()], dtype=object)


def json_bytes(value: object) -> np.ndarray:
    """A value as JSON in a u1 array, which has no length limit and has a checksum."""
    text = json.dumps(value, ensure_ascii=False, default=plain)
    return np.frombuffer(text.encode("utf-8", "replace"), dtype=np.uint8)


def from_json_bytes(data: np.ndarray) -> object:
    return json.loads(data.tobytes().decode("utf-8"))


def plain(value: object) -> object:
    """numpy scalars and arrays, paths and so on as types of JSON."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, (set, frozenset, tuple)):
        return list(value)
    return str(value)
