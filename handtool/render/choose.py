"""Which of many hands go on the page."""

import numpy as np


def choose_hands(rows: np.ndarray, rng: np.random.Generator, count: int) -> np.ndarray:
    """At most `count` of the rows, drawn at random, in their own order."""
    return np.sort(rng.choice(rows, min(count, len(rows)), replace=False))


def choose_by_video(rows: np.ndarray, video: np.ndarray, rng: np.random.Generator, count: int, columns: int) -> np.ndarray:
    """rows and video (n,): some videos at random, of each as many hands as a line of the page holds, evenly over its time."""
    videos = np.unique(video)
    picked = rng.choice(videos, min(-(-count // columns), len(videos)), replace=False)
    each = [rows[video == v] for v in np.sort(picked)]
    return np.concatenate([r[np.linspace(0, len(r) - 1, min(columns, len(r))).astype(int)] for r in each])[:count]


def choose_lowest(rows: np.ndarray, score: np.ndarray, count: int) -> np.ndarray:
    """rows and score (n,): those of the lowest score, lowest first."""
    return rows[np.argsort(score, kind="stable")][:count]


def choose_anchors(first_distance: np.ndarray, rng: np.random.Generator, rows: int) -> list[tuple[str, np.ndarray]]:
    """first_distance (n,): of the rank-1 positives of n anchors. Returns (name, places among the n): best, median, worst and random ones,
    `rows` in all, none twice."""
    order = np.argsort(first_distance, kind="stable")
    share = max(1, rows // 4)
    middle = max(0, len(order) // 2 - share // 2)
    groups = [("best", order[:share]), ("median", order[middle : middle + share]), ("worst", order[::-1][:share])]
    used: set[int] = set()
    chosen = []
    for name, places in groups:
        fresh = np.array([p for p in places.tolist() if p not in used], int)
        used.update(fresh.tolist())
        chosen.append((name, fresh))
    rest = np.array([p for p in range(len(order)) if p not in used], int)
    count = min(max(rows - len(used), 0), len(rest))
    chosen.append(("random", rng.choice(rest, count, replace=False) if count else rest[:0]))
    return [(name, places) for name, places in chosen if len(places)]


def choose_ranked(error: np.ndarray, count: int) -> list[tuple[str, np.ndarray]]:
    """error (n,), NaN unknown -> ("worst", places), ("median", places), ("best", places), `count` each where there are enough."""
    known = np.flatnonzero(np.isfinite(error))
    order = known[np.argsort(error[known], kind="stable")]
    middle = max(0, len(order) // 2 - count // 2)
    return [("worst", order[::-1][:count]), ("median", order[middle : middle + count]), ("best", order[:count])]
