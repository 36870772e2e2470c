"""extract: which hands are kept, which are left out and counted, and what is kept of a video that takes its process
with it."""

import os
import signal
import struct
import zlib
from collections.abc import Iterator

import cv2
import numpy as np
import pytest
from comparing import assert_same_bytes as same
from comparing import reasons
from display import write_film
from footage import make_boxes, make_video, picture, run_stage, tables_of, write_image

from handtool.config import ExtractConfig
from handtool.errors import HandtoolError
from handtool.extraction import reading
from handtool.extraction.reading import open_finder
from handtool.extraction.refusals import warn_about_empty_frames
from handtool.sources import folder_chunks
from handtool.sources.frame import Video
from handtool.stages.extract import extract
from handtool.store import CROPS, LEFT, RIGHT, VIDEOS, open_file, open_jpegs, read_column

ONE = {"workers": 1}


def run(path, output, boxes, **settings) -> tuple[dict, dict]:
    report = run_stage(extract, [path], output, ExtractConfig(**ONE, **settings), boxes=boxes)
    return report, tables_of(output, CROPS, VIDEOS)


def test_small_and_doubtful_hands_are_left_out_and_counted(tmp_path):
    path = make_video(tmp_path / "a.mp4", frames=31, size=(320, 240))
    content = [
        ("a.mp4#0", (10, 10, 60, 30), 0.9),
        ("a.mp4#0", (100, 10, 140, 59), 0.9),
        ("a.mp4#0", (200, 100, 260, 160), 0.4),
    ]
    content += [("a.mp4#30", (10, 10, 30, 30), 0.9), ("a.mp4#30", (400, 10, 500, 90), 0.9)]
    rows = [f"{name},{','.join(map(str, box))},{score}" for name, box, score in content]
    (tmp_path / "b.csv").write_text("\n".join(["image,x0,y0,x1,y1,score", *rows]))
    report, tables = run(path, tmp_path / "c.h5", tmp_path / "b.csv", min_hand=50.0)
    assert tables["crops/box"].tolist() == [[10, 10, 60, 30]], "the larger side counts"
    hands = reasons(report, "hands")
    assert hands["skipped"] == {"smaller than --min-hand": 2, "score below --min-score": 1}
    assert hands["failed"] == {"boxes outside their frame": 1} and hands["in"] == 5
    assert reasons(report, "frames")["skipped"] == {"not sampled": 29, "hands found, none kept": 1}
    assert report["boxes_in_the_file"] == {"on frames looked at": 5, "in all": 5}
    with pytest.raises(HandtoolError, match="none of 4 hands is kept"):
        run(path, tmp_path / "d.h5", tmp_path / "b.csv", min_hand=500.0)


def test_boxes_on_frames_that_nobody_looks_at_are_told(tmp_path):
    path = make_video(tmp_path / "a.mp4", frames=60)
    boxes = make_boxes(tmp_path / "b.json", {f"a.mp4#{number}": [[10, 10, 30, 30]] for number in range(60)})
    report, _ = run(path, tmp_path / "c.h5", boxes)
    assert report["boxes_in_the_file"] == {"on frames looked at": 2, "in all": 60}


def test_a_picture_that_does_not_change_is_kept_once(tmp_path):
    """Twelve stills of a hand that rests, moves at the seventh and rests again; a second one whose surroundings
    alone change."""
    rng = np.random.default_rng(4)
    ground = rng.integers(0, 255, (120, 200, 3), dtype=np.uint8)
    for number in range(12):
        image = ground.copy()
        image[30 + 10 * (number >= 6) : 60, 30:60] = 255
        image[:, 190:] = 20 * number  # far from the hands
        write_image(tmp_path / "v" / f"{number:02d}.png", image)
    hands = {f"v/{number:02d}.png": [[20 + number % 3, 20, 50, 50], [100, 40, 40, 40]] for number in range(12)}
    boxes = make_boxes(tmp_path / "b.json", hands)
    report, tables = run(tmp_path / "v", tmp_path / "c.h5", boxes, min_change=0.03)
    assert tables["crops/frame"].tolist() == [0, 0, 6]
    assert reasons(report, "hands")["skipped"] == {"changed less than --min-change": 21}
    assert reasons(report, "frames")["skipped"] == {"hands found, none kept": 10}
    _, everything = run(tmp_path / "v", tmp_path / "d.h5", boxes)
    assert len(everything["crops/frame"]) == 24


def test_frames_between_kept_ones_link_hands_across_a_second(tmp_path):
    """The hand crosses the picture: from one kept frame to the next its boxes do not even touch."""
    path = make_video(tmp_path / "a.mp4", frames=91, size=(320, 240))
    boxes = make_boxes(
        tmp_path / "b.json", {f"a.mp4#{n}": [[2 * n, 50, 40, 40], [300, 200, 20, 20]] for n in range(91)}
    )
    report, tables = run(path, tmp_path / "c.h5", boxes, track_fps=5.0)
    assert (
        tables["crops/frame"].tolist() == [0, 0, 30, 30, 60, 60, 90, 90]
        and tables["crops/track"].tolist() == [0, 1] * 4
    )
    assert reasons(report, "frames")["done"] == 4 and reasons(report, "hands")["in"] == 8
    _, alone = run(path, tmp_path / "d.h5", boxes)
    assert alone["crops/track"].tolist() == [-1] * 8
    assert all(
        np.array_equal(tables[name], alone[name], equal_nan=tables[name].dtype.kind == "f")
        for name in tables
        if name != "crops/track"
    )


def test_sides_from_a_file_are_taken_at_their_word_and_gaps_are_filled_by_the_track(tmp_path):
    path = make_video(tmp_path / "a.mp4", frames=12)
    said = ["right", "left", "", "right", "right", "right"]
    lines = [f"a.mp4,{2 * place},10,10,60,60,{side}" for place, side in enumerate(said)]
    (tmp_path / "b.csv").write_text("\n".join(["video,frame,x0,y0,x1,y1,side", *lines]))
    report, tables = run(path, tmp_path / "c.h5", tmp_path / "b.csv", every=2)
    assert tables["crops/side"].tolist() == [RIGHT, LEFT, RIGHT, RIGHT, RIGHT, RIGHT]
    assert (report["left"], report["right"], report["sides_turned_by_their_tracks"]) == (1, 5, 1)


def test_the_file_tells_of_each_video_how_long_it_is_and_what_was_lost(tmp_path):
    (tmp_path / "f").mkdir()
    make_video(tmp_path / "f" / "a.mp4", frames=45)
    write_image(tmp_path / "f" / "still" / "1.png", picture(0, 1))
    report, tables = run(tmp_path / "f", tmp_path / "c.h5", None, whole=True)
    assert tables["videos/duration"][0] == pytest.approx(1.5, abs=0.01) and np.isnan(tables["videos/duration"][1])
    assert tables["videos/frames_corrupt"].tolist() == [0, 0]
    line = {
        "video": "f/a.mp4",
        "status": "ok",
        "hands": 2,
        "frames_with_hands": 2,
        "frames_kept": 2,
        "frames_decoded": 45,
    }
    assert report["per_video"][0] == {
        **line,
        "frames_failed": 0,
        "frames_corrupt": 0,
        "duration_s": report["per_video"][0]["duration_s"],
    }


def open_deadly_finder(settings, folder):
    """Eyes of a process that dies of some videos: by its decoder, or killed from outside."""
    read_one = open_finder(settings, folder)

    def read_or_die(item, heartbeat) -> Iterator[dict]:
        def beat_or_die():
            if list(folder.glob(f"video-{item[0]:07d}-*")):  # it has given some hands already
                os.kill(
                    os.getpid(),
                    signal.SIGSEGV if "crash" in item[2].name else signal.SIGKILL if "kill" in item[2].name else 0,
                )

        yield from read_one(item, beat_or_die)

    return read_or_die


def test_a_video_that_crashes_its_decoder_is_not_tried_again_and_one_killed_from_outside_is(tmp_path, monkeypatch):
    (tmp_path / "f").mkdir()
    for name in ("a", "crash", "kill"):
        make_video(tmp_path / "f" / f"{name}.mp4", frames=70)
    with monkeypatch.context() as patched:
        patched.setattr(reading, "open_finder", open_deadly_finder)
        report = run_stage(
            extract, [tmp_path / "f"], tmp_path / "c.h5", ExtractConfig(whole=True, every=1, **ONE), keep_job=True
        )
    failed = {"its process died (SIGSEGV)": 1, "its process died (SIGKILL)": 1}
    assert reasons(report, "videos")["failed"] == failed and reasons(report, "hands")["done"] == 70
    (tmp_path / "c.h5").unlink()
    report = run_stage(extract, [tmp_path / "f"], tmp_path / "c.h5", ExtractConfig(whole=True, every=1, **ONE))
    assert (
        reasons(report, "videos")["failed"] == {"its process died (SIGSEGV)": 1}
        and reasons(report, "hands")["done"] == 140
    )
    (tmp_path / "f" / "crash.mp4").write_bytes(b"")
    run_stage(extract, [tmp_path / "f"], tmp_path / "d.h5", ExtractConfig(whole=True, every=1, **ONE))
    mine, theirs = (tables_of(tmp_path / name, CROPS) for name in ("c.h5", "d.h5"))
    assert all(np.array_equal(mine[name], theirs[name], equal_nan=mine[name].dtype.kind == "f") for name in mine)


def test_track_frames_and_choices_do_not_depend_on_the_number_of_workers(tmp_path):
    (tmp_path / "f").mkdir()
    hands = {}
    for name in "abc":
        make_video(tmp_path / "f" / f"{name}.mp4", frames=60)
        hands |= {f"{name}.mp4#{n}": [[n % 20, 10, 30, 30]] for n in range(60)}
    boxes = make_boxes(tmp_path / "b.json", hands)
    for workers in (1, 2):
        config = ExtractConfig(workers=workers, track_fps=10.0, min_change=0.02, fps=5.0)
        run_stage(extract, [tmp_path / "f"], tmp_path / f"{workers}.h5", config, boxes=boxes)
    same(tmp_path / "1.h5", tmp_path / "2.h5")


def test_a_large_folder_of_images_is_read_in_chunks_and_a_lost_chunk_costs_itself(tmp_path, monkeypatch):
    """Five images a chunk: the same tables as in one chunk, over two workers; a crash loses the images of its chunk,
    and counts them."""
    for number in range(17):
        write_image(tmp_path / "many" / f"{number:02d}.jpg", picture(number, 17, (224, 224)))
    for number in (3, 11):
        (tmp_path / "many" / f"{number:02d}.jpg").write_bytes(b"")
    run_stage(extract, [tmp_path / "many"], tmp_path / "whole.h5", ExtractConfig(whole=True, **ONE))
    monkeypatch.setattr(folder_chunks, "CHUNK_IMAGES", 5)
    report = run_stage(extract, [tmp_path / "many"], tmp_path / "c.h5", ExtractConfig(whole=True, workers=2))
    same(tmp_path / "whole.h5", tmp_path / "c.h5")
    assert (
        reasons(report, "frames")["failed"] == {"images of zero bytes": 2}
        and report["per_video"][0]["status"] == "2 images of zero bytes"
    )
    monkeypatch.setattr(reading, "open_finder", open_finder_that_crashes_at_ten)
    report = run_stage(extract, [tmp_path / "many"], tmp_path / "d.h5", ExtractConfig(whole=True, workers=2))
    assert tables_of(tmp_path / "d.h5", CROPS)["crops/frame"].tolist() == [0, 1, 2, 4, 5, 6, 7, 8, 9, 15, 16]
    assert reasons(report, "frames")["failed"] == {"images of zero bytes": 1, "images lost with their process": 5}
    assert (
        report["per_video"][0]["status"].startswith("its process died (SIGSEGV)")
        and reasons(report, "videos")["done"] == 1
    )


def open_finder_that_crashes_at_ten(settings, folder):
    read_one = open_finder(settings, folder)

    def read_or_die(item, heartbeat) -> Iterator[dict]:
        yield from read_one(item, lambda: os.kill(os.getpid(), signal.SIGSEGV) if item[2].first == 10 else None)

    return read_or_die


@pytest.mark.parametrize("empty, said", [(5, False), (6, True)])
def test_extract_says_where_more_than_half_of_the_frames_have_no_hand_and_what_may_find_them(caplog, empty, said):
    outcome = {"sampled": 10, "with_hands": 9 - empty, "none_kept": 1}
    labelled = {"sampled": 90, "with_hands": 0, "none_kept": 0}
    videos = [Video("a.mp4", "a.mp4", "video"), Video("set", "set", "labelled")]
    warn_about_empty_frames(videos, [outcome, labelled], ExtractConfig())
    told = "no hand found on 6 of 10 frames: MediaPipe is known to miss hands in gloves"
    assert (told in caplog.text and "--detector hands.onnx" in caplog.text) == said == bool(caplog.text)


def open_finder_whose_decoder_dies(settings, folder):
    """Of two images: the decoder crashes at one and never comes back from the other."""
    from handtool.sources import images

    decode = images.decode_image

    def die(data, note):
        image = decode(data, note)
        if np.abs(image.mean() - 30) < 3:
            os.kill(os.getpid(), signal.SIGSEGV)
        while np.abs(image.mean() - 220) < 3:
            pass
        return image

    images.decode_image = die
    return open_finder(settings, folder)


def test_an_image_that_crashes_or_stops_its_decoder_costs_itself_and_not_its_folder(tmp_path, monkeypatch):
    for number in range(9):
        grey = {3: 30, 6: 220}.get(number, 100)
        write_image(tmp_path / "f" / f"{number}.png", np.full((64, 64, 3), grey, np.uint8))
    monkeypatch.setattr(reading, "open_finder", open_finder_whose_decoder_dies)
    config = ExtractConfig(whole=True, timeout_s=2.0, **ONE)
    report = run_stage(extract, [tmp_path / "f"], tmp_path / "c.h5", config, keep_job=True)
    assert tables_of(tmp_path / "c.h5", CROPS)["crops/frame"].tolist() == [0, 1, 2, 4, 5, 7, 8]
    status = "2 images that ended or stopped the process that read them"
    assert report["per_video"][0]["status"] == status and reasons(report, "frames")["failed"] == {status[2:]: 2}
    assert not list((tmp_path / "c.h5.partial").glob("*.reading"))


def test_the_report_says_of_which_videos_the_pictures_were_changed_and_boxes_are_of_the_shown_ones(tmp_path):
    (tmp_path / "f").mkdir()
    disc = np.full((96, 128, 3), 40, np.uint8)
    cv2.ellipse(disc, (64, 48), (30, 40), 0, 0, 360, (250, 250, 250), -1)  # round where pixels are 4:3
    write_film(tmp_path / "f" / "a.mp4", [disc] * 4, aspect="4/3")
    make_video(tmp_path / "f" / "b.mp4", frames=4)
    boxes = make_boxes(tmp_path / "b.json", {f"a.mp4#{n}": [[85 - 45, 3, 90, 90]] for n in range(4)})
    config = ExtractConfig(every=1, box_scale=1.0, size=90, **ONE)
    report = run_stage(extract, [tmp_path / "f"], tmp_path / "c.h5", config, boxes=boxes)
    assert report["notes"] == {"sample aspect ratio 4:3, made square": ["f/a.mp4"]}
    with open_file(tmp_path / "c.h5") as file:
        crop = cv2.imdecode(np.frombuffer(open_jpegs(file)[0], np.uint8), cv2.IMREAD_GRAYSCALE)
        assert read_column(file, VIDEOS.width).tolist() == [170, 96]
    ys, xs = np.nonzero(crop > 150)
    assert abs(np.ptp(xs) - np.ptp(ys)) <= 2 and abs(xs.mean() - 44.5) <= 2 and abs(ys.mean() - 44.5) <= 2


def test_a_small_file_of_very_many_pixels_is_refused_before_it_is_decoded(tmp_path):
    """A PNG that states 12,000 x 12,000 pixels."""
    write_image(tmp_path / "f" / "a.png", picture(0, 1))
    data = bytearray((tmp_path / "f" / "a.png").read_bytes())
    data[16:24] = struct.pack(">II", 12000, 12000)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    (tmp_path / "f" / "b.png").write_bytes(data)
    report = run_stage(extract, [tmp_path / "f"], tmp_path / "c.h5", ExtractConfig(whole=True, **ONE))
    (reason,) = reasons(report, "frames")["failed"]
    assert reason.startswith("images of too many pixels") and reasons(report, "hands")["done"] == 1
