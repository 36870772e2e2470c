"""From joint angles to joint positions: the chain of rotations from the wrist to the fingertips."""

import numpy as np

from handtool.synth.anatomy import CUP_SHARE, CUPPING, PRONATION, ROLL, WRIST_DEVIATION, WRIST_FLEXION, Subject


def rotation(axis: int, angle: np.ndarray) -> np.ndarray:
    """(...) radians to (..., 3, 3), right-handed about x, y or z (axis 0, 1, 2)."""
    angle = np.asarray(angle, float)
    matrix = np.zeros(angle.shape + (3, 3))
    i, j = (axis + 1) % 3, (axis + 2) % 3
    matrix[..., axis, axis] = 1.0
    matrix[..., i, i] = matrix[..., j, j] = np.cos(angle)
    matrix[..., j, i] = np.sin(angle)
    matrix[..., i, j] = -np.sin(angle)
    return matrix


def thumb_frame(radial: np.ndarray, palmar: np.ndarray, pronation: np.ndarray) -> np.ndarray:
    """(F,) radians each -> (F, 3, 3), columns: along the metacarpal, its radial side, its back (where the nail points).

    `radial` opens the thumb in the plane of the palm, `palmar` lifts it out of that plane, `pronation` turns the nail
    away from the back of the hand until the pulp faces the fingers.
    """
    along = np.stack([np.cos(radial) * np.cos(palmar), np.sin(radial) * np.cos(palmar), -np.sin(palmar)], -1)
    facing = np.radians(62.0) - pronation
    back = np.stack([np.full_like(facing, -0.15), np.cos(facing), np.sin(facing)], -1)
    back -= (back * along).sum(-1, keepdims=True) * along
    back /= np.linalg.norm(back, axis=-1, keepdims=True)
    return np.stack([along, np.cross(back, along), back], -1)


def follow_chain(
    root: np.ndarray, frame: np.ndarray, bends: np.ndarray, lengths: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """root (F, 3), frame (F, 3, 3) of the first bone, bends (F, 2) between bones, lengths (3,) -> joints (F, 4, 3),
    frames (F, 3, 3, 3)."""
    joints, frames = [root], []
    for i in range(3):
        if i:
            frame = frame @ rotation(1, bends[:, i - 1])
        frames.append(frame)
        joints.append(joints[-1] + lengths[i] * frame[..., 0])
    return np.stack(joints, 1), np.stack(frames, 1)


def forward(subject: Subject, angles: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """angles (F, 24) radians -> joints (F, 21, 3) m, bone frames (F, 20, 3, 3) and the forearm's (F, 3, 3), in the
    hand's frame.

    Bone i ends in joint i + 1; the columns of its frame are along the bone, towards the thumb, out of the back.
    Bending is a positive turn about the second column.
    """
    num_frames = len(angles)
    joints = np.zeros((num_frames, 21, 3))
    frames = np.zeros((num_frames, 20, 3, 3))
    for finger in range(5):
        a = angles[:, 4 * finger : 4 * finger + 4]
        if finger == 0:
            base = np.broadcast_to(np.eye(3), (num_frames, 3, 3))
            first = thumb_frame(a[:, 0], a[:, 1], angles[:, PRONATION])
            bends = a[:, 2:4]
        else:
            base = rotation(1, CUP_SHARE[finger] * angles[:, CUPPING])
            first = base @ rotation(2, subject.yaw[finger]) @ rotation(0, ROLL[finger])
            first = first @ rotation(2, a[:, 1]) @ rotation(1, a[:, 0])
            bends = a[:, 2:4]
        chain, turned = follow_chain(base @ subject.roots[finger], first, bends, subject.bones[finger])
        joints[:, 4 * finger + 1 : 4 * finger + 5] = chain
        frames[:, 4 * finger] = base
        frames[:, 4 * finger + 1 : 4 * finger + 4] = turned
    forearm = rotation(1, -angles[:, WRIST_FLEXION]) @ rotation(2, -angles[:, WRIST_DEVIATION])
    return joints, frames, forearm
