"""Lenses against OpenCV's projection in float64, against their own inverse, and where a polynomial folds back."""

import cv2
import numpy as np
import pytest

from handtool.hands.lens import COUNTS, Lens, make_lens, project, slopes, unproject

K = np.array([[1030.59, 0, 966.69], [0, 1032.4, 539.7], [0, 0, 1.0]])
# of a 456 x 256 px fisheye whose fourth and sixth order fold it back at 60 degrees
FOLDING = make_lens("fisheye", np.array([[137.98, 0, 232.17], [0, 137.9, 127.4], [0, 0, 1]]), [0.3948, -0.3, 0.5, -0.4])
# of smart glasses with a field of view of 110 degrees
ASKEW = make_lens(
    "fisheye624",
    np.array([[610.0, 0, 703.5], [0, 610.0, 701.2], [0, 0, 1]]),
    [0.4, -0.5, -0.1, 1.0, -0.9, 0.25, 0.001, -0.0007, 0.002, -0.0003, -0.001, 0.0002],
)


def draw_points(rng, count, widest):
    """(count, 3): up to `widest` radians off the axis, at 0.2 to 2 m."""
    angle, about = rng.uniform(0, widest, count), rng.uniform(0, 2 * np.pi, count)
    rays = np.stack([np.sin(angle) * np.cos(about), np.sin(angle) * np.sin(about), np.cos(angle)], axis=1)
    return rays * rng.uniform(0.2, 2, (count, 1))


def draw_lens(rng, model, count):
    spread = {"fisheye": [0.1, 0.03, 0.02, 0.01], "fisheye624": [*[0.05] * 6, *[0.002] * 6]}
    pinhole = [0.05, 0.01, 0.005, 0.005, 0.003, 0.05, 0.01, 0.003, *[0.003] * 4, 0.05, 0.05]
    numbers = rng.normal(size=count) * spread.get(model, pinhole)[:count]
    camera = np.array([[rng.uniform(200, 900), 0, rng.uniform(200, 400)], [0, rng.uniform(200, 900), 240], [0, 0, 1]])
    return make_lens(model, camera, numbers), camera, numbers


@pytest.mark.parametrize("count", COUNTS["pinhole"])
def test_a_pinhole_camera_with_distortion_is_opencvs(count):
    rng = np.random.default_rng(count)
    lens, camera, numbers = draw_lens(rng, "pinhole", count)
    points = draw_points(rng, 300, 0.8)
    expected = cv2.projectPoints(points, np.zeros(3), np.zeros(3), camera, numbers if count else None)[0][:, 0]
    np.testing.assert_allclose(project(lens, points), expected, atol=1e-9)


def test_a_fisheye_lens_is_opencvs():
    for seed in range(5):
        rng = np.random.default_rng(seed)
        lens, camera, numbers = draw_lens(rng, "fisheye", 4)
        points = draw_points(rng, 300, min(1.5, lens.limit))
        expected = cv2.fisheye.projectPoints(points[:, None], np.zeros(3), np.zeros(3), camera, numbers)[0][:, 0]
        np.testing.assert_allclose(project(lens, points), expected, atol=1e-9)


def test_fisheye624_is_its_definition():
    """Written out once more, point by point, from the definition of the model."""
    *k, p1, p2, s1, s2, s3, s4 = ASKEW.numbers[4:16]
    for x, y, z in draw_points(np.random.default_rng(3), 50, 1.0):
        angle, about = np.arctan2(np.hypot(x, y), z), np.arctan2(y, x)
        radius = angle + sum(factor * angle ** (3 + 2 * i) for i, factor in enumerate(k))
        u, v = radius * np.cos(about), radius * np.sin(about)
        r2 = radius**2
        across = u + p1 * (2 * u * u + r2) + 2 * p2 * u * v + s1 * r2 + s2 * r2**2
        down = v + p2 * (2 * v * v + r2) + 2 * p1 * u * v + s3 * r2 + s4 * r2**2
        np.testing.assert_allclose(project(ASKEW, np.array([x, y, z])), [610 * across + 703.5, 610 * down + 701.2])


@pytest.mark.parametrize("model", ["pinhole", "fisheye", "fisheye624"])
def test_a_pixel_goes_back_along_its_ray(model):
    for seed in range(8):
        rng = np.random.default_rng(seed)
        lens = draw_lens(rng, model, COUNTS[model][-1])[0]
        widest = np.arctan(min(lens.limit, 3)) if model == "pinhole" else min(lens.limit, 1.7)
        points = draw_points(rng, 200, 0.98 * widest)
        rays = unproject(lens, project(lens, points))
        np.testing.assert_allclose(rays, points / np.linalg.norm(points, axis=1, keepdims=True), atol=1e-9)


def test_a_fisheye_lens_sees_beside_and_behind_itself():
    lens = make_lens("fisheye", K, [-0.05, 0, 0, 0])  # grows up to 148 degrees
    points = np.array([[1.0, 0, 0], [0, -2, -0.5], [-1, 1, -1e-3], [0, 0, 3]])
    pixels = project(lens, points)
    angle = np.arctan2(np.hypot(points[:, 0], points[:, 1]), points[:, 2])
    reached = np.linalg.norm((pixels - K[:2, 2]) / [K[0, 0], K[1, 1]], axis=1)
    np.testing.assert_allclose(reached, angle - 0.05 * angle**3)
    np.testing.assert_allclose(
        unproject(lens, pixels), points / np.linalg.norm(points, axis=1, keepdims=True), atol=1e-9
    )


def test_a_lens_ends_where_it_folds():
    assert 1.0 < FOLDING.limit < 1.1
    lengths = np.linspace(0, FOLDING.limit, 200)
    assert (
        np.diff(lengths * (1 + 0.3948 * lengths**2 - 0.3 * lengths**4 + 0.5 * lengths**6 - 0.4 * lengths**8)) > 0
    ).all()
    inside, outside = np.array([np.sin(1.03), 0, np.cos(1.03)]), np.array([np.sin(1.2), 0, np.cos(1.2)])
    assert np.isfinite(project(FOLDING, inside)).all() and np.isnan(project(FOLDING, outside)).all()
    edge = project(FOLDING, np.array([np.sin(FOLDING.limit * 0.9999), 0, np.cos(FOLDING.limit * 0.9999)]))
    assert np.isfinite(unproject(FOLDING, edge)).all() and np.isnan(unproject(FOLDING, edge + [5, 0])).all()


def test_no_pixel_has_two_rays_inside_the_limit_of_a_lens_that_is_askew():
    q = np.stack(np.meshgrid(np.linspace(-2, 2, 80), np.linspace(-2, 2, 80)), axis=-1)
    a, c = slopes(ASKEW, q[np.linalg.norm(q, axis=2) < ASKEW.limit])
    assert (a[:, 0] * c[:, 1] - a[:, 1] * c[:, 0] > 0).all() and ASKEW.limit > 1.2


def test_what_is_behind_a_pinhole_camera_has_no_pixel():
    assert np.isnan(project(make_lens("pinhole", K), np.array([[0.1, 0, -1], [0, 0, 0]]))).all()


def test_a_resized_picture_has_the_lens_of_its_pixels():
    lens = make_lens("fisheye", K, [-0.1166, -0.02, 0.03, -0.01])
    points = draw_points(np.random.default_rng(1), 20, 1.2)
    edges = (project(lens, points) + 0.5) * [0.5, 0.25]
    np.testing.assert_allclose(project(lens.scaled(0.5, 0.25), points), edges - 0.5)


def test_a_lens_knows_whether_it_bends():
    assert not Lens("pinhole", np.array([1.0, 1, 0, 0, *[0] * 14])).bends
    assert make_lens("pinhole", K, [0.1, 0, 0, 0]).bends and make_lens("fisheye", K).bends
