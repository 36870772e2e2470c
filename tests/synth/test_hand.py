"""The procedural hand: bones that keep their length, joints that bend as far as joints do, one side the mirror of
the other."""

import numpy as np
import pytest

from handtool.hands.camera import mirror_joints, project
from handtool.hands.skeleton import BONES, FINGERS, LEFT, RIGHT
from handtool.synth.anatomy import LOWER, UPPER, draw_subject
from handtool.synth.crops import FRAME, crop_cameras, draw_scene, make_video
from handtool.synth.flesh import RING, Dress, build_hand
from handtool.synth.framing import frame_camera
from handtool.synth.kinematics import forward, rotation
from handtool.synth.motion import FPS, move_fingers, turn_hand
from handtool.synth.poses import NAMED, clip_to_limits, named_pose
from handtool.synth.things import distance_to_cones
from handtool.synth.world import render


def bone_lengths(joints):
    return np.stack(
        [np.linalg.norm(joints[..., child, :] - joints[..., parent, :], axis=-1) for parent, child in BONES], -1
    )


@pytest.mark.parametrize("seed", range(4))
def test_bones_keep_their_length_through_all_videos_of_a_subject(seed):
    first, second, other = (draw_scene(seed, video, 12, 48, "wild", "both")[0] for video in (6, 7, 8))
    lengths = bone_lengths(np.concatenate([first.actors[0].joints, second.actors[0].joints]))
    assert first.subject.name == second.subject.name != other.subject.name
    assert np.ptp(lengths, axis=0).max() < 1e-9
    assert np.abs(bone_lengths(other.actors[0].joints)[0] - lengths[0]).max() > 5e-4


@pytest.mark.parametrize("seed", range(6))
def test_moving_fingers_stay_within_the_limits_of_their_joints(seed):
    rng = np.random.default_rng(seed)
    angles = move_fingers(rng, np.arange(60) / FPS, grasp=seed % 2 == 1)
    assert (angles >= LOWER - 1e-9).all() and (angles <= UPPER + 1e-9).all()
    assert np.abs(np.diff(angles, axis=0)).max() < np.radians(110), (
        "nobody moves a finger so far in a fifth of a second"
    )


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
    along = [
        np.concatenate([np.linspace(joints[0, a], joints[0, a + 1], 9) for a in range(4 * f + 1, 4 * f + 4)])
        for f in range(1, 5)
    ]
    for finger, neighbour in zip(along[:-1], along[1:], strict=True):
        assert np.linalg.norm(finger[:, None] - neighbour, axis=2).min() > 0.010, (
            "neighbours press against each other, and no more"
        )


def test_turning_is_smooth_and_keeps_rotations_rotations():
    turns = turn_hand(np.random.default_rng(1), np.arange(50) / FPS, 0.8)
    assert np.allclose(turns @ turns.swapaxes(1, 2), np.eye(3), atol=1e-9) and np.allclose(np.linalg.det(turns), 1)


@pytest.mark.parametrize("difficulty", ["easy", "wild"])
def test_the_left_hand_is_the_mirror_of_the_right(difficulty):
    made = {side: draw_scene(5, 2, 3, 64, difficulty, side) for side in ("right", "left")}
    right, left = (make_video(5, 2, 3, 64, difficulty, side) for side in ("right", "left"))
    assert np.allclose(left["joints"], mirror_joints(right["joints"]), atol=1e-12)
    assert np.allclose(left["keypoints"][..., 0], 63 - right["keypoints"][..., 0], atol=1e-9)
    assert np.allclose(left["keypoints"][..., 1], right["keypoints"][..., 1], atol=1e-9)
    assert np.allclose(project(left["joints"], left["camera"]), left["keypoints"])
    assert np.allclose(
        left["box"],
        np.stack(
            [FRAME[0] - right["box"][:, 2], right["box"][:, 1], FRAME[0] - right["box"][:, 0], right["box"][:, 3]], 1
        ),
    )
    assert (left["visible"] == right["visible"]).mean() > 0.97, "but where a ray passes between two pixels"
    depths = []
    for side in ("right", "left"):
        scene, affine = made[side]
        depths.append(render(scene, 1, crop_cameras(scene, affine)[1], 64, 64)[1])
    assert (np.abs(depths[0] - depths[1][:, ::-1]) < 1e-3).mean() > 0.985, "what is seen is the mirror image too"


@pytest.mark.parametrize(("side", "number"), [("left", LEFT), ("right", RIGHT)])
def test_the_crops_camera_is_the_frames_camera_seen_through_the_crop(side, number):
    scene, _ = draw_scene(5, 4, 2, 96, "medium", side)
    made = make_video(5, 4, 2, 96, "medium", side)
    assert scene.actors[0].side == made["side"] == number
    in_frame = project(made["joints"][0], frame_camera(scene.focal, *FRAME))
    affine, box = made["crop_from_frame"][0], made["box"][0]
    assert np.allclose(in_frame @ affine[:, :2].T + affine[:, 2], made["keypoints"][0])
    assert (in_frame.min(0) > box[:2] - 1).all() and (in_frame.max(0) < box[2:] + 1).all(), "the box holds the hand"


def test_rings_stand_out_of_the_skin_and_gloves_are_thicker_than_the_hand():
    subject = draw_subject(np.random.default_rng(2), "ann")
    joints, frames, forearm = forward(subject, named_pose("open")[None])
    bare, ringed = (
        build_hand(subject, joints, frames, forearm, dress).at(0) for dress in (Dress(), Dress(rings=((2, 0.35),)))
    )
    (ring,) = np.flatnonzero(ringed.kind == RING)
    height = ringed.radius_a[ring] + distance_to_cones(bare, ringed.a[ring][None]).min()
    assert 0.0001 < height < 0.002, "between a tenth and two millimetres above the finger"
    scenes = [draw_scene(5, video, 1, 48, "wild", "both")[0] for video in range(40)]
    gloved = [scene for scene in scenes if scene.actors[0].glove]
    assert gloved and all((scene.actors[0].subject.radii > scene.subject.radii + 0.0005).all() for scene in gloved)
