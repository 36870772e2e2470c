"""A sheet of pairs: each anchor and its positives, rank by rank."""

import cv2
import numpy as np

from handtool.render.canvas import ACCENT
from handtool.render.sheet import Tile, labelled_rows


def frame_anchor(tile: Tile) -> Tile:
    """The anchor's tile with a border."""
    image = tile.image.copy()
    cv2.rectangle(image, (0, 0), (image.shape[1] - 1, image.shape[0] - 1), ACCENT, 3)
    return Tile(image, tile.caption, tile.detail)


def pairs_sheet(rows: list[tuple[str, list[Tile], np.ndarray, np.ndarray]], title: str, subtitle: str) -> np.ndarray:
    """rows: (group, tiles of the anchor and its positives, distances of the positives, their ranks)."""
    lines, before = [], ""
    for name, (anchor, *positives), distances, ranks in rows:
        for tile, distance, rank in zip(positives, distances, ranks, strict=True):
            tile.detail = f"rank {rank}  distance {distance:.3g}"
        label = "random anchors" if name == "random" else f"{name} anchors, by the distance of rank 1"
        lines.append((label if name != before else "", [frame_anchor(anchor), *positives]))
        before = name
    return labelled_rows(lines, title, subtitle, after_first=14)
