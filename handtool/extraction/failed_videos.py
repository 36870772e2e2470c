"""The videos of an earlier run of which nothing could be read."""

import numpy as np

from handtool.errors import HandtoolError
from handtool.extraction.reading import part_name
from handtool.sources.find import readable
from handtool.sources.folder_chunks import split_into_chunks
from handtool.sources.frame import Video
from handtool.sources.retried import FailedVideo
from handtool.store import CROPS, VIDEOS, File, Job, differ, name_api, read_attrs, read_column


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
