"""Hands with people's bones and poses: for what looks at labels, and would not believe random joints."""

from pathlib import Path

import numpy as np
from footage import make_labelled

from handtool.synth.anatomy import draw_subject
from handtool.synth.kinematics import forward
from handtool.synth.poses import draw_pose

FOCAL, SIZE = 400.0, 224


def draw_hands(count: int, rng: np.random.Generator, left: np.ndarray, depth_m: float = 0.5) -> np.ndarray:
    """(count, 21, 3) m in the camera's frame, each turned at random; left: (count,) bool."""
    subjects = [draw_subject(rng, f"{number}") for number in range(5)]
    hands = []
    for number in range(count):
        pose = draw_pose(rng, grasp=bool(rng.random() < 0.5))
        joints = forward(subjects[number % 5], pose[None])[0][0]
        joints = joints * (-1 if left[number] else 1, 1, 1)
        turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
        turn[:, 0] *= np.linalg.det(turn)  # a rotation: no mirror
        joints = (joints - joints.mean(axis=0)) @ turn.T
        hands.append(joints + rng.uniform(-0.03, 0.03, 3) + (0, 0, depth_m))
    return np.array(hands)


def see(joint: np.ndarray, camera: np.ndarray) -> tuple[float, float]:
    """One joint on the picture, number by number."""
    x, y, z = map(float, joint)
    return camera[0, 0] * x / z + camera[0, 2], camera[1, 1] * y / z + camera[1, 2]


def make_true_labelled(folder: Path, count: int = 12, seed: int = 0, **changes: object) -> Path:
    """A labelled set as `make_labelled` makes it, of true hands; `changes` replaces columns."""
    left = np.arange(count) % 2 == 0
    joints = draw_hands(count, np.random.default_rng(seed), left)
    return make_labelled(folder, count, SIZE, **{"joints_m": joints, **changes})


def columns_of(folder: Path) -> dict[str, np.ndarray]:
    with np.load(folder / "labels.npz") as archive:
        return dict(archive)
