"""Computations that need more than half precision."""

import torch
from torch import Tensor


def raise_half(values: Tensor) -> Tensor:
    """float16, bfloat16 (and whole numbers) become float32; float32 and float64 stay."""
    return values if values.dtype in (torch.float32, torch.float64) else values.float()
