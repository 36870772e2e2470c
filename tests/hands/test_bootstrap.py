"""Intervals of mean errors: against a slow loop with draws of its own, and by how often they hold the true mean."""

import random

import numpy as np
import pytest
from scipy.stats import norm
from scipy.stats import t as student

from handtool.hands.bootstrap import (
    MOST_GROUPS,
    difference_interval,
    group_hands,
    interval,
    mean_interval,
    resampled_means,
    sum_groups,
)
from handtool.hands.groups import Groups
from handtool.hands.metrics import group_sums_mm, score
from handtool.hands.protocols import PROTOCOLS, make_hands

RESAMPLES = 2000


def of_videos(video):
    """Hands of some videos, each of them by itself."""
    return Groups(np.arange(len(video)), video, video, np.zeros(len(video), int), np.zeros(len(video), bool))


def draw_errors(videos, per_video, rng, video_mm=3.0, hand_mm=2.0):
    """Hands about 20 mm off, alike within a video: (n,) mm, (n,) video."""
    video = np.repeat(np.arange(videos), per_video)
    return 20 + rng.normal(0, video_mm, videos)[video] + rng.normal(0, hand_mm, len(video)), video


def loop_of_draws(video, statistic, resamples, seed):
    """The bootstrap as it is told: draw names of videos, collect their hands, compute the figure from nothing."""
    rows = {name: [i for i, v in enumerate(video) if v == name] for name in sorted(set(video))}
    draw = random.Random(seed)
    names = list(rows)
    return [statistic([i for _ in names for i in rows[draw.choice(names)]]) for _ in range(resamples)]


def tails(drawn, groups):
    tail = norm.cdf((groups / (groups - 1)) ** 0.5 * student.ppf(0.025, groups - 1))
    return np.quantile(drawn, [tail, 1 - tail])


def test_the_interval_is_that_of_a_loop_over_collected_hands():
    rng = np.random.default_rng(0)
    sizes = rng.integers(1, 9, 25)  # videos of unequal length, whose sizes vary the number of hands drawn
    video = np.repeat(np.arange(25), sizes)
    errors = 20 + rng.normal(0, 3, 25)[video] + rng.normal(0, 2, len(video))
    ends = mean_interval(sum_groups(errors[None], video, 25), RESAMPLES, seed=1)
    slow = tails(loop_of_draws(video, lambda rows: float(np.mean(errors[rows])), RESAMPLES, seed=2), 25)
    assert ends == pytest.approx(slow, abs=0.15 * (slow[1] - slow[0])) and ends[0] < errors.mean() < ends[1]


def test_the_42_slots_are_averaged_anew_in_every_draw():
    rng = np.random.default_rng(1)
    truth = rng.normal(0, 0.03, (60, 21, 3))
    predicted, valid = (
        truth + rng.normal(0, 0.005, truth.shape) * rng.uniform(0.5, 3, (60, 1, 1)),
        rng.random((60, 21)) < 0.8,
    )
    valid[:, 0] = True
    side, video = (
        (np.arange(60) % 7 == 0).astype(int),
        np.arange(60) // 4,
    )  # few right hands, which weigh as much as the left ones
    hands = make_hands(predicted, truth, valid, side)
    (result,) = score(hands, ["mpjpe_slots"], group_hands(of_videos(video), np.ones(60, bool), 0))
    assert result.sums.mean() == pytest.approx(result.figures["mean_mm"], rel=1e-12)

    def slots(rows):
        (drawn,) = score(make_hands(predicted[rows], truth[rows], valid[rows], side[rows]), ["mpjpe_slots"])
        return drawn.figures["mean_mm"]

    slow = tails(loop_of_draws(video, slots, 600, seed=3), 15)
    assert mean_interval(result.sums, RESAMPLES, seed=4) == pytest.approx(slow, abs=0.2 * (slow[1] - slow[0]))


@pytest.mark.parametrize("videos", [8, 16, 40])
def test_the_interval_holds_the_true_mean_as_often_as_it_says(videos):
    rng, held, held_by_hand = np.random.default_rng(videos), 0, 0
    for trial in range(400):
        errors, video = draw_errors(videos, 6, rng)
        low, high = mean_interval(sum_groups(errors[None], video, videos), 400, trial)
        held += low <= 20 <= high
        low, high = mean_interval(sum_groups(errors[None], np.arange(len(video)), len(video)), 400, trial)
        held_by_hand += low <= 20 <= high
    assert 0.90 <= held / 400 <= 0.985
    assert held_by_hand / 400 < 0.80, "hands of one video taken as independent should look far too sure"


def test_a_paired_difference_is_sure_where_two_intervals_overlap():
    rng = np.random.default_rng(5)
    errors, video = draw_errors(20, 5, rng)
    better = errors - 0.5 + rng.normal(0, 0.3, len(errors))
    first, second = (sum_groups(e[None], video, 20) for e in (errors, better))
    low, high = difference_interval(second, first, RESAMPLES, 0)
    slow = tails(loop_of_draws(video, lambda rows: float(np.mean((better - errors)[rows])), RESAMPLES, 7), 20)
    assert (low, high) == pytest.approx(slow, abs=0.15 * (slow[1] - slow[0])) and high < 0
    assert mean_interval(second, RESAMPLES, 0)[1] > mean_interval(first, RESAMPLES, 0)[0]
    with pytest.raises(ValueError, match="the same hands"):
        difference_interval(sum_groups(errors[None, 1:], video[1:], 20), first, 10, 0)


def test_very_many_hands_are_drawn_in_heaps_with_the_same_spread():
    rng = np.random.default_rng(6)
    errors = rng.exponential(15, 60_000)
    groups = group_hands(of_videos(np.zeros(60_000, int)), np.ones(60_000, bool), seed=0)
    assert (groups.by, groups.number) == ("hand", MOST_GROUPS) and np.ptp(np.bincount(groups.of_hand)) <= 1
    low, high = mean_interval(sum_groups(errors[None], groups.of_hand, groups.number), RESAMPLES, 0)
    assert high - low == pytest.approx(2 * 1.96 * errors.std() / np.sqrt(60_000), rel=0.1)


def test_pictures_of_one_hand_are_drawn_together_and_are_no_video():
    hand, film = np.tile(np.arange(5), 4), np.zeros(20, int)
    groups = group_hands(Groups(hand, hand, film, film, film > 0), np.ones(20, bool), 0)
    assert (groups.by, groups.number) == ("hand", 5) and np.array_equal(groups.of_hand, hand)
    many = np.tile(np.arange(MOST_GROUPS + 300), 2)
    groups = group_hands(Groups(many, many, np.zeros_like(many), many, many > 0), np.ones(len(many), bool), 0)
    assert groups.number == MOST_GROUPS and np.array_equal(*np.split(groups.of_hand, 2))


def test_a_film_and_single_pictures_together_are_drawn_by_film_and_by_picture():
    hand, group = np.array([0, 1, 2, 3, 3, 4, 4]), np.array([0, 0, 0, 1, 1, 2, 2])
    film = np.array([0, 0, 0, 1, 1, 1, 1])
    groups = group_hands(Groups(hand, group, film, film, film > 9), np.ones(7, bool), 0)
    assert (groups.by, groups.number, groups.film.tolist()) == ("video", 3, [0, 1, 1])
    sums = sum_groups(np.arange(7.0)[None], groups.of_hand, groups.number)
    assert sums.merged(groups.film).means().tolist() == [1, 4.5] and sums.merged(groups.film).mean() == sums.mean() == 3


def test_one_group_has_no_interval_and_empty_groups_are_never_drawn():
    one = sum_groups(np.array([[5.0, 7.0]]), np.array([2, 2]), 4)
    assert np.isnan(mean_interval(one, 100, 0)).all() and one.mean() == 6 and np.isnan(interval(np.empty(0), 5)).all()
    two = sum_groups(np.array([[5.0, 7.0]]), np.array([0, 3]), 4)
    assert set(resampled_means(two, 200, 0)) == {5.0, 6.0, 7.0} and mean_interval(two, 200, 0) == (5.0, 7.0)
    assert np.array_equal(two.means(), [5, np.nan, np.nan, 7], equal_nan=True)


def test_each_protocols_sums_give_back_its_own_mean():
    rng = np.random.default_rng(8)
    truth, side = rng.normal(0, 0.03, (90, 21, 3)), np.arange(90) % 2
    predicted, valid = truth + rng.normal(0, 0.01, truth.shape), rng.random((90, 21)) < 0.97
    mesh = rng.normal(0, 0.03, (90, 778, 3))
    mesh[4] = np.nan
    predicted[7] = np.nan
    hands = make_hands(predicted, truth, valid, side, (mesh + 0.001, mesh))
    groups = group_hands(of_videos(np.arange(90) // 9), np.ones(90, bool), 0)
    for result in score(hands, None, groups):
        assert result.sums.mean() == pytest.approx(result.figures["mean_mm"], rel=1e-9), result.protocol.name
        assert result.sums.hands == result.figures["hands"]
        assert np.array_equal(group_sums_mm(hands, PROTOCOLS[result.protocol.name], groups).total, result.sums.total)
