"""Pinhole cameras: projection, the camera of a crop, and 2.5D poses lifted to 3D.

Camera frame: x right, y down, z forward, metres. A camera K is the full 3x3 matrix from that frame to homogeneous
pixels (u, v, 1) with pixel centres at integers; for a view that rotates the hand it is K' = A K R^T, which is no longer
upper triangular.
"""

import numpy as np

from handtool.hands.boxes import as_3x3
from handtool.hands.skeleton import REFERENCE_BONE

LEAST_EXTENT = 1e-12  # summed squares of rays: keypoints at one point do not determine the depth


def project(joints: np.ndarray, camera: np.ndarray) -> np.ndarray:
    """joints: (..., k, 3) m in the camera frame; camera: (..., 3, 3). Returns (..., k, 2) px; inf or NaN at depth 0."""
    image = joints @ np.swapaxes(camera, -1, -2)
    with np.errstate(divide="ignore", invalid="ignore"):
        return image[..., :2] / image[..., 2:]


def rays(uv: np.ndarray, camera: np.ndarray) -> np.ndarray:
    """uv: (..., k, 2) px; camera: (..., 3, 3). Returns (..., k, 2): X/Z and Y/Z of each pixel's ray; NaN stays NaN."""
    homogeneous = np.concatenate([uv, np.ones_like(uv[..., :1])], axis=-1)
    direction = homogeneous @ np.swapaxes(np.linalg.inv(camera), -1, -2)
    return direction[..., :2] / direction[..., 2:]


def crop_camera(crop_from_frame: np.ndarray, camera: np.ndarray) -> np.ndarray:
    """crop_from_frame: (..., 2, 3) px, camera: (..., 3, 3) of the frame. Returns (..., 3, 3) of the crop, K' = A K."""
    return as_3x3(crop_from_frame) @ camera


def mirror_points(uv: np.ndarray, width: int) -> np.ndarray:
    """uv: (..., 2) px in an image `width` px wide. Returns the points in the mirrored image: u' = width - 1 - u."""
    mirrored = np.array(uv)
    mirrored[..., 0] = width - 1 - uv[..., 0]
    return mirrored


def mirror_joints(joints: np.ndarray) -> np.ndarray:
    """joints: (..., 3) m, camera frame. Returns X' = -X, which `mirror_camera` projects to the mirrored points."""
    mirrored = np.array(joints)
    mirrored[..., 0] *= -1
    return mirrored


def mirror_camera(camera: np.ndarray, width: int) -> np.ndarray:
    """camera: (..., 3, 3), image `width` px wide. Returns M K diag(-1, 1, 1): cx' = width - 1 - cx, skew' = -skew."""
    flip_image = np.array([[-1.0, 0.0, width - 1.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    return (flip_image @ camera @ np.diag([-1.0, 1.0, 1.0])).astype(camera.dtype, copy=False)


def lift_25d(
    uv: np.ndarray, z_rel: np.ndarray, camera: np.ndarray, scale: np.ndarray, depth_range: tuple[float, float] = (4, 50)
) -> np.ndarray:
    """Camera-frame joints from a 2.5D pose (Iqbal et al. 2018, arXiv:1804.09534, eqs. 5-8).

    uv: (n, 21, 2) px; z_rel: (n, 21), depth behind the root in units of the reference bone; joints in standard order
    (slot 0 may hold another point, which is lifted like the others); camera: (n, 3, 3); scale: (n,) m, length of the
    reference bone (middle MCP - PIP). depth_range: the root's depth is clipped to it, in units of the bone.
    Returns (n, 21, 3) m.
    """
    dtype = np.result_type(uv, z_rel, camera, scale, np.float32)
    uv, z_rel, camera, scale = (np.asarray(each, dtype=dtype) for each in (uv, z_rel, camera, scale))
    xy = rays(uv, camera)
    z = z_rel + root_depth(xy, z_rel, depth_range)[:, None]
    joints = np.concatenate([xy * z[..., None], z[..., None]], axis=-1)
    return joints * scale[:, None, None]


def root_depth(xy: np.ndarray, z_rel: np.ndarray, depth_range: tuple[float, float] = (4, 50)) -> np.ndarray:
    """The depth at which the reference bone has length 1: the larger root of a z^2 + b z + c = 0.

    xy: (n, 21, 2) rays (X/Z, Y/Z); z_rel: (n, 21), in bone lengths. Returns (n,), likewise, clipped to `depth_range`.
    """
    m, n = REFERENCE_BONE
    (xm, ym), (xn, yn) = np.moveaxis(xy[:, m], -1, 0), np.moveaxis(xy[:, n], -1, 0)
    zm, zn = z_rel[:, m], z_rel[:, n]
    across = xn * xm + yn * ym
    a = (xn - xm) ** 2 + (yn - ym) ** 2
    b = 2 * (zn * (xn**2 + yn**2 - across) + zm * (xm**2 + ym**2 - across))
    c = (xn * zn - xm * zm) ** 2 + (yn * zn - ym * zm) ** 2 + (zn - zm) ** 2 - 1
    root = (-b + np.sqrt(np.maximum(b**2 - 4 * a * c, 1e-8))) / (2 * np.maximum(a, 1e-8))
    return np.clip(root, *depth_range)


def place_root(
    relative: np.ndarray, uv: np.ndarray, camera: np.ndarray, weight: np.ndarray | None = None
) -> np.ndarray:
    """The translation that puts the joints of a root-relative hand on the rays of its keypoints: linear least squares.

    For the ray (X, Y) of a joint at relative position r: (r + t)_x - X (r + t)_z = 0, and likewise for y. 2 x 21
    equations in t. relative: (n, 21, 3) m; uv: (n, 21, 2) px; camera: (n, 3, 3); weight: (n, 21), how much each joint
    counts, 0: not at all (default: all alike). Returns t (n, 3) m, to be added to `relative`; NaN if the camera is
    unknown or no position in front of it fits.
    """
    seen = rays(np.asarray(uv, dtype=float), np.asarray(camera, dtype=float))
    relative = np.asarray(relative, dtype=float)
    counts = np.ones(relative.shape[:-1]) if weight is None else np.asarray(weight, dtype=float)
    seen, relative = np.where(counts[..., None] > 0, seen, 0.0), np.where(counts[..., None] > 0, relative, 0.0)
    total = counts.sum(axis=1)[:, None, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        miss = relative[..., :2] - seen * relative[..., 2:]  # to be cancelled by t_xy - (X, Y) t_z
        spread = (seen - (counts[..., None] * seen).sum(axis=1, keepdims=True) / total) * counts[..., None]
        extent = (spread * seen).sum(axis=(1, 2))
        depth = (spread * miss).sum(axis=(1, 2)) / np.where(extent > LEAST_EXTENT, extent, np.nan)
        sideways = (counts[..., None] * (seen * depth[:, None, None] - miss)).sum(axis=1) / total[:, 0]
    place = np.concatenate([sideways, depth[:, None]], axis=1)
    place[~(np.isfinite(place).all(axis=1) & (depth > 0))] = np.nan
    return place


def place_robustly(relative: np.ndarray, uv: np.ndarray, camera: np.ndarray, rounds: int = 10) -> np.ndarray:
    """As `place_root`, but joints that lie far off their pixel after the others are placed count less.

    Iteratively reweighted least squares with Huber's weights: a joint farther from its pixel than 1.5 times the hand's
    median distance counts as much less as it is farther.
    """
    weight = np.ones(relative.shape[:-1])
    for _ in range(rounds):
        place = place_root(relative, uv, camera, weight)
        miss = np.linalg.norm(project(relative + place[:, None], camera) - uv, axis=-1)
        near = 1.5 * np.median(miss, axis=1, keepdims=True)
        weight = np.where(miss > near, near / np.maximum(miss, 1e-9), 1.0)
    return place
