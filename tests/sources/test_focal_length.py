"""The focal length that a file states: in EXIF of a JPEG, in the metadata of a video."""

import struct

import av
import numpy as np
import pytest
from footage import add_focal_length, make_video, picture, write_image

from handtool.sources.focal_length import EXIF_HEAD, focal_of_jpeg, focal_of_video
from handtool.sources.frame import Sampling, Tally, Video
from handtool.sources.images import read_images
from handtool.sources.video import read_video


@pytest.mark.parametrize("order", ["<", ">"])
def test_an_image_states_its_35_mm_equivalent(tmp_path, order):
    for name in ("a.jpg", "b.jpg"):
        write_image(tmp_path / name, picture(1, 3))
    add_focal_length(tmp_path / "a.jpg", 28, order)
    video = Video("v", str(tmp_path), "images", files=(str(tmp_path / "a.jpg"), str(tmp_path / "b.jpg")))
    stated, silent = read_images(video, Tally())
    assert stated.focal_35mm == 28 and np.isnan(silent.focal_35mm)
    np.testing.assert_array_equal(stated.image, silent.image)


def test_damaged_exif_states_nothing_and_raises_nothing(tmp_path):
    path = write_image(tmp_path / "a.jpg", picture(1, 3))
    add_focal_length(path, 28)
    data, rng = path.read_bytes(), np.random.default_rng(0)
    start = data.index(EXIF_HEAD)
    for _ in range(300):
        spoiled = bytearray(data)
        for place in rng.integers(start + 6, start + 60, 3):
            spoiled[place] = rng.integers(256)
        focal = focal_of_jpeg(bytes(spoiled))
        assert np.isnan(focal) or focal > 0
    assert np.isnan(focal_of_jpeg(data[: start + 20])) and np.isnan(focal_of_jpeg(b"")) and focal_of_jpeg(data) == 28
    loop = data[: start + 6] + b"II*\0" + struct.pack("<IH", 8, 65535) + bytes(100)
    assert np.isnan(focal_of_jpeg(loop))


def test_a_phones_video_states_its_35_mm_equivalent(tmp_path):
    make_video(tmp_path / "a.mp4", frames=5)
    with av.open(str(tmp_path / "a.mp4")) as source:
        with av.open(str(tmp_path / "b.mov"), "w", options={"movflags": "use_metadata_tags"}) as target:
            target.metadata["com.apple.quicktime.camera.focal_length.35mm_equivalent"] = "26"
            stream = target.add_stream_from_template(source.streams.video[0])
            for packet in source.demux(source.streams.video[0]):
                if packet.dts is not None:
                    packet.stream = stream
                    target.mux(packet)
    for name, focal in (("a.mp4", np.nan), ("b.mov", 26.0)):
        frames = list(read_video(Video("v", str(tmp_path / name), "video"), Sampling(every=1), Tally()))
        assert len(frames) == 5
        np.testing.assert_array_equal([frame.focal_35mm for frame in frames], focal)
    assert np.isnan(focal_of_video({"focal_length_35mm": "wide"}, {"focal_length_35mm": "-3"}))
