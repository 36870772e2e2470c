"""The frame of the palm: a rotation on both hands, that turns as the hand does."""

import numpy as np
import pytest

from handtool.hands.canonical import canonical_joints
from handtool.hands.descriptor import describe_joints
from handtool.hands.palm import palm_rotation
from handtool.hands.skeleton import LEFT, RIGHT, UNKNOWN


def make_hands(seed=0, count=50):
    rng = np.random.default_rng(seed)
    return rng.normal(0, 0.05, (count, 21, 3)) + [0.1, -0.2, 0.6], rng.choice([LEFT, RIGHT, UNKNOWN], count), rng


def hand_before_camera() -> np.ndarray:
    """(21, 3): a right hand whose palm faces the camera, fingers up, the tips bent a little to the camera (x right, y
    down, z forward).

    The thumb is then at the right of the picture, as on a hand that somebody holds up to us.
    """
    joints = np.zeros((21, 3))
    for finger, x in enumerate((0.045, 0.03, 0.01, -0.01, -0.03)):
        for joint in range(4):
            joints[1 + 4 * finger + joint] = x, -0.08 - 0.02 * joint, -0.006 * joint**2
    return joints + [0.05, 0.1, 0.5]


def test_it_is_a_rotation_on_both_hands():
    joints, side, _ = make_hands()
    rotation = palm_rotation(joints, side)
    np.testing.assert_allclose(rotation.swapaxes(1, 2) @ rotation, np.tile(np.eye(3), (50, 1, 1)), atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(rotation), 1, atol=1e-12)


def test_it_turns_with_the_hand_and_knows_neither_place_nor_size():
    joints, side, rng = make_hands(1)
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    turn *= np.linalg.det(turn)
    np.testing.assert_allclose(
        palm_rotation(2.5 * joints @ turn.T + [1, 2, 3], side), turn @ palm_rotation(joints, side), atol=1e-9
    )


def test_a_mirrored_hand_points_and_faces_as_the_mirror_shows():
    """y and z are those of the mirror image, x is the other way: M R M."""
    joints, _, _ = make_hands(2)
    left, mirror = np.full(50, LEFT), np.diag([-1.0, 1.0, 1.0])
    right = palm_rotation(canonical_joints(joints, left))
    np.testing.assert_allclose(palm_rotation(joints, left), mirror @ right @ mirror, atol=1e-12)
    np.testing.assert_allclose(palm_rotation(joints, left)[:, :, 1:], mirror @ right[:, :, 1:], atol=1e-12)


@pytest.mark.parametrize("side", [RIGHT, LEFT])
def test_z_leaves_the_palm_where_the_fingers_close_and_y_points_along_them(side):
    joints = canonical_joints(hand_before_camera()[None], np.array([side]))
    x, y, z = palm_rotation(joints, np.array([side]))[0].T
    np.testing.assert_allclose(y, [0, -1, 0], atol=0.2)
    np.testing.assert_allclose(z, [0, 0, -1], atol=0.2)
    np.testing.assert_allclose(x, [1, 0, 0], atol=0.2)
    to_thumb = (joints[0, 1] - joints[0, 17]) @ x
    assert to_thumb > 0 if side == RIGHT else to_thumb < 0


def test_real_left_hands_close_their_fingers_to_the_side_of_z(samples):
    joints = np.load(samples / "realworld3d" / "labels.npz")["joints_m"]
    rotation = palm_rotation(joints, np.full(len(joints), LEFT))
    height = np.einsum("nc,nc->n", joints[:, (8, 12, 16, 20)].mean(axis=1) - joints[:, 0], rotation[:, :, 2])
    assert (height > 0).mean() > 0.95


def test_a_hand_without_a_plane_has_none():
    joints, side, _ = make_hands(3, 4)
    joints[0, 9] = np.nan
    joints[1] = joints[1, :1]
    joints[2, 17] = joints[2, 5]
    assert np.isnan(palm_rotation(joints, side)).any(axis=(1, 2)).tolist() == [True, True, True, False]


def test_the_descriptor_stands_in_the_same_frame():
    joints, side, _ = make_hands(4)
    canonical = canonical_joints(joints, side)
    centred = canonical - canonical[:, :1]
    centred /= np.sqrt((centred**2).sum(axis=2).mean(axis=1))[:, None, None]
    expected = np.einsum("nkc,ncp->nkp", centred, palm_rotation(canonical))
    np.testing.assert_allclose(describe_joints(joints, side, "similarity").reshape(50, 21, 3), expected, atol=1e-6)
