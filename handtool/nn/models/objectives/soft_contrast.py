"""Soft contrast: every view of a batch is a positive, the more the nearer its pose.

Hard contrast pushes away all hands but the mined one, also those of nearly the same pose. Here the target of a view is
shared among all others by the distance of their keypoints. Shapes as in hard_contrast.py.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from handtool.nn.models import collectives
from handtool.nn.models.losses.adaptive_weights import all_distances, pair_distance
from handtool.nn.models.losses.soft_nt_xent import soft_nt_xent_rows
from handtool.nn.models.objectives.hard_contrast import join_views, own_places

LEAST_SIGMA = 1e-6  # of the keypoints' unit: the partners of a batch may be the same hands


@dataclass(frozen=True)
class SoftLoss:
    """`soft_nt_xent_rows` over the batch of all processes ("global") or of this one ("local").

    Distances are those of the keypoints of the crops, before augmentation. sigma: their scale, in units of the median
    distance of the batch's pairs. The mean of the results over processes is the loss of the joined batch.
    """

    temperature: float = 0.5
    sigma: float = 1.0
    negatives: str = "global"

    def __call__(self, z1: Tensor, z2: Tensor, xy1: Tensor, xy2: Tensor) -> Tensor:
        """z: (N, D) unit rows, xy: (N, J, 2) keypoints of the canonical crops, any unit."""
        across_processes = self.negatives == "global"
        z_AD = join_views(z1, z2, across_processes)
        own_R, _ = own_places(len(z1), len(z_AD) // 2, across_processes, z1.device)
        with torch.no_grad():
            all_AJ2, pair_N = join_views(xy1, xy2, across_processes), pair_distance(xy1, xy2)
            distance_RA = all_distances(torch.cat((xy1, xy2)), all_AJ2)
            pair_N = collectives.gather(pair_N) if across_processes else pair_N
            sigma = (self.sigma * pair_N.median()).clamp(min=LEAST_SIGMA)
        return soft_nt_xent_rows(z_AD, own_R, distance_RA, sigma, self.temperature)

    def probe_memory(self, pairs: int, width: int) -> Tensor:
        """The loss of `pairs` pairs of two views, all on this process, with projections of `width` numbers."""
        z = [torch.zeros(pairs, width, requires_grad=True) for _ in range(2)]
        xy = [torch.zeros(pairs, 21, 2) for _ in range(2)]
        return replace(self, negatives="local")(*z, *xy)
