"""The connection to a Ray cluster: the one that RAY_ADDRESS names, else one that is started on this machine and lives
as long as the connection. Ray is imported when it is asked for, and says nothing of its own."""

import contextlib
import importlib
import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import handtool
from handtool.cores import count_cores
from handtool.errors import HandtoolError, Terminated, first_line
from handtool.signals import hold_signals

REACH_S = 10.0  # to the cluster
LONGEST_TMP = 40  # letters of a temporary folder: the path of a socket in it has 107 at most
SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_worker_niceness": "0",  # Ray's own 15 gives its workers little of a core that others use, too
}


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
        except Exception as error:  # Ray raises all kinds, also bare ones
            ray.shutdown()
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
    for name, value in SETTINGS.items():
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
