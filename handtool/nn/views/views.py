"""Views: augmented crops, made on the device in one warp each, with the matrix of that warp.

Everything is a 3x3 matrix acting on pixel coordinates with pixel centres at integers: a mirror is u' = W - 1 - u, a
resize by s about the centre is u' = s (u - (W-1)/2) + (size-1)/2. A crop is the square image as stored; a *canonical*
crop is the same with left hands mirrored. Shapes: B views, S side of the crops, J = 21 keypoints. Matrices and random
numbers are float64 on the CPU (a few numbers per view), pixels are on the device.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from handtool.nn.views import view_kernel
from handtool.nn.views.device import constant, send

IMAGENET_MEAN = (0.485, 0.456, 0.406)  # RGB, of pixels in 0..1
IMAGENET_STD = (0.229, 0.224, 0.225)
DRAWS = 8  # random numbers per view: angle, scale, shift x and y, gains on hue, saturation, value, and added value
GAINS_FROM, GAINS_TO = (0.01, 0.01, 0.5, 5 / 255), (1.0, 1.0, 1.0, 20 / 255)
OVERSAMPLE = 2  # samples per pixel, along each axis
SHIFT_SIDE = 224  # px, side of the published crops: the published shifts are scaled to the side of ours
BLOCK = 256  # views rendered at once: limits the float copies of the crops to some hundred MB for any batch


@dataclass(frozen=True)
class ViewRanges:
    """The ranges of a view. As published, except the shift, which is [0, 15) there: in one direction only."""

    angle_deg: int = 45  # integer degrees in [-45, 45]
    shift_px: float = 15.0  # px where a crop has SHIFT_SIDE of them, uniform in [-15, 15) on each axis
    # half-side of the view, in units of the largest keypoint distance from the mean
    scale: tuple[float, float] = (0.9, 1.5)
    colour: bool = True


@dataclass(frozen=True)
class Views:
    """The transformation of B canonical crops, precise enough to undo it."""

    matrix: Tensor  # (B, 3, 3) view px from canonical crop px
    angle_deg: Tensor  # (B,) counter-clockwise in the image
    shift_px: Tensor  # (B, 2) the content's shift as drawn, px of a crop of SHIFT_SIDE, right and down positive
    xy: Tensor  # (B, J, 2) the keypoints in the view, px
    # (B, 4) factors on hue, saturation, value, and what is added to value (0 to 1); None: colours stay
    gains: Tensor | None
    size: int  # px, side of a view

    def shift_fraction(self) -> Tensor:
        """(B, 2): mean keypoint from the view's centre, in units of the keypoints' extent there (at least 1 px)."""
        extent_B2 = (self.xy.amax(1) - self.xy.amin(1)).clamp(min=1.0)
        return (self.xy.mean(1) - (self.size - 1) / 2) / extent_B2


def make_views(xy: Tensor, drawn: np.ndarray, ranges: ViewRanges, size: int, side: int) -> Views:
    """Views from random numbers `drawn` (B, DRAWS) in [0, 1). xy (B, J, 2): keypoints in canonical crops of `side` px;
    the views have `size` px.

    Rotation about the mean keypoint, then a square window around it, shifted, resized to `size`.
    """
    angle_B, scale_B, shift_B2, gains_B4 = (torch.from_numpy(part) for part in np.split(drawn, (1, 2, 4), 1))
    angle_B = torch.floor(angle_B[:, 0] * (2 * ranges.angle_deg + 1)) - ranges.angle_deg
    scale_B = between(*ranges.scale, scale_B[:, 0])
    shift_B2 = between(-ranges.shift_px, ranges.shift_px, shift_B2)
    gains_B4 = between(torch.tensor(GAINS_FROM).double(), torch.tensor(GAINS_TO).double(), gains_B4)
    centre_B2 = xy.double().mean(1)
    radius_B = (xy.double() - centre_B2[:, None]).norm(dim=2).amax(1).clamp(min=1.0)
    matrix_B33 = window(centre_B2 - shift_B2 * (side / SHIFT_SIDE), radius_B * scale_B, size) @ rotation(
        centre_B2, angle_B
    )
    return Views(
        matrix_B33, angle_B, shift_B2, move_points(matrix_B33, xy.double()), gains_B4 if ranges.colour else None, size
    )


def between(low: float | Tensor, high: float | Tensor, share: Tensor) -> Tensor:
    return low + (high - low) * share


def rotation(centre: Tensor, angle_deg: Tensor) -> Tensor:
    """(B, 3, 3) turning counter-clockwise in the image (y down) about centre (B, 2), as cv2.getRotationMatrix2D."""
    angle = torch.deg2rad(angle_deg)
    cos, sin, (x, y) = torch.cos(angle), torch.sin(angle), centre.unbind(1)
    return affine(cos, sin, x - cos * x - sin * y, -sin, cos, y + sin * x - cos * y)


def window(centre: Tensor, half_side: Tensor, size: int) -> Tensor:
    """(B, 3, 3) cutting the square of half_side (B,) px around centre (B, 2) and resizing it to `size` px."""
    scale, zero, middle = size / (2 * half_side), torch.zeros_like(half_side), (size - 1) / 2
    return affine(scale, zero, middle - scale * centre[:, 0], zero, scale, middle - scale * centre[:, 1])


def mirror(flipped: Tensor, side: int) -> Tensor:
    """(B, 3, 3) canonical crop from crop: u' = side - 1 - u where flipped (B,) bool, else the identity."""
    one = torch.ones(len(flipped), dtype=torch.float64)
    sign, zero = torch.where(flipped, -one, one), torch.zeros_like(one)
    return affine(sign, zero, torch.where(flipped, (side - 1) * one, zero), zero, one, zero)


def affine(a: Tensor, b: Tensor, c: Tensor, d: Tensor, e: Tensor, f: Tensor) -> Tensor:
    """Six (B,) rows-first entries -> (B, 3, 3)."""
    zero, one = torch.zeros_like(a), torch.ones_like(a)
    return torch.stack((a, b, c, d, e, f, zero, zero, one), 1).reshape(-1, 3, 3)


def move_points(matrix: Tensor, xy: Tensor) -> Tensor:
    """(B, 3, 3) affine, (B, J, 2) px -> (B, J, 2) px."""
    return xy @ matrix[:, :2, :2].mT + matrix[:, None, :2, 2]


def warp(crops: Tensor, matrix: Tensor, size: int, oversample: int = OVERSAMPLE) -> Tensor:
    """Crops (B, S, S, 3) uint8 -> (B, 3, size, size) float32 in 0..1 on the same device; black outside the crop.

    matrix (B, 3, 3) maps crop px to view px. A view may shrink a crop more than twice (a 224 px crop whose window is
    300 px becomes 128), where one bilinear sample per pixel aliases. `oversample` 2 takes 2 x 2 samples per pixel and
    averages them: a box filter that follows the rotation, in the same single pass. 1 is plain bilinear, for enlarging
    or keeping the size.
    """
    side = crops.shape[1]
    # grid_sample needs crop from view, both in units where the image's outer edges are -1 and 1; inverted in float64.
    theta_B33 = edges_from_pixels(side) @ torch.linalg.inv(matrix.double().cpu() @ torch.eye(3, dtype=torch.float64))
    theta_B33 = theta_B33 @ torch.linalg.inv(edges_from_pixels(size))
    fine = [len(crops), 3, size * oversample, size * oversample]
    grid_BHW2 = functional.affine_grid(send(theta_B33[:, :2].float(), crops.device), fine, align_corners=False)
    planes_B3SS = crops.permute(0, 3, 1, 2).float().div_(255)
    views_B3HW = functional.grid_sample(planes_B3SS, grid_BHW2, "bilinear", "zeros", align_corners=False)
    return functional.avg_pool2d(views_B3HW, oversample) if oversample > 1 else views_B3HW


def edges_from_pixels(side: int) -> Tensor:
    """(3, 3): pixel centres 0..side-1 to coordinates whose -1 and 1 are the image's outer edges."""
    scale, offset = 2 / side, 1 / side - 1
    return torch.tensor([[scale, 0, offset], [0, scale, offset], [0, 0, 1]], dtype=torch.float64)


def render(
    crops: Tensor, views: Views, flipped: Tensor, mean: tuple = IMAGENET_MEAN, std: tuple = IMAGENET_STD
) -> Tensor:
    """Pixels of the views: crops (B, S, S, 3) uint8 as stored, flipped (B,) bool -> (B, 3, size, size), normalised."""
    matrix_B33 = views.matrix @ mirror(flipped, crops.shape[1])
    if crops.is_cuda and view_kernel.is_usable("cuda"):
        return view_kernel.sample_views(
            crops, torch.linalg.inv(matrix_B33), views.size, OVERSAMPLE, views.gains, mean, std
        )
    blocks = []
    for start in range(0, len(crops), BLOCK):
        here = slice(start, start + BLOCK)
        block = warp(crops[here], matrix_B33[here], views.size)
        if views.gains is not None:
            block = scale_hsv(block, send(views.gains[here].float(), block.device))
        blocks.append(normalize(block, mean, std))
    return torch.cat(blocks)


def scale_hsv(images: Tensor, gains: Tensor) -> Tensor:
    """RGB (B, 3, H, W) in 0..1 with hue, saturation and value times gains (B, 4)[:3], and gains[:, 3] added to value.

    Clipped to 0..1. Hue runs from 0 to 1 around the circle, red at 0, and is multiplied as a number, as published.
    """
    hue_gain, saturation_gain, value_gain, value_add = (gain[:, None, None] for gain in gains.unbind(1))
    red, green, blue = images.unbind(1)
    value, low = images.amax(1), images.amin(1)
    chroma = value - low
    safe = torch.where(chroma > 0, chroma, torch.ones_like(chroma))
    sixths = torch.where(
        value == red,
        ((green - blue) / safe) % 6,
        torch.where(value == green, (blue - red) / safe + 2, (red - green) / safe + 4),
    )
    saturation = (chroma / value.clamp(min=1e-12) * saturation_gain).clamp(0, 1)
    sixths, value = sixths * hue_gain, (value * value_gain + value_add).clamp(0, 1)
    return torch.stack([hsv_channel(offset, sixths, saturation * value, value) for offset in (5, 3, 1)], 1)


def hsv_channel(offset: int, sixths: Tensor, chroma: Tensor, value: Tensor) -> Tensor:
    """One of R, G, B (offsets 5, 3, 1) of a colour whose hue is given in sixths of the circle."""
    place = (sixths + offset) % 6
    return value - chroma * torch.minimum(place, 4 - place).clamp(0, 1)


def normalize(images: Tensor, mean: tuple = IMAGENET_MEAN, std: tuple = IMAGENET_STD) -> Tensor:
    """(B, 3, H, W) in 0..1 -> zero mean, unit deviation by channel, as the encoder was pre-trained."""
    mean_3, std_3 = (constant(tuple(values), images.device, images.dtype) for values in (mean, std))
    return (images - mean_3.view(3, 1, 1)) / std_3.view(3, 1, 1)
