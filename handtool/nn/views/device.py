"""Copies of small tensors to the device that do not make a GPU wait; out-of-memory errors."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

import torch
from torch import Tensor

from handtool.errors import HandtoolError

# messages of torch on a GPU and on the CPU, of cuDNN and cuBLAS
OUT_OF_MEMORY_TEXTS = ("out of memory", "can't allocate memory", "not enough memory", "STATUS_ALLOC_FAILED")


def send(values: Tensor, device: torch.device) -> Tensor:
    """A small CPU tensor on the device. From memory that is not pinned the copy would wait for the GPU."""
    return values.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else values.to(device)


@lru_cache(maxsize=64)
def constant(values: tuple, device: torch.device, dtype: torch.dtype = torch.float32) -> Tensor:
    """Numbers that are the same in every step, copied once: (N,) or, from nested tuples, (N, M). Not to be changed."""
    return torch.tensor(values, dtype=dtype, device=device)


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether torch or a GPU library reports that there is no memory left."""
    return isinstance(error, torch.OutOfMemoryError) or any(text in str(error) for text in OUT_OF_MEMORY_TEXTS)


@contextmanager
def explain_out_of_memory(device: torch.device, at_once: int, hint: str) -> Iterator[None]:
    """Within, running out of memory with `at_once` hands becomes a HandtoolError of one line with the hint."""
    try:
        yield
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        where = "the GPU" if device.type == "cuda" else "the CPU"
        raise HandtoolError(f"out of memory on {where}, with {at_once} hands at once", hint=hint) from None
