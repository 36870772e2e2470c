"""Hands drawn into their frame: box, side, track, joints; beside it the hands in 3D, slowly turning.

A track keeps its colour, and a hand in 3D its panel and its scale, for the whole film.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np

from handtool.hands.boxes import apply_affine, apply_affine_to_box
from handtool.hands.crop_maps import CropMaps
from handtool.hands.skeleton import KNUCKLES, LEFT, RIGHT, WRIST
from handtool.render.canvas import FAINT, PAPER, paste, shorten, text_width, write
from handtool.render.skeleton import draw_skeleton, drawable
from handtool.render.space import draw_space

GROUND, LIGHT, DIM = (30, 32, 36), (236, 236, 232), (160, 164, 170)
SIDE_COLOURS = {LEFT: (54, 136, 222), RIGHT: (232, 140, 40)}  # of hands without a track
TRACK_COLOURS = (  # in turn
    (196, 54, 96),
    (22, 128, 118),
    (122, 82, 186),
    (176, 104, 16),
    (58, 96, 196),
    (86, 130, 40),
    (186, 70, 170),
    (96, 104, 116),
)
SIDE_NAMES = {LEFT: "left", RIGHT: "right"}
UNKNOWN_COLOUR = (196, 62, 150)
TRUTH = (236, 236, 232)
SMALLEST, LARGEST = 480, 960  # px, longer side of a frame in the mp4
DASH = 9  # px, of the box of a lost hand
ALARM = (248, 120, 104)
STRIP = 34  # px, height of the line of text below
PANELS = 2  # hands in 3D beside the frame
TURN_DEG, TURN_SECONDS = 55.0, 6.0
SAME = 14.0  # largest mean difference of grey levels between a crop and its place in the frame


@dataclass
class HandInPicture:
    """One hand in a picture. box (4,), points and true_points (21, 2): px of the picture, NaN or None if unknown;
    track: -1 none.

    joints, truth: (21, 3) m, None unknown. error_mm: NaN unknown. lost: not seen on this picture; the box is where it
    must be. again: seen only at a second look.
    """

    side: int
    track: int
    box: np.ndarray
    points: np.ndarray | None = None
    true_points: np.ndarray | None = None
    joints: np.ndarray | None = None
    truth: np.ndarray | None = None
    error_mm: float = float("nan")
    lost: bool = False
    again: bool = False

    @property
    def colour(self) -> tuple[int, int, int]:
        if self.track >= 0:
            return TRACK_COLOURS[self.track % len(TRACK_COLOURS)]
        return SIDE_COLOURS.get(self.side, UNKNOWN_COLOUR)

    def moved(self, affine: np.ndarray) -> "HandInPicture":
        """affine: (2, 3) px -> px. The hand in the pixels of another picture."""
        points, true_points = (None if p is None else apply_affine(affine, p) for p in (self.points, self.true_points))
        return replace(self, box=apply_affine_to_box(affine, self.box), points=points, true_points=true_points)


def shows_crop(frame: np.ndarray, crop: np.ndarray, way: CropMaps) -> bool:
    """Whether a crop (s, s, 3) was cut from this frame (h, w, 3) along its way (n = 1): both look alike at 16 x 16
    px."""
    side = crop.shape[0]
    places = np.stack(np.meshgrid(np.arange(side), np.arange(side)), axis=-1).reshape(1, -1, 2)
    across, down = np.nan_to_num(way.to_frame(places), nan=-side).astype(np.float32).reshape(-1, 2).T
    cut = cv2.remap(frame, across.reshape(side, side), down.reshape(side, side), cv2.INTER_LINEAR)
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


def dim(image: np.ndarray) -> np.ndarray:
    """The picture before a loss, grey and dark."""
    grey = image.mean(2, keepdims=True)
    return np.repeat(0.35 * grey, 3, axis=2).astype(np.uint8)


def hand_reach(joints: np.ndarray) -> float:
    """joints: (n, 21, 3) m, NaN unknown. Returns m: how far the hands reach from the middle of their palms, but for a
    twentieth of them."""
    reach = np.linalg.norm(joints - palm_centre(joints)[:, None], axis=2).max(axis=1)
    reach = reach[np.isfinite(reach)]
    return float(np.quantile(reach, 0.95)) if len(reach) else 0.1


def palm_centre(joints: np.ndarray) -> np.ndarray:
    """(…, 21, 3) -> (…, 3)"""
    return joints[..., [WRIST, *KNUCKLES], :].mean(axis=-2)


@dataclass
class Panels:
    """Which hand is in which panel. A lone hand is also seen from the side; from the first picture with two on, left
    hands are above and right ones below. reach: m, from the middle of a palm to the border of its panel."""

    reach: float
    several: bool = False

    def arrange(self, hands: list[HandInPicture], seconds: float) -> Iterator[tuple[int, HandInPicture, float]]:
        """Panel, hand and angle in degrees of those that are seen at `seconds` of the film, swinging slowly."""
        swing = TURN_DEG * np.sin(2 * np.pi * seconds / TURN_SECONDS)
        posed = [hand for hand in hands if hand.joints is not None and np.isfinite(hand.joints).any()]
        self.several |= len(posed) > 1
        if posed and not self.several:
            yield from ((0, posed[0], swing), (1, posed[0], 90.0))
            return
        free = list(range(PANELS))
        for hand in sorted(posed, key=lambda hand: hand.track)[:PANELS]:
            place = 0 if hand.side == LEFT else 1
            place = place if place in free else free[0]
            free.remove(place)
            yield place, hand, swing

    def draw(self, page: np.ndarray, side: int, hands: list[HandInPicture], seconds: float) -> None:
        """In place, at the right border; a panel without a hand stays as bright as the others."""
        page[: PANELS * side, page.shape[1] - side :] = PAPER
        for place, hand, turned in self.arrange(hands, seconds):
            assert hand.joints is not None
            truth = None if hand.truth is None else hand.truth.astype(float)
            panel = draw_space(hand.joints.astype(float), side, truth, turned, reach=self.reach)
            draw_chip(panel, hand, 4, 4)
            if turned == 90.0:
                write(panel, "from the side", side - 8, side - 10, 7, FAINT, "right")
            paste(page, panel, page.shape[1] - side, place * side)


def draw_picture(
    image: np.ndarray,
    hands: list[HandInPicture],
    name: str,
    told: str,
    size: tuple[int, int],
    panels: Panels | None = None,
    seconds: float = 0.0,
    lost: bool = False,
) -> np.ndarray:
    """image: a frame or a crop; hands: in its pixels. Returns a picture of `size` (width, height), which the image
    fills.

    name: the video's, below on the left; told: other text, below on the right; seconds: time in the mp4, which turns
    the hands in 3D. lost: the frame could not be decoded, and `image` is the one before it.
    """
    width, height = size[0], size[1] - STRIP
    side = panel_side(height) if panels else 0
    page = np.full((size[1], width, 3), GROUND, np.uint8)
    scale = min((width - side) / image.shape[1], height / image.shape[0])
    picture = cv2.resize(
        image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    )
    picture = dim(picture) if lost else picture
    affine = np.array([[scale, 0, (scale - 1) / 2], [0, scale, (scale - 1) / 2]])  # pixel centres at integers
    for hand in hands:
        draw_hand(picture, hand.moved(affine))
    paste(page, picture, (width - side - picture.shape[1]) // 2, (height - picture.shape[0]) // 2)
    if lost:
        write(page, "lost", (width - side) / 2, height / 2 + 10, 20, ALARM, "middle")
    write(page, shorten(name, width - text_width(told, 9) - 44, 9), 12, size[1] - 12, 9, LIGHT)
    write(page, told, width - 12, size[1] - 12, 9, DIM, "right")
    if panels:
        panels.draw(page, side, hands, seconds)
    return page


def draw_hand(picture: np.ndarray, hand: HandInPicture) -> None:
    """In place: box (dashed if the hand is lost), joints (the true ones in white beneath), and a label at the box."""
    boxed = np.isfinite(hand.box).all()
    if boxed and hand.lost:
        draw_dashed(picture, hand.box, hand.colour)
    elif boxed:
        left, top, right, bottom = (int(round(c * 16)) for c in np.clip(hand.box - 0.5, -1e4, 1e4))
        cv2.rectangle(picture, (left, top), (right, bottom), hand.colour, 2, cv2.LINE_AA, 4)
    if hand.true_points is not None:
        draw_in_place(picture, hand.true_points, TRUTH)
    if hand.points is not None:
        draw_in_place(picture, hand.points)
    if boxed:
        x, y = np.clip(hand.box[:2], 0, np.array(picture.shape[1::-1]) - 20).astype(int).tolist()
        draw_chip(picture, hand, x, max(y - 16, 0))


def draw_dashed(picture: np.ndarray, box: np.ndarray, colour: tuple) -> None:
    """In place."""
    left, top, right, bottom = np.clip(box, -1e4, 1e4)
    corners = np.array([(left, top), (right, top), (right, bottom), (left, bottom), (left, top)])
    for start, end in zip(corners[:-1], corners[1:], strict=True):
        length = float(np.linalg.norm(end - start))
        for begin in np.arange(0, length, 2 * DASH):
            a, b = (start + (end - start) * min(at, length) / max(length, 1) for at in (begin, begin + DASH))
            cv2.line(picture, tuple(np.round(a).astype(int)), tuple(np.round(b).astype(int)), colour, 2, cv2.LINE_AA)


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
    """In place: side, track and error, or that the hand is lost, on a background of its colour."""
    words = [SIDE_NAMES.get(hand.side, "side?")]
    words += [f"track {hand.track}"] if hand.track >= 0 else []
    words += ["lost"] * hand.lost + ["looked again"] * hand.again
    words += [f"{hand.error_mm:.0f} mm"] if np.isfinite(hand.error_mm) else []
    text = "  ".join(words)
    x = max(0, min(x, picture.shape[1] - text_width(text, 8) - 10))
    cv2.rectangle(picture, (x, y), (x + text_width(text, 8) + 9, y + 15), hand.colour, -1)
    write(picture, text, x + 5, y + 12, 8, (255, 255, 255))
