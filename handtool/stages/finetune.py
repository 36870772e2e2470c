"""finetune: a pose model from labelled hands, on top of an encoder."""

from contextlib import AbstractContextManager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from handtool import store
from handtool.config import HEAD_PRESETS, POOL_DEPTH_WEIGHT, PUBLISHED_DEPTH_WEIGHT, FinetuneConfig
from handtool.errors import HandtoolError, WrongCommand
from handtool.nn.files.draws import LabelledDraws
from handtool.nn.files.labelled_hands import TrainingHands, read_labelled
from handtool.nn.files.pool_hands import join_crops
from handtool.nn.files.pose_weights import init_pose, write_pose
from handtool.nn.files.reopen import Reopen
from handtool.nn.files.weights import check_start, read_attrs_of
from handtool.nn.models.encoder import find_stages, make_encoder
from handtool.nn.models.pose_model import FOCAL, PUBLISHED_NORMALIZATION, Contract, PoseModel
from handtool.nn.models.pose_objective import PoseObjective, layer_shares
from handtool.nn.training import launch, loop
from handtool.nn.training.checkpoint import load_model
from handtool.nn.training.distributed import Place, coordinate_ranks, find_place, is_other_rank
from handtool.nn.training.plan import Plan, make_plan
from handtool.nn.training.step_memory import describe, measure_step
from handtool.nn.training.tensorboard import check_tensorboard
from handtool.nn.training.validation import Validation
from handtool.nn.views.augmentation import AugmentRanges
from handtool.progress import Progress, silent
from handtool.store import CURVE, UNKNOWN, File, Job, Sink

COMMAND = "finetune train.h5"


def finetune(
    source: File,
    sink: Sink,
    config: FinetuneConfig,
    job: Job,
    progress: Progress = silent,
    encoder: File | Path | None = None,
    pool: File | Path | None = None,
) -> dict:
    """Train a pose model on the labelled crops of `source`; write its weights and the curve.

    `encoder`, `pool`: the files that config.init and config.pool name, if they name one. Resumes from the checkpoint
    in `job`. Raises HandtoolError if labels, GPUs or weights are missing, or the loss is not finite; Terminated on
    SIGTERM, after a checkpoint.
    """
    config, (place, starts_ranks) = resolve_defaults(config, encoder, pool), find_place(config, COMMAND)
    assert config.arch is not None
    check_start(config.arch, config.input_size, "scratch" if job.has("checkpoint") else config.init)
    hands = read_labelled(source, config)
    plan = plan_for(hands, config, place)
    if starts_ranks and place.processes > 1:
        launch.train_in_processes(place, read_labelled, train, Reopen(source.path, job.folder), config, progress)
    else:
        train(place, source, hands, config, job, progress)
    state = job.load("checkpoint")
    best = {f"model/{name.removeprefix('best/')}": value for name, value in state.items() if name.startswith("best/")}
    model = make_model(config, find_contract(hands, config))
    load_model(best or state, model)
    curve = {column.name: state[f"curve/{column.name}"] for column in CURVE.columns if f"curve/{column.name}" in state}
    settings = asdict(config) | plan.as_config() | {"arch": model.encoder.arch, "steps": len(curve["step"])}
    write_pose(sink, model, settings | {"threads": state["threads"]})
    store.write_table(sink, CURVE, curve)
    return summarise(hands, model, curve, state["started"], plan)


def train(
    place: Place, source: File, hands: TrainingHands, config: FinetuneConfig, job: Job | None, progress: Progress
) -> None:
    """In each process of the run: set up model, data and objective, and run the loop. Only rank 0 has the job."""
    plan, contract = plan_for(hands, config, place), find_contract(hands, config)
    if place.rank == 0:
        plan.log_summary(f"{config.head} head on an encoder from {config.init}, {len(hands.held)} hands held out,")
    hands = hands.with_lifted_pool(config)
    crops, own = join_crops(source, hands.pool), place.share(plan.schedule.batch_size)
    pool_own = place.share(plan.pool.batch_size if plan.pool else 0)
    pooled = (plan.pool, pool_own, (config.pool_weight, depth_weight_of_pool(config)))
    data = LabelledDraws(crops, hands, plan.schedule, own, augmentation(config), config.input_size, *pooled)
    half = plan.precision == "bf16"
    held_out = Validation(crops, hands, place, config.workers, half, config.patience) if len(hands.held) else None
    make = partial(make_objective, config, contract, plan)
    assert config.arch is not None
    shares = layer_shares(find_stages(config.arch, config.input_size), config.layer_decay)
    loop.train(place, plan, config, make, partial(init_weights, config), data, job, progress, held_out, shares)


def depth_weight_of_pool(config: FinetuneConfig) -> float:
    return 0.0 if config.pool_depth == "none" else config.pool_depth_weight


def make_objective(config: FinetuneConfig, contract: Contract, plan: Plan) -> PoseObjective:
    """The objective with a new model, initialised from the seed."""
    return PoseObjective(make_model(config, contract), plan.half, config.freeze)


def make_model(config: FinetuneConfig, contract: Contract) -> PoseModel:
    """A new model on the CPU, initialised from the seed."""
    assert config.arch is not None and config.depth_weight is not None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = PoseModel(make_encoder(config.arch, config.input_size), contract)
    model.encoder.keep_activations(not config.checkpoint_activations)
    if config.head == "heatmap":
        model.head.per_batch = config.loss == "published"
    else:
        keypoints, _, root = model.head.loss_weights
        model.head.loss_weights = (keypoints, config.depth_weight, root)
    return model


def init_weights(config: FinetuneConfig, model: PoseModel) -> dict:
    return init_pose(model, config.init, config.fresh_head)


def find_contract(hands: TrainingHands, config: FinetuneConfig) -> Contract:
    """What the model expects of its input, from the attributes of the encoder file and from the training hands."""
    camera, bone = hands.labels.camera[hands.train], hands.labels.bone[hands.train]
    focal = float(((camera[:, 0, 0] + camera[:, 1, 1]) / 2 / hands.hands.size).nanmedian())
    contract = Contract(
        size=config.input_size,
        box_scale=hands.hands.box_scale,
        bone_m=float(bone.nanmean()),
        head=config.head,
        mirrored=config.mirror > 0,
        focal=focal if np.isfinite(focal) else FOCAL,
    )
    attrs = read_attrs_of(config.init)
    normalization = {name: tuple(map(float, attrs[name])) for name in ("mean", "std") if name in attrs}
    return replace(contract, **(PUBLISHED_NORMALIZATION if config.normalization == "published" else normalization))


def augmentation(config: FinetuneConfig) -> AugmentRanges:
    turn, blur, colour = config.rotation_deg, config.blur_px, config.colour
    assert turn is not None and blur is not None
    return AugmentRanges(turn, config.zoom, config.shift, colour, hue=0.3 * colour, blur=blur, mirror=config.mirror)


def plan_for(hands: TrainingHands, config: FinetuneConfig, place: Place) -> Plan:
    num_pool = len(hands.pool.usable) if hands.pool else 0
    return make_plan(len(hands.train), "hands", config, place, num_pool, config.pool_share)


def resolve_defaults(
    config: FinetuneConfig, encoder: File | Path | None = None, pool: File | Path | None = None
) -> FinetuneConfig:
    """The config with defaults from the head and the encoder file for settings that the user left open. Raises
    WrongCommand if settings contradict."""
    if config.loss != FinetuneConfig.loss and config.head != "heatmap":
        raise WrongCommand(f"--loss {config.loss} is a choice of the heat-map head", hint="--head heatmap")
    if config.depth_weight is not None and config.head != "regression":
        raise WrongCommand("--depth-weight is of the regression head's loss", hint="--head regression")
    if pool is not None and not isinstance(pool, File):
        raise HandtoolError(f"{pool} is not a handtool file", hint="handtool keypoints crops.h5 -o keypoints.h5")
    preset, init = HEAD_PRESETS[config.head], encoder.path if isinstance(encoder, File) else encoder or config.init
    taught = (pool or config.pool) and depth_weight_of_pool(config)
    weight = POOL_DEPTH_WEIGHT if taught else PUBLISHED_DEPTH_WEIGHT
    return replace(
        config,
        init=str(init),
        pool=str(pool.path) if pool else config.pool,
        arch=config.arch or read_attrs_of(init).get("architecture", "resnet50"),
        epochs=config.epochs or preset.epochs,
        depth_weight=weight if config.depth_weight is None else config.depth_weight,
        rotation_deg=preset.rotation_deg if config.rotation_deg is None else config.rotation_deg,
        blur_px=preset.blur_px if config.blur_px is None else config.blur_px,
    )


def plan(
    source: File, config: FinetuneConfig, encoder: File | Path | None = None, pool: File | Path | None = None
) -> dict:
    """The settings of the run for its fingerprint: by the names of FinetuneConfig, with all defaults resolved."""
    config = resolve_defaults(config, encoder, pool)
    hands = read_labelled(source, config)
    chosen = plan_for(hands, config, find_place(config, COMMAND)[0]).as_config()
    settled = {name: getattr(config, name) for name in ("arch", "rotation_deg", "blur_px", "depth_weight")}
    return chosen | settled


def lead(source: str, config: FinetuneConfig) -> AbstractContextManager:
    """The context around everything that rank 0 does, entered before `up to date`. Raises HandtoolError if the
    machine lacks what is asked for."""
    check_tensorboard(config.tensorboard)
    return coordinate_ranks(*find_place(config, COMMAND), source)


def run_other_rank(path: str, config: FinetuneConfig, moved: list[Path], dry_run: bool) -> int | None:
    """In a process that torchrun or SLURM started as a rank other than 0: do all its work and return its exit code.
    In any other process: None."""
    if not is_other_rank():
        return None
    return (
        0
        if dry_run
        else launch.run_other_rank(
            read_labelled, train, Reopen(Path(path), None, moved), config, resolve_defaults, COMMAND
        )
    )


def dry_run(
    source: File,
    sink: None,
    config: FinetuneConfig,
    progress: Progress = silent,
    encoder: File | Path | None = None,
    pool: File | Path | None = None,
) -> dict:
    """The report of what `finetune` checks and decides before its first step, and of the memory of a step; nothing is
    trained or written.

    A file of weights is loaded, so that one that does not fit is an error here. Raises what `finetune` raises.
    """
    config, (place, _) = resolve_defaults(config, encoder, pool), find_place(config, COMMAND)
    assert config.arch is not None
    check_start(config.arch, config.input_size, "scratch")
    hands = read_labelled(source, config)
    plan, contract = plan_for(hands, config, place), find_contract(hands, config)
    make = partial(make_objective, config, contract, plan)
    if config.init != "imagenet":  # "imagenet" may have to be downloaded
        init_weights(config, make().model)
    size, crop_size = config.input_size, hands.hands.size
    return {
        **count_hands(hands),
        "head": config.head,
        "encoder": f"{config.arch} from {config.init}",
        "crops": (len(hands.labels), crop_size, crop_size, 3),
        "inputs_of_a_process": (plan.share, 3, size, size),
        **plan.as_report(),
        **describe(measure_step(make, plan, 1, crop_size), plan, place),
    }


def count_hands(hands: TrainingHands) -> dict:
    counts = {
        "accounting": [each.accounting.as_report() for each in (hands, hands.pool) if each],
        "trained_on": len(hands.train),
        "held_out": len(hands.held),
    }
    if not hands.pool:
        return counts
    return counts | {
        "pool_hands": len(hands.pool.usable),
        "pool_hands_in_3d": hands.pool.in_3d,
        "hands_to_lift_by": len(hands.lifters),
    }


def summarise(hands: TrainingHands, model: PoseModel, curve: dict[str, np.ndarray], started: dict, plan: Plan) -> dict:
    few = max(1, len(curve["loss"]) // 20)  # one step's loss is noisy: means of the first and the last twentieth
    cameras = torch.isfinite(hands.labels.camera[hands.train]).flatten(1).all(1)
    report = {
        **count_hands(hands),
        "without_camera": int((~cameras).sum()),
        "side_unknown_as_right": int((hands.hands.side[hands.train] == UNKNOWN).sum()),
        "head": model.contract.head,
        "architecture": model.encoder.arch,
        "started_from": f"{started['init']} ({started['loaded']} weights{', and its head' * started['head']})",
        **({"mean_bone_mm": 1000 * model.contract.bone_m} if np.isfinite(model.contract.bone_m) else {}),
        "hands_per_step": plan.items_per_step,
        "steps": len(curve["step"]),
        "loss_first": float(np.mean(curve["loss"][:few])),
        "loss_last": float(np.mean(curve["loss"][-few:])),
        "processes": plan.processes,
        "hands_per_s": plan.items_per_step * len(curve["step"]) / max(curve["seconds"][-1], 1e-9),
    }
    if len(hands.held):
        scores = np.array(curve["validation_mm"])
        report["validation_mm_best"] = float(np.nanmin(scores))
        report["best_step"] = int(np.nanargmin(scores)) + 1
    return report
