"""extract: from footage to hand crops: find videos, read the sampled frames, find the hands, cut them out. One job
part per finished video."""

import contextlib
import logging
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from handtool.config import ExtractConfig
from handtool.engine.local import is_lasting
from handtool.engine.shipping import Folder
from handtool.engine.units import run_units
from handtool.errors import DamagedFile, HandtoolError, WrongCommand
from handtool.hands.label_faults import Labels
from handtool.progress import Progress, silent
from handtool.sources.datasets import box_scale_of, check_found
from handtool.sources.find import find_videos, readable
from handtool.sources.folder_chunks import Item, ReadingMark, Suspects, join_evidence, join_outcomes, split_into_chunks
from handtool.sources.frame import Choice, Frame, Sampling, Tally, Video
from handtool.sources.hardware import choose_decoding
from handtool.sources.label_gate import SAMPLE, LabelGate, measure, sample_labelled
from handtool.sources.label_verdict import judge, name_source
from handtool.sources.read import read_frames
from handtool.sources.remote import check_protocols
from handtool.sources.retried import FailedVideo, merge_reports
from handtool.sources.shards import divide_into_shards, largest_first, size_of
from handtool.sources.truth import KnownVideo, find_truth, make_known_video, unknown_hand
from handtool.sources.video_report import count_marks, make_report, video_columns
from handtool.store import (
    CROPS,
    LABELS,
    TRUTH,
    VIDEOS,
    File,
    Job,
    Sink,
    create_file,
    differ,
    name_api,
    open_file,
    open_table,
    read_attrs,
    read_column,
    write_bytes_whole,
    write_table,
)
from handtool.store.job import SUFFIX
from handtool.store.rows import nothing_known, replace_videos, unknown_values
from handtool.vision.boxes_file import BoxesFile
from handtool.vision.camera_model import is_assumed
from handtool.vision.contracts import Detection
from handtool.vision.detectors import describe_detector
from handtool.vision.hand_finder import FinderSettings, HandFinder
from handtool.vision.rows import Hand, Rows, open_block
from handtool.vision.second_look import follow

log = logging.getLogger(__name__)
KNOWN_TO_MISS = {  # by detector
    "mediapipe": "MediaPipe is known to miss hands in gloves, hands that hold something, and egocentric close-ups; "
    "another detector may find them: --detector hands.onnx (docs/ONNX.md)"
}

# in the status of a video that may be sound
NOT_THEIR_CONTENT = (
    "not readable|cannot be read|cannot be fetched|no plain file|--stream|not known to FFmpeg|(its|their) process|"
    "no new frame|enough memory"
)


def extract(
    sources: list[Path],
    sink: Sink,
    config: ExtractConfig,
    progress: Progress = silent,
    *,
    job: Job,
    listed: list[Path | str] | None = None,
    boxes: Path | None = None,
    lens: Path | None = None,
    model: Path | None = None,
    kept: File | None = None,
) -> dict:
    """Writes /videos, /crops and, if a source has labels or a truth.h5 lies beside the videos, /labels.

    listed: further sources, some of which may be missing; texts are addresses. boxes: a file of known hand boxes; lens:
    a json file of the camera, in place of the numbers in config.camera; model: the detector's file, ONNX or a MediaPipe
    task. With config.shard ("2/8") only the videos of that shard. kept: the output of an earlier run, of which only the
    videos that failed are read again. Raises HandtoolError if there are no videos, if something needed is missing, or
    if no hand at all is found (but a shard may have none).
    """
    check_config(config, boxes, model)
    choice = Choice(config.dataset, config.split, config.subset, config.cameras)
    found = find_videos(sources, config.limit, listed or (), choice)
    check_found(found.videos, choice, camera=config.camera is not None)
    check_sampling(found.videos, config)
    config = replace(config, decode=choose_decoding(config.decode))
    check_protocols([video.address for video in found.videos if video.address])
    found.videos = [replace(video, stream=config.stream) for video in found.videos]
    asked_scale = config.box_scale
    config = config if asked_scale else replace(config, box_scale=box_scale_of(found.videos))
    settings = FinderSettings(
        config, str(boxes) if boxes else None, str(lens) if lens else config.camera, str(model) if model else None
    )
    needs_detector = any(video.kind != "labelled" for video in found.videos)
    in_file = settings.check(needs_detector)
    for note in in_file.notes if in_file else ():
        log.warning("%s: %s", boxes, note)
    if in_file and in_file.unused_keypoints:
        log.warning(
            "%s: of %d hands it has keypoints, which are not read: only boxes are", boxes, in_file.unused_keypoints
        )
    check_truth(found.videos, settings)
    check_labels(found.videos, config)
    api = describe_detector(config, settings.boxes, settings.model) if needs_detector else {}
    job.keep_to(api)
    ordinals = choose_shard(found.videos, config.shard)
    videos = [found.videos[number] for number in ordinals]
    numbers = list(range(len(videos))) if kept is None else find_failed(kept, videos, api)
    if kept is not None:
        drop_failed_parts(videos, numbers, job)
    lost = read_videos(videos, numbers, job, settings, progress)
    videos = [videos[number] for number in numbers]
    chunks = [
        [
            lost.get((number, chunk)) or job.load(part_name(number, chunk))
            for chunk in range(len(split_into_chunks(video)))
        ]
        for number, video in zip(numbers, videos)
    ]
    outcomes = [join_outcomes(each) for each in chunks]
    try:
        judge_labels(videos, outcomes)
    except HandtoolError:
        drop_parts(job)
        raise
    if not sum(outcome["hands"] for outcome in outcomes) and config.shard is None and kept is None:
        drop_parts(job)
        if in_file is not None:
            raise no_hands_in_boxes(videos, outcomes, in_file, settings)
        raise no_hands_at_all(videos, outcomes)
    columns = video_columns(videos, outcomes, [ordinals[number] for number in numbers])
    box_scale = scale_of_crops(outcomes, config, asked_scale)
    if kept is not None and not any(outcome["enlarged"] for outcome in outcomes):
        box_scale = float(read_attrs(kept, CROPS)["box_scale"])
    attrs = {"size": config.size, "box_scale": box_scale} | api
    with contextlib.ExitStack() as stack:
        place = job.folder / "again.h5"
        own = sink if kept is None else stack.enter_context(create_file(place, sink.record))
        write_table(own, VIDEOS, columns)
        write_hands(own, dict(zip(numbers, chunks)), job, attrs)
        if kept is not None:
            own.finish({})
            again = stack.enter_context(open_file(place, trusted=True))
            replace_videos(sink, kept, again, np.array(numbers, np.int64), attrs, progress)
    report = make_report(videos, outcomes, found.left_out) | {"box_scale": box_scale}
    report |= {"mediapipe": name_api(api)} if api else {}
    report |= {"camera_source": count_cameras(outcomes)} if is_assumed(settings.camera) else {}
    if settings.looks:
        warn_about_empty_frames(videos, outcomes, config)
    if in_file is not None:
        report["boxes_in_the_file"] = {"on frames looked at": count_boxes(outcomes), "in all": len(in_file)}
        report |= {"boxes_left_out": dict(in_file.left_out)} if in_file.left_out else {}
    report |= {"shard": config.shard, "videos_of_all_shards": len(found.videos)} if config.shard else {}
    if kept is None:
        return report
    return merge_reports(kept.provenance[-1]["report"], describe_failed(kept, numbers, videos, config.every), report)


def drop_parts(job: Job) -> None:
    """Other settings may do better: a run with those is not to find the parts of this one."""
    for name in job.names():
        job.drop(name)


def find_failed(kept: File, videos: list[Video], api: dict[str, str]) -> list[int]:
    """The numbers of the videos of which an earlier run could read nothing. Raises HandtoolError if that run had other
    videos, or found hands by another of MediaPipe's APIs."""
    if read_column(kept, VIDEOS.path).tolist() != [readable(video.path) for video in videos]:
        raise HandtoolError(f"{kept.path} holds other videos", hint="add --force to make it anew, or choose another -o")
    if differ(before := read_attrs(kept, CROPS), api):
        raise HandtoolError(
            f"{kept.path} was made by MediaPipe's {name_api(before)}; its failed videos would be read by the "
            f"{name_api(api)}",
            hint="add --force to make all of it anew",
        )
    return np.flatnonzero(read_column(kept, VIDEOS.frames_decoded) == 0).tolist()


def describe_failed(kept: File, numbers: list[int], videos: list[Video], every: int | None) -> list[FailedVideo]:
    """What /videos of an earlier run says of the videos, whose rows there are given."""
    columns = [read_column(kept, column)[numbers] for column in (VIDEOS.name, VIDEOS.status, VIDEOS.frames_failed)]
    passed = [len(video.files) - len(range(0, len(video.files), every or 1)) for video in videos]
    return [FailedVideo(*each) for each in zip(*columns, passed, strict=True)]


def drop_failed_parts(videos: list[Video], numbers: list[int], job: Job) -> None:
    """So that what failed is read again; a part that was read stays, since this run may itself go on after a kill."""
    for number in numbers:
        for chunk in range(len(split_into_chunks(videos[number]))):
            name = part_name(number, chunk)
            if job.has(name) and not job.load(name)["decoded"]:
                job.drop(name)


def count_cameras(outcomes: list[dict]) -> dict[str, int]:
    """Hands by what is known of their camera."""
    hands, known, assumed = (
        sum(outcome.get(name, 0) for outcome in outcomes) for name in ("hands", "with_camera", "with_assumed_camera")
    )
    counts = {"known": known - assumed, "assumed": assumed, "none": hands - known}
    return {name: count for name, count in counts.items() if count}


def check_config(config: ExtractConfig, boxes: Path | None, model: Path | None) -> None:
    if config.whole and boxes is not None:
        raise WrongCommand("--whole and --boxes are two ways to say where the hands are", hint="give one of them")
    if model is not None and (config.whole or boxes is not None):
        raise WrongCommand(
            f"{'--whole' if config.whole else '--boxes'} says where the hands are, {model} would look for them",
            hint="give one of them",
        )
    if config.every is not None and config.fps != ExtractConfig.fps:
        raise WrongCommand("--fps and --every are two ways to choose the frames", hint="give one of them")
    if config.keyframes and config.every is not None:
        raise WrongCommand("--keyframes and --every are two ways to choose the frames", hint="give one of them")


def check_sampling(videos: list[Video], config: ExtractConfig) -> None:
    """Raises WrongCommand for an option that none of the videos heeds."""
    kinds = {video.kind for video in videos}
    timed = {
        "--fps": config.fps != ExtractConfig.fps,
        "--track-fps": config.track_fps > 0,
        "--stream": config.stream is not None,
        "--keyframes": config.keyframes,
        "--decode": config.decode != ExtractConfig.decode,
    }
    for option in (name for name, given in timed.items() if given and "video" not in kinds):
        raise WrongCommand(f"{option} does nothing: no video file is given, and images have no time", hint="--every N")
    if config.every not in (None, 1) and kinds == {"labelled"}:
        raise WrongCommand("--every does nothing: labelled frames are all kept", hint="leave it out, or --limit N")


def check_truth(videos: list[Video], settings: FinderSettings) -> None:
    for path in sorted({path for video in videos if (path := find_truth(video))}):
        if settings.camera is not None:
            raise WrongCommand(f"{path} knows the camera", hint="leave out --camera")
        with open_file(path) as truth:
            truth.need(TRUTH, hint="another file of that name beside the videos? Move it away")
            if not settings.config.trust_labels and truth.count(TRUTH):
                judge(measure_truth(truth), str(path))


def measure_truth(truth: File) -> np.ndarray:
    """What is measured of a sample of the labels in a truth.h5."""
    rows = np.unique(np.linspace(0, truth.count(TRUTH) - 1, SAMPLE).astype(np.int64))
    columns = {column.name: read_column(truth, column, rows) for column in TRUTH.columns}
    size = np.stack([read_column(truth, column) for column in (VIDEOS.width, VIDEOS.height)], axis=1)
    known, joints = np.ones((len(rows), 21), bool), columns["joints"].astype(np.float64)
    of_picture = columns["keypoints"].astype(np.float64), known, columns["box"], size[columns["video"]]
    return measure(columns["side"], Labels(joints, known, columns["camera"], *of_picture))


def check_labels(videos: list[Video], config: ExtractConfig) -> None:
    """Before hours of work: a sample of the labels of each large source, read by worker processes. Raises DamagedFile
    for a fault that most of them share, WrongCommand for --trust-labels where there are no labels."""
    if config.trust_labels and not any(video.kind == "labelled" or find_truth(video) for video in videos):
        raise WrongCommand("--trust-labels does nothing: none of the sources has labels", hint="leave it out")
    sample = [] if config.trust_labels else sample_labelled(videos)
    evidence: dict[str, list[dict]] = {}
    for event in run_units(config.engine, open_gate, (), sample, config.workers, config.timeout_s, reads=needs):
        if event.kind == "result":
            evidence.setdefault(name_source(sample[event.item]), []).append(event.value)
    for source, outcomes in evidence.items():
        judge(join_evidence(outcomes), source)


def needs(video: Video) -> list[str]:
    """The file, or one of them, by which a node of a cluster sees a video; every node sees an address."""
    return [] if video.address else [video.files[0] if video.files else video.path]


def open_gate() -> Callable[[Video, Callable[[], None]], Iterator[dict]]:
    """In a worker process: the function that measures the labels of a video."""

    def look(video: Video, heartbeat: Callable[[], None]) -> Iterator[dict]:
        gate = LabelGate()
        for _ in gate.pass_frames(read_frames(video, Sampling(), Tally(heartbeat=heartbeat))):
            pass
        yield gate.as_outcome()

    return look


def judge_labels(videos: list[Video], outcomes: list[dict]) -> None:
    """Warns of labels that cannot be true. Raises DamagedFile for a fault that most labels of a source share."""
    of_source: dict[str, list[dict]] = {}
    for video, outcome in zip(videos, outcomes, strict=True):
        if source := name_source(video):
            of_source.setdefault(source, []).append(outcome)
    for source, its_own in of_source.items():
        for told in judge(join_evidence(its_own), source):
            log.warning("%s: %s", source, told)
        hands, points = count_marks(its_own)
        of_all = f"{hands.failed.total():,} of {hands.total:,} labelled hands"
        for what, marked in ((of_all, hands.failed), (f"{points.total():,} single joints or keypoints", points)):
            if counts := ", ".join(f"{why}: {count:,}" for why, count in marked.items()):
                log.warning("%s: %s marked not valid (%s)", source, what, counts)


def choose_shard(videos: list[Video], shard: str | None) -> list[int]:
    """The numbers of the videos of this shard, in order. shard: "2/8", counted from 1; None: all videos."""
    if shard is None:
        return list(range(len(videos)))
    number, of = (int(part) for part in shard.split("/"))
    return divide_into_shards(videos, of)[number - 1]


def part_name(number: int, chunk: int = 0, block: int | None = None) -> str:
    name = f"video-{number:07d}" + (f".{chunk:05d}" if chunk else "")
    return name if block is None else f"{name}-{block:05d}"


def mark_of(folder: Path, number: int, chunk: int) -> Path:
    return folder / f"{part_name(number, chunk)}.reading"


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
    files = [name for name in (settings.boxes, settings.camera, settings.model) if name]
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
    images = len(video.files or video.rows)
    tally = Tally(problem=status, failed=Counter({"images lost with their process": images} if images else {}))
    return {**tally.as_outcome(), **Rows(config).as_outcome(), "blocks": 0}


def open_finder(settings: FinderSettings, folder: Path) -> Callable[[Item, Callable[[], None]], Iterator[dict]]:
    """In a worker process: the function that turns a video, with its number and that of the chunk, into parts of the
    job in `folder`: blocks of rows, then the outcome, which it also yields."""
    config, finder, job = settings.config, HandFinder(settings), Job(folder)

    def read_one(item: Item, heartbeat: Callable[[], None], decode: str = config.decode) -> Iterator[dict]:
        number, chunk, video, careful = item
        tally, rows, joined, blocks = (
            Tally(heartbeat=heartbeat),
            Rows(config, sure_sides=settings.boxes is not None),
            Counter[str](),
            0,
        )
        mark = ReadingMark(mark_of(folder, number, chunk))
        tally.reading = lambda image: mark.write(finder.waiting[0].frame.number if finder.waiting else image, image)
        known_video = read_truth(video)
        sampling = Sampling(config.fps, config.every, config.track_fps, config.keyframes, decode)
        gate = LabelGate(config.trust_labels)
        frames = gate.pass_frames(read_frames(video, sampling, tally))
        for sight in follow(finder.find_in(frames, careful), rows.tracks, finder.look_again):
            frame, hands = sight.frame, sight.hands
            if sight.failed and frame.kept:
                tally.unseen[f"frames on which {sight.failed}"] += 1
            if not frame.kept:
                rows.follow(sight.hands, sight.tracks)
                continue
            if known_video and frame.hands is None:
                hands = join_truth(video, known_video, frame, [hand for hand, _, _ in hands], joined, gate)
            rows.focal_35mm = frame.focal_35mm
            jpeg = frame.jpeg if sight.image is frame.image else None
            if sight.doubles:
                rows.left_out["the same hand once more"] += sight.doubles
            rows.add(sight.image, frame.number, frame.time, hands, sight.tracks, jpeg)
            if rows.is_full:
                job.save(part_name(number, chunk, blocks), rows.take_block())
                blocks += 1
        if tally.misnumbered:
            yield from read_one(item, heartbeat, "all")
            return
        if rows.jpegs:
            job.save(part_name(number, chunk, blocks), rows.take_block())
            blocks += 1
        about = (
            {"joined": dict(joined), "subject": known_video.subject, "place": known_video.place} if known_video else {}
        )
        outcome = {**tally.as_outcome(), **rows.as_outcome(), **gate.as_outcome(), **about, "blocks": blocks}
        job.save(part_name(number, chunk), outcome)
        mark.remove()
        yield outcome

    return read_one


def read_truth(video: Video) -> KnownVideo | None:
    """The truth about a video from the `truth.h5` beside it; None if there is no such file, or if it lacks this
    video."""
    path = find_truth(video)
    if path is None:
        return None
    with open_file(path, trusted=True) as truth:
        names = [Path(each).name for each in read_column(truth, VIDEOS.path)]
        if Path(video.path).name not in names:
            return None
        place = names.index(Path(video.path).name)
        rows = np.flatnonzero(read_column(truth, TRUTH.video) == place)
        columns = {column.name: read_column(truth, column, rows) for column in TRUTH.columns}
        about = {column.name: read_column(truth, column)[place] for column in VIDEOS.columns if truth.has(column)}
        return make_known_video({**columns, "row": rows}, about)


def join_truth(
    video: Video, known_video: KnownVideo, frame: Frame, found: list[Detection], joined: Counter, gate: LabelGate
) -> list[Hand]:
    """The hands that were found, each with the frame's camera and, if it matches a known hand, that one's label, as
    `gate` lets it pass, and side."""
    if frame.image.shape[1::-1] != known_video.size:
        have, made = ("x".join(map(str, size)) for size in (frame.image.shape[1::-1], known_video.size))
        raise HandtoolError(
            f"{video.path} is {have} px, the truth beside it was made for {made} px",
            hint=f"move {find_truth(video)} away",
        )
    known = known_video.join(
        frame.number, np.array([hand.box for hand in found]).reshape(-1, 4), [hand.side for hand in found], joined
    )
    matched = [hand for hand in known if hand]
    passed = iter(gate.check(matched, np.tile(known_video.size, (len(matched), 1))))
    known = [hand and next(passed) for hand in known]
    return [
        (
            replace(hand, side=match.side) if match else hand,
            known_video.camera,
            (match or unknown_hand(known_video.camera)).as_label(),
        )
        for hand, match in zip(found, known, strict=True)
    ]


def warn_about_empty_frames(videos: list[Video], outcomes: list[dict], config: ExtractConfig) -> None:
    """Says so if the detector found no hand on more than half of the frames that it looked at."""
    searched = [outcome for video, outcome in zip(videos, outcomes, strict=True) if video.kind != "labelled"]
    looked = sum(outcome["sampled"] for outcome in searched)
    empty = looked - sum(outcome["with_hands"] + outcome["none_kept"] for outcome in searched)
    empty -= count_unseen(searched).total()
    if 2 * empty > looked:
        reason = KNOWN_TO_MISS.get(config.detector)
        log.warning("no hand found on %d of %d frames%s", empty, looked, f": {reason}" if reason else "")


def count_unseen(outcomes: list[dict]) -> Counter:
    """Frames that the detector could not look at, by reason."""
    return sum((Counter(outcome.get("unseen", {})) for outcome in outcomes), Counter())


def count_boxes(outcomes: list[dict]) -> int:
    return sum(outcome["hands"] + sum((outcome["left_out"] | outcome["refused"]).values()) for outcome in outcomes)


def no_hands_in_boxes(
    videos: list[Video], outcomes: list[dict], in_file: BoxesFile, settings: FinderSettings
) -> HandtoolError:
    """Why none of the boxes in the file has become a hand."""
    looked_at = sum(outcome["sampled"] for outcome in outcomes)
    if not looked_at or any(outcome["left_out"] for outcome in outcomes):
        return no_hands_at_all(videos, outcomes)
    if refused := sum((Counter(outcome["refused"]) for outcome in outcomes), Counter()):
        reasons = ", ".join(f"{reason}: {count}" for reason, count in refused.most_common(3))
        return HandtoolError(
            f"none of {refused.total()} boxes can be used ({reasons})",
            hint="boxes are in px of the picture as it is shown, or shares of it, 0 to 1, in 100DOH's json",
        )
    if not len(in_file):
        reasons = ", ".join(f"{reason}: {count}" for reason, count in in_file.left_out.most_common(3))
        return HandtoolError(f"{settings.boxes} has no box of a hand{f' ({reasons})' if reasons else ''}")
    picture = videos[0].files[0] if videos[0].files else f"{videos[0].path}#0"
    left_out = f"; left out: {', '.join(f'{reason} {n}' for reason, n in in_file.left_out.items())}" * bool(
        in_file.left_out
    )
    return HandtoolError(
        f"no box of {settings.boxes} is on one of the {looked_at} pictures that were looked at: it says "
        f"{next(iter(in_file.rows), 'nothing')}, the pictures are {picture}{left_out}",
        hint="frame 12 of a video is clip.mp4#12; --every 1 looks at every frame",
    )


def no_hands_at_all(videos: list[Video], outcomes: list[dict]) -> HandtoolError:
    looked, bad = (
        sum(outcome["sampled"] for outcome in outcomes),
        [outcome for outcome in outcomes if outcome["status"] != "ok"],
    )
    if not looked:
        at_fault = any(re.search(NOT_THEIR_CONTENT, outcome["status"]) for outcome in outcomes)
        return (HandtoolError if at_fault else DamagedFile)(
            f"none of {len(videos)} videos could be read; the first: {videos[0].name}: {outcomes[0]['status']}"
        )
    if left_out := sum((Counter(outcome["left_out"]) for outcome in outcomes), Counter()):
        return HandtoolError(f"none of {left_out.total()} hands is kept ({', '.join(left_out)})", hint="ask for less")
    if (unseen := count_unseen(outcomes)) and 2 * unseen.total() > looked:
        told = f"no hands: of {looked} frames {unseen.total()} could not be looked at"
        return HandtoolError(f"{told} ({unseen.most_common(1)[0][0]})", hint="handtool doctor, or another --detector")
    unread = f", {len(bad)} videos not read whole" if bad else ""
    return HandtoolError(
        f"no hands in {len(videos)} videos ({looked} frames looked at{unread})",
        hint="where each image is a hand already: --whole; where boxes are known: --boxes FILE; else look at more "
        "frames (--fps 5), or with another detector (--detector hands.onnx)",
    )


def scale_of_crops(outcomes: list[dict], config: ExtractConfig, asked_scale: float | None) -> float:
    """The box scale of the crops. If no box was enlarged (each image is one hand): --box-scale if given, else as the
    labels say: the median of crop side / larger side of the box of the labelled keypoints; 1 where they say nothing."""
    if not any(outcome["enlarged"] for outcome in outcomes):
        measured = np.concatenate([np.zeros(0), *(outcome.get("label_scales", ()) for outcome in outcomes)])
        return asked_scale or (round(float(np.median(measured)), 2) if len(measured) else 1.0)
    assert config.box_scale is not None
    return config.box_scale


def write_hands(sink: Sink, videos: dict[int, list[dict]], job: Job, attrs: dict) -> None:
    """Joins the parts in the order of the videos, chunk by chunk, block by block. videos: the outcomes of the chunks
    of each, by the number that its parts have."""
    row_of = {number: row for row, number in enumerate(videos)}
    chunks = [(video, chunk, outcome) for video, outcomes in videos.items() for chunk, outcome in enumerate(outcomes)]
    known, total = [], sum(outcome["jpeg_bytes"] for _, _, outcome in chunks)
    used = {  # whether any hand has something in an optional column; a part of version 0.2.0 does not say
        name: any(outcome.get(count) for _, _, outcome in chunks)
        for name, count in (("landmarks_joints", "with_joints"), ("camera_assumed", "with_assumed_camera"))
    } | {"thumbnails": True}
    with open_table(sink, CROPS, attrs=attrs, jpeg_bytes=total) as crops:
        for video, chunk, outcome in chunks:
            start = 0
            for block in range(outcome["blocks"]):
                columns, labels = open_block(job.load(part_name(video, chunk, block)))
                end = start + len(columns["jpeg"])
                # known only at the end of the video
                whole = {"side": outcome["side"][start:end], "track": outcome["tracks"][start:end]}
                rows = {"video": np.full(end - start, row_of[video]), "source_row": np.full(end - start, -1)}
                for name, is_used in used.items():
                    values = columns.pop(name, unknown_values(CROPS.by_name[name], end - start))
                    rows |= {name: values} if is_used else {}
                crops.append(columns | whole | rows)
                known.append((end - start, labels))
                start = end
    if names := {name for _, labels in known for name in labels}:
        with open_table(sink, LABELS) as table:
            for count, labels in known:
                table.append(nothing_known(LABELS, count, names) | labels)
