"""The procedural hand: bones that keep their length, joints that bend as far as joints do, one side the mirror of the other."""

import numpy as np
import pytest

from handtool.hands.camera import mirror_joints, project
from handtool.hands.skeleton import BONES, FINGERS, LEFT, RIGHT
from handtool.synth.anatomy import LOWER, UPPER, draw_subject
from handtool.synth.framing import FRAME, frame_camera
from handtool.synth.kinematics import forward, rotation
from handtool.synth.motion import FPS, move_fingers, turn_hand
from handtool.synth.poses import NAMED, clip_to_limits, named_pose
from handtool.synth.world import draw_scene, take_crop


def bone_lengths(joints):
    return np.stack([np.linalg.norm(joints[..., child, :] - joints[..., parent, :], axis=-1) for parent, child in BONES], -1)


@pytest.mark.parametrize("seed", range(4))
def test_bones_keep_their_length_through_all_videos_of_a_subject(seed):
    first, second = (draw_scene(seed, video, 12, 48, "wild", "both") for video in (6, 7))
    other = draw_scene(seed, 8, 2, 48, "wild", "both")
    lengths = bone_lengths(np.concatenate([first.joints, second.joints]))
    assert first.subject.name == second.subject.name != other.subject.name
    assert np.ptp(lengths, axis=0).max() < 1e-9
    assert np.abs(bone_lengths(other.joints)[0] - lengths[0]).max() > 5e-4


@pytest.mark.parametrize("seed", range(6))
def test_moving_fingers_stay_within_the_limits_of_their_joints(seed):
    rng = np.random.default_rng(seed)
    angles = move_fingers(rng, np.arange(60) / FPS, grasp=seed % 2 == 1)
    assert (angles >= LOWER - 1e-9).all() and (angles <= UPPER + 1e-9).all()
    assert np.abs(np.diff(angles, axis=0)).max() < np.radians(110), "nobody moves a finger so far in a fifth of a second"


def test_the_bend_between_two_bones_is_the_angle_that_was_asked_for():
    rng = np.random.default_rng(3)
    angles = clip_to_limits(rng.uniform(LOWER, UPPER, (40, 24)))
    joints, _, _ = forward(draw_subject(rng, "ann"), angles)
    for finger, (_, second, third, tip) in enumerate(FINGERS.values()):
        before, after = joints[:, third] - joints[:, second], joints[:, tip] - joints[:, third]
        cosine = (before * after).sum(1) / np.linalg.norm(before, axis=1) / np.linalg.norm(after, axis=1)
        assert np.allclose(np.arccos(np.clip(cosine, -1, 1)), np.abs(angles[:, 4 * finger + 3]), atol=1e-6)


def test_bending_brings_fingertips_to_the_palm_side_and_spreading_to_the_thumb():
    subject = draw_subject(np.random.default_rng(0), "ann")
    straight, bent, spread = np.zeros((3, 1, 24))
    bent[:, 4] = spread[:, 5] = 0.3
    tips = [forward(subject, angles)[0][0, 8] for angles in (straight, bent, spread)]
    assert tips[1][2] < tips[0][2] - 0.01, "dorsal is +z"
    assert tips[2][1] > tips[0][1] + 0.01, "the thumb is at +y"


def test_rotations_are_right_handed_turns():
    for axis in range(3):
        turn = rotation(axis, np.array([0.4, -1.0]))
        assert np.allclose(turn @ turn.swapaxes(1, 2), np.eye(3)) and np.allclose(np.linalg.det(turn), 1)
    assert np.allclose(rotation(2, np.pi / 2) @ [1, 0, 0], [0, 1, 0])


@pytest.mark.parametrize("name", sorted(NAMED))
def test_every_named_pose_is_within_the_limits_and_its_fingers_do_not_cross(name):
    pose = named_pose(name)
    assert np.allclose(clip_to_limits(pose), pose, atol=np.radians(8)), "a pose is meant to be possible as it stands"
    joints, _, _ = forward(draw_subject(np.random.default_rng(1), "ann"), clip_to_limits(pose)[None])
    along = [np.concatenate([np.linspace(joints[0, a], joints[0, a + 1], 9) for a in range(4 * f + 1, 4 * f + 4)]) for f in range(1, 5)]
    for finger, neighbour in zip(along[:-1], along[1:], strict=True):
        assert np.linalg.norm(finger[:, None] - neighbour, axis=2).min() > 0.010, "neighbours press against each other, and no more"


def test_turning_is_smooth_and_keeps_rotations_rotations():
    turns = turn_hand(np.random.default_rng(1), np.arange(50) / FPS, 0.8)
    assert np.allclose(turns @ turns.swapaxes(1, 2), np.eye(3), atol=1e-9) and np.allclose(np.linalg.det(turns), 1)


@pytest.mark.parametrize("difficulty", ["easy", "wild"])
def test_the_left_hand_is_the_mirror_of_the_right(difficulty):
    right, left = (take_crop(draw_scene(5, 2, 3, 64, difficulty, side), 1) for side in ("right", "left"))
    assert np.array_equal(left["joints"], mirror_joints(right["joints"]))
    assert np.allclose(left["keypoints"][:, 0], 63 - right["keypoints"][:, 0]) and np.allclose(
        left["keypoints"][:, 1], right["keypoints"][:, 1]
    )
    assert np.array_equal(left["visible"], right["visible"])
    assert np.allclose(project(left["joints"], left["camera"]), left["keypoints"])
    assert np.isclose(left["box"][0], FRAME[0] - right["box"][2])


@pytest.mark.parametrize(("side", "number"), [("left", LEFT), ("right", RIGHT)])
def test_the_crops_camera_is_the_frames_camera_seen_through_the_crop(side, number):
    scene = draw_scene(5, 4, 2, 96, "medium", side)
    crop = take_crop(scene, 0)
    assert scene.side == number
    in_frame = project(crop["joints"], frame_camera(scene.focal))
    affine = crop["crop_from_frame"]
    assert np.allclose(in_frame @ affine[:, :2].T + affine[:, 2], crop["keypoints"])
    low, high = in_frame.min(0), in_frame.max(0)
    assert (low > crop["box"][:2] - 1).all() and (high < crop["box"][2:] + 1).all(), "the box holds the hand"
