"""The common layouts of detector outputs, recognised by their shapes, decoded to boxes, scores and landmarks.

Shapes: n frames, a candidates of one frame, c classes; boxes by their edges. docs/ONNX.md shows the layouts.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from handtool.hands.skeleton import NUM_JOINTS

STRIDES = (8, 16, 32)  # of the grids on which the YOLO family predicts
LANDMARK_WIDTHS = (2 * NUM_JOINTS, 3 * NUM_JOINTS)  # x, y of each, or x, y, score
WITHOUT_DOUBLES = ("end2end", "dets")


@dataclass(frozen=True, eq=False)
class Candidates:
    """Of one frame, in px of the input. box (a, 4); score (a, c) of each class, or (a, 1) of the class `number` (a,);
    landmarks (a, 21, 2) with landmarks_score (a, 21), or None."""

    box: np.ndarray
    score: np.ndarray
    number: np.ndarray | None = None
    landmarks: np.ndarray | None = None
    landmarks_score: np.ndarray | None = None


def decode_yolov8(outputs: list[np.ndarray], unit: np.ndarray) -> list[Candidates]:
    """(n, 4 + c [+ 42 | 63], a) or its transpose: centre, size, score of each class [, 21 landmarks x y (score)]; also
    YOLOv9, YOLO11."""
    table = outputs[0] if outputs[0].shape[1] > outputs[0].shape[2] else outputs[0].transpose(0, 2, 1)
    width = next((width for width in LANDMARK_WIDTHS if table.shape[2] - 4 - width in (1, 2)), 0)
    end = table.shape[2] - width
    return [
        Candidates(from_centre(rows, unit), rows[:, 4:end], None, *split_landmarks(rows[:, end:], unit))
        for rows in table
    ]


def decode_yolov5(outputs: list[np.ndarray], unit: np.ndarray) -> list[Candidates]:
    """(n, a, 5 + c): centre, size, objectness, score of each class given an object; also YOLOv7."""
    return [Candidates(from_centre(rows, unit), rows[:, 4:5] * rows[:, 5:]) for rows in outputs[0]]


def decode_end2end(outputs: list[np.ndarray], unit: np.ndarray) -> list[Candidates]:
    """(n, a, 6 [+ 42 | 63]): x0 y0 x1 y1, score, class number [, landmarks], doubles removed; YOLOv10, Ultralytics'
    `nms=True`."""
    return [
        Candidates(edges(rows, unit), rows[:, 4:5], rows[:, 5].astype(int), *split_landmarks(rows[:, 6:], unit))
        for rows in outputs[0]
    ]


def decode_dets(outputs: list[np.ndarray], unit: np.ndarray) -> list[Candidates]:
    """(n, a, 5): x0 y0 x1 y1 score, and (n, a) class numbers, doubles removed; MMDeploy's RTMDet."""
    return [
        Candidates(edges(rows, unit), rows[:, 4:5], number.astype(int))
        for rows, number in zip(*outputs[:2], strict=True)
    ]


def decode_boxes(outputs: list[np.ndarray], unit: np.ndarray) -> list[Candidates]:
    """(n, a, 4): x0 y0 x1 y1, and (n, a, c) or (n, a) scores; SSD and its like."""
    return [
        Candidates(edges(rows, unit), score.reshape(len(rows), -1)) for rows, score in zip(*outputs[:2], strict=True)
    ]


LAYOUTS: dict[str, Callable[[list[np.ndarray], np.ndarray], list[Candidates]]] = {
    "yolov8": decode_yolov8,
    "yolov5": decode_yolov5,
    "end2end": decode_end2end,
    "dets": decode_dets,
    "boxes": decode_boxes,
}


def fits(layout: str, shapes: list[tuple[int, ...]], anchors: int | None) -> bool:
    """Whether outputs of these shapes can be of that layout. anchors: cells of the grids, by which `auto` tells them
    apart; None: anything."""
    first, second = shapes[0], shapes[1] if len(shapes) > 1 else ()
    if len(first) != 3:
        return False
    match layout:
        case "yolov8":
            return min(first[1:]) >= 5 and (anchors is None or anchors in first[1:])
        case "yolov5":
            return first[2] >= 6 and (anchors is None or first[1] == 3 * anchors)
        case "end2end":
            widths = (6, *(6 + width for width in LANDMARK_WIDTHS))
            return first[2] in widths and (anchors is None or (not second and first[1] not in (anchors, 3 * anchors)))
        case "dets":
            return first[2] == 5 and second == first[:2]
        case "boxes":
            return first[2] == 4 and second[:2] == first[:2]
    raise AssertionError(layout)


def num_anchors(width: int, height: int) -> int:
    return sum((width // stride) * (height // stride) for stride in STRIDES)


def edges(rows: np.ndarray, unit: np.ndarray) -> np.ndarray:
    """The first four columns in px. unit: (2,) px."""
    return rows[:, :4] * np.concatenate([unit, unit])


def from_centre(rows: np.ndarray, unit: np.ndarray) -> np.ndarray:
    """Centre and size in the first four columns -> edges (a, 4), px."""
    centre, half = rows[:, :2], rows[:, 2:4] / 2
    return edges(np.concatenate([centre - half, centre + half], axis=1), unit)


def split_landmarks(values: np.ndarray, unit: np.ndarray) -> tuple[np.ndarray | None, np.ndarray | None]:
    """(a, 0 | 42 | 63) -> (a, 21, 2) px and (a, 21) scores, as far as there are any."""
    if values.shape[1] not in LANDMARK_WIDTHS:
        return None, None
    points = values.reshape(len(values), NUM_JOINTS, -1)
    return points[..., :2] * unit, points[..., 2] if points.shape[2] == 3 else None
