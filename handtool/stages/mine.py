"""The most similar hands in other videos: the positives of contrastive pre-training."""

import logging

import numpy as np

from handtool.accounting import Accounting
from handtool.config import MineConfig
from handtool.errors import HandtoolError
from handtool.progress import Progress, silent
from handtool.search import Neighbors, describe_neighbors, find_neighbors, recall_on_sample
from handtool.store import CROPS, EMBEDDINGS, PAIRS, File, Sink, open_table, read_column, video_names

log = logging.getLogger(__name__)
BLOCK_ROWS = 65_536
REMEMBERED = ("recall", "distance_quantiles_at", "distance_quantiles", "in_degree_max", "short_anchors", "rejected_share")


def mine(source: File, sink: Sink, config: MineConfig, progress: Progress = silent) -> dict:
    """Writes /pairs: for every embedded hand its `topk` nearest hands of other videos, nearest first; fewer where fewer exist.

    Raises HandtoolError where no hand is embedded, or all are of one video.
    """
    source.need(EMBEDDINGS, hint="handtool embed {path} -o embeddings.h5")
    source.need(CROPS, hint="handtool extract VIDEOS -o crops.h5")
    vectors, valid = read_column(source, EMBEDDINGS.vector), read_column(source, EMBEDDINGS.valid)
    video = read_column(source, CROPS.video)
    vectors[~valid] = np.nan
    check_several_videos(source, video[valid])
    found = find_neighbors(
        vectors, video, config.topk, config.index, config.m, config.ef_construction, config.ef, config.threads, config.seed, progress
    )
    figures = measure(vectors, video, valid, found, config)
    attrs = {"topk": config.topk, "index": config.index, "pool_uuid": source.owner("embeddings").uuid}
    attrs |= {name: np.asarray(figures[name]) for name in REMEMBERED}
    num_pairs = write_pairs(sink, found, attrs)
    sink.inherit(source)
    accounting = Accounting("hands", done=int((found.positive[:, 0] >= 0).sum()))
    accounting.skip("no embedding", int((~valid).sum()))
    report = {"accounting": [accounting.as_report()], "pairs": num_pairs, "videos": len(np.unique(video[valid]))}
    return report | {"topk": config.topk, "index": config.index} | figures


def check_several_videos(source: File, video: np.ndarray) -> None:
    """`video` (n,): of the embedded hands."""
    if len(video) == 0:
        raise HandtoolError(f"no hand of {source.path} is embedded", hint=f"handtool info {source.path}")
    if (video == video[0]).all():
        raise HandtoolError(
            f"all {len(video)} hands of {source.path} are from one video ({video_names(source)[video[0]]}), and a pair joins two videos",
            hint="handtool extract VIDEO1 VIDEO2 -o crops.h5, or join files: handtool cat",
        )


def measure(vectors: np.ndarray, video: np.ndarray, valid: np.ndarray, found: Neighbors, config: MineConfig) -> dict:
    """How good the pairs are: recall on 1,000 anchors, distances, in-degree, who came out short and what was in the way."""
    recall = 1.0
    if config.index == "hnsw":
        recall = recall_on_sample(vectors, video, found.positive, found.distance, config.threads, config.seed)
    short = int((valid & (found.positive[:, -1] < 0)).sum())
    if short:
        log.info("%d hands have fewer than %d hands in other videos", short, config.topk)
    figures = {"recall": recall, "short_anchors": short, **describe_neighbors(found.positive, found.distance)}
    figures |= {
        "rejected_share": found.rejected,
        "anchors_asked_again": found.asked_again,
        "anchors_finished_exactly": found.finished_exactly,
    }
    return figures


def write_pairs(sink: Sink, found: Neighbors, attrs: dict) -> int:
    """Sorted by anchor, then rank. Returns the number of pairs."""
    there = found.positive >= 0
    with open_table(sink, PAIRS, attrs) as table:
        for start in range(0, len(there), BLOCK_ROWS):
            anchor, place = np.nonzero(there[start : start + BLOCK_ROWS])
            anchor += start
            positive, distance = found.positive[anchor, place], found.distance[anchor, place]
            table.append({"anchor": anchor, "positive": positive, "distance": distance, "rank": place + 1})
        table.append({"anchor_offset": np.concatenate([[0], np.cumsum(there.sum(axis=1))])})
    return int(there.sum())
