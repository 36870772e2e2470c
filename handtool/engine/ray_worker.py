"""What runs on a node of a Ray cluster: an actor, and beside it one process of the local pool, which does the units.

The actor watches that process as `local` does on one machine: a unit that crashes or hangs is judged on its own node,
by the same rules, and costs no more than there.
"""

import os
import platform
import shutil
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from handtool import __version__
from handtool.engine.local import Event, Work, run_pool
from handtool.engine.shipping import Folder, settle, take_files
from handtool.errors import HandtoolError

BEATS_S = 3.0  # between two messages that only say that a unit is being worked on
Message = tuple[str, Any]  # result, heartbeat, done, lost as in `Event`; file: (name, content); error: what to raise


class Task(NamedTuple):
    """What every worker of a run is told. cwd: of the process that started it; gpus: of each worker."""

    open_work: Callable[..., Work]
    arguments: tuple
    timeout_s: float
    folder: Folder | None
    token: str
    cwd: str
    gpus: float


class UnitWorker:
    """The class of the actors. One unit at a time; the process that does them is kept."""

    def __init__(self) -> None:
        self.items: dict[int, Any] = {}
        self.waiting: deque[int] = deque()
        self.own: Path | None = None

    def open(self, task: Task) -> str:
        """Makes ready for units. Returns the version of handtool on this node."""
        vars(sys.modules["__main__"]).pop("__file__", None)  # Ray's own script, which a spawned process would load
        if os.path.isdir(task.cwd):  # where names of files begin
            os.chdir(task.cwd)
        if not task.gpus:
            os.environ["CUDA_VISIBLE_DEVICES"] = ""
        arguments, folder = task.arguments, task.folder
        if folder is not None:
            into = settle(folder, task.token)
            self.own = None if into == folder.path else into
            arguments = tuple(into if isinstance(each, Path) and each == folder.path else each for each in arguments)
        self.folder = folder
        self.events = run_pool(task.open_work, arguments, self.items, self.waiting, 1, task.timeout_s)
        return __version__

    def run(self, item: Any, needed: list[str]) -> Iterator[Message]:
        """The messages of one unit, `done`, `lost` or `error` last. needed: files that this node must see."""
        if unseen := next((path for path in needed if not os.path.exists(path)), None):
            told = f"{unseen} is not there on {platform.node()}, a node of the cluster"
            yield "error", HandtoolError(told, hint="every node needs the inputs, under the same path")
            return
        beats, told_at = 0, time.monotonic()
        try:
            for event in self.attend(item):
                for file in self.take_files(event):
                    yield "file", file
                beats += event.value if event.kind == "heartbeat" else 0
                if beats and (event.kind != "heartbeat" or time.monotonic() - told_at > BEATS_S):
                    yield "heartbeat", beats
                    beats, told_at = 0, time.monotonic()
                if event.kind != "heartbeat":
                    yield event.kind, event.value
        except Exception as error:  # as `local` raises it
            yield "error", error

    def attend(self, item: Any) -> Iterator[Event]:
        """The events of one unit."""
        self.items[0] = item
        self.waiting.append(0)
        for event in self.events:  # goes on where the unit before has ended
            yield event
            if event.kind in ("done", "lost"):
                return

    def take_files(self, event: Event) -> Iterator[tuple[str, bytes]]:
        if self.own is not None and self.folder is not None:
            yield from take_files(self.own, self.folder.finished, event.kind == "lost")

    def close(self) -> None:
        self.events.close()
        if self.own is not None:
            shutil.rmtree(self.own, ignore_errors=True)
