"""A hand as a few numbers: 42 of its 2D keypoints, then their principal axes (the published system keeps 14).

The moments are gathered block by block in float64, so that millions of hands need no more memory than one block.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from handtool.hands.canonical import canonical_joints, canonical_keypoints
from handtool.hands.palm import palm_rotation
from handtool.hands.skeleton import KNUCKLES, WRIST

SLICE = 128  # rows of a product that no BLAS shares between threads
NORMALIZATIONS = ("crop", "wrist-scale", "similarity")


def describe(xy: np.ndarray, side: np.ndarray, normalization: str, crop_size: int) -> np.ndarray:
    """The keypoints of the canonical right hand as one row each.

    xy: (n, 21, 2) px in the crop, as seen; side: (n,); crop_size: px, side of the crop.
    `crop`: shares of the crop's side, place and size kept. `wrist-scale`: wrist at 0, root mean square distance from it 1.
    `similarity`: that, turned until the direction from the wrist to the mean of the four knuckles points up.
    Returns (n, 42) float32, x before y for each joint; NaN where keypoints are missing or all in one place.
    """
    points = canonical_keypoints(np.asarray(xy), side, crop_size)
    if normalization == "crop":
        points += points.dtype.type(0.5)  # float32 stays, and in place: millions of hands are as many bytes
        points /= points.dtype.type(crop_size)
    elif normalization == "wrist-scale":
        points = _wrist_at_zero_size_one(points.astype(np.float64))
    elif normalization == "similarity":
        points = _knuckles_up(_wrist_at_zero_size_one(points.astype(np.float64)))
    else:
        raise ValueError(f"no normalization {normalization!r}; there are {', '.join(NORMALIZATIONS)}")
    return _rows_whole_or_nan(points)


def describe_joints(joints: np.ndarray, side: np.ndarray, normalization: str) -> np.ndarray:
    """The 3D joints of the canonical right hand as one row each: what a miner would look at that knew the truth.

    joints: (n, 21, 3) m in the camera frame; side: (n,). `wrist-scale`: wrist at 0, root mean square distance from it 1, as the camera
    sees the hand. `similarity`: that, turned into the frame of the palm (y from the wrist to the mean of the knuckles, z out of it).
    Returns (n, 63) float32, x, y, z of each joint; NaN where a joint is missing or all are in one place.
    """
    points = _wrist_at_zero_size_one(canonical_joints(np.asarray(joints, dtype=np.float64), side))
    if normalization == "similarity":
        points = points @ palm_rotation(points)
    elif normalization != "wrist-scale":
        raise ValueError(f"no normalization {normalization!r} of joints; there are wrist-scale and similarity")
    return _rows_whole_or_nan(points)


def _rows_whole_or_nan(points: np.ndarray) -> np.ndarray:
    """(n, 21, k) -> (n, 21 k) float32; a row with a NaN or infinity is NaN throughout, so that its first number tells."""
    flat = points.reshape(len(points), -1).astype(np.float32, copy=False)
    finite = np.isfinite(flat)
    if not finite.all():  # row by row takes five times as long
        flat[~finite.all(axis=1)] = np.nan
    return flat


def _wrist_at_zero_size_one(points: np.ndarray) -> np.ndarray:
    centred = points - points[:, WRIST : WRIST + 1]
    size = np.sqrt((centred**2).sum(axis=2).mean(axis=1))[:, None, None]
    return np.divide(centred, size, out=np.full_like(centred, np.nan), where=size > 0)


def _knuckles_up(points: np.ndarray) -> np.ndarray:
    """Image y points down: up is (0, -1). A hand whose knuckles lie on its wrist has no direction and is left as it is."""
    x, y = points[:, KNUCKLES].mean(axis=1).T
    length = np.hypot(x, y)
    known = length > 1e-9
    sine, cosine = (
        np.where(known, x / np.where(known, length, 1), 0.0),
        np.where(known, -y / np.where(known, length, 1), 1.0),
    )
    rotation = np.stack([np.stack([cosine, sine], axis=1), np.stack([-sine, cosine], axis=1)], axis=1)
    return points @ np.swapaxes(rotation, 1, 2)


@dataclass(frozen=True)
class Basis:
    """Principal axes: mean (D,), basis (dim, D) orthonormal rows by falling variance, explained_variance (dim,); all float64."""

    mean: np.ndarray
    basis: np.ndarray
    explained_variance: np.ndarray

    @classmethod
    def of_raw(cls, num: int) -> "Basis":
        """No axes at all: the numbers as they are."""
        return cls(np.zeros(num), np.eye(num), np.full(num, np.nan))

    @property
    def is_raw(self) -> bool:
        return bool(np.isnan(self.explained_variance).any())

    def project(self, vectors: np.ndarray) -> np.ndarray:
        """vectors: (n, D). Returns (n, dim) float32: the coordinates along the axes, about the mean."""
        if self.is_raw:
            return np.asarray(vectors, np.float32)
        return _in_slices(lambda rows: rows @ self.basis.T, vectors - self.mean).astype(np.float32)


def _in_slices(product: Callable[[np.ndarray], np.ndarray], rows: np.ndarray) -> np.ndarray:
    """product(rows) by SLICE rows each. BLAS shares larger products between threads, which gains little on 42 columns, and on a machine with
    other work costs ten times the product: each waits for the slowest. It would also make the last digits depend on the number of threads."""
    whole = len(rows) // SLICE * SLICE
    parts = product(rows[:whole].reshape(-1, SLICE, rows.shape[1]))
    return np.concatenate((parts.reshape(whole, parts.shape[2]), product(rows[whole:])))


def _sum_of_products(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """first^T second, in slices as well. first: (n, D), second: (n, E). Returns (D, E)."""
    whole = len(first) // SLICE * SLICE
    stacks = (rows[:whole].reshape(-1, SLICE, rows.shape[1]) for rows in (first, second))
    return (next(stacks).transpose(0, 2, 1) @ next(stacks)).sum(axis=0) + first[whole:].T @ second[whole:]


class RunningMoments:
    """Mean and covariance of rows that arrive in blocks, each about the mean of those before it (Welford 1962, by blocks)."""

    def __init__(self) -> None:
        self.count = 0
        self.mean = np.zeros(0)
        self.scatter = np.zeros((0, 0))  # sum of (x - mean)(x - mean)^T

    def add(self, vectors: np.ndarray) -> None:
        """vectors: (n, D), finite. Raises ValueError on NaN: one such row would spoil every axis."""
        if len(vectors) == 0:
            return
        if self.count == 0:
            self.mean, self.scatter = vectors.mean(axis=0, dtype=np.float64), np.zeros(2 * vectors.shape[1:])
        rows = vectors - self.mean
        sums = _sum_of_products(np.ones((len(rows), 1)), rows)[
            0
        ]  # three times as fast as numpy's own sum along columns
        if not np.isfinite(sums).all():
            raise ValueError("vectors hold NaN or infinite numbers; leave invalid hands out")
        self.count += len(rows)
        step = sums / self.count
        self.scatter += _sum_of_products(rows, rows) - self.count * np.outer(step, step)
        self.mean = self.mean + step

    @property
    def total_variance(self) -> float:
        """The variance summed over all D dimensions (unbiased)."""
        return float(np.trace(self.scatter)) / max(self.count - 1, 1)

    def principal_axes(self, dim: int) -> Basis:
        """The `dim` directions of largest variance; each axis is signed so that its largest component is positive.

        Raises ValueError without rows, or if fewer than `dim` dimensions exist.
        """
        if self.count == 0:
            raise ValueError("no vectors were added")
        if not 1 <= dim <= len(self.mean):
            raise ValueError(f"{dim} axes asked, the vectors have {len(self.mean)} dimensions")
        variance, axes = np.linalg.eigh(self.scatter / max(self.count - 1, 1))
        variance, axes = variance[::-1][:dim], axes.T[::-1][:dim]
        largest = np.abs(axes).argmax(axis=1)
        axes = axes * np.sign(axes[np.arange(dim), largest])[:, None]
        return Basis(self.mean.copy(), axes, np.maximum(variance, 0.0))
