"""Frames of a video file, by PyAV: sampled by time stamp, turned upright, every damaged frame counted.

FFmpeg goes on where a packet is damaged; we do too, and never keep a frame that it marks as damaged. One decoding thread: with several,
what is salvaged from a damaged stream depends on the machine, and videos are spread over processes anyway.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np

from handtool.sources.frame import Frame, Sampling, Tally, Video

SUFFIXES = frozenset(
    ".mp4 .m4v .mov .avi .mkv .webm .mpg .mpeg .m2v .ts .mts .m2ts .wmv .flv .3gp .ogv .gif .mjpeg .mjpg .h264 .264 .hevc .y4m".split()
)
REFUSED = "packets refused by the decoder"
DAMAGED = "frames marked as damaged"


def read_video(video: Video, sampling: Sampling, tally: Tally) -> Iterator[Frame]:
    """The kept frames of a video, in order. Whatever goes wrong is told in `tally`; nothing is raised for a bad file."""
    problem = unreadable(Path(video.path))
    if problem:
        tally.problem = problem
        return
    try:
        container = av.open(os.fspath(video.path), options={"protocol_whitelist": "file"})
    except (av.FFmpegError, UnicodeEncodeError) as error:
        tally.problem = f"cannot be opened as a video: {reason(error)}"
        return
    with container:
        if not container.streams.video:
            tally.problem = "no picture in it (audio only)" if container.streams.audio else "no video stream"
            return
        stream = container.streams.video[0]
        stream.thread_count = 1
        tally.fps = float(stream.average_rate or stream.guessed_rate or np.nan)
        yield from keep_sampled(decode(container, stream, tally), Path(video.path).as_posix(), stream, sampling, tally)
    if not tally.decoded and not tally.problem:
        tally.problem = "no frame could be decoded"


def unreadable(path: Path) -> str:
    try:
        return "" if path.stat().st_size else "empty file"
    except OSError as error:
        return f"cannot be read: {error.strerror}"


def reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def decode(container, stream, tally: Tally) -> Iterator[tuple[int, av.VideoFrame]]:
    """(number, frame) of every whole frame; a packet that the decoder refuses costs itself, a broken container ends the video."""
    number = 0
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except av.FFmpegError as error:
            tally.problem = f"the file breaks off: {reason(error)}"
            packet = None
        try:
            frames = stream.codec_context.decode(packet)  # None at the end: the frames still inside come out
        except av.EOFError:
            return
        except (av.FFmpegError, ValueError) as error:
            if packet is None:
                tally.failed[REFUSED] += 1
                return
            if not isinstance(error, av.InvalidDataError) and not isinstance(error, ValueError):
                tally.problem = f"the decoder gave up: {reason(error)}"
                return
            tally.failed[REFUSED] += 1
            frames = []
        for frame in frames:
            tally.beat()
            if frame.is_corrupt:
                tally.failed[DAMAGED] += 1
            else:
                tally.decoded += 1
                yield number, frame
            number += 1
        if packet is None or packet.size == 0:
            return


def keep_sampled(frames, name: str, stream, sampling: Sampling, tally: Tally) -> Iterator[Frame]:
    """Time stamps count from the start of the stream. A tick whose frame is missing or damaged is taken by the next whole frame."""
    start = float(stream.start_time * stream.time_base) if stream.start_time is not None else 0.0
    due = 0
    for number, frame in frames:
        time = frame.time - start if frame.time is not None else number / tally.fps
        if sampling.every is not None:
            keep = number >= due
            following = (number // sampling.every + 1) * sampling.every
        else:
            place = time * sampling.fps + 1e-6  # a stamp rounded down to the stream's clock still meets its tick
            keep = place >= due
            following = int(np.floor(place)) + 1
        if not keep:
            continue
        due = following
        try:
            image = upright(frame)
        except (av.FFmpegError, ValueError):
            tally.failed["frames in a pixel format that cannot be converted"] += 1
            tally.decoded -= 1
            continue
        tally.saw(image)
        tally.sampled += 1
        yield Frame(image, number, float(time), f"{name}#{number}")


def upright(frame: av.VideoFrame) -> np.ndarray:
    """(h, w, 3) uint8 RGB, turned as the file's display matrix says (degrees, counter-clockwise), which decoders leave to the caller."""
    image = frame.to_ndarray(format="rgb24")
    turns = round(frame.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(image, turns)) if turns else image
