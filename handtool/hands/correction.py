"""Correcting an estimator's 3D: regression from the pose it sees to how far that is from the truth.

Kernel ridge regression (the mean of a Gaussian process) with k(x, y) = exp(-|x - y|^2 / (2 length^2)) + 1 on the 63
coordinates of the pose: far from all hands that it knows it falls back to about their mean correction, shrunk. Shapes:
n hands that are known, m hands asked, K = 21 joints. Poses are canonical right hands about the wrist, in metres.
"""

from dataclasses import dataclass

import numpy as np

from handtool.hands.align import relative_to

DECIMETRE = 10.0  # poses are compared in dm: two hands in different poses are about 2 apart
LENGTHS = (1.0, 2.0, 4.0, 8.0)  # dm, candidates
STRENGTHS = tuple(10.0 ** np.arange(-2.5, 2.1, 0.5))  # candidates
FOLDS = 5
LEAST = 10  # hands


@dataclass(frozen=True)
class Correction:
    known: np.ndarray  # (n, 63) dm
    weights: np.ndarray  # (n, 63) m
    length: float  # dm
    strength: float

    def apply(self, joints: np.ndarray) -> np.ndarray:
        """joints (m, K, 3) m about any point. Returns (m, K, 3) m about the wrist."""
        poses = relative_to(joints)
        moved = kernel(as_inputs(poses), self.known, self.length) @ self.weights
        return poses + moved.reshape(poses.shape)


def fit_correction(estimated: np.ndarray, truth: np.ndarray, folds: np.ndarray) -> tuple[Correction, float]:
    """The correction from the estimator's joints to the true ones, (n, K, 3) m each about any point; and the mean
    distance of the joints, m, that cross-validation finds for it.

    folds (n,): hands of one number are left out together; hands that are alike belong together. Of all candidates whose
    error is at most one standard error above the least, the smoothest is taken (Breiman et al. 1984): few hands of one
    video promise more than they keep.
    """
    vectors = as_inputs(relative_to(estimated))
    residual = (relative_to(truth) - relative_to(estimated)).reshape(len(truth), -1)
    scored = [
        (errors.mean(), errors.std(ddof=1) / np.sqrt(len(errors)), strength, length)
        for length in LENGTHS
        for strength, errors in zip(STRENGTHS, cross_validate(vectors, residual, folds, length), strict=True)
    ]
    least = min(scored)
    error, _, strength, length = max(
        (each for each in scored if each[0] <= least[0] + least[1]), key=lambda each: (each[2], each[3])
    )
    weights = np.linalg.solve(kernel(vectors, vectors, length) + strength * np.eye(len(vectors)), residual)
    return Correction(vectors, weights, length, strength), float(error)


def cross_validate(vectors: np.ndarray, residual: np.ndarray, folds: np.ndarray, length: float) -> np.ndarray:
    """(STRENGTHS, folds): mean distance of the joints, m, of the hands of each fold, corrected by what the others know.

    One eigendecomposition a fold serves all strengths."""
    errors = []
    for fold in np.unique(folds):
        left_out = folds == fold
        among, asked = vectors[~left_out], vectors[left_out]
        values, basis = np.linalg.eigh(kernel(among, among, length))
        towards, seen = kernel(asked, among, length) @ basis, basis.T @ residual[~left_out]
        misses = [towards @ (seen / (values + strength)[:, None]) - residual[left_out] for strength in STRENGTHS]
        errors.append([np.linalg.norm(miss.reshape(len(miss), -1, 3), axis=2).mean() for miss in misses])
    return np.array(errors).T


def kernel(one: np.ndarray, other: np.ndarray, length: float) -> np.ndarray:
    """(m, 63), (n, 63) dm -> (m, n)."""
    squares = (one**2).sum(1)[:, None] + (other**2).sum(1) - 2 * one @ other.T
    return np.exp(-np.maximum(squares, 0) / (2 * length**2)) + 1


def as_inputs(joints: np.ndarray) -> np.ndarray:
    """(n, K, 3) m -> (n, 63) dm."""
    return DECIMETRE * np.asarray(joints, np.float64).reshape(len(joints), -1)


def find_folds(units: np.ndarray) -> np.ndarray:
    """units (n,): the video, say, of each hand. Returns (n,) numbers from 0: whole units where there are at least
    FOLDS, else FOLDS blocks of hands that follow each other."""
    order = np.argsort(units, kind="stable")
    number = np.unique(units, return_inverse=True)[1]
    if number.max(initial=0) + 1 >= FOLDS:
        return number * FOLDS // (number.max() + 1)
    folds = np.empty(len(units), np.int64)
    folds[order] = np.arange(len(units)) * FOLDS // len(units)
    return folds
