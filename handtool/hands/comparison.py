"""Comparison of several predictions of the same hands: the difference of each from the first, with its interval."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from handtool.hands.bootstrap import Grouping, difference_interval
from handtool.hands.metrics import group_sums_mm
from handtool.hands.protocols import PROTOCOLS, ScoredHands


@dataclass(frozen=True)
class Difference:
    """One result against the first, over the hands that all results predicted. low, high: 95 % interval or NaN."""

    protocol: str
    result: int  # index in the list; 0 is the first
    hands: int
    mean_mm: float
    difference_mm: float
    low_mm: float
    high_mm: float
    first_mm: float

    @property
    def percent(self) -> float:
        return 100 * self.difference_mm / self.first_mm if self.first_mm else float("nan")


def compare(
    results: list[ScoredHands], names: list[str], groups: Grouping, resamples: int, seed: int
) -> Iterator[Difference]:
    """Yields the difference for every protocol of `names` and every result but the first; all score the same hands."""
    results = keep_common(results)
    for name in names:
        first, *others = [group_sums_mm(hands, PROTOCOLS[name], groups) for hands in results]
        for place, sums in enumerate(others, start=1):
            mean_mm, first_mm = sums.mean(), first.mean()
            low_mm, high_mm = difference_interval(sums, first, resamples, seed)
            yield Difference(name, place, sums.hands, mean_mm, mean_mm - first_mm, low_mm, high_mm, first_mm)


def keep_common(results: list[ScoredHands]) -> list[ScoredHands]:
    """Makes a hand invalid in all results if one lacks it; absolute positions count if all results have them."""
    common = np.logical_and.reduce([np.isfinite(hands.predicted).all(axis=(1, 2)) for hands in results])
    absolute = np.logical_and.reduce([hands.absolute for hands in results])
    meshes = None
    found = [hands.vertices for hands in results if hands.vertices]
    if len(found) == len(results):
        meshes = common & np.logical_and.reduce([np.isfinite(predicted).all(axis=(1, 2)) for predicted, _ in found])
    kept = []
    for hands in results:
        vertices = None
        if meshes is not None and hands.vertices:
            vertices = hands.vertices[0], np.where(meshes[:, None, None], hands.vertices[1], np.nan)
        kept.append(replace(hands, valid=hands.valid & common[:, None], absolute=absolute, vertices=vertices))
    return kept
