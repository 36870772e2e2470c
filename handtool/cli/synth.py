"""handtool synth: a procedural world of hands, no download."""

from pathlib import Path
from typing import Annotated, Literal

from handtool.cli.effects import COMMON, always, only
from handtool.cli.options import Device, Force, Json, Output, Quiet, Restart, Seed, Verbose, Workers, option
from handtool.cli.runner import run_stage
from handtool.config import SynthConfig, SynthVideosConfig
from handtool.errors import WrongCommand

CROPS, FILMS = SynthConfig, SynthVideosConfig
EFFECTS = (
    COMMON
    | always("videos", "num_videos", "frames", "size", "difficulty", "side", "limit", "seed", "device", "workers")
    | only("output", lambda v: not v.videos, "with --videos DIR, into which everything is written")
    | only("fps", lambda v: v.videos, "without --videos, which makes video files", "--videos DIR")
)


def either(name: str) -> str:
    """The two defaults of an option, as the help shows them."""
    return f"{getattr(CROPS, name):g}; videos {getattr(FILMS, name):g}"


def synth(
    videos: Annotated[
        str | None,
        option("--videos DIR", "Instead of crops: mp4 files of several hands, with boxes.json and truth.h5, into DIR."),
    ] = None,
    num_videos: Annotated[
        int | None,
        option(
            "--num-videos N",
            "Videos, each with its own place, light and camera.",
            min=1,
            show_default=either("num_videos"),
        ),
    ] = None,
    frames: Annotated[
        int | None,
        option("--frames N", "Frames of each video; crops: five a second.", min=1, show_default=either("frames")),
    ] = None,
    size: Annotated[
        int | None,
        option(
            "--size PX",
            "Side of a crop, or height of a video's frame, 32 to 1,080.",
            min=32,
            max=1080,
            show_default=either("size"),
        ),
    ] = None,
    fps: Annotated[
        float | None,
        option("--fps N", "Frames a second of video files, 1 to 120.", min=1, max=120, show_default=f"{FILMS.fps:g}"),
    ] = None,
    difficulty: Annotated[
        Literal["easy", "medium", "wild"],
        option("--difficulty", "easy: a bare wall; medium: clutter, things held; wild: occluders, any view and light."),
    ] = SynthConfig.difficulty,
    side: Annotated[Literal["left", "right", "both"], option("--side", "Which hands.")] = SynthConfig.side,
    limit: Annotated[
        int | None, option("--limit N", "Make only the first N of these videos.", min=1, show_default="no limit")
    ] = SynthConfig.limit,
    seed: Seed = SynthConfig.seed,
    device: Device = SynthConfig.device,
    workers: Workers = SynthConfig.workers,
    output: Output = "-",
    force: Force = False,
    restart: Restart = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Make labelled hand crops: rendered hands with exact joints, keypoints, camera and visibility. Or whole videos of
    them.

    The same command continues after an interruption, video by video (not with -o -).

    Example: handtool synth --num-videos 50 --frames 40 --seed 5 -o crops.h5
    Example: handtool synth --videos world/ ; handtool extract world/ --boxes world/boxes.json -o crops.h5
    """
    common = {
        "difficulty": difficulty,
        "side": side,
        "limit": limit,
        "seed": seed,
        "device": device,
        "workers": workers,
    }
    given = {"num_videos": num_videos, "frames": frames, "size": size, "fps": fps}
    common |= {name: value for name, value in given.items() if value is not None}
    shared = {"resumable": True, "restart": restart, "force": force, "as_json": as_json}
    if videos is None:
        from handtool.stages import synth as stage

        run_stage(stage.synth, [], output, SynthConfig(**common), check=lambda: stage.check_machine(device), **shared)
    else:
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
            **shared,
        )
