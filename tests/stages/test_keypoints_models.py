"""keypoints by a pose model of our own, and by what export makes of it: the same points, whoever runs it."""

import numpy as np
import pytest
import torch
from footage import run_stage, tables_of
from making import SIZE, make_hands, record, write_crops, write_videos

from handtool import store
from handtool.config import ExportConfig, KeypointsConfig
from handtool.errors import HandtoolError
from handtool.nn.files.inference import predict_batch
from handtool.nn.files.pose_weights import read_pose, write_pose
from handtool.nn.files.weights import write_encoder
from handtool.nn.models.encoder import make_encoder, make_projection_head
from handtool.nn.models.pose_model import Contract, PoseModel
from handtool.stages.export import export
from handtool.stages.keypoints import keypoints, warn_about_box_scale
from handtool.store import CROPS, KEYPOINTS, PREDICTIONS

NUM = 11


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """crops.h5 (hands of every side, two without a camera), pose.h5, encoder.h5."""
    folder = tmp_path_factory.mktemp("models")
    rng = np.random.default_rng(0)
    hands = make_hands(NUM, rng, SIZE)
    hands["camera"][:, 0, 2] += rng.uniform(-9, 9, NUM)
    hands["camera"][[2, 6]] = np.nan
    with store.create_file(folder / "crops.h5", record()) as sink:
        write_videos(sink, 2)
        write_crops(sink, np.arange(NUM) // 6, np.arange(NUM) % 3, hands, rng)
        sink.finish({})
    torch.manual_seed(0)
    model = PoseModel(make_encoder("resnet18"), Contract(size=48, bone_m=0.025, focal=1.9))
    torch.nn.init.normal_(model.head.fc.weight, std=0.02)
    torch.nn.init.normal_(model.head.refine[-1].weight, std=0.02)
    with store.create_file(folder / "pose.h5", record()) as sink:
        write_pose(sink, model, {})
        sink.finish({})
    contract = {"size": 48, "mean": [0.5] * 3, "std": [0.2] * 3, "side": "RIGHT", "box_scale": 1.3}
    with store.create_file(folder / "encoder.h5", record()) as sink:
        write_encoder(sink, make_encoder("resnet18"), make_projection_head(512, 64, 32), contract, {})
        sink.finish({})
    return folder


@pytest.fixture(scope="module")
def exported(folder):
    """The report of the export that made pose.onnx."""
    need_onnx()
    with store.open_file(folder / "pose.h5") as file:
        return export(file, folder / "pose.onnx", ExportConfig("onnx"))


def need_onnx():
    for name in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(name, reason=f"{name} is not installed: pip install 'handtool[onnx]'")


def read(path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    with store.open_file(path) as file:
        return tuple(store.read_column(file, column) for column in (KEYPOINTS.xy, KEYPOINTS.score, KEYPOINTS.valid))


@pytest.fixture(scope="module")
def by_model(folder):
    with store.open_file(folder / "pose.h5") as pose:
        report = run_stage(
            keypoints, folder / "crops.h5", folder / "by_model.h5", KeypointsConfig("model", workers=1), model=pose
        )
    return folder / "by_model.h5", report


def test_our_own_model_gives_what_predict_gives(folder, by_model):
    xy, score, valid = read(by_model[0])
    with store.open_file(folder / "crops.h5") as file, store.open_file(folder / "pose.h5") as pose:
        from handtool.nn.files.data import Crops

        images = Crops(file).decode(np.arange(NUM))
        _, expected = predict_batch(
            read_pose(pose), images, store.read_column(file, CROPS.side), store.read_column(file, CROPS.camera), "fp32"
        )
    np.testing.assert_allclose(xy, expected, atol=1e-3)
    assert valid.all() and (score == 1).all() and by_model[1]["hands_by_origin"] == {"model": NUM}
    assert np.ptp(xy[:, 5], axis=0).min() > 0.05, "the hands differ"


def test_crops_cut_otherwise_than_the_training_ones_are_warned_about(folder, tmp_path, caplog):
    with store.open_file(folder / "crops.h5") as file:
        warn_about_box_scale(file, None)
        with store.open_file(folder / "pose.h5") as pose:
            warn_about_box_scale(file, pose)
        assert not caplog.text
        with store.create_file(tmp_path / "other.h5", record()) as sink:
            write_pose(sink, PoseModel(make_encoder("resnet18"), Contract(size=48, box_scale=2.0)), {})
            sink.finish({})
        with store.open_file(tmp_path / "other.h5") as pose:
            warn_about_box_scale(file, pose)
    assert "box scale 1.3, the model was trained at 2" in caplog.text


def test_the_exported_model_is_torchs_to_four_digits_and_says_so(folder, exported):
    import onnxruntime

    assert exported["difference_from_torch"] < 1e-4 and exported["outputs"] == ["keypoints", "joints"]
    rng, session = np.random.default_rng(1), onnxruntime.InferenceSession(folder / "pose.onnx")
    images, cameras = (
        rng.normal(size=(5, 3, 48, 48)).astype(np.float32),
        np.tile(np.float32([[90, 0, 20], [0, 95, 25], [0, 0, 1]]), (5, 1, 1)),
    )
    found = session.run(["keypoints", "joints"], {"image": images, "camera": cameras})
    with store.open_file(folder / "pose.h5") as pose, torch.no_grad():
        model = read_pose(pose)
        joints, points = model.solve(*model(torch.from_numpy(images)), torch.from_numpy(cameras).double())
    np.testing.assert_allclose(found[0], points, rtol=1e-4, atol=1e-4 * np.abs(points.numpy()).max())
    np.testing.assert_allclose(found[1], joints, rtol=1e-4, atol=1e-4 * np.abs(joints.numpy()).max())


def test_the_exported_model_finds_the_same_keypoints_to_a_thousandth_of_a_pixel(folder, exported, by_model):
    report = run_stage(
        keypoints, folder / "crops.h5", folder / "o.h5", KeypointsConfig("onnx", workers=1), model=folder / "pose.onnx"
    )
    theirs, ours = read(folder / "o.h5"), read(by_model[0])
    assert np.abs(theirs[0] - ours[0]).max() < 1e-3 and theirs[2].all() and report["hands_by_origin"] == {"onnx": NUM}


def test_the_exported_model_gives_its_joints_too_and_predicts_with_them_as_the_model_does(folder, exported, tmp_path):
    import handtool

    files = {"crops": folder / "crops.h5", "onnx": folder / "pose.onnx"}
    handtool.run("keypoints", files["crops"], tmp_path / "k.h5", estimator=files["onnx"], workers=1)
    handtool.run("predict", files["crops"], tmp_path / "p.h5", model=folder / "pose.h5", device="cpu", workers=1)
    handtool.run("predict", tmp_path / "k.h5", tmp_path / "o.h5", model=files["onnx"])
    with store.open_file(tmp_path / "k.h5") as file, store.open_file(tmp_path / "p.h5") as predicted:
        wanted = store.read_column(predicted, PREDICTIONS.joints)
        wanted -= wanted[:, :1]
        np.testing.assert_allclose(store.read_column(file, KEYPOINTS.joints), wanted, atol=1e-6)
        assert store.read_attrs(file, KEYPOINTS)["joints_source"] == "onnx"
    with store.open_file(tmp_path / "o.h5") as file:
        joints, absolute = (store.read_column(file, column) for column in (PREDICTIONS.joints, PREDICTIONS.absolute))
        np.testing.assert_allclose(joints - joints[:, :1], wanted, atol=1e-6)
        assert absolute.sum() == NUM - 2 and store.read_attrs(file, PREDICTIONS)["scale_source"] == "estimator"


def test_the_number_of_workers_and_a_restart_in_between_change_nothing(folder, exported, tmp_path, monkeypatch):
    monkeypatch.setattr("handtool.stages.keypoints.BLOCK_ROWS", 4)
    config = KeypointsConfig("onnx", workers=1)
    run_stage(keypoints, folder / "crops.h5", tmp_path / "1.h5", config, keep_job=True, model=folder / "pose.onnx")
    run_stage(
        keypoints,
        folder / "crops.h5",
        tmp_path / "2.h5",
        KeypointsConfig("onnx", workers=2),
        model=folder / "pose.onnx",
    )
    (tmp_path / "1.h5").rename(tmp_path / "first.h5")
    (tmp_path / "1.h5.partial" / "hands-0000001.part.h5").unlink()
    run_stage(keypoints, folder / "crops.h5", tmp_path / "1.h5", config, model=folder / "pose.onnx")
    first = tables_of(tmp_path / "first.h5", KEYPOINTS)
    for again in ("1.h5", "2.h5"):
        for name, values in tables_of(tmp_path / again, KEYPOINTS).items():
            np.testing.assert_array_equal(values, first[name])


def test_a_heat_map_model_leaves_as_onnx_and_says_what_torch_says(tmp_path, monkeypatch):
    need_onnx()
    monkeypatch.setattr("handtool.nn.models.heatmap_head.WIDTH", 32)
    import onnxruntime

    torch.manual_seed(0)
    model = PoseModel(make_encoder("resnet18"), Contract(size=32, bone_m=0.025, focal=1.9, head="heatmap")).eval()
    with store.create_file(tmp_path / "pose.h5", record()) as sink:
        write_pose(sink, model, {})
        sink.finish({})
    with store.open_file(tmp_path / "pose.h5") as file:
        report = export(file, tmp_path / "pose.onnx", ExportConfig("onnx"))
    assert report["difference_from_torch"] <= 1e-4
    images, camera = torch.randn(5, 3, 32, 32), torch.tensor([[60.0, 0, 14], [0, 58, 17], [0, 0, 1]]).expand(5, 3, 3)
    found = onnxruntime.InferenceSession(tmp_path / "pose.onnx").run(
        ["joints", "keypoints"], {"image": images.numpy(), "camera": camera.numpy()}
    )
    with torch.no_grad():
        wanted = model.solve(*model(images), camera.double())
    for one, other in zip(found, wanted):
        assert np.abs(one - other.numpy()).max() <= 1e-4 * np.abs(one).max()


def test_an_encoder_leaves_with_features_and_projection(folder, tmp_path):
    need_onnx()
    import onnxruntime

    with store.open_file(folder / "encoder.h5") as file:
        report = export(file, tmp_path / "encoder.onnx", ExportConfig("onnx"))
    session = onnxruntime.InferenceSession(tmp_path / "encoder.onnx")
    features, projection = session.run(None, {"image": np.zeros((2, 3, 48, 48), np.float32)})
    metadata = session.get_modelmeta().custom_metadata_map
    assert features.shape == (2, 512) and projection.shape == (2, 32) and report["difference_from_torch"] < 1e-4
    assert (
        metadata["handtool.mean"] == "0.5,0.5,0.5"
        and metadata["handtool.side"] == "right"
        and metadata["handtool.kind"] == "encoder"
    )
    assert b"onnx_export" not in (tmp_path / "encoder.onnx").read_bytes(), "no path of the machine that made it"
    with pytest.raises(HandtoolError, match="are not 21 keypoints"):
        run_stage(
            keypoints, folder / "crops.h5", tmp_path / "k.h5", KeypointsConfig("onnx"), model=tmp_path / "encoder.onnx"
        )


def test_what_is_no_estimator_is_told_in_one_line_with_a_remedy(folder, tmp_path):
    need_onnx()
    with pytest.raises(HandtoolError, match="is HDF5, not an ONNX model") as caught:
        run_stage(keypoints, folder / "crops.h5", tmp_path / "k.h5", KeypointsConfig("onnx"), model=folder / "pose.h5")
    assert "handtool export" in caught.value.hint
    with store.open_file(folder / "encoder.h5") as encoder, pytest.raises(HandtoolError, match="holds encoder weights"):
        run_stage(keypoints, folder / "crops.h5", tmp_path / "k.h5", KeypointsConfig("model"), model=encoder)
    with store.open_file(folder / "crops.h5") as crops, pytest.raises(HandtoolError, match="has no /weights") as caught:
        run_stage(keypoints, folder / "crops.h5", tmp_path / "k.h5", KeypointsConfig("model"), model=crops)
    assert "handtool finetune" in caught.value.hint
    with pytest.raises(HandtoolError, match="is not a pose model of handtool"):
        run_stage(keypoints, folder / "crops.h5", tmp_path / "k.h5", KeypointsConfig("model"), model=folder / "x.pth")


def test_without_onnxruntime_the_package_to_install_is_named(folder, tmp_path, monkeypatch):
    (tmp_path / "pose.onnx").write_bytes(b"x")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(HandtoolError, match="onnxruntime package is not installed") as caught:
        run_stage(
            keypoints, folder / "crops.h5", tmp_path / "k.h5", KeypointsConfig("onnx"), model=tmp_path / "pose.onnx"
        )
    assert caught.value.hint == "pip install 'handtool[onnx]'"
    with store.open_file(folder / "pose.h5") as file, pytest.raises(HandtoolError, match="needs onnx and onnxscript"):
        export(file, tmp_path / "p.onnx", ExportConfig("onnx"))


@pytest.mark.parametrize(
    "options, code, message",
    [
        (["--estimator", "onnx"], 2, "needs the file of a model"),
        (
            ["--estimator", "pose.xyz"],
            2,
            "neither auto nor labels nor mediapipe nor onnx nor model, nor a file ending in .task or .onnx",
        ),
        (["--estimator", "labels", "--model", "pose.onnx"], 2, "--estimator labels takes no model of that kind"),
        (["--estimator", "a.onnx", "--model", "b.onnx"], 2, "are two files"),
        (["--onnx", "colour=bgr"], 2, "--onnx does nothing without an ONNX model"),
        (["--seed", "7"], 2, "--seed does nothing without --noise"),
        (["--model", "gone.onnx"], 1, "gone.onnx does not exist"),
    ],
)
def test_the_command_line_says_what_it_cannot_do(handtool, folder, options, code, message):
    done = handtool("keypoints", folder / "crops.h5", "-o", "k.h5", *options)
    assert done.returncode == code and message in done.stderr and "Traceback" not in done.stderr, done.stderr
