"""`handtool.HandDataset`: a torch Dataset of the hands of a file."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from handtool import store
from handtool.errors import HandtoolError
from handtool.nn.files.data import Crops, turn_to_crops
from handtool.store import CROPS, KEYPOINTS, LABELS, File


class HandDataset(Dataset):
    """Item i is row i of the file. `transform` gets the crop, (S, S, 3) uint8 RGB, and returns the item's image.

    The labels, half a kilobyte per hand, and the places of the images are in memory; images are read and decoded on
    access. It can be pickled: the other process opens the file itself on first use. Errors: HandtoolError (no such
    file, no crops), DamagedFile.
    """

    def __init__(self, path: str | Path, transform: Callable[[np.ndarray], Any] | None = None) -> None:
        self.path, self.transform, self.uuid = Path(path).absolute(), transform, ""
        self.opened: tuple[Crops, dict[str, np.ndarray]] | None = None
        self.length = len(self.open()[0])

    def __len__(self) -> int:
        return self.length

    def __getstate__(self) -> dict:
        return self.__dict__ | {"opened": None}

    def open(self) -> tuple[Crops, dict[str, np.ndarray]]:
        """The crops, and the labels by name. Errors: HandtoolError if the file was replaced meanwhile."""
        if self.opened is None:
            with store.open_file(self.path) as file:
                if self.uuid not in ("", file.uuid):
                    raise HandtoolError(f"{self.path} was made anew meanwhile", hint="make a new HandDataset")
                self.uuid, self.opened = file.uuid, (Crops(file), read_labels(file))
        return self.opened

    def __getitem__(self, row: int) -> dict[str, Any]:
        """image, keypoints (21, 2) px of the crop and keypoints_valid (21,), joints (21, 3) m in the axes of
        `camera` and valid (21,), camera (3, 3) px of the crop, scale: m, bone 9-10; side: 0 LEFT, 1 RIGHT, 2 UNKNOWN;
        row. Unknown values are NaN and not valid."""
        row = range(len(self))[row]
        crops, labels = self.open()
        image = crops.decode(np.array([row])).numpy()[0]
        item = {"image": image if self.transform is None else self.transform(image)}
        return item | {name: values[row].copy() for name, values in labels.items()} | {"row": row}


def read_labels(file: File) -> dict[str, np.ndarray]:
    """The labels of all N rows, by the names of an item. Keypoints are those of /labels if any of the hand is known
    there, else of /keypoints."""
    side = store.read_column(file, CROPS.side)
    joints, keypoints = unknown(len(side), 21, 3), unknown(len(side), 21, 2)
    scale = unknown(len(side))
    if file.has(KEYPOINTS):
        found = store.read_column(file, KEYPOINTS.valid)
        keypoints[found] = store.read_column(file, KEYPOINTS.xy)[found]
    if file.has(LABELS):
        joints = turn_to_crops(file, known_points(file, LABELS.joints, LABELS.valid))
        truth = known_points(file, LABELS.keypoints, LABELS.keypoints_valid)
        scale, labelled = store.read_column(file, LABELS.scale), np.isfinite(truth).any((1, 2))
        keypoints[labelled] = truth[labelled]
    labels = {"keypoints": keypoints, "keypoints_valid": np.isfinite(keypoints).all(2)}
    labels |= {"joints": joints, "valid": np.isfinite(joints).all(2)}
    labels["camera"] = store.read_column(file, CROPS.camera).astype(np.float32)
    return labels | {"scale": scale, "side": side.astype(np.int64)}


def unknown(*shape: int) -> np.ndarray:
    return np.full(shape, np.nan, np.float32)


def known_points(file: File, points: store.Column, valid: store.Column) -> np.ndarray:
    """(N, 21, 2 or 3), NaN where not valid."""
    return np.where(store.read_column(file, valid)[..., None], store.read_column(file, points), np.float32(np.nan))
