"""Which labelled hands are trained on, which are held out, and which --label-fraction leaves out."""

import logging
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from handtool import store
from handtool.accounting import Accounting
from handtool.config import FinetuneConfig
from handtool.errors import HandtoolError
from handtool.hands.groups import Origin, find_groups, find_units, number_from_0
from handtool.hands.shares import draw_parts
from handtool.nn.files.data import StoredHands, read_labels
from handtool.nn.files.pool_hands import PoolHands, read_pool
from handtool.nn.views.augmentation import LabelledHands

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingHands:
    labels: LabelledHands  # of the canonical crops, all N rows
    hands: StoredHands  # as stored
    train: np.ndarray  # rows
    held: np.ndarray  # rows, for validation
    accounting: Accounting
    pool: PoolHands | None = None  # unlabelled hands that train beside them

    @property
    def lifters(self) -> np.ndarray:
        """The rows to train on that know all their joints and their bone, by which the pool's keypoints are lifted."""
        whole = self.labels.valid.all(1) & self.labels.bone.isfinite()
        return self.train[whole.numpy()[self.train]]

    def with_lifted_pool(self, config: FinetuneConfig) -> "TrainingHands":
        """With the depth of the pool as config.pool_depth asks."""
        if self.pool is None or config.pool_depth != "lifted" or not config.pool_depth_weight:
            return self
        if not len(self.lifters):
            log.warning("no labelled hand knows all its joints: the pool teaches keypoints alone")
        return replace(self, pool=self.pool.lifted(self.labels.rows(self.lifters), config.seed))


def read_labelled(source: Any, config: FinetuneConfig) -> TrainingHands:
    """Labels of all rows as canonical right hands, rows to train on and rows held out, and the pool that config.pool
    names. `source`: an open file."""
    labels, hands = read_labels(source)
    usable = np.flatnonzero((labels.valid | labels.keypoints_valid).any(1).numpy())
    accounting = Accounting("hands")
    accounting.skip("no label", len(labels) - len(usable))
    if len(usable) < 2:
        told = f"{source.path} has {len(usable)} labelled hands: training needs 2 at least"
        raise HandtoolError(told, hint="handtool extract LABELLED_FOLDER -o train.h5")
    groups = find_groups([Origin(**store.read_origin(source))])
    held = np.zeros(len(usable), bool)
    if config.val_share:
        units = find_units(groups, config.val_by, source.path, "--val-by")
        held = hold_out(units[usable], config.val_share, config.seed, config.val_by)
    rest = usable[~held]
    kept = rest[take_fraction(groups.hand[rest], config.label_fraction, config.label_choice, config.seed)]
    accounting.skip(f"not in the label fraction {config.label_fraction:g}", len(rest) - len(kept))
    accounting.done = len(kept) + int(held.sum())
    if len(kept) < 2:
        told = f"{len(kept)} of {len(usable)} labelled hands are left to train on: 2 at least"
        raise HandtoolError(told, hint="a larger --label-fraction")
    pool = read_pool(config.pool, hands.box_scale) if config.pool else None
    found = TrainingHands(labels, hands, kept, usable[held], accounting, pool)
    check_depth(found, config, source.path)
    return found


def check_depth(hands: TrainingHands, config: FinetuneConfig, path: object) -> None:
    """Labels without any joint in space (of images without a camera) teach heat maps alone. Raises HandtoolError where
    the head, or the score of the hands held out, needs joints."""
    if len(hands.held) and not hands.labels.valid[hands.held].any():
        told = "by joints in space, and the labels of those know none"
        raise HandtoolError(f"--val-share: held-out hands of {path} are scored {told}", hint="--val-share 0")
    if hands.labels.valid[hands.train].any() or (hands.pool is not None and hands.pool.in_3d):
        return
    if config.head == "regression":
        told = "know no joint in space, and the regression head needs their depths"
        raise HandtoolError(f"the labels of {path} {told}", hint="--head heatmap, which learns their keypoints")
    log.warning(
        "the labels of %s know no joint in space: the model learns keypoints, not joints, and has no bone length", path
    )


def hold_out(units: np.ndarray, share: float, seed: int, by: str) -> np.ndarray:
    """units (n,): hands of one unit stay together. Returns (n,) bool, True for about `share` of the hands.

    At least one unit is held out, never all. Raises HandtoolError if there is only one unit.
    """
    number = number_from_0(units)
    hands = np.bincount(number)
    if len(hands) < 2:
        what = {"video": "one video", "subject": "one subject", "row": "one and the same hand"}[by]
        hint = "--val-by video" if by == "subject" else "leave out --val-share, or label hands of another video too"
        raise HandtoolError(f"--val-share {share:g}: all labelled hands are of {what}", hint=hint)
    return draw_parts(hands, (1 - share, share), np.random.default_rng((seed, 3)))[number] == 1


def take_fraction(hand: np.ndarray, fraction: float, choice: str, seed: int) -> np.ndarray:
    """hand (n,): rows that show the same hand (FreiHAND's four backgrounds) have the same number. Returns (n,) bool.

    "head": the first rows of the list, as published. "random": hands drawn with all their rows.
    """
    keep = np.zeros(len(hand), bool)
    if choice == "head":
        keep[: max(1, round(fraction * len(hand)))] = True
        return keep
    names, member = np.unique(hand, return_inverse=True)
    chosen = np.random.default_rng((seed, 4)).permutation(len(names))[: max(1, round(fraction * len(names)))]
    return np.isin(member, chosen)
