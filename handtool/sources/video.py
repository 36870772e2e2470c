"""Frames of a video file, by PyAV: sampled by time stamp, as they are shown, every damaged frame counted.

FFmpeg goes on where a packet is damaged; we do too, and never keep a frame that it marks as damaged. One decoding
thread: with several, what is salvaged from a damaged stream depends on the machine, and videos are spread over
processes anyway.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import chain
from pathlib import Path

import av
import numpy as np

from handtool.sources.container_crop import read_crop
from handtool.sources.focal_length import focal_of_video
from handtool.sources.frame import DAMAGED, Frame, Sampling, Tally, Video
from handtool.sources.plain_file import check_plain
from handtool.sources.shown import as_shown, deinterlace
from handtool.sources.streams import choose_stream
from handtool.sources.tone_mapping import NAMES

SUFFIXES = frozenset(
    ".mp4 .m4v .mov .avi .mkv .webm .mpg .mpeg .m2v .ts .mts .m2ts .wmv .flv .3gp .ogv .gif .mjpeg .mjpg "
    ".h264 .264 .hevc .y4m .dv .vob .mxf .qt .insv .apng .heics .avifs".split()
)
DOLBY_ALONE = ("dvh1", "dvhe", "dav1", "dva1", "dvav")  # codec tags of Dolby Vision whose base is no HLG, PQ or SDR
UNSPECIFIED = 2  # AVCOL_TRC_UNSPECIFIED
REFUSED = "packets refused by the decoder"
MISSING_S = 1.0  # of what a file states; less may be the last frame's own length, or sound that goes on
# the texts of a file may be in any encoding, which PyAV before 19 has to be told
ANY_TEXT: dict = {"metadata_errors": "replace"} if int(av.__version__.partition(".")[0]) < 19 else {}
USUAL_FPS = 25.0  # where neither a time stamp nor a rate is stated, as FFmpeg takes it for raw streams


def read_video(video: Video, sampling: Sampling, tally: Tally) -> Iterator[Frame]:
    """The kept frames of a video, in order. Problems are recorded in `tally`; nothing is raised for a bad file,
    whatever it makes the decoder raise."""
    tally.problem = check_plain(Path(video.path))
    if tally.problem:
        return
    try:
        container = av.open(f"file:{video.path}", options={"protocol_whitelist": "file"}, **ANY_TEXT)
    except Exception as error:
        if is_ours(error):
            raise
        tally.problem = f"cannot be opened as a video: {reason(error)}"
        return
    with container:
        try:
            yield from read_container(container, video, sampling, tally)
        except Exception as error:
            if is_ours(error):
                raise
            tally.problem = f"the decoder gave up: {reason(error)}"
    if not tally.decoded:
        tally.problem = tally.problem or "no frame could be decoded"
    elif not np.isfinite(tally.duration):
        tally.duration = tally.reached
    elif tally.duration - tally.reached > MISSING_S and not tally.problem:  # not all containers tell where they are cut
        tally.problem = f"pictures end after {tally.reached:.1f} of {tally.duration:.1f} s"


def read_container(container, video: Video, sampling: Sampling, tally: Tally) -> Iterator[Frame]:
    stream = choose_stream(container, video.stream, tally)
    if stream is None:
        return
    tally.stream = stream.index
    if stream.codec_context.codec_tag in DOLBY_ALONE and stream.codec_context.color_trc not in NAMES:
        tally.note("Dolby Vision without another base: FFmpeg does not know its colours")
    stream.thread_count = 1
    tally.fps = float(stream.average_rate or stream.guessed_rate or np.nan)
    tally.duration = stated_duration(container, stream)
    context = stream.codec_context
    stated, colorspace = context.color_trc, context.colorspace  # decoders of HEVC forget what only the container says

    # what the container says stays; what the pictures say may change (broadcasts)
    overruled = stream.sample_aspect_ratio != context.sample_aspect_ratio

    stored = context.width, context.height
    crop = read_crop(Path(video.path), container.format.name, stream.index, *stored)

    def show(frame: av.VideoFrame, aspect: Fraction | None) -> np.ndarray:
        transfer = getattr(frame, "color_trc", context.color_trc)  # PyAV 12 knows the stream's only
        if transfer == UNSPECIFIED and stated in NAMES:
            transfer, frame.colorspace = stated, colorspace
        return as_shown(frame, stream.sample_aspect_ratio if overruled else aspect, transfer, tally.note, crop)

    focal, name = focal_of_video(container.metadata, stream.metadata), Path(video.path).as_posix()
    for frame in keep_sampled(decode(container, stream, tally), show, name, sampling, tally):
        yield frame if np.isnan(focal) else replace(frame, focal_35mm=focal)


def stated_duration(container, stream) -> float:
    """s, NaN where the file does not say."""
    if stream.duration is not None:
        return float(stream.duration * stream.time_base)
    if container.duration is None:
        return float("nan")
    # its length counts from 0, not from the first frame
    start = container.start_time or 0 if "matroska" in container.format.name else 0
    return (container.duration - start) / av.time_base


def is_ours(error: Exception) -> bool:
    """Whether the machine or the program is at fault. FFmpeg calls it a lack of memory where a damaged file states a
    size beyond all bounds."""
    return isinstance(error, (MemoryError, AssertionError)) and not isinstance(error, av.FFmpegError)


def reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def decode(container, stream, tally: Tally) -> Iterator[tuple[int, float, av.VideoFrame, Fraction | None]]:
    """(number, time s from the start of the stream, frame, width / height of its pixels) of every whole frame.

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
            stated = getattr(frame, "duration", None) and frame.time_base
            lasts = float(frame.duration * frame.time_base) if stated else interval
            tally.reached = max(tally.reached, time + lasts)
            if frame.is_corrupt:
                tally.failed[DAMAGED] += 1
            else:
                tally.decoded += 1
                yield number, time, frame, stream.codec_context.sample_aspect_ratio
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


def keep_sampled(frames, show: Callable, name: str, sampling: Sampling, tally: Tally) -> Iterator[Frame]:
    """frames: as `decode` gives them. show: gives the picture of a frame and its aspect. Returns those that are kept or
    followed."""
    kept, followed = Ticks(sampling.fps, sampling.every), Ticks(sampling.track_fps)
    for before, (number, time, frame, aspect), after in with_neighbours(frames):
        is_kept = kept.meets(number, time)
        is_followed = sampling.track_fps > 0 and followed.meets(number, time)
        if not is_kept and not is_followed:
            continue
        try:
            if frame.interlaced_frame:
                tally.note("interlaced, deinterlaced")
                frame = deinterlace(like(before, frame), frame, like(after, frame))
            image = show(frame, aspect)
        except (av.FFmpegError, ValueError):
            tally.failed["frames in a pixel format that cannot be converted"] += 1
            tally.decoded -= 1
            continue
        tally.saw(image)
        tally.sampled += is_kept
        tally.followed += not is_kept
        yield Frame(image, number, time, f"{name}#{number}", kept=is_kept)


def with_neighbours(frames) -> Iterator[tuple]:
    """Each with the one before and the one after it, None at an end."""
    before = now = None
    for after in chain(frames, [None]):
        if now is not None:
            yield before, now, after
        before, now = now, after


def like(other, frame: av.VideoFrame) -> av.VideoFrame | None:
    """The frame of a neighbour; None where it has another size or format."""
    kinds = [(each.width, each.height, each.format.name) for each in (frame, other[2] if other else frame)]
    return other[2] if other and kinds[0] == kinds[1] else None
