"""A pool of workers on a Ray cluster, with the units and the events of the pool on one machine.

Ray places the workers and, should a node die, starts them again on another one; a unit that was in work there is done
again. A worker gets its next unit when it has done one, and its messages wait until they are read, so nothing piles up
in this process. Each unit's results are told when it is done, once.
"""

import contextlib
import functools
import logging
import os
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import handtool
from handtool.engine.local import NO_MEMORY, NODE_DIED, Event, Work, run_in_processes
from handtool.engine.ray_connection import connected, import_ray
from handtool.engine.ray_worker import Message, Task, UnitWorker
from handtool.engine.shipping import Folder, leave_token
from handtool.errors import HandtoolError, WrongCommand, first_line
from handtool.signals import hold_signals

log = logging.getLogger(__name__)
LOOK_S = 1.0
PLACE_S = 60.0  # without a worker, before it is said
NODE_TRIES = 2  # of a unit whose node dies, before it waits for the end; then once more, alone
CLOSE_S = 5.0  # that a worker may take to tidy up
MESSAGES_AHEAD = 2  # that a worker makes before the first is read


def run_on_ray(
    open_work: Callable[..., Work],
    arguments: tuple,
    items: list,
    workers: int,
    timeout_s: float,
    gpus: float,
    folder: Folder | None,
    reads: Callable[[Any], list[str]] | None,
) -> Iterator[Event]:
    """See `units.run_units`."""
    if items:
        read = reads or (lambda _: [])
        pool = functools.partial(run_pool, gpus=gpus, folder=folder, reads=read, deaths=Counter())
        with connected(workers):
            yield from run_in_processes(open_work, arguments, items, workers, timeout_s, pool)


@dataclass(eq=False)
class Seat:
    """An actor, and the answer that it owes: a reference while it makes ready, a stream of them about a unit."""

    actor: Any
    answer: Any = None
    unit: int | None = None
    results: list = field(default_factory=list)
    is_free: bool = False

    def open(self, task: Any) -> None:
        """On whichever node it comes to live, however often that one dies."""
        self.answer, self.unit = self.actor.open.options(max_task_retries=-1).remote(task), None

    def begin(self, unit: int, item: Any, needed: list[str]) -> None:
        stream = self.actor.run.options(num_returns="streaming", _generator_backpressure_num_objects=MESSAGES_AHEAD)
        self.answer, self.unit, self.results, self.is_free = stream.remote(item, needed), unit, [], False


@dataclass(eq=False)
class Pool:
    """The seats of a run, the numbers of the units that nobody has yet, and what the seats are told."""

    ray: Any
    task: Any
    folder: Folder | None
    waiting: deque[int]
    deaths: Counter
    seats: list[Seat] = field(default_factory=list)

    def open_seats(self, count: int, gpus: float) -> None:
        """Actors over all nodes. One that dies is started again wherever there is room."""
        how = {"num_cpus": 1, "num_gpus": gpus, "max_restarts": -1, "scheduling_strategy": "SPREAD"}
        kind = self.ray.remote(**how)(UnitWorker)
        self.seats = [Seat(kind.remote()) for _ in range(count)]
        for seat in self.seats:
            seat.open(self.task)

    def answered(self) -> Iterator[Seat]:
        """Those with an answer to read, until every unit is done."""
        heard = time.monotonic()
        while self.waiting or any(seat.unit is not None for seat in self.seats):
            by_answer = {seat.answer: seat for seat in self.seats}
            ready, _ = self.ray.wait(list(by_answer), num_returns=1, timeout=LOOK_S)
            if ready:
                ready, _ = self.ray.wait(list(by_answer), num_returns=len(by_answer), timeout=0)
                heard = time.monotonic()
            elif time.monotonic() - heard > PLACE_S and all(seat.unit is None for seat in self.seats):
                log.warning("no worker has a place in the cluster; its CPUs or GPUs may be taken (ray status)")
                heard = time.monotonic()
            yield from (by_answer[answer] for answer in ready)

    def read(self, seat: Seat) -> Iterator[Event]:
        """One answer. Raises the error that it brings."""
        if seat.unit is None:
            seat.is_free = check_ready(self.ray, seat)
            return
        unit, (kind, value) = seat.unit, hear(self.ray, seat)
        match kind:
            case "result":
                seat.results.append(value)
            case "file":
                assert self.folder is not None
                self.folder.keep(self.folder.path / value[0], value[1])
            case "heartbeat":
                yield Event(unit, "heartbeat", value)
            case "done":
                yield from (Event(unit, "result", result) for result in seat.results)
                yield Event(unit, "done", None)
            case "lost":
                yield Event(unit, "lost", value)
            case "died":
                yield from self.count_death(unit, value)
                seat.open(self.task)
            case "error":
                raise value
        seat.is_free = kind in ("done", "lost")

    def count_death(self, unit: int, reason: str) -> Iterator[Event]:
        """A unit whose node died waits for the next worker; one to which that happens again is lost, as far as this
        pool is concerned."""
        self.deaths[unit] += 1
        if self.deaths[unit] < NODE_TRIES:
            log.info("%s: a unit of work is done again", reason)
            self.waiting.append(unit)
        else:
            yield Event(unit, "lost", reason)

    def close(self, seat: Seat) -> None:
        """Gives its place back, also to those that wait for one."""
        self.seats.remove(seat)
        with contextlib.suppress(self.ray.exceptions.RayError):
            self.ray.get(seat.actor.close.remote(), timeout=CLOSE_S)
        self.ray.kill(seat.actor)

    def kill(self) -> None:
        with hold_signals(block=False), contextlib.suppress(self.ray.exceptions.RayError):
            for seat in self.seats:
                self.ray.kill(seat.actor)


def run_pool(
    open_work: Callable[..., Work],
    arguments: tuple,
    items: list,
    numbers: Iterable[int],
    workers: int,
    timeout_s: float,
    *,
    gpus: float,
    folder: Folder | None,
    reads: Callable[[Any], list[str]],
    deaths: Counter,
) -> Generator[Event, None, None]:
    """As `local.run_pool`. deaths: of the nodes that a unit was on, by its number."""
    waiting = deque(numbers)
    if not waiting:
        return
    ray = import_ray()
    with leave_token(folder) as token:
        task = ray.put(Task(open_work, arguments, timeout_s, folder, token, os.getcwd(), gpus))
        pool = Pool(ray, task, folder, waiting, deaths)
        try:
            pool.open_seats(count_actors(ray, workers, gpus, len(waiting)), gpus)
            for seat in pool.answered():
                yield from pool.read(seat)
                if seat.is_free and waiting:
                    unit = waiting.popleft()
                    seat.begin(unit, items[unit], [path for path in reads(items[unit]) if os.path.exists(path)])
                elif seat.is_free:
                    pool.close(seat)
        finally:
            pool.kill()


def count_actors(ray: Any, workers: int, gpus: float, units: int) -> int:
    """`workers`, or as many as the cluster has places for; no more than units."""
    if gpus > 1 and gpus % 1:
        raise WrongCommand(f"--gpus-per-worker {gpus:g} is neither a share of one nor a whole number")
    have = ray.cluster_resources()
    places = have.get("GPU", 0.0) / gpus if gpus else have.get("CPU", 0.0)
    if places < 1:
        what = f"{gpus:g} GPU for each worker" if gpus else "a CPU"
        raise HandtoolError(f"no node of the cluster has {what}", hint="ray status")
    return max(1, min(workers or int(min(places, have.get("CPU", 0.0))), units))


def check_ready(ray: Any, seat: Seat) -> bool:
    hint = "every node needs the same Python, Ray and handtool"
    try:
        version = ray.get(seat.answer)
    except ray.exceptions.RayError as error:
        told = first_line(str(error).strip().splitlines()[-1])
        raise HandtoolError(f"no worker can start on a node of the cluster: {told}", hint=hint) from None
    if version != handtool.__version__:
        raise HandtoolError(f"a node of the cluster has handtool {version}, here it is {handtool.__version__}", hint)
    return True


def hear(ray: Any, seat: Seat) -> Message:
    """The next message about its unit; ("died", why) in its place when the actor did not live to send it."""
    try:
        return ray.get(next(seat.answer))
    except ray.exceptions.RayTaskError as error:
        raise RuntimeError(f"in a worker of the cluster:\n{error}") from None
    except ray.exceptions.OutOfMemoryError:
        return "died", NO_MEMORY
    except (ray.exceptions.RayError, StopIteration):
        return "died", NODE_DIED
