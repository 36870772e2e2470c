"""From pixels to rays, and from a pose relative to its wrist to its position in front of the camera; in torch, so that
it can be trained and exported.

Shapes: B hands, K points. `hands/camera.py` is the same in numpy.
"""

import torch
from torch import Tensor

LEAST_EXTENT = 1e-12  # sum of squared rays: keypoints in one spot do not determine the depth


def rays(uv: Tensor, camera: Tensor) -> Tensor:
    """uv (B, K, 2) px, camera (B, 3, 3) -> (B, K, 2) X/Z and Y/Z, float64: a view's camera needs it.

    Only the directions of its rows are needed: up to a factor, they are the cross products of the camera's columns.
    """
    uv, (x, y, z) = uv.double(), camera.double().unbind(-1)
    rows = torch.stack([torch.linalg.cross(y, z), torch.linalg.cross(z, x), torch.linalg.cross(x, y)], dim=1)
    direction = torch.cat([uv, torch.ones_like(uv[..., :1])], dim=-1) @ rows.mT
    return direction[..., :2] / direction[..., 2:]


def place_root(relative: Tensor, xy: Tensor, depth_range: tuple[float, float]) -> Tensor:
    """The position of a hand at which its joints lie on the rays of its keypoints: linear least squares, 3 unknowns.

    relative (B, K, 3), xy (B, K, 2) rays X/Z, Y/Z. Returns (B, 3), to be added. The depth is kept within `depth_range`
    (in units of `relative`), so that the result is in front of the camera for any prediction.
    """
    miss = relative[..., :2] - xy * relative[..., 2:]  # the residual that t_xy - (X, Y) t_z has to cancel
    spread = xy - xy.mean(dim=1, keepdim=True)
    extent = (spread * xy).sum(dim=(1, 2)).clamp(min=LEAST_EXTENT)
    depth = ((spread * miss).sum(dim=(1, 2)) / extent).clamp(*depth_range)
    sideways = (xy * depth[:, None, None] - miss).mean(dim=1)
    return torch.cat([sideways, depth[:, None]], dim=1)


def zero_unknown(values: Tensor, valid: Tensor) -> Tensor:
    """Zero where unknown, so that NaN reaches no gradient."""
    return torch.where(valid, values, torch.zeros_like(values)).float()


def weigh(valid: Tensor, weight: Tensor | None) -> Tensor:
    """valid (B, K) bool as it is, or as float32 with the weight (B, K) of what is known."""
    return valid if weight is None else valid * weight.float()
