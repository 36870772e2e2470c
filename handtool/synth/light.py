"""Light on the surface: one lamp, the sky and the ground, shadows and the darkness of corners.

Directions are in the camera frame (x right, y down, z forward) and point towards the light.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from handtool.synth.tracing import FAR

BLEED = (0.30, 0.18, 0.14)  # red light travels farther through flesh, and softens the shadow's edge
SHADOW_STEPS_M = (0.005, 0.009, 0.013, 0.019, 0.027, 0.037)
CORNERS = ((0.005, 80.0, 0.0028), (0.014, 30.0, 0.0045))  # m around a point, gain, m of roundness that are no corner
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
    direction = np.array(
        [np.sin(side), -rng.uniform(0.2, 1.0), -rng.uniform(0.5, 1.2) + 0.5 * harshness * rng.random()]
    )
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
    return cv2.warpAffine(
        image, matrix, image.shape[::-1], flags=flags, borderMode=cv2.BORDER_CONSTANT, borderValue=float(FAR)
    )


def find_shadow(depth: np.ndarray, light: Light, focal: float, middle: float) -> np.ndarray:
    """depth (H, W) m, FAR where nothing is; middle: the median of the rest. focal: px.

    Returns (H, W), 0 lit .. 1 in shadow, by marching towards the lamp through the depth map.
    """
    known = depth < FAR
    shadow = np.zeros_like(depth)
    for step in SHADOW_STEPS_M:
        dx, dy, dz = light.direction * step
        ray = depth + np.float32(dz)
        ahead = ray - shift_image(depth, dx * focal / middle, dy * focal / middle)
        np.maximum(shadow, (ahead > 0.0032) & (ahead < THICKNESS_M) & known, out=shadow)
    return cv2.blur(shadow, (3, 3))


def find_corners(depth: np.ndarray, focal: float, middle: float) -> np.ndarray:
    """As find_shadow; returns (H, W), 0 open .. 1 enclosed: how far behind its surroundings a point lies.

    Luft et al. 2006, "Image enhancement by unsharp masking the depth buffer". A finger's own roundness (`spare_m`) is
    no corner.
    """
    known = (depth < FAR).astype(np.float32)
    filled = np.where(known > 0, depth - np.float32(middle), 0)
    corners = np.zeros_like(depth)
    for radius_m, gain, spare_m in CORNERS:
        side = 2 * max(1, round(radius_m * focal / middle)) + 1
        around = cv2.blur(filled, (side, side)) / np.maximum(cv2.blur(known, (side, side)), 1e-3)
        corners = corners + np.clip(gain * (filled - around - spare_m), 0, 0.5)
    return np.clip(corners, 0, 0.85) * known


def shade(xp, light: Light, albedo, shine, skin, point, normal, shadow, corners):
    """xp: numpy or torch. albedo, point, normal (3, n), shine, skin, shadow, corners (n,) -> linear RGB (3, n)."""
    towards_eye = -point * (point * point).sum(0) ** -0.5
    # pixels half beside the edge look at its far side
    normal = normal - xp.clip((towards_eye * normal).sum(0), None, 0) * towards_eye
    x, y, z = (float(c) for c in light.direction)
    facing = x * normal[0] + y * normal[1] + z * normal[2]
    half = xp.stack([towards_eye[0] + x, towards_eye[1] + y, towards_eye[2] + z])
    half = half * (half * half).sum(0) ** -0.5
    open_sky = 1 - corners
    lit = 1 - light.shadow * shadow
    up = 0.5 - 0.5 * normal[1]
    gloss = xp.clip((half * normal).sum(0), 0, 1) ** 24 * shine * lit
    rim = (1 - xp.clip((towards_eye * normal).sum(0), 0, 1)) ** 3 * 0.10 * open_sky
    wrapped = skin * open_sky
    colour = []
    for c in range(3):
        lamp, sky, ground = float(light.lamp[c]), float(light.sky[c]), float(light.ground[c])
        wrap = BLEED[c] * wrapped
        direct = xp.clip((facing + wrap) / (1 + wrap), 0, None) * lit * lamp
        around = (ground + (sky - ground) * up) * open_sky
        colour.append(albedo[c] * (direct + around + sky * rim) + lamp * gloss)
    return xp.stack(colour)
