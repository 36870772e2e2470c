"""Corrections of an estimator in and out of files: the hands to fit one, and how it is stored."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from handtool import store
from handtool.accounting import Accounting
from handtool.config import CorrectConfig
from handtool.errors import HandtoolError
from handtool.hands.align import relative_to
from handtool.hands.canonical import canonical_camera, canonical_joints, canonical_keypoints
from handtool.hands.correction import LEAST, Correction, find_folds
from handtool.hands.crop_maps import CropMaps
from handtool.hands.groups import Origin, find_groups, find_units
from handtool.hands.skeleton import bone_length
from handtool.nn.files.data import StoredHands, read_labels
from handtool.nn.files.labelled_hands import take_fraction
from handtool.nn.models.pose_model import Contract
from handtool.store import CROPS, File

KIND = "correction"


@dataclass(frozen=True)
class CorrectedHands:
    """Hands whose joints both the labels and the estimator know, canonical."""

    estimated: np.ndarray  # (n, 21, 3) m
    xy: np.ndarray  # (n, 21, 2) px
    camera: np.ndarray  # (n, 3, 3), NaN unknown
    truth: np.ndarray  # (n, 21, 3) m about the wrist, axes of the camera
    folds: np.ndarray  # (n,)
    hands: StoredHands  # all N rows
    accounting: Accounting


def read_corrected(source: File, config: CorrectConfig, found: Mapping[str, np.ndarray]) -> CorrectedHands:
    """found: of keypoints.find_joints. Raises HandtoolError if labels are missing, or fewer than 10 hands have both."""
    labels, hands = read_labels(source)
    complete, seen = labels.valid.all(1).numpy(), (found["reason"] == "") & is_seen(found)
    accounting = Accounting("hands")
    accounting.skip("not all joints labelled", int((~complete).sum()))
    accounting.skip(f"not seen by {config.correct}", int((complete & ~seen).sum()))
    rows, groups = np.flatnonzero(complete & seen), find_groups([Origin(**store.read_origin(source))])
    kept = rows[take_fraction(groups.hand[rows], config.label_fraction, config.label_choice, config.seed)]
    accounting.skip(f"not in the label fraction {config.label_fraction:g}", len(rows) - len(kept))
    if len(kept) > config.most:
        chosen = np.sort(np.random.default_rng((config.seed, 5)).permutation(len(kept))[: config.most])
        accounting.skip(f"more than {config.most}", len(kept) - config.most)
        kept = kept[chosen]
    accounting.done = len(kept)
    if len(kept) < LEAST:
        raise HandtoolError(
            f"{len(kept)} labelled hands of {source.path} are seen by {config.correct}: a correction needs {LEAST}",
            hint="label more hands",
        )
    folds = find_folds(find_units(groups, "video", source.path, "--correct")[kept])
    truth = relative_to(labels.joints[kept].numpy())
    return CorrectedHands(*read_canonical(source, found, kept), truth, folds, hands, accounting)


def is_seen(found: Mapping[str, np.ndarray]) -> np.ndarray:
    """(N,): whether the estimator knows a hand in 3D and on the picture."""
    return np.isfinite(found["joints"]).all((1, 2)) & np.isfinite(found["xy"]).all((1, 2))


def read_canonical(
    source: File, found: Mapping[str, np.ndarray], rows: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What the estimator found of these hands, as right ones: joints (n, 21, 3) m in the axes of the crops' cameras,
    xy (n, 21, 2) px; these cameras."""
    side, size = store.read_column(source, CROPS.side)[rows], int(store.read_attrs(source, CROPS)["size"])
    joints, xy = found["joints"][rows].astype(np.float64), found["xy"][rows].astype(np.float64)
    crops = CropMaps(**store.read_geometry(source))[rows]
    joints, camera = crops.joints_to_crop(joints), canonical_camera(crops.camera, side, size)
    return canonical_joints(joints, side), canonical_keypoints(xy, side, size), camera


def write_correction(sink: Any, correction: Correction, hands: CorrectedHands, config: Mapping[str, object]) -> None:
    """Write /weights of the kind `correction`; `config`: the settings of the run. It has the contract of a pose model,
    so that footage is cut as the labelled hands were, though no input of its own."""
    bone, stored = float(bone_length(hands.truth).mean()), hands.hands
    contract = Contract(size=stored.size, box_scale=stored.box_scale, bone_m=bone, head=KIND)
    words = {name: np.array(value) if isinstance(value, tuple) else value for name, value in asdict(contract).items()}
    attrs = {"kind": KIND, "estimator": config["correct"], "config": json.dumps(dict(config))} | words
    attrs |= {"depth": correction.depth}
    arrays = {f"correction.{name}": getattr(correction, name) for name in ("known", "weights", "bones")}
    store.write_weights(sink, arrays, attrs=attrs)


def read_correction(pose: File) -> Correction:
    arrays, attrs = store.read_weights(pose)
    if "correction.bones" not in arrays:
        raise HandtoolError(
            f"{pose.path} was made by an older version and corrects in another way",
            hint=f"handtool finetune train.h5 --correct {attrs['estimator']} --force -o {pose.path}",
        )
    known, weights, bones = (arrays[f"correction.{name}"] for name in ("known", "weights", "bones"))
    return Correction(known, weights, float(attrs["depth"]), bones)
