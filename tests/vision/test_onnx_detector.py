"""ONNX detectors: whatever their layout, the box lies where the hand is on the frame."""

import dataclasses
import re
from pathlib import Path

import av
import numpy as np
import pytest

pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: pip install 'handtool[onnx]'")
pytest.importorskip("onnx", reason="onnx is not installed: pip install 'handtool[onnx]'")
from footage import run_stage, tables_of, write_image
from onnx_models import make_onnx

from handtool import store
from handtool import vision as handtool_vision
from handtool.config import ExtractConfig
from handtool.errors import HandtoolError, WrongCommand
from handtool.hands.boxes import iou
from handtool.hands.skeleton import LEFT, RIGHT, UNKNOWN
from handtool.stages.extract import extract
from handtool.store import CROPS
from handtool.vision.contracts import LOOKED_AGAIN
from handtool.vision.onnx_detector import OnnxDetector, as_detection, hand_classes, keep_best, letterbox
from handtool.vision.onnx_layouts import Candidates, decode_end2end, decode_yolov8
from handtool.vision.onnx_settings import CHOICES, DetectorSettings, KeypointSettings, read_settings


def frame(width: int, height: int, box: tuple[int, int, int, int]) -> np.ndarray:
    """Dark, with one red rectangle."""
    image = np.full((height, width, 3), 30, np.uint8)
    image[box[1] : box[3], box[0] : box[2]] = 255, 20, 20
    return image


@pytest.mark.parametrize("layout", ["yolov8", "yolov5", "end2end", "dets", "boxes"])
def test_the_layout_is_told_by_its_shape_and_the_box_lies_on_the_hand(tmp_path, layout):
    detector = OnnxDetector(make_onnx(tmp_path / "d.onnx", layout), (), 0.5)
    boxes = [(20, 30, 80, 70), (4, 8, 40, 60), (100, 10, 150, 90)]
    frames = [frame(160, 100, boxes[0]), frame(64, 64, boxes[1]), frame(200, 100, boxes[2])]
    found = detector.find_hands([*frames, np.zeros((50, 70, 3), np.uint8)], ["a", "b", "c", "d"])
    assert detector.layout == layout and [len(hands) for hands in found] == [1, 1, 1, 0], (
        "doubles are gone, nothing is where nothing is"
    )
    for box, image, [hand] in zip(boxes, frames, found):
        pixel = max(image.shape) / 64  # of the input, in px of the frame
        assert np.abs(hand.box - box).max() <= pixel and hand.score == pytest.approx(0.9) and hand.side == UNKNOWN


@pytest.mark.parametrize("size, pad", [((96, 64), "centre"), ((64, 96), "corner"), ((128, 128), "centre")])
def test_a_letterbox_keeps_the_shape_of_the_picture_and_tells_where_it_lies(size, pad):
    image = frame(120, 90, (30, 30, 90, 60))
    canvas, (scale, offset) = letterbox(image, *size, DetectorSettings(pad=pad, fill=200))
    assert canvas.shape == (size[1], size[0], 3) and scale[0] == pytest.approx(scale[1], rel=0.02)
    red = np.argwhere((canvas[..., 0] > 200) & (canvas[..., 1] < 100))
    shown = (
        np.array([red[:, 1].min(), red[:, 0].min(), red[:, 1].max() + 1, red[:, 0].max() + 1]) - np.tile(offset, 2)
    ) / np.tile(scale, 2)
    assert np.abs(shown - (30, 30, 90, 60)).max() <= 1 / scale[0]
    assert (canvas == 200).all(-1).sum() == canvas.shape[0] * canvas.shape[1] - round(120 * scale[0]) * round(
        90 * scale[1]
    )
    assert pad == "centre" or (offset == 0).all()


def test_colours_mean_and_deviation_are_as_declared_by_metadata_or_option(tmp_path):
    image = frame(64, 64, (10, 10, 30, 40))
    plain = make_onnx(tmp_path / "rgb.onnx", "boxes", bgr=True)
    assert OnnxDetector(plain, (), 0.5).find_hands([image], ["a"]) == [[]], "a BGR model that is fed RGB finds nothing"
    assert len(OnnxDetector(plain, ("colour=bgr",), 0.5).find_hands([image], ["a"])[0]) == 1
    declared = make_onnx(tmp_path / "bgr.onnx", "boxes", bgr=True, colour="bgr")
    assert len(OnnxDetector(declared, (), 0.5).find_hands([image], ["a"])[0]) == 1
    assert OnnxDetector(declared, ("colour=rgb",), 0.5).find_hands([image], ["a"]) == [[]], (
        "an option goes before the metadata"
    )
    scaled = make_onnx(tmp_path / "std.onnx", "boxes", threshold=150.0, std=1 / 255)
    assert len(OnnxDetector(scaled, (), 0.5).find_hands([image], ["a"])[0]) == 1, "raw 0..255 pixels"


def test_a_model_of_fixed_batch_gives_what_one_of_any_batch_gives(tmp_path):
    frames = [frame(100, 80, (number, 10, number + 30, 50)) for number in range(0, 50, 10)]
    names = list("abcde")
    free, fixed = (
        OnnxDetector(make_onnx(tmp_path / f"{batch}.onnx", "yolov8", batch=batch), (), 0.5) for batch in (None, 2)
    )
    assert fixed.batch == 2
    for one, other in zip(free.find_hands(frames, names), fixed.find_hands(frames, names), strict=True):
        assert [hand.box.tolist() for hand in one] == [hand.box.tolist() for hand in other] and len(one) == 1


def test_boxes_that_overlap_are_the_better_one_and_others_stay():
    rng = np.random.default_rng(0)
    centres = np.array([[50.0, 50], [300, 50], [50, 300]])
    boxes = np.concatenate([np.tile(c, (20, 2)) + (-30, -30, 30, 30) + rng.uniform(-3, 3, (20, 4)) for c in centres])
    order = rng.permutation(len(boxes))
    kept = keep_best(boxes[order], 0.5)
    assert sorted(order[kept] // 20) == [0, 1, 2] and kept[0] == 0
    assert len(keep_best(np.array([[0.0, 0, 10, 10], [5, 0, 15, 10]]), 0.4)) == 2, "a third of their area is shared"
    assert keep_best(np.empty((0, 4)), 0.5).tolist() == []


@pytest.mark.parametrize(
    "names, options, count, expected",
    [
        ("", {}, 1, {0: UNKNOWN}),
        ("", {}, None, {0: UNKNOWN}),
        ("{0: 'hand'}", {}, None, {0: UNKNOWN}),
        ("{0: 'face', 1: 'Left hand', 2: 'right_hand'}", {}, 3, {1: LEFT, 2: RIGHT}),
        ("{0: 'face', 1: 'hand'}", {"hand": (0,)}, 2, {0: UNKNOWN}),
        ("", {"left": 1, "right": 0}, 2, {1: LEFT, 0: RIGHT}),
    ],
)
def test_which_classes_are_hands_and_which_side_they_are(names, options, count, expected):
    assert hand_classes(DetectorSettings(**options), names, count, "d.onnx") == expected


@pytest.mark.parametrize(
    "names, options, count", [("", {}, 80), ("{0: 'person', 1: 'car'}", {}, None), ("", {"hand": (3,)}, 2)]
)
def test_a_detector_of_many_things_is_asked_which_of_them_is_a_hand(names, options, count):
    with pytest.raises(HandtoolError, match="class") as caught:
        hand_classes(DetectorSettings(**options), names, count, "d.onnx")
    assert "--onnx hand=0" in caught.value.hint


@pytest.mark.parametrize("columns", [2, 3])
def test_landmarks_of_a_pose_detector_are_kept(columns):
    points = np.random.default_rng(0).uniform(0, 64, (21, columns)).astype(np.float32)
    row = np.concatenate([[30, 30, 20, 10, 0.8], points.ravel()]).astype(np.float32)
    [found] = decode_yolov8([np.tile(row[None, :, None], (1, 1, 84))], np.ones(2, np.float32))
    assert found.score.shape == (84, 1) and np.array_equal(found.landmarks[5], points[:, :2])
    row = np.concatenate([[20, 25, 40, 35, 0.8, 0], points.ravel()]).astype(np.float32)
    [found] = decode_end2end([row[None, None]], np.ones(2, np.float32))
    assert np.array_equal(found.landmarks[0], points[:, :2]) and found.box.tolist() == [[20, 25, 40, 35]]
    assert (found.landmarks_score is None) == (columns == 2)


def test_landmarks_come_back_to_the_frame_with_their_box():
    rng = np.random.default_rng(4)
    image, points = np.zeros((90, 160, 3), np.uint8), rng.uniform(0, 60, (21, 2))
    _, moved = letterbox(image, 64, 64, DetectorSettings())
    edges = (points + 0.5) * moved[0] + moved[1]  # where the letterbox shows them
    box = np.concatenate([edges.min(0), edges.max(0)])
    found = Candidates(box[None], np.array([[0.8]]), None, edges[None], rng.uniform(0.5, 1, (1, 21)))
    hand = as_detection(found, 0, 0.8, RIGHT, moved)
    np.testing.assert_allclose(hand.landmarks, points, atol=1e-9)
    np.testing.assert_allclose(hand.box, [*(points.min(0) + 0.5), *(points.max(0) + 0.5)], atol=1e-9)
    assert hand.landmarks_score == pytest.approx(found.landmarks_score.mean())


def test_extract_cuts_out_what_an_onnx_detector_found_whatever_the_number_of_workers(tmp_path):
    model, boxes = (
        make_onnx(tmp_path / "d.onnx", "yolov8", names="{0: 'right hand'}"),
        [(20 + 3 * n, 10, 60 + 3 * n, 60) for n in range(11)],
    )
    for number, box in enumerate(boxes):
        write_image(tmp_path / "frames" / f"{number % 2}" / f"{number:02d}.png", frame(160, 120, box))
    for workers in (1, 2):
        config = ExtractConfig(detector="onnx", workers=workers)
        report = run_stage(extract, [tmp_path / "frames"], tmp_path / f"{workers}.h5", config, model=model)
        assert report["accounting"][2]["done"] == 11 and report["right"] == 11
    with store.open_file(tmp_path / "1.h5") as one, store.open_file(tmp_path / "2.h5") as two:
        found = store.read_column(one, CROPS.box)
        order = [*range(0, 11, 2), *range(1, 11, 2)]
        assert np.abs(found - np.array(boxes)[order]).max() <= 2.5
        np.testing.assert_array_equal(found, store.read_column(two, CROPS.box))
        np.testing.assert_array_equal(
            store.read_column(one, CROPS.jpeg_crc32), store.read_column(two, CROPS.jpeg_crc32)
        )


def make_film(path: Path, faint: set[int], frames: int = 30) -> Path:
    """10 frames a second, without loss: a red hand that travels to the right. On `faint` frames only every other pair
    of its columns is red, which a look at the whole frame does not resolve."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=10)
        stream.width, stream.height, stream.pix_fmt = 320, 320, "bgr0"
        for number in range(frames):
            image = frame(320, 320, hand_at(number))
            if number in faint:
                image[:, np.arange(320) % 4 < 2] = 30
            shown = av.VideoFrame.from_ndarray(image, format="rgb24")
            shown.pts = number
            container.mux(stream.encode(shown.reformat(format="bgr0")))
        container.mux(stream.encode())
    return path


def hand_at(number: int) -> tuple[int, int, int, int]:
    return 20 + 4 * number, 100, 60 + 4 * number, 150


def test_hands_that_it_missed_along_a_film_are_found_again_whatever_the_number_of_workers(tmp_path):
    model, faint = make_onnx(tmp_path / "d.onnx", "yolov8"), {0, 1, 2, 12, 13, 14, 29}
    films = tmp_path / "films"
    films.mkdir()
    make_film(films / "a.mkv", faint), make_film(films / "b.mkv", {7}, frames=15)
    for workers in (1, 2):
        config = ExtractConfig(detector="onnx", every=1, workers=workers)
        report = run_stage(extract, [films], tmp_path / f"{workers}.h5", config, model=model)
        assert report["found"] == {"at the first look": 37, "looked again": 8, "the whole picture as a hand": 0}
        assert report["tracks"] == 2
    one, two = (tables_of(tmp_path / f"{workers}.h5") for workers in (1, 2))
    assert all(np.array_equal(one[name], two[name], equal_nan=one[name].dtype.kind == "f") for name in one)
    first = one["crops/video"] == 0
    assert one["crops/frame"][first].tolist() == list(range(30)) and set(one["crops/track"]) == {0}
    assert set(np.flatnonzero(one["crops/found"][first] == LOOKED_AGAIN)) == faint
    truth = np.array([hand_at(number) for number in range(30)])
    assert iou(one["crops/box"][first], truth).min() > 0.5


def test_a_run_that_was_killed_within_a_film_finds_the_same_hands_again(tmp_path):
    """A finished block of the film is there, what was found along its first part is not."""
    model, film = make_onnx(tmp_path / "d.onnx", "yolov8"), make_film(tmp_path / "a.mkv", {3, 40, 64, 65, 66}, 72)
    config = ExtractConfig(detector="onnx", every=1, workers=1)
    run_stage(extract, [film], tmp_path / "whole.h5", config, model=model)
    run_stage(extract, [film], tmp_path / "c.h5", config, keep_job=True, model=model)
    (tmp_path / "c.h5.partial" / "video-0000000.part.h5").unlink()
    (tmp_path / "c.h5.partial" / "video-0000000-00001.part.h5").unlink()
    (tmp_path / "c.h5").unlink()
    run_stage(extract, [film], tmp_path / "c.h5", config, model=model)
    one, two = (tables_of(tmp_path / name, CROPS) for name in ("whole.h5", "c.h5"))
    assert len(one["crops/frame"]) == 72 and (one["crops/found"] == LOOKED_AGAIN).sum() == 5
    assert all(np.array_equal(one[name], two[name], equal_nan=one[name].dtype.kind == "f") for name in one)


def test_frames_between_the_kept_ones_show_where_to_look_again(tmp_path):
    model, film = make_onnx(tmp_path / "d.onnx", "yolov8"), make_film(tmp_path / "a.mkv", {10, 20})
    for track_fps, frames in ((0.0, [0]), (10.0, [0, 10, 20])):
        config = ExtractConfig(detector="onnx", fps=1.0, track_fps=track_fps, workers=1)
        run_stage(extract, [film], tmp_path / f"{track_fps}.h5", config, model=model)
        assert tables_of(tmp_path / f"{track_fps}.h5")["crops/frame"].tolist() == frames


def test_a_detector_beside_hands_that_are_known_is_a_wrong_command(tmp_path):
    write_image(tmp_path / "a" / "1.png", frame(64, 64, (10, 10, 30, 40)))
    model = make_onnx(tmp_path / "d.onnx", "boxes")
    with pytest.raises(WrongCommand, match="--whole says where the hands are"):
        run_stage(extract, [tmp_path / "a"], tmp_path / "c.h5", ExtractConfig(detector="onnx", whole=True), model=model)


def test_what_is_no_detector_is_refused_in_one_line(tmp_path):
    (tmp_path / "text.onnx").write_text("no model")
    cases = [
        (tmp_path / "none.onnx", (), "no model at"),
        (tmp_path / "text.onnx", (), "is not a model that onnxruntime"),
        (make_onnx(tmp_path / "maps.onnx", "heatmap"), (), "1x21x16x16.*not those of a layout that is known"),
        (make_onnx(tmp_path / "boxes.onnx", "boxes"), ("layout=yolov5",), "not those of yolov5"),
        (make_onnx(tmp_path / "bad.onnx", "boxes", std=0), (), "metadata handtool.std=0: a deviation is above 0"),
        (make_onnx(tmp_path / "sized.onnx", "boxes"), ("size=640",), "takes pictures of 64x64 px, not 640x640"),
    ]
    for path, options, message in cases:
        with pytest.raises(HandtoolError, match=message) as caught:
            OnnxDetector(path, options, 0.5)
        assert "\n" not in caught.value.message and (caught.value.hint or "std" in message)


@pytest.mark.parametrize("kind", [DetectorSettings, KeypointSettings])
def test_the_page_explains_every_key_and_every_choice(kind):
    page = (Path(handtool_vision.__file__).parents[1] / "docs" / "ONNX.md").read_text()
    for field in dataclasses.fields(kind):
        assert re.search(rf"\| [^|]*`{field.name}`[^|]* \|", page), field.name
        for choice in CHOICES.get((kind, field.name)) or CHOICES.get(field.name, ()):
            assert choice == "auto" or f"`{choice}`" in page, choice


@pytest.mark.parametrize("option", ["colour", "colour=green", "couleur=rgb", "mean=1,2", "order=0,1", "size=0x3"])
def test_an_option_that_is_none_is_a_wrong_command(option):
    with pytest.raises(WrongCommand, match=f"--onnx {option}"):
        read_settings(KeypointSettings, {}, (option,))
