"""Where hands are in the camera's frame, and what of the frame becomes a crop."""

from dataclasses import dataclass

import numpy as np

from handtool.synth.flesh import ARM, Cones
from handtool.synth.motion import ease, wander

OPEN_HAND_M = 0.2
NEAREST_M = 0.15  # an arm that comes towards the camera ends here
ARM_M = 2.0  # of an arm that leaves the picture


@dataclass(frozen=True)
class Lane:
    """The part of a picture in which one hand moves. width, height: px of the picture; from x0 to x1 px of it.

    smallest, largest: length of an open hand, in heights of the picture (or widths of a narrow lane).
    """

    width: int
    height: int
    x0: float
    x1: float
    smallest: float = 0.33
    largest: float = 0.61

    @property
    def room(self) -> np.ndarray:
        return np.array([self.x1 - self.x0, self.height]) / 2

    @property
    def middle(self) -> np.ndarray:
        """(2,) px from the picture's middle."""
        return np.array([(self.x0 + self.x1 - self.width) / 2, 0.0])


def frame_camera(focal: float, width: int, height: int) -> np.ndarray:
    return np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]])


def draw_focal(rng: np.random.Generator, width: int) -> float:
    """px, of a camera that sees 46 to 78 degrees across."""
    return width / 2 / np.tan(np.radians(rng.uniform(46, 78)) / 2)


def place_hand(
    rng: np.random.Generator, time: np.ndarray, turn: np.ndarray, in_hand: np.ndarray, focal: float, lane: Lane
) -> np.ndarray:
    """(F, 3) m: where the wrist is, so that the middle of the palm wanders over the lane, nearer and farther."""
    size = min(lane.height, 1.1 * (lane.x1 - lane.x0))
    # an open hand's length in the picture
    px = size * rng.uniform(lane.smallest, lane.largest) * np.exp(wander(rng, time, 0.25, 1, 2.0)[:, 0])
    depth = focal * OPEN_HAND_M / px
    room = np.maximum(lane.room - 0.72 * px[:, None], 10)
    start = rng.uniform(-0.7, 0.7, 2)
    offset = lane.middle + np.clip(start + wander(rng, time, 0.4, 2, 1.5), -1, 1) * room
    centre = np.concatenate([offset * depth[:, None] / focal, depth[:, None]], 1)
    return centre - np.einsum("fij,fj->fi", turn, in_hand[:, 9] * 0.95)


def enter_and_leave(rng: np.random.Generator, time: np.ndarray, height: int) -> np.ndarray:
    """(F,) px by which a hand is below its place: some come into the picture late, some leave it early."""
    below, duration = 1.1 * height, max(float(time[-1]), 1e-3)
    kind = rng.random()
    first, last = rng.uniform(0.02, 0.25, 2) * duration
    keys = np.array([[below], [0.0]]) if kind < 0.2 else np.array([[0.0], [below]]) if kind < 0.35 else np.zeros((2, 1))
    span = min(1.0, 0.4 * duration)  # s, of coming or going
    when = np.array([first, first + span]) if kind < 0.2 else np.array([duration - last - span, duration - last])
    return ease(np.clip(time, when[0], when[1]), when, keys)[:, 0]


def arm_lengths(turn: np.ndarray, shift: np.ndarray, forearm: np.ndarray) -> np.ndarray:
    """(F,) m from the wrist: as long as it takes to leave the picture, and never through the camera."""
    towards = -np.einsum("fij,fj->fi", turn, forearm[..., 0])[:, 2]
    free = (shift[:, 2] - NEAREST_M) / np.maximum(-towards, 1e-3)
    return np.clip(np.where(towards < 0, free, ARM_M), 0.02, ARM_M)


def hand_boxes(hand: Cones, turn: np.ndarray, shift: np.ndarray, camera: np.ndarray) -> np.ndarray:
    """(F, 4) px of the frame: around the skin of the hand, without forearm, sleeve and things."""
    skin = hand.kind < ARM
    centres = np.concatenate([hand.a[:, skin], hand.b[:, skin]], 1) @ turn.swapaxes(1, 2) + shift[:, None]
    radius = np.concatenate([hand.radius_a[skin], hand.radius_b[skin]])
    edges = []
    depth = np.ascontiguousarray(centres[..., 2])  # of a strided view, arctan2's last bit depends on where it lies
    for axis in (0, 1):  # a sphere seen aslant: its outermost rays, by their angle to the optical axis
        aside = np.ascontiguousarray(centres[..., axis])
        angle = np.arctan2(aside, depth)
        spread = np.arcsin(np.clip(radius / np.hypot(aside, depth), 0, 0.9))
        low, high = (
            camera[axis, axis] * np.tan(np.clip(angle + s * spread, -1.5, 1.5)) + camera[axis, 2] + 0.5 for s in (-1, 1)
        )
        edges.append((low.min(1), high.max(1)))
    return np.stack([edges[0][0], edges[1][0], edges[0][1], edges[1][1]], 1)


def mirror_boxes(boxes: np.ndarray, width: int) -> np.ndarray:
    """(..., 4) px by their edges, in a frame `width` px wide -> in its mirror image."""
    x0, y0, x1, y1 = np.moveaxis(boxes, -1, 0)
    return np.stack([width - x1, y0, width - x0, y1], -1)


def jitter_boxes(rng: np.random.Generator, boxes: np.ndarray, jitter: float) -> np.ndarray:
    """As a detector that misses a little: centre and sides off by `jitter` of the side (standard deviation)."""
    side = np.maximum(boxes[:, 2:] - boxes[:, :2], 1)
    return boxes + np.tile(side, 2) * jitter * np.clip(rng.normal(size=boxes.shape), -2, 2)


def pan(rng: np.random.Generator, time: np.ndarray) -> np.ndarray:
    """(F, 4): where the camera looks in the place: centre in 0..1, canvas px across the picture, turn in radians."""
    centre = rng.uniform(0.3, 0.7, 2) + wander(rng, time, 0.12, 2, 1.5)
    zoom = rng.uniform(150, 330) * np.exp(wander(rng, time, 0.15, 1))
    return np.concatenate([centre, zoom, wander(rng, time, 0.06, 1)], 1)
