"""MediaPipe, where it is installed: what it finds on real footage, against its own reference output and the labels."""

import importlib.util
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from footage import make_boxes, run_stage

from handtool import store
from handtool.config import ExtractConfig, KeypointsConfig
from handtool.hands.boxes import apply_affine, invert
from handtool.hands.skeleton import RIGHT
from handtool.stages.extract import extract
from handtool.stages.keypoints import keypoints
from handtool.store import CROPS, KEYPOINTS, LABELS

MISSING = importlib.util.find_spec("mediapipe") is None
pytestmark = [
    pytest.mark.mediapipe,
    pytest.mark.skipif(MISSING, reason="mediapipe is not installed: pip install 'handtool[mediapipe]'"),
]


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
    assert frames >= 0.98 * 65 and error.mean() < 0.025


def test_on_crops_alone_the_keypoints_are_found_as_well(asl, samples, tmp_path):
    with store.open_file(asl / "crops.h5") as file:
        boxes, frames = store.read_column(file, CROPS.box).astype(float), store.read_column(file, CROPS.frame)
    boxes[:, 2:] -= boxes[:, :2]
    hands = {f"asl_hand.mp4#{frame}": [box] for frame, box in zip(frames, boxes.tolist(), strict=True)}
    path = make_boxes(tmp_path / "boxes.json", hands, side="right")
    run_stage(extract, [samples / "videos" / "asl_hand.mp4"], tmp_path / "crops.h5", ExtractConfig(every=5), boxes=path)
    report = run_stage(keypoints, tmp_path / "crops.h5", tmp_path / "k.h5", KeypointsConfig())
    error, found = error_of_extent(tmp_path / "k.h5", samples)
    assert report["hands_by_origin"] == {"mediapipe": 65} and found >= 0.98 * 65 and error.mean() < 0.025


def test_on_labelled_left_hands_it_agrees_with_the_labels(samples, tmp_path):
    run_stage(extract, [samples / "realworld3d"], tmp_path / "crops.h5", ExtractConfig(limit=40))
    run_stage(keypoints, tmp_path / "crops.h5", tmp_path / "k.h5", KeypointsConfig(estimator="mediapipe"))
    with store.open_file(tmp_path / "k.h5") as file:
        xy, valid, truth = (
            store.read_column(file, column) for column in (KEYPOINTS.xy, KEYPOINTS.valid, LABELS.keypoints)
        )
    assert valid.mean() > 0.95 and np.median(np.linalg.norm(xy - truth, axis=-1)[valid]) < 8


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    """A hand_landmarker.task made of the models that the package brings for its older API."""
    import mediapipe
    from mediapipe.tasks.python.metadata.metadata_writers.metadata_writer import MetadataWriter

    modules, path = (
        Path(mediapipe.__file__).parent / "modules",
        tmp_path_factory.mktemp("task") / "hand_landmarker.task",
    )
    parts = {"hand_detector.tflite": ("palm_detection", 2), "hand_landmarks_detector.tflite": ("hand_landmark", 4)}
    with zipfile.ZipFile(path, "w") as archive:
        for name, (module, outputs) in parts.items():
            writer = MetadataWriter.create(bytearray((modules / module / f"{module}_full.tflite").read_bytes()))
            writer.add_image_input([0.0], [255.0])
            for number in range(outputs):
                writer.add_feature_output(f"output {number}")
            archive.writestr(name, bytes(writer.populate()[0]))
    return path


def test_the_tasks_api_finds_the_same_right_hand(asl, task, samples, tmp_path):
    config = ExtractConfig(every=25)
    run_stage(extract, [samples / "videos" / "asl_hand.mp4"], tmp_path / "crops.h5", config, model=task)
    run_stage(keypoints, tmp_path / "crops.h5", tmp_path / "k.h5", KeypointsConfig())
    error, found = error_of_extent(tmp_path / "k.h5", samples)
    assert found == 13 and error.mean() < 0.04
    run_stage(keypoints, tmp_path / "crops.h5", tmp_path / "m.h5", KeypointsConfig(estimator="mediapipe"), model=task)
    error, found = error_of_extent(tmp_path / "m.h5", samples)
    assert found == 13 and error.mean() < 0.04


def test_what_is_no_task_file_is_refused(task, tmp_path):
    from handtool.errors import HandtoolError
    from handtool.vision.mediapipe import open_hands

    (tmp_path / "text.task").write_text("no archive")
    with zipfile.ZipFile(tmp_path / "other.task", "w") as archive:
        archive.writestr("a.txt", "something else")
    for name, message in (
        ("text.task", "is no MediaPipe task file"),
        ("other.task", "is no hand landmarker"),
        ("gone.task", "does not exist"),
    ):
        with pytest.raises(HandtoolError, match=message) as caught:
            open_hands(2, 0.5, tmp_path / name)
        assert "\n" not in caught.value.message and "hand_landmarker.task" in caught.value.hint


def test_workers_do_not_change_what_is_found(asl, tmp_path, samples):
    for workers in (1, 2):
        sources = [samples / "videos", samples / "sign_digits" / "3"]
        run_stage(extract, sources, tmp_path / f"{workers}.h5", ExtractConfig(workers=workers))
    with store.open_file(tmp_path / "1.h5") as one, store.open_file(tmp_path / "2.h5") as two:
        for column in (CROPS.video, CROPS.frame, CROPS.landmarks, CROPS.side, CROPS.jpeg_crc32):
            np.testing.assert_array_equal(store.read_column(one, column), store.read_column(two, column))
