"""Distances in the unit of `--metric`. Searches are Euclidean; of unit vectors half the square is 1 - cos."""

import numpy as np

from handtool.config import MineConfig


def in_metric(distance, config: MineConfig):
    """The distance in config.metric from a Euclidean one."""
    return np.square(distance) / 2 if config.metric == "cosine" else distance


def to_euclidean(distance: float, config: MineConfig) -> float:
    """The inverse of `in_metric`."""
    return float(np.sqrt(2 * distance)) if config.metric == "cosine" else distance


def max_euclidean(config: MineConfig) -> float:
    """--max-distance as a Euclidean one."""
    return np.inf if config.max_distance is None else to_euclidean(config.max_distance, config)
