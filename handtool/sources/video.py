"""Frames of a video file, by PyAV: sampled by time stamp, as they are shown, every damaged frame counted.

FFmpeg goes on where a packet is damaged; we do too, and never keep a frame that it marks as damaged. One decoding
thread: with several, what is salvaged from a damaged stream depends on the machine, and videos are spread over
processes anyway.
"""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from fractions import Fraction
from itertools import chain
from pathlib import Path

import av
import numpy as np

from handtool.sources.bitstream import Doubt
from handtool.sources.container_crop import read_crop
from handtool.sources.decoding_plan import Plan, make_plan, read_packets
from handtool.sources.excerpt import Excerpt, cut_out
from handtool.sources.focal_length import focal_of_video
from handtool.sources.frame import DAMAGED, Frame, Sampling, Tally, Video
from handtool.sources.hardware import KINDS, as_of_the_cpu, open_film
from handtool.sources.needed_frames import decode_needed
from handtool.sources.plain_file import check_plain
from handtool.sources.shown import as_shown, deinterlace
from handtool.sources.streams import choose_stream
from handtool.sources.tar_member import open_for_ffmpeg
from handtool.sources.ticks import Ticks
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
NONE_GIVEN: deque[tuple] = deque()
USUAL_FPS = 25.0  # where neither a time stamp nor a rate is stated, as FFmpeg takes it for raw streams


def read_video(video: Video, sampling: Sampling, tally: Tally) -> Iterator[Frame]:
    """The kept frames of a video, in order. Problems are recorded in `tally`; nothing is raised for a bad file,
    whatever it makes the decoder raise."""
    tally.problem = check_plain(video.source)
    if tally.problem:
        return
    plan, given = find_plan(video, sampling, tally), deque[tuple]()
    if plan is not None:
        try:
            for frame in read_once(video, sampling, tally, plan):
                given.append((frame.number, frame.time, frame.kept))
                yield frame
        except Doubt:
            plan = None
            tally.begin_anew()
    if plan is None:
        yield from read_once(video, sampling, tally, given=given)
        tally.misnumbered |= bool(given)
    if not tally.decoded:
        tally.problem = tally.problem or "no frame could be decoded"
    elif video.episode and (there := tally.decoded + tally.failed.total()) < video.episode.length:
        tally.problem = tally.problem or f"{there} of its {video.episode.length} frames are in the film"
    elif not np.isfinite(tally.duration):
        tally.duration = tally.reached
    elif tally.duration - tally.reached > MISSING_S and not tally.problem:  # not all containers tell where they are cut
        tally.problem = f"pictures end after {tally.reached:.1f} of {tally.duration:.1f} s"


def find_plan(video: Video, sampling: Sampling, tally: Tally) -> Plan | None:
    """What to decode for the frames that are asked for; None: everything."""
    if sampling.decode == "all" or (sampling.every == 1 and not sampling.keyframes):
        return None
    try:
        with open_for_ffmpeg(video.source) as film, open_film(film, "", **ANY_TEXT) as container:
            stream = choose_stream(container, video.stream, Tally())
            rate = float(stream.average_rate or stream.guessed_rate or np.nan) if stream else np.nan
            asked = max(0 if sampling.every else sampling.fps, sampling.track_fps)
            if stream is None or (asked >= rate and not sampling.keyframes):
                return None
            part = cut_out(container, stream, video.episode)
            packets = read_packets(container, stream, tally.heartbeat, part)
            return make_plan(packets, stream, sampling, usual_interval(rate), part)
    except Exception as error:  # whatever a bad file makes of it, decoding everything tells it
        if is_ours(error):
            raise
        return None


def read_once(
    video: Video, sampling: Sampling, tally: Tally, plan: Plan | None = None, given: deque[tuple] = NONE_GIVEN
) -> Iterator[Frame]:
    """The kept frames, without those that were given out already: number, time, whether kept, of each. Raises Doubt
    where the plan does not hold."""
    with ExitStack() as stack:
        try:
            film = stack.enter_context(open_for_ffmpeg(video.source))
            container = stack.enter_context(open_film(film, sampling.decode, **ANY_TEXT))
        except Exception as error:
            if is_ours(error):
                raise
            tally.problem = f"cannot be opened as a video: {reason(error)}"
            return
        try:
            yield from read_container(container, video, sampling, tally, plan, given)
        except Exception as error:
            if is_ours(error):
                raise
            if plan is not None:
                raise Doubt(reason(error)) from None
            tally.problem = f"the decoder gave up: {reason(error)}"


def read_container(
    container, video: Video, sampling: Sampling, tally: Tally, plan: Plan | None, given: deque[tuple]
) -> Iterator[Frame]:
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
    crop = read_crop(video.source, container.format.name, stream.index, *stored)

    def show(frame: av.VideoFrame, aspect: Fraction | None) -> np.ndarray:
        frame = as_of_the_cpu(frame) if getattr(context, "is_hwaccel", False) else frame
        transfer = getattr(frame, "color_trc", context.color_trc)  # PyAV 12 knows the stream's only
        if transfer == UNSPECIFIED and stated in NAMES:
            transfer, frame.colorspace = stated, colorspace
        return as_shown(frame, stream.sample_aspect_ratio if overruled else aspect, transfer, tally.note, crop)

    focal, name = focal_of_video(container.metadata, stream.metadata), Path(video.path).as_posix()
    if sampling.decode in KINDS and not getattr(context, "is_hwaccel", False):
        tally.note(f"its codec is not known to {sampling.decode}: decoded by the CPU")
    keys: set | None = set() if sampling.keyframes and plan is None else None
    part = cut_out(container, stream, video.episode)
    if part:
        tally.fps, tally.duration = part.episode.fps, part.episode.length / part.episode.fps
    if plan:
        decoded = decode_needed(container, stream, plan, tally, part)
    else:
        decoded = decode(container, stream, tally, keys, part)
    for frame in keep_sampled(decoded, show, name, sampling, tally, given, keys):
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


def usual_interval(rate: float) -> float:
    """s, of a frame whose duration is not stated."""
    return 1 / (rate if np.isfinite(rate) and rate > 0 else USUAL_FPS)


def decode(
    container, stream, tally: Tally, keys: set | None = None, part: Excerpt | None = None
) -> Iterator[tuple[int, float, av.VideoFrame, Fraction | None]]:
    """(number, time s from the start of the stream, frame, width / height of its pixels) of every whole frame.

    A packet that the decoder refuses is skipped, a broken container ends the video. keys: is given the time stamps of
    key frames. part: whose frames alone come out, numbered and timed from its beginning.
    """
    number, start = 0, float(stream.start_time * stream.time_base) if stream.start_time is not None else 0.0
    interval = usual_interval(tally.fps)
    packets = (part or container).demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except av.FFmpegError as error:
            tally.problem = f"the file breaks off: {reason(error)}"
            packet = None
        if keys is not None and packet is not None and packet.is_keyframe:
            keys.add(packet.pts)
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
            if part:
                place = part.number(frame.pts)
                if place is None or place < number:  # outside, or a second one of its time
                    continue
                number, time = place, place / part.episode.fps
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


def keep_sampled(
    frames, show: Callable, name: str, sampling: Sampling, tally: Tally, given: deque[tuple], keys: set | None
) -> Iterator[Frame]:
    """frames: as `decode` gives them. show: gives the picture of a frame and its aspect. Returns those that are kept or
    followed, later than those `given` out already. keys: the time stamps of key frames, which alone are kept; None:
    all may be."""
    after = given[-1][1] if given else -np.inf
    kept, followed = Ticks(sampling.fps, sampling.every), Ticks(sampling.track_fps)
    for before, (number, time, frame, aspect), behind in with_neighbours(frames):
        if keys is not None and not is_key(frame, keys):
            continue
        is_kept = kept.meets(number, time)
        is_followed = sampling.track_fps > 0 and followed.meets(number, time)
        if not is_kept and not is_followed:
            continue
        if time <= after:
            tally.misnumbered |= not given or given.popleft() != (number, time, is_kept)
            continue
        try:
            if frame.interlaced_frame:
                tally.note("interlaced, deinterlaced")
                frame = deinterlace(like(before, frame), frame, like(behind, frame))
            image = show(frame, aspect)
        except (av.FFmpegError, ValueError):
            tally.failed["frames in a pixel format that cannot be converted"] += 1
            tally.decoded -= 1
            continue
        tally.saw(image)
        tally.sampled += is_kept
        tally.followed += not is_kept
        yield Frame(image, number, time, f"{name}#{number}", kept=is_kept)


def is_key(frame: av.VideoFrame, keys: set) -> bool:
    """Whether its packet was said to be a key frame; where packets have no time stamps, the decoder says it."""
    return frame.key_frame if None in keys else frame.pts in keys


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
