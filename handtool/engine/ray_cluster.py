"""A pool of workers on a Ray cluster, with the units and the events of the pool on one machine.

Ray places the workers and, should a node die, starts them again on another one; a unit that was in work there is done
again. A worker gets its next unit when it has done one, and its messages wait until they are read, so nothing piles up
in this process. Each unit's results are told when it is done, once.
"""

import contextlib
import functools
import importlib
import logging
import os
import socket
import tempfile
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import handtool
from handtool.cores import count_cores
from handtool.engine.local import NO_MEMORY, NODE_DIED, Event, Work, run_in_processes
from handtool.engine.ray_worker import Message, Task, UnitWorker
from handtool.engine.shipping import Folder, leave_token
from handtool.errors import HandtoolError, Terminated, WrongCommand, first_line
from handtool.signals import hold_signals

log = logging.getLogger(__name__)
LOOK_S = 1.0
REACH_S = 10.0  # to the cluster
PLACE_S = 30.0  # without a worker, before it is said
NODE_TRIES = 2  # of a unit whose node dies, before it waits for the end; then once more, alone
CLOSE_S = 5.0  # that a worker may take to tidy up
MESSAGES_AHEAD = 2  # that a worker makes before the first is read
LONGEST_TMP = 40  # letters of a temporary folder: the path of a socket in it has 107 at most
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}


def run_on_ray(
    open_work: Callable[..., Work],
    arguments: tuple,
    items: list,
    workers: int,
    timeout_s: float,
    gpus: float = 0.0,
    folder: Folder | None = None,
    reads: Callable[[Any], list[str]] | None = None,
) -> Iterator[Event]:
    """See `units.run_units`."""
    if items:
        read = reads or (lambda _: [])
        pool = functools.partial(run_pool, gpus=gpus, folder=folder, reads=read, deaths=Counter())
        with connected(workers):
            yield from run_in_processes(open_work, arguments, items, workers, timeout_s, pool)


@contextlib.contextmanager
def connected(workers: int = 0) -> Iterator[Any]:
    """Ray, connected to the cluster that RAY_ADDRESS names, else to one of this machine alone, which lives as long. If
    it is connected already, it stays so. workers: of the one machine, 0: one per core. Raises HandtoolError."""
    ray = import_ray()
    if ray.is_initialized():
        yield ray
        return
    with contextlib.ExitStack() as stack:
        stack.enter_context(hushed())
        with hold_signals(block=False):  # which also takes back the handler that Ray sets
            stack.enter_context(start(ray, workers))
        yield ray


@contextlib.contextmanager
def start(ray: Any, workers: int) -> Iterator[None]:
    address = os.environ.get("RAY_ADDRESS")
    if address and address.startswith("ray://"):
        told = f"RAY_ADDRESS={address}: a Ray client cannot do this, a process on a node of the cluster can"
        raise HandtoolError(told, hint="run it there, with RAY_ADDRESS=auto")
    check_reachable(address)
    how: dict[str, Any] = {"include_dashboard": False, "log_to_driver": False, "logging_level": "CRITICAL"}
    with contextlib.nullcontext() if address else own_folder() as temporary:
        own = {"num_cpus": workers or count_cores(), "_temp_dir": temporary}
        try:
            ray.init(address or "local", **(how | ({} if address else own)))
        except (OSError, RuntimeError, ValueError) as error:
            where = f"the cluster RAY_ADDRESS={address} cannot be joined" if address else "Ray cannot be started"
            raise HandtoolError(f"{where}: {first_line(error)}", hint="ray status" if address else None) from None
        except SystemExit:  # Ray's own answer to SIGTERM while it starts
            raise Terminated from None
        try:
            yield
        finally:
            with hold_signals(block=False):
                ray.shutdown()


def check_reachable(address: str | None) -> None:
    """Ray itself tries for two minutes."""
    host, _, port = (address or "").rpartition(":")
    if port.isdigit():
        try:
            socket.create_connection((host, int(port)), REACH_S).close()
        except OSError as error:
            told = (error.strerror or str(error)).lower()
            raise HandtoolError(f"the cluster RAY_ADDRESS={address} cannot be joined: {told}", "ray status") from None


@contextlib.contextmanager
def own_folder() -> Iterator[str]:
    """For Ray's sockets and logs. Processes that are started within find this package."""
    beside = str(Path(handtool.__file__).parents[1])
    before = os.environ.get("PYTHONPATH")
    place = tempfile.gettempdir()
    with tempfile.TemporaryDirectory(
        prefix="handtool-ray-", dir=place if len(place) < LONGEST_TMP else "/tmp", ignore_cleanup_errors=True
    ) as folder:
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [beside, before]))
        try:
            yield folder
        finally:
            if before is None:
                del os.environ["PYTHONPATH"]
            else:
                os.environ["PYTHONPATH"] = before


def import_ray() -> Any:
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    try:
        return importlib.import_module("ray")
    except ImportError as error:
        told = "--engine ray needs Ray" + ("" if error.name == "ray" else f": {first_line(error)}")
        raise HandtoolError(told, hint="pip install 'handtool[ray]'") from None


@contextlib.contextmanager
def hushed() -> Iterator[None]:
    """Ray prints on standard output that a worker died; that is ours to say, and standard output may carry a file."""
    settings = vars(importlib.import_module("ray._private.worker"))
    before = settings.get("_worker_logs_enabled", True)
    settings["_worker_logs_enabled"] = False
    try:
        yield
    finally:
        settings["_worker_logs_enabled"] = before


@dataclass(eq=False)
class Seat:
    """An actor, and the answer that it owes: a reference while it makes ready, a stream of them about a unit."""

    actor: Any
    answer: Any = None
    unit: int | None = None
    results: list = field(default_factory=list)

    def open(self, task: Any) -> None:
        """On whichever node it comes to live, however often that one dies."""
        self.answer, self.unit = self.actor.open.options(max_task_retries=-1).remote(task), None

    def begin(self, unit: int, item: Any, needed: list[str]) -> None:
        stream = self.actor.run.options(num_returns="streaming", _generator_backpressure_num_objects=MESSAGES_AHEAD)
        self.answer, self.unit, self.results = stream.remote(item, needed), unit, []


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
    waiting, seats = deque(numbers), []
    if not waiting:
        return
    ray = import_ray()
    with leave_token(folder) as token:
        task = ray.put(Task(open_work, arguments, timeout_s, folder, token, os.getcwd(), gpus))
        try:
            seats = open_seats(ray, task, count_actors(ray, workers, gpus, len(waiting)), gpus)
            for seat in answering(ray, seats):
                if seat.unit is None:
                    check_ready(ray, seat)
                else:
                    kind, value = hear(ray, seat)
                    if kind == "died":
                        yield from count_death(seat.unit, value, deaths, waiting)
                        seat.open(task)
                        continue
                    yield from tell(seat, kind, value, folder)
                    if kind not in ("done", "lost"):
                        continue
                if waiting:
                    unit = waiting.popleft()
                    seat.begin(unit, items[unit], [path for path in reads(items[unit]) if os.path.exists(path)])
                else:
                    close(ray, seats, seat)
        finally:
            with hold_signals(block=False):
                for seat in seats:
                    ray.kill(seat.actor)


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


def open_seats(ray: Any, task: Any, count: int, gpus: float) -> list[Seat]:
    """Actors over all nodes. One that dies is started again wherever there is room."""
    how = {"num_cpus": 1, "num_gpus": gpus, "max_restarts": -1, "scheduling_strategy": "SPREAD"}
    kind = ray.remote(**how)(UnitWorker)
    seats = [Seat(kind.remote()) for _ in range(count)]
    for seat in seats:
        seat.open(task)
    return seats


def answering(ray: Any, seats: list[Seat]) -> Iterator[Seat]:
    """Those with an answer to read, until there are no seats."""
    began, is_told = time.monotonic(), False
    while seats:
        by_answer = {seat.answer: seat for seat in seats}
        ready, _ = ray.wait(list(by_answer), num_returns=1, timeout=LOOK_S)
        if ready:
            ready, _ = ray.wait(list(by_answer), num_returns=len(by_answer), timeout=0)
            is_told = True
        elif not is_told and time.monotonic() - began > PLACE_S:
            log.warning("no worker has a place in the cluster yet; its CPUs or GPUs may be taken (ray status)")
            is_told = True
        yield from (by_answer[answer] for answer in ready)


def check_ready(ray: Any, seat: Seat) -> None:
    hint = "every node needs the same Python, Ray and handtool"
    try:
        version = ray.get(seat.answer)
    except ray.exceptions.RayError as error:
        told = first_line(str(error).strip().splitlines()[-1])
        raise HandtoolError(f"no worker can start on a node of the cluster: {told}", hint=hint) from None
    if version != handtool.__version__:
        raise HandtoolError(f"a node of the cluster has handtool {version}, here it is {handtool.__version__}", hint)


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


def count_death(unit: int, reason: str, deaths: Counter, waiting: deque[int]) -> Iterator[Event]:
    """A unit whose node died waits for the next worker; one to which that happens again is lost, as far as this pool
    is concerned."""
    deaths[unit] += 1
    if deaths[unit] < NODE_TRIES:
        log.info("%s: a unit of work is done again", reason)
        waiting.append(unit)
    else:
        yield Event(unit, "lost", reason)


def tell(seat: Seat, kind: str, value: Any, folder: Folder | None) -> Iterator[Event]:
    """The events that follow from a message. Raises the error that it brings."""
    assert seat.unit is not None
    match kind:
        case "result":
            seat.results.append(value)
        case "file":
            assert folder is not None
            folder.keep(folder.path / value[0], value[1])
        case "heartbeat" | "lost":
            yield Event(seat.unit, "heartbeat" if kind == "heartbeat" else "lost", value)
        case "done":
            yield from (Event(seat.unit, "result", result) for result in seat.results)
            yield Event(seat.unit, "done", None)
        case "error":
            raise value


def close(ray: Any, seats: list[Seat], seat: Seat) -> None:
    """Gives its place back, also to those that wait for one."""
    seats.remove(seat)
    with contextlib.suppress(ray.exceptions.RayError):
        ray.get(seat.actor.close.remote(), timeout=CLOSE_S)
    ray.kill(seat.actor)
