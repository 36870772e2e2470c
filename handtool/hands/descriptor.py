"""Descriptors of hands: the 42 numbers of the 2D keypoints, reduced by PCA (the published system keeps 14).

Mean and covariance are accumulated block by block in float64, so that millions of hands need the memory of one block.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from handtool.hands.canonical import canonical_joints, canonical_keypoints
from handtool.hands.palm import palm_rotation
from handtool.hands.skeleton import KNUCKLES, WRIST

SLICE = 128  # rows; a product this small is not split between threads by any BLAS
NORMALIZATIONS = ("crop", "wrist-scale", "similarity")


def describe(xy: np.ndarray, side: np.ndarray, normalization: str, crop_size: int) -> np.ndarray:
    """One row for each hand: the keypoints of the canonical right hand.

    xy: (n, 21, 2) px in the crop, as seen; side: (n,); crop_size: px, side of the crop. normalization:
    `crop`: fractions of the crop's side; position and size are kept.
    `wrist-scale`: wrist at 0, root mean square distance from it 1.
    `similarity`: the same, rotated so that the direction from the wrist to the mean of the four knuckles points up.
    Returns (n, 42) float32, x before y for each joint; NaN if keypoints are missing or all coincide.
    """
    points = canonical_keypoints(np.asarray(xy), side, crop_size)
    if normalization == "crop":
        points += points.dtype.type(0.5)  # in place and in float32, to save memory for millions of hands
        points /= points.dtype.type(crop_size)
    elif normalization == "wrist-scale":
        points = _wrist_at_zero_size_one(points.astype(np.float64))
    elif normalization == "similarity":
        points = _knuckles_up(_wrist_at_zero_size_one(points.astype(np.float64)))
    else:
        raise ValueError(f"no normalization {normalization!r}; there are {', '.join(NORMALIZATIONS)}")
    return _rows_whole_or_nan(points)


def describe_joints(joints: np.ndarray, side: np.ndarray, normalization: str) -> np.ndarray:
    """One row for each hand: the 3D joints of the canonical right hand. Mining by these is the oracle of the studies.

    joints: (n, 21, 3) m in the camera frame; side: (n,). `wrist-scale`: wrist at 0, root mean square distance from it
    1, in camera axes. `similarity`: the same, rotated into the frame of the palm (y from the wrist to the mean of the
    knuckles, z out of the palm). Returns (n, 63) float32, x, y, z of each joint; NaN if one is missing or all coincide.
    """
    points = _wrist_at_zero_size_one(canonical_joints(np.asarray(joints, dtype=np.float64), side))
    if normalization == "similarity":
        points = points @ palm_rotation(points)
    elif normalization != "wrist-scale":
        raise ValueError(f"no normalization {normalization!r} of joints; there are wrist-scale and similarity")
    return _rows_whole_or_nan(points)


def _rows_whole_or_nan(points: np.ndarray) -> np.ndarray:
    """(n, 21, k) -> (n, 21 k) float32. NaN or infinity makes a whole row NaN, so that checking one number suffices."""
    flat = points.reshape(len(points), -1).astype(np.float32, copy=False)
    finite = np.isfinite(flat)
    if not finite.all():  # testing row by row takes five times as long
        flat[~finite.all(axis=1)] = np.nan
    return flat


def _wrist_at_zero_size_one(points: np.ndarray) -> np.ndarray:
    centred = points - points[:, WRIST : WRIST + 1]
    size = np.sqrt((centred**2).sum(axis=2).mean(axis=1))[:, None, None]
    return np.divide(centred, size, out=np.full_like(centred, np.nan), where=size > 0)


def _knuckles_up(points: np.ndarray) -> np.ndarray:
    """Rotates hands upright (image y points down: up is (0, -1)), unless their knuckles are at the wrist."""
    x, y = points[:, KNUCKLES].mean(axis=1).T
    length = np.hypot(x, y)
    known = length > 1e-9
    safe = np.where(known, length, 1)
    sine, cosine = np.where(known, x / safe, 0.0), np.where(known, -y / safe, 1.0)
    rotation = np.stack([np.stack([cosine, sine], axis=1), np.stack([-sine, cosine], axis=1)], axis=1)
    return points @ np.swapaxes(rotation, 1, 2)


@dataclass(frozen=True)
class Basis:
    """PCA: mean (D,), basis (dim, D) orthonormal rows by falling variance, explained_variance (dim,); float64."""

    mean: np.ndarray
    basis: np.ndarray
    explained_variance: np.ndarray

    @classmethod
    def of_raw(cls, num: int) -> "Basis":
        """No PCA: the numbers unchanged."""
        return cls(np.zeros(num), np.eye(num), np.full(num, np.nan))

    @property
    def is_raw(self) -> bool:
        return bool(np.isnan(self.explained_variance).any())

    def project(self, vectors: np.ndarray) -> np.ndarray:
        """vectors: (n, D). Returns (n, dim) float32: coordinates along the axes, relative to the mean."""
        if self.is_raw:
            return np.asarray(vectors, np.float32)
        return _in_slices(lambda rows: rows @ self.basis.T, vectors - self.mean).astype(np.float32)


def _in_slices(product: Callable[[np.ndarray], np.ndarray], rows: np.ndarray) -> np.ndarray:
    """product(rows), computed for SLICE rows at a time. BLAS splits larger products between threads. With 42 columns
    that gains little, takes ten times as long on a busy machine, because all threads wait for the slowest, and makes
    the last digits depend on the number of threads."""
    whole = len(rows) // SLICE * SLICE
    parts = product(rows[:whole].reshape(-1, SLICE, rows.shape[1]))
    return np.concatenate((parts.reshape(whole, parts.shape[2]), product(rows[whole:])))


def _sum_of_products(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """first^T second, also in slices. first: (n, D), second: (n, E). Returns (D, E)."""
    whole = len(first) // SLICE * SLICE
    stacks = (rows[:whole].reshape(-1, SLICE, rows.shape[1]) for rows in (first, second))
    return (next(stacks).transpose(0, 2, 1) @ next(stacks)).sum(axis=0) + first[whole:].T @ second[whole:]


class RunningMoments:
    """Mean and covariance of rows that arrive in blocks (Welford 1962, by blocks)."""

    def __init__(self) -> None:
        self.count = 0
        self.mean = np.zeros(0)
        self.scatter = np.zeros((0, 0))  # sum of (x - mean)(x - mean)^T

    def add(self, vectors: np.ndarray) -> None:
        """vectors: (n, D), finite. Raises ValueError on NaN or infinity."""
        if len(vectors) == 0:
            return
        if self.count == 0:
            self.mean, self.scatter = vectors.mean(axis=0, dtype=np.float64), np.zeros(2 * vectors.shape[1:])
        rows = vectors - self.mean
        sums = _sum_of_products(np.ones((len(rows), 1)), rows)[0]  # three times as fast as numpy's sum along columns
        if not np.isfinite(sums).all():
            raise ValueError("vectors hold NaN or infinite numbers; leave invalid hands out")
        self.count += len(rows)
        step = sums / self.count
        self.scatter += _sum_of_products(rows, rows) - self.count * np.outer(step, step)
        self.mean = self.mean + step

    @property
    def total_variance(self) -> float:
        """The sum of the variances of all D dimensions (unbiased)."""
        return float(np.trace(self.scatter)) / max(self.count - 1, 1)

    def principal_axes(self, dim: int) -> Basis:
        """The `dim` directions of largest variance. The sign of each axis makes its largest component positive.

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
