"""predict: a 3D pose and 2D keypoints for every crop, with --smooth smoothed along each track."""

import json
import logging

import numpy as np

from handtool import store
from handtool.accounting import Accounting
from handtool.config import PredictConfig
from handtool.errors import HandtoolError
from handtool.hands.boxes import apply_affine, invert
from handtool.hands.smoothing import OneEuro, metres_per_pixel, trajectories
from handtool.nn.files.data import read_stored_hands
from handtool.nn.files.inference import check_flip, find_device, find_scale, predict_file
from handtool.nn.files.pose_weights import read_pose
from handtool.nn.models.pose_model import Contract
from handtool.progress import Progress, silent
from handtool.store import CROPS, PREDICTIONS, UNKNOWN, File, Sink

log = logging.getLogger(__name__)


def check_machine(config: PredictConfig) -> None:
    """Raises HandtoolError if the device is missing; the only check before `up to date`."""
    find_device(config.device)


def read_contract(model: File, config: PredictConfig) -> Contract:
    """What the model expects of its input. Raises HandtoolError if it is no pose model, or does not support --flip."""
    if not isinstance(model, File):
        raise HandtoolError(
            f"{model} is not a pose model of handtool", hint=f"handtool finetune train.h5 --init {model} -o pose.h5"
        )
    model.need("weights", hint="handtool finetune train.h5 -o pose.h5")
    contract = read_pose(model).contract
    check_flip(contract, config)
    return contract


def predict(source: File, sink: Sink, config: PredictConfig, progress: Progress = silent, *, model: File) -> dict:
    """Write /predictions: one pose per crop, in the camera frame where the camera is known, else relative to the wrist.

    `model`: a pose.h5. Raises HandtoolError if there are no crops, `model` is no pose model, or the bone or device
    asked for is missing.
    """
    source.need(CROPS, hint="handtool extract VIDEOS -o crops.h5")
    contract = read_contract(model, config)
    hands = read_stored_hands(source)
    _, scale_source = find_scale(hands, contract.bone_m, config.bone)
    columns = predict_file(source, model, config, progress)
    smoothed = smooth(source, columns, config) if config.smooth else None
    store.write_table(
        sink,
        PREDICTIONS,
        columns,
        attrs={"scale_source": scale_source} | (describe_filter(config) if config.smooth else {}),
    )
    sink.inherit(source, but=(PREDICTIONS,))
    accounting = Accounting("hands", done=int(columns["valid"].sum()))
    accounting.skip("no true bone length", int((columns["scale"] != columns["scale"]).sum()))
    accounting.fail("prediction not finite", len(hands.side) - accounting.total)
    if not accounting.done:
        raise HandtoolError(f"{source.path}: none of {len(hands.side)} hands could be predicted", hint="--bone mean")
    return {
        "accounting": [each.as_report() for each in (accounting, smoothed) if each],
        "in_camera_frame": int((columns["absolute"] & columns["valid"]).sum()),
        "relative_to_wrist": int((~columns["absolute"] & columns["valid"]).sum()),
        "side_unknown_as_right": int((hands.side == UNKNOWN).sum()),
        "scale_source": scale_source,
    }


def describe_filter(config: PredictConfig) -> dict:
    settings = {
        "min_cutoff_hz": config.min_cutoff,
        "beta_hz_per_m_per_s": config.beta,
        "derivative_cutoff_hz": config.derivative_cutoff,
    }
    return {"smoothing": json.dumps(settings)}


def smooth(source: File, columns: dict[str, np.ndarray], config: PredictConfig) -> Accounting:
    """Smooths joints and keypoints of each track, in place; the keypoints in frame coordinates, since the crop moves
    with the hand.

    A hand without a prediction is skipped, as if its frame did not exist. Returns the accounting of the hands.
    """
    euro = OneEuro(config.min_cutoff, config.beta, config.derivative_cutoff)
    time, track, video, side = (
        store.read_column(source, column) for column in (CROPS.time, CROPS.track, CROPS.video, CROPS.side)
    )
    crop_from_frame, valid = store.read_column(source, CROPS.crop_from_frame), columns["valid"]
    counts = Accounting("hands smoothed")
    for rows in trajectories(time, track, video, side, columns["absolute"]):
        rows = rows[valid[rows]]
        on_frame = apply_affine(invert(crop_from_frame[rows]), columns["keypoints"][rows].astype(np.float64))
        joints = columns["joints"][rows].astype(np.float64)
        columns["joints"][rows] = euro.filter_hand(joints, time[rows])
        moved = euro.filter_hand(on_frame, time[rows], metres_per_pixel(joints, on_frame))
        columns["keypoints"][rows] = apply_affine(crop_from_frame[rows], moved)
        counts.done += len(rows)
    lone = valid & ((track < 0) | ~np.isfinite(time))
    counts.skip("no prediction", int((~valid).sum()))
    counts.skip("of no track", int(lone.sum()))
    if not counts.done:
        log.warning(
            "no hand is part of a track, nothing was smoothed: look at more frames a second, or extract with "
            "--track-fps"
        )
    return counts
