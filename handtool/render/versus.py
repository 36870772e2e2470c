"""Truth against prediction: over the picture, and in space from the side."""

import numpy as np

from handtool.render.paper import FAINT
from handtool.render.sheet import Tile
from handtool.render.skeleton import draw_skeleton, draw_space


def versus_tiles(
    tile: Tile, points: np.ndarray, joints: np.ndarray, true_points: np.ndarray | None, truth: np.ndarray | None, error_mm: float
) -> list[Tile]:
    """The crop with both hands over it, and a panel with both in space; truth is grey. points (21, 2) px of the tile, joints (21, 3)."""
    if true_points is not None:
        draw_skeleton(tile.image, true_points, single=FAINT, width=0.8)
    draw_skeleton(tile.image, points)
    space = draw_space(joints.astype(float), tile.image.shape[0], None if truth is None else truth.astype(float))
    return [tile, Tile(space, f"{error_mm:.1f} mm" if np.isfinite(error_mm) else "", "from the side")]
