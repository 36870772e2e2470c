"""A pool of worker processes on this machine. If foreign native code crashes or hangs, one item is lost.

Workers are spawned, never forked, so that they inherit no threads and no open files. They end when the parent ends.
"""

import contextlib
import os
import signal
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing import connection, get_context
from multiprocessing.context import SpawnProcess
from typing import Any, Literal, NamedTuple

import cv2

from handtool.errors import HandtoolError
from handtool.own_time import OwnTime

Heartbeat = Callable[[], None]
Work = Callable[[Any, Heartbeat], Iterable[Any]]  # item, heartbeat -> results, one after the other
HEARTBEAT_S = 1.0
MAX_IMAGE_PIXELS = 1 << 27  # that OpenCV decodes in a worker, where the environment does not say it; they take 1 GB
NO_MEMORY = "not enough memory for it"
LOST = ("its process", "no new frame", "not enough memory")  # how the reasons of `lost` begin
TIMEOUT_FACTOR_AT_START = 5  # opening a detector may take this many times as long as a frame


class Event(NamedTuple):
    """What happened to an item. `result`: one of its results. `heartbeat`: it is being worked on, `value` calls of
    heartbeat since the last event. `done`: it has no more results. `lost`: it crashed or hung, `value`: why."""

    item: int
    kind: Literal["result", "heartbeat", "done", "lost"]
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
    """`asked` processes (0: one per core this process may use), no more than there are items."""
    return max(1, min(asked or len(os.sched_getaffinity(0)), items))


def run_in_processes(
    open_work: Callable[..., Work], arguments: tuple, items: list, workers: int, timeout_s: float
) -> Iterator[Event]:
    """The events of every item, in the order in which they happen; the results of one item come in their own order.

    Each worker calls `open_work(*arguments)` once (importable and picklable), then `work(item, heartbeat)` for each
    item it is given. A worker that sends neither a result nor a heartbeat for `timeout_s` of its own time is killed. An
    exception in `work` is raised here, with the worker's traceback in its text.
    """
    waiting = deque(range(len(items)))
    pool = [start_worker(open_work, arguments) for _ in range(count_workers(workers, len(items)))] if items else []
    try:
        while pool:
            readable = connection.wait([worker.pipe for worker in pool], timeout=min(HEARTBEAT_S, timeout_s / 4))
            for worker in list(pool):
                if worker.pipe in readable:
                    event = receive(worker)
                elif is_late(worker, timeout_s):
                    event = give_up(worker, f"no new frame for {timeout_s:g} s")
                else:
                    continue
                if event is not None:
                    yield event
                if worker.item is None and (worker.ready or not worker.process.is_alive()):
                    pool.remove(worker)
                    pool += assign_next(worker, waiting, items, open_work, arguments)
    finally:
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


def start_worker(open_work: Callable[..., Work], arguments: tuple) -> Worker:
    spawn = get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=run_worker, args=(theirs, open_work, arguments), daemon=True)
    os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(MAX_IMAGE_PIXELS))
    with one_thread_per_worker():
        process.start()
    theirs.close()
    assert process.pid is not None
    return Worker(process, ours, OwnTime(process.pid))


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
    worker: Worker, waiting: deque, items: list, open_work: Callable[..., Work], arguments: tuple
) -> list[Worker]:
    """Gives the worker its next item, if there is one; a worker that has ended is replaced."""
    if not waiting:
        stop(worker)
        return []
    if not worker.process.is_alive():
        return [start_worker(open_work, arguments)]
    try:
        worker.pipe.send(items[waiting[0]])
    except OSError:  # it died between two items
        return [start_worker(open_work, arguments)]
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
    """Ends a worker that hangs (`reason` is given) or has crashed; its item is lost. RuntimeError if it had none."""
    if reason:
        worker.process.kill()
    worker.process.join()
    item, was_ready = worker.item, worker.ready
    worker.item, worker.ready = None, False
    reason = reason or describe_exit(worker.process.exitcode)
    if not was_ready or item is None:
        raise RuntimeError(f"a worker process came to nothing before its work began: {reason}")
    return Event(item, "lost", reason)


def describe_exit(exitcode: int | None) -> str:
    assert exitcode is not None
    if exitcode < 0:
        return f"its process died ({signal.Signals(-exitcode).name})"
    return f"its process ended with code {exitcode}"


def is_lasting(reason: str) -> bool:
    """Whether an item lost for this reason would be lost again: not if memory ran out or someone killed the process."""
    return reason not in (NO_MEMORY, describe_exit(-signal.SIGKILL))


def stop(worker: Worker) -> None:
    worker.pipe.close()
    worker.process.kill()
    worker.process.join()


def run_worker(pipe: connection.Connection, open_work: Callable[..., Work], arguments: tuple) -> None:
    """The body of a worker process. The parent handles signals to the group. Ends when the pipe closes."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
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
    except Exception:
        pipe.send(("error", RuntimeError(f"in a worker process:\n{traceback.format_exc()}")))
