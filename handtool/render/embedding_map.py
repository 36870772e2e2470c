"""A map of the embeddings: one point for each hand, and thumbnails where they do not overlap."""

import colorsys

import cv2
import numpy as np

from handtool.render.canvas import FAINT, RULE, blank, heading, paste, write

WIDTH, HEIGHT = 1200, 900
FRAME = 24, 90, WIDTH - 24, HEIGHT - 34  # px left, top, right, bottom
INSET = 38  # px from the frame to the nearest points: half a thumbnail and its border


def group_colours(groups: np.ndarray) -> np.ndarray:
    """(n,) int -> (n, 3) RGB. Hues of successive numbers are a golden section apart, so that they differ clearly."""
    hues = (groups * 0.61803398875) % 1.0
    table = {hue: [255 * c for c in colorsys.hsv_to_rgb(hue, 0.55, 0.82)] for hue in set(hues.tolist())}
    return np.array([table[hue] for hue in hues.tolist()]).reshape(-1, 3)


def place_points(xy: np.ndarray) -> np.ndarray:
    """(n, 2) -> px on the page. The outermost 0.5 % are moved to the border: an outlier must not shrink the map."""
    low, high = np.quantile(xy, [0.005, 0.995], axis=0)
    share = np.clip((xy - low) / np.maximum(high - low, 1e-12), 0, 1)
    left, top, right, bottom = FRAME
    width, height = right - left - 2 * INSET, bottom - top - 2 * INSET
    return np.stack([left + INSET + share[:, 0] * width, bottom - INSET - share[:, 1] * height], 1)


def choose_thumbnails(points: np.ndarray, order: np.ndarray, side: int, most: int) -> list[int]:
    """Rows in the given order whose tile of `side` px overlaps no earlier one."""
    chosen: list[int] = []
    taken = np.empty((0, 2))
    for row in order:
        if len(chosen) == most:
            break
        if len(taken) == 0 or (np.abs(taken - points[row]).max(1) >= side + 2).all():
            chosen.append(int(row))
            taken = np.concatenate([taken, points[row][None]])
    return chosen


def draw_map(
    points: np.ndarray,
    groups: np.ndarray,
    tiles: dict[int, np.ndarray],
    title: str,
    subtitle: str,
    axes: tuple[str, str],
) -> np.ndarray:
    """points (n, 2) px; groups (n,): video of each hand; tiles: row -> thumbnail, to be framed in its colour."""
    page = blank(HEIGHT, WIDTH)
    heading(page, title, subtitle)
    left, top, right, bottom = FRAME
    cv2.rectangle(page, (left, top), (right, bottom), RULE, 1)
    colours = group_colours(groups)
    for point, colour in zip(points, colours, strict=True):
        cv2.circle(page, tuple(int(round(c * 16)) for c in point), 52, tuple(map(int, colour)), -1, cv2.LINE_AA, 4)
    for row, tile in tiles.items():
        framed = cv2.copyMakeBorder(tile, 2, 2, 2, 2, cv2.BORDER_CONSTANT, value=tuple(map(float, colours[row])))
        x, y = (int(round(c - framed.shape[0] / 2)) for c in points[row])
        paste(page, framed, max(x, 0), max(y, 0))
    write(page, axes[0], right, bottom + 20, 8.5, FAINT, "right")
    write(page, axes[1], left, top - 9, 8.5, FAINT)
    return page
