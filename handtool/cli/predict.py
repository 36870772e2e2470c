"""handtool predict: a 3D pose for every crop, or for every hand in videos and images."""

import dataclasses
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from handtool.cli.doors import run_stage
from handtool.cli.footage import PANEL, Boxes, Camera, Detector, Limit, MinHand, MinScore, TrackFps, Whole, find_lens
from handtool.cli.inputs import is_footage
from handtool.cli.models import Onnx, name_and_file
from handtool.cli.options import Device, Force, Json, Moved, Output, Quiet, Restart, Verbose, Workers
from handtool.config import DETECTORS, PredictConfig, PredictFootageConfig
from handtool.errors import WrongCommand
from handtool.progress import Progress, silent

if TYPE_CHECKING:
    from handtool.store import File, Job, Sink

log = logging.getLogger(__name__)
SMOOTHING = "Smoothing"
OF_SMOOTHING = ("min_cutoff", "beta", "derivative_cutoff")
OF_FOOTAGE = (
    "fps",
    "detector",
    "onnx",
    "boxes",
    "whole",
    "camera",
    "min_score",
    "min_hand",
    "track_fps",
    "limit",
    "restart",
)


def predict(
    context: typer.Context,
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[SOURCE...]",
            help="A handtool file (- or nothing: standard input), or videos, images, folders of them.",
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        str, typer.Option("--model", metavar="FILE", help="A pose model, made by finetune.", show_default=False)
    ] = ...,
    output: Output = "-",
    bone: Annotated[
        str,
        typer.Option(
            "--bone",
            metavar="auto|truth|mean|MM",
            help="Length of the middle finger's first bone, which sets the scale: the label's, the training mean, or in mm.",
        ),
    ] = PredictConfig.bone,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Hands at once.")] = PredictConfig.batch_size,
    precision: Annotated[
        Literal["auto", "bf16", "fp32"], typer.Option(help="auto: bf16 on CUDA, fp32 on the CPU.")
    ] = PredictConfig.precision,
    flip: Annotated[
        bool,
        typer.Option(
            "--flip",
            help="The mean of what the model says of each hand and of its mirror image: of one that saw mirrored hands (finetune --mirror).",
        ),
    ] = PredictConfig.flip,
    device: Device = PredictConfig.device,
    workers: Workers = PredictConfig.workers,
    smooth: Annotated[
        bool,
        typer.Option(
            "--smooth",
            help="Each hand along its track: a One-Euro filter (Casiez et al. 2012) on the time stamps.",
            rich_help_panel=SMOOTHING,
        ),
    ] = PredictConfig.smooth,
    min_cutoff: Annotated[
        float,
        typer.Option(
            "--min-cutoff",
            min=1e-6,
            metavar="HZ",
            help="Of a hand at rest: less, and it trembles less.",
            rich_help_panel=SMOOTHING,
        ),
    ] = PredictConfig.min_cutoff,
    beta: Annotated[
        float,
        typer.Option(
            "--beta",
            min=0.0,
            help="Hz more for each m/s: more, and it lags less, 1 / (2 pi beta) metres at most.",
            rich_help_panel=SMOOTHING,
        ),
    ] = PredictConfig.beta,
    derivative_cutoff: Annotated[
        float,
        typer.Option(
            "--derivative-cutoff", min=1e-6, metavar="HZ", help="Of the speed itself.", rich_help_panel=SMOOTHING
        ),
    ] = PredictConfig.derivative_cutoff,
    moved: Moved = None,
    force: Force = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    fps: Annotated[
        float | None,
        typer.Option(
            "--fps",
            min=1e-6,
            help="Frames looked at per second of video, by time stamp.",
            show_default="all",
            rich_help_panel=PANEL,
        ),
    ] = None,
    detector: Detector = PredictFootageConfig.detector,
    onnx: Onnx = None,
    boxes: Boxes = None,
    whole: Whole = PredictFootageConfig.whole,
    camera: Camera = PredictFootageConfig.camera,
    min_score: MinScore = PredictFootageConfig.min_score,
    min_hand: MinHand = PredictFootageConfig.min_hand,
    track_fps: TrackFps = PredictFootageConfig.track_fps,
    limit: Limit = PredictFootageConfig.limit,
    restart: Restart = False,
) -> None:
    """Predict a 3D pose and 2D keypoints for every crop of a file, or for every hand on every frame of videos and images.

    The latter finds and crops them first, as extract does, and keeps the crops in the output, with time, track and side of each. Run again
    after an interruption, it goes on video by video (not with -o -).

    Example: handtool predict crops.h5 --model pose.h5 -o predictions.h5
    """
    sources = sources or ["-"]
    footage = refuse_mixture(context, sources)
    from handtool.cli.printing import lay_out_videos
    from handtool.stages.predict import check_machine
    from handtool.stages.predict import predict as stage

    settings = {
        "bone": bone,
        "batch_size": batch_size,
        "precision": precision,
        "flip": flip,
        "device": device,
        "workers": workers,
    }
    settings |= {"smooth": smooth, "min_cutoff": min_cutoff, "beta": beta, "derivative_cutoff": derivative_cutoff}
    shared = {"force": force, "as_json": as_json}
    if not footage:
        config = PredictConfig(**settings)
        return run_stage(
            stage, sources, output, config, extra={"model": model}, check=lambda: check_machine(config), **shared
        )
    detector, file = name_and_file("--detector", detector, None, DETECTORS, onnx)
    config = PredictFootageConfig(
        **settings,
        **({"every": None, "fps": fps} if fps else {}),
        detector=detector,
        onnx=tuple(onnx or ()),
        whole=whole,
        camera=camera,
        min_score=min_score,
        min_hand=min_hand,
        track_fps=track_fps,
        limit=limit,
    )
    run_stage(
        predict_footage,
        sources,
        output,
        config,
        raw=True,
        resumable=True,
        restart=restart,
        check=lambda: check_machine(config),
        extra={"model": model, "boxes": boxes, "lens": find_lens(camera), "detector": file},
        table=lay_out_videos,
        **shared,
    )


def refuse_mixture(context: typer.Context, sources: list[str]) -> bool:
    """Whether the sources are footage. WrongCommand for a mixture, for several files, and for options that would do nothing to crops."""
    footage = [name for name in sources if is_footage(name)]
    if 0 < len(footage) < len(sources):
        raise WrongCommand(
            "handtool files and footage do not go together", hint=f"handtool predict {' '.join(footage)} …"
        )
    if not footage and len(sources) > 1:
        raise WrongCommand(
            f"predict takes one handtool file, {len(sources)} were given",
            hint=f"handtool cat {' '.join(sources)} -o all.h5",
        )
    given = [name for name in (*OF_FOOTAGE, *OF_SMOOTHING) if context.get_parameter_source(name).name == "COMMANDLINE"]
    for name in given:
        if name in OF_FOOTAGE and not footage:
            raise WrongCommand(
                f"--{name.replace('_', '-')} is for videos and images, {sources[0]} has its crops already",
                hint="leave it out",
            )
        if name in OF_SMOOTHING and not context.params["smooth"]:
            raise WrongCommand(
                f"--{name.replace('_', '-')} is of the smoothing, and none was asked for", hint="--smooth"
            )
    return bool(footage)


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
    """extract into a file of the job, predict on that; what it holds is carried into the output. known: further inputs of extract.

    Errors: as those of the two stages.
    """
    from handtool.stages.extract import extract
    from handtool.stages.predict import predict, read_contract
    from handtool.store import Record, create_file, open_file

    contract = read_contract(model, config)  # before hours of video are looked at
    box_scale = config.box_scale or (None if config.whole else contract.box_scale)
    known["model"] = known.pop("detector", None)
    if not job.has("crops"):
        with create_file(job.path("crops"), Record("handtool extract", {})) as crops:
            crops.finish(
                extract(sources, crops, dataclasses.replace(config, box_scale=box_scale), progress, job=job, **known)
            )
        for part in job.names():  # they are all in that one now
            if part != "crops":
                job.drop(part)
    else:
        log.info("the hands are found already")
    with open_file(job.path("crops"), carried=True, trusted=True) as crops:
        found, report = crops.report, predict(crops, sink, config, progress, model=model)
    accounting = [
        item | {"what": f"{item['what']} {'found' if item['what'] == 'hands' else ''}".strip()}
        for item in found["accounting"]
    ]
    return found | report | {"accounting": accounting + report["accounting"]}
