"""Contact sheets: tiles in rows and columns, with captions."""

from dataclasses import dataclass

import numpy as np

from handtool.render.canvas import FAINT, INK, blank, heading, paste, shorten, write

GAP = 10  # px between tiles
MARGIN = 16
GROUP_GAP = 18  # additional px between groups
LINE = 14  # px, height of a line of a caption
LEAST_WIDTH = 560  # px, so that the title fits


@dataclass
class Tile:
    image: np.ndarray  # (H, W, 3)
    caption: str = ""
    detail: str = ""


def contact_sheet(tiles: list[Tile], columns: int, title: str, subtitle: str) -> np.ndarray:
    """Tiles of one size, row by row."""
    rows = [tiles[start : start + columns] for start in range(0, len(tiles), columns)]
    return labelled_rows([("", row) for row in rows], title, subtitle)


def labelled_rows(
    rows: list[tuple[str, list[Tile]]], title: str, subtitle: str, after_first: int = 0, group: int = 0
) -> np.ndarray:
    """Rows of tiles, each below its label. `after_first`: additional px after the first tile of a row (the anchor of
    pairs); `group`: number of tiles that belong together, with a gap before the next group."""
    height, width = rows[0][1][0].image.shape[:2]
    columns = max(len(row) for _, row in rows)
    captions = max((LINE * bool(t.caption) + LINE * bool(t.detail) for _, row in rows for t in row), default=0)
    labels = [24 if label else 0 for label, _ in rows]
    lefts = [
        MARGIN + i * (width + GAP) + (after_first if i else 0) + (i // group * GROUP_GAP if group else 0)
        for i in range(columns)
    ]
    page = blank(
        66 + sum(labels) + len(rows) * (height + captions + GAP) + 6, max(lefts[-1] + width + MARGIN, LEAST_WIDTH)
    )
    y = heading(page, title, subtitle)
    for (label, row), above in zip(rows, labels, strict=True):
        if label:
            write(page, label, MARGIN, y + 15, 9, INK)
        y += above
        for tile, x in zip(row, lefts, strict=False):
            paste(page, tile.image, x, y)
            write_caption(page, tile, x, y + height, width)
        y += height + captions + GAP
    return page


def write_caption(page: np.ndarray, tile: Tile, x: int, y: int, width: int) -> None:
    for text, colour in ((tile.caption, INK), (tile.detail, FAINT)):
        if text:
            y += LINE
            write(page, shorten(text, width, 7.5), x, y - 1, 7.5, colour)
