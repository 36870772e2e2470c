"""world.render for a GPU: the same scenes, many frames at once.

Only this file and torch_tracing.py import torch in this room.
"""

from dataclasses import fields, replace
from typing import Any

import numpy as np
import torch
from torch.nn.functional import avg_pool2d, pad

from handtool.synth.light import CORNERS, SHADOW_STEPS_M, THICKNESS_M, Light, shade
from handtool.synth.scene import Scene, background_of, solids
from handtool.synth.skin import Look, look_of, paint
from handtool.synth.things import OCCLUDER
from handtool.synth.torch_tracing import trace
from handtool.synth.tracing import FAR

BATCH_VALUES = 1 << 25  # rays x cones that are looked at together


def batch_of(scene: Scene, width: int, height: int) -> int:
    """How many frames are rendered at once."""
    return max(1, BATCH_VALUES // (width * height * len(solids(scene, 0)[0].group)))


def render_frames(
    scene: Scene, frames: range, cameras: np.ndarray, width: int, height: int, device: str
) -> tuple[np.ndarray, np.ndarray]:
    """As world.render, for B frames: images (B, H, W, 3) float32 0..255, distances (B, H, W) m. cameras: (B, 3, 3)."""
    moments = [solids(scene, frame) for frame in frames]
    backgrounds = np.stack([background_of(scene, frame, width, height) for frame in frames])
    image = torch.tensor(backgrounds, device=device).float()
    pixel, t, cover, normal, point, cone = trace([cones for cones, _ in moments], cameras, width, height, device)
    depth = torch.full((image[..., 0].numel(),), float(FAR), device=device)
    depth[pixel] = t
    depth = depth.reshape(len(frames), height, width)
    if len(pixel):
        middle = [torch.quantile(known, 0.5) if len(known := one[one < FAR]) else one.new_tensor(1.0) for one in depth]
        scale = [float(camera[0, 0] / float(m)) for camera, m in zip(cameras, middle, strict=True)]  # px per metre
        dark = [find_shadow(one, scene.light, px) for one, px in zip(depth, scale, strict=True)]
        enclosed = [find_corners(one, m, px) for one, m, px in zip(depth, middle, scale, strict=True)]
        shadow, corners = (torch.stack(maps).reshape(-1)[pixel] for maps in (dark, enclosed))
        albedo, shine, skin = paint_all(scene, frames, moments, pixel // (width * height), cone, point, normal)
        colour = shade(torch, scene.light, albedo, shine, skin, point, normal, shadow, corners)
        colour = 255 * torch.sqrt(torch.clip(colour, 0, 1))
        flat = image.reshape(-1, 3)
        flat[pixel] += (colour.T - flat[pixel]) * cover[:, None]
    return image.cpu().numpy(), depth.cpu().numpy()


def paint_all(
    scene: Scene, frames: range, moments: list, which: torch.Tensor, cone, point, normal
) -> tuple[torch.Tensor, ...]:
    """As world.paint_all. which: (n,) the place in `frames` of each point."""
    albedo, shine = torch.empty_like(point), torch.empty_like(point[0])
    skin = torch.empty(len(cone), dtype=torch.bool, device=cone.device)
    owners = moments[0][1]
    stops = [owner.stop for owner in owners[:-1]] + [len(moments[0][0].group)]
    for actor, owner, stop in zip(scene.actors, owners, stops, strict=True):
        here = torch.where((cone >= owner.start) & (cone < stop))[0]
        if len(here) == 0:
            continue
        cloths = {**actor.cloths, OCCLUDER: scene.in_front_cloth}
        parts = [cones.some(slice(owner.start, stop)) for cones, _ in moments]
        looks = [look_of(actor.subject, part, actor.grain, cloths, actor.glove) for part in parts]
        look = join_looks(looks).convert(lambda values: torch.tensor(values, device=cone.device))
        turn, shift = (
            torch.tensor(np.stack([values[frame] for frame in frames]).astype(np.float32), device=cone.device)
            for values in (actor.turn, actor.shift)
        )
        away = point[:, here] - shift[which[here]].T
        in_hand = (turn[which[here]].permute(2, 1, 0) * away[None]).sum(1)  # turn^T (point - shift)
        local = cone[here] - owner.start + which[here] * (stop - owner.start)
        albedo[:, here], shine[here], skin[here] = paint(torch, look, local, point[:, here], normal[:, here], in_hand)
    return albedo, shine, skin


def join_looks(looks: list[Look]) -> Look:
    """Of B moments, the cones one moment after the other."""
    names = [each.name for each in fields(Look)[:7]]  # per cone
    joined: dict[str, Any] = {name: np.concatenate([getattr(look, name) for look in looks], axis=-1) for name in names}
    return replace(looks[0], **joined)


def find_shadow(depth: torch.Tensor, light: Light, scale: float) -> torch.Tensor:
    """As light.find_shadow; depth (H, W), scale: px per metre at the middle of what is seen."""
    shadow, known = torch.zeros_like(depth), depth < FAR
    for step in SHADOW_STEPS_M:
        dx, dy, dz = (float(c) * step for c in light.direction)
        ahead = depth + dz - shifted(depth, round(dx * scale), round(dy * scale))
        shadow = torch.maximum(shadow, ((ahead > 0.0032) & (ahead < THICKNESS_M) & known).float())
    return blur(shadow, 3)


def shifted(image: torch.Tensor, dx: int, dy: int) -> torch.Tensor:
    """image[y + dy, x + dx], FAR outside."""
    height, width = image.shape
    dx, dy = max(-width, min(width, dx)), max(-height, min(height, dy))
    border = (max(-dx, 0), max(dx, 0), max(-dy, 0), max(dy, 0))
    wide = pad(image[None], border, value=float(FAR))[0]
    return wide[max(dy, 0) : max(dy, 0) + height, max(dx, 0) : max(dx, 0) + width]


def find_corners(depth: torch.Tensor, middle: torch.Tensor, scale: float) -> torch.Tensor:
    """As light.find_corners; depth (H, W)."""
    known = (depth < FAR).float()
    filled = torch.where(depth < FAR, depth - middle, 0.0)
    corners = torch.zeros_like(depth)
    for radius_m, gain, spare_m in CORNERS:
        side = 2 * max(1, round(radius_m * scale)) + 1
        around = blur(filled, side) / torch.clip(blur(known, side), 1e-3, None)
        corners = corners + torch.clip(gain * (filled - around - spare_m), 0, 0.5)
    return torch.clip(corners, 0, 0.85) * known


def blur(image: torch.Tensor, side: int) -> torch.Tensor:
    """The mean of a square around each pixel, mirrored at the border."""
    half = min(side // 2, min(image.shape) - 1)
    image = pad(image[None, None], (half, half, half, half), mode="reflect")
    image = avg_pool2d(image, (1, 2 * half + 1), stride=1)
    return avg_pool2d(image, (2 * half + 1, 1), stride=1)[0, 0]
