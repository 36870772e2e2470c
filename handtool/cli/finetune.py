"""handtool finetune: a pose model from labelled hands."""

from typing import Annotated, Literal

import typer

from handtool.cli.doors import run_stage
from handtool.cli.effects import COMMON, always, only
from handtool.cli.options import (
    Accumulate,
    BatchSize,
    CheckpointEvery,
    Compile,
    DryRun,
    Force,
    Gpus,
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
    Tensorboard,
    TrainingPrecision,
    Verbose,
    Workers,
)
from handtool.config import ARCHS, HEAD_PRESETS, FinetuneConfig
from handtool.errors import WrongCommand

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
    | only("processes", lambda v: not v.gpus, "with --gpus, which start a process each", "--gpus 0")
)
MODEL, DATA, TRAINING = "Model", "Data", "Training"


def finetune(
    source: Source = "-",
    output: NamedOutput = "pose.h5",
    encoder: Annotated[
        str | None,
        typer.Option(
            "--encoder",
            metavar="FILE",
            help="What pretrain made (the same as --init FILE).",
            show_default=False,
            rich_help_panel=MODEL,
        ),
    ] = None,
    init: Annotated[
        str, typer.Option(metavar="imagenet|scratch|FILE", help="Weights to start from.", rich_help_panel=MODEL)
    ] = FinetuneConfig.init,
    arch: Annotated[
        Literal[ARCHS] | None,
        typer.Option(help="Encoder.", show_default="the encoder file's, else resnet50", rich_help_panel=MODEL),
    ] = FinetuneConfig.arch,
    head: Annotated[
        Literal[tuple(HEAD_PRESETS)],
        typer.Option(
            help="What turns features into a pose: heat maps with joint locations, as SiMHand fine-tunes; or PeCLR's 2.5D regression.",
            rich_help_panel=MODEL,
        ),
    ] = FinetuneConfig.head,
    loss: Annotated[
        Literal["hand", "published"],
        typer.Option(
            help="Of the heat-map head: errors of directions and locations averaged over hands; or, as published, one norm over the batch.",
            rich_help_panel=MODEL,
        ),
    ] = FinetuneConfig.loss,
    normalization: Annotated[
        Literal["encoder", "published"],
        typer.Option(
            help="The input as the encoder was trained on it; or, as published, 0 to 1 less 0.5.", rich_help_panel=MODEL
        ),
    ] = FinetuneConfig.normalization,
    freeze: Annotated[
        bool, typer.Option("--freeze", help="Train the head alone.", rich_help_panel=MODEL)
    ] = FinetuneConfig.freeze,
    input_size: InputSize = FinetuneConfig.input_size,
    label_fraction: Annotated[
        float, typer.Option(min=1e-6, max=1.0, help="Share of the labelled hands to learn from.", rich_help_panel=DATA)
    ] = FinetuneConfig.label_fraction,
    label_choice: Annotated[
        Literal["random", "head"], typer.Option(help="Which ones: drawn by --seed, or the first.", rich_help_panel=DATA)
    ] = FinetuneConfig.label_choice,
    val_share: Annotated[
        float,
        typer.Option(
            min=0.0, max=0.9, help="Share held out; the weights that do best on it are kept.", rich_help_panel=DATA
        ),
    ] = FinetuneConfig.val_share,
    val_by: Annotated[
        Literal["video", "subject", "row"],
        typer.Option(help="What --val-share never tears apart.", rich_help_panel=DATA),
    ] = FinetuneConfig.val_by,
    rotation_deg: Annotated[
        float | None,
        typer.Option(
            "--rotation",
            min=0.0,
            max=180.0,
            metavar="DEG",
            help="Augmentation turns hands by up to this.",
            show_default="heatmap: 90, regression: 45",
            rich_help_panel=DATA,
        ),
    ] = FinetuneConfig.rotation_deg,
    shift: Annotated[
        float,
        typer.Option(
            min=0.0,
            max=0.5,
            metavar="SHARE",
            help="Augmentation moves hands by up to this share of the crop.",
            rich_help_panel=DATA,
        ),
    ] = FinetuneConfig.shift,
    zoom: Annotated[
        float,
        typer.Option(
            min=0.0,
            max=0.5,
            metavar="SHARE",
            help="Augmentation changes the size of hands by up to this share.",
            rich_help_panel=DATA,
        ),
    ] = FinetuneConfig.zoom,
    colour: Annotated[
        float,
        typer.Option(
            min=0.0,
            max=0.9,
            metavar="SHARE",
            help="Augmentation changes brightness, contrast, saturation by up to this share.",
            rich_help_panel=DATA,
        ),
    ] = FinetuneConfig.colour,
    blur_px: Annotated[
        float | None,
        typer.Option(
            "--blur",
            min=0.0,
            max=10.0,
            metavar="PX",
            help="Augmentation blurs the input by up to this standard deviation.",
            show_default="heatmap: 0.5, regression: 0",
            rich_help_panel=DATA,
        ),
    ] = FinetuneConfig.blur_px,
    mirror: Annotated[
        float,
        typer.Option(
            min=0.0,
            max=1.0,
            metavar="SHARE",
            help="Augmentation shows this share of the hands mirrored; predict can then --flip.",
            rich_help_panel=DATA,
        ),
    ] = FinetuneConfig.mirror,
    batch_size: BatchSize = FinetuneConfig.batch_size,
    accumulate: Accumulate = FinetuneConfig.accumulate,
    epochs: Annotated[
        int | None,
        typer.Option(
            min=1, help="Passes over the hands.", show_default="heatmap: 120, regression: 100", rich_help_panel=TRAINING
        ),
    ] = FinetuneConfig.epochs,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Steps, instead of epochs.", rich_help_panel=TRAINING)
    ] = FinetuneConfig.steps,
    patience: Annotated[
        int,
        typer.Option(
            min=0,
            metavar="EPOCHS",
            help="End after so many without a better validation error; 0: never.",
            rich_help_panel=TRAINING,
        ),
    ] = FinetuneConfig.patience,
    learning_rate: Annotated[
        float, typer.Option(min=0.0, help="Peak learning rate.", rich_help_panel=TRAINING)
    ] = FinetuneConfig.learning_rate,
    layer_decay: Annotated[
        float,
        typer.Option(
            "--layer-decay",
            min=0.0,
            max=1.0,
            help="Layer-wise learning rates: each stage of the encoder at this share of the rate of what stands on it.",
            rich_help_panel=TRAINING,
        ),
    ] = FinetuneConfig.layer_decay,
    optimizer: Optimizer = FinetuneConfig.optimizer,
    precision: TrainingPrecision = FinetuneConfig.precision,
    checkpoint_every: CheckpointEvery = FinetuneConfig.checkpoint_every,
    compile: Compile = FinetuneConfig.compile,
    tensorboard: Tensorboard = FinetuneConfig.tensorboard,
    dry_run: DryRun = False,
    seed: Seed = FinetuneConfig.seed,
    gpus: Gpus = FinetuneConfig.gpus,
    processes: Processes = FinetuneConfig.processes,
    workers: Workers = FinetuneConfig.workers,
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

    if encoder and init != FinetuneConfig.init:
        raise WrongCommand("--encoder and --init both say where the encoder starts", hint="leave one of them out")
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
