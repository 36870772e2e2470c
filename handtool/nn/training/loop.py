"""The training loop of pretrain and finetune: crops in, checkpoints out. Of all files it uses only the crops and the
job.

The objective (nn/models/objective.py) has the model and the loss, the data source (nn/files/draws.py) the batches, the
plan (plan.py) the number of steps and the batch size.
"""

import logging
import math
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn
from torch.amp import GradScaler

from handtool.config import TrainingConfig
from handtool.nn.files.draws import DataSource
from handtool.nn.files.loader import count_workers, read_crops
from handtool.nn.files.transfer import move_ahead
from handtool.nn.models import collectives
from handtool.nn.models.batch_norm import share_batch_norm
from handtool.nn.models.encoder import count_batches_once
from handtool.nn.models.objective import Objective
from handtool.nn.training import distributed
from handtool.nn.training.checkpoint import KeptBuffers, pack, unpack
from handtool.nn.training.curve import VALIDATION, Clock, Curve
from handtool.nn.training.distributed import Place
from handtool.nn.training.interrupt import Sigterm
from handtool.nn.training.metrics_log import MetricsLog
from handtool.nn.training.optimiser import learning_rate, make_optimiser, set_learning_rate
from handtool.nn.training.plan import Plan
from handtool.nn.training.step_memory import explain_training_errors
from handtool.nn.training.tensorboard import TensorBoard
from handtool.nn.training.validation import Validation
from handtool.progress import Progress

log = logging.getLogger(__name__)
GOES_ON = "the same command goes on from there"


class CheckpointStore(Protocol):
    """Where checkpoints are saved: a job of the store."""

    folder: Path

    def has(self, name: str) -> bool: ...

    def load(self, name: str) -> dict: ...

    def save(self, name: str, values: dict) -> None: ...


def train(
    place: Place,
    plan: Plan,
    config: TrainingConfig,
    make_objective: Callable[[], Objective],
    init_weights: Callable[[nn.Module], dict],
    data: DataSource,
    job: CheckpointStore | None,
    progress: Progress,
    validation: Validation | None = None,
    shares: Mapping[str, float] | None = None,
) -> None:
    """Train from the last checkpoint to the last step; rank 0 has a job, which holds a checkpoint at the end.

    `init_weights` fills a new model with its initial weights and returns a report. With `validation` the checkpoint
    also holds the best weights (`best/…`), and training may end early. `shares`: fraction of the learning rate for
    parts of the model. Raises HandtoolError if the loss is not finite or memory runs out, Terminated on SIGTERM, after
    a checkpoint.
    """
    device = place.torch_device
    with (
        distributed.process_group(place),
        Sigterm() as sigterm,
        explain_training_errors(make_objective, plan, place, data),
    ):
        objective, state = make_objective(), distributed.broadcast(load_state(job, plan))
        model: Any = objective.model
        started = state["started"] if state else load_start_weights(init_weights, model, place)
        if place.processes > 1:
            share_batch_norm(objective.network, place.device)
        if config.checkpoint_activations:
            count_batches_once(objective.network)
        objective.network.to(device).to(memory_format=torch.channels_last).train()
        optimiser = make_optimiser(model, config, plan.peak_rate, shares)
        # fp16 gradients underflow unless they are scaled
        scaler = GradScaler(place.device, enabled=plan.precision == "fp16")
        if state:
            unpack(state, model, optimiser, scaler)
        parallel = distributed.wrap_in_ddp(objective.network, place)
        network: Any = torch.compile(parallel) if config.compile else parallel

        curve, best, warned = Curve(objective.figures, validation is not None, state), best_weights(state), None
        best_mm = min(filter(math.isfinite, curve.values.get(VALIDATION, [])), default=math.inf)
        clock = Clock(curve.last().get("seconds", 0.0), config.checkpoint_every, config.checkpoint_seconds)
        ended, kept = bool(state and state["ended"]), KeptBuffers(model)

        def save() -> None:
            more = {"started": started, "ended": ended, "threads": torch.get_num_threads()}
            assert job is not None
            job.save("checkpoint", pack(model, optimiser, scaler) | kept.arrays() | curve.as_arrays() | best | more)

        def save_last() -> str:
            save()
            return f"the step took too long: saved after step {len(curve)} of {plan.steps}; {GOES_ON}"

        metrics = MetricsLog(job.folder if job else None, curve)
        sigterm.save = save_last if job else None
        end = 0 if ended else plan.steps
        passes = range(len(curve) * plan.accumulate, end * plan.accumulate)
        workers = count_workers(config.workers, place.local_processes)
        crops = read_crops(data.crops, map(data.rows, passes), workers, place.local_processes)
        with (
            closing(move_ahead(crops, device)) as batches,
            TensorBoard(config.tensorboard if job else None, curve) as board,
        ):
            figures: Any = 0.0
            for number, images in zip(passes, batches):
                step, whole = number // plan.accumulate, (number + 1) % plan.accumulate == 0
                with distributed.sync_gradients(parallel, now=whole):
                    loss, numbers = objective(network, data.batch(number), images)
                    scaler.scale(loss / plan.accumulate).backward()
                figures = figures + torch.cat((loss.detach()[None], numbers)) / plan.accumulate
                if not whole:
                    continue

                with sigterm.uninterrupted():
                    rate = learning_rate(step, plan.steps, plan.warmup_steps, plan.peak_rate)
                    set_learning_rate(optimiser, rate)
                    scaler.step(optimiser)
                    scaler.update()
                    optimiser.zero_grad()

                    ended, score = step + 1 == plan.steps, math.nan
                    if validation and plan.ends_epoch(step):
                        score = validation.score(model)
                        if score < best_mm:
                            best_mm = score
                            best = {
                                f"best/{name}": value.cpu().numpy().copy() for name, value in model.state_dict().items()
                            }
                        ended = ended or validation.should_stop([*curve.values[VALIDATION], score])
                    curve.append(rate, clock.seconds(), collectives.total(figures) / place.processes, score)
                    figures = 0.0
                    kept.update()
                    stopped = distributed.any_process(sigterm.received)
                    if clock.tick() or ended or stopped:
                        curve.fetch()
                        board.write(curve)
                        metrics.write(curve)
                        last, speed = curve.last(), {f"{plan.item}_per_s": clock.steps_per_s() * plan.items_per_step}
                        if not warned and (warned := objective.warning(last)):
                            log.warning("%s at step %d", warned, step)
                        shown = {name: last[name] for name in ("loss", "learning_rate", *objective.shown)}
                        progress("train", step + 1, plan.steps, **shown | speed)
                    if job and (ended or stopped or clock.should_save(step + 1)):
                        save()
                    if stopped and not ended:
                        sigterm.leave(f"saved after step {step + 1} of {plan.steps}; {GOES_ON}")
                if ended:
                    break


def load_state(job: CheckpointStore | None, plan: Plan) -> dict | None:
    if not job or not job.has("checkpoint"):
        return None
    state, threads = job.load("checkpoint"), torch.get_num_threads()
    log.info("going on after step %d of %d", len(state["curve/step"]), plan.steps)
    if state["threads"] != threads:
        log.warning(
            "begun with %d threads, going on with %d: the result will differ in the last digits",
            state["threads"],
            threads,
        )
    return state


def load_start_weights(init_weights: Callable[[nn.Module], dict], model: nn.Module, place: Place) -> dict:
    started = init_weights(model)
    if place.rank == 0 and started["loaded"]:
        log.info(
            "%d weights loaded from %s%s",
            started["loaded"],
            started["init"],
            ", the head's too" if started.get("head") else "",
        )
    return started


def best_weights(state: Mapping[str, np.ndarray] | None) -> dict[str, np.ndarray]:
    """`best/<name>`: the weights with the best validation score so far, from the checkpoint."""
    return {name: value for name, value in (state or {}).items() if name.startswith("best/")}
