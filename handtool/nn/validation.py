"""How good a pose model is on hands that it does not train on, while it trains."""

from contextlib import closing

import numpy as np

from handtool.errors import HandtoolError
from handtool.hands.canonical import canonical_joints
from handtool.nn.augment import LabelledHands
from handtool.nn.data import Crops, count_workers, in_order, read_crops
from handtool.nn.infer import predict_batch
from handtool.nn.pose import PoseModel

BATCH = 64
FEW = 1024  # hands that are decoded sooner than worker processes start


def validate(model: PoseModel, crops: Crops, rows: np.ndarray, labels: LabelledHands, side: np.ndarray, camera: np.ndarray, workers: int,
             precision: str) -> float:
    """Mean distance of the joints of `rows` from the truth, each hand relative to its wrist, with the true bone length, in mm.

    `labels` are of the canonical hands, `side` (N,) and `camera` (N, 3, 3) of the crops as stored; all N hands of the file. Leaves the
    model in evaluation mode. Raises HandtoolError where none of the hands can be scored.
    """
    device = next(model.parameters()).device
    model.eval()
    total, count, done = 0.0, 0, 0
    batches = [rows[batch] for batch in in_order(len(rows), BATCH)]
    with closing(read_crops(crops, batches, count_workers(workers) if len(rows) > FEW else 0)) as reading:
        for images in reading:
            here = rows[done : done + len(images)]
            done += len(here)
            truth = labels.rows(here)
            predicted, _ = predict_batch(model, images.to(device), side[here], camera[here], precision)
            predicted = predicted * truth.bone.numpy()[:, None, None]
            joints, valid = canonical_joints(truth.joints.numpy(), side[here]), truth.valid.numpy()  # mirrored back, as the prediction is
            error = np.linalg.norm((predicted - predicted[:, :1]) - (joints - joints[:, :1]), axis=2)
            scored = valid & valid[:, :1] & np.isfinite(error)
            total, count = total + error[scored].sum(), count + int(scored.sum())
    if not count:
        raise HandtoolError("no held-out hand has a wrist, another joint and a bone length to be scored by", hint="--val-share 0")
    return float(np.float32(1000 * total / count))  # as the curve keeps it, so that a resumed run compares the same numbers
