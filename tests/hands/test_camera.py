"""Cameras: projecting, cropping, mirroring, lifting 2.5D, and placing a hand by its rays."""

import numpy as np
import pytest
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation

from handtool.hands import boxes, camera
from handtool.hands.skeleton import FROM_LEVEL_MAJOR, bone_length


def some_hands(count, seed=0):
    """Joints (n, 21, 3) m about 0.6 m away and cameras (n, 3, 3) with skew."""
    rng = np.random.default_rng(seed)
    joints = rng.normal(0, 0.04, (count, 21, 3)) + [0.02, -0.01, 0.6]
    cameras = np.tile(np.array([[480.0, 3.0, 110.0], [0.0, 470.0, 115.0], [0.0, 0.0, 1.0]]), (count, 1, 1))
    return joints, cameras + rng.normal(0, 2, (count, 3, 3)) * (cameras != 0) * (cameras != 1)


def turned_view(cameras, joints, seed):
    """A view that turns the hand in 3D: K' = A K R^T, joints R X; the 3x3 is full. The same pixels, moved by A."""
    rotation = Rotation.random(len(joints), random_state=seed).as_matrix()
    rotation = Rotation.from_rotvec(0.1 * Rotation.from_matrix(rotation).as_rotvec()).as_matrix()
    affine = np.array([[0.7, 0.2, 11.0], [-0.2, 0.7, 5.0]])
    return (
        camera.crop_camera(affine, cameras) @ np.swapaxes(rotation, 1, 2),
        joints @ np.swapaxes(rotation, 1, 2),
        affine,
    )


def test_projection_is_the_pinhole_formula():
    joints, cameras = some_hands(3)
    uv = camera.project(joints, cameras)
    for i in range(3):
        for j in range(21):
            x, y, z = joints[i, j]
            k = cameras[i]
            assert uv[i, j] == pytest.approx([k[0, 0] * x / z + k[0, 1] * y / z + k[0, 2], k[1, 1] * y / z + k[1, 2]])


def test_the_crops_camera_sees_the_joints_where_the_crop_shows_them():
    joints, cameras = some_hands(4)
    uv = camera.project(joints, cameras)
    affine = boxes.crop_affine(boxes.box_of_points(uv), 224)
    assert camera.project(joints, camera.crop_camera(affine, cameras)) == pytest.approx(boxes.apply_affine(affine, uv))
    full, turned, move = turned_view(cameras, joints, seed=3)
    assert camera.project(turned, full) == pytest.approx(boxes.apply_affine(move, uv))


def test_a_mirrored_camera_sees_mirrored_joints_at_mirrored_points():
    joints, cameras = some_hands(4)
    full, turned, _ = turned_view(cameras, joints, seed=4)
    for some, each in ((joints, cameras), (turned, full)):
        seen = camera.project(camera.mirror_joints(some), camera.mirror_camera(each, 224))
        assert seen == pytest.approx(camera.mirror_points(camera.project(some, each), 224))
    mirrored = camera.mirror_camera(cameras, 224)
    assert mirrored[:, 0, 2] == pytest.approx(223 - cameras[:, 0, 2]) and mirrored[:, 0, 1] == pytest.approx(
        -cameras[:, 0, 1]
    )
    assert camera.mirror_camera(mirrored, 224) == pytest.approx(cameras)


def test_lifting_gives_the_reference_depths_and_joints(samples):
    with np.load(samples / "reference" / "lift25d.npz") as reference:
        given = dict(reference)
    order = list(FROM_LEVEL_MAJOR)
    uv, z_rel = given["uv_px"][:, order], given["zrel_scaled"][:, order]
    joints = camera.lift_25d(uv, z_rel, given["K"], given["scale_m"])
    assert np.abs(joints - given["joints_m"]).max() < 1e-9
    depth = camera.root_depth(camera.rays(uv, given["K"]), z_rel)
    assert depth == pytest.approx(given["zroot_published"], rel=1e-9)


def test_lifting_undoes_projection_for_any_camera_and_bone():
    joints, cameras = some_hands(50, seed=5)
    full, turned, _ = turned_view(cameras, joints, seed=6)
    for some, each in ((joints, cameras), (turned, full)):
        scale = bone_length(some)
        root = (some[:, 0] + some[:, 9])[:, 2] / 2
        z_rel = (some[..., 2] - root[:, None]) / scale[:, None]
        lifted = camera.lift_25d(camera.project(some, each), z_rel, each, scale, depth_range=(0, 1000))
        # two depths may fit a bone that is seen end on; the larger is taken
        ray = camera.rays(camera.project(some, each), each)
        true_root = root / scale
        chosen = camera.root_depth(ray, z_rel, (0, 1000))
        same = np.isclose(chosen, true_root, rtol=1e-6)
        assert (chosen >= true_root * (1 - 1e-6)).all() and same.mean() > 0.6
        assert lifted[same] == pytest.approx(some[same], abs=1e-8)
        assert bone_length(lifted) == pytest.approx(scale, rel=1e-6)


def test_the_roots_depth_stays_in_its_range_and_precision_is_kept():
    joints, cameras = some_hands(3)
    uv, z_rel = camera.project(joints, cameras), np.zeros((3, 21))
    near = camera.lift_25d(uv, z_rel, cameras, np.full(3, 0.03), depth_range=(4, 4.5))
    assert (near[..., 2] <= 4.5 * 0.03 + 1e-12).all() and (near[..., 2] >= 4 * 0.03 - 1e-12).all()
    single = [each.astype(np.float32) for each in (uv, z_rel, cameras, np.full(3, 0.03))]
    half = [each.astype(np.float16) for each in single]
    assert camera.lift_25d(*single).dtype == np.float32 and camera.lift_25d(*half).dtype == np.float32
    assert near.dtype == np.float64


def test_a_hand_is_placed_where_its_rays_meet_it():
    joints, cameras = some_hands(6, seed=7)
    uv = camera.project(joints, cameras)
    place = camera.place_root(joints - joints[:, :1], uv, cameras)
    assert place == pytest.approx(joints[:, 0], abs=1e-10)


def test_placing_is_the_least_squares_solution_over_the_valid_joints():
    rng = np.random.default_rng(8)
    joints, cameras = some_hands(4, seed=8)
    relative, uv = joints - joints[:, :1], camera.project(joints, cameras) + rng.normal(0, 3, (4, 21, 2))
    valid = rng.random((4, 21)) > 0.3
    uv[~valid] = np.nan
    place = camera.place_root(relative, uv, cameras, valid)
    for i in range(4):
        ray = camera.rays(uv[i], cameras[i])[valid[i]]
        hand = relative[i][valid[i]]
        solved = least_squares(
            lambda t, r=ray, h=hand: ((h + t)[:, :2] - r * (h + t)[:, 2:]).ravel(), [0, 0, 0.5], xtol=1e-14, ftol=1e-14
        )
        assert place[i] == pytest.approx(solved.x, abs=1e-7)


def test_weights_count_as_if_a_joint_were_seen_so_often():
    rng = np.random.default_rng(10)
    joints, cameras = some_hands(1, seed=10)
    relative, uv = joints - joints[:, :1], camera.project(joints, cameras) + rng.normal(0, 3, (1, 21, 2))
    weight = rng.integers(0, 4, (1, 21))
    often = np.repeat(np.arange(21), weight[0])
    place = camera.place_root(relative, uv, cameras, weight)
    assert place == pytest.approx(camera.place_root(relative[:, often], uv[:, often], cameras), abs=1e-10)


def test_a_finger_seen_in_the_wrong_place_hardly_moves_a_hand_that_is_placed_robustly():
    joints, cameras = some_hands(6, seed=11)
    relative, uv = joints - joints[:, :1], camera.project(joints, cameras)
    assert camera.place_robustly(relative, uv, cameras) == pytest.approx(joints[:, 0], abs=1e-8)
    uv += np.random.default_rng(11).normal(0, 0.5, uv.shape)
    uv[:, 5:9] += 60.0
    missed = [
        np.linalg.norm(place(relative, uv, cameras) - joints[:, 0], axis=1)
        for place in (camera.place_root, camera.place_robustly)
    ]
    assert (missed[1] < 0.7 * missed[0]).all() and np.median(missed[1]) < 0.15 * np.median(missed[0])
    cameras[0], uv[1] = np.nan, 50.0
    assert np.isnan(camera.place_robustly(relative, uv, cameras)[:2]).all()


def test_noisy_depths_that_no_bone_fits_still_give_a_depth():
    joints, cameras = some_hands(20, seed=9)
    z_rel = np.zeros((20, 21))
    z_rel[:, 10] = 1.5  # deeper than the bone is long
    lifted = camera.lift_25d(camera.project(joints, cameras), z_rel, cameras, np.full(20, 0.03))
    assert np.isfinite(lifted).all() and (lifted[:, 9, 2] >= 4 * 0.03 - 1e-12).all()


def test_a_place_behind_the_camera_is_none():
    joints, cameras = some_hands(2)
    behind = joints * [1, 1, -1]
    assert np.isnan(camera.place_root(behind - behind[:, :1], camera.project(behind, cameras), cameras)).all()


def test_a_hand_without_camera_or_with_all_keypoints_on_one_spot_has_no_place():
    joints, cameras = some_hands(4)
    uv = camera.project(joints, cameras)
    cameras[0], uv[1], uv[2, 4] = np.nan, 50.0, np.nan
    place = camera.place_root(joints - joints[:, :1], uv, cameras)
    assert np.isnan(place[:3]).all() and place[3] == pytest.approx(joints[3, 0])
