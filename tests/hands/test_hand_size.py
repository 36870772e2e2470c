"""The size of a hand: one factor over all its bones."""

import numpy as np
import pytest

from handtool.hands.hand_size import ADULT_MM, bone_lengths, size_factor, usual_lengths
from handtool.hands.skeleton import BONES, bone_length


def test_lengths_are_in_the_order_of_the_bones():
    joints = np.random.default_rng(0).normal(size=(4, 21, 3))
    for place, bone in enumerate(BONES):
        np.testing.assert_allclose(bone_lengths(joints)[:, place], bone_length(joints, bone))
    assert len(ADULT_MM) == len(BONES)


def test_a_hand_made_larger_is_brought_back_and_unknown_bones_do_not_count():
    joints = np.random.default_rng(1).normal(0, 0.05, (3, 21, 3))
    lengths = bone_lengths(joints)
    lengths[1, 4:] = np.nan
    lengths[2] = np.nan
    factor = size_factor(joints * [[[2.0]], [[0.5]], [[1.0]]], lengths)
    assert factor[:2] == pytest.approx([0.5, 2.0]) and np.isnan(factor[2])


def test_one_bone_found_too_short_changes_the_size_little():
    joints = np.zeros((1, 21, 3))
    for parent, child in BONES:
        joints[0, child] = joints[0, parent] + [0.03, 0, 0]
    lengths = bone_lengths(joints)
    joints[0, 10:13] -= [0.015, 0, 0]  # the middle finger's first bone: half as long
    assert size_factor(joints, lengths)[0] == pytest.approx(20 / 19.5)


def test_a_usual_hand_has_the_reference_bone_that_was_asked_for():
    lengths = usual_lengths(np.array([0.046, 0.023]))
    np.testing.assert_allclose(lengths[0], ADULT_MM / 1000)
    np.testing.assert_allclose(lengths[1], ADULT_MM / 2000)
