"""Footage that was read once, found again and read again: by the path noted then, and frame numbers."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import takewhile
from math import gcd
from pathlib import Path

import numpy as np

from handtool.config import ExtractConfig
from handtool.errors import HandtoolError
from handtool.sources.find import find_videos, readable
from handtool.sources.frame import Choice, Frame, Sampling, Tally, Video
from handtool.sources.read import read_frames
from handtool.sources.tar_member import split_path


def find_again(
    name: str, noted: str, folders: list[Path], roots: list[Path], stream: int | None = None
) -> Video | None:
    """A video by its `name` and the path `noted` when it was read; None if it is not there any more.

    folders: a relative path is looked for below each. roots: what was read then, absolute; `noted` goes on from one of
    them. The tail of the path counts too, so that `videos/day1/clip.mp4` is found in a folder that holds
    `day1/clip.mp4` or `clip.mp4`. stream: the one that was read then, None: not noted.
    """
    if not noted:
        return None
    path = Path(noted)
    tails = [Path(*path.parts[start:]) for start in range(len(path.parts))]
    for place in [path, *continued(path, roots), *(folder / tail for folder in folders for tail in tails)]:
        if (place.exists() or split_path(str(place))) and (video := pick_video(place, name)):
            return replace(video, stream=stream)
    return None


def continued(path: Path, roots: list[Path]) -> Iterator[Path]:
    """`videos/day1/clip.mp4`, read from the root `/data/videos`, lies at `/data/videos/day1/clip.mp4`."""
    for root in roots:
        for end in range(len(path.parts), 0, -1):
            if root.parts[-end:] == path.parts[:end]:
                yield root.joinpath(*path.parts[end:])


def pick_video(place: Path, name: str) -> Video | None:
    """What lies there as one video: the file, in a tar or not, the images directly inside the folder, or the labelled
    video named like it."""
    # a data set of several splits asks for one
    for choice in (Choice(), Choice(boxes=True), *(Choice(split=part) for part in Path(name).parts)):
        inside = split_path(str(place))
        videos = videos_at(Path(inside[0]) if inside else place, choice)
        same = [video for video in videos if video.path == readable(place) and video.kind != "labelled"]
        same = [video for video in same if not video.episode or shared_end(video.name, name) >= 2]
        named = [
            video
            for video in videos
            if video.kind == "labelled"
            and (shared_end(video.name, name) or (len(videos) == 1 and video.dataset != "coco"))
        ]
        if same or named:
            return same[0] if same else max(named, key=lambda video: shared_end(video.name, name))
    return None


def shared_end(name: str, other: str) -> int:
    """How many parts two names have in common, from the last one on."""
    pairs = zip(reversed(Path(name).parts), reversed(Path(other).parts))
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


@lru_cache(maxsize=8)
def videos_at(place: Path, choice: Choice) -> list[Video]:
    """Cached: a data set is searched once, not for each of its thousand videos."""
    try:
        return find_videos([place], choice=choice).videos
    except HandtoolError:
        return []


@dataclass(frozen=True)
class Lost:
    """Frames that should have come at `time` s (NaN: images) and could not be decoded."""

    time: float
    reason: str


def sampling_of(chain: list[dict]) -> Sampling | None:
    """How the frames of the footage were chosen, by the provenance of the file with the crops (oldest step first); None
    if that does not say, or if the file has only some of the hands that were found on them."""
    steps = {entry["uuid"]: entry for entry in chain}

    def choices(entry: dict) -> set[tuple]:
        if entry["config"].get("keyframes"):  # at no regular times
            return {()}
        if {"fps", "every"} <= set(entry["config"]):
            return {(entry["config"]["fps"] or ExtractConfig.fps, entry["config"]["every"])}
        if entry["program"].split()[-1] in ("split", "synth"):
            return {()}
        before = [steps[uuid] for uuid in entry["parents"].split() if uuid in steps]
        crops = [step for step in before if step["program"].split()[-1] not in ("pretrain", "finetune")]
        return set().union(*map(choices, crops))

    chosen = choices(chain[-1]) if chain else set()
    return Sampling(*chosen.pop()) if len(chosen) == 1 and () not in chosen else None


def tick_of(sampling: Sampling, fps: float, frame: np.ndarray, time: np.ndarray) -> np.ndarray:
    """frame: (n,) numbers, time: (n,) s, of kept frames of a video with so many frames a second. Returns (n,) int:
    the ticks that they met (`Ticks`); where every tick has a frame, kept frames one after another differ by 1."""
    if sampling.every is not None:
        return frame // sampling.every
    return np.floor(time * sampling.fps + 1e-6).astype(int) if sampling.fps < fps else frame


def interval_of(sampling: Sampling, fps: float) -> float:
    """s between two frames that are kept of a video with so many frames a second (NaN: unknown)."""
    shortest = 1 / fps if fps > 0 else 0.0
    return sampling.every * shortest if sampling.every is not None else max(1 / sampling.fps, shortest)


def read_looked_at(video: Video, sampling: Sampling, images: int) -> Iterator[Frame | Lost]:
    """The frames of a video that `sampling` keeps, or its first `images` images, and between them the losses that made
    one of them missing."""
    tally = Tally()
    counted, last, interval = tally.failed.copy(), float("nan"), float("nan")

    def lost(problem: str = "") -> Lost:
        reasons = [f"{count} {reason}" for reason, count in (tally.failed - counted).items()]
        return Lost(last + interval, "; ".join([*reasons, problem] if problem else reasons))

    for frame in read_frames(video, sampling, tally):
        if video.kind == "images" and frame.number >= images * (sampling.every or 1):
            return
        interval = interval_of(sampling, tally.fps)
        if tally.failed != counted and not frame.time - last <= 1.5 * interval:
            yield lost()
        counted, last = tally.failed.copy(), frame.time
        yield frame
    if tally.problem or tally.failed != counted:
        yield lost(tally.problem)


def read_again(video: Video, numbers: Iterable[int]) -> Iterator[Frame]:
    """The frames of those numbers, each once, in the order of the footage; unreadable ones are left out."""
    wanted = set(map(int, numbers))
    last, step = max(wanted), gcd(*wanted) or 1
    for frame in read_frames(video, Sampling(every=step), Tally()):
        if frame.number in wanted:
            wanted.remove(frame.number)
            yield frame
        if not wanted or (video.kind == "video" and frame.number >= last):
            return
