"""handtool eval: how far predicted hands are from the truth."""

from enum import StrEnum
from functools import partial
from typing import Annotated

from handtool.cli.effects import COMMON, always, only
from handtool.cli.options import (
    MACHINE,
    Device,
    Everything,
    Force,
    Json,
    Moved,
    Precision,
    Quiet,
    ReportOutput,
    Seed,
    Sources,
    Verbose,
    Workers,
    option,
)
from handtool.cli.runner import run_stage
from handtool.cli.scores import lay_out_scores
from handtool.config import EvalConfig

EFFECTS = (
    COMMON
    | always("model", "protocol", "resamples")
    | only("per everything", lambda v: not v.as_json, "with --json, which prints every figure")
    | only("seed", lambda v: v.resamples, "with --resamples 0, which draws nothing at random")
    | only(
        "bone batch_size precision device workers",
        lambda v: v.model,
        "without --model: the predictions that the file holds are scored",
        "--model pose.h5",
    )
)


class Part(StrEnum):
    finger = "finger"
    video = "video"


def eval(
    sources: Sources = None,
    model: Annotated[
        str | None,
        option("--model FILE", "Predict with this pose model; nothing: score the predictions that the file holds."),
    ] = None,
    protocol: Annotated[
        list[str] | None,
        option("--protocol NAME", "Score by this protocol only (repeatable).", show_default="all that apply"),
    ] = None,
    per: Annotated[
        list[Part] | None,
        option(
            "--per",
            "Also print the means by finger or by video (repeatable; --json and -o have both).",
            show_default="neither",
        ),
    ] = None,
    bone: Annotated[
        str,
        option(
            "--bone auto|truth|mean|MM", "With --model: length of the middle finger's first bone, which sets the scale."
        ),
    ] = EvalConfig.bone,
    resamples: Annotated[
        int,
        option(
            "--resamples N",
            "Draws of the videos (of the hands, where there is one video) for the 95 % intervals; 0: none.",
            min=0,
        ),
    ] = EvalConfig.resamples,
    seed: Seed = EvalConfig.seed,
    batch_size: Annotated[
        int, option("--batch-size N", "With --model: hands at once.", MACHINE, min=1)
    ] = EvalConfig.batch_size,
    precision: Precision = EvalConfig.precision,
    device: Device = EvalConfig.device,
    workers: Workers = EvalConfig.workers,
    output: ReportOutput = None,
    moved: Moved = None,
    force: Force = False,
    everything: Everything = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Score predicted hands against their labels: MPJPE, PA-MPJPE, PCK, AUC, each under its protocol.

    Several results on the same hands are compared with the first: handtool eval a.h5 b.h5

    Example: handtool eval test.h5 --model pose.h5 -o result.h5
    """
    from handtool.stages import eval as stage

    config = EvalConfig(tuple(protocol or ()), resamples, seed, bone, batch_size, precision, device, workers)
    run_stage(
        stage.evaluate,
        sources or ["-"],
        output,
        config,
        force=force,
        as_json=as_json,
        extra={"model": model},
        report_only=True,
        check=(lambda: stage.check_machine(config)) if model else None,
        table=partial(
            lay_out_scores,
            per=[part.value for part in per or []],
            everything=everything or verbose,
            asked=bool(protocol),
        ),
    )
