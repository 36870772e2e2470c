"""split: parts for training, validation and test; a video, person or hand is never in two parts (hands/groups.py)."""

import logging

import numpy as np

from handtool.accounting import Accounting
from handtool.config import SplitConfig
from handtool.errors import HandtoolError
from handtool.hands.groups import Groups, Origin, find_groups, find_units
from handtool.hands.shares import cut_in_order, draw_parts
from handtool.progress import Progress, silent
from handtool.store import File, Sink, read_attrs, read_column, read_origin
from handtool.store.rows import Chosen, copy_crops, copy_rows, copy_videos
from handtool.store.schema import CROPS, EMBEDDINGS, KEYPOINTS, LABELS, PREDICTIONS, VIDEOS

log = logging.getLogger(__name__)
NAMED = 20  # recordings with copies that a report names
CARRIED = (KEYPOINTS, EMBEDDINGS, LABELS, PREDICTIONS)


def split(source: File, sink: Sink, config: SplitConfig, progress: Progress = silent) -> dict:
    """Writes part number `config.part` of the source: its hands with all their columns, and their videos.

    The parts of one source and seed are disjoint and together complete; no unit (video, subject or hand) is in two of
    them. Videos without hands are in the first part. Pairs are left out: their rows would be in other parts. Raises
    HandtoolError if there are fewer units than parts.
    """
    source.need(CROPS, hint="handtool extract VIDEOS -o crops.h5")
    video = read_column(source, CROPS.video).astype(np.int64)
    groups = find_groups([Origin(**read_origin(source))])
    part_of_row, num_units = assign(source, groups, config)
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
    report = {"accounting": [accounting.as_report()], "part": config.part + 1, "of": len(config.shares)}
    report |= {"by": config.by, "videos": len(videos), "units": int(num_units[config.part])}
    report["share"] = round(len(rows) / len(video), 4)
    if groups.copies:
        report |= {"videos_in_copies": sum(map(len, groups.copies)), "copies": groups.copies[:NAMED]}
    left_out = [name for name in ("pairs", "metrics", "weights") if source.has(name)]
    return report | ({"left_out": left_out} if left_out else {})


def assign(source: File, groups: Groups, config: SplitConfig) -> tuple[np.ndarray, np.ndarray]:
    """The part of each row (N,), and the number of units in each part."""
    unit = find_units(groups, config.by, source.path, "--by")
    if config.by == "subject" and not groups.person_known.all():
        unknown = len(np.unique(groups.film[~groups.person_known]))
        log.warning("%d videos have no subject; each counts as a person of its own", unknown)
    hands = np.bincount(unit)
    if len(hands) < len(config.shares):
        raise too_few_units(source, groups, len(hands), config)
    rng = np.random.default_rng(config.seed)
    part = cut_in_order(hands, config.shares) if config.in_order else draw_parts(hands, config.shares, rng)
    return part[unit], np.bincount(part, minlength=len(config.shares))


def too_few_units(source: File, groups: Groups, found: int, config: SplitConfig) -> HandtoolError:
    """The error; its hint is a finer division only if that keeps the hands of one video together."""
    units = {"video": "videos with hands", "subject": "subjects that share no video", "row": "different hands"}
    hint = "handtool cat ONE.h5 OTHER.h5 -o all.h5, with hands of more videos"
    if config.by == "subject" and len(np.unique(groups.group)) >= len(config.shares):
        hint = f"handtool split {source.path} --by video"
    told = f"{source.path} has {found} {units[config.by]}, {len(config.shares)} parts were asked"
    return HandtoolError(told, hint=hint)
