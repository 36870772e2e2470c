"""Which hands train together: every anchor with the rows of its positives.

Shapes: N hands of the file, M training items, K positives of an item, B items of a batch.
"""

from dataclasses import dataclass

import numpy as np

from handtool.accounting import Accounting


@dataclass(frozen=True)
class TrainingPairs:
    """`anchors` (M,) rows; `positives` (M, K) rows by rank, -1: none; K = 0: a crop is its own partner."""

    anchors: np.ndarray
    positives: np.ndarray
    draw: bool  # draw one positive each time; else use all

    def __len__(self) -> int:
        return len(self.anchors)

    @property
    def with_itself(self) -> bool:
        return self.positives.shape[1] == 0

    @property
    def num_views(self) -> int:
        return 2 if self.with_itself or self.draw else 1 + self.positives.shape[1]

    def rows(self, items: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """(V, B), V at least 2: anchors, then their partners."""
        anchors, positives = self.anchors[items, None], self.positives[items]
        if self.with_itself:
            positives = anchors
        if self.draw:
            place = (rng.random(len(items)) * (positives >= 0).sum(1)).astype(np.int64)
            positives = np.take_along_axis(positives, place[:, None], 1)
        return np.concatenate((anchors, positives), 1).T


def pair_with_itself(usable: np.ndarray) -> tuple[TrainingPairs, Accounting]:
    """SimCLR and PeCLR without mined pairs: every usable hand (N,) bool."""
    accounting = Accounting("hands")
    accounting.skip("keypoints not valid", int((~usable).sum()))
    accounting.done = int(usable.sum())
    anchors = np.flatnonzero(usable)
    return TrainingPairs(anchors, np.empty((len(anchors), 0), np.int64), draw=False), accounting


def pair_with_mined(
    usable: np.ndarray, positive: np.ndarray, anchor_offset: np.ndarray, positives: str, mined: bool
) -> tuple[TrainingPairs, Accounting]:
    """Anchors of a mined file with the K-th positive ("1", "2", …), one drawn each time ("sample"), or "all".

    positive (P,) rows sorted by anchor, then rank; anchor_offset (N + 1,). usable (N or more,): rows from N on are
    positives only. Positives that are not usable are left out; later ones keep their rank. For "all" an anchor must
    have every rank. With `mined` False only the anchors are used.
    """
    topk, num_anchors = int(np.diff(anchor_offset).max(initial=0)), len(anchor_offset) - 1
    table_NK = np.full((num_anchors, topk), -1, np.int64)
    anchor = np.repeat(np.arange(num_anchors), np.diff(anchor_offset))
    kept = usable[positive]
    table_NK[anchor[kept], (np.arange(len(positive)) - anchor_offset[anchor])[kept]] = positive[kept]
    if positives.isdigit():
        rank = int(positives)
        table_NK = table_NK[:, rank - 1 : rank] if rank <= topk else np.full((num_anchors, 1), -1)
    usable = usable[:num_anchors]
    present_N = (table_NK >= 0).all(1) if positives == "all" and topk else (table_NK >= 0).any(1)
    accounting = Accounting("hands")
    accounting.skip("keypoints not valid", int((~usable).sum()))
    wanted = f"of rank {positives}" if positives.isdigit() else "of every rank" if positives == "all" else "at all"
    accounting.skip(f"no valid positive {wanted}", int((usable & ~present_N).sum()))
    anchors = np.flatnonzero(usable & present_N)
    accounting.done = len(anchors)
    if positives == "sample":  # existing ones first, so that the drawn place always holds one
        table_NK = np.take_along_axis(table_NK, np.argsort(table_NK < 0, axis=1, kind="stable"), 1)
    chosen_MK = table_NK[anchors] if mined else np.empty((len(anchors), 0), np.int64)
    return TrainingPairs(anchors, chosen_MK, draw=mined and positives == "sample"), accounting
