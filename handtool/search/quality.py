"""How good mined neighbours are: recall against the exact answer on a sample, distances, and who is everybody's neighbour."""

import numpy as np

from handtool.search.cells import make_cells
from handtool.search.exact import find_exact
from handtool.search.neighbors import finite_rows

SAMPLE = 1_000
QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)


def recall_on_sample(
    vectors: np.ndarray,
    groups: np.ndarray,
    positive: np.ndarray,
    distance: np.ndarray,
    threads: int = 0,
    seed: int = 5,
    sample: int = SAMPLE,
) -> float:
    """Share of the true k nearest in other groups that were found, over at most `sample` anchors; NaN where none has any.

    positive, distance (n, k). A neighbour at the distance of the true last one counts (float32), so that exact ties cost nothing.
    """
    rows = finite_rows(vectors)
    if len(rows) == 0:
        return float("nan")
    groups = np.unique(groups, return_inverse=True)[1].reshape(-1).astype(np.int64)
    anchors = np.sort(np.random.default_rng(seed).permutation(rows)[:sample])
    truth = find_exact(vectors, groups, anchors, make_cells(vectors, groups, rows), positive.shape[1], threads)
    expected = truth.positive >= 0
    last = np.where(expected, truth.distance, 0).max(axis=1, initial=0).astype(np.float32)
    right = (positive[anchors] >= 0) & (distance[anchors] <= last[:, None])
    found = np.minimum(right.sum(axis=1), expected.sum(axis=1))
    return float(found.sum() / expected.sum()) if expected.any() else float("nan")


def describe_neighbors(positive: np.ndarray, distance: np.ndarray) -> dict:
    """Distance quantiles over all pairs and at rank 1, and in-degree (how many anchors have the row as their positive). (n, k) each."""
    there = positive >= 0
    degree = np.bincount(positive[there], minlength=len(positive)) if there.any() else np.zeros(max(len(positive), 1), np.int64)
    described = {"distance_quantiles_at": list(QUANTILES)}
    for name, values in (("distance_quantiles", distance[there]), ("distance_rank1_quantiles", distance[:, :1][there[:, :1]])):
        described[name] = [float(value) for value in np.quantile(values, QUANTILES)] if len(values) else []
    described["in_degree_mean"] = float(degree.mean())
    described["in_degree_p99"] = float(np.quantile(degree, 0.99))
    described["in_degree_max"] = int(degree.max())
    return described
