"""The 21 joints: names, parents, and other people's orders."""

import numpy as np
import pytest

from handtool.hands import skeleton
from handtool.store import schema

TIPS = (4, 8, 12, 16, 20)


def test_each_finger_hangs_on_the_wrist_in_one_chain():
    for finger, joints in skeleton.FINGERS.items():
        assert [skeleton.PARENTS[joint] for joint in joints] == [skeleton.WRIST, *joints[:-1]]
        assert all(skeleton.JOINTS[joint].startswith(finger) for joint in joints)
    assert sorted(sum(skeleton.FINGERS.values(), ())) == list(range(1, 21))
    assert len(skeleton.JOINTS) == len(set(skeleton.JOINTS)) == 21
    assert set(skeleton.BONES) == {(skeleton.PARENTS[joint], joint) for joint in range(1, 21)}


def test_sides_are_the_numbers_of_the_file():
    assert (skeleton.LEFT, skeleton.RIGHT, skeleton.UNKNOWN) == (schema.LEFT, schema.RIGHT, schema.UNKNOWN)


@pytest.mark.parametrize(
    "order, tips, wrist",
    [
        # where their own documents put the tips (thumb to little) and the wrist
        (skeleton.FROM_MANO, (16, 17, 18, 19, 20), 0),
        (skeleton.FROM_INTERHAND_RIGHT, (0, 4, 8, 12, 16), 20),
        (skeleton.FROM_INTERHAND_LEFT, (21, 25, 29, 33, 37), 41),
        (skeleton.FROM_RHD_LEFT, (1, 5, 9, 13, 17), 0),
        (skeleton.FROM_RHD_RIGHT, (22, 26, 30, 34, 38), 21),
        (skeleton.STANDARD, (4, 8, 12, 16, 20), 0),
    ],
)
def test_other_orders_bring_tips_and_wrist_to_their_place(order, tips, wrist):
    assert [order[joint] for joint in TIPS] == list(tips)
    assert order[skeleton.WRIST] == wrist
    assert len(set(order)) == 21 and max(order) - min(order) == 20


def test_level_major_order_goes_from_the_palm_to_the_tips():
    names = [skeleton.JOINTS[joint] for joint in skeleton.LEVEL_MAJOR]
    assert names[:6] == ["wrist", "thumb_cmc", "index_mcp", "middle_mcp", "ring_mcp", "little_mcp"]
    assert [skeleton.LEVEL_MAJOR[k] for k in range(16, 21)] == list(TIPS)
    standard = np.arange(21)
    assert (standard[list(skeleton.LEVEL_MAJOR)][list(skeleton.FROM_LEVEL_MAJOR)] == standard).all()


def test_the_reference_bone_is_the_middle_fingers_first():
    joints = np.zeros((1, 21, 3))
    joints[0, 9], joints[0, 10] = (0.0, 0.0, 0.5), (0.03, 0.04, 0.5)
    assert skeleton.bone_length(joints) == pytest.approx(0.05)
