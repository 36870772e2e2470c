"""Prediction and truth: over the picture, and in 3D from the side and from above."""

from dataclasses import dataclass

import numpy as np

from handtool.render.sheet import Tile, labelled_rows
from handtool.render.skeleton import draw_skeleton, scale_points
from handtool.render.space import TRUTH, draw_space
from handtool.render.tiles import DrawnHands, hand_tiles

TILES = 3  # for each hand


@dataclass
class DrawnPoses:
    """Predictions for n hands, and the truth (None if unknown): points (n, 21, 2) px of the crop, joints (n, 21, 3) m.

    error_mm: (n,), NaN if the truth is unknown.
    """

    points: np.ndarray
    joints: np.ndarray
    true_points: np.ndarray | None
    true_joints: np.ndarray | None
    error_mm: np.ndarray


def predictions_sheet(
    hands: DrawnHands, poses: DrawnPoses, groups: list[tuple[str, int]], columns: int, side: int, title: str, told: str
) -> np.ndarray:
    """groups: (name, number of hands), in the order of the hands; `columns` hands in a row."""
    tiles = [
        tile for i, crop in enumerate(hand_tiles(hands, side)) for tile in versus_tiles(crop, poses, i, hands.size)
    ]
    rows, start = [], 0
    for name, count in groups:
        drawn, start = tiles[TILES * start : TILES * (start + count)], start + count
        lines = [drawn[place : place + TILES * columns] for place in range(0, len(drawn), TILES * columns)]
        rows += [(name if number == 0 else "", line) for number, line in enumerate(lines)]
    return labelled_rows(rows, title, told, group=TILES)


def versus_tiles(tile: Tile, poses: DrawnPoses, i: int, size: int) -> list[Tile]:
    """The crop of hand i (of `size` px) with both poses over it, and both poses in 3D; the truth is grey."""
    side, error = tile.image.shape[0], float(poses.error_mm[i])
    truth = None if poses.true_joints is None else poses.true_joints[i].astype(float)
    if poses.true_points is not None:
        draw_skeleton(tile.image, scale_points(poses.true_points[i], size, side), single=TRUTH, width=0.8)
    draw_skeleton(tile.image, scale_points(poses.points[i], size, side))
    joints = poses.joints[i].astype(float)
    beside = Tile(
        draw_space(joints, side, truth), f"{error:.1f} mm" if np.isfinite(error) else "", "from the side, far is right"
    )
    above = Tile(draw_space(joints, side, truth, 0.0, 90.0), "", "from above, far is up")
    return [tile, beside, above]
