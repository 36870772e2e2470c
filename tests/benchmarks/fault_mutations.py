"""How a sound file becomes a damaged one: bytes as disks, networks and programs spoil them, and values as people do."""

import csv
import io
import json
import random
from collections.abc import Callable
from typing import Any

HEAD = 2048  # bytes at either end that are hit more often: headers and indices
WEIRD = (
    None, True, -1, 0, 0.5, 1e308, -1e308, float("nan"), float("inf"), 2**63, 2**70, "", "text", "ä\u0000\u001b[31m",
    [], {}, [[]], [1, 2, 3], {"a": 1}, "9" * 5000, [0] * 1000,
)  # fmt: skip


def place(data: bytearray, rng: random.Random, length: int = 1) -> int:
    """Where to hit: half the time near an end."""
    last = max(0, len(data) - length)
    near = min(HEAD, last)
    return rng.choice(
        (rng.randint(0, last), rng.randint(0, last), rng.randint(0, near), rng.randint(last - near, last))
    )


def flip(data: bytearray, rng: random.Random) -> None:
    for _ in range(rng.choice((1, 1, 1, 2, 8, 64))):
        data[place(data, rng)] ^= 1 << rng.randrange(8)


def overwrite(data: bytearray, rng: random.Random) -> None:
    run = rng.choice((1, 2, 4, 8, 64, 512))
    start = place(data, rng, run)
    data[start : start + run] = rng.randbytes(min(run, len(data) - start))


def blank(data: bytearray, rng: random.Random) -> None:
    """A block that a file system lost: zeros, or ones."""
    run = rng.choice((8, 64, 512, 4096))
    start = place(data, rng, run) // 8 * 8
    run = min(run, len(data) - start)
    data[start : start + run] = bytes([rng.choice((0, 0, 255))]) * run


def cut(data: bytearray, rng: random.Random) -> None:
    del data[rng.choice((rng.randint(0, len(data) - 1), max(0, len(data) - rng.randint(1, 64)), rng.randint(0, 16))) :]


def take_out(data: bytearray, rng: random.Random) -> None:
    start = place(data, rng)
    del data[start : start + rng.choice((1, 8, 512))]


def double(data: bytearray, rng: random.Random) -> None:
    """A piece twice."""
    run = rng.choice((1, 16, 512, len(data)))
    start = place(data, rng, run)
    data[start:start] = data[start : start + run]


def splice(data: bytearray, rng: random.Random) -> None:
    """A piece from elsewhere in the file in the place of another."""
    run = rng.choice((8, 64, 512, 4096))
    start, other = place(data, rng, run), place(data, rng, run)
    data[start : start + run] = data[other : other + run]


BYTES: tuple[Callable[[bytearray, random.Random], None], ...] = (
    flip, flip, overwrite, blank, cut, take_out, double, splice,
)  # fmt: skip


def spoil_bytes(data: bytes, rng: random.Random) -> tuple[str, bytes]:
    """The name of what was done, and the result."""
    way, spoilt = rng.choice(BYTES), bytearray(data)
    way(spoilt, rng)
    return way.__name__, bytes(spoilt)


def spoil_json(data: bytes, rng: random.Random) -> tuple[str, bytes]:
    """One or two values become others, are missing or there twice, or lie 3,000 deep. A third: bytes."""
    if rng.random() < 0.34:
        return spoil_bytes(data, rng)
    content = json.loads(data)
    for _ in range(rng.choice((1, 1, 2))):
        spots: list[tuple[Any, Any]] = []
        collect(content, spots, rng)
        if not spots:
            break
        holder, key = rng.choice(spots)
        way = rng.choice(("value", "value", "value", "missing", "twice", "key"))
        if way == "value":
            holder[key] = rng.choice(WEIRD)
        elif way == "missing":
            del holder[key]
        elif isinstance(holder, list):
            holder.insert(rng.randint(0, len(holder)), holder[key])
        else:
            holder[str(rng.choice(WEIRD))] = holder.pop(key)
    text = json.dumps(content)
    if rng.random() < 0.03:
        text = text.replace(":", ": " + "[" * 3000 + "]" * 3000 + ', "x":', 1)
    return "values", text.encode()


def collect(content: Any, spots: list[tuple[Any, Any]], rng: random.Random, most: int = 12) -> None:
    """Every value of an object, and some of a list, by what holds it."""
    keys = list(content) if isinstance(content, dict) else range(len(content)) if isinstance(content, list) else ()
    for key in keys if len(keys) <= most else rng.sample(list(keys), most):
        spots.append((content, key))
        collect(content[key], spots, rng, most)


def spoil_csv(data: bytes, rng: random.Random) -> tuple[str, bytes]:
    if rng.random() < 0.34:
        return spoil_bytes(data, rng)
    rows = list(csv.reader(io.StringIO(data.decode())))
    row = rng.choice(rows)
    row[rng.randrange(len(row))] = str(rng.choice(WEIRD))
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return "values", text.getvalue().encode()


def spoil_npz(data: bytes, rng: random.Random) -> tuple[str, bytes]:
    """One array becomes another. Half: bytes."""
    import numpy as np

    if rng.random() < 0.5:
        return spoil_bytes(data, rng)
    with np.load(io.BytesIO(data), allow_pickle=True) as archive:
        arrays = {name: archive[name] for name in archive.files}
    name = rng.choice(list(arrays))
    value = arrays[name]
    ways = (
        lambda: value[:-1] if value.ndim else value,
        lambda: value.reshape(-1),
        lambda: value.astype(str),
        lambda: value[None],
        lambda: np.full(value.shape, np.nan),
        lambda: np.full(value.shape, 1e308),
        lambda: np.zeros(0),
        lambda: value.astype(object),
        lambda: np.full(value.shape, 2**62),
        lambda: value.astype("c16") if value.dtype.kind in "if" else value,
    )
    arrays[name] = rng.choice(ways)()
    if rng.random() < 0.1:
        del arrays[name]
    held = io.BytesIO()
    np.savez(held, **arrays)
    return "arrays", held.getvalue()


SPOIL = {".json": spoil_json, ".csv": spoil_csv, ".npz": spoil_npz}


def spoil(suffix: str, data: bytes, rng: random.Random) -> tuple[str, bytes]:
    """Never the same bytes, and never none from some."""
    while True:
        way, spoilt = SPOIL.get(suffix, spoil_bytes)(data, rng)
        if spoilt != data:
            return way, spoilt
