"""A hand's bones drawn over its picture, one colour for each finger."""

import cv2
import numpy as np

from handtool.hands.skeleton import BONES, FINGERS, NUM_JOINTS

FINGER_COLOURS = {
    "thumb": (232, 72, 62),
    "index": (245, 166, 35),
    "middle": (58, 181, 92),
    "ring": (54, 136, 222),
    "little": (170, 92, 208),
}
WRIST_COLOUR = (240, 240, 240)
EDGE = (24, 24, 24)
LAYER = 4  # pixels of the drawing layer per pixel of the picture
FRACTION = 4  # bits of sub-pixel coordinates


def joint_colours(single: tuple | None = None) -> list[tuple]:
    """One colour for each of the 21 joints."""
    colours = [single or WRIST_COLOUR] * NUM_JOINTS
    for name, joints in FINGERS.items():
        for joint in joints:
            colours[joint] = single or FINGER_COLOURS[name]
    return colours


def at(point: np.ndarray) -> tuple[int, int]:
    x, y = (int(round(c * (1 << FRACTION))) for c in point)
    return x, y


def drawable(points: np.ndarray, shape: tuple) -> np.ndarray:
    """(21,) bool: finite, and near enough to the picture for OpenCV's coordinates."""
    with np.errstate(invalid="ignore"):
        return np.isfinite(points).all(1) & (np.abs(points) < 20 * max(shape)).all(1)


def draw_skeleton(
    tile: np.ndarray, points: np.ndarray, valid=None, visible=None, single: tuple | None = None, width: float = 1.0
) -> None:
    """In place. points (21, 2) px of the tile; valid, visible (21,) bool: invalid joints are left out, hidden ones are
    open rings.

    `single`: one colour for all fingers. The drawing is made LAYER times as large and scaled down, which keeps thin
    lines smooth.
    """
    known = drawable(points, tile.shape[:2]) & (True if valid is None else valid)
    seen = np.ones(NUM_JOINTS, bool) if visible is None else visible
    colours = joint_colours(single)
    height, across = (LAYER * n for n in tile.shape[:2])
    layer, mask = np.zeros((height, across, 3), np.uint8), np.zeros((height, across), np.uint8)
    points = scale_points(points, 1, LAYER)
    line = max(1.0, width * tile.shape[0] / 105) * LAYER
    radius = max(2.0, width * tile.shape[0] / 62) * LAYER

    def mark(draw, *where, colour: tuple, thick: int) -> None:
        draw(layer, *where, colour, thick, cv2.LINE_8, FRACTION)
        draw(mask, *where, 255, thick, cv2.LINE_8, FRACTION)

    bones = [(parent, child) for parent, child in BONES if known[parent] and known[child]]
    for thick, edge in ((line + 1.6 * LAYER, True), (line, False)):
        for parent, child in bones:
            mark(
                cv2.line,
                at(points[parent]),
                at(points[child]),
                colour=EDGE if edge else colours[child],
                thick=round(thick),
            )
    for joint in np.flatnonzero(known):
        rings = [(radius + 0.8 * LAYER, EDGE), (radius, colours[joint])] + (
            [] if seen[joint] else [(0.55 * radius, EDGE)]
        )
        for reach, colour in rings:
            mark(cv2.circle, at(points[joint]), round(reach * (1 << FRACTION)), colour=colour, thick=-1)
    shape = tile.shape[1::-1]
    share = cv2.resize(mask, shape, interpolation=cv2.INTER_AREA)[..., None] / 255.0
    tile[:] = np.round(tile * (1 - share) + cv2.resize(layer, shape, interpolation=cv2.INTER_AREA)).astype(np.uint8)


def scale_points(points: np.ndarray, size: int, side: int) -> np.ndarray:
    """(…, 2) px of a crop of `size` px -> px of a tile of `side` px, pixel centres at integers."""
    return (points + 0.5) * (side / size) - 0.5
