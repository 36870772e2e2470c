"""tracing.py for a GPU: every ray against every cone, many frames at once, with the same steps and the same rules.

(P, N) tensors: P cones, N rays; each ray knows its frame. Tiles are not used: a GPU is faster with long regular arrays.
"""

from dataclasses import dataclass, fields, replace

import numpy as np
import torch

from handtool.synth.flesh import Cones
from handtool.synth.tracing import FAR, LEAVING, LOST_M, MORE_STEPS, SPARE_M, STEPS


@dataclass
class Rays:
    """Rays and what does not change along them. `frame` (N,); per cone (P, N) unless said otherwise."""

    direction: torch.Tensor  # (3, N) unit
    frame: torch.Tensor  # (N,) int
    along: torch.Tensor  # ray . axis
    towards: torch.Tensor  # ray . a
    offset: torch.Tensor  # a . axis
    square: torch.Tensor  # a . a

    def some(self, which: torch.Tensor) -> "Rays":
        return replace(self, **{each.name: getattr(self, each.name)[..., which] for each in fields(self)})


class Solids:
    """The cones of B frames. a, axis: (3, P, B); the rest (P, 1)."""

    def __init__(self, moments: list[Cones], device: str) -> None:
        def tensor(values) -> torch.Tensor:
            return torch.tensor(np.asarray(values, np.float32), device=device)

        first = moments[0]
        axis = np.stack([cones.b - cones.a for cones in moments])  # (B, P, 3)
        length = np.maximum(np.linalg.norm(axis, axis=2), 1e-6)
        slope = np.clip((first.radius_a - first.radius_b) / length, -0.9, 0.9)
        self.a = tensor(np.stack([cones.a for cones in moments]).transpose(2, 1, 0))
        self.axis = tensor((axis / length[..., None]).transpose(2, 1, 0))
        # (P, B)
        self.length, self.sine, self.tangent = (tensor(v.T) for v in (length, slope, slope / np.sqrt(1 - slope**2)))
        self.radius, self.blend = tensor(first.radius_a[:, None]), tensor(first.blend[:, None])
        starts = np.flatnonzero(np.diff(first.group, prepend=-1))
        self.groups = [slice(start, end) for start, end in zip(starts, [*starts[1:], len(first.group)], strict=True)]
        self.of_group = torch.tensor(np.cumsum(np.diff(first.group, prepend=first.group[0]) != 0), device=device)

    def aim(self, direction: torch.Tensor, frame: torch.Tensor) -> Rays:
        a, axis = self.a[:, :, frame], self.axis[:, :, frame]
        ray = direction[:, None]
        return Rays(direction, frame, (ray * axis).sum(0), (ray * a).sum(0), (a * axis).sum(0), (a * a).sum(0))

    def measure(self, rays: Rays, t: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """t (N,) m -> distance (P, N) to each cone and where its nearest sphere sits on the axis."""
        y = t * rays.along - rays.offset
        square = torch.clip(t * (t - 2 * rays.towards) + rays.square - y * y, 0, None)
        x = torch.minimum(
            torch.clip(y - torch.sqrt(square) * self.tangent[:, rays.frame], 0, None), self.length[:, rays.frame]
        )
        return torch.sqrt(square + (y - x) ** 2) - self.radius + x * self.sine[:, rays.frame], x

    def melt(self, distance: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """(P, N) -> exp(-d / blend) (P, N), sums by group (G, N), distance by group (G, N)."""
        weight = torch.exp(torch.clip(-distance / self.blend, -60, 60))
        sums = torch.stack([weight[group].sum(0) for group in self.groups])
        blend = torch.stack([self.blend[group.start] for group in self.groups])
        return weight, sums, -blend * torch.log(sums)

    def distance(self, rays: Rays, t: torch.Tensor) -> torch.Tensor:
        return self.melt(self.measure(rays, t)[0])[2].amin(0)


def first_guess(solids: Solids, rays: Rays, margin: torch.Tensor) -> torch.Tensor:
    """(N,): where each ray enters the first swollen cone, FAR if none; see tracing.first_guess. margin: (N,) m per m of
    distance."""
    sine_squared = torch.clip(1 - rays.along**2, 1e-3, None)
    length = solids.length[:, rays.frame]
    y = torch.minimum(torch.clip((rays.towards * rays.along - rays.offset) / sine_squared, 0, None), length)
    t = rays.towards + y * rays.along
    gap = rays.square + y * (2 * rays.offset + y) - t * t
    radius = solids.radius - y * solids.sine[:, rays.frame] + 0.8 * solids.blend + margin * t
    half = radius * radius - gap
    entry = t - torch.minimum(torch.sqrt(torch.clip(half, 0, None) / sine_squared), radius + length * abs(rays.along))
    return torch.where(half < 0, float(FAR), entry).amin(0)


def march(solids: Solids, rays: Rays, t: torch.Tensor, steps: int) -> tuple[torch.Tensor, ...]:
    """As tracing.march: nearest point, its distance, last point, its distance; (N,) each."""
    nearest, gap = t, torch.full_like(t, float(FAR))
    relax, before = torch.ones_like(t), torch.zeros_like(t)
    for step in range(steps):
        d = solids.distance(rays, t)
        closer = abs(d) < gap
        nearest, gap = torch.where(closer, t, nearest), torch.where(closer, abs(d), gap)
        if step:
            nearing = (before - d) / (relax * before + 1e-9)
            relax = torch.where(nearing < 0, float(LEAVING), 1 / torch.clip(nearing, 0.4, 1.0))
        before = d
        t = t + torch.minimum(relax * d, d + float(SPARE_M))
    return nearest, gap, t, abs(before)


def march_on(
    solids: Solids, rays: Rays, start: torch.Tensor, tolerance: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """As tracing.march_on, for rays that all have a start."""
    nearest, gap, t, d = march(solids, rays, start, STEPS)
    late = torch.where((gap > tolerance * t) & (d < LOST_M))[0]
    if len(late):
        further, closest, _, _ = march(solids, rays.some(late), t[late], MORE_STEPS)
        closer = closest < gap[late]
        nearest[late] = torch.where(closer, further, nearest[late])
        gap[late] = torch.where(closer, closest, gap[late])
    return nearest, gap


def surface(solids: Solids, rays: Rays, t: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """t (N,) -> normals (3, N) and the cone (N,) that weighs most; see tracing.surface."""
    distance, x = solids.measure(rays, t)
    weight, sums, by_group = solids.melt(distance)
    wins = by_group <= by_group.amin(0)
    share = weight * (wins / sums)[solids.of_group]
    scale = share / torch.clip(distance + solids.radius - x * solids.sine[:, rays.frame], 1e-5, None)
    axis_points = solids.a[:, :, rays.frame] + x * solids.axis[:, :, rays.frame]
    normal = rays.direction * t * scale.sum(0) - (scale * axis_points).sum(1)
    return normal / torch.sqrt((normal**2).sum(0) + 1e-12), share.argmax(0)


def pixel_rays(cameras: np.ndarray, width: int, height: int, device: str) -> torch.Tensor:
    """cameras (B, 3, 3) -> unit rays (3, B * H * W)."""
    inverse = torch.tensor(np.linalg.inv(cameras).astype(np.float32), device=device)
    sides = (torch.arange(side, device=device, dtype=torch.float32) for side in (height, width))
    v, u = torch.meshgrid(*sides, indexing="ij")
    pixels = torch.stack([u, v, torch.ones_like(u)]).reshape(3, -1)
    rays = (inverse @ pixels).permute(1, 0, 2).reshape(3, -1)
    return rays / torch.sqrt((rays**2).sum(0))


def trace(moments: list[Cones], cameras: np.ndarray, width: int, height: int, device: str) -> tuple[torch.Tensor, ...]:
    """As tracing.trace, of B frames. Returns pixel (n,) flat in B x H x W, depth, cover (n,), normal, point (3, n),
    cone (n,): what was met."""
    solids = Solids(moments, device)
    direction = pixel_rays(cameras, width, height, device)
    frame = torch.arange(len(moments), device=device).repeat_interleave(width * height)
    footprint = torch.tensor((1 / cameras[:, 0, 0]).astype(np.float32), device=device)[frame]
    rays = solids.aim(direction, frame)
    start = first_guess(solids, rays, 1.5 * footprint)
    pixel = torch.where(start < FAR)[0]
    rays, start, footprint = rays.some(pixel), start[pixel], footprint[pixel]
    t, gap = march_on(solids, rays, start, 0.25 * footprint)
    cover = torch.clip(1.1 - gap / (footprint * t), 0, 1)
    normal, cone = surface(solids, rays, t)
    met = torch.where(cover > 0)[0]
    point = rays.direction * t
    return pixel[met], t[met], cover[met], normal[:, met], point[:, met], cone[met]
