"""Starting the other processes of a run on this machine, and receiving their messages.

The children train and rank 0 among them writes the checkpoints; progress and log lines come back through a queue,
because only the parent can display them.
"""

import logging
import logging.handlers
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable

import torch
from torch.distributed.elastic.multiprocessing.errors import record

from handtool.config import TrainingConfig
from handtool.cores import count_cores, said_by_user
from handtool.engine.parent import end_with_parent
from handtool.errors import TERMINATED, HandtoolError, Terminated, first_line
from handtool.nn.files.reopen import Reopen
from handtool.nn.training.distributed import Place, find_place, place_from_environment, wait_for_rank_0
from handtool.progress import Progress, silent

START = "spawn"  # never a fork: it would have the threads and the CUDA of this process, and can use neither


def train_in_processes(
    place: Place, read: Callable, train: Callable, reopen: Reopen, config: TrainingConfig, progress: Progress
) -> None:
    """`train_as_one_of_many` in new processes, one for each rank."""
    launch(train_as_one_of_many, place.processes, (read, train, place.device, reopen, config), progress)


def train_as_one_of_many(
    read: Callable, train: Callable, device: str, reopen: Reopen, config: TrainingConfig, progress: Progress = silent
) -> None:
    """In a process of its own: open the files again, then train(place, source, read(source, config), config, job,
    progress). Rank 0 saves the checkpoints."""
    place = place_from_environment(device)
    assert place is not None
    with reopen.open() as source:
        train(place, source, read(source, config), config, reopen.open_job() if place.rank == 0 else None, progress)


def run_other_rank(
    read: Callable, train: Callable, reopen: Reopen, config: TrainingConfig, resolve_defaults: Callable, command: str
) -> int:
    """Run a rank other than 0, started by torchrun or SLURM: train if rank 0 decides so, never write. Returns the
    exit code."""
    place, _ = find_place(config, command)
    if (code := wait_for_rank_0(place, str(reopen.path))) is None:
        train_as_one_of_many(read, train, place.device, reopen, resolve_defaults(config))
    return code or 0


def launch(function: Callable, processes: int, arguments: tuple, progress: Progress) -> None:
    """Runs function(*arguments, progress=…) in `processes` new processes, by torch's elastic launcher, to the end of
    all.

    Function and arguments must be picklable; each child reads its rank from the environment. If one fails, the others
    are ended and its HandtoolError is raised here. SIGTERM and SIGINT are passed to the children, then raised as
    Terminated and KeyboardInterrupt.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    failures: list[Exception] = []
    threads = None if said_by_user("OMP_NUM_THREADS") else max(1, count_cores() // processes)
    queue = torch.multiprocessing.get_context(START).Queue()
    listener = threading.Thread(target=listen, args=(queue, progress, failures), daemon=True)
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        run_id="handtool",
        max_restarts=0,
        monitor_interval=0.1,
        start_method=START,
    )
    listener.start()
    for name in [
        name
        for name in logging.root.manager.loggerDict
        if name.startswith(("torch.distributed.elastic", "torchelastic"))
    ]:
        logging.getLogger(name).setLevel(logging.CRITICAL)  # they print pages about a failed child; we raise one line
    failed = None
    try:
        elastic_launch(config, start_child)(function, threads, arguments, queue, os.getpid())
    except SignalException as signalled:
        raise (KeyboardInterrupt if signalled.sigval == signal.SIGINT else Terminated) from None
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        message = failure.message.get("message", "") if isinstance(failure.message, dict) else failure.message
        failed = HandtoolError(f"process {rank} of {processes} failed: {first_line(message)}")
    finally:
        queue.put(None)
        listener.join()
    if failed:
        raise (failures[0] if failures else failed) from None


def listen(queue, progress: Progress, failures: list[Exception]) -> None:
    """In the parent: log records go to their loggers, errors are collected, any other message is a call of
    `progress`."""
    while (message := queue.get()) is not None:
        if isinstance(message, logging.LogRecord):
            logging.getLogger(message.name).handle(message)
        elif isinstance(message, Exception):
            failures.append(message)
        else:
            progress(*message[0], **message[1])


@record  # reports to the launcher how this process ended
def start_child(function: Callable, threads: int | None, arguments: tuple, queue, parent: int) -> None:
    """threads: of torch; None: as the environment says."""
    end_with_parent(parent)
    # Ctrl-C reaches every process of the terminal; only the parent reports it
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    root = logging.getLogger()
    root.addHandler(logging.handlers.QueueHandler(queue))
    root.setLevel(logging.INFO if os.environ["RANK"] == "0" else logging.ERROR)
    if threads:
        torch.set_num_threads(threads)

    def progress(*place: object, **figures: float) -> None:
        if os.environ["RANK"] == "0":
            queue.put((place, figures))

    try:
        function(*arguments, progress=progress)
    except Terminated:
        sys.exit(TERMINATED)
    except Exception as error:
        # Sent before this process ends: then the connections of the others break, and they report errors as well.
        # The first error received is the cause.
        queue.put(error if isinstance(error, HandtoolError) else RuntimeError(traceback.format_exc()))
        queue.close()
        queue.join_thread()
        raise
