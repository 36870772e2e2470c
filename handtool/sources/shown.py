"""A decoded frame as it is shown: what a file says about the display of its frames, and decoders leave to the caller.

Cut as the container says, square pixels (the height stays, as FFmpeg's `scale=iw*sar:ih`), turned and mirrored by the
display matrix (as FFmpeg's players do), HDR tone-mapped, interlaced frames deinterlaced by FFmpeg's bwdif. Films, and
images that are coded as films are (HEIC, AVIF), all come through `as_shown`.
"""

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import av
import numpy as np

from handtool.sources.container_crop import Crop
from handtool.sources.tone_mapping import NAMES, tone_map

SANE_ASPECT = 10  # a pixel that is said to be more oblong than this is not believed
Note = Callable[[str], object]
Turn = tuple[bool, bool, bool]  # transposed; then mirrored left to right; then upside down
EXIF_TURNS: dict[int, Turn] = {  # orientation, tag 0x0112
    1: (False, False, False),
    2: (False, True, False),
    3: (False, True, True),
    4: (False, False, True),
    5: (True, False, False),
    6: (True, True, False),
    7: (True, True, True),
    8: (True, False, True),
}


def as_shown(
    frame: av.VideoFrame, aspect: Fraction | None, transfer: int, note: Note, crop: Crop = Crop()
) -> np.ndarray:
    """(h, w, 3) uint8 RGB. aspect: width / height of a stored pixel, None or 0: not said; transfer: the coding of light
    (AVCOL_TRC_…); crop: what its container hides. `note` is told what was changed."""
    turn = turn_of(frame, note)
    size = {} if not aspect or aspect == 1 else squared(frame.width, frame.height, aspect, turn[0], note)
    if transfer in NAMES:
        note(f"HDR ({NAMES[transfer]}), tone-mapped to BT.709")
        image = tone_map(frame.to_ndarray(format="rgb48le", **size), transfer)
    else:
        image = frame.to_ndarray(format="rgb24", **size)
    if any(crop) and crop.fits(frame.width, frame.height):
        image = cut(image, crop, frame.width, frame.height, note)
    return turned(image, turn)


def cut(image: np.ndarray, crop: Crop, width: int, height: int, note: Note) -> np.ndarray:
    """image: of a frame of width x height px, maybe made square."""
    down, across = image.shape[0] / height, image.shape[1] / width
    rows = slice(round(crop.top * down), image.shape[0] - round(crop.bottom * down))
    columns = slice(round(crop.left * across), image.shape[1] - round(crop.right * across))
    note(f"cut by {', '.join(map(str, crop))} px (left, top, right, bottom), as its container says")
    return np.ascontiguousarray(image[rows, columns])


def squared(width: int, height: int, aspect: Fraction, transposed: bool, note: Note) -> dict:
    """The arguments of `to_ndarray` that make the pixels square. Of a frame that is to be transposed, the height that
    stays is the one it is shown with."""
    if not 1 / SANE_ASPECT <= aspect <= SANE_ASPECT:
        note(f"a sample aspect ratio of {aspect} is not believed")
        return {}
    note(f"sample aspect ratio {aspect.numerator}:{aspect.denominator}, made square")
    along = {"height": max(int(height / aspect), 1)} if transposed else {"width": max(int(width * aspect), 1)}
    return along | {"interpolation": "BICUBIC"}


def turn_of(frame: av.VideoFrame, note: Note) -> Turn:
    """By the display matrix: stored (x, y) is shown at (a x + c y, b x + d y), y down. An angle between two quarters
    of a turn is rounded."""
    data: Any = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return False, False, False
    (a, b), (c, d) = np.frombuffer(data, np.int32)[:6].reshape(2, 3)[:, :2].astype(float)
    transposed = abs(b) > abs(a)
    if min(abs(a), abs(b)) > 0.02 * max(abs(a), abs(b)):
        note("a display matrix that is no quarter of a turn, rounded to one")
    return (True, c < 0, b < 0) if transposed else (False, a < 0, d < 0)


def turned(image: np.ndarray, turn: Turn) -> np.ndarray:
    """image: (h, w, 3)."""
    transposed, mirrored, upside_down = turn
    if not any(turn):
        return image
    image = image.transpose(1, 0, 2) if transposed else image
    return np.ascontiguousarray(image[:: -1 if upside_down else 1, :: -1 if mirrored else 1])


def deinterlace(before: av.VideoFrame | None, frame: av.VideoFrame, after: av.VideoFrame | None) -> av.VideoFrame:
    """The frame with the lines of its later field made anew from its neighbours (None at an end), as FFmpeg's
    `bwdif=send_frame`."""
    graph = av.filter.Graph()
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base or Fraction(1, 25)
    )
    bwdif = graph.add("bwdif", "mode=send_frame:deint=interlaced")
    source.link_to(bwdif)
    bwdif.link_to(graph.add("buffersink"))
    graph.configure()
    for each in (before, frame, after):
        if each is not None:
            graph.push(each)
    graph.push(None)
    made = [graph.pull() for each in (before, frame) if each is not None][-1]
    assert isinstance(made, av.VideoFrame)
    return made
