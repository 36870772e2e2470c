"""The hands on the frames of a video: from the source's labels, else from a detector on the undistorted picture."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from handtool.config import ExtractConfig
from handtool.vision.boxes_file import BoxesFile
from handtool.vision.camera_model import read_camera_model
from handtool.vision.contracts import Detection, Detector
from handtool.vision.detectors import check_detector, open_detector
from handtool.vision.rows import Hand


@dataclass(frozen=True)
class FinderSettings:
    """What a worker process needs in order to find hands. boxes, model: files; camera: numbers or a file."""

    config: ExtractConfig
    boxes: str | None = None
    camera: str | None = None
    model: str | None = None

    def check(self, needs_detector: bool) -> int:
        """Opens everything that opens quickly, so that mistakes are reported before the work begins. Returns the
        number of hands in the boxes file."""
        if self.camera is not None:
            read_camera_model(self.camera)
        if self.boxes is not None:
            return len(BoxesFile(self.boxes))
        if needs_detector:
            check_detector(self.config, self.model)
        return 0


class HandFinder:
    """Used in a worker process. The detector is opened for the first frame that needs it: labelled sets do not."""

    def __init__(self, settings: FinderSettings) -> None:
        self.settings = settings
        self.camera_model = read_camera_model(settings.camera) if settings.camera is not None else None
        self.camera = self.camera_model.camera if self.camera_model else np.full((3, 3), np.nan)

    @cached_property
    def detector(self) -> Detector:
        return open_detector(self.settings.config, self.settings.boxes, self.settings.model)

    def find_in(self, frames: Iterable) -> Iterator[tuple[Any, np.ndarray, list[Hand]]]:
        """frames: as sources/ gives them (image, name, and hands where they are known). Each with the picture that was
        looked at and its hands, in order; the detector is given as many pictures at once as it takes."""
        waiting: list[tuple[Any, np.ndarray]] = []
        for frame in frames:
            if frame.hands is not None:
                yield frame, frame.image, [as_labelled(known) for known in frame.hands]
                continue
            waiting.append((frame, self.camera_model.undistort(frame.image) if self.camera_model else frame.image))
            if len(waiting) >= self.detector.batch:
                yield from self.look(waiting)
                waiting.clear()
        if waiting:
            yield from self.look(waiting)

    def look(self, waiting: list[tuple[Any, np.ndarray]]) -> Iterator[tuple[Any, np.ndarray, list[Hand]]]:
        found = self.detector.find_hands([image for _, image in waiting], [frame.name for frame, _ in waiting])
        for (frame, image), hands in zip(waiting, found, strict=True):
            yield frame, image, [(hand, self.camera, {}) for hand in hands]


def as_labelled(known) -> Hand:
    """known: a KnownHand of sources/; without a box, the whole image is the hand."""
    box = np.full(4, np.nan) if known.box is None else known.box
    return Detection(box, known.side, whole=known.box is None), known.camera, known.as_label()
