"""handtool keypoints: 21 2D keypoints per hand."""

from handtool.cli.effects import COMMON, Values, always, on_cluster, only
from handtool.cli.models import Device, Model, Onnx, kind_of, name_and_file
from handtool.cli.options import Engine, Force, GpusPerWorker, Moved, Output, Restart, Source, Workers, option
from handtool.cli.runner import make_config, run_stage
from handtool.config import ESTIMATORS, KeypointsConfig


def of_model(values: Values) -> bool:
    return kind_of(values.estimator, values.model) in ("onnx", "model")


EFFECTS = (
    COMMON
    | always("estimator", "model", "noise")
    | only("onnx", lambda v: kind_of(v.estimator, v.model) == "onnx", "without an ONNX model", "--estimator hands.onnx")
    | only("device", of_model, "without a model of ONNX or of handtool", "--estimator pose.h5")
    | on_cluster(of_model)
    | only("workers engine", lambda v: v.estimator != "labels", "with --estimator labels, which only copies")
    | only(
        "min_score",
        lambda v: kind_of(v.estimator, v.model) not in ("labels", "model"),
        "with labels or a pose.h5, which have no scores",
    )
    | only("seed", lambda v: v.noise, "without --noise, which it draws", "--noise 2")
)


def keypoints(
    source: Source = "-",
    estimator: option(
        str,
        "--estimator " + "|".join((*ESTIMATORS, "FILE")),
        "auto: labels where the source knew them, else the detector's landmarks, else mediapipe. "
        "A file: .onnx, .h5 of finetune, .task of MediaPipe.",
    ) = KeypointsConfig.estimator,
    model: Model = None,
    onnx: Onnx = None,
    min_score: option(
        float, "--min-score SCORE", "Mark hands whose score (0 to 1) is lower as not valid.", min=0.0, max=1.0
    ) = KeypointsConfig.min_score,
    noise: option(
        float,
        "--noise PX",
        "Move every point by a normal draw of this deviation, to study how much their quality matters.",
        min=0.0,
    ) = KeypointsConfig.noise_px,
    seed: option(int, "--seed N", "Same seed, same noise.", min=0) = KeypointsConfig.seed,
    device: Device = KeypointsConfig.device,
    workers: Workers = KeypointsConfig.workers,
    engine: Engine = KeypointsConfig.engine,
    gpus_per_worker: GpusPerWorker = KeypointsConfig.gpus_per_worker,
    output: Output = "-",
    moved: Moved = None,
    force: Force = False,
    restart: Restart = False,
) -> None:
    """Give every hand its 21 2D keypoints, in pixels of its crop.

    The same command continues after an interruption (not with -o -).

    Example: handtool keypoints crops.h5 -o keypoints.h5
    """
    from handtool.stages.keypoints import keypoints as stage

    estimator, model = name_and_file("--estimator", estimator, model, ESTIMATORS, unsaid="auto")
    config = make_config(KeypointsConfig, locals(), noise_px=noise)
    run_stage(stage, [source], output, config, force=force, restart=restart, extra={"model": model})
