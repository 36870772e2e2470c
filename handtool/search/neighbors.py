"""The nearest rows of other groups: complete, sorted, and never one's own group.

Groups are what must not pair (all hands of one video). A graph answers most anchors; those that came out short because their
neighbourhood is their own group are asked again with more, or finished exactly, whichever looks at less.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from handtool.config import MineConfig
from handtool.progress import Progress, silent
from handtool.search.cells import Cells, make_cells
from handtool.search.duplicates import Distinct, find_distinct
from handtool.search.exact import find_exact
from handtool.search.hnsw import Graph

Index = Literal["hnsw", "exact"]
DEEPEST_EF = 1024
STEPS_PER_EF = 400  # distances of a matrix product that take the time of one unit of ef in the graph
PROBE_CELLS = 16
WORTH_ASKING = 0.1  # share of anchors that the graph must answer well to be asked at all


@dataclass
class Neighbors:
    """n rows, k asked for. Distances are Euclidean."""

    positive: np.ndarray  # (n, k) int64, -1 where fewer exist or the row is not finite
    distance: np.ndarray  # (n, k) float32, inf there
    rejected: float = 0.0  # share of the graph's answers that were of the anchor's own group
    asked_again: int = 0  # anchors asked a second time with more
    finished_exactly: int = 0


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
    """vectors (n, d) float, groups (n,) of any kind. Returns positive (n, topk) int64 and Euclidean distance (n, topk) float32.

    Nearest first, equal distances: the lower row first; -1 and +inf where fewer exist. A row with a NaN or infinity has no neighbours
    and is nobody's. `exact` has the order of a float64 double loop; `hnsw` is approximate in which rows it finds, not in anything else.
    """
    found = find_neighbors(vectors, groups, topk, index, m, ef_construction, ef, threads, seed, progress)
    return found.positive, found.distance


def find_neighbors(vectors, groups, topk, index, m, ef_construction, ef, threads, seed, progress: Progress = silent) -> Neighbors:
    """As `neighbors_in_other_groups`, with what the search went through."""
    vectors, groups = np.asarray(vectors), np.asarray(groups)
    if vectors.dtype not in (np.float32, np.float64):
        vectors = vectors.astype(np.float32)
    if vectors.ndim != 2 or len(groups) != len(vectors) or topk < 1 or index not in ("hnsw", "exact"):
        raise ValueError(f"vectors {vectors.shape}, groups {np.shape(groups)}, topk {topk}, index {index!r}")
    found = Neighbors(np.full((len(vectors), topk), -1, np.int64), np.full((len(vectors), topk), np.inf, np.float32))
    rows = finite_rows(vectors)
    if len(rows) == 0:
        return found
    groups = np.unique(groups, return_inverse=True)[1].reshape(-1).astype(np.int64)
    distinct = find_distinct(vectors, groups, rows, topk)
    search = _Search(vectors, groups, topk, distinct, threads, progress)
    if index == "hnsw":
        positive, distance = search.by_graph(found, m, ef_construction, ef, seed)
    else:
        positive, distance = search.exactly(distinct.anchors)
    found.positive[rows], found.distance[rows] = positive[distinct.answer], distance[distinct.answer]
    return found


def finite_rows(vectors: np.ndarray) -> np.ndarray:
    """Rows without NaN or infinity, in rising order."""
    parts = [np.isfinite(vectors[start : start + 65536]).all(axis=1) for start in range(0, len(vectors), 65536)]
    return np.flatnonzero(np.concatenate(parts)) if parts else np.zeros(0, np.int64)


class _Search:
    """One set of vectors, asked in two ways."""

    def __init__(self, vectors, groups, topk: int, distinct: Distinct, threads: int, progress: Progress) -> None:
        self.vectors, self.groups, self.topk, self.distinct = vectors, groups, topk, distinct
        self.threads, self.progress = threads, progress
        self._cells: Cells | None = None

    def cells(self) -> Cells:
        if self._cells is None:
            members = self.distinct.members
            self._cells = make_cells(self.vectors, self.groups, members[members >= 0])
        return self._cells

    def exactly(self, anchors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        exact = find_exact(self.vectors, self.groups, anchors, self.cells(), self.topk, self.threads, self.progress)
        return exact.positive, exact.distance.astype(np.float32)

    def by_graph(self, found: Neighbors, m: int, ef_construction: int, ef: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """The graph first; then, for those it left short, more of the graph or the exact search."""
        anchors = self.distinct.anchors
        graph = Graph(self.vectors, self.distinct.first, m, ef_construction, self.threads, seed, self.progress)
        positive = np.empty((len(anchors), self.topk), np.int64)
        distance = np.empty((len(anchors), self.topk), np.float32)
        todo, ef = np.arange(len(anchors)), max(ef, 2 * (self.topk + 1))
        solved, found.rejected = self._try(graph, self._probe(todo), ef)
        pays = solved >= WORTH_ASKING
        while pays and len(todo):
            found.asked_again = 0 if len(todo) == len(anchors) else max(found.asked_again, len(todo))
            short, rejected = self._ask(graph, todo, ef, positive, distance)
            found.rejected = rejected if len(todo) == len(anchors) else found.rejected
            todo, ef = todo[short], 4 * ef
            pays = len(todo) > 0 and ef <= min(DEEPEST_EF, graph.size) and self._pays(graph, todo, ef)
        if len(todo):
            positive[todo], distance[todo] = self.exactly(anchors[todo])
        found.finished_exactly = len(todo)
        return positive, distance

    def _pays(self, graph: Graph, todo: np.ndarray, ef: int) -> bool:
        """Whether asking the graph with `ef` saves more exact search than it costs, measured on the anchors of a few cells.

        Counted in distances, not in seconds: the same data give the same course.
        """
        probe = self._probe(todo)
        exact = find_exact(self.vectors, self.groups, self.distinct.anchors[probe], self.cells(), self.topk, self.threads)
        return STEPS_PER_EF * ef * len(probe) < self._try(graph, probe, ef)[0] * exact.compared

    def _probe(self, todo: np.ndarray) -> np.ndarray:
        """The anchors of a few cells: together, because that is how the exact search takes them."""
        cell = self.cells().cell_of(len(self.vectors))[self.distinct.anchors[todo]]
        some = np.unique(cell)
        return todo[np.isin(cell, some[:: -(-len(some) // PROBE_CELLS)])]

    def _try(self, graph: Graph, probe: np.ndarray, ef: int) -> tuple[float, float]:
        """Share of `probe` that the graph answers well at `ef`, and the share of answers from their own group."""
        scratch = np.empty((len(probe), self.topk), np.int64), np.empty((len(probe), self.topk), np.float32)
        short, rejected = self._ask(graph, probe, ef, *scratch, np.arange(len(probe)))
        return float((~short).mean()), rejected

    def _ask(self, graph: Graph, todo, ef: int, positive, distance, into=None) -> tuple[np.ndarray, float]:
        """Writes the answers of the anchors `todo`. Returns which came out short (bool), and the share of answers from their own group.

        Short is also who was not found at its own place (the graph can fall apart between tight clusters), and whose last
        neighbour came only in the second half of the list, where the graph's recall is lower.
        """
        anchors, into = self.distinct.anchors[todo], todo if into is None else into
        short = np.zeros(len(todo), bool)
        dropped = asked = 0
        for block, places in graph.ask(anchors, ef, ef):
            own = anchors[block]
            rows = np.where(places[:, :, None] >= 0, self.distinct.members[places], -1)
            there = rows >= 0
            fits = there & (self.groups[rows] != self.groups[own][:, None, None])
            asked, dropped = asked + int(there.sum()), dropped + int(there.sum() - fits.sum())
            everything = (places >= 0).all(axis=1) & (places.shape[1] == graph.size)
            lost = places[:, 0] != self.distinct.vector[todo[block]]
            few = fits[:, : (places.shape[1] + 1) // 2].sum(axis=(1, 2)) < self.topk
            short[block] = ~everything & (lost | few)
            answer = self._best(own, rows.reshape(len(own), -1), fits.reshape(len(own), -1))
            positive[into[block]], distance[into[block]] = answer
            self.progress("ask hnsw", block.stop, len(todo))
        return short, dropped / max(asked, 1)

    def _best(self, anchors: np.ndarray, rows: np.ndarray, fits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The `topk` nearest of the first 2 x topk that fit, by (float64 distance, row). rows, fits (b, c), nearest first."""
        owner, column = np.nonzero(fits)
        place = np.arange(len(owner)) - np.searchsorted(owner, np.arange(len(anchors)))[owner]
        owner, column, place = (values[place < 2 * self.topk] for values in (owner, column, place))
        row = np.full((len(anchors), 2 * self.topk), -1, np.int64)
        row[owner, place] = rows[owner, column]
        apart = self.vectors[row].astype(np.float64) - self.vectors[anchors].astype(np.float64)[:, None]
        squared = np.where(row >= 0, np.einsum("bkd,bkd->bk", apart, apart), np.inf)
        order = np.lexsort((row, squared))[:, : self.topk]
        return np.take_along_axis(row, order, 1), np.sqrt(np.take_along_axis(squared, order, 1)).astype(np.float32)
