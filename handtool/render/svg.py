"""Charts as inline SVG. Colours are CSS classes of the page (`page.py`), so that they follow its light or dark mode."""

from collections.abc import Sequence
from textwrap import wrap
from typing import Any

import numpy as np

from handtool.hands.skeleton import BONES, JOINTS
from handtool.names import escape
from handtool.render.plots import bin_counts, nice_ticks, smooth, widen

WIDTH, HEIGHT = 480, 250  # text of 14 units: legible where a phone shows 480 units on 350 px
LEFT, TOP, RIGHT, BOTTOM = 58, 28, 16, 44
LETTER = 7.6  # width of a letter of that text
MAX_POINTS = 800  # of a line; more cannot be seen
# Places of the 21 joints in a drawing, as shares of its width and height: a left palm, or the back of a right hand.
OPEN_HAND = (
    (0.52, 0.97),
    (0.34, 0.88),
    (0.20, 0.75),
    (0.10, 0.63),
    (0.02, 0.53),
    (0.36, 0.53),
    (0.32, 0.36),
    (0.30, 0.24),
    (0.28, 0.13),
    (0.51, 0.50),
    (0.51, 0.31),
    (0.51, 0.17),
    (0.51, 0.04),
    (0.65, 0.53),
    (0.69, 0.36),
    (0.71, 0.24),
    (0.73, 0.13),
    (0.78, 0.61),
    (0.86, 0.48),
    (0.91, 0.39),
    (0.96, 0.31),
)


class Chart:
    """Axes and ticks; `x` and `y` turn data into SVG units. Marks are added to `parts`."""

    def __init__(
        self, x_range: tuple[float, float], y_range: tuple[float, float], x_name: str, y_name: str, what: str
    ) -> None:
        self.x_range, self.y_range = widen(*x_range), widen(*y_range)
        self.what, self.height, self.parts = what, HEIGHT, []
        for tick in nice_ticks(*self.y_range):
            y = self.y(tick)
            self.parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
            self.parts.append(f'<text class="tick" x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{tick:g}</text>')
        for tick in nice_ticks(*self.x_range, 5):
            x, y = self.x(tick), HEIGHT - BOTTOM + 17
            self.parts.append(f'<text class="tick" x="{x:.1f}" y="{y}" text-anchor="middle">{tick:g}</text>')
        bottom = HEIGHT - BOTTOM
        self.parts.append(f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{bottom}" y2="{bottom}"/>')
        self.parts.append(
            f'<text class="name" x="{WIDTH - RIGHT}" y="{HEIGHT - 7}" text-anchor="end">{escape(x_name)}</text>'
        )
        self.parts.append(f'<text class="name" x="{LEFT - 50}" y="16">{escape(y_name)}</text>')

    def x(self, value: float) -> float:
        low, high = self.x_range
        return LEFT + (value - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        low, high = self.y_range
        return HEIGHT - BOTTOM - (value - low) / (high - low) * (HEIGHT - TOP - BOTTOM)

    def line(self, x: np.ndarray, y: np.ndarray, kind: str) -> None:
        known = np.flatnonzero(np.isfinite(x) & np.isfinite(y))
        if len(known) > MAX_POINTS:
            known = known[np.linspace(0, len(known) - 1, MAX_POINTS).astype(int)]
        known = np.repeat(known, 2) if len(known) == 1 else known  # a line to itself: a dot
        points = " ".join(f"{self.x(a):.1f},{self.y(b):.1f}" for a, b in zip(x[known], y[known], strict=True))
        self.parts.append(f'<polyline class="{kind}" points="{points}"/>')

    def note(self, text: str, x: float, y: float, anchor: str = "start") -> None:
        self.parts.append(f'<text class="note" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>')

    def legend(self, names: list[str]) -> None:
        """The colours and their names, below the axes."""
        longest = max(map(len, names))
        across = 3 if longest < 12 else 2 if longest < 20 else 1
        for i, name in enumerate(names):
            x, y = 14 + (i % across) * (WIDTH - 14) // across, HEIGHT + 14 + 19 * (i // across)
            self.parts.append(f'<line class="line c{i % 6}" x1="{x}" x2="{x + 22}" y1="{y - 5}" y2="{y - 5}"/>')
            self.parts.append(f'<text class="name" x="{x + 29}" y="{y}">{escape(cut(name, 54))}</text>')
        self.height = HEIGHT + 8 + 19 * -(-len(names) // across)

    def finish(self) -> str:
        return sheet(WIDTH, self.height, self.what, self.parts)


def sheet(width: int, height: int, what: str, parts: list[str]) -> str:
    return (
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(what, True)}">' + "".join(parts) + "</svg>"
    )


def curve_chart(step: np.ndarray, loss: np.ndarray, what: str) -> str:
    """The loss and its running mean."""
    known = np.isfinite(loss)
    step, loss = np.asarray(step, float)[known], np.asarray(loss, float)[known]
    if len(loss) == 0:
        return "<p>The curve has no finite values.</p>"
    high = float(np.quantile(loss, 0.995)) if len(loss) > 50 else float(loss.max())
    chart = Chart((step.min(), step.max()), (float(loss.min()), high), "step", "loss", what)
    chart.line(step, np.clip(loss, None, high), "pale")
    mean = np.clip(smooth(loss), None, high)
    chart.line(step, mean, "line")
    chart.note(f"{loss[0]:.4g} at the start, {mean[-1]:.4g} at the end", WIDTH - RIGHT, 16, "end")
    return chart.finish()


def histogram_chart(values: np.ndarray, x_name: str, y_name: str, what: str, bins: int = 48) -> str:
    """Counts of the finite values up to their 99.5th percentile, the median marked; whole numbers: a bar each."""
    values = np.asarray(values, float)
    values = values[np.isfinite(values)]
    if len(values) == 0:
        return "<p>No finite values.</p>"
    counts, edges = bin_counts(values, bins)
    low, high = float(edges[0]), float(edges[-1])
    chart = Chart((low, high), (0.0, float(counts.max())), x_name, y_name, what)
    for count, left, right in zip(counts, edges[:-1], edges[1:], strict=True):
        if count:
            x, y = chart.x(left), chart.y(count)
            width, height = chart.x(right) - x - 1, HEIGHT - BOTTOM - y
            chart.parts.append(f'<rect class="bar" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"/>')
    middle = float(np.median(values))
    x = chart.x(middle)
    chart.parts.append(f'<line class="mark" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>')
    chart.note(f"median {middle:.4g}", x + 5, TOP + 10)
    return chart.finish()


def shares_chart(curves: dict[str, tuple[np.ndarray, np.ndarray]], x_name: str, what: str) -> str:
    """Several curves of shares in 0..1: name -> (x, share), with colours and a legend."""
    longest = max(float(np.max(x)) for x, _ in curves.values())
    chart = Chart((0.0, longest), (0.0, 1.0), x_name, "share of joints", what)
    for i, (x, share) in enumerate(curves.values()):
        chart.line(np.asarray(x, float), np.asarray(share, float), f"line c{i % 6}")
    chart.legend(list(curves))
    return chart.finish()


def intervals_chart(rows: Sequence[tuple[Any, ...]], x_name: str, what: str) -> str:
    """(name, mean, low, high) from top to bottom: a point and its interval, which is left out if unknown."""
    row, left = 44, 16
    values = np.array([row[1:] for row in rows], float)
    low, high = widen(float(np.nanmin(values)), float(np.nanmax(values)))
    bottom = row * len(rows) + 8

    def place(value: float) -> float:
        return left + (value - low) / (high - low) * (WIDTH - left - RIGHT - 64)

    parts = []
    for tick in nice_ticks(low, high, 5):
        parts.append(f'<line class="grid" x1="{place(tick):.1f}" x2="{place(tick):.1f}" y1="6" y2="{bottom}"/>')
        parts.append(f'<text class="tick" x="{place(tick):.1f}" y="{bottom + 16}" text-anchor="middle">{tick:g}</text>')
    for i, (name, mean, least, most) in enumerate(rows):
        y = i * row + 34
        parts.append(f'<text class="name" x="{left}" y="{y - 14}">{escape(cut(name, 50))}</text>')
        if np.isfinite([least, most]).all():
            parts.append(f'<line class="line" x1="{place(least):.1f}" x2="{place(most):.1f}" y1="{y}" y2="{y}"/>')
        parts.append(f'<circle class="joint" cx="{place(mean):.1f}" cy="{y}" r="4.5"/>')
        parts.append(f'<text class="count" x="{WIDTH - RIGHT}" y="{y + 4}" text-anchor="end">{mean:.2f}</text>')
    parts.append(f'<text class="name" x="{WIDTH - RIGHT}" y="{bottom + 34}" text-anchor="end">{escape(x_name)}</text>')
    return sheet(WIDTH, bottom + 42, what, parts)


def cut(name: str, most: int) -> str:
    """The beginning and the end of a name that is too long: similar names differ there."""
    return name if len(name) <= most else f"{name[: most // 2]}…{name[len(name) + 1 + most // 2 - most :]}"


def hand_chart(errors_mm: np.ndarray, what: str) -> str:
    """(21,) mm on a drawn hand; a joint's area is its error relative to the largest."""
    height, parts = 400, []
    points = np.array(OPEN_HAND) * (WIDTH - 130, height - 50) + (50, 26)
    most = max(float(np.nanmax(errors_mm)), 1e-9)
    for parent, child in BONES:
        (x1, y1), (x2, y2) = points[parent], points[child]
        parts.append(f'<line class="bone" x1="{x1:.1f}" x2="{x2:.1f}" y1="{y1:.1f}" y2="{y2:.1f}"/>')
    for joint, ((x, y), value) in enumerate(zip(points, errors_mm, strict=True)):
        if np.isfinite(value):
            radius = 11 * (max(value, 0.0) / most) ** 0.5
            circle = f'<circle class="joint" cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}">'
            parts.append(f"{circle}<title>{JOINTS[joint]}</title></circle>")
            parts.append(f'<text class="tick" x="{x + radius + 3:.1f}" y="{y + 4:.1f}">{value:.1f}</text>')
    return sheet(WIDTH, height, what, parts)


def funnel_chart(steps: list[tuple[str, list[tuple[str, int, str]]]], what: str) -> str:
    """Steps from top to bottom, each with its bars: (name, count, what happened to the others). Bars by square root,
    to show small counts."""
    most = max((count for _, bars in steps for _, count, _ in bars), default=1)
    parts, y = [], 4.0
    for title, bars in steps:
        parts.append(f'<text class="count" x="12" y="{y + 16:.0f}">{escape(title)}</text>')
        y += 22
        for name, count, rest in bars:
            width = max(2.0, (WIDTH - 24 - 90) * (count / max(most, 1)) ** 0.5)
            if name:
                parts.append(f'<text class="name" x="12" y="{y + 13:.0f}">{escape(cut(name, 58))}</text>')
                y += 18
            parts.append(f'<rect class="bar" x="12" y="{y:.0f}" width="{width:.1f}" height="18" rx="3"/>')
            parts.append(f'<text class="count" x="{12 + width + 8:.1f}" y="{y + 14:.0f}">{count:,}</text>')
            y += 22
            for line in wrap(rest, int((WIDTH - 24) / LETTER * 1.1)):
                parts.append(f'<text class="tick" x="12" y="{y + 12:.0f}">{escape(line)}</text>')
                y += 16
            y += 4
        y += 8
    return sheet(WIDTH, round(y), what, parts)
