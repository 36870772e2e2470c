"""handtool synth: a procedural world of hands, no download."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from handtool.cli.doors import run_stage
from handtool.cli.options import Device, Force, Json, Output, Quiet, Restart, Seed, Verbose, Workers
from handtool.config import SynthConfig, SynthVideosConfig
from handtool.errors import WrongCommand

CROPS, FILMS = SynthConfig, SynthVideosConfig


class Difficulty(StrEnum):
    easy = "easy"
    medium = "medium"
    wild = "wild"


class Side(StrEnum):
    left = "left"
    right = "right"
    both = "both"


def either(name: str) -> str:
    """The two defaults of an option, as help shows them."""
    return f"{getattr(CROPS, name):g}; videos {getattr(FILMS, name):g}"


def synth(
    output: Output = "-",
    videos: Annotated[
        str | None,
        typer.Option(
            "--videos",
            metavar="DIR",
            help="Instead of crops: mp4 files of several hands, with boxes.json and truth.h5, into DIR.",
        ),
    ] = None,
    num_videos: Annotated[
        int | None,
        typer.Option(
            "--num-videos",
            min=1,
            help="Videos: another place, light and camera each.",
            show_default=either("num_videos"),
        ),
    ] = None,
    frames: Annotated[
        int | None,
        typer.Option("--frames", min=1, help="Of each video; crops: five a second.", show_default=either("frames")),
    ] = None,
    size: Annotated[
        int | None,
        typer.Option(
            "--size",
            min=32,
            max=1080,
            help="Side of a crop, or height of a video's frame, px.",
            show_default=either("size"),
        ),
    ] = None,
    fps: Annotated[
        float | None, typer.Option("--fps", min=1, max=120, help="Of video files.", show_default=f"{FILMS.fps:g}")
    ] = None,
    difficulty: Annotated[
        Difficulty,
        typer.Option(
            "--difficulty", help="easy: a bare wall; medium: clutter, things held; wild: occluders, any view and light."
        ),
    ] = Difficulty(SynthConfig.difficulty),
    side: Annotated[Side, typer.Option("--side", help="Which hands.")] = Side(SynthConfig.side),
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, metavar="N", help="Only the first N videos.")
    ] = SynthConfig.limit,
    seed: Seed = SynthConfig.seed,
    device: Device = SynthConfig.device,
    workers: Workers = SynthConfig.workers,
    force: Force = False,
    restart: Restart = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Make labelled hand crops: rendered hands with exact joints, keypoints, camera and visibility. Or whole videos of them.

    Run again after an interruption, it goes on video by video (not with -o -).

    Example: handtool synth --num-videos 50 --frames 40 --seed 5 -o crops.h5
    Example: handtool synth --videos world/ ; handtool extract world/ --boxes world/boxes.json -o crops.h5
    """
    common = {
        "difficulty": difficulty.value,
        "side": side.value,
        "limit": limit,
        "seed": seed,
        "device": device,
        "workers": workers,
    }
    given = {"num_videos": num_videos, "frames": frames, "size": size, "fps": fps}
    common |= {name: value for name, value in given.items() if value is not None}
    doors = {"resumable": True, "restart": restart, "force": force, "as_json": as_json}
    if videos is None:
        if fps is not None:
            raise WrongCommand("--fps is that of video files", hint="add --videos DIR")
        from handtool.stages import synth as stage

        run_stage(stage.synth, [], output, SynthConfig(**common), check=lambda: stage.check_machine(device), **doors)
    else:
        if output != "-":
            raise WrongCommand("--videos DIR and -o FILE are two products", hint=f"handtool synth --videos {videos}")
        from handtool.stages import synth_videos as stage

        folder = Path(videos)
        if folder.exists() and not folder.is_dir():
            raise WrongCommand(f"{videos} is a file, not a folder", hint="--videos DIR")
        folder.mkdir(parents=True, exist_ok=True)
        config = SynthVideosConfig(**common)
        run_stage(
            stage.synth_videos,
            [],
            str(folder / stage.TRUTH_NAME),
            config,
            check=lambda: stage.check(config, folder, force),
            **doors,
        )
