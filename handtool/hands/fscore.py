"""F-score of two point sets: how much of each is near the other (Knapitsch et al. 2017, Tanks and Temples)."""

import numpy as np
from scipy.spatial import cKDTree


def f_scores(predicted: np.ndarray, truth: np.ndarray, thresholds: tuple[float, ...]) -> np.ndarray:
    """predicted, truth: (n, k, 3), finite, in the unit of the thresholds. Returns (n, thresholds).

    F = 2rp / (r + p), or 0; r: share of predicted points strictly closer than t to a true point, p: the converse.
    """
    scores = np.empty((len(truth), len(thresholds)))
    reach = max(thresholds) * (1 + 1e-6)  # farther neighbours are not searched and give infinity
    for row, (one, other) in enumerate(zip(predicted, truth, strict=True)):
        one_tree, other_tree = (cKDTree(points, compact_nodes=False, balanced_tree=False) for points in (one, other))
        recall = _share_closer(other_tree.query(one, distance_upper_bound=reach)[0], thresholds)
        precision = _share_closer(one_tree.query(other, distance_upper_bound=reach)[0], thresholds)
        both = recall + precision
        scores[row] = np.divide(2 * recall * precision, both, out=np.zeros_like(both), where=both > 0)
    return scores


def _share_closer(distance: np.ndarray, thresholds: tuple[float, ...]) -> np.ndarray:
    return np.array([(distance < threshold).mean() for threshold in thresholds])
