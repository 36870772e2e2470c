"""A frame as it is shown: square pixels, turned and mirrored, tone-mapped, deinterlaced; and of the right stream."""

import os
import struct
from fractions import Fraction
from itertools import product

import av
import cv2
import numpy as np
import pytest
from display import as_hdr, set_clean_aperture, set_matrix, set_pixel_crop, write_film, write_streams
from footage import make_video, picture

from handtool.sources.container_crop import read_crop
from handtool.sources.frame import Sampling, Tally, Video
from handtool.sources.plain_file import check_plain
from handtool.sources.tone_mapping import HLG, PQ, tone_map
from handtool.sources.video import read_video


def read_all(path, stream=None, every=1):
    tally = Tally()
    video = Video(path.name, str(path), "video", stream=stream)
    return list(read_video(video, Sampling(every=every), tally)), tally


@pytest.mark.parametrize("aspect, size", [((16, 11), (1047, 576)), ((8, 9), (640, 480)), ((2, 1), (192, 64))])
def test_a_disc_that_is_round_on_a_screen_is_round(tmp_path, aspect, size):
    ratio = Fraction(*aspect)
    stored = (round(size[0] / ratio), size[1])
    image = np.full((stored[1], stored[0], 3), 40, np.uint8)
    radius = stored[1] // 3
    cv2.ellipse(image, (stored[0] // 2, stored[1] // 2), (round(radius / ratio), radius), 0, 0, 360, (250,) * 3, -1)
    (frame,), tally = read_all(write_film(tmp_path / "a.mp4", [image], aspect=ratio))
    ys, xs = np.nonzero(frame.image[..., 1] > 150)
    assert (tally.width, tally.height) == size and np.ptp(xs) / np.ptp(ys) == pytest.approx(1, abs=0.03)
    assert list(tally.notes) == [f"sample aspect ratio {aspect[0]}:{aspect[1]}, made square"]


MATRICES = [(x, 0, 0, y) for x, y in product((1, -1), repeat=2)] + [(0, x, y, 0) for x, y in product((1, -1), repeat=2)]


@pytest.mark.parametrize("a, b, c, d", MATRICES)
def test_each_display_matrix_takes_every_pixel_where_it_says(tmp_path, a, b, c, d):
    path = make_video(tmp_path / "a.mp4", frames=1)
    (stored,), _ = read_all(path)
    (shown,), tally = read_all(set_matrix(path, a, b, c, d))
    height, width = stored.image.shape[:2]
    places = {(x, y): (a * x + c * y, b * x + d * y) for x in range(width) for y in range(height)}
    left, top = (min(place[axis] for place in places.values()) for axis in (0, 1))
    assert (tally.width, tally.height) == ((height, width) if b else (width, height))
    assert all(
        (shown.image[v - top, u - left] == stored.image[y, x]).all() for (x, y), (u, v) in list(places.items())[::7]
    )


def test_a_turned_film_of_oblong_pixels_keeps_the_height_that_it_is_shown_with(tmp_path):
    path = write_film(tmp_path / "a.mp4", [picture(0, 1, (128, 96))], aspect=Fraction(4, 3))
    (frame,), _ = read_all(set_matrix(path, 0, 1, -1, 0))
    assert frame.image.shape == (128, 72, 3), "96 x 128 pixels of 3:4"


@pytest.mark.parametrize("transfer", [HLG, PQ])
def test_hdr_white_skin_and_black_look_as_they_do_without_hdr(transfer):
    """What ITU-R BT.2408 puts where: a BT.1886 screen of 203 cd/m2, its colours in BT.2020, coded by the formulas of
    BT.2100."""
    colours = np.array([[235, 235, 235], [224, 172, 140], [120, 120, 120], [60, 30, 20], [0, 0, 0]], float)
    image = np.round(65535 * as_hdr(colours, transfer)).astype(np.uint16)[None]
    shown = tone_map(image, transfer)[0].astype(int)
    assert np.abs(shown - colours).max() <= 20, "the roll-off darkens what is bright"
    assert np.abs(shown[2:] - colours[2:]).max() <= 3, "and nothing else"


def test_hdr_greys_rise_from_black_to_white_and_stay_grey():
    ramp = np.linspace(0, 65535, 500).astype(np.uint16)
    for transfer in (HLG, PQ):
        shown = tone_map(np.repeat(ramp[None, :, None], 3, 2), transfer)[0].astype(int)
        assert (np.diff(shown[:, 0]) >= 0).all() and shown[0, 0] == 0 and shown[-1, 0] == 255
        assert np.ptp(shown, axis=1).max() <= 1


def test_an_hdr_film_is_tone_mapped_and_says_so(tmp_path):
    image = np.full((64, 96, 3), round(255 * 0.75), np.uint8)  # 75 % of HLG: diffuse white
    options = {"crf": "2", "x265-params": "log-level=none"}
    path = write_film(
        tmp_path / "a.mp4", [image] * 3, "libx265", None, options, pix_fmt="yuv420p10le", color_trc=18, colorspace=9
    )
    frames, tally = read_all(path)
    assert np.abs(np.median(frames[1].image) - 230) <= 4 and list(tally.notes) == ["HDR (HLG), tone-mapped to BT.709"]


def test_interlaced_frames_show_one_moment(tmp_path):
    """A bar that moves between the two fields of a frame; x264 calls the lower field the first."""
    fields = []
    for time in range(16):
        image = np.full((96, 128, 3), 30, np.uint8)
        image[:, 5 * time : 5 * time + 30] = 220
        fields.append(image)
    woven = [fields[n].copy() for n in range(0, 16, 2)]
    for n, image in enumerate(woven):
        image[1::2] = fields[2 * n + 1][1::2]
    options = {"crf": "2", "flags": "+ildct+ilme", "x264-params": "bff=1"}
    frames, tally = read_all(write_film(tmp_path / "a.mp4", woven, options=options))
    assert list(tally.notes) == ["interlaced, deinterlaced"] and len(frames) == 8
    for number, frame in enumerate(frames):
        assert np.abs(frame.image.astype(int) - fields[2 * number + 1])[4:-4].mean() < 1, number
        assert np.abs(woven[number].astype(int) - fields[2 * number + 1])[4:-4].mean() > 6


def two_streams(path, sizes, counts, codecs=("mjpeg", "libx264")):
    return write_streams(path, [[picture(n, k, size) for n in range(k)] for size, k in zip(sizes, counts)], codecs)


@pytest.mark.parametrize("name", ["a.mov", "a.mp4", "a.mkv"])
def test_the_recording_is_read_and_not_its_thumbnail_in_front(tmp_path, name):
    frames, tally = read_all(two_streams(tmp_path / name, [(160, 120), (320, 240)], [1, 20]))
    assert (tally.width, tally.decoded, tally.stream, tally.status) == (320, 20, 1, "ok") and len(frames) == 20


def test_a_large_still_picture_is_not_the_recording(tmp_path):
    _, tally = read_all(two_streams(tmp_path / "a.mp4", [(640, 480), (320, 240)], [1, 20]))
    assert (tally.width, tally.decoded, tally.notes) == (320, 20, {})


def test_two_recordings_in_one_file_are_told_and_either_can_be_chosen(tmp_path):
    path = two_streams(tmp_path / "a.mp4", [(160, 120), (320, 240)], [20, 20], ("libx264", "libx264"))
    _, tally = read_all(path)
    assert tally.width == 320 and "2 video streams (0: 160 x 120, 1: 320 x 240): number 1 is read" in str(tally.notes)
    assert read_all(path, stream=0)[1].width == 160
    _, tally = read_all(path, stream=2)
    assert tally.status == "no video stream 2 (--stream), there is 0, 1"


def test_texts_in_another_encoding_cost_nothing_and_an_unknown_codec_its_film(tmp_path):
    path = tmp_path / "a.avi"
    with av.open(str(path), "w") as container:
        container.metadata["title"] = "QX"
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for number in range(5):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(number, 5), format="rgb24")))
        container.mux(stream.encode())
    data = path.read_bytes()
    path.write_bytes(data.replace(b"QX", b"\xf6\xfc"))
    assert read_all(path)[1].decoded == 5
    path.write_bytes(data.replace(b"FMP4", b"ZZZZ"))
    assert read_all(path)[1].status == "its codec is not known to FFmpeg"


def test_a_colon_in_a_name_is_no_protocol(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_video(tmp_path / "a.mp4", frames=2).rename("http:x.mp4")
    assert read_all(type(tmp_path)("http:x.mp4"))[1].decoded == 2


@pytest.mark.parametrize(
    "data, problem",
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "git-lfs"),
        (b"\n<!DOCTYPE html>\n<html><title>Sign in</title></html>", "html"),
        (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "xml"),
        (b"<!-- 404 --><HTML>", "html"),
        (b"/annex/objects/SHA256E-s1--a.mp4", "git-annex"),
        (b'{"error": "not found"}', "json"),
        (b"", "empty file"),
        (None, "no plain file"),
    ],
)
def test_what_stands_in_for_a_film_is_named_without_waiting(tmp_path, data, problem):
    path = tmp_path / "a.mp4"
    os.mkfifo(path) if data is None else path.write_bytes(data)
    assert problem in check_plain(path) and problem in read_all(path)[1].status


def test_dolby_vision_whose_colours_ffmpeg_does_not_know_is_said(tmp_path):
    options = {"crf": "4", "x265-params": "log-level=none:bframes=0"}  # x265 states no time of a lone frame to reorder
    path = write_film(tmp_path / "a.mp4", [picture(0, 1)] * 5, "libx265", options=options)
    path.write_bytes(path.read_bytes().replace(b"hev1", b"dvh1"))
    assert list(read_all(path)[1].notes) == ["Dolby Vision without another base: FFmpeg does not know its colours"]


def test_hdr_that_only_the_container_states_is_tone_mapped(tmp_path):
    """An HEVC stream that says nothing of its colours, in an mp4 whose `colr` box says HLG."""
    grey = np.full((64, 96, 3), round(255 * 0.75), np.uint8)
    options = {"crf": "2", "x265-params": "log-level=none"}
    path = write_film(tmp_path / "a.mp4", [grey] * 3, "libx265", options=options, pix_fmt="yuv420p10le")
    data = path.read_bytes()
    colours = struct.pack(">I4s4sHHHB", 19, b"colr", b"nclx", 9, 18, 9, 0)
    place = data.index(b"hvcC") - 4
    grown = bytearray(data[:place] + colours + data[place:])
    for name in (b"hev1", b"stsd", b"stbl", b"minf", b"mdia", b"trak", b"moov"):
        at = grown.index(name) - 4
        grown[at : at + 4] = struct.pack(">I", struct.unpack(">I", grown[at : at + 4])[0] + len(colours))
    path.write_bytes(grown)
    frames, tally = read_all(path)
    assert np.abs(np.median(frames[1].image) - 230) <= 4 and list(tally.notes) == ["HDR (HLG), tone-mapped to BT.709"]


def test_an_aspect_that_changes_along_a_broadcast_is_followed(tmp_path):
    options = {"crf": "4", "bf": "0"}
    parts = [
        write_film(tmp_path / f"{name}.ts", [picture(0, 1)] * 5, options=options, aspect=aspect).read_bytes()
        for name, aspect in (("a", "4/3"), ("b", "2/1"))
    ]
    (tmp_path / "c.ts").write_bytes(b"".join(parts))
    frames, _ = read_all(tmp_path / "c.ts")
    assert [frame.image.shape[1] for frame in frames] == [128] * 5 + [192] * 5


def crop_film(path, left, top, right, bottom, size):
    if path.suffix == ".mkv":
        return set_pixel_crop(path, left, top, right, bottom)
    return set_clean_aperture(path, left, top, right, bottom, *size)


@pytest.mark.parametrize("ending", ["mp4", "mov", "mkv"])
@pytest.mark.parametrize("crop", [(8, 0, 12, 0), (0, 6, 0, 10), (5, 3, 7, 1)])
def test_what_the_container_hides_is_not_shown(tmp_path, ending, crop):
    left, top, right, bottom = crop
    path = write_film(tmp_path / f"a.{ending}", [picture(number, 3, (128, 96)) for number in range(3)])
    stored, _ = read_all(path)
    shown, tally = read_all(crop_film(path, *crop, (128, 96)))
    assert len(shown) == 3 and (tally.width, tally.height) == (128 - left - right, 96 - top - bottom)
    for whole, part in zip(stored, shown, strict=True):
        assert (part.image == whole.image[top : 96 - bottom, left : 128 - right]).all()
    told = f"cut by {left}, {top}, {right}, {bottom} px (left, top, right, bottom), as its container says"
    assert told in tally.notes


def test_a_film_is_cut_before_it_is_turned_and_made_square(tmp_path):
    path = write_film(tmp_path / "a.mp4", [picture(0, 1, (128, 96))], aspect=Fraction(1, 2))
    (square,), _ = read_all(path)
    crop_film(path, 20, 0, 8, 0, (128, 96))
    (shown,), _ = read_all(set_matrix(path, 0, 1, -1, 0))
    assert shown.image.shape == (100, 192, 3), "the height that is shown stays that of 100 stored pixels"
    assert square.image.shape == (96, 64, 3)


@pytest.mark.parametrize("crop", [(64, 0, 64, 0), (0, 95, 0, 1), (-4, 0, 0, 0)])
def test_a_crop_that_leaves_nothing_or_more_than_there_is_is_not_believed(tmp_path, crop):
    path = write_film(tmp_path / "a.mp4", [picture(0, 1, (128, 96))])
    (frame,), _ = read_all(set_clean_aperture(path, *crop, 128, 96))
    assert frame.image.shape == (96, 128, 3)


@pytest.mark.parametrize("ending", ["mp4", "mkv"])
def test_a_damaged_container_never_makes_the_look_for_its_crop_fail(tmp_path, ending):
    path = write_film(tmp_path / f"a.{ending}", [picture(0, 1, (128, 96))])
    sound, rng = crop_film(path, 8, 0, 0, 0, (128, 96)).read_bytes(), np.random.default_rng(1)
    name = {"mp4": "mov,mp4", "mkv": "matroska,webm"}[ending]
    assert read_crop(path, name, 0, 128, 96) == (8, 0, 0, 0) and read_crop(path, "avi", 0, 128, 96) == (0, 0, 0, 0)
    for _ in range(1000):
        data = bytearray(sound[: rng.integers(1, len(sound))] if rng.random() < 0.3 else sound)
        for place in rng.integers(0, len(data), 8):
            data[place] = rng.integers(256)
        path.write_bytes(data)
        read_crop(path, name, int(rng.integers(3)), 128, 96)
