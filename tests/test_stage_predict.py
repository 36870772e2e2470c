"""predict writes one pose per crop, linked to what it was made from, and says on what scale."""

import numpy as np
import pytest
import torch
from making import SIZE, make_file, make_hands, record, write_crops, write_labels, write_videos

from handtool import store
from handtool.config import PredictConfig
from handtool.errors import HandtoolError
from handtool.nn.encoder import make_encoder
from handtool.nn.pose import Contract, PoseModel, write_pose
from handtool.stages.predict import predict
from handtool.store import CROPS, LABELS, PREDICTIONS


@pytest.fixture
def pose_path(tmp_path):
    torch.manual_seed(0)
    model = PoseModel(make_encoder("resnet18"), Contract(size=48, bone_m=0.025))
    torch.nn.init.normal_(model.head.fc.weight, std=0.05)
    with store.create_file(tmp_path / "pose.h5", record()) as sink:
        write_pose(sink, model, {})
        sink.finish({})
    return tmp_path / "pose.h5"


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
