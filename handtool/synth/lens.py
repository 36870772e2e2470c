"""What a real camera does to a picture: motion blur, lack of focus, noise, JPEG."""

from dataclasses import dataclass

import cv2
import numpy as np

SPARE = 128  # px by which the noise is larger than a picture


@dataclass(frozen=True)
class Lens:
    focus: float  # px of blur
    noise: np.ndarray  # (H', W', 3) float32, grey levels, larger than a picture: each takes a window
    exposure: float  # share of the time between frames during which the shutter is open
    quality: int  # JPEG


def draw_lens(rng: np.random.Generator, roughness: float, width: int, height: int, detail: float) -> Lens:
    """`roughness` 0: a good camera; 1: a bad one in the dark. detail: px of a hand's crop, in 224 px."""
    level = rng.uniform(0.5, 2.5 + 9 * roughness)
    shape = height + SPARE, width + SPARE
    noise = rng.standard_normal((*shape, 3), np.float32) * np.float32(0.45 * level)
    noise += rng.standard_normal((*shape, 1), np.float32) * np.float32(0.32 * level)
    quality = int(rng.integers(92 - int(45 * roughness), 97 - int(12 * roughness)))
    focus = float(rng.uniform(0.0, 0.4 + 1.0 * roughness)) * detail
    return Lens(focus, noise, float(0.09 * roughness * rng.random()), quality)


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


def expose(image: np.ndarray, lens: Lens, motion: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """image (S, S, 3) float32 0..255 -> uint8, blurred and noisy. `motion`: px that the hand moves until the next frame."""
    kernel = motion_kernel(motion * lens.exposure)
    if kernel is not None:
        image = cv2.filter2D(image, -1, kernel)
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
