"""The same hand over time: boxes that follow each other closely, linked by their overlap; and one side for each
track."""

from array import array
from collections.abc import Sequence

import numpy as np

from handtool.hands.boxes import iou
from handtool.hands.skeleton import LEFT, RIGHT, UNKNOWN
from handtool.vision.contracts import Detection

MAX_GAP_S = 0.2
LATE_S = 0.04  # a frame comes at a tick of the clock or up to one frame later
MIN_IOU = 0.3
OTHER_SIDE = 0.5  # factor on the overlap of a left and a right hand: hands that cross keep their tracks


class Linker:
    """Links the hands of one video, frame by frame: each to the last box, not too long ago, that it overlaps most.

    interval_s: between the frames that are looked at, if that is known (`--track-fps`).
    """

    def __init__(self, interval_s: float = 0.0) -> None:
        self.max_gap_s = max(MAX_GAP_S, 2 * interval_s) + LATE_S  # a detector may miss a hand once
        # arrays that grow: an object for each hand, left between large pictures, would keep their memory from reuse
        self.numbers = array("q")  # of every kept hand so far, in order
        self.seen = bytearray()  # its side, as it was given
        self.sure = bytearray()  # and whether that is known, rather than a detector's guess
        self.votes = array("d")  # two of every track: scores of its left and of its right sightings
        self.open: list[
            tuple[int, float, Detection]
        ] = []  # number, time s and last sighting of the tracks that may go on

    def add(self, time: float, hands: list[Detection], kept: Sequence[bool] = (), sure: Sequence[bool] = ()) -> None:
        """time: s (NaN: never linked). hands: of that frame. kept: which of them become rows; sure: whose side is known
        (empty: none)."""
        self.open = [track for track in self.open if abs(time - track[1]) <= self.max_gap_s + 1e-6]
        numbers = self.link(hands)
        for number, hand in zip(numbers, hands):
            if hand.side != UNKNOWN:
                self.votes[2 * number + hand.side] += max(hand.score, 1e-6)
        self.open = [track for track in self.open if track[0] not in numbers] + [
            (n, time, hand) for n, hand in zip(numbers, hands)
        ]
        for place in np.flatnonzero(kept).tolist():
            self.numbers.append(numbers[place])
            self.seen.append(hands[place].side)
            self.sure.append(bool(sure) and bool(sure[place]))

    def link(self, hands: list[Detection]) -> list[int]:
        """The track of each hand: one that is open, the best overlap first, or a new one."""
        numbers = [-1] * len(hands)
        likeness = self.compare(hands)
        while likeness.size and likeness.max() > 0:
            here, before = map(int, np.unravel_index(likeness.argmax(), likeness.shape))
            numbers[here] = self.open[before][0]
            likeness[here], likeness[:, before] = -1, -1
        for here, number in enumerate(numbers):
            if number < 0:
                numbers[here] = len(self.votes) // 2
                self.votes.extend((0.0, 0.0))
        return numbers

    def compare(self, hands: list[Detection]) -> np.ndarray:
        """(hands, open tracks): how well they overlap, 0 where too little."""
        if not hands or not self.open:
            return np.zeros((0, 0))
        before = [hand for _, _, hand in self.open]
        overlap = iou(np.array([hand.box for hand in hands])[:, None], np.array([hand.box for hand in before]))
        side, sides_before = np.array([hand.side for hand in hands])[:, None], np.array([hand.side for hand in before])
        differ = (side != sides_before) & (side != UNKNOWN) & (sides_before != UNKNOWN)
        return np.where(overlap >= MIN_IOU, overlap, 0) * np.where(differ, OTHER_SIDE, 1)

    def tracks(self) -> np.ndarray:
        """(kept hands,) int32: numbers from 0 in order of appearance; -1 for a hand that is linked to no other kept
        one."""
        numbers = np.array(self.numbers, dtype=np.int64)
        lengths = np.bincount(numbers, minlength=len(self.votes) // 2)
        first = np.full(len(lengths), len(numbers))
        np.minimum.at(first, numbers, np.arange(len(numbers)))
        order = np.argsort(np.where(lengths > 1, first, len(numbers)), kind="stable")
        renumbered = np.full(len(lengths), -1)
        renumbered[order] = np.arange(len(order))
        return np.where(lengths > 1, renumbered, -1)[numbers].astype(np.int32)

    def sides(self) -> np.ndarray:
        """(kept hands,) int8: the side of each hand's track, the one with the larger sum of scores. A side that is
        known stays."""
        seen = np.frombuffer(bytes(self.seen), np.int8)
        votes = np.array(self.votes).reshape(-1, 2)[np.array(self.numbers, dtype=np.int64)]
        agreed = np.where(votes[:, LEFT] > votes[:, RIGHT], LEFT, RIGHT)
        decided = (votes[:, LEFT] != votes[:, RIGHT]) & (~np.frombuffer(bytes(self.sure), bool) | (seen == UNKNOWN))
        return np.where(decided, agreed, seen).astype(np.int8)
