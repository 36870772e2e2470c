"""Approximate neighbours with hnswlib (Malkov & Yashunin 2018, arXiv:1603.09320).

hnswlib accepts rows with NaN and finds only some copies of a repeated vector, so it gets finite, distinct vectors. The
graph is built and queried in an order in which near rows follow each other, so that one query finds in the cache what
the one before it has loaded.
"""

from collections.abc import Iterator

import numpy as np

from handtool.cores import count_cores
from handtool.errors import HandtoolError
from handtool.progress import Progress, silent

BUILD_ROWS = 50_000  # between two reports of progress
QUERY_ROWS = 8_192
FIRST_SHARE = 0.2  # of the rows, inserted first in random order: a graph that grows from one corner has few long links


class Graph:
    """An hnswlib index of some rows of `vectors`; with `threads=1` the same rows and seed give the same index."""

    def __init__(
        self,
        vectors: np.ndarray,
        rows: np.ndarray,
        order: np.ndarray,
        m: int,
        ef_construction: int,
        threads: int,
        seed: int,
        progress: Progress = silent,
    ) -> None:
        """vectors (n, d), finite at `rows` (u,), u >= 1; `order`: the places 0..u-1, with near rows after each other.

        Raises HandtoolError if hnswlib cannot be imported.
        """
        self.vectors, self.size, self.threads = vectors, len(rows), threads or count_cores()
        self.index = _hnswlib().Index(space="l2", dim=vectors.shape[1])
        self.index.init_index(max_elements=len(rows), M=m, ef_construction=ef_construction, random_seed=seed)
        rng = np.random.default_rng(seed)
        first = rng.random(len(order)) < FIRST_SHARE
        order = np.concatenate([rng.permutation(order[first]), order[~first]])
        for start in range(0, len(order), BUILD_ROWS):
            place = order[start : start + BUILD_ROWS]
            self.index.add_items(_float32(vectors[rows[place]]), place, num_threads=self.threads)
            progress("build hnsw", start + len(place), len(order))

    @property
    def repeatable(self) -> bool:
        """Whether one thread built the graph: with several, the order of the rows, and so the links, vary."""
        return self.threads == 1

    def ask(self, anchors: np.ndarray, count: int, ef: int) -> Iterator[tuple[slice, np.ndarray]]:
        """Yields (slice of anchors, (b, count) int64 places in `rows`, nearest first); all -1 if too few are found."""
        count = min(count, self.size)
        self.index.set_ef(max(ef, count))
        for start in range(0, len(anchors), QUERY_ROWS):
            block = slice(start, min(start + QUERY_ROWS, len(anchors)))
            yield block, self._query(_float32(self.vectors[anchors[block]]), count)

    def _query(self, queries: np.ndarray, count: int) -> np.ndarray:
        try:
            return self.index.knn_query(queries, k=count, num_threads=self.threads)[0].astype(np.int64)
        except RuntimeError:  # "Cannot return the results in a contiguous 2D array": a query found fewer than `count`
            if len(queries) == 1:
                return np.full((1, count), -1, np.int64)
            half = len(queries) // 2
            return np.concatenate([self._query(queries[:half], count), self._query(queries[half:], count)])


def _float32(vectors: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(vectors, dtype=np.float32)


def _hnswlib():
    try:
        import hnswlib
    except ImportError as error:
        raise HandtoolError(
            f"hnswlib cannot be imported ({error}): PyPI has only its source, which a C++ compiler (g++ or clang++) "
            "must build",
            hint="apt-get install g++ && pip install --force-reinstall --no-cache-dir hnswlib   "
            "(or mine with --index exact)",
        ) from error
    return hnswlib
