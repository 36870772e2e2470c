"""Decoding what the kept frames need: the same frames, numbers, times, pixels and counts as decoding everything."""

import zlib
from fractions import Fraction

import av
import numpy as np
import pytest
from footage import damage, make_video, picture, run_stage, tables_of, turn_video, write_image

from handtool.config import ExtractConfig
from handtool.errors import WrongCommand
from handtool.sources import bitstream, hardware
from handtool.sources.decoding_plan import read_packets
from handtool.sources.frame import Sampling, Tally, Video
from handtool.sources.reopen import sampling_of
from handtool.sources.shown import as_shown
from handtool.sources.video import find_plan, read_video
from handtool.stages.extract import extract
from handtool.store import open_file

H264 = {"preset": "veryfast", "b_strategy": "0", "x264-params": "keyint=12:min-keyint=4:b-pyramid=normal:scenecut=0"}
OPEN = {"preset": "veryfast", "b_strategy": "0", "x264-params": "keyint=12:min-keyint=12:open-gop=1:scenecut=0"}
LONG = {"preset": "veryfast", "b_strategy": "0", "x264-params": "keyint=250:scenecut=0"}
HEVC = {"preset": "ultrafast", "x265-params": "keyint=14:bframes=3:open-gop=0:log-level=error:pools=none"}
HEVC_OPEN = {"preset": "ultrafast", "x265-params": "keyint=14:bframes=3:open-gop=1:log-level=error:pools=none"}
LAYERS = {"preset": "ultrafast", "x265-params": "keyint=32:bframes=3:temporal-layers=3:log-level=error:pools=none"}
VP9 = {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "8", "auto-alt-ref": "1"}
KINDS = {  # encoder, options, group, endings
    "h264": ("libx264", H264, None, "mp4 mkv ts avi mov"),
    "open": ("libx264", OPEN, None, "mp4 mkv ts"),
    "long": ("libx264", LONG, None, "mp4 mkv"),
    "refresh": (
        "libx264",
        {"preset": "veryfast", "x264-params": "keyint=12:intra-refresh=1:scenecut=0"},
        None,
        "mp4 mkv",
    ),
    "interlaced": ("libx264", {"preset": "veryfast", "x264-params": "keyint=12:interlaced=1"}, None, "mp4 ts"),
    "hevc": ("libx265", HEVC, None, "mp4 mkv ts"),
    "hevc open": ("libx265", HEVC_OPEN, None, "mp4 mkv"),
    "hevc layers": ("libx265", LAYERS, None, "mp4"),
    "vp8": ("libvpx", {"deadline": "realtime", "auto-alt-ref": "1", "lag-in-frames": "8"}, 12, "webm"),
    "vp9": ("libvpx-vp9", VP9, 12, "webm mp4"),
    "av1": ("libsvtav1", {"preset": "12", "svtav1-params": "keyint=17:lp=1"}, 17, "mp4 mkv"),
    "mpeg4": ("mpeg4", {}, 12, "mp4 avi mkv"),
    "mjpeg": ("mjpeg", {}, None, "avi mov mkv"),
    "mpeg2": ("mpeg2video", {}, 12, "ts mpg"),
}
NO_B = {"refresh", "mjpeg", "vp8", "vp9", "av1"}
SHORT_WAY = {"h264", "open", "long", "hevc", "hevc open", "vp9", "av1", "mjpeg"}  # where fewer must be decoded


def make_film(path, kind, frames, rng, varying=False):
    """Frames of `picture`, at 30 a second; varying: with gaps of up to 0.4 s."""
    encoder, options, group, _ = KINDS[kind]
    clock = 1 if path.suffix == ".avi" or encoder in ("mpeg4", "mpeg2video") else 1000
    gaps = rng.choice([0.02, 0.033, 0.4], frames, p=[0.4, 0.5, 0.1])
    times = np.cumsum(gaps) if varying else np.arange(frames) / 30
    with av.open(str(path), "w") as container:
        stream = container.add_stream(encoder, rate=30, options=options)
        stream.width, stream.height = 96, 64
        stream.pix_fmt = "yuvj420p" if encoder == "mjpeg" else "yuv420p"
        stream.codec_context.thread_count = 1
        stream.codec_context.max_b_frames = 3 if kind not in NO_B else 0  # PyAV sets 0
        if group:
            stream.codec_context.gop_size = group
        stream.codec_context.time_base = Fraction(1, 30 if clock == 1 else clock)
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(picture(number, frames), format="rgb24")
            frame.time_base = stream.codec_context.time_base
            frame.pts = number if clock == 1 else round(clock * times[number])
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def read(path, **sampling):
    """The kept frames as numbers that can be compared, and the counts."""
    tally = Tally()
    frames = list(read_video(Video("a", str(path), "video"), Sampling(**sampling), tally))
    told = [(frame.number, frame.time, frame.kept, zlib.crc32(frame.image.tobytes())) for frame in frames]
    return told, tally.as_outcome() | {"reached": tally.reached, "misnumbered": tally.misnumbered}


def plan_of(path, **sampling):
    return find_plan(Video("a", str(path), "video"), Sampling(**sampling), Tally())


def same(one, other):
    assert one[0] == other[0]
    for name, value in one[1].items():
        assert value == other[1][name] or value != value, name


def random_sampling(rng):
    more = {"every": int(rng.integers(2, 40))}, {"track_fps": 9.0}, {"keyframes": True}, {}
    return {"fps": float(rng.choice([0.4, 1.0, 2.5, 7.0]))} | more[rng.integers(4)]


@pytest.mark.parametrize("kind, ending", [(kind, end) for kind in KINDS for end in KINDS[kind][3].split()])
def test_kept_frames_are_those_of_decoding_everything(tmp_path, kind, ending):
    rng = np.random.default_rng(zlib.crc32(f"{kind} {ending}".encode()))
    for number, varying in enumerate((False, ending not in ("avi", "mpg") and not kind.startswith("mpeg"))):
        path = make_film(tmp_path / f"{number}.{ending}", kind, int(rng.integers(60, 130)), rng, varying)
        for sampling in ({"fps": 1.0}, {"fps": 0.5, "keyframes": True}, *(random_sampling(rng) for _ in range(3))):
            whole = read(path, decode="all", **sampling)
            same(whole, read(path, **sampling))
            assert whole[1]["status"] == "ok" and whole[0]
        assert (plan_of(path, fps=0.5) is None) == (kind == "mpeg2"), "all others are known"
        if kind in SHORT_WAY and ending not in ("avi", "ts") or kind == "mjpeg":
            plan = plan_of(path, fps=0.5)
            assert plan is not None and plan.sent.sum() < 0.95 * plan.frames, "fewer are decoded"
            assert plan_of(path, fps=0.2, keyframes=True).sent.sum() < 0.3 * plan.frames


def test_of_motion_jpeg_the_kept_frames_alone_are_decoded(tmp_path):
    path = make_film(tmp_path / "a.avi", "mjpeg", 90, np.random.default_rng(1))
    plan = plan_of(path, fps=1.0)
    assert plan.sent.sum() == 3 and plan.frames == 90


def test_key_frames_alone_are_kept_and_at_most_so_many_a_second(tmp_path):
    path = make_video(tmp_path / "a.mp4", frames=120)  # a key frame each half second
    assert [each[0] for each in read(path, fps=2.0, keyframes=True)[0]] == list(range(0, 120, 15))
    assert [each[0] for each in read(path, fps=100.0, keyframes=True)[0]] == list(range(0, 120, 15))
    frames, counts = read(path, fps=1.0, keyframes=True)
    assert [each[0] for each in frames] == [0, 30, 60, 90] and counts["decoded"] == 120
    assert plan_of(path, fps=1.0, keyframes=True).sent.sum() == 4


def test_extract_of_key_frames_says_which_frames_they_are_and_refuses_what_does_not_go_with_it(tmp_path):
    path, output = make_video(tmp_path / "a.mp4", frames=60), tmp_path / "c.h5"
    settings = {"keyframes": True, "whole": True, "workers": 1}
    run_stage(extract, [path], output, ExtractConfig(fps=2.0, **settings))
    tables = tables_of(output)
    assert tables["crops/frame"].tolist() == [0, 15, 30, 45] and tables["videos/frames_decoded"].tolist() == [60]
    with open_file(output) as file:
        assert sampling_of(file.provenance) is None, "at no regular times"
    with pytest.raises(WrongCommand, match="two ways"):
        run_stage(extract, [path], tmp_path / "d.h5", ExtractConfig(every=3, **settings))
    image = write_image(tmp_path / "images" / "a.png", picture(0, 1))
    with pytest.raises(WrongCommand, match="--keyframes does nothing"):
        run_stage(extract, [image.parent], tmp_path / "e.h5", ExtractConfig(**settings))


@pytest.mark.parametrize(
    "kind, ending",
    [("h264", "mp4"), ("open", "mkv"), ("hevc", "ts"), ("vp9", "webm"), ("av1", "mkv"), ("mjpeg", "avi")],
)
def test_damage_is_counted_as_in_decoding_everything_or_was_passed_over(tmp_path, kind, ending):
    """Where damage is seen, the counts are those of decoding everything. Where it is not, nothing that was decoded is
    damaged: every kept frame is one that decoding everything keeps, or the one of the film before it was damaged."""
    rng, seen, strange = np.random.default_rng(3), 0, 0
    clean = make_film(tmp_path / f"clean.{ending}", kind, 100, rng)
    clean_frames = read(clean, every=1)[0]
    for number in range(12):
        path = tmp_path / f"{number}.{ending}"
        path.write_bytes(clean.read_bytes())
        damage(path, count=int(rng.choice([1, 3, 30])), first=0.1, last=0.95, seed=number)
        sampling = {"fps": float(rng.choice([1.0, 3.0]))}
        whole, short = read(path, decode="all", **sampling), read(path, **sampling)
        if plan_of(path, **sampling) is None or short[1]["failed"]:
            seen += 1
            names = ("decoded", "failed", "problem", "reached")
            assert [short[1][name] for name in names] == [whole[1][name] for name in names]
            assert short[1]["misnumbered"] or [each[:3] for each in short[0]] == [each[:3] for each in whole[0]]
        else:
            assert short[1]["problem"] == whole[1]["problem"] or "gave up" in whole[1]["problem"]
            assert short[1]["decoded"] >= whole[1]["decoded"]
        theirs = {each[1:] for each in (*whole[0], *clean_frames)}
        strange += any(each[1:] not in theirs for each in short[0])
    # a damaged picture that decodes without a word may show what was in the decoder's memory before
    assert strange <= (12 if kind == "mjpeg" else 1)
    assert seen or kind in ("mjpeg", "vp9"), "of these, hardly any damage can be told"


def test_numbers_that_late_damage_proves_wrong_are_corrected(tmp_path):
    """Of motion JPEG, picture 5 is passed over, 90 is asked for, and neither is one: no frame comes of them, so all
    numbers behind 5 are lower by one."""
    path = make_film(tmp_path / "a.avi", "mjpeg", 130, np.random.default_rng(1))
    with av.open(str(path)) as film:
        pictures = [bytes(packet) for packet in film.demux(video=0) if packet.size]
    data = path.read_bytes()
    for number in (5, 90):
        data = data.replace(pictures[number], bytes(len(pictures[number])))
    path.write_bytes(data)
    _, counts = read(path, fps=1.0)
    assert counts["misnumbered"] and counts["failed"] == {"packets refused by the decoder": 2}
    settings = {"whole": True, "workers": 1}
    reports = [
        run_stage(extract, [path], tmp_path / f"{way}.h5", ExtractConfig(decode=way, **settings))
        for way in ("auto", "all")
    ]
    tables, others = tables_of(tmp_path / "auto.h5"), tables_of(tmp_path / "all.h5")
    assert reports[0] == reports[1] and tables["crops/frame"].tolist() == [0, 29, 59, 89, 118]
    assert all(np.array_equal(tables[name], others[name], equal_nan=tables[name].dtype.kind == "f") for name in others)
    with open_file(tmp_path / "auto.h5") as one, open_file(tmp_path / "all.h5") as other:
        assert one.uuid == other.uuid, "how it was decoded is no difference"


def test_damage_that_is_seen_late_begins_anew_and_keeps_no_frame_twice(tmp_path):
    path = damage(make_video(tmp_path / "a.mp4", frames=300, size=(320, 240)), count=40, first=0.5, last=0.6)
    whole, short = read(path, decode="all", fps=3.0), read(path, fps=3.0)
    assert whole[1]["failed"] and plan_of(path, fps=3.0) is not None
    same(whole, short)
    times = [each[1] for each in short[0]]
    assert times == sorted(set(times))


def test_a_film_cut_off_turned_or_with_an_edit_list_is_read_as_before(tmp_path):
    rng = np.random.default_rng(2)
    cut = make_film(tmp_path / "cut.mkv", "h264", 90, rng)
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    turned = turn_video(make_video(tmp_path / "turned.mp4", frames=60), 90)
    source, trimmed = make_film(tmp_path / "b.mp4", "h264", 90, rng), tmp_path / "trimmed.mp4"
    with av.open(str(source)) as film, av.open(str(trimmed), "w") as out:
        stream = out.add_stream_from_template(film.streams.video[0])
        for packet in film.demux(video=0):
            if packet.size:
                packet.pts, packet.dts = packet.pts - 7 * 512, packet.dts - 7 * 512  # begins before 0: an edit list
                packet.stream = stream
                out.mux(packet)
    for path in (cut, turned, trimmed):
        for sampling in ({"fps": 1.0}, {"every": 11}, {"fps": 1.0, "keyframes": True}):
            same(read(path, decode="all", **sampling), read(path, **sampling))


def test_what_is_unusual_is_decoded_whole(tmp_path, monkeypatch):
    path = make_film(tmp_path / "a.mp4", "h264", 60, np.random.default_rng(1))
    assert plan_of(path, fps=1.0) is not None
    assert plan_of(path, fps=1.0, decode="all") is None and plan_of(path, fps=60.0) is None
    assert plan_of(path, every=1) is None, "every frame is asked for"
    with av.open(str(path)) as film:
        stream = film.streams.video[0]
        packets = [bytes(packet) for packet in film.demux(stream) if packet.size]
        look = bitstream.find_look("h264", stream.codec_context.extradata)
    assert look(packets[0], True) & bitstream.ENTRY
    for broken in (packets[1][:-1], packets[1] * 2, bytes(len(packets[1])), b"\0\0\0\2\x09\x10"):
        with pytest.raises(bitstream.Doubt):
            look(broken, False)
    monkeypatch.setattr("handtool.sources.decoding_plan.find_look", lambda *_: None)
    assert plan_of(path, fps=1.0) is None
    with av.open(str(path)) as film, pytest.raises(bitstream.Doubt):
        read_packets(film, film.streams.video[0], lambda: None)


def test_hardware_that_is_not_there_is_told_in_one_line_and_the_cpu_decodes(caplog, monkeypatch, tmp_path):
    monkeypatch.setattr(hardware, "why_missing", lambda kind: "no such device")
    assert hardware.choose_decoding("cuda") == "auto" and "no such device" in caplog.text
    monkeypatch.setattr(hardware, "why_missing", lambda kind: "")
    assert hardware.choose_decoding("cuda") == "cuda" and hardware.choose_decoding("all") == "all"
    path = make_film(tmp_path / "a.mkv", "mpeg4", 40, np.random.default_rng(1))
    frames, counts = read(path, fps=1.0, decode="vaapi")
    assert frames == read(path, fps=1.0)[0] and ["vaapi" in note for note in counts["notes"]] == [True]


@pytest.mark.parametrize("layout", ["yuv420p", "yuv420p10le", "yuv422p", "yuv444p"])
def test_colours_of_hardware_are_those_of_the_cpu(layout):
    noise = np.random.default_rng(5).integers(0, 255, (64, 96, 3), dtype=np.uint8)
    frame = av.VideoFrame.from_ndarray(noise, format="rgb24").reformat(format=layout)
    theirs = next(name for name, ours in hardware.LAYOUTS.items() if ours == layout)
    again = hardware.as_of_the_cpu(frame.reformat(format=theirs))
    images = [as_shown(each, None, 2, lambda note: None) for each in (frame, again)]
    assert np.array_equal(*images)
