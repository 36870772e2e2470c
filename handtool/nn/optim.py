"""Optimiser and learning rate of the contrastive methods.

Chen et al. 2020 (arXiv:2002.05709, appendix B.9): rate by the square root of the batch, warm-up, cosine, no decay on norms.
"""

import math

import torch
from torch import nn


def make_adam(model: nn.Module, learning_rate: float, weight_decay: float) -> torch.optim.Adam:
    """Adam with `weight_decay` on matrices and kernels only: biases and norms (one axis) have none."""
    matrices = [parameter for parameter in model.parameters() if parameter.requires_grad and parameter.ndim > 1]
    vectors = [parameter for parameter in model.parameters() if parameter.requires_grad and parameter.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.Adam(groups, lr=learning_rate, fused=True)


def learning_rate(step: int, steps: int, warmup_steps: int, peak: float) -> float:
    """The rate of step 0..steps-1: up in a line from 0 to `peak` at step `warmup_steps`, down a half cosine to 0 at `steps`."""
    if step < warmup_steps:
        return peak * (step + 1) / (warmup_steps + 1)
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup_steps) / (steps - warmup_steps)))


def square_root_rate(base: float, pairs: int) -> float:
    """base x sqrt(pairs per process): 1e-4 and 1,024 give the 3.2e-3 of SiMHand, 2,048 the 4.5e-3 of PeCLR."""
    return base * math.sqrt(pairs)


def set_learning_rate(optimiser: torch.optim.Optimizer, value: float) -> None:
    for group in optimiser.param_groups:
        group["lr"] = value
