"""From crops to poses: the one forward pass of predict, eval and our own model as keypoint estimator.

The model gets canonical right hands; its results are converted back to the hands as stored.
Shapes: N hands, B hands of a batch, K = 21 joints.
"""

import logging
from contextlib import closing
from typing import Any

import numpy as np
import torch
from torch import Tensor

from handtool import store
from handtool.config import PredictConfig
from handtool.errors import HandtoolError
from handtool.hands.boxes import same_scale
from handtool.hands.canonical import canonical_camera, canonical_joints, canonical_keypoints
from handtool.hands.crop_maps import CropMaps
from handtool.hands.hand_size import read_length_m
from handtool.hands.skeleton import LEFT, RIGHT
from handtool.nn.files.data import Crops, StoredHands, read_stored_hands
from handtool.nn.files.loader import count_workers, in_order, read_crops
from handtool.nn.files.pose_weights import read_pose
from handtool.nn.files.transfer import move_ahead
from handtool.nn.models.pose_model import Contract, PoseModel, assumed_camera
from handtool.nn.views.augmentation import render_inputs, whole_crop
from handtool.nn.views.device import explain_out_of_memory
from handtool.nn.views.views import move_points
from handtool.progress import Progress, silent

log = logging.getLogger(__name__)
LESS_MEMORY_HINT = "a smaller --batch-size, or --device cpu"  # the hint when memory runs out


def predict_file(source: Any, pose: Any, config: PredictConfig, progress: Progress = silent) -> dict[str, np.ndarray]:
    """The columns of /predictions for every crop of `source`, with the pose model in `pose` (both open handtool files).

    joints (N, K, 3) m: camera frame where `absolute`, else relative to the wrist; keypoints (N, K, 2) px of the crop as
    seen; valid (N,); scale (N,) m. A hand whose metric scale is unknown has NaN joints and is not valid. Raises
    HandtoolError for a file without crops, weights that are no pose model, or a missing device.
    """
    device = find_device(config.device)
    model, hands = read_pose(pose), read_stored_hands(source)
    contract = model.contract
    if not same_scale(hands.box_scale, contract.box_scale):
        told = "crops are cut at box scale %g, the model was trained at %g: expect larger errors"
        log.warning(told, hands.box_scale, contract.box_scale)
    check_flip(contract, config)
    absolute = np.isfinite(hands.camera).all((1, 2))
    if not absolute.all():
        how = "lifted with an assumed focal length of %.2f crop sides, relative to the wrist"
        log.info(f"%d hands without a camera: {how}", int((~absolute).sum()), contract.focal)
    scale, _ = find_scale(hands, contract.bone_m, config.bone)
    crops = Crops(source)
    joints, keypoints = np.empty((len(crops), 21, 3)), np.empty((len(crops), 21, 2))
    workers = count_workers(config.workers) if len(crops) > config.batch_size else 0
    done, run = 0, predict_twice if config.flip else predict_batch
    reading = move_ahead(read_crops(crops, in_order(len(crops), config.batch_size), workers), device)
    with closing(reading) as batches, explain_out_of_memory(device, config.batch_size, LESS_MEMORY_HINT):
        model.to(device)
        for images in batches:
            rows = slice(done, done + len(images))
            joints[rows], keypoints[rows] = run(model, images, hands.side[rows], hands.camera[rows], config.precision)
            done = rows.stop
            progress("predict", done, len(crops))
    turned = CropMaps(**store.read_geometry(source)).joints_to_frame(joints)
    return in_metres(turned, keypoints, scale, absolute)


def in_metres(
    joints: np.ndarray, keypoints: np.ndarray, scale: np.ndarray, absolute: np.ndarray
) -> dict[str, np.ndarray]:
    """The columns of /predictions from the results of predict_batch for N hands. scale: (N,) m; absolute: (N,) bool,
    whether the camera is known."""
    joints = joints * scale[:, None, None]
    joints = np.where(absolute[:, None, None], joints, joints - joints[:, :1])
    valid = np.isfinite(joints).all((1, 2)) & np.isfinite(keypoints).all((1, 2))
    floats = {"joints": joints, "keypoints": keypoints, "scale": scale}
    return {name: values.astype(np.float32) for name, values in floats.items()} | {"valid": valid, "absolute": absolute}


@torch.no_grad()
def predict_batch(
    model: PoseModel, crops: Tensor, side: np.ndarray, camera: np.ndarray, precision: str = "auto"
) -> tuple[np.ndarray, np.ndarray]:
    """crops (B, S, S, 3) uint8 as stored, on the model's device; side (B,), camera (B, 3, 3) of the crop, NaN unknown.

    Returns joints (B, K, 3) in reference-bone lengths, camera frame (of the assumed camera where it is unknown), and
    keypoints (B, K, 2) px of the crop; both of the hand as stored, not mirrored.
    """
    contract, width = model.contract, crops.shape[1]
    known, assumed = np.isfinite(camera).all((1, 2)), assumed_camera(width, contract.focal).numpy()
    camera = np.where(known[:, None, None], canonical_camera(camera, side, width), assumed)
    view = whole_crop(len(crops), width, contract.size)
    inputs = render_inputs(crops, view, torch.from_numpy(side == LEFT), None, contract.mean, contract.std)
    half = precision == "bf16" or (precision == "auto" and crops.is_cuda)
    with torch.autocast(crops.device.type, torch.bfloat16, enabled=half):
        outputs = model(inputs)
    joints, keypoints = model.solve(*outputs, (view.matrix @ torch.from_numpy(camera)).to(crops.device))
    in_crop = move_points(torch.linalg.inv(view.matrix), keypoints.cpu()).numpy()
    return canonical_joints(joints.cpu().numpy(), side), canonical_keypoints(in_crop, side, width)


def check_flip(contract: Contract, config: PredictConfig) -> None:
    """Raises HandtoolError if --flip is asked and the model was not trained on mirrored hands."""
    if config.flip and not contract.mirrored:
        raise HandtoolError(
            "--flip: this model never saw a mirrored hand, its answers to one would spoil the mean",
            hint="handtool finetune train.h5 --mirror 0.5, or leave --flip out",
        )


def predict_twice(
    model: PoseModel, crops: Tensor, side: np.ndarray, camera: np.ndarray, precision: str = "auto"
) -> tuple[np.ndarray, np.ndarray]:
    """As predict_batch, averaged over each hand and its mirror image (whose result is mirrored back)."""
    other = np.where(side == LEFT, RIGHT, LEFT)
    joints, keypoints = zip(*(predict_batch(model, crops, seen_as, camera, precision) for seen_as in (side, other)))
    return (joints[0] + joints[1]) / 2, (keypoints[0] + keypoints[1]) / 2


def find_keypoints(model: PoseModel, crops: np.ndarray, side: np.ndarray, camera: np.ndarray) -> np.ndarray:
    """crops (B, S, S, 3) uint8 as stored, side (B,), camera (B, 3, 3), NaN unknown -> (B, K, 2) px, float32."""
    device = next(model.parameters()).device
    with explain_out_of_memory(device, len(crops), "--device cpu" if device.type == "cuda" else "fewer --workers"):
        return predict_batch(model, torch.from_numpy(crops).to(device), side, camera, "fp32")[1]


def find_scale(hands: StoredHands, mean_bone_m: float, bone: str) -> tuple[np.ndarray, str]:
    """The reference bone (N,) in metres that turns a pose into millimetres, and its source: "truth", "mean" or "given".

    `bone`: "auto" (the truth if the file has any, else the training mean), "truth", "mean", or a length in mm. With
    "truth", hands whose true bone is unknown stay NaN: all scales of a file are of one kind, else its errors could not
    be interpreted.
    """
    num = len(hands.side)
    if bone == "auto":
        bone = "truth" if np.isfinite(hands.bone).any() else "mean"
    if bone == "truth":
        if not np.isfinite(hands.bone).any():
            raise HandtoolError(
                "--bone truth: the file has no labels with a bone length", hint="--bone mean, or --bone 25 (mm)"
            )
        return hands.bone, "truth"
    if bone == "mean":
        if not np.isfinite(mean_bone_m):
            raise HandtoolError(
                "--bone mean: the model was trained without any bone length",
                hint="--bone 25 (mm); one trained on 2D labels alone finds keypoints: handtool keypoints FILE "
                "--estimator pose.h5",
            )
        return np.full(num, mean_bone_m), "mean"
    return np.full(num, read_length_m(bone)), "given"


def find_device(device: str) -> torch.device:
    """ "auto", "cpu" or "cuda". Raises HandtoolError if CUDA is asked for and missing."""
    here = torch.cuda.is_available()
    if device not in ("auto", "cpu", "cuda"):
        raise HandtoolError(f"--device {device}: auto, cpu or cuda")
    if device == "cuda" and not here:
        raise HandtoolError("--device cuda asked, no CUDA GPU here", hint="--device cpu")
    return torch.device("cuda" if here and device != "cpu" else "cpu")
