"""The effects of a real camera on a picture: motion blur, lack of focus, noise, JPEG."""

from dataclasses import dataclass

import cv2
import numpy as np

SPARE = 128  # px by which the noise is larger than a picture


@dataclass(frozen=True)
class CameraEffects:
    focus: float  # px of blur
    noise: np.ndarray  # (H', W', 3) float32, grey levels, larger than a picture: each takes a window
    shutter: float  # s, how long it is open
    quality: int  # JPEG


def draw_camera_effects(
    rng: np.random.Generator, roughness: float, width: int, height: int, detail: float
) -> CameraEffects:
    """`roughness` 0: a good camera; 1: a bad one in the dark. detail: px of a hand's crop, in 224 px."""
    level = rng.uniform(0.5, 2.5 + 9 * roughness)
    shape = height + SPARE, width + SPARE
    noise = rng.standard_normal((*shape, 3), np.float32) * np.float32(0.45 * level)
    noise += rng.standard_normal((*shape, 1), np.float32) * np.float32(0.32 * level)
    quality = int(rng.integers(92 - int(45 * roughness), 97 - int(12 * roughness)))
    focus = float(rng.uniform(0.0, 0.4 + 1.0 * roughness)) * detail
    return CameraEffects(focus, noise, float(0.025 * roughness * rng.random()), quality)


def motion_kernel(motion: np.ndarray) -> np.ndarray | None:
    """motion (2,) px during the exposure -> a line kernel, or None where it is too short to see."""
    length = float(np.hypot(*motion))
    if length < 1.5:
        return None
    side = 2 * int(min(length, 24) / 2) + 3
    kernel = np.zeros((side, side), np.float32)
    half = motion / length * min(length, 24) / 2
    centre = side // 2
    start, end = (tuple(int(round(16 * (centre + s * c))) for c in half) for s in (-1, 1))
    cv2.line(kernel, start, end, 1.0, 1, cv2.LINE_8, 4)
    return kernel / kernel.sum()


def smear(image: np.ndarray, covered: np.ndarray, box: np.ndarray, motion: np.ndarray) -> None:
    """Blurs a hand along its way, in place, and leaves what is behind it sharp. covered: (H, W) bool, where hands are.

    box: (4,) px around the hand; motion: (2,) px that it goes while the shutter is open.
    """
    kernel = motion_kernel(motion)
    if kernel is None:
        return
    margin = len(kernel)
    low = np.clip(np.floor(box[:2]) - margin, 0, image.shape[1::-1]).astype(int)
    high = np.clip(np.ceil(box[2:]) + margin, 0, image.shape[1::-1]).astype(int)
    here = slice(low[1], high[1]), slice(low[0], high[0])
    part = image[here]
    if part.size:
        share = cv2.filter2D(covered[here].astype(np.float32), -1, kernel)[..., None]
        part += (cv2.filter2D(part, -1, kernel) - part) * share


def expose(image: np.ndarray, lens: CameraEffects, rng: np.random.Generator) -> np.ndarray:
    """image (H, W, 3) float32 0..255 -> uint8, out of focus and noisy."""
    if lens.focus > 0.35:
        image = cv2.GaussianBlur(image, (0, 0), lens.focus)
    dy, dx = rng.integers(0, SPARE, 2)
    window = lens.noise[dy : dy + len(image), dx : dx + image.shape[1]]
    return np.clip(image + window + 0.5, 0, 255).astype(np.uint8)


def encode(image: np.ndarray, quality: int) -> bytes:
    """RGB uint8 -> JPEG."""
    done, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert done
    return data.tobytes()
