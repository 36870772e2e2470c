"""FreiHAND (Zimmermann et al. 2019, arXiv 1909.04349): right hands, the whole 224 x 224 image is the hand.

    FreiHAND_pub_v2/
      training/rgb/00000000.jpg …       4 N images: hand h before background k is image h + k N;
                                        k = 0 gs, 1 hom, 2 sample, 3 auto
      training_K.json  training_xyz.json  training_scale.json               N of each: label [image % N]; N is 32560
      evaluation/rgb/00000000.jpg …     M images (3960)
      evaluation_K.json  evaluation_scale.json
      evaluation_xyz.json  evaluation_verts.json    the truth of the evaluation, published later: here, or in
                                                    FreiHAND_pub_v2_eval/

Conversions: none. xyz and verts are metres in the camera's frame (x right, y down, z forward), in our order of joints;
K counts from pixel centres. Every hand is a right hand. `sample_id` is the number of the image, `sample_key` its path
below the root: hands/groups.py knows the set by them, and the pictures of a hand, since its one video a split is no
footage. Where the truth of the evaluation is not there, its joints are marked not valid, and K and scale are kept.
"""

import os
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np

from handtool.errors import DamagedFile, HandtoolError, WrongCommand
from handtool.hands.skeleton import RIGHT
from handtool.sources.frame import Choice, Frame, KnownHand, Tally, Video
from handtool.sources.labelled_frames import Sample, from_joints, read_known, read_numbers
from handtool.sources.sets.dataset_choice import refuse_choice

NAME = "freihand"
BOX_SCALE = None  # the whole image is the hand
BACKGROUNDS = ("gs", "hom", "sample", "auto")
SPLITS = {"train": "training", "training": "training"} | dict.fromkeys(("evaluation", "eval", "test"), "evaluation")
NEEDED = {"training": ("K", "xyz", "scale"), "evaluation": ("K", "scale")}
TRUTH = ("xyz", "verts")
SHAPES = {"K": (3, 3), "xyz": (21, 3), "verts": (778, 3), "scale": ()}
WHERE = (
    "FreiHAND_pub_v2.zip (and FreiHAND_pub_v2_eval.zip) unpacked, its root is the folder that holds training/ or "
    "evaluation/"
)


def is_root(folder: Path, names: list[str], below: list[str]) -> bool:
    return any(split in below and {f"{split}_K.json", f"{split}_scale.json"} & set(names) for split in NEEDED)


def find_videos(root: Path, title: str, choice: Choice) -> list[Video]:
    """One video a split, its rows the numbers of the images. Raises HandtoolError where something is missing,
    WrongCommand for other names."""
    if choice.split is not None and choice.split not in SPLITS:
        raise WrongCommand(
            f"FreiHAND has no split {choice.split!r}", hint=f"--split train or evaluation (also: {', '.join(SPLITS)})"
        )
    if unknown := [each for each in choice.subset if each not in BACKGROUNDS]:
        raise WrongCommand(
            f"FreiHAND has no subset {unknown[0]!r}",
            hint=f"its backgrounds are --subset {','.join(BACKGROUNDS)}, any of them",
        )
    refuse_choice("FreiHAND", "--cameras", choice.cameras, "each image has a camera of its own")
    there = [split for split in NEEDED if (root / split).is_dir()]
    if choice.split is not None:
        there = [SPLITS[choice.split]]
    if not there:
        beside = ", ".join(sorted(os.listdir(root))[:5]) if root.is_dir() else "no such folder"
        raise HandtoolError(
            f"{root} is not FreiHAND: looked for training/ and evaluation/, found {beside or 'nothing'}", hint=WHERE
        )
    if choice.subset and there == ["evaluation"]:
        raise WrongCommand("the evaluation of FreiHAND has one background", hint="--subset is for --split train")
    return [find_split(root, title, split, choice.subset) for split in there]


def find_split(root: Path, title: str, split: str, subset: tuple[str, ...]) -> Video:
    hands = len(read_labels(str(root), split)["K"])
    count = len(BACKGROUNDS) if split == "training" else 1
    chosen = [number for number in range(count) if not subset or BACKGROUNDS[number] in subset]
    rows = tuple(hand + number * hands for number in chosen for hand in range(hands))
    folder = root / split / "rgb"
    if not folder.is_dir():
        raise HandtoolError(f"{folder} does not exist: looked for {len(rows)} images in it", hint=WHERE)
    there = set(os.listdir(folder))
    missing = [row for row in rows if f"{row:08d}.jpg" not in there]
    if missing:
        older = " Version 1 has one background: --subset gs" if split == "training" else ""
        raise HandtoolError(
            f"{folder} lacks {len(missing)} of {len(rows)} images, the first {missing[0]:08d}.jpg: {hands} labels "
            f"before {len(chosen)} backgrounds",
            hint=f"unpacked to its end?{older}",
        )
    return Video(f"{title}/{split}", str(root), "labelled", rows=rows, dataset=NAME, split=split)


def read_labelled_frames(video: Video, tally: Tally) -> Iterator[Frame]:
    """Every image of the rows, one hand each; `number` is the image's own."""
    root, labels = Path(video.path), read_labels(video.path, video.split)

    def find(row: int) -> Sample:
        number = video.rows[row]
        name = f"{video.split}/rgb/{number:08d}.jpg"
        return Sample(root / name, name, number)

    return read_known(video, tally, find, lambda row, place, image: (known_hand(labels, place.number, place.name),))


def known_hand(labels: dict[str, np.ndarray], row: int, name: str) -> KnownHand:
    """labels: as `read_labels` gives them; row: the number of the image."""
    hand = row % len(labels["K"])
    joints = labels["xyz"][hand] if "xyz" in labels else np.full((21, 3), np.nan)
    known = from_joints(joints, labels["K"][hand]) | {"box": None, "scale": float(labels["scale"][hand])}
    known["vertices"] = labels["verts"][hand].astype(np.float32) if "verts" in labels else None
    return KnownHand(side=RIGHT, sample_id=row, sample_key=name, **known)


@lru_cache(maxsize=2)
def read_labels(root: str, split: str) -> dict[str, np.ndarray]:
    """K (n, 3, 3), scale (n,) m and, where known, xyz (n, 21, 3) and verts (n, 778, 3) m. Raises HandtoolError."""
    labels = {}
    for name in NEEDED[split]:
        path = Path(root) / f"{split}_{name}.json"
        if not path.is_file():
            found = ", ".join(sorted(each.name for each in Path(root).glob(f"{split}_*.json"))) or "none"
            raise HandtoolError(
                f"{path} does not exist: looked for {', '.join(f'{split}_{each}.json' for each in NEEDED[split])}, "
                f"found {found}",
                hint=WHERE,
            )
        labels[name] = read_json(path, name)
    if split == "evaluation":
        for name in TRUTH:
            places = [Path(root) / f"evaluation_{name}.json", Path(f"{Path(root)}_eval") / f"evaluation_{name}.json"]
            if there := [place for place in places if place.is_file()]:
                labels[name] = read_json(there[0], name)
    counts = {name: len(values) for name, values in labels.items()}
    if len(set(counts.values())) > 1:
        told = ", ".join(f"{split}_{name}.json {count}" for name, count in counts.items())
        raise HandtoolError(
            f"{root}: the files of labels are not of one version, they have different numbers of hands: {told}",
            hint=WHERE,
        )
    return labels


def read_json(path: Path, name: str) -> np.ndarray:
    """(n, *SHAPES[name]) float64."""
    values = read_numbers(path)
    if not len(np.atleast_1d(values)) or values.shape[1:] != SHAPES[name] or values.ndim == 0:
        raise DamagedFile(f"{path} holds numbers of shape {values.shape}, expected {('n', *SHAPES[name])}", hint=WHERE)
    return values
