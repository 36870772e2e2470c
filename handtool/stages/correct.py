"""finetune --correct: what an estimator of 3D gets wrong, learnt from a few labelled hands, in seconds."""

from dataclasses import asdict

import numpy as np

from handtool import store
from handtool.config import CorrectConfig
from handtool.hands.canonical import canonical_joints
from handtool.hands.correction import fit_correction, see_upright
from handtool.hands.crop_maps import CropMaps
from handtool.progress import Progress, silent
from handtool.store import CROPS, File, Sink


def correct(
    source: File, sink: Sink, config: CorrectConfig, found: dict[str, np.ndarray], progress: Progress = silent
) -> dict:
    """Fit the correction on the labelled hands of `source` that the estimator sees; write it as a pose.h5.

    found: of keypoints.find_joints. Raises HandtoolError if labels are missing, or fewer than 10 hands have both.
    """
    from handtool.nn.files.correction import read_corrected, write_correction

    hands = read_corrected(source, config, found)
    poses, turn = see_upright(hands.estimated, hands.xy, hands.camera)
    correction, error_m = fit_correction(poses, hands.truth @ turn.transpose(0, 2, 1), hands.folds)
    write_correction(sink, correction, hands, asdict(config))
    return {
        "accounting": [hands.accounting.as_report()],
        "corrected": config.correct,
        "trained_on": len(hands.truth),
        "estimator_mm": 1000 * mean_error(hands.estimated, hands.truth),
        "cross_validated_mm": 1000 * error_m,
        "folds": int(hands.folds.max()) + 1,
        "depth_factor": correction.depth,
    }


def mean_error(estimated: np.ndarray, truth: np.ndarray) -> float:
    """Mean distance of the joints, each hand relative to its wrist."""
    return float(np.linalg.norm((estimated - estimated[:, :1]) - (truth - truth[:, :1]), axis=2).mean())


def find_estimator(model: object) -> str | None:
    """The estimator that `model` corrects; None if it is a network, or no file of ours."""
    if not isinstance(model, File) or not model.has("weights"):
        return None
    attrs = store.read_attrs(model, "weights")
    return attrs["estimator"] if attrs.get("kind") == "correction" else None


def apply_correction(source: File, model: File, found: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What the estimator found of the hands of `source` (of keypoints.find_joints), with corrected joints."""
    from handtool.nn.files.correction import is_seen, read_canonical, read_correction

    joints, seen = found["joints"].astype(np.float64), np.flatnonzero(is_seen(found))
    corrected = read_correction(model).apply(*read_canonical(source, found, seen))
    turned = canonical_joints(corrected, store.read_column(source, CROPS.side)[seen])
    joints[seen] = CropMaps(**store.read_geometry(source))[seen].joints_to_frame(turned)
    return found | {"joints": joints}


def resolve_bone(model: File, bone: str) -> str:
    """`bone`, where "mean" is the length of the training hands in mm."""
    return f"{1000 * float(store.read_attrs(model, 'weights')['bone_m']):.6g}" if bone == "mean" else bone
