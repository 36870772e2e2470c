"""Figures of each joint over many hands: mean, median, share of correct keypoints (PCK) and the area under it (AUC)."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.integrate import trapezoid


class PckRange(NamedTuple):
    """Thresholds from `low_mm` to `high_mm`, both included."""

    low_mm: int
    high_mm: int
    steps: int

    @property
    def metric(self) -> str:
        return f"auc_{self.low_mm}_{self.high_mm}mm"

    def thresholds_m(self) -> np.ndarray:
        return np.linspace(self.low_mm / 1000, self.high_mm / 1000, self.steps)


FULL = PckRange(0, 50, 100)  # FreiHAND, HO-3D, DexYCB
COARSE = PckRange(20, 50, 15)  # SiMHand, and the older two-hand literature


@dataclass(frozen=True)
class JointFigures:
    """Per joint: mean, median (k,) in metres; curves: PCK (k, steps) per range. NaN for a joint without valid hands."""

    mean_m: np.ndarray
    median_m: np.ndarray
    curves: dict[PckRange, np.ndarray]

    def area(self, of: PckRange) -> float:
        """AUC: the trapezoidal area under each joint's curve, divided by its range, then the mean over joints."""
        areas = trapezoid(self.curves[of], of.thresholds_m(), axis=1) / (of.thresholds_m()[-1] - of.thresholds_m()[0])
        return mean_of_known(areas)


def joint_means(errors_m: np.ndarray) -> np.ndarray:
    """errors_m: (k, n) metres, NaN if a joint does not count. Returns (k,): mean over the hands, NaN without any."""
    return np.array([mean_of_known(row) for row in errors_m])


def joint_figures(errors_m: np.ndarray, ranges: tuple[PckRange, ...] = ()) -> JointFigures:
    """errors_m: (k, n) metres, one row per joint, NaN if a hand's joint does not count."""
    median = np.full(len(errors_m), np.nan)
    curves = {each: np.full((len(errors_m), each.steps), np.nan) for each in ranges}
    for joint, row in enumerate(errors_m):
        counted = row[~np.isnan(row)]
        if not len(counted):
            continue
        median[joint] = np.median(counted)
        for each, curve in curves.items():
            curve[joint] = _counts_within(counted, each.thresholds_m()) / len(counted)
    return JointFigures(joint_means(errors_m), median, curves)


def _counts_within(errors: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """How many errors are <= each threshold. A hundred comparisons of a cached block are faster than sorting it."""
    counts = np.zeros(len(thresholds), dtype=np.int64)
    for start in range(0, len(errors), 16384):
        block = errors[start : start + 16384]
        counts += [np.count_nonzero(block <= threshold) for threshold in thresholds]
    return counts


def hand_means(errors_m: np.ndarray) -> np.ndarray:
    """errors_m: (k, n), NaN if a joint does not count. Returns (n,): the mean over a hand's joints; NaN without any."""
    counted = ~np.isnan(errors_m)
    number = counted.sum(axis=0)
    total = np.where(counted, errors_m, 0.0).sum(axis=0)
    return np.divide(total, number, out=np.full(errors_m.shape[1], np.nan), where=number > 0)


def mean_of_known(values: np.ndarray) -> float:
    """The mean of the values that are not NaN; NaN, without a warning, if there are none."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")
