"""The two interfaces: a detector finds hands on a frame, an estimator finds the 21 keypoints on a crop. Pixels have
centres at integers."""

from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np

from handtool.hands.skeleton import UNKNOWN

FOUND, LOOKED_AGAIN, WHOLE_PICTURE = 0, 1, 2  # how a hand was found: crops/found


@dataclass(frozen=True, eq=False)
class Detection:
    """One hand on a frame. box: (4,) x0 y0 x1 y1 px by its edges. side: LEFT, RIGHT or UNKNOWN, of the hand itself (no
    mirror).

    score: 0..1. landmarks: (21, 2) px of the frame in standard order, if the detector finds them too, else None. whole:
    the image is the hand, and is not enlarged for context. joints: the landmarks in 3D, as in EstimatedHand, in the
    axes of a camera that looks at the hand, or (of_frame) in those of the frame's. found: FOUND, LOOKED_AGAIN or
    WHOLE_PICTURE. refused: why its box cannot be used; empty: it can.
    """

    box: np.ndarray
    side: int = UNKNOWN
    score: float = 1.0
    landmarks: np.ndarray | None = None
    landmarks_score: float = float("nan")
    whole: bool = False
    joints: np.ndarray | None = None
    of_frame: bool = False
    found: int = FOUND
    refused: str = ""


class Detector(Protocol):
    batch: int  # pictures per call, for best speed

    def find_hands(self, images: list[np.ndarray], names: list[str]) -> list[list[Detection]]:
        """images: (h, w, 3) uint8 RGB each, upright; names: their names in a file of boxes. Returns the hands of
        each, in an order that depends only on the pictures."""


@dataclass(frozen=True, eq=False)
class HandCrop:
    """The input of an estimator for one hand. image: (size, size, 3) uint8 RGB, the hand as seen.

    context: side of the crop / side of the hand's box in it. side: LEFT, RIGHT or UNKNOWN. camera: (3, 3) intrinsics of
    the crop, NaN unknown.
    """

    image: np.ndarray
    context: float = 1.3
    side: int = UNKNOWN
    camera: np.ndarray = field(default_factory=lambda: np.full((3, 3), np.nan))


class EstimatedHand(NamedTuple):
    """xy: (21, 2) px of the crop, the hand as seen, in standard order. score: (21,) 0..1. joints: (21, 3) m relative to
    the wrist, in the axes of the crop's camera (x right, y down, z forward), the hand as seen; None: no 3D."""

    xy: np.ndarray
    score: np.ndarray
    joints: np.ndarray | None = None


class Estimator(Protocol):
    batch: int  # crops per call, for best speed

    def find_keypoints(self, crops: list[HandCrop]) -> list[EstimatedHand | None]:
        """The hand on each crop; None where none is seen."""
