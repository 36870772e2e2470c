"""A pool of worker processes on this machine. If foreign native code crashes or hangs, one item is lost.

An item whose worker died or gave no answer is tried once more at the end, alone, since the machine may have been the
cause: only what fails twice is lost. Workers are spawned, never forked, so that they inherit no threads and no open
files. They end when the parent ends.
"""

import contextlib
import logging
import os
import signal
import time
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing import connection, get_context, parent_process, resource_tracker
from multiprocessing.context import SpawnProcess
from typing import Any, Literal, NamedTuple

import cv2

from handtool.cores import count_cores
from handtool.engine.parent import end_with_parent
from handtool.errors import HandtoolError
from handtool.own_time import OwnTime
from handtool.signals import hold_signals

log = logging.getLogger(__name__)
Heartbeat = Callable[[], None]
Work = Callable[[Any, Heartbeat], Iterable[Any]]  # item, heartbeat -> results, one after the other
HEARTBEAT_S = 1.0
MAX_IMAGE_PIXELS = 1 << 27  # that OpenCV decodes in a worker, where the environment does not say it; they take 1 GB
NO_MEMORY = "not enough memory for it"
NODE_DIED = "its process died with its node"  # of a cluster
LOST = ("its process", "no new frame", "not enough memory")  # how the reasons of `lost` begin
TIMEOUT_FACTOR_AT_START = 5  # opening a detector may take this many times as long as a frame
NO_ITEM = -1  # of a worker that ended before its work began
START_TRIES = 3  # such workers, one after the other


class Event(NamedTuple):
    """What happened to an item. `result`: one of its results. `heartbeat`: it is being worked on, `value` calls of
    heartbeat since the last event. `done`: it has no more results. `again`: it crashed or hung, `value`: why; it is
    tried once more at the end, and its results begin anew. `lost`: that happened twice."""

    item: int
    kind: Literal["result", "heartbeat", "done", "again", "lost"]
    value: Any


@dataclass(eq=False)
class Worker:
    """A process, and the item that it works on."""

    process: SpawnProcess
    pipe: connection.Connection
    silent: OwnTime
    ready: bool = False
    item: int | None = None


def count_workers(asked: int, items: int) -> int:
    """`asked` processes (0: one per core that this process may use), no more than there are items."""
    return max(1, min(asked or count_cores(), items))


def run_in_processes(
    open_work: Callable[..., Work],
    arguments: tuple,
    items: list,
    workers: int,
    timeout_s: float,
    pool: Callable[..., Generator[Event, None, None]] | None = None,
) -> Iterator[Event]:
    """The events of every item, in the order in which they happen; the results of one item come in their own order.

    Each worker calls `open_work(*arguments)` once (importable and picklable), then `work(item, heartbeat)` for each
    item it is given. A worker that sends neither a result nor a heartbeat for `timeout_s` of its own time is killed. An
    exception in `work` is raised here, with the worker's traceback in its text; an OSError stays one. pool: another one
    than `run_pool`, of workers elsewhere.
    """
    doubtful, pool = [], pool or run_pool
    with contextlib.closing(pool(open_work, arguments, items, range(len(items)), workers, timeout_s)) as events:
        for event in events:
            if event.kind == "lost":
                doubtful.append(event.item)
                event = event._replace(kind="again")
            yield event
    yield from pool(open_work, arguments, items, sorted(doubtful), 1, timeout_s)


def run_pool(
    open_work: Callable[..., Work],
    arguments: tuple,
    items: Sequence | Mapping[int, Any],
    numbers: Iterable[int],
    workers: int,
    timeout_s: float,
) -> Generator[Event, None, None]:
    """As `run_in_processes`, for the items of these numbers, each tried once. Raises HandtoolError if no worker comes
    to its work. A deque of numbers may be filled up while an event is looked at."""
    waiting, failed_starts = numbers if isinstance(numbers, deque) else deque(numbers), 0
    pool: list[Worker] = []
    try:
        for _ in range(count_workers(workers, len(waiting)) if waiting else 0):
            pool += start_worker(open_work, arguments, pool)
        while pool:
            readable = connection.wait([worker.pipe for worker in pool], timeout=min(HEARTBEAT_S, timeout_s / 4))
            for worker in list(pool):
                if worker.pipe in readable:
                    event = receive(worker)
                elif is_late(worker, timeout_s):
                    event = give_up(worker, f"no new frame for {timeout_s:g} s")
                else:
                    continue
                if event is not None and event.item == NO_ITEM:
                    failed_starts += 1
                    pool.remove(worker)
                    pool += start_again(event.value, failed_starts, open_work, arguments, pool) if waiting else []
                    continue
                if event is not None:
                    failed_starts = 0
                    yield event
                if worker.item is None and (worker.ready or not worker.process.is_alive()):
                    pool.remove(worker)
                    pool += assign_next(worker, waiting, items, open_work, arguments, pool)
    finally:
        with hold_signals():  # an impatient second Ctrl-C leaves no worker behind
            for worker in pool:
                stop(worker)


def is_late(worker: Worker, timeout_s: float) -> bool:
    """Whether it has been silent for too long, and has said nothing since this process looked at its pipe."""
    longest = timeout_s * (1 if worker.ready else TIMEOUT_FACTOR_AT_START)
    return worker.silent.look().seconds > longest and not worker.pipe.poll()


def run_here(open_work: Callable[..., Work], arguments: tuple, items: list) -> Iterator[Event]:
    """The same events without a worker process: for our own code that takes less time than starting one."""
    work = open_work(*arguments)
    for number, item in enumerate(items):
        for result in work(item, lambda: None):
            yield Event(number, "result", result)
        yield Event(number, "done", None)


@dataclass
class HeartbeatCounter:
    """Counts heartbeats in a worker and sends the count to the parent at most once per second."""

    pipe: connection.Connection
    count: int = 0
    last_sent: float = 0.0

    def heartbeat(self) -> None:
        self.count += 1
        if time.monotonic() - self.last_sent >= HEARTBEAT_S:
            self.send()

    def send(self) -> None:
        self.pipe.send(("heartbeat", self.count))
        self.count, self.last_sent = 0, time.monotonic()


def start_worker(open_work: Callable[..., Work], arguments: tuple, others: list[Worker]) -> list[Worker]:
    """One more worker; none where the machine has no room for it beside the others. Errors: HandtoolError if there are
    no others."""
    spawn = get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=run_worker, args=(theirs, open_work, arguments), daemon=True)
    os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(MAX_IMAGE_PIXELS))
    try:
        resource_tracker.ensure_running()  # which, if it is started with the first process, unblocks the signals
        with one_thread_per_worker(), hold_signals():
            process.start()
    except OSError as error:  # too many processes or files, or it died at once
        ours.close()
        reason = (error.strerror or str(error)).lower()
        if not others:
            raise HandtoolError(f"no worker process can be started: {reason}", hint="ulimit -a") from None
        log.warning("%d worker processes, not one more: %s", len(others), reason)
        return []
    finally:
        theirs.close()
    assert process.pid is not None
    return [Worker(process, ours, OwnTime(process.pid))]


def start_again(
    reason: str, failures: int, open_work: Callable[..., Work], arguments: tuple, others: list[Worker]
) -> list[Worker]:
    """In the place of one that ended before its work began: none while there are others, since the machine may have no
    room for more."""
    if others:
        log.warning("a worker process ended before its work began: %s; %d go on", reason, len(others))
        return []
    if failures >= START_TRIES:
        raise HandtoolError(f"worker processes end before their work begins: {reason}", hint="handtool doctor")
    return start_worker(open_work, arguments, others)


@contextlib.contextmanager
def one_thread_per_worker() -> Iterator[None]:
    """Processes started within use one thread in OpenBLAS and torch: equal sums everywhere, no shared cores."""
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before


def assign_next(
    worker: Worker,
    waiting: deque,
    items: Sequence | Mapping[int, Any],
    open_work: Callable[..., Work],
    arguments: tuple,
    others: list[Worker],
) -> list[Worker]:
    """Gives the worker its next item, if there is one; a worker that has ended is replaced."""
    if not waiting:
        stop(worker)
        return []
    if not worker.process.is_alive():
        return start_worker(open_work, arguments, others)
    try:
        worker.pipe.send(items[waiting[0]])
    except OSError:  # it died between two items
        return start_worker(open_work, arguments, others)
    worker.item = waiting.popleft()
    worker.silent.restart()
    return [worker]


def receive(worker: Worker) -> Event | None:
    """One message of a worker. Raises the error that it reports."""
    try:
        kind, value = worker.pipe.recv()
    except (EOFError, OSError):
        return give_up(worker)
    worker.silent.restart()
    match kind:
        case "ready":
            worker.ready = True
        case "result" | "heartbeat":
            assert worker.item is not None
            return Event(worker.item, kind, value)
        case "done" | "lost":
            item, worker.item = worker.item, None
            assert item is not None
            return Event(item, kind, value)
        case "error":
            raise value
    return None


def give_up(worker: Worker, reason: str = "") -> Event:
    """Ends a worker that hangs (`reason` is given) or has crashed; its item is lost, NO_ITEM if it had none yet."""
    if reason:
        worker.process.kill()
    worker.process.join()
    item = NO_ITEM if worker.item is None else worker.item
    worker.item, worker.ready = None, False
    return Event(item, "lost", reason or describe_exit(worker.process.exitcode))


def describe_exit(exitcode: int | None) -> str:
    assert exitcode is not None
    if exitcode < 0:
        return f"its process died ({signal.Signals(-exitcode).name})"
    return f"its process ended with code {exitcode}"


def is_lasting(reason: str) -> bool:
    """Whether an item lost for this reason would be lost again: not if memory ran out, or someone killed the process,
    or the machine was lost."""
    return reason not in (NO_MEMORY, NODE_DIED, describe_exit(-signal.SIGKILL))


def stop(worker: Worker) -> None:
    worker.pipe.close()
    worker.process.kill()
    worker.process.join()


def run_worker(pipe: connection.Connection, open_work: Callable[..., Work], arguments: tuple) -> None:
    """The body of a worker process. The parent handles signals to the group. Ends when the pipe closes, and on Linux
    with the parent."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    if (parent := parent_process()) is not None and parent.pid == os.getppid():  # no server in between has forked it
        end_with_parent(parent.pid)
    cv2.setNumThreads(1)
    counter = HeartbeatCounter(pipe)
    try:
        work = open_work(*arguments)
        pipe.send(("ready", None))
        while True:
            item = pipe.recv()
            try:
                for result in work(item, counter.heartbeat):
                    pipe.send(("result", result))
                counter.send()
                pipe.send(("done", None))
            except MemoryError:
                pipe.send(("lost", NO_MEMORY))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return
    except HandtoolError as error:
        pipe.send(("error", error))
    except Exception as error:
        told = f"in a worker process:\n{traceback.format_exc()}"
        if isinstance(error, OSError) and type(error).__module__ == "builtins":  # a full disk is one there, too
            error.add_note(told)
            pipe.send(("error", error))
        else:
            pipe.send(("error", RuntimeError(told)))
