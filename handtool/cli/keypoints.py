"""handtool keypoints: 21 2D keypoints per hand."""

from typing import Annotated, Literal

import typer

from handtool.cli.doors import produce
from handtool.cli.options import Force, Json, Moved, Output, Quiet, Restart, Source, Verbose, Workers
from handtool.config import KeypointsConfig


def keypoints(
    source: Source = "-",
    output: Output = "-",
    estimator: Annotated[
        Literal["auto", "labels", "mediapipe"],
        typer.Option("--estimator", help="auto: labels where the source knew them, else the detector's landmarks, else mediapipe."),
    ] = KeypointsConfig.estimator,
    min_score: Annotated[
        float, typer.Option("--min-score", min=0.0, max=1.0, help="Hands below are marked as not valid.")
    ] = KeypointsConfig.min_score,
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

    config = KeypointsConfig(estimator, min_score, workers)
    produce(stage, [source], output, config, resumable=True, restart=restart, force=force, as_json=as_json)
