"""Which labelled hands train, which are held out, and which a smaller label budget leaves out."""

import numpy as np

from handtool.errors import HandtoolError


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
