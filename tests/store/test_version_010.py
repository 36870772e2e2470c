"""Files written by version 0.1.0 (tests/data) are read, and a chain begun with them goes on."""

import os
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from running import read_tables

import handtool
from handtool import config
from handtool.errors import HandtoolError
from handtool.store import open_file, read_metrics

KEPT = Path(__file__).parents[1] / "data" / "v010.tar.xz"
TRAINING = {"input_size": 32, "steps": 2, "gpus": 0, "workers": 1}
PRETRAIN = {"arch": "resnet18", "init": "scratch", "batch_size": 4, **TRAINING}
FINETUNE = {"encoder": "encoder.h5", "head": "regression", "batch_size": 2, **TRAINING}
STEPS = {  # command: source, output, settings, as tests/data/README.md has them
    "keypoints": ("crops.h5", "keypoints.h5", {"workers": 1}),
    "embed": ("keypoints.h5", "embeddings.h5", {"dim": 6}),
    "mine": ("embeddings.h5", "pairs.h5", {"topk": 2, "threads": 1}),
    "split": ("keypoints.h5", ["train.h5", "test.h5"], {"shares": (50, 50)}),
    "cat": (["train.h5", "test.h5"], "joined.h5", {"link": True}),
    "pretrain": ("pairs.h5", "encoder.h5", PRETRAIN),
    "finetune": ("train.h5", "pose.h5", FINETUNE),
    "predict": ("test.h5", "predictions.h5", {"model": "pose.h5", "workers": 1, "device": "cpu"}),
    "eval": ("predictions.h5", "result.h5", {}),
}
NAMES = [
    "crops",
    "keypoints",
    "embeddings",
    "pairs",
    "train",
    "test",
    "joined",
    "encoder",
    "pose",
    "predictions",
    "result",
]
RESULT_VERSIONS = config.RESULT_VERSIONS


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("v010")
    with tarfile.open(KEPT) as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture
def old(unpacked, monkeypatch) -> Path:
    """The folder of the old files, as the working directory."""
    monkeypatch.chdir(unpacked)
    return unpacked


def same_result(command: str) -> bool:
    """Whether the command still makes of its inputs what 0.1.0 made of them."""
    return RESULT_VERSIONS.get(command, 1) == 1


@pytest.mark.parametrize("name", NAMES)
def test_an_old_file_is_sound_to_its_last_byte_and_says_how_it_was_made(old, name):
    [found] = handtool.run("check", f"{name}.h5", deep=True)["files"]
    assert found["sound"], found["faults"]
    told = handtool.run("info", f"{name}.h5")
    assert " 0.1.0 at " in told["made_by"] and "missing" not in told
    assert told["commands"][0].startswith("handtool synth --num-videos 4")


@pytest.mark.parametrize("command", [command for command in STEPS if command not in ("pretrain", "finetune")])
def test_a_step_from_an_old_file_makes_what_the_old_program_made(old, tmp_path, command):
    source, output, settings = STEPS[command]
    outputs = output if isinstance(output, list) else [output]
    made = [tmp_path / name for name in outputs]
    handtool.run(command, source, made if len(made) > 1 else made[0], **settings)
    for new, name in zip(made, outputs):
        assert_alike(read_tables(new), read_tables(old / name), equal=same_result(command))
    if command == "eval":
        with open_file(made[0]) as one, open_file("result.h5") as other:
            new, kept = (read_metrics(file)["mpjpe"]["mean_mm"] for file in (one, other))
        np.testing.assert_allclose(new, kept, rtol=1e-6)


def assert_alike(new: dict[str, np.ndarray], kept: dict[str, np.ndarray], equal: bool) -> None:
    """The same columns of the same shapes; with the same values where they should be `equal`, but for the last
    digits."""
    assert set(new) >= set(kept)
    for name, values in kept.items():
        if equal and values.dtype.kind == "f":
            np.testing.assert_allclose(new[name], values, rtol=1e-3, atol=1e-5, err_msg=name)
        elif equal:
            np.testing.assert_array_equal(new[name], values, err_msg=name)
        else:
            assert new[name].dtype == values.dtype and new[name].shape[1:] == values.shape[1:], name


def test_training_goes_on_from_old_files(old, tmp_path):
    """Old pairs -> a new encoder, old labelled hands and an old encoder -> a new pose model -> old test hands."""
    handtool.run("pretrain", "pairs.h5", tmp_path / "encoder.h5", **PRETRAIN)
    handtool.run("finetune", "train.h5", tmp_path / "pose.h5", **FINETUNE)
    report = handtool.run("eval", "test.h5", model=tmp_path / "pose.h5", device="cpu", workers=1)
    assert report["accounting"][0]["done"] == 4
    again = handtool.load_encoder(tmp_path / "encoder.h5", "cpu")
    assert all(torch.isfinite(value).all() for value in again.state_dict().values())


@pytest.mark.parametrize("command", STEPS)
def test_an_old_output_is_up_to_date_unless_its_stage_makes_another_result_by_now(
    unpacked, tmp_path, monkeypatch, command
):
    shutil.copytree(unpacked, tmp_path / "copy", copy_function=os.link)  # what is made anew gets a new inode
    monkeypatch.chdir(tmp_path / "copy")
    source, output, settings = STEPS[command]
    before = {path.name: path.stat().st_mtime_ns for path in Path().iterdir()}
    if same_result(command):
        assert handtool.run(command, source, output, **settings)
    else:
        with pytest.raises(HandtoolError, match="older version"):
            handtool.run(command, source, output, **settings)
    assert {path.name: path.stat().st_mtime_ns for path in Path().iterdir()} == before


def test_a_run_that_the_old_program_did_not_finish_goes_on(unpacked, tmp_path, monkeypatch):
    """synth was interrupted after two of four videos."""
    from handtool.stages import synth

    shutil.copytree(unpacked / "unfinished.h5.partial", tmp_path / "unfinished.h5.partial")
    monkeypatch.chdir(tmp_path)
    make_videos, made = synth.make_videos, []
    monkeypatch.setattr(synth, "make_videos", lambda videos, *rest: made.extend(videos) or make_videos(videos, *rest))
    settings = {"num_videos": 4, "frames": 2, "size": 32, "seed": 5, "workers": 1, "device": "cpu"}
    handtool.run("synth", output="unfinished.h5", **settings)
    assert made == [2, 3]
    # Other libraries may draw other last bits than those of the file, so the new videos are compared with a run here.
    handtool.run("synth", output="whole.h5", **settings)
    joined, old, here = (read_tables(path) for path in (Path("unfinished.h5"), unpacked / "crops.h5", Path("whole.h5")))
    for column in ("crops/jpeg", "crops/jpeg_crc32", "crops/camera", "labels/joints", "labels/keypoints"):
        np.testing.assert_array_equal(joined[column][:4], old[column][:4], err_msg=column)
        if same_result("synth"):
            np.testing.assert_array_equal(joined[column][4:], here[column][4:], err_msg=column)
    assert set(joined) == set(old)


def test_the_public_face_reads_old_files(old):
    with handtool.open("predictions.h5") as file:
        assert len(file) == 4 and file.images[:].shape == (4, 32, 32, 3)
        poses = handtool.load_pose("pose.h5", "cpu")(
            file.images[:], file["crops/side"], file["crops/camera"], 1000 * file["labels/scale"].astype(float)
        )
        np.testing.assert_allclose(poses.joints, file["predictions/joints"], rtol=1e-3, atol=1e-5)
        np.testing.assert_allclose(poses.keypoints, file["predictions/keypoints"], rtol=1e-3, atol=1e-3)
    assert handtool.HandDataset("joined.h5")[7]["valid"].all()
    assert handtool.load_encoder("encoder.h5", "cpu").contract.arch == "resnet18"
