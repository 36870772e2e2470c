"""handtool extract: hands found, cropped, with their source and time."""

from handtool.cli import footage
from handtool.cli.effects import COMMON, Values, always, on_cluster, only, writes_file
from handtool.cli.models import Device, kind_of, name_and_file
from handtool.cli.options import OUTPUT, Engine, Force, GpusPerWorker, Output, Restart, Workers, argument, option
from handtool.cli.runner import make_config, run_stage
from handtool.config import BOX_SCALE, DATASETS, DETECTORS, ExtractConfig

CROPS, SOURCES = "Crops", "Choice of sources"


def of_detector(values: Values) -> bool:
    return kind_of(values.detector, values.model) == "onnx" and not (values.whole or values.boxes or values.hands)


EFFECTS = (
    COMMON
    | always("every", "stream", "trust_labels", "box_scale", "size", "quality", "min_hand", "min_change")
    | always("listed", "limit", "shard", "dataset", "split", "subset", "cameras", "workers", "engine")
    | only("fps", lambda v: not v.every, "with --every, which chooses the frames")
    | only("keyframes", lambda v: not v.every, "with --every, which chooses the frames")
    | only("track_fps", lambda v: v.every != 1, "with --every 1: there are no frames between those kept")
    | only("decode", lambda v: v.every != 1 or v.decode not in ("auto", "all"), "with --every 1: all are decoded")
    | only("boxes", lambda v: not v.whole, "with --whole: each image is one hand")
    | only("hands", lambda v: not (v.whole or v.boxes), "with --whole or --boxes, which say where the hands are")
    | only("hands_as", lambda v: v.hands, "without hands of another model", "--hands FILE")
    | always("whole")
    | only("camera", lambda v: v.camera != "auto" or not v.whole, "with --whole: no file tells of crops of hands")
    | only("retry_failed", lambda v: writes_file(v) and not v.force, "without -o FILE, and with --force")
    | only(
        "detector model",
        lambda v: not (v.whole or v.boxes or v.hands),
        "with --whole, --boxes or --hands, which say where the hands are",
    )
    | only("min_score", lambda v: not v.whole, "with --whole: such hands have no score")
    | only("onnx device", of_detector, "without an ONNX detector", "--detector hands.onnx")
    | on_cluster(of_detector)
)


def extract(
    sources: argument(list[str] | None, "[SOURCE...]", "Videos, images, tars, folders of them, labelled sets.") = None,
    fps: footage.Fps = ExtractConfig.fps,
    every: option(
        int | None, "--every N", "Keep every N-th decoded frame, or image of a folder, instead.", footage.PANEL, min=1
    ) = None,
    keyframes: option(
        bool,
        "--keyframes",
        "Keep key frames only, at most --fps a second: the quick way to a pool for pre-training.",
        footage.PANEL,
    ) = ExtractConfig.keyframes,
    detector: footage.Detector = ExtractConfig.detector,
    boxes: footage.Boxes = None,
    hands: footage.Hands = None,
    hands_as: footage.HandsAs = ExtractConfig.hands_as,
    whole: footage.Whole = ExtractConfig.whole,
    min_score: footage.MinScore = ExtractConfig.min_score,
    min_hand: footage.MinHand = ExtractConfig.min_hand,
    min_change: option(
        float,
        "--min-change SHARE",
        "Keep a hand again only when its picture changed by this share of black to white; try 0.03.",
        footage.PANEL,
        min=0.0,
        max=1.0,
    ) = ExtractConfig.min_change,
    track_fps: footage.TrackFps = ExtractConfig.track_fps,
    stream: footage.Stream = ExtractConfig.stream,
    camera: footage.Camera = ExtractConfig.camera,
    trust_labels: footage.TrustLabels = ExtractConfig.trust_labels,
    model: option(str | None, "--model FILE", "The file of the detector.", footage.PANEL) = None,
    onnx: footage.Onnx = None,
    size: option(int, "--size PX", "Side of a crop, 32 to 2,048.", CROPS, min=32, max=2048) = ExtractConfig.size,
    box_scale: option(
        float | None,
        "--box-scale N",
        "Side of a crop / side of the hand's box, 1 to 4; with --whole, what the images were cut at.",
        CROPS,
        min=1.0,
        max=4.0,
        unset=f"{BOX_SCALE}; of a data set: its own; of images that are hands: as their labels say, else 1",
    ) = ExtractConfig.box_scale,
    quality: option(
        int, "--quality N", "Quality of the JPEG, 1 to 100.", CROPS, min=1, max=100
    ) = ExtractConfig.quality,
    listed: option(
        str | None,
        "--list FILE",
        "Further sources or s3://, https://, … of videos, a line each (or NUL between); -: standard input.",
        SOURCES,
    ) = None,
    limit: option(
        int | None, "--limit N", "Take only the first N videos or images.", SOURCES, min=1, unset="no limit"
    ) = ExtractConfig.limit,
    shard: option(
        str | None,
        "--shard i/n|auto",
        "Take only shard i of n of the videos; auto: as the cluster's variables say.",
        SOURCES,
    ) = ExtractConfig.shard,
    split: option(
        str | None, "--split NAME", "Of a published data set: train, val, test, evaluation, s0_train …", SOURCES
    ) = ExtractConfig.split,
    subset: option(
        str | None,
        "--subset A,B…",
        "Of a published data set; freihand: gs,hom,sample,auto; dexycb: subject-01,left …; ho3d: ABF1 …; "
        "interhand: human_annot, right …",
        SOURCES,
        unset="all of it",
    ) = None,
    cameras: option(
        str | None,
        "--cameras A,B…",
        "Of a published data set filmed by several: only these.",
        SOURCES,
        unset="all of them",
    ) = None,
    dataset: option(
        str | None,
        "--dataset NAME",
        f"SOURCE is the root of: {', '.join(DATASETS)}.",
        SOURCES,
        unset="as the folder's layout says",
    ) = ExtractConfig.dataset,
    decode: footage.Decode = ExtractConfig.decode,
    device: Device = ExtractConfig.device,
    workers: Workers = ExtractConfig.workers,
    engine: Engine = ExtractConfig.engine,
    gpus_per_worker: GpusPerWorker = ExtractConfig.gpus_per_worker,
    output: Output = "-",
    force: Force = False,
    restart: Restart = False,
    retry_failed: option(
        bool,
        "--retry-failed",
        "Where FILE is there already: read the videos again of which no frame could be read, and leave the others.",
        OUTPUT,
    ) = False,
) -> None:
    """Find the hands in videos and images, and cut them out.

    Along a film, hands that the detector missed are looked for again where their tracks say that they must be.
    Labelled data sets bring their own hands, and a truth.h5 beside videos brings their labels; labels that cannot be
    true (joints behind the camera, millimetres) are marked not valid, and refused where most are. The same command
    continues after an interruption, video by video (not with -o -). `handtool cat` joins shards.

    Example: handtool extract videos/ --fps 2 -o crops.h5
    """
    import os

    from handtool.cli.printing import lay_out_videos
    from handtool.cli.shard import read_shard
    from handtool.stages.extract import extract as stage

    shard = read_shard(shard, os.environ)
    detector, model = name_and_file("--detector", detector, model, DETECTORS)
    subset, cameras = (name and name.split(",") for name in (subset, cameras))
    run_stage(
        stage,
        sources or [],
        output,
        make_config(ExtractConfig, locals()),
        force=force,
        restart=restart,
        raw=True,
        listed=listed,
        retry=retry_failed,
        extra={"boxes": boxes, "lens": footage.find_lens(camera), "model": model, "hands": hands},
        table=lay_out_videos,
    )
