"""mine: for every hand the most similar hands in other videos: the positives of contrastive pre-training."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from handtool.config import MineConfig
from handtool.mining.given_pairs import write_given
from handtool.mining.hands import MiningInput, read_mining_input
from handtool.mining.pairs import find_more, measure_search, result_maker, write_mined
from handtool.mining.parts import search_in_parts
from handtool.progress import Progress, silent
from handtool.search.degree import limit_in_degree
from handtool.search.neighbors import Neighbors, Search, find_neighbors
from handtool.store import CROPS, File, Sink


def mine(
    source: File,
    sink: Sink,
    config: MineConfig,
    progress: Progress = silent,
    *,
    pool: File | None = None,
    pairs: Path | None = None,
) -> dict:
    """Writes /pairs: for every embedded hand its `topk` nearest hands of other videos, nearest first, or all there are.

    A "video" is a group of hands/groups.py: all people of a film, or one hand of FreiHAND. With `pool` the positives
    are hands of that file, which becomes /pool. With `pairs`, a json of SiMHand's, the positives are those that it
    lists, and nothing is searched: no hand needs an embedding. Raises HandtoolError if no hand is embedded, all are of
    one video, no pair is left, or the two files are embedded in different spaces.
    """
    if pairs is not None:
        from handtool.sources.sets.simhand import read_positives  # the readers of sets take a moment to load

        source.need(CROPS, hint="handtool extract SET -o crops.h5")
        report = write_given(source, sink, read_positives(pairs), str(pairs), config)
        sink.inherit(source)
        return report
    hands = read_mining_input(source, [pool] if pool else [], config)
    found = search(source, pool, hands, config, result_maker(sink, hands.num_anchors, config.topk), progress)
    figures = measure_search(hands, found, config)
    positive, distance = found.positive[:, : config.topk], found.distance[:, : config.topk]
    if config.max_in_degree is not None:
        ask = partial(find_more, hands, config)
        positive, distance = limit_in_degree(
            found.positive, found.distance, config.topk, config.max_in_degree, ask, len(hands.vectors), progress
        )
    alone, uuid = found.positive[:, 0] < 0, (pool or source).owner("embeddings").uuid
    report = write_mined(sink, source.path, uuid, hands, (positive, distance), alone, figures, config)
    sink.inherit(source)
    if pool:
        sink.inherit_pool(pool)
    return report


def find_device(config: MineConfig) -> str:
    """The device for the exact index. torch is imported only if needed: it takes seconds to load."""
    if config.index != "exact" or config.device == "cpu" or config.engine != "local":
        return "cpu"
    from handtool.nn.files import inference

    return inference.find_device(config.device).type


def search(
    source: File, pool: File | None, hands: MiningInput, config: MineConfig, new: Callable, progress: Progress
) -> Neighbors:
    """The nearest hands of each anchor: topk, or 2 topk if --max-in-degree may remove some."""
    depth = config.topk if config.max_in_degree is None else 2 * config.topk
    settings = config.index, config.m, config.ef_construction, config.ef, config.threads, config.seed
    how, rows = Search(*settings, find_device(config)), (hands.anchors, hands.pool, hands.kind)
    if config.parts is None and config.engine == "local":
        return find_neighbors(hands.vectors, hands.exclusion, depth, how, *rows, new, progress)
    return search_in_parts(source, pool, hands, config, how, depth, new, progress)
