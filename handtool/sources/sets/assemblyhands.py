"""AssemblyHands, the egocentric images (Ohkawa et al. 2023, arXiv 2304.12301): both hands of a person who takes toys
apart, four grey cameras on the head, 636 x 480, freed of distortion.

    AssemblyHands/
      annotations/train/assemblyhands_train_ego_data_v1-1.json
          images {id, file_name, seq_name, camera, frame_idx},
          annotations {image_id, bbox {right, left: x0 y0 x1 y1 or null}, joint_valid 42}
                        assemblyhands_train_ego_calib_v1-1.json
          calibration -> sequence -> intrinsics -> camera: 3 x 3 px, extrinsics -> frame -> camera: 3 x 4 mm
                        assemblyhands_train_joint_3d_v1-1.json
          annotations -> sequence -> frame -> world_coord 42 x 3 mm, joint_valid 42
      annotations/val/ …  annotations/test/ …
      images/ego_images_rectified/train/<sequence>/HMC_21110305_mono10bit/000520.jpg …      `file_name`, below images/

A camera is HMC_21110305 in data, HMC_21110305_mono10bit in calib, and either in the names of folders and images: all
are taken for the same, the bare number too, also by `--cameras`. Frames are numbers in data, "000520" elsewhere.

Conversions: X_camera = R X + t, where R | t are of that frame since the cameras move with the head; mm to m; joints to
our order. One row a hand that has a box; a joint is valid where the annotation and joint_3d both say so. A video is a
sequence with all its cameras, since they see the same moments; its rows go camera by camera. The subject is the number
before `_user_id` in the sequence's name. `sample_id` is the place of the annotation in data, counted over the whole
split, `sample_key` the image's path below the root; the two hands of an image share them. `frame`: place in its video.

The truth of test is withheld: images and boxes come out, no joint is valid. Images without calibration or pose fail.

Memory: the files of train (about a gigabyte) are read as streams, sequence by sequence, once, by the first process,
which keeps about 800 bytes an image and, while it reads, the objects of one sequence (0.5 GB of train; all as objects
would take 7); a process that reads images gets the labels of 2048 of them, and the poses of their sequence, at a time.
"""

import logging
import re
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from handtool.errors import HandtoolError
from handtool.hands.skeleton import RIGHT
from handtool.sources.frame import Choice, Frame, KnownHand, Tally, Video
from handtool.sources.large_json import read_items, read_members
from handtool.sources.sets import multi_camera
from handtool.sources.sets.dataset_choice import choose_some, choose_split, missing_error, refuse_choice
from handtool.sources.sets.multi_camera import MM, as_numbers, flat_mask, read_pose, rows_of_images, unexpected

NAME, TITLE = "assemblyhands", "AssemblyHands"
BOX_SCALE = 1.75
SPLITS = {"train": "train", "val": "val", "test": "test"}
FILES = tuple(f"assemblyhands_{{}}_{kind}_v1-1.json" for kind in ("ego_data", "ego_calib", "joint_3d"))
# the first is the official one
PREFIXES = ("images/", "", "images/ego_images_rectified/{}/", "ego_images_rectified/{}/")
LOOKED_AT = 50  # images, to tell which of them holds
SUBJECT = re.compile(r"_(\d+)_user_id_")
WHERE = (
    "the root is the folder that holds annotations/ and images/; this is the reader of the egocentric images, "
    "version 1.1"
)
log = logging.getLogger(__name__)


def is_root(folder: Path, names: list[str], below: list[str]) -> bool:
    return "annotations" in below and bool(list_splits(folder))


def list_splits(root: Path) -> list[str]:
    """Those of which any file of annotations is there, of whatever version."""
    return [split for split in SPLITS if any((root / "annotations" / split).glob("assemblyhands_*.json"))]


def find_videos(root: Path, title: str, choice: Choice) -> list[Video]:
    """A video for each sequence. Raises HandtoolError where something is missing, WrongCommand for unknown names."""
    refuse_choice(TITLE, "--subset", choice.subset, "it has splits and cameras, no subsets")
    there = list_splits(root)
    if not there and choice.split is None:
        path = root / "annotations" / "train" / FILES[0].format("train")
        raise missing_error(path, "the annotations of AssemblyHands", WHERE)
    split = choose_split(TITLE, choice.split, SPLITS, there, root)
    data, calib, joint_3d = (root / "annotations" / split / name.format(split) for name in FILES)
    for path in (data, calib) if split == "test" else (data, calib, joint_3d):
        if not path.is_file():
            raise missing_error(path, ", ".join(name.format(split) for name in FILES), WHERE)
    rows, names = read_rows(data)
    wanted = choose_some(TITLE, "--cameras", tuple(map(bare_camera, choice.cameras)), names["camera"])
    chosen = np.isin(rows["camera"], [names["camera"].index(camera) for camera in wanted])
    order = np.lexsort((rows["frame"], rows["camera"], rows["sequence"]))
    bounds = np.searchsorted(rows["sequence"][order], np.arange(len(names["sequence"]) + 1))
    of_sequence = {name: part for name, part in zip(names["sequence"], np.split(order, bounds[1:-1])) if len(part)}
    views = read_views(calib, of_sequence, rows, names["camera"])
    poses = read_poses(joint_3d, of_sequence, rows) if joint_3d.is_file() else {}
    if not any(np.isfinite(joints).any() for joints, _, _ in poses.values()):
        told = "images and boxes come out, no joint is valid (the public figures are those of val)"
        log.warning(f"%s withholds the truth of %s: {told}", TITLE, split)
    rows["file"] = np.char.add(find_prefix(root, split, rows["file"]).encode(), rows["file"])
    videos = []
    for sequence, of_it in of_sequence.items():
        if (number := np.flatnonzero(chosen[of_it])).size:
            name, known = f"{title}/{split}", (views[sequence], poses.get(sequence))
            videos.append(make_video(root, name, sequence, rows, of_it, number, *known))
    hint = "unpacked to the end? The images go into images/ego_images_rectified/train, val and test"
    multi_camera.find_missing_folders(root, videos, hint)
    return videos


def make_video(
    root: Path,
    title: str,
    sequence: str,
    rows: dict[str, np.ndarray],
    of_it: np.ndarray,
    number: np.ndarray,
    views: tuple,
    poses: tuple | None,
) -> Video:
    """of_it: (n,) the sequence's rows in order; number: the places there of the chosen ones; views, poses: its own."""
    joints, known, pose = poses or (np.zeros((0, 42, 3)), np.zeros((0, 42), bool), np.full(len(of_it), -1))
    # pose -1 is the last: nothing known
    valid = rows["valid"][of_it] & np.concatenate([known, np.zeros((1, 42), bool)])[pose]
    labels = {"valid": valid, "pose": pose, "camera": views[0], "extrinsics": views[1], "id": of_it}
    labels |= {"box": rows["box"][of_it], "file": rows["file"][of_it]}
    labels = {name: values[number] for name, values in labels.items()} | {"number": number}
    labels["hands"] = np.isfinite(labels["box"]).all(axis=2)
    subject = SUBJECT.search(sequence)
    about: dict[str, Any] = {"subject": subject[1] if subject else "", "split": title.rpartition("/")[2]}
    about |= {"rows": tuple(labels["id"].tolist()), "labels": labels, "tables": {"joints": joints}, "dataset": NAME}
    return Video(f"{title}/{sequence}", str(root), "labelled", **about)


def bare_camera(name: str) -> str:
    """`HMC_21110305`, `HMC_21110305_mono10bit` and `21110305` are one camera."""
    return name.removesuffix("_mono10bit").removeprefix("HMC_")


def find_prefix(root: Path, split: str, files: np.ndarray) -> str:
    """What stands before a file_name: the official place, or one where the images were unpacked instead."""
    some = [name.decode() for name in files[:: max(1, len(files) // LOOKED_AT)].tolist()]
    prefixes = [prefix.format(split) for prefix in PREFIXES]
    there = (prefix for prefix in prefixes if any((root / (prefix + name)).is_file() for name in some))
    return next(there, prefixes[0])


def read_rows(path: Path) -> tuple[dict[str, np.ndarray], dict[str, list[str]]]:
    """What data says of each annotation, by column, in its order; box (n, 2, 4) px of the right and the left hand, NaN:
    none. names: the texts behind the numbers in `camera` and `sequence`."""
    images = {name: array("q") for name in ("id", "camera", "sequence", "frame")}
    image, boxes, valid = array("q"), array("d"), bytearray()
    files: list[bytes] = []
    numbers: dict[str, dict[str, int]] = {"camera": {}, "sequence": {}}
    for name, place, item in read_items(path, "images", "annotations"):
        try:
            if name == "images":
                images["id"].append(int(item["id"]))
                images["frame"].append(int(item["frame_idx"]))
                for column, value in (("camera", bare_camera(item["camera"])), ("sequence", str(item["seq_name"]))):
                    images[column].append(numbers[column].setdefault(value, len(numbers[column])))
                files.append(item["file_name"].encode())
            else:
                image.append(int(item["image_id"]))
                for side in ("right", "left"):
                    x0, y0, x1, y1 = map(float, item["bbox"][side] or [np.nan] * 4)
                    boxes.extend((x0, y0, x1, y1))
                marks = item.get("joint_valid", [0] * 42)
                valid += flat_mask(marks, path, f"annotation {place}")
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise unexpected(path, f"entry {place} of {name}", error) from None
    rows = rows_of_images(images, files, np.frombuffer(image, np.int64), path)
    rows |= {"box": np.frombuffer(boxes).reshape(-1, 2, 4), "valid": np.frombuffer(valid, bool).reshape(-1, 42)}
    return rows, {name: list(known) for name, known in numbers.items()}


def read_views(
    path: Path, of_sequence: dict[str, np.ndarray], rows: dict[str, np.ndarray], cameras: list[str]
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Sequence -> K (n, 3, 3) px and R | t (n, 3, 4) m of each of its rows, NaN where the file has none."""
    views = {}
    for sequence, content in read_members(path, "calibration"):
        of_it = of_sequence.get(sequence, np.zeros(0, np.int64))
        camera, extrinsics = np.full((len(of_it), 3, 3), np.nan), np.full((len(of_it), 3, 4), np.nan)
        try:
            inner = {
                bare_camera(name): as_numbers(matrix, (3, 3), path, f"K of {name}, {sequence}")
                for name, matrix in content["intrinsics"].items()
            }
            frames = content["extrinsics"]
            for place, row in enumerate(of_it):
                name = cameras[rows["camera"][row]]
                seen = frames.get(f"{rows['frame'][row]:06d}", {})
                outer = next((seen[key] for key in (f"HMC_{name}_mono10bit", f"HMC_{name}", name) if key in seen), None)
                if name in inner and outer is not None:
                    what = f"R | t of {name}, frame {rows['frame'][row]}"
                    camera[place], extrinsics[place] = inner[name], as_numbers(outer, (3, 4), path, what)
        except (KeyError, TypeError, AttributeError) as error:
            raise unexpected(path, sequence, error) from None
        extrinsics[:, :, 3] *= MM
        views[sequence] = camera, extrinsics
    return check_sequences(path, views, of_sequence)


def read_poses(
    path: Path, of_sequence: dict[str, np.ndarray], rows: dict[str, np.ndarray]
) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Sequence -> joints (p, 42, 3) m in the world, which are known (p, 42), and the pose (n,) of each row, -1: none.

    Where the truth is withheld every coordinate is the same number: NaN, and not known.
    """
    poses = {}
    for sequence, content in read_members(path, "annotations"):
        frames, pose = np.unique(rows["frame"][of_sequence.get(sequence, np.zeros(0, np.int64))], return_inverse=True)
        joints, known = np.full((len(frames), 42, 3), np.nan), np.zeros((len(frames), 42), bool)
        there = np.zeros(len(frames), bool)
        if not isinstance(content, dict):
            raise unexpected(path, sequence, TypeError("no object"))
        for place, frame in enumerate(frames.tolist()):
            if (entry := content.get(f"{frame:06d}")) is not None:
                (world, marks), there[place] = read_pose(entry, path, f"frame {frame} of {sequence}"), True
                if np.ptp(world) > 0:
                    joints[place], known[place] = world, np.frombuffer(marks, bool)
        poses[sequence] = joints, known, np.where(there[pose], pose, -1)
    return check_sequences(path, poses, of_sequence)


def check_sequences(path: Path, found: dict, of_sequence: dict[str, np.ndarray]) -> dict:
    lacking = [sequence for sequence in of_sequence if sequence not in found]
    if lacking:
        raise HandtoolError(
            f"{path} lacks {len(lacking)} of {len(of_sequence)} sequences that data names, the first {lacking[0]}",
            hint="files of one version and split?",
        )
    return found


def read_labelled_frames(video: Video, tally: Tally) -> Iterator[Frame]:
    """Every image of the rows, with the hands that have a box."""

    def find_box(row: int, hand: KnownHand) -> np.ndarray:
        return video.labels["box"][row, 0 if hand.side == RIGHT else 1]

    return multi_camera.read_multi_camera(video, tally, find_box)
