"""finetune: a pose model from labelled hands, on top of an encoder.

Shapes: N hands of the file, B hands of a batch, K = 21 joints.
"""

import logging
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch

from handtool import store
from handtool.accounting import Accounting
from handtool.config import FinetuneConfig
from handtool.errors import HandtoolError, WrongCommand
from handtool.hands.canonical import canonical_camera, canonical_joints, canonical_keypoints
from handtool.nn.augment import AugmentRanges, LabelledHands, draw_colours, draw_windows, render_inputs, see_through
from handtool.nn.checkpoint import load_model, pack, unpack
from handtool.nn.curve import Clock
from handtool.nn.data import Crops, Schedule, count_workers, read_crops, read_hands, step_rng
from handtool.nn.distributed import find_devices
from handtool.nn.encoder import make_encoder
from handtool.nn.interrupt import Sigterm
from handtool.nn.labelled import hold_out, same_hands, take_fraction
from handtool.nn.optim import learning_rate, make_adam, set_learning_rate
from handtool.nn.pose import FOCAL, Contract, PoseModel, init_pose, write_pose
from handtool.nn.regression import LOSS_WEIGHTS, losses_25d, make_targets
from handtool.nn.validation import validate
from handtool.progress import Progress, silent
from handtool.store import CROPS, CURVE, LABELS, LEFT, UNKNOWN, VIDEOS, File, Job, Sink

log = logging.getLogger(__name__)

COLUMNS = {"step": "i8", "loss": "f4", "learning_rate": "f8", "seconds": "f8", "validation_mm": "f4"}


@dataclass(frozen=True)
class TrainingHands:
    labels: LabelledHands  # of the canonical crops, all N rows
    side: np.ndarray  # (N,)
    camera: np.ndarray  # (N, 3, 3) as stored
    train: np.ndarray  # rows
    held: np.ndarray  # rows, for validation
    size: int  # px, side of the crops
    box_scale: float
    accounting: Accounting


def finetune(source: File, sink: Sink, config: FinetuneConfig, job: Job, progress: Progress = silent,
             encoder: File | Path | None = None) -> dict:
    """Train a pose model on the labelled crops of `source`; write its weights and the curve.

    `encoder` is the file that config.init names, if it names one. Goes on from the checkpoint in `job`. Raises HandtoolError where labels,
    a GPU or weights are missing, or the loss is not finite any more; Terminated on SIGTERM, after a checkpoint.
    """
    device = torch.device(check_machine(config))
    hands = read_labelled(source, config)
    batch = min(config.batch_size or (config.batch_size_cuda if device.type == "cuda" else config.batch_size_cpu), len(hands.train))
    if batch < 2:
        raise HandtoolError("a batch of 1 hand: batch norm needs 2", hint="--batch-size 2 or more")
    schedule = Schedule(len(hands.train), batch, config.seed)
    steps = config.steps or config.epochs * schedule.steps_per_epoch
    precision = ("bf16" if device.type == "cuda" else "fp32") if config.precision == "auto" else config.precision
    state = job.load("checkpoint") if job.has("checkpoint") else None
    model, started = make_model(hands, config, encoder, fresh=state is None)
    log.info("%s on %s: %d hands, %d held out, %d a step, %d steps, %s", model.encoder.arch, device.type, len(hands.train), len(hands.held),
             batch, steps, precision)
    model = model.to(device, memory_format=torch.channels_last)
    optimiser = make_adam(model, config.learning_rate, config.weight_decay)
    curve = {name: [] for name in COLUMNS}
    best: dict[str, np.ndarray] = {}
    if state is not None:
        unpack(state, model, optimiser)
        started = state["started"]
        curve = {name: state[f"curve/{name}"].tolist() for name in COLUMNS}
        best = {key.removeprefix("best/"): value for key, value in state.items() if key.startswith("best/")}
        log.info("going on after step %d of %d", len(curve["step"]), steps)
    ranges = AugmentRanges(config.rotation_deg, config.zoom, config.shift, config.colour, hue=0.3 * config.colour)
    clock = Clock(curve["seconds"][-1] if curve["seconds"] else 0.0, 0, config.checkpoint_seconds)
    todo = range(len(curve["step"]), 0 if state is not None and state["ended"] else steps)
    crops = Crops(source)
    wanted = (hands.train[schedule.items(step)] for step in todo)
    reading = read_crops(crops, wanted, count_workers(config.workers), pin=device.type == "cuda")
    with Sigterm() as sigterm, closing(reading) as batches:
        for step, images in zip(todo, batches):
            rows, rng = hands.train[schedule.items(step)], step_rng(config.seed, step)
            view = draw_windows(len(rows), hands.size, config.input_size, ranges, rng)
            seen = see_through(hands.labels.rows(rows), view)
            targets = make_targets(**vars(seen)).to(device)
            camera, colour = seen.camera.to(device), draw_colours(len(rows), ranges, rng) if config.colour else None
            flipped = torch.from_numpy(hands.side[rows] == LEFT)
            contract = model.contract
            inputs = render_inputs(images.to(device, non_blocking=True), view, flipped, colour, contract.mean, contract.std)
            set_mode(model, config.freeze)
            with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
                uv, z_rel = model(inputs.contiguous(memory_format=torch.channels_last))
            parts = losses_25d(model.head, uv, z_rel, targets, camera)
            loss = sum(weight * part for weight, part in zip(LOSS_WEIGHTS, parts))
            rate = learning_rate(step, steps, round(config.warmup * steps), config.learning_rate)
            set_learning_rate(optimiser, rate)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            validation_mm, epoch_ends = float("nan"), (step + 1) % schedule.steps_per_epoch == 0 or step + 1 == steps
            if epoch_ends and len(hands.held):
                validation_mm = validate(model, crops, hands.held, hands.labels, hands.side, hands.camera, config.workers, config.precision)
                if not best or validation_mm < np.nanmin(curve["validation_mm"]):
                    best = {name: value.detach().cpu().numpy().copy() for name, value in model.state_dict().items()}
            for name, value in zip(COLUMNS, (step, loss.detach(), rate, clock.seconds(), validation_mm)):
                curve[name].append(value)
            ended = step + 1 == steps or (epoch_ends and out_of_patience(curve["validation_mm"], config.patience))
            if clock.tick() or ended or sigterm.received:
                fetch(curve)
                uv_px, depth, root = (part.item() for part in parts)
                progress("train", step + 1, steps, loss=curve["loss"][-1], uv_px=uv_px, depth=depth, root=root,
                         hands_per_s=batch * clock.steps_per_s())
            if ended or sigterm.received or clock.should_save(step + 1):
                job.save("checkpoint", pack(model, optimiser) | as_arrays(curve) | {f"best/{k}": v for k, v in best.items()}
                         | {"started": started, "ended": ended})
            if ended:
                break
            if sigterm.received:
                sigterm.leave(f"saved after step {step + 1} of {steps}; the same command goes on from there")
    if best:
        load_model({f"model/{name}": value for name, value in best.items()}, model)
    settings = asdict(config) | {"arch": model.encoder.arch, "batch_size": batch, "steps": len(curve["step"]), "precision": precision}
    write_pose(sink, model, settings)
    columns = {name: np.array(values, COLUMNS[name]) for name, values in curve.items() if name != "validation_mm" or len(hands.held)}
    store.write_table(sink, CURVE, columns)
    return summarise(hands, model, curve, started, batch)


def check_machine(config: FinetuneConfig) -> str:
    """"cpu" or "cuda", or HandtoolError: the one check that comes before `up to date`."""
    device, processes = find_devices(config.gpus, 1, "finetune")
    if processes > 1:
        raise WrongCommand(f"--gpus {config.gpus}: finetune trains on one GPU", hint="--gpus 1")
    return device


def read_labelled(source: File, config: FinetuneConfig) -> TrainingHands:
    """Labels of all rows as canonical right hands, and which rows train and which are held out."""
    source.need(LABELS, hint="handtool extract LABELLED_FOLDER -o train.h5")
    hands = read_hands(source)
    joints = store.read_column(source, LABELS.joints).astype(float)
    keypoints = store.read_column(source, LABELS.keypoints).astype(float)
    valid = store.read_column(source, LABELS.valid) & np.isfinite(joints).all(2)
    keypoints_valid = store.read_column(source, LABELS.keypoints_valid) & np.isfinite(keypoints).all(2)
    accounting = Accounting("hands")
    usable = np.flatnonzero(valid.any(1) | keypoints_valid.any(1))
    accounting.skip("no label", len(joints) - len(usable))
    if len(usable) < 2:
        raise HandtoolError(f"{source.path} has {len(usable)} labelled hands: training needs 2 at least",
                            hint="handtool extract LABELLED_FOLDER -o train.h5")
    held = hold_out(groups_of(source, config.val_by)[usable], config.val_share, config.seed, config.val_by)
    rest = usable[~held]
    kept = rest[take_fraction(same_hands(joints[rest], keypoints[rest]), config.label_fraction, config.label_choice, config.seed)]
    accounting.skip(f"not in the label fraction {config.label_fraction:g}", len(rest) - len(kept))
    accounting.done = len(kept) + int(held.sum())
    if len(kept) < 2:
        raise HandtoolError(f"{len(kept)} of {len(usable)} labelled hands are left to train on: 2 at least",
                            hint="a larger --label-fraction")
    labels = LabelledHands(*map(torch.from_numpy, (
        canonical_joints(joints, hands.side), valid, canonical_keypoints(keypoints, hands.side, hands.size), keypoints_valid,
        hands.bone, canonical_camera(hands.camera, hands.side, hands.size))))  # fmt: skip
    return TrainingHands(labels, hands.side, hands.camera, kept, usable[held], hands.size, hands.box_scale, accounting)


def groups_of(source: File, by: str) -> np.ndarray:
    """(N,) what must stay together in a split: the video, the subject, or nothing."""
    video = store.read_column(source, CROPS.video)
    if by == "row":
        return np.arange(len(video))
    return video if by == "video" else store.read_column(source, VIDEOS.subject)[video].astype(str)


def make_model(hands: TrainingHands, config: FinetuneConfig, encoder: File | Path | None, fresh: bool) -> tuple[PoseModel, dict]:
    """In training mode on the CPU; filled from what config.init names unless a checkpoint is going to do that."""
    attrs = store.read_weights(encoder)[1] if isinstance(encoder, File) else {}
    arch = config.arch or attrs.get("architecture", "resnet50")
    camera, bone = hands.labels.camera[hands.train], hands.labels.bone[hands.train]
    focal = float(((camera[:, 0, 0] + camera[:, 1, 1]) / 2 / hands.size).nanmedian())
    contract = Contract(size=config.input_size, box_scale=hands.box_scale, bone_m=float(bone.nanmean()),
                        focal=focal if np.isfinite(focal) else FOCAL)
    contract = replace(contract, **{name: tuple(map(float, attrs[name])) for name in ("mean", "std") if name in attrs})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = PoseModel(make_encoder(arch), contract)
    started = {}
    if fresh:
        started = init_pose(model, encoder.path if isinstance(encoder, File) else encoder or config.init)
        log.info("%s from %s: %d weights loaded%s", arch, started["init"], started["loaded"], ", the head's too" if started["head"] else "")
    model.encoder.requires_grad_(not config.freeze)
    return model, started


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
            raise HandtoolError(f"the loss is {value} at step {curve['step'][place]}",
                                hint="a lower --learning-rate, or --precision fp32; and --restart")


def as_arrays(curve: dict[str, list]) -> dict[str, np.ndarray]:
    fetch(curve)
    return {f"curve/{name}": np.array(values, COLUMNS[name]) for name, values in curve.items()}


def summarise(hands: TrainingHands, model: PoseModel, curve: dict[str, list], started: dict, batch: int) -> dict:
    few = max(1, len(curve["loss"]) // 20)  # one step's loss is noisy: means of the first and the last twentieth
    cameras = torch.isfinite(hands.labels.camera[hands.train]).flatten(1).all(1)
    report = {
        "accounting": [hands.accounting.as_report()],
        "trained_on": len(hands.train),
        "held_out": len(hands.held),
        "without_camera": int((~cameras).sum()),
        "side_unknown_as_right": int((hands.side[hands.train] == UNKNOWN).sum()),
        "architecture": model.encoder.arch,
        "started_from": f"{started['init']} ({started['loaded']} weights)",
        "mean_bone_mm": 1000 * model.contract.bone_m,
        "steps": len(curve["step"]),
        "loss_first": float(np.mean(curve["loss"][:few])),
        "loss_last": float(np.mean(curve["loss"][-few:])),
        "hands_per_s": batch * len(curve["step"]) / max(curve["seconds"][-1], 1e-9),
    }
    if len(hands.held):
        scores = np.array(curve["validation_mm"])
        report["validation_mm_best"] = float(np.nanmin(scores))
        report["best_step"] = int(np.nanargmin(scores)) + 1
    return report
