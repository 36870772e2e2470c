"""The focal length that a file states, as the equivalent on 35 mm film: EXIF of a JPEG, metadata of a video.

35 mm equivalent, by CIPA DCG-001: that of the same diagonal angle of view on a frame of 36 x 24 mm.
"""

import struct
from collections.abc import Mapping

EXIF_MARKER, EXIF_HEAD = b"\xff\xe1", b"Exif\0\0"
EXIF_POINTER, FOCAL_35MM = 0x8769, 0xA405  # tags: where the Exif directory lies; FocalLengthIn35mmFilm, mm
LARGEST_ENTRIES = 512  # of a directory; more is damage
# how QuickTime (phones) and others call it in a video's metadata
VIDEO_KEYS = ("com.apple.quicktime.camera.focal_length.35mm_equivalent", "focal_length_35mm", "focallengthin35mmfilm")
UNKNOWN_MM = float("nan")


def focal_of_jpeg(data: bytes) -> float:
    """mm, NaN where the bytes of an image state none (or are no JPEG, or damaged)."""
    start = data.find(EXIF_HEAD, 2, 65536)
    if start < 4 or not data.startswith(b"\xff\xd8") or data[start - 4 : start - 2] != EXIF_MARKER:
        return UNKNOWN_MM
    tiff = data[start + len(EXIF_HEAD) : start + 65536]
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    try:
        if order is None:
            return UNKNOWN_MM
        (first,) = struct.unpack_from(order + "I", tiff, 4)
        below = read_entry(tiff, first, order, EXIF_POINTER)
        focal = read_entry(tiff, below, order, FOCAL_35MM) if below else 0
    except struct.error:  # a directory that points beyond the end
        return UNKNOWN_MM
    return float(focal) if focal else UNKNOWN_MM


def read_entry(tiff: bytes, directory: int, order: str, wanted: int) -> int:
    """The value (SHORT or LONG) of a tag of the directory at that place; 0 where it is not there."""
    (count,) = struct.unpack_from(order + "H", tiff, directory)
    for place in range(directory + 2, directory + 2 + 12 * min(count, LARGEST_ENTRIES), 12):
        tag, kind = struct.unpack_from(order + "HH", tiff, place)
        if tag == wanted and kind in (3, 4):
            return struct.unpack_from(order + ("H" if kind == 3 else "I"), tiff, place + 8)[0]
    return 0


def focal_of_video(*metadata: Mapping[str, str]) -> float:
    """mm, NaN where none of the dictionaries (of the container, of the stream) states any."""
    said = {key.lower(): value for each in metadata for key, value in each.items()}
    for key in VIDEO_KEYS:
        try:
            focal = float(said[key].split()[0])
        except (KeyError, ValueError, IndexError):
            continue
        if focal > 0:
            return focal
    return UNKNOWN_MM
