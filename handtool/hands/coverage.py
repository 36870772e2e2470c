"""One hand over time: on which frames its track has it, and on which it lost it."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Track:
    """The hands of one track. frame: (t,) numbers, rising; side: of most of them; box: (t, 4) px of the frame."""

    number: int
    side: int
    frame: np.ndarray
    box: np.ndarray

    def has_lost(self, frame: int) -> bool:
        """Whether the hand is missing on this frame, between its first and its last one."""
        place = int(np.searchsorted(self.frame, frame))
        return 0 < place < len(self.frame) and self.frame[place] != frame

    def box_at(self, frame: int) -> np.ndarray:
        """(4,) px: the box that moves evenly from the sighting before to the one after."""
        return np.array([np.interp(frame, self.frame, edge) for edge in self.box.T])


def collect_tracks(track: np.ndarray, side: np.ndarray, frame: np.ndarray, box: np.ndarray) -> list[Track]:
    """The tracks of one video, by number. track, side, frame: (n,), box: (n, 4), hands in any order; -1: no track."""
    tracks = []
    for number in np.unique(track[track >= 0]):
        rows = np.flatnonzero(track == number)
        rows = rows[np.argsort(frame[rows], kind="stable")]
        sides, counts = np.unique(side[rows], return_counts=True)
        tracks.append(Track(int(number), int(sides[counts.argmax()]), frame[rows], box[rows]))
    return tracks
