"""The two contracts: a detector finds hands on a frame, an estimator finds the 21 keypoints on a crop. Pixels have centres at integers."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from handtool.hands.skeleton import UNKNOWN


@dataclass(frozen=True, eq=False)
class Detection:
    """One hand on a frame. box: (4,) x0 y0 x1 y1 px by its edges. side: LEFT, RIGHT or UNKNOWN, of the hand itself (no mirror).

    score: 0..1. landmarks: (21, 2) px of the frame in standard order, where the detector finds them along the way, else None.
    whole: the image is the hand, and is not enlarged for context.
    """

    box: np.ndarray
    side: int = UNKNOWN
    score: float = 1.0
    landmarks: np.ndarray | None = None
    landmarks_score: float = float("nan")
    whole: bool = False


class Detector(Protocol):
    def find_hands(self, image: np.ndarray, name: str) -> list[Detection]:
        """image: (h, w, 3) uint8 RGB, upright; name: what a list of boxes calls it. In an order that depends on the image alone."""


class Estimator(Protocol):
    def find_keypoints(self, crop: np.ndarray, context: float) -> tuple[np.ndarray, np.ndarray] | None:
        """crop: (size, size, 3) uint8 RGB; context: side of the crop / side of the hand's box in it.

        Returns xy (21, 2) px of the crop and score (21,) 0..1, or None where no hand is seen.
        """
