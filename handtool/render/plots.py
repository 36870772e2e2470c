"""Curves and histograms as pictures."""

import math

import cv2
import numpy as np

from handtool.render.canvas import ACCENT, CONTRAST, FAINT, INK, RULE, blank, heading, write

FRAME = (70, 74, 24, 44)  # px left, top, right, bottom of the drawing area


def nice_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """About `count` round numbers from low to high (steps of 1, 2 or 5 times a power of ten)."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return []
    if high <= low:
        return [low]
    raw = (high - low) / max(count, 1)
    power = 10 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 12) for i in range(first, int(math.floor(high / step + 1e-9)) + 1)]


def smooth(values: np.ndarray, share: float = 0.04) -> np.ndarray:
    """Running mean over a share of the values, shorter at both ends."""
    half = max(1, int(len(values) * share / 2))
    total = np.concatenate([[0.0], np.cumsum(values)])
    start = np.maximum(np.arange(len(values)) - half, 0)
    end = np.minimum(np.arange(len(values)) + half + 1, len(values))
    return (total[end] - total[start]) / (end - start)


class Axes:
    """A drawing area with ticks; `place` turns data into pixels."""

    def __init__(
        self,
        page: np.ndarray,
        x_range: tuple[float, float],
        y_range: tuple[float, float],
        x_name: str,
        y_name: str,
        top: int = FRAME[1],
    ) -> None:
        left, _, right, bottom = FRAME
        self.page = page
        self.box = left, top, page.shape[1] - right, page.shape[0] - bottom
        self.x_range, self.y_range = widen(*x_range), widen(*y_range)
        x0, y0, x1, y1 = self.box
        for tick in nice_ticks(*self.y_range):
            y = self.place(self.x_range[0], tick)[1]
            cv2.line(page, (x0, round(y)), (x1, round(y)), RULE, 1)
            write(page, f"{tick:g}", x0 - 8, y + 4, 8, FAINT, "right")
        for tick in nice_ticks(*self.x_range, 7):
            x = self.place(tick, self.y_range[0])[0]
            cv2.line(page, (round(x), y1), (round(x), y1 + 4), FAINT, 1)
            write(page, f"{tick:g}", x, y1 + 18, 8, FAINT, "middle")
        cv2.line(page, (x0, y1), (x1, y1), INK, 1)
        write(page, x_name, x1, y1 + 36, 8.5, INK, "right")
        write(page, y_name, x0, y0 - 8, 8.5, INK)

    def place(self, x, y) -> tuple:
        x0, y0, x1, y1 = self.box
        (left, right), (low, high) = self.x_range, self.y_range
        return x0 + (x - left) / (right - left) * (x1 - x0), y1 - (y - low) / (high - low) * (y1 - y0)

    def line(self, x: np.ndarray, y: np.ndarray, colour: tuple, thick: int = 2) -> None:
        points = np.stack(self.place(x, y), -1)
        points = points[np.isfinite(points).all(1)]
        cv2.polylines(self.page, [np.round(points * 16).astype(np.int32)], False, colour, thick, cv2.LINE_AA, 4)


def widen(low: float, high: float) -> tuple[float, float]:
    """The range, made 1 wide if it is empty."""
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def plot_curve(
    x: np.ndarray, y: np.ndarray, title: str, subtitle: str, x_name: str = "step", y_name: str = "loss"
) -> np.ndarray:
    """The values and their running mean."""
    page = blank(460, 860)
    heading(page, title, subtitle)
    known = np.isfinite(y)
    x, y = x[known].astype(float), y[known].astype(float)
    if len(x) == 0:
        write(page, "no finite values", 430, 240, 11, FAINT, "middle")
        return page
    low, high = float(y.min()), float(np.quantile(y, 0.995) if len(y) > 50 else y.max())
    axes = Axes(
        page, (float(x.min()), float(x.max())), (low - 0.04 * (high - low), high + 0.04 * (high - low)), x_name, y_name
    )
    pale = tuple(int(255 - 0.45 * (255 - c)) for c in ACCENT)
    axes.line(x, np.clip(y, None, high), pale, 1)
    mean = np.clip(smooth(y), None, high)
    axes.line(x, mean, ACCENT, 2)
    write(
        page,
        f"{y[0]:.4g} at the start, {mean[-1]:.4g} at the end",
        axes.box[2],
        axes.box[1] - 8,
        8.5,
        CONTRAST,
        "right",
    )
    return page


def bin_counts(values: np.ndarray, bins: int) -> tuple[np.ndarray, np.ndarray]:
    """Counts and edges from the minimum to the 99.5th percentile; bins of whole numbers are centred on them."""
    low, high = widen(float(values.min()), float(np.quantile(values, 0.995)))
    if (values == np.round(values)).all():
        step = max(1, int(np.ceil((high - low + 1) / bins)))
        return np.histogram(values, np.arange(np.floor(low) - 0.5, np.ceil(high) + step, step))
    return np.histogram(values, bins, (low, high))
