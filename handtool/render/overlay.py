"""Hands drawn into their frame: box, side, track, joints; beside it the hands in 3D, slowly turning."""

from dataclasses import dataclass, replace

import cv2
import numpy as np

from handtool.hands.boxes import apply_affine, apply_affine_to_box
from handtool.hands.skeleton import LEFT, RIGHT
from handtool.render.canvas import paste, shorten, text_width, write
from handtool.render.skeleton import draw_skeleton, drawable
from handtool.render.space import draw_space

GROUND, LIGHT, DIM = (30, 32, 36), (236, 236, 232), (160, 164, 170)
SIDE_COLOURS = {LEFT: (54, 136, 222), RIGHT: (232, 140, 40)}
SIDE_NAMES = {LEFT: "left", RIGHT: "right"}
UNKNOWN_COLOUR = (196, 62, 150)
TRUTH = (236, 236, 232)
SMALLEST, LARGEST = 480, 960  # px, longer side of a frame in the mp4
STRIP = 34  # px, height of the line of text below
PANELS = 2  # hands in 3D beside the frame
TURN_DEG, TURN_SECONDS = 55.0, 6.0
SAME = 14.0  # largest mean difference of grey levels between a crop and its place in the frame


@dataclass
class HandInPicture:
    """One hand in a picture. box (4,), points and true_points (21, 2): px of the picture, NaN or None if unknown;
    track: -1 none.

    joints, truth: (21, 3) m, None unknown. error_mm: NaN unknown.
    """

    side: int
    track: int
    box: np.ndarray
    points: np.ndarray | None = None
    true_points: np.ndarray | None = None
    joints: np.ndarray | None = None
    truth: np.ndarray | None = None
    error_mm: float = float("nan")

    def moved(self, affine: np.ndarray) -> "HandInPicture":
        """affine: (2, 3) px -> px. The hand in the pixels of another picture."""
        points, true_points = (None if p is None else apply_affine(affine, p) for p in (self.points, self.true_points))
        return replace(self, box=apply_affine_to_box(affine, self.box), points=points, true_points=true_points)


def shows_crop(frame: np.ndarray, crop: np.ndarray, affine: np.ndarray) -> bool:
    """Whether a crop (s, s, 3) was cut from this frame (h, w, 3) by `affine` (2, 3): both look alike at 16 x 16 px."""
    side = crop.shape[0]
    cut = cv2.warpAffine(frame, affine, (side, side), flags=cv2.INTER_LINEAR)
    coarse = [cv2.resize(image, (16, 16), interpolation=cv2.INTER_AREA).astype(float) for image in (cut, crop)]
    return float(np.abs(coarse[0] - coarse[1]).mean()) <= SAME


def mp4_size(sizes: list[tuple[int, int]], beside: bool) -> tuple[int, int]:
    """Even width and height of an mp4 for pictures of these sizes (width, height): the largest, scaled to
    SMALLEST..LARGEST, with the line below and, if `beside`, the panels of hands in 3D."""
    scaled = [np.array(size) * np.clip(1.0, SMALLEST / max(size), LARGEST / max(size)) for size in sizes]
    width, height = (np.ceil(np.max(scaled, axis=0) / 2) * 2).astype(int).tolist()
    return width + (panel_side(height) if beside else 0), height + STRIP


def panel_side(height: int) -> int:
    return height // PANELS // 2 * 2


def draw_picture(
    image: np.ndarray,
    hands: list[HandInPicture],
    name: str,
    told: str,
    size: tuple[int, int],
    beside: bool,
    seconds: float,
) -> np.ndarray:
    """image: a frame or a crop; hands: in its pixels. Returns a picture of `size` (width, height), which the image
    fills.

    name: the video's, below on the left; told: other text, below on the right; seconds: time in the mp4.
    """
    width, height = size[0], size[1] - STRIP
    side = panel_side(height) if beside else 0
    page = np.full((size[1], width, 3), GROUND, np.uint8)
    scale = min((width - side) / image.shape[1], height / image.shape[0])
    picture = cv2.resize(
        image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    )
    affine = np.array([[scale, 0, (scale - 1) / 2], [0, scale, (scale - 1) / 2]])  # pixel centres at integers
    for hand in hands:
        draw_hand(picture, hand.moved(affine))
    paste(page, picture, (width - side - picture.shape[1]) // 2, (height - picture.shape[0]) // 2)
    write(page, shorten(name, width - text_width(told, 9) - 44, 9), 12, size[1] - 12, 9, LIGHT)
    write(page, told, width - 12, size[1] - 12, 9, DIM, "right")
    for place, (hand, turned) in enumerate(seen_in_space(hands, seconds) if beside else []):
        assert hand.joints is not None
        panel = draw_space(
            hand.joints.astype(float), side, None if hand.truth is None else hand.truth.astype(float), turned
        )
        draw_chip(panel, hand, 4, 4)
        paste(page, panel, width - side, place * side)
    return page


def seen_in_space(hands: list[HandInPicture], seconds: float) -> list[tuple[HandInPicture, float]]:
    """The hands of the panels and their angles in degrees: the first two, swinging; a single one also from the side."""
    swing = TURN_DEG * np.sin(2 * np.pi * seconds / TURN_SECONDS)
    there = [(hand, swing) for hand in hands if hand.joints is not None and np.isfinite(hand.joints).any()][:PANELS]
    return [*there, (there[0][0], 90.0)] if len(there) == 1 else there


def draw_hand(picture: np.ndarray, hand: HandInPicture) -> None:
    """In place: box, joints (the true ones in white beneath), and a label at the box."""
    colour = SIDE_COLOURS.get(hand.side, UNKNOWN_COLOUR)
    boxed = np.isfinite(hand.box).all()
    if boxed:
        left, top, right, bottom = (int(round(c * 16)) for c in np.clip(hand.box - 0.5, -1e4, 1e4))
        cv2.rectangle(picture, (left, top), (right, bottom), colour, 2, cv2.LINE_AA, 4)
    if hand.true_points is not None:
        draw_in_place(picture, hand.true_points, TRUTH)
    if hand.points is not None:
        draw_in_place(picture, hand.points)
    if boxed:
        x, y = np.clip(hand.box[:2], 0, np.array(picture.shape[1::-1]) - 20).astype(int).tolist()
        draw_chip(picture, hand, x, max(y - 16, 0))


def draw_in_place(picture: np.ndarray, points: np.ndarray, single: tuple | None = None) -> None:
    """In place. Line width follows the size of the hand, so the skeleton is drawn on the patch around it."""
    known = drawable(points, picture.shape[:2])
    if not known.any():
        return
    low, high = points[known].min(0), points[known].max(0)
    margin = 6 + 0.15 * float((high - low).max())
    x0, y0 = np.maximum(np.floor(low - margin), 0).astype(int)
    x1, y1 = np.minimum(np.ceil(high + margin), picture.shape[1::-1]).astype(int)
    patch = picture[y0 : max(y1, y0), x0 : max(x1, x0)]
    if patch.size:
        reach = float((high - low).max()) + 2 * margin
        draw_skeleton(patch, points - (x0, y0), single=single, width=(0.8 if single else 1.0) * reach / patch.shape[0])


def draw_chip(picture: np.ndarray, hand: HandInPicture, x: int, y: int) -> None:
    """In place: side, track and error on a background of the side's colour."""
    track = f"  #{hand.track}" if hand.track >= 0 else ""
    text = (
        SIDE_NAMES.get(hand.side, "side?") + track + (f"  {hand.error_mm:.0f} mm" if np.isfinite(hand.error_mm) else "")
    )
    x = max(0, min(x, picture.shape[1] - text_width(text, 8) - 10))
    cv2.rectangle(
        picture, (x, y), (x + text_width(text, 8) + 9, y + 15), SIDE_COLOURS.get(hand.side, UNKNOWN_COLOUR), -1
    )
    write(picture, text, x + 5, y + 12, 8, (255, 255, 255))
