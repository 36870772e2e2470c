"""Exact nearest neighbours among the rows that an anchor may pair with: float32 products propose rows, float64 decides.

||a - b||^2 = |a|^2 - 2 a.b + |b|^2. Rows whose product is within its rounding bound of the k-th distance so far are
measured again in float64, so the order is that of a double loop in float64. Cells whose ball is beyond the k-th
distance are skipped (branch and bound, Fukunaga & Narendra 1975, doi:10.1109/T-C.1975.224297).

In many dimensions few rows are near the surface of a ball: the row of a cell that is nearest to an anchor is about half
a radius in front of the middle, seldom farther. With `radius_share` < 1 the search uses only that share of each radius;
it is several times faster and not exact.
"""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from handtool.cores import count_cores
from handtool.progress import Progress, silent
from handtool.search.cells import WIDTH, Cells
from handtool.search.exclusion import Exclusion

CELLS_AT_ONCE = 24  # 1.5 MB of scores: fits the core's cache and outweighs the cost of a numpy call
SEED_CELLS = 8  # searched first, for a first k-th distance
# multiplications; OpenBLAS splits larger products between its own threads, which compete with ours
SMALL_PRODUCT = 2**18
NO_ROW = np.iinfo(np.int64).max


@dataclass(frozen=True)
class Exact:
    positive: np.ndarray  # (m, k) int64, -1 if fewer exist
    distance: np.ndarray  # (m, k) float64, inf if fewer exist
    compared: int  # distances computed, of m x n


def find_exact(
    vectors: np.ndarray,
    exclusion: Exclusion,
    anchors: np.ndarray,
    cells: Cells,
    topk: int,
    threads: int = 0,
    radius_share: float = 1.0,
    progress: Progress = silent,
    near: Cells | None = None,
) -> Exact:
    """The `topk` nearest rows of `cells` that may pair with each anchor; nearest first, equal distances by row.

    vectors (n, d); anchors (m,): rows of vectors in any order; `cells`: made with the groups of `exclusion`;
    `radius_share` 1: exact; `near`: cells with the anchors, if `cells` lacks them. Memory: a few MB per thread.
    """
    positive = np.full((len(anchors), topk), -1, np.int64)
    distance = np.full((len(anchors), topk), np.inf)
    compared = 0
    for places, row, squared, count in search_blocks(
        vectors, exclusion, anchors, cells, topk, threads, radius_share, progress, near
    ):
        positive[places], distance[places] = row, np.sqrt(squared)
        compared += count
    return Exact(positive, distance, compared)


def search_blocks(
    vectors,
    exclusion,
    anchors,
    cells: Cells,
    topk: int,
    threads: int = 0,
    radius_share: float = 1.0,
    progress: Progress = silent,
    near: Cells | None = None,
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, int]]:
    """As `find_exact`, block by block. Yields (places in `anchors` (b,), rows (b, k), squared distances (b, k)
    float64, number of distances computed)."""
    step = int(np.clip(2**18 // (WIDTH * cells.points.shape[1]), 16, WIDTH))
    blocks = _make_blocks(near or cells, anchors, len(vectors), step)
    balls = _make_balls(cells, radius_share)
    own = threading.local()

    def work(block: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
        if not hasattr(own, "buffers"):
            own.buffers = _Buffers(step, cells.points.shape[1])
        search = _Block(vectors, exclusion, anchors[block], cells, balls, topk, radius_share, own.buffers)
        search.run()
        return block, np.where(search.row == NO_ROW, -1, search.row), search.squared, search.compared

    done = 0
    with ThreadPoolExecutor(threads or count_cores()) as pool:
        for start in range(0, len(blocks), 1024):  # limits the answers held in memory
            for answer in pool.map(work, blocks[start : start + 1024]):
                done += len(answer[0])
                progress("search exactly", done, len(anchors))
                yield answer


def _make_blocks(cells: Cells, anchors: np.ndarray, num_rows: int, size: int) -> list[np.ndarray]:
    """Blocks of places in `anchors`, at most `size` each; cells are kept whole, as near anchors skip the same cells."""
    of_anchor = cells.cell_of(num_rows)[anchors]
    order = np.argsort(of_anchor, kind="stable")
    cuts = np.flatnonzero(np.diff(of_anchor[order])) + 1
    blocks, start, before = [], 0, 0
    for end in [*cuts.tolist(), len(order)]:
        if end - start > size and before > start:
            blocks.append(order[start:before])
            start = before
        while end - start > size:
            blocks.append(order[start : start + size])
            start += size
        before = end
    if start < len(order):
        blocks.append(order[start:])
    return blocks


def _make_balls(cells: Cells, radius_share: float) -> np.ndarray:
    """One row per cell: middle m, |m|^2 - r^2, 1 and r; its product with an anchor's row tells if it is in reach."""
    radius = np.float32(radius_share) * cells.radius
    square = np.einsum("cd,cd->c", cells.middle, cells.middle)
    return np.column_stack([cells.middle, square - radius**2, np.ones_like(radius), radius]).astype(np.float32)


class _Buffers:
    """Arrays that one thread reuses for its products."""

    def __init__(self, num_anchors: int, height: int) -> None:
        self.points = np.empty((CELLS_AT_ONCE, height, WIDTH), np.float32)
        self.scores = np.empty(CELLS_AT_ONCE * num_anchors * WIDTH, np.float32)


class _Block:
    """The search of b anchors, at most WIDTH, through all cells: k nearest rows, g cells at a time."""

    def __init__(
        self,
        vectors,
        exclusion: Exclusion,
        anchors,
        cells: Cells,
        balls,
        topk: int,
        radius_share: float,
        buffers: _Buffers,
    ) -> None:
        self.vectors, self.exclusion, self.anchors = vectors, exclusion, anchors
        self.cells, self.balls = cells, balls
        self.topk, self.radius_share, self.buffers = topk, radius_share, buffers
        self.group = exclusion.group[anchors]
        self.one_group = bool((self.group == self.group[0]).all())
        self.exact = vectors[anchors].astype(np.float64)
        self.point = (self.exact - cells.centre).astype(np.float32)
        self.norm = np.linalg.norm(self.point.astype(np.float64), axis=1)
        self.query = np.concatenate([-2 * self.point, np.ones((len(anchors), 1), np.float32)], axis=1)
        self.row = np.full((len(anchors), topk), NO_ROW, np.int64)
        self.squared = np.full((len(anchors), topk), np.inf)
        self.proposed: list[tuple[np.ndarray, np.ndarray]] = []
        self.compared = 0

    def run(self) -> None:
        """Fills `row` and `squared`, nearest cells first; each doubling drops cells beyond the new k-th distance."""
        todo, nearest = self._nearest_cells()
        if len(todo) == 0:
            return
        num_seeds = min(len(todo), max(SEED_CELLS, 4 * self.topk // WIDTH))
        limit = self._first_limit(todo[np.argpartition(nearest, num_seeds - 1)[:num_seeds]])
        order = np.flatnonzero(nearest <= np.sqrt(limit.max()))
        order = order[np.argsort(nearest[order], kind="stable")]
        todo, count, seen = todo[order], CELLS_AT_ONCE, 0
        while len(todo):
            for start in range(0, min(count, len(todo)), CELLS_AT_ONCE):
                self._propose(todo[start : min(start + CELLS_AT_ONCE, count)], limit)
            self._decide()
            limit = np.minimum(limit, self.squared[:, -1])
            todo, seen = todo[count:], seen + count
            todo, count = todo[self._reached(todo, limit)], seen

    def _nearest_cells(self) -> tuple[np.ndarray, np.ndarray]:
        """Cells that may hold a neighbour, and a lower bound of the distance of their rows from the anchors."""
        cells = self.cells
        todo = np.arange(len(cells.group))
        if self.one_group:
            todo = todo[cells.group != self.group[0]]
        middle = self.point.mean(axis=0)
        radius = np.linalg.norm(self.point - middle, axis=1).max()
        apart = np.linalg.norm(cells.middle[todo] - middle, axis=1)
        return todo, apart * (1 - 1e-5) - radius * (1 + 1e-5) - self.radius_share * cells.radius[todo] - 1e-6 * float(
            self.norm.max()
        )

    def _slack(self, reach: np.ndarray) -> np.ndarray:
        """Bound on the rounding error of |a|^2 - 2 a.b + |b|^2 in float32, including that of the inputs. (b,)"""
        steps = self.query.shape[1] / 4 + 4
        return steps * np.finfo(np.float32).eps * (self.norm + float(reach.max())) ** 2

    def _score(self, some: np.ndarray) -> np.ndarray:
        """|b|^2 - 2 a.b for every row of some cells and every anchor. (WIDTH, g, b) float32: the minimum over the
        rows of a cell is taken along the first axis, which is twice as fast as along another."""
        shape = (WIDTH, len(some), len(self.query))
        points = np.take(self.cells.points, some, axis=0, out=self.buffers.points[: len(some)], mode="clip")
        scores = self.buffers.scores[: np.prod(shape)].reshape(shape)
        np.matmul(points.transpose(0, 2, 1), self.query.T, out=scores.transpose(1, 0, 2))
        self.compared += scores.size
        return scores

    def _first_limit(self, seeds: np.ndarray) -> np.ndarray:
        """An upper bound of each anchor's k-th squared distance; inf if the seeds hold too few rows. (b,)"""
        nearest = []
        for start in range(0, len(seeds), CELLS_AT_ONCE):
            some = seeds[start : start + CELLS_AT_ONCE]
            rows = np.maximum(self.cells.rows[some], 0).T[:, :, None]
            allowed, scores = self.exclusion.allows(self.anchors, rows), self._score(some)
            if self.exclusion.least:  # those that are certainly far enough
                allowed &= scores >= self.exclusion.least**2 - self.norm**2 + self._slack(self.cells.reach[some])
            scores = np.where(allowed, scores, np.inf)
            nearest.append(scores.reshape(-1, len(self.query)).T)
        together = np.concatenate(nearest, axis=1)
        if together.shape[1] < self.topk:
            return np.full(len(self.query), np.inf)
        kth = np.partition(together, self.topk - 1, axis=1)[:, self.topk - 1].astype(np.float64)
        return np.where(kth > 1e38, np.inf, np.maximum(kth + self.norm**2, 0) + self._slack(self.cells.reach[seeds]))

    def _reached(self, todo: np.ndarray, limit: np.ndarray) -> np.ndarray:
        """(len(todo),) bool: cells with a ball within some anchor's limit, |a - m|^2 <= (l + r)^2, as one product."""
        distance = np.minimum(np.sqrt(limit) * (1 + 1e-6), 1e18)
        steps = self.query.shape[1] / 4 + 6
        slack = steps * np.finfo(np.float32).eps * (self.norm + distance + 2 * float(self.cells.reach.max())) ** 2
        columns = [-2 * self.point, np.ones_like(distance), self.norm**2 - distance**2 - slack, -2 * distance]
        anchors = np.column_stack(columns).astype(np.float32)
        width = SMALL_PRODUCT // anchors.size
        padded = np.pad(self.balls[todo], ((0, -len(todo) % width), (0, 0)), mode="edge").reshape(
            -1, width, anchors.shape[1]
        )
        nearest, step = [], max(1, len(self.buffers.scores) // (len(anchors) * width))
        for start in range(0, len(padded), step):
            some = padded[start : start + step]
            beyond = self.buffers.scores[: len(anchors) * len(some) * width].reshape(len(anchors), len(some), width)
            np.matmul(anchors, some.transpose(0, 2, 1), out=beyond.transpose(1, 0, 2))
            nearest.append(beyond.reshape(len(anchors), -1).min(axis=0))
        return np.concatenate(nearest)[: len(todo)] < 0 if nearest else np.zeros(0, bool)

    def _propose(self, some: np.ndarray, limit: np.ndarray) -> None:
        """Adds the rows that the product cannot rule out to `proposed`; a cell's smallest score tells if it has any."""
        scores = self._score(some)
        for g in () if self.one_group else np.flatnonzero(np.isin(self.cells.group[some], self.group)):
            scores[:, g, self.group == self.cells.group[some[g]]] = np.inf
        threshold = (limit + 2 * self._slack(self.cells.reach[some]) - self.norm**2).astype(np.float32)
        flat = scores.reshape(WIDTH, -1)
        near = np.flatnonzero(flat.min(axis=0).reshape(len(some), -1) <= threshold)
        if len(near):
            cell, b = np.divmod(near, len(threshold))
            place, hit = np.nonzero(flat[:, near] <= threshold[b])
            self.proposed.append((b[hit], self.cells.rows[some[cell[hit]], place]))
            if len(hit) > 2**15:
                self._decide()

    def _decide(self) -> None:
        """Measures the proposed rows in float64 and keeps the best of each anchor."""
        if not self.proposed:
            return
        anchor, row = (np.concatenate(parts) for parts in zip(*self.proposed))
        self.proposed.clear()
        fits = (row >= 0) & self.exclusion.allows(self.anchors[anchor], row)
        anchor, row = anchor[fits], row[fits]
        apart = self.exact[anchor] - self.vectors[row]
        squared = np.einsum("md,md->m", apart, apart)
        far = squared >= self.exclusion.least**2
        keep_best(self.squared, self.row, anchor[far], squared[far], row[far])


def keep_best(
    distance: np.ndarray, row: np.ndarray, anchor: np.ndarray, new_distance: np.ndarray, new_row: np.ndarray
) -> None:
    """Merges m proposals, no row twice, into the (b, k) best so far, in place; sorted by (distance, row)."""
    touched, at = np.unique(anchor, return_inverse=True)
    topk = distance.shape[1]
    owner = np.concatenate([np.repeat(np.arange(len(touched)), topk), at])
    distances = np.concatenate([distance[touched].ravel(), new_distance])
    rows = np.concatenate([row[touched].ravel(), new_row])
    order = np.lexsort((rows, distances, owner))
    first = np.searchsorted(owner[order], np.arange(len(touched)))
    best = order[first[:, None] + np.arange(topk)]
    distance[touched], row[touched] = distances[best], rows[best]


def best_of(vectors: np.ndarray, anchors: np.ndarray, rows: np.ndarray, topk: int) -> tuple[np.ndarray, np.ndarray]:
    """The `topk` nearest of some rows by (distance, row). anchors (b,); rows (b, c), -1: none. Returns rows (b, topk),
    -1 where fewer, and squared distances (b, topk) float64, inf there."""
    apart = vectors[rows].astype(np.float64) - vectors[anchors].astype(np.float64)[:, None]
    squared = np.where(rows >= 0, np.einsum("bcd,bcd->bc", apart, apart), np.inf)
    order = np.lexsort((rows, squared))[:, :topk]
    return np.take_along_axis(rows, order, 1), np.take_along_axis(squared, order, 1)
