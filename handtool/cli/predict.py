"""handtool predict: a 3D pose for every crop, or for every hand in videos and images."""

import dataclasses
import logging
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from handtool.cli import footage
from handtool.cli.effects import COMMON, Values, always, on_cluster, only, writes_file
from handtool.cli.inputs import is_footage
from handtool.cli.models import kind_of, knows_3d, name_and_file
from handtool.cli.options import (
    MACHINE,
    Device,
    Engine,
    Force,
    GpusPerWorker,
    Moved,
    Output,
    Precision,
    Restart,
    Workers,
    argument,
    option,
)
from handtool.cli.runner import make_config, run_stage
from handtool.config import (
    DETECTORS,
    ESTIMATORS,
    KeypointsConfig,
    PredictByEstimatorConfig,
    PredictConfig,
    PredictFootageByEstimatorConfig,
    PredictFootageConfig,
)
from handtool.errors import WrongCommand
from handtool.progress import Progress, silent

if TYPE_CHECKING:
    from handtool.store import File, Job, Sink

log = logging.getLogger(__name__)
SMOOTHING = "Smoothing"
ON_CROPS = "with a handtool file, which has its crops already"


def has_footage(values: Values) -> bool:
    return any(is_footage(name) for name in values.sources or ["-"])


def of_model(values: Values) -> bool:
    return kind_of(values.model or "", None) == "onnx"


def of_detector(values: Values) -> bool:
    return needs_detector(values) and kind_of(values.detector, None) == "onnx"


def needs_detector(values: Values) -> bool:
    return has_footage(values) and not (values.whole or values.boxes)


EFFECTS = (
    COMMON
    | always("model", "bone", "smooth", "workers")
    | only("film table", writes_file, "without a file to write", "-o FILE")
    | only(
        "engine", lambda v: has_footage(v) or knows_3d(v.model), "with a pose model on crops, which no workers share"
    )
    | on_cluster(lambda v: of_model(v) or of_detector(v))
    | only("flip batch_size precision", lambda v: not knows_3d(v.model), "with an estimator", "--model pose.h5")
    | only(
        "device",
        lambda v: not knows_3d(v.model) or of_model(v) or of_detector(v),
        "with an estimator that runs on the CPU",
        "--model pose.h5",
    )
    | only("min_cutoff beta derivative_cutoff", lambda v: v.smooth, "without --smooth", "--smooth")
    | only("fps stream whole camera trust_labels min_hand limit", has_footage, ON_CROPS)
    | only("detector", needs_detector, f"{ON_CROPS}, or with --whole or --boxes, which say where the hands are")
    | only("boxes", lambda v: has_footage(v) and not v.whole, f"{ON_CROPS}, or with --whole")
    | only("min_score", lambda v: has_footage(v) and not v.whole, f"{ON_CROPS}, or with --whole: no hand has a score")
    | only(
        "onnx",
        lambda v: of_model(v) != of_detector(v),
        "without an ONNX model or an ONNX detector that looks at videos or images; with both it would not be clear "
        "which one it is of",
        "--detector hands.onnx, or metadata to the models",
    )
    | only(
        "decode",
        lambda v: has_footage(v) and (v.fps or v.decode not in ("auto", "all")),
        "without videos, or where every frame is looked at",
        "--fps 10 for a video",
    )
    | only("track_fps", lambda v: has_footage(v) and v.fps, "where every frame is looked at", "--fps 10 for a video")
    | only(
        "restart",
        lambda v: (has_footage(v) or knows_3d(v.model)) and writes_file(v),
        "without videos or images (or an estimator) and a file to write: only for these is unfinished work kept",
        "-o FILE",
    )
)


def predict(
    sources: argument(
        list[str] | None,
        "[SOURCE...]",
        "A handtool file (- or nothing: standard input), or videos, images, folders of them.",
    ) = None,
    model: option(
        str | None,
        "--model FILE|mediapipe",
        "A pose model, made by finetune; or mediapipe (or its .task file), which knows 3D without labels; "
        "or an ONNX model of keypoints that knows 3D.",
    ) = None,
    bone: option(
        str,
        "--bone auto|truth|mean|MM",
        "Length of the middle finger's first bone, which sets the scale: "
        "the label's, the training mean, or in mm; auto: the label's where there is one, of mediapipe its own size.",
    ) = PredictConfig.bone,
    flip: option(
        bool,
        "--flip",
        "Take the mean of the predictions for each hand and for its mirror image; "
        "the model must have been trained with finetune --mirror.",
    ) = PredictConfig.flip,
    smooth: option(
        bool,
        "--smooth",
        "Smooth each hand along its track: a One-Euro filter (Casiez et al. 2012) on the time stamps.",
        SMOOTHING,
    ) = PredictConfig.smooth,
    min_cutoff: option(
        float, "--min-cutoff HZ", "Cutoff of a hand at rest, above 0; lower: it trembles less.", SMOOTHING, min=1e-6
    ) = PredictConfig.min_cutoff,
    beta: option(
        float,
        "--beta HZ",
        "Cutoff added for each m/s; higher: it lags less (at most 1 / (2 pi beta) metres).",
        SMOOTHING,
        min=0.0,
    ) = PredictConfig.beta,
    derivative_cutoff: option(
        float, "--derivative-cutoff HZ", "Cutoff of the speed itself, above 0.", SMOOTHING, min=1e-6
    ) = PredictConfig.derivative_cutoff,
    fps: option(
        float | None,
        "--fps N",
        "Frames looked at per second of video, by time stamp.",
        footage.PANEL,
        min=1e-6,
        unset="all",
    ) = None,
    detector: footage.Detector = PredictFootageConfig.detector,
    boxes: footage.Boxes = None,
    whole: footage.Whole = PredictFootageConfig.whole,
    stream: footage.Stream = PredictFootageConfig.stream,
    camera: footage.Camera = PredictFootageConfig.camera,
    trust_labels: footage.TrustLabels = PredictFootageConfig.trust_labels,
    limit: footage.Limit = PredictFootageConfig.limit,
    min_score: footage.MinScore = PredictFootageConfig.min_score,
    min_hand: footage.MinHand = PredictFootageConfig.min_hand,
    track_fps: footage.TrackFps = PredictFootageConfig.track_fps,
    onnx: footage.Onnx = None,
    batch_size: option(int, "--batch-size N", "Hands at once.", MACHINE, min=1) = PredictConfig.batch_size,
    precision: Precision = PredictConfig.precision,
    decode: footage.Decode = PredictFootageConfig.decode,
    device: Device = PredictConfig.device,
    workers: Workers = PredictConfig.workers,
    engine: Engine = PredictFootageConfig.engine,
    gpus_per_worker: GpusPerWorker = PredictFootageConfig.gpus_per_worker,
    output: Output = "-",
    film: option(
        Path | None, "--show FILE", "Also draw the hands into the videos: an mp4, as show --video does."
    ) = None,
    table: option(
        Path | None, "--export FILE", "Also write the predictions as a table: .csv, .json or .npz, as export does."
    ) = None,
    moved: Moved = None,
    force: Force = False,
    restart: Restart = False,
) -> None:
    """Predict a 3D pose and 2D keypoints for every crop of a file, or for every hand on every frame of videos and
    images.

    In videos and images it first finds and crops the hands, as extract does, and keeps the crops in the output, with
    time, track and side of each. There the same command continues after an interruption (not with -o -).

    Example: handtool predict clip.mp4 --model mediapipe -o hands.h5 --show overlay.mp4 --export hands.csv

    Example: handtool predict crops.h5 --model pose.h5 -o predictions.h5
    """
    sources = sources or ["-"]
    filmed = refuse_mixture(sources)
    if model is None:
        raise WrongCommand(
            "which model? mediapipe knows 3D without labels; finetune makes a pose model from labelled hands",
            hint="add --model mediapipe, or --model pose.h5",
        )
    from handtool.cli.beside import check_names, make_beside

    check_names(film, table, [*sources, output])
    run_estimator(filmed, locals()) if knows_3d(model) else run_model(filmed, locals())
    make_beside(output, film, table, force)


def run_model(filmed: bool, values: dict) -> dict:
    """The command with a pose model. values: its parameters."""
    from handtool.cli.printing import lay_out_videos
    from handtool.stages.predict import check_machine

    chosen = Values(**values)
    shared = {"force": chosen.force, "check": lambda: check_machine(config)}
    if not filmed:
        config = make_config(PredictConfig, values)
        return run_stage(predict_crops, chosen.sources, chosen.output, config, extra={"model": chosen.model}, **shared)
    detector, file = name_and_file("--detector", chosen.detector, None, DETECTORS)
    every = None if chosen.fps else PredictFootageConfig.every
    config = make_config(PredictFootageConfig, values, detector=detector, every=every)
    lens = footage.find_lens(chosen.camera)
    extra = {"model": chosen.model, "boxes": chosen.boxes, "lens": lens, "detector": file}
    shared |= {"restart": chosen.restart, "raw": True, "table": lay_out_videos}
    return run_stage(predict_footage, chosen.sources, chosen.output, config, extra=extra, **shared)


def run_estimator(filmed: bool, values: dict) -> dict:
    """The command with an estimator in the place of a pose model. values: its parameters."""
    from handtool.cli.printing import lay_out_videos

    chosen = Values(**values)
    estimator, model = name_and_file("--model", chosen.model, None, ESTIMATORS)
    how = {"force": chosen.force, "restart": chosen.restart}
    if not filmed:
        config = make_config(PredictByEstimatorConfig, values, estimator=estimator, model_onnx=tuple(chosen.onnx or ()))
        return run_stage(estimate, chosen.sources, chosen.output, config, extra={"model": model}, **how)
    if chosen.detector == estimator and not (chosen.whole or chosen.boxes):
        chosen.detector = model or estimator  # hands are found by the file that they are predicted by
    detector, file = name_and_file("--detector", chosen.detector, None, DETECTORS)
    every = None if chosen.fps else PredictFootageByEstimatorConfig.every
    named = {"estimator": estimator, "detector": detector, "every": every}
    if estimator == "onnx":  # --onnx is of the model
        named |= {"model_onnx": tuple(chosen.onnx or ()), "onnx": ()}
    config = make_config(PredictFootageByEstimatorConfig, values, **named)
    lens = footage.find_lens(chosen.camera)
    extra = {"model": model, "boxes": chosen.boxes, "lens": lens, "detector": file}
    return run_stage(
        estimate_footage, chosen.sources, chosen.output, config, raw=True, extra=extra, table=lay_out_videos, **how
    )


def refuse_mixture(sources: list[str]) -> bool:
    """Whether the sources are footage. WrongCommand for a mixture, and for several files."""
    filmed = [name for name in sources if is_footage(name)]
    if 0 < len(filmed) < len(sources):
        raise WrongCommand(
            "handtool files and footage do not go together", hint=f"handtool predict {' '.join(filmed)} …"
        )
    if not filmed and len(sources) > 1:
        raise WrongCommand(
            f"predict takes one handtool file, {len(sources)} were given",
            hint=f"handtool cat {' '.join(sources)} -o all.h5",
        )
    return bool(filmed)


def predict_crops(
    source: "File",
    sink: "Sink",
    config: PredictConfig,
    progress: Progress = silent,
    *,
    model: "File",
    job: "Job | None" = None,
) -> dict:
    """Predict with a pose model, or with the correction of an estimator, which is asked first. Errors: of the stages.

    job: keeps what the estimator found; None: nothing is kept.
    """
    from handtool.stages.correct import apply_correction, find_estimator, resolve_bone
    from handtool.stages.keypoints import find_joints
    from handtool.stages.predict import predict, predict_by_estimator
    from handtool.store import Record, open_job

    if not (estimator := find_estimator(model)):
        return predict(source, sink, config, progress, model=model)
    with nullcontext(job) if job else open_job(None, Record("handtool predict", {})) as kept:
        asked = make_config(KeypointsConfig, {"workers": config.workers, **place_of(config)}, estimator=estimator)
        found = find_joints(source, asked, progress, job=kept)
    values = vars(config) | {"estimator": estimator, "bone": resolve_bone(model, config.bone)}
    settings = make_config(PredictByEstimatorConfig, values)
    return predict_by_estimator(source, sink, settings, apply_correction(source, model, found))


def place_of(config: object) -> dict:
    """Where workers run, as far as the settings say."""
    return {name: value for name, value in vars(config).items() if name in ("engine", "gpus_per_worker")}


def predict_footage(
    sources: list[Path],
    sink: "Sink",
    config: PredictFootageConfig,
    progress: Progress = silent,
    *,
    job: "Job",
    model: "File",
    **known: Path,
) -> dict:
    """Extract into a file of the job and predict on that; its tables are copied into the output.

    known: further inputs of extract.

    Errors: those of the two stages.
    """
    from handtool.stages.predict import read_contract
    from handtool.store import open_file

    contract = read_contract(model, config)  # before hours of video are looked at
    box_scale = config.box_scale or (None if config.whole else contract.box_scale)
    find_hands(sources, dataclasses.replace(config, box_scale=box_scale), progress, job, known)
    with open_file(job.path("crops"), carried=True, trusted=True) as crops:
        return join_reports(crops.report, predict_crops(crops, sink, config, progress, model=model, job=job))


def find_hands(
    sources: list[Path], config: PredictFootageConfig, progress: Progress, job: "Job", known: dict[str, Path]
) -> None:
    """Extract into the part `crops` of the job, if it is not there. known: further inputs of extract."""
    from handtool.stages.extract import extract
    from handtool.store import Record, create_file

    if job.has("crops"):
        return log.info("the hands are found already")
    known = {"model" if name == "detector" else name: file for name, file in known.items()}
    with create_file(job.path("crops"), Record("handtool extract", {})) as crops:
        crops.finish(extract(sources, crops, config, progress, job=job, **known))
    for part in job.names():  # they are all in that one now
        if part != "crops":
            job.drop(part)


def join_reports(found: dict, report: dict) -> dict:
    """The reports of the two stages as one."""
    accounting = [
        item | {"what": f"{item['what']} {'found' if item['what'] == 'hands' else ''}".strip()}
        for item in found["accounting"]
    ]
    return found | report | {"accounting": accounting + report["accounting"]}


def estimate(
    source: "File",
    sink: "Sink",
    config: PredictByEstimatorConfig,
    progress: Progress = silent,
    *,
    job: "Job",
    model: Path | None = None,
) -> dict:
    """Find what the estimator knows of the hands in 3D, and predict from that. Errors: those of the two stages."""
    from handtool.stages.keypoints import find_joints
    from handtool.stages.predict import predict_by_estimator

    names = {"onnx": config.model_onnx, "device": config.device, "workers": config.workers, **place_of(config)}
    settings = KeypointsConfig(config.estimator, timeout_s=config.timeout_s, **names)
    return predict_by_estimator(source, sink, config, find_joints(source, settings, progress, job=job, model=model))


def estimate_footage(
    sources: list[Path],
    sink: "Sink",
    config: PredictFootageByEstimatorConfig,
    progress: Progress = silent,
    *,
    job: "Job",
    model: Path | None = None,
    **known: Path,
) -> dict:
    """As predict_footage, by an estimator: what it found along the way is used, the other crops are looked at."""
    from handtool.store import open_file

    find_hands(sources, config, progress, job, known)
    with open_file(job.path("crops"), carried=True, trusted=True) as crops:
        return join_reports(crops.report, estimate(crops, sink, config, progress, job=job, model=model))
