"""SiMHand's adaptive weights: the closer the keypoints of two hands, the larger the weight of their similarity.

Shapes: N pairs, J = 21 keypoints, R rows, A all views = 2N.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from handtool.nn.views.precision import raise_half


class Spread(NamedTuple):
    """Statistics of all distances: scalars, in their unit."""

    low: Tensor
    high: Tensor
    mean: Tensor


def adaptive_weights(
    xy1: Tensor, xy2: Tensor, kind: str = "linear", lambda_pos: float = 1.0, lambda_neg: float = 0.05
) -> tuple[Tensor, Tensor]:
    """Weights of the pairs (N,) and of all views against all views (2N, 2N), views in the order xy1 then xy2.

    xy1, xy2: (N, J, 2) keypoints of the two views after augmentation, px of the network's input. The lambdas (1/px) are
    used by "sigmoid" only. If all distances are equal every weight is 1. No gradient. Raises ValueError on shapes or
    kind.

    Lin et al. 2025, arXiv:2502.15251, section 3.3: linear (max - d)/(max - min), sigmoid 1/(1 + exp(lambda (d -
    mean))).
    """
    if xy1.ndim != 3 or xy1.shape != xy2.shape or xy1.shape[2] != 2 or not len(xy1):
        raise ValueError(
            f"xy1 and xy2 are two (N, J, 2) tensors with N > 0, not {tuple(xy1.shape)} and {tuple(xy2.shape)}"
        )
    if kind not in KINDS:
        raise ValueError(f"kind is {' or '.join(map(repr, KINDS))}, not {kind!r}")
    xy1, xy2 = raise_half(xy1.detach()), raise_half(xy2.detach())
    all_AJ2 = torch.cat((xy1, xy2))
    pair_N, all_AA = pair_distance(xy1, xy2), all_distances(all_AJ2, all_AJ2)
    return (weigh(pair_N, find_spread(pair_N), kind, lambda_pos), weigh(all_AA, find_spread(all_AA), kind, lambda_neg))


def pair_distance(xy1: Tensor, xy2: Tensor) -> Tensor:
    """Mean distance of corresponding keypoints, (N, J, 2) twice -> (N,), same unit."""
    dx_NJ, dy_NJ = (xy1 - xy2).unbind(2)
    return torch.sqrt(dx_NJ * dx_NJ + dy_NJ * dy_NJ).mean(1)


def all_distances(rows_RJ2: Tensor, all_AJ2: Tensor) -> Tensor:
    """Mean keypoint distance of every row to every view, (R, A). One joint at a time: never an (R, A, J, 2) tensor."""
    total_RA = all_AJ2.new_zeros(len(rows_RJ2), len(all_AJ2))
    for joint in range(all_AJ2.shape[1]):
        dx_RA = rows_RJ2[:, joint, 0, None] - all_AJ2[:, joint, 0]
        dy_RA = rows_RJ2[:, joint, 1, None] - all_AJ2[:, joint, 1]
        total_RA += dx_RA.mul_(dx_RA).addcmul_(dy_RA, dy_RA).sqrt_()
    return total_RA.div_(all_AJ2.shape[1])


def find_spread(distance: Tensor) -> Spread:
    return Spread(distance.min(), distance.max(), distance.mean())


def linear(distance: Tensor, spread: Spread, steepness: float) -> Tensor:
    """1 for the smallest of all distances, 0 for the largest."""
    return (spread.high - distance) / (spread.high - spread.low)


def sigmoid(distance: Tensor, spread: Spread, steepness: float) -> Tensor:
    """1/2 at the mean of all distances."""
    return torch.sigmoid(-steepness * (distance - spread.mean))


# Distances of any shape, their spread, --lambda-pos or --lambda-neg (1/px) -> weights of that shape, at most 1.
KINDS: dict[str, Callable[[Tensor, Spread, float], Tensor]] = {"linear": linear, "sigmoid": sigmoid}


def weigh(distance: Tensor, spread: Spread, kind: str, steepness: float) -> Tensor:
    """Weights for distances of any shape, 1 if all are equal. `spread` may include other distances (of other
    processes)."""
    # Equal distances, means of 21 roots, differ in the last digits: hence the tolerance.
    flat = spread.high - spread.low <= 32 * torch.finfo(distance.dtype).eps * spread.high
    weights = KINDS[kind](distance, spread, steepness)
    return torch.where(flat, torch.ones_like(weights), weights)
