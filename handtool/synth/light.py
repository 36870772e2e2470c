"""Light on the surface: one lamp, the sky and the ground, shadows and the darkness of corners.

Directions are in the camera frame (x right, y down, z forward) and point towards the light.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from handtool.synth.tracing import FAR

BLEED = np.array([0.30, 0.18, 0.14], np.float32)  # red light travels farther through flesh, and softens the shadow's edge
SHADOW_STEPS_M = (0.005, 0.009, 0.013, 0.019, 0.027, 0.037)
THICKNESS_M = 0.024  # what the depth map hides is taken to be this thick


@dataclass(frozen=True)
class Light:
    direction: np.ndarray  # (3,) unit, towards the lamp
    lamp: np.ndarray  # (3,) linear RGB
    sky: np.ndarray  # (3,) from above
    ground: np.ndarray  # (3,) from below
    shadow: float  # 0 a wide window .. 1 a bare bulb


def draw_light(rng: np.random.Generator, harshness: float) -> Light:
    """`harshness` 0: bright and neutral; 1: any colour, strength and direction."""
    side = rng.normal(0, 0.55 + 0.3 * harshness)
    direction = np.array([np.sin(side), -rng.uniform(0.2, 1.0), -rng.uniform(0.5, 1.2) + 0.5 * harshness * rng.random()])
    warmth = rng.normal(0, 0.10 + 0.12 * harshness)
    tint = np.array([1 + warmth, 1.0 + rng.normal(0, 0.03), 1 - warmth])
    strength = np.clip(rng.normal(1.0, 0.10 + 0.25 * harshness), 0.35, 1.6)
    fill = rng.uniform(0.32, 0.55) * (1 - 0.4 * harshness * rng.random())
    ground_tint = 1 + rng.normal(0, 0.08 + 0.15 * harshness, 3)
    return Light(
        direction / np.linalg.norm(direction),
        np.clip(0.92 * strength * tint, 0.05, 2),
        np.clip(fill * strength * (2 - tint), 0.03, 1.5),
        np.clip(0.6 * fill * strength * ground_tint, 0.02, 1),
        float(rng.uniform(0.35, 0.75) + 0.2 * harshness),
    )


def shift_image(image: np.ndarray, dx: float, dy: float) -> np.ndarray:
    """image[y + dy, x + dx], FAR outside."""
    matrix = np.array([[1, 0, dx], [0, 1, dy]], np.float32)
    flags = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(image, matrix, image.shape[::-1], flags=flags, borderMode=cv2.BORDER_CONSTANT, borderValue=float(FAR))


def find_shadow(depth: np.ndarray, light: Light, focal: float) -> np.ndarray:
    """depth (H, W) m, FAR where nothing is. Returns (H, W), 0 lit .. 1 in shadow, by marching towards the lamp through the depth map."""
    middle = float(np.median(depth[depth < FAR]))
    shadow = np.zeros_like(depth)
    for step in SHADOW_STEPS_M:
        dx, dy, dz = light.direction * step
        ray = depth + np.float32(dz)
        ahead = ray - shift_image(depth, dx * focal / middle, dy * focal / middle)
        np.maximum(shadow, (ahead > 0.0032) & (ahead < THICKNESS_M) & (depth < FAR), out=shadow)
    return cv2.blur(shadow, (3, 3))


def find_corners(depth: np.ndarray, focal: float) -> np.ndarray:
    """depth (H, W) -> (H, W), 0 open .. 1 enclosed: how far behind its surroundings a point lies.

    Luft et al. 2006, "Image enhancement by unsharp masking the depth buffer". A finger's own roundness (`spare_m`) is no corner.
    """
    known = (depth < FAR).astype(np.float32)
    middle = float(np.median(depth[depth < FAR]))
    filled = np.where(known > 0, depth - np.float32(middle), 0)
    corners = np.zeros_like(depth)
    for radius_m, gain, spare_m in ((0.005, 80.0, 0.0028), (0.014, 30.0, 0.0045)):
        side = 2 * max(1, round(radius_m * focal / middle)) + 1
        around = cv2.blur(filled, (side, side)) / np.maximum(cv2.blur(known, (side, side)), 1e-3)
        corners = corners + np.clip(gain * (filled - around - spare_m), 0, 0.5)
    return np.clip(corners, 0, 0.85) * known


def shade(light: Light, albedo, shine, skin, point, normal, shadow, corners) -> np.ndarray:
    """albedo, point, normal (3, n), shine, skin, shadow, corners (n,) -> linear RGB (3, n)."""
    towards_eye = -point / np.sqrt((point * point).sum(0))
    normal = normal - np.minimum((towards_eye * normal).sum(0), 0) * towards_eye  # pixels half beside the edge look at its far side
    facing = np.einsum("i,in->n", light.direction.astype(np.float32), normal)
    half = light.direction.astype(np.float32)[:, None] + towards_eye
    half /= np.sqrt((half * half).sum(0))
    open_sky = 1 - corners
    lit = 1 - np.float32(light.shadow) * shadow
    up = 0.5 - 0.5 * normal[1]
    gloss = np.clip((half * normal).sum(0), 0, 1) ** 24 * shine * lit
    rim = (1 - np.clip((towards_eye * normal).sum(0), 0, 1)) ** 3 * 0.10 * open_sky
    colour = np.empty_like(albedo)
    for c in range(3):
        wrap = BLEED[c] * skin * open_sky
        lamp = np.clip((facing + wrap) / (1 + wrap), 0, None) * lit * np.float32(light.lamp[c])
        around = (np.float32(light.ground[c]) + np.float32(light.sky[c] - light.ground[c]) * up) * open_sky
        colour[c] = albedo[c] * (lamp + around) + gloss * np.float32(light.lamp[c]) + rim * np.float32(light.sky[c]) * albedo[c]
    return colour
