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
from handtool.nn.models.contrastive import PairBatch
from handtool.nn.models.pose_objective import LabelledBatch
from handtool.nn.views.augmentation import (
    AugmentRanges,
    draw_blurs,
    draw_colours,
    draw_mirrored,
    draw_windows,
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
    """Batches of the contrastive objective."""

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
        return PairBatch(self.hands.xy[rows], self.hands.flipped[rows], drawn, self.hands.pairs.with_itself)


@dataclass(frozen=True)
class LabelledDraws:
    """Batches of the pose objective: augmented labelled hands, for an input of `size` px."""

    crops: Crops
    hands: TrainingHands
    schedule: Schedule
    own: slice
    ranges: AugmentRanges
    size: int
    views = 1

    def rows(self, number: int) -> np.ndarray:
        return self.hands.train[self.schedule.items(number)][self.own]

    def batch(self, number: int) -> LabelledBatch:
        count, stored = self.schedule.batch_size, self.hands.hands
        ranges, own, rng = self.ranges, self.own, step_rng(self.schedule.seed, number)
        view = draw_windows(count, stored.size, self.size, ranges, rng).rows(own)
        colour = draw_colours(count, ranges, rng)[own] if ranges.colour else None
        blur = draw_blurs(count, ranges, rng)[own] if ranges.blur else None
        mirrored = draw_mirrored(count, ranges, rng)[own] if ranges.mirror else None
        rows = self.rows(number)
        labels, flipped = self.hands.labels.rows(rows), stored.side[rows] == LEFT
        if mirrored is not None:
            labels, flipped = mirror_hands(labels, mirrored, stored.size), flipped ^ mirrored
        return LabelledBatch(labels, view, torch.from_numpy(flipped), colour, blur)
