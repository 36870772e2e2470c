"""The type of a progress callback, and one that does nothing.

A stage may call `progress("decode", done, total, faces=3.0)` at any rate; `handtool.cli` decides whether to draw a bar.
"""

from typing import Protocol


class Progress(Protocol):
    def __call__(self, what: str, done: float, total: float | None = None, **figures: float) -> None:
        """`what`: name of the work, one bar each; `done` of `total` units or None; `figures`: shown beside the bar."""


def silent(what: str, done: float, total: float | None = None, **figures: float) -> None:
    """Draws nothing."""
