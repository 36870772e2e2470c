"""Hands as tiles: the crop, what is known of its joints over it, and where it is from below it."""

from dataclasses import dataclass

import numpy as np

from handtool.hands.camera import mirror_points
from handtool.hands.skeleton import LEFT, RIGHT
from handtool.render.paper import decode
from handtool.render.sheet import Tile
from handtool.render.skeleton import draw_skeleton, scale_points


@dataclass
class DrawnHands:
    """n hands as they are to be drawn. jpegs: n crops of `size` px; video: their names; frame, side: (n,).

    points (n, 21, 2) px of the crop, valid and visible (n, 21) bool: None where nothing is drawn over the crop, or nothing is known of it.
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
    """A tile of `side` px for each hand. `canonical`: left hands mirrored, so that every hand is a right one, as they are compared."""
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
