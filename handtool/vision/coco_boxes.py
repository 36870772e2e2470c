"""Boxes of hands from COCO's json and its relatives.

Where a category is called a hand, the others are left out; where none is, all boxes are taken, and that is told. Of
COCO-WholeBody, whose `bbox` is the person's, `lefthand_box` and `righthand_box` are taken, and never a person's; nor is
that of an annotation with 17 keypoints. Keypoints of a hand become landmarks, in the order that the names of its
category tell, where all 21 are known. Ids may be numbers or texts.
`bbox` is x, y, width, height in px, or as `bbox_format` (of an annotation, the file or its `info`) or detectron2's
`bbox_mode` says. An annotation without `bbox` has the extent of its polygons; a mask alone gives no box. Crowds are
left out. What is left out is counted.
"""

import re
from collections.abc import Callable

import numpy as np

from handtool.errors import DamagedFile
from handtool.hands.joint_names import WORD, find_hands, side_by_name
from handtool.hands.keypoint_lists import MOST_POINTS, read_numbers, read_points
from handtool.hands.skeleton import LEFT, NUM_JOINTS, RIGHT
from handtool.vision.boxes_columns import HINT, Boxes

PERSON = 3 * 17  # numbers of a person's keypoints
SIDE_KEYS = ("side", "hand_side", "hand_type", "handedness")
WHOLE_BODY = {"lefthand_box": "left", "righthand_box": "right"}
HAND = re.compile("(my|your)?(left|right)?hands?|(my|your)(left|right)")
FORMAT_KEYS = ("bbox_format", "box_format", "bbox_mode")
Edges = tuple[float, float, float, float]
FORMATS: dict[str, Callable[[float, float, float, float], Edges]] = {
    "xywh": lambda x, y, width, height: (x, y, x + width, y + height),
    "xyxy": lambda x0, y0, x1, y1: (x0, y0, x1, y1),
    "cxcywh": lambda x, y, width, height: (x - width / 2, y - height / 2, x + width / 2, y + height / 2),
}
NAMED = {"xywhabs": "xywh", "xyxyabs": "xyxy", "coco": "xywh", "pascalvoc": "xyxy", "0": "xyxy", "1": "xywh"}
FEWEST, MOST = 4, 0.5  # boxes, and the share of them that stick out, from which they are taken for another format
SIDE_WORDS = {"left", "right", "l", "r", "my", "your"}
NOWHERE = "on a picture that the file does not list"
OUTSIDE = 1.02  # of the picture's width or height


def read_coco(path: str, content: dict) -> Boxes:
    """Raises DamagedFile for what is not as described."""
    boxes, unsaid = Boxes(), list[tuple[str, list[float]]]()  # unsaid: boxes in px of no stated format
    try:
        names = read_images(path, content, boxes)
        categories = {ident(one["id"]): str(one.get("name", "")) for one in content.get("categories") or ()}
        orders = {ident(one["id"]): order_of(one) for one in content.get("categories") or ()}
        of_bodies = any(map(is_whole_body, content["annotations"]))
        hands = {key for key, name in categories.items() if is_hand(name)}
        usual = format_of(path, content, content.get("info"))
        for number, annotation in enumerate(content["annotations"]):
            where, name = f"{path}: annotation {number}", names.get(ident(annotation["image_id"]))
            category = ident(annotation.get("category_id"))
            if name is None:
                boxes.left_out[NOWHERE] += 1
            elif is_whole_body(annotation):
                add_whole_body(boxes, where, name, annotation)
            elif of_bodies or len(annotation.get("keypoints") or ()) == PERSON:
                boxes.left_out["a person"] += 1
            elif reason := reason_to_leave_out(annotation, category, categories, hands):
                boxes.left_out[reason] += 1
            else:
                box, kind = annotation.get("bbox"), format_of(where, annotation) or usual
                unsaid += [(name, box)] if box and not kind else []
                edges = edges_of(where, box or polygon_box(annotation["segmentation"]), box and kind or "xywh")
                side = side_of(annotation, categories.get(category, ""))
                boxes.add(where, name, edges, side, annotation.get("score"))
                if annotation.get("keypoints"):
                    add_keypoints(boxes, annotation, orders.get(category))
        refuse_corners(path, unsaid, boxes.size)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise DamagedFile(f"{path} is not COCO json: {error!r} is missing or of another type", hint=HINT) from None
    if not boxes.name and boxes.left_out and set(boxes.left_out) == {NOWHERE}:
        raise DamagedFile(f"{path}: no annotation is on a picture that it lists", hint=HINT)
    boxes.drop_other_order()
    if boxes.name and categories and not hands and not of_bodies:
        called = ", ".join(list(dict.fromkeys(categories.values()))[:5])
        boxes.notes.append(f"none of its categories is called a hand ({called}): all boxes are taken for hands")
    return boxes


def read_images(path: str, content: dict, boxes: Boxes) -> dict[str, str]:
    """Name by id. What the file says of its pictures is added to `boxes`."""
    images = {ident(image["id"]): image for image in content["images"]}
    if len(images) < len(content["images"]):
        raise DamagedFile(f"{path} gives several images the same id", hint=HINT)
    names = {key: str(image["file_name"]) for key, image in images.items()}
    boxes.looked_at = list(names.values())
    boxes.size = {
        names[key]: (int(image["width"]), int(image["height"]))
        for key, image in images.items()
        if image.get("width") and image.get("height")
    }
    return names


def is_whole_body(annotation: dict) -> bool:
    return any(key in annotation for key in WHOLE_BODY)


def ident(value: object) -> str:
    """7, 7.0 and "7" are one id."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def reason_to_leave_out(annotation: dict, category: str, categories: dict[str, str], hands: set[str]) -> str:
    """Why an annotation is no box of a hand; empty: it is one."""
    if hands and category in categories.keys() - hands:
        return f"not a hand: {categories[category]}"
    if hands and category not in categories and annotation.get("category_id") is not None:
        return f"of category {category[:40]}, which the file does not list"
    if annotation.get("iscrowd") not in (None, 0, "0", False):
        return "a crowd"
    if annotation.get("bbox"):
        return ""
    if not annotation.get("segmentation"):
        return "without a box"
    return "" if polygon_box(annotation["segmentation"]) else "a mask without a box"


def polygon_box(segmentation: object) -> list[float] | None:
    """x, y, width, height of polygons [[x, y, x, y, …], …]; None: run lengths, or no polygon."""
    if not isinstance(segmentation, list) or not segmentation or not all(isinstance(one, list) for one in segmentation):
        return None
    points = np.concatenate([np.asarray(one, float).reshape(-1, 2) for one in segmentation])
    low, high = points.min(axis=0), points.max(axis=0)
    return [*low.tolist(), *(high - low).tolist()]


def format_of(where: str, *places: object) -> str | None:
    """Which of FORMATS the first of the places says that boxes are in; None: it is not said. Raises DamagedFile for one
    that is not known."""
    for place in (one for one in places if isinstance(one, dict)):
        for key in FORMAT_KEYS:
            if place.get(key) is not None:
                said = re.sub("[^a-z0-9]", "", str(place[key]).lower().removeprefix("boxmode."))
                if (kind := NAMED.get(said, said)) not in FORMATS:
                    expected = f"expected px as {', '.join(FORMATS)}"
                    raise DamagedFile(f"{where} has {key} {str(place[key])[:80]!r}, {expected}", hint=HINT)
                return kind
    return None


def refuse_corners(path: str, boxes: list[tuple[str, list[float]]], size: dict[str, tuple[int, int]]) -> None:
    """Raises DamagedFile for boxes of no stated format which as x, y, width, height stick out of their pictures, and
    as corners fit."""
    known = [(*box, *size[name]) for name, box in boxes if name in size]
    if len(known) < FEWEST:
        return
    x, y, right, bottom, wide, high = np.array(known, float).T
    out = (x + right > OUTSIDE * wide) | (y + bottom > OUTSIDE * high)
    fit = (right > x) & (bottom > y) & (right <= OUTSIDE * wide) & (bottom <= OUTSIDE * high)
    if out.mean() > MOST and fit.all():
        told = f"{out.sum()} of {len(known)} boxes stick out of their pictures as x, y, width, height"
        raise DamagedFile(f"{path}: {told}", hint='corners? "info": {"bbox_format": "xyxy"} in the file says so')


def add_whole_body(boxes: Boxes, where: str, name: str, annotation: dict) -> None:
    """The hands of a person; a box without size is of a hand that was not annotated."""
    for key, side in WHOLE_BODY.items():
        box = edges_of(where, annotation.get(key) or [0, 0, 0, 0])
        if annotation.get(key.replace("box", "valid"), True) and box[2] > box[0] and box[3] > box[1]:
            boxes.add(where, name, box, side, annotation.get("score"))
            if annotation.get(kpts := key.replace("box", "kpts")):
                add_keypoints(boxes, {"keypoints": annotation[kpts]}, None)


def order_of(category: dict) -> tuple[int, ...] | None:
    """The order of its 21 named keypoints; empty: they are no hand's. None: they have no names."""
    names = category.get("keypoints")
    if not isinstance(names, list) or not names or len(names) > MOST_POINTS:
        return None
    return next(iter(find_hands([str(name)[:100] for name in names]).values()), ())


def add_keypoints(boxes: Boxes, annotation: dict, order: tuple[int, ...] | None) -> None:
    """Landmarks of the hand that was added last. Their score: `keypoint_scores`, else the third values up to 1."""
    points = read_points(annotation["keypoints"])
    if points is None or len(points) != NUM_JOINTS or order == ():
        boxes.unused_keypoints += 1
        return
    scores = read_numbers(annotation.get("keypoint_scores"), (NUM_JOINTS,))
    score = float(np.minimum(points[:, 2], 1).mean() if scores is None else scores.mean())
    boxes.add_landmarks(points[list(order)] if order else points, score)


def edges_of(where: str, bbox: object, kind: str = "xywh") -> Edges:
    if not isinstance(bbox, list) or len(bbox) != 4:
        raise DamagedFile(f"{where} has bbox {str(bbox)[:200]}, expected x, y, width, height in px")
    return FORMATS[kind](*np.asarray(bbox, dtype=float).tolist())


def side_of(annotation: dict, category: str) -> object:
    """As the annotation says, by itself or by its attributes, else as the name of its category does."""
    attributes = annotation.get("attributes")
    for said in (annotation, attributes if isinstance(attributes, dict) else {}):
        for key in SIDE_KEYS:
            if said.get(key) is not None:
                return said[key]
    return {LEFT: "left", RIGHT: "right"}.get(side_by_name(category), "")


def is_hand(category: str) -> bool:
    words = {word.lower() for word in WORD.findall(category)}
    return any(HAND.fullmatch(word) for word in words) or bool(words and words <= SIDE_WORDS)
