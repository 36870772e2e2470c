"""Which frames of a film are kept, by a clock."""

import numpy as np


class Ticks:
    """The first frame at or after each tick of a clock, or every N-th frame. Begins anew where time jumps back."""

    def __init__(self, per_second: float, every: int | None = None) -> None:
        self.per_second, self.every = per_second, every
        self.due, self.last = 0, 0.0

    def meets(self, number: int, time: float) -> bool:
        """number: of the frame, time: s. A tick whose frame is missing is met by the next one."""
        # a stamp rounded down to the stream's clock still meets its tick
        place = number / self.every if self.every is not None else time * self.per_second + 1e-6
        if place < self.last - 1:
            self.due = int(np.floor(place))
        self.last = place
        if place < self.due:
            return False
        self.due = int(np.floor(place)) + 1
        return True
