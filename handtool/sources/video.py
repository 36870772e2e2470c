"""Frames of a video file, by PyAV: sampled by time stamp, turned upright, every damaged frame counted.

FFmpeg goes on where a packet is damaged; we do too, and never keep a frame that it marks as damaged. One decoding
thread: with several, what is salvaged from a damaged stream depends on the machine, and videos are spread over
processes anyway.
"""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import av
import numpy as np

from handtool.sources.focal_length import focal_of_video
from handtool.sources.frame import DAMAGED, Frame, Sampling, Tally, Video

SUFFIXES = frozenset(
    ".mp4 .m4v .mov .avi .mkv .webm .mpg .mpeg .m2v .ts .mts .m2ts .wmv .flv .3gp .ogv .gif .mjpeg .mjpg "
    ".h264 .264 .hevc .y4m".split()
)
REFUSED = "packets refused by the decoder"
ATTACHED_PICTURE = 1024  # AV_DISPOSITION_ATTACHED_PIC
MISSING_S = 1.0  # of what a file states; less may be the last frame's own length, or sound that goes on
USUAL_FPS = 25.0  # where neither a time stamp nor a rate is stated, as FFmpeg takes it for raw streams


def read_video(video: Video, sampling: Sampling, tally: Tally) -> Iterator[Frame]:
    """The kept frames of a video, in order. Problems are recorded in `tally`; nothing is raised for a bad file."""
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
        stream = find_pictures(container, tally)
        if stream is None:
            return
        stream.thread_count = 1
        tally.fps = float(stream.average_rate or stream.guessed_rate or np.nan)
        tally.duration = stated_duration(container, stream)
        focal = focal_of_video(container.metadata, stream.metadata)
        for frame in keep_sampled(decode(container, stream, tally), Path(video.path).as_posix(), sampling, tally):
            yield frame if np.isnan(focal) else replace(frame, focal_35mm=focal)
    if not tally.decoded:
        tally.problem = tally.problem or "no frame could be decoded"
    elif not np.isfinite(tally.duration):
        tally.duration = tally.reached
    elif (
        tally.duration - tally.reached > MISSING_S and not tally.problem
    ):  # some containers say nothing where they are cut off
        tally.problem = f"pictures end after {tally.reached:.1f} of {tally.duration:.1f} s"


def find_pictures(container, tally: Tally):
    """The first video stream, not the cover of a song; None if there is none, and the tally lists the streams."""
    streams = [stream for stream in container.streams.video if not getattr(stream, "disposition", 0) & ATTACHED_PICTURE]
    if streams:
        return streams[0]
    tally.problem = "no picture in it (audio only)" if container.streams.audio else "no video stream"
    return None


def stated_duration(container, stream) -> float:
    """s, NaN where the file does not say."""
    if stream.duration is not None:
        return float(stream.duration * stream.time_base)
    if container.duration is None:
        return float("nan")
    # its length counts from 0, not from the first frame
    start = container.start_time or 0 if "matroska" in container.format.name else 0
    return (container.duration - start) / av.time_base


def unreadable(path: Path) -> str:
    try:
        return "" if path.stat().st_size else "empty file"
    except OSError as error:
        return f"cannot be read: {error.strerror}"


def reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def decode(container, stream, tally: Tally) -> Iterator[tuple[int, float, av.VideoFrame]]:
    """(number, time s from the start of the stream, frame) of every whole frame.

    A packet that the decoder refuses is skipped, a broken container ends the video.
    """
    number, start = 0, float(stream.start_time * stream.time_base) if stream.start_time is not None else 0.0
    interval = 1 / (tally.fps if np.isfinite(tally.fps) and tally.fps > 0 else USUAL_FPS)
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
            tally.heartbeat()
            time = frame.time - start if frame.time is not None else number * interval
            lasts = (
                float(frame.duration * frame.time_base)
                if getattr(frame, "duration", None) and frame.time_base
                else interval
            )
            tally.reached = max(tally.reached, time + lasts)
            if frame.is_corrupt:
                tally.failed[DAMAGED] += 1
            else:
                tally.decoded += 1
                yield number, time, frame
            number += 1
        if packet is None or packet.size == 0:
            return


class Ticks:
    """The first frame at or after each tick of a clock, or every N-th frame. Begins anew where time jumps back."""

    def __init__(self, per_second: float, every: int | None = None) -> None:
        self.per_second, self.every = per_second, every
        self.due, self.last = 0, 0.0

    def meets(self, number: int, time: float) -> bool:
        """number: of the frame, time: s. A tick whose frame is missing is met by the next one."""
        # a stamp rounded down to the stream's clock still meets its tick
        place = number / self.every if self.every is not None else time * self.per_second + 1e-6
        if place < self.last - 1:
            self.due = int(np.floor(place))
        self.last = place
        if place < self.due:
            return False
        self.due = int(np.floor(place)) + 1
        return True


def keep_sampled(frames, name: str, sampling: Sampling, tally: Tally) -> Iterator[Frame]:
    """frames: (number, time s, frame) each, in order. Returns those that are kept or followed, upright."""
    kept, followed = Ticks(sampling.fps, sampling.every), Ticks(sampling.track_fps)
    for number, time, frame in frames:
        is_kept = kept.meets(number, time)
        is_followed = sampling.track_fps > 0 and followed.meets(number, time)
        if not is_kept and not is_followed:
            continue
        try:
            image = upright(frame)
        except (av.FFmpegError, ValueError):
            tally.failed["frames in a pixel format that cannot be converted"] += 1
            tally.decoded -= 1
            continue
        tally.saw(image)
        tally.sampled += is_kept
        tally.followed += not is_kept
        yield Frame(image, number, time, f"{name}#{number}", kept=is_kept)


def upright(frame: av.VideoFrame) -> np.ndarray:
    """(h, w, 3) uint8 RGB, turned as the file's display matrix says (degrees, counter-clockwise); decoders do not."""
    image = frame.to_ndarray(format="rgb24")
    turns = round(frame.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(image, turns)) if turns else image
