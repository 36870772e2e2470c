"""Hands on frames by an ONNX detector: letterboxed, decoded by its layout (onnx_layouts.py), with duplicates removed.

Shapes: a candidates of one frame, c classes; boxes by their edges. ONNX.md beside this file explains the settings.
"""

import ast
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np

from handtool.errors import HandtoolError
from handtool.hands.boxes import iou
from handtool.hands.skeleton import LEFT, RIGHT, UNKNOWN
from handtool.vision.contracts import Detection
from handtool.vision.onnx_layouts import LAYOUTS, WITHOUT_DOUBLES, Candidates, fits, num_anchors
from handtool.vision.onnx_session import Network, metadata_of, open_session, shape_text
from handtool.vision.onnx_settings import DetectorSettings, read_settings

MOST = 1000  # candidates that are looked at for doubles, best first


class OnnxDetector:
    """Raises HandtoolError if the file is no ONNX model, or no detector of a known layout."""

    def __init__(self, path: str | Path | None, given: tuple[str, ...], min_score: float, device: str = "auto") -> None:
        assert path is not None, "the command line asks for it"
        session = open_session(path, device)
        metadata = metadata_of(session)
        self.settings = read_settings(DetectorSettings, metadata, given)
        self.network = Network(path, session, self.settings)
        self.batch, self.min_score = self.network.batch, min_score
        outputs = list(self.network.blank().values())
        self.layout = find_layout(outputs, self.settings, self.network)
        [blank] = self.decode(outputs)
        self.classes = hand_classes(
            self.settings, metadata.get("names", ""), None if blank.number is not None else blank.score.shape[1], path
        )

    def find_hands(self, images: list[np.ndarray], names: list[str]) -> list[list[Detection]]:
        placed = [letterbox(image, self.network.width, self.network.height, self.settings) for image in images]
        outputs = list(self.network.run(np.stack([picture for picture, _ in placed])).values())
        return [self.choose(found, moved) for found, (_, moved) in zip(self.decode(outputs), placed, strict=True)]

    def decode(self, outputs: list[np.ndarray]) -> list[Candidates]:
        sides = (self.network.width, self.network.height) if self.settings.units == "fraction" else (1, 1)
        return LAYOUTS[self.layout](outputs, np.array(sides, np.float32))

    def choose(self, found: Candidates, moved: np.ndarray) -> list[Detection]:
        """The hands among one frame's candidates, best first. moved: (2, 2), scale and offset from edges of the frame
        to those of the input."""
        score, side = score_and_side(found, self.classes)
        rows = np.flatnonzero((score >= self.min_score) & np.isfinite(found.box).all(1))
        rows = rows[np.argsort(-score[rows], kind="stable")][:MOST]
        if self.layout not in WITHOUT_DOUBLES:
            rows = rows[keep_best(found.box[rows], self.settings.iou)]
        return [as_detection(found, row, min(float(score[row]), 1.0), int(side[row]), moved) for row in rows.tolist()]


def letterbox(image: np.ndarray, width: int, height: int, settings: DetectorSettings) -> tuple[np.ndarray, np.ndarray]:
    """The image as large as it fits, grey beside it. Returns (height, width, 3) uint8 and (2, 2): scale and offset,
    edges to edges."""
    across, down = image.shape[1::-1]
    scale = min(width / across, height / down)
    inner = (max(1, round(across * scale)), max(1, round(down * scale)))
    x0, y0 = ((width - inner[0]) // 2, (height - inner[1]) // 2) if settings.pad == "centre" else (0, 0)
    canvas = np.full((height, width, 3), round(settings.fill), np.uint8)
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    canvas[y0 : y0 + inner[1], x0 : x0 + inner[0]] = (
        image if inner == (across, down) else cv2.resize(image, inner, interpolation=how)
    )
    return canvas, np.array([[inner[0] / across, inner[1] / down], [x0, y0]])


def keep_best(boxes: np.ndarray, most_shared: float) -> np.ndarray:
    """Greedy non-maximum suppression: boxes (a, 4), best first -> places of those that overlap no better one more."""
    kept, left = [], np.arange(len(boxes))
    while len(left):
        kept.append(left[0])
        left = left[1:][iou(boxes[left[1:]], boxes[left[0]]) <= most_shared]
    return np.array(kept, dtype=int)


def score_and_side(found: Candidates, classes: Mapping[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """The best score among the classes that are hands (a,), -inf where a candidate is of another class, and the side of
    that class (a,)."""
    numbers, sides = np.array(list(classes)), np.array(list(classes.values()))
    if found.number is None:
        best = found.score[:, numbers].argmax(1)
        return found.score[np.arange(len(best)), numbers[best]], sides[best]
    is_it = found.number[:, None] == numbers
    return np.where(is_it.any(1), found.score[:, 0], -np.inf), sides[is_it.argmax(1)]


def as_detection(found: Candidates, row: int, score: float, side: int, moved: np.ndarray) -> Detection:
    """Back to px of the frame; a landmark is a point, whose pixel centres are at integers."""
    box = ((found.box[row].astype(float).reshape(2, 2) - moved[1]) / moved[0]).ravel()
    if found.landmarks is None:
        return Detection(box, side, score)
    xy = (found.landmarks[row].astype(float) - moved[1]) / moved[0] - 0.5
    seen = score if found.landmarks_score is None else float(np.clip(found.landmarks_score[row], 0, 1).mean())
    return Detection(box, side, score, xy, seen)


def hand_classes(settings: DetectorSettings, names: str, count: int | None, path: str | Path) -> dict[int, int]:
    """class number -> side: declared, or read from the class names that a model may bring, or its only class.

    count: number of classes, None if the model does not declare it; then it is assumed to detect only hands.
    """
    classes = dict.fromkeys(settings.hand or (), UNKNOWN)
    classes |= {number: side for number, side in ((settings.left, LEFT), (settings.right, RIGHT)) if number is not None}
    known = class_names(names)
    if not classes:
        classes = {number: side_in(name) for number, name in known.items() if "hand" in name.lower()}
    if not classes and not known and count in (1, None):
        classes = {0: UNKNOWN}
    hint = "--onnx hand=0, or --onnx left=0 --onnx right=1"
    if not classes:
        raise HandtoolError(f"{path}: which of its {len(known) or count} classes is a hand?", hint=hint)
    if min(classes) < 0 or (count is not None and max(classes) >= count):
        raise HandtoolError(f"{path} has the classes 0 to {(count or 1) - 1}, no {max(classes)}", hint=hint)
    return classes


def class_names(text: str) -> dict[int, str]:
    """`{0: 'hand'}`, as Ultralytics writes it into the metadata; empty where it is something else."""
    try:
        found = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return {}
    return (
        {number: str(name) for number, name in found.items() if isinstance(number, int)}
        if isinstance(found, dict)
        else {}
    )


def side_in(name: str) -> int:
    return LEFT if "left" in name.lower() else RIGHT if "right" in name.lower() else UNKNOWN


def find_layout(outputs: list[np.ndarray], settings: DetectorSettings, network: Network) -> str:
    """The layout that was declared, else the only one that the shapes of the outputs for one picture allow."""
    shapes = [output.shape for output in outputs]
    names, anchors = (
        (list(LAYOUTS), num_anchors(network.width, network.height))
        if settings.layout == "auto"
        else ([settings.layout], None)
    )
    found = [name for name in names if fits(name, shapes, anchors)]
    if len(found) == 1:
        return found[0]
    text = ", ".join(shape_text(shape) for shape in shapes)
    what = (
        f"those of {' or '.join(found)}"
        if found
        else f"not those of {'a layout that is known' if anchors else settings.layout}"
    )
    raise HandtoolError(
        f"{network.path}: its outputs ({text}) are {what}",
        hint=f"--onnx layout={' | '.join(LAYOUTS)}, if it is a detector of hands",
    )
