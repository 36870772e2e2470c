"""Smooth trajectories: the One-Euro filter (Casiez, Roussel and Vogel 2012, doi:10.1145/2207676.2208639).

A first-order low-pass filter whose cut-off frequency rises with speed: a resting hand is smoothed most, a fast one
follows with little lag. It uses the time stamps, so frames may be unevenly spaced. Behind a steady motion it lags by
1 / (2 pi cut-off) seconds, which is at most 1 / (2 pi beta) metres at any speed.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from handtool.hands.skeleton import WRIST

MAX_GAP_S = 0.5  # after a longer gap the filter starts again, since the old position says little


@dataclass(frozen=True)
class OneEuro:
    """min_cutoff: Hz at rest; beta: Hz per m/s; derivative_cutoff: Hz, of the low-pass filter of the speed."""

    min_cutoff: float
    beta: float
    derivative_cutoff: float

    def filter(self, points: np.ndarray, time: np.ndarray, metres: float = 1.0) -> np.ndarray:
        """points: (t, k, d), k moving points; time: (t,) s, not decreasing; metres: length of one unit of the points.

        The speed of a point is taken over all d axes together, between successive raw samples. Frames with NaN or
        infinity are left unchanged and skipped; after a gap of more than MAX_GAP_S the filter starts again.
        Returns (t, k, d) float64.
        """
        smooth = np.array(points, dtype=np.float64)
        for rows in split_at_gaps(smooth, time):
            last, velocity = rows[0], np.zeros(smooth.shape[1:])
            raw = smooth[rows]
            for place, row in enumerate(rows[1:], start=1):
                step = time[row] - time[last]
                if step > 0:
                    change = (raw[place] - raw[place - 1]) / step
                    velocity += sample_weight(self.derivative_cutoff, step) * (change - velocity)
                    speed = metres * np.linalg.norm(velocity, axis=-1, keepdims=True)
                    smooth[row] = smooth[last] + sample_weight(self.min_cutoff + self.beta * speed, step) * (
                        raw[place] - smooth[last]
                    )
                else:  # two frames with one time stamp
                    smooth[row] = smooth[last]
                last = row
        return smooth

    def filter_hand(self, points: np.ndarray, time: np.ndarray, metres: float = 1.0) -> np.ndarray:
        """points: (t, 21, d). Filters the path of the wrist and the pose relative to it separately, each by its own
        speed: the estimated depth of a hand jitters more than its fingers, and would otherwise raise the cut-off for
        the fingers too. Returns (t, 21, d); a frame with a joint that is not finite is NaN throughout."""
        points = np.where(np.isfinite(points).all(axis=(1, 2), keepdims=True), points, np.nan)
        wrist = points[:, WRIST : WRIST + 1]
        return self.filter(wrist, time, metres) + self.filter(points - wrist, time, metres)


def sample_weight(cutoff: np.ndarray | float, step: float) -> np.ndarray | float:
    """The weight of a new sample `step` s after the last: 1 / (1 + tau / step), tau = 1 / (2 pi cutoff)."""
    return 1 / (1 + 1 / (2 * np.pi * cutoff * step))


def split_at_gaps(points: np.ndarray, time: np.ndarray) -> Iterator[np.ndarray]:
    """Yields the row numbers of the finite frames of (t, k, d), split at gaps of more than MAX_GAP_S."""
    rows = np.flatnonzero(np.isfinite(points).all(axis=(1, 2)))
    yield from (part for part in np.split(rows, np.flatnonzero(np.diff(time[rows]) > MAX_GAP_S) + 1) if len(part))


def trajectories(time: np.ndarray, track: np.ndarray, *same: np.ndarray) -> list[np.ndarray]:
    """The rows of each trajectory, by time. track: (n,), -1: none; same: (n,) each, further keys of a trajectory,
    such as video and side. Rows without a track or a time belong to none."""
    rows = np.flatnonzero((track >= 0) & np.isfinite(time))
    if not len(rows):
        return []
    rows = rows[np.lexsort([time[rows], track[rows], *(each[rows] for each in same)])]
    keys = np.stack([track[rows], *(each[rows] for each in same)])
    return np.split(rows, np.flatnonzero((keys[:, 1:] != keys[:, :-1]).any(axis=0)) + 1)


def metres_per_pixel(joints: np.ndarray, keypoints: np.ndarray) -> float:
    """Metres per pixel at the hand, by weak perspective. joints: (t, 21, 3) m, camera axes; keypoints: (t, 21, 2) px.

    The median over the frames of the spread of the joints in the image plane / that of the keypoints; 1 if none.
    """
    spread = [
        np.sqrt(((points - points.mean(axis=1, keepdims=True)) ** 2).sum(axis=(1, 2)))
        for points in (joints[..., :2], keypoints)
    ]
    ratio = np.divide(spread[0], spread[1], out=np.full(len(joints), np.nan), where=spread[1] > 0)
    return float(np.median(ratio[np.isfinite(ratio)])) if np.isfinite(ratio).any() else 1.0
