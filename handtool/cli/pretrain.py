"""handtool pretrain: an encoder from unlabelled hands, by contrastive learning."""

from typing import Annotated, Literal

import typer

from handtool.cli.doors import run_stage
from handtool.cli.effects import COMMON, Values, always, only
from handtool.cli.options import (
    Accumulate,
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
from handtool.config import ARCHS, METHODS, WEIGHT_KINDS
from handtool.config import PretrainConfig as Default


def kind_of_weights(values: Values) -> str:
    return values.weights or METHODS[values.method].weights


EFFECTS = (
    COMMON
    | always("method", "arch", "init", "input_size", "weights", "temperature", "negatives", "batch_size", "accumulate")
    | always(
        "steps", "learning_rate", "warmup", "optimizer", "weight_decay", "precision", "checkpoint_every", "compile"
    )
    | always("tensorboard", "dry_run", "seed", "gpus", "workers")
    | only(
        "inverse", lambda v: v.method != "simclr", "with --method simclr, whose views are neither turned nor shifted"
    )
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
    | only("processes", lambda v: not v.gpus, "with --gpus, which start a process each", "--gpus 0")
)

METHOD, LOSS, TRAINING = ({"rich_help_panel": panel} for panel in ("Method", "Loss", "Training"))
Method = Annotated[Literal[tuple(METHODS)], typer.Option(help="The published recipe to start from.", **METHOD)]
Inverse = Annotated[
    Literal["exact", "published", "none"] | None,
    typer.Option(help="How projections undo their views.", show_default="simclr: none, else exact", **METHOD),
]
Positives = Annotated[
    str,
    typer.Option(
        metavar="K|sample|all", help="The K-th mined neighbour, one drawn each epoch, or the mean over all.", **METHOD
    ),
]
Arch = Annotated[Literal[ARCHS], typer.Option(help="Encoder.", **METHOD)]
Init = Annotated[
    str, typer.Option(metavar="imagenet|scratch|FILE", help="Weights that the encoder starts from.", **METHOD)
]
Weights = Annotated[
    Literal[WEIGHT_KINDS] | None,
    typer.Option(
        help="Weigh similarities by the distance of the keypoints.", show_default="simhand: linear, else none", **LOSS
    ),
]
WeightSide = Annotated[
    Literal["both", "pos", "neg"], typer.Option(help="Weigh numerator, denominator or both.", **LOSS)
]
WeightKeypoints = Annotated[
    Literal["augmented", "original"],
    typer.Option(help="Distances of the keypoints in the views, or in the crops before them.", **LOSS),
]
LambdaPos = Annotated[float, typer.Option(help="Steepness of sigmoid weights of the pairs, 1/px.", **LOSS)]
LambdaNeg = Annotated[float, typer.Option(help="The same of all views against all, 1/px.", **LOSS)]
Temperature = Annotated[float, typer.Option(min=1e-3, help="Similarities are divided by it.", **LOSS)]
Negatives = Annotated[Literal["global", "local"], typer.Option(help="Views of all processes, or each its own.", **LOSS)]
BatchSize = Annotated[
    int | None,
    typer.Option(
        min=2,
        help="Pairs a forward pass, over all processes.",
        show_default="1024 a GPU, 32 a CPU process, at most all pairs",
        **TRAINING,
    ),
]
LearningRate = Annotated[
    float | None,
    typer.Option(min=0.0, help="At its peak.", show_default="1e-4 x sqrt(pairs a step of one process)", **TRAINING),
]
Epochs = Annotated[int, typer.Option(min=1, help="Passes over the pairs.", **TRAINING)]
Steps = Annotated[int | None, typer.Option(min=1, help="Steps, instead of epochs.", **TRAINING)]
Warmup = Annotated[
    float, typer.Option(min=0.0, max=1.0, help="Share of the steps in which the rate rises.", **TRAINING)
]
WeightDecay = Annotated[
    float, typer.Option(min=0.0, help="Of matrices and kernels, not of biases and norms.", **TRAINING)
]


def pretrain(
    source: Source = "-",
    output: NamedOutput = "encoder.h5",
    method: Method = Default.method,
    inverse: Inverse = Default.inverse,
    positives: Positives = Default.positives,
    arch: Arch = Default.arch,
    init: Init = Default.init,
    input_size: InputSize = Default.input_size,
    weights: Weights = Default.weights,
    weight_side: WeightSide = Default.weight_side,
    weight_keypoints: WeightKeypoints = Default.weight_keypoints,
    lambda_pos: LambdaPos = Default.lambda_pos,
    lambda_neg: LambdaNeg = Default.lambda_neg,
    temperature: Temperature = Default.temperature,
    negatives: Negatives = Default.negatives,
    batch_size: BatchSize = Default.batch_size,
    accumulate: Accumulate = Default.accumulate,
    epochs: Epochs = Default.epochs,
    steps: Steps = Default.steps,
    learning_rate: LearningRate = Default.learning_rate,
    warmup: Warmup = Default.warmup,
    optimizer: Optimizer = Default.optimizer,
    weight_decay: WeightDecay = Default.weight_decay,
    precision: TrainingPrecision = Default.precision,
    checkpoint_every: CheckpointEvery = Default.checkpoint_every,
    compile: Compile = Default.compile,
    tensorboard: Tensorboard = Default.tensorboard,
    dry_run: DryRun = False,
    seed: Seed = Default.seed,
    gpus: Gpus = Default.gpus,
    processes: Processes = Default.processes,
    workers: Workers = Default.workers,
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
