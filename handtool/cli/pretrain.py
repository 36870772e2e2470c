"""handtool pretrain: an encoder from unlabelled hands, by contrastive learning."""

from typing import Literal

from handtool.cli import training
from handtool.cli.effects import COMMON, Values, always, only
from handtool.cli.options import Force, Moved, NamedOutput, Restart, Seed, Source, Workers, option
from handtool.cli.runner import make_config
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
    method: option(Literal[tuple(METHODS)], "--method", "The published recipe to start from.") = Default.method,
    gpus: training.Gpus = Default.gpus,
    epochs: option(int, "--epochs N", "Passes over the pairs.", min=1) = Default.epochs,
    steps: training.Steps = Default.steps,
    batch_size: option(
        int | None,
        "--batch-size N",
        "Pairs a forward pass, over all processes.",
        min=2,
        unset="1024 a GPU, 32 a CPU process, at most all pairs",
    ) = Default.batch_size,
    learning_rate: option(
        float | None,
        "--learning-rate RATE",
        "Peak learning rate.",
        min=0.0,
        unset="1e-4 x sqrt(pairs a step of one process)",
    ) = Default.learning_rate,
    arch: training.Arch = Default.arch,
    init: training.Init = Default.init,
    input_size: training.InputSize = Default.input_size,
    seed: Seed = Default.seed,
    dry_run: training.DryRun = False,
    positives: option(
        str,
        "--positives K|sample|all",
        "simhand: the K-th mined neighbour, one drawn each epoch, or the mean over all.",
        PAIRS,
    ) = Default.positives,
    inverse: option(
        Literal["exact", "published", "none"] | None,
        "--inverse",
        "How projections undo the rotation and shift of their views.",
        PAIRS,
        unset="simclr: none, else exact",
    ) = Default.inverse,
    weights: option(
        Literal[WEIGHT_KINDS] | None,
        "--weights",
        "Weigh similarities by the distance of the keypoints.",
        LOSS,
        unset="simhand: linear, else none",
    ) = Default.weights,
    weight_side: option(
        Literal["both", "pos", "neg"],
        "--weight-side",
        "Weigh the numerator (pos), the denominator (neg) or both.",
        LOSS,
    ) = Default.weight_side,
    weight_keypoints: option(
        Literal["augmented", "original"],
        "--weight-keypoints",
        "Distances of the keypoints in the views, or in the crops before them.",
        LOSS,
    ) = Default.weight_keypoints,
    lambda_pos: option(
        float, "--lambda-pos 1/PX", "--weights sigmoid: steepness of the weights of the pairs.", LOSS
    ) = Default.lambda_pos,
    lambda_neg: option(
        float, "--lambda-neg 1/PX", "--weights sigmoid: steepness of the weights of all views against all.", LOSS
    ) = Default.lambda_neg,
    temperature: option(
        float, "--temperature T", "Similarities are divided by it; 0.001 at least.", LOSS, min=1e-3
    ) = Default.temperature,
    negatives: option(
        Literal["global", "local"],
        "--negatives",
        "Compare with the views of all processes, or of each one alone.",
        LOSS,
    ) = Default.negatives,
    accumulate: training.Accumulate = Default.accumulate,
    warmup: option(
        float,
        "--warmup SHARE",
        "Share of the steps in which the learning rate rises.",
        training.OPTIMISATION,
        min=0.0,
        max=1.0,
    ) = Default.warmup,
    optimizer: training.Optimizer = Default.optimizer,
    weight_decay: option(
        float,
        "--weight-decay DECAY",
        "Weight decay of matrices and kernels; biases and norms have none.",
        training.OPTIMISATION,
        min=0.0,
    ) = Default.weight_decay,
    precision: training.TrainingPrecision = Default.precision,
    compile: training.Compile = Default.compile,
    processes: training.Processes = Default.processes,
    workers: Workers = Default.workers,
    checkpoint_every: training.CheckpointEvery = Default.checkpoint_every,
    tensorboard: training.Tensorboard = Default.tensorboard,
    output: NamedOutput = "encoder.h5",
    moved: Moved = None,
    force: Force = False,
    restart: Restart = False,
) -> None:
    """Train an encoder on unlabelled hands, so that alike hands come close together.

    Example: handtool pretrain pairs.h5 --gpus 4
    """
    from handtool.stages import pretrain as stage

    config = make_config(Default, locals())
    how = {"dry_run": dry_run, "force": force, "restart": restart}
    training.run_training(stage, stage.pretrain, source, output, config, "init_from", **how)
