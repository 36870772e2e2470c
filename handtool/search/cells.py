"""Cells: blocks of at most `WIDTH` neighbouring rows with a bounding ball, which exact search multiplies or skips.

Groups of `SMALL` rows or more have their own cells, so that an anchor's own group can be skipped; smaller groups share
cells (group -1). Split at the median of the widest axis (Bentley 1975, k-d tree, doi:10.1145/361002.361007).
"""

from dataclasses import dataclass

import numpy as np

WIDTH = 128  # 128 anchors x 128 rows x 15 numbers: the largest product that BLAS does not split between threads
SMALL = 64
MIXED = -1
FAR_AWAY = np.float32(3e38)  # squared norm of an empty place, above every threshold


@dataclass(frozen=True)
class Cells:
    """c cells of rows with d numbers. All float32 values are relative to `centre`, to keep rounding errors small."""

    centre: np.ndarray  # (d,) float64
    rows: np.ndarray  # (c, WIDTH) int64, -1 where empty
    points: np.ndarray  # (c, d + 1, WIDTH) float32: the vectors as columns; the last row is their squared norms
    middle: np.ndarray  # (c, d) float32
    radius: np.ndarray  # (c,) float32, of the ball about the middle that holds all rows
    reach: np.ndarray  # (c,) float32, largest norm of a row
    group: np.ndarray  # (c,) int64, MIXED if several

    @property
    def order(self) -> np.ndarray:
        """All rows, cell by cell, so that near rows follow each other. (m,) int64."""
        return self.rows[self.rows >= 0]

    def cell_of(self, num_rows: int) -> np.ndarray:
        """The cell of each row; c for a row without a cell. (num_rows,) int64."""
        there = self.rows >= 0
        cell = np.full(num_rows, len(self.rows), np.int64)
        cell[self.rows[there]] = np.nonzero(there)[0]
        return cell


def make_cells(vectors: np.ndarray, groups: np.ndarray, rows: np.ndarray) -> Cells:
    """vectors (n, d), finite at `rows`; groups (n,) int64 >= 0; rows (m,) int64, m >= 1."""
    parts = [(part, MIXED if shared else int(groups[part[0]])) for part, shared in _by_group(groups, rows)]
    split = [(cell, group) for part, group in parts for cell in _halve(vectors, part, -(-len(part) // WIDTH))]
    table = np.full((len(split), WIDTH), -1, np.int64)
    for i, (cell, _) in enumerate(split):
        table[i, : len(cell)] = cell
    centre = _mean(vectors, rows)
    points = np.empty((len(split), vectors.shape[1] + 1, WIDTH), np.float32)
    middle = np.empty((len(split), vectors.shape[1]), np.float32)
    radius, reach = np.empty(len(split), np.float32), np.empty(len(split), np.float32)
    for start in range(0, len(split), 256):
        block = slice(start, start + 256)
        points[block], middle[block], radius[block], reach[block] = _fill(vectors, table[block], centre)
    return Cells(centre, table, points, middle, radius, reach, np.array([group for _, group in split], np.int64))


def _by_group(groups: np.ndarray, rows: np.ndarray) -> list[tuple[np.ndarray, bool]]:
    """(rows, False) for each large group, and (rows, True) for all small groups together."""
    by_group = rows[np.argsort(groups[rows], kind="stable")]
    cuts = np.flatnonzero(np.diff(groups[by_group])) + 1
    starts, ends = np.r_[0, cuts], np.r_[cuts, len(by_group)]
    small = ends - starts < SMALL
    parts = [(by_group[start:end], False) for start, end in zip(starts[~small], ends[~small])]
    if small.any():
        parts.append((by_group[np.repeat(small, ends - starts)], True))
    return parts


def _halve(vectors: np.ndarray, rows: np.ndarray, count: int) -> list[np.ndarray]:
    """Splits rows into `count` arrays of equal size (+-1), each time along the widest axis."""
    if count == 1:
        return [rows]
    left = count // 2
    at = len(rows) * left // count
    part = vectors[rows]
    axis = int(np.argmax(part.max(axis=0) - part.min(axis=0)))
    order = np.argpartition(part[:, axis], at)
    del part
    return _halve(vectors, rows[order[:at]], left) + _halve(vectors, rows[order[at:]], count - left)


def _mean(vectors: np.ndarray, rows: np.ndarray) -> np.ndarray:
    total = np.zeros(vectors.shape[1])
    for start in range(0, len(rows), 65536):
        total += vectors[rows[start : start + 65536]].sum(axis=0, dtype=np.float64)
    return total / len(rows)


def _fill(vectors: np.ndarray, table: np.ndarray, centre: np.ndarray) -> tuple[np.ndarray, ...]:
    """Points, middle, radius and reach of some cells."""
    there = table >= 0
    relative = (vectors[np.maximum(table, 0)] - centre).astype(np.float32)
    relative[~there] = 0
    square = np.einsum("cwd,cwd->cw", relative, relative)
    reach = np.sqrt(square.max(axis=1))
    middle = (relative.sum(axis=1) / there.sum(axis=1)[:, None]).astype(np.float32)
    away = np.linalg.norm(relative - middle[:, None], axis=2)
    radius = np.where(there, away, 0).max(axis=1) * 1.0001 + 1e-6 * reach  # rounded up, so that the bound holds
    square[~there] = FAR_AWAY
    return np.concatenate([relative, square[:, :, None]], axis=2).transpose(0, 2, 1), middle, radius, reach
