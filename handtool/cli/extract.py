"""handtool extract: hands found, cropped, with their source and time."""

from typing import Annotated

import typer

from handtool.cli.doors import run_stage
from handtool.cli.footage import Boxes, Detector, Fps, MinHand, MinScore, TrackFps, Whole, find_lens
from handtool.cli.models import Device, Model, Onnx, name_and_file
from handtool.cli.options import Force, Json, Output, Quiet, Restart, Verbose, Workers
from handtool.config import BOX_SCALE, DATASETS, DETECTORS, ExtractConfig


def extract(
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[SOURCE...]", help="Videos, images, folders of them, labelled sets.", show_default=False
        ),
    ] = None,
    output: Output = "-",
    listed: Annotated[
        str | None,
        typer.Option(
            "--list", metavar="FILE", help="Further sources, one a line (or NUL between them); - : standard input."
        ),
    ] = None,
    fps: Fps = ExtractConfig.fps,
    every: Annotated[
        int | None, typer.Option("--every", min=1, metavar="N", help="Keep every N-th decoded frame instead.")
    ] = None,
    detector: Detector = ExtractConfig.detector,
    model: Model = None,
    onnx: Onnx = None,
    device: Device = ExtractConfig.device,
    boxes: Boxes = None,
    whole: Whole = ExtractConfig.whole,
    camera: Annotated[
        str | None,
        typer.Option("--camera", metavar="FILE|fx,fy,cx,cy", help="Intrinsics in px, or json {model, K, distortion}."),
    ] = ExtractConfig.camera,
    box_scale: Annotated[
        float | None,
        typer.Option(
            "--box-scale",
            min=1.0,
            max=4.0,
            help="Side of a crop / side of the hand's box; with --whole, what the images were cut at.",
            show_default=f"{BOX_SCALE}; of a data set: its own; --whole: 1",
        ),
    ] = ExtractConfig.box_scale,
    size: Annotated[int, typer.Option("--size", min=32, max=2048, help="Side of a crop, px.")] = ExtractConfig.size,
    quality: Annotated[int, typer.Option("--quality", min=1, max=100, help="Of the JPEG.")] = ExtractConfig.quality,
    min_score: MinScore = ExtractConfig.min_score,
    min_hand: MinHand = ExtractConfig.min_hand,
    min_change: Annotated[
        float,
        typer.Option(
            "--min-change",
            min=0.0,
            max=1.0,
            help="A hand is kept again when its picture changed by this share of black to white; try 0.03.",
        ),
    ] = ExtractConfig.min_change,
    track_fps: TrackFps = ExtractConfig.track_fps,
    dataset: Annotated[
        str | None,
        typer.Option(
            "--dataset",
            metavar="NAME",
            help=f"SOURCE is the root of: {', '.join(DATASETS)}. Without it, the folder's layout says.",
        ),
    ] = ExtractConfig.dataset,
    split: Annotated[
        str | None, typer.Option("--split", help="Of a published data set: train, val, test, evaluation, s0_train …")
    ] = ExtractConfig.split,
    subset: Annotated[
        str | None,
        typer.Option(
            "--subset",
            metavar="A,B…",
            help="Of a published data set; freihand: gs,hom,sample,auto; dexycb: subject-01,left …; ho3d: ABF1 …; interhand: human_annot, right …",
            show_default="all of it",
        ),
    ] = None,
    cameras: Annotated[
        str | None,
        typer.Option(
            "--cameras",
            metavar="A,B…",
            help="Of a published data set filmed by several: only these.",
            show_default="all of them",
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, metavar="N", help="Only the first N videos or images.")
    ] = ExtractConfig.limit,
    shard: Annotated[
        str | None,
        typer.Option(
            "--shard", metavar="i/n|auto", help="Only share i of n of the videos; auto: as the cluster's variables say."
        ),
    ] = ExtractConfig.shard,
    workers: Workers = ExtractConfig.workers,
    force: Force = False,
    restart: Restart = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Find the hands in videos and images, and cut them out. Labelled sets bring their own hands, a truth.h5 beside the videos their labels.

    Run again after an interruption, it goes on video by video (not with -o -). Shards are joined by `handtool cat`.

    Example: handtool extract videos/ --fps 2 -o crops.h5
    """
    import os

    from handtool.cli.printing import lay_out_videos
    from handtool.cli.shard import read_shard
    from handtool.stages.extract import extract as stage

    shard = read_shard(shard, os.environ)
    detector, model = name_and_file("--detector", detector, model, DETECTORS, onnx)
    config = ExtractConfig(
        fps=fps,
        every=every,
        detector=detector,
        onnx=tuple(onnx or ()),
        device=device,
        whole=whole,
        camera=camera,
        size=size,
        box_scale=box_scale,
        quality=quality,
        min_score=min_score,
        min_hand=min_hand,
        min_change=min_change,
        track_fps=track_fps,
        limit=limit,
        dataset=dataset,
        split=split,
        subset=tuple(subset.split(",")) if subset else (),
        cameras=tuple(cameras.split(",")) if cameras else (),
        shard=shard,
        workers=workers,
    )
    run_stage(
        stage,
        sources or [],
        output,
        config,
        raw=True,
        listed=listed,
        resumable=True,
        restart=restart,
        force=force,
        as_json=as_json,
        extra={"boxes": boxes, "lens": find_lens(camera), "model": model},
        table=lay_out_videos,
    )
