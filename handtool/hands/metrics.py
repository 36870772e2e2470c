"""Errors of predicted hands under every published protocol: one figure for each protocol and metric, with its unit."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from handtool.hands.bootstrap import Grouping, GroupSums, sum_groups
from handtool.hands.pck import JointFigures, hand_means, joint_figures, joint_means, mean_of_known
from handtool.hands.protocols import (
    F_THRESHOLDS_M,
    PROTOCOLS,
    Errors,
    Protocol,
    ScoredHands,
    applicable,
    distances_m,
    make_hands,
    measure,
    mesh_f_scores,
)
from handtool.hands.skeleton import LEFT

REFLECTION_MATTERS = 0.01  # relative difference above which some predictions are mirrored hands, so both figures matter


@dataclass(frozen=True)
class Score:
    """One protocol's result: the figures that `evaluate` returns, and the arrays behind them."""

    protocol: Protocol
    figures: dict[str, float]
    left_out: dict[str, int]  # reason -> hands
    failed: np.ndarray  # rows whose prediction is not finite
    per_hand_mm: np.ndarray  # (n,) mean over the hand's counted joints; NaN if it was not scored
    per_joint: JointFigures  # of all hands together
    sums: GroupSums | None = None  # mm; the sums behind the protocol's mean, if hands were given in groups

    @property
    def reflection_matters(self) -> bool:
        """Whether the mean grows by more than 1 % (and by more than rounding) without reflections in the alignment."""
        mean_mm = self.figures["mean_mm"]
        gain_mm = self.figures.get("mean_without_reflection_mm", mean_mm) - mean_mm
        return gain_mm > max(REFLECTION_MATTERS * mean_mm, 1e-3)


def evaluate(predicted, truth, valid=None, side=None, vertices=None, absolute=None) -> dict[str, dict[str, float]]:
    """Every protocol that applies, by name: {"pa_mpjpe": {"mean_mm": 8.2, "median_mm": 7.1, "auc_0_50mm": 0.84,
    "hands": 355, ...}, ...}.

    predicted, truth: (n, 21, 3) m, camera frame, standard joint order.
    valid: (n, 21) bool; default: joints whose truth is finite, but none of a hand whose truth is all -1.
    side: (n,) LEFT 0, RIGHT 1; unknown counts as right (only `mpjpe_slots` uses it).
    vertices: (predicted, truth), each (m, 778, 3) m, truth NaN for a hand without mesh; meshes are scored separately.
    absolute: (n,) bool, predictions in the camera frame, not relative to their wrist (default: all).

    `hands`: number scored. `failed`: number with a NaN or infinite prediction, which enter no figure. `left_out`:
    number without the truth (or the absolute position) that the protocol needs. `pa_*` add
    `mean_without_reflection_mm`, `mpjpe_slots` its mean for each side. A figure without any hand is NaN. Raises
    ValueError if shapes do not fit.
    """
    hands = make_hands(predicted, truth, valid, side, vertices, absolute)
    return {result.protocol.name: result.figures for result in score(hands)}


def score(
    hands: ScoredHands, protocols: Iterable[str] | None = None, groups: Grouping | None = None
) -> Iterator[Score]:
    """Yields the `Score` of each protocol; only one protocol's errors are in memory at a time. Default: all that apply.

    `groups`: also sum the errors of each group of hands, for intervals and for figures by video.
    """
    for name in applicable(hands) if protocols is None else protocols:
        yield score_protocol(hands, PROTOCOLS[name], groups)


def score_protocol(hands: ScoredHands, protocol: Protocol, groups: Grouping | None = None) -> Score:
    errors = measure(hands, protocol)
    joints = joint_figures(errors.errors_m, protocol.ranges)
    per_hand = np.full(len(hands.vertices[1] if protocol.of_mesh and hands.vertices else hands.truth), np.nan)
    per_hand[errors.rows] = 1000 * hand_means(errors.errors_m)
    figures = _averages(errors, protocol, joints, per_hand[errors.rows], hands.side)
    figures |= {each.metric: joints.area(each) for each in protocol.ranges}
    if protocol.alignment == "similarity":
        figures["mean_without_reflection_mm"] = _mean_without_reflection_mm(hands, protocol, errors.rows)
    if protocol.of_mesh:
        f = mesh_f_scores(hands, protocol, errors.rows)
        figures |= {f"f_{1000 * threshold:.0f}mm": mean_of_known(f[:, i]) for i, threshold in enumerate(F_THRESHOLDS_M)}
    figures |= {"hands": len(errors.rows), "failed": len(errors.failed), "left_out": sum(errors.left_out.values())}
    sums = _sums_mm(errors, protocol, per_hand[errors.rows], hands.side, groups) if groups else None
    return Score(protocol, figures, errors.left_out, errors.failed, per_hand, joints, sums)


def group_sums_mm(hands: ScoredHands, protocol: Protocol, groups: Grouping) -> GroupSums:
    """The sums behind the protocol's mean, without its other figures."""
    errors = measure(hands, protocol)
    return _sums_mm(errors, protocol, 1000 * hand_means(errors.errors_m), hands.side, groups)


def _sums_mm(
    errors: Errors, protocol: Protocol, per_hand_mm: np.ndarray, side: np.ndarray, groups: Grouping
) -> GroupSums:
    """The sums behind the protocol's mean, by group. If all joints count, "joint first" and "hand first" agree."""
    of_hand = groups.of_hand[errors.rows]
    if protocol.average != "slots":
        return sum_groups(per_hand_mm[None], of_hand, groups.number)
    left = side[errors.rows] == LEFT
    by_side = [np.where(which, 1000 * errors.errors_m, np.nan) for which in (left, ~left)]
    return sum_groups(np.concatenate(by_side), of_hand, groups.number)


def _averages(
    errors: Errors, protocol: Protocol, joints: JointFigures, per_hand_mm: np.ndarray, side: np.ndarray
) -> dict[str, float]:
    """The protocol's mean; and the median, always of each joint over the hands, averaged over joints."""
    if protocol.average == "slots":
        return _slots(errors, side[errors.rows] == LEFT)
    mean_mm = mean_of_known(per_hand_mm) if protocol.average == "hand first" else 1000 * mean_of_known(joints.mean_m)
    return {"mean_mm": mean_mm, "median_mm": 1000 * mean_of_known(joints.median_m)}


def _slots(errors: Errors, left: np.ndarray) -> dict[str, float]:
    """AssemblyHands: the mean over each joint of each side, then the mean of these; both sides weigh the same."""
    means_mm = {
        which: 1000 * joint_means(errors.errors_m[:, rows]) for which, rows in (("left", left), ("right", ~left))
    }
    figures = {"mean_mm": mean_of_known(np.concatenate([means_mm["left"], means_mm["right"]]))}
    return figures | {
        f"mean_{which}_mm": mean_of_known(mean) for which, mean in means_mm.items() if not np.isnan(mean).all()
    }


def _mean_without_reflection_mm(hands: ScoredHands, protocol: Protocol, rows: np.ndarray) -> float:
    """The mean over the same hands, aligned without reflection."""
    errors_m = distances_m(hands, replace(protocol, alignment="rigid"), rows)
    return 1000 * mean_of_known(joint_means(errors_m))
