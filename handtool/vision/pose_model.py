"""Our own pose model as keypoint estimator: it uses nn/files/inference.py, the forward pass of predict and eval."""

from typing import Any

import numpy as np

from handtool.nn.files.inference import find_device, find_keypoints, read_pose
from handtool.vision.contracts import EstimatedHand, HandCrop


class PoseKeypoints:
    """In float32 (on CUDA as cuDNN multiplies it, in TF32). A regression has no certainty: the score is 1, and NaN
    means not found."""

    batch = 32

    def __init__(self, pose: Any, device: str = "auto") -> None:
        """pose: an open pose.h5. Raises HandtoolError if it holds other weights, or the device is missing."""
        self.model = read_pose(pose).to(find_device(device))

    def find_keypoints(self, crops: list[HandCrop]) -> list[EstimatedHand | None]:
        images, side = np.stack([crop.image for crop in crops]), np.array([crop.side for crop in crops])
        points = find_keypoints(self.model, images, side, np.stack([crop.camera for crop in crops]))
        return [EstimatedHand(xy, np.ones(len(xy))) if np.isfinite(xy).all() else None for xy in points]
