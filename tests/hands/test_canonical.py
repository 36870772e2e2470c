"""Left hands become right hands, in one place."""

import numpy as np
import pytest

from handtool.hands import camera, canonical
from handtool.hands.skeleton import LEFT, RIGHT, UNKNOWN

SIDES = np.array([LEFT, RIGHT, UNKNOWN, LEFT])


def test_only_left_hands_are_mirrored_and_mirroring_twice_changes_nothing():
    xy = np.random.default_rng(0).uniform(0, 223, (4, 21, 2)).astype(np.float32)
    once = canonical.canonical_keypoints(xy, SIDES, 224)
    assert (once[1:3] == xy[1:3]).all() and once.dtype == np.float32
    assert once[[0, 3], :, 0] == pytest.approx(223 - xy[[0, 3], :, 0]) and (once[..., 1] == xy[..., 1]).all()
    assert canonical.canonical_keypoints(once, SIDES, 224) == pytest.approx(xy, abs=1e-4)


def test_a_left_hand_held_like_a_right_one_has_the_same_joints():
    right = np.random.default_rng(1).normal(size=(4, 21, 3))
    seen = np.where((SIDES == LEFT)[:, None, None], right * [-1, 1, 1], right)
    assert (canonical.canonical_joints(seen, SIDES) == right).all()


def test_the_canonical_camera_projects_canonical_joints_to_canonical_keypoints():
    rng = np.random.default_rng(2)
    joints = rng.normal(0, 0.05, (4, 21, 3)) + [0, 0, 0.5]
    cameras = np.tile(np.array([[400.0, 2.0, 100.0], [0.0, 410.0, 120.0], [0.0, 0.0, 1.0]]), (4, 1, 1))
    xy = camera.project(joints, cameras)
    seen = camera.project(canonical.canonical_joints(joints, SIDES), canonical.canonical_camera(cameras, SIDES, 224))
    assert seen == pytest.approx(canonical.canonical_keypoints(xy, SIDES, 224))
