"""Undoing a view on the projections: the points of a projection are rotated and shifted like the hand in the view.

Shapes: N projections of 2P numbers = P points, 2 for x and y.
"""

import torch
from torch import Tensor
from torch.nn.functional import normalize

from handtool.nn.views.precision import raise_half


def undo_views(projections: Tensor, angle_deg: Tensor, shift_fraction: Tensor) -> Tensor:
    """Projections with the rotation and shift of the view undone: unit rows, ready for the loss.

    projections: (N, 2P) raw, point p at columns 2p and 2p + 1. angle_deg: (N,), counter-clockwise in the image as in
    cv2.getRotationMatrix2D. shift_fraction: (N, 2), the content's shift right and down in units of the points' extent
    along that axis. Returns (N, 2P), half raised to float32. Extent and centroid have no gradient. The scale of the
    view is removed by the normalisation. Raises ValueError on shapes that do not fit.

    Spurr et al. 2021, arXiv:2106.05953, section 3.2.
    """
    num, width = projections.shape if projections.ndim == 2 else (0, 0)
    if not num or width % 2 or angle_deg.shape != (num,) or shift_fraction.shape != (num, 2):
        raise ValueError(
            "projections (N, 2P), angle_deg (N,), shift_fraction (N, 2) expected, not "
            f"{tuple(projections.shape)}, {tuple(angle_deg.shape)}, {tuple(shift_fraction.shape)}"
        )
    with torch.autocast(projections.device.type, enabled=False):
        points_NP2 = normalize(raise_half(projections), dim=1).reshape(num, -1, 2)
        extent_N2 = (points_NP2.amax(1) - points_NP2.amin(1)).detach()
        points_NP2 = points_NP2 - (shift_fraction.to(points_NP2) * extent_N2)[:, None]
        centroid_N12 = points_NP2.mean(1, keepdim=True).detach()
        points_NP2 = (points_NP2 - centroid_N12) @ undo_rotation(angle_deg.to(points_NP2)) + centroid_N12
        return normalize(points_NP2.reshape(num, width), dim=1)


def undo_rotation(angle_deg: Tensor) -> Tensor:
    """(N,) degrees -> (N, 2, 2), to multiply row vectors (x, y), y down, from the right: turns them clockwise."""
    angle = torch.deg2rad(angle_deg)
    cos, sin = torch.cos(angle), torch.sin(angle)
    return torch.stack((torch.stack((cos, sin), 1), torch.stack((-sin, cos), 1)), 1)
