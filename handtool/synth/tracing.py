"""Rays against round cones that melt into one another: where each pixel first meets the surface, by sphere tracing.

The image is cut into tiles, each tile meets only the cones that come near it, and all (tile, cone) pairs advance
together. Arrays are (pixels of a tile, tiles) or (pixels of a tile, pairs), so that the long axis is the fast one.
"""

from copy import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import csr_array

from handtool.synth.flesh import Cones
from handtool.synth.tiles import TILE, near_pairs, pixel_rays

STEPS = 5
MORE_STEPS = 10  # for what is undecided then
LEAVING = np.float32(2.2)  # length of a step, in distances, of a ray that goes away from the surface
SPARE_M = np.float32(0.005)  # no step is longer than the distance and this, or it could pass through a finger
LOST_M = 0.12  # a ray this far from everything that is near its tile will meet nothing
FAR: Any = np.float32(1e3)
CONE_BITS = (1 << 10) - 1  # room for the number of a cone


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
        self.twice_towards = 2 * self.towards
        self.offset = (self.a * self.axis).sum(0)
        self.square = (self.a * self.a).sum(0)
        self.index(tile)

    def index(self, tile: np.ndarray) -> None:
        """Which pairs make a (tile, group), which groups a tile. Groups are kept by rank in the tile: all first ones, …

        Sums over runs are products with a sparse matrix, minima go rank by rank: both are far faster than np.reduceat.
        """
        new_tile = np.diff(tile, prepend=-1) != 0
        new_group = new_tile | (np.diff(self.group, prepend=-1) != 0)
        self.tile, self.pair_start = tile, np.flatnonzero(new_tile)  # of tiles, in pairs
        start = np.flatnonzero(new_group)  # of groups, in pairs
        first = np.flatnonzero(new_tile[start])  # of tiles, in groups
        many = np.diff(first, append=len(start))
        order = np.argsort(-many, kind="stable")  # tiles of many groups first
        self.counts = np.searchsorted(
            -many[order], -np.arange(many.max()), side="left"
        ).tolist()  # tiles that have a k-th group
        ranked = np.concatenate([first[order[:count]] + rank for rank, count in enumerate(self.counts)])
        size = np.diff(start, append=len(tile))[ranked]
        ends = np.cumsum(size)
        members = np.repeat(start[ranked] - ends + size, size) + np.arange(len(tile))
        self.to_groups = csr_array(
            (np.ones(len(tile), np.float32), members, np.append(0, ends)), shape=(len(start), len(tile))
        )
        self.rank_of_tile = np.argsort(order)
        place = np.empty_like(ranked)
        place[ranked] = np.arange(len(ranked))
        self.group_of_pair = place[np.cumsum(new_group) - 1]
        self.tile_of_group = np.concatenate([np.arange(count) for count in self.counts])  # by rank of the tile
        self.inverse_blend, self.group_blend = -1 / self.blend, -self.blend[start[ranked]][:, None]

    def alone(self, pixel: np.ndarray, tile: np.ndarray) -> "Pairs":
        """The rays of some pixels (numbers within their tile, tile), each a tile of its own, as `measure` and `melt`
        need them."""
        counts = np.diff(self.pair_start, append=len(self.tile))[tile]
        ray = np.repeat(np.arange(len(tile)), counts)
        kept = self.pair_start[tile][ray] + np.arange(len(ray)) - (np.cumsum(counts) - counts)[ray]
        part = copy(self)
        for name in ("group", "length", "radius", "sine", "tangent", "blend", "offset", "square"):
            setattr(part, name, getattr(self, name)[kept])
        part.along, part.twice_towards = self.along[pixel[ray], kept][None], self.twice_towards[pixel[ray], kept][None]
        part.index(ray)
        return part

    def measure(self, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """t (S, T) m along the rays -> distance (S, P) to each cone and its nearest sphere's place (S, P)."""
        t = np.take(t, self.tile, axis=1, mode="clip")
        y = t * self.along
        y -= self.offset
        square = t - self.twice_towards
        square *= t
        square += self.square
        square -= y * y
        np.maximum(square, 0, out=square)
        q = np.sqrt(square)
        x = y - q * self.tangent
        np.maximum(x, 0, out=x)
        np.minimum(x, self.length, out=x)
        y -= x
        y *= y
        y += square
        np.sqrt(y, out=y)
        y -= self.radius
        y += x * self.sine
        return y, x

    def melt(self, distance: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Distances (S, P) -> exp(-d / blend) (S, P), sums by group (G, S), distance by group (G, S)."""
        weight = distance * self.inverse_blend
        np.maximum(weight, -60, out=weight)
        np.minimum(weight, 60, out=weight)
        np.exp(weight, out=weight)
        sums = self.to_groups @ np.ascontiguousarray(weight.T)
        return weight, sums, self.group_blend * np.log(sums)

    def nearest_group(self, by_group: np.ndarray) -> np.ndarray:
        """(G, S) -> (T, S), tiles by their rank."""
        nearest, begin = by_group[: self.counts[0]].copy(), self.counts[0]
        for count in self.counts[1:]:
            np.minimum(nearest[:count], by_group[begin : begin + count], out=nearest[:count])
            begin += count
        return nearest

    def distance(self, t: np.ndarray) -> np.ndarray:
        """t (S, T) -> signed distance to the whole (S, T)."""
        nearest = self.nearest_group(self.melt(self.measure(t)[0])[2])
        return np.ascontiguousarray(nearest[self.rank_of_tile].T)


def trace(cones: Cones, camera: np.ndarray, width: int, height: int) -> Hits | None:
    """Cones in the camera frame (m), camera (3, 3) of the picture, its size in px. None where no cone is near."""
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
    """(S, T): where each ray enters the first cone, swollen by the melting zone and `margin` (m per m); FAR if none.

    The entry is that of a cylinder of the radius found where ray and axis come closest; `march` mends it, both ways.
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
    """All rays a few steps, then those that are undecided: rays that graze one finger before another need many.

    Returns where each ray comes nearest to the surface and how near, (S, T) each; `tolerance` (m per m of distance)
    counts as met.
    """
    nearest, gap, t, d = march(pairs, start, STEPS)
    gap[start >= FAR] = FAR  # so far out float32 could find anything
    late = np.nonzero((gap > tolerance * t) & (d < LOST_M) & (start < FAR))
    if len(late[0]):
        further, closest, _, _ = (values[0] for values in march(pairs.alone(*late), t[late][None], MORE_STEPS))
        closer = closest < gap[late]
        nearest[late] = np.where(closer, further, nearest[late])
        gap[late] = np.where(closer, closest, gap[late])
    return nearest, gap


def march(pairs: Pairs, t: np.ndarray, steps: int) -> tuple[np.ndarray, ...]:
    """Sphere tracing from t (S, T): the point of each ray nearest to the surface, its distance, the last point and its
    distance, m.

    A step is longer than the distance where the surface nears slowly, or goes away; one that went too far comes back.
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
            relax = np.where(nearing < 0, LEAVING, 1 / np.minimum(np.maximum(nearing, 0.4), 1.0))
        before = d
        t = t + np.minimum(relax * d, d + SPARE_M)
    return nearest, gap, t, np.abs(before)


def surface(pairs: Pairs, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """t (S, T) -> normals (3, S, T), the gradient of the melted distance, and the cone (S, T) that weighs most."""
    distance, x = pairs.measure(t)
    weight, sums, by_group = pairs.melt(distance)
    wins = by_group <= pairs.nearest_group(by_group)[pairs.tile_of_group]
    share = weight * (wins / sums)[pairs.group_of_pair].T
    # by the way from the nearest sphere's centre to the point
    scale = share / np.maximum(distance + pairs.radius - x * pairs.sine, 1e-5)
    num_pairs, num_tiles = len(pairs.tile), t.shape[1]
    starts = np.append(pairs.pair_start, num_pairs)
    to_tiles = csr_array((np.ones(num_pairs, np.float32), np.arange(num_pairs), starts), shape=(num_tiles, num_pairs))
    point = pairs.rays * t * (to_tiles @ scale.T).T
    normal = np.stack([point[i] - (to_tiles @ (scale * (pairs.a[i] + x * pairs.axis[i])).T).T for i in range(3)])
    normal /= np.sqrt((normal**2).sum(0) + 1e-12)
    # the largest share and its cone in one number: positive floats sort as their bits do, the last bits do not matter
    key = (np.ascontiguousarray(share).view(np.int32) & ~CONE_BITS) | pairs.cone.astype(np.int32)
    return normal, np.maximum.reduceat(key, pairs.pair_start, axis=1) & CONE_BITS
