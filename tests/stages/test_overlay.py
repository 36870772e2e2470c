"""The overlay film: the right frames, every hand at its place, crops where the footage is gone, whole or not at all."""

import dataclasses
import io
import json
import struct
import subprocess
import sys
import zlib
from dataclasses import replace

import av
import cv2
import h5py
import numpy as np
import pytest
from display import write_streams
from footage import damage, make_boxes, make_labelled, make_video, number_of, picture, run_stage, write_image
from making import make_file
from running import package_environment

from handtool import store
from handtool.config import ExtractConfig, OverlayConfig
from handtool.errors import HandtoolError
from handtool.hands.crop_maps import CropMaps
from handtool.hands.skeleton import LEFT, RIGHT
from handtool.render.canvas import PAPER
from handtool.render.mp4 import Mp4Writer, read_note
from handtool.render.overlay import (
    SIDE_COLOURS,
    STRIP,
    TRACK_COLOURS,
    HandInPicture,
    Panels,
    draw_picture,
    hand_reach,
    mp4_size,
    shows_crop,
)
from handtool.render.space import draw_space
from handtool.sources.reopen import find_again, read_again
from handtool.stages.extract import extract
from handtool.stages.overlay import find_footage, overlay
from handtool.store import CROPS, FOUND, LOOKED_AGAIN

SIZE = (192, 128)
BOXES = {"left": [20, 40, 40, 40], "right": [120, 60, 50, 40]}  # x, y, width, height


def read_times(data: bytes) -> tuple[list[float], float]:
    """When each picture begins, and when the film ends, in s."""
    with av.open(io.BytesIO(data)) as film:
        stream = film.streams.video[0]
        return [round(float(frame.time), 3) for frame in film.decode(stream)], float(stream.duration * stream.time_base)


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


def make_scene(folder, name, number, hands, size=SIZE, fps=10, **options):
    """A film of `number` frames, hands: (frame, x of the box) of the hand on it; crops of every frame. Returns the mp4
    of overlay, and its report."""
    (folder / "clips").mkdir()
    make_video(folder / "clips" / name, number, fps, size)
    make_boxes(folder / "boxes.json", {f"{name}#{frame}": [[x, 40, 40, 40]] for frame, x in hands})
    config = ExtractConfig(**{"every": 1, "workers": 1} | options.pop("extract", {}))
    run_stage(extract, [folder / "clips"], folder / "crops.h5", config, boxes=folder / "boxes.json")
    return film_data(folder / "crops.h5", **options)


def film_data(path, footage=None, **settings) -> tuple[bytes, dict]:
    sink = io.BytesIO()
    with store.open_file(path) as file:
        footage = footage or find_footage(file, [])
        report = overlay(file, sink, OverlayConfig(**settings), footage=footage, note="")
    return sink.getvalue(), report


def test_every_frame_that_was_looked_at_stays_in_the_film_in_true_time(tmp_path):
    data, report = make_scene(tmp_path, "clip.mp4", 20, [(frame, 20 + 4 * frame) for frame in (3, 4, 5, 8, 9)])
    times, end = read_times(data)
    assert times == [round(frame / 10, 3) for frame in range(20)] and end == pytest.approx(2.0)
    assert report["pictures"] == report["from_frames"] == 20 and report["frames_without_hands"] == 15
    assert (report["fps"], report["seconds"]) == (10, 2.0) and report["accounting"][0]["done"] == 5


def test_a_hand_that_its_track_lost_is_marked_where_it_must_be(tmp_path):
    hands = [(frame, 20 + 4 * frame) for frame in (3, 4, 6, 7, 10)]
    data, report = make_scene(tmp_path, "clip.mp4", 12, hands)
    with store.open_file(tmp_path / "crops.h5") as file:
        tracks = store.read_column(file, CROPS.track).tolist()
    assert tracks == [0, 0, 0, 0, -1] and report["frames_on_which_a_track_is_lost"] == 1
    pictures = read_film(data)
    scale = pictures[0].shape[1] / SIZE[0]
    for frame, image in enumerate(pictures):
        plain = cv2.resize(picture(frame, 12, SIZE), None, fx=scale, fy=scale).astype(int)
        changed = (np.abs(image[: plain.shape[0]].astype(int) - plain).max(2) > 45).sum()
        assert (changed > 300) == (frame in (3, 4, 5, 6, 7, 10)), (frame, changed)
    plain = cv2.resize(picture(5, 12, SIZE), None, fx=scale, fy=scale).astype(int)
    changed = np.abs(pictures[5][: plain.shape[0]].astype(int) - plain).max(2) > 45
    left, right, bottom = round(scale * 40), round(scale * 80), round(scale * 80)
    line = changed[bottom - 2 : bottom + 3, left:right].any(0).mean()
    assert 0.3 < line < 0.8, "a dashed box half-way between those of frames 4 and 6"


def test_frames_of_an_uneven_film_last_as_long_as_they_did(tmp_path):
    stamps = [0.0, 0.1, 0.2, 0.7, 0.8, 0.9]
    (tmp_path / "clips").mkdir()
    make_video(tmp_path / "clips" / "clip.mp4", 6, 10, SIZE, stamps)
    make_boxes(tmp_path / "boxes.json", {"clip.mp4#2": [[20, 40, 40, 40]]})
    config = ExtractConfig(every=1, workers=1)
    run_stage(extract, [tmp_path / "clips"], tmp_path / "crops.h5", config, boxes=tmp_path / "boxes.json")
    assert read_times(film_data(tmp_path / "crops.h5")[0])[0] == stamps
    times, end = read_times(film_data(tmp_path / "crops.h5", fps=4)[0])
    assert times == [0, 0.25, 0.5, 0.75, 1, 1.25] and end == pytest.approx(1.5), "--fps: so many a second instead"


def test_frames_that_could_not_be_decoded_are_marked_in_the_time_that_they_took(tmp_path):
    (tmp_path / "clips").mkdir()
    damage(make_video(tmp_path / "clips" / "clip.mp4", 90, 30, SIZE), 60, 0.4, 0.8)
    make_boxes(tmp_path / "boxes.json", {"clip.mp4#0": [[20, 40, 40, 40]]})
    config = ExtractConfig(every=1, workers=1)
    report = run_stage(extract, [tmp_path / "clips"], tmp_path / "crops.h5", config, boxes=tmp_path / "boxes.json")
    frames = {item["what"]: item for item in report["accounting"]}["frames"]
    decoded = frames["in"] - sum(frames["failed"].values())
    assert frames["failed"] and decoded < 90
    data, told = film_data(tmp_path / "crops.h5")
    times, end = read_times(data)
    assert told["from_frames"] == decoded and 0 < told["losses_of_the_decoder"] <= 90 - decoded
    assert len(times) == told["pictures"] == decoded + told["losses_of_the_decoder"]
    assert end == pytest.approx(3.0, abs=0.04), "nothing is cut out of the time"
    assert max(np.diff(times)) > 0.05 or decoded + told["losses_of_the_decoder"] == 90


def test_videos_and_pictures_without_hands_are_shown_in_their_turn(tmp_path):
    for number in range(3):
        write_image(tmp_path / "clips" / "b" / f"{number}.png", picture(number, 3, SIZE))
    (tmp_path / "clips" / "b" / "broken.png").write_bytes(b"no picture")
    data, report = make_scene_in(tmp_path, {"clips/b/1.png": [[20, 40, 40, 40]]})
    times, end = read_times(data)
    assert report["pictures"] == 8 and report["frames_without_hands"] == 6 and report["losses_of_the_decoder"] == 1
    assert times == [0, 0.1, 0.2, 0.3, 0.4, 0.65, 0.9, 1.15] and end == pytest.approx(1.4)


def test_of_images_those_are_shown_that_were_looked_at(tmp_path):
    for number in range(9):
        write_image(tmp_path / "clips" / f"{number}.png", picture(number, 9, SIZE))
    make_boxes(tmp_path / "boxes.json", {"clips/2.png": [[20, 40, 40, 40]]})
    for changes, looked_at in (({"every": 2}, [0, 2, 4, 6, 8]), ({"limit": 3}, [0, 1, 2])):
        config, out = ExtractConfig(**{"workers": 1} | changes), tmp_path / f"{looked_at[-1]}.h5"
        run_stage(extract, [tmp_path / "clips"], out, config, boxes=tmp_path / "boxes.json")
        data, report = film_data(out)
        shown = [number_of(image[: image.shape[0] - STRIP], 9) for image in read_film(data)]
        assert shown == looked_at and report["frames_without_hands"] == len(looked_at) - 1


def make_scene_in(folder, boxes) -> tuple[bytes, dict]:
    make_video(folder / "clips" / "a.mp4", 4, 10, SIZE)
    make_boxes(folder / "boxes.json", boxes)
    config = ExtractConfig(every=1, workers=1)
    run_stage(extract, [folder / "clips"], folder / "crops.h5", config, boxes=folder / "boxes.json")
    return film_data(folder / "crops.h5")


def test_where_only_some_hands_of_the_frames_are_known_only_their_frames_are_shown(tmp_path, handtool):
    make_scene(tmp_path, "clip.mp4", 12, [(frame, 20) for frame in range(0, 12, 2)])
    done = handtool("split", "crops.h5", "--by", "row", "--shares", "50,50", "-o", "a.h5", "-o", "b.h5")
    assert done.returncode == 0, done.stderr
    with store.open_file(tmp_path / "a.h5") as file:
        seen = store.read_column(file, CROPS.time)
    data, report = film_data(tmp_path / "a.h5")
    assert report["pictures"] == 3 and report["frames_on_which_a_track_is_lost"] == 0
    assert read_times(data)[0] == pytest.approx(seen - seen[0])


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
        report = overlay(file, sink, OverlayConfig(), footage=[replace(video, path=str(other))], note="")
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
    drawn = draw_picture(image, hands, "name", "told", size, Panels(0.1), 0.5)
    assert drawn.shape == (size[1], size[0], 3) and size[0] % 2 == size[1] % 2 == 0


def count_coloured(hand: HandInPicture, colour: tuple) -> int:
    image = np.full((200, 200, 3), 100, np.uint8)
    return int((draw_picture(image, [hand], "", "", mp4_size([(200, 200)], False)) == colour).all(2).sum())


def test_a_track_keeps_its_colour_and_a_hand_without_one_has_that_of_its_side():
    box = np.array([50.0, 80, 150, 150])
    for side in (LEFT, RIGHT):
        assert count_coloured(HandInPicture(side, -1, box), SIDE_COLOURS[side]) > 200
        for track, colour in enumerate(TRACK_COLOURS):
            whole = count_coloured(HandInPicture(side, track, box), colour)
            lost = count_coloured(HandInPicture(side, track, box + 20, lost=True), colour)
            assert whole > lost > 200, "the box of a lost hand is dashed"
    assert len({*TRACK_COLOURS, *SIDE_COLOURS.values()}) == len(TRACK_COLOURS) + 2


def test_a_hand_that_took_a_second_look_says_so(tmp_path):
    data, _ = make_scene(tmp_path, "clip.mp4", 4, [(frame, 60) for frame in range(4)])
    with h5py.File(tmp_path / "crops.h5", "r+") as file:
        found = file["crops/found"]
        found[...] = np.array([FOUND, LOOKED_AGAIN, FOUND, FOUND])
        found.attrs["crc32"] = np.uint32(zlib.crc32(found[...].tobytes()))
    again, _ = film_data(tmp_path / "crops.h5")
    for frame, (one, other) in enumerate(zip(read_film(data), read_film(again), strict=True)):
        changed = (np.abs(one.astype(int) - other).max(2) > 60).sum()
        assert (changed > 300) == (frame == 1), "the label of the hand is longer"


def test_a_hand_keeps_its_panel_and_its_scale():
    rng = np.random.default_rng(0)
    left, right = (
        HandInPicture(side, side, np.zeros(4), joints=rng.normal(0, 0.03, (21, 3))) for side in (LEFT, RIGHT)
    )
    panels = Panels(0.1)

    def places(*hands):
        return [(place, hand.side, turned == 90) for place, hand, turned in panels.arrange(list(hands), 0.0)]

    assert places(right) == [(0, RIGHT, False), (1, RIGHT, True)], "a lone hand is also seen from the side"
    assert places() == []
    for hands in ((left, right), (right, left)):
        assert sorted(places(*hands)) == [(0, LEFT, False), (1, RIGHT, False)]
    assert places(right) == [(1, RIGHT, False)] and places(left) == [(0, LEFT, False)]
    other = dataclasses.replace(right, track=7)
    assert places(other, right) == [(1, RIGHT, False), (0, RIGHT, False)], "the older track has the place of its side"
    small, large = (draw_space(0.5 * factor * right.joints, 200, reach=0.2) for factor in (1, 2))
    assert (large != small).any() and (small[100] != PAPER).any(1).sum() < (large[100] != PAPER).any(1).sum() + 40
    joints = rng.normal(0, 0.03, (50, 21, 3))
    joints[3] = np.nan
    far = [max(np.linalg.norm(joint - hand[[0, 5, 9, 13, 17]].mean(0)) for joint in hand) for hand in joints]
    assert hand_reach(joints) == pytest.approx(np.quantile(np.delete(far, 3), 0.95))


def test_a_crop_is_known_in_its_frame_and_only_there():
    rng = np.random.default_rng(1)
    frame = cv2.resize(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8), (320, 240), interpolation=cv2.INTER_CUBIC)
    affine = np.array([[1.4, 0, -140.0], [0, 1.4, -60.0]])
    crop = cv2.warpAffine(frame, affine, (112, 112))
    way, other = (
        CropMaps(each[None], np.full((1, 3, 3), np.nan)) for each in (affine, affine + [[0, 0, 40], [0, 0, 0]])
    )
    assert shows_crop(frame, crop, way) and shows_crop(np.clip(frame * 1.05, 0, 255).astype(np.uint8), crop, way)
    assert not shows_crop(np.roll(frame, 30, 1), crop, way) and not shows_crop(frame, crop, other)


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


def test_the_film_shows_the_frames_of_the_stream_that_was_read_as_they_are_shown(tmp_path):
    """The smaller of two streams, chosen by hand; its frames are turned and mirrored."""
    pictures = [[picture(number, 8, size) for number in range(8)] for size in ((192, 128), (96, 128))]
    path = write_streams(tmp_path / "a.mp4", pictures, ("libx264", "libx264"))
    data = path.read_bytes()
    turn = struct.pack(">9i", 0, 1 << 16, 0, 1 << 16, 0, 0, 0, 0, 1 << 30)
    first = data.index(b"tkhd")
    place = data.index(b"tkhd", first + 4) + 44  # of the second stream
    path.write_bytes(data[:place] + turn + data[place + 36 :])
    boxes = make_boxes(tmp_path / "b.json", {f"a.mp4#{number}": [[20, 10, 60, 50]] for number in range(8)})
    report = run_stage(extract, [path], tmp_path / "c.h5", ExtractConfig(every=1, stream=1, workers=1), boxes=boxes)
    assert report["per_video"][0]["status"] == "ok"
    with store.open_file(tmp_path / "c.h5") as file:
        sizes = [int(store.read_column(file, column)[0]) for column in (store.VIDEOS.width, store.VIDEOS.height)]
        assert (sizes, int(store.read_column(file, store.VIDEOS.stream)[0])) == ([128, 96], 1)
    assert film_of(tmp_path / "c.h5")[1]["from_frames"] == 8
