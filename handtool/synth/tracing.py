"""Rays against round cones that melt into one another: where each pixel first meets the surface, by sphere tracing.

The image is cut into tiles, each tile meets only the cones that come near it, and all (tile, cone) pairs advance together.
Arrays are (pixels of a tile, tiles) or (pixels of a tile, pairs), so that the long axis is the fast one.
"""

from copy import copy
from dataclasses import dataclass

import numpy as np

from handtool.synth.flesh import Cones

TILE = 4  # px
STEPS = 4
ROUNDS, MORE_STEPS = 3, 6  # for what is undecided then
LEAVING = np.float32(2.2)  # length of a step, in distances, of a ray that goes away from the surface
SPARE_M = np.float32(0.005)  # no step is longer than the distance and this, or it could pass through a finger
LOST_M = 0.12  # a ray this far from everything that is near its tile will meet nothing
FAR = np.float32(1e3)
REACH = 1.8  # a cone nearer to a ray than so many widths of its melting zone may still change the surface
EDGE = 1.2  # px beside a surface that it may colour


@dataclass
class Hits:
    """What the rays met. T tiles that anything is near to, S = TILE^2 pixels each."""

    pixel: np.ndarray  # (S, T) flat index into the padded image
    padded: tuple[int, int]  # rows, columns of the padded image
    depth: np.ndarray  # (S, T) m along the ray, FAR where nothing was met
    cover: np.ndarray  # (S, T) share of the pixel that is covered, 0..1
    normal: np.ndarray  # (3, S, T)
    point: np.ndarray  # (3, S, T)
    cone: np.ndarray  # (S, T) the cone that shapes the surface there


def pixel_rays(camera: np.ndarray, across: int, tiles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Unit rays through the pixels of some tiles, `across` in a row: (3, S, T) float32, flat indices into the padded image (S, T)."""
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
    """(tile, cone) pairs whose projections come within reach of each other, sorted by tile, then cone. across, down: tiles of the image."""
    centre = (np.arange(max(across, down)) * TILE + (TILE - 1) / 2).astype(np.float32)
    ends = []
    for point, radius in ((cones.a, cones.radius_a), (cones.b, cones.radius_b)):
        z = np.maximum(point[:, 2], 0.02)
        image = point @ camera.T
        ends.append((image[:, :2] / z[:, None], 1.04 * (radius + REACH * cones.blend) * camera[0, 0] / z))
    (a, ra), (b, rb) = ends
    u, v = centre[None, :across, None] - a[:, 0].astype(np.float32), centre[:down, None, None] - a[:, 1].astype(np.float32)
    d = (b - a).astype(np.float32)
    h = np.clip((u * d[:, 0] + v * d[:, 1]) / np.maximum((d * d).sum(1), 1e-9), 0, 1)
    reach = ra + (rb - ra) * h + 0.71 * TILE + EDGE
    inside = (u - h * d[:, 0]) ** 2 + (v - h * d[:, 1]) ** 2 < reach * reach
    tile, cone = np.nonzero(inside.reshape(across * down, -1))
    return tile, cone


class Pairs:
    """All (tile, cone) pairs with what does not change along the rays. P pairs, G (tile, group) runs, T tiles."""

    def __init__(self, cones: Cones, tile: np.ndarray, cone: np.ndarray, rays: np.ndarray) -> None:
        """tile: (P,) sorted, 0..T-1; cone: (P,); rays: (3, S, T)."""
        self.rays = rays

        def per_pair(values: np.ndarray) -> np.ndarray:
            return np.ascontiguousarray(values.astype(np.float32)[cone].T)

        axis = cones.b - cones.a
        length = np.maximum(np.linalg.norm(axis, axis=1), 1e-6)
        axis = axis / length[:, None]
        slope = np.clip((cones.radius_a - cones.radius_b) / length, -0.9, 0.9)
        self.cone, self.group = cone, cones.group[cone]
        self.a, self.axis = per_pair(cones.a), per_pair(axis)
        self.length, self.radius = per_pair(length), per_pair(cones.radius_a)
        self.sine, self.tangent = per_pair(slope), per_pair(slope / np.sqrt(1 - slope**2))
        self.blend = per_pair(cones.blend)
        x, y, z = rays[0][:, tile], rays[1][:, tile], rays[2][:, tile]
        self.along = x * self.axis[0] + y * self.axis[1] + z * self.axis[2]  # ray . axis
        self.towards = x * self.a[0] + y * self.a[1] + z * self.a[2]  # ray . a
        self.offset = (self.a * self.axis).sum(0)
        self.square = (self.a * self.a).sum(0)
        self.index(tile)

    def index(self, tile: np.ndarray) -> None:
        """Where the runs of equal (tile, group) and of equal tile begin."""
        new_tile = np.diff(tile, prepend=-1) != 0
        new_group = new_tile | (np.diff(self.group, prepend=-1) != 0)
        self.tile = tile
        self.pair_start = np.flatnonzero(new_tile)  # of tiles, in pairs
        self.group_start = np.flatnonzero(new_group)  # of groups, in pairs
        self.tile_start = np.flatnonzero(new_tile[self.group_start])  # of tiles, in groups
        self.group_of_pair = np.cumsum(new_group) - 1
        self.tile_of_group = tile[self.group_start]
        self.inverse_blend, self.group_blend = 1 / self.blend, self.blend[self.group_start]

    def alone(self, pixel: np.ndarray, tile: np.ndarray) -> "Pairs":
        """The rays of some pixels (numbers within their tile, tile), each a tile of its own, as `measure` and `melt` need them."""
        counts = np.diff(self.pair_start, append=len(self.tile))[tile]
        ray = np.repeat(np.arange(len(tile)), counts)
        kept = self.pair_start[tile][ray] + np.arange(len(ray)) - (np.cumsum(counts) - counts)[ray]
        part = copy(self)
        for name in ("group", "length", "radius", "sine", "tangent", "blend", "offset", "square"):
            setattr(part, name, getattr(self, name)[kept])
        part.along, part.towards = self.along[pixel[ray], kept][None], self.towards[pixel[ray], kept][None]
        part.index(ray)
        return part

    def measure(self, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """t (S, T) m along the rays -> distance (S, P) to each cone and where its nearest sphere sits on the axis (S, P)."""
        t = t[:, self.tile]
        y = t * self.along
        y -= self.offset
        square = self.towards * -2
        square += t
        square *= t
        square += self.square
        square -= y * y
        np.maximum(square, 0, out=square)
        q = np.sqrt(square)
        x = y - q * self.tangent
        np.clip(x, 0, self.length, out=x)
        y -= x
        y *= y
        y += square
        np.sqrt(y, out=y)
        y -= self.radius
        y += x * self.sine
        return y, x

    def melt(self, distance: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Distances (S, P) -> exp(-d / blend) (S, P), sums by group (S, G), distance by group (S, G)."""
        weight = np.exp(np.clip(-distance * self.inverse_blend, -60, 60))
        sums = np.add.reduceat(weight, self.group_start, axis=1)
        return weight, sums, -self.group_blend * np.log(sums)

    def distance(self, t: np.ndarray) -> np.ndarray:
        """t (S, T) -> signed distance to the whole (S, T)."""
        return np.minimum.reduceat(self.melt(self.measure(t)[0])[2], self.tile_start, axis=1)


def trace(cones: Cones, camera: np.ndarray, width: int, height: int) -> Hits | None:
    """Cones in the camera frame (m), camera (3, 3) of the picture, its size in px. None where no cone comes near the picture."""
    across, down = -(-width // TILE), -(-height // TILE)
    tile, cone = near_pairs(cones, camera, across, down)
    if len(tile) == 0:
        return None
    tiles, tile = np.unique(tile, return_inverse=True)
    rays, pixel = pixel_rays(camera, across, tiles)
    pairs = Pairs(cones, tile, cone, rays)
    footprint = np.float32(1 / camera[0, 0])
    start = first_guess(pairs, 1.5 * footprint)
    t, gap = march_on(pairs, start, 0.25 * footprint)
    cover = np.clip(1.1 - gap / (footprint * t), 0, 1)
    normal, cone = surface(pairs, t)
    depth = np.where(cover > 0, t, FAR)
    return Hits(pixel, (down * TILE, across * TILE), depth, cover, normal, pairs.rays * t, cone)


def first_guess(pairs: Pairs, margin: np.float32) -> np.ndarray:
    """(S, T): where each ray enters the first cone, swollen by the melting zone and `margin` (m per m of distance); FAR if none.

    The entry is that of a cylinder of the radius found where ray and axis come closest; `march` mends what that leaves, both ways.
    """
    cosine = pairs.along
    sine_squared = np.maximum(1 - cosine * cosine, 1e-3)
    y = (pairs.towards * cosine - pairs.offset) / sine_squared
    np.clip(y, 0, pairs.length, out=y)
    t = pairs.towards + y * cosine  # the ray's nearest point to that point of the axis
    gap = pairs.square + y * (2 * pairs.offset + y) - t * t  # squared distance between the two
    radius = pairs.radius - y * pairs.sine + 0.8 * pairs.blend + margin * t
    half = radius * radius - gap
    entry = t - np.minimum(np.sqrt(np.maximum(half, 0) / sine_squared), radius + pairs.length * np.abs(cosine))
    entry[half < 0] = FAR
    return np.minimum.reduceat(entry, pairs.pair_start, axis=1)


def march_on(pairs: Pairs, start: np.ndarray, tolerance: np.float32) -> tuple[np.ndarray, np.ndarray]:
    """All rays a few steps, then those that are undecided: rays that graze one finger on their way to another need many.

    Returns where each ray comes nearest to the surface and how near, (S, T) each; `tolerance` (m per m of distance) counts as met.
    """
    nearest, gap, t, d = march(pairs, start, STEPS)
    gap[start >= FAR] = FAR  # so far out float32 could find anything
    for _ in range(ROUNDS):
        late = np.nonzero((gap > tolerance * t) & (d < LOST_M) & (start < FAR))
        if len(late[0]) == 0:
            break
        further = [values[0] for values in march(pairs.alone(*late), t[late][None], MORE_STEPS)]
        t[late], d[late] = further[2:]
        closer = further[1] < gap[late]
        nearest[late] = np.where(closer, further[0], nearest[late])
        gap[late] = np.where(closer, further[1], gap[late])
    return nearest, gap


def march(pairs: Pairs, t: np.ndarray, steps: int) -> tuple[np.ndarray, ...]:
    """Sphere tracing from t (S, T): the point of each ray nearest to the surface, its distance, the last point and its distance, m.

    A step is longer than the distance where the last one has shown that the surface nears slowly, or goes away; one that went too far
    comes back.
    """
    nearest, gap = t.copy(), np.full_like(t, FAR)
    relax, before = np.ones_like(t), np.zeros_like(t)
    for step in range(steps):
        d = pairs.distance(t)
        size = np.abs(d)
        closer = size < gap
        np.copyto(nearest, t, where=closer)
        np.copyto(gap, size, where=closer)
        if step:
            nearing = (before - d) / (relax * before + 1e-9)
            relax = np.where(nearing < 0, LEAVING, 1 / np.clip(nearing, 0.4, 1.0))
        before = d
        t = t + np.minimum(relax * d, d + SPARE_M)
    return nearest, gap, t, np.abs(before)


def surface(pairs: Pairs, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """t (S, T) -> normals (3, S, T), the gradient of the melted distance, and the cone (S, T) that weighs most in it."""
    distance, x = pairs.measure(t)
    weight, sums, by_group = pairs.melt(distance)
    final = np.minimum.reduceat(by_group, pairs.tile_start, axis=1)
    wins = by_group <= final[:, pairs.tile_of_group]
    share = weight * (wins / sums)[:, pairs.group_of_pair]
    arm = distance + pairs.radius - x * pairs.sine  # from the nearest sphere's centre to the point
    scale = share / np.maximum(arm, 1e-5)
    point = pairs.rays * t * np.add.reduceat(scale, pairs.pair_start, axis=1)
    normal = np.stack([point[i] - np.add.reduceat(scale * (pairs.a[i] + x * pairs.axis[i]), pairs.pair_start, axis=1) for i in range(3)])
    normal /= np.sqrt((normal**2).sum(0) + 1e-12)
    heaviest = np.maximum.reduceat(share, pairs.pair_start, axis=1)
    rank = np.where(share >= heaviest[:, pairs.tile], np.arange(share.shape[1]), 0)
    return normal, pairs.cone[np.maximum.reduceat(rank, pairs.pair_start, axis=1)]
