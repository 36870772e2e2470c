"""What a training says of itself step by step, and when to look, to save, to warn."""

import logging
import math
import time
from collections.abc import Mapping

import numpy as np
from torch import Tensor

from handtool.errors import HandtoolError

log = logging.getLogger(__name__)

WATCHED = ("positive_similarity", "negative_similarity", "alignment", "uniformity")
COLUMNS = {"step": "i8", "loss": "f4", "learning_rate": "f8", "seconds": "f8"} | dict.fromkeys(WATCHED, "f4")
COLLAPSED = 0.99  # mean similarity of views of different hands


class Curve:
    """One value a step in each of COLUMNS. Figures stay on the device until someone looks, so that a GPU need not wait."""

    def __init__(self, state: Mapping[str, np.ndarray] | None) -> None:
        self.values = {name: list(state[f"curve/{name}"]) if state else [] for name in COLUMNS}
        self.pending: list[Tensor] = []
        self.warned = False

    def __len__(self) -> int:
        return len(self.values["step"])

    def append(self, step: int, rate: float, seconds: float, figures: Tensor) -> None:
        """`figures`: (5,) the loss, then WATCHED."""
        for name, value in (("step", step), ("learning_rate", rate), ("seconds", seconds)):
            self.values[name].append(value)
        self.pending.append(figures)

    def fetch(self) -> None:
        """Brings pending figures over. Raises HandtoolError where the loss is no number any more."""
        for figures in self.pending:
            for name, value in zip(("loss", *WATCHED), figures.tolist(), strict=True):
                self.values[name].append(value)
        self.pending.clear()
        for step, loss in zip(self.values["step"], self.values["loss"], strict=True):
            if not math.isfinite(loss):
                raise HandtoolError(
                    f"the loss is {loss} at step {step}, learning rate {self.values['learning_rate'][step]:.3g}",
                    hint="a lower --learning-rate, or --precision fp32; and --restart",
                )
        if not self.warned and (why := self.collapse()):
            self.warned = True
            log.warning("collapse: %s at step %d", why, self.values["step"][-1])

    def collapse(self) -> str | None:
        """What is wrong with the last projections, if all hands have one: the same direction, or none at all (rows of zeros are alike,
        and yet have a similarity of 0)."""
        similarity = self.last("negative_similarity")
        if similarity > COLLAPSED:
            return f"all hands have nearly the same projection (mean similarity {similarity:.3f} of different hands)"
        if self.last("alignment") == 0 and self.last("positive_similarity") < 0.5:
            return "all projections are 0"
        return None

    def last(self, name: str) -> float:
        return float(self.values[name][-1])

    def as_arrays(self) -> dict[str, np.ndarray]:
        """`curve/<column>` -> (T,) array."""
        self.fetch()
        return {f"curve/{name}": np.array(self.values[name], dtype) for name, dtype in COLUMNS.items()}


class Clock:
    """Training time over all parts of a resumed run, and what is due: a look at the figures, a checkpoint."""

    def __init__(
        self, seconds_before: float, checkpoint_every: int, checkpoint_seconds: float, look_seconds: float = 0.5
    ) -> None:
        self.seconds_before = seconds_before
        self.every, self.checkpoint_seconds, self.look_seconds = checkpoint_every, checkpoint_seconds, look_seconds
        self.begun = self.saved = self.looked = time.monotonic()
        self.steps_since_look = 0

    def seconds(self) -> float:
        return self.seconds_before + time.monotonic() - self.begun

    def tick(self) -> bool:
        """One more step; True where it is time to look at the figures."""
        self.steps_since_look += 1
        return time.monotonic() - self.looked >= self.look_seconds

    def steps_per_s(self) -> float:
        """Since the last look, which this one ends."""
        now = time.monotonic()
        rate = self.steps_since_look / max(now - self.looked, 1e-9)
        self.looked, self.steps_since_look = now, 0
        return rate

    def should_save(self, steps_done: int) -> bool:
        """Every so many steps, or by the clock. A checkpoint never changes the result, so either may be chosen anew each time."""
        due = steps_done % self.every == 0 if self.every else time.monotonic() - self.saved >= self.checkpoint_seconds
        if due:
            self.saved = time.monotonic()
        return due
