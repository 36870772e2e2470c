"""Small sets of hand keypoints in the published layouts of COCO-shaped json, each from scratch."""

import json
import zipfile
from pathlib import Path

import numpy as np
from footage import write_image

from handtool.hands.skeleton import JOINTS

MMPOSE = "wrist " + " ".join(
    f"{finger}{number}"
    for finger in ("thumb", "forefinger", "middle_finger", "ring_finger", "pinky_finger")
    for number in (1, 2, 3, 4)
)
MMPOSE = MMPOSE.split()
SIZE = (96, 80)  # width, height
# of an open hand, wrist first and each finger from palm to tip, in a square of 1: longer outwards, as hands are
FINGERS = [(0.5, 0.95)] + [
    (0.5 + reach * (0.09 + 0.16 * (finger - 2)), 0.95 - reach * (0.75 - 0.05 * (finger - 2) ** 2))
    for finger in range(5)
    for reach in (0.45, 0.7, 0.85, 1.0)
]


def draw_points(seed: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """(21, 2) px of an open hand on a picture, standard order, halves of a pixel among them."""
    rng = np.random.default_rng(seed)
    side = 0.7 * min(size)
    low = rng.uniform(2, np.array(size) - side - 2)
    return np.round((np.array(FINGERS) * side + low + rng.normal(0, 0.4, (21, 2))) * 4) / 4


def write_pictures(folder: Path, names: list[str], size: tuple[int, int] = SIZE) -> None:
    rng = np.random.default_rng(1)
    for name in names:
        write_image(folder / name, rng.integers(0, 200, (size[1], size[0], 3), dtype=np.uint8))


def flat(points: np.ndarray, marks: object = 1) -> list[float]:
    marks = np.broadcast_to(np.asarray(marks, float), len(points))
    return np.column_stack([points, marks]).reshape(-1).tolist()


def images_of(names: list[str], size: tuple[int, int] = SIZE) -> list[dict]:
    return [{"id": 10 + i, "file_name": name, "width": size[0], "height": size[1]} for i, name in enumerate(names)]


def hand_category(names: list[str] | None = None, name: str = "hand", number: int = 1) -> dict:
    named = {"keypoints": names, "skeleton": []} if names else {}
    return {"id": number, "name": name, "supercategory": "hand"} | named


def write_json(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def make_onehand10k(root: Path, count: int = 5, names: list[str] | None = None, **more: object) -> list[np.ndarray]:
    """mmpose's: flat, a missing joint is 0, 0, 0. Returns the points of each picture, NaN where missing."""
    files = [f"{number}.jpg" for number in (9, 33, 784, 1402, 20000, 20001, 20002)[:count]]
    write_pictures(root, files)
    truth, annotations = [], []
    for place, image in enumerate(images_of(files)):
        points, marks = draw_points(place), np.ones(21)
        marks[place] = 0
        given = np.where(marks[:, None] > 0, points, 0)
        low, high = points.min(axis=0) - 3, points.max(axis=0) + 2
        box = [*low.tolist(), *(high - low).tolist()]
        own = {"id": 100 + place, "image_id": image["id"], "category_id": 1, "bbox": box, "iscrowd": 0}
        own |= {"keypoints": flat(given, marks), "segmentation": [[0, 0, 9, 9, 0, 9]], "area": 9}
        annotations.append(own | more)
        truth.append(np.where(marks[:, None] > 0, points, np.nan))
    info = {"description": "OneHand10K", "version": "1.0", "year": "2020"}
    content = {"info": info, "licenses": "", "images": images_of(files), "annotations": annotations}
    write_json(root / "test_onehand10k.json", content | {"categories": [hand_category(names)]})
    return truth


def make_whole_body(root: Path) -> dict[tuple[str, int], tuple[np.ndarray, np.ndarray]]:
    """COCO-WholeBody: persons with the boxes and keypoints of their hands, the pictures in val2017/. Returns points
    and box (x, y, w, h) by picture and hand, 0 left, 1 right."""
    names = [f"{number:012d}.jpg" for number in (785, 40083, 196141)]
    write_pictures(root / "val2017", names)
    truth, annotations = {}, []
    for place, image in enumerate(images_of(names)):
        person = {"id": 5 + place, "image_id": image["id"], "category_id": 1, "iscrowd": 0, "num_keypoints": 17}
        person |= {"bbox": [1, 1, 90, 75], "keypoints": [5, 6, 2] * 17, "face_kpts": [0] * 204}
        for hand, side in (("lefthand", 0), ("righthand", 1)):
            there = (place, side) not in ((0, 1), (2, 0))
            points, box = draw_points(10 * place + side), [3.5 + side, 4, 60, 62.25]
            marks = np.random.default_rng(place).uniform(0.04, 0.9, 21).round(3)  # of an estimator, never 2
            marks[3] = 0
            person[f"{hand}_kpts"] = flat(points, marks) if there else [0] * 63
            person[f"{hand}_box"] = box if there else [0, 0, 0, 0]
            person[f"{hand}_valid"] = there
            if there:
                truth[image["file_name"], side] = np.where(marks[:, None] > 0, points, np.nan), np.array(box)
        annotations.append(person)
    body = {"id": 1, "name": "person", "keypoints": ["nose"] + ["left_wrist"] * 16, "skeleton": []}
    content = {"info": {"description": "COCO-WholeBody"}, "images": images_of(names), "annotations": annotations}
    write_json(root / "annotations" / "coco_wholebody_val_v1.0.json", content | {"categories": [body]})
    return truth


def cvat_content(truth: list[np.ndarray], names: list[str]) -> dict:
    """CVAT's "COCO Keypoints 1.0": coordinates from the corner of the first pixel; v 0 outside (which keeps its
    coordinates), 1 occluded, 2 visible. truth: (21, 2) px with centres at integers, in the order of `names`."""
    files = [f"frame_{number:06d}.png" for number in range(len(truth))]
    marks = np.array([2] * 15 + [1] * 5 + [0])
    annotations = [
        {
            "id": 1 + place,
            "image_id": 10 + place,
            "category_id": 1,
            "keypoints": flat(points + 0.5, marks),
            "num_keypoints": 20,
            "bbox": [5.0, 5.0, 60.0, 60.0],
            "iscrowd": 0,
            "area": 3600.0,
            "segmentation": [],
            "attributes": {"occluded": False, "hand": "x", "side": "left", "track_id": 0, "keyframe": True},
        }
        for place, points in enumerate(truth)
    ]
    return {
        "licenses": [{"name": "", "id": 0, "url": ""}],
        "info": {"contributor": "", "description": "", "url": "", "version": "", "year": ""},
        "categories": [hand_category(names, "my hand")],
        "images": images_of(files),
        "annotations": annotations,
    }


def make_cvat(root: Path, packed: bool) -> tuple[Path, list[np.ndarray]]:
    """A zip, or the same unpacked. The order of the sublabels is the label's: here the tips come first."""
    order = [4, 8, 12, 16, 20] + [joint for joint in range(21) if joint not in (4, 8, 12, 16, 20)]
    truth = [draw_points(place) for place in range(3)]
    content = cvat_content([points[order] for points in truth], [JOINTS[joint] for joint in order])
    write_json(root / "annotations" / "person_keypoints_default.json", content)
    write_pictures(root / "images" / "default", [image["file_name"] for image in content["images"]])
    for points in truth:
        points[order[20]] = np.nan
    if not packed:
        return root, truth
    path = root.with_suffix(".zip")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(root.rglob("*.*")):
            archive.write(file, file.relative_to(root).as_posix())
    return path, truth


def label_studio_task(number: int, picture: str, hands: list[tuple[str, str, np.ndarray]]) -> dict:
    """hands: (parent or "", prefix of the names, (21, 2) px with centres at integers), NaN: the point is not set."""
    result = []
    common = {"original_width": SIZE[0], "original_height": SIZE[1], "image_rotation": 0}
    common |= {"from_name": "kp", "to_name": "image"}
    for parent, prefix, points in hands:
        percent = (points + 0.5) / SIZE * 100
        if parent:
            low, high = np.nanmin(percent, axis=0) - 1, np.nanmax(percent, axis=0) + 1
            value = {"x": low[0], "y": low[1], "width": high[0] - low[0], "height": high[1] - low[1], "rotation": 0}
            value |= {"rectanglelabels": [f"{'Left' if 'l' in parent else 'Right'} hand"]}
            result.append({"id": parent, "type": "rectanglelabels", "value": value} | common)
        for joint, (x, y) in enumerate(percent):
            if np.isfinite(x):
                value = {"x": x, "y": y, "width": 0.4, "keypointlabels": [prefix + JOINTS[joint]]}
                one = {"id": f"{parent}{prefix}{joint}", "type": "keypointlabels", "value": value} | common
                result.append(one | ({"parentID": parent} if parent else {}))
    annotations = [{"id": 1, "was_cancelled": True, "result": []}, {"id": 2, "was_cancelled": False, "result": result}]
    return {"id": number, "data": {"image": f"/data/upload/3/0a1b2c3d-{picture}"}, "annotations": annotations}
