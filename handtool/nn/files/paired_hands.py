"""Which hands pre-training pairs, and what it needs to know about each besides its pixels.

Shapes: N hands (of the file, followed by those of the pool in which it was mined), J keypoints.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from handtool import store
from handtool.accounting import Accounting
from handtool.config import METHODS, PretrainConfig
from handtool.errors import HandtoolError, WrongCommand
from handtool.nn.files.estimated_hands import read_estimated
from handtool.nn.files.pairs import TrainingPairs, pair_with_itself, pair_with_mined
from handtool.nn.models.objectives.estimated_pose import EstimatedHands
from handtool.nn.views.views import mirror, move_points
from handtool.store import CROPS, KEYPOINTS, LEFT, PAIRS, UNKNOWN, Column, File


@dataclass(frozen=True)
class PairedHands:
    pairs: TrainingPairs
    xy: Tensor  # (N, J, 2) float64, px of the canonical crop
    flipped: Tensor  # (N,) bool: a left hand, mirrored to look like a right one
    accounting: Accounting
    unknown_side: int  # anchors
    estimated: EstimatedHands | None  # of all N hands, if a supervised branch learns from them

    @property
    def with_joints(self) -> int:
        """Hands that train and whose joints the estimator knows."""
        if self.estimated is None:
            return 0
        known = torch.isfinite(self.estimated.bone)
        return int(known[np.unique(self.pairs.anchors)].sum())


def read_paired(source: File, config: PretrainConfig) -> PairedHands:
    """`config`: with the method's defaults resolved. Raises HandtoolError if crops, keypoints or pairs are missing, or
    no hand is left to train on."""
    pairs, accounting = read_pairs(source, config)
    xy, side = (read_joined(source, column) for column in (KEYPOINTS.xy, CROPS.side))
    flipped, size = torch.from_numpy(side == LEFT), int(store.read_attrs(source, CROPS)["size"])
    canonical = move_points(mirror(flipped, size), torch.from_numpy(xy.astype(np.float64)))
    unknown_side = int((side[pairs.anchors] == UNKNOWN).sum())
    taught = config.keypoint_weight or config.depth_weight
    estimated = read_estimated(files_of(source)) if taught else None
    return PairedHands(pairs, canonical, flipped, accounting, unknown_side, estimated)


def read_pairs(source: File, config: PretrainConfig) -> tuple[TrainingPairs, Accounting]:
    """Only the pairs, whose number decides the length of the training. Raises as `read_paired`."""
    if config.positives not in ("sample", "all") and not (config.positives.isdigit() and int(config.positives) > 0):
        raise WrongCommand(f"--positives {config.positives} is neither a rank (1, 2, ...) nor sample nor all")
    source.need(CROPS, hint="handtool extract VIDEOS -o crops.h5")
    source.need(KEYPOINTS, hint="handtool keypoints {path} -o keypoints.h5")
    mined = METHODS[config.method].mined and config.contrast != "none"
    usable = read_joined(source, KEYPOINTS.valid) & np.isfinite(read_joined(source, KEYPOINTS.xy)).all((1, 2))
    if mined or source.has(PAIRS):
        source.need(PAIRS, hint="handtool mine embeddings.h5 --topk 5 -o pairs.h5")
        offset, positive = store.read_column(source, PAIRS.anchor_offset), store.read_column(source, PAIRS.positive)
        first = len(offset) - 1 if source.pool is not None else 0
        pairs, accounting = pair_with_mined(usable, positive + first, offset, config.positives, mined)
    else:
        pairs, accounting = pair_with_itself(usable)
    if not len(pairs):
        raise HandtoolError(f"{source.path} has no hand to train on: {dict(accounting.skipped)}")
    return pairs, accounting


def read_joined(source: File, column: Column) -> np.ndarray:
    """A column of the file, followed by that of its pool."""
    return np.concatenate([store.read_column(file, column) for file in files_of(source)])


def files_of(source: File) -> list[File]:
    """The file of the anchors and, if it was mined in another file (`mine --in`), that pool, whose rows follow."""
    if source.pool is None:
        return [source]
    for table, hint in (
        (CROPS, None),
        (KEYPOINTS, "mine in a file that has keypoints: handtool keypoints POOL -o keypoints.h5"),
    ):
        if not source.pool.has(table):
            raise HandtoolError(f"the pool of {source.path} has no /{table.group}", hint=hint)
    return [source, source.pool]
