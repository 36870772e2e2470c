"""Quality of mined neighbours: recall against exact search on a sample, distances, and in-degree."""

import numpy as np

from handtool.search.exclusion import Exclusion
from handtool.search.neighbors import Search, find_neighbors, finite_rows

SAMPLE = 1_000
QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
QUANTILE_ANCHORS = 1_000_000  # above this number, quantiles are those of a sample
BLOCK_ROWS = 1 << 18


def recall_on_sample(
    vectors: np.ndarray,
    exclusion: Exclusion,
    positive: np.ndarray,
    distance: np.ndarray,
    threads: int = 0,
    seed: int = 5,
    sample: int = SAMPLE,
    anchors: np.ndarray | None = None,
    pool: np.ndarray | None = None,
    kind: np.ndarray | None = None,
) -> float:
    """Share of the true k nearest that were found, for at most `sample` anchors; NaN if none has neighbours.

    positive, distance (m, k) of `anchors` (m,), or of all rows. A neighbour at the (float32) distance of the true k-th
    one counts as found, so that ties do not lower the recall.
    """
    anchors = np.arange(len(vectors)) if anchors is None else anchors
    places = draw_sample(np.isin(anchors, finite_rows(vectors)), seed, sample)
    truth = find_neighbors(
        vectors, exclusion, positive.shape[1], Search("exact", threads=threads), anchors[places], pool, kind
    )
    return share_found(positive[places], distance[places], truth.positive, truth.distance)


def draw_sample(usable: np.ndarray, seed: int, sample: int = SAMPLE) -> np.ndarray:
    """At most `sample` places of usable (m,) bool anchors, drawn at random, rising."""
    return np.sort(np.random.default_rng(seed).permutation(np.flatnonzero(usable))[:sample])


def share_found(
    positive: np.ndarray, distance: np.ndarray, true_positive: np.ndarray, true_distance: np.ndarray
) -> float:
    """As `recall_on_sample`, (m, k) each, where the truth is known."""
    expected = true_positive >= 0
    last = np.where(expected, true_distance, 0).max(axis=1, initial=0)
    right = (positive >= 0) & (distance <= last[:, None])
    found = np.minimum(right.sum(axis=1), expected.sum(axis=1))
    return float(found.sum() / expected.sum()) if expected.any() else float("nan")


def describe_neighbors(
    positive: np.ndarray, distance: np.ndarray, pool: slice = slice(None), last: float = np.inf, seed: int = 5
) -> dict:
    """Quantiles of the distance over all pairs and at rank 1, and of the in-degree (how many anchors have the row).

    positive, distance (m, k), read in blocks; pairs farther than `last` are left out. `pool`: the rows that can be
    positives (default: the anchors). Quantiles of more than 1,000,000 anchors are those of a sample of that size.
    """
    first, stop = pool.start or 0, len(positive) if pool.stop is None else pool.stop
    degree = np.zeros(max(stop - first, 1), np.int64)
    for start in range(0, len(positive), BLOCK_ROWS):
        block = slice(start, start + BLOCK_ROWS)
        rows = positive[block][(positive[block] >= 0) & (distance[block] <= last)]
        degree += np.bincount(rows - first, minlength=len(degree))
    some: slice | np.ndarray = slice(None)
    if len(positive) > QUANTILE_ANCHORS:
        some = np.sort(np.random.default_rng(seed).choice(len(positive), QUANTILE_ANCHORS, replace=False))
    apart = np.asarray(distance[some])
    described: dict[str, object] = {"distance_quantiles_at": list(QUANTILES)}
    for name, values in (("distance_quantiles", apart), ("distance_rank1_quantiles", apart[:, :1])):
        values = values[np.isfinite(values) & (values <= last)]
        described[name] = [float(value) for value in np.quantile(values, QUANTILES)] if len(values) else []
    described["in_degree_mean"] = float(degree.mean())
    described["in_degree_p99"] = float(np.quantile(degree, 0.99))
    described["in_degree_max"] = int(degree.max())
    return described
