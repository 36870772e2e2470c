"""The contrastive training loop: crops in, checkpoints out. Knows nothing of files but the rows and the job that it is given.

Shapes: N hands, M training items, B items of this process' share of a batch, V views an item, J keypoints, D projection numbers.
"""

import logging
from contextlib import closing
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.amp import GradScaler
from torch.nn.functional import normalize
from torch.nn.parallel import DistributedDataParallel

from handtool.accounting import Accounting
from handtool.config import METHODS, PretrainConfig
from handtool.nn.files.data import Crops, step_rng
from handtool.nn.files.loader import count_workers, read_crops
from handtool.nn.files.pairs import TrainingPairs
from handtool.nn.files.transfer import move_ahead
from handtool.nn.files.weights import init_encoder
from handtool.nn.models import collectives
from handtool.nn.models.batch_norm import share_batch_norm
from handtool.nn.models.contrastive import BatchLoss, ContrastiveModel, watch
from handtool.nn.training import distributed
from handtool.nn.training.checkpoint import pack, unpack
from handtool.nn.training.curve import Clock, Curve
from handtool.nn.training.distributed import Place
from handtool.nn.training.interrupt import Sigterm
from handtool.nn.training.optimiser import learning_rate, make_optimiser, set_learning_rate
from handtool.nn.training.pretrain_plan import Plan
from handtool.nn.training.step_memory import shortage_named
from handtool.nn.training.tensorboard import TensorBoard
from handtool.nn.views.device import send
from handtool.nn.views.equivariance import undo_views
from handtool.nn.views.precision import raise_half
from handtool.nn.views.views import DRAWS, ViewRanges, Views, make_views, render
from handtool.progress import Progress

log = logging.getLogger(__name__)


class CheckpointStore(Protocol):
    """Where checkpoints are kept: a job of the store."""

    def has(self, name: str) -> bool: ...

    def load(self, name: str) -> dict: ...

    def save(self, name: str, values: dict) -> None: ...


@dataclass(frozen=True)
class ContrastiveHands:
    """What training knows of each hand beside its pixels, and which it pairs."""

    pairs: TrainingPairs
    xy: Tensor  # (N, J, 2) float64, px of the canonical crop
    flipped: Tensor  # (N,) bool: a left hand, mirrored to look like a right one
    accounting: Accounting
    unknown_side: int  # anchors


def train(
    place: Place,
    crops: Crops,
    hands: ContrastiveHands,
    plan: Plan,
    config: PretrainConfig,
    job: CheckpointStore | None,
    progress: Progress,
) -> None:
    """From the last checkpoint to the last step; rank 0 has a job, and ends with a checkpoint in it."""
    with (
        distributed.joined(place),
        Sigterm() as sigterm,
        shortage_named(config, plan, place, hands.pairs.num_views, crops.size),
    ):
        state = distributed.broadcast(load_state(job, plan))
        model = make_model(config, fresh=state is None, place=place)
        optimiser = make_optimiser(model, config, plan.peak_rate)
        scaler = GradScaler(
            place.device, enabled=plan.precision == "fp16"
        )  # gradients of fp16 vanish unless they are scaled up
        if state:
            unpack(state, model, optimiser, scaler)
        curve = Curve(state)
        clock = Clock(curve.last("seconds") if state else 0.0, config.checkpoint_every, config.checkpoint_seconds)
        passes = range(len(curve) * plan.accumulate, plan.steps * plan.accumulate)
        draws = Draws(hands, plan, config, place)
        wanted = (draws.crop_rows(number) for number in passes)
        workers = count_workers(config.workers, place.local_processes)
        batches = move_ahead(read_crops(crops, wanted, workers), place.torch_device)
        forward = ForwardPass(model, hands, plan, config, place)
        with closing(batches), TensorBoard(config.tensorboard if job else None, curve) as tensorboard:
            figures = 0.0
            for number, pixels in zip(passes, batches, strict=True):
                step, whole = number // plan.accumulate, (number + 1) % plan.accumulate == 0
                with distributed.averaging(forward.parallel, now=whole):
                    loss, watched = forward(pixels, *draws(number))
                    scaler.scale(loss / plan.accumulate).backward()
                figures = figures + torch.cat((loss.detach()[None], watched)) / plan.accumulate
                if not whole:
                    continue

                rate = learning_rate(step, plan.steps, plan.warmup_steps, plan.peak_rate)
                set_learning_rate(optimiser, rate)
                scaler.step(optimiser)
                scaler.update()
                optimiser.zero_grad()

                curve.append(step, rate, clock.seconds(), collectives.total(figures) / place.processes)
                figures = 0.0
                done, stopped = step + 1 == plan.steps, distributed.any_process(sigterm.received)
                if clock.tick() or done:
                    curve.fetch()
                    tensorboard.write(curve)
                    pairs_per_s = clock.steps_per_s() * plan.pairs_per_step
                    progress(
                        "train",
                        step + 1,
                        plan.steps,
                        loss=curve.last("loss"),
                        learning_rate=rate,
                        pairs_per_s=pairs_per_s,
                    )
                if job and (done or stopped or clock.should_save(step + 1)):
                    job.save("checkpoint", pack(model, optimiser, scaler) | curve.as_arrays() | threads_and_processes())
                if stopped and not done:
                    sigterm.leave(f"saved after step {step + 1} of {plan.steps}; the same command goes on from there")


@dataclass(frozen=True)
class Draws:
    """Which hands each forward pass sees and how: a function of (seed, number of the pass) alone, so that nothing has to be remembered."""

    hands: ContrastiveHands
    plan: Plan
    config: PretrainConfig
    place: Place

    def __call__(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows (V, B) and the random numbers of their views (V, B, DRAWS): of the whole batch alike in every process, which keeps its share."""
        own = self.place.share(self.plan.schedule.batch_size)
        rng = step_rng(self.config.seed, number)
        rows = self.hands.pairs.rows(self.plan.schedule.items(number), rng)
        return rows[:, own], rng.random((*rows.shape, DRAWS))[:, own]

    def crop_rows(self, number: int) -> np.ndarray:
        """The crops to decode: one for both views where a hand is paired with itself."""
        return self(number)[0][: 1 if self.hands.pairs.with_itself else None].ravel()


class ForwardPass:
    """Decoded crops of one pass to its loss, in the plan's precision."""

    def __init__(
        self, model: ContrastiveModel, hands: ContrastiveHands, plan: Plan, config: PretrainConfig, place: Place
    ) -> None:
        self.hands, self.plan, self.config, self.place = hands, plan, config, place
        self.parallel = DistributedDataParallel(model) if place.processes > 1 else model
        self.network = torch.compile(self.parallel) if config.compile else self.parallel
        self.batch_loss = BatchLoss(
            config.temperature, plan.weights, config.weight_side, config.lambda_pos, config.lambda_neg, config.negatives
        )
        self.ranges = ViewRanges(METHODS[config.method].rotation_deg, METHODS[config.method].shift_px)

    def __call__(self, crops: Tensor, rows_VB: np.ndarray, drawn: np.ndarray) -> tuple[Tensor, Tensor]:
        """Crops (A, S, S, 3) uint8 on the device -> the loss, and what `watch` says of the first two views. Means over views beyond the second."""
        device, size = self.place.torch_device, self.config.input_size
        rows, half = rows_VB.ravel(), self.plan.half
        views = make_views(self.hands.xy[rows], drawn.reshape(-1, DRAWS), self.ranges, size, crops.shape[1])
        crops = crops.repeat(2, 1, 1, 1) if self.hands.pairs.with_itself else crops
        pixels = render(crops, views, self.hands.flipped[rows])
        weighed = views.xy if self.config.weight_keypoints == "augmented" else resize(self.hands.xy[rows], crops, size)
        xy = send(weighed.float(), device).chunk(len(rows_VB))
        with torch.autocast(self.place.device, half, enabled=half is not None):
            projections = self.network(pixels)
        z = undo(projections, views, self.plan.inverse).chunk(len(rows_VB))
        loss = torch.stack([self.batch_loss(z[0], z[view], xy[0], xy[view]) for view in range(1, len(z))]).mean()
        return loss, watch(z[0], z[1])


def load_state(job: CheckpointStore | None, plan: Plan) -> dict | None:
    if not job or not job.has("checkpoint"):
        return None
    state = job.load("checkpoint")
    log.info("going on after step %d of %d", len(state["curve/step"]), plan.steps)
    if (then := {key: state[key] for key in threads_and_processes()}) != threads_and_processes():
        log.warning(
            "begun with %s, going on with %s: the result will differ in the last digits", then, threads_and_processes()
        )
    return state


def threads_and_processes() -> dict:
    return {"threads": torch.get_num_threads(), "processes": collectives.processes()}


def make_model(config: PretrainConfig, fresh: bool, place: Place) -> ContrastiveModel:
    """On its device, in training mode; started from config.init where nothing was saved."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = ContrastiveModel(config.arch)
    if fresh:
        started = init_encoder(model.encoder, config.init)
    if fresh and place.rank == 0:
        log.info(
            "%s from %s%s", config.arch, started["init"], f": {started['loaded']} weights" if started["loaded"] else ""
        )
    if place.processes > 1:
        share_batch_norm(model, place.device)
    return model.to(place.torch_device, memory_format=torch.channels_last).train()


def resize(xy: Tensor, crops: Tensor, size: int) -> Tensor:
    """Keypoints (A, J, 2) of whole crops (A, S, S, 3), in px of crops of `size`: the unit in which the weights take distances."""
    return (xy + 0.5) * (size / crops.shape[1]) - 0.5


def undo(projections: Tensor, views: Views, inverse: str) -> Tensor:
    """Raw projections (A, D) -> unit rows, without what the views did to them."""
    if inverse == "none":
        return normalize(raise_half(projections), dim=1)
    shift = views.shift_fraction() if inverse == "exact" else views.shift_px / views.size
    return undo_views(projections, send(views.angle_deg, projections.device), send(shift, projections.device))
