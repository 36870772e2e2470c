"""What training and prediction read from a file: crops by row, labels, and which rows at which step.

Shapes: N rows, B crops of a batch, S side of a crop in px.
"""

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
import torch
from torch import Tensor

from handtool import store
from handtool.errors import DamagedFile, HandtoolError
from handtool.hands.canonical import canonical_camera, canonical_joints, canonical_keypoints
from handtool.hands.crop_maps import CropMaps
from handtool.hands.skeleton import REFERENCE_BONE, bone_length
from handtool.nn.views.augmentation import LabelledHands
from handtool.store import CROPS, LABELS, File


class Crops:
    """The crops of files by row number; the rows of a second file follow those of the first. Picklable: each worker
    process opens the files itself on first use. Raises HandtoolError if the files hold crops of different sizes."""

    def __init__(self, *files: File) -> None:
        self.jpegs = [store.open_jpegs(file) for file in files]
        self.first = np.cumsum([0, *map(len, self.jpegs)])
        sizes = [int(store.read_attrs(file, CROPS)["size"]) for file in files]
        if len(set(sizes)) > 1:
            raise HandtoolError(
                f"{files[0].path} has crops of {sizes[0]} px, its pool of {sizes[1]} px",
                hint="extract both with the same --size",
            )
        self.size = sizes[0]

    def __len__(self) -> int:
        return int(self.first[-1])

    def bytes_of(self, row: int) -> bytes:
        file = int(np.searchsorted(self.first, row, side="right")) - 1
        return self.jpegs[file][row - int(self.first[file])]

    def decode(self, rows: np.ndarray, out: Tensor | None = None) -> Tensor:
        """(B, S, S, 3) uint8 RGB, in `out` if given. Raises DamagedFile if one is no JPEG of that size."""
        out = torch.empty((len(rows), self.size, self.size, 3), dtype=torch.uint8) if out is None else out
        out_BSS3 = out.numpy()
        for place, row in enumerate(rows):
            encoded = np.frombuffer(self.bytes_of(int(row)), np.uint8)
            image = cv2.imdecode(encoded, cv2.IMREAD_COLOR) if len(encoded) else None
            if image is None or image.shape[:2] != (self.size, self.size):
                found = "no JPEG" if image is None else f"{image.shape[1]}x{image.shape[0]} px"
                raise DamagedFile(f"crop {row} is {found} where {self.size}x{self.size} px are recorded")
            cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=out_BSS3[place])
        return out


@dataclass(frozen=True)
class Schedule:
    """Which items each step trains on: a fresh permutation every epoch, drawn from (seed, epoch) alone.

    No state is kept between steps, so a run that resumes at any step sees the items that the first run would have seen.
    The last, smaller batch of an epoch is left out; the permutation changes which items that are.
    """

    num_items: int
    batch_size: int  # over all processes
    seed: int

    @property
    def steps_per_epoch(self) -> int:
        return self.num_items // self.batch_size

    def items(self, step: int) -> np.ndarray:
        """Item numbers of this step, (batch_size,), in the order in which they are divided among the processes."""
        epoch, place = divmod(step, self.steps_per_epoch)
        return epoch_order(self.num_items, self.seed, epoch)[place * self.batch_size : (place + 1) * self.batch_size]


@lru_cache(maxsize=2)  # two: batches are drawn ahead of the step that trains on them, across the end of an epoch
def epoch_order(num_items: int, seed: int, epoch: int) -> np.ndarray:
    return np.random.default_rng((seed, epoch)).permutation(num_items)


def step_rng(seed: int, step: int) -> np.random.Generator:
    """The generator of one step; it has no state to save. Every process draws the same numbers for the whole batch and
    keeps its share."""
    return np.random.default_rng((seed, step, 1))


@dataclass(frozen=True)
class StoredHands:
    """What a pose model needs to know about each hand of a file besides its pixels."""

    side: np.ndarray  # (N,) LEFT, RIGHT, UNKNOWN
    camera: np.ndarray  # (N, 3, 3) of the crop as stored, NaN unknown
    bone: np.ndarray  # (N,) m, the true reference bone, NaN unknown
    size: int  # px, side of the stored crops
    box_scale: float


def read_stored_hands(file: File) -> StoredHands:
    """The bone is `labels.scale` as published, else measured on `labels.joints`; NaN where neither is known."""
    file.need(CROPS, hint="handtool extract VIDEOS -o crops.h5")
    side, camera = store.read_column(file, CROPS.side), store.read_column(file, CROPS.camera)
    bone = np.full(len(side), np.nan)
    if file.has(LABELS):
        valid = store.read_column(file, LABELS.valid)[:, list(REFERENCE_BONE)].all(1)
        measured = bone_length(store.read_column(file, LABELS.joints).astype(np.float64))
        published = store.read_column(file, LABELS.scale).astype(np.float64)
        bone = np.where(np.isfinite(published), published, np.where(valid, measured, np.nan))
    attrs = store.read_attrs(file, CROPS)
    return StoredHands(side, camera, bone, int(attrs["size"]), float(attrs["box_scale"]))


def turn_to_crops(file: File, joints: np.ndarray) -> np.ndarray:
    """joints (N, k, 3) of a file, in the axes of the frames' cameras. Returns them in those of the crops' cameras."""
    return CropMaps(**store.read_geometry(file)).joints_to_crop(joints)


def read_labels(file: File) -> tuple[LabelledHands, StoredHands]:
    """Labels of all rows as canonical right hands, in the axes of the crops' cameras, and the hands as stored. Raises
    HandtoolError if there are none."""
    file.need(LABELS, hint="handtool extract LABELLED_FOLDER -o train.h5")
    hands = read_stored_hands(file)
    joints = turn_to_crops(file, store.read_column(file, LABELS.joints).astype(float))
    keypoints = store.read_column(file, LABELS.keypoints).astype(float)
    valid = store.read_column(file, LABELS.valid) & np.isfinite(joints).all(2)
    keypoints_valid = store.read_column(file, LABELS.keypoints_valid) & np.isfinite(keypoints).all(2)
    arrays = (
        canonical_joints(joints, hands.side),
        valid,
        canonical_keypoints(keypoints, hands.side, hands.size),
        keypoints_valid,
        hands.bone,
        canonical_camera(hands.camera, hands.side, hands.size),
    )
    return LabelledHands(*map(torch.from_numpy, arrays)), hands
