"""The correction of an estimator: its 2D and 3D put together, kernel ridge regression, no harm to other hands."""

import math

import numpy as np
import pytest

from handtool.hands.camera import project
from handtool.hands.correction import (
    DEPTH,
    DEPTH_TRUST,
    LENGTH,
    NOISE,
    Correction,
    find_folds,
    fit_correction,
    see_upright,
    solve,
    towards_lengths,
)
from handtool.hands.skeleton import BONES


@pytest.fixture
def rng():
    return np.random.default_rng(4)


def make_poses(rng, count):
    """Poses (n, 21, 3) m about the wrist, of one hand that moves in four ways, and what an estimator that errs with
    these sees."""
    how, lengths = rng.normal(size=(count, 4)), rng.uniform(0.02, 0.06, 20)
    along = rng.normal(size=(20, 3)) + 0.25 * np.einsum("nw,wbc->nbc", how, rng.normal(size=(4, 20, 3)))
    along *= (lengths / np.linalg.norm(along, axis=2))[..., None]
    truth = np.zeros((count, 21, 3))
    for bone, (parent, child) in enumerate(BONES):
        truth[:, child] = truth[:, parent] + along[:, bone]
    seen = truth + 0.02 * np.sin(np.einsum("nw,wkc->nkc", how, rng.normal(0, 0.4, (4, 21, 3)))) + 0.01
    return seen - seen[:, :1], truth


def turn_about(axis, degrees):
    """Right-handed, by the matrix exponential's series."""
    x, y, z = np.radians(degrees) * np.asarray(axis, float)
    cross, turn, term = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]]), np.eye(3), np.eye(3)
    for power in range(1, 30):
        term = term @ cross / power
        turn = turn + term
    return turn


def make_upright(rng):
    """A hand about its wrist that points up, with the mean of its joints on the axis of the camera in x and y."""
    hand = rng.normal(0, 0.04, (21, 3))
    hand[0], hand[[5, 9, 13, 17]] = 0, [[-0.03, -0.09, 0.01], [-0.01, -0.1, 0], [0.01, -0.09, 0], [0.03, -0.08, 0]]
    hand[20, :2] -= hand[:, :2].sum(0)
    return hand


def test_x_and_y_are_those_of_the_picture_and_depth_is_the_estimators_wherever_the_hand_is(rng):
    """The truth is built the other way: an upright hand, turned about the axis, then moved aside and far away."""
    hand, far = make_upright(rng), np.array([[0, 0, 400.0]])
    aside = turn_about([0.6, 0.8, 0], 25) @ turn_about([0, 0, 1], 40)
    camera = np.array([[5e5, 0, 300], [0, 5e5, -200], [0, 0, 1.0]])
    xy = project((hand + far) @ aside.T, camera)
    guess = hand * 0.9 + [[0.02, 0.01, 0]] * rng.normal(0, 0.1, (21, 3))  # the depth is right, x and y are not
    size = (hand[:, :2] * (guess - guess.mean(0))[:, :2]).sum() / ((hand - hand.mean(0))[:, :2] ** 2).sum()
    poses, turn = see_upright((guess @ turn_about([0, 0, 1], 40).T)[None] + 7, xy[None], camera[None])
    assert np.allclose(poses[0, :, :2], size * hand[:, :2], atol=1e-4)
    assert np.allclose(poses[0, :, 2], 0.9 * hand[:, 2], atol=1e-9)
    assert np.allclose(hand @ aside.T @ turn[0].T, hand, atol=1e-4)


def test_without_a_camera_the_picture_is_taken_for_one_from_far_away(rng):
    hand = make_upright(rng)
    turned = hand @ turn_about([0, 0, 1], -70).T
    poses, turn = see_upright(turned[None], 900 * turned[None, :, :2] + 50, np.full((1, 3, 3), np.nan))
    assert np.allclose(poses[0], hand, atol=1e-9) and np.allclose(turn[0], turn_about([0, 0, 1], 70), atol=1e-9)


def test_a_picture_without_size_leaves_the_joints_as_they_are(rng):
    hand, nowhere = make_upright(rng), np.full((1, 3, 3), np.nan)
    for xy in (np.full((1, 21, 2), 9.0), -50 * hand[None, :, :2]):
        assert np.allclose(see_upright(hand[None], xy, nowhere)[0][0], hand, atol=1e-9)


def test_a_turned_picture_gets_the_turned_answer(rng):
    known, weights = rng.normal(0, 0.5, (6, 63)), rng.normal(0, 0.02, (6, 63))
    hand, camera = make_upright(rng), np.diag([400.0, 400, 1])[None]
    answers = []
    for degrees in (0, 130):
        seen = hand @ turn_about([0, 0, 1], degrees).T
        xy = project(seen + [0.01, -0.02, 0.5] @ turn_about([0, 0, 1], degrees).T, camera[0])
        answers.append(Correction(known, weights, 0.8, np.full(20, 0.03)).apply(seen[None], xy[None], camera)[0])
    assert np.allclose(answers[1], answers[0] @ turn_about([0, 0, 1], 130).T, atol=1e-9)


def test_a_correction_is_the_double_loop(rng):
    known, weights, poses = rng.normal(size=(6, 63)), rng.normal(size=(6, 63)), rng.normal(0, 0.1, (3, 21, 3))
    poses[:, 0], bones = 0, rng.uniform(0.01, 0.1, 20)
    found = Correction(known, weights, 0.8, bones).move(poses)
    for hand in range(3):
        moved = np.zeros(63)
        for near, move in zip(known, weights, strict=True):
            square = sum((10 * a - b) ** 2 for a, b in zip(poses[hand].ravel(), near, strict=True))
            moved += math.exp(-square / (2 * LENGTH**2)) * move
        moved = poses[hand] * [1, 1, 0.8] + moved.reshape(21, 3)
        for finger in range(5):
            joint = np.zeros(3)
            for at in range(4):
                parent, child = (0 if at == 0 else 4 * finger + at), 4 * finger + at + 1
                along = moved[child] - moved[parent]
                length = math.sqrt(along @ along)
                joint = joint + along / length * (length + bones[4 * finger + at]) / 2
                assert np.allclose(found[hand, child], joint, atol=1e-12)


def test_depth_and_weights_are_the_least_squares_of_their_prior(rng):
    seen, truth = make_poses(rng, 12)
    correction = solve(seen, truth)
    rows, wanted = (
        np.append(seen[..., 2], math.sqrt(DEPTH_TRUST)),
        np.append(truth[..., 2], math.sqrt(DEPTH_TRUST) * DEPTH),
    )
    assert correction.depth == pytest.approx(np.linalg.lstsq(rows[:, None], wanted, rcond=None)[0][0])
    squares = np.square(10 * (seen[:, None] - seen[None]).reshape(12, 12, 63)).sum(2)
    gram = np.exp(-squares / (2 * LENGTH**2))
    residual = (truth - seen * [1, 1, correction.depth]).reshape(12, 63)
    assert np.allclose(gram @ correction.weights + NOISE * correction.weights, residual, atol=1e-12)
    assert np.allclose(
        correction.bones, np.mean([[np.linalg.norm(hand[b] - hand[a]) for a, b in BONES] for hand in truth], axis=0)
    )


def test_what_it_promises_is_what_it_does_to_hands_left_out(rng):
    seen, truth = make_poses(rng, 12)
    folds, errors = np.arange(12) // 4, []
    for fold in range(3):
        moved = solve(seen[folds != fold], truth[folds != fold]).move(seen[folds == fold])
        errors.append(np.linalg.norm(moved - truth[folds == fold], axis=2).mean())
    assert fit_correction(seen, truth, folds)[1] == pytest.approx(np.mean(errors))


@pytest.mark.parametrize(("count", "share"), [(10, 0.9), (100, 0.6)])
def test_what_an_estimator_gets_wrong_is_learnt_from_few_hands(rng, count, share):
    seen, truth = make_poses(rng, count + 200)
    correction, foretold = fit_correction(seen[:count], truth[:count], find_folds(np.arange(count)))
    before, after = (
        np.linalg.norm(poses - truth[count:], axis=2).mean() for poses in (seen[count:], correction.move(seen[count:]))
    )
    assert after < share * before
    assert foretold < before and (count < 100 or foretold == pytest.approx(after, rel=0.3))


def test_ten_hands_of_one_odd_pose_do_no_harm_to_others(rng):
    """Frames that follow each other, whose large error says nothing of other poses."""
    seen, truth = make_poses(rng, 200)
    odd, error = seen[0] + rng.normal(0, 0.06, (21, 3)), rng.normal(0, 0.04, (21, 3))
    near = odd + rng.normal(0, 0.001, (10, 21, 3))
    odd[0], near[:, 0], error[0] = 0, 0, 0
    correction, _ = fit_correction(near, near + error, find_folds(np.zeros(10, int)))
    kept = towards_lengths(seen * [1, 1, correction.depth], correction.bones)
    changed = np.linalg.norm(correction.move(seen) - kept, axis=2).mean(1)
    size, left = np.linalg.norm(error, axis=1).mean(), correction.move(near) - near - error
    assert np.median(changed) < 0.1 * size
    assert np.linalg.norm(left, axis=2).mean() < 0.5 * size


def test_hands_of_one_video_are_left_out_together_and_those_of_few_videos_in_blocks():
    assert find_folds(np.repeat(np.arange(10), 3)).tolist() == np.repeat(np.arange(5), 6).tolist()
    assert find_folds(np.zeros(10, int)).tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert find_folds(np.array([7, 3] * 5)).tolist() == [2, 0, 3, 0, 3, 1, 4, 1, 4, 2]
