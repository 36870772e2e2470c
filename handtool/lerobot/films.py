"""The film of an episode: copied packet by packet, with even time stamps, where LeRobot plays its codec and all of its
pictures are rows of the table; else encoded anew, one picture a row."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any, cast

import av
import numpy as np

from handtool.lerobot.statistics import Stats, measure
from handtool.render.mp4 import Mp4Writer
from handtool.sources.frame import Frame, Sampling, Tally, Video
from handtool.sources.reopen import Lost, read_looked_at
from handtool.sources.tone_mapping import NAMES as WIDE_COLOURS
from handtool.sources.video import read_video

CODECS = {"h264": "h264", "hevc": "hevc", "av1": "av1", "libdav1d": "av1"}
LATEST_S = 5e-5  # a frame comes so far from its time; LeRobot's loader refuses 1e-4
KEY_EVERY = 10  # frames, of what is encoded: any frame is near a key frame
MOST_MEASURED = 100  # frames, for the statistics
MEASURED_PX = 150  # larger side of them, about


@dataclass(frozen=True)
class Film:
    """numbers: of the frames of the original, in order, one a row. codec: as LeRobot calls it."""

    numbers: list[int]
    codec: str
    copied: bool


def write_film(video: Video, sampling: Sampling, fps: float, path: Path, frames: int) -> Film:
    """The frames of `video` that `sampling` keeps, as an mp4 of constant rate. frames: decoded when it was read, -1:
    some were lost then."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if sampling.every == 1 and (codec := copy_film(video, fps, path, frames)):
        return Film(list(range(frames)), codec, True)
    looked_at = (frame for frame in read_looked_at(video, sampling, 0) if not isinstance(frame, Lost))
    first = next(looked_at, None)
    if first is None:
        return Film([], "h264", False)
    numbers = []
    with path.open("w+b") as file, Mp4Writer(file, fps, key_every=KEY_EVERY) as mp4:
        for frame in chain([first], looked_at):
            if frame.image.shape == first.image.shape:
                mp4.add(frame.image)
                numbers.append(frame.number)
    return Film(numbers, "h264", False)


def copy_film(video: Video, fps: float, path: Path, frames: int) -> str:
    """The codec of the copy; empty where the film must be encoded: another codec, pictures that are turned, scaled or
    toned before they are shown, lost frames."""
    if frames <= 0 or video.dataset or video.address or getattr(video, "tar", ""):
        return ""
    try:
        with open_plain(video) as film:
            stream = film.streams[video.stream] if video.stream is not None else film.streams.video[0]
            codec = CODECS.get(stream.codec_context.name, "")
            if not codec or not is_plain(stream) or not shows_as_stored(video, stream):
                return ""
            index, stamps = stream.index, [packet.pts for packet in film.demux(stream) if packet.size]
        if len(stamps) != frames or None in stamps or len(set(stamps)) != frames:
            return ""
        copy_packets(video, index, path, Fraction(fps).limit_denominator(1001), np.argsort(np.argsort(stamps)))
        return codec if is_constant(path, fps, frames) else ""
    except (av.FFmpegError, OSError, ValueError, IndexError):
        return ""


def is_plain(stream) -> bool:
    context = stream.codec_context
    square = stream.sample_aspect_ratio in (None, 0, 1)
    return square and context.pix_fmt == "yuv420p" and context.color_trc not in WIDE_COLOURS


def shows_as_stored(video: Video, stream) -> bool:
    """Whether the first frame is shown in the size that is stored, not turned, and not interlaced."""
    tally = Tally()
    for frame in read_video(video, Sampling(every=1, decode="all"), tally):
        stored = (stream.codec_context.height, stream.codec_context.width)
        turned = next((each.rotation for each in first_picture(video, stream.index)), 0)
        return frame.image.shape[:2] == stored and not turned and not tally.notes
    return False


def open_plain(video: Video):
    return av.open(f"file:{video.path}", options={"protocol_whitelist": "file"})


def first_picture(video: Video, index: int) -> Iterator[av.VideoFrame]:
    with open_plain(video) as film:
        yield from film.decode(film.streams[index])


def copy_packets(video: Video, index: int, path: Path, fps: Fraction, place: np.ndarray) -> None:
    """place: of the picture of each packet, in the order in which they are shown."""
    late = int((np.arange(len(place)) - place).max())  # a picture is decoded so many places before it is shown, at most
    with open_plain(video) as film, av.open(str(path), "w", format="mp4") as copy:
        stream = film.streams[index]
        make: Any = getattr(copy, "add_stream_from_template", None)  # PyAV 14
        out = make(stream) if make else cast(Any, copy).add_stream(template=stream)
        for number, packet in enumerate(packet for packet in film.demux(stream) if packet.size):
            packet.stream, packet.time_base = out, 1 / fps
            packet.pts, packet.dts, packet.duration = int(place[number]), number - late, 1
            copy.mux(packet)


def is_constant(path: Path, fps: float, frames: int) -> bool:
    """Whether the file has so many frames, each at its time from 0."""
    with av.open(str(path)) as film:
        stream = film.streams.video[0]
        stamps = [packet.pts for packet in film.demux(stream) if packet.size and packet.pts is not None]
        times = np.sort(np.array(stamps, np.float64)) * float(stream.time_base or 0)
    return len(times) == frames and bool((np.abs(times - np.arange(frames) / fps) < LATEST_S).all())


def measure_film(path: Path, frames: int) -> tuple[Stats, tuple[int, int], int]:
    """Of the colours, 0 to 1; its height and width, and its number of frames as they are decoded."""
    tally, blocks = Tally(), []
    if not frames:
        return measure(np.zeros((0, 3)), np.zeros((0, 3), bool)), (0, 0), 0
    every = max(1, frames // MOST_MEASURED)
    for frame in read_video(Video(path.name, str(path), "video"), Sampling(every=every), tally):
        blocks.append(thin(frame))
    pixels = np.concatenate(blocks or [np.zeros((0, 3))]) / 255
    stats = measure(pixels, np.ones(pixels.shape, bool))
    squares = stats.squares * len(blocks) / max(len(pixels), 1)
    of_frames = replace(stats, count=np.full(3, float(len(blocks))), squares=squares)
    return of_frames, (tally.height, tally.width), tally.decoded


def thin(frame: Frame) -> np.ndarray:
    """(m, 3) pixels, spread evenly."""
    step = max(1, max(frame.image.shape[:2]) // MEASURED_PX)
    return frame.image[::step, ::step].reshape(-1, 3)
