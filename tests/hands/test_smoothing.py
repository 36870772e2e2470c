"""The One-Euro filter against one number at a time, and what it promises: less jitter, a known lag, no smear over
gaps."""

import math

import numpy as np
import pytest

from handtool.hands.smoothing import MAX_GAP_S, OneEuro, metres_per_pixel, trajectories


def one_number_at_a_time(values, times, min_cutoff, beta, derivative_cutoff, speeds=None):
    """Casiez et al., algorithm 1, on scalars; speeds: given instead of each value's own."""

    def alpha(cutoff, rate):
        tau, te = 1 / (2 * math.pi * cutoff), 1 / rate
        return 1 / (1 + tau / te)

    out, slope, slopes = [], 0.0, []
    for i, x in enumerate(values):
        if i == 0:
            out.append(x)
        else:
            rate = 1 / (times[i] - times[i - 1])
            a = alpha(derivative_cutoff, rate)
            slope = a * (x - values[i - 1]) * rate + (1 - a) * slope
            a = alpha(min_cutoff + beta * (abs(slope) if speeds is None else speeds[i]), rate)
            out.append(a * x + (1 - a) * out[-1])
        slopes.append(slope)
    return np.array(out), np.array(slopes)


def make_times(rng, count=60):
    return 3.0 + np.cumsum(rng.uniform(0.01, 0.09, count))


@pytest.mark.parametrize("seed", range(3))
def test_on_a_line_it_is_the_papers_scalar_algorithm(seed):
    rng = np.random.default_rng(seed)
    time, values = make_times(rng), np.cumsum(rng.normal(0, 0.02, 60))
    settings = rng.uniform(0.2, 3), rng.uniform(0, 40), rng.uniform(0.5, 2)
    found = OneEuro(*settings).filter(values[:, None, None], time)[:, 0, 0]
    np.testing.assert_allclose(found, one_number_at_a_time(values, time, *settings)[0], atol=1e-12)


def test_in_space_each_axis_is_filtered_by_the_speed_of_the_point(seed=4):
    rng = np.random.default_rng(seed)
    time, points = make_times(rng), np.cumsum(rng.normal(0, 0.02, (60, 2, 3)), axis=0)
    found = OneEuro(1.0, 25.0, 1.5).filter(points, time)
    for k in range(2):
        slopes = [one_number_at_a_time(points[:, k, axis], time, 1.0, 0, 1.5)[1] for axis in range(3)]
        speeds = np.linalg.norm(slopes, axis=0)
        for axis in range(3):
            expected, _ = one_number_at_a_time(points[:, k, axis], time, 1.0, 25.0, 1.5, speeds)
            np.testing.assert_allclose(found[:, k, axis], expected, atol=1e-12)


def test_a_turned_world_gives_the_turned_trajectory_and_other_units_the_same():
    rng = np.random.default_rng(5)
    time, points = make_times(rng), np.cumsum(rng.normal(0, 0.02, (60, 21, 3)), axis=0)
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    euro = OneEuro(1.0, 20.0, 1.0)
    np.testing.assert_allclose(
        euro.filter_hand(points @ turn.T + 0.3, time), euro.filter_hand(points, time) @ turn.T + 0.3, atol=1e-12
    )
    np.testing.assert_allclose(
        euro.filter_hand(1000 * points, time, 0.001), 1000 * euro.filter_hand(points, time), atol=1e-9
    )


@pytest.mark.parametrize("beta", [0.0, 15.0])
def test_the_lag_behind_a_steady_motion_is_the_known_one_at_uneven_intervals(beta):
    """One over two pi times the cut-off, whatever the frame rate."""
    time = make_times(np.random.default_rng(6), 400)
    velocity = np.array([0.3, -0.4, 1.2])
    smooth = OneEuro(1.0, beta, 1.0).filter((velocity * time[:, None])[:, None], time)
    lag_s = ((velocity * time[:, None] - smooth[:, 0]) @ velocity / (velocity @ velocity))[-100:]
    np.testing.assert_allclose(lag_s, 1 / (2 * np.pi * (1.0 + beta * 1.3)), rtol=1e-3)


def test_a_hand_at_rest_trembles_less():
    """White noise through a low-pass of share a keeps a / (2 - a) of its variance; the speed's own noise opens it a
    little."""
    rng = np.random.default_rng(7)
    time, noise = np.arange(4000) / 30, rng.normal(0, 0.004, (4000, 21, 3))
    still = OneEuro(1.0, 0.0, 1.0).filter(noise, time)[50:]
    a = 1 / (1 + 30 / (2 * np.pi))
    np.testing.assert_allclose(still.var() / noise.var(), a / (2 - a), rtol=0.03)
    assert OneEuro(1.0, 20.0, 1.0).filter(noise, time)[50:].std() < 0.5 * noise.std()


def test_a_frame_without_a_hand_stays_without_and_is_passed_over():
    rng = np.random.default_rng(8)
    time, points = make_times(rng), rng.normal(0, 0.02, (60, 21, 3))
    gaps = np.array([7, 8, 20])
    broken = points.copy()
    broken[gaps, [3, 0, 20]] = np.nan
    found = OneEuro(1.0, 10.0, 1.0).filter_hand(broken, time)
    rest = np.setdiff1d(np.arange(60), gaps)
    np.testing.assert_allclose(found[rest], OneEuro(1.0, 10.0, 1.0).filter_hand(points[rest], time[rest]), atol=1e-12)
    assert np.isnan(found[gaps]).all()


def test_after_a_long_gap_it_begins_anew_and_nothing_runs_backwards():
    rng = np.random.default_rng(9)
    time, points = make_times(rng), rng.normal(0, 0.02, (60, 4, 3))
    time[30:] += MAX_GAP_S
    euro = OneEuro(1.0, 10.0, 1.0)
    found = euro.filter(points, time)
    np.testing.assert_allclose(found[30:], euro.filter(points[30:], time[30:]), atol=1e-15)
    changed = points.copy()
    changed[45:] += 1
    np.testing.assert_array_equal(euro.filter(changed, time)[:45], found[:45])
    twice = np.insert(time, 10, time[10])
    assert np.isfinite(euro.filter(np.insert(points, 10, points[10], axis=0), twice)).all()


def test_trajectories_are_kept_apart_and_in_the_order_of_time():
    time = np.array([0.2, 0.0, 0.1, 0.1, np.nan, 0.3, 0.0, 0.1])
    track = np.array([0, 0, 0, 1, 0, -1, 0, 0])
    video = np.array([0, 0, 0, 0, 0, 0, 1, 1])
    side = np.array([1, 1, 1, 0, 1, 1, 1, 0])
    found = sorted(rows.tolist() for rows in trajectories(time, track, video, side))
    assert found == [[1, 2, 0], [3], [6], [7]]
    assert trajectories(time, np.full(8, -1), video) == []


def test_a_pixel_is_as_long_as_the_camera_says():
    rng = np.random.default_rng(10)
    joints = rng.normal(0, 0.02, (9, 21, 3)) + [0.1, 0, 5.0]  # far away: nearly weak perspective
    keypoints = 800 * joints[..., :2] / joints[..., 2:] + 300
    np.testing.assert_allclose(metres_per_pixel(joints, keypoints), 5.0 / 800, rtol=0.02)
