"""UmeTrack's hand (Han et al. 2022, SIGGRAPH Asia, "UmeTrack"): landmarks from a person's hand shape and a pose.

A left hand at rest: 20 joints with one axis of rotation each, four a finger from the palm outwards, and 21 landmarks
that move with up to three of 17 frames: the root, the wrist (both where the wrist is), and three a finger, those after
its second, third and fourth joint. Joints turn about their places at rest. A right hand is the left one mirrored: x of
its rest is negated. The thumb has two landmarks and its tip, so that its cmc is not known: 20 of the 21 joints come
out.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from handtool.hands.skeleton import NUM_JOINTS, RIGHT

FINGERS, JOINTS, FRAMES = 5, 4, 17
MM = 1e-3  # m
LARGEST = 1e9  # mm: no number of a hand
# standard[i] = theirs[MAP[i]]: tips from 0, wrist 5, thumb from 6, index from 8 …; their 20 is a centre of the palm
NOWHERE = -1
FROM_UMETRACK = (5, NOWHERE, 6, 7, 0, 8, 9, 10, 1, 11, 12, 13, 2, 14, 15, 16, 3, 17, 18, 19, 4)


class BadShape(ValueError):
    """A hand shape that is none; the message says why."""


@dataclass(frozen=True, eq=False)
class HandShape:
    """rest: (20, 3) m of the joints; axes: (20, 3); landmarks: (21, 3) m; weights: (21, 17) of the frames."""

    rest: np.ndarray
    axes: np.ndarray
    landmarks: np.ndarray
    weights: np.ndarray


def make_shape(profile: Any) -> HandShape:
    """profile: UmeTrack's, as json gives it, in mm. Raises BadShape."""
    if not isinstance(profile, dict):
        raise BadShape("no hand shape")
    rest, axes, landmarks, index, share = (
        as_table(profile.get(name), columns)
        for name, columns in (
            ("joint_rest_positions", 3),
            ("joint_rotation_axes", 3),
            ("landmark_rest_positions", 3),
            ("landmark_rest_bone_indices", None),
            ("landmark_rest_bone_weights", None),
        )
    )
    count, joints = len(landmarks), FINGERS * JOINTS
    if min(len(rest), len(axes)) < joints or count != NUM_JOINTS or index.shape != share.shape or len(index) != count:
        raise BadShape("a hand shape with other numbers of joints or landmarks")
    if (index != np.clip(np.round(index), 0, FRAMES - 1)).any():
        raise BadShape("a hand shape with numbers out of range")
    weights = np.zeros((count, FRAMES))
    used = share != 0  # unused ones point anywhere
    weights[np.nonzero(used)[0], index[used].astype(int)] = share[used]
    return HandShape(rest[:joints] * MM, axes[:joints], landmarks * MM, weights)


def as_table(values: Any, columns: int | None) -> np.ndarray:
    """(n, columns) float64; None: any number of columns."""
    try:
        table = np.array(values, np.float64)
    except (TypeError, ValueError, OverflowError):
        raise BadShape("a hand shape that is not numbers") from None
    is_table = table.ndim == 2 and table.size and columns in (None, table.shape[1])
    if not is_table or not (np.abs(table) < LARGEST).all():
        raise BadShape("a hand shape that is not numbers")
    return table


def place_joints(shape: HandShape, angles: np.ndarray, wrist: np.ndarray, side: int) -> np.ndarray:
    """The 21 joints in standard order, (21, 3) m where the wrist is given; NaN: not known. angles: (20,) radians;
    wrist: (4, 4), the frame of the wrist in the world."""
    own = np.array(wrist, np.float64)
    if side == RIGHT:
        own[:, 0] *= -1
    turns = turn_about(shape.rest, shape.axes * angles[:, None])
    frames = [own, own]
    for finger in range(FINGERS):
        frame = own
        for joint in range(JOINTS):
            frame = frame @ turns[JOINTS * finger + joint]
            frames += [frame] if joint else []
    places = np.concatenate([shape.landmarks, np.ones((len(shape.landmarks), 1))], axis=1)
    moved = np.einsum("lf,fij,lj->li", shape.weights, np.array(frames), places)[:, :3]
    return np.where(np.array(FROM_UMETRACK)[:, None] == NOWHERE, np.nan, moved[list(FROM_UMETRACK)])


def turn_about(place: np.ndarray, turn: np.ndarray) -> np.ndarray:
    """place: (n, 3) m; turn: (n, 3) axis times radians. Returns (n, 4, 4): the rotations about places (Rodrigues)."""
    angle = np.linalg.norm(turn, axis=1)[:, None, None]
    x, y, z = (turn / np.where(angle[:, 0] > 0, angle[:, 0], 1)).T
    nothing = np.zeros_like(x)
    cross = np.stack([nothing, -z, y, z, nothing, -x, -y, x, nothing], axis=1).reshape(-1, 3, 3)
    matrix = np.tile(np.eye(4), (len(place), 1, 1))
    matrix[:, :3, :3] += np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    matrix[:, :3, 3] = place - np.einsum("nij,nj->ni", matrix[:, :3, :3], place)
    return matrix
