"""The overlay film: the right frames, every hand at its place, crops where the footage is gone, whole or not at all."""

import io
import json
import subprocess
import sys
from types import SimpleNamespace

import av
import cv2
import numpy as np
import pytest
from footage import damage, make_boxes, make_labelled, make_video, number_of, picture, write_image
from making import make_file
from running import package_environment

from handtool import store
from handtool.config import OverlayConfig
from handtool.errors import HandtoolError
from handtool.hands.skeleton import LEFT, RIGHT
from handtool.render.mp4 import Mp4Writer, read_note
from handtool.render.overlay import SIDE_COLOURS, STRIP, HandInPicture, draw_picture, mp4_size, shows_crop
from handtool.sources.reopen import find_again, read_again
from handtool.stages.overlay import find_footage, overlay

SIZE = (192, 128)
BOXES = {"left": [20, 40, 40, 40], "right": [120, 60, 50, 40]}  # x, y, width, height


def read_film(data: bytes) -> list[np.ndarray]:
    with av.open(io.BytesIO(data)) as film:
        return [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """clips/clip.mp4, 20 frames at 10/s; two hands in every fourth one, found by given boxes; crops.h5."""
    folder = tmp_path_factory.mktemp("a b")
    (folder / "clips").mkdir()
    make_video(folder / "clips" / "clip.mp4", 20, 10, SIZE)
    make_boxes(folder / "boxes.json", {f"clip.mp4#{number}": list(BOXES.values()) for number in range(0, 20, 4)})
    command = [
        sys.executable,
        "-m",
        "handtool",
        "extract",
        "clips",
        "--boxes",
        "boxes.json",
        "--every",
        "4",
        "-o",
        "crops.h5",
    ]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=package_environment())
    assert done.returncode == 0, done.stderr
    return folder


def film_of(path, folders=(), **settings) -> tuple[list[np.ndarray], dict]:
    sink = io.BytesIO()
    with store.open_file(path) as file:
        report = overlay(file, sink, OverlayConfig(**settings), footage=find_footage(file, list(folders)), note="")
    return read_film(sink.getvalue()), report


def test_the_frames_of_the_video_are_shown_with_every_hand_at_its_place(clip):
    pictures, report = film_of(clip / "crops.h5")
    assert (report["pictures"], report["from_frames"], report["fps"]) == (5, 5, 2.5) and report["accounting"][0][
        "done"
    ] == 10
    scale = pictures[0].shape[1] / SIZE[0]
    for number, image in zip(range(0, 20, 4), pictures, strict=True):
        frame = cv2.resize(picture(number, 20, SIZE), None, fx=scale, fy=scale).astype(int)
        changed = np.abs(image[: frame.shape[0]].astype(int) - frame).max(2) > 45
        for x, y, width, height in BOXES.values():
            left, top, right, bottom = (round(scale * edge) for edge in (x, y, x + width, y + height))
            assert (
                changed[top - 2 : top + 3, left:right].any(0).mean() > 0.9
                and changed[top:bottom, right - 3 : right + 3].any(1).mean() > 0.9
            )
            assert changed[top + 8 : bottom - 8, left + 8 : right - 8].mean() < 0.02, (
                "nothing is drawn inside a box without joints"
            )
        assert abs(number_of(image[: frame.shape[0]], 20) - number) <= 1, "that very frame"


def test_where_the_video_is_gone_its_crops_are_shown_one_after_another(clip, caplog):
    away = (clip / "clips").rename(clip / "elsewhere")
    try:
        pictures, report = film_of(clip / "crops.h5")
        assert (report["from_frames"], report["from_crops"], len(pictures)) == (0, 10, 10) and "--videos" in caplog.text
        assert film_of(clip / "crops.h5", [clip / "elsewhere"])[1]["from_frames"] == 5, "named anew"
    finally:
        away.rename(clip / "clips")


def test_another_video_under_the_old_name_is_not_believed(clip, tmp_path):
    (tmp_path / "clips").mkdir()
    with store.open_file(clip / "crops.h5") as file:
        video = find_again("clips/clip.mp4", "clips/clip.mp4", [clip], [])
        other = tmp_path / "clips" / "clip.mp4"
        make_video(other, 7, 10, SIZE)  # as dark at first, then brighter sooner, and soon over
        sink = io.BytesIO()
        report = overlay(
            file, sink, OverlayConfig(), footage=[SimpleNamespace(**(vars(video) | {"path": str(other)}))], note=""
        )
    assert (report["from_frames"], report["from_crops"]) == (1, 8)


def test_damaged_footage_gives_what_it_can(clip, tmp_path):
    folder = tmp_path / "clips"
    folder.mkdir()
    (folder / "clip.mp4").write_bytes((clip / "clips" / "clip.mp4").read_bytes())
    damage(folder / "clip.mp4", 400, 0.5)
    sink = io.BytesIO()
    with store.open_file(clip / "crops.h5") as file:
        footage = [find_again("clips/clip.mp4", str(folder / "clip.mp4"), [], [])]
        report = overlay(file, sink, OverlayConfig(), footage=footage, note="")
    assert (
        report["accounting"][0]["done"] == 10
        and 1 <= report["from_frames"] < 5
        and len(read_film(sink.getvalue())) == report["pictures"]
    )


def test_so_many_pictures_as_were_asked_for_and_the_rest_is_counted(clip, tmp_path):
    pictures, report = film_of(clip / "crops.h5", frames=2, fps=7)
    assert (
        len(pictures) == 2
        and report["fps"] == 7
        and report["accounting"][0]["skipped"] == {"after the last picture (--frames)": 6}
    )
    bare = make_file(tmp_path / "bare.h5", (3, 4), ("keypoints", "labels"))
    pictures, report = film_of(bare, frames=5)
    assert (
        len(pictures) == 5
        and report["kind"] == "keypoints"
        and report["accounting"][0] | {"skipped": 0} == report["accounting"][0] | {"skipped": 0, "done": 5}
    )
    with pytest.raises(HandtoolError, match="has no predictions to draw"):
        film_of(bare, kind="predictions")


def test_joints_are_drawn_where_they_are_and_in_space_beside(tmp_path):
    bare = make_file(tmp_path / "hands.h5", (3,), ("labels",))
    (first, *_), report = film_of(bare)
    with store.open_file(bare) as file:
        points = store.read_column(file, store.LABELS.keypoints)[0]
    height = first.shape[0] - STRIP
    assert report["kind"] == "labels" and first.shape[1] > height, "a column for the hands in space"
    wrist = (points[0] + 0.5) * height / 64 - 0.5
    x, y = np.round(wrist).astype(int)
    assert first[y - 1 : y + 2, x - 1 : x + 2].mean() > 180, "the wrist is white"


def test_a_hand_at_the_border_or_unknown_does_no_harm():
    image = np.full((90, 160, 3), 100, np.uint8)
    hands = [
        HandInPicture(LEFT, 3, np.array([-40.0, -30, 20, 30]), np.random.default_rng(0).uniform(-50, 30, (21, 2))),
        HandInPicture(RIGHT, -1, np.full(4, np.nan), np.full((21, 2), np.nan), joints=np.full((21, 3), np.nan)),
        HandInPicture(2, -1, np.array([150.0, 80, 900, 900]), np.full((21, 2), 1e9)),
    ]
    size = mp4_size([(160, 90), (90, 160)], beside=True)
    assert (
        draw_picture(image, hands, "name", "told", size, True, 0.5).shape == (size[1], size[0], 3)
        and size[0] % 2 == size[1] % 2 == 0
    )


def test_the_sides_have_their_colours():
    image = np.full((200, 200, 3), 100, np.uint8)
    for side in (LEFT, RIGHT):
        drawn = draw_picture(
            image,
            [HandInPicture(side, 0, np.array([50.0, 80, 150, 150]))],
            "",
            "",
            mp4_size([(200, 200)], False),
            False,
            0.0,
        )
        assert (drawn == SIDE_COLOURS[side]).all(2).sum() > 200


def test_a_crop_is_known_in_its_frame_and_only_there():
    rng = np.random.default_rng(1)
    frame = cv2.resize(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8), (320, 240), interpolation=cv2.INTER_CUBIC)
    affine = np.array([[1.4, 0, -140.0], [0, 1.4, -60.0]])
    crop = cv2.warpAffine(frame, affine, (112, 112))
    assert shows_crop(frame, crop, affine) and shows_crop(np.clip(frame * 1.05, 0, 255).astype(np.uint8), crop, affine)
    assert not shows_crop(np.roll(frame, 30, 1), crop, affine) and not shows_crop(
        frame, crop, affine + [[0, 0, 40], [0, 0, 0]]
    )


def test_footage_is_found_by_the_tail_of_its_path_and_read_by_number(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "new" / "day1").mkdir(parents=True)
    make_video(tmp_path / "new" / "day1" / "clip.mp4", 12, 10)
    for noted, folders, roots in (
        ("new/day1/clip.mp4", [], []),
        ("old/day1/clip.mp4", [tmp_path / "new"], []),
        ("new/day1/clip.mp4", [], [tmp_path / "new"]),
        ("clip.mp4", [], [tmp_path / "new" / "day1" / "clip.mp4"]),
    ):
        monkeypatch.chdir("/" if roots else tmp_path)
        assert find_again("new/day1/clip.mp4", noted, folders, roots), noted
    assert (
        find_again("x", "old/day2/clip.mp4", [tmp_path / "new"], []) is None
        and find_again("x", "", [tmp_path], []) is None
    )
    video = find_again("clip.mp4", str(tmp_path / "new" / "day1" / "clip.mp4"), [], [])
    frames = list(read_again(video, [9, 3, 6, 40]))
    assert [frame.number for frame in frames] == [3, 6, 9] and [number_of(frame.image, 12) for frame in frames] == [
        3,
        6,
        9,
    ]


def test_images_and_labelled_sets_are_found_again_too(tmp_path):
    for number in range(4):
        write_image(tmp_path / "photos" / f"{number}.png", np.full((40, 60, 3), 50 * number, np.uint8))
        write_image(tmp_path / "photos" / "more" / f"{number}.png", np.zeros((20, 20, 3), np.uint8))
    video = find_again("photos", "photos", [tmp_path], [])
    assert [(frame.number, frame.image[0, 0, 0]) for frame in read_again(video, [1, 3])] == [(1, 50), (3, 150)]
    make_labelled(tmp_path / "set", 4, 64)
    labelled = find_again("set", str(tmp_path / "set" / "labels.npz"), [], [])
    assert labelled.kind == "labelled" and [frame.number for frame in read_again(labelled, [0, 2])] == [0, 2]


def test_a_film_remembers_its_note_and_what_is_no_film_has_none(tmp_path):
    with open(tmp_path / "film.mp4", "wb") as file, Mp4Writer(file, 12.5, note="made by a test") as film:
        for number in range(5):
            film.add(np.full((48, 64, 3), 40 * number, np.uint8))
    assert read_note(tmp_path / "film.mp4") == "made by a test"
    (tmp_path / "text.mp4").write_text("no film")
    assert read_note(tmp_path / "text.mp4") == ""
    levels = [int(image.mean()) for image in read_film((tmp_path / "film.mp4").read_bytes())]
    assert np.abs(np.subtract(levels, [0, 40, 80, 120, 160])).max() < 6


def test_the_command_keeps_what_is_up_to_date_and_leaves_nothing_half_made(handtool, clip, tmp_path):
    words = ("show", clip / "crops.h5", "--video", "--frames", 3)
    first = handtool(*words, "-o", "film.mp4", "--json")
    made = (tmp_path / "film.mp4").read_bytes()
    assert first.returncode == 0 and json.loads(first.stdout)["report"]["from_frames"] == 3, first.stderr
    again = handtool(*words, "-o", "film.mp4")
    assert again.returncode == 0 and "up to date" in again.stderr and (tmp_path / "film.mp4").read_bytes() == made
    other = handtool(*words, "-o", "film.mp4", "--fps", 9)
    assert other.returncode == 1 and "--force" in other.stderr and (tmp_path / "film.mp4").read_bytes() == made
    assert handtool(*words, "-o", "film.mp4", "--fps", 9, "--force").returncode == 0
    piped = handtool("show", "--video", "--frames", 3, "-o", "-", stdin=(clip / "crops.h5").read_bytes(), binary=True)
    assert piped.returncode == 0 and len(read_film(piped.stdout)) == 3
    assert (
        handtool("show", clip / "crops.h5", "-o", "x.mp4").returncode == 2
        and handtool(*words, "-o", "x.png").returncode == 2
    )
    assert handtool(*words, "--kind", "pairs", "-o", "y.mp4").returncode == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == ["film.mp4"]


def test_a_film_that_breaks_off_leaves_nothing_and_keeps_what_was_there(tmp_path):
    path = tmp_path / "film.mp4"
    for before in (None, b"an older film"):
        if before:
            path.write_bytes(before)
        with pytest.raises(RuntimeError), store.write_whole(path) as file, Mp4Writer(file, 10) as film:
            film.add(np.zeros((48, 64, 3), np.uint8))
            raise RuntimeError("the power is gone")
        assert [p.name for p in tmp_path.iterdir()] == ([path.name] if before else [])
    assert path.read_bytes() == b"an older film"


def test_a_full_disk_is_one_line_and_leaves_nothing(clip, tmp_path):
    command = f'ulimit -f 8; exec "{sys.executable}" -m handtool show "{clip}/crops.h5" --video -o film.mp4'
    done = subprocess.run(
        ["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, env=package_environment()
    )
    assert done.returncode == 1 and done.stderr.startswith("handtool show: cannot write film.mp4"), done.stderr
    assert not list(tmp_path.iterdir())
