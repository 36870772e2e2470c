"""No hand the positive of thousands: pairs are given out nearest first, and a row that has its share is passed over.

The rule: all candidate pairs in order of (distance, anchor, row); a pair is taken if its anchor has fewer than k positives and its row is
the positive of fewer than `most` anchors.
"""

from collections.abc import Callable

import numpy as np

from handtool.progress import Progress, silent

DEEPER = 4
DEEPEST = 1024  # nearest rows that an anchor looks at


def limit_in_degree(
    positive: np.ndarray,
    distance: np.ndarray,
    topk: int,
    most: int,
    ask: Callable,
    num_rows: int,
    progress: Progress = silent,
) -> tuple[np.ndarray, np.ndarray]:
    """positive, distance (m, k'): candidates, nearest first, -1 where fewer exist. Returns (m, topk) each, -1 and inf where fewer are left.

    `ask(places, depth)` gives deeper lists (len(places), depth) for some anchors; they are asked for as long as an anchor came out short
    and its list was cut off, down to the 1,024 nearest. `num_rows`: rows of the pool.
    """
    lists = [(np.arange(len(positive)), positive, distance)]
    depth = positive.shape[1]
    while True:
        anchor, row, apart = _flatten(lists)
        taken = give_out(anchor, row, apart, topk, most, len(positive))
        got = np.bincount(anchor[taken], minlength=len(positive))
        cut_off = np.zeros(len(positive), bool)
        for places, rows, _ in lists:
            cut_off[places] = rows[:, -1] >= 0
        progress("limit in-degree", int((got == topk).sum()), len(positive))
        short = np.flatnonzero((got < topk) & cut_off)
        if len(short) == 0 or depth >= min(DEEPEST, num_rows):
            return _as_table(anchor[taken], row[taken], apart[taken], topk, len(positive))
        depth = min(DEEPER * depth, DEEPEST, num_rows)
        keep = [~np.isin(places, short) for places, _, _ in lists]
        lists = [(places[k], rows[k], aparts[k]) for k, (places, rows, aparts) in zip(keep, lists)]
        lists.append((short, *ask(short, depth)))


def give_out(
    anchor: np.ndarray, row: np.ndarray, distance: np.ndarray, topk: int, most: int, num_anchors: int
) -> np.ndarray:
    """Which of the candidate pairs (c,) are taken, (c,) bool.

    In rounds: a pair that is among the first of its anchor's and of its row's pairs that still have room is taken whatever comes
    after it, so all such pairs are taken at once; pairs whose anchor or row is full then fall away.
    """
    taken = np.zeros(len(anchor), bool)
    alive = np.lexsort((row, anchor, distance))
    need = np.full(num_anchors, topk)
    room = np.full(int(row.max(initial=-1)) + 1, most)
    while len(alive):
        a, r = anchor[alive], row[alive]
        sure = (_turn(a) < need[a]) & (_turn(r) < room[r])
        taken[alive[sure]] = True
        need -= np.bincount(a[sure], minlength=len(need))
        room -= np.bincount(r[sure], minlength=len(room))
        alive = alive[~sure & (need[a] > 0) & (room[r] > 0)]
    return taken


def _turn(key: np.ndarray) -> np.ndarray:
    """How many equal keys stand before each."""
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
    return tuple(np.concatenate(columns) for columns in zip(*parts))


def _as_table(
    anchor: np.ndarray, row: np.ndarray, distance: np.ndarray, topk: int, num_anchors: int
) -> tuple[np.ndarray, np.ndarray]:
    order = np.lexsort((row, distance, anchor))
    anchor, row, distance = anchor[order], row[order], distance[order]
    place = _turn(anchor)
    positive = np.full((num_anchors, topk), -1, row.dtype)
    apart = np.full((num_anchors, topk), np.inf, np.float32)
    positive[anchor, place], apart[anchor, place] = row, distance
    return positive, apart
