"""How much memory a pre-training step takes, found without taking it, and what fits where it was too much.

The step runs on fake tensors, which have shapes and no numbers, while a mode counts the bytes that are alive: activations,
gradients, temporaries of the network and of the loss. Not counted is what libraries take for themselves (context, convolution
workspaces, gaps between blocks); SHARE of the free memory is planned with, so that there is room for it.

Shapes: N pairs on this process, V views of each, P processes.
"""

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from handtool.config import PretrainConfig
from handtool.errors import HandtoolError, first_line
from handtool.nn.models.contrastive import BatchLoss, ContrastiveModel
from handtool.nn.training.distributed import Place
from handtool.nn.training.pretrain_plan import Plan

FLOAT = 4  # bytes
SHARE = 0.8
PROBES = 32, 64  # pairs of the two fake steps between which a line is drawn
LOSS_PROBE = 512  # of the fake loss: so many that its matrices are all that counts
REFUSALS = (
    "out of memory",
    "can't allocate memory",
    "not enough memory",
    "STATUS_ALLOC_FAILED",
)  # of torch on a GPU, on the CPU; cuDNN, cuBLAS


@dataclass(frozen=True)
class StepMemory:
    """Bytes that a step takes on one process."""

    weights: float  # with their gradients, moments and copies in half precision
    per_pair: float  # activations and pixels
    per_cell: float  # of the loss matrix
    cells_per_pair: int  # 4 P: two rows for each of our pairs, two columns for each of everybody's, times N again

    def loss(self, pairs: int) -> float:
        return self.per_cell * self.cells_per_pair * pairs**2

    def total(self, pairs: int) -> float:
        return self.weights + self.per_pair * pairs + self.loss(pairs)

    def largest(self, room: float) -> int:
        """The most pairs whose step stays within `room` bytes; 0 where none does."""
        low, high = 0, 1
        while self.total(high) <= room:
            low, high = high, 2 * high
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self.total(middle) <= room else (low, middle)
        return low


def measure_step(config: PretrainConfig, plan: Plan, views: int, crop_size: int) -> StepMemory:
    """What one process needs for its share of a step of `views` views a pair, of crops of crop_size px."""
    few, many = PROBES
    with FakeTensorMode():
        model = ContrastiveModel(config.arch)
        numbers = sum(parameter.numel() for parameter in model.parameters())
        less, more = (
            count_peak(lambda n=n: pass_through(model, views * n, config.input_size, plan.half)) for n in PROBES
        )
        width = model(torch.zeros(2, 3, config.input_size, config.input_size)).shape[1]
        z = [torch.zeros(LOSS_PROBE, width, requires_grad=True) for _ in range(2)]
        xy = [torch.zeros(LOSS_PROBE, 21, 2) for _ in range(2)]
        batch_loss = BatchLoss(
            config.temperature, plan.weights, config.weight_side, config.lambda_pos, config.lambda_neg, "local"
        )
        loss = count_peak(lambda: batch_loss(*z, *xy).backward())
    per_pair = (more - less) / (many - few)
    kept = 3 + (plan.processes > 1)  # weights and two moments; the buckets in which DDP averages gradients
    return StepMemory(
        weights=FLOAT * kept * numbers + less - per_pair * few,
        per_pair=per_pair + 2 * views * crop_size**2 * 3,  # a batch of crops, and the next one on its way
        per_cell=(views - 1) * loss / (2 * LOSS_PROBE) ** 2,
        cells_per_pair=4 * (plan.processes if config.negatives == "global" else 1),
    )


def pass_through(model: nn.Module, images: int, size: int, half: torch.dtype | None) -> None:
    """Forward and backward, fp32 or half under autocast (the CPU's stands for CUDA's: it lowers the same operations)."""
    model.zero_grad()
    pixels = torch.zeros(images, 3, size, size)
    with torch.autocast("cpu", half, enabled=half is not None):
        projections = model(pixels)
    projections.float().square().mean().backward()


def count_peak(call: Callable[[], None]) -> int:
    """The most bytes alive at once of those that `call` allocates."""
    with LiveBytes() as live:
        call()
    return live.peak


class LiveBytes(TorchDispatchMode):
    """Within the context: `now`, bytes of the tensors that operations made and somebody still holds, and their `peak`."""

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
        """Views share a storage, which counts once, until it is gone."""
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
    """What this process could still take of its device; infinite where nobody says."""
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


@contextmanager
def shortage_named(config: PretrainConfig, plan: Plan, place: Place, views: int, crop_size: int) -> Iterator[None]:
    """Within, running out of memory, and a network that cannot be compiled, become a HandtoolError of one line with the way out."""
    try:
        yield
    except RuntimeError as error:
        if type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
            raise HandtoolError(
                f"the network could not be compiled: {first_line(getattr(error, 'inner_exception', error))}",
                hint="leave --compile out",
            ) from None
        if not isinstance(error, torch.cuda.OutOfMemoryError) and not any(
            refusal in str(error) for refusal in REFUSALS
        ):
            raise
        raise out_of_memory(config, plan, place, views, crop_size) from None


def out_of_memory(config: PretrainConfig, plan: Plan, place: Place, views: int, crop_size: int) -> HandtoolError:
    """The line, with a batch size that the estimate says would fit, and that is smaller than the one which did not."""
    memory = measure_step(config, plan, views, crop_size)
    share = plan.schedule.batch_size // plan.processes
    fits = min(memory.largest(SHARE * free_bytes(place)), 3 * share // 4)
    fits -= fits % 8 if fits > 8 else 0
    where = f"GPU {place.local_rank}" if place.device == "cuda" else "the CPU"
    message = (
        f"out of memory on {where}: {share} pairs on each process need about {memory.total(share) / 2**30:.1f} GiB"
    )
    if fits < 2:
        return HandtoolError(f"{message}, and two would be too many", hint="a smaller --input-size or --arch")
    passes = -(-plan.accumulate * share // fits)
    return HandtoolError(
        message,
        hint=f"--batch-size {fits * plan.processes} should fit, --accumulate {passes} beside it keeps about as many pairs a step",
    )
