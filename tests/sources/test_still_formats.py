"""Images as they are shown, in the formats that OpenCV leaves to us: HEIC, AVIF, WebP, animated ones."""

import struct

import av
import cv2
import numpy as np
import pytest
from display import ORIENT, orient_jpeg, write_heif
from footage import picture, write_image

from handtool.sources import heif
from handtool.sources.find import find_videos
from handtool.sources.frame import Sampling, Tally
from handtool.sources.images import BadImage, decode_image, read_image
from handtool.sources.read import read_frames
from handtool.sources.webp import blend


def smooth_picture(width=150, height=100) -> np.ndarray:
    """(h, w, 3) uint8 RGB, another colour in each corner."""
    coarse = np.random.default_rng(4).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height))


def read_clip(path, **sampling) -> tuple[list, Tally]:
    (video,) = find_videos([path]).videos
    tally = Tally()
    assert video.kind == "video"
    return list(read_frames(video, Sampling(**sampling), tally)), tally


@pytest.mark.parametrize("codec, suffix", [("hvc1", ".heic"), ("av01", ".avif")])
@pytest.mark.parametrize("tile", [0, 64])
def test_a_heif_picture_comes_whole_with_all_its_tiles(tmp_path, codec, suffix, tile):
    image = smooth_picture()
    read, jpeg = read_image(write_heif(tmp_path / f"a{suffix}", image, codec, tile))
    assert read.shape == image.shape and np.abs(read.astype(int) - image).mean() < 4 and jpeg is None


@pytest.mark.parametrize(
    "extra, expected",
    [
        ([("irot", b"\1")], lambda image: np.rot90(image, 1)),
        ([("irot", b"\3")], lambda image: np.rot90(image, 3)),
        ([("imir", b"\0")], lambda image: image[::-1]),
        ([("imir", b"\1")], lambda image: image[:, ::-1]),
        ([("irot", b"\1"), ("imir", b"\1")], lambda image: np.rot90(image, 1)[:, ::-1]),
        ([("imir", b"\1"), ("irot", b"\1")], lambda image: np.rot90(image[:, ::-1], 1)),
        ([("clap", struct.pack(">8i", 100, 1, 60, 1, 10, 1, -5, 1))], lambda image: image[15:75, 35:135]),
    ],
)
def test_a_heif_picture_is_cut_turned_and_mirrored_in_the_order_it_says(tmp_path, extra, expected):
    image = smooth_picture()
    read, _ = read_image(write_heif(tmp_path / "a.heic", image, "hvc1", 64, extra))
    assert read.shape == expected(image).shape and np.abs(read.astype(int) - expected(image)).mean() < 4


def test_an_hdr_heif_picture_is_tone_mapped_and_said(tmp_path):
    notes = []
    colours = struct.pack(">4s3HB", b"nclx", 9, 18, 9, 0)
    grey = np.full((64, 64, 3), round(0.75 * 255), np.uint8)
    image, _ = read_image(write_heif(tmp_path / "a.heic", grey, "hvc1", 0, [("colr", colours)]), notes.append)
    assert np.abs(np.median(image) - 230) <= 4 and notes == ["HDR (HLG), tone-mapped to BT.709"]


def test_a_damaged_heif_file_costs_itself(tmp_path):
    data = write_heif(tmp_path / "a.heic", smooth_picture(), "hvc1", 64).read_bytes()
    rng = np.random.default_rng(3)
    for _ in range(150):
        mutant = bytearray(data[: rng.integers(20, len(data) + 1)])
        for place in rng.integers(0, min(len(mutant), 900), 4):
            mutant[place] = rng.integers(0, 256)
        try:
            assert decode_image(bytes(mutant), str).dtype == np.uint8
        except BadImage as bad:
            assert str(bad)
    other = data.replace(b"grid", b"iovl")
    with pytest.raises(BadImage, match="kind 'iovl', which are not read"):
        decode_image(other, str)


ORIENTED = [
    lambda image: image,
    lambda image: image[:, ::-1],
    lambda image: image[::-1, ::-1],
    lambda image: image[::-1],
    lambda image: image.transpose(1, 0, 2),
    lambda image: np.rot90(image, 3),
    lambda image: image.transpose(1, 0, 2)[::-1, ::-1],
    lambda image: np.rot90(image, 1),
]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
def test_every_orientation_is_obeyed_in_every_format_by_every_opencv(tmp_path, suffix, orientation):
    image = smooth_picture(48, 32)
    path = write_image(tmp_path / f"a{suffix}", image, quality=100)
    path.write_bytes(ORIENT[suffix](path.read_bytes(), orientation, "<>"[orientation % 2]))
    read, _ = read_image(path)
    expected = ORIENTED[orientation - 1](image)
    assert read.shape == expected.shape and np.abs(read.astype(int) - expected).mean() < 4


@pytest.mark.parametrize(
    "before", [b"", b"\xff", b"\xff\xe1\0\x20http://ns.adobe.com/xap/1.0/\0\0", b"\xff\xed\0\6Exif"]
)
def test_the_orientation_of_a_jpeg_is_found_behind_xmp_and_others(tmp_path, before):
    image = smooth_picture(48, 32)
    data = orient_jpeg(write_image(tmp_path / "a.jpg", image, quality=100).read_bytes(), 6, ">")
    (tmp_path / "a.jpg").write_bytes(data[:2] + before + data[2:])
    read, _ = read_image(tmp_path / "a.jpg")
    assert read.shape == (48, 32, 3) and np.abs(read.astype(int) - np.rot90(image, 3)).mean() < 4


def test_an_orientation_that_exif_does_not_know_turns_nothing(tmp_path):
    path = write_image(tmp_path / "a.jpg", smooth_picture(48, 32), quality=100)
    data = path.read_bytes()
    for orientation in (0, 9, 65535):
        path.write_bytes(orient_jpeg(data, orientation, "<"))
        assert read_image(path)[0].shape == (32, 48, 3)


def write_animation(path, pictures, codec) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10, options={"lossless": "1"} if "webp" in codec else {})
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = {"libwebp_anim": "bgra", "apng": "rgb24", "libsvtav1": "yuv420p"}[codec]
        for image in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())


@pytest.mark.parametrize("name, codec", [("a.webp", "libwebp_anim"), ("a.apng", "apng"), ("a.avif", "libsvtav1")])
def test_an_animation_is_a_clip_with_a_frame_and_a_time_each(tmp_path, name, codec):
    pictures = [picture(number, 8) for number in range(8)]
    write_animation(tmp_path / name, pictures, codec)
    frames, tally = read_clip(tmp_path / name, every=1)
    assert (tally.decoded, tally.status, tally.width, tally.height) == (8, "ok", 96, 64)
    assert [frame.time for frame in frames] == pytest.approx([0.1 * number for number in range(8)], abs=1e-3)
    for frame, image in zip(frames, pictures, strict=True):
        assert np.abs(frame.image.astype(int) - image).mean() < (7 if name == "a.avif" else 0.1)
    assert [frame.number for frame in read_clip(tmp_path / name, every=3)[0]] == [0, 3, 6]


def test_the_frames_of_an_animated_webp_are_laid_over_each_other(tmp_path):
    """Parts with alpha at a place of their own: one blended, one cleared after it, one written over what is there."""
    ground = np.full((40, 60, 4), (10, 200, 30, 255), np.uint8)
    part = np.random.default_rng(2).integers(0, 256, (10, 20, 4), dtype=np.uint8)
    parts = [(0, 0, ground, 0x02), (8, 4, part, 0x00), (20, 10, part, 0x01), (20, 10, part, 0x00), (2, 2, part, 0x02)]
    body = b"".join(anmf(*each) for each in parts)
    head = b"WEBPVP8X" + struct.pack("<II", 10, 0x12) + (59).to_bytes(3, "little") + (39).to_bytes(3, "little")
    content = head + b"ANIM" + struct.pack("<IIH", 6, 0, 0) + body
    (tmp_path / "a.webp").write_bytes(b"RIFF" + struct.pack("<I", len(content)) + content)
    frames, tally = read_clip(tmp_path / "a.webp", every=1)
    assert tally.status == "ok" and tally.duration == pytest.approx(0.25)

    canvas = np.zeros((40, 60, 4))
    for frame, (left, top, image, flags) in zip(frames, parts, strict=True):
        for y, x in np.ndindex(image.shape[:2]):
            over, under = image[y, x] / 255, canvas[top + y, left + x] / 255
            alpha = over[3] + under[3] * (1 - over[3])
            colour = (over[:3] * over[3] + under[:3] * under[3] * (1 - over[3])) / max(alpha, 1e-6)
            new = image[y, x] if flags & 0x02 else 255 * np.append(colour, alpha)
            canvas[top + y, left + x] = np.round(new)
        seen = canvas[..., 3] > 0
        assert np.abs(frame.image - canvas[..., 2::-1])[seen].max() <= 1
        if flags & 0x01:
            canvas[top : top + image.shape[0], left : left + image.shape[1]] = 0
    assert blend(part, np.zeros_like(part))[..., 3].tolist() == part[..., 3].tolist()


def anmf(left: int, top: int, image: np.ndarray, flags: int) -> bytes:
    """A frame of an animated WebP, lossless, 50 ms. image: (h, w, 4) uint8 BGRA."""
    still = cv2.imencode(".webp", image, [cv2.IMWRITE_WEBP_QUALITY, 101])[1].tobytes()
    still = still[12:] if still[12:16] != b"VP8X" else still[30:]
    numbers = [left // 2, top // 2, image.shape[1] - 1, image.shape[0] - 1, 50]
    body = b"".join(number.to_bytes(3, "little") for number in numbers) + bytes([flags]) + still
    return b"ANMF" + struct.pack("<I", len(body)) + body + bytes(len(body) % 2)


def test_a_cut_animation_gives_what_is_there_and_says_so(tmp_path):
    write_animation(tmp_path / "a.webp", [picture(number, 8) for number in range(8)], "libwebp_anim")
    data = (tmp_path / "a.webp").read_bytes()
    (tmp_path / "a.webp").write_bytes(data[: len(data) // 2])
    frames, tally = read_clip(tmp_path / "a.webp", every=1)
    assert 0 < len(frames) < 8 and tally.status == "the file breaks off"


def test_an_animated_png_with_a_stills_ending_is_told(tmp_path):
    write_animation(tmp_path / "a.apng", [picture(number, 3) for number in range(3)], "apng")
    (tmp_path / "a.apng").rename(tmp_path / "a.png")
    with pytest.raises(BadImage, match="animated PNGs"):
        read_image(tmp_path / "a.png")


def test_stills_and_clips_of_one_ending_are_told_apart_in_a_folder(tmp_path):
    write_animation(tmp_path / "b.webp", [picture(number, 3) for number in range(3)], "libwebp_anim")
    write_image(tmp_path / "a.webp", picture(0, 1))
    write_heif(tmp_path / "c.heic", smooth_picture(), "hvc1")
    videos = find_videos([tmp_path]).videos
    assert [(video.kind, len(video.files)) for video in videos] == [("images", 2), ("video", 0)]


def test_a_heif_file_without_a_decoder_for_it_says_which_is_missing(tmp_path, monkeypatch):
    path = write_heif(tmp_path / "a.heic", smooth_picture(), "hvc1")
    monkeypatch.setitem(heif.DECODERS, "hvc1", ("hvcC", ("no_such_decoder",)))
    with pytest.raises(BadImage, match="lacks the decoder"):
        read_image(path)
