"""Sums and gathers over the processes of a run, with gradient; with one process each returns its argument.

Shapes: N rows on this process, P processes.
"""

import torch
import torch.distributed as dist
from torch import Tensor


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(context, rows: Tensor) -> Tensor:
        parts = [torch.empty_like(rows) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(context, gradient: Tensor) -> Tensor:
        # The loss of every process depends on these rows: the gradient is the sum of their gradients for our share.
        gradient = gradient.contiguous().clone()
        dist.all_reduce(gradient)
        return gradient.chunk(dist.get_world_size())[dist.get_rank()]


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(context, values: Tensor) -> Tensor:
        total = values.contiguous().clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(context, gradient: Tensor) -> Tensor:
        total = gradient.contiguous().clone()
        dist.all_reduce(total)
        return total


def gather(rows: Tensor) -> Tensor:
    """(N, ...) on each process -> (P N, ...) in the order of ranks, with gradient. With one process: `rows` itself."""
    return _Gather.apply(rows) if processes() > 1 else rows


def total(values: Tensor) -> Tensor:
    """Elementwise sum over processes, on all of them, with gradient (which is summed likewise)."""
    return _Sum.apply(values) if processes() > 1 else values


def mean_of_all(sums: Tensor, counts: Tensor) -> Tensor:
    """This process' part of sum / count over all processes (0 if the count is 0). The mean of the parts over
    processes is the mean of the joined batch, and so is that of the gradients, however unevenly the items are
    divided. A count may be a sum of weights."""
    counts = total(counts)
    return processes() * sums / torch.where(counts > 0, counts, torch.ones_like(counts))


def extreme(values: Tensor, largest: bool) -> Tensor:
    """Elementwise maximum or minimum over processes, without gradient."""
    values = values.detach().clone()
    if processes() > 1:
        dist.all_reduce(values, dist.ReduceOp.MAX if largest else dist.ReduceOp.MIN)
    return values


def processes() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    return dist.get_rank() if processes() > 1 else 0
