"""Shares of whole groups: against all subsets and all divisions where there are few groups, against a bound where
there are many."""

from itertools import combinations, product

import numpy as np
import pytest

from handtool.hands.shares import cut_in_order, draw_parts, nearest_sum


def draw_sizes(rng, fewest, most):
    """A few large groups beside many small ones, as films are."""
    return np.rint(10 * rng.pareto(0.8, rng.integers(fewest, most + 1)) + 1).astype(int)


def test_one_large_video_is_not_held_out_for_a_tenth():
    hands = np.array([880, 40, 40, 40])
    for seed in range(20):
        part = draw_parts(hands, (0.9, 0.1), np.random.default_rng(seed))
        assert hands[part == 1].sum() in (80, 120)


@pytest.mark.parametrize("seed", range(60))
def test_of_few_groups_the_share_is_as_near_as_any_choice_of_them_comes(seed):
    rng = np.random.default_rng(seed)
    hands, share = draw_sizes(rng, 2, 10), rng.uniform(0.01, 0.99)
    part = draw_parts(hands, (1 - share, share), rng)
    some = [hands[list(c)].sum() for k in range(1, len(hands)) for c in combinations(range(len(hands)), k)]
    wanted = share * hands.sum()
    assert abs(hands[part == 1].sum() - wanted) == pytest.approx(min(abs(each - wanted) for each in some))
    assert set(part) == {0, 1}


@pytest.mark.parametrize("seed", range(40))
def test_of_many_groups_the_share_is_as_near_as_any_sum_that_can_be_reached(seed):
    rng = np.random.default_rng(seed)
    hands, share = np.minimum(draw_sizes(rng, 49, 300), 20_000), rng.uniform(0.02, 0.98)
    part = draw_parts(hands, (1 - share, share), rng)
    reached = np.zeros(hands.sum() + 1, bool)
    reached[0] = True
    for size in hands:
        reached[size:] |= reached[:-size].copy()
    wanted = share * hands.sum()
    best = np.abs(np.flatnonzero(reached) - wanted).min()
    assert set(part) == {0, 1} and abs(hands[part == 1].sum() - wanted) <= best + 1


@pytest.mark.parametrize("seed", range(40))
def test_three_parts_come_about_as_near_as_any_division(seed):
    rng = np.random.default_rng(seed)
    hands, shares = draw_sizes(rng, 3, 7), rng.dirichlet([1, 1, 1])
    asked = shares * hands.sum()

    def off(part):
        return np.abs(np.bincount(part, hands, 3) - asked).max()

    part = draw_parts(hands, tuple(shares), rng)
    best = min(off(np.array(p)) for p in product(range(3), repeat=len(hands)) if len(set(p)) == 3)
    assert set(part) == {0, 1, 2} and off(part) <= best + 0.01 * hands.sum()


def test_as_many_groups_as_parts_are_one_each():
    for seed in range(10):
        assert sorted(draw_parts(np.array([50, 1, 3, 7]), (1, 1, 1, 1), np.random.default_rng(seed))) == [0, 1, 2, 3]


def test_the_seed_draws_and_every_group_has_its_turn():
    hands = np.ones(200, int)
    draws = [draw_parts(hands, (80, 20), np.random.default_rng(seed)) for seed in (1, 1, *range(2, 60))]
    assert np.array_equal(draws[0], draws[1]) and not np.array_equal(draws[0], draws[2])
    assert all(part.sum() == 40 for part in draws)
    assert (np.sum(draws, axis=0) > 0).all()


@pytest.mark.parametrize(
    ("sizes", "wanted", "total"),
    [([5, 7], 6, 5), ([5, 7], 11, 12), ([3, 3, 9], 0.1, 0), ([4], 100, 4), ([2, 9], 8.5, 9)],
)
def test_the_nearest_sum_is_found_the_smaller_of_two(sizes, wanted, total):
    assert sum(sizes[place] for place in nearest_sum(sizes, wanted)) == total


def test_none_and_all_are_left_out_where_they_may_not_be():
    assert nearest_sum([5, 7], 0.2, may_be_none=False) == [0]
    assert nearest_sum([5, 7], 100, may_be_all=False) == [1]


def test_a_cut_leaves_no_part_empty():
    rng = np.random.default_rng(0)
    for _ in range(200):
        hands = rng.integers(1, 100, rng.integers(4, 9))
        shares = tuple(rng.integers(1, 100, rng.integers(2, 5)).astype(float))
        part = cut_in_order(hands, shares)
        assert (np.diff(part) >= 0).all() and set(part) == set(range(len(shares)))
    assert cut_in_order(np.ones(10), (80.0, 20.0)).tolist() == [0] * 8 + [1] * 2
