"""Hands that someone else found: boxes by file name, in COCO's json.

    {"images": [{"id": 7, "file_name": "a/0001.jpg"}, …],
     "annotations": [{"image_id": 7, "bbox": [x, y, width, height], "score": 0.9, "side": "left"}, …],
     "categories": [{"id": 1, "name": "left hand"}, …]}

bbox: px by its edges, as COCO writes it. score and side are optional; without `side` the category's name tells it, if it has "left" or
"right" in it. An image is known by its path or by any end of it (`0001.jpg`, `a/0001.jpg`), the longest first; frame 12 of a video by
`clip.mp4#12`.
"""

import json
from pathlib import Path

import numpy as np

from handtool.errors import HandtoolError
from handtool.hands.skeleton import LEFT, RIGHT, UNKNOWN
from handtool.vision.contracts import Detection

SIDES = {"left": LEFT, "l": LEFT, "right": RIGHT, "r": RIGHT}


class BoxesFile:
    """Raises HandtoolError where the file is not COCO's json; boxes below `min_score` are left out."""

    batch = 1

    def __init__(self, path: str, min_score: float) -> None:
        self.hands = read_boxes(path, min_score)

    def find_hands(self, images: list[np.ndarray], names: list[str]) -> list[list[Detection]]:
        return [self.hands_on(name) for name in names]

    def hands_on(self, name: str) -> list[Detection]:
        parts = name.split("/")
        for start in range(len(parts)):
            hands = self.hands.get("/".join(parts[start:]))
            if hands is not None:
                return hands
        return []


def read_boxes(path: str, min_score: float) -> dict[str, list[Detection]]:
    """file name -> hands, in the order of the file; an image without annotations has an empty list."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise HandtoolError(f"{path} cannot be read: {error}", hint="--boxes takes COCO json: images, annotations with bbox") from None
    try:
        names = {image["id"]: str(image["file_name"]) for image in content["images"]}
        categories = {one["id"]: str(one.get("name", "")) for one in content.get("categories", ())}
        hands: dict[str, list[Detection]] = {name: [] for name in names.values()}
        for number, annotation in enumerate(content["annotations"]):
            hand = as_detection(annotation, categories, f"{path}: annotation {number}")
            if hand.score >= min_score:
                hands[names[annotation["image_id"]]].append(hand)
    except (KeyError, TypeError, AttributeError) as error:
        raise HandtoolError(f"{path} is not COCO json: {error!r} is missing or of another type", hint=f"described in {__name__}") from None
    return hands


def as_detection(annotation: dict, categories: dict, where: str) -> Detection:
    try:
        x, y, width, height = (float(value) for value in annotation["bbox"])
    except ValueError:
        raise HandtoolError(f"{where} has bbox {annotation['bbox']!r}, expected x, y, width, height in px") from None
    side = annotation.get("side", annotation.get("hand_side"))
    if side is None:
        words = categories.get(annotation.get("category_id"), "").lower().replace("_", " ").replace("-", " ").split()
        side = next((word for word in words if word in ("left", "right")), None)
    elif str(side).lower() not in SIDES:
        raise HandtoolError(f"{where} has side {side!r}, expected left or right")
    score = annotation.get("score")
    return Detection(np.array([x, y, x + width, y + height]), SIDES.get(str(side).lower(), UNKNOWN), 1.0 if score is None else float(score))
