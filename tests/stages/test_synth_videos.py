"""synth --videos as a stage: films with their truth and boxes, which extract joins to what it finds; and what
happens after a kill."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from footage import make_boxes, run_stage, tables_of

from handtool import store
from handtool.config import ExtractConfig, SynthVideosConfig
from handtool.errors import HandtoolError
from handtool.hands.camera import project
from handtool.sources.frame import Sampling, Tally, Video
from handtool.sources.video import read_video
from handtool.stages.extract import extract
from handtool.stages.synth_videos import check_folder, synth_videos
from handtool.store import CROPS, LABELS, TRUTH, VIDEOS
from handtool.synth.device import DRIVERS

SMALL = {"num_videos": 2, "frames": 4, "fps": 5.0, "size": 90, "workers": 1}
OPTIONS = ["--num-videos", 6, "--frames", 6, "--fps", 5, "--size", 120]


def make(folder, **settings):
    folder.mkdir(exist_ok=True)
    return run_stage(synth_videos, [], folder / "truth.h5", SynthVideosConfig(**{**SMALL, **settings}))


def files(folder):
    """All but the truth, whose history tells the time."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.suffix != ".h5"}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("synth") / "world"
    return folder, make(folder)


def test_a_world_is_films_boxes_and_truth_that_agree(world):
    folder, report = world
    assert sorted(files(folder)) == ["boxes.json", "synth-0000.mp4", "synth-0001.mp4"]
    with store.open_file(folder / "truth.h5") as file:
        assert file.tables == ["videos", "truth"] and not store.find_faults(file, deep=True)
        names = store.read_column(file, VIDEOS.path).tolist()
        columns = {column.name: store.read_column(file, column) for column in TRUTH.columns}
        size = [int(store.read_column(file, column)[0]) for column in (VIDEOS.width, VIDEOS.height)]
        assert store.read_column(file, VIDEOS.subject).tolist() == ["subject-0000"] * 2
    assert report["accounting"][2]["done"] == len(columns["frame"]) > 0
    assert np.abs(project(columns["joints"].astype(float), columns["camera"]) - columns["keypoints"]).max() < 0.01
    boxes = json.loads((folder / "boxes.json").read_text())
    files_of = {image["id"]: image["file_name"] for image in boxes["images"]}
    told = [(files_of[a["image_id"]], a["side"], a["bbox"]) for a in boxes["annotations"]]
    for (where, side, (x, y, width, height)), video, frame, number, box in zip(
        told, columns["video"], columns["frame"], columns["side"], columns["box"], strict=True
    ):
        assert where == f"{names[video]}#{frame}" and side == ("left", "right")[number]
        assert np.allclose([x, y, x + width, y + height], box, atol=0.01)
    tally = Tally()
    frames = list(read_video(Video("a", str(folder / names[0]), "video"), Sampling(every=1), tally))
    assert (tally.decoded, tally.fps, tally.status) == (4, 5.0, "ok") and list(frames[0].image.shape[1::-1]) == size


def test_extract_joins_the_truth_to_known_boxes_and_to_those_of_a_detector(world, tmp_path):
    folder, _ = world
    settings = ExtractConfig(every=1, workers=1, size=64)
    exact = run_stage(extract, [folder], tmp_path / "exact.h5", settings, boxes=folder / "boxes.json")
    truth = tables_of(folder / "truth.h5", TRUTH)
    known = tables_of(tmp_path / "exact.h5", CROPS, LABELS)
    assert exact["truth"]["labelled"] == len(truth["truth/frame"]) and "files_left_out" not in exact
    assert np.array_equal(known["labels/joints"], truth["truth/joints"]) and np.array_equal(
        known["crops/side"], truth["truth/side"]
    )
    rng = np.random.default_rng(3)
    found = {}
    for video, frame, box in zip(truth["truth/video"], truth["truth/frame"], truth["truth/box"], strict=True):
        x0, y0, x1, y1 = box + rng.normal(0, 0.05, 4) * (box[2] - box[0])
        found.setdefault(f"synth-{video:04d}.mp4#{frame}", []).insert(0, [x0, y0, x1 - x0, y1 - y0])
    run_stage(extract, [folder], tmp_path / "rough.h5", settings, boxes=make_boxes(tmp_path / "rough.json", found))
    rough = tables_of(tmp_path / "rough.h5", CROPS, LABELS)
    for columns in (known, rough):
        assert columns["labels/valid"].all()
        assert (
            np.abs(
                project(columns["labels/joints"].astype(float), columns["crops/camera"]) - columns["labels/keypoints"]
            ).max()
            < 0.02
        )
    assert sorted(map(tuple, rough["labels/joints"][:, 9].tolist())) == sorted(
        map(tuple, known["labels/joints"][:, 9].tolist())
    )
    assert not np.allclose(rough["crops/camera"], known["crops/camera"])


def test_the_same_seed_gives_the_same_bytes_on_any_number_of_workers(world, tmp_path):
    folder, _ = world
    make(tmp_path / "two", workers=2)
    assert files(tmp_path / "two") == files(folder)
    one, two = (tables_of(path / "truth.h5", TRUTH, VIDEOS) for path in (folder, tmp_path / "two"))
    assert all(np.array_equal(one[name], two[name]) for name in one)
    make(tmp_path / "other", seed=6, num_videos=1)
    assert files(tmp_path / "other")["synth-0000.mp4"] != files(folder)["synth-0000.mp4"]
    make(tmp_path / "first", limit=1)
    assert files(tmp_path / "first")["synth-0000.mp4"] == files(folder)["synth-0000.mp4"]


def test_films_that_are_gone_or_of_another_world_are_said(world, tmp_path):
    make(tmp_path / "w", num_videos=1)
    check_folder(tmp_path / "w", force=False)
    (tmp_path / "w" / "synth-0000.mp4").rename(tmp_path / "w" / "synth-0007.mp4")
    with pytest.raises(HandtoolError, match="synth-0000.mp4 is gone"):
        check_folder(tmp_path / "w", force=False)
    (tmp_path / "w" / "truth.h5").unlink()
    with pytest.raises(HandtoolError, match="no truth.h5 beside it"):
        check_folder(tmp_path / "w", force=False)
    check_folder(tmp_path / "w", force=True)


def test_after_a_disk_was_full_at_any_write_it_goes_on_and_no_film_is_in_its_own_way(world, tmp_path, monkeypatch):
    def fail(*_):
        raise HandtoolError("the disk is full")

    for place in ("handtool.store.Job.save", "handtool.stages.synth_videos.write_bytes_whole"):
        with monkeypatch.context() as patched, pytest.raises(HandtoolError, match="full"):
            patched.setattr(place, fail)
            make(tmp_path / "w")
        check_folder(tmp_path / "w", force=False)
    (tmp_path / "w" / "synth-0000.mp4").write_bytes(b"of another world")
    make(tmp_path / "w")
    assert files(tmp_path / "w") == files(world[0])


def children_of(number):
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(number)], capture_output=True, text=True).stdout
    return [int(word) for word in listed.split()]


@pytest.mark.parametrize("videos", [False, True])
def test_killed_in_the_middle_it_goes_on_and_ends_in_the_same_bytes_and_no_process_stays(tmp_path, handtool, videos):
    def options(name):
        (tmp_path / name).mkdir(exist_ok=True)
        return (
            [*OPTIONS, "--videos", name]
            if videos
            else [*OPTIONS[:2], "--frames", 26, "--size", 64, "-o", f"{name}/truth.h5"]
        )

    assert handtool("synth", *options("whole")).returncode == 0
    running = subprocess.Popen(
        [sys.executable, "-m", "handtool", "synth", *map(str, options("cut")), "--workers", "2"],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
    )
    partial, deadline = tmp_path / "cut" / "truth.h5.partial", time.monotonic() + 60
    while not list(partial.glob("*-000[0-9]*")) and time.monotonic() < deadline:
        time.sleep(0.01)
    children = children_of(running.pid)
    running.kill()
    running.wait()
    done = len(list(partial.glob("*-000[0-9]*")))
    assert 0 < done < 6 and children and not (tmp_path / "cut" / "truth.h5").exists()
    while any(os.path.exists(f"/proc/{child}") for child in children) and time.monotonic() < deadline:
        time.sleep(0.05)
    left = [child for child in children if os.path.exists(f"/proc/{child}")]
    for child in left:
        os.kill(child, signal.SIGKILL)
    assert not left, "a worker outlived its parent"
    again = handtool("synth", *options("cut"))
    assert again.returncode == 0, again.stderr
    assert files(tmp_path / "cut") == files(tmp_path / "whole") and not partial.exists()
    names = (TRUTH, VIDEOS) if videos else (CROPS, LABELS, VIDEOS)
    whole, cut = (tables_of(tmp_path / name / "truth.h5", *names) for name in ("whole", "cut"))
    assert all(np.array_equal(whole[name], cut[name], equal_nan=whole[name].dtype.kind == "f") for name in whole)


def test_the_command_tells_its_two_products_apart(handtool, tmp_path):
    both = handtool("synth", "--videos", "w", "-o", "c.h5")
    assert both.returncode == 2 and "--output does nothing with --videos DIR" in both.stderr
    assert handtool("synth", "--fps", 5, "-o", "c.h5").returncode == 2
    (tmp_path / "file").write_text("")
    assert handtool("synth", "--videos", "file").returncode == 2
    if not any(driver.exists() for driver in DRIVERS):
        absent = handtool("synth", "-o", "c.h5", "--device", "cuda")
        assert absent.returncode == 1 and "no CUDA GPU here" in absent.stderr
    first = handtool("synth", "--videos", "w", *OPTIONS[2:], "--num-videos", 1)
    again = handtool("synth", "--videos", "w", *OPTIONS[2:], "--num-videos", 1)
    assert first.returncode == 0 and again.returncode == 0 and "up to date" in again.stderr
    other = handtool("synth", "--videos", "w", *OPTIONS[2:], "--num-videos", 2)
    assert other.returncode == 1 and "--force" in other.stderr
