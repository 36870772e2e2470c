"""The error of a pose model on held-out hands during training."""

from contextlib import closing
from dataclasses import dataclass

import numpy as np
import torch

from handtool.errors import HandtoolError
from handtool.hands.canonical import canonical_joints
from handtool.nn.files.data import Crops
from handtool.nn.files.inference import predict_batch
from handtool.nn.files.labelled_hands import TrainingHands
from handtool.nn.files.loader import count_workers, in_order, read_crops
from handtool.nn.files.transfer import move_ahead
from handtool.nn.models import collectives
from handtool.nn.models.pose_model import PoseModel
from handtool.nn.training.distributed import Place

BATCH = 64
FEW = 1024  # decoding so few hands takes less time than starting workers


@dataclass(frozen=True)
class Validation:
    """The held-out hands, and how long to go on without an improvement on them."""

    crops: Crops
    hands: TrainingHands
    place: Place
    workers: int
    half: bool  # predict in bf16
    patience: int  # epochs without improvement; 0: no limit

    def score(self, model: PoseModel) -> float:
        """Mean distance of the joints of the held-out hands from the truth, each hand relative to its wrist, with the
        true bone length, in mm.

        Every process scores its share; all get the mean. Leaves the model in evaluation mode. Raises HandtoolError if
        none of the hands can be scored.
        """
        device, hands, stored = next(model.parameters()).device, self.hands, self.hands.hands
        model.eval()
        sums, done = torch.zeros(2, dtype=torch.float64), 0
        rows = hands.held[self.place.rank :: self.place.processes]
        batches = [rows[batch] for batch in in_order(len(rows), BATCH)]
        many = count_workers(self.workers, self.place.local_processes) if len(rows) > FEW else 0
        with closing(move_ahead(read_crops(self.crops, batches, many, self.place.local_processes), device)) as reading:
            for images in reading:
                here = rows[done : done + len(images)]
                done += len(here)
                truth, side = hands.labels.rows(here), stored.side[here]
                predicted, _ = predict_batch(model, images, side, stored.camera[here], "bf16" if self.half else "fp32")
                predicted = predicted * truth.bone.numpy()[:, None, None]
                # mirrored back, as the prediction is
                joints, valid = (canonical_joints(truth.joints.numpy(), side), truth.valid.numpy())
                error = np.linalg.norm((predicted - predicted[:, :1]) - (joints - joints[:, :1]), axis=2)
                scored = valid & valid[:, :1] & np.isfinite(error)
                sums += torch.tensor([error[scored].sum(), scored.sum()])
        total, count = collectives.total(sums).tolist()
        if not count:
            raise HandtoolError(
                "no held-out hand has a wrist, another joint and a bone length to be scored by", hint="--val-share 0"
            )
        # as the curve stores it, so that a resumed run compares the same numbers
        return float(np.float32(1000 * total / count))

    def should_stop(self, scores: list[float]) -> bool:
        """Whether `patience` epochs have passed since the best score; NaN entries are no epochs."""
        finite = np.array([score for score in scores if np.isfinite(score)])
        return bool(self.patience and len(finite)) and len(finite) - 1 - int(np.argmin(finite)) >= self.patience
