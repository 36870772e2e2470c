"""Three file formats for hand boxes, each read into the same columns.

COCO's json (`bbox` is x, y, width, height in px; the side by a key such as `side` or `hand_side`, by one of the
`attributes`, or by the category's name; `score` optional). Where a category is called a hand, the others are left out.
Of COCO-WholeBody, whose `bbox` is the person's, `lefthand_box` and `righthand_box` are taken:

    {"images": [{"id": 7, "file_name": "a/0001.jpg"}, …], "categories": [{"id": 1, "name": "left hand"}, …],
     "annotations": [{"image_id": 7, "bbox": [x, y, width, height], "score": 0.9, "side": "left"}, …]}

100DOH's json (Shan et al. 2020, arXiv:2006.06669; edges as shares of the picture's width and height; `score` optional):

    {"0001.jpg": [{"x1": 0.1, "y1": 0.2, "x2": 0.3, "y2": 0.5, "hand_side": "l"}, …], …}

CSV with a header (px; `side` and `score` optional; `frame` makes it frame 12 of a video, counted over its decoded
frames from 0):

    image,x0,y0,x1,y1,side,score            or  video,frame,x0,y0,x1,y1,…

Sides are words with left or right in them, l and r, or 0 (left) and 1 (right) as 100DOH's detector writes them.
"""

import csv
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from handtool.bounded import parse_json, read_bounded
from handtool.errors import DamagedFile, first_line
from handtool.hands.skeleton import LEFT, RIGHT, UNKNOWN

SIDE_KEYS = ("side", "hand_side", "hand_type", "handedness")
WHOLE_BODY = {"lefthand_box": "left", "righthand_box": "right"}
WORD = re.compile("[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[0-9]+")
HAND = re.compile("(left|right)?hands?")
HINT = "--boxes takes COCO json, 100DOH json or CSV; described in handtool.vision.boxes_formats"
EDGES, NAMES = ("x0", "y0", "x1", "y1"), ("image", "video")


@dataclass
class Boxes:
    """Hand by hand, in the order of the file. box: x0 y0 x1 y1 by its edges, px, or with `relative` shares of the
    picture.

    looked_at: all pictures in the file, with hands or without. size: (width, height) px that the file states of some of
    them. left_out: boxes that are no hand's, by the reason. unused_keypoints: hands with keypoints that are not read.
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

    def add(self, where: str, name: Any, box: tuple, side: object, score: Any) -> None:
        """Raises DamagedFile if name, side or score is invalid; `where` names the hand."""
        if not isinstance(name, str):
            raise DamagedFile(f"{where} has no name of a picture", hint=HINT)
        if (meant := read_side(side)) is None:
            raise DamagedFile(f"{where} has side {side!r}, expected left or right")
        try:
            self.score.append(1.0 if score in (None, "") else float(score))
            x0, y0, x1, y1 = (float(value) for value in box)
            self.box.append((x0, y0, x1, y1))
        except (TypeError, ValueError, OverflowError):
            told = f"box {box!r} and score {score!r}"
            raise DamagedFile(f"{where} has {told[:200]}, expected numbers") from None
        self.name.append(name)
        self.side.append(meant)


def read_boxes(path: str) -> Boxes:
    """Raises DamagedFile if the file has none of the three formats, or one of its hands is not as described."""
    is_csv = Path(path).suffix.lower() == ".csv"
    data = read_bounded(path, kind="line" if is_csv else "json")
    try:
        if is_csv:
            return read_csv(path, data.decode("utf-8-sig"))
    except (ValueError, csv.Error) as error:
        raise DamagedFile(f"{path} cannot be read: {first_line(error)}", hint=HINT) from None
    content = parse_json(data, path, HINT)
    if isinstance(content, dict) and {"images", "annotations"} & set(content):
        return read_coco(path, content)
    if isinstance(content, dict) and content and all(isinstance(hands, list) for hands in content.values()):
        return read_100doh(path, content)
    raise DamagedFile(f"{path} is neither COCO's json nor 100DOH's", hint=HINT)


def read_coco(path: str, content: dict) -> Boxes:
    boxes = Boxes()
    try:
        images = {image["id"]: image for image in content["images"]}
        if len(images) < len(content["images"]):
            raise DamagedFile(f"{path} gives several images the same id", hint=HINT)
        names = {key: str(image["file_name"]) for key, image in images.items()}
        boxes.looked_at = list(names.values())
        boxes.size = {
            names[key]: (int(image["width"]), int(image["height"]))
            for key, image in images.items()
            if image.get("width") and image.get("height")
        }
        categories = {one["id"]: str(one.get("name", "")) for one in content.get("categories", ())}
        of_hands = {key for key, name in categories.items() if is_hand(name)}
        for number, annotation in enumerate(content["annotations"]):
            where, name = f"{path}: annotation {number}", names[annotation["image_id"]]
            called = categories.get(annotation.get("category_id"), "")
            if any(key in annotation for key in WHOLE_BODY):
                add_whole_body(boxes, where, name, annotation)
            elif of_hands and annotation.get("category_id") in categories.keys() - of_hands:
                boxes.left_out[f"not a hand: {called}"] += 1
            else:
                boxes.unused_keypoints += bool(annotation.get("keypoints"))
                boxes.add(
                    where,
                    name,
                    edges_of(where, annotation["bbox"]),
                    side_of(annotation, called),
                    annotation.get("score"),
                )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise DamagedFile(f"{path} is not COCO json: {error!r} is missing or of another type", hint=HINT) from None
    return boxes


def add_whole_body(boxes: Boxes, where: str, name: str, annotation: dict) -> None:
    """The hands of a person; a box without size is of a hand that was not annotated."""
    for key, side in WHOLE_BODY.items():
        box = edges_of(where, annotation.get(key) or [0, 0, 0, 0])
        if annotation.get(key.replace("box", "valid"), True) and box[2] > box[0] and box[3] > box[1]:
            boxes.unused_keypoints += bool(annotation.get(key.replace("box", "kpts")))
            boxes.add(where, name, box, side, annotation.get("score"))


def edges_of(where: str, bbox: object) -> tuple:
    if not isinstance(bbox, list) or len(bbox) != 4:
        raise DamagedFile(f"{where} has bbox {bbox!r}, expected x, y, width, height in px")
    x, y, width, height = np.asarray(bbox, dtype=float)
    return x, y, x + width, y + height


def side_of(annotation: dict, category: str) -> object:
    """As the annotation says, by itself or by its attributes, else as the name of its category does."""
    attributes = annotation.get("attributes")
    for said in (annotation, attributes if isinstance(attributes, dict) else {}):
        for key in SIDE_KEYS:
            if said.get(key) is not None:
                return said[key]
    return {LEFT: "left", RIGHT: "right"}.get(side_by_name(category), "")


def read_side(value: object) -> int | None:
    """None: not understood."""
    text = "" if value is None else str(value).strip()
    if text in ("0", "1"):
        return (LEFT, RIGHT)[int(text)]
    side = side_by_name(text)
    return UNKNOWN if text.lower() in ("", "unknown") else side if side != UNKNOWN else None


def side_by_name(name: str) -> int:
    """Of `left_hand`, `LeftHand`, `lefthand`, `hand_l`; UNKNOWN: no side in it, or both."""
    words = {word.lower() for word in WORD.findall(name)}
    left = any(word == "l" or word.startswith("left") for word in words)
    right = any(word == "r" or word.startswith("right") for word in words)
    return UNKNOWN if left == right else LEFT if left else RIGHT


def is_hand(category: str) -> bool:
    words = {word.lower() for word in WORD.findall(category)}
    return any(re.fullmatch("(left|right)?hands?", word) for word in words) or bool(
        words and words <= {"left", "right", "l", "r"}
    )


def read_100doh(path: str, content: dict) -> Boxes:
    boxes = Boxes(looked_at=list(content), relative=True)
    for name, hands in content.items():
        for number, hand in enumerate(hands):
            where = f"{path}: hand {number} of {name}"
            if not isinstance(hand, dict) or not {"x1", "y1", "x2", "y2"} <= set(hand):
                raise DamagedFile(f"{where} has no x1, y1, x2, y2", hint=HINT)
            box = (hand["x1"], hand["y1"], hand["x2"], hand["y2"])
            boxes.add(where, name, box, hand.get("hand_side"), hand.get("score"))
            if not all(-0.5 <= edge <= 1.5 for edge in boxes.box[-1]):
                raise DamagedFile(f"{where} lies at {box}, expected shares of the picture, 0 to 1", hint=HINT)
    return boxes


def read_csv(path: str, text: str) -> Boxes:
    lines = csv.DictReader(text.splitlines())
    named = next((name for name in NAMES if name in (lines.fieldnames or ())), None)
    missing = [edge for edge in EDGES if edge not in (lines.fieldnames or ())]
    if named is None or missing:
        raise DamagedFile(
            f"{path} has columns {lines.fieldnames}, needed are image or video, x0, y0, x1, y1", hint=HINT
        )
    boxes = Boxes()
    for row in lines:
        where, frame = f"{path}: line {lines.line_num}", (row.get("frame") or "").strip()
        if frame and not (frame.isdecimal() and len(frame) < 19):
            raise DamagedFile(f"{where} has frame {frame!r}, expected a number from 0")
        name = row[named]
        name = f"{name}#{int(frame)}" if name and frame else name
        boxes.add(where, name, tuple(row[edge] for edge in EDGES), row.get("side"), row.get("score"))
    boxes.looked_at = list(dict.fromkeys(boxes.name))
    return boxes
