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
    option,
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
        Literal[tuple(METHODS)], option("--method", "The published recipe to start from.")
    ] = Default.method,
    gpus: Gpus = Default.gpus,
    epochs: Annotated[int, option("--epochs N", "Passes over the pairs.", min=1)] = Default.epochs,
    steps: Steps = Default.steps,
    batch_size: Annotated[
        int | None,
        option(
            "--batch-size N",
            "Pairs a forward pass, over all processes.",
            min=2,
            show_default="1024 a GPU, 32 a CPU process, at most all pairs",
        ),
    ] = Default.batch_size,
    learning_rate: Annotated[
        float | None,
        option(
            "--learning-rate RATE",
            "Peak learning rate.",
            min=0.0,
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
        option(
            "--positives K|sample|all",
            "simhand: the K-th mined neighbour, one drawn each epoch, or the mean over all.",
            PAIRS,
        ),
    ] = Default.positives,
    inverse: Annotated[
        Literal["exact", "published", "none"] | None,
        option(
            "--inverse",
            "How projections undo the rotation and shift of their views.",
            PAIRS,
            show_default="simclr: none, else exact",
        ),
    ] = Default.inverse,
    weights: Annotated[
        Literal[WEIGHT_KINDS] | None,
        option(
            "--weights",
            "Weigh similarities by the distance of the keypoints.",
            LOSS,
            show_default="simhand: linear, else none",
        ),
    ] = Default.weights,
    weight_side: Annotated[
        Literal["both", "pos", "neg"],
        option("--weight-side", "Weigh the numerator (pos), the denominator (neg) or both.", LOSS),
    ] = Default.weight_side,
    weight_keypoints: Annotated[
        Literal["augmented", "original"],
        option("--weight-keypoints", "Distances of the keypoints in the views, or in the crops before them.", LOSS),
    ] = Default.weight_keypoints,
    lambda_pos: Annotated[
        float, option("--lambda-pos 1/PX", "--weights sigmoid: steepness of the weights of the pairs.", LOSS)
    ] = Default.lambda_pos,
    lambda_neg: Annotated[
        float,
        option("--lambda-neg 1/PX", "--weights sigmoid: steepness of the weights of all views against all.", LOSS),
    ] = Default.lambda_neg,
    temperature: Annotated[
        float, option("--temperature T", "Similarities are divided by it; 0.001 at least.", LOSS, min=1e-3)
    ] = Default.temperature,
    negatives: Annotated[
        Literal["global", "local"],
        option("--negatives", "Compare with the views of all processes, or of each one alone.", LOSS),
    ] = Default.negatives,
    accumulate: Accumulate = Default.accumulate,
    warmup: Annotated[
        float,
        option(
            "--warmup SHARE", "Share of the steps in which the learning rate rises.", OPTIMISATION, min=0.0, max=1.0
        ),
    ] = Default.warmup,
    optimizer: Optimizer = Default.optimizer,
    weight_decay: Annotated[
        float,
        option(
            "--weight-decay DECAY",
            "Weight decay of matrices and kernels; biases and norms have none.",
            OPTIMISATION,
            min=0.0,
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
