"""The pose that the estimator sees, regressed from each view by the pose head that fine-tuning then goes on with.

Needs no pairs. Keypoints may be noisy or of another hand: the losses of the regression head are absolute differences,
whose minimum is a median, and each point counts by its score. Shapes: A views of this process, J = K = 21 joints.
"""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from handtool.nn.views.augmentation import LabelledHands, turn_about_axis
from handtool.nn.views.device import constant
from handtool.nn.views.views import Views

FIGURES = ("keypoint_loss", "depth_loss")


@dataclass(frozen=True)
class EstimatedHands:
    """What the estimator knows of A canonical hands besides their keypoints; on the CPU."""

    score: Tensor  # (A, J) 0..1
    joints: Tensor  # (A, J, 3) m about the wrist, camera axes, NaN unknown
    bone: Tensor  # (A,) m, the reference bone as the size of the whole hand tells it, NaN unknown

    def rows(self, rows: Any) -> "EstimatedHands":
        return EstimatedHands(self.score[rows], self.joints[rows], self.bone[rows])


@dataclass(frozen=True)
class EstimatedPose:
    """The head's losses of keypoints and of what it knows of depth, weighted.

    Both weights mean the same for both heads: with 10 and 0.45 the parts of a loss weigh as in fine-tuning. A keypoint
    loss of 1 is half a side of the view for the regression head, a depth loss of 1 a reference bone.
    """

    head: Any  # of nn/models/pose_model.py
    keypoint_weight: float
    depth_weight: float

    def __call__(self, outputs: tuple[Tensor, ...], views: Views, hands: EstimatedHands) -> tuple[Tensor, Tensor]:
        """outputs: of the head for the views. Returns the loss and the values of FIGURES, (2,)."""
        device = outputs[0].device
        targets = self.head.targets(labels_of_views(views, hands)).to(device)
        parts = constant(self.head.estimated_weights, device) * torch.stack(self.head.losses(outputs, targets))
        keypoints, depth = parts[0], parts[1:].sum()
        loss = self.keypoint_weight * keypoints + self.depth_weight * depth
        return loss, torch.stack((keypoints, depth)).detach()


def labels_of_views(views: Views, hands: EstimatedHands) -> LabelledHands:
    """The estimator's answer as labels of the views: the hand turns with its picture."""
    labels = as_labels(views.xy, hands)
    return replace(labels, joints=labels.joints @ turn_about_axis(views.angle_deg).mT)


def as_labels(xy: Tensor, hands: EstimatedHands, weight: float = 1.0, depth_weight: float = 1.0) -> LabelledHands:
    """The estimator's answer as labels: keypoints xy (A, J, 2) px and joints, each point with these weights times its
    score. The camera is unknown."""
    score = hands.score.double().nan_to_num(0).clamp(0, 1)
    return LabelledHands(
        joints=hands.joints.double(),
        valid=torch.isfinite(hands.joints).all(2),
        keypoints=xy,
        keypoints_valid=torch.isfinite(xy).all(2),
        bone=hands.bone.double(),
        camera=torch.full((len(xy), 3, 3), torch.nan, dtype=torch.float64),
        keypoints_weight=weight * score,
        joints_weight=depth_weight * score,
    )
