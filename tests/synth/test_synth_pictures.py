"""The rendered world: truth on the pixels, visibility by another route, the same seed the same bytes."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from handtool.hands.camera import project
from handtool.synth.anatomy import draw_subject
from handtool.synth.crops import crop_cameras, draw_scene, make_video
from handtool.synth.flesh import THING, Builder, build_hand
from handtool.synth.kinematics import forward, rotation
from handtool.synth.motion import UPRIGHT
from handtool.synth.places import draw_place
from handtool.synth.poses import named_pose
from handtool.synth.scene import flesh_around, see_joints, solids
from handtool.synth.things import fill_grasp
from handtool.synth.tracing import FAR, trace
from handtool.synth.world import render

CAMERA = np.array([[150.0, 0, 47.5], [0, 150.0, 47.5], [0, 0, 1]])


def spheres_of(cones):
    """A solid as many spheres: centres (n, 3), radii (n,). What the tests trace against, without cones and without
    melting."""
    share = np.linspace(0, 1, 25)[:, None, None]
    centres = cones.a + share * (cones.b - cones.a)
    radii = cones.radius_a + share[..., 0] * (cones.radius_b - cones.radius_a)
    return centres.reshape(-1, 3), radii.ravel()


def first_entry(direction, centres, radii):
    """Exact distance at which a ray from the eye enters the first sphere; inf if none."""
    towards = centres @ direction
    half = towards**2 - (centres**2).sum(1) + radii**2
    entry = towards[half >= 0] - np.sqrt(half[half >= 0])
    return entry[entry > 0].min(initial=np.inf)


def staged(*settings):
    """A scene, and the cameras of its crops."""
    scene, crop_from_frame = draw_scene(*settings)
    return scene, crop_cameras(scene, crop_from_frame)


def test_a_ball_is_met_where_the_formula_says_and_its_normals_point_out():
    ball = Builder()
    centre = np.array([[0.02, -0.01, 0.5]])
    ball.add(THING, 7, centre, centre + [0, 0, 1e-4], 0.06, 0.06, np.eye(3))
    hits = trace(ball.finish().at(0), CAMERA, 96, 96)
    met = hits.cover > 0.99
    assert met.sum() > 500
    direction = hits.point[:, met] / np.linalg.norm(hits.point[:, met], axis=0)
    exact = [first_entry(d, centre, np.array([0.06])) for d in direction.T.astype(float)]
    inner = np.isfinite(exact)
    assert inner.mean() > 0.97
    error = np.abs(hits.depth[met][inner] - np.array(exact)[inner])
    assert np.median(error) < 2e-4 and np.quantile(error, 0.95) < 1e-3
    off = np.abs(np.linalg.norm(hits.point[:, met] - centre.T, axis=0) - 0.06)
    assert off.max() < 0.3 * 0.5 / 150, "a third of a pixel from the surface, on grazing rays too"
    away = hits.point[:, met] - centre.T
    assert ((hits.normal[:, met] * away).sum(0) / np.linalg.norm(away, axis=0)).min() > 0.97


def test_nothing_in_view_gives_no_hits():
    ball = Builder()
    ball.add(THING, 7, np.array([[3.0, 0, 0.5]]), np.array([[3.0, 0, 0.51]]), 0.05, 0.05, np.eye(3))
    assert trace(ball.finish().at(0), CAMERA, 96, 96) is None


@pytest.mark.parametrize("video", range(3))
def test_the_depth_of_the_hand_agrees_with_rays_against_spheres(video):
    scene, cameras = staged(11, video, 2, 64, "easy", "right")
    _, depth = render(scene, 0, cameras[0], 64, 64)
    centres, radii = spheres_of(solids(scene, 0)[0])
    inverse = np.linalg.inv(cameras[0])
    rows, columns = np.nonzero(depth < FAR)
    chosen = np.random.default_rng(video).choice(len(rows), 250, replace=False)
    differences = []
    for v, u in zip(rows[chosen], columns[chosen], strict=True):
        direction = inverse @ [u, v, 1]
        differences.append(depth[v, u] - first_entry(direction / np.linalg.norm(direction), centres, radii))
    differences = np.array(differences)[np.isfinite(differences)]
    assert len(differences) > 170, "the skin that melting adds between fingers has no spheres behind it"
    assert np.quantile(differences, 0.98) < 0.0006, "melting adds flesh, it never takes any away"
    assert np.median(differences) > -0.004 and np.quantile(differences, 0.1) > -0.012, "and it adds little"


@pytest.mark.parametrize("difficulty", ["easy", "wild"])
def test_visibility_agrees_with_an_independent_ray_test(difficulty):
    agree = []
    for video in range(6):
        scene, cameras = staged(13, video, 3, 96, difficulty, "both")
        (actor,) = scene.actors
        flesh = flesh_around(actor.subject)
        for frame in (0, 2):
            seen = see_joints(actor, frame, cameras[frame], render(scene, frame, cameras[frame], 96, 96)[1])
            centres, radii = spheres_of(solids(scene, frame)[0])
            joints = actor.joints[frame]
            uv = project(joints, cameras[frame])
            inside = ((uv > -0.5) & (uv < 95.5)).all(1)
            far = np.linalg.norm(joints, axis=1)
            entry = np.array([first_entry(joint / d, centres, radii) for joint, d in zip(joints, far, strict=True)])
            agree.append(seen == (inside & (entry > far - flesh)))
    agree = np.concatenate(agree)
    assert agree.mean() > 0.95
    assert not seen.all() or difficulty == "easy"


def posed(name, turn):
    """A scene of one frame: a named pose, half a metre away. Returns it, its hand and its camera."""
    scene, _ = draw_scene(5, 0, 1, 128, "easy", "right")
    joints, frames, forearm = forward(scene.subject, named_pose(name)[None])
    shift = np.array([[0.0, 0.09, 0.56]])
    camera = np.array([[300.0, 0, 63.5], [0, 300.0, 63.5], [0, 0, 1]])
    hand = build_hand(scene.subject, joints, frames, forearm)
    actor = replace(scene.actors[0], hand=hand, turn=turn[None], shift=shift, joints=joints @ turn.T + shift)
    return replace(scene, actors=(actor,)), actor, camera


def joints_seen(name, turn):
    scene, actor, camera = posed(name, turn)
    return see_joints(actor, 0, camera, render(scene, 0, camera, 128, 128)[1])


def test_an_open_hand_shows_all_its_joints_and_a_fist_from_behind_hides_its_fingertips():
    for turn in (UPRIGHT, rotation(1, np.pi) @ UPRIGHT):
        assert joints_seen("open", turn).all()
    seen = joints_seen("fist", UPRIGHT)
    assert not seen[[8, 12, 16, 20]].any() and seen[[0, 5, 9, 13, 17]].all()


def test_keypoints_are_the_projection_of_the_joints():
    for difficulty in ("easy", "medium", "wild"):
        made = make_video(5, 1, 4, 64, difficulty, "both")
        assert np.allclose(project(made["joints"], made["camera"]), made["keypoints"], atol=1e-9)
        assert np.allclose(made["scale"], np.linalg.norm(made["joints"][:, 9] - made["joints"][:, 10], axis=1))


def test_the_hand_is_where_its_keypoints_are():
    """The joints lie on pixels of the hand."""
    scene, cameras = staged(5, 3, 4, 128, "easy", "both")
    for frame in range(4):
        _, depth = render(scene, frame, cameras[frame], 128, 128)
        uv = np.round(project(scene.actors[0].joints[frame], cameras[frame])).astype(int)
        inner = [
            joint for joint in range(21) if joint not in (4, 8, 12, 16, 20)
        ]  # tips lie on the skin, where half a pixel decides
        assert (depth[uv[inner, 1], uv[inner, 0]] < FAR).all()


def test_two_runs_give_the_same_bytes_and_other_seeds_others():
    first, again, other = (make_video(seed, 2, 3, 64, "wild", "both") for seed in (5, 5, 6))
    assert first["jpeg"] == again["jpeg"] and np.array_equal(first["joints"], again["joints"])
    assert not any(a == b for a, b in zip(first["jpeg"], other["jpeg"], strict=True))
    assert np.abs(first["joints"] - other["joints"]).max() > 0.01


def test_videos_differ_in_place_light_and_camera():
    scenes = [draw_scene(5, video, 2, 48, "easy", "both")[0] for video in range(6)]
    assert len({scene.place for scene in scenes}) == 6 and len({scene.subject.name for scene in scenes}) == 3
    assert len({scene.focal for scene in scenes}) == 6 and len({tuple(scene.light.direction) for scene in scenes}) == 6


def test_a_held_thing_touches_the_hand_and_does_not_pierce_the_bones():
    for seed in range(8):
        actors = (draw_scene(seed, video, 1, 48, "wild", "right")[0].actors[0] for video in range(40))
        actor = next(actor for actor in actors if actor.held is not None)
        hand_centres, hand_radii = spheres_of(actor.hand.at(0))
        centres, radii = spheres_of(actor.held)
        gap = np.linalg.norm(hand_centres[:, None] - centres, axis=2) - hand_radii[:, None] - radii
        to_bones = np.linalg.norm(hand_centres[:, None] - centres, axis=2) - radii
        assert gap.min() < 0.004 and to_bones.min() > -0.02


def test_a_fist_leaves_no_room_for_a_thing():
    rng = np.random.default_rng(0)
    subject = draw_subject(rng, "ann")
    joints, frames, forearm = forward(subject, named_pose("fist")[None])
    assert fill_grasp(rng, build_hand(subject, joints, frames, forearm).at(0), joints[0]) is None


def test_harder_pictures_have_busier_backgrounds():
    def busyness(clutter):
        return np.mean(
            [
                cv2.Laplacian(draw_place(np.random.default_rng(seed), clutter).astype(np.float32), cv2.CV_32F).std()
                for seed in range(4)
            ]
        )

    assert busyness(0.05) < busyness(0.45) < busyness(1.0)
