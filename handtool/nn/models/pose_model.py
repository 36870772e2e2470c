"""A pose model: encoder, head, and the contract for its inputs and outputs."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from handtool.nn.models.encoder import AnyEncoder, freeze_idle
from handtool.nn.models.heatmap_head import HeatmapHead
from handtool.nn.models.regression_head import RegressionHead
from handtool.nn.views.views import IMAGENET_MEAN, IMAGENET_STD

FOCAL = 388.9 / 224  # of the crop's side: PeCLR's assumed camera, if the training hands had none

PUBLISHED_NORMALIZATION = {"mean": (0.5, 0.5, 0.5), "std": (1.0, 1.0, 1.0)}  # DetNet's, for every encoder


@dataclass(frozen=True)
class Contract:
    """What the model expects and what its numbers mean."""

    size: int  # px, side of the input: the whole crop, resized
    mean: tuple[float, ...] = IMAGENET_MEAN  # RGB, of 0..1
    std: tuple[float, ...] = IMAGENET_STD
    side: str = "RIGHT"  # left hands are mirrored, and their results mirrored back
    box_scale: float = 1.3  # of the crops that it was trained on
    bone_m: float = float("nan")  # mean reference bone of the training hands
    head: str = "regression"  # or heatmap
    mirrored: bool = False  # trained on mirrored hands too, as --flip requires
    focal: float = FOCAL  # median of the training crops, in sides of the crop; assumed if the camera is unknown


HEADS = {"heatmap": HeatmapHead, "regression": RegressionHead}


class PoseModel(nn.Module):
    """(B, 3, size, size) normalised canonical right hands -> the outputs of the head, which `solve` turns into
    joints and keypoints."""

    def __init__(self, encoder: AnyEncoder, contract: Contract) -> None:
        super().__init__()
        self.encoder, self.contract = encoder, contract
        self.head: Any = make_head(contract.head, encoder, contract.size)
        freeze_idle(encoder, self.head.spatial, not self.head.spatial)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return self.head(self.encoder.features(images) if self.head.spatial else self.encoder(images))

    def solve(self, *outputs_and_camera: Tensor) -> tuple[Tensor, Tensor]:
        """The results of `forward` and, last, the inputs' cameras (B, 3, 3) float64 -> joints (B, 21, 3),
        reference-bone lengths in the camera frame, and keypoints (B, 21, 2) px of the input; float64, standard
        order."""
        return self.head.solve(*outputs_and_camera)


class PoseLosses(nn.Module):
    """Model and losses as one module, so that DDP can average its gradients: inputs and targets -> (P,) parts of the
    loss."""

    def __init__(self, model: PoseModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Tensor, targets: object, half: torch.dtype | None) -> Tensor:
        with torch.autocast(inputs.device.type, half, enabled=half is not None):
            outputs = self.model(inputs)
        return torch.stack(self.model.head.losses(outputs, targets))


def make_head(kind: str, encoder: AnyEncoder, size: int) -> Any:
    """A new head of that kind for inputs of `size` px."""
    head: Any = HEADS[kind]
    return head(encoder.num_features, size, encoder.stride) if head.spatial else head(encoder.num_pooled, size)


def assumed_camera(side: int, focal: float) -> torch.Tensor:
    """(3, 3) for a crop of `side` px whose true camera is unknown: the optical axis goes through the centre."""
    middle = (side - 1) / 2
    return torch.tensor([[focal * side, 0, middle], [0, focal * side, middle], [0, 0, 1]], dtype=torch.float64)
