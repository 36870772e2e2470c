"""Statistics of features, as LeRobot's training normalises by them: over the frames on which something is known."""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

QUANTILES = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}
LEAST_STD = 1e-6  # below it values count as constant, and are not scaled


@dataclass(frozen=True, eq=False)
class Stats:
    """Of k numbers, (k,) float64 each: count: of known values; squares: their summed squared distances from the mean;
    quantiles: (5, k). All 0 where nothing is known."""

    count: np.ndarray
    least: np.ndarray
    most: np.ndarray
    mean: np.ndarray
    squares: np.ndarray
    quantiles: np.ndarray

    def as_columns(self, shape: tuple[int, ...]) -> dict[str, Any]:
        """name -> nested lists of `shape`; count is one number, 1 at least."""
        std = np.sqrt(self.squares / np.maximum(self.count, 1))
        values = {"min": self.least, "max": self.most, "mean": self.mean}
        values["std"] = np.where(std < LEAST_STD, 1.0, std)
        values |= dict(zip(QUANTILES, self.quantiles))
        columns: dict[str, Any] = {name: each.reshape(shape).tolist() for name, each in values.items()}
        return columns | {"count": [max(int(self.count.max(initial=0)), 1)]}


def measure(values: np.ndarray, known: np.ndarray) -> Stats:
    """values, known: (n, k)."""
    some = known.any(axis=0)
    table = np.where(known, values, np.nan).astype(np.float64)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore", RuntimeWarning)  # of columns in which nothing is known
        quantile = np.quantile if known.all() else np.nanquantile
        figures = [np.nanmin(table, axis=0), np.nanmax(table, axis=0), np.nanmean(table, axis=0)]
        squares = np.nansum((table - figures[2]) ** 2, axis=0)
        quantiles = quantile(table, list(QUANTILES.values()), axis=0)
    kept = [np.where(some, each, 0.0) for each in (*figures, squares, quantiles)]
    return Stats(known.sum(axis=0).astype(np.float64), *kept)


def join(parts: list[Stats]) -> Stats:
    """Of all parts together: exact, but for the quantiles, which are the means of those of the parts by their counts,
    as LeRobot joins them."""
    count = np.stack([part.count for part in parts])
    share = count / np.maximum(count.sum(axis=0), 1)
    mean = sum(part.mean * weight for part, weight in zip(parts, share))
    squares = sum(part.squares + part.count * (part.mean - mean) ** 2 for part in parts)
    has = [part.count > 0 for part in parts]
    least = np.min([np.where(there, part.least, np.inf) for part, there in zip(parts, has)], axis=0)
    most = np.max([np.where(there, part.most, -np.inf) for part, there in zip(parts, has)], axis=0)
    some = count.sum(axis=0) > 0
    quantiles = sum(part.quantiles * weight for part, weight in zip(parts, share))
    return Stats(count.sum(axis=0), np.where(some, least, 0), np.where(some, most, 0), mean, squares, quantiles)
