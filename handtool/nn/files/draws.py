"""Which hands each forward pass sees and how: functions of (seed, number of the pass) alone, so that no state is kept.

A data source gives the loop the crops to decode for a pass, `rows(number)`, and gives the objective what it needs to
know about them, `batch(number)`. Every process draws the same random numbers for the whole batch and keeps its share,
`own`. Shapes: V views of an item, B items of the share.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch

from handtool.nn.files.data import Crops, Schedule, step_rng
from handtool.nn.files.labelled_hands import TrainingHands
from handtool.nn.files.paired_hands import PairedHands
from handtool.nn.models.pose_objective import LabelledBatch
from handtool.nn.models.pretraining import PairBatch
from handtool.nn.views.augmentation import (
    AugmentRanges,
    LabelledHands,
    draw_blurs,
    draw_colours,
    draw_mirrored,
    draw_windows,
    join_hands,
    mirror_hands,
)
from handtool.nn.views.views import DRAWS
from handtool.store import LEFT


class DataSource(Protocol):
    """The interface between the loop and the data of an objective."""

    @property
    def crops(self) -> Crops: ...

    @property
    def views(self) -> int: ...  # images that the network sees for each item

    def rows(self, number: int) -> np.ndarray:
        """The crops to decode for a pass, in the order in which the objective takes them."""

    def batch(self, number: int) -> Any:
        """What the objective needs to know about them."""


@dataclass(frozen=True)
class PairDraws:
    """Batches of pre-training."""

    crops: Crops
    hands: PairedHands
    schedule: Schedule
    own: slice

    @property
    def views(self) -> int:
        return self.hands.pairs.num_views

    def draw(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows (V, B) and the random numbers of their views (V, B, DRAWS)."""
        rng = step_rng(self.schedule.seed, number)
        rows = self.hands.pairs.rows(self.schedule.items(number), rng)
        return rows[:, self.own], rng.random((*rows.shape, DRAWS))[:, self.own]

    def rows(self, number: int) -> np.ndarray:
        """A hand that is paired with itself has one crop for both views."""
        return self.draw(number)[0][: 1 if self.hands.pairs.with_itself else None].ravel()

    def batch(self, number: int) -> PairBatch:
        rows, drawn = self.draw(number)
        rows = rows.ravel()
        hands, known = self.hands, self.hands.estimated.rows(rows) if self.hands.estimated else None
        return PairBatch(hands.xy[rows], hands.flipped[rows], drawn, hands.pairs.with_itself, known)


@dataclass(frozen=True)
class LabelledDraws:
    """Batches of the pose objective: augmented labelled hands, for an input of `size` px, then hands of the pool.

    The crops of the pool follow those of the labelled file.
    """

    crops: Crops
    hands: TrainingHands
    schedule: Schedule
    own: slice
    ranges: AugmentRanges
    size: int
    pool_schedule: Schedule | None = None
    pool_own: slice | None = None
    pool_weights: tuple[float, float] = (1.0, 1.0)  # of keypoints, of depths
    views = 1

    def rows(self, number: int) -> np.ndarray:
        labelled, pooled = self.draw(number)
        return np.concatenate([labelled, len(self.hands.labels) + pooled])

    def draw(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """This process' rows of the labelled file, and those of the pool."""
        labelled = self.hands.train[self.schedule.items(number)][self.own]
        if self.pool_schedule is None or self.hands.pool is None or self.pool_own is None:
            return labelled, labelled[:0]
        return labelled, self.hands.pool.usable[self.pool_schedule.items(number)][self.pool_own]

    def batch(self, number: int) -> LabelledBatch:
        of_labels, of_pool = self.schedule.batch_size, self.pool_schedule.batch_size if self.pool_schedule else 0
        count, stored, ranges = of_labels + of_pool, self.hands.hands, self.ranges
        rng = step_rng(self.schedule.seed, number)
        own = np.concatenate(
            [np.arange(of_labels)[self.own], of_labels + np.arange(of_pool)[self.pool_own or slice(0)]]
        )
        view = draw_windows(count, stored.size, self.size, ranges, rng).rows(own)
        colour = draw_colours(count, ranges, rng)[own] if ranges.colour else None
        blur = draw_blurs(count, ranges, rng)[own] if ranges.blur else None
        mirrored = draw_mirrored(count, ranges, rng)[own] if ranges.mirror else None
        labels, flipped = self.labels(*self.draw(number))
        if mirrored is not None:
            labels, flipped = mirror_hands(labels, mirrored, stored.size), flipped ^ mirrored
        return LabelledBatch(labels, view, torch.from_numpy(flipped), colour, blur)

    def labels(self, labelled: np.ndarray, pooled: np.ndarray) -> tuple[LabelledHands, np.ndarray]:
        """What is known of the hands of these rows, and (B,) bool, whether they are left ones."""
        labels, left = self.hands.labels.rows(labelled), self.hands.hands.side[labelled] == LEFT
        if self.hands.pool is None:
            return labels, left
        pool = self.hands.pool
        joined = join_hands(labels, pool.labels(pooled, *self.pool_weights))
        return joined, np.concatenate([left, pool.side[pooled] == LEFT])
