"""finetune: a pose model from labelled hands, on top of an encoder.

Shapes: N hands of the file, B hands of this process' share of a batch, K = 21 joints.
"""

import logging
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from torch.nn.parallel import DistributedDataParallel

from handtool import store
from handtool.config import FinetuneConfig
from handtool.errors import HandtoolError, WrongCommand
from handtool.nn.files.data import Crops, step_rng
from handtool.nn.files.labelled_hands import TrainingHands, read_labelled
from handtool.nn.files.loader import count_workers, read_crops
from handtool.nn.files.pose_weights import init_pose, write_pose
from handtool.nn.files.transfer import move_ahead
from handtool.nn.files.weights import read_attrs_of
from handtool.nn.models import collectives
from handtool.nn.models.batch_norm import share_batch_norm
from handtool.nn.models.encoder import make_encoder
from handtool.nn.models.pose_model import FOCAL, PUBLISHED_NORMALIZATION, Contract, PoseLosses, PoseModel, layer_shares
from handtool.nn.training import distributed
from handtool.nn.training.checkpoint import load_model, pack, unpack
from handtool.nn.training.curve import Clock
from handtool.nn.training.distributed import Place
from handtool.nn.training.finetune_plan import FinetunePlan, make_plan
from handtool.nn.training.interrupt import Sigterm
from handtool.nn.training.launch import launch
from handtool.nn.training.optimiser import learning_rate, make_adam, set_learning_rate
from handtool.nn.training.validation import validate
from handtool.nn.views.augmentation import (
    draw_blurs,
    draw_colours,
    draw_mirrored,
    draw_windows,
    mirror_hands,
    render_inputs,
    see_through,
)
from handtool.progress import Progress, silent
from handtool.store import CURVE, LEFT, UNKNOWN, File, Job, Sink
from handtool.store.file import relocated

log = logging.getLogger(__name__)

COLUMNS = {"step": "i8", "loss": "f4", "learning_rate": "f8", "seconds": "f8", "validation_mm": "f4"}


def finetune(
    source: File,
    sink: Sink,
    config: FinetuneConfig,
    job: Job,
    progress: Progress = silent,
    encoder: File | Path | None = None,
) -> dict:
    """Train a pose model on the labelled crops of `source`; write its weights and the curve.

    `encoder` is the file that config.init names, if it names one. Goes on from the checkpoint in `job`. Raises HandtoolError where labels,
    GPUs or weights are missing, or the loss is not finite any more; Terminated on SIGTERM, after a checkpoint.
    """
    device, processes = check_machine(config)
    place = distributed.place_from_environment(device)
    hands = read_labelled(source, config)
    plan = make_plan(len(hands.train), config, place or Place(device, processes=processes))
    init = encoder.path if isinstance(encoder, File) else encoder or config.init
    model = make_model(hands, config, init)
    log.info(
        "%s head on %s, %s, %d process(es): %d hands, %d held out, %d a step, %d steps, %s",
        config.head,
        model.encoder.arch,
        device,
        (place or Place(device, processes=processes)).processes,
        len(hands.train),
        len(hands.held),
        plan.batch_size,
        plan.steps,
        plan.precision,
    )
    if place is None and processes > 1:
        launch(train_from_path, processes, (source.path, device, config, init, job.folder, list(relocated)), progress)
    else:
        train(place or Place(device), source, hands, plan, model, config, init, job, progress)
    state = job.load("checkpoint")
    best = {f"model/{name.removeprefix('best/')}": value for name, value in state.items() if name.startswith("best/")}
    model = make_model(hands, config, init)
    load_model(best or state, model)
    curve = {name: state[f"curve/{name}"] for name in COLUMNS if name != "validation_mm" or len(hands.held)}
    write_pose(
        sink, model, asdict(config) | plan.as_config() | {"arch": model.encoder.arch, "steps": len(curve["step"])}
    )
    store.write_table(sink, CURVE, curve)
    return summarise(
        hands, model, curve, state["started"], plan, (place or Place(device, processes=processes)).processes
    )


def check_machine(config: FinetuneConfig) -> tuple[str, int]:
    """("cpu" or "cuda", processes to start here), or HandtoolError: the one check that comes before `up to date`."""
    return distributed.find_devices(config.gpus, config.processes, "finetune train.h5")


def is_other_rank() -> bool:
    """Whether torchrun or SLURM started this process as another one than the first."""
    place = distributed.place_from_environment("cpu")
    return place is not None and place.rank > 0


def run_other_rank(path: str, config: FinetuneConfig, moved: list[Path], finished: bool) -> None:
    """What such a process does: computes its share, writes nothing. `finished`: the output is there, the first has nothing to train."""
    if path == "-":
        raise WrongCommand("several processes cannot share a pipe: name the file")
    device = check_machine(config)[0]
    if not finished:
        train_from_path(Path(path), device, config, config.init, None, moved)


def train_from_path(
    path: Path,
    device: str,
    config: FinetuneConfig,
    init: str | Path,
    folder: Path | None,
    moved: list[Path],
    progress: Progress = silent,
) -> None:
    """`train` in a process of its own, where everything is opened again; rank 0 keeps the checkpoints, in `folder`."""
    relocated[:] = moved
    place = distributed.place_from_environment(device)
    with store.open_file(path, trusted=True) as source:
        hands = read_labelled(source, config)
        plan = make_plan(len(hands.train), config, place)
        train(
            place,
            source,
            hands,
            plan,
            make_model(hands, config, init),
            config,
            init,
            Job(folder) if place.rank == 0 else None,
            progress,
        )


def train(
    place: Place,
    source: File,
    hands: TrainingHands,
    plan: FinetunePlan,
    model: PoseModel,
    config: FinetuneConfig,
    init: str | Path,
    job: Job | None,
    progress: Progress,
) -> None:
    """From the last checkpoint to the last step; rank 0 has a job, and ends with a checkpoint in it."""
    with distributed.joined(place), Sigterm() as sigterm:
        device, steps, contract = place.torch_device, plan.steps, model.contract
        state = distributed.broadcast(job.load("checkpoint") if job and job.has("checkpoint") else None)
        started = state["started"] if state else start(model, init, place)
        model.encoder.requires_grad_(not config.freeze)
        if place.processes > 1:
            share_batch_norm(model, place.device)
        model = model.to(device, memory_format=torch.channels_last)
        optimiser = make_adam(model, config.learning_rate, config.weight_decay, layer_shares(model, config.layer_decay))
        curve = {name: [] for name in COLUMNS}
        best: dict[str, np.ndarray] = {}
        if state:
            unpack(state, model, optimiser)
            curve = {name: state[f"curve/{name}"].tolist() for name in COLUMNS}
            best = {key.removeprefix("best/"): value for key, value in state.items() if key.startswith("best/")}
            log.info("going on after step %d of %d", len(curve["step"]), steps)
        losses = PoseLosses(model)
        network = DistributedDataParallel(losses) if place.processes > 1 else losses
        clock = Clock(curve["seconds"][-1] if curve["seconds"] else 0.0, 0, config.checkpoint_seconds)
        todo = range(len(curve["step"]), 0 if state and state["ended"] else steps)
        own, crops = place.share(plan.batch_size), Crops(source)
        wanted = (hands.train[plan.schedule.items(step)][own] for step in todo)
        reading = move_ahead(read_crops(crops, wanted, count_workers(config.workers, place.local_processes)), device)
        weights = torch.tensor(model.head.loss_weights, device=device)
        with closing(reading) as batches:
            for step, images in zip(todo, batches):
                # Drawn for the whole batch alike in every process, which keeps its share.
                rows, rng, ranges = hands.train[plan.schedule.items(step)], step_rng(config.seed, step), plan.ranges
                view = draw_windows(len(rows), hands.hands.size, config.input_size, ranges, rng).rows(own)
                colour = draw_colours(len(rows), ranges, rng)[own] if ranges.colour else None
                sigma = draw_blurs(len(rows), ranges, rng)[own] if ranges.blur else None
                mirrored = draw_mirrored(len(rows), ranges, rng)[own] if ranges.mirror else None
                rows = rows[own]
                labels, flipped = hands.labels.rows(rows), hands.hands.side[rows] == LEFT
                if mirrored is not None:
                    labels, flipped = mirror_hands(labels, mirrored, hands.hands.size), flipped ^ mirrored
                targets = model.head.targets(see_through(labels, view)).to(device)
                inputs = render_inputs(
                    images, view, torch.from_numpy(flipped), colour, contract.mean, contract.std, sigma
                )
                set_mode(model, config.freeze)
                parts = network(inputs.contiguous(memory_format=torch.channels_last), targets, plan.precision == "bf16")
                loss = (weights * parts).sum()
                rate = learning_rate(step, steps, plan.warmup_steps, config.learning_rate)
                set_learning_rate(optimiser, rate)
                optimiser.zero_grad(set_to_none=True)
                loss.backward()
                optimiser.step()

                figures = collectives.total(torch.cat((loss.detach()[None], parts.detach()))) / place.processes
                validation_mm, epoch_ends = (
                    float("nan"),
                    (step + 1) % plan.schedule.steps_per_epoch == 0 or step + 1 == steps,
                )
                if epoch_ends and len(hands.held):
                    validation_mm = validate(model, crops, hands, place, config.workers, config.precision)
                    if not best or validation_mm < np.nanmin(curve["validation_mm"]):
                        best = {name: value.detach().cpu().numpy().copy() for name, value in model.state_dict().items()}
                for name, value in zip(COLUMNS, (step, figures[0], rate, clock.seconds(), validation_mm)):
                    curve[name].append(value)
                ended = step + 1 == steps or (epoch_ends and out_of_patience(curve["validation_mm"], config.patience))
                stopped = distributed.any_process(sigterm.received)
                if clock.tick() or ended or stopped:
                    fetch(curve)
                    named = dict(zip(model.head.part_names, figures[1:].tolist()))
                    progress(
                        "train",
                        step + 1,
                        steps,
                        loss=curve["loss"][-1],
                        **named,
                        hands_per_s=plan.batch_size * clock.steps_per_s(),
                    )
                if job and (ended or stopped or clock.should_save(step + 1)):
                    job.save(
                        "checkpoint",
                        pack(model, optimiser)
                        | as_arrays(curve)
                        | {f"best/{k}": v for k, v in best.items()}
                        | {"started": started, "ended": ended},
                    )
                if ended:
                    break
                if stopped:
                    sigterm.leave(f"saved after step {step + 1} of {steps}; the same command goes on from there")


def make_model(hands: TrainingHands, config: FinetuneConfig, init: str | Path) -> PoseModel:
    """On the CPU, with fresh weights; what it expects of its input is what the encoder file says it was trained on."""
    attrs = read_attrs_of(init)
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
    normalization = {name: tuple(map(float, attrs[name])) for name in ("mean", "std") if name in attrs}
    contract = replace(contract, **(PUBLISHED_NORMALIZATION if config.normalization == "published" else normalization))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = PoseModel(make_encoder(config.arch or attrs.get("architecture", "resnet50")), contract)
    if config.head == "heatmap":
        model.head.per_batch = config.loss == "published"
    return model


def start(model: PoseModel, init: str | Path, place: Place) -> dict:
    """The weights that `init` names put into the model; returns what was found."""
    started = init_pose(model, init)
    if place.rank == 0:
        log.info(
            "%s from %s: %d weights loaded%s",
            model.encoder.arch,
            started["init"],
            started["loaded"],
            ", the head's too" if started["head"] else "",
        )
    return started


def set_mode(model: PoseModel, freeze: bool) -> None:
    """Training mode; the batch norms of a frozen encoder keep their statistics."""
    model.train()
    if freeze:
        model.encoder.eval()


def out_of_patience(validation_mm: list[float], patience: int) -> bool:
    scores = np.array([value for value in validation_mm if np.isfinite(value)])
    return bool(patience) and len(scores) - 1 - int(np.argmin(scores)) >= patience if len(scores) else False


def fetch(curve: dict[str, list]) -> None:
    """Brings losses that are still on the device over. Raises HandtoolError where one is not finite."""
    pending = [place for place, value in enumerate(curve["loss"]) if isinstance(value, torch.Tensor)]
    values = torch.stack([curve["loss"][place] for place in pending]).tolist() if pending else []
    for place, value in zip(pending, values):
        curve["loss"][place] = value
        if not np.isfinite(value):
            raise HandtoolError(
                f"the loss is {value} at step {curve['step'][place]}",
                hint="a lower --learning-rate, or --precision fp32; and --restart",
            )


def as_arrays(curve: dict[str, list]) -> dict[str, np.ndarray]:
    fetch(curve)
    return {f"curve/{name}": np.array(values, COLUMNS[name]) for name, values in curve.items()}


def summarise(
    hands: TrainingHands,
    model: PoseModel,
    curve: dict[str, np.ndarray],
    started: dict,
    plan: FinetunePlan,
    processes: int,
) -> dict:
    few = max(1, len(curve["loss"]) // 20)  # one step's loss is noisy: means of the first and the last twentieth
    cameras = torch.isfinite(hands.labels.camera[hands.train]).flatten(1).all(1)
    report = {
        "accounting": [hands.accounting.as_report()],
        "trained_on": len(hands.train),
        "held_out": len(hands.held),
        "without_camera": int((~cameras).sum()),
        "side_unknown_as_right": int((hands.hands.side[hands.train] == UNKNOWN).sum()),
        "head": model.contract.head,
        "architecture": model.encoder.arch,
        "started_from": f"{started['init']} ({started['loaded']} weights)",
        "mean_bone_mm": 1000 * model.contract.bone_m,
        "steps": len(curve["step"]),
        "loss_first": float(np.mean(curve["loss"][:few])),
        "loss_last": float(np.mean(curve["loss"][-few:])),
        "processes": processes,
        "hands_per_s": plan.batch_size * len(curve["step"]) / max(curve["seconds"][-1], 1e-9),
    }
    if len(hands.held):
        scores = np.array(curve["validation_mm"])
        report["validation_mm_best"] = float(np.nanmin(scores))
        report["best_step"] = int(np.nanargmin(scores)) + 1
    return report
