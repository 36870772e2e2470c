"""handtool pretrain: an encoder from unlabelled hands, by contrast, by what the estimator sees, or by both."""

from typing import Literal

from handtool.cli import training
from handtool.cli.effects import COMMON, Values, always, only
from handtool.cli.options import Force, Moved, NamedOutput, Restart, Seed, Source, Workers, option
from handtool.cli.runner import make_config
from handtool.config import HEAD_PRESETS, METHODS, WEIGHT_KINDS
from handtool.config import PretrainConfig as Default


def kind_of_weights(values: Values) -> str:
    return values.weights or METHODS[values.method].weights


def contrast_of(values: Values) -> str:
    return values.contrast or METHODS[values.method].contrast


def undoes_views(values: Values) -> bool:
    turns = METHODS[values.method].rotation_deg or METHODS[values.method].shift_px
    return bool(turns) and contrast_of(values) != "none"


def is_taught(values: Values) -> bool:
    """Whether a head learns the estimator's pose."""
    method = METHODS[values.method]
    weights = (values.keypoint_weight, method.keypoint_weight), (values.depth_weight, method.depth_weight)
    return any(own if given is None else given for given, own in weights)


def weighs(values: Values) -> bool:
    return contrast_of(values) == "hard" and kind_of_weights(values) != "none"


EFFECTS = (
    COMMON
    | always("method", "arch", "init", "input_size", "batch_size", "accumulate")
    | always("contrast", "keypoint_weight", "depth_weight")
    | always(
        "steps", "learning_rate", "warmup", "optimizer", "weight_decay", "precision", "checkpoint_every", "compile"
    )
    | always("checkpoint_activations", "tensorboard", "dry_run", "seed", "gpus", "workers")
    | only("temperature negatives", lambda v: contrast_of(v) != "none", "without a contrast", "--contrast soft")
    | only("weights", lambda v: contrast_of(v) == "hard", "without a hard contrast", "--contrast hard")
    | only("soft_sigma", lambda v: contrast_of(v) == "soft", "without a soft contrast", "--contrast soft")
    | only("pretrain_head", is_taught, "where no pose is learnt", "--keypoint-weight 10")
    | only("inverse", undoes_views, "without views that are turned or shifted, and compared", "--method peclr")
    | only(
        "positives",
        lambda v: METHODS[v.method].mined and contrast_of(v) != "none",
        "where a hand is paired with itself",
        "--method simhand",
    )
    | only("weight_side weight_keypoints", weighs, "without weights", "--weights linear")
    | only(
        "lambda_pos",
        lambda v: weighs(v) and kind_of_weights(v) == "sigmoid" and v.weight_side != "neg",
        "without sigmoid weights of the numerator",
        "--weights sigmoid",
    )
    | only(
        "lambda_neg",
        lambda v: weighs(v) and kind_of_weights(v) == "sigmoid" and v.weight_side != "pos",
        "without sigmoid weights of the denominator",
        "--weights sigmoid",
    )
    | only("epochs", lambda v: not v.steps, "with --steps, which says how long to train")
    | only("processes", lambda v: not v.gpus, "with --gpus: each GPU has a process of its own", "--gpus 0")
)

PAIRS, LOSS, POSE = "Pairs and views", "Contrast", "Pose of the estimator"
METHOD_HELP = (
    "The recipe to start from. Published: simclr, peclr, simhand. Ours: keypoints (regressed, no pairs needed), "
    "softhand (soft contrast), handtool (keypoints and, where the estimator knows it, depth)."
)


def pretrain(
    source: Source = "-",
    method: option(Literal[tuple(METHODS)], "--method", METHOD_HELP) = Default.method,
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
        "Mined pairs: the K-th neighbour, one drawn each epoch, or the mean over all.",
        PAIRS,
    ) = Default.positives,
    inverse: option(
        Literal["exact", "published", "none"] | None,
        "--inverse",
        "How projections undo the rotation and shift of their views.",
        PAIRS,
        unset="simclr: none, else exact",
    ) = Default.inverse,
    contrast: option(
        Literal["none", "hard", "soft"] | None,
        "--contrast",
        "hard: all hands of the batch but the partner are pushed away; soft: the less the nearer their keypoints.",
        LOSS,
        unset="the method's own",
    ) = Default.contrast,
    soft_sigma: option(
        float,
        "--soft-sigma FACTOR",
        "Soft contrast: how far near poses reach, in median distances of the pairs; 0.01 at least.",
        LOSS,
        min=0.01,
    ) = Default.soft_sigma,
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
    keypoint_weight: option(
        float | None,
        "--keypoint-weight W",
        "Regress the keypoints of each view, with this weight; 0: do not.",
        POSE,
        min=0.0,
        unset="keypoints, handtool: 10, else 0",
    ) = Default.keypoint_weight,
    depth_weight: option(
        float | None,
        "--depth-weight W",
        "Regress the depth of each joint, where the estimator knows 3D, with this weight; 0: do not.",
        POSE,
        min=0.0,
        unset="handtool: 0.45, else 0",
    ) = Default.depth_weight,
    pretrain_head: option(
        Literal[tuple(HEAD_PRESETS)],
        "--pretrain-head",
        "The head that learns them; finetune --head of the same kind goes on with it.",
        POSE,
    ) = Default.pretrain_head,
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
    checkpoint_activations: training.CheckpointActivations = Default.checkpoint_activations,
    processes: training.Processes = Default.processes,
    workers: Workers = Default.workers,
    checkpoint_every: training.CheckpointEvery = Default.checkpoint_every,
    tensorboard: training.Tensorboard = Default.tensorboard,
    output: NamedOutput = "encoder.h5",
    moved: Moved = None,
    force: Force = False,
    restart: Restart = False,
) -> None:
    """Train an encoder on unlabelled hands: alike hands come close together, or it learns what the estimator sees.

    Example: handtool pretrain pairs.h5 --gpus 4
    """
    from handtool.stages import pretrain as stage

    config = make_config(Default, locals())
    how = {"dry_run": dry_run, "force": force, "restart": restart}
    training.run_training(stage, stage.pretrain, source, output, config, "init_from", **how)
