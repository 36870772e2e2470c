"""predict writes one pose per crop, linked to what it was made from, and says on what scale."""

import json

import numpy as np
import pytest
import torch
from making import SIZE, make_file, make_hands, record, write_crops, write_labels, write_videos

from handtool import store
from handtool.config import PredictConfig
from handtool.errors import HandtoolError
from handtool.hands.smoothing import OneEuro
from handtool.nn.files.pose_weights import write_pose
from handtool.nn.models.encoder import make_encoder
from handtool.nn.models.pose_model import Contract, PoseModel
from handtool.stages import predict as predict_stage
from handtool.stages.predict import predict
from handtool.store import CROPS, LABELS, PREDICTIONS


@pytest.fixture(scope="module")
def pose_path(tmp_path_factory):
    torch.manual_seed(0)
    model = PoseModel(make_encoder("resnet18"), Contract(size=48, bone_m=0.025))
    torch.nn.init.normal_(model.head.fc.weight, std=0.05)
    path = tmp_path_factory.mktemp("model") / "pose.h5"
    with store.create_file(path, record()) as sink:
        write_pose(sink, model, {})
        sink.finish({})
    return path


def run(source, out, pose_path, **changes):
    config = PredictConfig(device="cpu", workers=1, **changes)
    with store.open_file(source) as file, store.open_file(pose_path) as pose:
        with store.create_file(out, record(**changes), [file, pose]) as sink:
            report = predict(file, sink, config, model=pose)
            sink.finish(report)
    return report


def test_every_crop_gets_a_pose_beside_the_tables_it_came_with(tmp_path, pose_path):
    source = make_file(tmp_path / "test.h5", tables=("labels",))
    report = run(source, tmp_path / "predictions.h5", pose_path)
    assert report["accounting"][0] == {"what": "hands", "in": 9, "done": 9, "skipped": {}, "failed": {}}
    assert report["in_camera_frame"] == 9 and report["scale_source"] == "truth"
    with store.open_file(tmp_path / "predictions.h5") as file:
        assert file.count(PREDICTIONS) == file.count(CROPS) == 9 and file.has(LABELS)
        assert store.read_attrs(file, PREDICTIONS)["scale_source"] == "truth"
        joints, scale = store.read_column(file, PREDICTIONS.joints), store.read_column(file, PREDICTIONS.scale)
        np.testing.assert_allclose(scale, store.read_column(file, LABELS.scale))
        assert (joints[:, :, 2] > 0).any() and np.isfinite(joints).all()


def test_the_same_input_gives_the_same_file(tmp_path, pose_path):
    source = make_file(tmp_path / "test.h5", tables=("labels",))
    run(source, tmp_path / "one.h5", pose_path)
    run(source, tmp_path / "two.h5", pose_path)
    with store.open_file(tmp_path / "one.h5") as one, store.open_file(tmp_path / "two.h5") as two:
        assert one.uuid == two.uuid


def test_crops_without_labels_are_predicted_at_the_training_mean(tmp_path, pose_path):
    report = run(make_file(tmp_path / "crops.h5"), tmp_path / "p.h5", pose_path)
    assert report["scale_source"] == "mean"
    with store.open_file(tmp_path / "p.h5") as file:
        np.testing.assert_allclose(store.read_column(file, PREDICTIONS.scale), 0.025)


def test_hands_without_a_true_bone_are_skipped_where_others_have_one(tmp_path, pose_path):
    rng = np.random.default_rng(0)
    hands = make_hands(4, rng, SIZE)
    hands["joints"][2, 9] = np.nan
    with store.create_file(tmp_path / "test.h5", record()) as sink:
        write_videos(sink, 1)
        write_crops(sink, np.zeros(4, int), np.array([0, 1, 2, 0]), hands | {"xy": np.nan_to_num(hands["xy"])}, rng)
        write_labels(sink, hands)
        sink.finish({})
    report = run(tmp_path / "test.h5", tmp_path / "p.h5", pose_path)
    assert report["accounting"][0]["skipped"] == {"no true bone length": 1} and report["accounting"][0]["done"] == 3
    assert report["side_unknown_as_right"] == 1
    with store.open_file(tmp_path / "p.h5") as file:
        assert store.read_column(file, PREDICTIONS.valid).tolist() == [True, True, False, True]
        assert np.isfinite(store.read_column(file, PREDICTIONS.keypoints)).all()  # 2D needs no scale
    assert run(tmp_path / "test.h5", tmp_path / "m.h5", pose_path, bone="mean")["accounting"][0]["done"] == 4


def test_asking_for_the_truth_where_there_is_none_is_an_error(tmp_path, pose_path):
    with pytest.raises(HandtoolError, match="--bone truth") as caught:
        run(make_file(tmp_path / "crops.h5"), tmp_path / "p.h5", pose_path, bone="truth")
    assert "--bone mean" in caught.value.hint and not (tmp_path / "p.h5").exists()


def make_tracks(path, rng):
    """Two hands of one video, one after the other in the file, eight frames at uneven times; then one that no track
    knows."""
    hands = make_hands(17, rng, SIZE)
    with store.create_file(path, record()) as sink:
        write_videos(sink, 1)
        write_crops(
            sink, np.zeros(17, int), np.repeat([0, 1, 0], [8, 8, 1]), hands, rng, track=np.repeat([0, 1, -1], [8, 8, 1])
        )
        sink.finish({})
    return path, hands


def test_smoothed_hands_are_those_of_the_filter_along_each_track_and_the_others_stay(tmp_path, pose_path, monkeypatch):
    path, hands = make_tracks(tmp_path / "crops.h5", np.random.default_rng(1))
    plain = {
        "joints": hands["joints"].astype(np.float32),
        "keypoints": hands["xy"].astype(np.float32),
        "valid": np.arange(17) != 11,
        "absolute": np.ones(17, bool),
        "scale": np.full(17, 0.025, np.float32),
    }
    plain["joints"][11] = np.nan
    copies = {name: values.copy() for name, values in plain.items()}
    monkeypatch.setattr("handtool.nn.files.inference.predict_file", lambda *_: copies)
    report = run(path, tmp_path / "p.h5", pose_path, smooth=True, min_cutoff=0.7, beta=3.0)
    counted = report["accounting"][1]
    assert (
        counted["what"] == "hands smoothed"
        and counted["done"] == 15
        and counted["skipped"] == {"no prediction": 1, "of no track": 1}
    )
    with store.open_file(tmp_path / "p.h5", trusted=True) as file:
        joints, keypoints, time = (
            store.read_column(file, column) for column in (PREDICTIONS.joints, PREDICTIONS.keypoints, CROPS.time)
        )
        settings = json.loads(store.read_attrs(file, PREDICTIONS)["smoothing"])
    assert settings == {"min_cutoff_hz": 0.7, "beta_hz_per_m_per_s": 3.0, "derivative_cutoff_hz": 1.0}
    euro = OneEuro(0.7, 3.0, 1.0)
    for rows in (np.arange(8), np.array([8, 9, 10, 12, 13, 14, 15])):
        expected = euro.filter_hand(plain["joints"][rows].astype(float), time[rows])
        np.testing.assert_allclose(joints[rows], expected, atol=1e-6)
        assert np.abs(keypoints[rows[1:]] - plain["keypoints"][rows[1:]]).max() > 1
    assert (
        np.isnan(joints[11]).all()
        and np.array_equal(joints[16], plain["joints"][16])
        and np.array_equal(keypoints[11], plain["keypoints"][11])
    )


def test_keypoints_are_smoothed_on_the_frame_not_in_the_crop_that_moves_along(tmp_path, pose_path, monkeypatch):
    """A hand at rest whose crop jumps about: on the frame nothing moves, so nothing may change."""
    rng = np.random.default_rng(2)
    path, hands = make_tracks(tmp_path / "crops.h5", rng)
    affine = np.tile(np.eye(2, 3), (17, 1, 1)) * rng.uniform(0.8, 1.2, (17, 1, 1))
    affine[:, :, 2] = rng.uniform(-20, 20, (17, 2))
    on_frame = np.repeat(hands["xy"][:1], 17, axis=0)
    in_crop = np.einsum("nij,nkj->nki", affine[:, :, :2], on_frame) + affine[:, None, :, 2]
    columns = {
        "joints": np.repeat(hands["joints"][:1], 17, axis=0),
        "keypoints": in_crop,
        "valid": np.ones(17, bool),
        "absolute": np.ones(17, bool),
        "scale": np.full(17, 0.025),
    }
    cameras = np.full((17, 3, 3), np.nan)
    monkeypatch.setattr(store, "read_geometry", lambda file: {"crop_from_frame": affine, "camera": cameras})
    with store.open_file(path, trusted=True) as file:
        still = predict_stage.smooth(file, columns, PredictConfig(smooth=True))[1]
    assert still["before"]["frames"] == still["after"]["frames"] == 12, "all but the ends of both tracks"
    assert max(still["before"]["pose_mm"], still["after"]["wrist_mm"]) < 1e-3
    np.testing.assert_allclose(columns["keypoints"], in_crop, atol=1e-9)


def test_the_report_says_how_much_still_hands_tremble_before_and_after(tmp_path, pose_path):
    path, hands = make_tracks(tmp_path / "crops.h5", np.random.default_rng(3))
    noise = np.random.default_rng(4).normal(0, 0.001, (17, 21, 3))
    columns = {
        "joints": hands["joints"][:1] + noise,
        "keypoints": np.repeat(hands["xy"][:1], 17, axis=0),
        "valid": np.ones(17, bool),
        "absolute": np.ones(17, bool),
        "scale": np.full(17, 0.025),
    }
    with store.open_file(path, trusted=True) as file:
        still = predict_stage.smooth(file, columns, PredictConfig(smooth=True))[1]
    wrist = [np.diff(noise[rows, 0], 2, axis=0) for rows in (slice(0, 8), slice(8, 16))]
    expected_mm = 1000 * np.sqrt(np.square(wrist).sum(-1).mean())
    assert still["before"]["wrist_mm"] == pytest.approx(expected_mm, rel=1e-3)
    assert still["after"]["wrist_mm"] < still["before"]["wrist_mm"]
    assert still["after"]["pose_mm"] < still["before"]["pose_mm"]


def test_without_tracks_smoothing_says_that_it_did_nothing(tmp_path, pose_path, caplog):
    report = run(make_file(tmp_path / "crops.h5"), tmp_path / "p.h5", pose_path, smooth=True)
    assert report["accounting"][1]["skipped"] == {"of no track": 9} and "nothing was smoothed" in caplog.text
