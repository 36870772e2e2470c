"""Hands as tiles: the crop, its joints if they are known, and below it the video and frame."""

from dataclasses import dataclass

import numpy as np

from handtool.hands.camera import mirror_points
from handtool.hands.skeleton import LEFT, RIGHT
from handtool.render.canvas import decode
from handtool.render.sheet import Tile
from handtool.render.skeleton import draw_skeleton, scale_points


@dataclass
class DrawnHands:
    """n hands to draw. jpegs: n crops of `size` px; video: names; frame, side: (n,).

    points (n, 21, 2) px of the crop, valid and visible (n, 21) bool: None if nothing is to be drawn over the crop, or
    unknown.
    """

    jpegs: list[bytes]
    size: int
    video: list[str]
    frame: np.ndarray
    side: np.ndarray
    points: np.ndarray | None = None
    valid: np.ndarray | None = None
    visible: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.jpegs)


def hand_tiles(hands: DrawnHands, side: int, canonical: bool = False) -> list[Tile]:
    """A tile of `side` px for each hand. `canonical`: left hands mirrored, since mining compares right hands."""
    tiles = []
    for i, jpeg in enumerate(hands.jpegs):
        image, mirrored = decode(jpeg, side), canonical and hands.side[i] == LEFT
        if mirrored:
            image = np.ascontiguousarray(image[:, ::-1])
        if hands.points is not None:
            xy = mirror_points(hands.points[i], hands.size) if mirrored else hands.points[i]
            known, seen = (None if flags is None else flags[i] for flags in (hands.valid, hands.visible))
            draw_skeleton(image, scale_points(xy, hands.size, side), known, seen)
        letter = {LEFT: "  L, mirrored" if mirrored else "  L", RIGHT: "  R"}.get(int(hands.side[i]), "")
        tiles.append(Tile(image, hands.video[i], f"frame {hands.frame[i]}{letter}"))
    return tiles
