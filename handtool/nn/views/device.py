"""A few numbers from the CPU to the device, without making a GPU wait; and the end of its memory."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

import torch
from torch import Tensor

from handtool.errors import HandtoolError

# of torch on a GPU, on the CPU; cuDNN, cuBLAS
OUT_OF_MEMORY_TEXTS = ("out of memory", "can't allocate memory", "not enough memory", "STATUS_ALLOC_FAILED")


def send(values: Tensor, device: torch.device) -> Tensor:
    """A few numbers of the CPU on the device. From plain memory the copy would wait for all that a GPU still has to do,
    and hold up what follows."""
    return values.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else values.to(device)


@lru_cache(maxsize=64)
def constant(values: tuple, device: torch.device, dtype: torch.dtype = torch.float32) -> Tensor:
    """The same numbers in every step, sent once: (N,) or, of nested tuples, (N, M). Not to be changed in place."""
    return torch.tensor(values, dtype=dtype, device=device)


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether torch, or a library of the GPU's, says that there is no memory left."""
    return isinstance(error, torch.OutOfMemoryError) or any(text in str(error) for text in OUT_OF_MEMORY_TEXTS)


@contextmanager
def explain_out_of_memory(device: torch.device, at_once: int, hint: str) -> Iterator[None]:
    """Within, running out of memory with so many hands at once becomes a HandtoolError of one line with the way out."""
    try:
        yield
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        where = "the GPU" if device.type == "cuda" else "the CPU"
        raise HandtoolError(f"out of memory on {where}, with {at_once} hands at once", hint=hint) from None
