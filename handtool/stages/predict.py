"""predict: a 3D pose and 2D keypoints for every crop, by a pose model or by an estimator that knows 3D without labels;
with --smooth smoothed along each track."""

import json
import logging
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from handtool import store
from handtool.accounting import Accounting
from handtool.config import PredictByEstimatorConfig, PredictConfig
from handtool.engine.local import LOST
from handtool.errors import HandtoolError
from handtool.hands.camera import place_robustly
from handtool.hands.crop_maps import CropMaps
from handtool.hands.hand_size import CHILD, PARENT, REFERENCE, bone_lengths, read_length_m, size_factor, usual_lengths
from handtool.hands.motion import Trembling, find_still
from handtool.hands.skeleton import bone_length
from handtool.hands.smoothing import OneEuro, metres_per_pixel, trajectories
from handtool.progress import Progress, silent
from handtool.store import CROPS, LABELS, PREDICTIONS, UNKNOWN, File, Sink
from handtool.vision.guarded import ESTIMATOR_FAILED

if TYPE_CHECKING:
    from handtool.nn.models.pose_model import Contract

log = logging.getLogger(__name__)


def check_machine(config: PredictConfig) -> None:
    """Raises HandtoolError if the device is missing; the only check before `up to date`."""
    from handtool.nn.files.inference import find_device  # torch takes seconds to load, an estimator needs none of it

    find_device(config.device)


def read_contract(model: File, config: PredictConfig) -> "Contract":
    """What the model expects of its input. Raises HandtoolError if it is no pose model, or does not support --flip."""
    if not isinstance(model, File):
        raise HandtoolError(
            f"{model} is not a pose model of handtool", hint=f"handtool finetune train.h5 --init {model} -o pose.h5"
        )
    model.need("weights", hint="handtool finetune train.h5 -o pose.h5")
    from handtool.nn.files.inference import check_flip
    from handtool.nn.files.pose_weights import read_contract

    contract = read_contract(model)
    check_flip(contract, config)
    return contract


def predict(source: File, sink: Sink, config: PredictConfig, progress: Progress = silent, *, model: File) -> dict:
    """Write /predictions: one pose per crop, in the camera frame where the camera is known, else relative to the wrist.

    `model`: a pose.h5. Raises HandtoolError if there are no crops, `model` is no pose model, or the bone or device
    asked for is missing.
    """
    from handtool.nn.files.data import read_stored_hands
    from handtool.nn.files.inference import find_scale, predict_file

    source.need(CROPS, hint="handtool extract VIDEOS -o crops.h5")
    contract = read_contract(model, config)
    hands = read_stored_hands(source)
    _, scale_source = find_scale(hands, contract.bone_m, config.bone)
    columns = predict_file(source, model, config, progress)
    accounting = Accounting("hands", done=int(columns["valid"].sum()))
    accounting.skip("no true bone length", int((columns["scale"] != columns["scale"]).sum()))
    accounting.fail("prediction not finite", len(hands.side) - accounting.total)
    if not accounting.done:
        raise HandtoolError(f"{source.path}: none of {len(hands.side)} hands could be predicted", hint="--bone mean")
    report = write(source, sink, columns, scale_source, accounting, config)
    return report | {"side_unknown_as_right": int((hands.side == UNKNOWN).sum()), "scale_source": scale_source}


def predict_by_estimator(source: File, sink: Sink, config: PredictByEstimatorConfig, found: dict[str, Any]) -> dict:
    """Write /predictions from what an estimator knows of every hand in 3D (`found`: of keypoints.find_joints).

    Where the camera is known, a hand is placed on the rays of its keypoints. Raises HandtoolError if no hand was seen,
    or if --bone asks for a length that nobody knows.
    """
    columns, scale_source = columns_of_estimate(source, found, config.bone)
    accounting, reasons = Accounting("hands", done=int(columns["valid"].sum())), Counter(found["reason"])
    del reasons[""]
    for reason, count in reasons.items():
        (accounting.fail if reason.startswith((*LOST, ESTIMATOR_FAILED)) else accounting.skip)(str(reason), count)
    accounting.skip("no true bone length", len(columns["valid"]) - accounting.total)
    if not accounting.done:
        told = ", ".join([*accounting.skipped, *accounting.failed])
        message = f"{source.path}: none of {accounting.total} hands could be predicted ({told})"
        look = f"look at them: handtool show {source.path}"
        raise HandtoolError(message, hint="--onnx joints=NAME" if reasons["no 3D from the estimator"] else look)
    report = write(source, sink, columns, scale_source, accounting, config, found["api"])
    origins = Counter(found["origin"][columns["valid"]].tolist())
    return report | {"joints_from": dict(sorted(origins.items())), "scale_source": scale_source}


def columns_of_estimate(source: File, found: dict[str, Any], bone: str = "auto") -> tuple[dict[str, np.ndarray], str]:
    """The columns of /predictions, and the source of the scale: "estimator" for its own size, "truth" or "given".

    bone: "auto" keeps the estimator's size. With "truth" or a length in mm the whole hand gets that size, by one factor
    for all its bones: to the true lengths of this hand, or to those of an adult hand whose reference bone is so long.
    """
    joints, scale_source = found["joints"].astype(np.float64), "estimator"
    scale = bone_length(joints)
    if bone != "auto":
        lengths, scale, scale_source = find_lengths(source, bone)
        joints = joints * size_factor(joints, lengths)[:, None, None]
    valid = np.isfinite(joints).all((1, 2)) & (found["reason"] == "")
    crops = CropMaps(**store.read_geometry(source))
    turned = crops.joints_to_crop(joints)
    place = place_robustly(turned, found["xy"], crops.camera)
    absolute = np.isfinite(place).all(1)
    joints = np.where(absolute[:, None, None], crops.joints_to_frame(turned + place[:, None]), joints)
    floats = {"joints": joints, "keypoints": found["xy"], "scale": scale}
    columns = {name: values.astype(np.float32) for name, values in floats.items()}
    return columns | {"valid": valid, "absolute": absolute}, scale_source


def find_lengths(source: File, bone: str) -> tuple[np.ndarray, np.ndarray, str]:
    """The lengths (N, 20) of the bones and (N,) of the reference bone, m, NaN unknown, and where they come from.

    bone: "truth" or mm. Where only the reference bone is published, the others are an adult hand's. Raises
    HandtoolError.
    """
    count = source.count(CROPS)
    if bone == "mean":
        raise HandtoolError(
            "--bone mean is of a trained model; an estimator has no training hands", hint="leave --bone out"
        )
    if bone != "truth":
        given = np.full(count, read_length_m(bone))
        return usual_lengths(given), given, "given"
    known = np.full(count, np.nan)
    lengths = usual_lengths(known)
    if source.has(LABELS):
        joints, valid = store.read_column(source, LABELS.joints), store.read_column(source, LABELS.valid)
        measured = np.where(valid[:, PARENT] & valid[:, CHILD], bone_lengths(joints.astype(np.float64)), np.nan)
        known = store.read_column(source, LABELS.scale).astype(np.float64)
        lengths = np.where(np.isfinite(measured).any(1, keepdims=True), measured, usual_lengths(known))
        known = np.where(np.isfinite(known), known, measured[:, REFERENCE])
    if not np.isfinite(lengths).any():
        raise HandtoolError("--bone truth: the file has no labels with a bone length", hint="leave --bone out")
    return lengths, known, "truth"


def write(
    source: File,
    sink: Sink,
    columns: dict[str, np.ndarray],
    scale_source: str,
    accounting: Accounting,
    config: PredictConfig | PredictByEstimatorConfig,
    api: dict[str, str] | None = None,
) -> dict:
    """Smooth if that is asked for, write /predictions, and return the beginning of the report."""
    smoothed, still = smooth(source, columns, config) if config.smooth else (None, {})
    attrs = {"scale_source": scale_source} | (describe_filter(config) if config.smooth else {}) | (api or {})
    store.write_table(sink, PREDICTIONS, columns, attrs=attrs)
    sink.inherit(source, but=(PREDICTIONS,))
    return {
        "accounting": [each.as_report() for each in (accounting, smoothed) if each],
        "in_camera_frame": int((columns["absolute"] & columns["valid"]).sum()),
        "relative_to_wrist": int((~columns["absolute"] & columns["valid"]).sum()),
        "camera_source": count_cameras(source),
    } | ({"still_hands": still} if still else {})


def count_cameras(source: File) -> dict[str, int]:
    """Hands by what is known of their camera."""
    known = np.isfinite(store.read_column(source, CROPS.camera)).all((1, 2))
    assumed = store.read_column(source, CROPS.camera_assumed) if source.has(CROPS.camera_assumed) else known & False
    counts = {"known": (known & ~assumed).sum(), "assumed": assumed.sum(), "none": (~known).sum()}
    if counts["none"]:
        log.info(
            "%d hands without a camera have no place in space, their joints are relative to the wrist; of videos and "
            "images one can be assumed: --camera fov=65",
            counts["none"],
        )
    return {name: int(count) for name, count in counts.items() if count}


def describe_filter(config: PredictConfig | PredictByEstimatorConfig) -> dict:
    settings = {
        "min_cutoff_hz": config.min_cutoff,
        "beta_hz_per_m_per_s": config.beta,
        "derivative_cutoff_hz": config.derivative_cutoff,
    }
    return {"smoothing": json.dumps(settings)}


def smooth(
    source: File, columns: dict[str, np.ndarray], config: PredictConfig | PredictByEstimatorConfig
) -> tuple[Accounting, dict]:
    """Smooths joints and keypoints of each track, in place; the keypoints in frame coordinates, since the crop moves
    with the hand.

    A hand without a prediction is skipped, as if its frame did not exist. Returns the accounting of the hands, and how
    much still hands tremble before and after.
    """
    euro = OneEuro(config.min_cutoff, config.beta, config.derivative_cutoff)
    time, track, video, side = (
        store.read_column(source, column) for column in (CROPS.time, CROPS.track, CROPS.video, CROPS.side)
    )
    crops, valid = CropMaps(**store.read_geometry(source)), columns["valid"]
    everywhere = crops.to_frame(columns["keypoints"])
    seen = valid & np.isfinite(everywhere).all((1, 2))
    counts, before, after = Accounting("hands smoothed"), Trembling(), Trembling()
    for rows in trajectories(time, track, video, side, columns["absolute"]):
        rows = rows[seen[rows]]
        on_frame = everywhere[rows]
        joints = columns["joints"][rows].astype(np.float64)
        columns["joints"][rows] = euro.filter_hand(joints, time[rows])
        still = find_still(on_frame, time[rows])
        before.add(joints, time[rows], still)
        after.add(columns["joints"][rows].astype(np.float64), time[rows], still)
        moved = euro.filter_hand(on_frame, time[rows], metres_per_pixel(joints, on_frame))
        columns["keypoints"][rows] = crops[rows].to_crop(moved)
        counts.done += len(rows)
    lone = valid & ((track < 0) | ~np.isfinite(time))
    counts.skip("no prediction", int((~valid).sum()))
    counts.skip("of no track", int(lone.sum()))
    counts.skip("in part where the lens ends", int((valid & ~lone & ~seen).sum()))
    if not counts.done:
        log.warning(
            "no hand is part of a track, nothing was smoothed: look at more frames a second, or extract with "
            "--track-fps"
        )
    return counts, {"before": before.as_report(), "after": after.as_report()} if before.frames else {}
