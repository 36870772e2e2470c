"""How a hand moves along its track: which way the palm turns, and how much a still hand trembles."""

from dataclasses import dataclass

import numpy as np

STILL_WINDOW_S = 0.5
STILL_SHARE = 0.03  # of the hand's size in the picture: how far the keypoints of a still hand move in half a window


def turn_from_mean(rotation: np.ndarray) -> np.ndarray:
    """rotation: (t, 3, 3), NaN unknown. Returns (t, 3) degrees: the rotation vector (axis times angle, in the axes of
    the frame in which `rotation` is given) that turns the mean rotation into each of them.

    The mean is the rotation nearest to the sum of all (Moakher 2002, doi:10.1137/S0895479801383877).
    """
    turn = np.full((len(rotation), 3), np.nan)
    known = np.isfinite(rotation).all(axis=(1, 2))
    if not known.any():
        return turn
    left, _, right = np.linalg.svd(rotation[known].astype(np.float64).sum(axis=0))
    mean = left @ np.diag([1, 1, np.linalg.det(left @ right)]) @ right
    turn[known] = np.rad2deg(rotation_vectors(rotation[known] @ mean.T))
    return turn


def rotation_vectors(rotation: np.ndarray) -> np.ndarray:
    """(t, 3, 3) -> (t, 3) rad: axis times angle, 0..pi, from the quaternion, which is exact also near half a turn."""
    r = rotation.astype(np.float64)
    trace = np.trace(r, axis1=1, axis2=2)
    outer = np.empty((len(r), 4, 4))  # 4 q q^T of the quaternion q = (w, x, y, z)
    outer[:, 0, 0] = 1 + trace
    outer[:, 1:, 1:] = r + r.swapaxes(1, 2) + (1 - trace)[:, None, None] * np.eye(3)
    skew = np.stack([r[:, 2, 1] - r[:, 1, 2], r[:, 0, 2] - r[:, 2, 0], r[:, 1, 0] - r[:, 0, 1]], axis=1)
    outer[:, 0, 1:] = outer[:, 1:, 0] = skew
    largest = outer.diagonal(axis1=1, axis2=2).argmax(axis=1)
    q = outer[np.arange(len(r)), largest]
    q = q / np.linalg.norm(q, axis=1, keepdims=True)
    q = np.where(q[:, :1] < 0, -q, q)
    sine = np.linalg.norm(q[:, 1:], axis=1)
    angle = 2 * np.arctan2(sine, np.ascontiguousarray(q[:, 0]))  # the same bits wherever q lies in memory
    return q[:, 1:] * np.divide(angle, sine, out=np.full(len(q), 2.0), where=sine > 1e-12)[:, None]


def find_still(keypoints: np.ndarray, time: np.ndarray) -> np.ndarray:
    """keypoints: (t, 21, 2) px of the frame, of one track; time: (t,) s, rising. Returns (t,) bool: whether the hand is
    at rest: the mean keypoints of the quarter second before and after differ by less than STILL_SHARE of the hand's
    size. False where one side has no frames."""
    if not len(time):
        return np.zeros(0, bool)
    half, here = STILL_WINDOW_S / 2 + 1e-6, np.arange(len(time))
    sums = np.concatenate([np.zeros_like(keypoints[:1]), np.cumsum(keypoints, axis=0)])
    first, end = np.searchsorted(time, time - half), np.searchsorted(time, time + half, "right")
    before, after = here - first, end - here - 1
    with np.errstate(invalid="ignore", divide="ignore"):
        moved = (sums[end] - sums[here + 1]) / after[:, None, None] - (sums[here] - sums[first]) / before[:, None, None]
        moved = np.linalg.norm(moved, axis=2).mean(axis=1)
        return (before > 0) & (after > 0) & (moved < STILL_SHARE * np.ptp(keypoints, axis=1).max(axis=1))


def second_differences(points: np.ndarray, time: np.ndarray, still: np.ndarray) -> np.ndarray:
    """points: (t, k, d) of one track; time: (t,) s, rising; still: (t,). Returns (s, k, d): of every still frame with
    its two neighbours at even distances in time, before - 2 now + after. 0 for steady motion; noise of standard
    deviation e gives sqrt(6) e."""
    before, after = np.diff(time)[:-1], np.diff(time)[1:]
    even = (np.abs(after - before) < 0.25 * np.minimum(before, after)) & still[1:-1]
    return (points[:-2] - 2 * points[1:-1] + points[2:])[even]


@dataclass
class Trembling:
    """How much still hands tremble: the root mean square second difference, of the wrist and of the other joints
    relative to it; counted track by track. Sums are of squares, m^2."""

    frames: int = 0
    wrist: float = 0.0
    pose: float = 0.0

    def add(self, joints: np.ndarray, time: np.ndarray, still: np.ndarray) -> None:
        """joints: (t, 21, 3) m of one track, finite; time: (t,) s, rising; still: (t,), of `find_still`."""
        if len(joints) > 2:
            wrist = second_differences(joints[:, :1], time, still)
            pose = second_differences(joints[:, 1:] - joints[:, :1], time, still)
            self.frames += len(wrist)
            self.wrist += float(np.square(wrist).sum())
            self.pose += float(np.square(pose).sum()) / (joints.shape[1] - 1)

    def as_report(self) -> dict[str, float]:
        count = max(self.frames, 1)
        millimetres = {"wrist_mm": 1000 * (self.wrist / count) ** 0.5, "pose_mm": 1000 * (self.pose / count) ** 0.5}
        return {"frames": self.frames} | {name: round(mm, 4) for name, mm in millimetres.items()}
