"""How long a child process has answered nothing, in time of its own: asleep, or computing.

Wall-clock time alone cannot tell a child that hangs from a healthy one on a busy, paused or limited machine. So three
kinds of time do not count: waiting for a core, being stopped (Ctrl-Z, SLURM's suspend), and time in which this process
itself was away. What counts is a child that computes for ever, or sleeps for ever.
"""

import os
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

SHORTEST_TICK_S = 0.1  # one look costs about 50 microseconds
LONGEST_TICK_S = 2.0  # more time between two looks: this process was away
WAITS = {"R", "T", "t"}  # states of a thread that wants a core, or is stopped
TICKS_PER_S = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


@dataclass(eq=False)
class OwnTime:
    """Of process `pid`, since `restart` was called last. Call `look` about once a second."""

    pid: int
    asleep_s: float = 0.0
    computing_s: float = 0.0
    looked_at: float = field(default_factory=lambda: time.monotonic())
    cpu_s: float | None = None

    def look(self) -> "OwnTime":
        if (passed := time.monotonic() - self.looked_at) < SHORTEST_TICK_S:
            return self
        self.looked_at += passed
        tick, before = min(passed, LONGEST_TICK_S), self.cpu_s
        self.cpu_s, wants_core = read_process(self.pid)
        if wants_core:
            self.computing_s += min(tick, (self.cpu_s or 0.0) - (before or self.cpu_s or 0.0))
        else:
            self.asleep_s += tick
        return self

    def restart(self) -> None:
        self.asleep_s = self.computing_s = 0.0
        self.looked_at = time.monotonic()

    @property
    def seconds(self) -> float:
        return self.asleep_s + self.computing_s


def read_process(pid: int) -> tuple[float | None, bool]:
    """CPU time of all threads, s, and whether one of them wants a core or is stopped. (None, False) where that is not
    known (not Linux, or it has ended): then all time counts as asleep."""
    if sys.platform != "linux":
        return None, False
    try:
        states = {read_stat(task / "stat")[0] for task in Path(f"/proc/{pid}/task").iterdir()}
        fields = read_stat(Path(f"/proc/{pid}/stat"))
    except OSError:
        return None, False
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S, bool(states & WAITS)


def read_stat(path: Path) -> list[str]:
    """The fields after the name, which may itself hold spaces and brackets: state first. See proc(5)."""
    return path.read_text(errors="replace").rpartition(")")[2].split()
