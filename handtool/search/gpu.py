"""Exact search on a GPU with torch: float32 products give a few more than k candidates, which float64 orders.

If rounding could have hidden a neighbour (many rows at nearly the k-th distance), the anchor is searched again on the
CPU, so that both devices give the same answer.

Shapes: B anchors of a block, W rows of the pool at once, K kept.
"""

from collections.abc import Iterator

import numpy as np

from handtool.errors import HandtoolError
from handtool.progress import Progress, silent
from handtool.search.cells import Cells
from handtool.search.exact import find_exact
from handtool.search.exclusion import Exclusion

ANCHORS_AT_ONCE = 4096
ROWS_AT_ONCE = 65_536
SPARE = 16


def search_blocks_on(
    device: str,
    vectors: np.ndarray,
    exclusion: Exclusion,
    anchors: np.ndarray,
    cells: Cells,
    topk: int,
    progress: Progress = silent,
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, int]]:
    """As `exact.search_blocks` with radius_share 1, on a torch device. Errors: HandtoolError if it cannot be used."""
    pool = GpuPool(device, vectors, exclusion, cells)
    keep = topk + SPARE
    for start in range(0, len(anchors), ANCHORS_AT_ONCE):
        places = np.arange(start, min(start + ANCHORS_AT_ONCE, len(anchors)))
        own = anchors[places]
        score, row = pool.nearest(own, keep)
        exact = vectors[own].astype(np.float64)
        apart = vectors[np.maximum(row, 0)].astype(np.float64) - exact[:, None]
        squared = np.einsum("bkd,bkd->bk", apart, apart)
        row = np.where(squared >= exclusion.least**2, row, -1)
        squared = np.where(row >= 0, squared, np.inf)
        order = np.lexsort((np.where(row >= 0, row, len(vectors)), squared))[:, :topk]
        best, distance = np.take_along_axis(row, order, 1), np.take_along_axis(squared, order, 1)
        last = score[:, -1] + pool.norm(exact) ** 2 - pool.slack(exact)  # a lower bound for all rows that were not kept
        uncertain = np.flatnonzero(np.isfinite(score[:, -1]) & (distance[:, -1] >= last))
        if len(uncertain):
            again = find_exact(vectors, exclusion, own[uncertain], cells, topk)
            best[uncertain], distance[uncertain] = again.positive, again.distance**2
        progress("search exactly", places[-1] + 1, len(anchors))
        yield places, best, distance, len(own) * len(pool.rows)


class GpuPool:
    """The rows of `cells` on the device, relative to their mean, with the keys that decide which rows pair."""

    def __init__(self, device: str, vectors: np.ndarray, exclusion: Exclusion, cells: Cells) -> None:
        import torch

        self.torch, self.device, self.exclusion, self.vectors = torch, device, exclusion, vectors
        self.centre, self.rows = cells.centre, np.sort(cells.order)
        if device == "cuda" and not torch.cuda.is_available():
            raise HandtoolError("--device cuda asked, no CUDA GPU here", hint="--device cpu")
        self.points = self.move((vectors[self.rows] - self.centre).astype(np.float32))
        self.square = self.points.square().sum(1)
        self.reach = float(self.square.max().sqrt())
        self.keys = [self.move(key[self.rows]) for key in self.all_keys()]

    def all_keys(self) -> list[np.ndarray]:
        rule = self.exclusion
        if rule.is_equivalence:
            return [rule.group]
        assert rule.video is not None and rule.time is not None
        return [rule.group, rule.video, rule.time]

    def move(self, values: np.ndarray):
        return self.torch.from_numpy(np.ascontiguousarray(values)).to(self.device)

    def norm(self, exact: np.ndarray) -> np.ndarray:
        return np.linalg.norm(exact - self.centre, axis=1)

    def slack(self, exact: np.ndarray) -> np.ndarray:
        """Bound on the rounding error of |b|^2 - 2 a.b and its inputs in float32, in any order of summation. (B,)"""
        return 2 * (exact.shape[1] + 4) * np.finfo(np.float32).eps * (self.norm(exact) + self.reach) ** 2

    def nearest(self, anchors: np.ndarray, keep: int) -> tuple[np.ndarray, np.ndarray]:
        """Scores |b|^2 - 2 a.b (B, keep) float64, rising, and rows (B, keep) int64; inf and -1 if fewer may pair."""
        torch = self.torch
        points_BD = self.move((self.vectors[anchors] - self.centre).astype(np.float32))
        own = [self.move(key[anchors]) for key in self.all_keys()]
        exact = self.vectors[anchors].astype(np.float64)
        nearer_B1 = self.move(self.exclusion.least**2 - self.norm(exact) ** 2 - self.slack(exact))[:, None]
        score_BK = torch.full((len(anchors), keep), torch.inf, device=self.device)
        place_BK = torch.zeros((len(anchors), keep), dtype=torch.int64, device=self.device)
        for start in range(0, len(self.rows), ROWS_AT_ONCE):
            block = slice(start, start + ROWS_AT_ONCE)
            scores_BW = torch.addmm(self.square[block], points_BD, self.points[block].T, alpha=-2)
            scores_BW.masked_fill_(self.excluded(own, [key[block] for key in self.keys]), torch.inf)
            if self.exclusion.least:
                scores_BW.masked_fill_(scores_BW < nearer_B1, torch.inf)
            some_BK, at_BK = scores_BW.topk(min(keep, scores_BW.shape[1]), largest=False)
            score_BK, order_BK = torch.cat((score_BK, some_BK), 1).topk(keep, largest=False)
            place_BK = torch.cat((place_BK, at_BK + start), 1).gather(1, order_BK)
        score, place = score_BK.double().cpu().numpy(), place_BK.cpu().numpy()
        return score, np.where(np.isfinite(score), self.rows[place], -1)

    def excluded(self, own: list, others: list):
        """(B, W) bool: the negation of `Exclusion.allows`."""
        no_BW = own[0][:, None] == others[0]
        if len(own) > 1:
            apart_BW = (own[2][:, None] - others[2]).abs() >= self.exclusion.gap_s
            no_BW |= (own[1][:, None] == others[1]) & ~apart_BW
        return no_BW
