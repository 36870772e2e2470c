"""The door to the engines: units of work on the processes of this machine, or on those of a Ray cluster."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from handtool.engine.local import Event, Work, run_in_processes
from handtool.engine.shipping import Folder


def run_units(
    engine: str,
    open_work: Callable[..., Work],
    arguments: tuple,
    items: list,
    workers: int,
    timeout_s: float,
    *,
    gpus: float = 0.0,
    folder: Folder | None = None,
    reads: Callable[[Any], list[str]] | None = None,
) -> Iterator[Event]:
    """The events of every item, as of `local.run_in_processes`: the same with each engine, in another order.

    engine: "local"; or "ray", for which the rest stands. workers 0: one per CPU of the cluster. gpus: of each worker,
    as a share. folder: which of the arguments is one that workers write into. reads: the files that an item is read
    from. Raises HandtoolError where Ray is missing or its cluster cannot be reached, or where a node does not see what
    it is to read.
    """
    if engine == "local":
        return run_in_processes(open_work, arguments, items, workers, timeout_s)
    assert engine == "ray"
    from handtool.engine.ray_cluster import run_on_ray

    return run_on_ray(open_work, arguments, items, workers, timeout_s, gpus, folder, reads)


@contextmanager
def open_engine(engine: str) -> Iterator[int]:
    """Its number of machines: 1, or the nodes of the Ray cluster that have a CPU for workers; `run_units` stays
    connected to it within."""
    if engine == "local":
        yield 1
        return
    from handtool.engine.ray_connection import connected

    with connected() as ray:
        yield sum(node["Alive"] and node["Resources"].get("CPU", 0) >= 1 for node in ray.nodes()) or 1
