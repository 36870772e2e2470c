"""Exact nearest neighbours outside one's own group: a blocked float32 matrix product proposes, float64 decides.

||a - b||^2 = |a|^2 - 2 a.b + |b|^2; what the product says is within its rounding bound of the k-th distance so far is measured again in
float64, so the order is that of a double loop in float64. Cells whose ball lies beyond the k-th distance are never multiplied
(branch and bound, Fukunaga & Narendra 1975, doi:10.1109/T-C.1975.224297).
"""

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from handtool.progress import Progress, silent
from handtool.search.cells import MIXED, WIDTH, Cells

CELLS_AT_ONCE = 16  # one megabyte of scores: stays in the cache of a core
SEED_CELLS = 8  # looked at first, for a first k-th distance
NOBODY = np.iinfo(np.int64).max


@dataclass(frozen=True)
class Exact:
    positive: np.ndarray  # (m, k) int64, -1 where fewer exist
    distance: np.ndarray  # (m, k) float64, inf where fewer exist
    compared: int  # distances looked at, of m x n


def find_exact(
    vectors: np.ndarray, groups: np.ndarray, anchors: np.ndarray, cells: Cells, topk: int, threads: int = 0, progress: Progress = silent
) -> Exact:
    """The `topk` nearest rows of `cells` with another group, for each anchor; nearest first, equal distances by row.

    vectors (n, d), groups (n,) int64, anchors (m,) rows of vectors in any order. Memory: a few MB per thread beside the result.
    """
    positive = np.full((len(anchors), topk), NOBODY, np.int64)
    squared = np.full((len(anchors), topk), np.inf)
    step = int(np.clip(2**18 // (WIDTH * cells.points.shape[2]), 16, WIDTH))
    blocks = _make_blocks(cells, anchors, len(vectors), step)
    own = threading.local()

    def work(block: np.ndarray) -> int:
        if not hasattr(own, "buffers"):
            own.buffers = _Buffers(step, cells.points.shape[2])
        search = _Block(vectors, groups, anchors[block], cells, topk, own.buffers)
        compared = search.run()
        positive[block], squared[block] = search.row, search.squared
        return compared

    compared = 0
    with ThreadPoolExecutor(threads or os.cpu_count() or 1) as pool:
        for done, count in enumerate(pool.map(work, blocks), 1):
            compared += count
            if done % 64 == 0 or done == len(blocks):
                progress("search exactly", min(done * step, len(anchors)), len(anchors))
    return Exact(np.where(positive == NOBODY, -1, positive), np.sqrt(squared), compared)


def _make_blocks(cells: Cells, anchors: np.ndarray, num_rows: int, size: int) -> list[np.ndarray]:
    """Places in `anchors`, at most `size` together, never half of a cell unless it has more: near anchors leave out the same cells."""
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


class _Buffers:
    """What a thread writes its products into, again and again."""

    def __init__(self, num_anchors: int, width: int) -> None:
        self.points = np.empty((CELLS_AT_ONCE, WIDTH, width), np.float32)
        self.scores = np.empty(CELLS_AT_ONCE * num_anchors * WIDTH, np.float32)
        self.within = np.empty(CELLS_AT_ONCE * num_anchors * WIDTH, bool)


class _Block:
    """Up to WIDTH anchors against all cells. b anchors, k best, g cells at once."""

    def __init__(self, vectors, groups, anchors, cells: Cells, topk: int, buffers: _Buffers) -> None:
        self.vectors, self.groups, self.cells, self.topk, self.buffers = vectors, groups, cells, topk, buffers
        self.exact = vectors[anchors].astype(np.float64)
        self.group = groups[anchors]
        self.point = (self.exact - cells.centre).astype(np.float32)
        self.norm = np.linalg.norm(self.point.astype(np.float64), axis=1)
        self.query = np.concatenate([-2 * self.point, np.ones((len(anchors), 1), np.float32)], axis=1)
        self.row = np.full((len(anchors), topk), NOBODY, np.int64)
        self.squared = np.full((len(anchors), topk), np.inf)
        self.proposed: list[tuple[np.ndarray, np.ndarray]] = []
        self.compared = 0

    def run(self) -> int:
        """Fills `row` and `squared`; returns the number of distances looked at."""
        todo, nearest = self._nearest_cells()
        if len(todo) == 0:
            return 0
        limit = self._first_limit(todo[np.argsort(nearest, kind="stable")[: max(SEED_CELLS, 4 * self.topk // WIDTH)]])
        todo, nearest = (values[nearest <= np.sqrt(limit.max())] for values in (todo, nearest))
        order = np.argsort(nearest, kind="stable")
        order = order[self._reached(todo[order], limit)]
        todo, nearest = todo[order], nearest[order]
        own = np.isin(self.cells.group[todo], self.group)
        decide_at = CELLS_AT_ONCE
        for start in range(0, len(todo), CELLS_AT_ONCE):
            if nearest[start] > np.sqrt(limit.max()):
                break
            end = start + CELLS_AT_ONCE
            self._propose(todo[start:end], own[start:end], limit)
            if end >= decide_at:  # at every doubling: about k new proposals per anchor
                self._decide()
                limit = np.minimum(limit, self.squared[:, -1])
                decide_at = 2 * end
        self._decide()
        return self.compared

    def _nearest_cells(self) -> tuple[np.ndarray, np.ndarray]:
        """Cells that may hold a neighbour, and how near to any anchor of the block a row of each can be (a lower bound)."""
        cells = self.cells
        todo = np.arange(len(cells.group))
        if (self.group == self.group[0]).all():
            todo = todo[cells.group != self.group[0]]
        middle = self.point.mean(axis=0)
        radius = np.linalg.norm(self.point - middle, axis=1).max()
        apart = np.linalg.norm(cells.middle[todo] - middle, axis=1)
        return todo, apart * (1 - 1e-5) - radius * (1 + 1e-5) - cells.radius[todo] - 1e-6 * float(self.norm.max())

    def _slack(self, reach: np.ndarray) -> np.ndarray:
        """Bound on the rounding of |a|^2 - 2 a.b + |b|^2 in float32, inputs rounded to float32 included. (b,)"""
        steps = self.query.shape[1] / 4 + 4
        return steps * np.finfo(np.float32).eps * (self.norm + float(reach.max())) ** 2

    def _score(self, some: np.ndarray, own: np.ndarray) -> np.ndarray:
        """|b|^2 - 2 a.b for every anchor and every row of some cells; own groups (where `own`) at infinity. (g, b, WIDTH) float32."""
        shape = (len(some), len(self.query), WIDTH)
        points = np.take(self.cells.points, some, axis=0, out=self.buffers.points[: len(some)], mode="clip")
        scores = np.matmul(self.query, points.transpose(0, 2, 1), out=self.buffers.scores[: np.prod(shape)].reshape(shape))
        self.compared += scores.size
        for g in np.flatnonzero(own):
            scores[g, self.group == self.cells.group[some[g]]] = np.inf
        return scores

    def _first_limit(self, seeds: np.ndarray) -> np.ndarray:
        """An upper bound of each anchor's k-th squared distance; inf where the seeds hold too few. (b,)"""
        nearest = []
        for start in range(0, len(seeds), CELLS_AT_ONCE):
            some = seeds[start : start + CELLS_AT_ONCE]
            scores = self._score(some, np.isin(self.cells.group[some], self.group))
            owner = self.groups[np.maximum(self.cells.rows[some], 0)]
            for g in np.flatnonzero(self.cells.group[some] == MIXED):
                scores[g][self.group[:, None] == owner[g]] = np.inf
            nearest.append(scores.transpose(1, 0, 2).reshape(len(self.query), -1))
        together = np.concatenate(nearest, axis=1)
        if together.shape[1] < self.topk:
            return np.full(len(self.query), np.inf)
        kth = np.partition(together, self.topk - 1, axis=1)[:, self.topk - 1].astype(np.float64)
        return np.where(kth > 1e38, np.inf, np.maximum(kth + self.norm**2, 0) + self._slack(self.cells.reach[seeds]))

    def _reached(self, todo: np.ndarray, limit: np.ndarray) -> np.ndarray:
        """Which cells' balls come within an anchor's limit. (len(todo),) bool."""
        middle = self.cells.middle[todo]
        square = np.einsum("cd,cd->c", middle, middle) - 2 * self.point @ middle.T
        square += (self.norm**2 - self._slack(self.cells.reach)).astype(np.float32)[:, None]
        apart = np.sqrt(np.maximum(square, 0, out=square), out=square)
        apart -= self.cells.radius[todo]
        return (apart <= (np.sqrt(limit) * (1 + 1e-6)).astype(np.float32)[:, None]).any(axis=0)

    def _propose(self, some: np.ndarray, own: np.ndarray, limit: np.ndarray) -> None:
        """Notes the rows that the product cannot rule out."""
        scores = self._score(some, own)
        threshold = (limit + 2 * self._slack(self.cells.reach[some]) - self.norm**2).astype(np.float32)
        within = np.less_equal(scores, threshold[:, None], out=self.buffers.within[: scores.size].reshape(scores.shape))
        flat = np.flatnonzero(within)
        if len(flat):
            anchor = flat // WIDTH % len(self.query)
            row = self.cells.rows[some[flat // (WIDTH * len(self.query))], flat % WIDTH]
            self.proposed.append((anchor, row))
            if len(flat) > 2**15:
                self._decide()

    def _decide(self) -> None:
        """Measures the proposals in float64 and keeps the best of each anchor."""
        if not self.proposed:
            return
        anchor, row = (np.concatenate(parts) for parts in zip(*self.proposed))
        self.proposed.clear()
        fits = (row >= 0) & (self.groups[row] != self.group[anchor])
        anchor, row = anchor[fits], row[fits]
        apart = self.exact[anchor] - self.vectors[row]
        keep_best(self.squared, self.row, anchor, np.einsum("md,md->m", apart, apart), row)


def keep_best(distance: np.ndarray, row: np.ndarray, anchor: np.ndarray, new_distance: np.ndarray, new_row: np.ndarray) -> None:
    """Merges m proposals into the (b, k) best so far, in place; nearest first, equal distances by row. No row is proposed twice."""
    touched, at = np.unique(anchor, return_inverse=True)
    topk = distance.shape[1]
    owner = np.concatenate([np.repeat(np.arange(len(touched)), topk), at])
    distances = np.concatenate([distance[touched].ravel(), new_distance])
    rows = np.concatenate([row[touched].ravel(), new_row])
    order = np.lexsort((rows, distances, owner))
    first = np.searchsorted(owner[order], np.arange(len(touched)))
    best = order[first[:, None] + np.arange(topk)]
    distance[touched], row[touched] = distances[best], rows[best]
