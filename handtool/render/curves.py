"""The curve of a training as one picture: the loss, and below it the other figures of each step."""

import cv2
import numpy as np

from handtool.render.canvas import ACCENT, CONTRAST, INK, PAPER, blank, text_width, write
from handtool.render.plots import Axes, plot_curve, smooth

LINES = (ACCENT, CONTRAST, (44, 150, 70), (200, 120, 20), (130, 80, 180), (90, 90, 96), (20, 160, 170), (180, 60, 130))
PANELS = (  # title, columns of /curve, running mean
    ("similarity of projections", ("positive_similarity", "negative_similarity"), True),
    ("losses of the estimator's pose", ("keypoint_loss", "depth_loss"), True),
    ("alignment and uniformity", ("alignment", "uniformity"), True),
    ("validation, mm", ("validation_mm",), False),
    ("learning rate", ("learning_rate",), False),
)


def curve_sheet(columns: dict[str, np.ndarray], title: str, subtitle: str) -> np.ndarray:
    """columns of /curve by name, (T,) each. Missing columns, and columns of NaN, get no panel."""
    step = columns["step"]
    panels = [plot_curve(step, columns["loss"], title, subtitle)]
    for name, wanted, averaged in PANELS:
        there = {
            column: columns[column] for column in wanted if column in columns and np.isfinite(columns[column]).any()
        }
        if there:
            panels.append(
                plot_lines(
                    {column.replace("_", " "): (step, values) for column, values in there.items()},
                    name,
                    "step",
                    averaged,
                )
            )
    return np.vstack(panels)


def plot_lines(
    lines: dict[str, tuple[np.ndarray, np.ndarray]],
    title: str,
    x_name: str,
    averaged: bool = False,
    height: int = 240,
    y_range: tuple[float, float] | None = None,
) -> np.ndarray:
    """lines: name -> x, y (k,), NaN left out. `averaged`: running means over pale values. `y_range`: None fits."""
    page = blank(height, 860)
    known = {name: (x[np.isfinite(y)].astype(float), y[np.isfinite(y)].astype(float)) for name, (x, y) in lines.items()}
    all_x, all_y = (np.concatenate([pair[i] for pair in known.values()]) for i in (0, 1))
    axes = Axes(
        page,
        (float(all_x.min()), float(all_x.max())),
        y_range or (float(all_y.min()), float(all_y.max())),
        x_name,
        title,
        top=34,
    )
    for (x, y), colour in zip(known.values(), LINES, strict=False):
        if averaged and len(y) > 20:
            axes.line(x, y, tuple(int(p - 0.4 * (p - c)) for p, c in zip(PAPER, colour, strict=True)), 1)
            y = smooth(y)
        axes.line(x, y, colour, 2)
    if len(known) > 1:
        draw_legend(page, list(known), axes.box[2], axes.box[1] - 8)
    return page


def draw_legend(page: np.ndarray, names: list[str], right: int, y: int) -> None:
    """The names, each after a dash of its colour; the last one ends at `right`."""
    x = right - sum(text_width(name, 8) + 34 for name in names) + 14
    for name, colour in zip(names, LINES, strict=False):
        cv2.line(page, (x, y - 4), (x + 12, y - 4), colour, 2, cv2.LINE_AA)
        write(page, name, x + 17, y, 8, INK)
        x += text_width(name, 8) + 34
