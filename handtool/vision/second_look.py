"""Hands that the detector missed along a film: it looks again where a track says that a hand must be.

A hand that is on one frame and not on the next is looked for there at once. When a track begins, the frames before it
are looked at, the latest first, until the hand is no longer found. For that the last frames are held, up to HELD_BYTES
of pictures: what lies further back is not looked at again. A hand that is found so must be near the expected place and
of about the same size, and none of those already known on the frame.
"""

from collections import deque
from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from handtool.hands.boxes import iou, larger_side, middle
from handtool.hands.lens import Lens
from handtool.vision.contracts import LOOKED_AGAIN, Detection
from handtool.vision.rows import Hand, is_sound
from handtool.vision.tracks import OTHER_SIDE, OpenTrack, Tracks, closeness

HELD_BYTES = 96 * 2**20
HELD_FRAMES = 32
MAX_MISSES = 3  # second looks in vain, one after the other: the track is no longer looked for
NEAR = 0.4  # least overlap with the expected box, or nearness to it, of a hand that is found again
TWIN_SHARE = 0.3  # mean distance of two hands' landmarks, as a share of their size, below which they are one
TWIN_IOU = 0.6  # the same by their boxes, where landmarks are missing
SURE_SHARE, SURE_IOU = 0.15, 0.85  # the same, where even two hands that are followed cannot be so alike


@dataclass(eq=False)
class Sight:
    """One frame that was looked at. frame: as sources/ gives it. image: its picture, as it was taken; camera: (3, 3),
    its intrinsics, or the lens that bends it. again: whether a detector may look at it again. hands: in the order in
    which they were found, with the number of the track of each, -1: none. doubles: left out, since they are another one
    of the hands once more.
    failed: why the detector could not look at it, "": it could.
    """

    frame: Any
    image: np.ndarray
    camera: np.ndarray | Lens
    hands: list[Hand]
    again: bool = False
    tracks: list[int] = field(default_factory=list)
    doubles: int = 0
    failed: str = ""

    @property
    def time(self) -> float:
        return self.frame.time

    @property
    def bytes(self) -> int:
        return self.image.nbytes

    def drop_doubles(self, share: float, overlap: float) -> None:
        """Leaves out the hands without a track that are another one of the frame once more: the one with a track, or
        with the higher score, stays."""
        order = sorted(range(len(self.hands)), key=lambda place: (self.tracks[place] < 0, -self.hands[place][0].score))
        stay: list[int] = []
        for place in order:
            known = [self.hands[each][0] for each in stay]
            if self.tracks[place] >= 0 or find_twin(self.hands[place][0], known, share, overlap) is None:
                stay.append(place)
        stay.sort()
        self.doubles += len(self.hands) - len(stay)
        self.hands, self.tracks = [self.hands[place] for place in stay], [self.tracks[place] for place in stay]

    def add(self, hand: Detection, track: int) -> None:
        self.hands.append((replace(hand, found=LOOKED_AGAIN), self.camera, {}))
        self.tracks.append(track)


# The hands near a box (4,) px of a frame: a list of them for each further look, made when it is asked for.
LookAgain = Callable[[Sight, np.ndarray], Iterable[list[Detection]]]


def follow(sights: Iterable[Sight], tracks: Tracks, look_again: LookAgain) -> Iterator[Sight]:
    """The frames of one video in their order, each with the hands that were found again and the track of every hand."""
    held: deque[Sight] = deque()
    for sight in sights:
        again = sight.again and bool(np.isfinite(sight.time))
        sight.tracks = [-1] * len(sight.hands)
        if again:
            sight.drop_doubles(SURE_SHARE, SURE_IOU)
        sound = [place for place, (hand, _, _) in enumerate(sight.hands) if is_sound(sight.image, hand)]
        numbers, lost = tracks.match(sight.time, [sight.hands[place][0] for place in sound])
        for place, number in zip(sound, numbers):
            sight.tracks[place] = number
        if again:
            for track in lost:
                look_forwards(sight, track, tracks, look_again)
            sight.drop_doubles(TWIN_SHARE, TWIN_IOU)
        for place, (hand, _, _) in enumerate(sight.hands):
            if sight.tracks[place] < 0 and is_sound(sight.image, hand):
                sight.tracks[place] = tracks.begin(sight.time, hand)
                if again:
                    look_backwards(held, sight, place, tracks, look_again)
        held.append(sight)
        while held and (not again or len(held) > HELD_FRAMES or sum(each.bytes for each in held) > HELD_BYTES):
            yield held.popleft()
    yield from held


def look_forwards(sight: Sight, track: OpenTrack, tracks: Tracks, look_again: LookAgain) -> None:
    """Looks for the hand of a track that has none on this frame."""
    if track.misses >= MAX_MISSES:
        return
    found = find_near(sight, track.box_at(sight.time), track.side, look_again)
    if found is None:
        track.misses += 1
        return
    hand, place = found
    if place is None:
        sight.add(hand, track.number)
    else:  # it was on the frame, too far away to be linked
        sight.tracks[place], hand = track.number, sight.hands[place][0]
    tracks.go_on(track, sight.time, hand)


def look_backwards(held: deque[Sight], sight: Sight, place: int, tracks: Tracks, look_again: LookAgain) -> None:
    """Looks for the hand of a track that begins at `place` of `sight` on the frames before it. Where it meets a track
    that ended there, both are one."""
    later, hand, number, speed = sight, sight.hands[place][0], sight.tracks[place], np.zeros(2)
    for earlier in reversed(held):
        gap = later.time - earlier.time
        if not 0 < gap <= tracks.max_gap_s:
            return
        ended = {each for each in earlier.tracks if each >= 0 and tracks.ends.has_ended(each, earlier.time)}
        found = find_near(earlier, hand.box - np.tile(speed * gap, 2), hand.side, look_again, ended)
        if found is None:
            return
        before, twin = found
        if twin is not None:
            tracks.unite(earlier.tracks[twin], number)
            return
        earlier.add(before, number)
        tracks.ends.go_on(number, earlier.time, before.box)
        speed = (middle(hand.box) - middle(before.box)) / gap
        later, hand = earlier, before


def find_near(
    sight: Sight, box: np.ndarray, side: int, look_again: LookAgain, free: Container[int] = (-1,)
) -> tuple[Detection, int | None] | None:
    """The hand at the expected box, rather one of the expected side: one that was not known, and None; or the twin of
    one of the frame's hands whose track is `free`, and the place of that. None: there is no such hand."""
    for hands in look_again(sight, box):
        near = [hand for hand in hands if is_sound(sight.image, hand) and likeness(hand.box, box) >= NEAR]
        for hand in sorted(near, key=lambda hand: -likeness(hand.box, box) * (1 if hand.side == side else OTHER_SIDE)):
            twin = find_twin(hand, [each for each, _, _ in sight.hands])
            if twin is None or sight.tracks[twin] in free:
                return hand, twin
    return None


def likeness(box: np.ndarray, expected: np.ndarray) -> float:
    """0..1: overlap of two boxes, or nearness of their centres; 0 where their sizes differ too much."""
    near = float(closeness(box, expected))
    return max(near, float(iou(box, expected))) if near > 0 else 0.0


def find_twin(
    hand: Detection, hands: list[Detection], share: float = TWIN_SHARE, overlap: float = TWIN_IOU
) -> int | None:
    """The place of the one among `hands` that is the same hand; None: there is none."""
    for place, other in enumerate(hands):
        if hand.landmarks is not None and other.landmarks is not None:
            size = max(larger_side(hand.box), larger_side(other.box))
            apart = np.linalg.norm(hand.landmarks - other.landmarks, axis=1).mean()
            same = apart < share * size
        else:
            same = iou(hand.box, other.box) > overlap
        if same:
            return place
    return None
