"""pretrain: an encoder that maps alike hands close together, learnt without labels from views of crops."""

import logging
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from handtool import store
from handtool.config import METHODS, PretrainConfig
from handtool.errors import HandtoolError, WrongCommand
from handtool.nn.files.data import Crops
from handtool.nn.files.pairs import pair_with_itself, pair_with_mined
from handtool.nn.files.weights import write_encoder
from handtool.nn.models.contrastive import ContrastiveModel
from handtool.nn.training import distributed
from handtool.nn.training.checkpoint import load_model
from handtool.nn.training.curve import COLUMNS
from handtool.nn.training.distributed import Place
from handtool.nn.training.launch import launch
from handtool.nn.training.pretrain_plan import Plan, make_plan
from handtool.nn.training.pretraining import ContrastiveHands, make_model, train
from handtool.nn.training.step_memory import SHARE, free_bytes, measure_step
from handtool.nn.training.tensorboard import check_tensorboard
from handtool.nn.views.views import IMAGENET_MEAN, IMAGENET_STD, mirror, move_points
from handtool.progress import Progress, silent
from handtool.store import CROPS, CURVE, KEYPOINTS, LEFT, PAIRS, UNKNOWN, File, Job, Sink
from handtool.store.file import relocated

log = logging.getLogger(__name__)

GIB = 2**30


def pretrain(
    source: File,
    sink: Sink,
    config: PretrainConfig,
    job: Job,
    progress: Progress = silent,
    init_from: File | Path | None = None,
) -> dict:
    """Train encoder and projection head on the crops of `source`; write them and the curve. Goes on from the checkpoint in `job`.

    `init_from` is the file that config.init names, already opened. Raises HandtoolError where GPUs, pairs or keypoints are
    missing or the loss is no number any more, Terminated on SIGTERM, after a checkpoint.
    """
    place, started_here = find_place(config)
    hands = read_contrastive_hands(source, config)
    plan = make_plan(len(hands.pairs), config, place)
    for line in plan.notes:
        log.info(line)
    if started_here and place.processes > 1:
        launch(
            train_from_path, place.processes, (source.path, place.device, config, job.folder, list(relocated)), progress
        )
    else:
        train(place, Crops(*files_of(source)), hands, plan, config, job, progress)
    state = job.load("checkpoint")
    model = ContrastiveModel(config.arch)
    load_model(state, model)
    contract = {
        "size": config.input_size,
        "mean": np.array(IMAGENET_MEAN),
        "std": np.array(IMAGENET_STD),
        "side": "RIGHT",
        "box_scale": float(store.read_attrs(source, CROPS)["box_scale"]),
    }
    settings = asdict(config) | plan.as_config() | {"threads": state["threads"]}
    write_encoder(sink, model.encoder, model.projection_head, contract, settings)
    curve = {name: state[f"curve/{name}"] for name in COLUMNS}
    store.write_table(sink, CURVE, curve)
    return summarise(hands, plan, curve)


def check_machine(config: PretrainConfig) -> tuple[str, int]:
    """("cpu" or "cuda", processes to start here), or HandtoolError: the one check that comes before `up to date`."""
    check_tensorboard(config.tensorboard)
    return distributed.find_devices(config.gpus, config.processes, "pretrain pairs.h5")


def find_place(config: PretrainConfig) -> tuple[Place, bool]:
    """Where this process stands, and whether the other processes of the run are ours to start."""
    device, processes = check_machine(config)
    given = distributed.place_from_environment(device)
    return given or Place(device, processes=processes, local_processes=processes), given is None


def dry_run(
    source: File, sink: None, config: PretrainConfig, progress: Progress = silent, init_from: File | Path | None = None
) -> dict:
    """All that `pretrain` would find out and decide before its first step, and the memory of a step; nothing is trained or written.

    A file of weights is loaded, so that one that does not fit is found out here. Raises what `pretrain` raises.
    """
    place, _ = find_place(config)
    hands = read_contrastive_hands(source, config)
    plan = make_plan(len(hands.pairs), config, place)
    for line in plan.notes:
        log.info(line)
    if config.init != "imagenet":  # which may have to be downloaded
        make_model(config, fresh=True, place=Place("cpu"))
    crop_size, views = int(store.read_attrs(source, CROPS)["size"]), hands.pairs.num_views
    memory, room = measure_step(config, plan, views, crop_size), free_bytes(place)
    batch = plan.schedule.batch_size
    share, size = batch // plan.processes, config.input_size
    seen_by_loss = 2 * (batch if config.negatives == "global" else share)
    return {
        "accounting": [hands.accounting.as_report()],
        "side_unknown_as_right": hands.unknown_side,
        "method": config.method,
        "weights": plan.weights,
        "inverse": plan.inverse,
        "encoder": f"{config.arch} from {config.init}",
        "device": place.device,
        "processes": plan.processes,
        "precision": plan.precision,
        "crops": (len(hands.xy), crop_size, crop_size, 3),
        "views_of_a_process": (views * share, 3, size, size),
        "loss_matrix_of_a_process": (2 * share, seen_by_loss),
        "pairs_per_loss": seen_by_loss // 2,
        "pairs_per_step": plan.pairs_per_step,
        "steps_per_epoch": plan.schedule.steps_per_epoch // plan.accumulate,
        "steps": plan.steps,
        "warmup_steps": plan.warmup_steps,
        "learning_rate": plan.peak_rate,
        "memory_of_a_process_gib": {
            "weights, gradients, moments": memory.weights / GIB,
            "activations": memory.per_pair * share / GIB,
            "loss": memory.loss(share) / GIB,
            "together": memory.total(share) / GIB,
            "free": room / GIB,
        },
        "largest_batch_size_that_should_fit": memory.largest(SHARE * room) * plan.processes,
    }


def is_other_rank() -> bool:
    """Whether torchrun or SLURM started this process as another one than the first."""
    place = distributed.place_from_environment("cpu")
    return place is not None and place.rank > 0


def run_other_rank(path: str, config: PretrainConfig, moved: list[Path], finished: bool) -> None:
    """What such a process does: computes its share, writes nothing. `finished`: the output is there, the first has nothing to train."""
    if path == "-":
        raise WrongCommand("several processes cannot share a pipe: name the file")
    place = distributed.place_from_environment(check_machine(config)[0])
    if not finished:
        train_from_path(Path(path), place.device, config, None, moved)


def train_from_path(
    path: Path, device: str, config: PretrainConfig, folder: Path | None, moved: list[Path], progress: Progress = silent
) -> None:
    """`train` in a process of its own, where everything is opened again; rank 0 keeps the checkpoints, in `folder`."""
    relocated[:] = moved
    place = distributed.place_from_environment(device)
    with store.open_file(path, trusted=True) as source:
        hands = read_contrastive_hands(source, config)
        plan = make_plan(len(hands.pairs), config, place)
        train(place, Crops(*files_of(source)), hands, plan, config, Job(folder) if place.rank == 0 else None, progress)


def read_contrastive_hands(source: File, config: PretrainConfig) -> ContrastiveHands:
    source.need(CROPS, hint="handtool extract VIDEOS -o crops.h5")
    source.need(KEYPOINTS, hint="handtool keypoints {path} -o keypoints.h5")
    mined = METHODS[config.method].mined
    if config.positives not in ("sample", "all") and not (config.positives.isdigit() and int(config.positives) > 0):
        raise WrongCommand(f"--positives {config.positives} is neither a rank (1, 2, ...) nor sample nor all")
    files = files_of(source)
    xy, valid, side = (
        np.concatenate([store.read_column(file, column) for file in files])
        for column in (KEYPOINTS.xy, KEYPOINTS.valid, CROPS.side)
    )
    xy = xy.astype(np.float64)
    usable = valid & np.isfinite(xy).all((1, 2))
    if mined or source.has(PAIRS):
        source.need(PAIRS, hint="handtool mine embeddings.h5 --topk 5 -o pairs.h5")
        offset, positive = store.read_column(source, PAIRS.anchor_offset), store.read_column(source, PAIRS.positive)
        first = len(offset) - 1 if len(files) > 1 else 0
        pairs, accounting = pair_with_mined(usable, positive + first, offset, config.positives, mined)
    else:
        pairs, accounting = pair_with_itself(usable)
    if not len(pairs):
        raise HandtoolError(f"{source.path} has no hand to train on: {dict(accounting.skipped)}")
    flipped = torch.from_numpy(side == LEFT)
    size = int(store.read_attrs(source, CROPS)["size"])
    canonical = move_points(mirror(flipped, size), torch.from_numpy(xy))
    return ContrastiveHands(pairs, canonical, flipped, accounting, int((side[pairs.anchors] == UNKNOWN).sum()))


def files_of(source: File) -> list[File]:
    """The file of the anchors and, where it was mined in another one (`mine --in`), the pool, whose rows count on behind it."""
    if source.pool is None:
        return [source]
    for table, hint in (
        (CROPS, None),
        (KEYPOINTS, "mine in a file that has keypoints: handtool keypoints POOL -o keypoints.h5"),
    ):
        if not source.pool.has(table):
            raise HandtoolError(f"the pool of {source.path} has no /{table.group}", hint=hint)
    return [source, source.pool]


def summarise(hands: ContrastiveHands, plan: Plan, curve: dict[str, np.ndarray]) -> dict:
    few = max(1, plan.steps // 20)  # one step's loss is noisy: means of the first and the last twentieth
    return {
        "accounting": [hands.accounting.as_report()],
        "side_unknown_as_right": hands.unknown_side,
        "pairs_per_step": plan.pairs_per_step,
        "steps": plan.steps,
        "loss_first": float(curve["loss"][:few].mean()),
        "loss_last": float(curve["loss"][-few:].mean()),
        "positive_similarity": float(curve["positive_similarity"][-few:].mean()),
        "negative_similarity": float(curve["negative_similarity"][-few:].mean()),
        "pairs_per_s": plan.pairs_per_step * plan.steps / max(float(curve["seconds"][-1]), 1e-9),
        "processes": plan.processes,
    }
