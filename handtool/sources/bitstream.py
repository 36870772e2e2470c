"""What a coded packet says of its frame without being decoded: enough to know which packets a decoder can do without.

Of each codec the headers alone are read: ITU-T H.264 7.3 and D.1.8, H.265 7.3.1, RFC 6386 9.1 (VP8), the VP9 bitstream
specification 6.2 and Annex B, the AV1 specification 5.3 to 5.9, ISO 14496-2 6.2.5. Whatever is unusual raises Doubt.
"""

import re
from collections.abc import Callable, Iterator

from handtool.sources.av1_headers import Av1

SHOWN = 1  # a frame comes out
ENTRY = 2  # a decoder can begin here: frames shown later need nothing from before
SPARE = 4  # no other frame is predicted from it
LAYER = 8  # times the temporal sub-layer: SPARE counts in the highest one only
Look = Callable[[bytes, bool], int]  # a packet, and whether its container calls it a key frame -> the flags above
ALONE = frozenset("mjpeg ljpeg prores dnxhd jpeg2000 huffyuv ffvhuff rawvideo v210 cfhd png".split())  # no prediction
RECOVERY_POINT = 6  # of the payloads of SEI
SMALLEST_VOP = 9  # bytes; less is a place holder, of which no frame comes out


class Doubt(Exception):
    """The short way is not sure to give what decoding everything gives."""


def find_look(codec: str, extradata: bytes | None) -> Look | None:
    """The function that looks at the packets of one stream; None of a codec that it does not know. extradata: of the
    stream."""
    extradata = bytes(extradata or b"")
    match codec:
        case "h264":
            length = (extradata[4] & 3) + 1 if extradata[:1] == b"\1" and len(extradata) > 6 else 0
            return look_at_h264(Nals(length, extradata, frozenset({7, 8, 13})))
        case "hevc":
            length = (extradata[21] & 3) + 1 if extradata[:1] == b"\1" and len(extradata) > 22 else 0
            return look_at_hevc(Nals(length, extradata, frozenset({32, 33, 34})))
        case "vp8":
            return look_at_vp8
        case "vp9":
            return look_at_vp9
        case "av1" | "libdav1d" | "libaom-av1":
            return look_at_av1(Av1())
        case "mpeg4":
            return look_at_mpeg4(extradata)
    return (lambda data, is_key: SHOWN | ENTRY * is_key) if codec in ALONE else None


class Nals:
    """The NAL units of a stream. length: bytes of the size before each, 0: start codes. sets: the types of parameter
    sets, which may not change: a packet left out may have had new ones."""

    def __init__(self, length: int, extradata: bytes, sets: frozenset[int]) -> None:
        self.length, self.extradata, self.sets = length, extradata, sets
        self.known: set[bytes] | None = None

    def split(self, data: bytes) -> Iterator[tuple[int, int]]:
        """(start, end) of each."""
        return self.by_size(data) if self.length else self.by_start_code(data)

    def by_size(self, data: bytes) -> Iterator[tuple[int, int]]:
        place = 0
        while place < len(data):
            start = place + self.length
            place = start + int.from_bytes(data[place:start], "big")
            if place == start or place > len(data):
                raise Doubt("sizes of NAL units that do not fit")
            yield start, place

    def by_start_code(self, data: bytes) -> Iterator[tuple[int, int]]:
        place = data.find(b"\0\0\1")
        if place < 0 or data[:place].strip(b"\0"):
            raise Doubt("no start code")
        while place >= 0:
            start = place + 3
            place = data.find(b"\0\0\1", start)
            if start < (end := place if place >= 0 else len(data)):
                yield start, end

    def check_sets(self, found: list[bytes]) -> None:
        """found: the parameter sets of a packet. Those of the first packet, and of the container, are the film's."""
        if self.known is None:
            self.known = set(found)
        for each in found:
            if each not in self.known and (each not in self.extradata):
                raise Doubt("other parameter sets")


def look_at_h264(nals: Nals) -> Look:
    def look(data: bytes, is_key: bool) -> int:
        slices, spare, begins, sets = 0, True, False, []
        for start, end in nals.split(data):
            head = data[start]
            kind = head & 31
            if head & 128 or not (0 < kind <= 13) or kind in (2, 3, 4) or end - start < 2:
                if kind in (10, 11) and not head & 128:  # ends of a sequence have no content
                    continue
                raise Doubt(f"NAL unit {kind}")
            if kind in (1, 5):
                if bool(data[start + 1] & 128) != (slices == 0):  # its first macroblock is number 0
                    raise Doubt("not one frame in a packet")
                slices, spare, begins = slices + 1, spare and not head & 0x60, begins or kind == 5
            elif kind in nals.sets:
                sets.append(data[start:end].rstrip(b"\0"))
            elif kind == 6 and is_key:
                begins = begins or recovers_at_once(data[start + 1 : end])
        nals.check_sets(sets)
        if not slices:
            raise Doubt("a packet without a picture")
        return SHOWN | ENTRY * (begins and is_key) | SPARE * spare

    return look


def recovers_at_once(sei: bytes) -> bool:
    """Whether supplemental information says that pictures from this one on are exact without those before."""
    sei, place = sei.replace(b"\0\0\3", b"\0\0"), 0
    while place + 2 < len(sei):
        values = []
        for _ in range(2):  # payload type, size
            value = 0
            while place < len(sei) - 1 and sei[place] == 255:
                value, place = value + 255, place + 1
            values.append(value + sei[place])
            place = min(place + 1, len(sei) - 1)
        if values[0] == RECOVERY_POINT:
            return sei[place] & 0xE0 == 0xC0  # after 0 frames, exact, no broken link
        place += values[1]
    return False


def look_at_hevc(nals: Nals) -> Look:
    def look(data: bytes, is_key: bool) -> int:
        slices, spare, begins, layer, sets = 0, True, False, 0, []
        for start, end in nals.split(data):
            if end - start < 2 or data[start] & 128:
                raise Doubt("a NAL unit that is none")
            kind = data[start] >> 1
            if (data[start] & 1) << 5 | data[start + 1] >> 3:  # of another view, which is not shown
                continue
            if kind < 32:
                if end - start < 3 or bool(data[start + 2] & 128) != (slices == 0) or 9 < kind < 16 or kind > 21:
                    raise Doubt("not one frame in a packet")
                slices, layer = slices + 1, (data[start + 1] & 7) - 1
                spare, begins = spare and kind < 10 and kind % 2 == 0, begins or kind >= 16
            elif kind in nals.sets:
                sets.append(data[start:end].rstrip(b"\0"))
            elif kind > 40:
                raise Doubt(f"NAL unit {kind}")
        nals.check_sets(sets)
        if not slices or layer < 0:
            raise Doubt("a packet without a picture")
        return SHOWN | ENTRY * (begins and is_key) | SPARE * spare | LAYER * layer

    return look


def look_at_vp8(data: bytes, is_key: bool) -> int:
    if len(data) < 10:
        raise Doubt("a packet without a picture")
    return SHOWN * bool(data[0] & 16) | ENTRY * (is_key and not data[0] & 1)


def look_at_vp9(data: bytes, is_key: bool) -> int:
    """Nothing is spare: each frame hands its probabilities on."""
    starts = [0]
    if data[-1] & 0xE0 == 0xC0:  # a superframe
        width, count = (data[-1] >> 3 & 3) + 1, (data[-1] & 7) + 1
        index = data[-1 - width * count : -1]
        if len(data) > 2 + width * count and data[-2 - width * count] == data[-1]:
            sizes = [int.from_bytes(index[width * each : width * (each + 1)], "little") for each in range(count)]
            starts = [sum(sizes[:each]) for each in range(count) if sizes[each]]
    shown, begins = 0, False
    for start in starts:
        if start >= len(data) or data[start] >> 6 != 2:
            raise Doubt("a packet without a picture")
        bits = data[start] << (1 if data[start] >> 4 & 3 == 3 else 0)  # profile 3 has a reserved bit
        again, other, visible = bits & 8, bits & 4, bits & 2
        begins = begins or (start == 0 and not again and not other)
        shown += bool(again or visible)
    if shown != 1:
        raise Doubt("not one frame in a packet")
    return SHOWN | ENTRY * (begins and is_key)


def look_at_av1(stream: Av1) -> Look:
    def look(data: bytes, is_key: bool) -> int:
        try:
            shown, begins, spare = stream.look(data)
        except (ValueError, IndexError) as error:
            raise Doubt(str(error)) from None
        if shown != 1:
            raise Doubt("not one frame in a packet")
        return SHOWN | ENTRY * (begins and is_key) | SPARE * spare

    return look


def look_at_mpeg4(extradata: bytes) -> Look:
    """MPEG-4 part 2: B frames are spare. Packed streams raise Doubt."""
    layer, picture = re.compile(rb"\x00\x00\x01[\x20-\x2f](?:(?!\x00\x00\x01).)*", re.DOTALL), b"\0\0\1\xb6"
    known: list[bytes] = []

    def look(data: bytes, is_key: bool) -> int:
        place = data.find(picture)
        if place < 0 or place + 5 > len(data) or data.find(picture, place + 4) >= 0 or len(data) < SMALLEST_VOP:
            raise Doubt("not one frame in a packet")
        if told := layer.search(data[:place]):
            if not known:
                known.append(told[0])
            if told[0] not in known and told[0] not in extradata:
                raise Doubt("other parameter sets")
        kind = data[place + 4] >> 6  # I, P, B, S
        return SHOWN | ENTRY * (kind == 0 and is_key) | SPARE * (kind == 2)

    return look
