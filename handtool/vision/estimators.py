"""Which estimator finds the keypoints, by what was asked for."""

from typing import Any

from handtool.vision.contracts import Estimator
from handtool.vision.mediapipe import MediaPipeKeypoints, require_mediapipe
from handtool.vision.onnx_keypoints import OnnxKeypoints


def open_estimator(
    name: str, model: Any, min_score: float, onnx: tuple[str, ...] = (), device: str = "auto"
) -> Estimator:
    """model: for `mediapipe` None or a .task file, for `onnx` a path, for `model` an open pose.h5. Raises HandtoolError."""
    match name:
        case "mediapipe":
            return MediaPipeKeypoints(min_score, model)
        case "onnx":
            return OnnxKeypoints(model, onnx, device)
        case "model":
            from handtool.vision.pose_model import PoseKeypoints  # torch, which the others do not need

            return PoseKeypoints(model, device)
    raise AssertionError(name)


def check_estimator(name: str, model: Any, min_score: float, onnx: tuple[str, ...] = (), device: str = "auto") -> None:
    """Raises the HandtoolError of `open_estimator`, without the seconds that MediaPipe takes to load."""
    if name == "mediapipe":
        require_mediapipe(model)
    else:
        open_estimator(name, model, min_score, onnx, device)
