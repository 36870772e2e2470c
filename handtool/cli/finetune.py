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
        str | None,
        typer.Option(
            "--encoder",
            metavar="FILE",
            help="The encoder.h5 to start from (the same as --init FILE).",
            show_default=False,
        ),
    ] = None,
    head: Annotated[
        Literal[tuple(HEAD_PRESETS)],
        typer.Option(
            "--head",
            help="What turns features into a pose: heat maps with joint locations, as SiMHand fine-tunes; "
            "or PeCLR's 2.5D regression.",
        ),
    ] = FinetuneConfig.head,
    gpus: Gpus = FinetuneConfig.gpus,
    epochs: Annotated[
        int | None,
        typer.Option(
            "--epochs", metavar="N", min=1, help="Passes over the hands.", show_default="heatmap: 120, regression: 100"
        ),
    ] = FinetuneConfig.epochs,
    steps: Steps = FinetuneConfig.steps,
    batch_size: Annotated[
        int | None,
        typer.Option(
            "--batch-size",
            metavar="N",
            min=1,
            help="Hands a forward pass, over all processes.",
            show_default="128 a GPU, 16 a CPU process",
        ),
    ] = FinetuneConfig.batch_size,
    learning_rate: Annotated[
        float, typer.Option("--learning-rate", metavar="RATE", min=0.0, help="Peak learning rate.")
    ] = FinetuneConfig.learning_rate,
    freeze: Annotated[
        bool, typer.Option("--freeze", help="Train the head alone; the encoder stays as it is.")
    ] = FinetuneConfig.freeze,
    init: Init = FinetuneConfig.init,
    arch: Annotated[
        Literal[ARCHS] | None,
        typer.Option(
            "--arch",
            metavar="NAME",
            help=f"Encoder: {', '.join(ARCHS[:-1])} or {ARCHS[-1]}.",
            show_default="the encoder file's, else resnet50",
        ),
    ] = FinetuneConfig.arch,
    input_size: InputSize = FinetuneConfig.input_size,
    seed: Seed = FinetuneConfig.seed,
    dry_run: DryRun = False,
    val_share: Annotated[
        float,
        typer.Option(
            "--val-share",
            metavar="SHARE",
            min=0.0,
            max=0.9,
            help="Share of the hands held out (0.9 at most); the weights that do best on it are kept.",
            rich_help_panel=LABELS,
        ),
    ] = FinetuneConfig.val_share,
    val_by: Annotated[
        Literal["video", "subject", "row"],
        typer.Option("--val-by", help="Hands that --val-share never divides.", rich_help_panel=LABELS),
    ] = FinetuneConfig.val_by,
    patience: Annotated[
        int,
        typer.Option(
            "--patience",
            min=0,
            metavar="EPOCHS",
            help="With --val-share: end after so many without a better validation error; 0: never.",
            rich_help_panel=LABELS,
        ),
    ] = FinetuneConfig.patience,
    label_fraction: Annotated[
        float,
        typer.Option(
            "--label-fraction",
            metavar="SHARE",
            min=1e-6,
            max=1.0,
            help="Share of the labelled hands to learn from.",
            rich_help_panel=LABELS,
        ),
    ] = FinetuneConfig.label_fraction,
    label_choice: Annotated[
        Literal["random", "head"],
        typer.Option(
            "--label-choice", help="With --label-fraction: hands drawn by --seed, or the first.", rich_help_panel=LABELS
        ),
    ] = FinetuneConfig.label_choice,
    rotation_deg: Annotated[
        float | None,
        typer.Option(
            "--rotation",
            min=0.0,
            max=180.0,
            metavar="DEG",
            help="Turn hands by up to this.",
            show_default="heatmap: 90, regression: 45",
            rich_help_panel=AUGMENTATION,
        ),
    ] = FinetuneConfig.rotation_deg,
    shift: Annotated[
        float,
        typer.Option(
            "--shift",
            metavar="SHARE",
            min=0.0,
            max=0.5,
            help="Move hands by up to this share of the crop, 0.5 at most.",
            rich_help_panel=AUGMENTATION,
        ),
    ] = FinetuneConfig.shift,
    zoom: Annotated[
        float,
        typer.Option(
            "--zoom",
            metavar="SHARE",
            min=0.0,
            max=0.5,
            help="Change the size of hands by up to this share, 0.5 at most.",
            rich_help_panel=AUGMENTATION,
        ),
    ] = FinetuneConfig.zoom,
    colour: Annotated[
        float,
        typer.Option(
            "--colour",
            metavar="SHARE",
            min=0.0,
            max=0.9,
            help="Change brightness, contrast and saturation by up to this share, 0.9 at most.",
            rich_help_panel=AUGMENTATION,
        ),
    ] = FinetuneConfig.colour,
    blur_px: Annotated[
        float | None,
        typer.Option(
            "--blur",
            min=0.0,
            max=10.0,
            metavar="PX",
            help="Blur the input by up to this standard deviation, 10 at most.",
            show_default="heatmap: 0.5, regression: 0",
            rich_help_panel=AUGMENTATION,
        ),
    ] = FinetuneConfig.blur_px,
    mirror: Annotated[
        float,
        typer.Option(
            "--mirror",
            metavar="SHARE",
            min=0.0,
            max=1.0,
            help="Show this share of the hands mirrored; predict can then --flip.",
            rich_help_panel=AUGMENTATION,
        ),
    ] = FinetuneConfig.mirror,
    loss: Annotated[
        Literal["hand", "published"],
        typer.Option(
            "--loss",
            help="Heat-map head: errors of directions and locations averaged over hands; "
            "or, as published, one norm over the batch.",
            rich_help_panel=DETAILS,
        ),
    ] = FinetuneConfig.loss,
    normalization: Annotated[
        Literal["encoder", "published"],
        typer.Option(
            "--normalization",
            help="The input as the encoder was trained on it; or, as published, 0 to 1 less 0.5.",
            rich_help_panel=DETAILS,
        ),
    ] = FinetuneConfig.normalization,
    accumulate: Accumulate = FinetuneConfig.accumulate,
    optimizer: Optimizer = FinetuneConfig.optimizer,
    layer_decay: Annotated[
        float,
        typer.Option(
            "--layer-decay",
            metavar="SHARE",
            min=0.0,
            max=1.0,
            help="Each stage of the encoder learns at this share of the rate of the stage above it.",
            rich_help_panel=OPTIMISATION,
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
