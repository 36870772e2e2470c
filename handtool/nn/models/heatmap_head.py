"""The heat-map head (DetNet): the place of each joint in the picture, and at that place its location relative to the
wrist.

The fine-tuning network of SiMHand (Lin et al. 2025, arXiv:2502.15251), which is the detection network of Zhou et al.
2020 (arXiv:2003.09572): transposed convolutions (three for a ResNet) enlarge the encoder's map to about a quarter of
the input's side; then come heat maps, bone directions and joint locations, each computed with those before it as input.
Locations and directions are trained only where the joint is; directions are an auxiliary loss and not used by `solve`.
Locations are in lengths of wrist - middle MCP, the joints of `solve` in lengths of the reference bone.

The centre of cell i, s px wide, is at (i + .5) s - .5. Shapes: B hands, K = 21 joints in standard order, H x W cells.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from handtool.errors import HandtoolError
from handtool.hands.skeleton import MIDDLE_MCP, NUM_JOINTS, PARENTS, REFERENCE_BONE, WRIST
from handtool.nn.models.collectives import mean_of_all, total
from handtool.nn.views.augmentation import LabelledHands
from handtool.nn.views.geometry import place_root, rays, weigh, zero_unknown

WIDTH = 256
CELL = 4  # px of the input, about: as near as doublings of the encoder's map come
SIGMA = 1.0  # cells
LOSS_WEIGHTS = (100.0, 1.0, 10.0)  # heat : direction : location, published
INITIAL_HEAT = 0.1  # output of a new head in every cell; from 0.5 training would first have to lower it
DEPTH_RANGE = (4.0, 1000.0)  # of the wrist, in lengths of the reference bone
LEAST_BONE = 0.1  # in wrist - middle MCP (true: about .45): a shorter one would enlarge the hand too much
PARENT = [max(parent, 0) for parent in PARENTS]


@dataclass(frozen=True)
class HeatmapTargets:
    """The desired outputs of the head for B hands. What is called valid is 0 where they are unknown, else how much they
    count: 1, or a weight of the labels."""

    uv: Tensor  # (B, K, 2) px of the input
    uv_valid: Tensor  # (B, K)
    direction: Tensor  # (B, K, 3) unit vector from the parent; 0 for the wrist
    direction_valid: Tensor  # (B, K)
    location: Tensor  # (B, K, 3) from the wrist, in lengths of wrist - middle MCP
    location_valid: Tensor  # (B, K)

    def to(self, device: torch.device) -> "HeatmapTargets":
        return HeatmapTargets(**{name: value.to(device, non_blocking=True) for name, value in vars(self).items()})


class HeatmapHead(nn.Module):
    """(B, D, h, h) features -> heat (B, K, H, W) in 0..1, directions and locations (B, K, 3, H, W); H = W = h times a
    power of two, about S / 4."""

    spatial = True  # its input is the encoder's map, not its mean
    part_names = ("heat", "direction", "location")
    loss_weights = LOSS_WEIGHTS
    estimated_weights = (10.0, 2.2, 22.0)  # of the parts of the loss where an estimator is the teacher

    def __init__(self, num_features: int, input_size: int, stride: float = 32) -> None:
        """stride: px of the input per cell of the features."""
        super().__init__()
        if input_size % stride:
            raise HandtoolError(
                f"the heat-map head needs an input of a multiple of {stride:g} px, not {input_size}",
                hint=f"--input-size {max(1, round(input_size / stride)) * stride:g}, or --head regression",
            )
        doublings = max(1, round(math.log2(stride / CELL)))
        self.cell = stride / 2**doublings  # px of the input
        self.per_batch = False  # True: the published norms of directions and locations, instead of one for each hand
        self.upsample = nn.Sequential(
            *(
                layer
                for d in [num_features] + [WIDTH] * (doublings - 1)
                for layer in (
                    nn.ConvTranspose2d(d, WIDTH, 4, 2, 1, bias=False),
                    nn.BatchNorm2d(WIDTH),
                    nn.ReLU(inplace=True),
                )
            )
        )
        self.heat = branch(WIDTH + 2, NUM_JOINTS)
        self.direction = branch(WIDTH + 2 + NUM_JOINTS, 3 * NUM_JOINTS)
        self.location = branch(WIDTH + 2 + 4 * NUM_JOINTS, 3 * NUM_JOINTS)
        last: Any = self.heat[-1]
        nn.init.constant_(last.bias, math.log(INITIAL_HEAT / (1 - INITIAL_HEAT)))

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        seen = self.upsample(features)
        seen = torch.cat([seen, coordinates(seen)], dim=1)
        heat = torch.sigmoid(run_branch(self.heat, seen))
        seen = torch.cat([seen, heat.to(seen.dtype)], dim=1)
        direction = run_branch(self.direction, seen)
        location = run_branch(self.location, torch.cat([seen, direction.to(seen.dtype)], dim=1))
        return heat, direction.unflatten(1, (NUM_JOINTS, 3)), location.unflatten(1, (NUM_JOINTS, 3))

    def solve(self, heat: Tensor, direction: Tensor, location: Tensor, camera: Tensor) -> tuple[Tensor, Tensor]:
        """The results of `forward` and the inputs' cameras (B, 3, 3) -> joints (B, K, 3), reference-bone lengths in
        the camera frame, and keypoints (B, K, 2) px of the input; float64."""
        cells, _, index = find_maxima(heat)
        joints = location.flatten(3).gather(3, index[..., None, None].expand(-1, -1, 3, 1))[..., 0].double()
        joints = joints - joints[:, WRIST, None]
        start, end = REFERENCE_BONE
        bone = (joints[:, end] - joints[:, start]).norm(dim=1).clamp(min=LEAST_BONE)
        joints = joints / bone[:, None, None]
        uv = self.cell * (cells.double() + 0.5) - 0.5
        return joints + place_root(joints, rays(uv, camera), DEPTH_RANGE)[:, None], uv

    def targets(self, hands: LabelledHands) -> HeatmapTargets:
        return make_targets(hands)

    def parts_untaught(self, depth: bool) -> list[nn.Module]:
        """What an estimator that knows no `depth` cannot teach."""
        return [] if depth else [self.direction, self.location]

    def losses(self, outputs: tuple[Tensor, Tensor, Tensor], targets: HeatmapTargets) -> tuple[Tensor, Tensor, Tensor]:
        return losses_of_maps(*outputs, targets, self.per_batch, self.cell)


def branch(channels: int, out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, WIDTH, 3, padding=1, bias=False),
        nn.BatchNorm2d(WIDTH),
        nn.ReLU(inplace=True),
        nn.Conv2d(WIDTH, out, 1),
    )


def run_branch(branch: nn.Sequential, seen: Tensor) -> Tensor:
    """Runs the branch, its last layer in float32 even under autocast: the 8 bits of bf16 mean half a millimetre of a
    location."""
    seen = branch[:-1](seen)
    with torch.autocast(seen.device.type, enabled=False):
        last: Any = branch[-1]
        return last(seen.to(last.weight.dtype))


def coordinates(maps: Tensor) -> Tensor:
    """(B, 2, H, W) like `maps`: x and y of each cell, -1 to 1."""
    num, _, high, wide = maps.shape
    y, x = (torch.linspace(-1, 1, cells, dtype=maps.dtype, device=maps.device) for cells in (high, wide))
    y, x = torch.meshgrid(y, x, indexing="ij")
    return torch.stack([x, y]).expand(num, -1, -1, -1)


def find_maxima(heat: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """heat (B, K, H, W) -> the position of each maximum (B, K, 2) in cells, x first; its height (B, K); its cell's
    number (B, K).

    The position is finer than a cell: per axis the vertex of the parabola through the logarithms of three cells, exact
    for a Gaussian (Zhang et al. 2020, arXiv:1910.06278, eq. 6).
    """
    high, wide = heat.shape[2:]
    flat = heat.flatten(2)
    index = flat.argmax(2)
    score = flat.gather(2, index[..., None])[..., 0]
    row, column = torch.div(index, wide, rounding_mode="floor"), index % wide
    place = []
    for where, size, step in ((column, wide, 1), (row, high, wide)):
        inside = (where > 0) & (where < size - 1)
        beside = [flat.gather(2, torch.where(inside, index + way, index)[..., None])[..., 0] for way in (-step, step)]
        place.append(where + torch.where(inside, subcell_offset(beside[0], score, beside[1]), torch.zeros_like(score)))
    return torch.stack(place, dim=-1), score, index


def subcell_offset(before: Tensor, top: Tensor, after: Tensor) -> Tensor:
    """Distance of the true maximum from the middle, highest of three cells, in cells."""
    low, middle, high = (value.clamp(min=1e-10).log() for value in (before, top, after))
    bend = (2 * middle - low - high).clamp(min=1e-6)
    return ((high - low) / (2 * bend)).clamp(-0.5, 0.5)


def make_targets(hands: LabelledHands) -> HeatmapTargets:
    """HeatmapTargets from labels of the views. Where a keypoint is unknown, the joint is projected with the camera,
    if that is known."""
    joints, valid = hands.joints, hands.valid
    projected = joints @ hands.camera.mT
    by_camera = valid & torch.isfinite(projected).all(2) & (projected[..., 2] > 0)
    uv = torch.where(hands.keypoints_valid[..., None], hands.keypoints, projected[..., :2] / projected[..., 2:])
    uv_valid = hands.keypoints_valid | by_camera
    from_wrist, from_parent = joints - joints[:, :1], joints - joints[:, PARENT]
    unit = from_wrist[:, MIDDLE_MCP].norm(dim=1)
    length = from_parent.norm(dim=2)
    located = valid & (valid[:, WRIST] & valid[:, MIDDLE_MCP] & (unit > 0))[:, None]
    directed = valid & valid[:, PARENT] & ((length > 0) | (torch.arange(NUM_JOINTS) == WRIST))
    return HeatmapTargets(
        uv=zero_unknown(uv, uv_valid[..., None]),
        uv_valid=weigh(uv_valid, hands.keypoints_weight),
        direction=zero_unknown(from_parent / length.clamp(min=1e-12)[..., None], directed[..., None]),
        direction_valid=weigh(directed & uv_valid, hands.joints_weight),
        location=zero_unknown(from_wrist / unit.clamp(min=1e-12)[:, None, None], located[..., None]),
        location_valid=weigh(located & uv_valid, hands.joints_weight),
    )


def gaussians(uv: Tensor, wide: int, high: int, cell: float = CELL) -> Tensor:
    """uv (B, K, 2) px of the input -> (B, K, H, W), Gaussians of height 1 at uv and standard deviation SIGMA; about
    0 for a joint far outside the picture. cell: px of the input."""
    cells = (uv + 0.5) / cell - 0.5
    squares = [
        (torch.arange(size, device=uv.device) - cells[..., axis, None]) ** 2 for axis, size in ((0, wide), (1, high))
    ]
    return torch.exp(-(squares[1][..., :, None] + squares[0][..., None, :]) / (2 * SIGMA**2))


def losses_of_maps(
    heat: Tensor,
    direction: Tensor,
    location: Tensor,
    targets: HeatmapTargets,
    per_batch: bool = False,
    cell: float = CELL,
) -> tuple[Tensor, Tensor, Tensor]:
    """Three scalars over the batch of all processes.

    Heat: half the mean square error, summed over joints. Directions and locations: the error multiplied by the true
    heat map and by the joint's weight, its Frobenius norm for each hand, and the mean over hands. `per_batch`: one norm
    over the whole batch, divided by its size, as published: it shrinks as the batch grows.
    """
    true_heat = gaussians(targets.uv, heat.shape[3], heat.shape[2], cell)
    squares = functional.mse_loss(heat, true_heat.to(heat), reduction="none").mean(dim=(2, 3)) * targets.uv_valid
    parts = [0.5 * mean_of_all(squares.sum(0), targets.uv_valid.sum(0)).sum()]
    for maps, truth, valid in (
        (direction, targets.direction, targets.direction_valid),
        (location, targets.location, targets.location_valid),
    ):
        miss = (maps - truth[..., None, None]) * (true_heat * valid[..., None, None])[:, :, None]
        squares = miss.square().sum(dim=(1, 2, 3, 4))
        if per_batch:
            parts.append(total(squares.sum()).clamp(min=1e-12).sqrt() / total(squares.new_tensor(float(len(squares)))))
        else:
            parts.append(mean_of_all(squares.clamp(min=1e-12).sqrt().sum(), valid.amax(1).sum()))
    heat_loss, direction_loss, location_loss = parts
    return heat_loss, direction_loss, location_loss
