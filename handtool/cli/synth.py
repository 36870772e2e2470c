"""handtool synth: a procedural world of hands, no download."""

from enum import StrEnum
from typing import Annotated

import typer

from handtool.cli.doors import produce
from handtool.cli.options import Force, Json, Output, Quiet, Restart, Seed, Verbose, Workers
from handtool.config import SynthConfig


class Difficulty(StrEnum):
    easy = "easy"
    medium = "medium"
    wild = "wild"


class Side(StrEnum):
    left = "left"
    right = "right"
    both = "both"


def synth(
    output: Output = "-",
    num_videos: Annotated[
        int, typer.Option("--num-videos", min=1, help="Videos: another place, light and camera each.")
    ] = SynthConfig.num_videos,
    frames: Annotated[int, typer.Option("--frames", min=1, help="Crops of each video, five a second.")] = SynthConfig.frames,
    size: Annotated[int, typer.Option("--size", min=32, max=1024, help="Side of a crop, px.")] = SynthConfig.size,
    difficulty: Annotated[
        Difficulty,
        typer.Option("--difficulty", help="easy: a bare wall; medium: clutter, things held; wild: occluders, any view and light."),
    ] = Difficulty(SynthConfig.difficulty),
    side: Annotated[Side, typer.Option("--side", help="Which hands.")] = Side(SynthConfig.side),
    limit: Annotated[int | None, typer.Option("--limit", min=1, metavar="N", help="Only the first N videos.")] = SynthConfig.limit,
    seed: Seed = SynthConfig.seed,
    workers: Workers = SynthConfig.workers,
    force: Force = False,
    restart: Restart = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Make labelled hand crops: rendered hands with exact joints, keypoints, camera and visibility.

    Run again after an interruption, it goes on video by video (not with -o -).

    Example: handtool synth --num-videos 50 --frames 40 --seed 5 -o crops.h5
    """
    from handtool.stages.synth import synth as stage

    config = SynthConfig(num_videos, frames, size, difficulty.value, side.value, limit, seed, workers)
    produce(stage, [], output, config, resumable=True, restart=restart, force=force, as_json=as_json)
