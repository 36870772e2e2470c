"""Charts of hands over time: where each track has its hand, where it goes, and how the palm turns."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from handtool.hands.skeleton import LEFT, RIGHT
from handtool.render.plots import nice_ticks, widen
from handtool.render.svg import WIDTH, Chart, sheet

SIDE_NAMES = {LEFT: "left", RIGHT: "right"}
ROW = 36  # height of a track


@dataclass(frozen=True, eq=False)
class TrackOverTime:
    """One track. time: (t,) s, rising; tick: (t,) number of the frame among those that were looked at; again: (t,)
    bool, found only at a second look; interval_s: between two frames."""

    number: int
    side: int
    time: np.ndarray
    tick: np.ndarray
    again: np.ndarray
    interval_s: float

    @property
    def name(self) -> str:
        return f"track {self.number}, {SIDE_NAMES.get(self.side, 'side unknown')}"

    @property
    def lost(self) -> int:
        """Frames on which the hand is missing."""
        return int((np.diff(self.tick) - 1).clip(0).sum())

    def runs(self) -> list[tuple[float, float, bool]]:
        """(begin s, end s, whether found at a second look): sightings of one kind without a gap between them."""
        apart = np.diff(self.tick) > 1
        starts = np.flatnonzero(np.concatenate([[True], apart | (np.diff(self.again.astype(int)) != 0)]))
        ends = np.concatenate([starts[1:], [len(self.time)]]) - 1
        return [
            (float(self.time[a]), float(self.time[b]) + self.interval_s, bool(self.again[a]))
            for a, b in zip(starts, ends, strict=True)
        ]

    def gaps(self) -> list[tuple[float, float]]:
        """(begin s, end s): where the track has lost its hand."""
        before = np.flatnonzero(np.diff(self.tick) > 1)
        return list(zip((self.time[before] + self.interval_s).tolist(), self.time[before + 1].tolist(), strict=True))

    def split(self) -> list[slice]:
        """The rows between the gaps."""
        cuts = np.flatnonzero(np.diff(self.tick) > 1) + 1
        edges = [0, *cuts.tolist(), len(self.time)]
        return [slice(a, b) for a, b in zip(edges[:-1], edges[1:], strict=True)]


def coverage_chart(tracks: Sequence[TrackOverTime], what: str) -> str:
    """A row for each track: filled where the hand was found, in another colour where it took a second look, an empty
    frame where it was lost."""
    low, high = widen(min(t.time[0] for t in tracks), max(t.time[-1] + t.interval_s for t in tracks))
    left, right, bottom = 12, WIDTH - 12, ROW * len(tracks) + 30
    parts = []

    def place(time: float) -> float:
        return left + (time - low) / (high - low) * (right - left)

    def bar(begin: float, end: float, y: int, kind: str) -> str:
        width = max(place(end) - place(begin), 1.0)
        return f'<rect class="bar{kind}" x="{place(begin):.1f}" y="{y}" width="{width:.1f}" height="12"/>'

    for tick in nice_ticks(low, high, 6):
        parts.append(f'<line class="grid" x1="{place(tick):.1f}" x2="{place(tick):.1f}" y1="26" y2="{bottom}"/>')
        parts.append(f'<text class="tick" x="{place(tick):.1f}" y="{bottom + 16}" text-anchor="middle">{tick:g}</text>')
    for i, track in enumerate(tracks):
        y = 28 + i * ROW
        share = f"{len(track.time)} frames" + (f", {track.lost} lost" if track.lost else "")
        parts.append(f'<text class="name over" x="{left}" y="{y + 11}">{escape(track.name)}</text>')
        parts.append(f'<text class="tick over" x="{right}" y="{y + 11}" text-anchor="end">{share}</text>')
        parts += [bar(begin, end, y + 16, " again" * again) for begin, end, again in track.runs()]
        parts += [bar(begin, end, y + 16, " lost") for begin, end in track.gaps()]
    parts.append(f'<text class="name" x="{right}" y="{bottom + 34}" text-anchor="end">time, s</text>')
    again = any(track.again.any() for track in tracks)
    for number, (kind, name) in enumerate(
        [("", "found"), *([(" again", "looked again")] if again else []), (" lost", "lost")]
    ):
        parts.append(f'<rect class="bar{kind}" x="{left + number * 130}" y="6" width="18" height="10"/>')
        parts.append(f'<text class="name" x="{left + number * 130 + 25}" y="16">{name}</text>')
    return sheet(WIDTH, bottom + 42, what, parts)


def time_chart(
    track: TrackOverTime, values: np.ndarray, names: Sequence[str], y_name: str, what: str, least: float
) -> str:
    """values: (t, k), NaN unknown: a line for each of the k names, broken where the track has lost its hand. least: of
    the range that is shown, so that noise does not fill the chart."""
    known = values[np.isfinite(values)]
    if len(known) == 0:
        return ""
    low, high = float(known.min()), float(known.max())
    margin = max((least - (high - low)) / 2, 0.04 * (high - low))
    times = (float(track.time[0]), float(track.time[-1]))
    chart = Chart(times, (low - margin, high + margin), "time, s", y_name, what)
    for column in range(values.shape[1]):
        for rows in track.split():
            chart.line(track.time[rows], values[rows, column], f"line c{column % 6}")
    chart.legend(list(names))
    return chart.finish()
