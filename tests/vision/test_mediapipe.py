"""MediaPipe, where it is installed: what it finds on real footage, against its own reference output and the labels."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from assembling import FARTHEST, assemble, why_not
from footage import make_boxes, run_stage

import handtool
from handtool import store
from handtool.config import ExtractConfig, KeypointsConfig
from handtool.errors import HandtoolError
from handtool.hands.align import relative_to, similarity, wrist_error
from handtool.hands.boxes import apply_affine, invert
from handtool.hands.camera import project
from handtool.hands.skeleton import RIGHT
from handtool.stages.cat import join_attrs
from handtool.stages.extract import extract
from handtool.stages.keypoints import keypoints
from handtool.store import CROPS, KEYPOINTS, LABELS, PREDICTIONS
from handtool.vision.cropping import decode_jpeg
from handtool.vision.mediapipe import MediaPipeDetector, native_stderr_closed, open_hands
from handtool.vision.mediapipe_package import NETWORKS, find_api, has_solutions
from handtool.vision.task_file import cached_task

pytestmark = [pytest.mark.mediapipe, pytest.mark.skipif(why_not() != "", reason=why_not())]
SIGNS = ((1, 1, 1), (-1, 1, 1), (1, 1, -1), (-1, 1, -1))  # the axes as they are, and what they could be else


@pytest.fixture(scope="module")
def asl(tmp_path_factory, samples):
    """Crops of every fifth frame and their keypoints."""
    folder = tmp_path_factory.mktemp("asl")
    run_stage(extract, [samples / "videos" / "asl_hand.mp4"], folder / "crops.h5", ExtractConfig(every=5))
    run_stage(keypoints, folder / "crops.h5", folder / "keypoints.h5", KeypointsConfig())
    return folder


def error_of_extent(path, samples) -> tuple[np.ndarray, int]:
    """(hands,) mean distance to the reference as a share of the hand's extent, and how many of the 65 frames have a
    hand."""
    reference = np.array(json.loads((samples / "videos" / "asl_hand.keypoints2d.json").read_text()))[..., :2]
    with store.open_file(path) as file:
        frame, affine, side = (
            store.read_column(file, column) for column in (CROPS.frame, CROPS.crop_from_frame, CROPS.side)
        )
        xy, valid = store.read_column(file, KEYPOINTS.xy), store.read_column(file, KEYPOINTS.valid)
    assert (side == RIGHT).all()
    truth = reference[frame[valid]]
    distance = np.linalg.norm(apply_affine(invert(affine[valid]), xy[valid].astype(float)) - truth, axis=-1).mean(1)
    return distance / np.ptp(truth, axis=1).max(1), len(np.unique(frame[valid]))


def test_the_right_hand_of_the_real_video_is_found_and_its_landmarks_kept(asl, samples):
    error, frames = error_of_extent(asl / "keypoints.h5", samples)
    assert frames >= 0.98 * 65 and error.mean() < FARTHEST[find_api().name]


def test_on_crops_alone_the_keypoints_are_found_as_well(asl, samples, tmp_path):
    with store.open_file(asl / "crops.h5") as file:
        boxes, frames = store.read_column(file, CROPS.box).astype(float), store.read_column(file, CROPS.frame)
    boxes[:, 2:] -= boxes[:, :2]
    hands = {f"asl_hand.mp4#{frame}": [box] for frame, box in zip(frames, boxes.tolist(), strict=True)}
    path = make_boxes(tmp_path / "boxes.json", hands, side="right")
    run_stage(extract, [samples / "videos" / "asl_hand.mp4"], tmp_path / "crops.h5", ExtractConfig(every=5), boxes=path)
    report = run_stage(keypoints, tmp_path / "crops.h5", tmp_path / "k.h5", KeypointsConfig())
    error, found = error_of_extent(tmp_path / "k.h5", samples)
    assert report["hands_by_origin"] == {"mediapipe": 65}
    assert found >= 0.98 * 65 and error.mean() < FARTHEST[find_api().name]


def test_on_labelled_left_hands_it_agrees_with_the_labels(samples, tmp_path):
    run_stage(extract, [samples / "realworld3d"], tmp_path / "crops.h5", ExtractConfig(limit=40))
    run_stage(keypoints, tmp_path / "crops.h5", tmp_path / "k.h5", KeypointsConfig(estimator="mediapipe"))
    with store.open_file(tmp_path / "k.h5") as file:
        xy, valid, truth = (
            store.read_column(file, column) for column in (KEYPOINTS.xy, KEYPOINTS.valid, LABELS.keypoints)
        )
        joints, true_joints = store.read_column(file, KEYPOINTS.joints)[valid], store.read_column(file, LABELS.joints)
    assert valid.mean() > 0.95 and np.median(np.linalg.norm(xy - truth, axis=-1)[valid]) < 8
    relative = relative_to(true_joints[valid])
    known = np.ones(relative.shape[:2], bool)
    error = {sign: 1000 * wrist_error(joints * sign, relative, known).mean() for sign in SIGNS}
    assert error[1, 1, 1] < 30 and min(error[sign] for sign in SIGNS[1:]) > 45, "camera axes, a left hand not mirrored"
    turned = similarity(joints, relative, allow_reflection=False)
    assert 1000 * np.linalg.norm(turned - relative, axis=-1).mean() < 14


def test_a_clip_becomes_3d_hands_without_labels(samples, tmp_path):
    video, reference = samples / "videos" / "asl_hand.mp4", samples / "videos" / "asl_hand.joints3d.json"
    report = handtool.run("predict", video, tmp_path / "p.h5", model="mediapipe", fps=2, camera="fov=50", workers=1)
    assert report["joints_from"] == {"detector": 26} and report["camera_source"] == {"assumed": 26}
    with store.open_file(tmp_path / "p.h5") as file:
        frame, joints, absolute = (
            store.read_column(file, column) for column in (CROPS.frame, PREDICTIONS.joints, PREDICTIONS.absolute)
        )
        seen = project(joints, store.read_column(file, CROPS.camera))
        off = np.linalg.norm(seen - store.read_column(file, PREDICTIONS.keypoints), axis=-1)
    truth = relative_to(np.array(json.loads(reference.read_text()))[frame])
    assert absolute.all() and np.median(off) < 12, "px of a crop of 224: placed where it is seen"
    farthest = {"solutions": 12, "tasks": 20}[find_api().name]  # mm; the reference is the solutions API's
    assert 1000 * np.linalg.norm(relative_to(joints) - truth, axis=-1).mean() < farthest


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    """A hand_landmarker.task: that of the cache, or one of the networks that the installed package carries."""
    if not has_solutions():
        return cached_task()
    import mediapipe

    place = tmp_path_factory.mktemp("task") / "hand_landmarker.task"
    return assemble(Path(mediapipe.__file__).parent, place)


def test_the_tasks_api_finds_the_same_right_hand(asl, task, samples, tmp_path):
    config = ExtractConfig(every=25)
    run_stage(extract, [samples / "videos" / "asl_hand.mp4"], tmp_path / "crops.h5", config, model=task)
    run_stage(keypoints, tmp_path / "crops.h5", tmp_path / "k.h5", KeypointsConfig())
    error, found = error_of_extent(tmp_path / "k.h5", samples)
    assert found == 13 and error.mean() < 0.04
    run_stage(keypoints, tmp_path / "crops.h5", tmp_path / "m.h5", KeypointsConfig(estimator="mediapipe"), model=task)
    error, found = error_of_extent(tmp_path / "m.h5", samples)
    assert found == 13 and error.mean() < 0.04


def test_through_the_tasks_api_hands_are_those_of_a_bare_call(task, samples):
    import mediapipe

    vision = mediapipe.tasks.vision
    options = vision.HandLandmarkerOptions(
        base_options=mediapipe.tasks.BaseOptions(model_asset_path=str(task)), num_hands=8
    )
    images = [decode_jpeg(path.read_bytes()) for path in sorted((samples / "onehand10k").glob("*.jpg"))]
    detector, found = MediaPipeDetector(0.5, task), 0
    with native_stderr_closed():
        bare = vision.HandLandmarker.create_from_options(options)
    for image in images:
        [hands] = detector.find_hands([image], ["a"])
        with native_stderr_closed():
            seen = bare.detect(mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=image))
        points = [[(point.x, point.y) for point in hand] for hand in seen.hand_landmarks]
        expected = np.array(points).reshape(-1, 21, 2) * image.shape[1::-1] - 0.5
        order = np.argsort([-said[0].score for said in seen.handedness], kind="stable")
        np.testing.assert_array_equal(np.reshape([hand.landmarks for hand in hands], (-1, 21, 2)), expected[order])
        found += len(hands)
    with native_stderr_closed():
        bare.close()
    assert len(images) == 4 and found >= 4


def test_a_view_that_is_not_contiguous_is_read_like_its_copy(task, samples):
    """Version 1.2.3 reads such an array as if it were: 235 px off."""
    image = decode_jpeg(next((samples / "onehand10k").glob("*.jpg")).read_bytes())
    hands = open_hands(2, 0.5, task)
    for view in (image[:, ::-1], np.dstack([image, image])[..., :3], image[10:-10, 10:-10]):
        seen, expected = hands.look(view), hands.look(view.copy())
        assert not view.flags["C_CONTIGUOUS"] and len(expected) == 1
        np.testing.assert_array_equal(seen[0].xy, expected[0].xy)


def test_the_command_says_nothing_beside_its_report(handtool, samples, tmp_path):
    """The library's own notices and its destructors' errors stay out of sight."""
    done = handtool("extract", *sorted((samples / "onehand10k").glob("*.jpg")), "--workers", "1", "-o", "c.h5")
    assert done.returncode == 0 and done.stderr == "" and store.name_api(find_api().as_attrs()) in done.stdout


def test_a_task_file_without_the_networks_or_with_others_is_a_line_and_no_traceback(tmp_path):
    for name, content in (("without.task", ()), ("damaged.task", NETWORKS)):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr("a.txt", "something else")
            for network in content:
                archive.writestr(network, b"no network")
        with pytest.raises(HandtoolError, match="is no hand landmarker") as caught:
            open_hands(2, 0.5, tmp_path / name)
        assert "\n" not in caught.value.message and "hand_landmarker.task" in caught.value.hint


def test_what_found_the_points_is_recorded_and_two_apis_are_not_mixed(asl, task, samples, tmp_path):
    run_stage(extract, [samples / "videos" / "asl_hand.mp4"], tmp_path / "c.h5", ExtractConfig(every=100), model=task)
    run_stage(keypoints, tmp_path / "c.h5", tmp_path / "k.h5", KeypointsConfig())
    told = find_api(task).as_attrs()
    for path, table in ((tmp_path / "c.h5", CROPS), (tmp_path / "k.h5", KEYPOINTS)):
        with store.open_file(path) as file:
            assert store.api_attrs(store.read_attrs(file, table)) == told
    with store.open_file(asl / "keypoints.h5") as one, store.open_file(tmp_path / "k.h5") as other:
        assert store.api_attrs(store.read_attrs(one, KEYPOINTS)) == find_api().as_attrs()
        if find_api().name == "tasks":
            return
        with pytest.raises(HandtoolError, match="by MediaPipe's solutions API of .* by its Tasks API of .* with task"):
            join_attrs([one, other], KEYPOINTS)


def test_workers_do_not_change_what_is_found(asl, tmp_path, samples):
    for workers in (1, 2):
        sources = [samples / "videos", samples / "sign_digits" / "3"]
        run_stage(extract, sources, tmp_path / f"{workers}.h5", ExtractConfig(workers=workers))
    with store.open_file(tmp_path / "1.h5") as one, store.open_file(tmp_path / "2.h5") as two:
        for column in (CROPS.video, CROPS.frame, CROPS.landmarks, CROPS.side, CROPS.jpeg_crc32):
            np.testing.assert_array_equal(store.read_column(one, column), store.read_column(two, column))
