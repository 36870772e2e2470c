"""Charts as inline SVG. Colours are classes of the page (`page.py`), so that they follow its light or dark."""

from html import escape

import numpy as np

from handtool.render.plots import bin_counts, nice_ticks, smooth, widen

WIDTH, HEIGHT = 720, 280
LEFT, TOP, RIGHT, BOTTOM = 62, 26, 16, 40
MAX_POINTS = 800  # of a line: more than the eye can tell apart


class Chart:
    """Axes and ticks; data to SVG units by `x` and `y`. Marks are added to `parts`."""

    def __init__(self, x_range: tuple[float, float], y_range: tuple[float, float], x_name: str, y_name: str, what: str) -> None:
        self.x_range, self.y_range = widen(*x_range), widen(*y_range)
        self.parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(what, True)}">']
        for tick in nice_ticks(*self.y_range):
            y = self.y(tick)
            self.parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
            self.parts.append(f'<text class="tick" x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{tick:g}</text>')
        for tick in nice_ticks(*self.x_range, 7):
            self.parts.append(f'<text class="tick" x="{self.x(tick):.1f}" y="{HEIGHT - BOTTOM + 17}" text-anchor="middle">{tick:g}</text>')
        bottom = HEIGHT - BOTTOM
        self.parts.append(f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{bottom}" y2="{bottom}"/>')
        self.parts.append(f'<text class="name" x="{WIDTH - RIGHT}" y="{HEIGHT - 5}" text-anchor="end">{escape(x_name)}</text>')
        self.parts.append(f'<text class="name" x="{LEFT - 50}" y="14">{escape(y_name)}</text>')

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
        points = " ".join(f"{self.x(a):.1f},{self.y(b):.1f}" for a, b in zip(x[known], y[known], strict=True))
        self.parts.append(f'<polyline class="{kind}" points="{points}"/>')

    def note(self, text: str, x: float, y: float, anchor: str = "start") -> None:
        self.parts.append(f'<text class="note" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>')

    def finish(self) -> str:
        return "".join(self.parts) + "</svg>"


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
    chart.note(f"{loss[0]:.4g} at the start, {mean[-1]:.4g} at the end", WIDTH - RIGHT, 14, "end")
    return chart.finish()


def histogram_chart(values: np.ndarray, x_name: str, y_name: str, what: str, bins: int = 48) -> str:
    """Counts of the finite values up to their 99.5th percentile, the median marked; whole numbers get a bar each where they can."""
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
            chart.parts.append(
                f'<rect class="bar" x="{x:.1f}" y="{y:.1f}" width="{chart.x(right) - x - 1:.1f}" height="{HEIGHT - BOTTOM - y:.1f}"/>'
            )
    middle = float(np.median(values))
    x = chart.x(middle)
    chart.parts.append(f'<line class="mark" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>')
    chart.note(f"median {middle:.4g}", x + 5, TOP + 10)
    return chart.finish()


def shares_chart(curves: dict[str, tuple[np.ndarray, np.ndarray]], x_name: str, what: str) -> str:
    """Several curves of shares in 0..1: name -> (x, share), told apart by colour and by a legend in words."""
    longest = max(float(np.max(x)) for x, _ in curves.values())
    chart = Chart((0.0, longest), (0.0, 1.0), x_name, "share of joints", what)
    for i, (name, (x, share)) in enumerate(curves.items()):
        kind = i % 6
        chart.line(np.asarray(x, float), np.asarray(share, float), f"line c{kind}")
        y = HEIGHT - BOTTOM - 12 - 16 * (len(curves) - 1 - i)
        chart.parts.append(f'<line class="line c{kind}" x1="{WIDTH - 190}" x2="{WIDTH - 168}" y1="{y - 4}" y2="{y - 4}"/>')
        chart.parts.append(f'<text class="name" x="{WIDTH - 162}" y="{y}">{escape(name)}</text>')
    return chart.finish()


def funnel_chart(steps: list[tuple[str, int, str]], what: str) -> str:
    """(name, count, what became of the rest) from top to bottom. A bar is as long as the square root of its count: small ones are seen."""
    row, left, most = 46, 190, max((count for _, count, _ in steps), default=1)
    height = row * len(steps) + 8
    parts = [f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(what, True)}">']
    for i, (name, count, rest) in enumerate(steps):
        y = i * row + 6
        width = max(2.0, (WIDTH - left - 110) * (count / max(most, 1)) ** 0.5)
        parts.append(f'<text class="name" x="{left - 12}" y="{y + 17}" text-anchor="end">{escape(name)}</text>')
        parts.append(f'<rect class="bar" x="{left}" y="{y}" width="{width:.1f}" height="24" rx="3"/>')
        parts.append(f'<text class="count" x="{left + width + 8:.1f}" y="{y + 17}">{count:,}</text>')
        if rest:
            parts.append(f'<text class="tick" x="{left}" y="{y + 36}">{escape(rest)}</text>')
    return "".join(parts) + "</svg>"
