"""Keypoints and boxes as the lists of numbers that json files hold, whatever stands in them."""

import numpy as np

from handtool.hands.boxes import apply_affine
from handtool.hands.label_faults import ORDERS
from handtool.hands.skeleton import BONES, NUM_JOINTS

FARTHEST = 1e6  # px
MOST_POINTS = 1000  # of one annotation
OTHER_ORDER = 0.8  # total length of the bones / that in the standard order
FEWEST, MOST = 4, 2000  # hands that tell an order


def read_numbers(values: object, shape: tuple[int, ...]) -> np.ndarray | None:
    """float64 of that shape. None where it is no list of numbers (texts are none), or any is not finite."""
    try:
        if not isinstance(values, list):
            return None
        array = np.array(values, dtype=object)
        if array.shape != shape or not all(type(value) in (int, float) for value in array.flat):
            return None
        numbers = array.astype(np.float64)
    except (ValueError, TypeError, OverflowError):
        return None
    return numbers if np.isfinite(numbers).all() else None


def read_points(values: object, width: int = 3) -> np.ndarray | None:
    """(n, 3) x, y, v, or with `width` 2 x, y alone and v 1: of a flat list or of lists. v is 0 where x or y is null,
    not finite or out of all bounds. None: no such numbers."""
    if not isinstance(values, list) or not 0 < len(values) <= width * MOST_POINTS:
        return None
    flat = values
    if all(isinstance(value, list) for value in values):
        if not all(len(value) == width for value in values):
            return None
        flat = [number for value in values for number in value]
    if len(flat) % width or not all(value is None or type(value) in (int, float) for value in flat):
        return None
    try:
        points = np.array(flat, np.float64).reshape(-1, width)
    except OverflowError:
        return None
    if width == 2:
        points = np.hstack([points, np.ones((len(points), 1))])
    points[~(np.isfinite(points).all(axis=1) & (np.abs(points) < FARTHEST).all(axis=1)), 2] = 0
    return points


def is_box(box: np.ndarray) -> bool:
    """Whether (4,) x0 y0 x1 y1 is one, with a size."""
    return bool(np.isfinite(box).all() and np.abs(box).max() < FARTHEST and box[2] > box[0] and box[3] > box[1])


def corners(bbox: object) -> np.ndarray:
    """x, y, width, height -> (4,) x0 y0 x1 y1 px by its edges; NaN: none."""
    box = read_numbers(bbox, (4,))
    return np.full(4, np.nan) if box is None else np.concatenate([box[:2], box[:2] + box[2:]])


def resize(points: np.ndarray, factors: tuple[float, float]) -> np.ndarray:
    """(…, 2) px of a picture -> of the same picture so many times as wide and high: u' = s (u + 0.5) - 0.5."""
    across, down = factors
    return apply_affine(np.array([[across, 0, (across - 1) / 2], [0, down, (down - 1) / 2]]), points)


def total_length(points: np.ndarray) -> np.ndarray:
    """(n, 21, 2) px -> (n,) px, of all bones."""
    parent, child = (list(ends) for ends in zip(*BONES, strict=True))
    return np.linalg.norm(points[:, child] - points[:, parent], axis=2).sum(axis=1).clip(1e-9)


def find_other_order(hands: list[np.ndarray]) -> str:
    """hands: (21, 2) px, all known. The name of another order than the standard one that they are in, told by the
    length of their bones, which are short in the right one; empty: none, or too few hands to tell."""
    if len(hands) < FEWEST:
        return ""
    points = np.array(hands[:MOST]).reshape(-1, NUM_JOINTS, 2)
    own = total_length(points)
    shares = {name: float(np.median(total_length(points[:, list(order)]) / own)) for name, order in ORDERS.items()}
    name = min(shares, key=shares.__getitem__)
    return name if shares[name] < OTHER_ORDER else ""
