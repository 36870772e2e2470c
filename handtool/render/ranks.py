"""Pairs to be judged by eye: an anchor and what was found for it, rank by rank."""

import cv2
import numpy as np

from handtool.render.paper import ACCENT
from handtool.render.sheet import Tile, labelled_rows


def frame_anchor(tile: Tile) -> Tile:
    """The anchor wears a border."""
    image = tile.image.copy()
    cv2.rectangle(image, (0, 0), (image.shape[1] - 1, image.shape[0] - 1), ACCENT, 3)
    return Tile(image, tile.caption, tile.detail)


def pairs_sheet(groups: list[tuple[str, list[list[Tile]]]], title: str, subtitle: str) -> np.ndarray:
    """groups: (name, rows); a row is the anchor's tile, then its positives by rank."""
    rows = []
    for name, members in groups:
        label = "random anchors" if name == "random" else f"{name} anchors, by the distance of rank 1"
        for anchor, *positives in members:
            rows.append((label, [frame_anchor(anchor), *positives]))
            label = ""
    return labelled_rows(rows, title, subtitle, after_first=14)
