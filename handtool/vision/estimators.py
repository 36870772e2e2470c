"""The keypoint estimators by name, and which one is opened."""

from collections.abc import Callable
from typing import Any

from handtool.config import KeypointsConfig
from handtool.vision.contracts import Estimator
from handtool.vision.mediapipe import MediaPipeKeypoints, require_mediapipe
from handtool.vision.onnx_keypoints import OnnxKeypoints


def open_pose(config: KeypointsConfig, model: Any) -> Estimator:
    from handtool.vision.pose_model import PoseKeypoints  # torch, which the others do not need

    return PoseKeypoints(model, config.device)


# Opened with the settings and its model: of `mediapipe` None or a .task file, of `model` an open pose.h5, else a path.
# Raises HandtoolError.
ESTIMATORS: dict[str, Callable[[KeypointsConfig, Any], Estimator]] = {
    "mediapipe": lambda config, model: MediaPipeKeypoints(config.min_score, model),
    "onnx": lambda config, model: OnnxKeypoints(model, config.onnx, config.device),
    "model": open_pose,
}


def check_estimator(name: str, config: KeypointsConfig, model: Any) -> None:
    """Raises the HandtoolError of opening it, without the seconds that MediaPipe takes to load."""
    if name == "mediapipe":
        require_mediapipe(model)
    else:
        ESTIMATORS[name](config, model)
