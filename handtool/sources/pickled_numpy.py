"""The classes that a pickle may name, and how they are built: numpy's arrays, scalars, dtypes, and some containers.

numpy pickles an array as `_reconstruct(ndarray, (0,), b"b")` followed by a state (version, shape, dtype, is it
Fortran's order, bytes); a dtype as `dtype("f8", False, True)` followed by (version, byte order, …). Both are checked
and built here, from a type code and bytes whose number fits the shape; numpy's own `__setstate__` is not asked.
"""

import math
import re
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np

TYPE_CODE = re.compile(r"[?]|[biufcSUO]\d{1,6}|[biufcSU]")
MOST_AXES = 16
CORE = ("numpy.core.multiarray", "numpy._core.multiarray")
NUMERIC = ("numpy.core.numeric", "numpy._core.numeric")
BUILTINS = ("builtins", "__builtin__")
KNOWN = {
    ("numpy", "ndarray"): "ndarray",
    ("numpy", "dtype"): "dtype",
    ("_codecs", "encode"): "encode",
    ("collections", "OrderedDict"): "dict",
    **{(module, "_reconstruct"): "array" for module in CORE},
    **{(module, "scalar"): "scalar" for module in CORE},
    **{(module, "_frombuffer"): "frombuffer" for module in NUMERIC},
    **{(module, name): name for module in BUILTINS for name in ("set", "frozenset", "bytes", "complex")},
}


class Broken(Exception):
    """The pickle is damaged, or of a kind that numpy does not write; the message says what is wrong."""


class Name(NamedTuple):
    module: str
    attribute: str


@dataclass(eq=False)
class Unfinished:
    """An array ("array") or a dtype (its code) that has no state yet. slots: of the machine's memory that hold it."""

    kind: str
    slots: list[int] = field(default_factory=list)


def call(function: Name, arguments: tuple) -> object:
    """What a known name makes of its arguments. Raises Broken, TypeError or ValueError where they do not fit."""
    match KNOWN[function], arguments:
        case "array", (Name("numpy", "ndarray"), _, _):
            return Unfinished("array")
        case "dtype", (str() as code, *_) if TYPE_CODE.fullmatch(code):
            return Unfinished(code)
        case "scalar", (np.dtype() as dtype, raw):
            return make_array((), dtype, raw, False)[()]
        case "frombuffer", (raw, np.dtype() as dtype, tuple() as shape, str() as order):
            return make_array(shape, dtype, raw, order == "F")
        case "encode", (str() as text, "latin1" | "latin-1"):
            return text.encode("latin-1")
        case "bytes", ():
            return b""
        case "complex", (float() | int() as real, float() | int() as imaginary):
            return complex(real, imaginary)
        case "set" | "frozenset" as kind, (list() as values,) if all(
            isinstance(value, str | bytes | int | float) for value in values
        ):
            return (set if kind == "set" else frozenset)(values)
        case "dict", ():
            return {}
        case "dict", (list() as pairs,) if all(
            isinstance(pair, list | tuple) and isinstance(pair[0], str) for pair in pairs
        ):
            return {name: value for name, value in pairs}
    raise Broken(f"it calls {function.module}.{function.attribute} in a way that is not known")


def finish(unfinished: Unfinished, state: object) -> np.ndarray | np.dtype:
    """The array or dtype with its state."""
    if unfinished.kind != "array":
        return make_dtype(unfinished.kind, state)
    match state:
        case (int(), tuple() as shape, np.dtype() as dtype, fortran, raw):
            return make_array(shape, dtype, raw, bool(fortran))
    raise Broken("an array of it has no state of numpy's")


def make_dtype(code: str, state: object) -> np.dtype:
    """code: "f8", "U5"; state: (version, byte order, subarray, names, fields, …), only the order may be set."""
    match state:
        case (_, "<" | ">" | "|" | "=" as order, None, None, None, *_):
            return np.dtype(code).newbyteorder(order)
    raise Broken(f"it has a dtype {code} with fields or of an unknown kind")


def make_array(shape: tuple, dtype: np.dtype, raw: object, fortran: bool) -> np.ndarray:
    """raw: the bytes (a latin-1 text in pickles of Python 2), or the list of an array of objects."""
    if len(shape) > MOST_AXES or not all(type(side) is int and 0 <= side < 1 << 40 for side in shape):
        raise Broken("an array of it has no shape that an array could have")
    count = math.prod(shape)
    order: Literal["F", "C"] = "F" if fortran else "C"
    if dtype.kind == "O":
        if not isinstance(raw, list) or len(raw) != count:
            raise Broken(f"an array of {count} objects in it has another number of them")
        array = np.empty(count, object)
        array[:] = raw
        return array.reshape(shape, order=order)
    data = raw.encode("latin-1") if isinstance(raw, str) else raw
    if not isinstance(data, bytes) or len(data) != count * dtype.itemsize or (count and not data):
        raise Broken(f"an array of shape {shape} and type {dtype} in it has another number of bytes")
    if not count:
        return np.empty(shape, dtype)
    return np.frombuffer(data, dtype).reshape(shape, order=order).astype(dtype.newbyteorder("="))
