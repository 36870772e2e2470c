"""Clutter that moves by itself: what passes behind the hands while the camera looks on."""

from dataclasses import dataclass

import cv2
import numpy as np

from handtool.hands.boxes import apply_affine, invert
from handtool.synth.motion import wander
from handtool.synth.places import CANVAS, canvas_from_picture, draw_colour

SHIFT = 4  # binary digits below the pixel that OpenCV's polygons are given


@dataclass(frozen=True)
class Passer:
    """A flat shape in the place. path: (F, 3) canvas px and turn in radians; outline: (K, 2) canvas px about it."""

    path: np.ndarray
    outline: np.ndarray
    colour: tuple[float, float, float]


def draw_passers(
    rng: np.random.Generator, time: np.ndarray, view: np.ndarray, count: int, saturation: float
) -> list[Passer]:
    """Each crosses what the camera sees (view (F, 4)) at its own pace."""
    passers = []
    for _ in range(count):
        corners = int(rng.integers(3, 9))
        turn = np.sort(rng.uniform(0, 2 * np.pi, corners))
        reach = rng.uniform(0.06, 0.22) * view[0, 2] * rng.uniform(0.6, 1.0, (corners, 1))
        start, heading = rng.uniform(-0.5, 0.5, 2), rng.uniform(0, 2 * np.pi)
        speed = rng.uniform(0.03, 0.25)  # widths of the picture a second
        moved = start + speed * (time - rng.uniform(0, max(time[-1], 1)))[:, None] * np.array(
            [np.cos(heading), np.sin(heading)]
        )
        middle = view[:, :2] * CANVAS + view[0, 2] * (moved + wander(rng, time, 0.08, 2))
        path = np.concatenate([middle, wander(rng, time, 0.8, 1)], 1)
        red, green, blue = (float(c) for c in draw_colour(rng, saturation))
        passers.append(Passer(path, reach * np.stack([np.cos(turn), np.sin(turn)], 1), (red, green, blue)))
    return passers


def add_passers(image: np.ndarray, passers: list[Passer], view: np.ndarray, frame: int) -> None:
    """Draws them on the picture of the place, in place."""
    if not passers:
        return
    height, width = image.shape[:2]
    picture_from_canvas = invert(canvas_from_picture(width, height, view))
    for passer in passers:
        x, y, turn = passer.path[frame]
        spun = passer.outline @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
        corners = apply_affine(picture_from_canvas, spun + (x, y))
        cv2.fillPoly(image, [np.round(corners * 2**SHIFT).astype(np.int32)], passer.colour, cv2.LINE_AA, SHIFT)
