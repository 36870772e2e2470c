"""Correcting an estimator's 3D: first what its own 2D says better, then what labelled hands say of the rest.

1. An estimator knows where a joint is in the picture better than how far away it is. So x and y come from its
   keypoints, in the size of its joints; depth alone comes from its joints, times one factor. And it takes every hand
   for one in the middle of the picture, so all of this happens in the axes of a camera that is turned to the hand.
2. Kernel ridge regression (the mean of a Gaussian process) with k(x, y) = exp(-|x - y|^2 / (2 LENGTH^2)) on the 63
   coordinates of the pose, turned upright in the picture. A hand is moved as known hands in like poses are; one that
   is like none of them keeps the pose of step 1.
3. Each bone gets a length half-way between what it has and the mean of the labelled hands.

Shapes: n hands that are known, m hands asked, K = 21 joints. Hands are canonical right ones, in metres.
"""

from dataclasses import dataclass

import numpy as np

from handtool.hands.align import relative_to
from handtool.hands.camera import rays
from handtool.hands.hand_size import bone_lengths
from handtool.hands.skeleton import BONES, KNUCKLES

DECIMETRE = 10.0  # poses are compared in dm: two hands in different poses are about 2 apart
LENGTH = 1.5  # dm
NOISE = 1.0  # variance of what a pose does not tell, over that of what it tells
# MediaPipe exaggerates depth: 0.8 to 0.9 of it is nearest to the truth on real and on synthetic hands, and keeps the
# lengths of bones the most alike, which needs no labels.
DEPTH = 0.85
DEPTH_TRUST = 1.0  # m^2 of summed squared depth: labels count as much as DEPTH where about 50 hands have them
BONE_TRUST = 0.5  # of the labelled hands' bones
FOLDS = 5
LEAST = 10  # hands


@dataclass(frozen=True)
class Correction:
    known: np.ndarray  # (n, 63) dm, upright
    weights: np.ndarray  # (n, 63) m, upright
    depth: float  # factor of the estimator's depth
    bones: np.ndarray  # (20,) m, mean lengths in the order of BONES

    def apply(self, joints: np.ndarray, xy: np.ndarray, camera: np.ndarray) -> np.ndarray:
        """joints (m, K, 3) m about any point, xy (m, K, 2) px, camera (m, 3, 3), NaN where unknown. Returns (m, K, 3) m
        about the wrist, in the axes of the camera."""
        poses, turn = see_upright(joints, xy, camera)
        return self.move(poses) @ turn

    def move(self, poses: np.ndarray) -> np.ndarray:
        """poses (m, K, 3) m, upright, of `see_upright`. Returns them corrected, about the wrist."""
        moved = kernel(as_inputs(poses), self.known) @ self.weights
        return towards_lengths(poses * [1, 1, self.depth] + moved.reshape(poses.shape), self.bones)


def fit_correction(poses: np.ndarray, truth: np.ndarray, folds: np.ndarray) -> tuple[Correction, float]:
    """The correction from what an estimator sees to the truth, (n, K, 3) m each, upright, about the wrist; and the mean
    distance of the joints, m, that cross-validation finds for it.

    folds (n,): hands of one number are left out together; hands that are alike belong together. LENGTH and NOISE stay
    as they are: chosen by the few hands of one video, they do harm to hands of others.
    """
    errors = []
    for fold in np.unique(folds):
        out = folds == fold
        miss = solve(poses[~out], truth[~out]).move(poses[out]) - truth[out]
        errors.append(np.linalg.norm(miss, axis=2).mean())
    return solve(poses, truth), float(np.mean(errors))


def solve(poses: np.ndarray, truth: np.ndarray) -> Correction:
    """poses, truth (n, K, 3) m, upright, about the wrist."""
    seen, true = poses[..., 2], truth[..., 2]
    depth = float(DEPTH + (seen * (true - DEPTH * seen)).sum() / ((seen**2).sum() + DEPTH_TRUST))
    known, residual = as_inputs(poses), (truth - poses * [1, 1, depth]).reshape(len(truth), -1)
    weights = np.linalg.solve(kernel(known, known) + NOISE * np.eye(len(known)), residual)
    return Correction(known, weights, depth, bone_lengths(truth).mean(0))


def towards_lengths(poses: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """poses (m, K, 3) with bones half-way (BONE_TRUST) to lengths (20,), from the wrist outwards; about the wrist."""
    own, changed = bone_lengths(poses), relative_to(poses)
    factor = 1 + BONE_TRUST * (np.divide(lengths, own, out=np.ones_like(own), where=own > 0) - 1)
    for bone, (parent, child) in enumerate(BONES):
        changed[:, child] = changed[:, parent] + factor[:, bone, None] * (poses[:, child] - poses[:, parent])
    return changed


def see_upright(joints: np.ndarray, xy: np.ndarray, camera: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """joints (n, K, 3) m about any point, xy (n, K, 2) px, camera (n, 3, 3), NaN where unknown.

    Returns poses (n, K, 3) m about the wrist, x and y from xy, as a camera sees them that is turned to the hand, then
    about its axis until the fingers point up; and turn (n, 3, 3): upright = turn @ camera's axes. Without a camera xy
    is taken for a picture from far away. Hands whose xy has no size keep the x and y of their joints.
    """
    joints, seen, turn = np.array(joints, np.float64), np.array(xy, np.float64), np.tile(np.eye(3), (len(joints), 1, 1))
    known = np.isfinite(camera).all((1, 2))
    turn[known], seen[known] = face(rays(seen[known], np.asarray(camera, np.float64)[known]))
    seen -= seen.mean(1, keepdims=True)
    own = joints[..., :2] - joints[..., :2].mean(1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        size = (seen * own).sum((1, 2)) / (seen**2).sum((1, 2))
    usable = np.isfinite(size) & (size > 0)
    joints[usable, :, :2] = size[usable, None, None] * seen[usable]
    poses = relative_to(joints)
    up = raise_fingers(poses)
    return poses @ up.transpose(0, 2, 1), up @ turn


def face(seen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """seen (n, K, 2): rays X/Z, Y/Z. Returns the shortest turn (n, 3, 3) that brings their mean onto the axis of the
    camera, and the rays (n, K, 2) after it."""
    rays_nK3 = np.concatenate([seen, np.ones_like(seen[..., :1])], axis=2)
    mean = rays_nK3.mean(1)
    x, y, z = (mean / np.linalg.norm(mean, axis=1, keepdims=True)).T
    zero = np.zeros_like(x)
    across = np.array([[zero, zero, -x], [zero, zero, -y], [x, y, zero]]).transpose(2, 0, 1)  # Rodrigues' formula
    turn = np.eye(3) + across + across @ across / (1 + z)[:, None, None]
    turned = rays_nK3 @ turn.transpose(0, 2, 1)
    return turn, turned[..., :2] / turned[..., 2:]


def raise_fingers(poses: np.ndarray) -> np.ndarray:
    """poses (n, K, 3) about the wrist. Returns the turn (n, 3, 3) about z after which the knuckles are above it."""
    x, y = poses[:, KNUCKLES, :2].mean(1).T
    angle = np.arctan2(x, -y)
    cos, sin, zero, one = np.cos(angle), np.sin(angle), np.zeros_like(angle), np.ones_like(angle)
    return np.array([[cos, sin, zero], [-sin, cos, zero], [zero, zero, one]]).transpose(2, 0, 1)


def kernel(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(m, 63), (n, 63) dm -> (m, n)."""
    squares = (one**2).sum(1)[:, None] + (other**2).sum(1) - 2 * one @ other.T
    return np.exp(-np.maximum(squares, 0) / (2 * LENGTH**2))


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
