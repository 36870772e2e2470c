"""synth as a stage: the same tables whatever the workers, however often interrupted."""

import numpy as np
import pytest
from making import record

from handtool import store
from handtool.config import SynthConfig
from handtool.hands.camera import project
from handtool.stages import synth as module
from handtool.stages.synth import part_name, synth
from handtool.store import CROPS, LABELS, LEFT, VIDEOS

SMALL = {"num_videos": 3, "frames": 4, "size": 48, "workers": 1}


def run(path, monkeypatch=None, **settings):
    config = SynthConfig(**{**SMALL, **settings})
    made = record("handtool synth", **config.__dict__)
    with store.open_job(path, made) as job, store.create_file(path, made) as sink:
        report = synth([], sink, config, job=job)
        sink.finish(report)
        job.remove()
    return report


def columns(path):
    with store.open_file(path) as file:
        values = {c.path: store.read_column(file, c) for t in (VIDEOS, CROPS, LABELS) for c in t.columns if file.has(c)}
    return {key: value.tolist() if value.dtype == object else value for key, value in values.items()}


def same(first, second):
    return first.keys() == second.keys() and all(
        np.array_equal(first[k], second[k], equal_nan=np.asarray(first[k]).dtype.kind == "f") for k in first
    )


def test_the_file_holds_labelled_crops_of_all_videos(tmp_path):
    report = run(tmp_path / "a.h5")
    assert report["accounting"][1] == {"what": "hands", "in": 12, "done": 12, "skipped": {}, "failed": {}}
    with store.open_file(tmp_path / "a.h5") as file:
        assert file.tables == ["videos", "crops", "labels"]
        assert store.read_column(file, CROPS.video).tolist() == [0] * 4 + [1] * 4 + [2] * 4
        assert store.read_column(file, VIDEOS.subject).tolist() == ["subject-0000", "subject-0000", "subject-0001"]
        joints, keypoints, camera = (
            store.read_column(file, c) for c in (LABELS.joints, LABELS.keypoints, CROPS.camera)
        )
        assert np.abs(project(joints.astype(float), camera) - keypoints).max() < 0.01
        assert np.allclose(
            store.read_column(file, LABELS.scale), np.linalg.norm(joints[:, 9] - joints[:, 10], axis=1), atol=1e-6
        )
        assert store.read_column(file, CROPS.time)[:4].tolist() == pytest.approx([0, 0.2, 0.4, 0.6])
        jpegs = store.open_jpegs(file)
        assert len(jpegs) == 12 and jpegs[11][:2] == b"\xff\xd8"


def test_workers_and_their_order_change_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "IN_PROCESS_BELOW", 0)
    run(tmp_path / "one.h5", workers=1)
    run(tmp_path / "two.h5", workers=2)
    assert same(columns(tmp_path / "one.h5"), columns(tmp_path / "two.h5"))


def test_a_limit_gives_the_first_videos_of_the_same_world(tmp_path):
    run(tmp_path / "all.h5")
    run(tmp_path / "first.h5", limit=2)
    whole, part = columns(tmp_path / "all.h5"), columns(tmp_path / "first.h5")
    assert len(part["labels/joints"]) == 8
    assert np.array_equal(whole["labels/joints"][:8], part["labels/joints"])
    assert np.array_equal(whole["crops/jpeg_crc32"][:8], part["crops/jpeg_crc32"])


def test_an_interrupted_run_goes_on_and_ends_in_the_same_tables(tmp_path, monkeypatch):
    run(tmp_path / "whole.h5")
    real, calls = module.make_video, []

    def stop_at_the_second(seed, video, *rest):
        calls.append(video)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(seed, video, *rest)

    monkeypatch.setattr(module, "make_video", stop_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut.h5")
    assert not (tmp_path / "cut.h5").exists() and (tmp_path / "cut.h5.partial").exists()
    run(tmp_path / "cut.h5")
    assert calls == [0, 1, 1, 2], "the first video was not made again"
    assert same(columns(tmp_path / "whole.h5"), columns(tmp_path / "cut.h5"))


def test_one_side_only_when_asked(tmp_path):
    run(tmp_path / "left.h5", side="left")
    assert (columns(tmp_path / "left.h5")["crops/side"] == LEFT).all()
    run(tmp_path / "both.h5", num_videos=8, frames=1)
    assert set(columns(tmp_path / "both.h5")["crops/side"].tolist()) == {0, 1}


def test_parts_have_names_that_sort_as_their_numbers():
    names = [part_name(video) for video in (2, 10, 9999)]
    assert names == sorted(names)


def test_the_command_writes_resumes_and_says_up_to_date(handtool, tmp_path):
    first = handtool("synth", "--num-videos", 2, "--frames", 2, "--size", 48, "--difficulty", "medium", "-o", "s.h5")
    assert first.returncode == 0, first.stderr
    again = handtool("synth", "--num-videos", 2, "--frames", 2, "--size", 48, "--difficulty", "medium", "-o", "s.h5")
    assert again.returncode == 0 and "up to date" in again.stderr
    other = handtool("synth", "--num-videos", 2, "--frames", 3, "--size", 48, "-o", "s.h5")
    assert other.returncode == 1 and "--force" in other.stderr
    assert handtool("synth", "--difficulty", "hard", "-o", "x.h5").returncode == 2
