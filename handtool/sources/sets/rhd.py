"""RHD, the Rendered Hand Pose Dataset (Zimmermann and Brox 2017, arXiv 1705.01389): 320 x 320, one hand a picture.

    RHD_published_v2/
      training/    anno_training.pickle    color/00000.png …  mask/00000.png …       41,258 images
      evaluation/  anno_evaluation.pickle  color/  mask/                              2,728 images

The pickle holds {number: {"xyz": (42, 3) m, "uv_vis": (42, 3) u, v px and 1 where it is seen, "K": (3, 3)}}, 21 joints
of the left hand, then 21 of the right. A mask is 2 to 17 where the left hand is in the picture, 18 to 33 the right one.

The hand of a picture is the one that covers more of its mask (of equal ones the right), as the set's authors choose it.
`sample_id` is the number of the image, `sample_key` its path below the root. The pictures of a split are one video.

Conversions: none but the order of the joints (theirs has each finger from its tip); xyz is in the camera's frame (x
right, y down, z forward). What is hidden was rendered all the same, so all joints are valid; `visible` says which are
seen. Box: the extent of the 21 points.
"""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from handtool.errors import DamagedFile
from handtool.hands.skeleton import FROM_RHD_LEFT, FROM_RHD_RIGHT, LEFT, RIGHT
from handtool.sources.frame import Choice, Frame, KnownHand, Tally, Video
from handtool.sources.labelled_frames import BadLabel, Sample, from_joints, read_known
from handtool.sources.pickles import read_pickle
from handtool.sources.sets.dataset_choice import choose_split, missing_error, refuse_choice

NAME, TITLE = "rhd", "RHD"
BOX_SCALE = 1.75  # side of a crop / extent of the keypoints
SPLITS = {"train": "training", "training": "training"} | dict.fromkeys(("evaluation", "eval", "test"), "evaluation")
FOLDERS = ("training", "evaluation")
ORDERS = {LEFT: list(FROM_RHD_LEFT), RIGHT: list(FROM_RHD_RIGHT)}
IN_MASK = {LEFT: (2, 17), RIGHT: (18, 33)}
SHAPES = {"xyz": (42, 3), "uv_vis": (42, 3), "K": (3, 3)}
LARGEST = 256 << 20  # bytes of a pickle; that of training has about a hundred million
WHERE = "its root is RHD_published_v2, the folder that holds training/ and evaluation/"


def is_root(folder: Path, names: list[str], below: list[str]) -> bool:
    return any(split in below and (folder / split / f"anno_{split}.pickle").is_file() for split in FOLDERS)


def find_videos(root: Path, title: str, choice: Choice) -> list[Video]:
    """One video, the split. Raises HandtoolError where something is missing, WrongCommand for other names."""
    there = [split for split in FOLDERS if (root / split).is_dir()]
    if not there and choice.split is None:
        raise missing_error(root / "training", "training/ and evaluation/ of RHD", WHERE)
    split = choose_split(TITLE, choice.split, SPLITS, there, root)
    for option, asked in (("--subset", choice.subset), ("--cameras", choice.cameras)):
        refuse_choice(TITLE, option, asked, "there is nothing to choose by but the split")
    path = root / split / f"anno_{split}.pickle"
    for needed in (path, root / split / "color", root / split / "mask"):
        if not needed.exists():
            raise missing_error(needed, f"anno_{split}.pickle, color/ and mask/", WHERE)
    rows, labels = read_labels(path)
    return [Video(f"{title}/{split}", str(root), "labelled", rows=rows, dataset=NAME, split=split, labels=labels)]


def read_labels(path: Path) -> tuple[tuple[int, ...], dict[str, np.ndarray]]:
    """The numbers of the images in order, and of each xyz, uv_vis and K as published. Raises HandtoolError."""
    content = read_pickle(path, LARGEST)
    if not isinstance(content, dict) or not content:
        raise DamagedFile(f"{path} holds {type(content).__name__}, looked for a dictionary of images", hint=WHERE)
    labels: dict[str, list] = {name: [] for name in SHAPES}
    try:
        rows = sorted(content)
        for row in rows:
            for name, shape in SHAPES.items():
                value = np.asarray(content[row][name], np.float64)
                if not isinstance(row, int) or value.shape != shape:
                    raise ValueError(f"{name} of shape {value.shape}")
                labels[name].append(value)
    except (KeyError, TypeError, ValueError) as error:
        told = f"no {error}" if isinstance(error, KeyError) else error
        raise DamagedFile(
            f"{path}: an image in it is not as it should be: {told}; looked for xyz (42, 3), uv_vis (42, 3), K (3, 3)",
            hint=WHERE,
        ) from None
    return tuple(rows), {name: np.array(values) for name, values in labels.items()}


def read_labelled_frames(video: Video, tally: Tally) -> Iterator[Frame]:
    """Every image of the rows, with one hand."""
    root, labels = Path(video.path), video.labels

    def find(row: int) -> Sample:
        name = f"{video.split}/color/{video.rows[row]:05d}.png"
        return Sample(root / name, name, video.rows[row])

    def label(row: int, where: Sample, image: np.ndarray) -> tuple[KnownHand, ...]:
        side = side_in(root / video.split / "mask" / Path(where.name).name)
        joints, points = labels["xyz"][row][ORDERS[side]], labels["uv_vis"][row][ORDERS[side]]
        known = from_joints(joints, labels["K"][row], points[:, :2]) | {"visible": points[:, 2] == 1}
        return (KnownHand(side=side, sample_id=video.rows[row], sample_key=where.name, **known),)

    return read_known(video, tally, find, label)


def side_in(path: Path) -> int:
    """LEFT or RIGHT, whichever covers more of the mask. Raises BadLabel."""
    try:
        mask = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_GRAYSCALE)
    except OSError as error:
        raise BadLabel(f"masks not readable ({error.strerror})") from None
    except cv2.error:  # of no bytes at all
        mask = None
    if mask is None:
        raise BadLabel("masks that cannot be decoded")
    left, right = (int(((mask >= low) & (mask <= high)).sum()) for low, high in (IN_MASK[LEFT], IN_MASK[RIGHT]))
    return LEFT if left > right else RIGHT
