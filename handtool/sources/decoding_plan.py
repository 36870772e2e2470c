"""Which packets of a film a decoder can do without when only some of its frames are asked for.

The packets are read once without being decoded. Their time stamps give the number and the time of every frame, hence
those that are kept. A frame that no other is predicted from is left out; between two kept frames the decoder begins
anew at the last entry point (a key frame) that allows it. Whatever is unusual raises Doubt, here or while the frames
come out: then everything is decoded, which gives what it always gave.
"""

import time as clock
from array import array
from collections.abc import Callable
from dataclasses import dataclass

import av
import numpy as np

from handtool.sources.bitstream import ENTRY, LAYER, SHOWN, SPARE, Doubt, find_look
from handtool.sources.excerpt import Excerpt
from handtool.sources.frame import Sampling
from handtool.sources.ticks import Ticks

STATES_DURATION = hasattr(av.VideoFrame, "duration")  # PyAV 13
ALIVE_S = 1.0  # between two signs of life while packets are read


@dataclass(frozen=True, eq=False)
class Packets:
    """In the order of decoding. pts, duration: (n,) in units of the stream's clock; flags: (n,) as `bitstream` names
    them; key: (n,) bool, as the container says."""

    pts: np.ndarray
    duration: np.ndarray
    flags: np.ndarray
    key: np.ndarray


@dataclass(frozen=True, eq=False)
class Plan:
    """What to do with each packet. sent: (n,) bool, to the decoder; anew: (n,) bool, it begins anew before this one.
    expected: the packets whose frames come out, in that order. number, time: (n,) of each frame, -1 where there is
    none; kept: (n,) bool. frames: of the film. reached: s, the end of the last frame."""

    pts: np.ndarray
    sent: np.ndarray
    anew: np.ndarray
    expected: np.ndarray
    number: np.ndarray
    time: np.ndarray
    kept: np.ndarray
    frames: int
    reached: float


def read_packets(container, stream, alive: Callable[[], object], part: Excerpt | None = None) -> Packets:
    """alive: called once a second. part: which frames count as shown; None: all. Raises Doubt."""
    look = find_look(stream.codec_context.name, stream.codec_context.extradata)
    if look is None:
        raise Doubt("a codec that is not known here")
    told, rows = clock.monotonic(), array("q")
    for packet in (part or container).demux(stream):
        if packet.size == 0 and packet.pts is None:  # the end
            break
        if packet.pts is None or packet.size == 0 or packet.is_corrupt or has_new_head(packet):
            raise Doubt("a packet without a time stamp, or damaged")
        is_key = bool(packet.is_keyframe)
        try:
            said = look(bytes(packet), is_key)
        except IndexError:
            raise Doubt("a packet that ends too early") from None
        # before the beginning or after the end, by an edit list or as an episode
        if packet.is_discard or (part and part.number(packet.pts) is None):
            said &= ~(SHOWN | SPARE)
        rows.extend((packet.pts, STATES_DURATION and packet.duration or 0, said, is_key))
        if clock.monotonic() - told > ALIVE_S:
            alive()
            told = clock.monotonic()
    if not rows:
        raise Doubt("no packets")
    pts, duration, flags, key = np.frombuffer(rows, np.int64).reshape(-1, 4).T
    check_order(pts, flags)
    layer = flags // LAYER
    flags = np.where(layer < layer.max(), flags & ~SPARE, flags) % LAYER
    return Packets(pts, duration, flags, key > 0)


def has_new_head(packet) -> bool:
    """Whether the container changes the head of the stream here; PyAV 12 does not say."""
    return hasattr(packet, "has_sidedata") and packet.has_sidedata("new_extradata")


def check_order(pts: np.ndarray, flags: np.ndarray) -> None:
    shown = pts[(flags & SHOWN) > 0]
    if not len(shown) or not flags[0] & ENTRY or (shown < pts[0]).any():
        raise Doubt("it does not begin with a key frame")
    if len(np.unique(shown)) < len(shown):
        raise Doubt("two frames of one time")


def make_plan(packets: Packets, stream, sampling: Sampling, interval: float, part: Excerpt | None = None) -> Plan:
    """interval: s, of a frame whose duration is not stated. part: whose frames alone are numbered."""
    start = float(stream.start_time * stream.time_base) if stream.start_time is not None else 0.0
    base, shown = stream.time_base, (packets.flags & SHOWN) > 0
    time = packets.pts.astype(np.float64) * base.numerator / base.denominator - start  # as PyAV computes it
    order = np.flatnonzero(shown)[np.argsort(packets.pts[shown])]
    if part:
        time[order] = [part.time(int(packets.pts[place]), number) for number, place in enumerate(order)]
    number = np.full(len(time), -1)
    number[order] = np.arange(len(order))
    kept = np.zeros(len(time), bool)
    kept[choose(order, time, packets.key, sampling)] = True
    sent, anew = leave_out(packets, kept)
    parts = np.cumsum(anew)
    out = np.flatnonzero(sent & shown)
    expected = out[np.lexsort((packets.pts[out], parts[out]))]
    lasts = np.where(packets.duration > 0, packets.duration * float(base), interval)
    last = order[np.argmax(time[order] + lasts[order])]
    exact = float(int(packets.duration[last]) * base) if packets.duration[last] > 0 else interval
    return Plan(packets.pts, sent, anew, expected, number, time, kept, len(order), max(0.0, float(time[last] + exact)))


def choose(order: np.ndarray, time: np.ndarray, key: np.ndarray, sampling: Sampling) -> list[int]:
    """The packets of the frames that are kept or followed. order: of all frames, as they are shown."""
    kept, followed = Ticks(sampling.fps, sampling.every), Ticks(sampling.track_fps)
    follows, chosen = sampling.track_fps > 0, []
    for number, (place, at) in enumerate(zip(in_turn("q", order), in_turn("d", time[order]), strict=True)):
        if sampling.keyframes and not key[place]:
            continue
        is_kept = kept.meets(number, at)
        if (follows and followed.meets(number, at)) or is_kept:
            chosen.append(place)
    return chosen


def in_turn(kind: str, values: np.ndarray) -> array:
    """(n,) to be gone through one by one: less memory than a list. kind: of the module array."""
    return array(kind, values.astype(kind).tobytes())


def leave_out(packets: Packets, kept: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(sent, anew), both (n,) bool. kept: (n,) bool."""
    pts, flags = packets.pts, packets.flags
    sent, anew = np.zeros(len(pts), bool), np.zeros(len(pts), bool)
    entries = np.flatnonzero(flags & ENTRY)
    of = np.searchsorted(entries, np.arange(len(pts)), side="right") - 1
    leading = pts < pts[entries[of]]  # shown before the key frame that they follow: they may need what is before it
    barred = np.unique(of[leading & kept])
    cuts = entries[~np.isin(np.arange(len(entries)), barred)]
    end = 0  # of the packets sent so far
    for begin, until in zip(cuts, [*cuts[1:], len(pts)]):
        if not kept[begin:until].any():
            continue
        last = begin + np.flatnonzero(kept[begin:until])[-1] + 1
        sent[begin:last] = kept[begin:last] | ((flags[begin:last] & SPARE) == 0)
        if begin > end:
            anew[begin] = True
            sent[begin:last] &= ~(leading[begin:last] & (of[begin:last] == of[begin]))
        end = last
    return sent, anew
