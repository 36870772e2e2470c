"""The contrastive objective: its model, the loss of one process' share of a batch, and the figures that detect a
collapse.

Shapes: N pairs on this process, V views of each, J keypoints, D numbers per projection, A views of all processes.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from handtool.config import METHODS, PretrainConfig
from handtool.nn.models import collectives
from handtool.nn.models.encoder import make_encoder, make_projection_head
from handtool.nn.models.losses.adaptive_weights import Spread, all_distances, find_spread, pair_distance, weigh
from handtool.nn.models.losses.nt_xent import nt_xent_rows
from handtool.nn.models.objective import Figures, Objective
from handtool.nn.views.device import send
from handtool.nn.views.equivariance import undo_views
from handtool.nn.views.precision import raise_half
from handtool.nn.views.views import DRAWS, ViewRanges, Views, make_views, render

COLLAPSE_SIMILARITY = 0.99  # mean similarity of views of different hands


class ContrastiveModel(nn.Module):
    """Encoder and projection head: (B, 3, H, W) normalised images -> (B, D) raw projections."""

    def __init__(self, arch: str) -> None:
        super().__init__()
        self.encoder = make_encoder(arch)
        self.projection_head = make_projection_head(self.encoder.num_features)

    def forward(self, images: Tensor) -> Tensor:
        return self.projection_head(self.encoder(images))


# By the names in config.METHODS; called as nt_xent_rows. The mean over processes must be the loss of the joined batch.
LOSSES = {"nt_xent": nt_xent_rows}


@dataclass(frozen=True)
class PairBatch:
    """This process' share of a batch of pairs: V views of each, of which the first two are compared with all others."""

    xy: Tensor  # (V N, J, 2) keypoints in the canonical crops, px
    flipped: Tensor  # (V N,) bool: a left hand, to be mirrored
    drawn: np.ndarray  # (V, N, DRAWS) random numbers that choose the views
    with_itself: bool  # both views are of one crop, which is decoded once


class ContrastiveObjective(Objective):
    """NT-Xent between views of similar hands. `config`: a PretrainConfig whose weights and inverse are not None."""

    model: ContrastiveModel
    item = "pairs"
    figures = ("positive_similarity", "negative_similarity", "alignment", "uniformity")

    def __init__(self, model: ContrastiveModel, config: PretrainConfig, half: torch.dtype | None) -> None:
        super().__init__(model)
        assert config.weights is not None and config.inverse is not None
        self.inverse = config.inverse
        self.config, self.half, self.across_processes = config, half, config.negatives == "global"
        self.ranges = ViewRanges(METHODS[config.method].rotation_deg, METHODS[config.method].shift_px)
        self.batch_loss = BatchLoss(
            config.temperature,
            config.weights,
            config.weight_side,
            config.lambda_pos,
            config.lambda_neg,
            config.negatives,
            METHODS[config.method].loss,
        )

    def __call__(self, network: nn.Module, batch: PairBatch, crops: Tensor) -> Figures:
        """The loss (with more than two views: the mean over the partners), and `similarity_figures` of the first two
        views."""
        num_views, size, device = len(batch.drawn), self.config.input_size, crops.device
        views = make_views(batch.xy, batch.drawn.reshape(-1, DRAWS), self.ranges, size, crops.shape[1])
        pixels = render(crops.repeat(2, 1, 1, 1) if batch.with_itself else crops, views, batch.flipped)
        weighed = views.xy if self.config.weight_keypoints == "augmented" else resize(batch.xy, crops, size)
        xy = send(weighed.float(), device).chunk(num_views)
        with torch.autocast(device.type, self.half, enabled=self.half is not None):
            projections = network(pixels)
        z = to_unit_rows(projections, views, self.inverse).chunk(num_views)
        loss = torch.stack([self.batch_loss(z[0], z[view], xy[0], xy[view]) for view in range(1, num_views)]).mean()
        return loss, similarity_figures(z[0], z[1])

    def probe_memory(self, images: int) -> Tensor:
        """The pass of the network, without the loss."""
        pixels = torch.zeros(images, 3, self.config.input_size, self.config.input_size)
        with torch.autocast("cpu", self.half, enabled=self.half is not None):
            projections = self.network(pixels)
        return projections.float().square().mean()

    def probe_loss_memory(self, pairs: int) -> Tensor:
        """The loss of two views, all on this process."""
        width = self.model.projection_head(torch.zeros(2, self.model.encoder.num_features)).shape[1]
        z = [torch.zeros(pairs, width, requires_grad=True) for _ in range(2)]
        xy = [torch.zeros(pairs, 21, 2) for _ in range(2)]
        return replace(self.batch_loss, negatives="local")(*z, *xy)

    def warning(self, figures: Mapping[str, float]) -> str | None:
        """Warns if all hands have nearly the same projection, or all projections are 0 (whose similarity is 0, too)."""
        similarity = figures["negative_similarity"]
        if similarity > COLLAPSE_SIMILARITY:
            return (
                f"collapse: all hands have nearly the same projection (mean similarity {similarity:.3f} of "
                "different hands)"
            )
        if figures["alignment"] == 0 and figures["positive_similarity"] < 0.5:
            return "collapse: all projections are 0"
        return None


def resize(xy: Tensor, crops: Tensor, size: int) -> Tensor:
    """Keypoints (A, J, 2) of whole crops (A, S, S, 3), in px of crops of `size`: the unit of distances in the
    weights."""
    return (xy + 0.5) * (size / crops.shape[1]) - 0.5


def to_unit_rows(projections: Tensor, views: Views, inverse: str) -> Tensor:
    """Raw projections (A, D) -> unit rows, with the rotation and shift of the views undone (`inverse`: exact,
    published or none)."""
    if inverse == "none":
        return normalize(raise_half(projections), dim=1)
    shift = views.shift_fraction() if inverse == "exact" else views.shift_px / views.size
    return undo_views(projections, send(views.angle_deg, projections.device), send(shift, projections.device))


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
        first = collectives.rank() * len(z1) if across_processes else 0
        z_AD = torch.cat((collectives.gather(z1), collectives.gather(z2))) if across_processes else torch.cat((z1, z2))
        pairs = len(z_AD) // 2
        own_N = torch.arange(first, first + len(z1), device=z1.device)
        own_R, partner_R = torch.cat((own_N, own_N + pairs)), torch.cat((own_N + pairs, own_N))
        pair_weights_R = (
            self.weigh_pairs(xy1, xy2, across_processes)
            if self.weights != "none" and self.weight_side != "neg"
            else None
        )
        all_weights_RA = (
            self.weigh_all(xy1, xy2, across_processes) if self.weights != "none" and self.weight_side != "pos" else None
        )
        return LOSSES[self.loss](z_AD, own_R, partner_R, self.temperature, pair_weights_R, all_weights_RA)

    @torch.no_grad()
    def weigh_pairs(self, xy1: Tensor, xy2: Tensor, across_processes: bool) -> Tensor:
        distance_N = pair_distance(xy1, xy2)
        weights_N = weigh(distance_N, share_spread(distance_N, across_processes), self.weights, self.lambda_pos)
        return torch.cat((weights_N, weights_N))

    @torch.no_grad()
    def weigh_all(self, xy1: Tensor, xy2: Tensor, across_processes: bool) -> Tensor:
        all_AJ2 = torch.cat((collectives.gather(xy1), collectives.gather(xy2)) if across_processes else (xy1, xy2))
        distance_RA = all_distances(torch.cat((xy1, xy2)), all_AJ2)
        return weigh(distance_RA, share_spread(distance_RA, across_processes), self.weights, self.lambda_neg)


def share_spread(distance: Tensor, across_processes: bool) -> Spread:
    """The spread of the distances of all processes, which have equally many."""
    spread = find_spread(distance)
    if not across_processes:
        return spread
    low, high = collectives.extreme(spread.low, largest=False), collectives.extreme(spread.high, largest=True)
    return Spread(low, high, collectives.total(spread.mean) / collectives.processes())


@torch.no_grad()
def similarity_figures(z1: Tensor, z2: Tensor) -> Tensor:
    """The figures named in ContrastiveObjective.figures, (4,), for unit rows (N, D).

    Mean similarity of partners, and of all other views: 1 and 1 for a collapsed encoder. Alignment: the mean squared
    distance of partners, 0 at best. Uniformity: the log of the mean of exp(-2 squared distance) of different hands in
    the same view; 0 if all are equal, at best -4 for many points on a sphere of many dimensions; NaN for one pair. Wang
    and Isola 2020, arXiv:2005.10242.
    """
    num = len(z1)
    partners = (z1 * z2).sum()
    everything = torch.cat((z1, z2)).sum(0).square().sum()  # includes each view with itself (2N) and each pair twice
    negative = (everything - 2 * num - 2 * partners) / max(2 * num * (2 * num - 2), 1)
    alignment = (z1 - z2).square().sum(1).mean()
    return torch.stack((partners / num, negative, alignment, (uniformity(z1) + uniformity(z2)) / 2))


def uniformity(z: Tensor) -> Tensor:
    """A scalar, for unit rows (N, D) of one view."""
    num = len(z)
    closeness_NN = (4 * (z @ z.T - 1)).fill_diagonal_(float("-inf"))  # -2 squared distance
    return closeness_NN.logsumexp((0, 1)) - math.log(num * (num - 1)) if num > 1 else z.new_tensor(math.nan)
