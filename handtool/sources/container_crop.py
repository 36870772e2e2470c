"""What the container says is not to be shown of a film's frames: the clean aperture of MP4 and QuickTime, the PixelCrop
of Matroska.

FFmpeg's player and `ffmpeg` (7.1 and newer) obey it; the libraries leave it to the caller, and PyAV does not pass it
on, so the headers are read here. What lies about (damage, other containers) is no crop.
"""

import struct
from collections.abc import Iterator
from typing import NamedTuple

from handtool.sources.tar_member import BinaryFile, Source, open_source

MOST_BOXES = 10_000
SAMPLE_ENTRY = 78  # bytes of a visual sample entry before its boxes (ISO/IEC 14496-12, 12.1.3)
SEGMENT, TRACKS, CLUSTER, TRACK, TRACK_TYPE, VIDEO = 0x18538067, 0x1654AE6B, 0x1F43B675, 0xAE, 0x83, 0xE0  # RFC 9559
CROPS = {0x54CC: "left", 0x54BB: "top", 0x54DD: "right", 0x54AA: "bottom"}
STREAM_TYPES = (1, 2, 17, 33)  # video, audio, subtitles, metadata: those of which FFmpeg makes streams


class Crop(NamedTuple):
    """px of a frame as it is stored, to be taken off its sides."""

    left: int = 0
    top: int = 0
    right: int = 0
    bottom: int = 0

    def fits(self, width: int, height: int) -> bool:
        return min(self) >= 0 and self.left + self.right < width and self.top + self.bottom < height


def read_crop(source: Source, format_name: str, stream: int, width: int, height: int) -> Crop:
    """Of one stream, by its number in the file; width, height: px of its frames as they are stored."""
    try:
        with open_source(source) as file:
            end = file.seek(0, 2)
            if "mp4" in format_name:
                found = crop_of_mp4(file, end, stream, width, height)
            else:
                found = crop_of_matroska(file, end, stream) if "matroska" in format_name else Crop()
    except (OSError, ValueError, LookupError, ArithmeticError, StopIteration, struct.error):
        return Crop()
    return found if found.fits(width, height) else Crop()


def crop_of_mp4(file: BinaryFile, end: int, stream: int, width: int, height: int) -> Crop:
    moov = dict((kind, place) for kind, *place in boxes(file, 0, end))[b"moov"]
    start, end = [place for kind, *place in boxes(file, *moov) if kind == b"trak"][stream]
    for name in (b"mdia", b"minf", b"stbl", b"stsd"):
        start, end = next(place for kind, *place in boxes(file, start, end) if kind == name)
    start, end = next(place for _, *place in boxes(file, start + 8, end))  # of the first sample entry
    for kind, place, _ in boxes(file, start + SAMPLE_ENTRY, end):
        if kind == b"clap":
            file.seek(place)
            wide, high, right, down = (above / below for above, below in struct.iter_unpack(">iI", file.read(32)))
            left, top = round((width - wide) / 2 + right), round((height - high) / 2 + down)
            return Crop(left, top, width - left - round(wide), height - top - round(high))
    return Crop()


def boxes(file: BinaryFile, place: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """(name, start and end of its content) of each box (ISO/IEC 14496-12, 4.2)."""
    for _ in range(MOST_BOXES):
        if place + 8 > end:
            return
        file.seek(place)
        size, name = struct.unpack(">I4s", file.read(8))
        head = 8
        if size == 1:
            size, head = int.from_bytes(file.read(8), "big"), 16
        after = end if size == 0 else place + size
        if after < place + head or after > end:
            return
        yield name, place + head, after
        place = after


def crop_of_matroska(file: BinaryFile, end: int, stream: int) -> Crop:
    start, end = next(place for name, *place in elements(file, 0, end) if name == SEGMENT)
    start, end = next(place for name, *place in elements(file, start, end) if name == TRACKS)
    tracks = []
    for name, *place in elements(file, start, end):
        inside = {kind: where for kind, *where in elements(file, *place)} if name == TRACK else {}
        if TRACK_TYPE in inside and number(file, *inside[TRACK_TYPE]) in STREAM_TYPES:
            tracks.append(inside)
    if VIDEO not in tracks[stream]:
        return Crop()
    said = elements(file, *tracks[stream][VIDEO])
    return Crop(**{CROPS[name]: number(file, *place) for name, *place in said if name in CROPS})


def number(file: BinaryFile, start: int, end: int) -> int:
    file.seek(start)
    return int.from_bytes(file.read(min(end - start, 8)), "big")


def elements(file: BinaryFile, place: int, end: int) -> Iterator[tuple[int, int, int]]:
    """(number, start and end of its content) of each element up to the first cluster (RFC 8794, 4 to 6)."""
    for _ in range(MOST_BOXES):
        if place + 2 > end:
            return
        file.seek(place)
        head = file.read(12)
        long = 9 - head[0].bit_length()
        name = int.from_bytes(head[:long], "big")
        wide = 9 - head[long].bit_length()
        size = int.from_bytes(head[long : long + wide], "big") & ((1 << 7 * wide) - 1)
        start = place + long + wide
        after = end if size == (1 << 7 * wide) - 1 else start + size  # all ones: not known
        if long > 4 or wide > 8 or after > end or name == CLUSTER:
            return
        yield name, start, after
        place = after
