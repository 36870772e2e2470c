"""HO-3D, versions 2 and 3 (Hampali et al. 2020, arXiv 1907.01481): a right hand with an object, 640 x 480.

    HO3D_v3/
      train.txt  evaluation.txt          a line for each image that counts: ABF10/0000
      train/ABF10/rgb/0000.jpg …         (.png in version 2)
      train/ABF10/meta/0000.pkl …        handJoints3D (21, 3) m, camMat (3, 3) px; in evaluation/ the wrist alone, (3,),
                                         and handBoundingBox (x0, y0, x1, y1) px
      evaluation_xyz.json                the truth, published later: a (21, 3) for each line of evaluation.txt

`sample_id` is the line's place in the list, `sample_key` the line (ABF10/0000). A video is a recording with all its
cameras, since they see the same hand at the same time: the last digit of a name that ends in two (ABF10) is the camera
of a recording (ABF1); its frame f of camera c has the number 10000 c + f. Who the people are is not published.

Conversions: handJoints3D and evaluation_xyz.json are in OpenGL's axes (x right, y up, z backward) and become x right, y
down, z forward; from MANO's 16 joints and 5 tips they come into our order. Boxes: the extent of the projected joints;
in the evaluation handBoundingBox, with its truth and without. The wrist alone is no pose: it makes no joint valid.
evaluation_verts.json, a gigabyte of text, is not read. `--subset` chooses recordings or sequences (ABF1, ABF10),
`--cameras` the cameras (0 to 4) of recordings that have several.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from handtool.errors import DamagedFile, HandtoolError, WrongCommand
from handtool.hands.boxes import box_of_points
from handtool.hands.skeleton import FROM_MANO, RIGHT
from handtool.sources.frame import Choice, Frame, KnownHand, Tally, Video
from handtool.sources.labelled_frames import BadLabel, Sample, from_joints, only_a_box, read_known, read_numbers
from handtool.sources.pickles import HostilePickle, read_pickle
from handtool.sources.sets.dataset_choice import choose_some, missing_error

NAME = "ho3d"
BOX_SCALE = 1.75  # side of a crop / extent of the keypoints
SPLITS = {"train": "train", "training": "train", "evaluation": "evaluation", "eval": "evaluation", "test": "evaluation"}
LISTS = ("train", "evaluation")
LINE = re.compile(r"[^/\\.]+/\d{1,6}")
SEVERAL = re.compile(r"(\D*\d+)(\d)")  # a recording, and which of its cameras
STEP = 10_000  # between the numbers of two cameras' frames
ENDINGS = (".jpg", ".png")
OPENGL = np.array([1.0, -1.0, -1.0])
WHERE = (
    "HO3D_v2 or HO3D_v3 unpacked, its root is the folder that holds train.txt, evaluation.txt, train/ and evaluation/"
)


def is_root(folder: Path, names: list[str], below: list[str]) -> bool:
    return any(f"{split}.txt" in names and split in below for split in LISTS)


def find_videos(root: Path, title: str, choice: Choice) -> list[Video]:
    """One video a recording. Raises HandtoolError where something is missing, WrongCommand for other names."""
    if choice.split is not None and choice.split not in SPLITS:
        raise WrongCommand(
            f"HO-3D has no split {choice.split!r}", hint=f"--split train or evaluation (also: {', '.join(SPLITS)})"
        )
    there = [split for split in LISTS if (root / split).is_dir()] if choice.split is None else [SPLITS[choice.split]]
    if not there:
        raise missing_error(root / "train", "train/ and evaluation/ of HO-3D", WHERE)
    return [video for split in there for video in find_split(root, title, split, choice)]


def find_split(root: Path, title: str, split: str, choice: Choice) -> list[Video]:
    lines = read_list(root, split)
    truth = read_truth(root, len(lines)) if split == "evaluation" else None
    parts = [(sequence, int(frame), *recording_of(sequence)) for sequence, frame in (line.split("/") for line in lines)]
    names = sorted({name for sequence, _, recording, _ in parts for name in (sequence, recording)})
    chosen = choose_some("HO-3D", "--subset", choice.subset, names)
    cameras = choose_some("HO-3D", "--cameras", choice.cameras, sorted({camera for *_, camera in parts if camera}))
    rows: dict[str, list[int]] = {}
    for row, (sequence, _, recording, camera) in enumerate(parts):
        if (sequence in chosen or recording in chosen) and (not choice.cameras or camera in cameras):
            rows.setdefault(recording, []).append(row)
    if not rows:
        raise WrongCommand(f"HO-3D's {split} has no image of {', '.join((*choice.subset, *choice.cameras))}")
    check_labels(root, split, [lines[row] for row in next(iter(rows.values()))])
    known = {"line": np.array(lines)} | ({} if truth is None else {"joints": truth})
    videos = []
    for recording, of_it in rows.items():
        of_set: dict[str, Any] = {"dataset": NAME, "split": split, "rows": tuple(of_it)}
        labels = {name: values[of_it] for name, values in known.items()}
        videos.append(Video(f"{title}/{split}/{recording}", str(root), "labelled", labels=labels, **of_set))
    return videos


def recording_of(sequence: str) -> tuple[str, str]:
    """The recording and its camera, "" where it has only one."""
    several = SEVERAL.fullmatch(sequence)
    return (several[1], several[2]) if several else (sequence, "")


def read_list(root: Path, split: str) -> list[str]:
    path = root / f"{split}.txt"
    for needed in (path, root / split):
        if not needed.exists():
            raise missing_error(needed, f"{split}.txt and {split}/ of HO-3D", WHERE)
    lines = [line.strip() for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    if wrong := [line for line in lines if not LINE.fullmatch(line)]:
        raise DamagedFile(f"{path} has the line {wrong[0][:80]!r}, looked for SEQUENCE/0000", hint=WHERE)
    if not lines:
        raise DamagedFile(f"{path} has no line", hint="downloaded to its end?")
    if not any((root / split / line.split("/")[0]).is_dir() for line in lines):
        raise missing_error(root / split / lines[0], f"the sequences that {split}.txt names", "unpacked to its end?")
    return lines


def check_labels(root: Path, split: str, lines: list[str]) -> None:
    """The first label that is there tells another data set of the same layout (H2O-3D has two hands)."""
    first = next((path for line in lines if (path := meta_of(root, split, line)).is_file()), None)
    if first is None:
        raise missing_error(meta_of(root, split, lines[0]), "the labels of its images", "unpacked to its end?")
    label = read_pickle(first)
    if not isinstance(label, dict) or not {"handJoints3D", "camMat"} <= label.keys():
        found = ", ".join(sorted(map(str, label))) if isinstance(label, dict) else type(label).__name__
        raise DamagedFile(
            f"{first} is no label of HO-3D: looked for handJoints3D and camMat, found {found[:200]}", hint=WHERE
        )


def meta_of(root: Path, split: str, line: str) -> Path:
    sequence, frame = line.split("/")
    return root / split / sequence / "meta" / f"{frame}.pkl"


def read_truth(root: Path, count: int) -> np.ndarray | None:
    """(count, 21, 3) m as published, None where it is not there."""
    path = root / "evaluation_xyz.json"
    if not path.is_file():
        return None
    truth = read_numbers(path)
    if truth.shape != (count, 21, 3):
        raise DamagedFile(
            f"{path} holds numbers of shape {truth.shape}, evaluation.txt has {count} lines of (21, 3)",
            hint="of the other version?",
        )
    return truth


def read_labelled_frames(video: Video, tally: Tally) -> Iterator[Frame]:
    """Every image of the rows, one hand each."""
    root, lines, truth = Path(video.path), video.labels["line"], video.labels.get("joints")

    def find(place: int) -> Sample:
        sequence, frame = str(lines[place]).split("/")
        stem = f"{video.split}/{sequence}/rgb/{frame}"
        name = next((stem + ending for ending in ENDINGS if (root / (stem + ending)).exists()), stem + ENDINGS[0])
        return Sample(root / name, name, STEP * int(recording_of(sequence)[1] or 0) + int(frame))

    def label(place: int, where: Sample, image: np.ndarray) -> tuple[KnownHand, ...]:
        line = str(lines[place])
        label = read_label(meta_of(root, video.split, line))
        if known := known_hand(label, video.split, None if truth is None else truth[place]):
            return (KnownHand(side=RIGHT, sample_id=video.rows[place], sample_key=line, **known),)
        return ()

    return read_known(video, tally, find, label)


def read_label(path: Path) -> dict[str, np.ndarray | None]:
    """handJoints3D, camMat and handBoundingBox, None where missing. Raises BadLabel; HostilePickle for what is not."""
    try:
        label = read_pickle(path)
        return {
            name: None if label.get(name) is None else np.array(label[name], dtype=np.float64)
            for name in ("handJoints3D", "camMat", "handBoundingBox")
        }
    except OSError as error:
        raise BadLabel(f"labels not readable ({error.strerror})") from None
    except HostilePickle:
        raise
    except (HandtoolError, AttributeError, TypeError, ValueError):
        raise BadLabel("labels that are damaged") from None


def known_hand(label: dict[str, np.ndarray | None], split: str, truth: np.ndarray | None) -> dict[str, Any] | None:
    """The fields of a KnownHand, None where there is no label. truth: (21, 3) of the evaluation, as published."""
    joints, camera, corners = label["handJoints3D"], label["camMat"], label["handBoundingBox"]
    if split == "train" and joints is None:
        return None
    joints = joints if split == "train" else truth
    if camera is None or camera.shape != (3, 3) or (joints is not None and joints.shape != (21, 3)):
        raise BadLabel("labels without handJoints3D (21, 3) and camMat (3, 3)")
    box = box_of_points(corners.reshape(2, 2)) if corners is not None and corners.size == 4 else None
    known = only_a_box(box, camera) if joints is None else from_joints((joints * OPENGL)[list(FROM_MANO)], camera)
    if split == "evaluation" and box is not None:
        known["box"] = box
    if known["box"] is None:
        raise BadLabel("labels without a box")
    return known
