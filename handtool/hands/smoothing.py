"""Trajectories without their jitter: the One-Euro filter (Casiez, Roussel and Vogel 2012, doi:10.1145/2207676.2208639).

A low-pass of first order whose cut-off frequency rises with speed: a hand at rest is smoothed most, a fast one follows with little lag.
Time runs on real stamps, so that frames may come at any interval. The lag behind a steady motion is 1 / (2 pi cut-off), that is at most
1 / (2 pi beta) of way, however fast it is.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from handtool.hands.skeleton import WRIST

MAX_GAP_S = 0.5  # after a longer one a trajectory begins anew: what was so long ago says nothing of now


@dataclass(frozen=True)
class OneEuro:
    """min_cutoff: Hz at rest; beta: Hz for each m/s; derivative_cutoff: Hz, of the low-pass on the speed."""

    min_cutoff: float
    beta: float
    derivative_cutoff: float

    def filter(self, points: np.ndarray, time: np.ndarray, metres: float = 1.0) -> np.ndarray:
        """points: (t, k, d), k points on their way; time: (t,) s, not falling; metres: length of one unit of the points.

        The speed is that of the point, over all d axes, from one raw sample to the next: no axis is preferred. Frames with a number that is
        not finite stay as they are and are passed over; after a gap of more than MAX_GAP_S the filter begins anew. Returns (t, k, d) float64.
        """
        smooth = np.array(points, dtype=np.float64)
        for rows in stretches(smooth, time):
            last, velocity = rows[0], np.zeros(smooth.shape[1:])
            raw = smooth[rows]
            for place, row in enumerate(rows[1:], start=1):
                step = time[row] - time[last]
                if step > 0:
                    change = (raw[place] - raw[place - 1]) / step
                    velocity += share(self.derivative_cutoff, step) * (change - velocity)
                    speed = metres * np.linalg.norm(velocity, axis=-1, keepdims=True)
                    smooth[row] = smooth[last] + share(self.min_cutoff + self.beta * speed, step) * (
                        raw[place] - smooth[last]
                    )
                else:  # a stamp that is there twice: no time in which anything could have changed
                    smooth[row] = smooth[last]
                last = row
        return smooth

    def filter_hand(self, points: np.ndarray, time: np.ndarray, metres: float = 1.0) -> np.ndarray:
        """points: (t, 21, d). The wrist's way and the pose about the wrist, each by its own speed: the depth of a hand trembles more than
        its fingers, and would else let their jitter pass. Returns (t, 21, d); NaN throughout where a joint of the frame is not finite."""
        points = np.where(np.isfinite(points).all(axis=(1, 2), keepdims=True), points, np.nan)
        wrist = points[:, WRIST : WRIST + 1]
        return self.filter(wrist, time, metres) + self.filter(points - wrist, time, metres)


def share(cutoff: np.ndarray | float, step: float) -> np.ndarray | float:
    """What a new sample counts for, `step` s after the last: 1 / (1 + tau / step), tau = 1 / (2 pi cutoff)."""
    return 1 / (1 + 1 / (2 * np.pi * cutoff * step))


def stretches(points: np.ndarray, time: np.ndarray) -> Iterator[np.ndarray]:
    """The finite frames of (t, k, d) between two long gaps: their row numbers, in order."""
    rows = np.flatnonzero(np.isfinite(points).all(axis=(1, 2)))
    yield from (part for part in np.split(rows, np.flatnonzero(np.diff(time[rows]) > MAX_GAP_S) + 1) if len(part))


def trajectories(time: np.ndarray, track: np.ndarray, *same: np.ndarray) -> list[np.ndarray]:
    """The rows of each hand on its way, by time. track: (n,), -1: none; same: (n,) each, what else one trajectory has in common, such as
    video and side. Rows without a track or a time are in none."""
    rows = np.flatnonzero((track >= 0) & np.isfinite(time))
    if not len(rows):
        return []
    rows = rows[np.lexsort([time[rows], track[rows], *(each[rows] for each in same)])]
    keys = np.stack([track[rows], *(each[rows] for each in same)])
    return np.split(rows, np.flatnonzero((keys[:, 1:] != keys[:, :-1]).any(axis=0)) + 1)


def metres_per_pixel(joints: np.ndarray, keypoints: np.ndarray) -> float:
    """How long a pixel is at the hand, by weak perspective: joints (t, 21, 3) m, camera axes; keypoints (t, 21, 2) px of the frame.

    The median over the frames of the spread of the joints across the view, over that of the keypoints; 1 where nothing is finite.
    """
    spread = [
        np.sqrt(((points - points.mean(axis=1, keepdims=True)) ** 2).sum(axis=(1, 2)))
        for points in (joints[..., :2], keypoints)
    ]
    ratio = np.divide(spread[0], spread[1], out=np.full(len(joints), np.nan), where=spread[1] > 0)
    return float(np.median(ratio[np.isfinite(ratio)])) if np.isfinite(ratio).any() else 1.0
