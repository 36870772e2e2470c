"""Which of a file's video streams is the recording, and not its preview, its cover or an idle second lens."""

import numpy as np

from handtool.sources.frame import Tally

ATTACHED_PICTURE, TIMED_THUMBNAILS, DEFAULT = 0x400, 0x800, 0x1  # AV_DISPOSITION_…
LONG = 0.5  # a stream shorter than this share of the longest is no recording


def choose_stream(container, asked: int | None, tally: Tally):
    """The stream to read; None if there is none, and the tally says why. asked: its number in the file, as ffprobe
    counts them.

    Unasked, of those that last as long as the file, the one of the most pixels, then the one marked as default, then
    the first. Where several last as long, the tally notes them.
    """
    films = [stream for stream in container.streams.video if not is_cover(stream)]
    if asked is not None:
        chosen = next((stream for stream in container.streams.video if stream.index == asked), None)
        if chosen is None:
            known = ", ".join(str(stream.index) for stream in container.streams.video) or "none"
            tally.problem = f"no video stream {asked} (--stream), there is {known}"
    elif not films:
        tally.problem = "no picture in it (audio only)" if container.streams.audio else "no video stream"
        chosen = None
    else:
        longest = max((length_of(stream) for stream in films if np.isfinite(length_of(stream))), default=0.0)
        films = [stream for stream in films if lasts(stream, longest)] or films
        chosen = max(films, key=rank)
        if len(films) > 1:
            there = ", ".join(describe(stream) for stream in films)
            tally.note(f"{len(films)} video streams ({there}): number {chosen.index} is read, --stream N takes another")
    if chosen is not None and chosen.codec_context is None:
        tally.problem = "its codec is not known to FFmpeg"
        return None
    return chosen


def is_cover(stream) -> bool:
    """Whether it is the cover of a song, or thumbnails."""
    return bool((getattr(stream, "disposition", 0) or 0) & (ATTACHED_PICTURE | TIMED_THUMBNAILS))


def rank(stream) -> tuple:
    """Greatest for the stream to take."""
    context = stream.codec_context
    pixels = context.width * context.height if context else -1
    return pixels, bool((getattr(stream, "disposition", 0) or 0) & DEFAULT), -stream.index


def length_of(stream) -> float:
    """s, NaN where the file does not say; Matroska says it in a tag."""
    if stream.duration is not None and stream.time_base:
        return float(stream.duration * stream.time_base)
    parts = stream.metadata.get("DURATION", "").split(":")
    try:
        return sum(float(part) * unit for part, unit in zip(parts, (3600, 60, 1), strict=True))
    except ValueError:
        return float("nan")


def lasts(stream, longest: float) -> bool:
    """longest: s. A single picture is no film, whatever time it is shown."""
    return not length_of(stream) < LONG * longest and (stream.frames != 1 or longest == 0)


def describe(stream) -> str:
    context = stream.codec_context
    return f"{stream.index}: {context.width} x {context.height}" if context else f"{stream.index}: unknown codec"
