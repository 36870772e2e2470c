"""Files, reports and pictures, held against each other."""

from pathlib import Path

import numpy as np
from footage import tables_of

from handtool import store
from handtool.store import TABLES
from handtool.synth.tracing import FAR
from handtool.synth.world import pictures


def all_tables_of(path) -> dict[str, np.ndarray]:
    """Every column that a file owns or links to, crops as bytes."""
    with store.open_file(path) as file:
        names = [c for name in file.tables for c in TABLES[name].columns if file.has(c) and c.name != "seconds"]
        return {c.path: store.read_column(file, c) for c in names}


def assert_same_tables(one, other) -> None:
    first, second = all_tables_of(one), all_tables_of(other)
    assert first.keys() == second.keys()
    for path, values in first.items():
        assert np.array_equal(values, second[path], equal_nan=values.dtype.kind == "f"), path


def assert_same_bytes(path: Path, other: Path) -> None:
    mine, theirs = tables_of(path), tables_of(other)
    assert mine.keys() == theirs.keys()
    for name in mine:
        assert mine[name].dtype == theirs[name].dtype
        np.testing.assert_array_equal(mine[name], theirs[name], err_msg=name)


def reasons(report: dict, what: str) -> dict:
    (one,) = [item for item in report["accounting"] if item["what"] == what]
    assert one["in"] == one["done"] + sum(one["skipped"].values()) + sum(one["failed"].values())
    return one


def compare_pictures(scene, cameras, width, height, device="cpu"):
    """Shares of pixels that differ by more than 4 grey levels, and whose depth differs by more than half a pixel's
    width there."""
    numpy_made, torch_made = (list(pictures(scene, cameras, width, height, where)) for where in (None, device))
    image, depth = (np.stack([made[k] for made in numpy_made]) for k in (0, 1))
    other_image, other_depth = (np.stack([made[k] for made in torch_made]) for k in (0, 1))
    assert other_image.dtype == np.float32 and (depth < FAR).any()
    half_pixel = 0.5 * np.minimum(depth, other_depth) / cameras[:, :1, :1]
    return (np.abs(image - other_image).max(-1) > 4).mean(), (np.abs(depth - other_depth) > half_pixel).mean()
