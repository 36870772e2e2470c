"""From a box to a crop: squared, enlarged, padded with black at the border, resized, with the exact affine.

The square is moved to whole pixels of the frame, so that a crop is a slice, a border and one resize, whose affine is
exact. Where it shrinks, every pixel is the mean of the area that it covers (no aliasing); where it grows, it is
interpolated linearly.
"""

import cv2
import numpy as np

from handtool.hands.boxes import crop_affine, enlarge, square

SAMPLED = 128  # px, side of a large image that is reduced to a thumbnail
FARTHEST = 1e9  # px; beyond, the arithmetic overflows
LARGEST = 4.0  # in a square so many times the frame's larger side the frame is too small


class BadBox(Exception):
    """A box that cannot be cropped; the message is the reason that is counted."""


def hand_square(box: np.ndarray, box_scale: float, width: int, height: int) -> np.ndarray:
    """box: (4,) px of a frame of width x height. Returns (4,) int: the enlarged square, whole px. Raises BadBox."""
    if not np.isfinite(box).all():
        raise BadBox("boxes that are not finite")
    if np.abs(box).max() > FARTHEST:
        raise BadBox("boxes far larger than their frame, or far outside of it")
    if min(box[2] - box[0], box[3] - box[1]) < 1:
        raise BadBox("boxes smaller than a pixel")
    if min(box[2], width) - max(box[0], 0) <= 0 or min(box[3], height) - max(box[1], 0) <= 0:
        raise BadBox("boxes outside their frame")
    region = square(enlarge(box, box_scale))
    side = max(1, round(float(region[2] - region[0])))
    if side > LARGEST * max(width, height):
        raise BadBox("boxes far larger than their frame")
    x0, y0 = np.floor((region[:2] + region[2:] - side) / 2 + 0.5).astype(int)
    return np.array([x0, y0, x0 + side, y0 + side])


def whole_square(width: int, height: int) -> np.ndarray:
    """(4,) int: the smallest square around an image, the image in its middle."""
    side = max(width, height)
    x0, y0 = (width - side) // 2, (height - side) // 2
    return np.array([x0, y0, x0 + side, y0 + side])


def cut_square(image: np.ndarray, region: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """image: (h, w, 3) uint8, region: (4,) int. Returns the crop (size, size, 3) and its affine (2, 3) float64 from
    frame to crop."""
    height, width = image.shape[:2]
    x0, y0, x1, y1 = (int(edge) for edge in region)
    inside = image[max(y0, 0) : min(y1, height), max(x0, 0) : min(x1, width)]
    borders = (max(-y0, 0), max(y1 - height, 0), max(-x0, 0), max(x1 - width, 0))
    if any(borders):
        inside = cv2.copyMakeBorder(inside, *borders, cv2.BORDER_CONSTANT)
    side = x1 - x0
    if side != size:
        inside = cv2.resize(inside, (size, size), interpolation=cv2.INTER_AREA if side > size else cv2.INTER_LINEAR)
    return inside, crop_affine(region, size, box_scale=1.0)


def make_thumbnail(image: np.ndarray) -> np.ndarray:
    """image: (h, w, 3) uint8 RGB. Returns (8, 8) uint8 grey, the means of its parts; a large image is first reduced by
    sampling, which takes a tenth of the time."""
    if min(image.shape[:2]) > 2 * SAMPLED:
        image = cv2.resize(image, (SAMPLED, SAMPLED), interpolation=cv2.INTER_LINEAR)
    return cv2.resize(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (8, 8), interpolation=cv2.INTER_AREA)


def encode_jpeg(crop: np.ndarray, quality: int) -> bytes:
    """crop: (size, size, 3) uint8 RGB."""
    done, data = cv2.imencode(".jpg", cv2.cvtColor(crop, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert done
    return data.tobytes()


def decode_jpeg(data: bytes) -> np.ndarray:
    """(h, w, 3) uint8 RGB of a stored crop."""
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None, "the store hands out only bytes whose checksum is right"
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def is_stored_upright(data: bytes, image: np.ndarray) -> bool:
    """Whether a JPEG's bytes show `image` without the help of EXIF, so that every decoder agrees on them."""
    plain = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    return plain is not None and plain.shape == image.shape and np.array_equal(plain[..., ::-1], image)
