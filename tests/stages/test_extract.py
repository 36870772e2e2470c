"""extract: every frame and every hand accounted for, the same tables whatever the number of workers or
interruptions."""

import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from comparing import assert_same_bytes as same
from comparing import reasons
from footage import (
    add_focal_length,
    damage,
    make_boxes,
    make_labelled,
    make_sound,
    make_video,
    number_of,
    picture,
    run_stage,
    tables_of,
    write_image,
)

import handtool
from handtool import store
from handtool.config import ExtractConfig
from handtool.errors import DamagedFile, HandtoolError, WrongCommand
from handtool.hands.camera import project
from handtool.stages.extract import extract
from handtool.store import CROPS, LABELS, LEFT, UNKNOWN, VIDEOS
from handtool.vision.cropping import decode_jpeg

ONE = {"workers": 1}


def make_footage(folder: Path) -> tuple[Path, Path]:
    """Two videos with a box on some frames, a folder of images with boxes, and the boxes file."""
    folder.mkdir()
    make_video(folder / "a b.mp4", frames=90)
    make_video(folder / "ü.mp4", frames=60)
    for number in range(5):
        write_image(folder / "still" / f"{number}.png", picture(number, 5))
    hands = {f"a b.mp4#{number}": [[10, 10, 30, 20], [50, 20, 30, 30]] for number in (0, 30)}
    hands |= {"ü.mp4#30": [[5, 5, 20, 20]]} | {f"still/{number}.png": [[20, 20, 40, 30]] for number in (0, 2, 4)}
    return folder, make_boxes(folder.parent / "boxes.json", hands, side="left")


def test_boxes_become_crops_with_their_source_time_side_and_place(tmp_path):
    footage, boxes = make_footage(tmp_path / "f")
    report = run_stage(extract, [footage], tmp_path / "c.h5", ExtractConfig(**ONE), boxes=boxes)
    with store.open_file(tmp_path / "c.h5") as file:
        assert store.read_column(file, VIDEOS.name).tolist() == ["f/a b.mp4", "f/ü.mp4", "f/still"]
        assert store.read_column(file, VIDEOS.status).tolist() == ["ok"] * 3
        assert store.read_column(file, VIDEOS.frames_decoded).tolist() == [90, 60, 5]
        assert store.read_column(file, CROPS.video).tolist() == [0, 0, 0, 0, 1, 2, 2, 2]
        assert store.read_column(file, CROPS.frame).tolist() == [0, 0, 30, 30, 30, 0, 2, 4]
        assert np.allclose(store.read_column(file, CROPS.time), [0, 0, 1, 1, 1, np.nan, np.nan, np.nan], equal_nan=True)
        assert (store.read_column(file, CROPS.side) == LEFT).all() and (
            store.read_column(file, CROPS.source_row) == -1
        ).all()
        assert store.read_column(file, CROPS.box)[0].tolist() == [10, 10, 40, 30]
        assert (
            np.isnan(store.read_column(file, CROPS.camera)).all()
            and np.isnan(store.read_column(file, CROPS.landmarks)).all()
        )
        assert store.read_attrs(file, CROPS)["size"] == 224 and store.read_attrs(file, CROPS)["box_scale"] == 1.3
        jpegs = store.open_jpegs(file)
        assert [decode_jpeg(jpegs[row]).shape for row in range(8)] == [(224, 224, 3)] * 8
        assert number_of(decode_jpeg(jpegs[3]), 90) == pytest.approx(30, abs=3)
        assert not file.has(LABELS)
    assert reasons(report, "frames")["done"] == 6 and reasons(report, "frames")["skipped"] == {
        "not sampled": 145,
        "no hand found": 4,
    }
    assert reasons(report, "videos")["done"] == 3 and reasons(report, "hands")["done"] == report["left"] == 8


def test_tables_are_the_same_whatever_the_number_of_workers(tmp_path):
    footage, boxes = make_footage(tmp_path / "f")
    for workers in (1, 3):
        run_stage(extract, [footage], tmp_path / f"{workers}.h5", ExtractConfig(workers=workers), boxes=boxes)
    same(tmp_path / "1.h5", tmp_path / "3.h5")


def test_every_bad_video_is_listed_with_its_reason_and_costs_no_other(tmp_path):
    footage, boxes = make_footage(tmp_path / "f")
    (footage / "empty.mp4").write_bytes(b"")
    (footage / "text.mp4").write_text("no video " * 100)
    (footage / "cut.mp4").write_bytes((footage / "ü.mp4").read_bytes()[:2000])
    make_sound(footage / "sound.mp4")
    damage(make_video(footage / "z.mp4", frames=200, size=(320, 240)), count=30, first=0.4, last=0.6)
    report = run_stage(extract, [footage], tmp_path / "c.h5", ExtractConfig(workers=2), boxes=boxes)
    with store.open_file(tmp_path / "c.h5") as file:
        status = dict(zip(store.read_column(file, VIDEOS.name), store.read_column(file, VIDEOS.status), strict=True))
        lost = dict(
            zip(store.read_column(file, VIDEOS.name), store.read_column(file, VIDEOS.frames_failed), strict=True)
        )
        assert file.count(CROPS) == 8
    assert (
        status["f/empty.mp4"] == "empty file"
        and "cannot be opened" in status["f/text.mp4"]
        and "cannot be opened" in status["f/cut.mp4"]
    )
    assert "audio only" in status["f/sound.mp4"] and lost["f/z.mp4"] > 0 and status["f/z.mp4"] != "ok"
    assert {item["video"] for item in report["videos_not_read_whole"]} == {
        name for name in status if status[name] != "ok"
    }
    videos = reasons(report, "videos")
    assert videos["done"] == 4 and sum(videos["failed"].values()) == 4
    assert sum(reasons(report, "frames")["failed"].values()) == sum(lost.values())


def test_labelled_hands_bring_sides_cameras_and_labels_that_fit_the_crop(tmp_path):
    folder = make_labelled(tmp_path / "set", size=256, box=np.tile([60.0, 70, 180, 200], (6, 1)))
    run_stage(extract, [folder], tmp_path / "c.h5", ExtractConfig(**ONE))
    with store.open_file(tmp_path / "c.h5") as file:
        assert store.read_column(file, CROPS.side).tolist() == [0, 1] * 3
        joints, camera = store.read_column(file, LABELS.joints), store.read_column(file, CROPS.camera)
        keypoints = store.read_column(file, LABELS.keypoints)
        assert np.abs(project(joints, camera) - keypoints).max() < 1e-3
        assert store.read_column(file, LABELS.sample_id).tolist() == list(range(6))
        assert (
            store.read_column(file, LABELS.sample_key)[4] == "004.jpg"
            and np.isnan(store.read_column(file, LABELS.scale)).all()
        )
        assert store.read_column(file, CROPS.crop_from_frame)[0, 0, 0] == pytest.approx(224 / 169)


def test_labelled_and_other_footage_share_a_file_and_the_unlabelled_rows_say_so(tmp_path):
    write_image(tmp_path / "x" / "1.png", picture(0, 1))
    boxes = make_boxes(tmp_path / "b.json", {"x/1.png": [[10, 10, 30, 30]]})
    run_stage(
        extract, [tmp_path / "x", make_labelled(tmp_path / "set")], tmp_path / "c.h5", ExtractConfig(**ONE), boxes=boxes
    )
    with store.open_file(tmp_path / "c.h5") as file:
        assert store.read_column(file, LABELS.sample_id).tolist() == [-1, 0, 1, 2, 3, 4, 5]
        assert (
            not store.read_column(file, LABELS.valid)[0].any()
            and np.isnan(store.read_column(file, LABELS.joints)[0]).all()
        )
        assert store.read_column(file, LABELS.sample_key)[0] == ""


def test_whole_images_are_padded_and_a_jpeg_of_the_right_size_keeps_its_bytes(tmp_path):
    folder = tmp_path / "w"
    exact, wide = (
        write_image(folder / "1.jpg", picture(0, 2, (224, 224)), quality=60),
        write_image(folder / "2.jpg", picture(1, 2, (100, 60))),
    )
    grey = cv2.imencode(".png", np.full((50, 50), 90, np.uint16) * 256)[1].tobytes()
    (folder / "3.png").write_bytes(grey)
    run_stage(extract, [folder], tmp_path / "c.h5", ExtractConfig(whole=True, **ONE))
    with store.open_file(tmp_path / "c.h5") as file:
        jpegs = store.open_jpegs(file)
        assert jpegs[0] == exact.read_bytes() and jpegs[1] != wide.read_bytes()
        assert np.abs(decode_jpeg(jpegs[2]).astype(int) - 90).max() < 3
        assert store.read_column(file, CROPS.box).tolist() == [[0, 0, 224, 224], [0, 0, 100, 60], [0, 0, 50, 50]]
        assert (store.read_column(file, CROPS.side) == UNKNOWN).all() and store.read_attrs(file, CROPS)[
            "box_scale"
        ] == 1.0
    run_stage(extract, [folder], tmp_path / "said.h5", ExtractConfig(whole=True, box_scale=1.4, **ONE))
    with store.open_file(tmp_path / "said.h5") as file:
        assert store.open_jpegs(file)[0] == exact.read_bytes() and store.read_attrs(file, CROPS)["box_scale"] == 1.4, (
            "cut by others, at 1.4"
        )


def test_a_camera_that_nobody_knows_is_assumed_and_the_files_that_follow_say_so(tmp_path):
    footage, boxes = make_footage(tmp_path / "f")
    report = run_stage(extract, [footage], tmp_path / "c.h5", ExtractConfig(camera="fov=60", **ONE), boxes=boxes)
    assert report["camera_source"] == {"assumed": 8}
    run_stage(extract, [footage / "still"], tmp_path / "n.h5", ExtractConfig(**ONE), boxes=boxes)
    with store.open_file(tmp_path / "c.h5") as file, store.open_file(tmp_path / "n.h5") as other:
        affine, camera = store.read_column(file, CROPS.crop_from_frame), store.read_column(file, CROPS.camera)
        assert store.read_column(file, CROPS.camera_assumed).all() and not other.has(CROPS.camera_assumed)
    edge = affine[0] @ [-0.5, 63 / 2, 1]  # the left edge of a 96 x 64 picture, half-way down, in the crop
    ray = np.linalg.inv(camera[0]) @ [*edge, 1]
    assert np.degrees(np.arctan2(ray[0], ray[2])) == pytest.approx(-30) and abs(ray[1] / ray[2]) < 1e-9
    handtool.run("cat", [tmp_path / "c.h5", tmp_path / "n.h5"], tmp_path / "all.h5")
    with store.open_file(tmp_path / "all.h5") as file:
        assert store.read_column(file, CROPS.camera_assumed).tolist() == [True] * 8 + [False] * 3


def test_the_focal_length_that_images_state_makes_a_camera_of_those_that_do(tmp_path):
    for number in range(3):
        write_image(tmp_path / "f" / f"{number}.jpg", picture(number, 3, (90, 60)))
    add_focal_length(tmp_path / "f" / "0.jpg", 36)
    add_focal_length(tmp_path / "f" / "2.jpg", 72)
    report = run_stage(extract, [tmp_path / "f"], tmp_path / "c.h5", ExtractConfig(whole=True, camera="exif", **ONE))
    assert report["camera_source"] == {"assumed": 2, "none": 1}
    with store.open_file(tmp_path / "c.h5") as file:
        affine, camera = store.read_column(file, CROPS.crop_from_frame), store.read_column(file, CROPS.camera)
        assert store.read_column(file, CROPS.camera_assumed).tolist() == [True, False, True]
    focal = camera[:, 0, 0] / affine[:, 0, 0]
    assert focal[[0, 2]] == pytest.approx([90, 180]) and np.isnan(focal[1])  # film is 36 mm wide, and as 3:2


def test_a_known_camera_is_not_assumed(tmp_path):
    make_labelled(tmp_path / "set")
    report = run_stage(extract, [tmp_path / "set"], tmp_path / "c.h5", ExtractConfig(camera="fov=60", **ONE))
    assert report["camera_source"] == {"known": 6}
    with store.open_file(tmp_path / "c.h5") as file:
        assert not file.has(CROPS.camera_assumed)
        assert np.isclose(store.read_column(file, CROPS.camera)[:, 0, 0], 400).all()


def test_the_cameras_numbers_become_those_of_the_crop(tmp_path):
    footage, boxes = make_footage(tmp_path / "f")
    run_stage(
        extract, [footage / "still"], tmp_path / "c.h5", ExtractConfig(camera="100,100,50,40", **ONE), boxes=boxes
    )
    with store.open_file(tmp_path / "c.h5") as file:
        affine, camera = store.read_column(file, CROPS.crop_from_frame)[0], store.read_column(file, CROPS.camera)[0]
    assert np.allclose(camera, np.vstack([affine, [0, 0, 1]]) @ [[100, 0, 50], [0, 100, 40], [0, 0, 1]])


def test_frames_that_follow_closely_are_linked_into_tracks(tmp_path):
    path = make_video(tmp_path / "a.mp4", frames=30)
    hands = {f"a.mp4#{number}": [[10 + number, 10, 30, 30]] for number in range(0, 30, 3)}
    run_stage(
        extract, [path], tmp_path / "c.h5", ExtractConfig(every=3, **ONE), boxes=make_boxes(tmp_path / "b.json", hands)
    )
    assert tables_of(tmp_path / "c.h5", CROPS)["crops/track"].tolist() == [0] * 10


def test_a_name_that_is_no_utf8_does_not_stop_the_run(tmp_path):
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / os.fsdecode(b"caf\xe9.mp4")).write_bytes(make_video(tmp_path / "a.mp4", frames=3).read_bytes())
    run_stage(extract, [tmp_path / "f"], tmp_path / "c.h5", ExtractConfig(whole=True, **ONE))
    assert tables_of(tmp_path / "c.h5", VIDEOS)["videos/name"].tolist() == ["f/caf\ufffd.mp4"]


def test_limit_and_every_do_what_they_say(tmp_path):
    footage, boxes = make_footage(tmp_path / "f")
    report = run_stage(extract, [footage], tmp_path / "c.h5", ExtractConfig(every=30, limit=1, **ONE), boxes=boxes)
    assert reasons(report, "videos")["in"] == 1 and reasons(report, "frames")["skipped"] == {
        "not sampled": 87,
        "no hand found": 1,
    }


def test_no_hands_at_all_is_an_error_that_says_where_it_looked(tmp_path):
    footage, _ = make_footage(tmp_path / "f")
    boxes = make_boxes(tmp_path / "none.json", {"other.jpg": [[0, 0, 9, 9]]})
    with pytest.raises(
        HandtoolError, match=r"none.json is on one of the 10 pictures .* says other.jpg, the pictures are .*a b.mp4#0"
    ):
        run_stage(extract, [footage], tmp_path / "c.h5", ExtractConfig(**ONE), boxes=boxes)
    (tmp_path / "bad.mp4").write_bytes(b"")
    with pytest.raises(HandtoolError, match="none of 1 videos could be read; the first: bad.mp4: empty file"):
        run_stage(extract, [tmp_path / "bad.mp4"], tmp_path / "d.h5", ExtractConfig(whole=True, **ONE))
    assert not (tmp_path / "c.h5").exists()


def test_contradictions_and_a_missing_detector_are_told_before_the_work(tmp_path, monkeypatch):
    footage, boxes = make_footage(tmp_path / "f")
    for number, config in enumerate((ExtractConfig(whole=True), ExtractConfig(fps=2.0, every=3))):
        with pytest.raises(WrongCommand):
            run_stage(extract, [footage], tmp_path / f"{number}.h5", config, boxes=boxes)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(HandtoolError, match="mediapipe package is not installed") as caught:
        run_stage(extract, [footage], tmp_path / "d.h5", ExtractConfig())
    assert "pip install 'handtool[mediapipe]'" in caught.value.hint


def test_a_finished_part_is_not_made_again(tmp_path):
    """After an interruption the finished videos are not even looked at: one of them is gone by then."""
    footage, boxes = make_footage(tmp_path / "f")
    run_stage(extract, [footage], tmp_path / "whole.h5", ExtractConfig(**ONE), boxes=boxes)
    run_stage(extract, [footage], tmp_path / "c.h5", ExtractConfig(**ONE), keep_job=True, boxes=boxes)
    folder = tmp_path / "c.h5.partial"
    (folder / "video-0000001.part.h5").unlink()
    (tmp_path / "c.h5").unlink()
    (footage / "a b.mp4").write_text("gone")
    run_stage(extract, [footage], tmp_path / "c.h5", ExtractConfig(**ONE), boxes=boxes)
    same(tmp_path / "whole.h5", tmp_path / "c.h5")


def test_forty_videos_eight_of_them_damaged_and_a_run_killed_three_times_lose_nothing(tmp_path):
    """The small form of the trial: eight kinds of damage, and every table, image and figure of the resumed run that
    of a whole one."""
    trial = Path(__file__).parents[1] / "benchmarks" / "trial_damage.py"
    done = subprocess.run(
        [sys.executable, str(trial), "40", "3", "7"],
        capture_output=True,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "40 videos, 8 damaged" in done.stdout and "killed 3 times" in done.stdout


def test_the_command_says_what_was_done_and_an_empty_folder_is_exit_1(tmp_path, handtool):
    footage, boxes = make_footage(tmp_path / "f")
    done = handtool("extract", footage, "--boxes", boxes, "-o", "c.h5", "--workers", "1")
    assert done.returncode == 0 and "hands: 8 in = 8 done" in done.stdout
    (tmp_path / "empty").mkdir()
    for arguments, code, text in (
        (("empty",), 1, "no video and no image in empty"),
        (("absent",), 1, "absent does not exist"),
        ((footage, "--boxes", "absent.json"), 1, "absent.json"),
        ((footage, "--whole", "--camera", "1,2,3"), 1, "--camera 1,2,3"),
        ((footage, "--whole", "--camera", "fov=wide"), 2, "--camera fov=wide: no angle of 1 to 170 degrees"),
        ((footage, "--whole", "--boxes", boxes), 2, "--boxes does nothing with --whole"),
    ):
        done = handtool("extract", *arguments, "-o", f"{text}.h5")
        assert done.returncode == code and text in done.stderr, (arguments, done.stderr)


def test_the_real_labelled_set_gives_300_left_hands_on_their_fingers(tmp_path, samples):
    report = run_stage(extract, [samples / "realworld3d"], tmp_path / "c.h5", ExtractConfig(**ONE))
    assert report["left"] == 300 and reasons(report, "frames")["done"] == 300
    with store.open_file(tmp_path / "c.h5") as file:
        projected = project(store.read_column(file, LABELS.joints), store.read_column(file, CROPS.camera))
        assert np.abs(projected - store.read_column(file, LABELS.keypoints)).max() < 1e-3


@pytest.mark.parametrize("name, content", [("a.png", b"no image"), ("a.jpg", b""), ("a.mp4", b"no film" * 99)])
def test_footage_of_which_nothing_can_be_read_is_damaged(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DamagedFile, match="none of 1 videos could be read"):
        run_stage(extract, [tmp_path / name], tmp_path / "o.h5", ExtractConfig(whole=True, **ONE))


def test_what_is_no_plain_file_is_not_called_damaged(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(HandtoolError, match="none of 1 videos could be read") as raised:
        run_stage(extract, [tmp_path / "a.png"], tmp_path / "o.h5", ExtractConfig(whole=True, **ONE))
    assert not isinstance(raised.value, DamagedFile)
