"""handtool pretrain: an encoder from unlabelled hands, by contrastive learning."""

from typing import Annotated, Literal

import typer

from handtool.cli.effects import COMMON, Values, always, only
from handtool.cli.options import (
    OPTIMISATION,
    Accumulate,
    Arch,
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
from handtool.config import METHODS, WEIGHT_KINDS
from handtool.config import PretrainConfig as Default


def kind_of_weights(values: Values) -> str:
    return values.weights or METHODS[values.method].weights


def turns_views(values: Values) -> bool:
    return bool(METHODS[values.method].rotation_deg or METHODS[values.method].shift_px)


EFFECTS = (
    COMMON
    | always("method", "arch", "init", "input_size", "weights", "temperature", "negatives", "batch_size", "accumulate")
    | always(
        "steps", "learning_rate", "warmup", "optimizer", "weight_decay", "precision", "checkpoint_every", "compile"
    )
    | always("tensorboard", "dry_run", "seed", "gpus", "workers")
    | only("inverse", turns_views, "with --method simclr, whose views are neither turned nor shifted", "--method peclr")
    | only(
        "positives",
        lambda v: METHODS[v.method].mined,
        "with --method simclr or peclr, which pair a hand with itself",
        "--method simhand",
    )
    | only(
        "weight_side weight_keypoints", lambda v: kind_of_weights(v) != "none", "without weights", "--weights linear"
    )
    | only(
        "lambda_pos",
        lambda v: kind_of_weights(v) == "sigmoid" and v.weight_side != "neg",
        "without sigmoid weights of the numerator",
        "--weights sigmoid",
    )
    | only(
        "lambda_neg",
        lambda v: kind_of_weights(v) == "sigmoid" and v.weight_side != "pos",
        "without sigmoid weights of the denominator",
        "--weights sigmoid",
    )
    | only("epochs", lambda v: not v.steps, "with --steps, which says how long to train")
    | only("processes", lambda v: not v.gpus, "with --gpus: each GPU has a process of its own", "--gpus 0")
)

PAIRS, LOSS = "Pairs and views", "Loss"


def pretrain(
    source: Source = "-",
    method: Annotated[
        Literal[tuple(METHODS)], typer.Option("--method", help="The published recipe to start from.")
    ] = Default.method,
    gpus: Gpus = Default.gpus,
    epochs: Annotated[
        int, typer.Option("--epochs", metavar="N", min=1, help="Passes over the pairs.")
    ] = Default.epochs,
    steps: Steps = Default.steps,
    batch_size: Annotated[
        int | None,
        typer.Option(
            "--batch-size",
            metavar="N",
            min=2,
            help="Pairs a forward pass, over all processes.",
            show_default="1024 a GPU, 32 a CPU process, at most all pairs",
        ),
    ] = Default.batch_size,
    learning_rate: Annotated[
        float | None,
        typer.Option(
            "--learning-rate",
            metavar="RATE",
            min=0.0,
            help="Peak learning rate.",
            show_default="1e-4 x sqrt(pairs a step of one process)",
        ),
    ] = Default.learning_rate,
    arch: Arch = Default.arch,
    init: Init = Default.init,
    input_size: InputSize = Default.input_size,
    seed: Seed = Default.seed,
    dry_run: DryRun = False,
    positives: Annotated[
        str,
        typer.Option(
            "--positives",
            metavar="K|sample|all",
            help="simhand: the K-th mined neighbour, one drawn each epoch, or the mean over all.",
            rich_help_panel=PAIRS,
        ),
    ] = Default.positives,
    inverse: Annotated[
        Literal["exact", "published", "none"] | None,
        typer.Option(
            "--inverse",
            help="How projections undo the rotation and shift of their views.",
            show_default="simclr: none, else exact",
            rich_help_panel=PAIRS,
        ),
    ] = Default.inverse,
    weights: Annotated[
        Literal[WEIGHT_KINDS] | None,
        typer.Option(
            "--weights",
            help="Weigh similarities by the distance of the keypoints.",
            show_default="simhand: linear, else none",
            rich_help_panel=LOSS,
        ),
    ] = Default.weights,
    weight_side: Annotated[
        Literal["both", "pos", "neg"],
        typer.Option(
            "--weight-side", help="Weigh the numerator (pos), the denominator (neg) or both.", rich_help_panel=LOSS
        ),
    ] = Default.weight_side,
    weight_keypoints: Annotated[
        Literal["augmented", "original"],
        typer.Option(
            "--weight-keypoints",
            help="Distances of the keypoints in the views, or in the crops before them.",
            rich_help_panel=LOSS,
        ),
    ] = Default.weight_keypoints,
    lambda_pos: Annotated[
        float,
        typer.Option(
            "--lambda-pos",
            metavar="1/PX",
            help="--weights sigmoid: steepness of the weights of the pairs.",
            rich_help_panel=LOSS,
        ),
    ] = Default.lambda_pos,
    lambda_neg: Annotated[
        float,
        typer.Option(
            "--lambda-neg",
            metavar="1/PX",
            help="--weights sigmoid: steepness of the weights of all views against all.",
            rich_help_panel=LOSS,
        ),
    ] = Default.lambda_neg,
    temperature: Annotated[
        float,
        typer.Option(
            "--temperature",
            metavar="T",
            min=1e-3,
            help="Similarities are divided by it; 0.001 at least.",
            rich_help_panel=LOSS,
        ),
    ] = Default.temperature,
    negatives: Annotated[
        Literal["global", "local"],
        typer.Option(
            "--negatives", help="Compare with the views of all processes, or of each one alone.", rich_help_panel=LOSS
        ),
    ] = Default.negatives,
    accumulate: Accumulate = Default.accumulate,
    warmup: Annotated[
        float,
        typer.Option(
            "--warmup",
            metavar="SHARE",
            min=0.0,
            max=1.0,
            help="Share of the steps in which the learning rate rises.",
            rich_help_panel=OPTIMISATION,
        ),
    ] = Default.warmup,
    optimizer: Optimizer = Default.optimizer,
    weight_decay: Annotated[
        float,
        typer.Option(
            "--weight-decay",
            metavar="DECAY",
            min=0.0,
            help="Weight decay of matrices and kernels; biases and norms have none.",
            rich_help_panel=OPTIMISATION,
        ),
    ] = Default.weight_decay,
    precision: TrainingPrecision = Default.precision,
    compile: Compile = Default.compile,
    processes: Processes = Default.processes,
    workers: Workers = Default.workers,
    checkpoint_every: CheckpointEvery = Default.checkpoint_every,
    tensorboard: Tensorboard = Default.tensorboard,
    output: NamedOutput = "encoder.h5",
    moved: Moved = None,
    force: Force = False,
    restart: Restart = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Train an encoder on unlabelled hands, so that alike hands come close together.

    Example: handtool pretrain pairs.h5 --gpus 4
    """
    from handtool.stages import pretrain as stage

    config = Default(
        method=method,
        inverse=inverse,
        positives=positives,
        arch=arch,
        init=init,
        input_size=input_size,
        weights=weights,
        weight_side=weight_side,
        weight_keypoints=weight_keypoints,
        lambda_pos=lambda_pos,
        lambda_neg=lambda_neg,
        temperature=temperature,
        negatives=negatives,
        batch_size=batch_size,
        accumulate=accumulate,
        epochs=epochs,
        steps=steps,
        learning_rate=learning_rate,
        warmup=warmup,
        optimizer=optimizer,
        weight_decay=weight_decay,
        precision=precision,
        checkpoint_every=checkpoint_every,
        seed=seed,
        gpus=gpus,
        processes=processes,
        workers=workers,
        compile=compile,
        tensorboard=tensorboard,
    )
    extra = {"init_from": None if init in ("imagenet", "scratch") else init}
    if (code := stage.run_other_rank(source, config, moved or [], dry_run)) is not None:
        raise typer.Exit(code)
    if dry_run:
        return run_stage(stage.dry_run, [source], None, config, as_json=as_json, report_only=True, extra=extra)
    run_stage(
        stage.pretrain,
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
