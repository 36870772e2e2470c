"""Hand keypoints from Label Studio's own json: a list of tasks, their annotations a list of results.

A point is a result of type `keypointlabels`: x and y in percent of the picture, its name, and the `parentID` of the
region that it belongs to, if it has one. Points of one parent are a hand; points without are the hand of the side that
their names tell (`left_thumb_tip`), or one hand where no name comes twice. A region of type `rectanglelabels` gives its
points the box, and by its label the side. The joints are told by the names of all points in the file. Percent count
from the picture's edge: px = percent / 100 * size - 0.5. An annotation that was cancelled is passed over; of several
the first is taken.
"""

import re
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np

from handtool.errors import DamagedFile
from handtool.hands.joint_names import find_hands, side_by_name
from handtool.hands.keypoint_lists import FARTHEST, read_numbers
from handtool.hands.skeleton import NUM_JOINTS, UNKNOWN
from handtool.names import printable
from handtool.sources.annotation_file import FEW, AnnotationFile
from handtool.sources.coco_hands import HINT, LONGEST_NAME, HandFile

POINTS, BOX = "keypointlabels", "rectanglelabels"
UPLOADED = re.compile(r"^[0-9a-f]{8}-(?=.)")  # what Label Studio puts before the name of an uploaded file
MOST_NAMES = 1000
NO_BOX = np.full(4, np.nan)


def is_export(content: list) -> bool:
    """Whether it is a list of tasks whose points are those of hands."""
    if not any(one.get("type") == POINTS for task in content[:FEW] for one in results_of(task)):
        return False
    return bool(hands_among(names_of([results_of(task) for task in content])))


def results_of(task: Any) -> list[dict]:
    """The results of the first annotation of a task that was not cancelled."""
    annotations = task.get("annotations") or task.get("completions") if isinstance(task, dict) else None
    for annotation in annotations if isinstance(annotations, list) else ():
        results = annotation.get("result") if isinstance(annotation, dict) else None
        if isinstance(results, list) and not annotation.get("was_cancelled"):
            return [one for one in results if isinstance(one, dict) and isinstance(one.get("value"), dict)]
    return []


def read_tasks(file: AnnotationFile) -> HandFile:
    """Raises DamagedFile for what is no list of tasks, or whose names of points are not those of a hand's joints."""
    found = HandFile(file.what)
    for place, task in enumerate(file.content):
        if not isinstance(task, dict):
            raise DamagedFile(f"{file.what}: task {place} is no object")
    results = [results_of(task) for task in file.content]
    joints = find_joints(file.what, results)
    for place, (task, of_it) in enumerate(zip(file.content, results)):
        points = [one for one in of_it if one.get("type") == POINTS]
        first = points[0] if points else {}
        found.add_image(picture_of(task.get("data")), first.get("original_width"), first.get("original_height"))
        number = task.get("id")
        number = number if type(number) is int and 0 <= number < 1 << 62 else place
        if points and not all(found.sizes[place]):
            found.left_out["tasks that do not state the size of their picture"] += 1
        elif points:
            add_hands(found, place, number, points, {str(one.get("id")): one for one in of_it}, joints)
    return found


def find_joints(what: str, results: list[list[dict]]) -> dict[str, tuple[int, int]]:
    """Side and joint of each name of a point. They are told by all names of the file: one hand may lack some."""
    names = names_of(results)
    if not (hands := hands_among(names)):
        told = ", ".join(printable(name)[:30] for name in names[:5])
        raise DamagedFile(f"{what}: the names of its points ({told} …) are not those of a hand's 21 joints", hint=HINT)
    return {names[place]: (side, joint) for side, order in hands.items() for joint, place in enumerate(order)}


def names_of(results: list[list[dict]]) -> list[str]:
    return list(dict.fromkeys(name for of_it in results for one in of_it if (name := name_of(one))))


def hands_among(names: list[str]) -> dict[int, tuple[int, ...]]:
    return find_hands(names) if len(names) <= MOST_NAMES else {}


def name_of(result: dict) -> str:
    """Of a point; empty: it is none."""
    names = result["value"].get(POINTS) if result.get("type") == POINTS else None
    return str(names[0])[:100] if isinstance(names, list) and names else ""


def picture_of(data: Any) -> str:
    """The name of the picture: the last part of the first path or address among the data of a task."""
    for value in data.values() if isinstance(data, dict) else ():
        if isinstance(value, str) and 0 < len(value) <= LONGEST_NAME:
            path = path_in(value)
            if "." in (name := PurePosixPath(unquote(path).replace("\\", "/")).name):
                return UPLOADED.sub("", name) if "/upload/" in value else name
    return ""


def path_in(value: str) -> str:
    """Of an address, of Label Studio's `/data/local-files/?d=path`, or as it is."""
    if "?" not in value and "://" not in value:
        return value
    try:
        address = urlsplit(value)
    except ValueError:
        return ""
    return parse_qs(address.query).get("d", [address.path])[0]


def add_hands(
    found: HandFile,
    image: int,
    number: int,
    points: list[dict],
    regions: dict[str, dict],
    joints: dict[str, tuple[int, int]],
) -> None:
    """The hands of one picture. regions: all its results by id. joints: as find_joints."""
    groups: dict[tuple[str, int], list[tuple[int, np.ndarray]]] = {}
    for one in points:
        xy = place_of(one["value"], found.sizes[image])
        if name_of(one) not in joints or xy is None:
            found.left_out["points without a place, or of another thing than a hand"] += 1
            continue
        side, joint = joints[name_of(one)]
        parent = one.get("parentID")
        groups.setdefault(("" if parent is None else str(parent), side), []).append((joint, xy))
    for (parent, side), known in groups.items():
        places = [joint for joint, _ in known]
        if len(set(places)) < len(places):
            found.left_out["hands that cannot be told apart: a joint comes twice, and points have no parent"] += 1
            continue
        xy, marks = np.full((NUM_JOINTS, 2), np.nan), np.zeros(NUM_JOINTS, np.uint8)
        xy[places], marks[places] = [each for _, each in known], 1
        region = regions.get(parent, {}).get("value", {})
        labels = region.get(BOX)
        said = side_by_name(str(labels[0])[:100]) if isinstance(labels, list) and labels else UNKNOWN
        alone = sum(other == parent for other, _ in groups) == 1
        box = box_of(region, found.sizes[image]) if alone else NO_BOX
        found.add(image, number, side if side != UNKNOWN else said, box, xy, marks)


def place_of(value: dict, size: tuple[int, int]) -> np.ndarray | None:
    """(2,) px, centres at integers."""
    given = read_numbers([value.get(name) for name in ("x", "y")], (2,))
    if given is None or np.abs(given).max() > FARTHEST:
        return None
    return given / 100 * size - 0.5


def box_of(region: dict, size: tuple[int, int]) -> np.ndarray:
    """(4,) px by its edges, NaN: no upright rectangle."""
    given = read_numbers([region.get(name) for name in ("x", "y", "width", "height")], (4,))
    if region.get("rotation") not in (None, 0) or given is None or np.abs(given).max() > FARTHEST:
        return NO_BOX
    x, y, width, height = given / 100 * np.tile(size, 2)
    return np.array([x, y, x + width, y + height])
