"""synth: crops of rendered procedural hands, with exact truth. One job part per video."""

from collections.abc import Iterator
from time import perf_counter

import numpy as np

from handtool.accounting import Accounting
from handtool.config import SynthConfig
from handtool.engine.local import Heartbeat, Work, count_workers, run_here
from handtool.engine.units import run_units
from handtool.errors import HandtoolError
from handtool.progress import Progress, silent
from handtool.store import CROPS, LABELS, LEFT, VIDEOS, Job, Sink, open_table, write_table
from handtool.synth.crops import BOX_SCALE, FRAME, make_video
from handtool.synth.device import choose_device
from handtool.synth.motion import FPS

IN_PROCESS_BELOW = 150  # crops: starting worker processes takes longer than making so few


def synth(sources: list, sink: Sink, config: SynthConfig, progress: Progress = silent, *, job: Job) -> dict:
    """Writes /videos, /crops and /labels: `num_videos` videos (or the first `limit`) of `frames` crops each.

    A video depends only on the seed and its number, not on how many there are, the workers, or their order.
    """
    assert not sources
    num_videos = min(config.num_videos, config.limit or config.num_videos)
    device, started = choose_device(config.device, config.engine, config.gpus_per_worker), perf_counter()
    waiting = [video for video in range(num_videos) if not job.has(part_name(video))]
    for number, (video, made) in enumerate(make_videos(waiting, config, device), 1):
        jpegs = made.pop("jpeg")
        made |= {"jpeg": b"".join(jpegs), "jpeg_length": np.array([len(jpeg) for jpeg in jpegs])}
        job.save(part_name(video), made)
        rate = number * config.frames / (perf_counter() - started)
        progress("videos", num_videos - len(waiting) + number, num_videos, crops_per_s=round(rate))
    seconds = perf_counter() - started
    sides = write_rows(sink, job, num_videos, config)
    accounting = Accounting("videos", num_videos), Accounting("hands", num_videos * config.frames)
    left = int((sides == LEFT).sum()) * config.frames
    report = {"accounting": [each.as_report() for each in accounting], "left": left}
    report |= {"right": len(sides) * config.frames - left, "difficulty": config.difficulty}
    report |= {"crop_px": config.size, "device": device or "cpu"}
    return {**report, "crops_per_s": round(len(waiting) * config.frames / seconds, 1)} if waiting else report


def part_name(video: int) -> str:
    return f"video-{video:06d}"


def make_videos(videos: list[int], config: SynthConfig, device: str | None) -> Iterator[tuple[int, dict]]:
    """(number, columns) of each video, in the order in which they are finished."""
    is_small = count_workers(config.workers, len(videos)) == 1 or len(videos) * config.frames < IN_PROCESS_BELOW
    if config.engine == "local" and is_small:
        events = run_here(open_video_maker, (config, device), videos)
    else:
        work = config.engine, open_video_maker, (config, device), videos
        events = run_units(*work, config.workers, config.timeout_s, gpus=config.gpus_per_worker)
    for event in events:
        if event.kind == "lost":
            told = f"{video_name(videos[event.item])} could not be made: {event.value}"
            raise HandtoolError(told, hint="run it again with --workers 1")
        if event.kind == "result":
            yield videos[event.item], event.value


def open_video_maker(config: SynthConfig, device: str | None) -> Work:
    """In a worker process: the function that makes one video."""

    def make(video: int, heartbeat: Heartbeat) -> Iterator[dict]:
        settings = config.frames, config.size, config.difficulty, config.side
        yield make_video(config.seed, video, *settings, device, heartbeat)

    return make


def write_rows(sink: Sink, job: Job, num_videos: int, config: SynthConfig) -> np.ndarray:
    """Writes the tables, in the order of the videos. Returns (V,), the side of each video's hand."""
    videos, labels = [], []
    attrs = {"size": config.size, "box_scale": BOX_SCALE}
    with open_table(sink, CROPS, attrs=attrs) as crops:
        for video in range(num_videos):
            made = job.load(part_name(video))
            crops.append(crop_columns(made, video, config))
            videos.append({key: made[key] for key in ("subject", "place", "side")})
            labels.append({key: made[key] for key in ("joints", "keypoints", "visible", "scale")})
    write_table(sink, LABELS, label_columns(labels, config))
    write_table(sink, VIDEOS, video_columns(videos, config))
    return np.array([video["side"] for video in videos])


def video_name(video: int) -> str:
    return f"synth-{video:04d}"


def video_columns(videos: list[dict], config: SynthConfig) -> dict:
    count = len(videos)
    return {
        "name": [video_name(video) for video in range(count)],
        "path": [""] * count,
        "subject": [video["subject"] for video in videos],
        "place": [video["place"] for video in videos],
        "status": ["ok"] * count,
        "ordinal": np.arange(count),
        "fps": np.full(count, FPS),
        "width": np.full(count, FRAME[0]),
        "height": np.full(count, FRAME[1]),
        "frames_decoded": np.full(count, config.frames),
        "frames_failed": np.zeros(count),
    }


def crop_columns(made: dict, video: int, config: SynthConfig) -> dict:
    count = config.frames
    ends = np.cumsum(made["jpeg_length"])
    frame = np.arange(count)
    return {
        "video": np.full(count, video),
        "frame": frame,
        "time": frame / FPS,
        "side": np.full(count, made["side"]),
        "box": made["box"],
        "score": np.ones(count),
        "track": np.zeros(count),
        "landmarks": np.full((count, 21, 2), np.nan),
        "landmarks_score": np.full(count, np.nan),
        "crop_from_frame": made["crop_from_frame"],
        "camera": made["camera"],
        "source_row": np.full(count, -1),
        "jpeg": [made["jpeg"][end - length : end] for end, length in zip(ends, made["jpeg_length"], strict=True)],
    }


def label_columns(labels: list[dict], config: SynthConfig) -> dict:
    count = len(labels) * config.frames
    columns = {key: np.concatenate([label[key] for label in labels]) for key in labels[0]}
    known = np.ones((count, 21), bool)
    keys = [f"{video_name(video)}/{frame:05d}" for video in range(len(labels)) for frame in range(config.frames)]
    return {**columns, "valid": known, "keypoints_valid": known, "sample_id": np.arange(count), "sample_key": keys}
