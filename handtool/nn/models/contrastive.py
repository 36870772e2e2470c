"""The contrastive model, the loss of one process' share of a batch, and what tells a collapse.

Shapes: N pairs on this process, V views of each, J keypoints, D numbers per projection, A views of all processes.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from handtool.nn.models import collectives
from handtool.nn.models.encoder import make_encoder, make_projection_head
from handtool.nn.models.losses.adaptive_weights import Spread, all_distances, find_spread, pair_distance, weigh
from handtool.nn.models.losses.nt_xent import nt_xent_rows


class ContrastiveModel(nn.Module):
    """Encoder and projection head: (B, 3, H, W) normalised images -> (B, D) raw projections."""

    def __init__(self, arch: str) -> None:
        super().__init__()
        self.encoder = make_encoder(arch)
        self.projection_head = make_projection_head(self.encoder.num_features)

    def forward(self, images: Tensor) -> Tensor:
        return self.projection_head(self.encoder(images))


@dataclass(frozen=True)
class BatchLoss:
    """NT-Xent with adaptive weights over the batch of all processes ("global") or of this one ("local").

    The mean of the results over processes is the loss of the joined batch, and so is the gradient once DDP has averaged it.
    """

    temperature: float = 0.5
    weights: str = "linear"  # none, linear, sigmoid
    weight_side: str = "both"  # both, pos, neg
    lambda_pos: float = 1.0
    lambda_neg: float = 0.05
    negatives: str = "global"

    def __call__(self, z1: Tensor, z2: Tensor, xy1: Tensor, xy2: Tensor) -> Tensor:
        """z: (N, D) unit rows, xy: (N, J, 2) px of the view."""
        everywhere = self.negatives == "global"
        first = collectives.rank() * len(z1) if everywhere else 0
        z_AD = torch.cat((collectives.gather(z1), collectives.gather(z2))) if everywhere else torch.cat((z1, z2))
        pairs = len(z_AD) // 2
        own_N = torch.arange(first, first + len(z1), device=z1.device)
        own_R, partner_R = torch.cat((own_N, own_N + pairs)), torch.cat((own_N + pairs, own_N))
        pair_weights_R = (
            self.weigh_pairs(xy1, xy2, everywhere) if self.weights != "none" and self.weight_side != "neg" else None
        )
        all_weights_RA = (
            self.weigh_all(xy1, xy2, everywhere) if self.weights != "none" and self.weight_side != "pos" else None
        )
        return nt_xent_rows(z_AD, own_R, partner_R, self.temperature, pair_weights_R, all_weights_RA)

    @torch.no_grad()
    def weigh_pairs(self, xy1: Tensor, xy2: Tensor, everywhere: bool) -> Tensor:
        distance_N = pair_distance(xy1, xy2)
        weights_N = weigh(distance_N, share_spread(distance_N, everywhere), self.weights, self.lambda_pos)
        return torch.cat((weights_N, weights_N))

    @torch.no_grad()
    def weigh_all(self, xy1: Tensor, xy2: Tensor, everywhere: bool) -> Tensor:
        all_AJ2 = torch.cat((collectives.gather(xy1), collectives.gather(xy2)) if everywhere else (xy1, xy2))
        distance_RA = all_distances(torch.cat((xy1, xy2)), all_AJ2)
        return weigh(distance_RA, share_spread(distance_RA, everywhere), self.weights, self.lambda_neg)


def share_spread(distance: Tensor, everywhere: bool) -> Spread:
    """The spread over the equally many distances of every process."""
    spread = find_spread(distance)
    if not everywhere:
        return spread
    low, high = collectives.extreme(spread.low, largest=False), collectives.extreme(spread.high, largest=True)
    return Spread(low, high, collectives.total(spread.mean) / collectives.processes())


@torch.no_grad()
def watch(z1: Tensor, z2: Tensor) -> Tensor:
    """(4,), as `curve.WATCHED` names them, of unit rows (N, D).

    Mean similarity of partners and of all other views: 1 and 1 is a collapsed encoder. Alignment, the mean squared distance of
    partners, 0 at best. Uniformity, the log of the mean of exp(-2 squared distance) of different hands in the same view: 0 where
    all are one, at best -4 for many points on a sphere of many dimensions; NaN of one pair. Wang and Isola 2020, arXiv:2005.10242.
    """
    num = len(z1)
    partners = (z1 * z2).sum()
    everything = torch.cat((z1, z2)).sum(0).square().sum()  # includes each with itself: 2N, and each pair twice
    negative = (everything - 2 * num - 2 * partners) / max(2 * num * (2 * num - 2), 1)
    alignment = (z1 - z2).square().sum(1).mean()
    return torch.stack((partners / num, negative, alignment, (uniformity(z1) + uniformity(z2)) / 2))


def uniformity(z: Tensor) -> Tensor:
    """A scalar, of unit rows (N, D) of one view."""
    num = len(z)
    closeness_NN = (4 * (z @ z.T - 1)).fill_diagonal_(float("-inf"))  # -2 squared distance
    return closeness_NN.logsumexp((0, 1)) - math.log(num * (num - 1)) if num > 1 else z.new_tensor(math.nan)
