"""NT-Xent over the views of a batch: the partner is the only positive, every other view is pushed away (SimCLR, PeCLR,
SiMHand).

Shapes: N pairs on this process, J keypoints, D numbers per projection, A views of all processes, R = 2N of this one.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from handtool.nn.models import collectives
from handtool.nn.models.losses.adaptive_weights import Spread, all_distances, find_spread, pair_distance, weigh
from handtool.nn.models.losses.nt_xent import nt_xent_rows

# By the names in config.METHODS; called as nt_xent_rows. The mean over processes must be the loss of the joined batch.
LOSSES = {"nt_xent": nt_xent_rows}


@dataclass(frozen=True)
class BatchLoss:
    """A contrastive loss with adaptive weights over the batch of all processes ("global") or of this one ("local").

    The mean of the results over processes is the loss of the joined batch; the gradient too, once DDP has averaged it.
    """

    temperature: float = 0.5
    weights: str = "linear"  # or another of config.WEIGHT_KINDS
    weight_side: str = "both"  # both, pos, neg
    lambda_pos: float = 1.0
    lambda_neg: float = 0.05
    negatives: str = "global"
    loss: str = "nt_xent"

    def __call__(self, z1: Tensor, z2: Tensor, xy1: Tensor, xy2: Tensor) -> Tensor:
        """z: (N, D) unit rows, xy: (N, J, 2) px of the view."""
        across_processes = self.negatives == "global"
        z_AD = join_views(z1, z2, across_processes)
        own_R, partner_R = own_places(len(z1), len(z_AD) // 2, across_processes, z1.device)
        pair_weights_R = (
            self.weigh_pairs(xy1, xy2, across_processes)
            if self.weights != "none" and self.weight_side != "neg"
            else None
        )
        all_weights_RA = (
            self.weigh_all(xy1, xy2, across_processes) if self.weights != "none" and self.weight_side != "pos" else None
        )
        return LOSSES[self.loss](z_AD, own_R, partner_R, self.temperature, pair_weights_R, all_weights_RA)

    def probe_memory(self, pairs: int, width: int) -> Tensor:
        """The loss of `pairs` pairs of two views, all on this process, with projections of `width` numbers."""
        z = [torch.zeros(pairs, width, requires_grad=True) for _ in range(2)]
        xy = [torch.zeros(pairs, 21, 2) for _ in range(2)]
        return replace(self, negatives="local")(*z, *xy)

    @torch.no_grad()
    def weigh_pairs(self, xy1: Tensor, xy2: Tensor, across_processes: bool) -> Tensor:
        distance_N = pair_distance(xy1, xy2)
        weights_N = weigh(distance_N, share_spread(distance_N, across_processes), self.weights, self.lambda_pos)
        return torch.cat((weights_N, weights_N))

    @torch.no_grad()
    def weigh_all(self, xy1: Tensor, xy2: Tensor, across_processes: bool) -> Tensor:
        all_AJ2 = join_views(xy1, xy2, across_processes)
        distance_RA = all_distances(torch.cat((xy1, xy2)), all_AJ2)
        return weigh(distance_RA, share_spread(distance_RA, across_processes), self.weights, self.lambda_neg)


def share_spread(distance: Tensor, across_processes: bool) -> Spread:
    """The spread of the distances of all processes, which have equally many."""
    spread = find_spread(distance)
    if not across_processes:
        return spread
    low, high = collectives.extreme(spread.low, largest=False), collectives.extreme(spread.high, largest=True)
    return Spread(low, high, collectives.total(spread.mean) / collectives.processes())


def join_views(first: Tensor, second: Tensor, across_processes: bool) -> Tensor:
    """Both views of the pairs of all processes, or of this one: the first views, then the second ones."""
    return torch.cat((collectives.gather(first), collectives.gather(second)) if across_processes else (first, second))


def own_places(num: int, pairs: int, across_processes: bool, device: torch.device) -> tuple[Tensor, Tensor]:
    """Where, among the joined views of `pairs` pairs, the views of this process' `num` pairs are, and their partners:
    (R,) each."""
    first = collectives.rank() * num if across_processes else 0
    own_N = torch.arange(first, first + num, device=device)
    return torch.cat((own_N, own_N + pairs)), torch.cat((own_N + pairs, own_N))
