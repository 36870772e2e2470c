"""Known hand boxes from a file, by the name of their picture.

A picture is known by its path or by any end of it (`0001.jpg`, `a/0001.jpg`), the longest first; frame 12 of a video by
`clip.mp4#12`. `./`, backslashes and absolute paths do not matter, nor, where that leaves one name, folders that only
the file knows, the case of letters and URL escapes.
"""

import os
import posixpath
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from urllib.parse import unquote

import numpy as np

from handtool.hands.keypoint_lists import resize
from handtool.vision.boxes_formats import read_boxes
from handtool.vision.contracts import Detection

SAME_SHAPE = 0.01  # difference of two scales, relative: a resized copy


class BoxesFile:
    """A detector that reads its boxes from the file. Raises HandtoolError if its format is none of `boxes_formats`."""

    batch = 1

    def __init__(self, path: str) -> None:
        boxes = read_boxes(path)
        boxes.name, boxes.looked_at = [plain(name) for name in boxes.name], [plain(name) for name in boxes.looked_at]
        self.left_out, self.unused_keypoints, self.notes = boxes.left_out, boxes.unused_keypoints, boxes.notes
        self.size = {plain(name): size for name, size in boxes.size.items()}
        # stable: a picture's hands keep their order
        order = sorted(range(len(boxes.name)), key=lambda row: boxes.name[row])
        self.box = np.array([boxes.box[row] for row in order], np.float64).reshape(-1, 4)
        self.side, self.score = (np.array([column[row] for row in order]) for column in (boxes.side, boxes.score))
        self.relative, self.stems = boxes.relative, boxes.stems
        self.landmarks = {row: boxes.landmarks[old] for row, old in enumerate(order) if old in boxes.landmarks}
        self.rows: dict[str, range] = {name: range(0) for name in boxes.looked_at}
        start = 0
        for end in range(1, len(order) + 1):
            if end == len(order) or boxes.name[order[end]] != boxes.name[order[start]]:
                self.rows[boxes.name[order[start]]] = range(start, end)
                start = end

    def __len__(self) -> int:
        return len(self.box)

    def find_hands(self, images: list[np.ndarray], names: list[str]) -> list[list[Detection]]:
        return [self.hands_on(name, *image.shape[1::-1]) for image, name in zip(images, names, strict=True)]

    def hands_on(self, name: str, width: int, height: int) -> list[Detection]:
        """The hands of one picture of width x height px, in the order of the file. Boxes of a resized copy are scaled;
        those of a picture of another shape (one that EXIF turns, for one) are refused."""
        if (found := self.find(name)) is None:
            return []
        refused, unit = "", np.array([width, height] * 2) if self.relative else np.ones(4)
        across = down = 1.0
        if (stated := self.size.get(found, (width, height))) != (width, height):
            across, down = width / stated[0], height / stated[1]
            unit = unit * np.array([across, down] * 2)
            if abs(across / down - 1) > SAME_SHAPE:
                refused = f"boxes for {stated[0]} x {stated[1]} px, the picture has {width} x {height}"
        hands = []
        for row in self.rows[found]:
            points, score = self.landmarks.get(row, (None, float("nan")))
            points = None if points is None else resize(points, (across, down))
            known = int(self.side[row]), float(self.score[row]), points, score
            hands.append(Detection(self.box[row] * unit, *known, refused=refused))
        return hands

    def find(self, name: str) -> str | None:
        """What the file calls the picture."""
        for end in ends_of(plain(name)):
            if end in self.rows:
                return end
        if (whole := plain(os.path.abspath(name))) in self.rows:
            return whole
        for end in ends_of(loose(name)):
            if len(called := self.called_loosely.get(end, [])) == 1:
                return called[0]
        if self.stems and (without := without_ending(name)) != name:
            return self.find(without)
        same_base = self.called_by_base.get(posixpath.basename(loose(name)), [])
        longer = [called for called in same_base if loose(called).endswith("/" + loose(name))]
        return longer[0] if len(longer) == 1 else None

    @cached_property
    def called_loosely(self) -> dict[str, list[str]]:
        return index_by(self.rows, loose)

    @cached_property
    def called_by_base(self) -> dict[str, list[str]]:
        return index_by(self.rows, lambda name: posixpath.basename(loose(name)))


def index_by(names: Iterable[str], key: Callable[[str], str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name in names:
        found.setdefault(key(name), []).append(name)
    return found


def ends_of(name: str) -> Iterator[str]:
    """The name without its first folders, the longest first."""
    parts = name.split("/")
    return ("/".join(parts[start:]) for start in range(len(parts)))


def without_ending(name: str) -> str:
    """`a/clip.mp4#12` -> `a/clip#12`."""
    picture, number, frame = name.partition("#")
    return f"{posixpath.splitext(picture)[0]}{number}{frame}"


def plain(name: str) -> str:
    return posixpath.normpath(name.replace("\\", "/"))


def loose(name: str) -> str:
    return unicodedata.normalize("NFC", unquote(plain(name))).casefold()
