"""A limit on how often one hand is a positive (its in-degree).

The rule: go through all candidate pairs in order of (distance, anchor, row); accept a pair if its anchor has fewer than
k positives and its row is the positive of fewer than `most` anchors.
"""

from collections.abc import Callable

import numpy as np

from handtool.progress import Progress, silent

GROWTH = 4
DEEPEST = 1024  # nearest rows considered for an anchor


def limit_in_degree(
    positive: np.ndarray,
    distance: np.ndarray,
    topk: int,
    most: int,
    ask: Callable,
    num_rows: int,
    progress: Progress = silent,
) -> tuple[np.ndarray, np.ndarray]:
    """positive, distance (m, k'): candidates, nearest first, -1: none. Returns (m, topk) each, -1 and inf: none.

    `ask(places, depth)` returns longer lists (len(places), depth) for some anchors. It is called, up to the 1,024
    nearest, while anchors have fewer than k positives and longer lists exist. `num_rows`: rows of the pool.
    """
    lists = [(np.arange(len(positive)), positive, distance)]
    depth = positive.shape[1]
    while True:
        anchor, row, apart = _flatten(lists)
        taken = accept_pairs(anchor, row, apart, topk, most, len(positive))
        got = np.bincount(anchor[taken], minlength=len(positive))
        cut_off = np.zeros(len(positive), bool)
        for places, rows, _ in lists:
            cut_off[places] = rows[:, -1] >= 0
        progress("limit in-degree", int((got == topk).sum()), len(positive))
        short = np.flatnonzero((got < topk) & cut_off)
        if len(short) == 0 or depth >= min(DEEPEST, num_rows):
            return _as_table(anchor[taken], row[taken], apart[taken], topk, len(positive))
        depth = min(GROWTH * depth, DEEPEST, num_rows)
        keep = [~np.isin(places, short) for places, _, _ in lists]
        lists = [(places[k], rows[k], aparts[k]) for k, (places, rows, aparts) in zip(keep, lists)]
        lists.append((short, *ask(short, depth)))


def accept_pairs(
    anchor: np.ndarray, row: np.ndarray, distance: np.ndarray, topk: int, most: int, num_anchors: int
) -> np.ndarray:
    """Which of the candidate pairs (c,) are accepted, (c,) bool.

    Works in rounds. A pair is certain if few enough pairs of its anchor and of its row come before it; all certain
    pairs are accepted at once, then pairs whose anchor or row is full are dropped.
    """
    taken = np.zeros(len(anchor), bool)
    alive = np.lexsort((row, anchor, distance))
    need = np.full(num_anchors, topk)
    room = np.full(int(row.max(initial=-1)) + 1, most)
    while len(alive):
        a, r = anchor[alive], row[alive]
        sure = (_rank_among_equals(a) < need[a]) & (_rank_among_equals(r) < room[r])
        taken[alive[sure]] = True
        need -= np.bincount(a[sure], minlength=len(need))
        room -= np.bincount(r[sure], minlength=len(room))
        alive = alive[~sure & (need[a] > 0) & (room[r] > 0)]
    return taken


def _rank_among_equals(key: np.ndarray) -> np.ndarray:
    """For each key, the number of equal keys before it."""
    order = np.argsort(key, kind="stable")
    start = np.flatnonzero(np.r_[True, np.diff(key[order]) != 0])
    turn = np.empty(len(key), np.int64)
    turn[order] = np.arange(len(key)) - np.repeat(start, np.diff(np.r_[start, len(key)]))
    return turn


def _flatten(lists: list) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    parts = []
    for places, rows, distances in lists:
        owner, column = np.nonzero(rows >= 0)
        parts.append((places[owner], rows[owner, column], distances[owner, column]))
    places, rows, distances = (np.concatenate(columns) for columns in zip(*parts))
    return places, rows, distances


def _as_table(
    anchor: np.ndarray, row: np.ndarray, distance: np.ndarray, topk: int, num_anchors: int
) -> tuple[np.ndarray, np.ndarray]:
    order = np.lexsort((row, distance, anchor))
    anchor, row, distance = anchor[order], row[order], distance[order]
    place = _rank_among_equals(anchor)
    positive = np.full((num_anchors, topk), -1, row.dtype)
    apart = np.full((num_anchors, topk), np.inf, np.float32)
    positive[anchor, place], apart[anchor, place] = row, distance
    return positive, apart
