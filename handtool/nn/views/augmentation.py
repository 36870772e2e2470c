"""Augmentation for labelled hands: one affine transforms the image, its keypoints, its joints and its camera.

Unlike the views of pre-training these are centred on the crop, not on the keypoints, which are unknown at prediction.
Turning a view by R about its centre turns the world about the optical axis: K' = A K R^T, joints R X. Shapes: B views,
K = 21 joints.
"""

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from handtool.hands.canonical import canonical_camera, canonical_joints, canonical_keypoints
from handtool.hands.skeleton import LEFT, RIGHT
from handtool.nn.views.device import send
from handtool.nn.views.views import affine, mirror, move_points, normalize, rotation, warp, window


@dataclass(frozen=True)
class AugmentRanges:
    """DetNet's ranges (as in the fine-tuning of the SiMHand paper); all zero: the crop is not changed."""

    angle_deg: float = 90.0  # uniform in [-90, 90]
    scale: float = 0.1  # window's side x U(1 - .1, 1 + .1)
    shift: float = 0.1  # of the side, uniform on each axis
    colour: float = 0.5  # brightness, contrast and saturation x U(1 - .5, 1 + .5)
    hue: float = 0.15  # of the circle
    blur: float = 0.0  # px of the input, standard deviation, uniform up to this
    mirror: float = 0.0  # share of hands


@dataclass(frozen=True)
class LabelledHands:
    """Labels of B hands, all on the CPU in float64; unknown entries are NaN and not valid."""

    joints: Tensor  # (B, K, 3) m, camera frame
    valid: Tensor  # (B, K)
    keypoints: Tensor  # (B, K, 2) px
    keypoints_valid: Tensor  # (B, K)
    bone: Tensor  # (B,) m, reference bone
    camera: Tensor  # (B, 3, 3)
    keypoints_weight: Tensor | None = None  # (B, K) how much each keypoint counts in a loss; None: all alike
    joints_weight: Tensor | None = None  # (B, K) the same of the joints

    def __len__(self) -> int:
        return len(self.bone)

    def rows(self, rows: np.ndarray) -> "LabelledHands":
        index = torch.from_numpy(rows)
        known = {name: value for name, value in vars(self).items() if value is not None}
        return LabelledHands(**{name: value[index] for name, value in known.items()})


@dataclass(frozen=True)
class Window:
    """The map from B canonical crops to inputs of `size` px. matrix (B, 3, 3): input px from canonical crop px;
    angle_deg (B,): the rotation."""

    matrix: Tensor
    angle_deg: Tensor
    size: int

    def rows(self, rows: np.ndarray) -> "Window":
        return Window(self.matrix[rows], self.angle_deg[rows], self.size)


def whole_crop(num: int, side: int, size: int) -> Window:
    """The whole crop, resized from `side` to `size` px, as in prediction."""
    middle = torch.full((num, 2), (side - 1) / 2, dtype=torch.float64)
    half = torch.full((num,), side / 2, dtype=torch.float64)
    return Window(window(middle, half, size), torch.zeros(num, dtype=torch.float64), size)


def draw_windows(num: int, side: int, size: int, ranges: AugmentRanges, rng: np.random.Generator) -> Window:
    """One random rotation, scale and shift per crop of `side` px, about its centre."""
    angle = torch.from_numpy(rng.uniform(-ranges.angle_deg, ranges.angle_deg, num))
    half = torch.from_numpy(side / 2 * rng.uniform(1 - ranges.scale, 1 + ranges.scale, num))
    shift = torch.from_numpy(side * rng.uniform(-ranges.shift, ranges.shift, (num, 2)))
    middle = torch.full((num, 2), (side - 1) / 2, dtype=torch.float64)
    return Window(window(middle - shift, half, size) @ rotation(middle, angle), angle, size)


def join_hands(first: LabelledHands, second: LabelledHands) -> LabelledHands:
    """The hands of both, one after the other; where no weight is given, it is 1."""
    parts = []
    for hands in (first, second):
        ones = torch.ones(hands.valid.shape, dtype=torch.float64)
        given = {name: ones if value is None else value for name, value in vars(hands).items()}
        parts.append(given)
    return LabelledHands(**{name: torch.cat([part[name] for part in parts]) for name in parts[0]})


def draw_mirrored(num: int, ranges: AugmentRanges, rng: np.random.Generator) -> np.ndarray:
    """(B,) bool: which hands are shown as their mirror images."""
    return rng.random(num) < ranges.mirror


def mirror_hands(hands: LabelledHands, mirrored: np.ndarray, side: int) -> LabelledHands:
    """Labels of the hands in crops of `side` px, mirrored where `mirrored` (B,) bool is true."""
    which = np.where(mirrored, LEFT, RIGHT)
    return replace(
        hands,
        joints=torch.from_numpy(canonical_joints(hands.joints.numpy(), which)),
        keypoints=torch.from_numpy(canonical_keypoints(hands.keypoints.numpy(), which, side)),
        camera=torch.from_numpy(canonical_camera(hands.camera.numpy(), which, side)),
    )


def transform_labels(hands: LabelledHands, view: Window) -> LabelledHands:
    """Labels of the canonical crops -> labels of the inputs: keypoints A u, joints R X, cameras A K R^T."""
    turn = turn_about_axis(view.angle_deg)
    return replace(
        hands,
        joints=hands.joints @ turn.mT,
        keypoints=move_points(view.matrix, hands.keypoints),
        camera=view.matrix @ hands.camera @ turn.mT,
    )


def turn_about_axis(angle_deg: Tensor) -> Tensor:
    """(B, 3, 3) rotation about the optical axis that turns the picture counter-clockwise (x right, y down)."""
    angle = torch.deg2rad(angle_deg)
    cos, sin, zero = torch.cos(angle), torch.sin(angle), torch.zeros_like(angle)
    return affine(cos, sin, zero, -sin, cos, zero)


def render_inputs(
    crops: Tensor,
    view: Window,
    flipped: Tensor,
    colour: Tensor | None,
    mean: tuple,
    std: tuple,
    sigma: Tensor | None = None,
) -> Tensor:
    """The pixels: crops (B, S, S, 3) uint8 as stored, flipped (B,) bool, colour (B, 4) or None, sigma (B,) px of a blur
    or None -> (B, 3, size, size) normalised.
    """
    side = crops.shape[1]
    images = warp(crops, view.matrix @ mirror(flipped, side), view.size, oversample=2 if side > view.size else 1)
    if sigma is not None:
        images = blur(images, sigma.to(images.dtype))
    if colour is not None:
        images = jitter(images, send(colour.to(images.dtype), images.device))
    return normalize(images, mean, std)


def draw_colours(num: int, ranges: AugmentRanges, rng: np.random.Generator) -> Tensor:
    """(B, 4): factors on brightness, contrast and saturation, and a turn of the hue in radians."""
    factors = rng.uniform(1 - ranges.colour, 1 + ranges.colour, (num, 3))
    return torch.from_numpy(np.column_stack([factors, rng.uniform(-ranges.hue, ranges.hue, num) * 2 * np.pi]))


def draw_blurs(num: int, ranges: AugmentRanges, rng: np.random.Generator) -> Tensor:
    """(B,) standard deviations in px of the input."""
    return torch.from_numpy(rng.uniform(0, ranges.blur, num))


def blur(images: Tensor, sigma: Tensor) -> Tensor:
    """(B, C, H, W) under a Gaussian of sigma (B,) px each, on the CPU, cut off at three times the largest; border
    pixels are repeated outwards."""
    (num, channels, high, wide), reach = images.shape, max(1, int(torch.ceil(3 * sigma.max())))
    steps = torch.arange(-reach, reach + 1).to(sigma)
    kernel = torch.exp(-(steps**2) / (2 * sigma[:, None].clamp(min=1e-3) ** 2))
    kernel = send((kernel / kernel.sum(1, keepdim=True)).repeat_interleave(channels, 0), images.device)
    rows = functional.pad(images, (reach,) * 4, "replicate").reshape(
        1, num * channels, high + 2 * reach, wide + 2 * reach
    )
    rows = functional.conv2d(rows, kernel[:, None, None, :], groups=num * channels)
    return functional.conv2d(rows, kernel[:, None, :, None], groups=num * channels).reshape(images.shape)


def jitter(images: Tensor, colour: Tensor) -> Tensor:
    """RGB (B, 3, H, W) in 0..1 with brightness, contrast, saturation and hue changed; clipped to 0..1.

    One 3x3 matrix per image in YIQ, where saturation scales the colour plane and hue rotates it.
    """
    brightness, contrast, saturation, hue = (value[:, None, None, None] for value in colour.unbind(1))
    to_yiq, from_yiq = yiq(images.device, images.dtype)
    images = images * brightness
    grey = torch.einsum("c,bchw->bhw", to_yiq[0], images).mean(dim=(1, 2))[:, None, None, None]
    images = grey + contrast * (images - grey)
    cos, sin = (saturation * hue.cos())[:, 0, 0, 0], (saturation * hue.sin())[:, 0, 0, 0]
    plane = affine(torch.ones_like(cos), torch.zeros_like(cos), torch.zeros_like(cos), torch.zeros_like(cos), cos, -sin)
    plane[:, 2, 1], plane[:, 2, 2] = sin, cos
    matrix = from_yiq @ plane @ to_yiq
    return torch.einsum("bij,bjhw->bihw", matrix, images).clamp(0, 1)


@lru_cache(maxsize=8)
def yiq(device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """(3, 3) YIQ from RGB, and its inverse; computed once."""
    matrix = torch.tensor(
        [[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]], device=device, dtype=dtype
    )
    return matrix, torch.linalg.inv(matrix)
