"""The frames of a film that are asked for, and those that they are predicted from: the rest is not decoded."""

from collections.abc import Iterator
from fractions import Fraction

import av

from handtool.sources.bitstream import Doubt
from handtool.sources.decoding_plan import Plan, in_turn
from handtool.sources.excerpt import Excerpt
from handtool.sources.frame import Tally


def decode_needed(
    container, stream, plan: Plan, tally: Tally, part: Excerpt | None = None
) -> Iterator[tuple[int, float, av.VideoFrame, Fraction | None]]:
    """As `decode` of video.py, the kept frames alone. Raises Doubt where something else comes out than was expected."""
    context, expected, told = stream.codec_context, iter(in_turn("q", plan.expected)), 0
    pts, sent, anew = in_turn("q", plan.pts), in_turn("b", plan.sent), in_turn("b", plan.anew)
    tally.reached = plan.reached

    def checked(packet) -> Iterator[tuple[int, float, av.VideoFrame, Fraction | None]]:
        """The kept ones of the frames that come out now; None: all that are still inside."""
        nonlocal told
        try:
            frames = context.decode(packet)
        except (av.FFmpegError, ValueError) as error:
            raise Doubt(f"refused by the decoder: {error}") from None
        for frame in frames if part is None else [one for one in frames if part.number(one.pts) is not None]:
            place = next(expected, None)
            if place is None or frame.pts != pts[place] or frame.is_corrupt:
                raise Doubt("another frame than was expected, or a damaged one")
            if plan.kept[place]:
                if frame.interlaced_frame:
                    raise Doubt("its neighbours are needed")
                frame.time_base = stream.time_base  # PyAV forgets it of those that were still inside
                number = int(plan.number[place])
                tally.decoded, told = tally.decoded + number + 1 - told, number + 1
                yield number, float(plan.time[place]), frame, context.sample_aspect_ratio

    for place, packet in enumerate((part or container).demux(stream)):
        if packet.size == 0 and packet.pts is None:
            break
        if place >= len(pts) or packet.pts != pts[place]:
            raise Doubt("other packets than before")
        tally.heartbeat()
        if anew[place]:
            yield from checked(None)
            context.flush_buffers()
        if sent[place]:
            yield from checked(packet)
    yield from checked(None)
    if next(expected, None) is not None:
        raise Doubt("fewer frames than were expected")
    tally.decoded += plan.frames - told
