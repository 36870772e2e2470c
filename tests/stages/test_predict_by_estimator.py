"""predict and eval by an estimator that knows 3D without labels: whose joints they are, how large, and where."""

import numpy as np
import pytest
from making import SIZE, make_hands, record, write_crops, write_labels, write_videos
from running import read, read_tables, same_tables

import handtool
from handtool import store
from handtool.errors import HandtoolError, WrongCommand
from handtool.hands.hand_size import bone_lengths, usual_lengths
from handtool.store import CROPS, KEYPOINTS, LABELS, PREDICTIONS

NUM = 6
API = {"mediapipe_api": "solutions", "mediapipe_version": "0.10.21"}
ESTIMATE = 0.8  # what the estimator takes a hand of length 1 for


@pytest.fixture
def crops(tmp_path):
    """Six labelled hands, of which a detector found five in 3D, at its own size; the fourth has no camera."""
    rng = np.random.default_rng(3)
    hands = make_hands(NUM, rng, SIZE)
    hands["camera"][3] = np.nan
    found = ESTIMATE * (hands["joints"] - hands["joints"][:, :1])
    found[5], hands["joints"][4, 20] = np.nan, np.nan
    landmarks = np.where(np.arange(NUM)[:, None, None] == 5, np.nan, hands["xy"])
    more = dict(landmarks=landmarks, landmarks_score=np.full(NUM, 0.9), landmarks_joints=found)
    with store.create_file(tmp_path / "crops.h5", record()) as sink:
        write_videos(sink, 1)
        write_crops(sink, np.zeros(NUM, int), np.arange(NUM) % 2, hands, rng, track=np.zeros(NUM, int), **more)
        write_labels(sink, hands)
        sink.finish({})
    return tmp_path / "crops.h5"


@pytest.fixture
def looks(monkeypatch):
    """In the place of the worker processes: nobody is seen on the crops that are looked at; their rows."""
    rows = []

    def estimate(source, hands, missing, *_):
        rows.append(missing.tolist())
        hands.reason[missing] = "no hand seen on the crop"

    monkeypatch.setattr("handtool.stages.keypoints.estimate", estimate)
    monkeypatch.setattr("handtool.stages.keypoints.check_settings", lambda *_: None)
    monkeypatch.setattr("handtool.stages.keypoints.describe_estimator", lambda *_: API)
    return rows


def test_hands_are_placed_on_the_rays_at_the_estimators_size_or_stay_relative_to_the_wrist(tmp_path, crops, looks):
    report = handtool.run("predict", crops, tmp_path / "p.h5", model="mediapipe")
    truth, valid, absolute, joints, scale, xy = (
        read(tmp_path / "p.h5", column)
        for column in (
            LABELS.joints,
            PREDICTIONS.valid,
            PREDICTIONS.absolute,
            PREDICTIONS.joints,
            PREDICTIONS.scale,
            PREDICTIONS.keypoints,
        )
    )
    assert valid.tolist() == [True] * 5 + [False] and looks == [[5]]
    assert absolute.tolist() == [True, True, True, False, True, False]
    whole = np.array([0, 1, 2])
    np.testing.assert_allclose(joints[whole], ESTIMATE * truth[whole], atol=1e-5)  # a smaller hand, nearer by as much
    np.testing.assert_allclose(joints[3], ESTIMATE * (truth[3] - truth[3, 0]), atol=1e-5)
    np.testing.assert_allclose(scale[:4], ESTIMATE * read(crops, LABELS.scale)[:4], rtol=1e-5)
    np.testing.assert_array_equal(xy[:5], read(crops, CROPS.landmarks)[:5])
    assert report["accounting"][0]["skipped"] == {"no hand seen on the crop": 1}
    assert report["joints_from"] == {"detector": 5} and report["scale_source"] == "estimator"
    assert (report["in_camera_frame"], report["relative_to_wrist"]) == (4, 1)
    with store.open_file(tmp_path / "p.h5") as file:
        assert store.read_attrs(file, PREDICTIONS) == {"scale_source": "estimator", **API}
    assert handtool.run("predict", crops, tmp_path / "p.h5", model="mediapipe") == report and looks == [[5]]


def test_a_bone_that_is_given_sets_the_size_of_the_whole_hand(tmp_path, crops, looks):
    for bone, source in (("30", "given"), ("truth", "truth")):
        report = handtool.run("predict", crops, tmp_path / f"{bone}.h5", model="mediapipe", bone=bone)
        assert report["scale_source"] == source
    lengths, truth = bone_lengths(read(tmp_path / "30.h5", PREDICTIONS.joints)), read(crops, LABELS.joints)
    np.testing.assert_allclose(lengths[:5].sum(1), usual_lengths(np.full(5, 0.03)).sum(1), rtol=1e-5)
    np.testing.assert_allclose(read(tmp_path / "30.h5", PREDICTIONS.scale), 0.03)
    joints = read(tmp_path / "truth.h5", PREDICTIONS.joints)
    np.testing.assert_allclose(joints[:3], truth[:3], atol=1e-5)
    assert np.isfinite(joints[4]).all(), "all its bones but one are known"
    with pytest.raises(HandtoolError, match="an estimator has no training hands"):
        handtool.run("predict", crops, tmp_path / "m.h5", model="mediapipe", bone="mean")
    with pytest.raises(HandtoolError, match="neither auto, truth, mean nor a length"):
        handtool.run("predict", crops, tmp_path / "m.h5", model="mediapipe", bone="long")


def test_keypoints_that_the_same_estimator_found_are_taken_over_and_others_are_not(tmp_path, crops, looks):
    rng = np.random.default_rng(4)
    for giver in ("mediapipe", "onnx"):
        with store.open_file(crops) as file, store.create_file(tmp_path / f"{giver}.h5", record(), [file]) as sink:
            columns = dict(
                xy=rng.uniform(0, SIZE, (NUM, 21, 2)),
                score=np.ones((NUM, 21)),
                valid=np.arange(NUM) != 1,
                joints=np.float32(rng.normal(0, 0.05, (NUM, 21, 3))),
            )
            attrs = {"skeleton": "hand21", "model": giver, "joints_source": giver}
            store.write_table(sink, KEYPOINTS, columns, attrs)
            sink.inherit(file)
            sink.finish({})
    report = handtool.run("predict", tmp_path / "mediapipe.h5", tmp_path / "p.h5", model="mediapipe")
    joints, xy = read(tmp_path / "p.h5", PREDICTIONS.joints), read(tmp_path / "p.h5", PREDICTIONS.keypoints)
    np.testing.assert_array_equal(xy, read(tmp_path / "mediapipe.h5", KEYPOINTS.xy))
    expected = read(tmp_path / "mediapipe.h5", KEYPOINTS.joints)[3]
    np.testing.assert_allclose(joints[3], expected, atol=1e-6)  # it has no camera
    assert report["joints_from"] == {"keypoints": 5} and looks == [[]]
    assert report["accounting"][0]["skipped"] == {"keypoints not valid": 1}
    handtool.run("predict", tmp_path / "onnx.h5", tmp_path / "q.h5", model="mediapipe")
    handtool.run("predict", crops, tmp_path / "r.h5", model="mediapipe")
    other = {name: values for name, values in read_tables(tmp_path / "q.h5").items() if name[:9] != "keypoints"}
    assert same_tables(
        {k: v for k, v in other.items() if not k.startswith("keypoints")}, read_tables(tmp_path / "r.h5")
    )


def test_eval_scores_the_estimator_as_predict_and_eval_do(tmp_path, crops, looks):
    handtool.run("predict", crops, tmp_path / "p.h5", model="mediapipe")
    alone = handtool.run("eval", tmp_path / "p.h5")
    report = handtool.run("eval", crops, tmp_path / "r.h5", model="mediapipe")
    [result] = report["results"]
    assert result["predictions"] == "mediapipe" and result["scale_source"] == "estimator"
    assert result["protocols"] == alone["results"][0]["protocols"] and report["accounting"] == alone["accounting"]
    assert result["protocols"]["pa_mpjpe"]["mean_mm"] < 1e-3 < result["protocols"]["mpjpe_root"]["mean_mm"]
    right = handtool.run("eval", crops, model="mediapipe", bone="truth")["results"][0]["protocols"]
    assert right["mpjpe_root"]["mean_mm"] < 1e-3
    np.testing.assert_array_equal(
        read(tmp_path / "r.h5", PREDICTIONS.joints), read(tmp_path / "p.h5", PREDICTIONS.joints)
    )


def test_a_hand_that_the_estimator_saw_and_did_not_find_is_not_looked_at_again(tmp_path, crops, looks):
    with store.open_file(crops) as file, store.create_file(tmp_path / "k.h5", record(), [file]) as sink:
        columns = dict(xy=np.ones((NUM, 21, 2)), score=np.ones((NUM, 21)), valid=np.arange(NUM) < 4)
        columns["joints"] = np.where(columns["valid"][:, None, None], np.ones((NUM, 21, 3)), np.nan)
        store.write_table(sink, KEYPOINTS, columns, {"model": "mediapipe", "joints_source": "mediapipe"})
        sink.inherit(file)
        sink.finish({})
    report = handtool.run("predict", tmp_path / "k.h5", tmp_path / "p.h5", model="mediapipe")
    assert looks == [[]] and report["joints_from"] == {"detector": 1, "keypoints": 4}, (
        "the detector knew one of the two"
    )
    assert report["accounting"][0]["skipped"] == {"no hand seen on the crop": 1}


def test_two_apis_in_one_file_of_predictions_are_refused(tmp_path, crops, looks):
    with store.open_file(crops) as file, store.create_file(tmp_path / "k.h5", record(), [file]) as sink:
        columns = dict(xy=np.ones((NUM, 21, 2)), score=np.ones((NUM, 21)), valid=np.ones(NUM, bool))
        columns["joints"] = np.where(np.arange(NUM)[:, None, None] == 5, np.nan, np.ones((NUM, 21, 3)))
        attrs = {"skeleton": "hand21", "model": "labels + mediapipe", "joints_source": "mediapipe"}
        attrs |= {"mediapipe_api": "tasks", "mediapipe_version": "1.2.3", "task_sha256": "f" * 64}
        store.write_table(sink, KEYPOINTS, columns, attrs)
        sink.inherit(file)
        sink.finish({})
    with pytest.raises(HandtoolError, match="Tasks API of 1.2.3 with task ffffffff; the others") as caught:
        handtool.run("predict", tmp_path / "k.h5", tmp_path / "q.h5", model="mediapipe")
    assert "--estimator mediapipe" in caught.value.hint


def test_its_hands_are_smoothed_along_their_tracks(tmp_path, crops, looks):
    report = handtool.run("predict", crops, tmp_path / "s.h5", model="mediapipe", smooth=True)
    assert {item["what"]: item["done"] for item in report["accounting"]}["hands smoothed"] == 5
    with store.open_file(tmp_path / "s.h5") as file:
        assert "min_cutoff_hz" in store.read_attrs(file, PREDICTIONS)["smoothing"]


def test_nobody_seen_is_one_line_and_so_is_no_model_and_a_missing_package(tmp_path, crops, looks, monkeypatch):
    rng, hands = np.random.default_rng(0), make_hands(2, np.random.default_rng(0))
    with store.create_file(tmp_path / "bare.h5", record()) as sink:
        write_videos(sink, 1)
        write_crops(sink, np.zeros(2, int), np.zeros(2, int), hands, rng)
        sink.finish({})
    with pytest.raises(HandtoolError, match=r"none of 2 hands could be predicted \(no hand seen on the crop\)"):
        handtool.run("predict", tmp_path / "bare.h5", tmp_path / "p.h5", model="mediapipe")
    with pytest.raises(HandtoolError, match="no labels with a bone length"):
        handtool.run("predict", tmp_path / "bare.h5", tmp_path / "p.h5", model="mediapipe", bone="truth")
    with pytest.raises(WrongCommand, match="mediapipe knows 3D without labels") as caught:
        handtool.run("predict", crops, tmp_path / "p.h5")
    assert "--model mediapipe" in caught.value.hint and "--model pose.h5" in caught.value.hint
    monkeypatch.undo()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(HandtoolError, match="mediapipe package is not installed"):
        handtool.run("predict", crops, tmp_path / "p.h5", model="mediapipe")
