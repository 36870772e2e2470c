"""Hands over time: turns against Rodrigues' formula, trembling against a double loop, tracks against their frames."""

import numpy as np
import pytest

from handtool.hands.coverage import collect_tracks
from handtool.hands.motion import STILL_SHARE, Trembling, find_still, rotation_vectors, turn_from_mean


def rotate(vector: np.ndarray) -> np.ndarray:
    """(3,) rad -> (3, 3), by Rodrigues' formula."""
    angle = np.linalg.norm(vector)
    x, y, z = vector / max(angle, 1e-300)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def test_a_rotation_is_told_by_its_axis_and_angle_up_to_half_a_turn():
    rng = np.random.default_rng(0)
    axes = rng.normal(size=(40, 3))
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    for angle in (0.0, 1e-9, 1e-4, 0.3, 1.5, 3.0, np.pi - 1e-6):
        vectors = rotation_vectors(np.array([rotate(angle * axis) for axis in axes]))
        np.testing.assert_allclose(vectors, angle * axes, atol=1e-9)
    half = rotation_vectors(np.array([rotate(np.pi * axis) for axis in axes]))
    np.testing.assert_allclose(np.abs((half * axes).sum(1)), np.pi, atol=1e-9)


def test_turns_are_about_the_mean_direction_in_the_axes_of_the_camera():
    first, swing = rotate(np.array([0.4, -1.2, 0.7])), np.deg2rad([-20.0, -5.0, 5.0, 20.0])
    turns = turn_from_mean(np.array([rotate(np.array([0, angle, 0])) @ first for angle in swing]))
    np.testing.assert_allclose(turns, np.stack([0 * swing, np.rad2deg(swing), 0 * swing], 1), atol=1e-6)
    unknown = turn_from_mean(np.array([first, np.full((3, 3), np.nan), first]))
    assert np.isnan(unknown[1]).all() and np.allclose(unknown[[0, 2]], 0, atol=1e-6)
    assert np.isnan(turn_from_mean(np.full((2, 3, 3), np.nan))).all()


def test_a_hand_is_still_where_it_stays_for_half_a_second():
    rng = np.random.default_rng(1)
    hand, time = rng.uniform(0, 100, (21, 2)), np.arange(60) / 30
    place = np.where(time < 1, 0.0, 120 * (time - 1))[:, None, None]
    keypoints = hand + place + rng.normal(0, 0.2, (60, 21, 2))
    still = find_still(keypoints, time)
    for row, now in enumerate(time):  # the slow truth
        before, after = (
            keypoints[(time != now) & (np.sign(time - now) == sign) & (abs(time - now) < 0.2501)] for sign in (-1, 1)
        )
        moved = len(before) and len(after) and np.linalg.norm(after.mean(0) - before.mean(0), axis=1).mean()
        size = np.ptp(keypoints[row], axis=0).max()
        assert still[row] == bool(len(before) and len(after) and moved < STILL_SHARE * size)
    assert still[1:23].all() and not still[33:].any() and not still[0]
    assert find_still(keypoints[:0], time[:0]).shape == (0,)


def test_trembling_is_the_root_mean_square_second_difference_of_still_hands():
    rng = np.random.default_rng(2)
    trembling, squares = Trembling(), {"wrist_mm": [], "pose_mm": []}
    for count in (40, 2, 25):
        joints, still = rng.normal(0, 0.03, (count, 21, 3)), rng.random(count) < 0.7
        time = np.cumsum(rng.choice([0.1, 0.2], count))
        trembling.add(joints, time, still)
        for t in range(1, count - 1):
            if still[t] and abs((time[t + 1] - time[t]) - (time[t] - time[t - 1])) < 0.01:
                for joint in range(21):
                    path = joints[:, joint] - (joints[:, 0] if joint else 0)
                    change = 1000 * (path[t - 1] - 2 * path[t] + path[t + 1])
                    squares["pose_mm" if joint else "wrist_mm"].append((change**2).sum())
    report = trembling.as_report()
    assert report["frames"] == len(squares["wrist_mm"]) > 10
    for name, values in squares.items():
        assert report[name] == pytest.approx(np.mean(values) ** 0.5, rel=1e-6)
    assert Trembling().as_report() == {"frames": 0, "wrist_mm": 0, "pose_mm": 0}


def test_noise_of_one_millimetre_trembles_by_root_six_on_each_axis_and_steady_motion_not_at_all():
    rng, time = np.random.default_rng(3), np.arange(4000) / 30
    steady = time[:, None, None] * np.array([0.1, -0.2, 0.05]) + np.zeros((1, 21, 1))
    for noise_m, expected_mm in ((0.0, 0.0), (0.001, np.sqrt(6 * 3))):
        trembling = Trembling()
        trembling.add(steady + noise_m * rng.normal(size=(4000, 21, 3)), time, np.ones(4000, bool))
        assert trembling.as_report()["wrist_mm"] == pytest.approx(expected_mm, rel=0.03, abs=1e-6)


def test_a_track_knows_where_it_has_lost_its_hand():
    frame, number = np.array([4, 2, 9, 3, 5, 7]), np.array([0, 0, 0, 1, 1, -1])
    box = np.arange(6.0)[:, None] * 10 + np.array([0.0, 1, 5, 7])
    first, second = collect_tracks(number, np.array([1, 1, 0, 0, 0, 0]), frame, box)
    assert (first.number, first.side, first.frame.tolist()) == (0, 1, [2, 4, 9]) and second.number == 1
    assert [n for n in range(12) if first.has_lost(n)] == [3, 5, 6, 7, 8] and second.has_lost(4)
    np.testing.assert_allclose(first.box_at(3), (box[0] + box[1]) / 2)
    np.testing.assert_allclose(first.box_at(6), 0.6 * box[0] + 0.4 * box[2])
