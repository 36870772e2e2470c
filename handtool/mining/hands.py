"""The hands that `mine` pairs: their vectors, and the rules about who may pair with whom."""

import logging
from dataclasses import dataclass

import numpy as np

from handtool.config import MineConfig
from handtool.errors import HandtoolError, WrongCommand
from handtool.hands.groups import Groups, Origin, find_groups, find_units, join, join_keys, number_from_0
from handtool.hands.skeleton import LEFT, UNKNOWN
from handtool.mining.metric import to_euclidean
from handtool.search.exclusion import Exclusion
from handtool.store import File, differ, name_api, read_attrs, read_column, read_origin, video_names
from handtool.store.schema import CROPS, EMBEDDINGS

log = logging.getLogger(__name__)
NAMED = 20  # recordings with copies that a report names
# attributes that must agree for two embeddings to be comparable
SPACE = ("kind", "source", "normalization", "mean", "basis", "encoder_uuid")


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


def read_mining_input(source: File, pools: list[File], config: MineConfig) -> MiningInput:
    """The vectors of the hands, and the rules about who may pair. `pools`: the files with the pool, one after the
    other; none: the anchors are the pool."""
    if config.min_gap > 0 and config.exclude in ("video", "subject"):
        raise WrongCommand(
            f"--min-gap: how far apart two hands of one video must be, and --exclude {config.exclude} lets none pair",
            hint="add --exclude track",
        )
    if config.max_distance is not None and config.min_distance > config.max_distance:
        raise WrongCommand(
            f"no distance is {config.min_distance:g} at least and {config.max_distance:g} at most",
            hint="a smaller --min-distance",
        )
    files = [source, *pools]
    for file in files:
        file.need(EMBEDDINGS, hint="handtool embed {path} -o embeddings.h5")
        file.need(CROPS, hint="handtool extract VIDEOS -o crops.h5")
    for pool in pools:
        check_same_space(source, pool)
    vectors = join([read_vectors(file, config.metric) for file in files])
    num_anchors = source.count(CROPS)
    groups = find_groups([Origin(**read_origin(file)) for file in files])
    exclusion = make_exclusion(files, groups, config)
    check_several_groups(source, pools, exclusion.group, groups, np.isfinite(vectors).all(axis=1), config)
    kind = None
    if config.same_side:
        side = join([read_column(file, CROPS.side) for file in files])
        kind = (side == LEFT).astype(np.int8)
        if (side == UNKNOWN).any():
            log.info("%d hands of unknown side count as right hands", (side == UNKNOWN).sum())
    lacking = [file for file in files if not file.has(CROPS.thumbnails)]
    extracted = any(step["program"] == "handtool extract" for file in lacking for step in file.provenance)
    by = "equal bytes; extract anew for others" if extracted else "equal bytes" if lacking else "their pictures"
    return MiningInput(vectors, exclusion, kind, num_anchors, bool(pools), groups.copies, by)


def read_vectors(file: File, metric: str, rows: slice | np.ndarray | None = None) -> np.ndarray:
    """(n, d) of all or some rows, NaN where not embedded. For cosine: float64 of length 1, whose squared distance is
    2 (1 - cos); a zero vector becomes NaN."""
    vectors, valid = read_column(file, EMBEDDINGS.vector, rows), read_column(file, EMBEDDINGS.valid, rows)
    vectors[~valid] = np.nan
    if metric == "cosine":
        vectors = vectors.astype(np.float64)
        length = np.linalg.norm(vectors, axis=1, keepdims=True)
        vectors = np.divide(vectors, length, out=np.full_like(vectors, np.nan), where=length > 0)
    return vectors


def make_exclusion(files: list[File], groups: Groups, config: MineConfig) -> Exclusion:
    """Which hands never pair: those of one video (default), those of one subject, too, those of one track (a hand
    without a track is a track of its own), or only a hand with itself. Those of a recording with copies never pair,
    since it is not known which of them are the same hand."""
    least = to_euclidean(config.min_distance, config)
    if config.exclude == "video":
        return Exclusion(groups.group, least=least)
    if config.exclude == "subject":
        return Exclusion(find_units(groups, "subject", files[0].path, "--exclude"), least=least)
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
    source: File, pools: list[File], group: np.ndarray, groups: Groups, valid: np.ndarray, config: MineConfig
) -> None:
    """Raises HandtoolError if all embedded hands are in one group, since a pair joins two. group, valid: (n,)."""
    if not valid.any():
        raise HandtoolError(f"no hand of {source.path} is embedded", hint=f"handtool info {source.path}")
    if (group[valid] != group[valid][0]).any():
        return
    where = " and ".join(str(file.path) for file in [source, *pools])
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
    elif config.exclude == "subject" and not one_hand:
        problem, hint = "are of one subject", f"{hint}; or --exclude video"
    elif config.exclude == "track" and not one_hand:
        problem, hint = "are of one track", f"{hint}; or --exclude none"
    raise HandtoolError(f"all {valid.sum()} hands of {where} {problem}", hint=hint)
