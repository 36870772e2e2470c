"""The nearest rows that an anchor may pair with: complete lists, sorted, without excluded rows.

hnsw: a graph is queried for more rows than needed, because excluded ones are dropped. Anchors that then have too few
neighbours, because near rows belong to their own group, are queried again for more rows, or found by a scan of all
cells, whichever is estimated to be cheaper. No graph is built if it would leave most anchors with too few neighbours
and the scan is cheaper.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

import numpy as np

from handtool.config import MineConfig
from handtool.progress import Progress, silent
from handtool.search.cells import Cells, make_cells
from handtool.search.duplicates import Distinct, find_distinct
from handtool.search.exact import Exact, best_of, find_exact, search_blocks
from handtool.search.exclusion import Exclusion
from handtool.search.hnsw import Graph

Index = Literal["hnsw", "exact", "scan"]  # scan: exact search with cell radii shrunk as far as recall allows
RADIUS_SHARES = (0.45, 0.5, 0.55, 0.6, 0.8, 1.0)  # shares of the cells' radii that a scan may use (docs/LOG.md)
LEAST_RECALL = 0.993  # a scan uses the smallest share with this recall on the anchors of a few cells
DEEPEST_EF = 1024
STEPS_PER_EF = 400  # distances of a matrix product that take as long as one unit of ef in the graph
GRAPH_STEPS = 100_000  # distances that take as long as building and querying the graph, per row
PROBE_CELLS = 4
SHARE_CELLS = 8
LEAST_SOLVED = 0.5  # share of anchors answered by the graph above which it is always built


@dataclass
class Neighbors:
    """k neighbours of m anchors. Distances are Euclidean."""

    positive: np.ndarray  # (m, k) int, -1 if fewer exist or the anchor is not finite
    distance: np.ndarray  # (m, k) float32, inf there
    rejected: float = 0.0  # share of the graph's answers that are excluded
    asked_again: int = 0  # anchors queried again for more rows
    scanned: int = 0  # anchors with too few neighbours by the graph, found by a scan
    repeatable: bool = True  # False if several threads built a graph: the next run may differ in a few rows
    recall: float | None = None  # on a sample, where the search has measured it


@dataclass(frozen=True)
class Search:
    """How to search: the options of `handtool mine`."""

    index: Index = "hnsw"
    m: int = MineConfig.m
    ef_construction: int = MineConfig.ef_construction
    ef: int = MineConfig.ef
    threads: int = MineConfig.threads
    seed: int = MineConfig.seed
    device: str = "cpu"  # of the exact index: cpu or cuda


def neighbors_in_other_groups(
    vectors: np.ndarray,
    groups: np.ndarray,
    topk: int,
    index: Index = MineConfig.index,
    m: int = MineConfig.m,
    ef_construction: int = MineConfig.ef_construction,
    ef: int = MineConfig.ef,
    threads: int = MineConfig.threads,
    seed: int = MineConfig.seed,
    progress: Progress = silent,
) -> tuple[np.ndarray, np.ndarray]:
    """vectors (n, d) float, groups (n,) of any kind. Returns positive (n, topk) int64 and Euclidean distance, float32.

    Nearest first, equal distances: the lower row first; -1 and +inf if fewer exist. A row with NaN or infinity has no
    neighbours and is no neighbour. `exact` gives the order of a float64 double loop; `hnsw` may miss rows.
    """
    exclusion = Exclusion(np.unique(groups, return_inverse=True)[1].reshape(-1).astype(np.int64))
    how = Search(index, m, ef_construction, ef, threads, seed)
    found = find_neighbors(vectors, exclusion, topk, how, progress=progress)
    return found.positive.astype(np.int64, copy=False), found.distance


def find_neighbors(
    vectors: np.ndarray,
    exclusion: Exclusion,
    topk: int,
    how: Search = Search(),
    anchors: np.ndarray | None = None,
    pool: np.ndarray | None = None,
    kind: np.ndarray | None = None,
    new: Callable = np.empty,
    progress: Progress = silent,
) -> Neighbors:
    """The `topk` nearest rows of `pool` for each of `anchors` (both rising; None: all), of one `kind` (n,) if given.

    `new(shape, dtype)` makes the arrays of the result, for example on the disk to keep large results out of memory.
    """
    vectors = np.asarray(vectors)
    if vectors.dtype not in (np.float32, np.float64):
        vectors = vectors.astype(np.float32)
    fits = vectors.ndim == 2 and len(exclusion.group) == len(vectors)
    if not fits or topk < 1 or how.index not in get_args(Index):
        raise ValueError(f"vectors {vectors.shape}, groups {exclusion.group.shape}, topk {topk}, index {how.index!r}")
    asked = np.arange(len(vectors)) if anchors is None else anchors
    rows = np.int32 if len(vectors) < 2**31 else np.int64
    found = Neighbors(new((len(asked), topk), rows), new((len(asked), topk), np.float32))
    found.positive[...], found.distance[...] = -1, np.inf
    finite = np.zeros(len(vectors), bool)
    finite[finite_rows(vectors)] = True
    wanted = finite[asked]
    offered = finite if pool is None else finite & np.isin(np.arange(len(vectors)), pool)
    kinds = np.zeros(len(vectors), np.int8) if kind is None else kind
    for one in np.unique(kinds[asked]):
        places = np.flatnonzero(wanted & (kinds[asked] == one))
        candidates = np.flatnonzero(offered & (kinds == one))
        if len(places) and len(candidates):
            _Search(vectors, exclusion, topk, how, asked[places], candidates, progress).write(found, places)
    return found


def finite_rows(vectors: np.ndarray) -> np.ndarray:
    """Rows without NaN or infinity, in rising order."""
    parts = [np.isfinite(vectors[start : start + 65536]).all(axis=1) for start in range(0, len(vectors), 65536)]
    return np.flatnonzero(np.concatenate(parts)) if parts else np.zeros(0, np.int64)


class _Search:
    """The search for one set of anchors in one pool. `before`: one for other anchors in the same rows of the pool,
    whose cells and graph are used again. `measure`: of squared distances, what is written."""

    def __init__(
        self,
        vectors,
        exclusion: Exclusion,
        topk: int,
        how: Search,
        anchors,
        pool,
        progress: Progress,
        before: "_Search | None" = None,
        measure: Callable = np.sqrt,
    ) -> None:
        self.vectors, self.exclusion, self.topk, self.how, self.progress = vectors, exclusion, topk, how, progress
        self.before, self.measure = before, measure
        self.distinct: Distinct = find_distinct(vectors, exclusion, anchors, pool, topk)
        self.anchors = self.distinct.anchors
        members = self.distinct.members
        self.cells: Cells = before.cells if before else make_cells(vectors, exclusion.group, members[members >= 0])
        same = np.array_equal(self.anchors, self.distinct.first)
        self.near = self.cells if same else make_cells(vectors, exclusion.group, self.anchors)

    def write(self, found: Neighbors, places: np.ndarray) -> None:
        """Writes the answers into rows `places` of the result."""
        alone = len(self.anchors) == len(self.distinct.answer)  # no duplicates: answer i belongs to anchor i
        straight = alone and len(places) == len(found.positive)
        shape = (len(self.anchors), self.topk)
        positive = found.positive if straight else np.empty(shape, found.positive.dtype)
        distance = found.distance if straight else np.empty(shape, found.distance.dtype)
        if self.how.index == "hnsw" and self.use_graph():
            todo = self.ask_graph(found, positive, distance)
        else:
            todo = np.arange(len(self.anchors))
        if self.how.index == "hnsw":
            found.scanned += len(todo)
        self.scan(todo, positive, distance)
        if not straight:
            for start in range(0, len(places), 65536):
                block = slice(start, start + 65536)
                answer = self.distinct.answer[block]
                found.positive[places[block]], found.distance[places[block]] = positive[answer], distance[answer]

    def scan(self, todo: np.ndarray, positive: np.ndarray, distance: np.ndarray) -> None:
        if len(todo) == 0:
            return
        if self.how.device != "cpu" and self.how.index == "exact":
            from handtool.search.gpu import search_blocks_on

            blocks = search_blocks_on(
                self.how.device, self.vectors, self.exclusion, self.anchors[todo], self.cells, self.topk, self.progress
            )
        else:
            radius_share = 1.0 if self.how.index == "exact" else self.radius_share
            given = self.vectors, self.exclusion, self.anchors[todo], self.cells, self.topk
            blocks = search_blocks(*given, self.how.threads, radius_share, self.progress, self.near)
        for places, row, squared, _ in blocks:
            positive[todo[places]], distance[todo[places]] = row, self.measure(squared)

    def use_graph(self) -> bool:
        """Whether a graph is worth building, measured on the anchors of a few cells. Costs are counted in distances
        instead of seconds, so that the same data give the same decision."""
        probe = self.anchors[self.probe(np.arange(len(self.anchors)), PROBE_CELLS)]
        rank = count_within(self.vectors, probe, self.distinct.first, self.scan_some(probe, 1.0).distance[:, -1])
        solved = float((rank <= max(self.how.ef, 2 * (self.topk + 1)) // 2).mean())
        if solved >= LEAST_SOLVED:
            return True
        return solved * self.scan_some(probe, self.radius_share).compared > GRAPH_STEPS * len(probe)

    @cached_property
    def radius_share(self) -> float:
        """The share of the cells' radii that a scan uses, measured on the anchors of a few cells. In few dimensions
        it is 1, since rows are near the surface of their ball."""
        probe = self.anchors[self.probe(np.arange(len(self.anchors)), SHARE_CELLS)]
        truth = self.scan_some(probe, 1.0).distance
        there = np.isfinite(truth)
        last = np.where(there, truth, -np.inf).max(axis=1, keepdims=True) * (1 + 1e-12)
        for share in RADIUS_SHARES[:-1]:
            if (self.scan_some(probe, share).distance <= last).sum() >= LEAST_RECALL * there.sum():
                return share
        return 1.0

    def scan_some(self, anchors: np.ndarray, radius_share: float) -> Exact:
        return find_exact(
            self.vectors, self.exclusion, anchors, self.cells, self.topk, self.how.threads, radius_share, near=self.near
        )

    def probe(self, todo: np.ndarray, num_cells: int) -> np.ndarray:
        """The anchors of a few whole cells, since a scan takes anchors cell by cell."""
        cell = self.near.cell_of(len(self.vectors))[self.anchors[todo]]
        some = np.unique(cell)
        return todo[np.isin(cell, some[:: -(-len(some) // num_cells)])]

    def ask_graph(self, found: Neighbors, positive: np.ndarray, distance: np.ndarray) -> np.ndarray:
        """Writes the graph's answers. Returns the places of anchors with too few, for which a scan is cheaper."""
        anchors, graph = self.anchors, self.graph
        place = np.full(len(self.vectors), -1, np.int64)
        place[anchors] = np.arange(len(anchors))
        found.repeatable &= graph.repeatable
        todo, ef = place[self.near.order], max(self.how.ef, 2 * (self.topk + 1))
        while True:
            short, rejected = self.ask(graph, todo, ef, positive, distance)
            if len(todo) == len(anchors):
                found.rejected += rejected * len(todo) / max(len(found.positive), 1)
            else:
                found.asked_again = max(found.asked_again, len(todo))
            todo, ef = todo[short], 4 * ef
            if len(todo) == 0 or ef > min(DEEPEST_EF, graph.size):
                return todo
            if not self.is_cheaper(graph, todo, ef, positive, distance):
                return todo

    @cached_property
    def graph(self) -> Graph:
        if self.before:
            return self.before.graph
        how, rows = self.how, self.distinct.first
        place = np.full(len(self.vectors), -1, np.int64)
        place[rows] = np.arange(len(rows))
        order = place[self.cells.order]
        settings = how.m, how.ef_construction, how.threads, how.seed, self.progress
        return Graph(self.vectors, rows, order[order >= 0], *settings)

    def is_cheaper(self, graph: Graph, todo: np.ndarray, ef: int, positive: np.ndarray, distance: np.ndarray) -> bool:
        """Whether querying the graph with `ef` costs less than the scan that it saves."""
        probe = self.probe(todo, PROBE_CELLS)
        scan = self.scan_some(self.anchors[probe], self.radius_share)
        short, _ = self.ask(graph, probe, ef, positive, distance)
        return STEPS_PER_EF * ef * len(probe) < float((~short).mean()) * scan.compared

    def ask(
        self, graph: Graph, todo: np.ndarray, ef: int, positive: np.ndarray, distance: np.ndarray
    ) -> tuple[np.ndarray, float]:
        """Writes the answers of the anchors `todo`. Returns which have too few (bool), and the excluded share.

        Only `ef` / 2 rows are asked for, since recall is lower among the last ones. An anchor that the graph does not
        find itself also counts as having too few: between tight clusters the graph can be disconnected.
        """
        short = np.zeros(len(todo), bool)
        dropped = asked = 0
        count = graph.size if graph.size <= ef else ef // 2
        for block, places in graph.ask(self.anchors[todo], count, ef):
            some = todo[block]
            own = self.anchors[some]
            rows = np.where(places[:, :, None] >= 0, self.distinct.members[places], -1)
            there = rows >= 0
            fits = there & self.exclusion.allows(own[:, None, None], rows)
            if self.exclusion.least:
                self.drop_near(own, rows, fits)
            asked, dropped = asked + int(there.sum()), dropped + int(there.sum() - fits.sum())
            everything = (places >= 0).all(axis=1) & (places.shape[1] == graph.size)
            lost = (self.distinct.vector[some] >= 0) & (places[:, 0] != self.distinct.vector[some])
            short[block] = ~everything & (lost | (fits.sum(axis=(1, 2)) < self.topk))
            positive[some], distance[some] = self.best(own, rows.reshape(len(own), -1), fits.reshape(len(own), -1))
            self.progress("ask hnsw", block.stop, len(todo))
        return short, dropped / max(asked, 1)

    def drop_near(self, anchors: np.ndarray, rows: np.ndarray, fits: np.ndarray) -> None:
        """anchors (b,); rows, fits (b, c, w). Takes out of `fits` the rows that are too near to their anchor."""
        places = np.nonzero(fits)
        for start in range(0, len(places[0]), 65536):
            some = tuple(each[start : start + 65536] for each in places)
            apart = self.vectors[anchors[some[0]]].astype(np.float64) - self.vectors[rows[some]].astype(np.float64)
            fits[some] = np.einsum("md,md->m", apart, apart) >= self.exclusion.least**2

    def best(self, anchors: np.ndarray, rows: np.ndarray, fits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The `topk` nearest of the first 2 x topk allowed rows, by (distance, row). rows, fits (b, c), sorted."""
        owner, column = np.nonzero(fits)
        place = np.arange(len(owner)) - np.searchsorted(owner, np.arange(len(anchors)))[owner]
        owner, column, place = (values[place < 2 * self.topk] for values in (owner, column, place))
        row = np.full((len(anchors), 2 * self.topk), -1, np.int64)
        row[owner, place] = rows[owner, column]
        positive, squared = best_of(self.vectors, anchors, row, self.topk)
        return positive, self.measure(squared)


def count_within(vectors: np.ndarray, anchors: np.ndarray, rows: np.ndarray, distance: np.ndarray) -> np.ndarray:
    """How many of `rows` are within `distance` (b,) of each anchor (b,), in float32. (b,) int64."""
    points = vectors[anchors].astype(np.float32)
    limit = (distance**2 * (1 + 1e-6) - np.einsum("bd,bd->b", points, points, dtype=np.float64)).astype(np.float32)
    count = np.zeros(len(anchors), np.int64)
    for start in range(0, len(rows), 16384):
        others = vectors[rows[start : start + 16384]].astype(np.float32)
        count += (np.einsum("wd,wd->w", others, others) - 2 * points @ others.T <= limit[:, None]).sum(axis=1)
    return count
