"""Cameras of crops behind a lens: what they look at, and the way there and back."""

import cv2
import numpy as np
import pytest
from hands.test_lenses import ASKEW, FOLDING, draw_lens

from handtool.hands.boxes import apply_affine, crop_affine
from handtool.hands.camera import project as project_pinhole
from handtool.hands.crop_maps import CropMaps, OutOfSight, look_at
from handtool.hands.lens import make_lens, project

SIZE = 224
WIDE = make_lens("fisheye", np.array([[1030.59, 0, 966.69], [0, 1032, 539.7], [0, 0, 1]]), [-0.1166, 0, 0, 0])


def draw_hand(rng, lens):
    """21 joints (21, 3) m about a place that the lens sees, often far off its axis."""
    widest = 0.8 * (np.arctan(min(lens.limit, 2.5)) if lens.model == "pinhole" else min(lens.limit, 1.7))
    angle, about, far = rng.uniform(0, widest), rng.uniform(0, 2 * np.pi), rng.uniform(0.3, 0.8)
    centre = far * np.array([np.sin(angle) * np.cos(about), np.sin(angle) * np.sin(about), np.cos(angle)])
    return centre + rng.normal(size=(21, 3)) * 0.025


def box_of(points):
    return np.concatenate([points.min(0) - 3, points.max(0) + 3])


def join(maps):
    return CropMaps(*(np.concatenate(columns) for columns in zip(*(vars(each).values() for each in maps))))


@pytest.mark.parametrize("model, count", [("pinhole", 5), ("pinhole", 14), ("fisheye", 4), ("fisheye624", 12)])
def test_joints_reach_the_crop_through_the_lens_and_come_back(model, count):
    """0.05 px and 0.01 mm are asked; the joints of the crop's camera are projected by its K alone."""
    maps, hands, pixels = [], [], []
    for seed in range(20):
        rng = np.random.default_rng([seed, count])
        lens = draw_lens(rng, model, count)[0]
        joints = draw_hand(rng, lens)
        if not np.isfinite(seen := project(lens, joints)).all():
            continue
        maps.append(look_at(lens, box_of(seen), SIZE, 1.3))
        hands.append(joints)
        pixels.append(seen)
    assert len(maps) > 12
    crops, joints, seen = join(maps), np.array(hands), np.array(pixels)
    in_crop = crops.to_crop(seen)
    turned = crops.joints_to_crop(joints)
    np.testing.assert_allclose(in_crop, project_pinhole(turned, crops.camera), atol=1e-6)
    np.testing.assert_allclose(crops.to_frame(in_crop.astype(np.float32)), seen, atol=0.01)
    np.testing.assert_allclose(crops.joints_to_frame(turned.astype(np.float32)), joints, atol=1e-6)
    assert (turned[..., 2] > 0).all()


def test_the_camera_of_a_crop_is_opencvs_rectification():
    """cv2.fisheye.undistortPoints with R and P is the way from the frame to the crop."""
    joints = np.array([-0.4, 0.05, 0.3]) + np.random.default_rng(2).normal(size=(21, 3)) * 0.02
    seen = project(WIDE, joints)
    crop = look_at(WIDE, box_of(seen), SIZE, 1.3)
    rectified = cv2.fisheye.undistortPoints(
        seen[:, None], WIDE.camera, WIDE.numbers[4:8], R=crop.rotation[0], P=crop.camera[0]
    )
    np.testing.assert_allclose(crop.to_crop(seen[None])[0], rectified[:, 0], atol=1e-6)


def test_the_box_fills_its_share_of_the_crop_and_is_in_its_middle():
    for lens in (WIDE, ASKEW, FOLDING):
        centre, half = lens.numbers[2:4] * [0.45, 0.8], lens.numbers[2] * np.array([0.06, 0.04])
        box = np.concatenate([centre - half, centre + half])
        crop = look_at(lens, box, SIZE, 1.3)
        angle = np.linspace(0, 2 * np.pi, 1000)
        hand = (centre - 0.5 + half * np.stack([np.cos(angle), np.sin(angle)], axis=1))[None]
        seen = crop.to_crop(hand)[0]
        low, high = seen.min(0), seen.max(0)
        np.testing.assert_allclose((low + high) / 2, (SIZE - 1) / 2, atol=0.2)
        np.testing.assert_allclose((high - low).max(), SIZE / 1.3, rtol=0.01)
        np.testing.assert_allclose(np.linalg.det(crop.rotation[0]), 1)


def test_without_distortion_and_on_the_axis_it_is_the_square_that_is_cut_elsewhere():
    lens = make_lens("pinhole", np.array([[5e4, 0, 320], [0, 5e4, 240], [0, 0, 1]]))
    box = np.array([280.0, 190, 360, 290])
    crop, points = look_at(lens, box, SIZE, 1.3), np.random.default_rng(0).uniform(200, 400, (1, 9, 2))
    np.testing.assert_allclose(crop.to_crop(points), apply_affine(crop_affine(box, SIZE)[None], points), atol=0.01)


def test_the_affine_map_is_the_first_order_of_the_exact_one():
    crop = look_at(WIDE, np.array([40.0, 300, 200, 420]), SIZE, 1.3)
    middle = crop.to_frame(np.full((1, 1, 2), (SIZE - 1) / 2))
    for far, most in ((1.0, 1e-2), (0.1, 1e-4)):
        near = middle + far * np.random.default_rng(0).normal(size=(1, 9, 2))
        assert np.abs(crop.to_crop(near) - apply_affine(crop.crop_from_frame, near)).max() < most


def test_crops_without_a_lens_keep_their_affine_map_beside_those_with_one():
    crop = look_at(WIDE, np.array([40.0, 300, 200, 420]), SIZE, 1.3)
    affine = crop_affine(np.array([10.0, 20, 60, 90]), SIZE)
    plain = CropMaps(
        affine[None],
        np.diag([300.0, 300, 1])[None],
        np.full((1, 3, 3), np.nan),
        np.zeros(1, np.int8),
        np.full((1, 18), np.nan),
    )
    both, points = join([plain, crop]), np.random.default_rng(0).uniform(0, 200, (2, 5, 2))
    np.testing.assert_allclose(both.to_crop(points)[0], apply_affine(affine, points[0]))
    np.testing.assert_allclose(both.to_frame(points)[1], crop.to_frame(points[1:])[0])
    joints = points @ np.ones((2, 3))
    np.testing.assert_array_equal(both.joints_to_crop(joints)[0], joints[0])
    np.testing.assert_allclose(both.joints_to_crop(joints)[1], joints[1] @ crop.rotation[0].T)
    np.testing.assert_allclose(both.frame_cameras()[1], WIDE.camera)


def test_what_no_camera_can_show_is_refused():
    with pytest.raises(OutOfSight, match="outside of what their lens sees"):
        look_at(FOLDING, np.array([1000.0, 1000, 1100, 1100]), SIZE, 1.3)
    with pytest.raises(OutOfSight, match="too wide"):
        look_at(WIDE, np.array([0.0, 0, 1920, 1080]), SIZE, 2.0)
