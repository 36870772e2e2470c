"""Which labelled hands train, which are held out, and which a smaller label budget leaves out."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from handtool.accounting import Accounting
from handtool.config import FinetuneConfig
from handtool.errors import HandtoolError
from handtool.nn.files.data import StoredHands, read_groups, read_labels
from handtool.nn.views.augmentation import LabelledHands


@dataclass(frozen=True)
class TrainingHands:
    labels: LabelledHands  # of the canonical crops, all N rows
    hands: StoredHands  # as stored
    train: np.ndarray  # rows
    held: np.ndarray  # rows, for validation
    accounting: Accounting


def read_labelled(source: Any, config: FinetuneConfig) -> TrainingHands:
    """Labels of all rows as canonical right hands, and which rows train and which are held out. `source`: an open handtool file."""
    labels, hands = read_labels(source)
    usable = np.flatnonzero((labels.valid | labels.keypoints_valid).any(1).numpy())
    accounting = Accounting("hands")
    accounting.skip("no label", len(labels) - len(usable))
    if len(usable) < 2:
        raise HandtoolError(
            f"{source.path} has {len(usable)} labelled hands: training needs 2 at least",
            hint="handtool extract LABELLED_FOLDER -o train.h5",
        )
    held = hold_out(read_groups(source, config.val_by)[usable], config.val_share, config.seed, config.val_by)
    rest = usable[~held]
    same = same_hands(labels.joints.numpy()[rest], labels.keypoints.numpy()[rest])
    kept = rest[take_fraction(same, config.label_fraction, config.label_choice, config.seed)]
    accounting.skip(f"not in the label fraction {config.label_fraction:g}", len(rest) - len(kept))
    accounting.done = len(kept) + int(held.sum())
    if len(kept) < 2:
        raise HandtoolError(
            f"{len(kept)} of {len(usable)} labelled hands are left to train on: 2 at least",
            hint="a larger --label-fraction",
        )
    return TrainingHands(labels, hands, kept, usable[held], accounting)


def hold_out(groups: np.ndarray, share: float, seed: int, by: str) -> np.ndarray:
    """groups (n,): what must not be torn apart (video, subject, row). Returns (n,) bool, True for about `share` of the hands.

    Whole groups in random order until the share is reached; never all of them. Raises HandtoolError where there is one group only.
    """
    held = np.zeros(len(groups), bool)
    if not share:
        return held
    names, member = np.unique(groups, return_inverse=True)
    if len(names) < 2:
        raise HandtoolError(f"--val-share {share:g}: all labelled hands are of one {by}", hint="--val-by row")
    wanted = share * len(groups)
    for group in np.random.default_rng((seed, 3)).permutation(len(names))[:-1]:
        if held.sum() >= wanted:
            break
        held |= member == group
    return held


def take_fraction(hand: np.ndarray, fraction: float, choice: str, seed: int) -> np.ndarray:
    """hand (n,): rows that show the very same hand (FreiHAND's four backgrounds) share a number. Returns (n,) bool.

    "head": the first rows of the list, as published. "random": hands drawn with all their rows.
    """
    keep = np.zeros(len(hand), bool)
    if choice == "head":
        keep[: max(1, round(fraction * len(hand)))] = True
        return keep
    names, member = np.unique(hand, return_inverse=True)
    chosen = np.random.default_rng((seed, 4)).permutation(len(names))[: max(1, round(fraction * len(names)))]
    return np.isin(member, chosen)


def same_hands(joints: np.ndarray, keypoints: np.ndarray) -> np.ndarray:
    """(n, 21, 3) and (n, 21, 2) labels -> (n,) a number for each different hand: rows whose labels are equal to the last bit."""
    rows = np.concatenate([joints.reshape(len(joints), -1), keypoints.reshape(len(joints), -1)], axis=1).astype("<f4")
    packed = np.ascontiguousarray(rows).view(np.dtype((np.void, rows.shape[1] * 4)))[:, 0]
    return np.unique(packed, return_inverse=True)[1].reshape(-1)
