"""handtool finetune: a pose model from labelled hands."""

from typing import Annotated, Literal

import typer

from handtool.cli.effects import COMMON, always, only
from handtool.cli.options import (
    OPTIMISATION,
    Accumulate,
    CheckpointEvery,
    Compile,
    DryRun,
    Force,
    Gpus,
    Init,
    InputSize,
    Json,
    Moved,
    NamedOutput,
    Optimizer,
    Processes,
    Quiet,
    Restart,
    Seed,
    Source,
    Steps,
    Tensorboard,
    TrainingPrecision,
    Verbose,
    Workers,
    option,
)
from handtool.cli.runner import run_stage
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
LABELS, AUGMENTATION, DETAILS = "Labelled hands", "Augmentation", "Head and input"


def finetune(
    source: Source = "-",
    encoder: Annotated[
        str | None, option("--encoder FILE", "The encoder.h5 to start from (the same as --init FILE).")
    ] = None,
    head: Annotated[
        Literal[tuple(HEAD_PRESETS)],
        option(
            "--head",
            "What turns features into a pose: heat maps with joint locations, as SiMHand fine-tunes; "
            "or PeCLR's 2.5D regression.",
        ),
    ] = FinetuneConfig.head,
    gpus: Gpus = FinetuneConfig.gpus,
    epochs: Annotated[
        int | None, option("--epochs N", "Passes over the hands.", min=1, show_default="heatmap: 120, regression: 100")
    ] = FinetuneConfig.epochs,
    steps: Steps = FinetuneConfig.steps,
    batch_size: Annotated[
        int | None,
        option(
            "--batch-size N",
            "Hands a forward pass, over all processes.",
            min=1,
            show_default="128 a GPU, 16 a CPU process",
        ),
    ] = FinetuneConfig.batch_size,
    learning_rate: Annotated[
        float, option("--learning-rate RATE", "Peak learning rate.", min=0.0)
    ] = FinetuneConfig.learning_rate,
    freeze: Annotated[
        bool, option("--freeze", "Train the head alone; the encoder stays as it is.")
    ] = FinetuneConfig.freeze,
    init: Init = FinetuneConfig.init,
    arch: Annotated[
        Literal[ARCHS] | None,
        option(
            "--arch NAME",
            f"Encoder: {', '.join(ARCHS[:-1])} or {ARCHS[-1]}.",
            show_default="the encoder file's, else resnet50",
        ),
    ] = FinetuneConfig.arch,
    input_size: InputSize = FinetuneConfig.input_size,
    seed: Seed = FinetuneConfig.seed,
    dry_run: DryRun = False,
    val_share: Annotated[
        float,
        option(
            "--val-share SHARE",
            "Share of the hands held out (0.9 at most); the weights that do best on it are kept.",
            LABELS,
            min=0.0,
            max=0.9,
        ),
    ] = FinetuneConfig.val_share,
    val_by: Annotated[
        Literal["video", "subject", "row"], option("--val-by", "Hands that --val-share never divides.", LABELS)
    ] = FinetuneConfig.val_by,
    patience: Annotated[
        int,
        option(
            "--patience EPOCHS",
            "With --val-share: end after so many without a better validation error; 0: never.",
            LABELS,
            min=0,
        ),
    ] = FinetuneConfig.patience,
    label_fraction: Annotated[
        float, option("--label-fraction SHARE", "Share of the labelled hands to learn from.", LABELS, min=1e-6, max=1.0)
    ] = FinetuneConfig.label_fraction,
    label_choice: Annotated[
        Literal["random", "head"],
        option("--label-choice", "With --label-fraction: hands drawn by --seed, or the first.", LABELS),
    ] = FinetuneConfig.label_choice,
    rotation_deg: Annotated[
        float | None,
        option(
            "--rotation DEG",
            "Turn hands by up to this.",
            AUGMENTATION,
            min=0.0,
            max=180.0,
            show_default="heatmap: 90, regression: 45",
        ),
    ] = FinetuneConfig.rotation_deg,
    shift: Annotated[
        float,
        option(
            "--shift SHARE", "Move hands by up to this share of the crop, 0.5 at most.", AUGMENTATION, min=0.0, max=0.5
        ),
    ] = FinetuneConfig.shift,
    zoom: Annotated[
        float,
        option(
            "--zoom SHARE", "Change the size of hands by up to this share, 0.5 at most.", AUGMENTATION, min=0.0, max=0.5
        ),
    ] = FinetuneConfig.zoom,
    colour: Annotated[
        float,
        option(
            "--colour SHARE",
            "Change brightness, contrast and saturation by up to this share, 0.9 at most.",
            AUGMENTATION,
            min=0.0,
            max=0.9,
        ),
    ] = FinetuneConfig.colour,
    blur_px: Annotated[
        float | None,
        option(
            "--blur PX",
            "Blur the input by up to this standard deviation, 10 at most.",
            AUGMENTATION,
            min=0.0,
            max=10.0,
            show_default="heatmap: 0.5, regression: 0",
        ),
    ] = FinetuneConfig.blur_px,
    mirror: Annotated[
        float,
        option(
            "--mirror SHARE",
            "Show this share of the hands mirrored; predict can then --flip.",
            AUGMENTATION,
            min=0.0,
            max=1.0,
        ),
    ] = FinetuneConfig.mirror,
    loss: Annotated[
        Literal["hand", "published"],
        option(
            "--loss",
            "Heat-map head: errors of directions and locations averaged over hands; "
            "or, as published, one norm over the batch.",
            DETAILS,
        ),
    ] = FinetuneConfig.loss,
    normalization: Annotated[
        Literal["encoder", "published"],
        option(
            "--normalization", "The input as the encoder was trained on it; or, as published, 0 to 1 less 0.5.", DETAILS
        ),
    ] = FinetuneConfig.normalization,
    accumulate: Accumulate = FinetuneConfig.accumulate,
    optimizer: Optimizer = FinetuneConfig.optimizer,
    layer_decay: Annotated[
        float,
        option(
            "--layer-decay SHARE",
            "Each stage of the encoder learns at this share of the rate of the stage above it.",
            OPTIMISATION,
            min=0.0,
            max=1.0,
        ),
    ] = FinetuneConfig.layer_decay,
    precision: TrainingPrecision = FinetuneConfig.precision,
    compile: Compile = FinetuneConfig.compile,
    processes: Processes = FinetuneConfig.processes,
    workers: Workers = FinetuneConfig.workers,
    checkpoint_every: CheckpointEvery = FinetuneConfig.checkpoint_every,
    tensorboard: Tensorboard = FinetuneConfig.tensorboard,
    output: NamedOutput = "pose.h5",
    moved: Moved = None,
    force: Force = False,
    restart: Restart = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Train a pose model on labelled hands, on top of an encoder.

    Example: handtool finetune train.h5 --encoder encoder.h5 -o pose.h5
    """
    from handtool.stages import finetune as stage

    config = FinetuneConfig(
        head=head,
        loss=loss,
        arch=arch,
        init=encoder or init,
        normalization=normalization,
        input_size=input_size,
        batch_size=batch_size,
        accumulate=accumulate,
        epochs=epochs,
        steps=steps,
        learning_rate=learning_rate,
        layer_decay=layer_decay,
        freeze=freeze,
        rotation_deg=rotation_deg,
        shift=shift,
        zoom=zoom,
        colour=colour,
        blur_px=blur_px,
        mirror=mirror,
        label_fraction=label_fraction,
        label_choice=label_choice,
        val_share=val_share,
        val_by=val_by,
        patience=patience,
        optimizer=optimizer,
        precision=precision,
        checkpoint_every=checkpoint_every,
        compile=compile,
        tensorboard=tensorboard,
        seed=seed,
        gpus=gpus,
        processes=processes,
        workers=workers,
    )
    extra = {"encoder": None if config.init in ("imagenet", "scratch") else config.init}
    if (code := stage.run_other_rank(source, config, moved or [], dry_run)) is not None:
        raise typer.Exit(code)
    if dry_run:
        return run_stage(stage.dry_run, [source], None, config, as_json=as_json, report_only=True, extra=extra)
    run_stage(
        stage.finetune,
        [source],
        output,
        config,
        force=force,
        as_json=as_json,
        resumable=True,
        restart=restart,
        extra=extra,
        plan=stage.plan,
        lead=lambda: stage.lead(source, config),
    )
