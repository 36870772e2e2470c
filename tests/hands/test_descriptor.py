"""Keypoints as 42 numbers, and their principal axes gathered in blocks."""

import numpy as np
import pytest

from handtool.hands.descriptor import NORMALIZATIONS, RunningMoments, describe, describe_joints
from handtool.hands.skeleton import LEFT, RIGHT, UNKNOWN


def some_hands(count, seed=0):
    rng = np.random.default_rng(seed)
    return rng.uniform(20, 200, (count, 21, 2)), np.full(count, RIGHT)


def mirrored(xy, width=224):
    return np.stack([width - 1 - xy[..., 0], xy[..., 1]], axis=-1)


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_a_mirrored_left_hand_has_the_right_hands_descriptor(normalization):
    xy, side = some_hands(10)
    right = describe(xy, side, normalization, 224)
    left = describe(mirrored(xy), np.full(10, LEFT), normalization, 224)
    assert right.shape == (10, 42) and right.dtype == np.float32
    assert left == pytest.approx(right, abs=1e-6)
    assert (describe(xy, np.full(10, UNKNOWN), normalization, 224) == right).all()
    assert np.abs(describe(mirrored(xy), side, normalization, 224) - right).max() > 0.1


def test_crop_descriptors_are_shares_of_the_side_and_do_not_depend_on_its_pixels():
    xy, side = some_hands(5)
    small = 0.5 * (xy + 0.5) - 0.5  # the same crops at half the size
    assert describe(small, side, "crop", 112) == pytest.approx(describe(xy, side, "crop", 224), abs=1e-6)
    assert describe(np.full((1, 21, 2), 111.5), [RIGHT], "crop", 224) == pytest.approx(np.full((1, 42), 0.5))


def test_what_each_normalization_forgets():
    xy, side = some_hands(8)
    angle = 0.7
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    moved, turned = 0.6 * xy + [30, -7], 0.6 * xy @ turn.T + [30, -7]
    crop, wrist, similarity = (lambda points, kind=kind: describe(points, side, kind, 224) for kind in NORMALIZATIONS)
    assert wrist(moved) == pytest.approx(wrist(xy), abs=1e-5) and np.abs(crop(moved) - crop(xy)).max() > 0.05
    assert (
        similarity(turned) == pytest.approx(similarity(xy), abs=1e-5) and np.abs(wrist(turned) - wrist(xy)).max() > 0.05
    )
    assert np.abs(similarity(mirrored(xy)) - similarity(xy)).max() > 0.05


def test_wrist_scale_puts_the_wrist_at_zero_and_the_hand_at_size_one():
    xy, side = some_hands(8)
    for kind in ("wrist-scale", "similarity"):
        points = describe(xy, side, kind, 224).reshape(8, 21, 2).astype(float)
        assert (points[:, 0] == 0).all()
        assert np.sqrt((points**2).sum(axis=2).mean(axis=1)) == pytest.approx(np.ones(8), abs=1e-6)
    knuckles = points[:, [5, 9, 13, 17]].mean(axis=1)
    assert np.abs(knuckles[:, 0]).max() < 1e-6 and (knuckles[:, 1] < 0).all()


def test_hands_that_cannot_be_described_are_nan_whole_and_alone():
    xy, side = some_hands(4)
    xy[1, 7, 0], xy[2] = np.nan, 80.0
    assert np.isnan(describe(xy, side, "crop", 224)).all(axis=1).tolist() == [False, True, False, False]
    for kind in ("wrist-scale", "similarity"):
        vectors = describe(xy, side, kind, 224)
        assert np.isnan(vectors).all(axis=1).tolist() == [False, True, True, False]
        assert np.isfinite(vectors[[0, 3]]).all()
    with pytest.raises(ValueError, match="wrist-scale"):
        describe(xy, side, "fancy", 224)


def test_a_hand_whose_knuckles_lie_on_its_wrist_is_not_turned():
    xy, side = some_hands(1)
    xy[0, [5, 9, 13, 17]] = xy[0, 0]
    assert (describe(xy, side, "similarity", 224) == describe(xy, side, "wrist-scale", 224)).all()


def rows_with_clear_axes(count, dims=42, seed=1):
    rng = np.random.default_rng(seed)
    mixing = np.linalg.qr(rng.normal(size=(dims, dims)))[0] * (1.3 ** -np.arange(dims))
    return (rng.normal(size=(count, dims)) @ mixing.T + 1000.0).astype(np.float32)


@pytest.mark.parametrize("block", [1, 7, 1000, 5000])
def test_streamed_axes_equal_a_float64_svd(block):
    rows = rows_with_clear_axes(3000)
    moments = RunningMoments()
    for start in range(0, len(rows), block):
        moments.add(rows[start : start + block])
    basis = moments.principal_axes(14)

    exact = rows.astype(np.float64)
    _, singular, axes = np.linalg.svd(exact - exact.mean(axis=0), full_matrices=False)
    axes = axes[:14] * np.sign(axes[np.arange(14), np.abs(axes[:14]).argmax(axis=1)])[:, None]
    assert basis.mean == pytest.approx(exact.mean(axis=0), rel=1e-12)
    assert basis.explained_variance == pytest.approx(singular[:14] ** 2 / 2999, rel=1e-6)
    assert np.abs(basis.basis - axes).max() < 1e-6
    assert moments.total_variance == pytest.approx((singular**2).sum() / 2999, rel=1e-9)
    projected = basis.project(rows)
    assert projected.dtype == np.float32 and np.abs(projected - (exact - exact.mean(axis=0)) @ axes.T).max() < 1e-5


def test_signs_do_not_depend_on_the_order_or_the_sign_of_the_data():
    rows = rows_with_clear_axes(500)
    forward, backward, negated = RunningMoments(), RunningMoments(), RunningMoments()
    forward.add(rows)
    backward.add(rows[::-1])
    negated.add(-rows)
    first = forward.principal_axes(14).basis
    assert backward.principal_axes(14).basis == pytest.approx(first, abs=1e-9)
    assert negated.principal_axes(14).basis == pytest.approx(first, abs=1e-9)


def test_variance_is_never_negative_where_rows_span_less_than_the_axes():
    rng = np.random.default_rng(3)
    moments = RunningMoments()
    moments.add(rng.normal(size=(50, 3)) @ rng.normal(size=(3, 42)))
    basis = moments.principal_axes(42)
    assert (basis.explained_variance >= 0).all() and (basis.explained_variance[3:] < 1e-12).all()
    assert basis.basis @ basis.basis.T == pytest.approx(np.eye(42), abs=1e-9)


def test_equal_rows_one_row_and_no_rows():
    moments = RunningMoments()
    with pytest.raises(ValueError, match="no vectors"):
        moments.principal_axes(2)
    moments.add(np.zeros((0, 5)))
    moments.add(np.full((1, 5), 3.0))
    moments.add(np.full((9, 5), 3.0))
    basis = moments.principal_axes(2)
    assert (basis.explained_variance == 0).all() and (basis.project(np.full((2, 5), 3.0)) == 0).all()
    with pytest.raises(ValueError, match="6 axes asked, the vectors have 5"):
        moments.principal_axes(6)
    with pytest.raises(ValueError, match="NaN"):
        moments.add(np.array([[1.0, np.nan, 0, 0, 0]]))


def random_rotation(rng):
    rotation, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    return rotation * np.sign(np.linalg.det(rotation))


@pytest.mark.parametrize("seed", range(5))
def test_similarity_of_joints_forgets_place_size_and_turn_and_wrist_scale_keeps_the_turn(seed):
    rng = np.random.default_rng(seed)
    joints, side = rng.normal(0, 0.05, (20, 21, 3)), np.full(20, RIGHT)
    moved = (joints @ random_rotation(rng).T) * 1.7 + rng.normal(size=3)
    alike = [describe_joints(some, side, "similarity") for some in (joints, moved)]
    assert np.abs(alike[0] - alike[1]).max() < 1e-5
    seen = [describe_joints(some, side, "wrist-scale") for some in (joints, 3 * joints + 1, moved)]
    assert np.abs(seen[0] - seen[1]).max() < 1e-5 and np.abs(seen[0] - seen[2]).max() > 0.1
    palm = alike[0].reshape(20, 21, 3)[:, [5, 9, 13, 17]].mean(axis=1)
    assert np.abs(palm[:, [0, 2]]).max() < 1e-5 and (palm[:, 1] > 0).all(), "the knuckles lie along y"


def test_joints_of_a_left_hand_are_those_of_its_mirror_image():
    rng = np.random.default_rng(7)
    joints = rng.normal(0, 0.05, (10, 21, 3))
    for normalization in ("wrist-scale", "similarity"):
        right = describe_joints(joints, np.full(10, RIGHT), normalization)
        left = describe_joints(joints * [-1, 1, 1], np.full(10, LEFT), normalization)
        assert np.array_equal(left, right)
