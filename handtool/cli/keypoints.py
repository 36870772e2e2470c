"""handtool keypoints: 21 2D keypoints per hand."""

from typing import Annotated

import typer

from handtool.cli.doors import run_stage
from handtool.cli.models import Device, Model, Onnx, name_and_file
from handtool.cli.options import Force, Json, Moved, Output, Quiet, Restart, Source, Verbose, Workers
from handtool.config import ESTIMATORS, KeypointsConfig
from handtool.errors import WrongCommand


def keypoints(
    source: Source = "-",
    output: Output = "-",
    estimator: Annotated[
        str,
        typer.Option(
            "--estimator",
            metavar="|".join((*ESTIMATORS, "FILE")),
            help="auto: labels where the source knew them, else the detector's landmarks, else mediapipe. A file: .onnx, .h5 of finetune, .task of MediaPipe.",
        ),
    ] = KeypointsConfig.estimator,
    model: Model = None,
    onnx: Onnx = None,
    min_score: Annotated[
        float, typer.Option("--min-score", min=0.0, max=1.0, help="Hands below are marked as not valid.")
    ] = KeypointsConfig.min_score,
    noise: Annotated[
        float,
        typer.Option(
            "--noise",
            min=0.0,
            metavar="PX",
            help="Moves every point by a normal draw of this deviation, to study how much their quality matters.",
        ),
    ] = KeypointsConfig.noise_px,
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, help="Of the noise.", show_default=str(KeypointsConfig.seed))
    ] = None,
    device: Device = KeypointsConfig.device,
    workers: Workers = KeypointsConfig.workers,
    moved: Moved = None,
    force: Force = False,
    restart: Restart = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Give every hand its 21 2D keypoints, in pixels of its crop.

    Run again after an interruption, it goes on (not with -o -).

    Example: handtool keypoints crops.h5 -o keypoints.h5
    """
    from handtool.stages.keypoints import keypoints as stage

    estimator, model = name_and_file("--estimator", estimator, model, ESTIMATORS, onnx, unsaid="auto")
    if seed is not None and not noise:
        raise WrongCommand(f"--seed {seed} draws the noise, and there is none", hint=f"--noise 2 --seed {seed}")
    config = KeypointsConfig(
        estimator=estimator,
        onnx=tuple(onnx or ()),
        min_score=min_score,
        noise_px=noise,
        seed=KeypointsConfig.seed if seed is None else seed,
        device=device,
        workers=workers,
    )
    run_stage(
        stage,
        [source],
        output,
        config,
        resumable=True,
        restart=restart,
        force=force,
        as_json=as_json,
        extra={"model": model},
    )
