"""A hand moving: poses, orientations and places in front of the camera that follow each other smoothly."""

import cv2
import numpy as np

from handtool.synth.anatomy import NUM_ANGLES
from handtool.synth.kinematics import rotation
from handtool.synth.poses import clip_to_limits, draw_pose

FPS = 5.0  # frames per second of the world: hands change visibly from one frame to the next

# Camera frame: x right, y down, z forward. Columns: the hand's x, y, z when a right hand points up, its back in view.
UPRIGHT = np.array([[0.0, -1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, -1.0]])


def ease(time: np.ndarray, key_times: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """Minimum-jerk steps (Flash and Hogan 1985, eq. 8). time (F,), key_times (K,), keys (K, D) -> (F, D)."""
    i, s = locate(time, key_times)
    return keys[i] + s[:, None] * (keys[i + 1] - keys[i])


def locate(time: np.ndarray, key_times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The key before each time, and how much of the way to the next one has been gone."""
    i = np.clip(np.searchsorted(key_times, time, side="right") - 1, 0, len(key_times) - 2)
    u = (time - key_times[i]) / (key_times[i + 1] - key_times[i])
    u = np.clip(u * 1.35, 0.0, 1.0)  # arrive, and stay a while
    return i, u**3 * (10 - 15 * u + 6 * u * u)


def draw_key_times(rng: np.random.Generator, duration: float, mean_gap: float) -> np.ndarray:
    """Times of keys from 0 to beyond `duration` seconds; at least two."""
    times = [0.0]
    while times[-1] <= duration or len(times) < 2:
        times.append(times[-1] + mean_gap * rng.uniform(0.7, 1.4))
    return np.array(times)


def move_fingers(rng: np.random.Generator, time: np.ndarray, grasp: bool) -> np.ndarray:
    """time (F,) s -> angles (F, 24) radians within the limits. A hand that holds something only shifts its grasp."""
    key_times = draw_key_times(rng, time[-1], 0.9)
    keys = [draw_pose(rng, grasp) for _ in key_times]
    if grasp:
        keys = [keys[0] + 0.15 * (key - keys[0]) for key in keys]
    tremor_times = draw_key_times(rng, time[-1], 0.4)
    tremor = ease(time, tremor_times, np.radians(rng.normal(0, 0.8, (len(tremor_times), NUM_ANGLES))))
    return clip_to_limits(ease(time, key_times, np.array(keys)) + tremor)


def draw_orientation(rng: np.random.Generator, palm: bool, looseness: float) -> np.ndarray:
    """(3, 3) hand to camera. `palm` shows the palm, else the back; looseness 0 is towards the camera and upright, 1 any
    way at all."""
    if rng.random() < max(0.0, looseness - 0.45):
        return uniform_rotation(rng)
    turn = rng.normal(0, 18 + 30 * looseness) + (180 if palm else 0)
    tilt = rng.normal(0, 12 + 25 * looseness)
    roll = rng.normal(0, 16 + 45 * looseness)
    return rotation(2, np.radians(roll)) @ rotation(0, np.radians(tilt)) @ rotation(1, np.radians(turn)) @ UPRIGHT


def uniform_rotation(rng: np.random.Generator) -> np.ndarray:
    """(3, 3) from a random unit quaternion."""
    w, *v = rng.normal(size=4)
    angle = 2 * np.arctan2(np.linalg.norm(v), w)
    return cv2.Rodrigues(angle * np.array(v) / np.linalg.norm(v))[0]


def turn_hand(rng: np.random.Generator, time: np.ndarray, looseness: float) -> np.ndarray:
    """time (F,) s -> (F, 3, 3) hand to camera: mostly one side towards the camera, now and then turning over."""
    key_times = draw_key_times(rng, time[-1], 1.6)
    palm = rng.random() < 0.55
    keys = []
    for _ in key_times:
        palm ^= rng.random() < 0.2
        keys.append(draw_orientation(rng, palm, looseness))
    steps = [cv2.Rodrigues(before.T @ after)[0] for before, after in zip(keys[:-1], keys[1:], strict=True)]
    return np.stack([keys[i] @ cv2.Rodrigues(s * steps[i])[0] for i, s in zip(*locate(time, key_times), strict=True)])


def wander(rng: np.random.Generator, time: np.ndarray, reach: float, dim: int, gap: float = 1.2) -> np.ndarray:
    """time (F,) s -> (F, dim) smooth drift within about +-reach."""
    key_times = draw_key_times(rng, time[-1], gap)
    return ease(time, key_times, reach * rng.uniform(-1, 1, (len(key_times), dim)))
