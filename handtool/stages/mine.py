"""mine: for every hand the most similar hands in other videos: the positives of contrastive pre-training."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from handtool.accounting import Accounting
from handtool.config import MineConfig
from handtool.errors import HandtoolError, WrongCommand
from handtool.hands.groups import Groups, Origin, find_groups, join_keys, number_from_0
from handtool.hands.skeleton import LEFT, UNKNOWN
from handtool.progress import Progress, silent
from handtool.search.degree import limit_in_degree
from handtool.search.exclusion import Exclusion
from handtool.search.neighbors import Neighbors, Search, find_neighbors
from handtool.search.quality import describe_neighbors, recall_on_sample
from handtool.store import (
    File,
    Sink,
    differ,
    name_api,
    open_table,
    read_attrs,
    read_column,
    read_origin,
    scratch_array,
    video_names,
)
from handtool.store.schema import CROPS, EMBEDDINGS, PAIRS

NAMED = 20  # recordings with copies that a report names
log = logging.getLogger(__name__)
BLOCK_ROWS = 65_536
SCRATCH_BYTES = 1 << 28  # larger results are kept on the disk until they are written
# attributes that must agree for two embeddings to be comparable
SPACE = ("kind", "source", "normalization", "mean", "basis", "encoder_uuid")
RULES = {name: name for name in "metric exclude min_gap_s min_distance max_distance same_side max_in_degree".split()}
RULES["min_gap_s"] = "min_gap"
KEPT_FIGURES = (
    *"recall distance_quantiles_at distance_quantiles in_degree_max short_anchors rejected_share repeatable".split(),
    *RULES,
)


@dataclass(frozen=True)
class MiningInput:
    """The hands to be paired: anchors first, then, if it is another file, those of the pool. n rows in all."""

    vectors: np.ndarray  # (n, d), NaN where not embedded
    exclusion: Exclusion
    kind: np.ndarray | None  # (n,) side, if only hands of one side may pair
    num_anchors: int
    has_pool: bool
    copies: list[list[str]]  # names of the videos that are copies of each other
    copies_by: str  # what these were recognised by

    @property
    def anchors(self) -> np.ndarray:
        return np.arange(self.num_anchors)

    @property
    def pool(self) -> np.ndarray | None:
        """The rows of the other file; None: the anchors are the pool."""
        return np.arange(self.num_anchors, len(self.vectors)) if self.has_pool else None

    def is_embedded(self, rows: np.ndarray) -> np.ndarray:
        """(m,) bool: which of the rows have an embedding."""
        return np.isfinite(self.vectors[rows]).all(axis=1)


def mine(
    source: File, sink: Sink, config: MineConfig, progress: Progress = silent, *, pool: File | None = None
) -> dict:
    """Writes /pairs: for every embedded hand its `topk` nearest hands of other videos, nearest first, or all there are.

    A "video" is a group of hands/groups.py: all people of a film, or one hand of FreiHAND. With `pool` the positives
    are hands of that file, which becomes /pool. Raises HandtoolError if no hand is embedded, all are of one video, no
    pair is left, or the two files are embedded in different spaces.
    """
    hands = read_mining_input(source, pool, config)
    new = partial(scratch_array, sink.folder) if hands.num_anchors * config.topk * 8 > SCRATCH_BYTES else np.empty
    found = search(hands, config, new, progress)
    figures = measure_search(hands, found, config)
    positive, distance = found.positive[:, : config.topk], found.distance[:, : config.topk]
    if config.max_in_degree is not None:
        ask = partial(find_more, hands, config)
        positive, distance = limit_in_degree(
            found.positive, found.distance, config.topk, config.max_in_degree, ask, len(hands.vectors), progress
        )
    alone = found.positive[:, 0] < 0
    attrs = {"topk": config.topk, "index": config.index, "pool_uuid": (pool or source).owner("embeddings").uuid}
    with open_table(sink, PAIRS, attrs) as table:
        counts, num_equal = write_pairs(table, hands, positive, distance, config)
        if not counts.any():
            raise HandtoolError(
                f"no hand of {source.path} has a positive under these rules",
                hint="loosen --min-distance, --max-distance, --same-side or --exclude",
            )
        figures |= describe_pairs(hands, positive, distance, counts, config) | {"pairs_at_distance_0": num_equal}
        table.attrs |= {name: figures[name] for name in KEPT_FIGURES if figures[name] is not None}
    sink.inherit(source)
    if pool:
        sink.inherit_pool(pool)
    report = {"accounting": count_hands(hands, counts, alone, positive), "pairs": int(counts.sum())}
    return report | {"topk": config.topk, "index": config.index} | figures | describe_copies(hands)


def read_mining_input(source: File, pool: File | None, config: MineConfig) -> MiningInput:
    """The vectors of the hands, and the rules about who may pair."""
    if config.min_gap > 0 and config.exclude == "video":
        raise WrongCommand(
            "--min-gap says how far apart two hands of one video must be, and --exclude video lets none pair",
            hint="add --exclude track",
        )
    if config.max_distance is not None and config.min_distance > config.max_distance:
        raise WrongCommand(
            f"no distance is {config.min_distance:g} at least and {config.max_distance:g} at most",
            hint="a smaller --min-distance",
        )
    files = [source, pool] if pool else [source]
    for file in files:
        file.need(EMBEDDINGS, hint="handtool embed {path} -o embeddings.h5")
        file.need(CROPS, hint="handtool extract VIDEOS -o crops.h5")
    if pool:
        check_same_space(source, pool)
    vectors = join([read_vectors(file, config.metric) for file in files])
    num_anchors = source.count(CROPS)
    groups = find_groups([Origin(**read_origin(file)) for file in files])
    exclusion = make_exclusion(files, groups, config)
    check_several_groups(source, pool, exclusion.group, groups, np.isfinite(vectors).all(axis=1), config)
    kind = None
    if config.same_side:
        side = join([read_column(file, CROPS.side) for file in files])
        kind = (side == LEFT).astype(np.int8)
        if (side == UNKNOWN).any():
            log.info("%d hands of unknown side count as right hands", (side == UNKNOWN).sum())
    lacking = [file for file in files if not file.has(CROPS.thumbnails)]
    extracted = any(step["program"] == "handtool extract" for file in lacking for step in file.provenance)
    by = "equal bytes; extract anew for others" if extracted else "equal bytes" if lacking else "their pictures"
    return MiningInput(vectors, exclusion, kind, num_anchors, pool is not None, groups.copies, by)


def read_vectors(file: File, metric: str) -> np.ndarray:
    """(n, d), NaN where not embedded. For cosine: float64 of length 1, whose squared distance is 2 (1 - cos); a zero
    vector becomes NaN."""
    vectors, valid = read_column(file, EMBEDDINGS.vector), read_column(file, EMBEDDINGS.valid)
    vectors[~valid] = np.nan
    if metric == "cosine":
        vectors = vectors.astype(np.float64)
        length = np.linalg.norm(vectors, axis=1, keepdims=True)
        vectors = np.divide(vectors, length, out=np.full_like(vectors, np.nan), where=length > 0)
    return vectors


def join(parts: list[np.ndarray]) -> np.ndarray:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def make_exclusion(files: list[File], groups: Groups, config: MineConfig) -> Exclusion:
    """Which hands never pair: those of one video (default), those of one track (a hand without a track is a track of
    its own), or only a hand with itself. Those of a recording with copies never pair, since it is not known which of
    them are the same hand."""
    least = to_euclidean(config.min_distance, config)
    if config.exclude == "video":
        return Exclusion(groups.group, least=least)
    group = groups.hand
    if config.exclude == "track":
        track = join([read_column(file, CROPS.track) for file in files]).astype(np.int64)
        number = groups.film * (track.max(initial=0) + 1) + track
        group = number_from_0(join_keys(np.where(track >= 0, number, number.max(initial=0) + 1 + group), group))
    if groups.copies:
        group = number_from_0(join_keys(np.where(groups.copied, groups.film, groups.film.max() + 1 + group), group))
    if config.min_gap <= 0:
        return Exclusion(group, least=least)
    time = join([read_column(file, CROPS.time) for file in files])
    if np.isnan(time).any():
        log.info("%d hands have no time; they pair with none of their own video", np.isnan(time).sum())
    return Exclusion(group, groups.group, time, config.min_gap, least)


def check_same_space(source: File, pool: File) -> None:
    mine, theirs = read_attrs(source, EMBEDDINGS), read_attrs(pool, EMBEDDINGS)
    differing = [key for key in SPACE if not np.array_equal(np.asarray(mine.get(key)), np.asarray(theirs.get(key)))]
    if differing:
        raise HandtoolError(
            f"{source.path} and {pool.path} are embedded in different spaces ({', '.join(differing)} differ), so "
            "their distances mean nothing",
            hint=f"handtool embed KEYPOINTS --basis {source.path} -o {pool.path}",
        )
    if differ(mine, theirs):
        raise HandtoolError(
            f"MediaPipe's {name_api(mine)} found the keypoints of {source.path}, its {name_api(theirs)} those of "
            f"{pool.path}: they differ by 2 % of a hand's extent",
            hint="find both by one API: handtool keypoints CROPS --estimator mediapipe (or FILE.task), then embed anew",
        )


def check_several_groups(
    source: File, pool: File | None, group: np.ndarray, groups: Groups, valid: np.ndarray, config: MineConfig
) -> None:
    """Raises HandtoolError if all embedded hands are in one group, since a pair joins two. group, valid: (n,)."""
    if not valid.any():
        raise HandtoolError(f"no hand of {source.path} is embedded", hint=f"handtool info {source.path}")
    if (group[valid] != group[valid][0]).any():
        return
    where = f"{source.path} and {pool.path}" if pool else f"{source.path}"
    problem, hint = (
        "show one and the same hand",
        "handtool extract VIDEO1 VIDEO2 -o crops.h5, or join files: handtool cat",
    )
    one_hand = valid.sum() > 1 and len(np.unique(groups.hand[valid])) == 1
    if groups.copies and not one_hand:
        names = ", ".join(groups.copies[0][:NAMED])
        problem, hint = f"are of one recording, of which these are copies: {names}", f"{hint}, with other recordings"
    elif config.exclude == "video" and not one_hand:
        rows = np.flatnonzero(valid[: source.count(CROPS)])
        name = video_names(source)[read_column(source, CROPS.video, rows[:1])[0]] if len(rows) else "?"
        problem, hint = f"are from one video ({name}), and a pair joins two videos", f"{hint}; or --exclude track"
    elif config.exclude == "track" and not one_hand:
        problem, hint = "are of one track", f"{hint}; or --exclude none"
    raise HandtoolError(f"all {valid.sum()} hands of {where} {problem}", hint=hint)


def find_device(config: MineConfig) -> str:
    """The device for the exact index. torch is imported only if needed: it takes seconds to load."""
    if config.index != "exact" or config.device == "cpu":
        return "cpu"
    from handtool.nn.files import inference

    return inference.find_device(config.device).type


def search(hands: MiningInput, config: MineConfig, new: Callable, progress: Progress) -> Neighbors:
    """The nearest hands of each anchor: topk, or 2 topk if --max-in-degree may remove some."""
    depth = config.topk if config.max_in_degree is None else 2 * config.topk
    settings = config.index, config.m, config.ef_construction, config.ef, config.threads, config.seed
    how, rows = Search(*settings, find_device(config)), (hands.anchors, hands.pool, hands.kind)
    return find_neighbors(hands.vectors, hands.exclusion, depth, how, *rows, new, progress)


def find_more(hands: MiningInput, config: MineConfig, places: np.ndarray, depth: int) -> tuple[np.ndarray, np.ndarray]:
    """The `depth` nearest hands of some anchors."""
    how = Search("exact" if config.index == "exact" else "scan", threads=config.threads)
    found = find_neighbors(hands.vectors, hands.exclusion, depth, how, places, hands.pool, hands.kind)
    return found.positive, found.distance


def in_metric(distance, config: MineConfig):
    """The distance in config.metric from a Euclidean one; for unit vectors half its square is 1 - cos."""
    return np.square(distance) / 2 if config.metric == "cosine" else distance


def to_euclidean(distance: float, config: MineConfig) -> float:
    """The inverse of `in_metric`."""
    return float(np.sqrt(2 * distance)) if config.metric == "cosine" else distance


def max_euclidean(config: MineConfig) -> float:
    """--max-distance as a Euclidean one."""
    return np.inf if config.max_distance is None else to_euclidean(config.max_distance, config)


def write_pairs(
    table, hands: MiningInput, positive: np.ndarray, distance: np.ndarray, config: MineConfig
) -> tuple[np.ndarray, int]:
    """Writes the pairs sorted by anchor, then rank, none farther apart than --max-distance. Returns the number of pairs
    of each anchor, (N,), and of those at distance 0."""
    counts, num_equal = np.zeros(len(positive), np.int64), 0
    first = hands.num_anchors if hands.has_pool else 0
    for start in range(0, len(positive), BLOCK_ROWS):
        block = slice(start, start + BLOCK_ROWS)
        there = (positive[block] >= 0) & (distance[block] <= max_euclidean(config))
        anchor, place = np.nonzero(there)
        counts[block] = there.sum(axis=1)
        rows, apart = positive[block][there] - first, in_metric(distance[block][there], config)
        num_equal += int((apart == 0).sum())
        table.append({"anchor": anchor + start, "positive": rows, "distance": apart, "rank": place + 1})
    table.append({"anchor_offset": np.concatenate([[0], np.cumsum(counts)])})
    return counts, num_equal


def describe_copies(hands: MiningInput) -> dict:
    """The recordings that are there more than once, the first of them by the names of their videos."""
    found: dict = {"copies_recognised_by": hands.copies_by}
    if hands.copies:
        found |= {"recordings_with_copies": len(hands.copies), "videos_in_copies": sum(map(len, hands.copies))}
        found["copies"] = hands.copies[:NAMED]
    return found


def measure_search(hands: MiningInput, found: Neighbors, config: MineConfig) -> dict:
    """The recall of the index (of the k nearest, on 1,000 anchors), rejected candidates and repeated searches."""
    recall = 1.0
    if config.index == "hnsw":
        nearest = found.positive[:, : config.topk], found.distance[:, : config.topk]
        settings: Any = {"threads": config.threads, "seed": config.seed, "anchors": hands.anchors}
        recall = recall_on_sample(
            hands.vectors, hands.exclusion, *nearest, pool=hands.pool, kind=hands.kind, **settings
        )
    counts = {"anchors_asked_again": found.asked_again, "anchors_scanned": found.scanned}
    return {"recall": recall, "rejected_share": found.rejected, **counts, "repeatable": found.repeatable}


def describe_pairs(
    hands: MiningInput, positive: np.ndarray, distance: np.ndarray, counts: np.ndarray, config: MineConfig
) -> dict:
    """Distances, in-degree, the number of anchors with fewer than topk positives, and the rules."""
    short = int((hands.is_embedded(hands.anchors) & (counts < config.topk)).sum())
    if short:
        log.info("%d hands have fewer than %d positives", short, config.topk)
    pool = slice(hands.num_anchors if hands.has_pool else 0, len(hands.vectors))
    described = describe_neighbors(positive, distance, pool, max_euclidean(config))
    for name in ("distance_quantiles", "distance_rank1_quantiles"):
        described[name] = [float(value) for value in in_metric(np.array(described[name]), config)]
    return {"short_anchors": short, **described, **{name: getattr(config, key) for name, key in RULES.items()}}


def count_hands(hands: MiningInput, counts: np.ndarray, alone: np.ndarray, positive: np.ndarray) -> list[dict]:
    """The accounting of the anchors, and of the pool if there is one."""
    embedded = hands.is_embedded(hands.anchors)
    accounting = Accounting("hands", done=int((counts > 0).sum()))
    accounting.skip("no embedding", int((~embedded).sum()))
    accounting.skip("no hand that it may pair with", int((embedded & alone).sum()))
    taken = embedded & ~alone & (positive[:, 0] < 0)
    accounting.skip("all its nearest have their share (--max-in-degree)", int(taken.sum()))
    accounting.skip("none within --max-distance", int((embedded & ~alone & ~taken & (counts == 0)).sum()))
    if hands.pool is None:
        return [accounting.as_report()]
    offered = hands.is_embedded(hands.pool)
    pool = Accounting("hands of the pool", done=int(offered.sum()))
    pool.skip("no embedding", int((~offered).sum()))
    return [accounting.as_report(), pool.as_report()]
