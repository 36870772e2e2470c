"""The forward pass: hands go in as right hands and come out as they were seen, at the scale that was asked for."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from making import SIZE, make_file, make_hands, record
from torch import nn
from training import make_pose

from handtool import store
from handtool.config import EmbedConfig, PredictConfig
from handtool.errors import HandtoolError
from handtool.hands.camera import mirror_camera, mirror_joints, mirror_points, project
from handtool.hands.canonical import canonical_camera, canonical_joints, canonical_keypoints
from handtool.nn.files.data import StoredHands
from handtool.nn.files.inference import find_device, find_scale, predict_batch, predict_file, predict_twice
from handtool.nn.files.pose_weights import read_pose, write_pose
from handtool.nn.files.weights import write_encoder
from handtool.nn.models.encoder import make_encoder, make_projection_head
from handtool.nn.models.pose_model import Contract
from handtool.nn.models.regression_head import RegressionHead, joints_from_slots, lift, make_targets, rays
from handtool.nn.views.augmentation import LabelledHands, transform_labels, whole_crop


@pytest.fixture
def pose_file(tmp_path):
    with store.create_file(tmp_path / "pose.h5", record()) as sink:
        write_pose(sink, make_pose(), {"seed": 0})
        sink.finish({})
    with store.open_file(tmp_path / "pose.h5") as file:
        yield file


@pytest.fixture
def labelled_file(tmp_path):
    with store.open_file(make_file(tmp_path / "crops.h5", tables=("labels",))) as file:
        yield file


def random_crops(count, seed=0):
    return torch.randint(
        0, 256, (count, SIZE, SIZE, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed)
    )


class Oracle(nn.Module):
    """Says what the labels say, with the true depth of the palm."""

    def __init__(self, hands, side):
        super().__init__()
        self.contract = Contract(size=48)
        canonical = LabelledHands(
            *map(
                torch.from_numpy,
                (
                    canonical_joints(hands["joints"], side),
                    np.ones((len(side), 21), bool),
                    canonical_keypoints(hands["xy"], side, SIZE),
                    np.ones((len(side), 21), bool),
                    np.full(len(side), 0.025),
                    canonical_camera(hands["camera"], side, SIZE),
                ),
            )
        )
        self.targets = make_targets(**vars(transform_labels(canonical, whole_crop(len(side), SIZE, 48))))
        self.head = SimpleNamespace(joints=self.joints)

    def solve(self, uv, z_rel, camera):
        return RegressionHead.solve(self.head, uv, z_rel, camera)

    def forward(self, images):
        return self.targets.uv, self.targets.z_rel

    def joints(self, uv, z_rel, camera):
        return joints_from_slots(lift(rays(uv, camera), z_rel, self.targets.z_root))


def test_an_oracle_gets_left_and_right_hands_back_as_they_were_labelled():
    hands, side = make_hands(6, np.random.default_rng(0), SIZE), np.array([0, 1, 2, 0, 1, 0])
    joints, keypoints = predict_batch(Oracle(hands, side), random_crops(6), side, hands["camera"])
    np.testing.assert_allclose(0.025 * joints, hands["joints"], atol=1e-6)
    np.testing.assert_allclose(keypoints, hands["xy"], atol=1e-3)


def test_a_mirrored_left_hand_gives_the_mirrored_prediction():
    model, crops = make_pose(), random_crops(4)
    camera = make_hands(4, np.random.default_rng(0), SIZE)["camera"]
    camera[:, 0, 2] += 5
    joints, keypoints = predict_batch(model, crops, np.ones(4, int), camera)
    mirrored, mirrored_keypoints = predict_batch(model, crops.flip(2), np.zeros(4, int), mirror_camera(camera, SIZE))
    np.testing.assert_allclose(mirrored, mirror_joints(joints), atol=2e-3)
    np.testing.assert_allclose(mirrored_keypoints, mirror_points(keypoints, SIZE), atol=1e-3)


def test_the_mean_with_the_mirror_image_is_the_same_for_either_side():
    model, crops = make_pose(), random_crops(4)
    camera, side = make_hands(4, np.random.default_rng(0), SIZE)["camera"], np.array([0, 1, 2, 1])
    camera[:, 0, 2] += 5
    joints, keypoints = predict_twice(model, crops, side, camera)
    once = predict_batch(model, crops, side, camera)[0]
    other = predict_batch(model, crops.flip(2), side, mirror_camera(camera, SIZE))[0]
    np.testing.assert_allclose(joints, (once + mirror_joints(other)) / 2, atol=2e-3)
    assert np.abs(joints - once).max() > 0.02
    opposite = np.where(side == 0, 1, 0)
    np.testing.assert_allclose(predict_twice(model, crops, opposite, camera)[1], keypoints, atol=1e-6)


def test_a_model_that_never_saw_mirrored_hands_is_not_asked_about_them(labelled_file, pose_file):
    with pytest.raises(HandtoolError, match="never saw a mirrored hand") as told:
        predict_file(labelled_file, pose_file, PredictConfig(device="cpu", flip=True))
    assert "--mirror 0.5" in told.value.hint


def test_a_pose_file_round_trips_to_the_last_bit(pose_file):
    before, after = make_pose(), read_pose(pose_file)
    assert after.contract == before.contract
    for name, value in before.state_dict().items():
        assert torch.equal(value, after.state_dict()[name]), name


def test_joints_project_to_keypoints_where_the_camera_is_known(labelled_file, pose_file):
    found = predict_file(labelled_file, pose_file, PredictConfig(workers=1, device="cpu"))
    camera = store.read_column(labelled_file, store.CROPS.camera)
    assert found["valid"].all() and found["absolute"].all()
    np.testing.assert_allclose(project(found["joints"].astype(float), camera), found["keypoints"], atol=1e-2)


def test_the_batch_size_changes_nothing(labelled_file, pose_file):
    whole = predict_file(labelled_file, pose_file, PredictConfig(batch_size=64, device="cpu"))
    parts = predict_file(labelled_file, pose_file, PredictConfig(batch_size=4, workers=1, device="cpu"))
    np.testing.assert_allclose(parts["joints"], whole["joints"], atol=1e-5)
    np.testing.assert_allclose(parts["keypoints"], whole["keypoints"], atol=1e-3)


def test_a_hand_without_camera_is_relative_to_its_wrist(tmp_path, pose_file):
    hands = make_hands(3, np.random.default_rng(0), SIZE)
    hands["camera"][1] = np.nan
    from making import write_crops, write_videos

    with store.create_file(tmp_path / "c.h5", record()) as sink:
        write_videos(sink, 1)
        write_crops(sink, np.zeros(3, int), np.array([1, 1, 0]), hands, np.random.default_rng(0))
        sink.finish({})
    with store.open_file(tmp_path / "c.h5") as file:
        found = predict_file(file, pose_file, PredictConfig(device="cpu"))
    assert found["absolute"].tolist() == [True, False, True] and found["valid"].all()
    assert (found["joints"][1, 0] == 0).all() and np.abs(found["joints"][1]).max() > 1e-3
    assert np.isfinite(found["keypoints"]).all()
    np.testing.assert_allclose(found["scale"], 0.025)  # no labels: the training mean


def hands_with(bone):
    return StoredHands(np.ones(len(bone), int), np.full((len(bone), 3, 3), np.nan), np.array(bone), SIZE, 1.3)


def test_scale_is_the_truth_where_the_file_has_it_else_the_mean_or_what_was_given():
    known, unknown = hands_with([0.02, np.nan]), hands_with([np.nan, np.nan])
    scale, source = find_scale(known, 0.03, "auto")
    assert source == "truth" and scale[0] == 0.02 and np.isnan(scale[1])
    assert find_scale(unknown, 0.03, "auto")[1] == "mean" and find_scale(known, 0.03, "mean")[0].tolist() == [
        0.03,
        0.03,
    ]
    scale, source = find_scale(known, 0.03, "27.5")
    assert source == "given" and scale.tolist() == [0.0275, 0.0275]


@pytest.mark.parametrize(
    ("bone", "message"), [("truth", "no labels with a bone length"), ("long", "neither auto"), ("0.025", "1 to 100 mm")]
)
def test_a_scale_that_cannot_be_had_is_an_error(bone, message):
    with pytest.raises(HandtoolError, match=message):
        find_scale(hands_with([np.nan]), 0.03, bone)


def test_a_mean_that_training_never_saw_is_an_error():
    with pytest.raises(HandtoolError, match="without any bone length"):
        find_scale(hands_with([np.nan]), float("nan"), "auto")


def test_true_scale_makes_the_predicted_reference_bone_that_long(labelled_file, pose_file):
    given = predict_file(labelled_file, pose_file, PredictConfig(bone="30", device="cpu"))["joints"]
    true = predict_file(labelled_file, pose_file, PredictConfig(device="cpu"))
    np.testing.assert_allclose(true["joints"], given * (true["scale"] / 0.030)[:, None, None], rtol=1e-4)
    joints = store.read_column(labelled_file, store.LABELS.joints)
    np.testing.assert_allclose(true["scale"], np.linalg.norm(joints[:, 9] - joints[:, 10], axis=1), rtol=1e-6)


def test_an_encoder_is_no_pose_model(tmp_path):
    with store.create_file(tmp_path / "encoder.h5", record()) as sink:
        write_encoder(sink, make_encoder("resnet18"), make_projection_head(512), {"size": 128}, {})
        sink.finish({})
    with (
        store.open_file(tmp_path / "encoder.h5") as file,
        pytest.raises(HandtoolError, match="holds encoder weights") as caught,
    ):
        read_pose(file)
    assert "handtool finetune" in caught.value.hint


def test_crops_cut_otherwise_than_the_training_ones_are_warned_about(labelled_file, tmp_path, caplog):
    model = make_pose()
    object.__setattr__(model, "contract", Contract(size=48, box_scale=2.0, bone_m=0.025))
    with store.create_file(tmp_path / "p.h5", record()) as sink:
        write_pose(sink, model, {})
        sink.finish({})
    with store.open_file(tmp_path / "p.h5") as pose:
        predict_file(labelled_file, pose, PredictConfig(device="cpu"))
    assert "box scale 1.3, the model was trained at 2" in caplog.text


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")
def test_cuda_where_there_is_none_is_an_error():
    with pytest.raises(HandtoolError, match="no CUDA GPU here"):
        find_device("cuda")
    assert find_device("auto").type == "cpu"


def test_the_head_speaks_float32_under_autocast():
    head = RegressionHead(16, 96)
    with torch.autocast("cpu", torch.bfloat16):
        uv, z_rel = head(torch.randn(2, 16).bfloat16())
    assert uv.dtype == z_rel.dtype == torch.float32


def test_memory_that_is_short_is_one_line_with_a_smaller_batch(labelled_file, pose_file, tmp_path, monkeypatch):
    from handtool.nn.files import features, inference

    with store.create_file(tmp_path / "encoder.h5", record()) as sink:
        contract = {"size": 48, "mean": np.zeros(3), "std": np.ones(3), "side": "RIGHT", "box_scale": 1.3}
        write_encoder(sink, make_encoder("resnet18"), make_projection_head(512), contract, {})
        sink.finish({})

    def refuse(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")

    for module in (inference, features):
        monkeypatch.setattr(module, "render_inputs", refuse)
    crops, side, camera = random_crops(2).numpy(), np.ones(2, int), np.full((2, 3, 3), np.nan)
    with store.open_file(tmp_path / "encoder.h5") as encoder:
        for call, many in (
            (lambda: predict_file(labelled_file, pose_file, PredictConfig(device="cpu", batch_size=7)), 7),
            (lambda: list(features.encode_crops(labelled_file, encoder, EmbedConfig(device="cpu", batch_size=7))), 7),
            (lambda: inference.find_keypoints(make_pose(), crops, side, camera), 2),
        ):
            with pytest.raises(HandtoolError, match=f"^out of memory on the CPU, with {many} hands at once$") as told:
                call()
            assert ("--batch-size" if many == 7 else "--workers") in told.value.hint
