"""Which camera filmed each video: the one that the user names, or the intrinsics.json that lies beside it, in its tar,
or in a folder above, up to the source that was named."""

import logging
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from handtool.bounded import LONGEST_SETTING
from handtool.errors import HandtoolError
from handtool.hands.lens import Lens
from handtool.names import INTRINSICS
from handtool.sources.frame import Video
from handtool.sources.tar_index import read_small
from handtool.vision.camera_model import AUTO, parse_camera_model, read_camera_model

log = logging.getLogger(__name__)
UNREADABLE, NONE_FOUND = "with one that cannot be read", "without"
MOST_ABOVE = 64  # folders


def give_cameras(videos: list[Video], sources: Sequence[Path | str], camera: str | None, whole: bool) -> list[Video]:
    """The videos, each with the lens of its camera where one is known. camera: as --camera gives it, or its file; None:
    auto. sources: as they were named; whole: the images are crops of hands, of which no file beside them tells.
    Labelled sets know their own. Raises HandtoolError."""
    if camera in (None, AUTO):
        named = {
            os.path.abspath(source if source.is_dir() else source.parent)
            for source in sources
            if isinstance(source, Path)
        }
        return videos if whole else [find_lens(video, named) for video in videos]
    lens = read_camera_model(camera)
    return [replace(video, lens=None if video.kind == "labelled" else lens) for video in videos]


def find_lens(video: Video, named: set[str]) -> Video:
    """The video with what the nearest intrinsics.json says. named: the folders that were named, or those of files."""
    if video.kind == "labelled" or video.address:
        return video
    for folder in folders_above(video, named):
        place = str(folder / INTRINSICS)
        there, lens = read_lens(place)
        if there:
            return replace(video, lens=lens, lens_file=place)
    return video


@lru_cache(maxsize=4096)
def read_lens(path: str) -> tuple[bool, Lens | None]:
    """Whether there is such a file, perhaps in a tar, and the lens in it; one that cannot be read is said, once."""
    try:
        content = read_small(Path(path), LONGEST_SETTING)
        return content is not None, None if content is None else parse_camera_model(content, path)
    except HandtoolError as error:
        log.warning("%s; its videos have no camera", error.message)
    except (OSError, ValueError):
        log.warning("%s cannot be read whole, or is too large; its videos have no camera", path)
    return True, None


def folders_above(video: Video, named: set[str]) -> list[Path]:
    """The folder of the video, or the tar that it is in, then those above up to the one that was named."""
    here = Path(video.path)
    folders: list[Path] = []
    folder = here if video.episode or (video.kind == "images" and video.path not in video.files) else here.parent
    while len(folders) < MOST_ABOVE and folder not in folders:
        folders.append(folder)
        if os.path.abspath(folder) in named:
            return folders
        folder = folder.parent
    return folders[:1]


def count_files(videos: list[Video], outcomes: list[dict]) -> dict[str, int]:
    """Videos by what became of their intrinsics.json; {} where none has one."""
    counts = Counter[str]()
    for video, outcome in zip(videos, outcomes, strict=True):
        if video.kind != "labelled":
            unread = UNREADABLE if video.lens is None else outcome.get("camera") or "with one that no frame needed"
            counts[unread if video.lens_file else NONE_FOUND] += 1
    return dict(counts) if set(counts) - {NONE_FOUND} else {}
