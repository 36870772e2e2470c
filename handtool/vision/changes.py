"""Near-duplicates in time: whether the picture of a hand has changed since it was last kept.

A resting hand looks the same for minutes. The square of the hand that was kept last is compared in both frames, so that
a jittering box is no change, and slow changes add up until the hand is kept again.
"""

from dataclasses import dataclass

import numpy as np

from handtool.hands.boxes import iou
from handtool.vision.cropping import cut_square

SIDE = 32  # px, of the small pictures that are compared
MIN_IOU = 0.3  # of the squares, for a hand to be taken for the one kept before
MEMORY = 10  # after so many kept frames without it, a hand is dropped


@dataclass(eq=False)
class Kept:
    """A hand as it was kept last. region: (4,) int px of the frame; picture: (SIDE, SIDE) grey 0..255; unseen: frames
    since."""

    region: np.ndarray
    picture: np.ndarray
    unseen: int = 0


class Changes:
    """One video's kept hands. min_change: mean absolute difference of pictures, as a share of black to white."""

    def __init__(self, min_change: float) -> None:
        self.min_change = min_change
        self.hands: list[Kept] = []

    def next_frame(self) -> None:
        for hand in self.hands:
            hand.unseen += 1
        self.hands = [hand for hand in self.hands if hand.unseen <= MEMORY]

    def is_new(self, image: np.ndarray, region: np.ndarray) -> bool:
        """Whether the hand in the square `region` (4,) int px of the frame is to be kept; if so, it becomes the one to
        compare with."""
        if self.min_change <= 0:
            return True
        before = self.find(region)
        if before is not None:
            before.unseen = 0
            change = np.abs(small_picture(image, before.region) - before.picture).mean() / 255
            if change < self.min_change:
                return False
            self.hands.remove(before)
        self.hands.append(Kept(region, small_picture(image, region)))
        return True

    def find(self, region: np.ndarray) -> Kept | None:
        """The kept hand that overlaps this one most and has not been matched on this frame."""
        others = [hand for hand in self.hands if hand.unseen]
        overlap = iou(region, np.array([hand.region for hand in others]).reshape(-1, 4))
        return others[int(overlap.argmax())] if others and overlap.max() >= MIN_IOU else None


def small_picture(image: np.ndarray, region: np.ndarray) -> np.ndarray:
    return cut_square(image, region, SIDE)[0].mean(-1, dtype=np.float32)
