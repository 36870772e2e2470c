"""Pictures with 2D labels alone, without a camera: which commands they go through, and what the others say."""

import numpy as np
import pytest
from coco_sets import MMPOSE, draw_points, flat, hand_category, images_of, write_json, write_pictures
from footage import run_stage
from running import read
from running import run_stage as run_files
from training import TinyEncoder, run_finetune, run_pretrain

from handtool import store
from handtool.config import EmbedConfig, EvalConfig, ExtractConfig, KeypointsConfig, MineConfig, PredictConfig
from handtool.errors import HandtoolError
from handtool.nn.files.inference import find_keypoints
from handtool.nn.files.pose_weights import read_pose
from handtool.nn.models import heatmap_head
from handtool.nn.models.encoder import ENCODERS
from handtool.stages.embed import embed
from handtool.stages.eval import evaluate
from handtool.stages.extract import extract
from handtool.stages.keypoints import keypoints
from handtool.stages.mine import mine
from handtool.stages.predict import predict
from handtool.store import CROPS, KEYPOINTS, LABELS, PAIRS
from handtool.vision.cropping import decode_jpeg

HANDS = 8


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    """train.h5 from eight pictures, one of them with a hand that lacks a joint."""
    root = tmp_path_factory.mktemp("coco")
    names = [f"{number}.png" for number in range(HANDS)]
    write_pictures(root / "set", names)
    marks = [[0 if joint == 8 and hand == 3 else 1 for joint in range(21)] for hand in range(HANDS)]
    annotations = [
        {"id": hand, "image_id": 10 + hand, "category_id": 1, "keypoints": flat(draw_points(hand), marks[hand])}
        for hand in range(HANDS)
    ]
    content = {"images": images_of(names), "annotations": annotations, "categories": [hand_category(MMPOSE)]}
    write_json(root / "set" / "hands.json", content)
    report = run_stage(extract, [root / "set"], root / "train.h5", ExtractConfig(workers=1, size=64))
    assert report["accounting"][2]["done"] == HANDS
    return root / "train.h5"


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setitem(ENCODERS, "tiny", TinyEncoder)
    monkeypatch.setattr(heatmap_head, "WIDTH", 16)


def test_labels_are_the_points_moved_into_the_crop_and_nothing_is_known_of_space(labelled):
    affine, points = read(labelled, CROPS.crop_from_frame), read(labelled, LABELS.keypoints)
    for hand in range(HANDS):
        expected = np.array([[affine[hand, 0] @ [x, y, 1], affine[hand, 1] @ [x, y, 1]] for x, y in draw_points(hand)])
        known = np.arange(21) != (8 if hand == 3 else -1)
        np.testing.assert_allclose(points[hand, known], expected[known], atol=1e-3)
        assert (points[hand, known] > -1).all() and (points[hand, known] < 65).all(), "inside its crop"
        np.testing.assert_array_equal(read(labelled, LABELS.keypoints_valid)[hand], known)
    assert np.isnan(read(labelled, CROPS.camera)).all() and not read(labelled, LABELS.valid).any()
    assert read(labelled, LABELS.sample_key).tolist() == [f"{number}.png" for number in range(HANDS)]


def test_from_2d_labels_to_pairs_and_pre_training(labelled, tmp_path):
    report = run_stage(keypoints, labelled, tmp_path / "k.h5", KeypointsConfig(estimator="labels"))
    assert report["accounting"][0]["done"] == HANDS - 1 and read(tmp_path / "k.h5", KEYPOINTS.valid)[3] == np.False_
    run_files(embed, tmp_path / "k.h5", tmp_path / "e.h5", EmbedConfig(dim=4))
    run_files(mine, tmp_path / "e.h5", tmp_path / "p.h5", MineConfig(topk=2, exclude="none"))
    assert len(read(tmp_path / "p.h5", PAIRS.anchor)) == 2 * (HANDS - 1)
    run_pretrain(tmp_path / "p.h5", tmp_path / "encoder.h5", arch="tiny", steps=2)


def test_the_heat_map_head_learns_keypoints_from_them_and_finds_them_again(labelled, tmp_path, caplog):
    report = run_finetune(labelled, tmp_path / "pose.h5", arch="tiny", head="heatmap", steps=3)
    assert np.isfinite(report["loss_last"]) and report["loss_last"] > 0 and "mean_bone_mm" not in report
    assert "know no joint in space: the model learns keypoints" in caplog.text
    with store.open_file(tmp_path / "pose.h5") as pose, store.open_file(labelled) as file:
        jpegs = store.open_jpegs(file)
        crops = np.stack([decode_jpeg(jpegs[row]) for row in range(HANDS)])
        found = find_keypoints(read_pose(pose), crops, read(labelled, CROPS.side), read(labelled, CROPS.camera))
        assert found.shape == (HANDS, 21, 2) and np.isfinite(found).all()
        with pytest.raises(HandtoolError, match="trained without any bone length") as error:
            predict(file, None, PredictConfig(device="cpu"), model=pose)
        assert "--estimator pose.h5" in error.value.hint


def test_what_needs_joints_in_space_says_so_in_one_line(labelled, tmp_path):
    with pytest.raises(HandtoolError, match="no joint in space, and the regression head") as error:
        run_finetune(labelled, tmp_path / "pose.h5", arch="tiny", head="regression", steps=1)
    assert error.value.hint.startswith("--head heatmap")
    with pytest.raises(HandtoolError, match="held-out hands .* are scored by joints in space") as error:
        run_finetune(labelled, tmp_path / "pose.h5", arch="tiny", head="heatmap", steps=1, val_share=0.5, val_by="row")
    assert error.value.hint == "--val-share 0"
    with store.open_file(labelled) as file, pytest.raises(HandtoolError, match="no true joint: 8") as error:
        n = HANDS
        found = dict(joints=np.zeros((n, 21, 3), np.float32), keypoints=np.zeros((n, 21, 2), np.float32))
        found |= dict(valid=np.ones(n, bool), absolute=np.zeros(n, bool), scale=np.ones(n, np.float32))
        evaluate([file], None, EvalConfig(), estimate=lambda source: (found, "a", "given", np.full(n, "")))
    assert error.value.hint.startswith("its labels are keypoints in 2D")
    with store.open_file(labelled) as file, pytest.raises(HandtoolError, match="joints"):
        with store.create_file(tmp_path / "x.h5", store.Record("embed", {}, [])) as sink:
            embed(file, sink, EmbedConfig(source="joints"))
