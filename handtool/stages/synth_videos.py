"""synth --videos: rendered videos of several hands, and the truth about every hand. One job part per video."""

import json
import logging
import zlib
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter

import numpy as np

from handtool.accounting import Accounting
from handtool.config import SynthVideosConfig
from handtool.engine.local import Heartbeat, Work
from handtool.engine.units import run_units
from handtool.errors import HandtoolError
from handtool.progress import Progress, silent
from handtool.render.mp4 import encode_mp4
from handtool.store import Job, Sink, open_file, open_table, read_column, write_bytes_whole, write_table
from handtool.store.schema import LEFT, TRUTH, VIDEOS
from handtool.synth.device import choose_device
from handtool.synth.film import COLUMNS, draw_film, shoot

log = logging.getLogger(__name__)
TRUTH_NAME, BOXES_NAME = "truth.h5", "boxes.json"
CRF = {"easy": 18, "medium": 23, "wild": 28}  # of the H.264 coder


def synth_videos(
    sources: list, sink: Sink, config: SynthVideosConfig, progress: Progress = silent, *, job: Job
) -> dict:
    """Writes the videos and boxes.json beside the sink's file, and into it /videos and /truth. `sources` is empty.

    A video depends only on the seed and its number, not on how many there are, the workers, or their order.
    """
    assert not sources and sink.path is not None
    folder, names = sink.path.parent, video_names(config)
    device, started = choose_device(config.device, config.engine, config.gpus_per_worker), perf_counter()
    waiting = [number for number, name in enumerate(names) if not is_made(job, folder, name)]
    done = len(names) - len(waiting)
    for number, made in make_films(waiting, config, device):
        film = made.pop("mp4")
        job.save(names[number], made | {"film_crc32": zlib.crc32(film)})  # first: a film without it is nobody's
        write_bytes_whole(film_path(folder, names[number]), film)
        done += 1
        rate = (done - len(names) + len(waiting)) * config.frames / (perf_counter() - started)
        progress("videos", done, len(names), frames_per_s=round(rate, 1))
    seconds = perf_counter() - started
    write_videos(sink, job, names, config)
    sides = write_truth(sink, job, names, config)
    write_bytes_whole(folder / BOXES_NAME, boxes_json(job, names))
    warn_about_other_videos(folder, names)
    counts = {"videos": len(names), "frames": len(names) * config.frames, "hands": len(sides)}
    left, (width, height) = int((sides == LEFT).sum()), frame_size(config)
    report = {"accounting": [Accounting(what, count).as_report() for what, count in counts.items()], "left": left}
    report |= {"right": len(sides) - left, "difficulty": config.difficulty, "frame_px": f"{width} x {height}"}
    report["device"] = device or "cpu"
    return {**report, "frames_per_s": round(len(waiting) * config.frames / seconds, 1)} if waiting else report


def check(config: SynthVideosConfig, folder: Path, force: bool) -> None:
    """The checks before `up to date`, of device and folder. Raises HandtoolError."""
    choose_device(config.device, config.engine, config.gpus_per_worker)
    check_folder(folder, force)


def check_folder(folder: Path, force: bool) -> None:
    """Raises HandtoolError if videos of the truth.h5 are gone, or if there are videos without a truth.h5."""
    truth = folder / TRUTH_NAME
    if force:
        return
    if truth.is_file():
        with open_file(truth) as file:
            names = read_column(file, VIDEOS.path) if file.has(TRUTH) else ()
        if gone := [name for name in names if not (folder / name).exists()]:
            raise HandtoolError(
                f"{folder / gone[0]} is gone ({len(gone)} videos of {truth})", hint="add --force to make all anew"
            )
    elif not (folder / f"{TRUTH_NAME}.partial").exists() and (there := sorted(folder.glob("synth-*.mp4"))):
        raise HandtoolError(
            f"{there[0]} exists, and no {TRUTH_NAME} beside it", hint="choose another folder, or add --force"
        )


def video_names(config: SynthVideosConfig) -> list[str]:
    return [f"synth-{number:04d}" for number in range(min(config.num_videos, config.limit or config.num_videos))]


def is_made(job: Job, folder: Path, name: str) -> bool:
    """Whether its part is saved, and its film is the one that goes with it."""
    path = film_path(folder, name)
    return job.has(name) and path.is_file() and zlib.crc32(path.read_bytes()) == job.load(name).get("film_crc32")


def film_path(folder: Path, name: str) -> Path:
    return folder / f"{name}.mp4"


def frame_size(config: SynthVideosConfig) -> tuple[int, int]:
    """(width, height) px: about 16:9, the width a multiple of 16 for the coder; an odd height grows by one."""
    return 16 * round(config.size / 9), config.size + config.size % 2


def make_films(numbers: list[int], config: SynthVideosConfig, device: str | None) -> Iterator[tuple[int, dict]]:
    """(number, columns and the file's bytes) of each video, in the order in which they are finished."""
    work = config.engine, open_film_maker, (config, device), numbers
    for event in run_units(*work, config.workers, config.timeout_s, gpus=config.gpus_per_worker):
        if event.kind == "lost":
            raise HandtoolError(
                f"video {numbers[event.item]} could not be made: {event.value}", hint="run it again with --workers 1"
            )
        if event.kind == "result":
            yield numbers[event.item], event.value


def open_film_maker(config: SynthVideosConfig, device: str | None) -> Work:
    """In a worker process: the function that makes one film."""
    width, height = frame_size(config)

    def make(number: int, heartbeat: Heartbeat) -> Iterator[dict]:
        scene = draw_film(config.seed, number, config.frames, config.fps, width, height, config.difficulty, config.side)
        known = []

        def draw_pictures() -> Iterator[np.ndarray]:
            for picture, hands in shoot(scene, device):
                known.extend(hands)
                heartbeat()
                yield picture

        mp4 = encode_mp4(draw_pictures(), config.fps, CRF[config.difficulty])
        columns = {name: np.array([hand[name] for hand in known]) for name in COLUMNS} if known else {}
        yield {**columns, "mp4": mp4, "hands": len(known), "subject": scene.subject.name, "place": scene.place}

    return make


def write_videos(sink: Sink, job: Job, names: list[str], config: SynthVideosConfig) -> None:
    made, count = [job.load(name) for name in names], len(names)
    width, height = frame_size(config)
    columns = {
        "name": names,
        "path": [film_path(Path(), name).name for name in names],
        "subject": [one["subject"] for one in made],
        "place": [one["place"] for one in made],
        "status": ["ok"] * count,
        "ordinal": np.arange(count),
        "fps": np.full(count, config.fps),
        "width": np.full(count, width),
        "height": np.full(count, height),
        "frames_decoded": np.full(count, config.frames),
        "frames_failed": np.zeros(count),
    }
    write_table(sink, VIDEOS, columns)


def write_truth(sink: Sink, job: Job, names: list[str], config: SynthVideosConfig) -> np.ndarray:
    """Writes /truth. Returns (H,), the sides."""
    sides = [np.zeros(0, np.int8)]
    with open_table(sink, TRUTH) as table:
        for number, name in enumerate(names):
            made = job.load(name)
            if not made["hands"]:
                continue
            columns = {column: made[column] for column in COLUMNS}
            table.append({**columns, "video": np.full(made["hands"], number), "time": made["frame"] / config.fps})
            sides.append(made["side"])
    return np.concatenate(sides)


def boxes_json(job: Job, names: list[str]) -> bytes:
    """COCO: an image per frame with hands, `synth-0003.mp4#17`, as `extract --boxes` reads it."""
    images: list[dict] = []
    annotations: list[dict] = []
    for name in names:
        made, numbers = job.load(name), {}
        columns = (made["frame"], made["side"], made["box"].tolist()) if made["hands"] else ()
        for frame, side, (x0, y0, x1, y1) in zip(*columns, strict=True):
            if frame not in numbers:
                numbers[frame] = len(images) + 1
                images.append({"id": numbers[frame], "file_name": f"{film_path(Path(), name).name}#{frame}"})
            category, word = (1, "left") if side == LEFT else (2, "right")
            bbox = [round(value, 3) for value in (x0, y0, x1 - x0, y1 - y0)]
            hand = {"id": len(annotations) + 1, "image_id": numbers[frame], "category_id": category}
            annotations.append(hand | {"bbox": bbox, "side": word})
    categories = [{"id": 1, "name": "left hand"}, {"id": 2, "name": "right hand"}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    return json.dumps(content, separators=(",", ":")).encode()


def warn_about_other_videos(folder: Path, names: list[str]) -> None:
    """Warns of videos of an earlier, larger run that are still in the folder but not in the truth.h5."""
    others = sorted(path.name for path in folder.glob("synth-*.mp4") if path.stem not in names)
    if others:
        told = "%d other videos lie in %s, the first %s: they are not in %s"
        log.warning(told, len(others), folder, others[0], TRUTH_NAME)
