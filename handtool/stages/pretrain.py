"""pretrain: an encoder that maps alike hands close together, learnt without labels from views of crops.

Shapes: N hands, M training items, B items of this process' share of a batch, V views an item, J keypoints, D projection numbers.
"""

import logging
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.amp import GradScaler
from torch.nn.functional import normalize
from torch.nn.parallel import DistributedDataParallel

from handtool import store
from handtool.accounting import Accounting
from handtool.config import METHODS, PretrainConfig
from handtool.errors import HandtoolError, WrongCommand
from handtool.nn import distributed
from handtool.nn.batchnorm import share_batch_norm
from handtool.nn.checkpoint import load_model, pack, unpack
from handtool.nn.contrastive import BatchLoss, ContrastiveModel, watch
from handtool.nn.curve import COLUMNS, Clock, Curve
from handtool.nn.data import Crops, count_workers, read_crops, step_rng
from handtool.nn.distributed import Place
from handtool.nn.encoder import IMAGENET_MEAN, IMAGENET_STD
from handtool.nn.equivariance import undo_views
from handtool.nn.interrupt import Sigterm
from handtool.nn.launch import launch
from handtool.nn.losses.nt_xent import raise_half
from handtool.nn.optim import learning_rate, make_optimiser, set_learning_rate
from handtool.nn.pairs import TrainingPairs, pair_with_itself, pair_with_mined
from handtool.nn.plan import Plan, make_plan
from handtool.nn.views import DRAWS, ViewRanges, Views, make_views, mirror, move_points, render
from handtool.nn.weights import init_encoder, write_encoder
from handtool.progress import Progress, silent
from handtool.store import CROPS, CURVE, KEYPOINTS, LEFT, PAIRS, UNKNOWN, File, Job, Sink
from handtool.store.file import moved_files

log = logging.getLogger(__name__)

HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}


def pretrain(source: File, sink: Sink, config: PretrainConfig, job: Job, progress: Progress = silent, init_from: File | Path | None = None) -> dict:
    """Train encoder and projection head on the crops of `source`; write them and the curve. Goes on from the checkpoint in `job`.

    `init_from` is the file that config.init names, already opened. Raises HandtoolError where GPUs, pairs or keypoints are
    missing or the loss is no number any more, Terminated on SIGTERM, after a checkpoint.
    """
    device, processes = check_machine(config)
    place = distributed.place_from_environment(device)
    hands = read_hands(source, config)
    plan = make_plan(len(hands.pairs), config, place or Place(device, processes=processes))
    for line in plan.notes:
        log.info(line)
    if place is None and processes > 1:
        launch(train_from_path, processes, (source.path, device, config, job.folder, list(moved_files)), progress)
    else:
        train(place or Place(device), source, hands, plan, config, job, progress)
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
    return distributed.find_devices(config.gpus, config.processes, "pretrain pairs.h5")


def is_follower() -> bool:
    """Whether torchrun or SLURM started this process as another one than the first."""
    place = distributed.place_from_environment("cpu")
    return place is not None and place.rank > 0


def follow(path: str, config: PretrainConfig, moved: list[Path], finished: bool) -> None:
    """What such a process does: computes its share, writes nothing. `finished`: the output is there, the first has nothing to train."""
    if path == "-":
        raise WrongCommand("several processes cannot share a pipe: name the file")
    place = distributed.place_from_environment(check_machine(config)[0])
    if not finished:
        train_from_path(Path(path), place.device, config, None, moved)


def train_from_path(path: Path, device: str, config: PretrainConfig, folder: Path | None, moved: list[Path], progress: Progress = silent) -> None:
    """`train` in a process of its own, where everything is opened again; rank 0 keeps the checkpoints, in `folder`."""
    moved_files[:] = moved
    place = distributed.place_from_environment(device)
    with store.open_file(path, walked=True) as source:
        hands = read_hands(source, config)
        plan = make_plan(len(hands.pairs), config, place)
        train(place, source, hands, plan, config, Job(folder) if place.rank == 0 else None, progress)


@dataclass(frozen=True)
class Hands:
    pairs: TrainingPairs
    xy: Tensor  # (N, J, 2) float64, px of the canonical crop
    flipped: Tensor  # (N,) bool: a left hand, mirrored to look like a right one
    accounting: Accounting
    unknown_side: int


def read_hands(source: File, config: PretrainConfig) -> Hands:
    source.need(CROPS, hint="handtool extract VIDEOS -o crops.h5")
    source.need(KEYPOINTS, hint="handtool keypoints {path} -o keypoints.h5")
    mined = METHODS[config.method].mined
    if config.positives not in ("sample", "all") and not (config.positives.isdigit() and int(config.positives) > 0):
        raise WrongCommand(f"--positives {config.positives} is neither a rank (1, 2, ...) nor sample nor all")
    files = files_of(source)
    xy, valid, side = (np.concatenate([store.read_column(file, column) for file in files]) for column in (KEYPOINTS.xy, KEYPOINTS.valid, CROPS.side))
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
    return Hands(pairs, canonical, flipped, accounting, int((side[pairs.anchors] == UNKNOWN).sum()))


def files_of(source: File) -> list[File]:
    """The file of the anchors and, where it was mined in another one (`mine --in`), the pool, whose rows count on behind it."""
    if source.pool is None:
        return [source]
    for table, hint in ((CROPS, None), (KEYPOINTS, "mine in a file that has keypoints: handtool keypoints POOL -o keypoints.h5")):
        if not source.pool.has(table):
            raise HandtoolError(f"the pool of {source.path} has no /{table.group}", hint=hint)
    return [source, source.pool]


def train(place: Place, source: File, hands: Hands, plan: Plan, config: PretrainConfig, job: Job | None, progress: Progress) -> None:
    """From the last checkpoint to the last step; rank 0 has a job, and ends with a checkpoint in it."""
    with distributed.joined(place), Sigterm() as sigterm:
        device, half = place.torch_device, HALF.get(plan.precision)
        state = distributed.broadcast(load_state(job, plan))
        model = make_model(config, fresh=state is None, place=place)
        optimiser = make_optimiser(model, config, plan.peak_rate)
        scaler = GradScaler(place.device, enabled=plan.precision == "fp16")  # gradients of fp16 vanish unless they are scaled up
        if state:
            unpack(state, model, optimiser, scaler)
        network = DistributedDataParallel(model) if place.processes > 1 else model
        batch_loss = BatchLoss(config.temperature, plan.weights, config.weight_side, config.lambda_pos, config.lambda_neg, config.negatives)
        ranges = ViewRanges(METHODS[config.method].rotation_deg, METHODS[config.method].shift_px)
        curve = Curve(state)
        clock = Clock(curve.last("seconds") if state else 0.0, config.checkpoint_every, config.checkpoint_seconds)
        passes = range(len(curve) * plan.accumulate, plan.steps * plan.accumulate)
        own = place.share(plan.schedule.batch_size)

        def draw(number: int) -> tuple[np.ndarray, np.ndarray]:
            """Rows (V, B) and the random numbers of their views: of the whole batch alike in every process, which keeps its share."""
            rng = step_rng(config.seed, number)
            rows = hands.pairs.rows(plan.schedule.items(number), rng)
            return rows[:, own], rng.random((*rows.shape, DRAWS))[:, own]

        wanted = (draw(number)[0][: 1 if hands.pairs.with_itself else None].ravel() for number in passes)
        workers = count_workers(config.workers, place.local_processes)
        with closing(read_crops(Crops(*files_of(source)), wanted, workers, pin=place.device == "cuda")) as batches:
            figures = 0.0
            for number, crops in zip(passes, batches, strict=True):
                step, whole = number // plan.accumulate, (number + 1) % plan.accumulate == 0
                rows_VB, drawn = draw(number)
                views = make_views(hands.xy[rows_VB.ravel()], drawn.reshape(-1, DRAWS), ranges, config.input_size)
                crops = crops.to(device, non_blocking=True)
                crops = crops.repeat(2, 1, 1, 1) if hands.pairs.with_itself else crops
                pixels = render(crops, views, hands.flipped[rows_VB.ravel()])
                weighed = views.xy if config.weight_keypoints == "augmented" else resize(hands.xy[rows_VB.ravel()], crops, config.input_size)
                xy = weighed.to(device, torch.float32).chunk(len(rows_VB))
                with distributed.averaging(network, now=whole):
                    with torch.autocast(place.device, half, enabled=half is not None):
                        projections = network(pixels)
                    z = undo(projections, views, plan.inverse).chunk(len(rows_VB))
                    loss = torch.stack([batch_loss(z[0], z[view], xy[0], xy[view]) for view in range(1, len(z))]).mean()
                    scaler.scale(loss / plan.accumulate).backward()
                figures = figures + torch.cat((loss.detach()[None], watch(z[0], z[1]))) / plan.accumulate
                if not whole:
                    continue

                rate = learning_rate(step, plan.steps, plan.warmup_steps, plan.peak_rate)
                set_learning_rate(optimiser, rate)
                scaler.step(optimiser)
                scaler.update()
                optimiser.zero_grad()

                curve.append(step, rate, clock.seconds(), distributed.total(figures) / place.processes)
                figures = 0.0
                done, stopped = step + 1 == plan.steps, distributed.any_process(sigterm.received)
                if clock.tick() or done:
                    curve.fetch()
                    progress(
                        "train",
                        step + 1,
                        plan.steps,
                        loss=curve.last("loss"),
                        learning_rate=rate,
                        pairs_per_s=clock.steps_per_s() * plan.pairs_per_step,
                    )
                if job and (done or stopped or clock.should_save(step + 1)):
                    job.save("checkpoint", pack(model, optimiser, scaler) | curve.as_arrays() | threads_and_processes())
                if stopped and not done:
                    sigterm.leave(f"saved after step {step + 1} of {plan.steps}; the same command goes on from there")


def load_state(job: Job | None, plan: Plan) -> dict | None:
    if not job or not job.has("checkpoint"):
        return None
    state = job.load("checkpoint")
    log.info("going on after step %d of %d", len(state["curve/step"]), plan.steps)
    if (then := {key: state[key] for key in threads_and_processes()}) != threads_and_processes():
        log.warning("begun with %s, going on with %s: the result will differ in the last digits", then, threads_and_processes())
    return state


def threads_and_processes() -> dict:
    return {"threads": torch.get_num_threads(), "processes": distributed.processes()}


def make_model(config: PretrainConfig, fresh: bool, place: Place) -> ContrastiveModel:
    """On its device, in training mode; started from config.init where nothing was saved."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = ContrastiveModel(config.arch)
    if fresh:
        started = init_encoder(model.encoder, config.init)
    if fresh and place.rank == 0:
        log.info("%s from %s%s", config.arch, started["init"], f": {started['loaded']} weights" if started["loaded"] else "")
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
    return undo_views(projections, views.angle_deg.to(projections.device), shift.to(projections.device))


def summarise(hands: Hands, plan: Plan, curve: dict[str, np.ndarray]) -> dict:
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
