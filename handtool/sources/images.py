"""Frames from image files of any depth and channels, as upright 8-bit RGB."""

import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from handtool.sources.exif import turn_by_exif
from handtool.sources.focal_length import focal_of_jpeg
from handtool.sources.frame import Frame, KnownHand, Sampling, Tally, Video
from handtool.sources.heif import BadHeif, is_heif, is_sequence, read_heif
from handtool.sources.image_ends import JPEG_START, PNG_START, end_of_jpeg, is_cut_short
from handtool.sources.plain_file import HEAD, stand_in
from handtool.sources.shown import Note, turned
from handtool.sources.tar_member import Member, Source, check_member, open_source
from handtool.sources.webp import is_animated

SUFFIXES = frozenset(".jpg .jpeg .jpe .png .bmp .webp .tif .tiff .ppm .pgm .pnm .jp2 .heic .heif .hif .avif".split())
MAYBE_CLIPS = frozenset(".webp .heic .heif .hif .avif".split())  # endings of images that a clip may have too
MAX_BYTES = 1 << 30  # of an image file
DEADLY = "images that ended or stopped the process that read them"
NOTHING_READ = "no image could be read"


class BadImage(Exception):
    """An image that cannot be used; the message is the reason that is counted."""


class Sample(NamedTuple):
    """path: of the image, or where it lies in its tar; name: below the root of the set, with forward slashes; number:
    of the frame in its video."""

    path: Source
    name: str
    number: int


# place among the samples, sample, image (h, w, 3) -> hands, None: not known
Label = Callable[[int, Sample, np.ndarray], tuple[KnownHand, ...] | None]


def read_images(video: Video, tally: Tally, sampling: Sampling = Sampling()) -> Iterator[Frame]:
    """Every image of a folder, or every N-th, in its order. `number`: the place among all of them; unreadable ones are
    counted."""
    places = [place for place in range(len(video.files)) if (video.first + place) % (sampling.every or 1) == 0]
    tally.unread += len(video.files) - len(places)
    if video.skip:
        tally.failed[DEADLY] += len(video.skip)
    samples = (
        Sample(video.source_of(place), Path(video.files[place]).as_posix(), video.first + place)
        for place in places
        if video.first + place not in video.skip
    )
    return read_samples(samples, tally, lambda place, sample, image: None)


def read_samples(
    samples: Iterable[Sample], tally: Tally, label: Label, read: Callable[[Any], bytes] | None = None
) -> Iterator[Frame]:
    """The image of each sample with its hands. One with a bad image or label is skipped and counted. read: gives the
    bytes of an image that is no file of its own."""
    for place, sample in enumerate(samples):
        tally.heartbeat()
        tally.reading(sample.number)
        try:
            image, jpeg = read_image(sample.path, tally.note, read)
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


def is_clip(path: Path) -> bool:
    """Whether a file with the ending of an image is an animation, by its first bytes."""
    if path.suffix.lower() not in MAYBE_CLIPS:
        return False
    try:
        return stat.S_ISREG(path.stat().st_mode) and begins_as_clip(path)
    except OSError:
        return False


def begins_as_clip(source: Source) -> bool:
    """Raises OSError."""
    with open_source(source) as file:
        head = file.read(32)
    return is_animated(head) or is_sequence(head)


def read_image(
    path: Source, note: Note = str, read: Callable[[Any], bytes] | None = None
) -> tuple[np.ndarray, bytes | None]:
    """(h, w, 3) uint8 RGB as it is shown, and the file's bytes if it is a JPEG, without what lies behind it.
    Raises BadImage.

    Alpha is dropped, grey repeated, 16 bits reduced to their upper 8. `note` is told what needs saying (`as_shown`).
    """
    data = (read or read_bytes)(path)
    if not data:
        raise BadImage("images of zero bytes")
    if instead := stand_in(data[:HEAD]):
        raise BadImage(instead)
    if is_cut_short(data):
        raise BadImage("images cut short")
    if data.startswith(PNG_START) and b"acTL" in data[: max(data.find(b"IDAT"), 0)]:
        raise BadImage("animated PNGs (read as clips where they end in .apng)")
    return decode_image(data, note), data[: end_of_jpeg(data)] if data.startswith(JPEG_START) else None


def read_bytes(path: Source) -> bytes:
    """Never waits: a pipe or a device is not opened."""
    try:
        if isinstance(path, Member):
            size, is_plain = path.size, True
        else:
            about = path.stat()
            size, is_plain = about.st_size, stat.S_ISREG(about.st_mode)
        if not is_plain:
            raise BadImage("names of images that are no plain files")
        if size > MAX_BYTES:
            raise BadImage(f"images of more than {MAX_BYTES >> 30} GiB")
        if isinstance(path, Member) and size and check_member(path):
            raise BadImage("images cut short")
        with open_source(path) as file:
            return file.read()
    except OSError as error:
        raise BadImage(f"images not readable ({error.strerror})") from None
    except ValueError:  # NUL in it
        raise BadImage("names of images that no file can have") from None


def decode_image(data: bytes, note: Note) -> np.ndarray:
    """(h, w, 3) uint8 RGB from the bytes of an image file, whatever its name."""
    try:
        if is_heif(data):
            return read_heif(data, note)
        # a TIFF is turned by every OpenCV
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
        if image is not None:
            return turned(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), turn_by_exif(data))
    except MemoryError:
        raise
    except BadHeif as bad:
        raise BadImage(str(bad)) from None
    except Exception as error:  # whatever a damaged file makes a decoder raise
        if "MAX_IMAGE_PIXELS" in str(error):
            raise BadImage("images of too many pixels (set OPENCV_IO_MAX_IMAGE_PIXELS to read them)") from None
    raise BadImage("images that cannot be decoded")
