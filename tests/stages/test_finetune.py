"""finetune learns, goes on where it was killed to the same last bit, and says what it trained on."""

import itertools
import os
import signal

import numpy as np
import pytest
import torch
from making import make_file, make_hands, record, write_crops, write_labels, write_videos
from training import TinyEncoder, assert_same_weights, run_finetune, run_pretrain, weights_of

from handtool import store
from handtool.errors import HandtoolError, Terminated, WrongCommand
from handtool.nn.files.inference import predict_batch
from handtool.nn.files.pose_weights import read_pose
from handtool.nn.files.weights import write_encoder
from handtool.nn.models import heatmap_head as heatmap
from handtool.nn.models.encoder import ENCODERS, make_encoder, make_projection_head
from handtool.nn.training import loop
from handtool.store import CROPS, CURVE, LABELS


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setitem(ENCODERS, "tiny", TinyEncoder)


def run(source, out, **changes):
    """With a tiny encoder, where no other is asked for; also in a fork."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(ENCODERS, "tiny", TinyEncoder)
        return run_finetune(source, out, **{"arch": "tiny"} | changes)


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    return make_file(tmp_path_factory.mktemp("labelled") / "train.h5", (5, 4, 3), ("labels",))


def test_a_few_hands_are_learnt_by_heart(tmp_path):
    rng = np.random.default_rng(1)
    hands, side = make_hands(8, rng), np.array([0, 1] * 4)
    with store.create_file(tmp_path / "train.h5", record()) as sink:
        write_videos(sink, 1)
        write_crops(sink, np.zeros(8, int), side, hands, rng)
        write_labels(sink, hands)
        sink.finish({})
    report = run(
        tmp_path / "train.h5",
        tmp_path / "pose.h5",
        input_size=32,
        batch_size=8,
        steps=200,
        learning_rate=1e-2,
        rotation_deg=0.0,
        shift=0.0,
        zoom=0.0,
        colour=0.0,
    )
    with store.open_file(tmp_path / "train.h5") as file, store.open_file(tmp_path / "pose.h5") as pose:
        model, bone = read_pose(pose), store.read_column(file, LABELS.scale)
        crops = torch.from_numpy(np.stack([decode(data) for data in store.open_jpegs(file)]))
        joints, _ = predict_batch(
            model, crops, store.read_column(file, CROPS.side), store.read_column(file, CROPS.camera)
        )
    joints = joints * bone[:, None, None]
    error_mm = 1000 * np.linalg.norm((joints - joints[:, :1]) - (hands["joints"] - hands["joints"][:, :1]), axis=2)
    start_mm = 1000 * np.linalg.norm(hands["joints"] - hands["joints"][:, :1], axis=2)
    assert report["loss_last"] < report["loss_first"] / 5
    assert error_mm.mean() < start_mm.mean() / 4, (error_mm.mean(), start_mm.mean())


def decode(data):
    import cv2

    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1].copy()


def kill_at_step(monkeypatch, step):
    """SIGTERM to this process in the middle of a step, as a scheduler sends it."""
    calls, original = itertools.count(1), loop.set_learning_rate

    def set_and_kill(optimiser, rate):
        if next(calls) == step:
            os.kill(os.getpid(), signal.SIGTERM)
        original(optimiser, rate)

    monkeypatch.setattr(loop, "set_learning_rate", set_and_kill)


def test_killed_and_run_again_ends_in_the_same_bits(labelled, tmp_path, monkeypatch):
    monkeypatch.setattr(heatmap, "WIDTH", 16)  # smaller checkpoints
    settings = {"arch": "tiny", "val_share": 0.3, "rotation_deg": 30.0, "head": "heatmap", "layer_decay": 0.7}
    settings |= {"blur_px": 0.5}
    straight = run(labelled, tmp_path / "straight.h5", **settings)
    with monkeypatch.context() as patched, pytest.raises(Terminated):
        kill_at_step(patched, 4)
        run(labelled, tmp_path / "killed.h5", **settings)
    assert not (tmp_path / "killed.h5").exists()
    with store.open_job(tmp_path / "killed.h5", record(**settings)) as job:
        assert len(job.load("checkpoint")["curve/step"]) == 4
    resumed = run(labelled, tmp_path / "killed.h5", **settings)
    assert_same_weights(tmp_path / "straight.h5", tmp_path / "killed.h5")
    assert (
        resumed["validation_mm_best"] == straight["validation_mm_best"]
        and resumed["started_from"] == straight["started_from"]
    )
    with store.open_file(tmp_path / "straight.h5") as one, store.open_file(tmp_path / "killed.h5") as other:
        for column in (CURVE.step, CURVE.loss, CURVE.learning_rate, CURVE.validation_mm):
            assert np.array_equal(store.read_column(one, column), store.read_column(other, column), equal_nan=True)
    assert not (tmp_path / "killed.h5.partial").exists()


def test_another_seed_gives_another_model(labelled, tmp_path):
    run(labelled, tmp_path / "one.h5", steps=1)
    run(labelled, tmp_path / "two.h5", steps=1, seed=6)
    one, two = (weights_of(tmp_path / name) for name in ("one.h5", "two.h5"))
    assert not np.array_equal(one["encoder.conv.weight"], two["encoder.conv.weight"])


def test_two_processes_end_where_one_does(labelled, tmp_path, run_forked):
    settings = {"steps": 2, "val_share": 0.3, "rotation_deg": 30.0, "learning_rate": 1e-4}
    one = run(labelled, tmp_path / "one.h5", **settings)
    two = run_forked(run, labelled, tmp_path / "two.h5", processes=2, **settings)
    assert (one["processes"], two["processes"]) == (1, 2)
    with store.open_file(tmp_path / "one.h5") as first, store.open_file(tmp_path / "two.h5") as second:
        np.testing.assert_allclose(
            store.read_column(second, CURVE.loss), store.read_column(first, CURVE.loss), rtol=1e-3
        )
    assert two["validation_mm_best"] == pytest.approx(one["validation_mm_best"], rel=1e-2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"loss": "published"}, "--loss published is a choice of the heat-map head"),
        ({"processes": 3, "batch_size": 5}, "batch norm needs 2 on each"),
    ],
)
def test_settings_that_do_not_fit_are_refused_before_anything_is_trained(labelled, tmp_path, changes, message):
    with pytest.raises((HandtoolError, WrongCommand), match=message):
        run(labelled, tmp_path / "pose.h5", **changes)


def test_published_normalization_is_the_pictures_less_a_half(labelled, tmp_path, monkeypatch):
    monkeypatch.setattr(heatmap, "WIDTH", 16)
    run(labelled, tmp_path / "pose.h5", steps=1, normalization="published", head="heatmap", loss="published")
    with store.open_file(tmp_path / "pose.h5") as pose:
        contract = read_pose(pose).contract
    assert contract.mean == (0.5, 0.5, 0.5) and contract.std == (1.0, 1.0, 1.0) and contract.head == "heatmap"


def test_the_pose_file_holds_all_that_prediction_needs(labelled, tmp_path):
    run(labelled, tmp_path / "pose.h5", steps=1)
    with store.open_file(labelled) as file, store.open_file(tmp_path / "pose.h5") as pose:
        contract = read_pose(pose).contract
        assert contract.size == 32 and contract.box_scale == 1.3 and contract.side == "RIGHT"
        assert contract.bone_m == pytest.approx(np.mean(store.read_column(file, LABELS.scale)), rel=1e-6)
        assert contract.focal == pytest.approx(2.0)  # the drawn hands' cameras: 2 sides
        assert pose.count(CURVE) == 1


@pytest.mark.parametrize("head", ["regression", "heatmap"])
def test_a_frozen_encoder_stays_as_it_was_to_the_last_bit(labelled, tmp_path, head):
    torch.manual_seed(1)
    encoder = make_encoder("resnet18")
    mean = np.array([0.4, 0.5, 0.6])
    with store.create_file(tmp_path / "encoder.h5", record()) as sink:
        write_encoder(
            sink, encoder, make_projection_head(512), {"size": 128, "mean": mean, "std": np.array([0.2, 0.2, 0.2])}, {}
        )
        sink.finish({})
    with store.open_file(tmp_path / "encoder.h5") as file:
        report = run(labelled, tmp_path / "pose.h5", encoder=file, arch=None, head=head, freeze=True, steps=2)
    with store.open_file(tmp_path / "pose.h5") as file:
        weights, attrs = store.read_weights(file)
    for name, value in encoder.state_dict().items():
        assert np.array_equal(weights[f"encoder.{name}"], value.numpy()), name
    bias = weights[{"regression": "head.fc.bias", "heatmap": "head.heat.3.bias"}[head]]
    assert (bias[1:] != bias[0]).any()  # as it began
    assert (
        attrs["architecture"] == "resnet18" and attrs["mean"].tolist() == mean.tolist()
    )  # both are the encoder file's
    assert report["started_from"].endswith("encoder.h5 (120 weights)")


@pytest.mark.parametrize("head", ["regression", "heatmap"])
def test_fine_tuning_goes_on_with_the_head_of_pre_training(tmp_path, monkeypatch, labelled, head):
    monkeypatch.setattr(heatmap, "WIDTH", 16)
    known = make_file(tmp_path / "known.h5", (6, 6), ("keypoints", "joints"))
    run_pretrain(known, tmp_path / "encoder.h5", arch="tiny", method="handtool", pretrain_head=head, steps=2)
    settings = {"head": head, "steps": 1, "learning_rate": 0.0}
    with store.open_file(tmp_path / "encoder.h5") as file:
        report = run(labelled, tmp_path / "kept.h5", encoder=file, **settings)
        run(labelled, tmp_path / "fresh.h5", encoder=file, fresh_head=True, **settings)
    learnt, kept, fresh = (weights_of(tmp_path / f"{name}.h5") for name in ("encoder", "kept", "fresh"))
    last = {"regression": "head.fc.weight", "heatmap": "head.location.3.weight"}[head]
    assert np.array_equal(kept[last], learnt[last]) and not np.array_equal(fresh[last], learnt[last])
    assert report["started_from"].endswith("weights, and its head)")


def test_an_encoder_of_another_architecture_is_refused(labelled, tmp_path):
    torch.save(make_encoder("resnet34").state_dict(), tmp_path / "w.pth")
    with pytest.raises(HandtoolError, match="holds a resnet34, and the encoder is a resnet18"):
        run(labelled, tmp_path / "pose.h5", arch="resnet18", encoder=tmp_path / "w.pth")


def test_the_weights_that_are_kept_are_those_of_the_best_validation(labelled, tmp_path):
    report = run(labelled, tmp_path / "pose.h5", val_share=0.2, steps=8, learning_rate=3e-3)
    with store.open_file(tmp_path / "pose.h5") as pose:
        scores = store.read_column(pose, CURVE.validation_mm)
    assert report["held_out"] in (3, 4, 5) and report["trained_on"] == 12 - report["held_out"]  # one whole video
    assert np.isfinite(scores).sum() >= 4 and report["validation_mm_best"] == pytest.approx(np.nanmin(scores), rel=1e-6)
    best = report["best_step"]
    assert scores[best - 1] == np.nanmin(scores)
    again = run(labelled, tmp_path / "last.h5", val_share=0.2, steps=8, learning_rate=3e-3, patience=1)
    assert again["steps"] <= 8 and again["validation_mm_best"] <= scores[np.isfinite(scores)][0]


def test_training_ends_when_patience_does(labelled, tmp_path):
    report = run(labelled, tmp_path / "pose.h5", val_share=0.3, steps=40, learning_rate=0.0, warmup=0.0, patience=2)
    per_epoch = report["trained_on"] // 4
    assert report["steps"] == 3 * per_epoch or report["steps"] < 40  # running statistics move a little even at rate 0


def test_label_fraction_is_accounted_for(labelled, tmp_path):
    report = run(labelled, tmp_path / "pose.h5", steps=1, label_fraction=0.5)
    assert report["trained_on"] == 6
    assert report["accounting"][0] == {
        "what": "hands",
        "in": 12,
        "done": 6,
        "skipped": {"not in the label fraction 0.5": 6},
        "failed": {},
    }


def test_hands_without_labels_or_cameras_are_counted(tmp_path):
    rng = np.random.default_rng(1)
    hands = make_hands(6, rng)
    hands["camera"][2] = np.nan
    joints, valid = hands["joints"].copy(), np.ones((6, 21), bool)
    joints[0], valid[0] = np.nan, False
    with store.create_file(tmp_path / "train.h5", record()) as sink:
        write_videos(sink, 1)
        write_crops(sink, np.zeros(6, int), np.array([0, 1, 2, 0, 1, 2]), hands, rng)
        columns = dict(
            joints=joints,
            valid=valid,
            keypoints=hands["xy"],
            keypoints_valid=valid,
            scale=np.full(6, np.nan),
            sample_id=np.arange(6),
            sample_key=[""] * 6,
        )
        store.write_table(sink, LABELS, columns)
        sink.finish({})
    report = run(tmp_path / "train.h5", tmp_path / "pose.h5", steps=2)
    assert report["accounting"][0]["skipped"] == {"no label": 1} and report["trained_on"] == 5
    assert report["without_camera"] == 1 and report["side_unknown_as_right"] == 2
    assert np.isfinite(report["loss_last"])
    assert report["mean_bone_mm"] == pytest.approx(
        1000 * np.linalg.norm(joints[1:, 9] - joints[1:, 10], axis=1).mean(), rel=1e-5
    )


def test_a_file_without_labels_names_the_command_that_makes_them(tmp_path):
    make_file(tmp_path / "crops.h5", tables=())
    with pytest.raises(HandtoolError, match="has no /labels") as caught:
        run(tmp_path / "crops.h5", tmp_path / "pose.h5")
    assert caught.value.hint.startswith("handtool extract")


def test_a_rate_that_blows_up_is_an_error_and_no_file(labelled, tmp_path):
    with pytest.raises(HandtoolError, match="the loss is (nan|inf) at step"):
        run(labelled, tmp_path / "pose.h5", learning_rate=1e30, warmup=0.0, steps=8)
    assert not (tmp_path / "pose.h5").exists()


def test_a_batch_of_one_hand_is_refused(labelled, tmp_path):
    with pytest.raises(HandtoolError, match="batch norm needs 2"):
        run(labelled, tmp_path / "pose.h5", batch_size=1)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")
def test_gpus_that_are_not_here_are_an_error_with_the_way_to_the_cpu(labelled, tmp_path):
    with pytest.raises(HandtoolError, match="--gpus 4 asked, no CUDA GPU") as caught:
        run(labelled, tmp_path / "pose.h5", gpus=4)
    assert "--gpus 0" in caught.value.hint


def test_a_model_that_saw_mirrored_hands_says_so(labelled, tmp_path):
    run(labelled, tmp_path / "plain.h5", steps=2)
    run(labelled, tmp_path / "both.h5", steps=2, mirror=0.5)
    for name, mirrored in (("plain", False), ("both", True)):
        with store.open_file(tmp_path / f"{name}.h5") as file:
            assert read_pose(file).contract.mirrored is mirrored
    curves = [weights_of(tmp_path / f"{name}.h5")["head.fc.weight"] for name in ("plain", "both")]
    assert not np.array_equal(*curves), "it trained on other pictures"
