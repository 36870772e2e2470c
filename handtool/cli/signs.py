"""Signs of life of a run that nobody watches: a line a minute in its log, and a small file for monitors."""

import contextlib
import json
import logging
import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from handtool.cli import state
from handtool.names import printable

LINE_S = 60.0  # between two lines
FILE_S = 5.0  # between two states of the file
UNITS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))
log = logging.getLogger(__name__)


@dataclass
class Task:
    """What a stage has said of one piece of its work. `first`: what was done when it was heard of, by a run before."""

    first: float
    begun: float = field(default_factory=lambda: time.monotonic())
    done: float = 0
    total: float | None = None
    figures: dict[str, float] = field(default_factory=dict)
    is_new: bool = True  # said since the last line

    @property
    def is_open(self) -> bool:
        return self.total is not None and self.done < self.total

    @property
    def per_s(self) -> float:
        passed = time.monotonic() - self.begun
        return (self.done - self.first) / passed if passed > 0 else 0.0

    @property
    def seconds_left(self) -> float | None:
        return (self.total - self.done) / self.per_s if self.total is not None and self.per_s > 0 else None


class Signs:
    """A `handtool.progress.Progress`. lines: whether to log one a minute. file: kept up to date; None: none."""

    def __init__(self, lines: bool, file: Path | None) -> None:
        self.lines, self.file = lines, file
        self.tasks: dict[str, Task] = {}
        self.begun = self.told = self.written = time.monotonic()
        self.started = now_text()

    def __call__(self, what: str, done: float, total: float | None = None, **figures: float) -> None:
        task = self.tasks.setdefault(what, Task(done))
        task.done, task.total, task.figures, task.is_new = done, total, figures, True
        now = time.monotonic()
        if self.lines and now - self.told >= LINE_S:
            self.told = now
            log.info("%s", self.line())
        if self.file is not None and now - self.written >= FILE_S:
            self.written = now
            self.write(self.file)

    def line(self) -> str:
        """Of what is not done, and of what was said since the last one: `after 12 min: videos 312 of 1,024 (30 %),
        0.43/s, 27 min left`."""
        said = [describe(what, task) for what, task in self.tasks.items() if task.is_new or task.is_open]
        for task in self.tasks.values():
            task.is_new = False
        return f"after {duration(time.monotonic() - self.begun)}: {'; '.join(said)}"

    def write(self, file: Path) -> None:
        """Whole or not at all, and without waiting for the disk; a full one does not end the run."""
        beside = file.with_name(file.name + ".new")
        with contextlib.suppress(OSError):
            beside.write_text(json.dumps(self.as_dict(), indent=1))
            os.replace(beside, file)

    def as_dict(self) -> dict:
        """The content of progress.json, which SCHEMA.md documents."""
        about = {"command": f"handtool {state.command}", "host": socket.gethostname(), "pid": os.getpid()}
        about |= {"started": self.started, "updated": now_text(), "seconds": round(time.monotonic() - self.begun, 1)}
        return about | {"work": [as_item(what, task) for what, task in self.tasks.items()]}


def as_item(what: str, task: Task) -> dict:
    left = task.seconds_left
    figures = {name: value for name, value in task.figures.items() if value == value}  # JSON has no NaN
    item = {"what": what, "done": task.done, "total": task.total, "per_s": float(f"{task.per_s:.4g}")}
    return item | {"seconds_left": None if left is None else round(left), "figures": figures}


def now_text() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def describe(what: str, task: Task) -> str:
    of = f" of {task.total:,.0f} ({100 * task.done / task.total:.0f} %)" if task.total else ""
    parts = [f"{printable(what)} {task.done:,.0f}{of}"]
    parts += [rate(task.per_s)] if task.per_s > 0 else []
    left = task.seconds_left
    parts += [f"{duration(left)} left"] if left else []
    parts += [f"{name.replace('_', ' ')} {figure(value)}" for name, value in task.figures.items()]
    return ", ".join(parts)


def figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


def rate(per_s: float) -> str:
    for seconds, unit in ((1, "s"), (60, "min"), (3600, "h")):
        if (count := per_s * seconds) >= 0.3 or unit == "h":
            break
    return f"{count:,.0f}/{unit}" if count >= 10 else f"{count:.2g}/{unit}"


def duration(seconds: float) -> str:
    """In the two largest units: 40 s, 12 min, 3 h 20 min, 2 d 4 h."""
    for place, (size, unit) in enumerate(UNITS):
        if seconds >= size or unit == "s":
            whole, rest = divmod(round(seconds), size)
            smaller = rest // UNITS[place + 1][0] if unit in ("d", "h") else 0
            return f"{whole} {unit}" + (f" {smaller} {UNITS[place + 1][1]}" if smaller else "")
    raise AssertionError


def together(*others: Callable) -> Callable:
    """One progress for several."""

    def progress(*said: object, **figures: float) -> None:
        for other in others:
            other(*said, **figures)

    return progress
