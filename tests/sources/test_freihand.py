"""FreiHAND in its official layout: what is in it comes out, what is missing is named, and no pixel is turned into
its negative."""

import json

import cv2
import numpy as np
import pytest
from footage import make_freihand, run_stage, tables_of

from handtool import store
from handtool.config import ExtractConfig
from handtool.errors import HandtoolError, WrongCommand
from handtool.extraction.reading import outcome_of_lost
from handtool.hands.skeleton import RIGHT
from handtool.sources import folder_chunks
from handtool.sources.find import find_videos
from handtool.sources.frame import Choice, Sampling, Tally
from handtool.sources.read import read_frames
from handtool.stages.extract import extract
from handtool.store import CROPS, LABELS
from handtool.vision.cropping import decode_jpeg

HANDS, EXAMS = 5, 3


def read_set(root, split=None, subset=(), dataset=None):
    (video,) = find_videos([root], choice=Choice(dataset, split, subset)).videos
    tally = Tally()
    return video, tally, list(read_frames(video, Sampling(), tally))


def load(root, name):
    return np.array(json.loads((root / f"{name}.json").read_text()))


@pytest.mark.parametrize("dataset", [None, "freihand"])
def test_each_hand_comes_before_four_backgrounds_with_the_same_label(tmp_path, dataset):
    root = make_freihand(tmp_path / "FreiHAND_pub_v2")
    video, tally, frames = read_set(root, "train", dataset=dataset)
    assert video.name == "FreiHAND_pub_v2/training" and tally.status == "ok" and len(frames) == 20
    xyz, camera, scale = (load(root, f"training_{name}") for name in ("xyz", "K", "scale"))
    for number, frame in enumerate(frames):
        (hand,), label = frame.hands, number % HANDS
        assert (hand.sample_id, hand.sample_key, frame.number) == (number, f"training/rgb/{number:08d}.jpg", number)
        assert hand.side == RIGHT and hand.box is None and hand.valid.all()
        assert np.allclose(hand.joints, xyz[label], atol=1e-7) and hand.scale == pytest.approx(scale[label], abs=1e-12)
        for (x, y, z), point in zip(xyz[label], hand.keypoints, strict=True):
            (fx, _, cx), (_, fy, cy), _ = camera[label]
            assert point == pytest.approx((fx * x / z + cx, fy * y / z + cy), abs=1e-9)


def test_backgrounds_can_be_chosen_and_keep_their_numbers(tmp_path):
    root = make_freihand(tmp_path / "f")
    _, _, frames = read_set(root, "training", ("gs", "auto"))
    assert [frame.number for frame in frames] == [*range(5), *range(15, 20)]


@pytest.mark.parametrize("truth", ["here", "beside", None])
def test_the_evaluation_is_read_with_its_truth_wherever_that_is_and_without(tmp_path, truth):
    root = make_freihand(tmp_path / "FreiHAND", truth)
    video, _, frames = read_set(root, "evaluation")
    assert video.name == "FreiHAND/evaluation" and [frame.hands[0].sample_id for frame in frames] == [0, 1, 2]
    for number, frame in enumerate(frames):
        hand = frame.hands[0]
        assert np.array_equal(hand.camera, load(root, "evaluation_K")[number]) and hand.scale > 0
        if truth:
            folder = root if truth == "here" else tmp_path / "FreiHAND_eval"
            assert np.allclose(hand.joints, load(folder, "evaluation_xyz")[number]) and hand.valid.all()
            assert np.allclose(hand.vertices, load(folder, "evaluation_verts")[number])
        else:
            assert (
                np.isnan(hand.joints).all()
                and not hand.valid.any()
                and not hand.keypoints_valid.any()
                and hand.vertices is None
            )


def test_pixels_of_the_crop_are_those_of_the_image_at_every_size(tmp_path):
    root = make_freihand(tmp_path / "f")
    originals = [cv2.imread(str(root / "training" / "rgb" / f"{number:08d}.jpg"))[..., ::-1] for number in range(20)]
    for size in (224, 96):
        output = tmp_path / f"{size}.h5"
        run_stage(extract, [root], output, ExtractConfig(workers=1, size=size, split="train"))
        with store.open_file(output) as file:
            jpegs = store.open_jpegs(file)
            crops = [decode_jpeg(jpegs[row]) for row in range(len(jpegs))]
        for crop, original in zip(crops, originals, strict=True):
            if size == 224:
                assert np.array_equal(crop, original)
            else:
                smaller = cv2.resize(original, (size, size), interpolation=cv2.INTER_AREA)
                assert np.abs(crop.astype(float) - smaller).mean() < 3
        assert max(crop.mean() for crop in crops) < 80, "dark images stay dark"


def test_a_set_in_pieces_over_two_workers_is_the_same_file(tmp_path, monkeypatch):
    root = make_freihand(tmp_path / "f")
    run_stage(extract, [root], tmp_path / "whole.h5", ExtractConfig(workers=1, split="train"))
    monkeypatch.setattr(folder_chunks, "CHUNK_IMAGES", 6)
    run_stage(extract, [root], tmp_path / "cut.h5", ExtractConfig(workers=2, split="train"))
    whole, cut = (tables_of(tmp_path / name, CROPS, LABELS) for name in ("whole.h5", "cut.h5"))
    assert whole.keys() == cut.keys()
    for name in whole:
        same = np.array_equal(whole[name], cut[name]) or np.array_equal(whole[name], cut[name], equal_nan=True)
        assert same or name.endswith("checksum"), name
    assert whole["labels/sample_id"].tolist() == list(range(20))


def test_images_lost_with_their_process_are_counted_piece_by_piece(tmp_path, monkeypatch):
    monkeypatch.setattr(folder_chunks, "CHUNK_IMAGES", 6)
    (video,) = find_videos([make_freihand(tmp_path / "f")], choice=Choice(split="train")).videos
    lost = [outcome_of_lost(piece, "killed", ExtractConfig()) for piece in folder_chunks.split_into_chunks(video)]
    assert [outcome["failed"] for outcome in lost] == [
        {"images lost with their process": count} for count in (6, 6, 6, 2)
    ]


def test_vertices_of_the_evaluation_reach_the_file(tmp_path):
    root = make_freihand(tmp_path / "f")
    run_stage(extract, [root], tmp_path / "e.h5", ExtractConfig(workers=1, split="evaluation"))
    tables = tables_of(tmp_path / "e.h5", LABELS)
    assert np.allclose(tables["labels/vertices"], load(root, "evaluation_verts")) and tables["labels/valid"].all()


def break_image(root):
    (root / "training" / "rgb" / "00000007.jpg").unlink()


def break_label_file(root):
    (root / "training_xyz.json").unlink()


def break_json(root):
    text = (root / "training_K.json").read_text()
    (root / "training_K.json").write_text(text[: len(text) // 2])


def break_version(root):
    (root / "training_scale.json").write_text(json.dumps([0.03] * 7))


def break_shape(root):
    (root / "training_xyz.json").write_text(json.dumps([[[0.0, 0, 1]] * 20] * 5))


def break_folder(root):
    (root / "training" / "rgb").rename(root / "training" / "images")


@pytest.mark.parametrize(
    "spoil, message",
    [
        (break_image, r"rgb lacks 1 of 20 images, the first 00000007.jpg: 5 labels before 4 backgrounds"),
        (
            break_label_file,
            r"training_xyz.json does not exist: looked for .*, found training_K.json, training_scale.json",
        ),
        (break_json, r"training_K.json \(\d+ bytes\) cannot be read"),
        (break_version, r"different numbers of hands: training_K.json 5, training_xyz.json 5, training_scale.json 7"),
        (break_shape, r"training_xyz.json holds numbers of shape \(5, 20, 3\)"),
        (break_folder, r"rgb does not exist: looked for 20 images"),
    ],
)
def test_what_is_missing_is_named(tmp_path, spoil, message):
    root = make_freihand(tmp_path / "f")
    spoil(root)
    with pytest.raises(HandtoolError, match=message):
        find_videos([root], choice=Choice(split="train"))


def test_a_wrong_root_and_wrong_names_are_told(tmp_path):
    root = make_freihand(tmp_path / "f")
    with pytest.raises(HandtoolError, match=r"is not FreiHAND: looked for training/ and evaluation/, found 0"):
        find_videos([root / "training" / "rgb"], choice=Choice("freihand"))
    for choice, message in [
        (Choice("freihands"), "no data set 'freihands'"),
        (Choice(split="val"), "no split 'val'"),
        (Choice(split="train", subset=("green",)), "no subset 'green'"),
        (Choice(split="evaluation", subset=("gs",)), "one background"),
    ]:
        with pytest.raises(WrongCommand, match=message):
            find_videos([root], choice=choice)


def test_two_splits_are_not_mixed_and_a_folder_of_images_has_none(handtool, tmp_path):
    make_freihand(tmp_path / "f")
    done = handtool("extract", "f", "-o", "x.h5")
    assert (
        done.returncode == 2
        and "evaluation and training, which are not to be mixed" in done.stderr
        and "--split train" in done.stderr
    )
    done = handtool("extract", "f/training", "--split", "train", "-o", "x.h5")
    assert done.returncode == 2 and "none was recognised" in done.stderr
    done = handtool("extract", "f", "--dataset", "freihand", "--split", "train", "--subset", "gs,hom", "-o", "x.h5")
    assert done.returncode == 0, done.stderr
    assert tables_of(tmp_path / "x.h5", LABELS)["labels/sample_id"].tolist() == list(range(10))
