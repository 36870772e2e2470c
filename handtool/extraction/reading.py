"""Videos read in worker processes: frames, hands, crops; one job part per finished video or chunk of a folder."""

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from handtool.config import ExtractConfig
from handtool.engine.local import is_lasting
from handtool.engine.shipping import Folder
from handtool.engine.units import run_units
from handtool.extraction.hands_file import HandsFile, are_labels
from handtool.extraction.truth_file import join_truth, read_truth
from handtool.hands.lens import Lens
from handtool.progress import Progress
from handtool.sources.folder_chunks import Item, ReadingMark, Suspects, split_into_chunks
from handtool.sources.frame import Sampling, Tally, Video
from handtool.sources.label_gate import LabelGate
from handtool.sources.read import read_frames
from handtool.sources.shards import largest_first, size_of
from handtool.store import Job, write_bytes_whole
from handtool.store.job import SUFFIX
from handtool.vision.camera_model import VideoCamera
from handtool.vision.hand_finder import FinderSettings, HandFinder
from handtool.vision.rows import Rows
from handtool.vision.second_look import follow

log = logging.getLogger(__name__)


def part_name(number: int, chunk: int = 0, block: int | None = None) -> str:
    name = f"video-{number:07d}" + (f".{chunk:05d}" if chunk else "")
    return name if block is None else f"{name}-{block:05d}"


def mark_of(folder: Path, number: int, chunk: int) -> Path:
    return folder / f"{part_name(number, chunk)}.reading"


def needs(video: Video) -> list[str]:
    """The file, or one of them, by which a node of a cluster sees a video; every node sees an address."""
    return [] if video.address else [video.tar or (video.files[0] if video.files else video.path)]


def read_videos(
    videos: list[Video], numbers: list[int], job: Job, settings: FinderSettings, progress: Progress
) -> dict[tuple[int, int], dict]:
    """Read the videos of these numbers, or chunks of them, that have no finished part yet, in worker processes, the
    longest first; the workers save the parts.

    If a video crashes or stops its worker twice, the second time alone, its part records that; of a folder only the
    image that did it is left out. If the machine may still be the cause (too little memory, killed from outside), the
    outcome is not saved but returned, by number and chunk: a resumed run tries it again.
    """
    chunks = [
        Item(number, chunk, images)
        for number in numbers
        for chunk, images in enumerate(split_into_chunks(videos[number]))
    ]
    items = [chunks[place] for place in largest_first([size_of(item.video) for item in chunks])]
    items = [item for item in items if not job.has(part_name(item.number, item.chunk))]
    waiting, hands, frames, lost = Counter(item.number for item in items), 0, 0, {}
    finished = len(numbers) - len(waiting)
    if finished:
        log.info("%d of %d videos are done already", finished, len(numbers))
    config, suspects, folder = settings.config, Suspects(), Folder(job.folder, SUFFIX, write_bytes_whole)
    files = [name for name in (settings.boxes, settings.model, settings.hands) if name]
    how: dict[str, Any] = {"gpus": config.gpus_per_worker, "folder": folder}
    how["reads"] = lambda item: [*needs(item.video), *files]
    work = config.engine, open_finder, (settings, job.folder)
    progress("videos", finished, len(numbers))
    while items:
        again = []  # folders, without the images that ended their process
        for event in run_units(*work, items, config.workers, config.timeout_s, **how):
            number, chunk, video, _ = item = items[event.item]
            mark = mark_of(job.folder, number, chunk)
            if event.kind == "heartbeat":
                frames += event.value
                progress("frames", frames)
                continue
            if event.kind == "result":
                status, hands = event.value["status"], hands + event.value["hands"]
            if event.kind == "again":
                log.warning("%s: %s; it is tried once more at the end", video.name, event.value)
                suspects.note(item, mark)
                continue
            if event.kind == "lost":
                status = str(event.value)
                if next_try := suspects.next_try(item, mark):
                    again.append(next_try)
                    continue
                outcome = outcome_of_lost(video, status, config)
                if is_lasting(status):
                    job.save(part_name(number, chunk), outcome)
                else:
                    lost[number, chunk] = outcome
            if event.kind != "result":  # lost or done
                waiting[number] -= 1
                finished += not waiting[number]
                progress("videos", finished, len(numbers), hands=hands)
            if event.kind != "done" and status != "ok":
                log.warning("%s: %s", video.name, status)
        items = again
    return lost


def outcome_of_lost(video: Video, status: str, config: ExtractConfig) -> dict:
    """The outcome of a video whose worker was lost; for images with the number of lost images."""
    images = 0 if video.kind == "video" else len(video.files or video.rows)
    tally = Tally(problem=status, failed=Counter({"images lost with their process": images} if images else {}))
    return {**tally.as_outcome(), **Rows(config).as_outcome(), "blocks": 0}


def open_finder(settings: FinderSettings, folder: Path) -> Callable[[Item, Callable[[], None]], Iterator[dict]]:
    """In a worker process: the function that turns a video, with its number and that of the chunk, into parts of the
    job in `folder`: blocks of rows, then the outcome, which it also yields."""
    config, job = settings.config, Job(folder)
    in_file = HandsFile(settings.hands) if settings.hands else None
    as_labels = in_file is not None and are_labels(settings)
    finder = HandFinder(settings, in_file.estimates_on if in_file and not as_labels else None)

    def read_one(item: Item, heartbeat: Callable[[], None], decode: str = config.decode) -> Iterator[dict]:
        number, chunk, video, careful = item
        tally, rows, joined, blocks = (
            Tally(heartbeat=heartbeat),
            Rows(config, sure_sides=not (settings.looks or config.whole)),
            Counter[str](),
            0,
        )
        mark = ReadingMark(mark_of(folder, number, chunk))
        tally.reading = lambda image: mark.write(finder.waiting[0].frame.number if finder.waiting else image, image)
        known_video = read_truth(video)
        sampling = Sampling(config.fps, config.every, config.track_fps, config.keyframes, decode)
        gate = LabelGate(config.trust_labels)
        frames, camera = read_frames(video, sampling, tally), VideoCamera(video.lens, video.lens_file, tally.note)
        frames = gate.pass_frames(in_file.label(frames, camera) if in_file and as_labels else frames)
        for sight in follow(finder.find_in(frames, careful, camera), rows.tracks, finder.look_again):
            frame, hands = sight.frame, sight.hands
            if sight.failed and frame.kept:
                tally.unseen[f"frames on which {sight.failed}"] += 1
            if not frame.kept:
                rows.follow(sight.hands, sight.tracks)
                continue
            if known_video and frame.hands is None:
                bent = camera.of(frame.image)
                lens = bent if isinstance(bent, Lens) else None
                hands = join_truth(video, known_video, frame, [hand for hand, _, _ in hands], joined, gate, lens)
            rows.focal_35mm = frame.focal_35mm
            if sight.doubles:
                rows.left_out["the same hand once more"] += sight.doubles
            rows.add(sight.image, frame.number, frame.time, hands, sight.tracks, frame.jpeg)
            if rows.is_full:
                job.save(part_name(number, chunk, blocks), rows.take_block())
                blocks += 1
        if tally.misnumbered:
            yield from read_one(item, heartbeat, "all")
            return
        if rows.jpegs:
            job.save(part_name(number, chunk, blocks), rows.take_block())
            blocks += 1
        about: dict[str, object] = {"camera": camera.used}
        if known_video:
            about |= {"joined": dict(joined), "subject": known_video.subject, "place": known_video.place}
        rows.left_out.update(tally.left_out)
        outcome = {**tally.as_outcome(), **rows.as_outcome(), **gate.as_outcome(), **about, "blocks": blocks}
        job.save(part_name(number, chunk), outcome)
        mark.remove()
        yield outcome

    return read_one
