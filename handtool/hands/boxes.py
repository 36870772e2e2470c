"""Boxes, and affine maps between frame and crop.

Points (u, v) have pixel centres at integers: the centre of the first pixel is 0. A box `x0 y0 x1 y1` gives edges: a
whole image is `0 0 width height`, and pixel i covers i..i+1, so that the point u is at u + 0.5 in box coordinates.
Scaling by s and moving by t is thus u' = s (u + 0.5) - 0.5 + t. Affine maps are (..., 2, 3), from source to target.
"""

import numpy as np

SAME_SCALE = 0.05  # largest relative difference between box scales that are the same for a model


def whole_image(width: int, height: int) -> np.ndarray:
    """Returns (4,) px: the box of the whole image."""
    return np.array([0.0, 0.0, width, height])


def box_of_points(points: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
    """points: (..., k, 2) px, valid: (..., k). Returns (..., 4) px: the box of the valid, finite points, else NaN."""
    points = np.asarray(points, dtype=float)
    known = np.isfinite(points).all(axis=-1)
    if valid is not None:
        known &= valid
    low = np.where(known[..., None], points, np.inf).min(axis=-2) + 0.0
    high = np.where(known[..., None], points, -np.inf).max(axis=-2) + 1.0
    box = np.concatenate([low, high], axis=-1)
    box[~known.any(axis=-1)] = np.nan
    return box


def enlarge(box: np.ndarray, factor: float) -> np.ndarray:
    """(..., 4) px -> the box `factor` times as wide and high about the same centre."""
    centre, half = _centre_and_half(box)
    return np.concatenate([centre - factor * half, centre + factor * half], axis=-1)


def square(box: np.ndarray) -> np.ndarray:
    """(..., 4) px -> the square about the same centre with the box's larger side."""
    centre, half = _centre_and_half(box)
    half = half.max(axis=-1, keepdims=True)
    return np.concatenate([centre - half, centre + half], axis=-1)


def larger_side(box: np.ndarray) -> np.ndarray:
    """(..., 4) px -> (...) px."""
    return 2 * _centre_and_half(box)[1].max(axis=-1)


def same_scale(scale: float, other: float) -> bool:
    """Whether two box scales are the same for a model: those measured on two parts of a data set differ a little."""
    return bool(abs(scale - other) <= SAME_SCALE * other)


def clip(box: np.ndarray, width: int, height: int) -> np.ndarray:
    """(..., 4) px -> the part of the box inside the image; without area if the box is outside."""
    return np.clip(box, 0.0, np.array([width, height, width, height], dtype=float))


def iou(box: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Boxes (..., 4), broadcast (`iou(a[:, None], b)`: all pairs). Returns intersection / union, 0 without area."""
    box, other = np.asarray(box, dtype=float), np.asarray(other, dtype=float)
    low, high = np.maximum(box[..., :2], other[..., :2]), np.minimum(box[..., 2:], other[..., 2:])
    shared = np.prod(np.clip(high - low, 0, None), axis=-1)
    joint = _area(box) + _area(other) - shared
    return np.divide(shared, joint, out=np.zeros_like(shared), where=joint > 0)


def crop_affine(box: np.ndarray, size: int, box_scale: float = 1.3) -> np.ndarray:
    """The map from frame pixels to the pixels of a square crop. Never stretches; what is outside is to be padded.

    box: (..., 4) px of the frame; it is enlarged by `box_scale` about its centre and made square by its larger side.
    size: px, side of the crop. Returns A (..., 2, 3): (u, v)_crop = A (u, v, 1)_frame; the identity for a whole square
    image of that size and box_scale 1.
    """
    region = square(enlarge(np.asarray(box, dtype=float), box_scale))
    scale = size / (region[..., 2] - region[..., 0])
    affine = np.zeros((*region.shape[:-1], 2, 3))
    affine[..., 0, 0] = affine[..., 1, 1] = scale
    affine[..., 2] = scale[..., None] * (0.5 - region[..., :2]) - 0.5
    return affine


def middle(box: np.ndarray) -> np.ndarray:
    """(..., 4) px -> (..., 2) px, the centre by the edges."""
    return (box[..., :2] + box[..., 2:]) / 2


def apply_affine(affine: np.ndarray, points: np.ndarray) -> np.ndarray:
    """affine: (..., 2, 3), points: (..., k, 2) px. Returns (..., k, 2) px."""
    return points @ np.swapaxes(affine[..., :2], -1, -2) + affine[..., None, :, 2]


def apply_affine_to_box(affine: np.ndarray, box: np.ndarray) -> np.ndarray:
    """affine: (..., 2, 3) of pixel centres; box: (..., 4) px, edges. Returns the upright box of the mapped corners."""
    box = np.asarray(box, dtype=float)
    corners = np.stack([box[..., [0, 1]], box[..., [2, 1]], box[..., [2, 3]], box[..., [0, 3]]], axis=-2)
    moved = apply_affine(affine, corners - 0.5) + 0.5
    return np.concatenate([moved.min(axis=-2), moved.max(axis=-2)], axis=-1)


def as_3x3(affine: np.ndarray) -> np.ndarray:
    """(..., 2, 3) -> (..., 3, 3) with the row 0 0 1."""
    row = np.broadcast_to(np.array([0.0, 0.0, 1.0]), (*affine.shape[:-2], 1, 3))
    return np.concatenate([affine, row], axis=-2)


def invert(affine: np.ndarray) -> np.ndarray:
    """(..., 2, 3) -> the inverse map, (..., 2, 3). Raises LinAlgError if there is none."""
    linear = np.linalg.inv(affine[..., :2])
    return np.concatenate([linear, -linear @ affine[..., 2:]], axis=-1)


def _centre_and_half(box: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    box = np.asarray(box, dtype=float)
    return (box[..., :2] + box[..., 2:]) / 2, (box[..., 2:] - box[..., :2]) / 2


def _area(box: np.ndarray) -> np.ndarray:
    return np.prod(np.clip(box[..., 2:] - box[..., :2], 0, None), axis=-1)
