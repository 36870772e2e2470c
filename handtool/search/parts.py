"""Neighbours in a pool that is searched part by part: a worker's memory is its part, and a block of anchors.

The order is that of one search, by (distance, row), so distances stay squared float64 until all parts are merged.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from handtool.progress import Progress, silent
from handtool.search.exclusion import Exclusion
from handtool.search.neighbors import Neighbors, Search, _Search, finite_rows

LEAST_ROWS = 65_536  # anchors of a block, where the part is small
ROWS_OF_PART = 4  # a block has so many times fewer anchors than the part has rows


@dataclass(frozen=True)
class Rules:
    """Who may pair, for n rows: an exclusion, and one kind (n,) that pairs alone, if given."""

    exclusion: Exclusion
    kind: np.ndarray | None = None

    def rows(self, *slices: slice | np.ndarray) -> "Rules":
        """A copy of some rows, one slice after the other."""

        def take(values: Any) -> Any:
            return None if values is None else np.concatenate([values[each] for each in slices])

        some = {name: take(getattr(self.exclusion, name)) for name in ("group", "video", "time")}
        return Rules(replace(self.exclusion, **some), take(self.kind))


class Part:
    """The search in one part of a pool. Its cells and its graph are made once, for all blocks of anchors."""

    def __init__(self, vectors: np.ndarray, topk: int, how: Search, progress: Progress = silent) -> None:
        """vectors (p, d) float."""
        self.count, self.topk, self.how, self.progress = len(vectors), topk, how, progress
        self.block_rows = max(LEAST_ROWS, self.count // ROWS_OF_PART)
        self.vectors = np.empty((self.count + self.block_rows, vectors.shape[1]), vectors.dtype)  # anchors follow
        self.vectors[: self.count] = vectors
        self.finite = finite_rows(vectors)
        self.searches: dict[int, _Search] = {}  # the first one of each kind, with cells and graph

    def search(self, vectors: np.ndarray, rules: Rules, how: Search | None = None) -> Neighbors:
        """The nearest rows of the part for b <= block_rows anchors. vectors (b, d); rules: of the part's rows, then of
        the anchors. Returns rows of the part, and squared distances in float64."""
        stop = self.count + len(vectors)
        self.vectors[self.count : stop] = vectors
        shape = len(vectors), self.topk
        found = Neighbors(np.full(shape, -1, np.int64), np.full(shape, np.inf))
        anchors = self.count + finite_rows(vectors)
        kind = np.zeros(stop, np.int8) if rules.kind is None else rules.kind
        for one in np.unique(kind[anchors]).tolist():
            asked, offered = anchors[kind[anchors] == one], self.finite[kind[self.finite] == one]
            if len(offered):
                given = self.vectors[:stop], rules.exclusion, self.topk, how or self.how, asked, offered, self.progress
                search = _Search(*given, self.searches.get(one), measure=np.asarray)
                search.write(found, asked - self.count)
                if self.searches.setdefault(one, search) is search:
                    search.near = search.cells  # lets go of the anchors
        return found


def merge_best(
    rows: np.ndarray, squared: np.ndarray, more_rows: np.ndarray, more_squared: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The k best of two lists, (b, k) each, by (distance, row); -1 and inf: none. A row that both have counts once."""
    topk = rows.shape[1]
    rows, squared = np.concatenate([rows, more_rows], axis=1), np.concatenate([squared, more_squared], axis=1)
    for _ in range(2):
        order = np.lexsort((rows, squared))
        rows, squared = np.take_along_axis(rows, order, 1), np.take_along_axis(squared, order, 1)
        twice = (rows[:, 1:] == rows[:, :-1]) & (rows[:, 1:] >= 0)
        if not twice.any():
            break
        rows[:, 1:][twice], squared[:, 1:][twice] = -1, np.inf
    return rows[:, :topk], squared[:, :topk]
