"""Rows with equal vectors: searched once, and the answer given to all."""

from dataclasses import dataclass

import numpy as np

from handtool.search.exclusion import Exclusion


@dataclass(frozen=True)
class Distinct:
    """The u distinct vectors of a pool. `members`: rows that can be a neighbour, at most w per vector."""

    members: np.ndarray  # (u, w) rows in rising order, -1 if fewer
    anchors: np.ndarray  # (a,) the lowest row of each distinct (vector, group)
    vector: np.ndarray  # (a,) int64, number of their distinct vector; -1 if the pool lacks it
    answer: np.ndarray  # (m,) int64, for each given anchor: index into `anchors`

    @property
    def first(self) -> np.ndarray:
        """(u,) the lowest row of each vector."""
        return self.members[:, 0]


def find_distinct(
    vectors: np.ndarray, exclusion: Exclusion, anchors: np.ndarray, pool: np.ndarray, topk: int
) -> Distinct:
    """vectors (n, d); anchors (m,) and pool (p,) rows, rising. Equal means equal bits.

    Of rows with one vector, an anchor needs the lowest `topk` outside its own group. For every anchor it suffices to
    keep `topk` of each group, and of these the lowest 2 x `topk`. If not only groups decide, every row is distinct.
    """
    if not exclusion.is_equivalence:
        place = np.searchsorted(pool, anchors)
        there = pool[np.minimum(place, len(pool) - 1)] == anchors if len(pool) else np.zeros(len(anchors), bool)
        return Distinct(pool[:, None], anchors, np.where(there, place, -1), np.arange(len(anchors)))
    together = np.array_equal(anchors, pool)
    rows = anchors if together else np.union1d(anchors, pool)
    label = _label(vectors, rows)
    of_anchor, of_pool = (
        (label, label) if together else (label[np.searchsorted(rows, some)] for some in (anchors, pool))
    )
    pooled, of_pool = np.unique(of_pool, return_inverse=True)
    number = np.full(len(rows), -1, np.int64)
    number[pooled] = np.arange(len(pooled))
    group = exclusion.group[anchors]
    order = np.lexsort((anchors, group, of_anchor))
    new = np.r_[True, (np.diff(of_anchor[order]) != 0) | (np.diff(group[order]) != 0)][: len(order)]
    kept = np.sort(order[new])  # in the order of rows
    answer = np.empty(len(anchors), np.int64)
    answer[order] = np.searchsorted(kept, order[new])[np.cumsum(new) - 1]
    return Distinct(
        _members(of_pool, exclusion.group[pool], pool, topk), anchors[kept], number[of_anchor[kept]], answer
    )


def _members(vector: np.ndarray, group: np.ndarray, rows: np.ndarray, topk: int) -> np.ndarray:
    """(u, w): the rows of each vector that can be needed. vector (p,): numbers from 0; rows (p,): rising."""
    if len(rows) == 0 or vector.max() + 1 == len(rows):
        return rows[np.argsort(vector)][:, None]
    order = np.lexsort((rows, group, vector))
    new = np.r_[True, (np.diff(vector[order]) != 0) | (np.diff(group[order]) != 0)]
    useful = np.sort(order[_place_in_run(new) < topk])
    useful = useful[np.argsort(vector[useful], kind="stable")]
    place = _place_in_run(np.r_[True, np.diff(vector[useful]) != 0])
    useful, place = useful[place < 2 * topk], place[place < 2 * topk]
    members = np.full((vector.max() + 1, place.max() + 1), -1, rows.dtype)
    members[vector[useful], place] = rows[useful]
    return members


def _place_in_run(new: np.ndarray) -> np.ndarray:
    """0, 1, 2, … counted from each True."""
    start = np.flatnonzero(new)
    return np.arange(len(new)) - start[np.cumsum(new) - 1]


def _label(vectors: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """A number for the vector of each row, from 0 and without gaps. (m,) int64."""
    key = _hash(vectors, rows)
    order = np.argsort(key, kind="stable")
    new = np.r_[True, np.diff(key[order]) != 0][: len(order)]
    for start in range(1, len(rows), 65536):
        block = slice(start, start + 65536)
        here, before = vectors[rows[order[block]]], vectors[rows[order[start - 1 : start + 65535][: len(order[block])]]]
        new[block] |= (here != before).any(axis=1)  # two vectors may share a hash
    label = np.empty(len(rows), np.int64)
    label[order] = np.cumsum(new) - 1
    return label


def _hash(vectors: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """64 bits of each vector (multiply and add, wrapping). (m,) uint64."""
    bits = np.uint32 if vectors.dtype == np.float32 else np.uint64
    factor = np.random.default_rng(1).integers(1, 2**63, vectors.shape[1], dtype=np.uint64)
    factor = 2 * factor + 1
    key = np.empty(len(rows), np.uint64)
    for start in range(0, len(rows), 65536):
        block = np.ascontiguousarray(vectors[rows[start : start + 65536]])
        key[start : start + 65536] = (block.view(bits).astype(np.uint64) * factor).sum(axis=1)
    return key
