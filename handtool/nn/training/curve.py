"""The figures of a training step by step, and the times for reading them and for checkpoints."""

import math
import time
from collections.abc import Mapping

import numpy as np
from torch import Tensor

from handtool.errors import HandtoolError

ALWAYS = {"step": "i8", "loss": "f4", "learning_rate": "f8", "seconds": "f8"}
VALIDATION = "validation_mm"  # NaN at steps that do not end an epoch


class Curve:
    """One value a step in each column. Figures stay on the device until `fetch`, so that a GPU need not wait."""

    def __init__(self, figures: tuple[str, ...], validated: bool, state: Mapping[str, np.ndarray] | None) -> None:
        """`figures`: the objective's figures besides the loss; `state`: a checkpoint to resume from."""
        self.figures = figures
        self.columns = ALWAYS | dict.fromkeys((*figures, VALIDATION) if validated else figures, "f4")
        self.values = {name: state[f"curve/{name}"].tolist() if state else [] for name in self.columns}
        self.pending: list[Tensor] = []

    def __len__(self) -> int:
        return len(self.values["step"])

    def append(self, rate: float, seconds: float, figures: Tensor, validation_mm: float = math.nan) -> None:
        """The next step; `figures`: (1 + F,) the loss, then the objective's."""
        values = {"step": len(self), "learning_rate": rate, "seconds": seconds, VALIDATION: validation_mm}
        for name in values.keys() & self.values.keys():
            self.values[name].append(values[name])
        self.pending.append(figures)

    def fetch(self) -> None:
        """Moves pending figures to the CPU. Raises HandtoolError if the loss is not finite."""
        for figures in self.pending:
            step, numbers = len(self.values["loss"]), figures.tolist()
            for name, value in zip(("loss", *self.figures), numbers, strict=True):
                self.values[name].append(value)
            if not math.isfinite(numbers[0]):
                raise HandtoolError(
                    f"the loss is {numbers[0]} at step {step}, learning rate {self.values['learning_rate'][step]:.3g}",
                    hint="a lower --learning-rate, or --precision fp32; and --restart",
                )
        self.pending.clear()

    def last(self) -> dict[str, float]:
        """The newest values that were fetched."""
        return {name: float(values[-1]) for name, values in self.values.items() if values}

    def as_arrays(self) -> dict[str, np.ndarray]:
        """`curve/<column>` -> (T,) array."""
        self.fetch()
        return {f"curve/{name}": np.array(self.values[name], dtype) for name, dtype in self.columns.items()}


class Clock:
    """Training time over all sessions of a resumed run, and when to read the figures and to save a checkpoint."""

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
        """Counts a step; True if it is time to read the figures."""
        self.steps_since_look += 1
        return time.monotonic() - self.looked >= self.look_seconds

    def steps_per_s(self) -> float:
        """The rate since the last call."""
        now = time.monotonic()
        rate = self.steps_since_look / max(now - self.looked, 1e-9)
        self.looked, self.steps_since_look = now, 0
        return rate

    def should_save(self, steps_done: int) -> bool:
        """Every `checkpoint_every` steps, or every `checkpoint_seconds`. Checkpoints do not change the result, so a
        resumed run may choose again."""
        due = steps_done % self.every == 0 if self.every else time.monotonic() - self.saved >= self.checkpoint_seconds
        if due:
            self.saved = time.monotonic()
        return due
