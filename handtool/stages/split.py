"""Hands in parts: training, validation and test, with whole videos or whole people on one side."""

import logging

import numpy as np

from handtool.accounting import Accounting
from handtool.config import SplitConfig
from handtool.errors import HandtoolError, WrongCommand
from handtool.progress import Progress, silent
from handtool.store import (
    CROPS,
    EMBEDDINGS,
    KEYPOINTS,
    LABELS,
    PREDICTIONS,
    VIDEOS,
    File,
    Sink,
    read_attrs,
    read_column,
)
from handtool.store.rows import Chosen, copy_crops, copy_rows, copy_videos

log = logging.getLogger(__name__)
DRAWS = 64
CARRIED = (KEYPOINTS, EMBEDDINGS, LABELS, PREDICTIONS)


def split(source: File, sink: Sink, config: SplitConfig, progress: Progress = silent) -> dict:
    """Writes part number `config.part` of the source: its hands with all their columns, and the videos that they are from.

    All parts of one source and seed are disjoint and together everything; no unit (video, subject or row) is in two of them. Videos
    without hands go with the first part. Pairs are left out: they would point into other parts. Raises HandtoolError where there are
    fewer units than parts.
    """
    source.need(CROPS, hint="handtool extract VIDEOS -o crops.h5")
    video = read_column(source, CROPS.video).astype(np.int64)
    part_of_row, num_units = assign(source, video, config)
    rows = np.flatnonzero(part_of_row == config.part)
    videos = np.unique(video[rows])
    if config.part == 0:
        videos = np.union1d(videos, np.setdiff1d(np.arange(source.count(VIDEOS)), video))
    chosen = Chosen([source], np.zeros(len(rows), np.int64), rows)
    copy_videos(sink, [source], np.zeros(len(videos), np.int64), videos)
    attrs = {name: value for name, value in read_attrs(source, CROPS).items() if name != "jpeg_files"}
    copy_crops(sink, chosen, np.searchsorted(videos, video[rows]), rows, attrs, progress=progress)
    for table in CARRIED:
        if source.has(table):
            copy_rows(sink, chosen, table, read_attrs(source, table), progress)
    accounting = Accounting("hands", done=len(rows))
    accounting.skip("in another part", len(video) - len(rows))
    report = {
        "accounting": [accounting.as_report()],
        "part": config.part + 1,
        "of": len(config.shares),
        "by": config.by,
        "videos": len(videos),
    }
    report |= {"units": int(num_units[config.part]), "share": round(len(rows) / len(video), 4)}
    left_out = [name for name in ("pairs", "metrics", "weights") if source.has(name)]
    return report | ({"left_out": left_out} if left_out else {})


def assign(source: File, video: np.ndarray, config: SplitConfig) -> tuple[np.ndarray, np.ndarray]:
    """The part of each row (N,), and the number of units in each part."""
    unit = find_units(source, video, config.by)
    hands = np.bincount(unit) if len(unit) else np.zeros(0, np.int64)
    if len(hands) < len(config.shares):
        what = {"video": "videos with hands", "subject": "subjects", "row": "hands"}[config.by]
        hint = (
            f"handtool split {source.path} --by row"
            if config.by != "row" and len(video) >= len(config.shares)
            else None
        )
        raise HandtoolError(f"{source.path} has {len(hands)} {what}, {len(config.shares)} parts were asked", hint=hint)
    part_of_unit = (
        cut(hands, config.shares) if config.in_order else draw(hands, config.shares, np.random.default_rng(config.seed))
    )
    return part_of_unit[unit], np.bincount(part_of_unit, minlength=len(config.shares))


def find_units(source: File, video: np.ndarray, by: str) -> np.ndarray:
    """What must stay together: a number from 0 for each row, in order of first appearance. (N,) int64."""
    if by == "video":
        key = video
    elif by == "row":
        key = np.arange(len(video))
    elif by == "subject":
        key = subject_of_video(source, video)[video]
    else:
        raise WrongCommand(f"--by {by}: there are video, subject and row")
    _, first, unit = np.unique(key, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[unit.reshape(-1)]


def subject_of_video(source: File, video: np.ndarray) -> np.ndarray:
    """Names (V,); a video whose subject is not known stands for itself."""
    names = read_column(source, VIDEOS.subject)
    unknown = np.array([name == "" for name in names], bool)
    if len(video) and unknown[video].all():
        raise HandtoolError(
            f"{source.path} does not know whose hands it holds (videos/subject is empty)",
            hint=f"handtool split {source.path} --by video",
        )
    if unknown[video].any():
        log.warning(
            "%d videos have no subject; each counts as a person of its own", len(np.unique(video[unknown[video]]))
        )
    return np.array([f"subject {name}" if name else f"video {i}" for i, name in enumerate(names)], dtype=object).astype(
        str
    )


def draw(hands: np.ndarray, shares: tuple[float, ...], rng: np.random.Generator) -> np.ndarray:
    """Parts of shuffled units (U,): of `DRAWS` shuffles the one that comes nearest to the shares (few videos differ much in size)."""
    best, least = None, np.inf
    for _ in range(DRAWS):
        order = rng.permutation(len(hands))
        part = np.empty(len(hands), np.int64)
        part[order] = cut(hands[order], shares)
        got = np.bincount(part, weights=hands, minlength=len(shares)) / hands.sum()
        off = np.abs(got - np.array(shares) / np.sum(shares)).max()
        if off < least:
            best, least = part, off
        if least < 0.005:
            break
    return best


def cut(hands: np.ndarray, shares: tuple[float, ...]) -> np.ndarray:
    """Parts of consecutive units whose numbers of hands come nearest to the shares, none empty. hands (U,) -> (U,) part numbers."""
    before = np.concatenate([[0], np.cumsum(hands)])
    wanted = np.cumsum(shares)[:-1] / np.sum(shares) * before[-1]
    edges = [0]
    for number, target in enumerate(wanted):
        nearest = int(np.abs(before - target).argmin())
        edges.append(min(max(nearest, edges[-1] + 1), len(hands) - (len(wanted) - number)))
    return np.searchsorted(edges, np.arange(len(hands)), side="right") - 1
