"""From footage to hand crops: find videos, read their kept frames, find the hands, cut them out. One job part per finished video."""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np

from handtool.accounting import Accounting
from handtool.config import ExtractConfig
from handtool.errors import HandtoolError, WrongCommand
from handtool.progress import Progress, silent
from handtool.sources.find import find_videos, readable
from handtool.sources.frame import Frame, KnownHand, Sampling, Tally, Video
from handtool.sources.read import read_frames
from handtool.sources.truth import LABELLED, KnownFilm, find_truth, known_film, nobody
from handtool.store import (
    CROPS,
    LABELS,
    LEFT,
    RIGHT,
    TRUTH,
    UNKNOWN,
    VIDEOS,
    Job,
    Sink,
    open_file,
    open_table,
    read_column,
    write_table,
)
from handtool.vision.contracts import Detection
from handtool.vision.detectors import check_detector, open_detector
from handtool.vision.lens import read_lens
from handtool.vision.rows import Rows
from handtool.vision.workers import run_in_children

log = logging.getLogger(__name__)
MAX_LISTED = 20  # videos whose hands the report lists one by one


def extract(
    sources: list[Path],
    sink: Sink,
    config: ExtractConfig,
    progress: Progress = silent,
    *,
    job: Job,
    boxes: Path | None = None,
    lens: Path | None = None,
) -> dict:
    """Writes /videos, /crops and, where a source knew its hands or a truth.h5 lies beside the videos, /labels.

    boxes: COCO json of hands that are known; lens: json of the camera, in place of the numbers in config.camera.
    Raises HandtoolError where there is nothing, where something needed is missing, or where no hand at all is found.
    """
    check_config(config, boxes)
    found = find_videos(sources, config.limit)
    eyes = Eyes(config, str(boxes) if boxes else None, str(lens) if lens else config.camera)
    check_eyes(found.videos, eyes)
    lost = read_videos(found.videos, job, eyes, progress)
    outcomes = [lost.get(number) or job.load(part_name(number)) for number in range(len(found.videos))]
    if not sum(outcome["hands"] for outcome in outcomes):
        for name in job.names():  # with other settings there may be some: nothing to go on from
            job.drop(name)
        raise no_hands_at_all(found.videos, outcomes)
    write_videos(sink, found.videos, outcomes)
    write_hands(sink, outcomes, job, config)
    return make_report(found.videos, outcomes, found.left_out)


@dataclass(frozen=True)
class Eyes:
    """What a worker process needs to know. boxes: a file; camera: numbers or a file."""

    config: ExtractConfig
    boxes: str | None
    camera: str | None


def check_config(config: ExtractConfig, boxes: Path | None) -> None:
    if config.whole and boxes is not None:
        raise WrongCommand("--whole and --boxes are two ways to say where the hands are", hint="give one of them")
    if config.every is not None and config.fps != ExtractConfig.fps:
        raise WrongCommand("--fps and --every are two ways to choose the frames", hint="give one of them")


def check_eyes(videos: list[Video], eyes: Eyes) -> None:
    """What the workers will open, looked at once, so that a mistake is told before the work begins. Labelled sets need no detector."""
    if eyes.camera is not None:
        read_lens(eyes.camera)
    if eyes.boxes is not None or any(video.kind != "labelled" for video in videos):
        check_detector(eyes.boxes, eyes.config.whole, eyes.config.min_score)
    for path in sorted({path for video in videos if (path := find_truth(video))}):
        if eyes.camera is not None:
            raise WrongCommand(f"{path} knows the camera", hint="leave out --camera")
        with open_file(path) as truth:
            truth.need(TRUTH, hint="another file of that name beside the videos? Move it away")


def read_truth(video: Video) -> KnownFilm | None:
    """What `truth.h5` beside a video knows of it; None where there is no such file, or it does not know this video."""
    path = find_truth(video)
    if path is None:
        return None
    with open_file(path, walked=True) as truth:
        names = [Path(each).name for each in read_column(truth, VIDEOS.path)]
        if Path(video.path).name not in names:
            return None
        place = names.index(Path(video.path).name)
        rows = np.flatnonzero(read_column(truth, TRUTH.video) == place)
        columns = {column.name: read_column(truth, column, rows) for column in TRUTH.columns}
        about = {column.name: read_column(truth, column)[place] for column in VIDEOS.columns}
        return known_film({**columns, "row": rows}, about)


def part_name(number: int, block: int | None = None) -> str:
    return f"video-{number:07d}" if block is None else f"video-{number:07d}-{block:05d}"


def read_videos(videos: list[Video], job: Job, eyes: Eyes, progress: Progress) -> dict[int, dict]:
    """Every video that has no finished part yet, over worker processes. Returns what is told of those that cost a process its life."""
    waiting = [number for number in range(len(videos)) if not job.has(part_name(number))]
    finished, hands, frames, blocks, lost = len(videos) - len(waiting), 0, 0, Counter(), {}
    if finished:
        log.info("%d of %d videos are done already", finished, len(videos))
    items, config = [videos[number] for number in waiting], eyes.config
    progress("videos", finished, len(videos))
    for news in run_in_children(open_eyes, (eyes,), items, config.workers, config.patience_s):
        number = waiting[news.item]
        match news.kind:
            case "result" if "jpeg" in news.value:
                job.save(part_name(number, blocks[number]), news.value)
                blocks[number] += 1
                continue
            case "result":
                job.save(part_name(number), {**news.value, "blocks": blocks[number]})
                hands += news.value["hands"]
                status = news.value["status"]
            case "lost":  # kept in memory only: a run that is resumed gives such a video another chance
                status = str(news.value)
                lost[number] = {**Tally(problem=status).as_outcome(), **open_rows(config).as_outcome(), "blocks": 0}
            case "beat":
                frames += news.value
                progress("frames", frames)
                continue
            case "done":
                finished += 1
                progress("videos", finished, len(videos), hands=hands)
                continue
        if status != "ok":
            log.warning("%s: %s", videos[number].name, status)
    return lost


def open_eyes(eyes: Eyes) -> Callable[[Video, Callable[[], None]], Iterator[dict]]:
    """In a worker process: the function that turns one video into blocks of rows, then one outcome."""
    config, lens = eyes.config, read_lens(eyes.camera) if eyes.camera is not None else None
    camera = lens.camera if lens else np.full((3, 3), np.nan)
    detector = cache(lambda: open_detector(config.detector, eyes.boxes, config.whole, config.min_score))  # once, for the first who needs it

    def look(waiting: list[tuple[Frame, np.ndarray]]) -> Iterator[tuple[Frame, np.ndarray, list]]:
        found = detector().find_hands([image for _, image in waiting], [frame.name for frame, _ in waiting]) if waiting else []
        for (frame, image), hands in zip(waiting, found, strict=True):
            yield frame, image, [(hand, camera, {}) for hand in hands]
        waiting.clear()

    def find_in(frames: Iterable[Frame]) -> Iterator[tuple[Frame, np.ndarray, list]]:
        """Each frame, the picture that was looked at and its hands, in order; the detector is given as many at once as it takes."""
        waiting = []
        for frame in frames:
            if frame.hands is not None:
                yield frame, frame.image, [as_labelled(known) for known in frame.hands]
                continue
            waiting.append((frame, lens.straighten(frame.image) if lens else frame.image))
            if len(waiting) >= detector().batch:
                yield from look(waiting)
        yield from look(waiting)

    def read_one(video: Video, beat: Callable[[], None]) -> Iterator[dict]:
        tally, rows, joined = Tally(beat=beat), open_rows(config), Counter()
        film = read_truth(video)
        for frame, image, hands in find_in(read_frames(video, Sampling(config.fps, config.every), tally)):
            if film and frame.hands is None:
                hands = join_truth(video, film, frame, [hand for hand, _, _ in hands], joined)
            untouched = frame.jpeg if image is frame.image else None
            rows.add(image, frame.number, frame.time, hands, untouched)
            if rows.is_full:
                yield rows.take_block()
        if rows.jpegs:
            yield rows.take_block()
        about = {"joined": dict(joined), "subject": film.subject, "place": film.place} if film else {}
        yield {**tally.as_outcome(), **rows.as_outcome(), **about}

    return read_one


def join_truth(video: Video, film: KnownFilm, frame: Frame, found: list[Detection], joined: Counter) -> list[tuple]:
    """The hands that were found, each with the frame's camera and the label of the known hand that it is; its side is the known one."""
    if frame.image.shape[1::-1] != film.size:
        have, made = ("x".join(map(str, size)) for size in (frame.image.shape[1::-1], film.size))
        raise HandtoolError(f"{video.path} is {have} px, the truth beside it was made for {made} px", hint=f"move {find_truth(video)} away")
    known = film.join(frame.number, np.array([hand.box for hand in found]).reshape(-1, 4), [hand.side for hand in found], joined)
    return [
        (replace(hand, side=match.side) if match else hand, film.camera, (match or nobody(film.camera)).as_label())
        for hand, match in zip(found, known, strict=True)
    ]


def open_rows(config: ExtractConfig) -> Rows:
    return Rows(config.size, config.box_scale, config.quality)


def as_labelled(known: KnownHand) -> tuple[Detection, np.ndarray, dict]:
    box = np.full(4, np.nan) if known.box is None else known.box
    return Detection(box, known.side, whole=known.box is None), known.camera, known.as_label()


def no_hands_at_all(videos: list[Video], outcomes: list[dict]) -> HandtoolError:
    looked, bad = sum(outcome["sampled"] for outcome in outcomes), [outcome for outcome in outcomes if outcome["status"] != "ok"]
    if not looked:
        return HandtoolError(f"none of {len(videos)} videos could be read; the first: {videos[0].name}: {outcomes[0]['status']}")
    unread = f", {len(bad)} videos not read whole" if bad else ""
    return HandtoolError(
        f"no hands in {len(videos)} videos ({looked} frames looked at{unread})",
        hint="where each image is a hand already: --whole; where boxes are known: --boxes FILE; else look at more frames (--fps 5)",
    )


def write_videos(sink: Sink, videos: list[Video], outcomes: list[dict]) -> None:
    columns = {
        "name": [video.name for video in videos], "path": [readable(video.path) for video in videos],
        "subject": [video.subject or outcome.get("subject", "") for video, outcome in zip(videos, outcomes, strict=True)],
        "place": [outcome.get("place", "") for outcome in outcomes],
        "status": [outcome["status"] for outcome in outcomes], "ordinal": np.arange(len(videos)),
        "fps": [outcome["fps"] for outcome in outcomes], "width": [outcome["width"] for outcome in outcomes],
        "height": [outcome["height"] for outcome in outcomes], "frames_decoded": [outcome["decoded"] for outcome in outcomes],
        "frames_failed": [sum(outcome["failed"].values()) for outcome in outcomes],
    }  # fmt: skip
    write_table(sink, VIDEOS, columns)


def write_hands(sink: Sink, outcomes: list[dict], job: Job, config: ExtractConfig) -> None:
    """The parts joined in the order of the videos, block by block."""
    scale = config.box_scale if any(outcome["enlarged"] for outcome in outcomes) else 1.0
    attrs, total = {"size": config.size, "box_scale": scale}, sum(outcome["jpeg_bytes"] for outcome in outcomes)
    labels = []
    with open_table(sink, CROPS, attrs=attrs, jpeg_bytes=total) as crops:
        for number, outcome in enumerate(outcomes):
            start = 0
            for block_number in range(outcome["blocks"]):
                block = job.load(part_name(number, block_number))
                end = start + len(block["jpeg_length"])
                crops.append(as_crops(block, number, outcome["tracks"][start:end]))
                known = {name.removeprefix("labels/"): values for name, values in block.items() if name.startswith("labels/")}
                labels.append((end - start, known))
                start = end
    names = {name for _, known in labels for name in known}
    if names:
        with open_table(sink, LABELS) as table:
            for count, known in labels:
                table.append(unlabelled(count, names) | known)


def as_crops(block: dict, video: int, tracks: np.ndarray) -> dict:
    count, ends = len(block["jpeg_length"]), np.cumsum(block["jpeg_length"])
    jpegs = [block["jpeg"][end - length : end] for end, length in zip(ends, block["jpeg_length"], strict=True)]
    columns = {name: values for name, values in block.items() if not name.startswith(("labels/", "jpeg"))}
    return {**columns, "video": np.full(count, video), "track": tracks, "source_row": np.full(count, -1), "jpeg": jpegs}


def unlabelled(count: int, names: set[str]) -> dict:
    """The required columns of labels, and the optional ones among `names`, of hands of which nothing is known."""
    columns = [column for column in LABELS.columns if not column.optional or column.name in names]
    texts = {column.name: [column.fill] * count for column in columns if column.dtype == "utf8"}
    return texts | {column.name: np.full((count, *column.shape), column.fill) for column in columns if column.dtype != "utf8"}


def make_report(videos: list[Video], outcomes: list[dict], left_out: Counter) -> dict:
    """Every frame and every hand is in it: decoded, sampled, with hands, or lost and why."""
    films, frames, hands = Accounting("videos"), Accounting("frames"), Accounting("hands")
    for outcome in outcomes:
        if outcome["decoded"]:
            films.done += 1
        else:
            films.fail(outcome["problem"].partition(":")[0])
        frames.done += outcome["with_hands"]
        frames.skip("not sampled", outcome["decoded"] - outcome["sampled"])
        frames.skip("no hand found", outcome["sampled"] - outcome["with_hands"])
        for reason, count in outcome["failed"].items():
            frames.fail(reason, count)
        hands.done += outcome["hands"]
        for reason, count in outcome["refused"].items():
            hands.fail(reason, count)
    left, right, unknown = (sum(outcome["sides"][side] for outcome in outcomes) for side in (LEFT, RIGHT, UNKNOWN))
    report = {"accounting": [each.as_report() for each in (films, frames, hands)], "left": left, "right": right, "side_unknown": unknown}
    joined = sum((Counter(outcome.get("joined", {})) for outcome in outcomes), Counter())
    if joined:
        report["truth"] = {LABELLED: 0} | dict(joined)
    if len(videos) <= MAX_LISTED:
        report["hands_per_video"] = [
            {"video": video.name, "hands": outcome["hands"], "frames_with_hands": outcome["with_hands"], "frames": outcome["sampled"]}
            for video, outcome in zip(videos, outcomes, strict=True)
        ]
    status = {video.name: outcome["status"] for video, outcome in zip(videos, outcomes, strict=True)}
    bad = [{"video": name, "status": text} for name, text in status.items() if text != "ok"]
    if bad:
        report["videos_not_read_whole"] = bad
    if left_out:
        report["files_left_out"] = dict(left_out)
    return report
