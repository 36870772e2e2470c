"""Where the hand is in the camera's frame, and what of the frame becomes the crop."""

import numpy as np

from handtool.hands.camera import project
from handtool.synth.flesh import ARM, Cones
from handtool.synth.motion import wander

FRAME = (1280, 720)  # width, height of the camera's picture, px


def frame_camera(focal: float) -> np.ndarray:
    return np.array([[focal, 0, (FRAME[0] - 1) / 2], [0, focal, (FRAME[1] - 1) / 2], [0, 0, 1]])


def place_hand(rng: np.random.Generator, time: np.ndarray, turn: np.ndarray, in_hand: np.ndarray, focal: float) -> np.ndarray:
    """(F, 3) m: where the wrist is, so that the middle of the palm wanders over the picture and comes nearer and goes away."""
    px = rng.uniform(240, 440) * np.exp(wander(rng, time, 0.25, 1, 2.0)[:, 0])  # size of an open hand in the frame
    depth = focal * 0.2 / px
    room = np.maximum(np.array(FRAME) / 2 - 0.72 * px[:, None], 10)
    start = rng.uniform(-0.7, 0.7, 2)
    offset = np.clip(start + wander(rng, time, 0.4, 2, 1.5), -1, 1) * room
    centre = np.concatenate([offset * depth[:, None] / focal, depth[:, None]], 1)
    return centre - np.einsum("fij,fj->fi", turn, in_hand[:, 9] * 0.95)


def hand_boxes(hand: Cones, turn: np.ndarray, shift: np.ndarray, camera: np.ndarray) -> np.ndarray:
    """(F, 4) px of the frame: around the skin of the hand, without forearm, sleeve and things."""
    skin = hand.kind < ARM
    centres = np.concatenate([hand.a[:, skin], hand.b[:, skin]], 1) @ turn.swapaxes(1, 2) + shift[:, None]
    radius = np.concatenate([hand.radius_a[skin], hand.radius_b[skin]])
    uv = project(centres, camera) + 0.5
    reach = (camera[0, 0] * radius / centres[..., 2])[..., None]
    return np.concatenate([(uv - reach).min(1), (uv + reach).max(1)], 1)


def jitter_boxes(rng: np.random.Generator, boxes: np.ndarray, jitter: float) -> np.ndarray:
    """As a detector that misses a little: centre and sides off by `jitter` of the side (standard deviation)."""
    side = np.maximum(boxes[:, 2:] - boxes[:, :2], 1)
    return boxes + np.tile(side, 2) * jitter * np.clip(rng.normal(size=boxes.shape), -2, 2)


def pan(rng: np.random.Generator, time: np.ndarray) -> np.ndarray:
    """(F, 4): where the camera looks in the place: centre in 0..1, canvas px across the crop, turn in radians."""
    centre = rng.uniform(0.3, 0.7, 2) + wander(rng, time, 0.12, 2, 1.5)
    zoom = rng.uniform(150, 330) * np.exp(wander(rng, time, 0.15, 1))
    return np.concatenate([centre, zoom, wander(rng, time, 0.06, 1)], 1)


def mirror_affine(affine: np.ndarray, width: int, size: int) -> np.ndarray:
    """(2, 3) from a frame `width` px wide to a crop of `size` px -> the same between their mirror images."""
    mirrored = affine * np.array([[1.0, -1.0, -1.0], [-1.0, 1.0, 1.0]])
    mirrored[0, 2] = size - 1 - affine[0, 2] - affine[0, 0] * (width - 1)
    mirrored[1, 2] = affine[1, 2] + affine[1, 0] * (width - 1)
    return mirrored
