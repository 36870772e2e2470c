"""The orientation that EXIF states in a JPEG, PNG or WebP. OpenCV's versions differ in where they look for it: 4.11
ignores that of a WebP, and that of a JPEG behind XMP."""

import struct

from handtool.sources.focal_length import read_entry
from handtool.sources.image_ends import JPEG_END, JPEG_SCAN, JPEG_START, PNG_START
from handtool.sources.shown import EXIF_TURNS, Turn

ORIENTATION = 0x0112  # tag
HEAD = b"Exif\0\0"
JPEG_APP1 = 0xE1


def turn_by_exif(data: bytes) -> Turn:
    """data: of an image file. No turn where it says nothing, or nothing that EXIF knows."""
    exif = exif_of(data).removeprefix(HEAD)
    order = {b"II": "<", b"MM": ">"}.get(exif[:2], "<")
    try:
        (first,) = struct.unpack_from(order + "I", exif, 4)
        return EXIF_TURNS.get(read_entry(exif, first, order, ORIENTATION), EXIF_TURNS[1])
    except struct.error:
        return EXIF_TURNS[1]


def exif_of(data: bytes) -> bytes:
    """The content of the first EXIF part of the file, b"" where there is none."""
    if data.startswith(JPEG_START):
        return exif_of_jpeg(data)
    if data.startswith(PNG_START):
        return exif_of_png(data)
    return exif_of_webp(data) if is_webp(data) else b""


def is_webp(data: bytes) -> bool:
    return data[:4] == b"RIFF" and data[8:12] == b"WEBP"


def exif_of_jpeg(data: bytes) -> bytes:
    place = 2
    while place + 4 <= len(data) and data[place] == 0xFF and data[place + 1] not in (JPEG_SCAN, JPEG_END):
        if data[place + 1] == 0xFF:  # a byte that fills up
            place += 1
            continue
        end = place + 2 + int.from_bytes(data[place + 2 : place + 4], "big")
        if data[place + 1] == JPEG_APP1 and data[place + 4 : place + 10] == HEAD:
            return data[place + 4 : end]
        place = end
    return b""


def exif_of_png(data: bytes) -> bytes:
    place = 8
    while place + 12 <= len(data):
        size = int.from_bytes(data[place : place + 4], "big")
        if data[place + 4 : place + 8] == b"eXIf":
            return data[place + 8 : place + 8 + size]
        place += 12 + size
    return b""


def exif_of_webp(data: bytes) -> bytes:
    place = 12
    while place + 8 <= len(data):
        size = int.from_bytes(data[place + 4 : place + 8], "little")
        if data[place : place + 4] == b"EXIF":
            return data[place + 8 : place + 8 + size]
        place += 8 + size + size % 2
    return b""
