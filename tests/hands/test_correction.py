"""The correction of an estimator is kernel ridge regression, and promises no more than few hands can keep."""

import math

import numpy as np
import pytest

from handtool.hands.correction import (
    LENGTHS,
    STRENGTHS,
    Correction,
    as_inputs,
    cross_validate,
    find_folds,
    fit_correction,
)


@pytest.fixture
def rng():
    return np.random.default_rng(4)


def make_poses(rng, count, spread=1.0):
    """Poses (n, 21, 3) m about the wrist that vary in four ways, and what an estimator that errs with them sees."""
    ways, errors = rng.normal(0, 0.02, (2, 4, 21, 3))
    mean = rng.normal(0, 0.06, (21, 3))
    how = spread * rng.normal(size=(count, 4))
    truth = mean + np.einsum("nw,wkc->nkc", how, ways)
    seen = truth + 0.02 * np.sin(np.einsum("nw,wkc->nkc", how, 20 * errors)) + 0.01
    return seen - seen[:, :1], truth - truth[:, :1]


def test_a_correction_is_the_double_loop(rng):
    known, weights, poses = rng.normal(size=(6, 63)), rng.normal(size=(6, 63)), rng.normal(0, 0.1, (3, 21, 3))
    found = Correction(known, weights, 2.0, 0.1).apply(poses + 5)
    for hand in range(3):
        pose = poses[hand] - poses[hand, 0]
        moved = np.zeros(63)
        for near, move in zip(known, weights, strict=True):
            square = sum((10 * a - b) ** 2 for a, b in zip(pose.ravel(), near, strict=True))
            moved += (math.exp(-square / 8) + 1) * move
        assert np.allclose(found[hand], pose + moved.reshape(21, 3), atol=1e-12)


def test_the_quick_cross_validation_is_that_of_fits_one_by_one(rng):
    seen, truth = make_poses(rng, 12)
    folds, length = np.arange(12) // 4, 2.0
    residual = (truth - seen).reshape(12, -1)
    errors = cross_validate(as_inputs(seen), residual, folds, length)
    for at, strength in enumerate(STRENGTHS):
        for fold in range(3):
            rest, out = folds != fold, folds == fold
            squares = np.square(as_inputs(seen)[:, None] - as_inputs(seen)[None]).sum(2)
            gram = np.exp(-squares / (2 * length**2)) + 1
            weights = np.linalg.solve(gram[rest][:, rest] + strength * np.eye(rest.sum()), residual[rest])
            miss = (gram[out][:, rest] @ weights - residual[out]).reshape(-1, 21, 3)
            assert errors[at, fold] == pytest.approx(np.linalg.norm(miss, axis=2).mean(), rel=1e-9)


@pytest.mark.parametrize(("count", "share"), [(10, 0.75), (100, 0.35)])
def test_what_an_estimator_gets_wrong_is_learnt_from_few_hands(rng, count, share):
    seen, truth = make_poses(rng, count + 200)
    correction, foretold = fit_correction(seen[:count], truth[:count], find_folds(np.arange(count)))
    before, after = (
        np.linalg.norm(poses - truth[count:], axis=2).mean() for poses in (seen[count:], correction.apply(seen[count:]))
    )
    assert after < share * before
    assert foretold < before and (count < 100 or foretold == pytest.approx(after, rel=0.2))
    assert correction.length in LENGTHS and correction.strength in STRENGTHS


def test_ten_hands_that_are_nearly_one_do_no_harm_elsewhere(rng):
    """Frames that follow each other: their errors say nothing of other poses, except in the mean."""
    seen, truth = make_poses(rng, 200)
    near = seen[:1] + rng.normal(0, 0.001, (10, 21, 3))
    correction, _ = fit_correction(near, truth[:1] + rng.normal(0, 0.001, (10, 21, 3)), find_folds(np.zeros(10, int)))
    moved = np.linalg.norm(correction.apply(seen) - seen, axis=2).mean()
    assert moved <= 1.1 * np.linalg.norm(truth[0] - seen[0], axis=1).mean()


def test_hands_of_one_video_are_left_out_together_and_those_of_few_videos_in_blocks():
    assert find_folds(np.repeat(np.arange(10), 3)).tolist() == np.repeat(np.arange(5), 6).tolist()
    assert find_folds(np.zeros(10, int)).tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert find_folds(np.array([7, 3] * 5)).tolist() == [2, 0, 3, 0, 3, 1, 4, 1, 4, 2]
