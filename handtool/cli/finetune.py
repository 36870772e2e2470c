"""handtool finetune: a pose model from labelled hands."""

from typing import Literal

from handtool.cli import training
from handtool.cli.effects import COMMON, always, only
from handtool.cli.options import Force, Moved, NamedOutput, Restart, Seed, Source, Workers, option
from handtool.cli.runner import make_config
from handtool.config import ARCHS, HEAD_PRESETS, FinetuneConfig

EFFECTS = (
    COMMON
    | always("encoder", "arch", "head", "normalization", "freeze", "input_size", "label_fraction", "val_share")
    | always("rotation_deg", "shift", "zoom", "colour", "blur_px", "mirror", "batch_size", "steps", "learning_rate")
    | always("precision", "seed", "gpus", "workers", "accumulate", "checkpoint_every", "compile", "tensorboard")
    | always("optimizer", "dry_run")
    | only("init", lambda v: not v.encoder, "with --encoder, which says where the encoder starts")
    | only("loss", lambda v: v.head == "heatmap", "with --head regression", "--head heatmap")
    | only(
        "label_choice", lambda v: v.label_fraction < 1, "without --label-fraction: all hands", "--label-fraction 0.1"
    )
    | only("val_by patience", lambda v: v.val_share, "without --val-share: no hands are held out", "--val-share 0.1")
    | only("epochs", lambda v: not v.steps, "with --steps, which says how long to train")
    | only("layer_decay", lambda v: not v.freeze, "with --freeze: the encoder is not trained")
    | only("processes", lambda v: not v.gpus, "with --gpus: each GPU has a process of its own", "--gpus 0")
)
LABELS, VIEWS, DETAILS = "Labelled hands", "Augmentation", "Head and input"


def finetune(
    source: Source = "-",
    encoder: option(str | None, "--encoder FILE", "The encoder.h5 to start from (the same as --init FILE).") = None,
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
    init: training.Init = FinetuneConfig.init,
    arch: option(
        Literal[ARCHS] | None,
        "--arch NAME",
        f"Encoder: {', '.join(ARCHS[:-1])} or {ARCHS[-1]}.",
        unset="the encoder file's, else resnet50",
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
    processes: training.Processes = FinetuneConfig.processes,
    workers: Workers = FinetuneConfig.workers,
    checkpoint_every: training.CheckpointEvery = FinetuneConfig.checkpoint_every,
    tensorboard: training.Tensorboard = FinetuneConfig.tensorboard,
    output: NamedOutput = "pose.h5",
    moved: Moved = None,
    force: Force = False,
    restart: Restart = False,
) -> None:
    """Train a pose model on labelled hands, on top of an encoder.

    Example: handtool finetune train.h5 --encoder encoder.h5 -o pose.h5
    """
    from handtool.stages import finetune as stage

    config = make_config(FinetuneConfig, locals(), init=encoder or init)
    how = {"dry_run": dry_run, "force": force, "restart": restart}
    training.run_training(stage, stage.finetune, source, output, config, "encoder", **how)
