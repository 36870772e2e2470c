"""handtool eval: how far predicted hands are from the truth."""

from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from handtool.cli import state
from handtool.cli.effects import COMMON, always, only
from handtool.cli.models import knows_3d, name_and_file
from handtool.cli.options import (
    MACHINE,
    Device,
    Everything,
    Force,
    Moved,
    Precision,
    ReportOutput,
    Seed,
    Sources,
    Workers,
    option,
)
from handtool.cli.runner import make_config, run_stage
from handtool.cli.scores import lay_out_scores
from handtool.config import ESTIMATORS, EvalConfig, EvalEstimatorConfig, KeypointsConfig
from handtool.progress import Progress, silent

if TYPE_CHECKING:
    from handtool.store import File, Sink

EFFECTS = (
    COMMON
    | always("model", "protocol", "resamples")
    | only("per everything", lambda v: not v.as_json, "with --json, which prints every figure")
    | only("seed", lambda v: v.resamples, "with --resamples 0, which draws nothing at random")
    | only(
        "bone workers",
        lambda v: v.model,
        "without --model: the predictions that the file holds are scored",
        "--model pose.h5",
    )
    | only(
        "batch_size precision device",
        lambda v: v.model and not knows_3d(v.model),
        "without --model, or with an estimator that runs on the CPU",
        "--model pose.h5",
    )
)


class Part(StrEnum):
    finger = "finger"
    video = "video"


def eval(
    sources: Sources = None,
    model: option(
        str | None,
        "--model FILE|mediapipe",
        "Predict with this pose model, or with mediapipe (or its .task file), which knows 3D without labels; "
        "nothing: score the predictions that the file holds.",
    ) = None,
    protocol: option(
        list[str] | None, "--protocol NAME", "Score by this protocol only (repeatable).", unset="all that apply"
    ) = None,
    per: option(
        list[Part] | None,
        "--per",
        "Also print the means by finger or by video (repeatable; --json and -o have both).",
        unset="neither",
    ) = None,
    bone: option(
        str,
        "--bone auto|truth|mean|MM",
        "With --model: length of the middle finger's first bone, which sets the scale.",
    ) = EvalConfig.bone,
    resamples: option(
        int,
        "--resamples N",
        "Draws of the videos (of the hands, where there is one video) for the 95 % intervals; 0: none.",
        min=0,
    ) = EvalConfig.resamples,
    seed: Seed = EvalConfig.seed,
    batch_size: option(int, "--batch-size N", "With --model: hands at once.", MACHINE, min=1) = EvalConfig.batch_size,
    precision: Precision = EvalConfig.precision,
    device: Device = EvalConfig.device,
    workers: Workers = EvalConfig.workers,
    output: ReportOutput = None,
    moved: Moved = None,
    force: Force = False,
    everything: Everything = False,
) -> None:
    """Score predicted hands against their labels: MPJPE, PA-MPJPE, PCK, AUC, each under its protocol.

    Several results on the same hands are compared with the first: handtool eval a.h5 b.h5

    Example: handtool eval test.h5 --model pose.h5 -o result.h5
    """
    from handtool.stages import eval as stage

    score, config = evaluate_model, make_config(EvalConfig, locals(), protocols=protocol or ())
    if by_estimator := knows_3d(model):
        estimator, model = name_and_file("--model", model, None, ESTIMATORS)
        score, config = evaluate_estimator, EvalEstimatorConfig(**vars(config), estimator=estimator)
    shown = {"per": [part.value for part in per or []], "everything": everything or state.verbose}
    run_stage(
        score,
        sources or ["-"],
        output,
        config,
        force=force,
        extra={"model": model},
        report_only=True,
        check=(lambda: stage.check_machine(config)) if model and not by_estimator else None,
        table=partial(lay_out_scores, **shown, asked=bool(protocol)),
    )


def evaluate_model(
    sources: "list[File]",
    sink: "Sink | None",
    config: EvalConfig,
    progress: Progress = silent,
    *,
    model: "File | Path | None" = None,
) -> dict:
    """Score the predictions of the sources, or of a pose model, or of the correction of an estimator."""
    from handtool.stages.correct import apply_correction, find_estimator, resolve_bone
    from handtool.stages.eval import evaluate
    from handtool.stages.predict import columns_of_estimate

    def estimate(source: "File") -> tuple[dict, str, str, Any]:
        found = find_at_once(source, KeypointsConfig(estimator, workers=config.workers), progress)
        corrected = apply_correction(source, model, found)
        columns, scale_source = columns_of_estimate(source, corrected, resolve_bone(model, config.bone))
        return columns, model.path.name, scale_source, corrected["reason"]

    estimator = find_estimator(model)
    by = {"estimate": estimate} if estimator else {"model": model}
    return evaluate(sources, sink, config, progress, **by)


def evaluate_estimator(
    sources: "list[File]",
    sink: "Sink | None",
    config: EvalEstimatorConfig,
    progress: Progress = silent,
    *,
    model: Path | None = None,
) -> dict:
    """Score what an estimator knows of the hands in 3D. Errors: those of keypoints, predict and eval."""
    from handtool.stages.eval import evaluate
    from handtool.stages.predict import columns_of_estimate

    def estimate(source: "File") -> tuple[dict, str, str, Any]:
        found = find_at_once(source, KeypointsConfig(config.estimator, workers=config.workers), progress, model)
        columns, scale_source = columns_of_estimate(source, found, config.bone)
        return columns, config.estimator, scale_source, found["reason"]

    return evaluate(sources, sink, config, progress, estimate=estimate)


def find_at_once(source: "File", settings: KeypointsConfig, progress: Progress, model: Path | None = None) -> dict:
    """What keypoints.find_joints gives, without a state to continue from."""
    from handtool.stages.keypoints import find_joints
    from handtool.store import Record, open_job

    with open_job(None, Record("handtool eval", {})) as job:
        return find_joints(source, settings, progress, job=job, model=model)
