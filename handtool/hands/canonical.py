"""The canonical right hand: left hands are mirrored, so that one model and one embedding serve both sides.

Files store hands as seen; only this module turns left hands into right ones. A hand of unknown side counts as right.
Mirroring is its own inverse: the same call turns a prediction back into the hand as seen.
"""

from collections.abc import Callable

import numpy as np

from handtool.hands.camera import mirror_camera, mirror_joints, mirror_points
from handtool.hands.skeleton import LEFT


def canonical_keypoints(xy: np.ndarray, side: np.ndarray, width: int) -> np.ndarray:
    """xy: (n, 21, 2) px in a crop `width` px wide, side: (n,). Returns (n, 21, 2) px; left hands u' = width - 1 - u."""
    return _mirror_left(side, xy, lambda left: mirror_points(left, width))


def canonical_joints(joints: np.ndarray, side: np.ndarray) -> np.ndarray:
    """joints: (n, k, 3) m in the camera frame, side: (n,). Returns (n, k, 3) m, left hands mirrored (X' = -X)."""
    return _mirror_left(side, joints, mirror_joints)


def canonical_camera(camera: np.ndarray, side: np.ndarray, width: int) -> np.ndarray:
    """camera: (n, 3, 3) of a crop `width` px wide, side: (n,). Returns (n, 3, 3) for canonical joints and points."""
    return _mirror_left(side, camera, lambda left: mirror_camera(left, width))


def _mirror_left(side: np.ndarray, seen: np.ndarray, mirror: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    left = np.asarray(side) == LEFT
    assert left.shape == seen.shape[:1], f"{left.shape} sides for {seen.shape[:1]} hands"
    turned = seen.copy()
    turned[left] = mirror(seen[left])
    return turned
