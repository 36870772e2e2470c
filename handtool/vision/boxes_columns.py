"""Known hand boxes as columns, whatever file they come from, and their sides as the world writes them."""

from collections import Counter
from dataclasses import dataclass, field
from math import isinf, isnan
from typing import Any

import numpy as np

from handtool.errors import DamagedFile
from handtool.hands.joint_names import read_side
from handtool.hands.keypoint_lists import find_other_order

HINT = "--boxes takes COCO json, 100DOH json, mmpose's predictions or CSV; described in handtool.vision.boxes_formats"


@dataclass
class Boxes:
    """Hand by hand, in the order of the file. box: x0 y0 x1 y1 by its edges, px, or with `relative` shares of the
    picture.

    landmarks: by the number of the hand, (21, 2) px in the standard order and their score, where all are known.
    stems: names of pictures and videos are without their endings.
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
    landmarks: dict[int, tuple[np.ndarray, float]] = field(default_factory=dict)
    stems: bool = False

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

    def add_landmarks(self, points: np.ndarray, score: float) -> None:
        """Of the hand that was added last. points: (21, 3) x, y px and 0 where not known."""
        if (points[:, 2] > 0).all():
            self.landmarks[len(self.name) - 1] = points[:, :2], score
        else:
            self.unused_keypoints += 1

    def drop_other_order(self) -> None:
        """Landmarks whose bones say that they are in another order than the standard one are no landmarks."""
        if name := find_other_order([points for points, _ in self.landmarks.values()]):
            self.notes.append(f"its keypoints are in another order ({name}): only boxes are read")
            self.landmarks.clear()
