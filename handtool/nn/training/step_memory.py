"""Estimate of the memory of a training step, without allocating it, and of the batch size that fits.

The step runs on fake tensors, which have shapes but no numbers, while a dispatch mode counts the bytes alive:
activations, gradients, temporaries of the network and of the loss. Memory that libraries allocate themselves (context,
convolution workspaces, gaps between blocks) is not counted: so only SHARE of the free memory is planned with.

Shapes: N pairs or hands (items) on this process, V views of each, P processes.
"""

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from handtool.errors import HandtoolError, first_line
from handtool.nn.files.draws import DataSource
from handtool.nn.models.objective import Objective
from handtool.nn.training.distributed import Place
from handtool.nn.training.plan import Plan
from handtool.nn.views.device import is_out_of_memory

FLOAT = 4  # bytes
SHARE = 0.8
GIB = 2**30
PROBES = 32, 64  # items of two fake steps, for a linear estimate
LOSS_PROBE = 512  # items of the fake loss: so many that its matrices dominate


@dataclass(frozen=True)
class StepMemory:
    """Bytes that a step takes on one process."""

    weights: float  # with their gradients, moments and copies in half precision
    per_item: float  # activations and pixels
    per_cell: float  # of the loss matrix; 0 if there is none
    cells_per_item: int  # 4 P: 2 N rows of this process x 2 N P columns = 4 P N^2 cells

    def loss(self, items: int) -> float:
        return self.per_cell * self.cells_per_item * items**2

    def total(self, items: int) -> float:
        return self.weights + self.per_item * items + self.loss(items)

    def largest(self, room: float) -> int:
        """The most items whose step needs at most `room` bytes; 0 if even one needs more."""
        low, high = 0, 1
        while self.total(high) <= room:
            low, high = high, 2 * high
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self.total(middle) <= room else (low, middle)
        return low


def measure_step(make_objective: Callable[[], Objective], plan: Plan, views: int, crop_size: int) -> StepMemory:
    """The memory of one process for its share of a step: `views` views of each item, crops of crop_size px."""
    few, many = PROBES
    with FakeTensorMode():
        objective = make_objective()
        numbers = sum(parameter.numel() for parameter in objective.model.parameters())
        less, more = (count_peak(partial(pass_through, objective, views * n)) for n in PROBES)
        probe_loss: Any = objective.probe_loss_memory
        loss = count_peak(lambda: probe_loss(LOSS_PROBE).backward()) if probe_loss(2) is not None else 0
    per_item = (more - less) / (many - few)
    kept = 3 + (plan.processes > 1)  # weights and two moments; the buckets in which DDP averages gradients
    return StepMemory(
        weights=FLOAT * kept * numbers + less - per_item * few,
        per_item=per_item + 2 * views * crop_size**2 * 3,  # a batch of crops, and the next one being copied
        per_cell=(views - 1) * loss / (2 * LOSS_PROBE) ** 2,
        cells_per_item=4 * (plan.processes if objective.across_processes else 1),
    )


def pass_through(objective: Objective, images: int) -> None:
    """Forward and backward pass, in fp32 or under autocast (the CPU's lowers the same operations as CUDA's)."""
    objective.model.zero_grad()
    objective.probe_memory(images).backward()


def count_peak(call: Callable[[], None]) -> int:
    """The peak of the bytes that `call` allocates."""
    with LiveBytes() as live:
        call()
    return live.peak


class LiveBytes(TorchDispatchMode):
    """Within the context: `now`, the bytes of tensors that were created here and still exist, and their `peak`."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self.alive: dict[int, weakref.ref] = {}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):  # noqa: ANN001, ANN204 - torch's own signature
        made = function(*args, **(kwargs or {}))
        for value in tree_leaves(made):
            if isinstance(value, torch.Tensor):
                self.count(value.untyped_storage())
        return made

    def count(self, storage: torch.UntypedStorage) -> None:
        """Counts a storage once, however many views share it, until it is freed."""
        number, size = storage._cdata, storage.nbytes()
        if number in self.alive:
            return

        def forget(_: weakref.ref) -> None:
            del self.alive[number]
            self.now -= size

        self.alive[number] = weakref.ref(storage, forget)
        self.now += size
        self.peak = max(self.peak, self.now)


def free_bytes(place: Place) -> float:
    """The memory that this process can still allocate on its device; infinite if unknown."""
    if place.device == "cuda":
        return torch.cuda.mem_get_info(place.torch_device)[0] + torch.cuda.memory_reserved(place.torch_device)
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return (
            1024
            * next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))
            / place.local_processes
        )
    except (OSError, StopIteration):
        return float("inf")


def describe(memory: StepMemory, plan: Plan, place: Place) -> dict:
    """For the report of a dry run."""
    room, share = free_bytes(place), plan.share
    figures = {
        "weights, gradients, moments": memory.weights,
        "activations": memory.per_item * share,
        "loss": memory.loss(share),
        "together": memory.total(share),
        "free": room,
    }
    return {
        "memory_of_a_process_gib": {name: size / GIB for name, size in figures.items()},
        "largest_batch_size_that_should_fit": memory.largest(SHARE * room) * plan.processes,
    }


@contextmanager
def explain_training_errors(
    make_objective: Callable[[], Objective], plan: Plan, place: Place, data: DataSource
) -> Iterator[None]:
    """Within, running out of memory and a failed compilation become a HandtoolError of one line with a hint."""
    try:
        yield
    except RuntimeError as error:
        if type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
            raise HandtoolError(
                f"the network could not be compiled: {first_line(getattr(error, 'inner_exception', error))}",
                hint="leave --compile out",
            ) from None
        if not is_out_of_memory(error):
            raise
        raise out_of_memory(measure_step(make_objective, plan, data.views, data.crops.size), plan, place) from None


def out_of_memory(memory: StepMemory, plan: Plan, place: Place) -> HandtoolError:
    """The error, with a batch size that fits by the estimate and is smaller than the one that did not."""
    share, item = plan.share, plan.item
    fits = min(memory.largest(SHARE * free_bytes(place)), 3 * share // 4)
    fits -= fits % 8 if fits > 8 else 0
    where = f"GPU {place.local_rank}" if place.device == "cuda" else "the CPU"
    message = f"out of memory on {where}: {share} {item} on each process need about {memory.total(share) / GIB:.1f} GiB"
    if fits < 2:
        return HandtoolError(f"{message}, and two would be too many", hint="a smaller --input-size or --arch")
    passes = -(-plan.accumulate * share // fits)
    return HandtoolError(
        message,
        hint=f"--batch-size {fits * plan.processes} should fit, --accumulate {passes} beside it keeps about as many "
        f"{item} a step",
    )
