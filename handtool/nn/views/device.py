"""A few numbers from the CPU to the device, without making a GPU wait."""

import torch
from torch import Tensor


def send(values: Tensor, device: torch.device) -> Tensor:
    """A few numbers of the CPU on the device. From plain memory the copy would wait for all that a GPU still has to do, and hold up what follows."""
    return values.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else values.to(device)
