"""Confidence intervals by resampling: how much a mean error would vary with other videos or hands of the same kind.

Hands of one video are alike, so whole videos (groups of hands/groups.py) are drawn with replacement: the cluster
bootstrap (Davison and Hinkley, Bootstrap Methods, 1997). A percentile interval of few groups is too narrow, so its
tails are widened (expanded percentile, Hesterberg, arXiv:1411.5279).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, stdtrit

from handtool.hands.groups import Groups, number_from_0

COVERAGE = 0.95
# More single hands than this are drawn in this many random groups: the same variance of the mean at a bounded cost.
MOST_GROUPS = 5_000
DRAWN_AT_ONCE = 1 << 22  # numbers


@dataclass(frozen=True)
class Grouping:
    """of_hand: (n,) group of each hand; by: what a group is; film: (number,) film of each group, if by == "video"."""

    of_hand: np.ndarray
    number: int
    by: str
    film: np.ndarray | None = None


def group_hands(groups: Groups | None, counted: np.ndarray, seed: int) -> Grouping:
    """Groups by video if the counted hands are of several, else by hand, with all its pictures. counted: (n,) bool."""
    hand = np.arange(len(counted)) if groups is None else groups.hand
    if groups is not None:
        number, num_hands = (len(np.unique(each[counted])) for each in (groups.group, hand))
        if 1 < number and (number < num_hands or len(np.unique(groups.film[counted])) > 1):
            film = np.zeros(groups.group.max() + 1, np.int64)
            film[groups.group] = groups.film
            return Grouping(groups.group, len(film), "video", film)
    hand = number_from_0(hand)
    number = min(hand.max(initial=-1) + 1, MOST_GROUPS)
    heap = np.arange(hand.max(initial=-1) + 1) % max(number, 1)
    return Grouping(
        (np.random.default_rng(seed).permutation(heap) if len(heap) > number else heap)[hand], number, "hand"
    )


@dataclass(frozen=True)
class GroupSums:
    """The sums and counts (g, k) of each group behind a mean. The mean of several groups is the mean over the k columns
    of sum / count; k is 1 for a mean over hands, 42 for each joint of each side. hands: their number."""

    total: np.ndarray
    count: np.ndarray
    hands: int

    @property
    def scored(self) -> np.ndarray:
        """(g,) bool: the groups with a hand."""
        return (self.count != 0).any(axis=1)

    def means(self) -> np.ndarray:
        """(g,): the mean of each group; NaN for one without a hand."""
        return mean_of_ratios(self.total, self.count)

    def merged(self, into: np.ndarray) -> "GroupSums":
        """The sums after merging groups. into: (g,) new number of each group."""
        total, count = (np.array([np.bincount(into, column) for column in of.T]).T for of in (self.total, self.count))
        return GroupSums(total, count, self.hands)

    def mean(self) -> float:
        """The mean of all groups together; NaN without a hand."""
        return float(mean_of_ratios(self.total.sum(axis=0)[None], self.count.sum(axis=0)[None])[0])


def sum_groups(values: np.ndarray, groups: np.ndarray, number: int) -> GroupSums:
    """values: (k, m), NaN is not counted; groups: (m,) in [0, number)."""
    known = ~np.isnan(values)
    total = [np.bincount(groups[yes], row[yes], number) for row, yes in zip(values, known, strict=True)]
    count = [np.bincount(groups[yes], minlength=number) for yes in known]
    return GroupSums(np.array(total).T, np.array(count, dtype=np.float64).T, len(groups))


def mean_of_ratios(total: np.ndarray, count: np.ndarray) -> np.ndarray:
    """(r, k), (r, k) -> (r,): the mean of total / count over the columns with a count; NaN if there are none."""
    ratio = np.divide(total, count, out=np.zeros_like(total), where=count > 0)
    columns = (count > 0).sum(axis=1)
    return np.divide(ratio.sum(axis=1), columns, out=np.full(len(total), np.nan), where=columns > 0)


def resampled_means(sums: GroupSums, resamples: int, seed: int) -> np.ndarray:
    """(resamples,): means of as many groups as exist, drawn with replacement; the same seed, the same draws."""
    scored = sums.scored
    total, count = sums.total[scored], sums.count[scored]
    drawn = [mean_of_ratios(times @ total, times @ count) for times in draw_groups(int(scored.sum()), resamples, seed)]
    return np.concatenate([np.empty(0), *drawn])


def draw_groups(number: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Yields (r, number) float64, r resamples at a time: how often each group was drawn."""
    rng, step = np.random.default_rng(seed), max(1, DRAWN_AT_ONCE // max(number, 1))
    for start in range(0, resamples if number else 0, step):
        rows = min(step, resamples - start)
        drawn = rng.integers(number, size=(rows, number)) + number * np.arange(rows)[:, None]
        yield np.bincount(drawn.ravel(), minlength=rows * number).reshape(rows, number).astype(np.float64)


def interval(drawn: np.ndarray, groups: int) -> tuple[float, float]:
    """The 95 % confidence interval of the mean. (NaN, NaN) for fewer than two groups, or without resamples.

    The tails are Phi(-sqrt(n / (n - 1)) t), t of n - 1 degrees of freedom. For many groups that is 2.5 %; for two
    groups the interval spans everything that was drawn.
    """
    if groups < 2 or not len(drawn):
        return float("nan"), float("nan")
    tail = ndtr(np.sqrt(groups / (groups - 1)) * stdtrit(groups - 1, (1 - COVERAGE) / 2))
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return float(low), float(high)


def mean_interval(sums: GroupSums, resamples: int, seed: int) -> tuple[float, float]:
    """The interval of one mean, in the unit of its sums."""
    return interval(resampled_means(sums, resamples, seed), int(sums.scored.sum()))


def difference_interval(sums: GroupSums, first: GroupSums, resamples: int, seed: int) -> tuple[float, float]:
    """The interval of `sums` - `first`, two results on the same hands. Both use the same draws, so that what is hard
    for both cancels out.

    Raises ValueError if they do not count the same hands.
    """
    if not np.array_equal(sums.count, first.count):
        raise ValueError("a paired difference needs two results on the same hands")
    drawn = resampled_means(sums, resamples, seed) - resampled_means(first, resamples, seed)
    return interval(drawn, int(sums.scored.sum()))
