"""The picture of a HEIC or AVIF file (ISO/IEC 23008-12), whole: its tiles put together, cut, turned and mirrored.

FFmpeg gives the tiles of a grid one by one and leaves the rest to the caller, and which of it depends on its version;
so the boxes are read here, and only the coded pictures are given to it. A file may hold several pictures (thumbnails,
depth, alpha): the primary one is taken.
"""

import contextlib
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import av
import numpy as np

from handtool.sources.shown import Note, as_shown, turned

DECODERS = {  # type of the item: its configuration, decoders of FFmpeg
    "hvc1": ("hvcC", ("hevc",)),
    "av01": ("av1C", ("libdav1d", "libaom-av1")),
}
MAX_PIXELS = 1 << 27  # of a picture
MAX_DEPTH = 4  # pictures made of pictures


class BadHeif(Exception):
    """A file that cannot be used; the message says why, in the plural."""


@dataclass
class Item:
    """One picture of the file. kind: hvc1, av01, grid …; properties: (name, content) in the order in which they are
    applied; parts: the items that it is made of."""

    kind: str = ""
    content: bytes = b""
    properties: list[tuple[str, bytes]] = field(default_factory=list)
    parts: list[int] = field(default_factory=list)

    def of(self, name: str) -> bytes | None:
        return next((content for kind, content in self.properties if kind == name), None)


def is_heif(data: bytes) -> bool:
    return data[4:8] == b"ftyp"


def is_sequence(head: bytes) -> bool:
    """Whether the file is a film of several pictures. head: its first bytes."""
    return is_heif(head) and head[8:12] in (b"avis", b"msf1", b"hevc")


def read_heif(data: bytes, note: Note) -> np.ndarray:
    """(h, w, 3) uint8 RGB. Raises BadHeif; of a damaged file, anything."""
    primary, items = read_items(data)
    if primary not in items:
        raise BadHeif("HEIF files without a picture")
    return make_picture(items, primary, note)


def make_picture(items: dict[int, Item], number: int, note: Note, depth: int = 0) -> np.ndarray:
    """(h, w, 3) uint8 RGB of an item, cut, turned and mirrored in the order of its properties."""
    item = items[number]
    if item.kind in DECODERS:
        image = decode(item, note)
    elif item.kind == "grid" and depth < MAX_DEPTH:
        image = join_tiles(item, lambda part: make_picture(items, part, note, depth + 1))
    elif item.kind == "iden" and depth < MAX_DEPTH:
        image = make_picture(items, item.parts[0], note, depth + 1)
    else:
        raise BadHeif(f"HEIF pictures of the kind {item.kind!r}, which are not read")
    for name, content in item.properties:
        if name == "clap":
            image = cut(image, content)
        elif name == "irot":
            image = np.rot90(image, content[0] & 3)  # quarters of a turn, anticlockwise
        elif name == "imir":
            image = turned(image, (False, bool(content[0] & 1), not content[0] & 1))
    return np.ascontiguousarray(image)


def decode(item: Item, note: Note) -> np.ndarray:
    """(h, w, 3) uint8 RGB of a coded picture."""
    check_size(*struct.unpack(">II", (item.of("ispe") or bytes(12))[4:12]))
    configuration, names = DECODERS[item.kind]
    context = open_decoder(names)
    context.extradata, context.thread_count = item.of(configuration), 1
    frames = [*context.decode(av.Packet(item.content)), *context.decode(None)]
    if not frames or frames[0].is_corrupt:
        raise BadHeif("images that cannot be decoded")
    frame, transfer = frames[0], context.color_trc
    colours = next((content for kind, content in item.properties if (kind, content[:4]) == ("colr", b"nclx")), None)
    if colours:  # says more than the coded picture does
        _, transfer, frame.colorspace, full = struct.unpack(">HHHB", colours[4:11])
        frame.color_range = 2 if full >> 7 else 1
    return as_shown(frame, None, transfer, note)


def open_decoder(names: tuple[str, ...]) -> Any:
    for name in names:
        with contextlib.suppress(ValueError):
            return av.CodecContext.create(name, "r")
    raise BadHeif(f"HEIF files for which this FFmpeg lacks the decoder ({names[0]})")


def check_size(width: int, height: int) -> None:
    if not 0 < width * height <= MAX_PIXELS:
        raise BadHeif(f"HEIF files of more than {MAX_PIXELS >> 20} megapixels, or none")


def join_tiles(item: Item, make: Callable[[int], np.ndarray]) -> np.ndarray:
    """(h, w, 3) uint8 RGB of a grid: rows of tiles of one size, cut at the right and below."""
    wide = item.content[1] & 1
    rows, columns = item.content[2] + 1, item.content[3] + 1
    width, height = struct.unpack(">II" if wide else ">HH", item.content[4 : 12 if wide else 8])
    check_size(width, height)
    if len(item.parts) != rows * columns:
        raise BadHeif("HEIF files that lack tiles")
    image = np.zeros((height, width, 3), np.uint8)
    for place, part in enumerate(item.parts):
        tile = make(part)
        top, left = place // columns * tile.shape[0], place % columns * tile.shape[1]
        room = image[top : top + tile.shape[0], left : left + tile.shape[1]]
        room[:] = tile[: room.shape[0], : room.shape[1]]
    return image


def cut(image: np.ndarray, content: bytes) -> np.ndarray:
    """The clean aperture (ISO/IEC 14496-12, 12.1.4): width, height, and the way of its centre from that of the image,
    each a fraction."""
    width, height, right, down = (above / below for above, below in struct.iter_unpack(">iI", content[:32]))
    left, top = round((image.shape[1] - width) / 2 + right), round((image.shape[0] - height) / 2 + down)
    if left < 0 or top < 0 or width < 1 or height < 1:
        raise BadHeif("HEIF files that are cut outside of themselves")
    return image[top : top + round(height), left : left + round(width)]


def read_items(data: bytes) -> tuple[int, dict[int, Item]]:
    """The number of the primary picture, and all pictures by their numbers."""
    meta = next((data[start + 4 : end] for kind, start, end in boxes(data) if kind == "meta"), b"")
    inside = {kind: meta[start:end] for kind, start, end in boxes(meta)}
    if not inside.keys() >= {"pitm", "iinf", "iloc", "iprp"}:
        raise BadHeif("HEIF files without a picture")
    primary = number_at(inside["pitm"], 4, 4 if inside["pitm"][0] else 2)
    items = {}
    for _, start, end in boxes(inside["iinf"], 8 if inside["iinf"][0] else 6):
        entry = inside["iinf"][start:end]
        long = 4 if entry[0] > 2 else 2
        items[number_at(entry, 4, long)] = Item(entry[6 + long : 10 + long].decode("latin-1"))
    add_properties(items, inside["iprp"])
    add_parts(items, inside.get("iref", b""))
    add_contents(items, inside["iloc"], data, inside.get("idat", b""))
    return primary, items


def boxes(data: bytes, place: int = 0) -> Iterator[tuple[str, int, int]]:
    """(name, start and end of its content) of each box (ISO/IEC 14496-12, 4.2)."""
    while place + 8 <= len(data):
        size, name, head = number_at(data, place, 4), data[place + 4 : place + 8].decode("latin-1"), 8
        if size == 1:
            size, head = number_at(data, place + 8, 8), 16
        end = len(data) if size == 0 else place + size
        if size and size < head or end > len(data):
            raise BadHeif("images cut short")
        yield name, place + head, end
        place = end


def number_at(data: bytes, place: int, size: int) -> int:
    return int.from_bytes(data[place : place + size], "big")


def add_properties(items: dict[int, Item], iprp: bytes) -> None:
    inside = {kind: iprp[start:end] for kind, start, end in boxes(iprp)}
    known = [(kind, inside["ipco"][start:end]) for kind, start, end in boxes(inside["ipco"])]
    links = Reader(inside["ipma"])
    version, wide = links.take(1), links.take(3) & 1
    for _ in range(links.take(4)):
        item = items.get(links.take(4 if version else 2), Item())
        for _ in range(links.take(1)):
            place = links.take(2) & 0x7FFF if wide else links.take(1) & 0x7F
            if place:
                item.properties.append(known[place - 1])


def add_parts(items: dict[int, Item], iref: bytes) -> None:
    long = 4 if iref[:1] == b"\1" else 2
    for kind, start, end in boxes(iref, 4):
        links = Reader(iref[start:end])
        item = items.get(links.take(long), Item())
        if kind == "dimg":
            item.parts = [links.take(long) for _ in range(links.take(2))]


def add_contents(items: dict[int, Item], iloc: bytes, data: bytes, idat: bytes) -> None:
    links = Reader(iloc)
    version, _, sizes = links.take(1), links.take(3), links.take(2)
    offset, length, base, index = (sizes >> shift & 15 for shift in (12, 8, 4, 0))
    for _ in range(links.take(4 if version > 1 else 2)):
        item = items.get(links.take(4 if version > 1 else 2), Item())
        source = (data, idat, b"")[min(links.take(2) & 15, 2)] if version else data
        links.take(2)  # of another file: not ours
        start = links.take(base)
        for _ in range(links.take(2)):
            links.take(index if version else 0)
            first = start + links.take(offset)
            size = links.take(length) or len(source) - first
            if first + size > len(source) or len(item.content) + size > len(source):
                raise BadHeif("images cut short")
            item.content += source[first : first + size]


class Reader:
    """Big-endian numbers one after the other."""

    def __init__(self, data: bytes) -> None:
        self.data, self.place = data, 0

    def take(self, size: int) -> int:
        if self.place + size > len(self.data):
            raise BadHeif("images cut short")
        self.place += size
        return number_at(self.data, self.place - size, size)
