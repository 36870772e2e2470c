"""pretrain: an encoder trained without labels on views of crops: similar hands close together, or the estimator's pose
regressed, or both."""

from contextlib import AbstractContextManager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from handtool import store
from handtool.config import METHODS, PretrainConfig
from handtool.errors import HandtoolError, WrongCommand
from handtool.nn.files.data import Crops
from handtool.nn.files.draws import PairDraws
from handtool.nn.files.paired_hands import PairedHands, files_of, read_paired, read_pairs
from handtool.nn.files.reopen import Reopen
from handtool.nn.files.weights import check_start, init_encoder, write_encoder
from handtool.nn.models.pretraining import PretrainModel, PretrainObjective, make_pretrain_model
from handtool.nn.training import launch, loop
from handtool.nn.training.checkpoint import load_model
from handtool.nn.training.distributed import Place, coordinate_ranks, find_place, is_other_rank
from handtool.nn.training.plan import Plan, make_plan
from handtool.nn.training.step_memory import describe, measure_step
from handtool.nn.training.tensorboard import check_tensorboard
from handtool.nn.views.views import IMAGENET_MEAN, IMAGENET_STD
from handtool.progress import Progress, silent
from handtool.store import CROPS, CURVE, File, Job, Sink

COMMAND = "pretrain pairs.h5"
SHOWN = ("positive_similarity", "negative_similarity", "keypoint_loss", "depth_loss")  # in the report, where known


def pretrain(
    source: File,
    sink: Sink,
    config: PretrainConfig,
    job: Job,
    progress: Progress = silent,
    init_from: File | Path | None = None,
) -> dict:
    """Train an encoder and its heads on the crops of `source`; write them and the curve. Resumes from the checkpoint in
    `job`.

    `init_from`: the file that config.init names, already opened. Raises HandtoolError if GPUs, pairs or keypoints are
    missing or the loss is not finite; Terminated on SIGTERM, after a checkpoint.
    """
    config, (place, starts_ranks) = resolve_defaults(config), find_place(config, COMMAND)
    check_start(config.arch, config.input_size, "scratch" if job.has("checkpoint") else config.init)
    hands = read_paired(source, config)
    plan = make_plan(len(hands.pairs), "pairs", config, place)
    if starts_ranks and place.processes > 1:
        launch.train_in_processes(place, read_paired, train, Reopen(source.path, job.folder), config, progress)
    else:
        train(place, source, hands, config, job, progress)
    state = job.load("checkpoint")
    model = make_pretrain_model(without_unknown(config, hands))
    load_model(state, model)
    contract = {
        "size": config.input_size,
        "mean": np.array(IMAGENET_MEAN),
        "std": np.array(IMAGENET_STD),
        "side": "RIGHT",
        "box_scale": float(store.read_attrs(source, CROPS)["box_scale"]),
    }
    settings = asdict(config) | plan.as_config() | {"threads": state["threads"]}
    write_encoder(sink, model.encoder, model.projection_head, contract, settings, model.head)
    curve = {column.name: state[f"curve/{column.name}"] for column in CURVE.columns if f"curve/{column.name}" in state}
    store.write_table(sink, CURVE, curve)
    return summarise(hands, plan, curve)


def train(
    place: Place, source: File, hands: PairedHands, config: PretrainConfig, job: Job | None, progress: Progress
) -> None:
    """In each process of the run: set up model, data and objective, and run the loop. Only rank 0 has the job."""
    plan, config = make_plan(len(hands.pairs), "pairs", config, place), without_unknown(config, hands)
    if place.rank == 0:
        plan.log_summary(f"{config.method} of {config.arch} from {config.init}", seen_by_loss(config, plan))
    data = PairDraws(Crops(*files_of(source)), hands, plan.schedule, place.share(plan.batch_size))
    loop.train(
        place, plan, config, partial(make_objective, config, plan), partial(init_weights, config), data, job, progress
    )


def make_objective(config: PretrainConfig, plan: Plan) -> PretrainObjective:
    """The objective with a new model, initialised from the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = make_pretrain_model(config)
    model.encoder.keep_activations(not config.checkpoint_activations)
    return PretrainObjective(model, config, plan.half)


def init_weights(config: PretrainConfig, model: PretrainModel) -> dict:
    return init_encoder(model.encoder, config.init)


def resolve_defaults(config: PretrainConfig) -> PretrainConfig:
    """The config with the method's defaults for settings that the user left open. Raises WrongCommand if nothing is
    left to learn."""
    method, open_ones = METHODS[config.method], ("weights", "inverse", "contrast", "keypoint_weight", "depth_weight")
    config = replace(config, **{name: getattr(method, name) for name in open_ones if getattr(config, name) is None})
    if config.contrast == "none" and not config.keypoint_weight and not config.depth_weight:
        raise WrongCommand(
            f"--method {config.method} with --contrast none and no weights learns nothing", hint="--keypoint-weight 10"
        )
    return config


def without_unknown(config: PretrainConfig, hands: PairedHands) -> PretrainConfig:
    """The config without the weight of depths if no hand has any, so that nothing is trained for them. Raises
    HandtoolError if that leaves nothing to learn."""
    if not config.depth_weight or hands.with_joints:
        return config
    if config.contrast == "none" and not config.keypoint_weight:
        raise HandtoolError(
            "no hand to train on has joints, and --depth-weight is all that would be learnt",
            hint="handtool keypoints crops.h5 --estimator mediapipe -o keypoints.h5",
        )
    return replace(config, depth_weight=0.0)


def seen_by_loss(config: PretrainConfig, plan: Plan) -> int:
    """Pairs that are compared with each other; 0 without a contrast."""
    return 0 if config.contrast == "none" else plan.batch_size if config.negatives == "global" else plan.share


def plan(source: File, config: PretrainConfig, init_from: File | Path | None = None) -> dict:
    """The settings of the run for its fingerprint: by the names of PretrainConfig, with all defaults resolved."""
    config = resolve_defaults(config)
    pairs, _ = read_pairs(source, config)
    chosen = make_plan(len(pairs), "pairs", config, find_place(config, COMMAND)[0]).as_config()
    names = ("weights", "inverse", "contrast", "keypoint_weight", "depth_weight")
    return chosen | {name: getattr(config, name) for name in names}


def lead(source: str, config: PretrainConfig) -> AbstractContextManager:
    """The context around everything that rank 0 does, entered before `up to date`. Raises HandtoolError if the
    machine lacks what is asked for."""
    check_tensorboard(config.tensorboard)
    return coordinate_ranks(*find_place(config, COMMAND), source)


def run_other_rank(path: str, config: PretrainConfig, moved: list[Path], dry_run: bool) -> int | None:
    """In a process that torchrun or SLURM started as a rank other than 0: do all its work and return its exit code.
    In any other process: None."""
    if not is_other_rank():
        return None
    return (
        0
        if dry_run
        else launch.run_other_rank(
            read_paired, train, Reopen(Path(path), None, moved), config, resolve_defaults, COMMAND
        )
    )


def dry_run(
    source: File, sink: None, config: PretrainConfig, progress: Progress = silent, init_from: File | Path | None = None
) -> dict:
    """The report of what `pretrain` checks and decides before its first step, and of the memory of a step; nothing is
    trained or written.

    A file of weights is loaded, so that one that does not fit is an error here. Raises what `pretrain` raises.
    """
    config, (place, _) = resolve_defaults(config), find_place(config, COMMAND)
    check_start(config.arch, config.input_size, "scratch")
    hands = read_paired(source, config)
    plan, config = make_plan(len(hands.pairs), "pairs", config, place), without_unknown(config, hands)
    if config.init != "imagenet":  # "imagenet" may have to be downloaded
        init_weights(config, make_objective(config, plan).model)
    crop_size, views = int(store.read_attrs(source, CROPS)["size"]), hands.pairs.num_views
    compared = seen_by_loss(config, plan)
    memory = measure_step(partial(make_objective, config, plan), plan, views, crop_size)
    return {
        "accounting": [hands.accounting.as_report()],
        "side_unknown_as_right": hands.unknown_side,
        "method": config.method,
        "contrast": config.contrast,
        "weights": config.weights,
        "inverse": config.inverse,
        "keypoint_weight": config.keypoint_weight,
        "depth_weight": config.depth_weight,
        "hands_in_3d": hands.with_joints,
        "encoder": f"{config.arch} from {config.init}",
        "crops": (len(hands.xy), crop_size, crop_size, 3),
        "views_of_a_process": (views * plan.share, 3, config.input_size, config.input_size),
        "loss_matrix_of_a_process": (2 * plan.share if compared else 0, 2 * compared),
        "pairs_per_loss": compared,
        **plan.as_report(),
        **describe(memory, plan, place),
    }


def summarise(hands: PairedHands, plan: Plan, curve: dict[str, np.ndarray]) -> dict:
    few = max(1, plan.steps // 20)  # one step's loss is noisy: means of the first and the last twentieth
    return {
        "accounting": [hands.accounting.as_report()],
        "side_unknown_as_right": hands.unknown_side,
        "pairs_per_step": plan.items_per_step,
        "steps": plan.steps,
        "loss_first": float(curve["loss"][:few].mean()),
        "loss_last": float(curve["loss"][-few:].mean()),
        **{name: float(curve[name][-few:].mean()) for name in SHOWN if name in curve},
        "pairs_per_s": plan.items_per_step * plan.steps / max(float(curve["seconds"][-1]), 1e-9),
        "processes": plan.processes,
    }
