"""Errors of predicted hands under every published protocol: one call, one figure per protocol and metric, each with its unit."""

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

REFLECTION_MATTERS = 0.01  # relative: beyond it, some predictions are mirrored hands, and both figures have to be read


@dataclass(frozen=True)
class Score:
    """One protocol's result: figures as `evaluate` returns them, and what they were made of."""

    protocol: Protocol
    figures: dict[str, float]
    left_out: dict[str, int]  # reason -> hands
    failed: np.ndarray  # rows whose prediction is not finite
    per_hand_mm: np.ndarray  # (n,) mean over the hand's counted joints; NaN where it was not scored
    per_joint: JointFigures  # of all hands together
    sums: GroupSums | None = None  # mm; what the protocol's mean is made of, where hands were given in groups

    @property
    def reflection_matters(self) -> bool:
        """Whether forbidding mirrored alignments changes the mean by more than 1 % (and by more than rounding)."""
        mean_mm = self.figures["mean_mm"]
        gain_mm = self.figures.get("mean_without_reflection_mm", mean_mm) - mean_mm
        return gain_mm > max(REFLECTION_MATTERS * mean_mm, 1e-3)


def evaluate(predicted, truth, valid=None, side=None, vertices=None, absolute=None) -> dict[str, dict[str, float]]:
    """Every protocol that applies, by name: {"pa_mpjpe": {"mean_mm": 8.2, "median_mm": 7.1, "auc_0_50mm": 0.84, "hands": 355, ...}, ...}.

    predicted, truth: (n, 21, 3) m, camera frame, standard joint order.
    valid: (n, 21) bool; by default, joints whose truth is finite, and none of a hand whose truth is all -1.
    side: (n,) LEFT 0, RIGHT 1; unknown counts as right (only `mpjpe_slots` asks).
    vertices: (predicted, truth), each (m, 778, 3) m, NaN truth where a hand has none; meshes are scored by themselves.
    absolute: (n,) bool, predictions that stand in the camera frame rather than at their wrist (default: all).

    `hands` were scored. `failed` have a NaN or infinite prediction and enter no figure; `left_out` lack the truth (or the absolute
    position) that the protocol needs. `pa_*` add `mean_without_reflection_mm`; `mpjpe_slots` its mean for each side. A figure without a
    single hand is NaN. Raises ValueError where shapes do not fit.
    """
    hands = make_hands(predicted, truth, valid, side, vertices, absolute)
    return {result.protocol.name: result.figures for result in score(hands)}


def score(
    hands: ScoredHands, protocols: Iterable[str] | None = None, groups: Grouping | None = None
) -> Iterator[Score]:
    """One `Score` after the other: the errors of all hands are held for one protocol at a time. Default: all that apply.

    `groups`: also sum the errors of each group of hands, which is what intervals and figures by video are made of.
    """
    for name in applicable(hands) if protocols is None else protocols:
        yield score_protocol(hands, PROTOCOLS[name], groups)


def score_protocol(hands: ScoredHands, protocol: Protocol, groups: Grouping | None = None) -> Score:
    errors = measure(hands, protocol)
    joints = joint_figures(errors.errors_m, protocol.ranges)
    per_hand = np.full(len(hands.vertices[1]) if protocol.of_mesh else len(hands.truth), np.nan)
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
    """What the protocol's mean is made of, without its other figures."""
    errors = measure(hands, protocol)
    return _sums_mm(errors, protocol, 1000 * hand_means(errors.errors_m), hands.side, groups)


def _sums_mm(
    errors: Errors, protocol: Protocol, per_hand_mm: np.ndarray, side: np.ndarray, groups: Grouping
) -> GroupSums:
    """The protocol's mean group by group. Where all joints of a hand count, joint first and hand first are the same mean."""
    of_hand = groups.of_hand[errors.rows]
    if protocol.average != "slots":
        return sum_groups(per_hand_mm[None], of_hand, groups.number)
    left = side[errors.rows] == LEFT
    by_side = [np.where(which, 1000 * errors.errors_m, np.nan) for which in (left, ~left)]
    return sum_groups(np.concatenate(by_side), of_hand, groups.number)


def _averages(
    errors: Errors, protocol: Protocol, joints: JointFigures, per_hand_mm: np.ndarray, side: np.ndarray
) -> dict[str, float]:
    """The protocol's own mean; medians are taken per joint over the hands, then averaged over joints, whatever the protocol."""
    if protocol.average == "slots":
        return _slots(errors, side[errors.rows] == LEFT)
    mean_mm = mean_of_known(per_hand_mm) if protocol.average == "hand first" else 1000 * mean_of_known(joints.mean_m)
    return {"mean_mm": mean_mm, "median_mm": 1000 * mean_of_known(joints.median_m)}


def _slots(errors: Errors, left: np.ndarray) -> dict[str, float]:
    """AssemblyHands: a mean for each joint of each side, then the mean of those; both sides weigh the same however many hands they have."""
    means_mm = {
        which: 1000 * joint_means(errors.errors_m[:, rows]) for which, rows in (("left", left), ("right", ~left))
    }
    figures = {"mean_mm": mean_of_known(np.concatenate([means_mm["left"], means_mm["right"]]))}
    return figures | {
        f"mean_{which}_mm": mean_of_known(mean) for which, mean in means_mm.items() if not np.isnan(mean).all()
    }


def _mean_without_reflection_mm(hands: ScoredHands, protocol: Protocol, rows: np.ndarray) -> float:
    """The mean over the same hands when a mirrored hand may not be mirrored back."""
    errors_m = distances_m(hands, replace(protocol, alignment="rigid"), rows)
    return 1000 * mean_of_known(joint_means(errors_m))
