"""What cannot be a hand is found; true hands pass, however they are cut, hidden or held."""

import numpy as np
import pytest
from true_hands import draw_hands, see

from handtool.hands.label_faults import (
    AROUND,
    BEHIND,
    BESIDE,
    ELSEWHERE,
    FAR,
    FAULTS,
    FILLER,
    FILLER_2D,
    OFF,
    ORDERS,
    POINT,
    SIZE,
    Labels,
    find_faults,
    find_order,
)
from handtool.hands.palm_side import side_by_joints
from handtool.hands.skeleton import LEFT, RIGHT, UNKNOWN

WIDTH, HEIGHT = 640, 480
CAMERA = np.array([[500.0, 0, 319.5], [0, 500.0, 239.5], [0, 0, 1]])


def make_labels(of, **changes):
    keypoints = np.array([[see(joint, CAMERA) for joint in hand] for hand in of])
    count, known = len(of), np.ones(of.shape[:2], bool)
    columns = {"joints": of, "valid": known, "camera": np.tile(CAMERA, (count, 1, 1)), "keypoints": keypoints}
    columns |= {"keypoints_valid": known, "box": np.full((count, 4), np.nan)}
    return Labels(**{**columns, "size": np.tile([WIDTH, HEIGHT], (count, 1)), **changes})


@pytest.fixture(scope="module")
def hands():
    left = np.arange(200) % 2 == 0
    return draw_hands(200, np.random.default_rng(1), left), left


def faults_of(labels):
    return [FAULTS[place] for place in find_faults(labels).fault]


@pytest.mark.parametrize("size", [0.34, 0.6, 1.0, 1.35])
def test_true_hands_have_no_fault_from_newborn_to_giant(hands, size):
    joints = (hands[0] - (0, 0, 0.5)) * size + (0, 0, 0.5)
    found = find_faults(make_labels(joints))
    assert not found.fault.any() and found.valid.all() and found.keypoints_valid.all() and not found.singles


def test_hands_that_are_cut_by_the_border_or_half_unknown_keep_every_joint(hands):
    joints = hands[0] + np.random.default_rng(2).uniform((-0.28, -0.2, 0), (0.28, 0.2, 0.1), (200, 1, 3))
    labels = make_labels(joints)
    inside = [
        [-0.5 <= u <= WIDTH - 0.5 and -0.5 <= v <= HEIGHT - 0.5 for u, v in points] for points in labels.keypoints
    ]
    cut = np.array([any(seen) and not all(seen) for seen in inside])
    assert cut.sum() > 10
    found = find_faults(labels)
    assert not found.fault[np.any(inside, axis=1)].any() and found.valid[cut].all() and found.keypoints_valid[cut].all()
    valid = np.random.default_rng(3).random((200, 21)) < 0.4
    half = find_faults(make_labels(hands[0], valid=valid, keypoints_valid=valid))
    assert not half.fault.any() and np.array_equal(half.valid, valid) and np.array_equal(half.keypoints_valid, valid)


@pytest.mark.parametrize(
    "fault, in_space, on_picture",
    [(BEHIND, True, False), (AROUND, True, True), (SIZE, True, False), (POINT, True, True), (OFF, True, True)]
    + [(BESIDE, True, True), (ELSEWHERE, True, True)],
)
def test_each_fault_is_found_in_that_hand_alone_and_costs_what_it_makes_wrong(hands, fault, in_space, on_picture):
    """in_space, on_picture: whether its joints and its keypoints lose their validity."""
    joints, row = hands[0][:20].copy(), 7
    labels = make_labels(joints)
    keypoints, camera, box = labels.keypoints.copy(), labels.camera.copy(), labels.box.copy()
    match fault:
        case _ if fault == BEHIND:
            joints[row] *= (1, -1, -1)
        case _ if fault == AROUND:
            joints[row] -= joints[row, 0]
            camera[row] = np.nan
            on_picture = False  # given apart, and in their place
        case _ if fault == SIZE:
            joints[row] *= 1000
        case _ if fault == POINT:
            keypoints[row] = keypoints[row] / (WIDTH, HEIGHT)
        case _ if fault == OFF:
            keypoints[row] += (700, 0)
        case _ if fault == BESIDE:
            box[:] = [100, 60, 540, 420]
            box[row] = [1, 1, 30, 30]
        case _ if fault == ELSEWHERE:
            camera[row, :2] *= 3
    found = find_faults(make_labels(hands[0][:20], joints=joints, keypoints=keypoints, camera=camera, box=box))
    others = np.arange(20) != row
    assert FAULTS[found.fault[row]] == fault and not found.fault[others].any()
    assert found.valid[others].all() and found.keypoints_valid[others].all()
    assert found.valid[row].any() != in_space and found.keypoints_valid[row].any() != on_picture


def test_zeros_repeated_points_and_far_joints_are_taken_singly(hands):
    joints = hands[0][:8].copy()
    keypoints = make_labels(joints).keypoints
    joints[1, 12:] = 0
    joints[2, [3, 7, 8]] = -1, -1, -1
    joints[3, 8] += (0, 0.9, 0)  # a tip
    joints[4, 6] += (0, 0, 0.8)  # in the middle of a finger
    keypoints[5, :4] = 0
    joints[6, 1] = joints[6, 0]  # a skeleton without that joint
    found = find_faults(make_labels(hands[0][:8], joints=joints, keypoints=keypoints))
    assert not found.fault.any()
    lost = [np.flatnonzero(~valid).tolist() for valid in found.valid]
    assert lost == [[], [*range(12, 21)], [3, 7, 8], [8], [6], [], [], []]
    assert np.flatnonzero(~found.keypoints_valid[5]).tolist() == [0, 1, 2, 3]
    assert found.singles == {FILLER: 12, FAR: 2, FILLER_2D: 4}


@pytest.mark.parametrize("name", ORDERS)
def test_a_foreign_order_of_joints_is_named_and_random_joints_are_in_none(hands, name):
    joints, _ = hands
    known = np.ones(joints.shape[:2], bool)
    theirs = np.empty_like(joints)
    for place, of in enumerate(ORDERS[name]):
        theirs[:, of] = joints[:, place]
    assert (find_order(theirs, known) == list(ORDERS).index(name)).mean() > 0.9
    assert (find_order(joints, known) == -1).all()
    assert (find_order(np.random.default_rng(0).uniform(-0.04, 0.04, (200, 21, 3)), known) == -1).all()


def test_bent_hands_tell_their_side_and_flat_or_random_ones_do_not(hands):
    joints, left = hands
    known, side = np.ones(joints.shape[:2], bool), np.where(left, LEFT, RIGHT)
    told = side_by_joints(joints, known)
    assert (told != UNKNOWN).mean() > 0.6 and (told[told != UNKNOWN] == side[told != UNKNOWN]).all()
    noisy = side_by_joints(joints + np.random.default_rng(0).normal(0, 0.004, joints.shape), known)
    assert (noisy[noisy != UNKNOWN] == side[noisy != UNKNOWN]).all()
    mirrored = side_by_joints(joints * (-1, 1, 1), known)
    assert np.array_equal(mirrored == LEFT, told == RIGHT) and np.array_equal(mirrored == RIGHT, told == LEFT)
    random = np.random.default_rng(0).uniform(-0.04, 0.04, (500, 21, 3))
    assert (side_by_joints(random, np.ones((500, 21), bool)) == UNKNOWN).mean() > 0.99


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300, -1e300, 0.0, 1e-320])
def test_no_number_makes_it_fail_or_warn(hands, recwarn, value):
    rng, names = np.random.default_rng(4), ("joints", "keypoints", "camera", "box")
    for name in names:
        values = np.array(getattr(make_labels(hands[0][:6]), name))
        values[rng.random(values.shape) < 0.5] = value
        find_faults(make_labels(hands[0][:6], **{name: values}))
    assert not recwarn.list
