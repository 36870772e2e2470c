"""The shape of a progress callback, and the silent one.

A stage calls `progress("decode", done, total, faces=3.0)` as often as it likes; the porch decides whether a bar is drawn.
"""

from typing import Protocol


class Progress(Protocol):
    def __call__(self, what: str, done: float, total: float | None = None, **figures: float) -> None:
        """`what` names the work (one bar each), `done` of `total` units (None: unknown), `figures` are shown beside it."""


def silent(what: str, done: float, total: float | None = None, **figures: float) -> None:
    """Draws nothing."""
