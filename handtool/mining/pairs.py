"""The pairs that were found: written, counted and measured."""

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from handtool.accounting import Accounting
from handtool.config import MineConfig
from handtool.errors import HandtoolError
from handtool.mining.hands import NAMED, MiningInput
from handtool.mining.metric import in_metric, max_euclidean
from handtool.search.neighbors import Neighbors, Search, find_neighbors
from handtool.search.quality import describe_neighbors, recall_on_sample
from handtool.store import Sink, open_table, scratch_array
from handtool.store.schema import PAIRS

log = logging.getLogger(__name__)
BLOCK_ROWS = 65_536
SCRATCH_BYTES = 1 << 28  # larger results are kept on the disk until they are written
RULES = {name: name for name in "metric exclude min_gap_s min_distance max_distance same_side max_in_degree".split()}
RULES["min_gap_s"] = "min_gap"
KEPT_FIGURES = (
    *"recall distance_quantiles_at distance_quantiles in_degree_max short_anchors rejected_share repeatable".split(),
    *RULES,
)


def result_maker(sink: Sink, num_anchors: int, topk: int) -> Callable:
    """What makes the arrays of a result, (shape, dtype) -> array."""
    return partial(scratch_array, sink.folder) if num_anchors * topk * 8 > SCRATCH_BYTES else np.empty


def write_mined(
    sink: Sink,
    path: Path,
    pool_uuid: str,
    hands: MiningInput,
    found: tuple[np.ndarray, np.ndarray],
    alone: np.ndarray | None,
    figures: dict,
    config: MineConfig,
) -> dict:
    """Writes /pairs with all its figures, and returns the report. path: the file with the anchors. found: rows and
    Euclidean distances (m, topk). alone: as `count_hands`. Raises HandtoolError if no pair is left."""
    attrs = {"topk": config.topk, "index": config.index, "pool_uuid": pool_uuid}
    with open_table(sink, PAIRS, attrs) as table:
        counts, num_equal = write_pairs(table, hands, *found, config)
        if not counts.any():
            raise HandtoolError(
                f"no hand of {path} has a positive under these rules",
                hint="loosen --min-distance, --max-distance, --same-side or --exclude",
            )
        figures |= describe_pairs(hands, *found, counts, config) | {"pairs_at_distance_0": num_equal}
        table.attrs |= {name: figures[name] for name in KEPT_FIGURES if figures[name] is not None}
    report = {"accounting": count_hands(hands, counts, alone, found[0]), "pairs": int(counts.sum())}
    return report | {"topk": config.topk, "index": config.index} | figures | describe_copies(hands)


def find_more(hands: MiningInput, config: MineConfig, places: np.ndarray, depth: int) -> tuple[np.ndarray, np.ndarray]:
    """The `depth` nearest hands of some anchors."""
    how = Search("exact" if config.index == "exact" else "scan", threads=config.threads)
    found = find_neighbors(hands.vectors, hands.exclusion, depth, how, places, hands.pool, hands.kind)
    return found.positive, found.distance


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
    recall = 1.0 if found.recall is None else found.recall
    if config.index == "hnsw" and found.recall is None:
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


def count_hands(hands: MiningInput, counts: np.ndarray, alone: np.ndarray | None, positive: np.ndarray) -> list[dict]:
    """The accounting of the anchors, and of the pool if there is one. alone (m,) bool: no hand that it may pair with;
    None: not told from those that have none within --max-distance."""
    embedded = hands.is_embedded(hands.anchors)
    accounting = Accounting("hands", done=int((counts > 0).sum()))
    accounting.skip("no embedding", int((~embedded).sum()))
    left = embedded & (counts == 0)
    if alone is None:
        accounting.skip("no hand that it may pair with, or none within --max-distance", int(left.sum()))
    else:
        taken = left & ~alone & (positive[:, 0] < 0)
        accounting.skip("no hand that it may pair with", int((left & alone).sum()))
        accounting.skip("all its nearest have their share (--max-in-degree)", int(taken.sum()))
        accounting.skip("none within --max-distance", int((left & ~alone & ~taken).sum()))
    if hands.pool is None:
        return [accounting.as_report()]
    offered = hands.is_embedded(hands.pool)
    pool = Accounting("hands of the pool", done=int(offered.sum()))
    pool.skip("no embedding", int((~offered).sum()))
    return [accounting.as_report(), pool.as_report()]
