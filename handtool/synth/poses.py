"""What hands do: a prior of grasps, pinches, signs and free poses, in joint angles within anatomical limits."""

import numpy as np

from handtool.synth.anatomy import LOWER, NUM_ANGLES, UPPER

# A finger is (MCP flexion, abduction, PIP, DIP) in degrees; a thumb (radial, palmar, MCP, IP, pronation).
STRAIGHT = (2, 0, 5, 3)
CURLED = (85, 0, 106, 70)

# name: thumb, index, middle, ring, little, cupping
NAMED = {
    # gestures and signs
    "open": ((48, 22, 5, 0, 15), (0, 9, 5, 3), (0, 1, 4, 3), (0, -6, 5, 3), (0, -13, 6, 4), 0),
    "flat": ((28, 12, 8, 5, 10), (2, -2, 4, 3), (2, 0, 4, 3), (2, 2, 4, 3), (2, 5, 5, 3), 0),
    "fist": ((14, 40, 35, 52, 58), CURLED, CURLED, CURLED, CURLED, 10),
    "thumb_up": ((58, 2, -5, -12, 5), CURLED, CURLED, CURLED, CURLED, 8),
    "point": ((10, 44, 30, 45, 60), STRAIGHT, CURLED, CURLED, CURLED, 8),
    "two": ((8, 46, 35, 48, 62), (2, 9, 5, 3), (2, -8, 5, 3), CURLED, CURLED, 8),
    "three": ((4, 48, 35, 50, 66), (2, 8, 5, 3), STRAIGHT, (2, -9, 6, 3), CURLED, 10),
    "four": ((-2, 46, 32, 48, 62), (2, 7, 5, 3), (2, 1, 4, 3), (2, -6, 5, 3), (2, -12, 6, 4), 4),
    "gun": ((58, 8, 0, -5, 10), STRAIGHT, CURLED, CURLED, CURLED, 8),
    "thumb_two": ((58, 10, 0, -5, 10), (2, 8, 5, 3), (2, -7, 5, 3), CURLED, CURLED, 8),
    "horns": ((8, 46, 35, 48, 62), (4, 3, 8, 4), CURLED, CURLED, (4, -5, 8, 4), 6),
    "love": ((60, 12, 0, -5, 10), (4, 3, 8, 4), CURLED, CURLED, (4, -6, 8, 4), 6),
    "shaka": ((62, 10, -5, -15, 5), CURLED, CURLED, CURLED, (2, -12, 8, 5), 4),
    "letter_c": ((40, 48, 12, 25, 55), (38, 0, 48, 28), (38, 0, 48, 28), (38, 0, 48, 28), (36, 0, 46, 28), 6),
    "hook": ((30, 20, 15, 15, 25), (8, 0, 95, 55), (8, 0, 98, 55), (8, 0, 98, 55), (8, 0, 92, 52), 2),
    "claw": ((46, 36, 15, 30, 40), (5, 8, 55, 40), (5, 0, 58, 40), (5, -6, 58, 40), (8, -12, 55, 38), 2),
    "wave": ((42, 20, 8, 5, 18), (12, 6, 14, 8), (12, 0, 14, 8), (12, -5, 15, 8), (12, -11, 16, 9), 2),
    "relaxed": ((34, 26, 14, 18, 30), (22, 2, 28, 14), (26, 0, 34, 18), (30, -1, 38, 20), (32, -3, 38, 20), 6),
    "beckon": ((36, 26, 14, 18, 30), (10, 0, 8, 4), (50, 0, 60, 35), (62, 0, 75, 45), (68, 0, 78, 48), 8),
    # pinches
    "ok": ((24, 52, 18, 34, 62), (52, 2, 50, 32), (16, 0, 14, 8), (8, -4, 10, 6), (2, -12, 8, 5), 4),
    "pinch": ((24, 52, 18, 32, 62), (52, 2, 48, 30), (58, 0, 58, 34), (64, 0, 66, 38), (68, 0, 66, 38), 8),
    "tripod": ((18, 54, 16, 28, 64), (50, 0, 46, 24), (56, 2, 48, 26), (66, 0, 68, 40), (70, 0, 70, 42), 10),
    "key": ((20, 26, 16, 22, 34), (48, 2, 72, 34), (62, 0, 82, 46), (70, 0, 86, 50), (74, 0, 86, 50), 8),
    "beak": ((22, 54, 14, 20, 64), (52, -4, 32, 16), (54, 0, 34, 18), (54, 4, 34, 18), (52, 10, 32, 16), 12),
    # grasps, with something in the hand when the world has things
    "cylinder": ((30, 50, 18, 28, 58), (52, 1, 56, 30), (54, 0, 58, 32), (56, 0, 60, 34), (58, 0, 58, 34), 10),
    "ball": ((40, 50, 12, 22, 52), (34, 9, 42, 26), (36, 1, 44, 28), (38, -7, 44, 28), (40, -14, 42, 26), 12),
    "disk": ((44, 44, 10, 25, 45), (12, 11, 42, 30), (14, 1, 44, 30), (16, -8, 44, 30), (20, -15, 42, 30), 8),
    "plate": ((28, 42, 10, 10, 45), (48, 0, 14, 8), (48, 0, 14, 8), (48, 0, 14, 8), (46, 0, 14, 8), 4),
}
GRASPS = ("cylinder", "ball", "disk", "letter_c")


def named_pose(name: str) -> np.ndarray:
    """(24,) radians."""
    thumb, *fingers, cupping = NAMED[name]
    return np.radians(np.array([*thumb[:4], *np.ravel(fingers), thumb[4], cupping, 0, 0], float))


def free_pose(rng: np.random.Generator) -> np.ndarray:
    """Each finger by itself, as bones and tendons let it: neighbours pull each other, DIP follows PIP by two thirds."""
    curl = np.clip(0.55 * rng.uniform(0, 1) + 0.45 * rng.uniform(0, 1, 4) ** 1.3 + rng.normal(0, 0.08, 4), 0, 1)
    pose = np.zeros(NUM_ANGLES)
    spread = rng.uniform(-2, 10)
    for i in range(4):
        mcp = 85 * np.clip(curl[i] + rng.normal(0, 0.2), 0, 1) - 4
        pip = 105 * np.clip(curl[i] + rng.normal(0, 0.15), 0, 1)
        abduction = spread * np.array([0.9, 0.1, -0.6, -1.3])[i] * (1 - mcp / 100)
        pose[4 + 4 * i : 8 + 4 * i] = mcp, abduction, pip, 0.62 * pip + rng.normal(0, 5)
    opposed = rng.uniform(0, 1)
    pose[:4] = (
        55 - 45 * opposed + rng.normal(0, 8),
        10 + 42 * opposed + rng.normal(0, 6),
        rng.uniform(-5, 40),
        rng.uniform(-10, 50),
    )
    pose[20:22] = 10 + 52 * opposed + rng.normal(0, 6), 14 * curl[3]
    return np.radians(pose)


def draw_pose(rng: np.random.Generator, grasp: bool) -> np.ndarray:
    """(24,) radians within the limits: a named pose done in one's own way, something between two of them, or (not in a
    grasp) a free pose.

    `grasp`: only hands that close around something.
    """
    names = GRASPS if grasp else tuple(NAMED)
    pose = named_pose(names[rng.integers(len(names))])
    kind = rng.random()
    if not grasp and kind > 0.80:
        pose = free_pose(rng)
    elif kind > (0.3 if grasp else 0.62):
        pose = pose + rng.uniform(0.2, 0.8) * (named_pose(names[rng.integers(len(names))]) - pose)
    jitter = np.radians(np.array([4, 4, 4, 5] + [5, 2, 6, 4] * 4 + [4, 3, 0, 0], float))
    pose = pose + jitter * rng.normal(0, 0.8 if grasp else 1.0, NUM_ANGLES)
    pose[22:24] = np.radians([rng.normal(-8, 14), rng.normal(4, 7)])
    return clip_to_limits(pose)


def clip_to_limits(pose: np.ndarray) -> np.ndarray:
    """(..., 24) radians; spreading the fingers is only possible while they are straight."""
    pose = np.clip(pose, LOWER, UPPER)
    for i in range(1, 5):
        room = UPPER[4 * i + 1] * np.clip(1.15 - pose[..., 4 * i] / np.radians(90), 0.15, 1.0)
        pose[..., 4 * i + 1] = np.clip(pose[..., 4 * i + 1], -room, room)
    return pose
