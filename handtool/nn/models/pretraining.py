"""Pre-training: one network over the views of a batch, and the sum of the objectives that its config chooses.

Contrast compares projections (objectives/hard_contrast.py, soft_contrast.py); the supervised branch regresses what the
estimator knows of each hand (objectives/estimated_pose.py). Shapes: N pairs on this process, V views of each, J
keypoints, D numbers per projection.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from handtool.config import METHODS, PretrainConfig
from handtool.nn.models.encoder import freeze_idle, make_encoder, make_projection_head
from handtool.nn.models.objective import Figures, Objective
from handtool.nn.models.objectives import estimated_pose, similarity
from handtool.nn.models.objectives.estimated_pose import EstimatedHands, EstimatedPose
from handtool.nn.models.objectives.hard_contrast import BatchLoss
from handtool.nn.models.objectives.soft_contrast import SoftLoss
from handtool.nn.models.pose_model import make_head
from handtool.nn.models.pose_objective import probe_head
from handtool.nn.views.device import send
from handtool.nn.views.equivariance import undo_views
from handtool.nn.views.precision import raise_half
from handtool.nn.views.views import DRAWS, ViewRanges, Views, make_views, render


class PretrainModel(nn.Module):
    """Encoder with a projection head for the contrast, a pose head for the supervised branch, or both."""

    head: Any

    def __init__(self, arch: str, contrast: bool, head: str | None, input_size: int, depth: bool) -> None:
        """`head`: the kind of the pose head, None for none. `depth`: whether the estimator teaches it depth, too."""
        super().__init__()
        self.encoder = make_encoder(arch, input_size)
        self.projection_head = make_projection_head(self.encoder.num_pooled) if contrast else None
        self.head = make_head(head, self.encoder, input_size) if head else None
        spatial = self.head is not None and self.head.spatial
        freeze_idle(self.encoder, spatial, contrast or not spatial)
        for part in self.head.parts_untaught(depth) if self.head else ():
            part.requires_grad_(False)

    def forward(self, images: Tensor) -> tuple[Tensor | None, tuple[Tensor, ...]]:
        """(B, 3, H, W) normalised images -> raw projections (B, D), and what the pose head gives."""
        if self.head is not None and self.head.spatial:
            seen, pooled = self.encoder.both(images)
        else:
            seen = pooled = self.encoder(images)
        projections = self.projection_head(pooled) if self.projection_head is not None else None
        return projections, self.head(seen) if self.head is not None else ()


def make_pretrain_model(config: PretrainConfig) -> PretrainModel:
    """A new model. `config`: with the method's defaults resolved."""
    assert config.keypoint_weight is not None and config.depth_weight is not None
    head = config.pretrain_head if config.keypoint_weight or config.depth_weight else None
    return PretrainModel(config.arch, config.contrast != "none", head, config.input_size, config.depth_weight > 0)


@dataclass(frozen=True)
class PairBatch:
    """This process' share of a batch of pairs: V views of each, of which the first two are compared with all others."""

    xy: Tensor  # (V N, J, 2) keypoints in the canonical crops, px
    flipped: Tensor  # (V N,) bool: a left hand, to be mirrored
    drawn: np.ndarray  # (V, N, DRAWS) random numbers that choose the views
    with_itself: bool  # both views are of one crop, which is decoded once
    estimated: EstimatedHands | None = None  # (V N) hands, for a supervised branch


class PretrainObjective(Objective):
    """The sum of a contrast and a supervised branch. `config`: a PretrainConfig with the method's defaults resolved."""

    model: PretrainModel
    item = "pairs"

    def __init__(self, model: PretrainModel, config: PretrainConfig, half: torch.dtype | None) -> None:
        super().__init__(model)
        self.config, self.half, self.contrast = config, half, make_contrast(config)
        self.ranges = ViewRanges(METHODS[config.method].rotation_deg, METHODS[config.method].shift_px)
        self.across_processes = self.contrast is not None and config.negatives == "global"
        self.supervised = None
        if model.head is not None:
            assert config.keypoint_weight is not None and config.depth_weight is not None
            self.supervised = EstimatedPose(model.head, config.keypoint_weight, config.depth_weight)
        self.figures = similarity.FIGURES if self.contrast else ()
        if self.supervised:
            self.figures += estimated_pose.FIGURES
            self.shown = estimated_pose.FIGURES[: 1 + (self.supervised.depth_weight > 0)]

    def __call__(self, network: nn.Module, batch: PairBatch, crops: Tensor) -> Figures:
        """The loss (of a contrast with more than two views: the mean over the partners), and the figures."""
        num_views, size, device = len(batch.drawn), self.config.input_size, crops.device
        views = make_views(batch.xy, batch.drawn.reshape(-1, DRAWS), self.ranges, size, crops.shape[1])
        pixels = render(crops.repeat(2, 1, 1, 1) if batch.with_itself else crops, views, batch.flipped)
        with torch.autocast(device.type, self.half, enabled=self.half is not None):
            projections, outputs = network(pixels)
        losses, figures = [], []
        if self.contrast:
            assert self.config.inverse is not None
            z = to_unit_rows(projections, views, self.config.inverse).chunk(num_views)
            xy = send(self.compared(batch, views, crops).float(), device).chunk(num_views)
            losses += [torch.stack([self.contrast(z[0], z[v], xy[0], xy[v]) for v in range(1, num_views)]).mean()]
            figures += [similarity.similarity_figures(z[0], z[1])]
        if self.supervised:
            assert batch.estimated is not None
            loss, numbers = self.supervised(outputs, views, batch.estimated)
            losses, figures = [*losses, loss], [*figures, numbers]
        return torch.stack(losses).sum(), torch.cat(figures)

    def compared(self, batch: PairBatch, views: Views, crops: Tensor) -> Tensor:
        """The keypoints (V N, J, 2) whose distances the contrast takes, px: of the views, or of the crops before."""
        of_views = self.config.contrast == "hard" and self.config.weight_keypoints == "augmented"
        return views.xy if of_views else resize(batch.xy, crops, self.config.input_size)

    def probe_memory(self, images: int) -> Tensor:
        """The pass of the network, without the contrast."""
        pixels = torch.zeros(images, 3, self.config.input_size, self.config.input_size)
        with torch.autocast("cpu", self.half, enabled=self.half is not None):
            projections, outputs = self.network(pixels)
        losses = [] if projections is None else [projections.float().square().mean()]
        return torch.stack(losses + ([probe_head(self.model.head, outputs)] if outputs else [])).sum()

    def probe_loss_memory(self, pairs: int) -> Tensor | None:
        """The contrast of two views, all on this process."""
        if self.contrast is None or self.model.projection_head is None:
            return None
        width = self.model.projection_head(torch.zeros(2, self.model.encoder.num_pooled)).shape[1]
        return self.contrast.probe_memory(pairs, width)

    def warning(self, figures: Mapping[str, float]) -> str | None:
        return similarity.warn_of_collapse(figures) if self.contrast else None


def make_contrast(config: PretrainConfig) -> BatchLoss | SoftLoss | None:
    """What --contrast names."""
    match config.contrast:
        case "none":
            return None
        case "soft":
            return SoftLoss(config.temperature, config.soft_sigma, config.negatives)
        case "hard":
            assert config.weights is not None
            return BatchLoss(
                config.temperature,
                config.weights,
                config.weight_side,
                config.lambda_pos,
                config.lambda_neg,
                config.negatives,
                METHODS[config.method].loss,
            )
    raise AssertionError(config.contrast)


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
