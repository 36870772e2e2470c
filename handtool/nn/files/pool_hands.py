"""Unlabelled hands that train beside labelled ones: what the estimator knows of them takes the place of labels.

Shapes: N hands of the pool, B hands of a batch.
"""

import logging
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from handtool import store
from handtool.accounting import Accounting
from handtool.errors import HandtoolError
from handtool.hands.canonical import canonical_keypoints
from handtool.hands.lifting import fit_lifting
from handtool.hands.skeleton import NUM_JOINTS
from handtool.nn.files.data import Crops
from handtool.nn.files.estimated_hands import read_estimated
from handtool.nn.models.objectives.estimated_pose import EstimatedHands, as_labels
from handtool.nn.views.augmentation import LabelledHands
from handtool.store import CROPS, KEYPOINTS, File

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PoolHands:
    path: Path
    xy: Tensor  # (N, K, 2) px of the canonical crop, float32
    estimated: EstimatedHands
    side: np.ndarray  # (N,) as stored
    usable: np.ndarray  # rows
    accounting: Accounting

    @property
    def in_3d(self) -> int:
        return int(torch.isfinite(self.estimated.bone[self.usable]).sum())

    def labels(self, rows: np.ndarray, weight: float, depth_weight: float) -> LabelledHands:
        """The estimator's answer for B rows as labels of the canonical crops; each point weighs by its score, too."""
        return as_labels(self.xy[rows].double(), self.estimated.rows(rows), weight, depth_weight)

    def lifted(self, known: LabelledHands, seed: int) -> "PoolHands":
        """The pool with the joints that its keypoints stand for by what labelled hands show (hands/lifting.py), in
        place of the estimator's own. `known`: hands that know all their joints and their bone; without any, the pool
        has no joints."""
        joints, unit = torch.full((len(self.xy), NUM_JOINTS, 3), torch.nan), torch.ones(len(self.xy))
        if len(known):
            lifting = fit_lifting(known.joints.numpy(), known.bone.numpy(), seed)
            joints = torch.from_numpy(lifting.apply(self.xy.numpy()))
        return replace(self, estimated=EstimatedHands(self.estimated.score, joints, unit))


def read_pool(path: str, box_scale: float) -> PoolHands:
    """`box_scale`: of the labelled crops. Raises HandtoolError if the file has no crops, keypoints or usable hands."""
    with store.open_file(Path(path)) as file:
        file.need(CROPS, hint="handtool extract VIDEOS -o crops.h5")
        file.need(KEYPOINTS, hint="handtool keypoints {path} -o keypoints.h5")
        attrs, side = store.read_attrs(file, CROPS), store.read_column(file, CROPS.side)
        xy = canonical_keypoints(store.read_column(file, KEYPOINTS.xy), side, int(attrs["size"]))
        valid = store.read_column(file, KEYPOINTS.valid) & np.isfinite(xy).all((1, 2))
        estimated = read_estimated([file])
    if abs(float(attrs["box_scale"]) - box_scale) > 0.01:
        log.warning("the pool is cut at box scale %g, the labelled hands at %g", attrs["box_scale"], box_scale)
    accounting = Accounting("pool hands", done=int(valid.sum()))
    accounting.skip("keypoints not valid", int((~valid).sum()))
    if not accounting.done:
        raise HandtoolError(f"{path} has no hand with keypoints to train on", hint=f"handtool show {path}")
    return PoolHands(Path(path), torch.from_numpy(xy), estimated, side, np.flatnonzero(valid), accounting)


def join_crops(source: File, pool: PoolHands | None) -> Crops:
    """The crops of the labelled hands, followed by those of the pool, if there is one."""
    if pool is None:
        return Crops(source)
    with store.open_file(pool.path, trusted=True) as file:
        return Crops(source, file)
