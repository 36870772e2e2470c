"""The frames of an animated WebP (developers.google.com/speed/webp/docs/riff_container).

OpenCV decodes the parts of a frame; laying them over each other is done here, since OpenCV before 4.11 gives none of an
animation, and later ones only all at once.
"""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from handtool.sources.exif import is_webp, turn_by_exif
from handtool.sources.frame import Frame, Sampling, Tally, Video
from handtool.sources.plain_file import check_plain
from handtool.sources.shown import turned
from handtool.sources.tar_member import open_source
from handtool.sources.ticks import Ticks
from handtool.sources.video import REFUSED

ANIMATED = 0x02  # flag of VP8X
OVERWRITES, CLEARS = 0x02, 0x01  # flags of a frame: it is not blended; its place is cleared after it
MAX_PIXELS = 1 << 26


def is_animated(head: bytes) -> bool:
    return is_webp(head) and head[12:16] == b"VP8X" and bool(head[20] & ANIMATED)


def chunks(data: bytes, place: int = 12) -> Iterator[tuple[bytes, bytes]]:
    """(name, content) of each whole chunk."""
    while place + 8 <= len(data):
        size = number_at(data, place + 4, 4)
        if place + 8 + size > len(data):
            return
        yield data[place : place + 4], data[place + 8 : place + 8 + size]
        place += 8 + size + size % 2


def number_at(data: bytes, place: int, size: int) -> int:
    return int.from_bytes(data[place : place + size], "little")


def read_animation(video: Video, sampling: Sampling, tally: Tally) -> Iterator[Frame]:
    """The kept frames of an animated WebP, in order. Problems are recorded in `tally`."""
    tally.problem = check_plain(video.source)
    if tally.problem:
        return
    with open_source(video.source) as file:
        data = file.read()
    if number_at(data, 4, 4) + 8 > len(data):
        tally.problem = "the file breaks off"
    parts = [content for name, content in chunks(data) if name == b"ANMF"]
    lasting = np.array([number_at(part, 12, 3) for part in parts]) / 1000  # s
    tally.duration = float(lasting.sum())
    tally.fps = float(1 / np.median(lasting)) if len(parts) and np.median(lasting) > 0 else float("nan")
    kept, followed = Ticks(sampling.fps, sampling.every), Ticks(sampling.track_fps)
    name, time = Path(video.path).as_posix(), 0.0
    for number, (image, lasts) in enumerate(zip(lay_over(data, parts, tally), lasting)):
        is_kept = image is not None and kept.meets(number, time)
        is_followed = image is not None and sampling.track_fps > 0 and followed.meets(number, time)
        if image is not None and (is_kept or is_followed):
            tally.saw(image)
            tally.sampled += is_kept
            tally.followed += not is_kept
            yield Frame(image, number, time, f"{name}#{number}", kept=is_kept)
        time += lasts
        tally.reached = time
    if not tally.decoded:
        tally.problem = tally.problem or "no frame could be decoded"


def lay_over(data: bytes, parts: list[bytes], tally: Tally) -> Iterator[np.ndarray | None]:
    """(h, w, 3) uint8 RGB of each frame, None where it cannot be decoded. parts: the contents of its ANMF chunks."""
    width, height = number_at(data, 24, 3) + 1, number_at(data, 27, 3) + 1
    if width * height > MAX_PIXELS:
        tally.problem = f"more than {MAX_PIXELS >> 20} megapixels"
        return
    turn = turn_by_exif(data)
    canvas = np.zeros((height, width, 4), np.uint8)
    for part in parts:
        tally.heartbeat()
        left, top = 2 * number_at(part, 0, 3), 2 * number_at(part, 3, 3)
        try:
            image = decode_part(part)
            place = canvas[top : top + image.shape[0], left : left + image.shape[1]]
            place[:] = image if part[15] & OVERWRITES else blend(image, place)
        except (cv2.error, ValueError, IndexError):
            tally.failed[REFUSED] += 1
            yield None
            continue
        tally.decoded += 1
        yield turned(np.ascontiguousarray(canvas[..., 2::-1]), turn)
        if part[15] & CLEARS:
            place[:] = 0


def decode_part(part: bytes) -> np.ndarray:
    """(h, w, 4) uint8 BGRA of the content of an ANMF chunk, made a file of its own."""
    content = part[16:]
    if content[:4] == b"ALPH":
        content = b"VP8X" + bytes([10, 0, 0, 0, 0x10, 0, 0, 0]) + part[6:12] + content
    content = b"WEBP" + content
    file = np.frombuffer(b"RIFF" + len(content).to_bytes(4, "little") + content, np.uint8)
    image = cv2.imdecode(file, cv2.IMREAD_UNCHANGED)
    if image is None:
        raise ValueError
    return image if image.shape[2] == 4 else cv2.cvtColor(image, cv2.COLOR_BGR2BGRA)


def blend(image: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Both (h, w, 4) uint8 BGRA, not premultiplied."""
    over, under = image[..., 3:] / 255.0, below[..., 3:] / 255.0
    alpha = over + under * (1 - over)
    colour = (image[..., :3] * over + below[..., :3] * under * (1 - over)) / np.maximum(alpha, 1e-6)
    return np.round(np.concatenate([colour, 255 * alpha], axis=2)).astype(np.uint8)
