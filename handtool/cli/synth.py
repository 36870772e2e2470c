"""handtool synth: a procedural world of hands, no download."""

from pathlib import Path
from typing import Literal

from handtool.cli.effects import COMMON, always, on_cluster, only
from handtool.cli.options import Device, Engine, Force, GpusPerWorker, Output, Restart, Seed, Workers, option
from handtool.cli.runner import make_config, run_stage
from handtool.config import SynthConfig, SynthVideosConfig
from handtool.errors import WrongCommand

CROPS, FILMS = SynthConfig, SynthVideosConfig
EFFECTS = (
    COMMON
    | always("videos", "num_videos", "frames", "size", "difficulty", "side", "limit", "seed", "device", "workers")
    | always("engine")
    | on_cluster(lambda v: True)
    | only("output", lambda v: not v.videos, "with --videos DIR, into which everything is written")
    | only("fps", lambda v: v.videos, "without --videos, which makes video files", "--videos DIR")
)


def either(name: str) -> str:
    """The two defaults of an option, as the help shows them."""
    return f"{getattr(CROPS, name):g}; videos {getattr(FILMS, name):g}"


def synth(
    videos: option(
        str | None,
        "--videos DIR",
        "Instead of crops: mp4 files of several hands, with boxes.json and truth.h5, into DIR.",
    ) = None,
    num_videos: option(
        int | None,
        "--num-videos N",
        "Videos, each with its own place, light and camera.",
        min=1,
        unset=either("num_videos"),
    ) = None,
    frames: option(
        int | None, "--frames N", "Frames of each video; crops: five a second.", min=1, unset=either("frames")
    ) = None,
    size: option(
        int | None,
        "--size PX",
        "Side of a crop, or height of a video's frame, 32 to 1,080.",
        min=32,
        max=1080,
        unset=either("size"),
    ) = None,
    fps: option(
        float | None, "--fps N", "Frames a second of video files, 1 to 120.", min=1, max=120, unset=f"{FILMS.fps:g}"
    ) = None,
    difficulty: option(
        Literal["easy", "medium", "wild"],
        "--difficulty",
        "easy: a bare wall; medium: clutter, things held; wild: occluders, any view and light.",
    ) = SynthConfig.difficulty,
    side: option(Literal["left", "right", "both"], "--side", "Which hands.") = SynthConfig.side,
    limit: option(
        int | None, "--limit N", "Make only the first N of these videos.", min=1, unset="no limit"
    ) = SynthConfig.limit,
    seed: Seed = SynthConfig.seed,
    device: Device = SynthConfig.device,
    workers: Workers = SynthConfig.workers,
    engine: Engine = SynthConfig.engine,
    gpus_per_worker: GpusPerWorker = SynthConfig.gpus_per_worker,
    output: Output = "-",
    force: Force = False,
    restart: Restart = False,
) -> None:
    """Make labelled hand crops: rendered hands with exact joints, keypoints, camera and visibility. Or whole videos of
    them.

    The same command continues after an interruption, video by video (not with -o -).

    Example: handtool synth --num-videos 50 --frames 40 --seed 5 -o crops.h5
    Example: handtool synth --videos world/ ; handtool extract world/ --boxes world/boxes.json -o crops.h5
    """
    shared = {"force": force, "restart": restart}
    if videos is None:
        from handtool.stages import synth as stage

        config = make_config(SynthConfig, locals())
        run_stage(
            stage.synth,
            [],
            output,
            config,
            check=lambda: stage.choose_device(device, engine, gpus_per_worker),
            **shared,
        )
    else:
        from handtool.stages import synth_videos as stage

        folder = Path(videos)
        if folder.exists() and not folder.is_dir():
            raise WrongCommand(f"{videos} is a file, not a folder", hint="--videos DIR")
        folder.mkdir(parents=True, exist_ok=True)
        config = make_config(SynthVideosConfig, locals())
        truth = str(folder / stage.TRUTH_NAME)
        run_stage(stage.synth_videos, [], truth, config, check=lambda: stage.check(config, folder, force), **shared)
