"""The settings of each difficulty."""

from dataclasses import dataclass
from typing import Literal

Difficulty = Literal["easy", "medium", "wild"]


@dataclass(frozen=True)
class Setting:
    """Shares and strengths in 0..1."""

    looseness: float  # of the hand's orientation
    clutter: float
    harshness: float  # of the light
    roughness: float  # of the camera
    things: float  # hands that hold something
    occluders: float
    sleeves: float
    rings: float
    gloves: float
    jitter: float  # of the box, in its sides
    passers: int  # pieces of clutter that move by themselves
    guests: float  # films: another person's hand in the picture


SETTINGS: dict[Difficulty, Setting] = {
    "easy": Setting(0.15, 0.05, 0.1, 0.05, 0.0, 0.0, 0.25, 0.1, 0.0, 0.0, 0, 0.0),
    "medium": Setting(0.45, 0.45, 0.5, 0.4, 0.3, 0.0, 0.4, 0.25, 0.06, 0.04, 2, 0.3),
    "wild": Setting(0.8, 1.0, 1.0, 1.0, 0.45, 0.35, 0.5, 0.25, 0.12, 0.08, 6, 0.6),
}
