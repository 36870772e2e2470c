"""Which camera filmed each video: the one that the user names, or the intrinsics.json that lies beside it, or in a
folder above, up to the source that was named. Of a video in a tar: first in the tar, then beside it."""

import logging
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path, PurePosixPath

from handtool.bounded import LONGEST_SETTING
from handtool.errors import HandtoolError
from handtool.hands.lens import Lens
from handtool.names import INTRINSICS
from handtool.sources.frame import Video
from handtool.sources.tar_index import read_index, read_small
from handtool.vision.camera_model import AUTO, parse_camera_model, read_camera_model

log = logging.getLogger(__name__)
UNREADABLE, NONE_FOUND = "with one that cannot be read", "without"
MOST_ABOVE = 64  # folders


def give_cameras(videos: list[Video], sources: Sequence[Path | str], camera: str | None, whole: bool) -> list[Video]:
    """The videos, each with the lens of its camera where one is known. camera: as --camera gives it, or its file; None:
    auto. sources: as they were named; whole: the images are crops of hands, of which no file beside them tells.
    Labelled sets know their own. Raises HandtoolError."""
    if camera in (None, AUTO):
        return videos if whole else [find_lens(video, sources) for video in videos]
    lens = read_camera_model(camera)
    return [replace(video, lens=None if video.kind == "labelled" else lens) for video in videos]


def find_lens(video: Video, sources: Sequence[Path | str]) -> Video:
    """The video with what the nearest intrinsics.json says; one that cannot be read is said once, and none."""
    if video.kind == "labelled" or video.address:
        return video
    if video.tar and (inside := find_in_tar(video)):
        return replace(video, lens=read_lens(inside), lens_file=inside)
    for folder in folders_above(video, sources):
        if (place := folder / INTRINSICS).is_file():
            return replace(video, lens=read_lens(str(place)), lens_file=str(place))
    return video


def find_in_tar(video: Video) -> str:
    """The nearest intrinsics.json of the tar, "" where it has none."""
    member = PurePosixPath((video.files[0] if video.files else video.path)[len(video.tar) + 1 :])
    names = ((folder / INTRINSICS).as_posix() for folder in member.parents)
    spans = read_index(video.tar).spans
    return next((f"{video.tar}/{name}" for name in names if name in spans), "")


@lru_cache(maxsize=4096)
def read_lens(path: str) -> Lens | None:
    try:
        return parse_camera_model(read_small(Path(path), LONGEST_SETTING) or b"", path)
    except HandtoolError as error:
        log.warning("%s; its videos have no camera", error.message)
        return None


def folders_above(video: Video, sources: Sequence[Path | str]) -> Iterator[Path]:
    """The folder of the video, then those above up to the source that was named; of a file that was named, its own."""
    here = Path(video.tar or video.path)
    folder = here if video.kind == "images" and here.is_dir() else here.parent
    named = {os.path.abspath(source) for source in sources if isinstance(source, Path)}
    for _ in range(MOST_ABOVE):
        yield folder
        reached = os.path.abspath(folder)
        if reached in named or not any(reached.startswith(os.path.join(source, "")) for source in named):
            return
        folder = folder.parent


def count_files(videos: list[Video], outcomes: list[dict]) -> dict[str, int]:
    """Videos by what became of their intrinsics.json; {} where none has one."""
    counts = Counter[str]()
    for video, outcome in zip(videos, outcomes, strict=True):
        if video.kind != "labelled":
            unread = UNREADABLE if video.lens is None else outcome.get("camera") or "with one that no frame needed"
            counts[unread if video.lens_file else NONE_FOUND] += 1
    return dict(counts) if set(counts) - {NONE_FOUND} else {}
