"""Work in child processes, because decoders and detectors are other people's native code: one that dies or hangs costs one item.

Children are spawned, never forked: threads and descriptors of the parent stay with the parent, and a killed parent leaves no child behind.
"""

import contextlib
import os
import signal
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from multiprocessing import connection, get_context
from typing import Literal, NamedTuple

import cv2

from handtool.errors import HandtoolError

Heartbeat = Callable[[], None]
Work = Callable[[object, Heartbeat], Iterable[object]]  # item, heartbeat -> results, one after the other
HEARTBEAT_S = 1.0
NO_MEMORY = "not enough memory for it"
TIMEOUT_FACTOR_AT_START = 5  # opening a detector may take this many times as long as a frame


class Event(NamedTuple):
    """`result`: one of an item's results. `heartbeat`: it lives, `value` beats since the last event. `done`: it has no more results.
    `lost`: its process died or hung, `value` says how."""

    item: int
    kind: Literal["result", "heartbeat", "done", "lost"]
    value: object


@dataclass(eq=False)
class Child:
    process: object
    pipe: connection.Connection
    last_heard: float = field(default_factory=time.monotonic)
    ready: bool = False
    item: int | None = None


def count_workers(asked: int, items: int) -> int:
    """`asked` processes (0: one per core this process may use), no more than there are items."""
    return max(1, min(asked or len(os.sched_getaffinity(0)), items))


def run_in_processes(
    open_work: Callable[..., Work], arguments: tuple, items: list, workers: int, timeout_s: float
) -> Iterator[Event]:
    """Event of every item, in the order in which it comes; the results of one item come in their own order.

    Each child calls `open_work(*arguments)` once (importable and picklable), then `work(item, heartbeat)` for the items it is given. A child
    that neither yields nor beats for `timeout_s` is killed. An exception in `work` is raised here, with the child's traceback in its text.
    """
    waiting = deque(range(len(items)))
    children = [start_child(open_work, arguments) for _ in range(count_workers(workers, len(items)))] if items else []
    try:
        while children:
            spoken = connection.wait([child.pipe for child in children], timeout=min(HEARTBEAT_S, timeout_s / 4))
            for child in list(children):
                if child.pipe in spoken:
                    event = listen(child)
                elif time.monotonic() - child.last_heard > timeout_s * (1 if child.ready else TIMEOUT_FACTOR_AT_START):
                    event = lose(child, f"no new frame for {timeout_s:g} s")
                else:
                    continue
                if event is not None:
                    given = time.monotonic()
                    yield event
                    for other in children:  # nobody was listened to meanwhile
                        other.last_heard += time.monotonic() - given
                if child.item is None and (child.ready or not child.process.is_alive()):
                    children.remove(child)
                    children += give_next(child, waiting, items, open_work, arguments)
    finally:
        for child in children:
            stop(child)


def run_here(open_work: Callable[..., Work], arguments: tuple, items: list) -> Iterator[Event]:
    """The same event without a child: for work of our own that is over before a child would have started."""
    work = open_work(*arguments)
    for number, item in enumerate(items):
        for result in work(item, lambda: None):
            yield Event(number, "result", result)
        yield Event(number, "done", None)


@dataclass
class Pulse:
    """Beats, told to the parent once a second at most."""

    pipe: connection.Connection
    count: int = 0
    told: float = 0.0

    def heartbeat(self) -> None:
        self.count += 1
        if time.monotonic() - self.told >= HEARTBEAT_S:
            self.tell()

    def tell(self) -> None:
        self.pipe.send(("heartbeat", self.count))
        self.count, self.told = 0, time.monotonic()


def start_child(open_work: Callable[..., Work], arguments: tuple) -> Child:
    spawn = get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=live, args=(theirs, open_work, arguments), daemon=True)
    with one_thread_for_children():
        process.start()
    theirs.close()
    return Child(process, ours)


@contextlib.contextmanager
def one_thread_for_children() -> Iterator[None]:
    """Work is spread over processes: in each of them OpenBLAS and torch use one thread, whose sums are the same on every machine."""
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before


def give_next(
    child: Child, waiting: deque, items: list, open_work: Callable[..., Work], arguments: tuple
) -> list[Child]:
    """The child with its next item, a fresh one in place of a dead one, or nobody when nothing waits."""
    if not waiting:
        stop(child)
        return []
    if not child.process.is_alive():
        return [start_child(open_work, arguments)]
    try:
        child.pipe.send(items[waiting[0]])
    except OSError:  # it died between two items
        return [start_child(open_work, arguments)]
    child.item, child.last_heard = waiting.popleft(), time.monotonic()
    return [child]


def listen(child: Child) -> Event | None:
    """One message of a child. Raises what went wrong in it."""
    try:
        kind, value = child.pipe.recv()
    except (EOFError, OSError):
        return lose(child, "")
    child.last_heard = time.monotonic()
    match kind:
        case "ready":
            child.ready = True
        case "result" | "heartbeat":
            return Event(child.item, kind, value)
        case "done":
            item, child.item = child.item, None
            return Event(item, "done", None)
        case "lost":
            item, child.item = child.item, None
            return Event(item, "lost", value)
        case "error":
            raise value
    return None


def lose(child: Child, reason: str) -> Event:
    """The child is gone, and the item with it. Raises RuntimeError where it never got as far as an item."""
    if reason:
        child.process.kill()
    child.process.join()
    item, was_ready = child.item, child.ready
    child.item, child.ready = None, False
    reason = reason or died(child.process.exitcode)
    if not was_ready or item is None:
        raise RuntimeError(f"a worker process came to nothing before its work began: {reason}")
    return Event(item, "lost", reason)


def died(exitcode: int) -> str:
    return (
        f"its process died ({signal.Signals(-exitcode).name})"
        if exitcode < 0
        else f"its process ended with code {exitcode}"
    )


def is_lasting(reason: str) -> bool:
    """Whether an item that was lost for this reason would be lost again; not where memory was short or somebody else killed the process."""
    return reason not in (NO_MEMORY, died(-signal.SIGKILL))


def stop(child: Child) -> None:
    child.pipe.close()
    child.process.kill()
    child.process.join()


def live(pipe: connection.Connection, open_work: Callable[..., Work], arguments: tuple) -> None:
    """The life of a child. Signals sent to the whole group are the parent's business; without it the pipe ends, and so does the child."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    cv2.setNumThreads(1)
    pulse = Pulse(pipe)
    try:
        work = open_work(*arguments)
        pipe.send(("ready", None))
        while True:
            item = pipe.recv()
            try:
                for result in work(item, pulse.heartbeat):
                    pipe.send(("result", result))
                pulse.tell()
                pipe.send(("done", None))
            except MemoryError:
                pipe.send(("lost", NO_MEMORY))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return
    except HandtoolError as error:
        pipe.send(("error", error))
    except Exception:
        pipe.send(("error", RuntimeError(f"in a worker process:\n{traceback.format_exc()}")))
