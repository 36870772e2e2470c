"""2D keypoints lifted to 3D by what labelled hands show.

Kernel ridge regression from the 21 points of a picture to the pose. Its examples are the labelled hands, each turned in
space and projected anew as often as EXAMPLES permits: so a few labels show how a hand looks from everywhere. Shapes:
n hands, m = EXAMPLES, K = 21 joints. Poses are canonical right hands.
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from handtool.hands.align import relative_to

EXAMPLES = 5000  # fitted in some 2 s
TILT_DEG, SPIN_DEG = 90.0, 90.0  # about an axis in the picture, uniform up to this; about the optical axis, either way
NOISE = 0.05  # of the examples' points, in shares of a hand's extent: estimators err
NARROWNESS = 0.03  # k(x, y) = exp(-NARROWNESS |x - y|^2); normalised hands in different poses are about 4 apart
STRENGTH = 0.05
NEAREST_M, USUAL_M = 0.1, 0.6  # a hand with a joint nearer than the first is no view of a camera: seen from the second
BLOCK = 1024  # hands at once


@dataclass(frozen=True)
class Lifting:
    known: np.ndarray  # (m, 2 K)
    weights: np.ndarray  # (m, 3 K)
    mean: np.ndarray  # (3 K,)

    def apply(self, xy: np.ndarray) -> np.ndarray:
        """Keypoints (n, K, 2) px of canonical right hands -> joints (n, K, 3) about the wrist, camera axes, in lengths
        of the reference bone, float32; NaN where a keypoint is."""
        out = np.full((len(xy), *xy.shape[1:2], 3), np.nan, np.float32)
        for start in range(0, len(xy), BLOCK):
            points = normalise_points(xy[start : start + BLOCK].astype(float))
            poses = kernel(points, self.known) @ self.weights + self.mean
            out[start : start + BLOCK] = poses.reshape(len(points), -1, 3)
        return out


def fit_lifting(joints: np.ndarray, bone: np.ndarray, seed: int) -> Lifting:
    """joints (n, K, 3) m in the camera frame, bone (n,) m: the reference bone of each hand; all known."""
    rng = np.random.default_rng((seed, 5))
    rows = np.resize(rng.permutation(len(joints)), EXAMPLES)
    middle = joints[rows].mean(axis=1, keepdims=True)
    turned = (joints[rows] - middle) @ draw_turns(EXAMPLES, rng).transpose(0, 2, 1)
    seen = turned + np.where((joints[rows, :, 2:] < NEAREST_M).any(axis=1, keepdims=True), [0, 0, USUAL_M], middle)
    points = normalise_points(seen[..., :2] / np.maximum(seen[..., 2:], NEAREST_M / 2))
    points = normalise_points((points + rng.normal(0, NOISE, points.shape)).reshape(EXAMPLES, -1, 2))
    poses = (relative_to(turned) / bone[rows, None, None]).reshape(EXAMPLES, -1)
    mean, matrix = poses.mean(axis=0), kernel(points, points)
    matrix[np.diag_indices(EXAMPLES)] += STRENGTH
    return Lifting(points, cho_solve(cho_factor(matrix, overwrite_a=True), poses - mean), mean)


def normalise_points(xy: np.ndarray) -> np.ndarray:
    """(n, K, 2) -> (n, 2 K): about their centre, with a mean square distance of 1 from it."""
    xy = xy - xy.mean(axis=1, keepdims=True)
    extent = np.sqrt(np.square(xy).sum(axis=2).mean(axis=1))
    return (xy / np.maximum(extent, 1e-9)[:, None, None]).reshape(len(xy), -1)


def kernel(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(n, d), (m, d) -> (n, m)."""
    squares = (one**2).sum(1)[:, None] + (other**2).sum(1) - 2 * one @ other.T
    return np.exp(-NARROWNESS * np.maximum(squares, 0))


def draw_turns(num: int, rng: np.random.Generator) -> np.ndarray:
    """(num, 3, 3) rotations: a tilt about a random axis in the picture, then a spin about the optical axis."""
    azimuth, spin = rng.uniform(-np.pi, np.pi, num), np.deg2rad(rng.uniform(-SPIN_DEG, SPIN_DEG, num))
    tilt = np.deg2rad(rng.uniform(0, TILT_DEG, num))
    return about_z(spin + azimuth) @ about_x(tilt) @ about_z(-azimuth)


def about_z(angle: np.ndarray) -> np.ndarray:
    """(n,) radians -> (n, 3, 3)."""
    turns = np.tile(np.eye(3), (len(angle), 1, 1))
    turns[:, 0, 0] = turns[:, 1, 1] = np.cos(angle)
    turns[:, 1, 0], turns[:, 0, 1] = np.sin(angle), -np.sin(angle)
    return turns


def about_x(angle: np.ndarray) -> np.ndarray:
    """(n,) radians -> (n, 3, 3)."""
    return np.roll(about_z(angle), (1, 1), axis=(1, 2))
