"""Rows that hold the very same vector: searched once, answered for all."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Distinct:
    """u distinct vectors of n rows. `members` are the rows that can be anyone's neighbour, w per vector at most."""

    first: np.ndarray  # (u,) int64, the lowest row of each
    members: np.ndarray  # (u, w) int64 rows in rising order, -1 where fewer
    anchors: np.ndarray  # (a,) int64: one row for each distinct (vector, group), the lowest
    vector: np.ndarray  # (a,) int64, their distinct vectors
    answer: np.ndarray  # (m,) int64, for each row given: its place in `anchors`


def find_distinct(vectors: np.ndarray, groups: np.ndarray, rows: np.ndarray, topk: int) -> Distinct:
    """vectors (n, d), groups (n,), rows (m,) rising. Equal means equal bits.

    Of rows with one vector, an anchor needs the lowest `topk` outside its own group: `topk` of each group, and of those the lowest
    2 x `topk`, are enough for every anchor.
    """
    which = _label(vectors, rows)
    order = np.lexsort((groups[rows], which)) if which[-1] + 1 < len(rows) else np.arange(len(rows))
    new_vector = np.r_[True, np.diff(which[order]) != 0]
    new_pair = new_vector | np.r_[True, np.diff(groups[rows[order]]) != 0]
    answer = np.empty(len(rows), np.int64)
    answer[order] = np.cumsum(new_pair) - 1
    within_pair = np.arange(len(rows)) - np.flatnonzero(new_pair)[answer[order]]
    useful = np.sort(order[within_pair < topk])
    useful = useful[np.argsort(which[useful], kind="stable")]
    starts = np.flatnonzero(np.r_[True, np.diff(which[useful]) != 0])
    place = np.arange(len(useful)) - starts[which[useful]]
    useful, place = useful[place < 2 * topk], place[place < 2 * topk]
    members = np.full((len(starts), place.max() + 1), -1, np.int64)
    members[which[useful], place] = rows[useful]
    return Distinct(members[:, 0].copy(), members, rows[order[new_pair]], which[order[new_pair]], answer)


def _label(vectors: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """A number for each row's vector, 0.. in the order of first appearance. (m,) int64."""
    key = _hash(vectors, rows)
    order = np.argsort(key, kind="stable")
    new = np.r_[True, np.diff(key[order]) != 0]
    for start in range(1, len(rows), 65536):
        block = slice(start, start + 65536)
        here, before = vectors[rows[order[block]]], vectors[rows[order[start - 1 : start + 65535][: len(order[block])]]]
        new[block] |= (here != before).any(axis=1)  # two vectors may share a hash
    label = np.empty(len(rows), np.int64)
    label[order] = np.cumsum(new) - 1
    lowest = order[new]
    rank = np.empty(len(lowest), np.int64)
    rank[np.argsort(lowest)] = np.arange(len(lowest))
    return rank[label]


def _hash(vectors: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """64 bits of each vector (multiply and add, wrapping). (m,) uint64."""
    bits = np.uint32 if vectors.dtype == np.float32 else np.uint64
    factor = np.random.default_rng(1).integers(1, 2**63, vectors.shape[1], dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    key = np.empty(len(rows), np.uint64)
    for start in range(0, len(rows), 65536):
        block = np.ascontiguousarray(vectors[rows[start : start + 65536]])
        key[start : start + 65536] = (block.view(bits).astype(np.uint64) * factor).sum(axis=1)
    return key
