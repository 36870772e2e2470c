"""Which hands never pair: those of one group (a video, a track), those of one video that are too near in time, and
those whose vectors are too near."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Exclusion:
    """The rule for n rows. `group` (n,) int64 >= 0: two rows of one group never pair.

    With `gap_s` > 0, rows of one `video` (n,) whose `time` (n,) s differs by less do not pair either; a row without a
    time (NaN) pairs with no row of its own video. Rows whose vectors are less than `least` apart do not pair either,
    which `allows` cannot tell.
    """

    group: np.ndarray
    video: np.ndarray | None = None
    time: np.ndarray | None = None
    gap_s: float = 0.0
    least: float = 0.0  # Euclidean

    @property
    def is_equivalence(self) -> bool:
        """Whether group and vector alone decide, so that rows equal in both are excluded alike."""
        return self.gap_s <= 0

    def allows(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        """Whether the rows may pair; `one` and `other` are row numbers that broadcast against each other."""
        fits = self.group[one] != self.group[other]
        if not self.is_equivalence:
            assert self.time is not None and self.video is not None
            apart = np.abs(self.time[one] - self.time[other]) >= self.gap_s  # False where a time is NaN
            fits &= apart | (self.video[one] != self.video[other])
        return fits
