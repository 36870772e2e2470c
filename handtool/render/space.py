"""A hand's bones in 3D, turned so that depth is visible, with a scale bar."""

import cv2
import numpy as np

from handtool.hands.skeleton import KNUCKLES, WRIST
from handtool.render.canvas import FAINT, PAPER, RULE, write
from handtool.render.skeleton import draw_skeleton

TRUTH = (158, 162, 168)
BARS_MM = (100, 50, 20, 10, 5)


def turn(joints: np.ndarray, about_y_deg: float, about_x_deg: float = 0.0) -> np.ndarray:
    """(…, 3) in camera axes (x right, y down, z forward) -> (…, 2), right and down, after turning. 0, 0: seen from the
    camera; 90, 0: from the side (depth to the right); 0, 90: from above (depth upwards)."""
    a, b = np.deg2rad([about_y_deg, about_x_deg])
    x, y, z = joints[..., 0], joints[..., 1], joints[..., 2]
    depth = z * np.cos(a) - x * np.sin(a)
    return np.stack([x * np.cos(a) + z * np.sin(a), y * np.cos(b) - depth * np.sin(b)], -1)


def draw_space(
    joints: np.ndarray,
    side: int,
    truth: np.ndarray | None = None,
    about_y_deg: float = 90.0,
    about_x_deg: float = 0.0,
    reach: float | None = None,
) -> np.ndarray:
    """joints, truth (21, 3) m -> (side, side, 3), wrists at one point; truth in grey. reach: m, from the middle of the
    palm, which is in the middle, to the border; None: the larger hand fills the panel."""
    panel = np.full((side, side, 3), PAPER, np.uint8)
    cv2.rectangle(panel, (0, 0), (side - 1, side - 1), RULE, 1)
    hands = [(truth, TRUTH), (joints, None)] if truth is not None else [(joints, None)]
    views = [turn(hand - hand[0], about_y_deg, about_x_deg) for hand, _ in hands]
    finite = np.concatenate([view[np.isfinite(view).all(1)] for view in views])
    if len(finite) == 0:
        return panel
    low, high = finite.min(0), finite.max(0)
    middle, scale = (low + high) / 2, 0.76 * side / max(float((high - low).max()), 1e-9)
    if reach is not None:
        middle, scale = views[-1][[WRIST, *KNUCKLES]].mean(0), 0.43 * side / reach
    for view, (_, colour) in zip(views, hands, strict=True):
        draw_skeleton(panel, (view - middle) * scale + side * np.array([0.5, 0.47]), single=colour, width=0.8)
    draw_bar(panel, scale, side)
    return panel


def draw_bar(panel: np.ndarray, scale: float, side: int) -> None:
    """In place: a bar of a round length. scale: px per metre."""
    length_mm = next((mm for mm in BARS_MM if mm * scale / 1000 < 0.4 * side), BARS_MM[-1])
    end = 7 + round(length_mm * scale / 1000)
    cv2.line(panel, (7, side - 8), (min(end, side), side - 8), FAINT, 1)
    write(panel, f"{length_mm} mm", 7, side - 12, 6.5, FAINT)
