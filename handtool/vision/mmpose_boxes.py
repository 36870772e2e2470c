"""Hands from mmpose's predictions, as its inferencer and its demo write them: boxes, with the keypoints as landmarks.

    IMAGE.json                  [{keypoints, keypoint_scores, bbox, bbox_score}, …]           the inferencer, an image
    VIDEO.json                  [{frame_id, instances: [as above]}, …]                        a video, frames from 0
    results_NAME.json           {meta_info, instance_info: [either of the two]}               the demo, frames from 1

The file's name without its ending (and `results_`) is that of the picture or video. `bbox` is x0 y0 x1 y1 in a list of
its own, or in none. 21 keypoints are in the order of `meta_info.keypoint_id2name`, else the standard one, and left out
where their bones say otherwise. Of a body with 133 the left hand is 91 to 111 and the right one 112 to 132, with the
extent of their keypoints as the box and their mean score as the hand's. In a folder each json is one of these.
"""

from pathlib import Path
from typing import Any

import numpy as np

from handtool.bounded import read_json
from handtool.errors import DamagedFile, HandtoolError
from handtool.hands.boxes import box_of_points
from handtool.hands.joint_names import find_hands
from handtool.hands.keypoint_lists import is_box, read_numbers, read_points
from handtool.hands.skeleton import LEFT, NUM_JOINTS, RIGHT, STANDARD, UNKNOWN
from handtool.vision.boxes_columns import HINT, Boxes

WHOLE_BODY = 133  # keypoints
ORDERS = {NUM_JOINTS: {UNKNOWN: STANDARD}, WHOLE_BODY: {LEFT: tuple(range(91, 112)), RIGHT: tuple(range(112, 133))}}
SIDES = {LEFT: "left", RIGHT: "right", UNKNOWN: ""}
OF_DEMO = "results_"
MOST_FILES = 1_000_000


def is_predictions(content: Any) -> bool:
    if isinstance(content, dict):
        return isinstance(content.get("instance_info"), list)
    first = content[0] if isinstance(content, list) and content else None
    return isinstance(first, dict) and ("instances" in first or "keypoints" in first)


def read_folder(path: str) -> Boxes:
    """Raises HandtoolError where the folder has no json, DamagedFile for one that is none of these."""
    files = sorted(each for each in Path(path).iterdir() if each.suffix.lower() == ".json")
    if not files or len(files) > MOST_FILES:
        raise HandtoolError(f"{path} has {len(files):,} json files with predictions", hint=HINT)
    boxes = Boxes(stems=True)
    for file in files:
        if (content := read_json(file)) != [] and not is_predictions(content):  # []: no hand on that picture
            raise DamagedFile(f"{file} holds no predictions of mmpose", hint=HINT)
        add_predictions(boxes, str(file), content)
    return check_hands(path, boxes)


def read_predictions(path: str, content: Any) -> Boxes:
    """Raises DamagedFile for what is not as described."""
    return check_hands(path, add_predictions(Boxes(stems=True), path, content))


def check_hands(path: str, boxes: Boxes) -> Boxes:
    boxes.drop_other_order()
    if not boxes.name and boxes.left_out:
        reasons = ", ".join(f"{why}: {count}" for why, count in boxes.left_out.most_common(3))
        raise DamagedFile(f"{path} has no hand ({reasons})", hint=HINT)
    return boxes


def add_predictions(boxes: Boxes, path: str, content: Any) -> Boxes:
    stem, orders = Path(path).stem, ORDERS
    entries = content["instance_info"] if isinstance(content, dict) else content
    if isinstance(content, dict):
        stem, orders = stem.removeprefix(OF_DEMO), ORDERS | orders_of_names(content.get("meta_info"))
    if not all(isinstance(entry, dict) for entry in entries):
        raise DamagedFile(f"{path}: its predictions are no list of objects", hint=HINT)
    frames = [entry.get("frame_id") for entry in entries if "instances" in entry]
    if not all(type(frame) is int and 0 <= frame < 1 << 62 for frame in frames):
        raise DamagedFile(f"{path}: a frame_id is no number from 0", hint=HINT)
    first = 1 if isinstance(content, dict) and min(frames, default=0) >= 1 else 0
    of_video = [entry for entry in entries if "instances" in entry]
    of_pictures = [(f"{stem}#{entry['frame_id'] - first}", entry["instances"]) for entry in of_video]
    single = [entry for entry in entries if "instances" not in entry]
    for name, instances in [*of_pictures, *([(stem, single)] if single or not entries else [])]:
        boxes.looked_at.append(name)
        if not isinstance(instances, list):
            raise DamagedFile(f"{path}: the instances of {name} are no list", hint=HINT)
        for instance in instances:
            add_instance(boxes, f"{path}: {name}", name, instance, orders)
    return boxes


def orders_of_names(about: Any) -> dict[int, dict[int, tuple[int, ...]]]:
    """The hands among the points that `meta_info` names, by the number of points."""
    names = about.get("keypoint_id2name") if isinstance(about, dict) else None
    if not isinstance(names, dict) or not all(key.isdecimal() and len(key) < 5 for key in names):
        return {}
    ordered = [str(names[key])[:100] for key in sorted(names, key=int)]
    return {len(ordered): hands} if (hands := find_hands(ordered)) else {}


def add_instance(
    boxes: Boxes, where: str, name: str, instance: Any, orders: dict[int, dict[int, tuple[int, ...]]]
) -> None:
    points = read_points(instance.get("keypoints"), 2) if isinstance(instance, dict) else None
    if points is None or not (hands := orders.get(len(points))):
        what = "that are no numbers" if points is None else f"of another thing than a hand ({len(points)})"
        boxes.left_out[f"keypoints {what}"] += 1
        return
    scores = read_numbers(instance.get("keypoint_scores"), (len(points),))
    scores = np.ones(len(points)) if scores is None else scores
    bbox = instance.get("bbox")
    bbox = bbox[0] if isinstance(bbox, list) and len(bbox) == 1 else bbox
    for side, order in hands.items():
        of_hand, score = points[list(order)], float(scores[list(order)].mean())
        box = read_numbers(bbox, (4,)) if len(hands) == 1 else None
        if box is None or not is_box(box):
            box = box_of_points(of_hand[:, :2], of_hand[:, 2] > 0)
        if not is_box(box):
            boxes.left_out["hands without a box"] += 1
            continue
        said = instance.get("bbox_score") if len(hands) == 1 else score
        boxes.add(where, name, tuple(box.tolist()), SIDES[side], said if type(said) in (int, float) else score)
        boxes.add_landmarks(of_hand, score)
