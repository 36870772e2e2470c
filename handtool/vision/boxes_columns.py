"""Known hand boxes as columns, whatever file they come from, and their sides as the world writes them."""

import re
from collections import Counter
from dataclasses import dataclass, field
from math import isinf, isnan
from typing import Any

from handtool.errors import DamagedFile
from handtool.hands.skeleton import LEFT, RIGHT, UNKNOWN

WORD = re.compile("[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[0-9]+")
HINT = "--boxes takes COCO json, 100DOH json or CSV; described in handtool.vision.boxes_formats"


@dataclass
class Boxes:
    """Hand by hand, in the order of the file. box: x0 y0 x1 y1 by its edges, px, or with `relative` shares of the
    picture.

    looked_at: all pictures in the file, with hands or without. size: (width, height) px that the file states of some of
    them. left_out: boxes that are no hand's, by the reason. unused_keypoints: hands with keypoints that are not read.
    notes: what needs saying of the whole file.
    """

    name: list[str] = field(default_factory=list)
    box: list[tuple[float, float, float, float]] = field(default_factory=list)
    side: list[int] = field(default_factory=list)
    score: list[float] = field(default_factory=list)
    looked_at: list[str] = field(default_factory=list)
    relative: bool = False
    size: dict[str, tuple[int, int]] = field(default_factory=dict)
    left_out: Counter = field(default_factory=Counter)
    unused_keypoints: int = 0
    notes: list[str] = field(default_factory=list)

    def add(self, where: str, name: Any, box: tuple, side: object, score: Any) -> None:
        """Raises DamagedFile if name, side or score is invalid; `where` names the hand."""
        if not isinstance(name, str):
            raise DamagedFile(f"{where} has no name of a picture", hint=HINT)
        if (meant := read_side(side)) is None:
            raise DamagedFile(f"{where} has side {side!r}, expected left or right")
        try:
            given = float("nan" if score in (None, "") else score)
            if isinf(given):
                raise ValueError
            self.score.append(1.0 if isnan(given) else given)
            x0, y0, x1, y1 = (float(value) for value in box)
            self.box.append((x0, y0, x1, y1))
        except (TypeError, ValueError, OverflowError):
            told = f"box {box!r} and score {score!r}"
            raise DamagedFile(f"{where} has {told[:200]}, expected numbers") from None
        self.name.append(name)
        self.side.append(meant)


def read_side(value: object) -> int | None:
    """None: not understood."""
    text = "" if value is None else str(value).strip()
    if text in ("0", "1"):
        return (LEFT, RIGHT)[int(text)]
    side = side_by_name(text)
    return UNKNOWN if text.lower() in ("", "unknown") else side if side != UNKNOWN else None


def side_by_name(name: str) -> int:
    """Of `left_hand`, `LeftHand`, `lefthand`, `hand_l`, `myleft`; UNKNOWN: no side in it, or both."""
    words = {word.lower().removeprefix("my").removeprefix("your") for word in WORD.findall(name)}
    left = any(word == "l" or word.startswith("left") for word in words)
    right = any(word == "r" or word.startswith("right") for word in words)
    return UNKNOWN if left == right else LEFT if left else RIGHT
