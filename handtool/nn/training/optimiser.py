"""Optimisers and learning rate.

Chen et al. 2020 (arXiv:2002.05709, appendix B.9): rate proportional to the square root of the batch, warm-up, cosine,
no decay on norms.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.optim import Adam, AdamW

from handtool.config import TrainingConfig


def make_optimiser(
    model: nn.Module, config: TrainingConfig, learning_rate: float, shares: Mapping[str, float] | None = None
) -> Adam:
    """The optimiser that config.optimizer names, with weight decay on matrices and kernels only, not on biases and
    norms (one axis).

    `shares`: name of a parameter or module -> fraction of the rate; all others have the full rate. AdamW's decay is not
    part of the gradient (Loshchilov and Hutter 2019, arXiv:1711.05101).
    """
    own = "decay" if config.optimizer == "lars-adam" else "weight_decay"
    groups = []
    for parameters, decay in zip(split_parameters(model), (config.weight_decay, 0.0)):
        by_share: dict[float, list[nn.Parameter]] = {}
        for name, parameter in parameters.items():
            share = next((share for part, share in (shares or {}).items() if f"{name}.".startswith(f"{part}.")), 1.0)
            by_share.setdefault(share, []).append(parameter)
        groups += [{"params": by_share[share], own: decay, "share": share} for share in sorted(by_share, reverse=True)]
    match config.optimizer:
        case "lars-adam":
            return LarsAdam(groups, learning_rate)
        case "adamw":
            return AdamW(groups, lr=learning_rate, fused=True)
        case "adam":
            return Adam(groups, lr=learning_rate, fused=True)
    raise AssertionError(config.optimizer)


def split_parameters(model: nn.Module) -> tuple[dict[str, nn.Parameter], dict[str, nn.Parameter]]:
    """(matrices and kernels, which decay; biases and norms, which do not)."""
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    decayed = {name: p for name, p in trained.items() if p.ndim > 1}
    return decayed, {name: p for name, p in trained.items() if p.ndim <= 1}


class LarsAdam(Adam):
    """LARS with clipping, then Adam, as in PeCLR and SiMHand: before Adam's step the gradient of every tensor, with its
    decay, is scaled by

        min(eta |w| / (|g| + decay |w|) / rate, 1)      (You et al. 2017, arXiv:1708.03888, eq. 6)

    and not scaled if weights or gradient are all zero. Adam divides by the size of gradients, so that a factor that
    changes slowly nearly cancels. The parameter groups have `decay`; Adam's own weight_decay stays 0. Not fused: so a
    gradient scaler unscales the gradients before this.
    """

    def __init__(self, groups: list[dict], lr: float, eta: float = 0.02) -> None:
        super().__init__(groups, lr=lr)
        self.eta = eta

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:  # what Adam returns
        for group in self.param_groups:
            for weights in group["params"]:
                if weights.grad is not None:
                    self.scale_gradient(weights, group["decay"], group["lr"])
        return super().step(closure)

    def scale_gradient(self, weights: nn.Parameter, decay: float, rate: float) -> None:
        assert weights.grad is not None
        size, slope = weights.norm(), weights.grad.norm()
        there = (size > 0) & (slope > 0)
        factor = (self.eta * size / (slope + decay * size + 1e-8) / rate).clamp(max=1.0)
        weights.grad.add_(weights * (decay * there.to(size.dtype))).mul_(torch.where(there, factor, 1.0))


def learning_rate(step: int, steps: int, warmup_steps: int, peak: float) -> float:
    """The rate of step 0..steps-1: linear from 0 to `peak` at step `warmup_steps`, then a half cosine down to 0 at
    `steps`."""
    if step < warmup_steps:
        return peak * (step + 1) / (warmup_steps + 1)
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup_steps) / (steps - warmup_steps)))


def square_root_rate(base: float, pairs: int) -> float:
    """base x sqrt(pairs per step of one process): 1e-4 and 1,024 give the 3.2e-3 of SiMHand, 2,048 (128 x 16 passes)
    the 4.5e-3 of PeCLR."""
    return base * math.sqrt(pairs)


def set_learning_rate(optimiser: torch.optim.Optimizer, value: float) -> None:
    """Sets the rate of this step; groups with a `share` get that fraction of it."""
    for group in optimiser.param_groups:
        group["lr"] = value * group.get("share", 1.0)
