"""Alignments against scipy, one hand at a time."""

import numpy as np
import pytest
from scipy.linalg import orthogonal_procrustes
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation

from handtool.hands import align


def some_hands(count=30, seed=0, noise=0.006):
    """Truth, and predictions that are turned, scaled, moved and noisy; every fifth is mirrored."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(0, 0.04, (count, 21, 3)) + [0, 0, 0.6]
    rotation = Rotation.random(count, random_state=seed).as_matrix()
    scale, shift = rng.uniform(0.5, 2, (count, 1, 1)), rng.normal(0, 1, (count, 1, 3))
    predicted = scale * (truth - truth.mean(axis=1, keepdims=True)) @ rotation + shift
    predicted[::5, :, 0] *= -1
    return predicted + rng.normal(0, noise, truth.shape), truth


def test_similarity_is_scipys_orthogonal_procrustes_on_each_hand():
    predicted, truth = some_hands()
    aligned = align.similarity(predicted, truth)
    for pred, true, ours in zip(predicted, truth, aligned, strict=True):
        pred_0, true_0 = pred - pred.mean(0), true - true.mean(0)
        pred_norm, true_norm = np.linalg.norm(pred_0) + 1e-8, np.linalg.norm(true_0) + 1e-8
        rotation, scale = orthogonal_procrustes(true_0 / true_norm, pred_0 / pred_norm)
        assert ours == pytest.approx(pred_0 / pred_norm @ rotation.T * scale * true_norm + true.mean(0), abs=1e-12)


def test_without_reflection_it_is_the_best_proper_similarity_an_optimiser_finds():
    predicted, truth = some_hands(10, seed=1)
    valid = np.random.default_rng(2).random((10, 21)) > 0.3
    aligned = align.similarity(predicted, truth, allow_reflection=False, valid=valid)
    for pred, true, ok, ours in zip(predicted, truth, valid, aligned, strict=True):

        def miss(x, pred=pred[ok], true=true[ok]):
            return (np.exp(x[6]) * Rotation.from_rotvec(x[:3]).apply(pred) + x[3:6] - true).ravel()

        starts = np.concatenate([np.zeros((1, 3)), 2 * np.eye(3), -2 * np.eye(3)])
        best = min(
            least_squares(miss, [*start, 0, 0, 0, 0], xtol=1e-14, ftol=1e-14, gtol=1e-14).cost for start in starts
        )
        assert ((ours[ok] - true[ok]) ** 2).sum() / 2 == pytest.approx(best, rel=1e-6)


def test_a_mirrored_hand_aligns_only_where_reflection_is_allowed():
    truth = some_hands()[1]
    mirrored = truth * [-1, 1, 1]
    assert np.abs(align.similarity(mirrored, truth) - truth).max() < 1e-8
    assert np.linalg.norm(align.similarity(mirrored, truth, allow_reflection=False) - truth, axis=2).mean() > 0.01


def test_invalid_joints_do_not_move_the_fit_whatever_stands_there():
    predicted, truth = some_hands(6, noise=0.0)
    proper = np.arange(6) % 5 != 0
    predicted, truth = predicted[proper], truth[proper]
    valid = np.ones((len(truth), 21), dtype=bool)
    valid[:, [3, 8]] = False
    spoiled = truth.copy()
    spoiled[:, 3], spoiled[:, 8] = np.nan, 77.0
    aligned = align.similarity(predicted, spoiled, allow_reflection=False, valid=valid)
    assert np.abs(aligned - truth).max() < 1e-12  # the invalid joints are moved along


def test_degenerate_predictions_land_on_the_true_mean_and_nan_stays_with_its_hand():
    predicted, truth = some_hands(4)
    predicted[0], predicted[1], predicted[2, 5, 1] = 0.0, [0.1, 0.2, 0.3], np.nan
    for allow_reflection in (True, False):
        aligned = align.similarity(predicted, truth, allow_reflection)
        assert aligned[:2] == pytest.approx(
            np.broadcast_to(truth[:2].mean(axis=1, keepdims=True), (2, 21, 3)), abs=1e-9
        )
        assert np.isnan(aligned[2]).all() and np.isfinite(aligned[3]).all()


def test_precision_is_kept_and_no_hands_are_no_error():
    predicted, truth = some_hands(3)
    assert align.similarity(predicted.astype(np.float32), truth.astype(np.float32)).dtype == np.float32
    assert align.similarity(predicted.astype(np.float16), truth.astype(np.float16)).dtype == np.float32
    assert align.similarity(predicted, truth).dtype == np.float64
    assert align.similarity(predicted[:0], truth[:0]).shape == (0, 21, 3)


def test_bone_scaling_fixes_root_and_bone_and_spares_a_bone_of_no_length():
    predicted, truth = some_hands(5)
    predicted[2, 9] = predicted[2, 0]
    scaled = align.bone_scaled(predicted, truth)
    assert scaled[:, 0] == pytest.approx(truth[:, 0])
    for hand in range(5):
        length = np.linalg.norm(truth[hand, 9] - truth[hand, 0]) if hand != 2 else 0.0
        assert np.linalg.norm(scaled[hand, 9] - scaled[hand, 0]) == pytest.approx(length)
    assert scaled[2] == pytest.approx(predicted[2] - predicted[2, 0] + truth[2, 0])
