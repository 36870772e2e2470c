"""Several processes as one: which one am I, where do we meet, and what all of them must agree on."""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from handtool.config import TrainingConfig
from handtool.errors import COULD_NOT, HandtoolError, WrongCommand
from handtool.nn.models.collectives import extreme, processes

GO = (
    0  # what rank 0 tells the others where there is something to train; otherwise 1 + the exit code with which they end
)


@dataclass(frozen=True)
class Place:
    """This process among those of the run. `device` is "cpu" or "cuda" (then `local_rank` numbers the GPU)."""

    device: str
    rank: int = 0
    local_rank: int = 0
    processes: int = 1
    local_processes: int = 1  # of them on this machine

    @property
    def torch_device(self) -> torch.device:
        return torch.device("cuda", self.local_rank) if self.device == "cuda" else torch.device("cpu")

    def share(self, batch_size: int) -> slice:
        """Which of a batch's items are this process'."""
        size = batch_size // self.processes
        return slice(self.rank * size, (self.rank + 1) * size)


def find_place(config: TrainingConfig, command: str) -> tuple[Place, bool]:
    """Where this process stands, and whether the other processes of the run are starts_ranks to start. Raises as
    `find_devices`."""
    device, processes = find_devices(config.gpus, config.processes, command)
    given = place_from_environment(device)
    return given or Place(device, processes=processes, local_processes=processes), given is None


def find_devices(gpus: int | None, processes: int, command: str) -> tuple[str, int]:
    """What `--gpus` and `--processes` ask for, checked against this machine: ("cpu" or "cuda", processes to start
    here).

    gpus None: one if there is one. Raises HandtoolError where fewer GPUs are here than asked, WrongCommand for both at
    once.
    """
    here = torch.cuda.device_count() if torch.cuda.is_available() else 0
    asked = min(1, here) if gpus is None else gpus
    if asked > here:
        there = f"{here or 'no'} CUDA GPU{'s' if here > 1 else ''}"
        raise HandtoolError(
            f"--gpus {asked} asked, {there} on this machine; --gpus 0 trains on the CPU",
            hint=f"handtool {command} --gpus {here}",
        )
    if asked and processes > 1:
        raise WrongCommand(
            f"--processes {processes} is for the CPU, one process per GPU is started for --gpus {asked}",
            hint=f"handtool {command} --gpus 0 --processes {processes}",
        )
    return ("cuda", asked) if asked else ("cpu", processes)


def place_from_environment(device: str, env: Mapping[str, str] = os.environ) -> Place | None:
    """The place that torchrun or a SLURM step of several tasks gives this process; None where nobody started it so."""
    if "RANK" in env and "WORLD_SIZE" in env:
        return Place(
            device,
            int(env["RANK"]),
            int(env.get("LOCAL_RANK", 0)),
            int(env["WORLD_SIZE"]),
            int(env.get("LOCAL_WORLD_SIZE", 1)),
        )
    # A batch script has SLURM_NTASKS too, but only what srun starts has a step: there, all tasks run this same command.
    if int(env.get("SLURM_STEP_NUM_TASKS", 1)) > 1 and "SLURM_PROCID" in env:
        # "4(x2)": four on each of two machines
        here = int(re.split(r"\D", env.get("SLURM_STEP_TASKS_PER_NODE", "1"))[0])
        return Place(
            device, int(env["SLURM_PROCID"]), int(env.get("SLURM_LOCALID", 0)), int(env["SLURM_STEP_NUM_TASKS"]), here
        )
    return None


def is_other_rank() -> bool:
    """Whether torchrun or SLURM started this process as another one than the first."""
    place = place_from_environment("cpu")
    return place is not None and place.rank > 0


def find_init_method(env: Mapping[str, str] = os.environ) -> str:
    """Where the processes meet, as an init_method: torchrun says it; under SLURM the step's first host, a port from
    the job."""
    if "MASTER_ADDR" in env:
        return "env://"
    first = re.sub(r"\[(\w+).*", r"\1", env["SLURM_STEP_NODELIST"]).split(",")[0]  # node[03-07,9] -> node03
    return f"tcp://{first}:{20000 + int(env['SLURM_JOB_ID']) % 20000}"


def join_process_group(place: Place) -> None:
    """From here on the processes of the run can talk: NCCL between GPUs (gloo beside it for CPU tensors), gloo
    between CPUs."""
    if place.device == "cuda":
        torch.cuda.set_device(place.torch_device)
    if place.processes > 1 and not dist.is_initialized():
        backend = "cpu:gloo,cuda:nccl" if place.device == "cuda" else "gloo"
        dist.init_process_group(backend, init_method=find_init_method(), rank=place.rank, world_size=place.processes)


@contextmanager
def process_group(place: Place) -> Iterator[None]:
    """Within, the processes of the run can talk."""
    join_process_group(place)
    yield
    leave_process_group()  # not after an error: the others would report a closed connection before they get the error


def leave_process_group() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


@contextmanager
def coordinate_ranks(place: Place, starts_ranks: bool, source: str) -> Iterator[Callable[[], None]]:
    """On rank 0, around all that it does: gives a function that sends the other ranks into the training. Where it is
    not called, because there is nothing to train or an error came first, they are sent so at the end, and end too.
    `starts_ranks`: we start them when it is time."""
    if starts_ranks:
        yield lambda: None
        return
    sent: list[int] = []

    def send(decision: int) -> None:
        if not sent:
            sent.append(broadcast(decision))

    check_source(source)
    join_process_group(place)
    try:
        yield lambda: send(GO)
    except BaseException as error:
        with suppress(RuntimeError):  # another rank is gone: what we have to say is the error
            send(1 + getattr(error, "exit_code", COULD_NOT))
        raise
    send(1)
    leave_process_group()


def wait_for_rank_0(place: Place, source: str) -> int | None:
    """On another rank: None where there is something to train, else the exit code with which to end."""
    check_source(source)
    join_process_group(place)
    decision = broadcast(None)
    if decision == GO:
        return None
    leave_process_group()
    return decision - 1


def check_source(source: str) -> None:
    if source == "-":
        raise WrongCommand("several processes cannot share a pipe: name the file")


def wrap_in_ddp(network: nn.Module, place: Place) -> nn.Module:
    """The network as one of several that have the same weights and average their gradients; itself where there is
    one process."""
    return DistributedDataParallel(network) if place.processes > 1 else network


def sync_gradients(network: nn.Module, now: bool) -> AbstractContextManager:
    """Around a forward and backward pass: DDP averages the gradients over processes only where `now`; else they add
    up on each."""
    return nullcontext() if now or not isinstance(network, DistributedDataParallel) else network.no_sync()


def any_process(flag: bool) -> bool:
    """Whether any process says so; all must ask. Over gloo, so that no GPU has to finish its work for it."""
    return bool(extreme(torch.tensor(int(flag)), largest=True)) if processes() > 1 else flag


def broadcast(value: Any) -> Any:
    """Rank 0's picklable value on every process."""
    if processes() == 1:
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0)
    return box[0]
