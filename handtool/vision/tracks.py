"""The same hand over time: boxes of kept frames that follow each other closely, linked by their overlap."""

import numpy as np

from handtool.hands.boxes import iou

MAX_GAP_S = 0.2
MIN_IOU = 0.3


class Linker:
    """Links the hands of one video, frame by frame. A hand is linked to that of the previous kept frame which it overlaps most."""

    def __init__(self) -> None:
        self.numbers: list[int] = []  # of every hand so far, in order
        self.boxes = np.empty((0, 4))  # of the previous frame that had hands
        self.last: list[int] = []  # their tracks
        self.time = -np.inf
        self.count = 0

    def add(self, time: float, boxes: np.ndarray) -> None:
        """time: s (NaN: never linked); boxes: (n, 4) px of the hands of that frame."""
        numbers = [-1] * len(boxes)
        if time - self.time <= MAX_GAP_S + 1e-6:
            overlap = iou(boxes[:, None], self.boxes) if len(boxes) and len(self.boxes) else np.zeros((0, 0))
            while overlap.size and overlap.max() >= MIN_IOU:
                here, before = np.unravel_index(overlap.argmax(), overlap.shape)
                numbers[here] = self.last[before]
                overlap[here], overlap[:, before] = -1, -1
        for here, number in enumerate(numbers):
            if number < 0:
                numbers[here] = self.count
                self.count += 1
        self.numbers += numbers
        self.boxes, self.last, self.time = boxes, numbers, time

    def tracks(self) -> np.ndarray:
        """(hands,) int32: numbers from 0 in order of appearance; -1 for a hand that was linked to no other."""
        numbers = np.array(self.numbers, dtype=np.int64)
        lengths = np.bincount(numbers, minlength=self.count) if numbers.size else np.zeros(0, int)
        renumbered = np.where(lengths > 1, np.cumsum(lengths > 1) - 1, -1)
        return renumbered[numbers].astype(np.int32)
