"""Several processes in one run: the rank of this process, the process group, and decisions that all ranks share."""

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

GO = 0  # rank 0 sends this if there is something to train, else 1 + the exit code of the other ranks


@dataclass(frozen=True)
class Place:
    """This process among those of the run. `device` is "cpu" or "cuda" (then `local_rank` numbers the GPU)."""

    device: str
    rank: int = 0
    local_rank: int = 0
    processes: int = 1
    local_processes: int = 1  # those on this machine

    @property
    def torch_device(self) -> torch.device:
        return torch.device("cuda", self.local_rank) if self.device == "cuda" else torch.device("cpu")

    def share(self, batch_size: int) -> slice:
        """The items of a batch that this process trains on."""
        size = batch_size // self.processes
        return slice(self.rank * size, (self.rank + 1) * size)


def find_place(config: TrainingConfig, command: str) -> tuple[Place, bool]:
    """The rank and device of this process, and whether it has to start the other processes of the run. Raises as
    `find_devices`."""
    device, processes = find_devices(config.gpus, config.processes, command)
    given = place_from_environment(device)
    return given or Place(device, processes=processes, local_processes=processes), given is None


def find_devices(gpus: int | None, processes: int, command: str) -> tuple[str, int]:
    """The devices of `--gpus` and `--processes`, checked against this machine: ("cpu" or "cuda", processes to start
    here).

    gpus None: one if there is one. Raises HandtoolError if fewer GPUs are here than asked, WrongCommand if both are
    given.
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
    """The place that torchrun or a SLURM step of several tasks gives this process; None if it was not started by
    these."""
    if "RANK" in env and "WORLD_SIZE" in env:
        return Place(
            device,
            int(env["RANK"]),
            int(env.get("LOCAL_RANK", 0)),
            int(env["WORLD_SIZE"]),
            int(env.get("LOCAL_WORLD_SIZE", 1)),
        )
    # A batch script has SLURM_NTASKS too, but only processes started by srun are in a step, whose tasks all run this
    # command.
    if int(env.get("SLURM_STEP_NUM_TASKS", 1)) > 1 and "SLURM_PROCID" in env:
        # "4(x2)": four on each of two machines
        here = int(re.split(r"\D", env.get("SLURM_STEP_TASKS_PER_NODE", "1"))[0])
        return Place(
            device, int(env["SLURM_PROCID"]), int(env.get("SLURM_LOCALID", 0)), int(env["SLURM_STEP_NUM_TASKS"]), here
        )
    return None


def is_other_rank() -> bool:
    """Whether torchrun or SLURM started this process as a rank other than 0."""
    place = place_from_environment("cpu")
    return place is not None and place.rank > 0


def find_init_method(env: Mapping[str, str] = os.environ) -> str:
    """torch's init_method, the address where the processes connect: from torchrun's environment; under SLURM the
    step's first host and a port derived from the job's number."""
    if "MASTER_ADDR" in env:
        return "env://"
    first = re.sub(r"\[(\w+).*", r"\1", env["SLURM_STEP_NODELIST"]).split(",")[0]  # node[03-07,9] -> node03
    return f"tcp://{first}:{20000 + int(env['SLURM_JOB_ID']) % 20000}"


def join_process_group(place: Place) -> None:
    """Connects the processes of the run: NCCL for GPUs (and gloo for CPU tensors), gloo for CPUs."""
    if place.device == "cuda":
        torch.cuda.set_device(place.torch_device)
    if place.processes > 1 and not dist.is_initialized():
        backend = "cpu:gloo,cuda:nccl" if place.device == "cuda" else "gloo"
        dist.init_process_group(backend, init_method=find_init_method(), rank=place.rank, world_size=place.processes)


@contextmanager
def process_group(place: Place) -> Iterator[None]:
    """Within, the processes of the run are connected."""
    join_process_group(place)
    yield
    leave_process_group()  # not after an error: the others would report a closed connection before they get the error


def leave_process_group() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


@contextmanager
def coordinate_ranks(place: Place, starts_ranks: bool, source: str) -> Iterator[Callable[[], None]]:
    """On rank 0, around everything it does: yields a function that makes the other ranks start training. If it was
    not called, because there is nothing to train or an error came first, the other ranks are ended. `starts_ranks`:
    this process starts the other ranks itself, so there is nothing to send."""
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
        with suppress(RuntimeError):  # another rank has ended: raise the first error
            send(1 + getattr(error, "exit_code", COULD_NOT))
        raise
    send(1)
    leave_process_group()


def wait_for_rank_0(place: Place, source: str) -> int | None:
    """On a rank other than 0: None if there is something to train, else the exit code to end with."""
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
    """The network in DDP, which averages gradients over processes; the network itself if there is only one process."""
    return DistributedDataParallel(network) if place.processes > 1 else network


def sync_gradients(network: nn.Module, now: bool) -> AbstractContextManager:
    """Around a forward and backward pass: DDP averages the gradients over processes only if `now`; else each process
    accumulates its own."""
    return nullcontext() if now or not isinstance(network, DistributedDataParallel) else network.no_sync()


def any_process(flag: bool) -> bool:
    """Whether `flag` is true in any process; all must call this. Over gloo, so that no GPU has to finish its work
    first."""
    return bool(extreme(torch.tensor(int(flag)), largest=True)) if processes() > 1 else flag


def broadcast(value: Any) -> Any:
    """Rank 0's picklable value on every process."""
    if processes() == 1:
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0)
    return box[0]
