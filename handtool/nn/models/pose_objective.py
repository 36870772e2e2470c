"""The pose objective: augmented labelled hands, and the losses of a pose head."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from handtool.nn.models.objective import Figures, Objective
from handtool.nn.models.pose_model import PoseLosses, PoseModel
from handtool.nn.views.augmentation import LabelledHands, Window, render_inputs, transform_labels
from handtool.nn.views.device import constant


@dataclass(frozen=True)
class LabelledBatch:
    """This process' share of a batch of B labelled hands, and how augmentation shows them."""

    labels: LabelledHands  # of the canonical crops; mirrored if the view is
    view: Window
    flipped: Tensor  # (B,) bool: the crop as stored is shown mirrored
    colour: Tensor | None  # (B, 4)
    blur: Tensor | None  # (B,) px of the input, standard deviation


class PoseObjective(Objective):
    """The weighted sum of the head's losses; each loss is one of its figures."""

    model: PoseModel

    def __init__(self, model: PoseModel, half: torch.dtype | None, freeze: bool = False) -> None:
        """freeze: the encoder is not trained, and its batch norms keep their statistics."""
        super().__init__(model, PoseLosses(model))
        self.half, self.freeze = half, freeze
        self.figures = self.shown = model.head.part_names
        if freeze:
            model.encoder.requires_grad_(False)

    def __call__(self, network: nn.Module, batch: LabelledBatch, crops: Tensor) -> Figures:
        self.model.train()
        if self.freeze:
            self.model.encoder.eval()
        contract = self.model.contract
        targets = self.model.head.targets(transform_labels(batch.labels, batch.view)).to(crops.device)
        inputs = render_inputs(crops, batch.view, batch.flipped, batch.colour, contract.mean, contract.std, batch.blur)
        parts = network(inputs.contiguous(memory_format=torch.channels_last), targets, self.half)
        return (constant(self.model.head.loss_weights, crops.device) * parts).sum(), parts.detach()

    def probe_memory(self, images: int) -> Tensor:
        """Includes the real losses only if they are computed on maps: losses of a few numbers need almost no memory."""
        size = self.model.contract.size
        with torch.autocast("cpu", self.half, enabled=self.half is not None):
            outputs = self.model(torch.zeros(images, 3, size, size))
        return probe_head(self.model.head, outputs)


def probe_head(head: Any, outputs: tuple[Tensor, ...]) -> Tensor:
    """A scalar that needs as much memory as the losses of a pose head: the losses themselves, if they are computed on
    maps."""
    if not head.spatial:
        return torch.stack([output.float().square().mean() for output in outputs]).sum()
    images = len(outputs[0])
    seen = torch.ones(images, 21, dtype=torch.bool)
    joints, camera = torch.zeros(images, 21, 3).double(), torch.zeros(images, 3, 3).double()
    labels = LabelledHands(joints, seen, joints[..., :2], seen, torch.zeros(images).double(), camera)
    return torch.stack(head.losses(outputs, head.targets(labels))).sum()


def layer_shares(stages: Sequence[tuple[str, ...]], decay: float) -> dict[str, float]:
    """Layer-wise learning rates: the head has the full rate, each stage of the encoder `decay` times the rate of the
    one above it.

    stages: names of parts, from the output to the input (`Encoder.stages`). Keys of the result: names of their
    parameters, or of the modules that have them.
    """
    return {f"encoder.{part}": decay**depth for depth, parts in enumerate(stages, 1) for part in parts}
