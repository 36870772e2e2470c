"""The detectors by name, and which one is opened."""

from collections.abc import Callable

from handtool.config import ExtractConfig
from handtool.vision.boxes_file import BoxesFile
from handtool.vision.contracts import Detector
from handtool.vision.mediapipe import MediaPipeDetector
from handtool.vision.mediapipe_package import find_api
from handtool.vision.onnx_detector import OnnxDetector
from handtool.vision.whole_image import WholeImage

# Opened with the settings and the file of its model, if one is named. Raises HandtoolError.
DETECTORS: dict[str, Callable[[ExtractConfig, str | None], Detector]] = {
    "mediapipe": lambda config, model: MediaPipeDetector(config.min_score, model),
    "onnx": lambda config, model: OnnxDetector(model, config.onnx, config.min_score, config.device),
}


def open_detector(config: ExtractConfig, boxes: str | None = None, model: str | None = None) -> Detector:
    """boxes: a file of known hands, in place of a detector; model: the detector's own file. Raises HandtoolError."""
    if config.whole:
        return WholeImage()
    return BoxesFile(boxes) if boxes is not None else DETECTORS[config.detector](config, model)


def check_detector(config: ExtractConfig, model: str | None = None) -> None:
    """Raises the HandtoolError of `open_detector`, without the seconds that MediaPipe takes to load."""
    if config.detector == "mediapipe" and not config.whole:
        find_api(model)
    else:
        open_detector(config, None, model)


def describe_detector(config: ExtractConfig, boxes: str | None, model: str | None) -> dict[str, str]:
    """What is recorded of it as attributes of /crops. Raises HandtoolError."""
    is_mediapipe = config.detector == "mediapipe" and not config.whole and boxes is None
    return find_api(model).as_attrs() if is_mediapipe else {}
