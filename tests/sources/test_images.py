"""Reading images: whatever their depth, channels and orientation, they become upright 8-bit RGB; finding them in
folders."""

import os
import struct

import cv2
import numpy as np
import pytest
from footage import add_orientation, make_video, picture, write_image

from handtool.errors import HandtoolError
from handtool.sources.find import find_videos
from handtool.sources.frame import Sampling, Tally, Video
from handtool.sources.images import BadImage, is_cut_short, read_image, read_images

COLOUR = np.array([200, 120, 40])  # RGB


def plain_image(dtype, channels) -> np.ndarray:
    """As OpenCV writes it: BGR(A) or grey."""
    top = 1 if dtype == np.uint8 else 257
    value = {1: [100], 3: COLOUR[::-1], 4: [*COLOUR[::-1], 128]}[channels]
    image = np.tile(np.array(value) * top, (20, 30, 1)).astype(dtype)
    return image[..., 0] if channels == 1 else image


DEPTHS = {
    ".png": ((1, 3, 4), (1, 3, 4)),
    ".tif": ((1, 3, 4), (1, 3, 4)),
    ".jpg": ((1, 3), ()),
    ".webp": ((3, 4), ()),
    ".bmp": ((1, 3), ()),
}


@pytest.mark.parametrize(
    "suffix, dtype, channels",
    [
        (suffix, dtype, n)
        for suffix, kinds in DEPTHS.items()
        for dtype, channels in zip((np.uint8, np.uint16), kinds, strict=True)
        for n in channels
    ],
)
def test_every_depth_and_number_of_channels_becomes_8_bit_rgb(tmp_path, suffix, dtype, channels):
    done, data = cv2.imencode(suffix, plain_image(dtype, channels))
    (tmp_path / f"a{suffix}").write_bytes(data.tobytes())
    image, jpeg = read_image(tmp_path / f"a{suffix}")
    assert image.shape == (20, 30, 3) and image.dtype == np.uint8
    assert np.abs(image.astype(int) - (COLOUR if channels > 1 else 100)).max() <= 4
    assert (jpeg is not None) == (suffix == ".jpg")


@pytest.mark.parametrize("orientation, turns", [(1, 0), (3, 2), (6, 3), (8, 1)])
def test_exif_orientation_is_applied(tmp_path, orientation, turns):
    image = picture(3, 10)
    path = write_image(tmp_path / "a.jpg", image, quality=100)
    add_orientation(path, orientation)
    turned, _ = read_image(path)
    expected = np.rot90(image, turns)
    assert turned.shape == expected.shape and np.abs(turned.astype(int) - expected).mean() < 6


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_an_image_cut_short_is_refused_and_not_filled_with_grey(tmp_path, suffix):
    path = write_image(tmp_path / f"a{suffix}", picture(0, 1, (200, 200)))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(BadImage, match="cut short"):
        read_image(path)


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_an_image_with_something_behind_it_is_whole_and_a_cut_one_with_a_thumbnail_is_not(tmp_path, suffix):
    """A Motion Photo: a film behind the end mark, whose bytes hold every marker by chance."""
    rng, image = np.random.default_rng(1), picture(0, 1, (200, 200))
    data = write_image(tmp_path / f"a{suffix}", image).read_bytes()
    film = rng.integers(0, 256, 300_000, dtype=np.uint8).tobytes() + b"\xff\xda\xff\xd9"
    (tmp_path / f"a{suffix}").write_bytes(data + film)
    read, jpeg = read_image(tmp_path / f"a{suffix}")
    assert np.abs(read.astype(int) - image).mean() < 8 and jpeg == (data if suffix == ".jpg" else None)
    for cut in rng.integers(len(data) // 10, len(data) - 12, 40):
        assert is_cut_short(data[:cut])
    if suffix == ".jpg":
        thumbnail = b"\xff\xe1" + struct.pack(">H", 2 + 6 + len(data) // 2) + b"Exif\0\0"
        small = write_image(tmp_path / "b.jpg", image[::8, ::8]).read_bytes().ljust(len(data) // 2, b"\0")
        held = data[:2] + thumbnail + small + data[2:]
        assert not is_cut_short(held) and is_cut_short(held[: -len(data) // 3])


def test_what_is_no_image_costs_itself_without_waiting(tmp_path):
    (tmp_path / "a.jpg").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    (tmp_path / "b.jpg").write_text("<!DOCTYPE html><html></html>")
    os.mkfifo(tmp_path / "c.jpg")
    write_image(tmp_path / "d.jpg", picture(0, 1))
    tally = Tally()
    (video,) = find_videos([tmp_path]).videos
    assert [frame.number for frame in read_images(video, tally)] == [3]
    assert "1 git-lfs pointers" in tally.status and "1 html pages" in tally.status and "no plain files" in tally.status


def test_every_n_takes_every_nth_image_of_a_folder_also_where_it_is_read_in_chunks(tmp_path):
    files = tuple(str(write_image(tmp_path / f"{n}.png", picture(n, 9))) for n in range(9))
    tally = Tally()
    for video in (Video("v", "v", "images", files[:5]), Video("v", "v", "images", files[5:], first=5)):
        frames = list(read_images(video, tally, Sampling(every=3)))
        assert [frame.number for frame in frames] == ([0, 3] if not video.first else [6])
    assert (tally.decoded, tally.sampled, tally.unread) == (3, 3, 6)


def test_bad_images_of_a_folder_are_counted_and_the_others_keep_their_places(tmp_path):
    good = [write_image(tmp_path / f"{n}.png", picture(n, 6)) for n in range(6)]
    good[1].write_bytes(b"")
    good[3].write_text("no image")
    tally = Tally()
    frames = list(read_images(Video("v", str(tmp_path), "images", tuple(map(str, good))), tally))
    assert [frame.number for frame in frames] == [0, 2, 4, 5] and np.isnan(frames[0].time)
    assert tally.failed == {"images of zero bytes": 1, "images that cannot be decoded": 1} and tally.decoded == 4
    assert "1 images of zero bytes" in tally.status


def test_a_mixed_folder_gives_each_video_file_and_each_leaf_folder_once_in_sorted_order(tmp_path):
    root = tmp_path / "all my hands"
    for name in ("b/2.png", "b/1.jpg", "ünï côde/手 1.jpg", "top.png", ".hidden/x.png", "b/.1.jpg"):
        write_image(root / name, picture(0, 1))
    make_video(root / "c lip.mp4", frames=2)
    (root / "notes.txt").write_text("x")
    (root / "link").symlink_to(root / "b", target_is_directory=True)
    found = find_videos([root])
    assert [(video.name, video.kind, len(video.files)) for video in found.videos] == [
        ("all my hands", "images", 1),
        ("all my hands/c lip.mp4", "video", 0),
        ("all my hands/b", "images", 2),
        ("all my hands/ünï côde", "images", 1),
    ]
    assert [os.path.basename(file) for file in found.videos[2].files] == ["1.jpg", "2.png"]
    assert found.left_out == {"not a video or image by its ending": 1, "named twice": 1}


def test_single_files_and_folders_mix_in_the_order_given_and_nothing_comes_twice(tmp_path):
    image, video = write_image(tmp_path / "a.png", picture(0, 1)), make_video(tmp_path / "b.mp4", frames=2)
    write_image(tmp_path / "folder" / "x.png", picture(0, 1))
    found = find_videos([video, image, tmp_path / "folder", image])
    assert [video.name for video in found.videos] == ["b.mp4", "a.png", "folder"]
    assert found.left_out == {"named twice": 1}


def test_videos_of_one_name_from_different_folders_are_told_apart(tmp_path):
    for folder in "ab":
        write_image(tmp_path / folder / "x.png", picture(0, 1))
    found = find_videos([tmp_path / "a" / "x.png", tmp_path / "b" / "x.png"])
    assert [video.name for video in found.videos] == [str(tmp_path / "a" / "x.png"), str(tmp_path / "b" / "x.png")]


def test_limit_counts_videos_and_images(tmp_path):
    (tmp_path / "d").mkdir()
    make_video(tmp_path / "d" / "a.mp4", frames=2)
    for number in range(5):
        write_image(tmp_path / "e" / f"{number}.png", picture(0, 1))
    found = find_videos([tmp_path / "d", tmp_path / "e"], limit=4)
    assert [(video.kind, len(video.files)) for video in found.videos] == [("video", 0), ("images", 3)]


def test_nothing_to_read_says_so(tmp_path):
    with pytest.raises(HandtoolError, match="does not exist"):
        find_videos([tmp_path / "absent"])
    with pytest.raises(HandtoolError, match="no video and no image") as caught:
        find_videos([tmp_path])
    assert ".mp4" in caught.value.hint
