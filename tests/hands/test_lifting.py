"""Keypoints lifted to 3D by labelled hands: against numbers worked out by hand, and on hands whose 3D is known."""

import numpy as np

from handtool.hands import lifting
from handtool.hands.lifting import Lifting, draw_turns, fit_lifting, normalise_points


def make_hands(num: int, rng: np.random.Generator) -> np.ndarray:
    """(num, 21, 3) m: five fingers of rigid proportions, each bent by its own angle, seen from anywhere."""
    spread, lengths = np.linspace(-0.5, 0.5, 5), np.array([0.08, 0.04, 0.03, 0.02])
    bend = rng.uniform(0, 1.2, (num, 5, 1)) * np.array([0, 1, 2, 3])
    steps = lengths * np.stack(
        [np.sin(spread)[:, None] * np.cos(bend), np.cos(spread)[:, None] * np.cos(bend), np.sin(bend)]
    )
    fingers = np.cumsum(steps, axis=-1).transpose(1, 2, 3, 0).reshape(num, 20, 3)
    hands = np.concatenate([np.zeros((num, 1, 3)), fingers], axis=1)
    return hands @ draw_turns(num, rng).transpose(0, 2, 1) + [0, 0, 0.5]


def project(hands: np.ndarray) -> np.ndarray:
    return 300 * hands[..., :2] / hands[..., 2:] + 100


def miss(lifted: np.ndarray, hands: np.ndarray) -> float:
    """Mean distance, in bone lengths of .04 m, about the wrist."""
    return float(np.linalg.norm(lifted - (hands - hands[:, :1]) / 0.04, axis=2).mean())


def test_few_labelled_hands_lift_others_and_more_do_so_better():
    rng = np.random.default_rng(2)
    asked, known = make_hands(200, rng), make_hands(60, rng)
    mean = np.repeat(((known - known[:, :1]) / 0.04).mean(0)[None], 200, 0)
    errors = [miss(fit_lifting(known[:n], np.full(n, 0.04), 1).apply(project(asked)), asked) for n in (5, 60)]
    assert errors[1] < errors[0] < 0.7 * miss(mean, asked) and errors[1] < 0.4 * miss(mean, asked)


def test_a_hand_is_lifted_alike_wherever_and_however_large_it_is_in_the_picture():
    rng = np.random.default_rng(3)
    hands = make_hands(30, rng)
    fitted, xy = fit_lifting(hands, np.full(30, 0.04), 1), project(hands)
    assert np.allclose(fitted.apply(xy), fitted.apply(2.5 * xy - 40), atol=1e-4)
    again = fit_lifting(hands, np.full(30, 0.04), 1).apply(xy)
    assert np.array_equal(fitted.apply(xy), again)
    assert not np.array_equal(again, fit_lifting(hands, np.full(30, 0.04), 2).apply(xy))


def test_hands_without_a_place_before_the_camera_lift_as_well():
    rng = np.random.default_rng(4)
    hands, asked = make_hands(60, rng), make_hands(100, rng)
    about_wrist = hands - hands[:, :1]
    errors = [
        miss(fit_lifting(each, np.full(60, 0.04), 1).apply(project(asked)), asked) for each in (hands, about_wrist)
    ]
    assert errors[1] < 1.3 * errors[0]


def test_the_answer_is_the_weighted_sum_of_the_examples():
    rng = np.random.default_rng(5)
    xy, known, weights, mean = (rng.normal(size=shape) for shape in ((3, 21, 2), (7, 42), (7, 63), (63,)))
    answer = Lifting(known, weights, mean).apply(xy)
    for hand in range(3):
        points = xy[hand] - xy[hand].mean(0)
        points = (points / np.sqrt((points**2).sum() / 21)).ravel()
        expected = mean.copy()
        for example in range(7):
            expected += np.exp(-lifting.NARROWNESS * ((points - known[example]) ** 2).sum()) * weights[example]
        assert np.allclose(answer[hand].ravel(), expected, atol=1e-5)


def test_unknown_points_give_unknown_joints_and_large_pools_are_lifted_in_pieces(monkeypatch):
    rng = np.random.default_rng(6)
    hands = make_hands(20, rng)
    fitted, xy = fit_lifting(hands, np.full(20, 0.04), 1), project(hands)
    whole = fitted.apply(xy)
    monkeypatch.setattr(lifting, "BLOCK", 7)
    xy[4, 3] = np.nan
    pieces = fitted.apply(xy)
    assert np.isnan(pieces[4]).all() and np.allclose(np.delete(pieces, 4, 0), np.delete(whole, 4, 0), atol=1e-5)


def test_turns_are_rotations():
    turns = draw_turns(50, np.random.default_rng(7))
    assert np.allclose(turns @ turns.transpose(0, 2, 1), np.eye(3)) and np.allclose(np.linalg.det(turns), 1)
    assert (turns[:, 2, 2] >= -1e-9).all()  # never seen from behind its own picture


def test_points_are_normalised_about_their_centre():
    points = normalise_points(np.random.default_rng(8).normal(3, 20, (5, 21, 2))).reshape(5, 21, 2)
    assert np.allclose(points.mean(1), 0) and np.allclose((points**2).sum(2).mean(1), 1)
