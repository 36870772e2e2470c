"""A pool searched in parts by worker processes: each holds its part, its graph and a block of anchors."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from handtool.config import MineConfig
from handtool.engine.local import Work
from handtool.engine.units import open_engine, run_units
from handtool.errors import HandtoolError
from handtool.mining.hands import MiningInput, read_vectors
from handtool.progress import Progress, silent
from handtool.search.neighbors import Neighbors, Search
from handtool.search.parts import Part, Rules, merge_best
from handtool.search.quality import draw_sample, share_found
from handtool.store import File, open_file


@dataclass(frozen=True)
class Task:
    """What every worker is told: the files with the embeddings, and the rules for all hands of a MiningInput."""

    paths: tuple[Path, Path]  # of the anchors and of the pool
    uuids: tuple[str, str]
    num_anchors: int
    first: int  # row of the MiningInput at which the pool begins
    rules: Rules
    metric: str
    topk: int
    how: Search
    sample: np.ndarray  # (s,) anchors for which the truth is wanted, too


class Counts(NamedTuple):
    """What the search for some anchors in one part tells, as in Neighbors."""

    anchors: int = 0
    rejected: float = 0.0
    asked_again: int = 0
    scanned: int = 0
    repeatable: bool = True


class Found(NamedTuple):
    """A result of a worker: what one part has for some anchors (b,)."""

    is_truth: bool
    anchors: slice  # for the truth: places in the sample
    rows: np.ndarray  # (b, k) int64 rows of the MiningInput, -1: fewer
    squared: np.ndarray  # (b, k) float64
    counts: Counts


def search_in_parts(
    source: File,
    pool: File | None,
    hands: MiningInput,
    config: MineConfig,
    how: Search,
    depth: int,
    new: Callable,
    progress: Progress = silent,
) -> Neighbors:
    """As a search of the whole pool for the `depth` nearest: the exact index gives the same rows. Raises HandtoolError
    if a part cannot be searched."""
    anchors, offered = (file.owner("embeddings") for file in (source, pool or source))
    first = hands.num_anchors if pool else 0
    sample = draw_sample(hands.is_embedded(hands.anchors), config.seed) if config.index == "hnsw" else hands.anchors[:0]
    paths, uuids = (anchors.path.absolute(), offered.path.absolute()), (anchors.uuid, offered.uuid)
    rules = Rules(hands.exclusion, hands.kind)
    task = Task(paths, uuids, hands.num_anchors, first, rules, config.metric, depth, how, sample)
    shape = hands.num_anchors, depth
    found = Neighbors(new(shape, np.int64), new(shape, np.float64))
    truth = Neighbors(np.full((len(sample), depth), -1, np.int64), np.full((len(sample), depth), np.inf))
    found.positive[...], found.distance[...] = -1, np.inf
    told: dict[int, list[Counts]] = {}
    counts: list[Counts] = []

    def show() -> None:
        progress("search parts", sum(each.anchors for each in counts), len(parts) * hands.num_anchors)

    with open_engine(config.engine) as machines:
        ends = np.linspace(first, len(hands.vectors), (config.parts or machines) + 1).astype(int).tolist()
        parts, seen = list(zip(ends, ends[1:])), [str(path) for path in paths]
        work = config.engine, open_search, (task,), parts, machines, math.inf
        for event in run_units(*work, reads=lambda part: seen):
            if event.kind == "lost":
                problem = f"part {event.item + 1} of the pool could not be searched: {event.value}"
                raise HandtoolError(problem, hint="smaller parts take less memory: --parts N")
            if event.kind == "again":
                told.pop(event.item, None)
            elif event.kind == "result":
                add(truth if event.value.is_truth else found, event.value)
                told.setdefault(event.item, []).append(event.value.counts)
                counts = [each for part in told.values() for each in part]
                show()
            elif event.kind == "heartbeat":  # an engine may tell results with the end of a part, an hour later
                show()
    return finish(found, truth, sample, counts, config, new)


def add(best: Neighbors, found: Found) -> None:
    """Merges what one part has into the best so far, in place. What it has told already counts once."""
    here = found.anchors
    merged = merge_best(best.positive[here], best.distance[here], found.rows, found.squared)
    best.positive[here], best.distance[here] = merged


def finish(
    found: Neighbors, truth: Neighbors, sample: np.ndarray, counts: list[Counts], config: MineConfig, new: Callable
) -> Neighbors:
    """With distances in place of their squares, what all parts tell, and the recall if there is a sample."""
    distance = new(found.distance.shape, np.float32)
    np.sqrt(found.distance, out=distance, casting="same_kind")
    recall = None
    if config.index == "hnsw":
        nearest, true = slice(config.topk), np.sqrt(truth.distance[:, : config.topk]).astype(np.float32)
        recall = share_found(
            found.positive[sample, nearest], distance[sample, nearest], truth.positive[:, nearest], true
        )
    anchors = sum(each.anchors for each in counts)
    return Neighbors(
        found.positive,
        distance,
        sum(each.rejected * each.anchors for each in counts) / max(anchors, 1),
        sum(each.asked_again for each in counts),
        sum(each.scanned for each in counts),
        all(each.repeatable for each in counts),
        recall,
    )


def open_search(task: Task) -> Work:
    """The work of a process: an item is (first row, end) of a part, its results are `Found`."""
    anchors, pool = (open_again(path, uuid) for path, uuid in zip(task.paths, task.uuids))

    def work(item: tuple[int, int], heartbeat: Callable[[], None]) -> Iterator[Found]:
        def told(what: str, done: float, total: float | None = None, **figures: float) -> None:
            heartbeat()

        own = slice(*item)
        vectors = read_vectors(pool, task.metric, slice(own.start - task.first, own.stop - task.first))
        part = Part(vectors, task.topk, task.how, told)
        del vectors
        for start in range(0, task.num_anchors, part.block_rows):
            block = slice(start, min(start + part.block_rows, task.num_anchors))
            found = part.search(read_vectors(anchors, task.metric, block), task.rules.rows(own, block))
            yield tell(found, own, block, is_truth=False)
        if len(task.sample):
            exact, rules = Search("exact", threads=task.how.threads), task.rules.rows(own, task.sample)
            found = part.search(read_vectors(anchors, task.metric, task.sample), rules, exact)
            yield tell(found, own, slice(0, len(task.sample)), is_truth=True)

    return work


def tell(found: Neighbors, own: slice, anchors: slice, is_truth: bool) -> Found:
    rows = np.where(found.positive >= 0, found.positive + own.start, -1)
    counts = Counts(len(rows), found.rejected, found.asked_again, found.scanned, found.repeatable)
    return Found(is_truth, anchors, rows, found.distance, Counts() if is_truth else counts)


def open_again(path: Path, uuid: str) -> File:
    """A file that the process which starts the workers has checked. Raises HandtoolError if it is another one here."""
    file = open_file(path, trusted=True)
    if file.uuid != uuid:
        raise HandtoolError(f"{path} is another file here: {file.uuid} instead of {uuid}", hint="copy it anew")
    return file
