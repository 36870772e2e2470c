"""Whether a JPEG or PNG is whole. OpenCV silently fills the missing part of a cut one with grey."""

import re

JPEG_START, PNG_START = b"\xff\xd8", b"\x89PNG"
JPEG_SCAN, JPEG_END = 0xDA, 0xD9
JPEG_BARE = frozenset((0x01, *range(0xD0, 0xD9)))  # markers without a length
JPEG_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")  # in coded data: neither a stuffed byte nor a restart


def is_cut_short(data: bytes) -> bool:
    """By the end mark; what lies behind it (the film of a Motion Photo) does not count."""
    if data.startswith(JPEG_START):
        return end_of_jpeg(data) < 0
    return data.startswith(PNG_START) and end_of_png(data) < 0


def end_of_jpeg(data: bytes) -> int:
    """Bytes up to its end mark, found from marker to marker (ITU-T T.81, B.1.1); -1: there is none."""
    place, scanned = 2, False
    while place + 1 < len(data):
        marker = data[place + 1]
        if data[place] != 0xFF or marker == 0xFF:  # bytes that fill up
            place += 1
        elif marker == JPEG_END:
            return place + 2 if scanned else -1
        elif marker in JPEG_BARE:
            place += 2
        else:
            place += 2 + int.from_bytes(data[place + 2 : place + 4], "big")
            if marker == JPEG_SCAN:
                following, scanned = JPEG_MARKER.search(data, place), True
                place = following.start() if following else len(data)
    return -1


def end_of_png(data: bytes) -> int:
    """Bytes up to its end, found from chunk to chunk; -1: there is none."""
    place = 8
    while place + 12 <= len(data):
        length, kind = int.from_bytes(data[place : place + 4], "big"), data[place + 4 : place + 8]
        place += 12 + length
        if kind == b"IEND" and place <= len(data):
            return place
    return -1
