"""The 2.5D regression head: pooled features to keypoints, relative depths and, with a camera, joints in the camera
frame.

Spurr et al. 2021 (PeCLR, arXiv:2106.05953, section 4) over Iqbal et al. 2018 (arXiv:1804.09534); depth refinement as in
Spurr et al. 2020 (arXiv:2003.09282). Units: px of the input image; depths in lengths of the reference bone (middle MCP
- PIP).

Slots: the 21 points that the head predicts, level by level, with the palm first: palm (midpoint of wrist and middle
MCP), 5 MCP, 5 PIP, 5 DIP, 5 tips. The wrist has no slot; after lifting it is 2 palm - middle MCP.

Shapes: B hands, D features, K = 21 slots or joints.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from handtool.hands.skeleton import FROM_LEVEL_MAJOR, LEVEL_MAJOR, MIDDLE_MCP, NUM_JOINTS, REFERENCE_BONE, WRIST
from handtool.nn.models.collectives import mean_of_all, processes, total
from handtool.nn.views.augmentation import LabelledHands
from handtool.nn.views.geometry import rays, weigh, zero_unknown

PALM = 0
MCP_SLOT, PIP_SLOT = (FROM_LEVEL_MAJOR[joint] for joint in REFERENCE_BONE)
DEPTH_RANGE = (4.0, 50.0)  # of the palm, in bone lengths
LOSS_WEIGHTS = (1.0, 5.0, 1.0)  # 2D : relative depth : root depth, published
LOSS_SIDE = 224  # px: the 2D loss is in pixels of the published input, whatever --input-size is


@dataclass(frozen=True)
class RegressionTargets:
    """The desired outputs of the head for B hands. What is called valid is 0 where they are unknown, else how much they
    count: 1, or a weight of the labels."""

    uv: Tensor  # (B, K, 2) px of the input
    uv_valid: Tensor  # (B, K)
    z_rel: Tensor  # (B, K) bone lengths, palm 0
    z_rel_valid: Tensor  # (B, K)
    z_root: Tensor  # (B,) bone lengths
    z_root_valid: Tensor  # (B,)
    camera: Tensor  # (B, 3, 3) of the input, NaN unknown

    def to(self, device: torch.device) -> "RegressionTargets":
        return RegressionTargets(**{name: value.to(device, non_blocking=True) for name, value in vars(self).items()})


class RegressionHead(nn.Module):
    """One linear layer for uv and z_rel of 21 slots (its 64th output is ignored), and the small network that refines
    the root's depth."""

    spatial = False  # its input is the pooled features
    part_names = ("uv_px", "depth", "root")
    loss_weights = LOSS_WEIGHTS
    estimated_weights = (2 / LOSS_SIDE, 1.0, 0.0)  # of the parts of the loss where an estimator is the teacher

    def __init__(self, num_features: int, input_size: int) -> None:
        super().__init__()
        self.input_size = input_size
        self.fc = nn.Linear(num_features, 3 * NUM_JOINTS + 1)
        nn.init.normal_(self.fc.weight, std=1e-3)  # all points start in the middle of the image
        nn.init.zeros_(self.fc.bias)
        self.refine = nn.Sequential(
            nn.Linear(3 * NUM_JOINTS + 1, 128),
            nn.BatchNorm1d(128),
            nn.LeakyReLU(),
            nn.Linear(128, 128),
            nn.BatchNorm1d(128),
            nn.LeakyReLU(),
            nn.Linear(128, 1),
        )
        last: Any = self.refine[-1]
        nn.init.zeros_(last.weight)  # at first the root's depth is that of the geometry, uncorrected
        nn.init.zeros_(last.bias)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """features (B, D) -> uv (B, K, 2) px of the input, z_rel (B, K) bone lengths; slots."""
        with torch.autocast(features.device.type, enabled=False):  # bf16 has 8 bits: half a pixel at best
            out = self.fc(features.to(self.fc.weight.dtype))[:, : 3 * NUM_JOINTS].view(-1, NUM_JOINTS, 3)
        half = self.input_size / 2  # the layer's unit is half a side, from the centre: numbers of order 1
        uv = half * out[..., :2] + (half - 0.5)
        z_rel = torch.cat([torch.zeros_like(out[:, :1, 2]), out[:, 1:, 2]], dim=1)
        return uv, z_rel

    def root(self, xy: Tensor, z_rel: Tensor) -> Tensor:
        """The palm's depth (B,) in bone lengths: from the geometry, plus a learnt correction. xy (B, K, 2) rays X/Z,
        Y/Z."""
        z_root = root_depth(xy.double(), z_rel.double()).to(z_rel.dtype).detach()
        seen = torch.cat([z_rel, xy.flatten(1), z_root[:, None]], dim=1)
        return z_root + self.refine(seen)[:, 0]

    def joints(self, uv: Tensor, z_rel: Tensor, camera: Tensor) -> Tensor:
        """Slots in 2.5D and the inputs' cameras (B, 3, 3) -> joints (B, K, 3): camera frame, bone lengths, standard
        order, with the wrist."""
        xy = rays(uv, camera)
        z_root = self.root(xy.to(z_rel.dtype), z_rel)
        return joints_from_slots(lift(xy, z_rel, z_root))

    def solve(self, uv: Tensor, z_rel: Tensor, camera: Tensor) -> tuple[Tensor, Tensor]:
        """The results of `forward` and the inputs' cameras (B, 3, 3) float64 -> joints (B, K, 3), bone lengths in
        the camera frame, and their keypoints (B, K, 2) px of the input; float64, standard order. The wrist has no
        slot of its own: its pixel is that of the lifted wrist."""
        joints = self.joints(uv, z_rel, camera)
        seen = joints @ camera.mT
        return joints, seen[..., :2] / seen[..., 2:]

    def targets(self, hands: LabelledHands) -> RegressionTargets:
        return make_targets(**vars(hands))

    def parts_untaught(self, depth: bool) -> list[nn.Module]:
        """What an estimator cannot teach: the root's depth, which needs a camera."""
        return [self.refine]

    def losses(self, outputs: tuple[Tensor, Tensor], targets: RegressionTargets) -> tuple[Tensor, Tensor, Tensor]:
        return losses_25d(self, *outputs, targets)


def root_depth(xy: Tensor, z_rel: Tensor) -> Tensor:
    """The palm's depth (B,) at which the reference bone has length 1 (Iqbal et al., eqs. 6-7). xy (B, K, 2), z_rel (B,
    K), slots."""
    xm, ym = xy[:, MCP_SLOT].unbind(-1)
    xn, yn = xy[:, PIP_SLOT].unbind(-1)
    zm, zn = z_rel[:, MCP_SLOT], z_rel[:, PIP_SLOT]
    across = xn * xm + yn * ym
    a = (xn - xm) ** 2 + (yn - ym) ** 2
    b = 2 * (zn * (xn**2 + yn**2 - across) + zm * (xm**2 + ym**2 - across))
    c = (xn * zn - xm * zm) ** 2 + (yn * zn - ym * zm) ** 2 + (zn - zm) ** 2 - 1
    root = (-b + (b**2 - 4 * a * c).clamp(min=1e-8).sqrt()) / (2 * a.clamp(min=1e-8))
    return root.clamp(*DEPTH_RANGE)


def lift(xy: Tensor, z_rel: Tensor, z_root: Tensor) -> Tensor:
    """(X, Y, 1)(z_rel + z_root): xy (B, K, 2), z_rel (B, K), z_root (B,) -> (B, K, 3), bone lengths."""
    z = (z_rel + z_root[:, None])[..., None].to(xy)
    return torch.cat([xy * z, z], dim=-1)


def slots_from_joints(joints: Tensor) -> Tensor:
    """(B, K, d) standard order with the wrist -> slots with the palm. Exact in 3D; in 2D only without perspective."""
    palm = (joints[:, WRIST] + joints[:, MIDDLE_MCP]) / 2
    return torch.cat([palm[:, None], joints[:, list(LEVEL_MAJOR[1:])]], dim=1)


def joints_from_slots(slots: Tensor) -> Tensor:
    """(B, K, d) slots with the palm -> standard order, wrist = 2 palm - middle MCP."""
    wrist = 2 * slots[:, PALM] - slots[:, MCP_SLOT]
    return torch.cat([wrist[:, None], slots[:, 1:]], dim=1)[:, list(FROM_LEVEL_MAJOR)]


def slot_valid(valid: Tensor) -> Tensor:
    """(B, K) validity of joints -> of slots: the palm needs wrist and middle MCP."""
    palm = valid[:, WRIST] & valid[:, MIDDLE_MCP]
    return torch.cat([palm[:, None], valid[:, list(LEVEL_MAJOR[1:])]], dim=1)


def slot_weight(weight: Tensor | None) -> Tensor | None:
    """(B, K) weights of joints -> of slots: the palm counts as the lesser of wrist and middle MCP."""
    if weight is None:
        return None
    palm = torch.minimum(weight[:, WRIST], weight[:, MIDDLE_MCP])
    return torch.cat([palm[:, None], weight[:, list(LEVEL_MAJOR[1:])]], dim=1)


def make_targets(
    joints: Tensor,
    valid: Tensor,
    keypoints: Tensor,
    keypoints_valid: Tensor,
    bone: Tensor,
    camera: Tensor,
    keypoints_weight: Tensor | None = None,
    joints_weight: Tensor | None = None,
) -> RegressionTargets:
    """RegressionTargets from labels of the views: joints (B, K, 3) m with valid (B, K), keypoints (B, K, 2) px of the
    input likewise, bone (B,) m, camera (B, 3, 3) of the input; NaN where the bone or the camera is unknown. Weights
    (B, K): None counts all alike.

    A hand without joints has a target for uv only; one without a camera for uv and relative depth, not for the root's
    depth.
    """
    known, seen = slot_valid(valid), slot_valid(keypoints_valid)
    points = slots_from_joints(joints)
    has_camera = torch.isfinite(camera).flatten(1).all(1)
    uv = slots_from_joints(keypoints)
    projected = (camera.to(points) @ points[:, PALM, :, None])[..., 0]
    by_camera = has_camera & known[:, PALM]
    uv[:, PALM] = torch.where(by_camera[:, None], projected[:, :2] / projected[:, 2:], uv[:, PALM])
    seen = torch.cat([(seen[:, PALM] | by_camera)[:, None], seen[:, 1:]], dim=1)
    depth = points[..., 2] / bone[:, None]
    rooted = known & known[:, :1] & torch.isfinite(bone)[:, None]
    return RegressionTargets(
        uv=zero_unknown(uv, seen[..., None]),
        uv_valid=weigh(seen, slot_weight(keypoints_weight)),
        z_rel=zero_unknown(depth - depth[:, :1], rooted),
        z_rel_valid=weigh(rooted, slot_weight(joints_weight)),
        z_root=zero_unknown(depth[:, PALM], rooted[:, PALM] & has_camera),
        z_root_valid=rooted[:, PALM] & has_camera,
        camera=camera,
    )


def losses_25d(
    head: RegressionHead, uv: Tensor, z_rel: Tensor, targets: RegressionTargets
) -> tuple[Tensor, Tensor, Tensor]:
    """L1 of keypoints (px of a 224 px input), relative depth and root depth (bone lengths): three scalars, each
    averaged over the known values in the batch of all processes."""
    loss_uv = masked_l1(uv, targets.uv, targets.uv_valid[..., None]) * LOSS_SIDE / head.input_size
    loss_rel = masked_l1(z_rel[:, 1:], targets.z_rel[:, 1:], targets.z_rel_valid[:, 1:])
    rows = targets.z_root_valid.nonzero()[:, 0]
    count = total(targets.z_root_valid.sum())
    if count < 2:  # batch norm needs two hands; but DDP needs a gradient for every parameter
        return loss_uv, loss_rel, torch.stack([value.sum() for value in head.refine.parameters()]).sum() * 0
    z_root = head.root(rays(uv[rows], targets.camera[rows]).to(z_rel.dtype), z_rel[rows])
    return loss_uv, loss_rel, processes() * (z_root - targets.z_root[rows]).abs().sum() / count


def masked_l1(predicted: Tensor, truth: Tensor, valid: Tensor) -> Tensor:
    """Mean absolute difference of the entries of all processes, weighted by `valid` (or where it is true); 0 if there
    are none."""
    valid = valid.expand_as(predicted)
    return mean_of_all(((predicted - truth).abs() * valid).sum(), valid.sum())
