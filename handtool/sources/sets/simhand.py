"""Hand100M, which SiMHand was pre-trained on (Lin et al. 2025, arXiv 2409.09714): boxes, sides, keypoints of MediaPipe
and positives of hands in Ego4D and 100DOH, for frames that everybody cuts out of the videos themselves.

    <root>/
      annotations/Ego4D/Hand100M_Ego4D_50k_v1-1.json      and other sizes, and annotations/100DOH/…
          {"images": [{id, file_name, width, height}],
           "annotations": [{image_id, hand_id, boxes, left_right, keypoint_25d, positive_sample, distance}]}
      <video>/frame_000000.jpg  frame_000030.jpg …         `file_name`, below the root, images/, Ego4D/ or 100DOH/

boxes is JSON inside the JSON: x0, y0, x1, y1 in px (or an object x1, y1, x2, y2). keypoint_25d, 63 numbers or 21 x 3,
has x and y as shares of a square crop at 1.3 times the box, 0 to 1 by its edges, in handtool's order; the third number,
MediaPipe's depth without a unit, is not read. left_right is taken for the true side.

A video is a folder of frames, `frame` the number in the frame's name. Keypoints are an estimator's: they become the
landmarks of /crops, not labels. `sample_id` is the annotation's place in the json, `sample_key` its hand_id, by which
`mine --pairs FILE` finds the positives again. `--split` names the json where there are several: Ego4D_50k.

Written from SiMHand's code and README; the json themselves were not seen: the form of boxes, the side and the order
of the keypoints are to be checked on ten pictures (`handtool show`) before they are trusted.

Memory: the json is read as a stream; 1.6 kB are kept of a hand while it is read (measured), 400 bytes afterwards.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from handtool import config
from handtool.errors import DamagedFile
from handtool.hands.boxes import enlarge, square
from handtool.hands.skeleton import LEFT, RIGHT, UNKNOWN
from handtool.names import natural
from handtool.sources.frame import Choice, Frame, KnownHand, Tally, Video
from handtool.sources.labelled_frames import BadLabel, Sample, only_a_box, read_known
from handtool.sources.large_json import read_items
from handtool.sources.sets.dataset_choice import choose_split, missing_error, refuse_choice

NAME, TITLE = "simhand", "Hand100M"
BOX_SCALE = config.BOX_SCALE
GIVES_LANDMARKS = True
FILE = re.compile(r"Hand100M_(.+?)(_v\d+-\d+)?\.json")
SIDES = {"left": LEFT, "right": RIGHT}
PREFIXES = ("", "images/", "frames/", "Ego4D/", "100DOH/", "images/Ego4D/", "images/100DOH/")
LOOKED_AT = 50  # images, to tell which of these holds
LONGEST_BOX = 1000  # characters
NUMBER = re.compile(r"(\d+)$")
SAME_ASPECT = 0.02  # of width to height, where frames were cut at another size
WHERE = "its root is the folder that holds annotations/ and the folders of frames"
OTHER = "a file of another version?"
NOWHERE = np.full((21, 2), np.nan, np.float32)
Hand = tuple[int, str, int, np.ndarray, np.ndarray]  # place, hand_id, side, box (4,) px, keypoints (21, 2) shares


def is_root(folder: Path, names: list[str], below: list[str]) -> bool:
    return any(FILE.fullmatch(name) for name in names) or ("annotations" in below and bool(list_files(folder)))


def list_files(root: Path) -> dict[str, Path]:
    """The json by what `--split` calls them."""
    places = sorted([*root.glob("Hand100M_*.json"), *root.glob("annotations/**/Hand100M_*.json")])
    return {match[1]: path for path in places if (match := FILE.fullmatch(path.name))}


def find_videos(root: Path, title: str, choice: Choice) -> list[Video]:
    """A video a folder of frames. Raises HandtoolError where something is missing, WrongCommand for other names."""
    refuse_choice(TITLE, "--cameras", choice.cameras, "each video has its own")
    refuse_choice(TITLE, "--subset", choice.subset, "choose one of its json by --split")
    files = list_files(root)
    if not files:
        raise missing_error(root / "annotations" / "Ego4D" / "Hand100M_Ego4D_50k_v1-1.json", "its annotations", WHERE)
    split = choose_split(TITLE, choice.split, {name: name for name in files}, list(files), root)
    images, hands = read_annotations(files[split])
    names = [images[each][0] for each in hands]
    prefix = find_prefix(root, names)
    videos: dict[str, list[Any]] = {}
    for image in sorted(hands, key=lambda each: natural(images[each][0])):
        videos.setdefault(PurePosixPath(images[image][0]).parent.as_posix(), []).append(image)
    title = f"{title}/{split}"
    return [make_video(root, f"{title}/{name}", split, prefix, of_it, images, hands) for name, of_it in videos.items()]


def find_prefix(root: Path, names: list[str]) -> str:
    """What stands before a file_name below the root."""
    some = names[:: max(1, len(names) // LOOKED_AT)]
    there = (prefix for prefix in PREFIXES if any((root / (prefix + name)).is_file() for name in some))
    if (found := next(there, None)) is None:
        raise missing_error(root / names[0], f"{len(names):,} frames, cut by SiMHand's scripts", WHERE)
    return found


def read_annotations(path: Path) -> tuple[dict[Any, tuple[str, int, int]], dict[Any, list[Hand]]]:
    """By image id: file_name, width and height; and its hands, where there are any. Raises HandtoolError."""
    images: dict[Any, tuple[str, int, int]] = {}
    hands: dict[Any, list[Hand]] = {}
    for kind, place, entry in read_items(path, "images", "annotations"):
        try:
            if kind == "images":
                images[entry["id"]] = read_image_entry(entry)
                continue
            side = SIDES.get(str(entry.get("left_right")).lower(), UNKNOWN)
            known = str(entry["hand_id"]), side, read_box(entry["boxes"]), read_keypoints(entry.get("keypoint_25d"))
            hands.setdefault(entry["image_id"], []).append((place, *known))
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
            told = f"no {error}" if isinstance(error, KeyError) else error
            raise DamagedFile(f"{path}: number {place} of {kind} is not as it should be: {told}", OTHER) from None
    if not hands:
        raise DamagedFile(f"{path} has no annotations", OTHER)
    if unknown := [each for each in hands if each not in images]:
        raise DamagedFile(f"{path}: {len(unknown)} images of annotations are not listed", "downloaded to its end?")
    return images, hands


def read_image_entry(entry: dict) -> tuple[str, int, int]:
    name = PurePosixPath(str(entry["file_name"]).replace("\\", "/"))
    if name.is_absolute() or ".." in name.parts or not name.name:
        raise ValueError(f"file_name {str(name)[:80]!r} is no path below the root")
    return name.as_posix(), int(entry.get("width") or 0), int(entry.get("height") or 0)


def read_box(value: Any) -> np.ndarray:
    """(4,) px by its edges. Raises ValueError."""
    if isinstance(value, str):
        if len(value) > LONGEST_BOX:
            raise ValueError("boxes is a text of more than one box")
        value = json.loads(value)
    if isinstance(value, dict):
        value = [value[name] for name in ("x1", "y1", "x2", "y2")]
    box = np.array(value, np.float64).ravel()
    if box.shape != (4,) or not np.isfinite(box).all() or not (box[:2] < box[2:]).all():
        raise ValueError(f"boxes {str(value)[:80]} is no x0, y0, x1, y1")
    return box


def read_keypoints(value: Any) -> np.ndarray:
    """(21, 2) shares of the crop, NaN: none. Raises ValueError."""
    if not value:
        return NOWHERE
    points = np.array(value, np.float64)
    if points.size != 63:
        raise ValueError(f"keypoint_25d has {points.size} numbers, 63 are expected")
    return points.reshape(21, 3)[:, :2].astype(np.float32)


def make_video(
    root: Path, name: str, split: str, prefix: str, of_it: list, images: dict, hands: dict[Any, list[Hand]]
) -> Video:
    """of_it: ids of its images, a row each. labels: file, number (n,), size (n, 2), id, key, side (n, k), box
    (n, k, 4), keypoints (n, k, 21, 2)."""
    most = max(len(hands[each]) for each in of_it)
    found = [NUMBER.search(PurePosixPath(images[each][0]).stem) for each in of_it]
    numbers = [int(each[1]) if each and len(each[1]) < 18 else -1 for each in found]
    distinct = min(numbers) >= 0 and len(set(numbers)) == len(numbers)
    keys = [[hand[1] for hand in hands[each]] for each in of_it]
    labels = {
        "file": np.array([prefix + images[each][0] for each in of_it]),
        "number": np.array(numbers) if distinct else np.arange(len(of_it)),
        "size": np.array([images[each][1:] for each in of_it]),
        "key": np.array([each + [""] * (most - len(each)) for each in keys]),
        "id": np.full((len(of_it), most), -1),
        "side": np.full((len(of_it), most), UNKNOWN),
        "box": np.full((len(of_it), most, 4), np.nan),
        "keypoints": np.full((len(of_it), most, 21, 2), np.nan, np.float32),
    }
    for row, image in enumerate(of_it):
        for place, (number, _, side, box, keypoints) in enumerate(hands[image]):
            labels["id"][row, place], labels["side"][row, place] = number, side
            labels["box"][row, place], labels["keypoints"][row, place] = box, keypoints
    rows = tuple(labels["id"][:, 0].tolist())
    return Video(name, str(root), "labelled", rows=rows, dataset=NAME, split=split, labels=labels)


def read_labelled_frames(video: Video, tally: Tally) -> Iterator[Frame]:
    """Every image of the rows, with all its hands."""
    labels = video.labels

    def find(row: int) -> Sample:
        name = str(labels["file"][row])
        return Sample(Path(video.path, name), name, int(labels["number"][row]))

    def label(row: int, where: Sample, image: np.ndarray) -> tuple[KnownHand, ...]:
        scale = size_ratio(image, labels["size"][row])
        hands = []
        for place in np.flatnonzero(labels["id"][row] >= 0):
            box, number = labels["box"][row, place] * scale, int(labels["id"][row, place])
            about: dict[str, Any] = {"sample_id": number, "sample_key": str(labels["key"][row, place])}
            landmarks = from_shares(labels["keypoints"][row, place], box)
            hands.append(KnownHand(int(labels["side"][row, place]), landmarks=landmarks, **about, **only_a_box(box)))
        return tuple(hands)

    return read_known(video, tally, find, label)


def from_shares(points: np.ndarray, box: np.ndarray) -> np.ndarray | None:
    """points: (21, 2) shares of the crop at 1.3 times the box (4,) px, by its edges. Returns px of the frame."""
    if not np.isfinite(points).all():
        return None
    region = square(enlarge(box, config.BOX_SCALE))
    return region[:2] + points * (region[2] - region[0]) - 0.5


def size_ratio(image: np.ndarray, stated: np.ndarray) -> np.ndarray:
    """(4,) factors on the edges of a box. stated: (width, height) px, 0: not stated. Raises BadLabel."""
    if (stated < 1).any():
        return np.ones(4)
    wide, high = np.array(image.shape[1::-1]) / stated
    if abs(wide / high - 1) > SAME_ASPECT:
        raise BadLabel("images of another aspect than is stated")
    return np.array([wide, high, wide, high])


def read_positives(path: Path) -> Iterator[tuple[str, list[str], list[float]]]:
    """Of each annotation: hand_id, those of its positives, nearest first, and their distances. Raises HandtoolError."""
    for _, place, entry in read_items(path, "annotations"):
        try:
            positives = [str(each) for each in entry.get("positive_sample") or []]
            distances = [float(each) for each in entry.get("distance") or []]
            if len(distances) != len(positives):
                raise ValueError(f"{len(positives)} positives and {len(distances)} distances")
            yield str(entry["hand_id"]), positives, distances
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            told = f"no {error}" if isinstance(error, KeyError) else error
            raise DamagedFile(f"{path}: annotation {place} is not as it should be: {told}", OTHER) from None
