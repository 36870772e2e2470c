"""Where each track of a video begins and ends; and which of them go on from each other after a pause, so that they are
one hand."""

from array import array
from collections.abc import Iterator

import numpy as np

from handtool.hands.boxes import larger_side, middle
from handtool.hands.skeleton import UNKNOWN

FIRST, LAST, NUMBERS = 0, 5, 10  # of each track: time s and box px of its first sighting, and of its last
MAX_PAUSE_S = 2.0
# hand sizes between the end of one track and the beginning of the next: without a pause, for each second, at most
REACH, REACH_PER_S, FARTHEST = 1.0, 3.0, 2.5
GROWTH = 2.0  # of the hand in between, at most
OFTEN = 3  # sightings
CLEAR = 1.5  # a track has a side where the votes for it are so many times those against it


class TrackEnds:
    def __init__(self) -> None:
        # arrays that grow: an object for each track, left between large pictures, would keep their memory from reuse
        self.numbers = array("d")
        self.sightings = array("q")
        self.earlier = array("q")  # of each track: an earlier one that is the same hand, or itself
        self.continued = bytearray()  # whether another track goes on from it

    def begin(self, time: float, box: np.ndarray) -> int:
        self.earlier.append(len(self.earlier))
        self.sightings.append(1)
        self.continued.append(False)
        self.numbers.extend([time, *box, time, *box])
        return len(self.earlier) - 1

    def go_on(self, track: int, time: float, box: np.ndarray) -> None:
        """A further sighting, after the last or before the first one."""
        at = NUMBERS * track + (FIRST if time < self.numbers[NUMBERS * track] else LAST)
        self.numbers[at : at + 5] = array("d", [time, *box])
        self.sightings[track] += 1

    def has_ended(self, track: int, time: float) -> bool:
        """Whether its last sighting was at that time, s, and nothing goes on from it."""
        return self.numbers[NUMBERS * track + LAST] == time and not self.continued[track]

    def unite(self, track: int, later: int) -> None:
        """`later` goes on from `track`."""
        self.continued[track] = True
        one, two = self.first_of(track), self.first_of(later)
        self.earlier[max(one, two)] = min(one, two)

    def first_of(self, track: int) -> int:
        while self.earlier[track] != track:
            track = self.earlier[track]
        return track

    def join(self, votes: np.ndarray) -> np.ndarray:
        """(tracks,): the first track of the same hand. Tracks of several sightings that follow each other after a short
        pause, near each other and not of different sides, become one: those that were seen often first, since a short
        one may be a mistake, then the nearest. votes: (tracks, 2), for left and right."""
        numbers, often, votes = self.sum_up(votes)
        pauses = [(min(often[a], often[b], OFTEN), cost, a, b) for cost, a, b in find_pauses(numbers, sides_of(votes))]
        has_next, has_before = set(), set()
        for _, _, before, after in sorted((-seen, *rest) for seen, *rest in pauses if seen > 1):
            if before not in has_next and after not in has_before:
                self.unite(before, after)
                has_next.add(before)
                has_before.add(after)
        return np.array([self.first_of(track) for track in range(len(numbers))], np.int64)

    def sum_up(self, votes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The numbers (tracks, 10), sightings and votes of the tracks, those that were united as the first of them; the
        times of the others are NaN."""
        numbers, often, votes = np.array(self.numbers).reshape(-1, NUMBERS), np.array(self.sightings), votes.copy()
        for track in range(len(numbers)):
            first = self.first_of(track)
            if first != track:
                if numbers[track, LAST] > numbers[first, LAST]:
                    numbers[first, LAST : LAST + 5] = numbers[track, LAST : LAST + 5]
                if numbers[track, FIRST] < numbers[first, FIRST]:
                    numbers[first, FIRST : FIRST + 5] = numbers[track, FIRST : FIRST + 5]
                often[first] += often[track]
                votes[first] += votes[track]
                numbers[track] = np.nan
        return numbers, often, votes


def sides_of(votes: np.ndarray) -> np.ndarray:
    """(tracks,): the side of each, UNKNOWN where its votes are not clear."""
    more, less = votes.max(1, initial=0), votes.min(1, initial=np.inf)
    return np.where((more > 0) & (more >= CLEAR * less), votes.argmax(1), UNKNOWN)


def find_pauses(numbers: np.ndarray, side: np.ndarray) -> Iterator[tuple[float, int, int]]:
    """(cost, track, track that may go on from it) of each such pair. numbers: (tracks, 10), side: (tracks,)."""
    ends, begins = numbers[:, LAST : LAST + 5], numbers[:, FIRST : FIRST + 5]
    order = np.argsort(ends[:, 0], kind="stable")
    at = ends[order, 0]
    for after, (time, *box) in enumerate(begins):
        near = order[np.searchsorted(at, time - MAX_PAUSE_S) : np.searchsorted(at, time)]
        pause, before = time - ends[near, 0], ends[near, 1:]
        sizes = np.sort([larger_side(before), np.broadcast_to(larger_side(np.array(box)), len(near))], axis=0)
        apart = np.linalg.norm(middle(before) - middle(np.array(box)), axis=1) / sizes.mean(0)
        differ = (side[near] != side[after]) & (side[near] != UNKNOWN) & (side[after] != UNKNOWN)
        fit = (apart <= np.minimum(REACH + REACH_PER_S * pause, FARTHEST)) & (sizes[1] <= GROWTH * sizes[0]) & ~differ
        for place in np.flatnonzero(fit):
            yield float(apart[place] + REACH_PER_S * pause[place]), int(near[place]), after
