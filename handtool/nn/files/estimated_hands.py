"""What the estimator knows of the hands of a file besides their 2D keypoints, as canonical right hands."""

from collections.abc import Sequence

import numpy as np
import torch

from handtool import store
from handtool.hands.canonical import canonical_joints
from handtool.hands.hand_size import usual_reference
from handtool.nn.files.data import turn_to_crops
from handtool.nn.models.objectives.estimated_pose import EstimatedHands
from handtool.store import CROPS, KEYPOINTS, File


def read_estimated(files: Sequence[File]) -> EstimatedHands:
    """Of all rows of the files, one after the other; NaN joints where the estimator knows no 3D."""
    score, joints = (np.concatenate(parts) for parts in zip(*map(read_scores_and_joints, files), strict=True))
    bone = usual_reference(joints.astype(np.float64)).astype(np.float32)
    return EstimatedHands(*map(torch.from_numpy, (score, joints, bone)))


def read_scores_and_joints(file: File) -> tuple[np.ndarray, np.ndarray]:
    """(N, 21) and (N, 21, 3) m about the wrist, in the axes of the crops' cameras, left hands mirrored; float32."""
    score, side = store.read_column(file, KEYPOINTS.score), store.read_column(file, CROPS.side)
    if not file.has(KEYPOINTS.joints):
        return score, np.full((len(score), 21, 3), np.nan, np.float32)
    return score, canonical_joints(turn_to_crops(file, store.read_column(file, KEYPOINTS.joints)), side)
