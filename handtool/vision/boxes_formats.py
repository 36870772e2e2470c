"""Three file formats for hand boxes, each read into the same columns.

COCO's json (`bbox` is x, y, width, height in px; `side`, `hand_side` or a category's name with left or right in it;
`score` optional):

    {"images": [{"id": 7, "file_name": "a/0001.jpg"}, …], "categories": [{"id": 1, "name": "left hand"}, …],
     "annotations": [{"image_id": 7, "bbox": [x, y, width, height], "score": 0.9, "side": "left"}, …]}

100DOH's json (Shan et al. 2020, arXiv:2006.06669; edges as shares of the picture's width and height; `score` optional):

    {"0001.jpg": [{"x1": 0.1, "y1": 0.2, "x2": 0.3, "y2": 0.5, "hand_side": "l"}, …], …}

CSV with a header (px; `side` and `score` optional; `frame` makes it frame 12 of a video, counted over its decoded
frames from 0):

    image,x0,y0,x1,y1,side,score            or  video,frame,x0,y0,x1,y1,…
"""

import csv
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from handtool.errors import HandtoolError
from handtool.hands.skeleton import LEFT, RIGHT, UNKNOWN

SIDES = {"left": LEFT, "l": LEFT, "right": RIGHT, "r": RIGHT, "unknown": UNKNOWN, "": UNKNOWN}
HINT = "--boxes takes COCO json, 100DOH json or CSV; described in handtool.vision.boxes_formats"
EDGES, NAMES = ("x0", "y0", "x1", "y1"), ("image", "video")


@dataclass
class Boxes:
    """Hand by hand, in the order of the file. box: x0 y0 x1 y1 by its edges, px, or with `relative` shares of the
    picture.

    looked_at: all pictures in the file, with hands or without.
    """

    name: list[str] = field(default_factory=list)
    box: list[tuple[float, float, float, float]] = field(default_factory=list)
    side: list[int] = field(default_factory=list)
    score: list[float] = field(default_factory=list)
    looked_at: list[str] = field(default_factory=list)
    relative: bool = False

    def add(self, where: str, name: str, box: tuple, side: object, score: Any) -> None:
        """Raises HandtoolError if side or score is invalid; `where` names the hand."""
        if str(side or "").strip().lower() not in SIDES:
            raise HandtoolError(f"{where} has side {side!r}, expected left or right")
        try:
            self.score.append(1.0 if score in (None, "") else float(score))
            x0, y0, x1, y1 = (float(value) for value in box)
            self.box.append((x0, y0, x1, y1))
        except (TypeError, ValueError):
            raise HandtoolError(f"{where} has box {box!r} and score {score!r}, expected numbers") from None
        self.name.append(name)
        self.side.append(SIDES[str(side or "").strip().lower()])


def read_boxes(path: str) -> Boxes:
    """Raises HandtoolError if the file has none of the three formats, or one of its hands is not as described."""
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
        if Path(path).suffix.lower() == ".csv":
            return read_csv(path, text)
        content = json.loads(text)
    except (OSError, ValueError) as error:
        raise HandtoolError(f"{path} cannot be read: {error}", hint=HINT) from None
    if isinstance(content, dict) and {"images", "annotations"} & set(content):
        return read_coco(path, content)
    if isinstance(content, dict) and content and all(isinstance(hands, list) for hands in content.values()):
        return read_100doh(path, content)
    raise HandtoolError(f"{path} is neither COCO's json nor 100DOH's", hint=HINT)


def read_coco(path: str, content: dict) -> Boxes:
    boxes = Boxes()
    try:
        names = {image["id"]: str(image["file_name"]) for image in content["images"]}
        categories = {one["id"]: str(one.get("name", "")) for one in content.get("categories", ())}
        boxes.looked_at = list(names.values())
        for number, annotation in enumerate(content["annotations"]):
            where, bbox = f"{path}: annotation {number}", annotation["bbox"]
            if not isinstance(bbox, list) or len(bbox) != 4:
                raise HandtoolError(f"{where} has bbox {bbox!r}, expected x, y, width, height in px")
            x, y, width, height = np.asarray(bbox, dtype=float)
            side = annotation.get("side", annotation.get("hand_side"))
            side = side_of_category(categories.get(annotation.get("category_id"), "")) if side is None else side
            boxes.add(
                where, names[annotation["image_id"]], (x, y, x + width, y + height), side, annotation.get("score")
            )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise HandtoolError(f"{path} is not COCO json: {error!r} is missing or of another type", hint=HINT) from None
    return boxes


def side_of_category(name: str) -> str:
    words = name.lower().replace("_", " ").replace("-", " ").split()
    return next((word for word in words if word in ("left", "right")), "")


def read_100doh(path: str, content: dict) -> Boxes:
    boxes = Boxes(looked_at=list(content), relative=True)
    for name, hands in content.items():
        for number, hand in enumerate(hands):
            where = f"{path}: hand {number} of {name}"
            if not isinstance(hand, dict) or not {"x1", "y1", "x2", "y2"} <= set(hand):
                raise HandtoolError(f"{where} has no x1, y1, x2, y2", hint=HINT)
            box = (hand["x1"], hand["y1"], hand["x2"], hand["y2"])
            boxes.add(where, name, box, hand.get("hand_side"), hand.get("score"))
            if not all(-0.5 <= edge <= 1.5 for edge in boxes.box[-1]):
                raise HandtoolError(f"{where} lies at {box}, expected shares of the picture, 0 to 1", hint=HINT)
    return boxes


def read_csv(path: str, text: str) -> Boxes:
    lines = csv.DictReader(text.splitlines())
    named = next((name for name in NAMES if name in (lines.fieldnames or ())), None)
    missing = [edge for edge in EDGES if edge not in (lines.fieldnames or ())]
    if named is None or missing:
        raise HandtoolError(
            f"{path} has columns {lines.fieldnames}, needed are image or video, x0, y0, x1, y1", hint=HINT
        )
    boxes = Boxes()
    for row in lines:
        where, frame = f"{path}: line {lines.line_num}", (row.get("frame") or "").strip()
        if frame and not frame.isdecimal():
            raise HandtoolError(f"{where} has frame {frame!r}, expected a number from 0")
        name = row[named] + (f"#{int(frame)}" if frame else "")
        boxes.add(where, name, tuple(row[edge] for edge in EDGES), row.get("side"), row.get("score"))
    boxes.looked_at = list(dict.fromkeys(boxes.name))
    return boxes
