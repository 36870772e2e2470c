"""handtool finetune: a pose model from labelled hands."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from handtool.cli import training
from handtool.cli.effects import COMMON, Effects, Values, always, only, writes_file
from handtool.cli.options import Force, Moved, NamedOutput, Restart, Seed, Source, Workers, option
from handtool.cli.runner import make_config, run_stage
from handtool.config import HEAD_PRESETS, CorrectConfig, FinetuneConfig, KeypointsConfig
from handtool.progress import Progress, silent

if TYPE_CHECKING:
    from handtool.store import File, Sink


def from_file(values: Values) -> bool:
    return bool(values.encoder) or values.init not in ("imagenet", "scratch")


def trains(values: Values) -> bool:
    return not values.correct


def only_training(names: str, when: Callable[[Values], object], why: str, add: str | None = None) -> Effects:
    """As `only`, for options of the network that --correct does without."""
    return only(names, lambda v: trains(v) and when(v), why, add)


EFFECTS = (
    COMMON
    | always("correct", "label_fraction", "seed")
    | only(
        "encoder arch head normalization freeze input_size val_share pool rotation_deg shift zoom colour blur_px "
        "mirror batch_size steps learning_rate precision gpus workers accumulate checkpoint_every compile tensorboard "
        "optimizer dry_run checkpoint_activations",
        trains,
        "with --correct, which trains no network",
    )
    | only(
        "restart",
        lambda v: trains(v) and writes_file(v),
        "without a training whose unfinished work is kept in a file",
        "-o FILE",
    )
    | only_training("pool_share pool_weight pool_depth", lambda v: v.pool, "without a pool", "--pool keypoints.h5")
    | only_training(
        "pool_depth_weight",
        lambda v: v.pool and v.pool_depth != "none",
        "where a pool teaches no depth",
        "--pool keypoints.h5 --pool-depth lifted",
    )
    | only_training("fresh_head", from_file, "where the head is new anyway", "--encoder encoder.h5")
    | only_training("init", lambda v: not v.encoder, "with --encoder, which says where the encoder starts")
    | only_training("depth_weight", lambda v: v.head == "regression", "without a regression head", "--head regression")
    | only_training("loss", lambda v: v.head == "heatmap", "without a heat-map head", "--head heatmap")
    | only(
        "label_choice", lambda v: v.label_fraction < 1, "without --label-fraction: all hands", "--label-fraction 0.1"
    )
    | only_training(
        "val_by patience", lambda v: v.val_share, "without --val-share: no hands are held out", "--val-share 0.1"
    )
    | only_training("epochs", lambda v: not v.steps, "with --steps, which says how long to train")
    | only_training("layer_decay", lambda v: not v.freeze, "with --freeze: the encoder is not trained")
    | only_training("processes", lambda v: not v.gpus, "with --gpus: each GPU has a process of its own", "--gpus 0")
)
LABELS, POOL, VIEWS, DETAILS = "Labelled hands", "Unlabelled hands", "Augmentation", "Head and input"


def finetune(
    source: Source = "-",
    encoder: option(str | None, "--encoder FILE", "The encoder.h5 to start from (the same as --init FILE).") = None,
    correct: option(
        Literal["mediapipe"] | None,
        "--correct ESTIMATOR",
        "Train no network: learn from 10 labelled hands or more, in seconds, what this estimator's 3D gets wrong. "
        "The model then needs the estimator.",
        unset=False,
    ) = None,
    head: option(
        Literal[tuple(HEAD_PRESETS)],
        "--head",
        "What turns features into a pose: heat maps with joint locations, as SiMHand fine-tunes; "
        "or PeCLR's 2.5D regression.",
    ) = FinetuneConfig.head,
    gpus: training.Gpus = FinetuneConfig.gpus,
    epochs: option(
        int | None, "--epochs N", "Passes over the hands.", min=1, unset="heatmap: 120, regression: 100"
    ) = FinetuneConfig.epochs,
    steps: training.Steps = FinetuneConfig.steps,
    batch_size: option(
        int | None,
        "--batch-size N",
        "Hands a forward pass, over all processes.",
        min=1,
        unset="128 a GPU, 16 a CPU process",
    ) = FinetuneConfig.batch_size,
    learning_rate: option(float, "--learning-rate RATE", "Peak learning rate.", min=0.0) = FinetuneConfig.learning_rate,
    freeze: option(bool, "--freeze", "Train the head alone; the encoder stays as it is.") = FinetuneConfig.freeze,
    fresh_head: option(
        bool, "--fresh-head", "Begin with a new head, even if the file of weights has one of this kind."
    ) = FinetuneConfig.fresh_head,
    init: training.Init = FinetuneConfig.init,
    arch: option(
        str | None, "--arch NAME", training.ARCH_HELP, unset="the encoder file's, else resnet50"
    ) = FinetuneConfig.arch,
    input_size: training.InputSize = FinetuneConfig.input_size,
    seed: Seed = FinetuneConfig.seed,
    dry_run: training.DryRun = False,
    val_share: option(
        float,
        "--val-share SHARE",
        "Share of the hands held out (0.9 at most); the weights that do best on it are kept.",
        LABELS,
        min=0.0,
        max=0.9,
    ) = FinetuneConfig.val_share,
    val_by: option(
        Literal["video", "subject", "row"], "--val-by", "Hands that --val-share never divides.", LABELS
    ) = FinetuneConfig.val_by,
    pool: option(
        str | None,
        "--pool FILE",
        "Unlabelled hands with keypoints, which train beside the labelled ones; maybe the film to be predicted.",
        POOL,
    ) = FinetuneConfig.pool,
    pool_share: option(
        float, "--pool-share SHARE", "Of each batch, from 0.05 to 0.95.", POOL, min=0.05, max=0.95
    ) = FinetuneConfig.pool_share,
    pool_weight: option(
        float, "--pool-weight W", "Of the pool's keypoints, times their scores, against labels.", POOL, min=0.0
    ) = FinetuneConfig.pool_weight,
    pool_depth: option(
        Literal["none", "lifted", "estimated"],
        "--pool-depth",
        "What teaches its depth: nothing; its keypoints, lifted to 3D by the labelled hands; or the estimator's 3D.",
        POOL,
    ) = FinetuneConfig.pool_depth,
    pool_depth_weight: option(
        float, "--pool-depth-weight W", "Of its depths, likewise.", POOL, min=0.0
    ) = FinetuneConfig.pool_depth_weight,
    patience: option(
        int,
        "--patience EPOCHS",
        "With --val-share: end after so many without a better validation error; 0: never.",
        LABELS,
        min=0,
    ) = FinetuneConfig.patience,
    label_fraction: option(
        float, "--label-fraction SHARE", "Share of the labelled hands to learn from.", LABELS, min=1e-6, max=1.0
    ) = FinetuneConfig.label_fraction,
    label_choice: option(
        Literal["random", "head"],
        "--label-choice",
        "With --label-fraction: hands drawn by --seed, or the first.",
        LABELS,
    ) = FinetuneConfig.label_choice,
    rotation_deg: option(
        float | None,
        "--rotation DEG",
        "Turn hands by up to this.",
        VIEWS,
        min=0.0,
        max=180.0,
        unset="heatmap: 90, regression: 45",
    ) = FinetuneConfig.rotation_deg,
    shift: option(
        float, "--shift SHARE", "Move hands by up to this share of the crop, 0.5 at most.", VIEWS, min=0.0, max=0.5
    ) = FinetuneConfig.shift,
    zoom: option(
        float, "--zoom SHARE", "Change the size of hands by up to this share, 0.5 at most.", VIEWS, min=0.0, max=0.5
    ) = FinetuneConfig.zoom,
    colour: option(
        float,
        "--colour SHARE",
        "Change brightness, contrast and saturation by up to this share, 0.9 at most.",
        VIEWS,
        min=0.0,
        max=0.9,
    ) = FinetuneConfig.colour,
    blur_px: option(
        float | None,
        "--blur PX",
        "Blur the input by up to this standard deviation, 10 at most.",
        VIEWS,
        min=0.0,
        max=10.0,
        unset="heatmap: 0.5, regression: 0",
    ) = FinetuneConfig.blur_px,
    mirror: option(
        float,
        "--mirror SHARE",
        "Show this share of the hands mirrored; predict can then --flip.",
        VIEWS,
        min=0.0,
        max=1.0,
    ) = FinetuneConfig.mirror,
    loss: option(
        Literal["hand", "published"],
        "--loss",
        "Heat-map head: errors of directions and locations averaged over hands; "
        "or, as published, one norm over the batch.",
        DETAILS,
    ) = FinetuneConfig.loss,
    depth_weight: option(
        float | None,
        "--depth-weight W",
        "Regression head: of relative depth, in bone lengths, against keypoints, in px of an input of 224 px.",
        DETAILS,
        min=0.0,
        unset="5, as published; with a pool's depth 20",
    ) = FinetuneConfig.depth_weight,
    normalization: option(
        Literal["encoder", "published"],
        "--normalization",
        "The input as the encoder was trained on it; or, as published, 0 to 1 less 0.5.",
        DETAILS,
    ) = FinetuneConfig.normalization,
    accumulate: training.Accumulate = FinetuneConfig.accumulate,
    optimizer: training.Optimizer = FinetuneConfig.optimizer,
    layer_decay: option(
        float,
        "--layer-decay SHARE",
        "Each stage of the encoder learns at this share of the rate of the stage above it.",
        training.OPTIMISATION,
        min=0.0,
        max=1.0,
    ) = FinetuneConfig.layer_decay,
    precision: training.TrainingPrecision = FinetuneConfig.precision,
    compile: training.Compile = FinetuneConfig.compile,
    checkpoint_activations: training.CheckpointActivations = FinetuneConfig.checkpoint_activations,
    processes: training.Processes = FinetuneConfig.processes,
    workers: Workers = FinetuneConfig.workers,
    checkpoint_every: training.CheckpointEvery = FinetuneConfig.checkpoint_every,
    tensorboard: training.Tensorboard = FinetuneConfig.tensorboard,
    output: NamedOutput = "pose.h5",
    moved: Moved = None,
    force: Force = False,
    restart: Restart = False,
) -> None:
    """Train a pose model on labelled hands, on top of an encoder; or correct an estimator.

    Example: handtool finetune train.h5 --encoder encoder.h5 -o pose.h5
    """
    if correct:
        run_stage(correct_estimator, [source], output, make_config(CorrectConfig, locals()), force=force)
        return
    from handtool.stages import finetune as stage

    config = make_config(FinetuneConfig, locals(), init=encoder or init)
    how = {"dry_run": dry_run, "force": force, "restart": restart}
    training.run_training(stage, stage.finetune, source, output, config, "encoder", more={"pool": pool}, **how)


def correct_estimator(source: "File", sink: "Sink", config: CorrectConfig, progress: Progress = silent) -> dict:
    """Ask the estimator about the labelled hands, unless the file has its answers, and fit its correction."""
    from handtool.stages.correct import correct
    from handtool.stages.keypoints import find_joints
    from handtool.store import Record, open_job

    with open_job(None, Record("handtool finetune", {})) as job:
        found = find_joints(source, KeypointsConfig(config.correct), progress, job=job)
    return correct(source, sink, config, found, progress)
