"""The keypoint estimators by name, and which one is opened."""

from collections.abc import Callable
from typing import Any

from handtool.config import KeypointsConfig
from handtool.vision.contracts import Estimator
from handtool.vision.mediapipe import MediaPipeKeypoints
from handtool.vision.mediapipe_package import find_api
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
        find_api(model)
    else:
        ESTIMATORS[name](config, model)


def describe_estimator(name: str, model: str | None) -> dict[str, str]:
    """What is recorded of it as attributes of /keypoints. Raises HandtoolError."""
    return find_api(model).as_attrs() if name == "mediapipe" else {}
