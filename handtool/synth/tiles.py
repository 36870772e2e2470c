"""The image cut into tiles, and which of the solids come near to which tile."""

import numpy as np

from handtool.synth.flesh import Cones

TILE = 4  # px
BLOCK = 4  # tiles
REACH = 1.8  # a cone nearer to a ray than so many widths of its melting zone may still change the surface
EDGE = 1.2  # px beside a surface that it may colour


def pixel_rays(camera: np.ndarray, across: int, tiles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Unit rays through the pixels of some tiles, `across` in a row: (3, S, T) float32, flat indices into the padded
    image (S, T)."""
    row, column = np.divmod(tiles, across)
    inner_row, inner_column = np.divmod(np.arange(TILE * TILE), TILE)
    v = inner_row[:, None] + TILE * row
    u = inner_column[:, None] + TILE * column
    inverse = np.linalg.inv(camera).astype(np.float32)
    rays = np.empty((3, *u.shape), np.float32)
    for i in range(3):
        rays[i] = inverse[i, 0] * u + inverse[i, 1] * v + inverse[i, 2]
    rays /= np.sqrt(rays[0] ** 2 + rays[1] ** 2 + rays[2] ** 2)
    return rays, v * across * TILE + u


def near_pairs(cones: Cones, camera: np.ndarray, across: int, down: int) -> tuple[np.ndarray, np.ndarray]:
    """(tile, cone) pairs whose projections come within reach of each other, sorted by tile, then cone. across, down:
    tiles of the image.

    First blocks of BLOCK x BLOCK tiles, then the tiles of the blocks that a cone comes near to.
    """
    reach = Reach(cones, camera)
    blocks = np.meshgrid(
        np.arange(0, down, BLOCK), np.arange(0, across, BLOCK), np.arange(len(cones.group)), indexing="ij"
    )
    row, column, cone = (values.ravel() for values in blocks)
    near = reach.near(row, column, cone, BLOCK)
    inner_row, inner_column = np.divmod(np.arange(BLOCK * BLOCK), BLOCK)
    row, column = (row[near, None] + inner_row).ravel(), (column[near, None] + inner_column).ravel()
    cone = np.repeat(cone[near], BLOCK * BLOCK)
    near = np.flatnonzero(reach.near(row, column, cone, 1) & (row < down) & (column < across))
    key = np.sort((row[near] * across + column[near]) * len(cones.group) + cone[near])
    return np.divmod(key, len(cones.group))


class Reach:
    """The outlines of cones in the picture, px, as far as they may change the surface."""

    def __init__(self, cones: Cones, camera: np.ndarray) -> None:
        ends = []
        for point, radius in ((cones.a, cones.radius_a), (cones.b, cones.radius_b)):
            z = np.maximum(point[:, 2], 0.02)
            image = point @ camera.T
            ends.append((image[:, :2] / z[:, None], 1.04 * (radius + REACH * cones.blend) * camera[0, 0] / z))
        (a, ra), (b, rb) = ends
        d = b - a
        columns = (*a.T, *d.T, 1 / np.maximum((d * d).sum(1), 1e-9), ra + EDGE, rb - ra)
        self.columns = np.array(columns, np.float32)

    def near(self, row: np.ndarray, column: np.ndarray, cone: np.ndarray, tiles: int) -> np.ndarray:
        """(n,) bool: squares of `tiles` x `tiles` tiles that begin at the tile (row, column), and cones."""
        x, y, dx, dy, inverse, start, growth = self.columns[:, cone]
        middle = np.float32((tiles * TILE - 1) / 2)
        u, v = column.astype(np.float32) * TILE + middle - x, row.astype(np.float32) * TILE + middle - y
        h = np.minimum(np.maximum((u * dx + v * dy) * inverse, 0), 1)
        reach = start + growth * h + np.float32(0.71 * tiles * TILE)
        return (u - h * dx) ** 2 + (v - h * dy) ** 2 < reach * reach
