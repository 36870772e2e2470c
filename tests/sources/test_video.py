"""Reading video files: sampling, turning, and what damage costs."""

import numpy as np
import pytest
from footage import damage, make_sound, make_video, number_of, turn_video

from handtool.sources.frame import Sampling, Tally, Video
from handtool.sources.video import read_video


def read_all(path, fps=1.0, every=None):
    tally = Tally()
    return list(read_video(Video(path.name, str(path), "video"), Sampling(fps, every), tally)), tally


def test_one_frame_a_second_is_the_first_at_or_after_each_second(tmp_path):
    frames, tally = read_all(make_video(tmp_path / "a.mp4"))
    assert [frame.number for frame in frames] == [0, 30, 60]
    assert np.allclose([frame.time for frame in frames], [0, 1, 2])
    assert [number_of(frame.image, 90) for frame in frames] == pytest.approx([0, 30, 60], abs=2)
    assert (tally.decoded, tally.sampled, tally.status, tally.width, tally.height) == (90, 3, "ok", 96, 64)


def test_sampling_follows_time_stamps_where_the_frame_rate_varies(tmp_path):
    times = [0.0, 0.1, 0.2, 0.95, 1.05, 1.1, 1.9, 4.3, 4.4, 5.0]
    frames, _ = read_all(make_video(tmp_path / "a.mp4", frames=10, times=times))
    assert np.allclose([frame.time for frame in frames], [0.0, 1.05, 4.3, 5.0], atol=2e-3)


def test_a_rate_above_the_videos_own_keeps_every_frame_once(tmp_path):
    frames, _ = read_all(make_video(tmp_path / "a.mp4", frames=20), fps=1000.0)
    assert [frame.number for frame in frames] == list(range(20))


def test_every_n_counts_decoded_frames_whatever_the_time(tmp_path):
    times = [0.01 * number**2 for number in range(20)]
    frames, _ = read_all(make_video(tmp_path / "a.mp4", frames=20, times=times), every=7)
    assert [frame.number for frame in frames] == [0, 7, 14]


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_a_rotated_video_comes_upright(tmp_path, degrees):
    """The matrix takes (x, y) to (x cos - y sin, x sin + y cos) with y down: clockwise on the screen."""
    path = make_video(tmp_path / "a.mp4", frames=3)
    (lying, *_), _ = read_all(path)
    (frame, *_), tally = read_all(turn_video(path, degrees))
    expected = np.rot90(lying.image, -degrees // 90)
    assert np.array_equal(frame.image, expected) and (tally.height, tally.width) == expected.shape[:2]


def test_damaged_packets_cost_their_frames_and_no_more(tmp_path):
    path = damage(make_video(tmp_path / "a.mp4", frames=300, size=(320, 240)), count=40, first=0.3, last=0.6)
    frames, tally = read_all(path, every=1)
    lost = tally.failed.total()
    assert 0 < lost < 200 and tally.decoded == len(frames) > 100
    assert "marked as damaged" in tally.status or "refused by the decoder" in tally.status
    assert number_of(frames[-1].image, 300) == pytest.approx(299, abs=3), "it goes on to the end"


def test_no_kept_frame_is_one_that_the_decoder_marked_as_damaged(tmp_path):
    clean, _ = read_all(make_video(tmp_path / "a.mp4", frames=120, size=(320, 240)), every=1)
    frames, tally = read_all(damage(tmp_path / "a.mp4", count=10, first=0.4, last=0.5), every=1)
    assert tally.failed.total() > 0
    by_brightness = {number_of(frame.image, 120): frame.image for frame in clean}
    wrong = [
        f.number for f in frames if np.abs(by_brightness[number_of(f.image, 120)].astype(int) - f.image).max() > 60
    ]
    assert len(wrong) <= 2, wrong  # a flipped byte may decode without an error: nothing in the stream tells


def test_a_file_cut_off_gives_the_frames_before_the_cut(tmp_path):
    path = make_video(tmp_path / "a.mp4", frames=90, size=(320, 240), options={"movflags": "faststart"})
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    frames, tally = read_all(path, every=1)
    assert 20 < tally.decoded < 80 and len(frames) == tally.decoded


def test_a_stream_that_starts_between_key_frames_begins_at_the_next_one(tmp_path):
    path = make_video(tmp_path / "a.ts", frames=60, size=(320, 240))
    data = path.read_bytes()
    path.write_bytes(data[188 * (len(data) // 188 // 10) :])
    frames, tally = read_all(path, every=1)
    assert tally.decoded > 20 and number_of(frames[-1].image, 60) == pytest.approx(59, abs=2)


def test_a_gif_is_a_video(tmp_path):
    import av

    with av.open(str(tmp_path / "a.gif"), "w") as container:
        stream = container.add_stream("gif", rate=10)
        stream.width, stream.height, stream.pix_fmt = 32, 24, "rgb8"
        for value in range(0, 200, 20):
            frame = av.VideoFrame.from_ndarray(np.full((24, 32, 3), value, np.uint8), format="rgb24").reformat(
                format="rgb8"
            )
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    frames, tally = read_all(tmp_path / "a.gif", every=1)
    assert tally.status == "ok" and len(frames) == 10


def cut(path, share: float):
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    return path


@pytest.mark.parametrize("name", ["a.mkv", "a.mp4"])
def test_a_file_cut_off_says_where_its_pictures_end(tmp_path, name):
    """Matroska's demuxer ends at the cut without an error; what the file states of its length gives it away."""
    options = {"movflags": "faststart"} if name == "a.mp4" else None
    whole = make_video(tmp_path / name, frames=150, size=(320, 240), options=options)
    _, tally = read_all(whole)
    assert tally.status == "ok" and tally.duration == pytest.approx(5.0, abs=0.01)
    frames, tally = read_all(cut(whole, 0.5))
    assert 50 < tally.decoded < 100 and tally.status.startswith(f"pictures end after {tally.decoded / 30:.1f} of 5.0 s")
    assert [frame.number for frame in frames] == list(range(0, tally.decoded, 30))


def test_joined_streams_whose_time_begins_anew_are_sampled_to_their_end(tmp_path):
    data = make_video(tmp_path / "a.ts", frames=60).read_bytes()
    (tmp_path / "b.ts").write_bytes(data + data)
    frames, tally = read_all(tmp_path / "b.ts")
    assert [frame.number for frame in frames] == [0, 30, 60, 90] and tally.decoded == 120
    assert [frame.time for frame in frames] == pytest.approx([0, 1, 0, 1], abs=1e-3)


def test_a_raw_stream_without_time_stamps_is_sampled_by_its_rate_and_measured_by_what_was_read(tmp_path):
    frames, tally = read_all(make_video(tmp_path / "a.h264", frames=60))
    assert [frame.number for frame in frames] == [0, 25, 50] and tally.duration == pytest.approx(2.4, abs=0.1)


def test_the_cover_of_a_song_is_no_video(tmp_path):
    import av
    import cv2

    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        sound, cover = container.add_stream("aac", rate=16000), container.add_stream("mjpeg")
        cover.width, cover.height, cover.pix_fmt, cover.disposition = 96, 64, "yuvj420p", 1024
        samples = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), format="fltp", layout="mono")
        samples.rate = 16000
        for packet in (*sound.encode(samples), *sound.encode()):
            container.mux(packet)
        packet = av.Packet(cv2.imencode(".jpg", np.full((64, 96, 3), 90, np.uint8))[1].tobytes())
        packet.stream, packet.pts, packet.dts = cover, 0, 0
        container.mux(packet)
    frames, tally = read_all(tmp_path / "a.mp4")
    assert not frames and tally.status == "no picture in it (audio only)"


def test_frames_to_follow_hands_come_between_the_kept_ones_and_are_no_kept_ones(tmp_path):
    path = make_video(tmp_path / "a.mp4", frames=60)
    tally = Tally()
    frames = list(read_video(Video("a", str(path), "video"), Sampling(1.0, None, 5.0), tally))
    assert [frame.number for frame in frames] == list(range(0, 60, 6)) and [f.number for f in frames if f.kept] == [
        0,
        30,
    ]
    assert (tally.sampled, tally.followed) == (2, 8)


def unreadable_files(folder):
    make_video(folder / "whole.mp4", frames=30)
    (folder / "cut.mp4").write_bytes((folder / "whole.mp4").read_bytes()[:3000])
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "text.mp4").write_text("this is no video\n" * 100)
    (folder / "playlist.mp4").write_text("#EXTM3U\n#EXTINF:1,\nhttp://example.com/a.ts\n")
    make_sound(folder / "sound.mp4")


@pytest.mark.parametrize(
    "name, problem",
    [
        ("empty.mp4", "empty file"),
        ("text.mp4", "cannot be opened"),
        ("cut.mp4", "cannot be opened"),
        ("playlist.mp4", ""),
        ("sound.mp4", "audio only"),
        ("absent.mp4", "No such file"),
    ],
)
def test_what_is_no_video_is_told_and_raises_nothing(tmp_path, name, problem):
    unreadable_files(tmp_path)
    frames, tally = read_all(tmp_path / name)
    assert not frames and not tally.decoded
    assert tally.problem and problem in tally.status


def test_names_with_spaces_accents_and_stray_bytes_are_opened(tmp_path):
    import os

    source = make_video(tmp_path / "a.mp4", frames=4)
    for name in ("my hands.mp4", "手のひら é.mp4", os.fsdecode(b"caf\xe9.mp4")):
        target = tmp_path / name
        target.write_bytes(source.read_bytes())
        frames, tally = read_all(target, every=1)
        assert len(frames) == 4, (name, tally.status)


def test_the_beat_is_felt_for_frames_that_are_not_kept(tmp_path):
    beats = []
    tally = Tally(heartbeat=lambda: beats.append(1))
    path = make_video(tmp_path / "a.mp4", frames=40)
    list(read_video(Video("a", str(path), "video"), Sampling(1.0), tally))
    assert len(beats) == 40
