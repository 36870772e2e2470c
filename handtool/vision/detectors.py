"""Which detector looks, by what was asked for."""

from handtool.vision.boxes_file import BoxesFile
from handtool.vision.contracts import Detector
from handtool.vision.mediapipe import MediaPipeDetector, require_mediapipe
from handtool.vision.whole import WholeImage


def open_detector(name: str, boxes: str | None, whole: bool, min_score: float) -> Detector:
    """boxes: a file of known hands; whole: every image is a hand; otherwise the detector of that name. Raises HandtoolError."""
    if whole:
        return WholeImage()
    if boxes is not None:
        return BoxesFile(boxes)
    assert name == "mediapipe", name
    return MediaPipeDetector(min_score)


def check_detector(boxes: str | None, whole: bool, min_score: float) -> None:
    """Raises the HandtoolError of `open_detector`, without the seconds that a model takes to load."""
    if boxes is not None:
        BoxesFile(boxes)
    elif not whole:
        require_mediapipe()
