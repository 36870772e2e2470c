"""predict on videos and images: what extract and then predict would say, in one file, with every hand on its way
through time."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from footage import make_boxes, make_video, picture, write_image
from making import make_file, record
from running import read_tables, same_tables

from handtool import store
from handtool.cli.predict import predict_footage
from handtool.config import ExtractConfig, PredictConfig, PredictFootageConfig
from handtool.errors import HandtoolError
from handtool.nn.files.pose_weights import write_pose
from handtool.nn.models.encoder import make_encoder
from handtool.nn.models.pose_model import Contract, PoseModel
from handtool.stages.extract import extract
from handtool.stages.predict import predict
from handtool.store import CROPS, LEFT, PREDICTIONS, VIDEOS


@pytest.fixture(scope="module")
def pose_path(tmp_path_factory):
    torch.manual_seed(0)
    model = PoseModel(make_encoder("resnet18"), Contract(size=32, bone_m=0.025, box_scale=1.6))
    torch.nn.init.normal_(model.head.fc.weight, std=0.05)
    path = tmp_path_factory.mktemp("model") / "pose.h5"
    with store.create_file(path, record()) as sink:
        write_pose(sink, model, {})
        sink.finish({})
    return path


@pytest.fixture(scope="module")
def footage(tmp_path_factory) -> tuple[Path, Path]:
    """A hand that moves over 12 frames at 30/s, with a second one on one of them; three images, one without a hand."""
    folder = tmp_path_factory.mktemp("footage")
    (folder / "f").mkdir()
    make_video(folder / "f" / "a.mp4", frames=12)
    for number in range(3):
        write_image(folder / "f" / "still" / f"{number}.png", picture(number, 3))
    hands = {f"a.mp4#{number}": [[10 + number, 10, 30, 24]] for number in range(12)}
    hands["a.mp4#5"].append([60, 40, 20, 20])
    hands |= {f"still/{number}.png": [[20, 20, 40, 30]] for number in (0, 2)}
    return folder / "f", make_boxes(folder / "boxes.json", hands, side="left")


def run(folder: Path, boxes: Path, pose_path: Path, out: Path, **changes) -> dict:
    config = PredictFootageConfig(device="cpu", workers=1, size=64, **changes)
    with store.open_file(pose_path, trusted=True) as pose, store.open_job(out, record(**changes)) as job:
        with store.create_file(out, record(**changes), [pose]) as sink:
            report = predict_footage([folder], sink, config, job=job, model=pose, boxes=boxes)
            sink.finish(report)
        job.remove()
    return report


@pytest.fixture(scope="module")
def whole(tmp_path_factory, footage, pose_path) -> tuple[Path, dict]:
    """The output of one run, and its report."""
    path = tmp_path_factory.mktemp("whole") / "p.h5"
    report = run(*footage, pose_path, path)
    assert not path.with_name("p.h5.partial").exists()
    return path, report


def test_the_poses_are_those_of_extract_and_then_predict_on_every_frame_at_the_models_box_scale(
    tmp_path, footage, pose_path, whole
):
    path, report = whole
    with store.open_job(tmp_path / "c.h5", record()) as job, store.create_file(tmp_path / "c.h5", record()) as sink:
        config = ExtractConfig(every=1, box_scale=1.6, size=64, device="cpu", workers=1)
        sink.finish(extract([footage[0]], sink, config, job=job, boxes=footage[1]))
        job.remove()
    with (
        store.open_file(tmp_path / "c.h5", trusted=True) as crops,
        store.open_file(pose_path, trusted=True) as pose,
        store.create_file(tmp_path / "q.h5", record(), [crops, pose]) as sink,
    ):
        sink.finish(predict(crops, sink, PredictConfig(device="cpu", workers=1), model=pose))
    assert same_tables(read_tables(path), read_tables(tmp_path / "q.h5"))
    with store.open_file(path, trusted=True) as file:
        assert not file.links, "crops have no path of their own: they are inside"
        assert [entry["program"] for entry in file.provenance] == ["handtool test", "handtool test"], (
            "the model's, and one step of its own"
        )
    counted = {item["what"]: item for item in report["accounting"]}
    assert counted["frames"]["done"] == 14 and counted["frames"]["skipped"] == {"no hand found": 1}
    assert counted["hands found"]["done"] == counted["hands"]["done"] == 15 and report["scale_source"] == "mean"


def test_a_hand_is_a_trajectory_with_time_track_and_side_in_its_rows(whole):
    with store.open_file(whole[0], trusted=True) as file:
        video, time, track, side = (
            store.read_column(file, column) for column in (CROPS.video, CROPS.time, CROPS.track, CROPS.side)
        )
        assert file.count(PREDICTIONS) == len(video) == 15 and store.read_column(file, VIDEOS.name).tolist() == [
            "f/a.mp4",
            "f/still",
        ]
    moving = (video == 0) & (track == 0)
    np.testing.assert_allclose(time[moving], np.arange(12) / 30, atol=1e-3)
    assert (side == LEFT).all() and (track[~moving] == -1).all() and np.isnan(time[video == 1]).all()


def test_a_run_killed_while_it_predicts_does_not_look_for_the_hands_again(
    tmp_path, footage, pose_path, whole, monkeypatch
):
    def killed(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr("handtool.stages.predict.predict", killed)
        run(*footage, pose_path, tmp_path / "p.h5")
    assert not (tmp_path / "p.h5").exists()
    monkeypatch.setattr("handtool.stages.extract.extract", killed)
    run(*footage, pose_path, tmp_path / "p.h5")
    assert same_tables(read_tables(tmp_path / "p.h5"), read_tables(whole[0]))


def test_footage_without_hands_and_a_file_that_is_no_pose_model_are_one_line(tmp_path, footage, pose_path):
    with pytest.raises(HandtoolError, match="none.json is on one of the 15 pictures"):
        run(
            footage[0],
            make_boxes(tmp_path / "none.json", {"other.mp4#0": [[1, 1, 9, 9]]}),
            pose_path,
            tmp_path / "p.h5",
        )
    with pytest.raises(HandtoolError, match="has no /weights"):
        run(*footage, make_file(tmp_path / "k.h5"), tmp_path / "p.h5")
    assert not list(tmp_path.glob("p.h5*"))


@pytest.mark.parametrize("whole_images", [False, True])
def test_a_model_that_cannot_do_what_is_asked_is_found_out_before_the_footage_is_looked_at(
    tmp_path, footage, pose_path, monkeypatch, whole_images
):
    def looked_at(*_, **__):
        raise AssertionError("the footage was looked at first")

    monkeypatch.setattr("handtool.stages.extract.extract", looked_at)
    with pytest.raises(HandtoolError, match="never saw a mirrored hand"):
        run(*footage, pose_path, tmp_path / "h.h5", flip=True, whole=whole_images)
    with pytest.raises(HandtoolError, match="has no /weights"):
        run(*footage, make_file(tmp_path / "k.h5"), tmp_path / "h.h5", whole=whole_images)


def test_the_command_thins_by_time_and_knows_footage_from_crops(tmp_path, footage, pose_path, handtool):
    given = (
        footage[0],
        "--boxes",
        footage[1],
        "--model",
        pose_path,
        "--fps",
        "10",
        "--device",
        "cpu",
        "--workers",
        "1",
        "-o",
        "p.h5",
    )
    done = handtool("predict", *given)
    assert done.returncode == 0 and "frames: 15 in = 6 done + 9" in done.stdout, done.stdout + done.stderr
    crops = handtool("predict", "p.h5", "--model", pose_path, "--fps", "10", "-o", "q.h5")
    assert crops.returncode == 2 and "--fps does nothing with a handtool file" in crops.stderr
    both = handtool("predict", "p.h5", footage[0], "--model", pose_path, "-o", "q.h5")
    assert both.returncode == 2 and "do not go together" in both.stderr
    assert handtool("predict", "gone.mp4", "--model", pose_path, "-o", "q.h5").stderr.startswith(
        "handtool predict: gone.mp4 does not exist"
    )


def test_film_and_table_are_made_beside_the_file_as_show_and_export_make_them(handtool, tmp_path, footage, pose_path):
    given = ["predict", footage[0], "--boxes", footage[1], "--model", pose_path, "--device", "cpu", "-o", "p.h5"]
    beside = ["--show", "p.mp4", "--export", "p.csv"]
    done = handtool(*given, *beside)
    assert done.returncode == 0 and "p.mp4 is made" in done.stderr, done.stderr
    assert handtool("export", "p.h5", "-o", "again.csv").returncode == 0
    assert (tmp_path / "again.csv").read_bytes() == (tmp_path / "p.csv").read_bytes()
    film = (tmp_path / "p.mp4").read_bytes()
    shown = handtool("show", "p.h5", "--video", "-o", "p.mp4")
    assert shown.returncode == 0 and "up to date" in shown.stderr
    (tmp_path / "p.csv").unlink()
    again = handtool(*given, *beside, "--json")
    assert again.returncode == 0 and json.loads(again.stdout)["up_to_date"] and (tmp_path / "p.csv").exists()
    assert (tmp_path / "p.mp4").read_bytes() == film
    for wrong in (["--show", "p.avi"], ["--export", "p.txt"]):
        assert handtool(*given, *wrong).returncode == 2
    assert handtool(*given[:-1], "-", "--show", "p.mp4").returncode == 2


def test_a_film_never_takes_the_place_of_its_own_footage(handtool, tmp_path, footage, pose_path):
    clip = tmp_path / "clip.mp4"
    clip.write_bytes((footage[0] / "a.mp4").read_bytes())
    boxes = make_boxes(tmp_path / "boxes.json", {"clip.mp4#3": [[10, 10, 30, 24]]})
    given = ["predict", "clip.mp4", "--boxes", boxes, "--model", pose_path, "--device", "cpu", "-o", "p.h5", "--force"]
    whole = clip.read_bytes()
    for beside in (["--show", "clip.mp4"], ["--export", "p.h5"], ["--show", "p.h5"]):
        refused = handtool(*given, *beside)
        assert refused.returncode == 2, refused.stderr
    gone = handtool(*given, "--export", "nowhere/p.csv")
    assert gone.returncode == 1 and "there is no folder" in gone.stderr and not (tmp_path / "p.h5").exists()
    assert handtool(*given).returncode == 0
    shown = handtool("show", "p.h5", "--video", "-o", "clip.mp4", "--force")
    assert shown.returncode == 2 and "clip.mp4 is both input and output" in shown.stderr
    assert clip.read_bytes() == whole
