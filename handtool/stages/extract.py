"""extract: from footage to hand crops: find videos, read the sampled frames, find the hands, cut them out. One job
part per finished video."""

import contextlib
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np

from handtool.config import ExtractConfig
from handtool.errors import HandtoolError
from handtool.extraction.cameras import count_files, give_cameras
from handtool.extraction.failed_videos import describe_failed, drop_failed_parts, find_failed
from handtool.extraction.hands_file import HandsFile, are_labels, check_hands, count_joined, landmarks_source
from handtool.extraction.joining import count_cameras, scale_of_crops, write_hands
from handtool.extraction.label_checks import check_labels, judge_labels
from handtool.extraction.reading import part_name, read_videos
from handtool.extraction.refusals import (
    check_config,
    check_sampling,
    count_boxes,
    no_hands_at_all,
    no_hands_in_boxes,
    warn_about_empty_frames,
)
from handtool.extraction.truth_file import check_truth
from handtool.progress import Progress, silent
from handtool.sources.datasets import box_scale_of, check_found
from handtool.sources.find import find_videos
from handtool.sources.folder_chunks import join_outcomes, split_into_chunks
from handtool.sources.frame import Choice, Video
from handtool.sources.hardware import choose_decoding
from handtool.sources.remote import check_protocols
from handtool.sources.retried import merge_reports
from handtool.sources.shards import divide_into_shards
from handtool.sources.video_report import make_report, video_columns
from handtool.store import CROPS, VIDEOS, File, Job, Sink, create_file, name_api, open_file, read_attrs, write_table
from handtool.store.rows import replace_videos
from handtool.vision.camera_model import WORDS, is_assumed
from handtool.vision.detectors import describe_detector
from handtool.vision.hand_finder import FinderSettings

log = logging.getLogger(__name__)


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
    hands: Path | None = None,
    kept: File | None = None,
) -> dict:
    """Writes /videos, /crops and, if a source has labels or a truth.h5 lies beside the videos, /labels.

    listed: further sources, some of which may be missing; texts are addresses. boxes: a file of known hand boxes; lens:
    a json file of the camera, in place of the numbers in config.camera; model: the detector's file, ONNX or a MediaPipe
    task; hands: a file of hands that another model found, config.hands_as: what they are. With config.shard ("2/8")
    only the videos of that shard. kept: the output of an earlier run, of which only the videos that failed are read
    again. Raises HandtoolError if there are no videos, if something needed is missing, or if no hand at all is found
    (but a shard may have none).
    """
    check_config(config, boxes, model)
    given = boxes is not None or hands is not None or config.whole
    choice = Choice(config.dataset, config.split, config.subset, config.cameras, boxes=given)
    found = find_videos(sources, config.limit, listed or (), choice)
    camera = str(lens) if lens else config.camera
    check_found(found.videos, choice, camera=camera is not None and camera not in WORDS)
    check_sampling(found.videos, config)
    config = replace(config, decode=choose_decoding(config.decode))
    check_protocols([video.address for video in found.videos if video.address])
    found.videos = [replace(video, stream=config.stream) for video in found.videos]
    found.videos = give_cameras(found.videos, [*sources, *(listed or ())], camera, config.whole)
    asked_scale = config.box_scale
    config = config if asked_scale else replace(config, box_scale=box_scale_of(found.videos))
    named = [str(each) if each else None for each in (boxes, model, hands)]
    settings = FinderSettings(config, named[0], camera, *named[1:])
    check_hands(hands, boxes, model, config)
    needs_detector = not all(video.is_labelled for video in found.videos)
    in_file = settings.check(needs_detector and hands is None)
    in_file = HandsFile(str(hands)) if hands else in_file
    for note in in_file.notes if in_file else ():
        log.warning("%s: %s", boxes or hands, note)
    if in_file and in_file.unused_keypoints:
        log.warning(
            "%s: of %d hands it has keypoints, but not all 21: only their boxes are read",
            boxes,
            in_file.unused_keypoints,
        )
    check_truth(found.videos, settings)
    labels = str(hands) if are_labels(settings) else ""
    check_labels(found.videos, config, labels)
    api = describe_detector(config, settings.boxes or settings.hands, settings.model) if needs_detector else {}
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
        judge_labels(videos, outcomes, labels)
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
    attrs = {"size": config.size, "box_scale": box_scale} | api | landmarks_source(config, hands, found.videos)
    attrs |= {"landmarks_source": "boxes"} if boxes is not None and in_file is not None and in_file.landmarks else {}
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
    files = count_files(videos, outcomes)
    report |= {"videos_by_camera": files} if files else {}
    report |= {"camera_source": count_cameras(outcomes)} if is_assumed(settings.camera) or files else {}
    if settings.looks:
        warn_about_empty_frames(videos, outcomes, config)
    if isinstance(in_file, HandsFile):
        report["hands_in_the_file"] = count_joined(in_file, outcomes)
        report |= {"hands_left_out": dict(in_file.left_out)} if in_file.left_out else {}
    elif in_file is not None:
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


def choose_shard(videos: list[Video], shard: str | None) -> list[int]:
    """The numbers of the videos of this shard, in order. shard: "2/8", counted from 1; None: all videos."""
    if shard is None:
        return list(range(len(videos)))
    number, of = (int(part) for part in shard.split("/"))
    return divide_into_shards(videos, of)[number - 1]
