"""Frames from image files of any depth and channels, as upright 8-bit RGB."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from handtool.sources.focal_length import focal_of_jpeg
from handtool.sources.frame import Frame, KnownHand, Tally, Video

SUFFIXES = frozenset(".jpg .jpeg .jpe .png .bmp .webp .tif .tiff .ppm .pgm .pnm .jp2".split())
JPEG_START, JPEG_SCAN, JPEG_END = b"\xff\xd8", b"\xff\xda", b"\xff\xd9"
NOTHING_READ = "no image could be read"
PNG_START, PNG_END = b"\x89PNG", b"IEND"


class BadImage(Exception):
    """An image that cannot be used; the message is the reason that is counted."""


class Sample(NamedTuple):
    """path: of the image; name: below the root of the set, with forward slashes; number: of the frame in its video."""

    path: Path
    name: str
    number: int


# place among the samples, sample, image (h, w, 3) -> hands, None: not known
Label = Callable[[int, Sample, np.ndarray], tuple[KnownHand, ...] | None]


def read_images(video: Video, tally: Tally) -> Iterator[Frame]:
    """Every image of a folder, in its order. `number`: the place among all of them; unreadable ones are counted."""
    files = enumerate(map(Path, video.files), start=video.first)
    samples = (Sample(path, path.as_posix(), number) for number, path in files)
    return read_samples(samples, tally, lambda place, sample, image: None)


def read_samples(samples: Iterable[Sample], tally: Tally, label: Label) -> Iterator[Frame]:
    """The image of each sample with its hands. One with a bad image or label is skipped and counted."""
    for place, sample in enumerate(samples):
        tally.heartbeat()
        try:
            image, jpeg = read_image(sample.path)
            hands = label(place, sample, image)
        except BadImage as bad:
            tally.failed[str(bad)] += 1
            continue
        tally.saw(image)
        tally.decoded += 1
        tally.sampled += 1
        focal = focal_of_jpeg(jpeg) if jpeg else float("nan")
        yield Frame(image, sample.number, float("nan"), sample.name, jpeg, hands=hands, focal_35mm=focal)
    if not tally.decoded:
        tally.problem = NOTHING_READ


def read_image(path: Path) -> tuple[np.ndarray, bytes | None]:
    """(h, w, 3) uint8 RGB, turned as EXIF says, and the file's bytes if it is a JPEG. Raises BadImage.

    Alpha is dropped, grey repeated, 16 bits reduced to their upper 8.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadImage(f"images not readable ({error.strerror})") from None
    if not data:
        raise BadImage("images of zero bytes")
    if is_cut_short(data):
        raise BadImage("images cut short")
    image = decode_image(data)
    return image, data if data.startswith(JPEG_START) else None


def decode_image(data: bytes) -> np.ndarray:
    """(h, w, 3) uint8 RGB from the bytes of an image file."""
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:  # for one: more pixels than OpenCV agrees to decode
        image = None
    if image is None:
        raise BadImage("images that cannot be decoded")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def is_cut_short(data: bytes) -> bool:
    """OpenCV silently fills the missing part of a cut JPEG or PNG with grey, so their end marks are checked."""
    if data.startswith(JPEG_START):
        return JPEG_END not in data[max(data.rfind(JPEG_SCAN), 0) :]
    return data.startswith(PNG_START) and PNG_END not in data[-64:]
