"""DexYCB (Chao et al. 2021, arXiv 2104.04631): one hand takes or hands over an object, eight cameras, 640 x 480.

    DexYCB/
      20200709-subject-01/ … 20201022-subject-10/
        20200709_141754/ …                            100 sequences each, numbered in sorted order
          meta.yml                                    serials, num_frames, mano_sides: [right] or [left]
          836212060125/ …                             8 cameras
            color_000000.jpg  labels_000000.npz       joint_3d (1, 21, 3) m, joint_2d (1, 21, 2) px; all -1: no hand
      calibration/intrinsics/836212060125_640x480.yml color: fx, fy, ppx, ppy

Splits are named setup_part: s0 all seen, s1 unseen subjects, s2 unseen cameras, s3 unseen objects, each with train, val
and test; `all` is every image. A split's samples are counted over subjects, sequences, cameras, frames, the frame
running fastest; `sample_id` is that number in the whole split, images without a hand included, as the official
evaluation counts them; `sample_key` is the image's path below the root. A video is a sequence with all its cameras,
since they see the same hand at the same time; its frame f of camera c (0 to 7, whatever the split) has the number c
num_frames + f. Boxes: the extent of the keypoints.

Conversions: none. joint_3d is in the camera's frame (x right, y down, z forward), in our order of joints; left hands
are not mirrored. `--cameras` chooses by serial, `--subset` by subject (subject-01) and side (left, right).
"""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from handtool.errors import DamagedFile, HandtoolError, WrongCommand
from handtool.hands.skeleton import LEFT, RIGHT
from handtool.sources.frame import Choice, Frame, KnownHand, Tally, Video
from handtool.sources.labelled_frames import BadLabel, Sample, from_joints, read_known
from handtool.sources.npz import read_npz
from handtool.sources.sets.dataset_choice import choose_some, choose_split
from handtool.sources.yml import read_yml

NAME = "dexycb"
BOX_SCALE = 1.75  # side of a crop / extent of the keypoints
SUBJECTS = tuple(
    "20200709-subject-01 20200813-subject-02 20200820-subject-03 20200903-subject-04 20200908-subject-05 "
    "20200918-subject-06 20200928-subject-07 20201002-subject-08 20201015-subject-09 20201022-subject-10".split()
)
SERIALS = tuple(
    "836212060125 839512060362 840412060917 841412060263 932122060857 932122060861 932122061900 932122062010".split()
)
SEQUENCES = 100  # of each subject, 5 of each of 20 objects
SIDES = {"left": LEFT, "right": RIGHT}
ALL_SUBJECTS, ALL_CAMERAS, ALL_SEQUENCES = range(len(SUBJECTS)), range(len(SERIALS)), range(SEQUENCES)
SPLITS = {  # subjects, cameras, sequences
    "s0_train": (ALL_SUBJECTS, ALL_CAMERAS, [i for i in ALL_SEQUENCES if i % 5 != 4]),
    "s0_val": ((0, 1), ALL_CAMERAS, range(4, SEQUENCES, 5)),
    "s0_test": (range(2, 10), ALL_CAMERAS, range(4, SEQUENCES, 5)),
    "s1_train": ((0, 1, 2, 3, 4, 5, 9), ALL_CAMERAS, ALL_SEQUENCES),
    "s1_val": ((6,), ALL_CAMERAS, ALL_SEQUENCES),
    "s1_test": ((7, 8), ALL_CAMERAS, ALL_SEQUENCES),
    "s2_train": (ALL_SUBJECTS, range(6), ALL_SEQUENCES),
    "s2_val": (ALL_SUBJECTS, (6,), ALL_SEQUENCES),
    "s2_test": (ALL_SUBJECTS, (7,), ALL_SEQUENCES),
    "s3_train": (ALL_SUBJECTS, ALL_CAMERAS, [i for i in ALL_SEQUENCES if i // 5 not in (3, 7, 11, 15, 19)]),
    "s3_val": (ALL_SUBJECTS, ALL_CAMERAS, [i for i in ALL_SEQUENCES if i // 5 in (3, 19)]),
    "s3_test": (ALL_SUBJECTS, ALL_CAMERAS, [i for i in ALL_SEQUENCES if i // 5 in (7, 11, 15)]),
    "all": (ALL_SUBJECTS, ALL_CAMERAS, ALL_SEQUENCES),
}
THERE = "what is there"  # no split, whatever subjects: footage that is looked for again, not to be extracted
WHERE = "its root is the folder that holds 20200709-subject-01/ … 20201022-subject-10/ and calibration/"


@dataclass(frozen=True)
class Sequence:
    """start: the split's number of its first sample."""

    subject: str
    name: str
    side: str
    num_frames: int
    start: int = 0


def is_root(folder: Path, names: list[str], below: list[str]) -> bool:
    return "calibration" in below and any(subject in below for subject in SUBJECTS)


def find_videos(root: Path, title: str, choice: Choice) -> list[Video]:
    """One video a sequence. Raises HandtoolError where something is missing, WrongCommand for other names."""
    split = choose_split("DexYCB", choice.split, {part: part for part in SPLITS}, [THERE], root)
    short = {subject[9:]: subject for subject in SUBJECTS}
    asked = tuple(short.get(each, each) for each in choice.subset)
    subset = choose_some("DexYCB", "--subset", asked, (*SUBJECTS, *SIDES))
    subjects, sides = set(subset) & set(SUBJECTS), set(subset) & set(SIDES)
    asked, cameras = choose_some("DexYCB", "--cameras", choice.cameras, SERIALS), SPLITS.get(split, SPLITS["all"])[1]
    chosen = [place for place, camera in enumerate(cameras) if SERIALS[camera] in asked]
    index, matrices = read_index(str(root), split), read_cameras(str(root))
    videos = [
        take_video(root, title, split, sequence, cameras, chosen, matrices)
        for sequence in index
        if chosen and sequence.subject in (subjects or SUBJECTS) and sequence.side in (sides or SIDES)
    ]
    if not videos:
        raise WrongCommand(f"DexYCB's {split} has no image of {', '.join((*choice.subset, *choice.cameras))}")
    return videos


def take_video(
    root: Path,
    title: str,
    split: str,
    sequence: Sequence,
    cameras: Iterable[int],
    chosen: list[int],
    matrices: np.ndarray,
) -> Video:
    """cameras: of the split, 0 to 7; chosen: the places of those whose images are wanted; matrices: (8, 3, 3) px."""
    place, frame = (each.ravel() for each in np.meshgrid(chosen, np.arange(sequence.num_frames), indexing="ij"))
    rows = tuple((sequence.start + place * sequence.num_frames + frame).tolist())
    labels = {"camera": np.array(list(cameras))[place], "frame": frame}
    about = {"sequence": sequence.name, "side": SIDES[sequence.side], "num_frames": sequence.num_frames}
    tables = {name: np.array(value) for name, value in about.items()} | {"matrix": matrices}
    name = f"{title}/{sequence.subject}/{sequence.name}"
    of_set: dict[str, Any] = {"subject": sequence.subject, "dataset": NAME, "split": split}
    return Video(name, str(root), "labelled", rows=rows, labels=labels, tables=tables, **of_set)


@lru_cache(maxsize=2)
def read_index(root: str, split: str) -> tuple[Sequence, ...]:
    """The sequences of a split in its order. Raises HandtoolError where one that it counts is missing."""
    there = os.listdir(root)
    subjects, cameras, chosen = SPLITS.get(split, SPLITS["all"])
    if split == THERE:
        subjects = [each for each in subjects if SUBJECTS[each] in there] or subjects
    if missing := [SUBJECTS[each] for each in subjects if SUBJECTS[each] not in there]:
        found = ", ".join(sorted(there)[:5]) or "nothing"
        raise HandtoolError(
            f"{root} lacks {len(missing)} of the {len(subjects)} subjects of DexYCB ({split}), the first "
            f"{missing[0]}; found {found}",
            hint=WHERE,
        )
    index, start = [], 0
    for subject in (SUBJECTS[each] for each in subjects):
        names = sorted(each.name for each in os.scandir(Path(root, subject)) if each.is_dir())
        if len(names) != SEQUENCES:
            raise HandtoolError(
                f"{root}/{subject} has {len(names)} sequences, looked for {SEQUENCES}: their places in the list make "
                "the splits",
                hint="unpacked to its end?",
            )
        for name in (names[each] for each in chosen):
            index.append(replace(read_meta(Path(root, subject, name)), start=start))
            start += len(cameras) * index[-1].num_frames
    return tuple(index)


def read_meta(folder: Path) -> Sequence:
    meta = read_yml(folder / "meta.yml")
    serials, count, sides = (meta.get(key) for key in ("serials", "num_frames", "mano_sides"))
    if not isinstance(count, int) or count < 1 or not isinstance(sides, list) or not sides or sides[0] not in SIDES:
        raise DamagedFile(
            f"{folder}/meta.yml has num_frames {count!r} and mano_sides {sides!r}, looked for a number and [left] or "
            "[right]"
        )
    if not isinstance(serials, list) or sorted(map(str, serials)) != list(SERIALS):
        raise DamagedFile(
            f"{folder}/meta.yml has the cameras {serials!r}, looked for {', '.join(SERIALS)}",
            hint="another version of DexYCB?",
        )
    return Sequence(folder.parent.name, folder.name, sides[0], count)


@lru_cache(maxsize=2)
def read_cameras(root: str) -> np.ndarray:
    """(8, 3, 3) px."""
    matrices = []
    for serial in SERIALS:
        path = Path(root, "calibration", "intrinsics", f"{serial}_640x480.yml")
        color: Any = read_yml(path).get("color")
        try:
            fx, fy, x, y = (float(color[key]) for key in ("fx", "fy", "ppx", "ppy"))
        except (TypeError, KeyError, ValueError):
            raise DamagedFile(f"{path} has {color!r} as color, looked for fx, fy, ppx and ppy in px") from None
        matrices.append([[fx, 0, x], [0, fy, y], [0, 0, 1]])
    return np.array(matrices)


def read_labelled_frames(video: Video, tally: Tally) -> Iterator[Frame]:
    """Every image of the rows of one sequence, a hand on it or none."""
    about, folder = video.tables, f"{video.subject}/{video.tables['sequence']}"
    side, num_frames = int(about["side"]), int(about["num_frames"])

    def find(place: int) -> Sample:
        camera, frame = int(video.labels["camera"][place]), int(video.labels["frame"][place])
        name = f"{folder}/{SERIALS[camera]}/color_{frame:06d}.jpg"
        return Sample(Path(video.path, name), name, camera * num_frames + frame)

    def label(place: int, where: Sample, image: np.ndarray) -> tuple[KnownHand, ...]:
        image_path = Path(video.path, where.name)
        path = image_path.with_name(image_path.name.replace("color_", "labels_")).with_suffix(".npz")
        joints, keypoints = read_label(path)
        if (joints == -1).all():
            return ()
        known = from_joints(joints, about["matrix"][video.labels["camera"][place]], keypoints)
        return (KnownHand(side=side, sample_id=video.rows[place], sample_key=where.name, **known),)

    return read_known(video, tally, find, label)


def read_label(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """joints (21, 3) m, keypoints (21, 2) px; all -1 where there is no hand. Raises BadLabel."""
    try:
        label = read_npz(path)
        joints, keypoints = (label[name].astype(np.float64) for name in ("joint_3d", "joint_2d"))
        return joints.reshape(21, 3), keypoints.reshape(21, 2)
    except KeyError:
        raise BadLabel("labels without joint_3d and joint_2d") from None
    except (ValueError, DamagedFile):
        raise BadLabel("labels that are damaged") from None
    except HandtoolError as error:
        raise BadLabel(f"labels not readable ({error.message.rpartition(': ')[2]})") from None
