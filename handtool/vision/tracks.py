"""The same hand over time: each hand of a frame goes on from a hand that was seen just before, near the place where it
must be by now.

Hands and open tracks are matched twice, the best pair first: by the overlap of their boxes, then, for hands too fast to
overlap, by the distance of their centres (two stages as in ByteTrack: Zhang et al. 2022, arXiv:2110.06864).
"""

from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from handtool.hands.boxes import iou, larger_side, middle
from handtool.hands.skeleton import LEFT, RIGHT, UNKNOWN
from handtool.vision.contracts import Detection
from handtool.vision.track_ends import TrackEnds

MAX_GAP_S = 0.2
LATE_S = 0.04  # a frame comes at a tick of the clock or up to one frame later
MIN_IOU = 0.3
OTHER_SIDE = 0.5  # factor on the likeness of a left and a right hand: hands that cross keep their tracks
REACH = 1.0  # hand sizes between two sightings of a hand that do not overlap enough
GROWTH = 2.0  # of a hand from one sighting to the next, at most
NEWEST = 0.5  # share of the newest step in a track's speed


@dataclass(eq=False)
class OpenTrack:
    """A track that may go on. time: s, of its last sighting `hand`. speed: (2,) px/s, of its centre. scores: of its
    left, its right and its other sightings so far. misses: second looks in vain since the last sighting."""

    number: int
    time: float
    hand: Detection
    speed: np.ndarray
    scores: np.ndarray
    misses: int = 0

    @property
    def side(self) -> int:
        left, right = self.scores[:2]
        return UNKNOWN if left == right else LEFT if left > right else RIGHT

    def box_at(self, time: float) -> np.ndarray:
        """(4,) px: where the hand must be at a time, s, if it keeps its speed."""
        return self.hand.box + np.tile(self.speed * (time - self.time), 2)

    def go_on(self, time: float, hand: Detection) -> None:
        if time != self.time:
            step = (middle(hand.box) - middle(self.hand.box)) / (time - self.time)
            self.speed = NEWEST * step + (1 - NEWEST) * self.speed
        self.time, self.hand, self.misses = time, hand, 0
        self.scores[hand.side] += hand.score


class Tracks:
    """The tracks of one video, frame by frame.

    interval_s: between the frames that are looked at, if that is known (`--track-fps`).
    """

    def __init__(self, interval_s: float = 0.0) -> None:
        self.max_gap_s = max(MAX_GAP_S, 2 * interval_s) + LATE_S  # a detector may miss a hand once
        self.open: list[OpenTrack] = []
        # arrays that grow: an object for each track, left between large pictures, would keep their memory from reuse
        self.votes = array("d")  # two of every track: scores of its left and of its right sightings
        self.ends = TrackEnds()

    def add(self, time: float, hands: list[Detection]) -> list[int]:
        """The track of each hand of a frame. time: s (NaN: never linked)."""
        numbers, _ = self.match(time, hands)
        return [self.begin(time, hand) if number < 0 else number for number, hand in zip(numbers, hands)]

    def match(self, time: float, hands: list[Detection]) -> tuple[list[int], list[OpenTrack]]:
        """The open track of each hand, -1 where it has none; and the open tracks without a hand."""
        self.open = [track for track in self.open if abs(time - track.time) <= self.max_gap_s + 1e-6]
        numbers, lost = [-1] * len(hands), list(self.open)
        for compare in (compare_overlap, compare_places):
            free = [here for here, number in enumerate(numbers) if number < 0]
            for place, track in pair(compare, time, [hands[here] for here in free], lost):
                numbers[free[place]] = track.number
                self.go_on(track, time, hands[free[place]])
                lost.remove(track)
        return numbers, lost

    def begin(self, time: float, hand: Detection) -> int:
        number = self.ends.begin(time, hand.box)
        self.votes.extend((0.0, 0.0))
        self.open.append(OpenTrack(number, time, hand, np.zeros(2), hand.score * np.eye(3)[hand.side]))
        return number

    def go_on(self, track: OpenTrack, time: float, hand: Detection) -> None:
        track.go_on(time, hand)
        self.ends.go_on(track.number, time, hand.box)

    def vote(self, number: int, hand: Detection) -> None:
        if hand.side != UNKNOWN:
            self.votes[2 * number + hand.side] += max(hand.score, 1e-6)

    def unite(self, number: int, later: int) -> None:
        """Two tracks are one hand: `later` goes on where `number` ended."""
        self.open = [track for track in self.open if track.number != number]
        self.ends.unite(number, later)

    def finish(self, numbers: Sequence[int], seen: np.ndarray, sure: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """At the end of the video, of each kept hand: track (hands,) int32, from 0 in order of appearance, -1 for one
        that is linked to no other kept hand; and side (hands,) int8, that of its track, the one with the larger sum of
        scores. numbers, seen, sure: (hands,), its track so far, its side as it was given, and whether that is known,
        rather than a detector's guess: a side that is known stays."""
        votes = np.array(self.votes).reshape(-1, 2)
        wholes = self.ends.join(votes)
        votes_of_wholes = np.zeros_like(votes)
        np.add.at(votes_of_wholes, wholes, votes)
        whole = wholes[np.array(numbers, np.int64)]
        left, right = votes_of_wholes[whole].T
        decided = (left != right) & (~sure | (seen == UNKNOWN))
        return number_by_appearance(whole, len(wholes)), np.where(
            decided, np.where(left > right, LEFT, RIGHT), seen
        ).astype(np.int8)


def number_by_appearance(tracks: np.ndarray, count: int) -> np.ndarray:
    """tracks: (hands,), numbers below `count`. Returns them from 0 in order of appearance, -1 for one that comes
    once."""
    lengths, first = np.bincount(tracks, minlength=count), np.full(count, len(tracks))
    np.minimum.at(first, tracks, np.arange(len(tracks)))
    order = np.argsort(np.where(lengths > 1, first, len(tracks)), kind="stable")
    renumbered = np.full(count, -1)
    renumbered[order] = np.arange(len(order))
    return np.where(lengths > 1, renumbered, -1)[tracks].astype(np.int32)


def pair(
    compare: Callable, time: float, hands: list[Detection], tracks: list[OpenTrack]
) -> list[tuple[int, OpenTrack]]:
    """(place of a hand, its track), the most alike first, no hand and no track twice."""
    if not hands or not tracks:
        return []
    likeness, pairs = compare(time, hands, tracks) * side_factor(hands, tracks), []
    while likeness.max() > 0:
        here, before = map(int, np.unravel_index(likeness.argmax(), likeness.shape))
        pairs.append((here, tracks[before]))
        likeness[here], likeness[:, before] = -1, -1
    return pairs


def compare_overlap(time: float, hands: list[Detection], tracks: list[OpenTrack]) -> np.ndarray:
    """(hands, tracks): overlap with the last box, or with the one that the speed leads to; 0 where too little."""
    boxes = np.array([hand.box for hand in hands])[:, None]
    overlap = np.maximum(
        iou(boxes, np.array([track.hand.box for track in tracks])),
        iou(boxes, np.array([track.box_at(time) for track in tracks])),
    )
    return np.where(overlap >= MIN_IOU, overlap, 0)


def compare_places(time: float, hands: list[Detection], tracks: list[OpenTrack]) -> np.ndarray:
    """(hands, tracks): 1 at the same place, 0 beyond REACH hand sizes or where the sizes differ too much."""
    boxes = np.array([hand.box for hand in hands])[:, None]
    return np.maximum(
        closeness(boxes, np.array([track.hand.box for track in tracks])),
        closeness(boxes, np.array([track.box_at(time) for track in tracks])),
    )


def closeness(box: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(..., 4) px each. 1 - distance of the centres in REACH hand sizes; 0 where that is negative, or one is more than
    GROWTH times as large."""
    large, small = np.maximum(larger_side(box), larger_side(other)), np.minimum(larger_side(box), larger_side(other))
    distance = np.linalg.norm(middle(box) - middle(other), axis=-1) / (REACH * (large + small) / 2)
    return np.where(large <= GROWTH * small, np.clip(1 - distance, 0, None), 0)


def side_factor(hands: list[Detection], tracks: list[OpenTrack]) -> np.ndarray:
    side, before = np.array([hand.side for hand in hands])[:, None], np.array([track.side for track in tracks])
    return np.where((side != before) & (side != UNKNOWN) & (before != UNKNOWN), OTHER_SIDE, 1.0)
