"""Every protocol against double loops, and against what must be true of it."""

import numpy as np
import pytest
from scipy.integrate import trapezoid
from scipy.spatial.distance import cdist

from handtool.hands import align
from handtool.hands.fscore import f_scores
from handtool.hands.metrics import evaluate, score
from handtool.hands.pck import hand_means
from handtool.hands.protocols import PROTOCOLS, make_hands


def some_hands(count=40, seed=0):
    """Predictions, truth, valid (some joints and one whole hand missing), sides."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(0, 0.04, (count, 21, 3)) + [0, 0, 0.6]
    predicted = (
        truth * rng.uniform(0.9, 1.1, (count, 1, 1))
        + rng.normal(0, 0.01, truth.shape)
        + rng.normal(0, 0.02, (count, 1, 3))
    )
    valid = np.ones((count, 21), dtype=bool)
    valid[::4] = rng.random((len(valid[::4]), 21)) > 0.2
    valid[4, 0], valid[8] = False, False
    return predicted, truth, valid, rng.integers(0, 2, count)


def some_meshes(count=3, seed=1):
    rng = np.random.default_rng(seed)
    truth = rng.normal(0, 0.03, (count, 778, 3)) + [0, 0, 0.6]
    return truth + rng.normal(0, 0.004, truth.shape) + [0.002, 0, 0], truth


def distances(predicted, truth):
    return np.array(
        [[np.linalg.norm(p - t) for p, t in zip(*hand, strict=True)] for hand in zip(predicted, truth, strict=True)]
    )


def test_joint_first_means_medians_and_auc_are_the_double_loops():
    predicted, truth, valid, side = some_hands()
    figures = evaluate(predicted, truth, valid, side)
    whole = valid.all(axis=1)
    shifted = predicted - predicted[:, :1] + truth[:, :1]
    aligned = {
        "mpjpe": predicted,
        "mpjpe_root": shifted,
        "pa_mpjpe": align.similarity(predicted, truth),
        "st_mpjpe": align.bone_scaled(predicted, truth),
    }
    for name, joints in aligned.items():
        errors = distances(joints[whole], truth[whole])
        assert figures[name]["hands"] == whole.sum() and figures[name]["left_out"] == (~whole).sum()
        assert figures[name]["mean_mm"] == pytest.approx(
            1000 * np.mean([errors[:, j].mean() for j in range(21)]), rel=1e-12
        )
        assert figures[name]["median_mm"] == pytest.approx(
            1000 * np.mean([np.median(errors[:, j]) for j in range(21)]), rel=1e-12
        )
        for low, high, steps, metric in ((0, 50, 100, "auc_0_50mm"), (20, 50, 15, "auc_20_50mm")):
            if metric == "auc_20_50mm" and name != "st_mpjpe":
                assert metric not in figures[name]
                continue
            thresholds = np.linspace(low / 1000, high / 1000, steps)
            curves = [[sum(e <= t for e in errors[:, j]) / len(errors) for t in thresholds] for j in range(21)]
            area = np.mean([trapezoid(curve, thresholds) for curve in curves]) / (high / 1000 - low / 1000)
            assert figures[name][metric] == pytest.approx(area, rel=1e-12)


def test_hand_first_means_and_slots_are_the_double_loops():
    predicted, truth, valid, side = some_hands()
    figures = evaluate(predicted, truth, valid, side)
    absolute, rooted, rigid, slots = [], [], [], [[] for _ in range(42)]
    for pred, true, ok, which in zip(predicted, truth, valid, side, strict=True):
        relative = np.linalg.norm(pred - pred[0] - true + true[0], axis=1)
        if ok.any():
            absolute.append(np.linalg.norm(pred - true, axis=1)[ok].mean())
            one = align.similarity(pred[None, ok], true[None, ok], allow_reflection=False)[0]
            rigid.append(np.linalg.norm(one - true[ok], axis=1).mean())
        if ok[0]:
            rooted.append(relative[ok].mean())
        if ok.sum() >= 10:
            for joint in range(21):
                if ok[joint]:
                    slots[joint + 21 * which].append(relative[joint])
    assert not valid[4, 0] and valid[4].sum() >= 10  # an invalid wrist is among the slots' hands
    for name, expected in (("mpjpe_valid", absolute), ("mpjpe_root_valid", rooted), ("pa_mpjpe_rigid", rigid)):
        assert figures[name]["mean_mm"] == pytest.approx(1000 * np.mean(expected), rel=1e-9)
        assert figures[name]["hands"] == len(expected)
    assert figures["mpjpe_slots"]["mean_mm"] == pytest.approx(
        1000 * np.mean([np.mean(slot) for slot in slots]), rel=1e-12
    )
    assert figures["mpjpe_slots"]["mean_left_mm"] == pytest.approx(
        1000 * np.mean([np.mean(slot) for slot in slots[:21]]), rel=1e-12
    )


def test_f_scores_are_the_full_distance_matrix_and_touching_is_not_enough():
    predicted, truth = some_meshes()
    ours = f_scores(predicted, truth, (0.002, 0.005))
    for i in range(len(truth)):
        table = cdist(predicted[i], truth[i])
        for k, threshold in enumerate((0.002, 0.005)):
            r, p = (table.min(axis=1) < threshold).mean(), (table.min(axis=0) < threshold).mean()
            assert ours[i, k] == pytest.approx(2 * r * p / (r + p), rel=1e-12)
    single = np.zeros((1, 4, 3))
    assert f_scores(single, single + [0.5, 0, 0], (0.5, 0.51)).tolist() == [[0.0, 1.0]]


def test_a_perfect_prediction_has_no_error_but_for_the_published_epsilon():
    truth = some_hands()[1]
    figures = evaluate(truth, truth, vertices=(some_meshes()[1], some_meshes()[1]))
    for name in ("mpjpe", "mpjpe_root", "mpjpe_slots", "mpjpe_valid", "mpjpe_root_valid", "mesh"):
        assert figures[name]["mean_mm"] == 0.0
    assert figures["mpjpe"]["auc_0_50mm"] == 1.0 and figures["mesh"]["f_5mm"] == 1.0
    assert figures["pa_mpjpe_rigid"]["mean_mm"] < 1e-10 and figures["st_mpjpe"]["mean_mm"] < 1e-10
    assert 1e-7 < figures["pa_mpjpe"]["mean_mm"] < 1e-4
    assert figures["pa_mpjpe"]["auc_0_50mm"] == pytest.approx(1 - 0.5 / 99, abs=2e-4)  # only the threshold 0 is missed


def test_each_alignment_forgets_what_it_should_and_nothing_else():
    truth = some_hands()[1]
    wrist = truth[:, :1]
    changed = {
        "shifted": truth + [0.03, 0.04, 0.0],
        "scaled": (truth - wrist) * 1.2 + wrist,
        "mirrored": truth * [-1, 1, 1],
    }
    means = {
        what: {name: f["mean_mm"] for name, f in evaluate(joints, truth).items()} for what, joints in changed.items()
    }
    assert means["shifted"]["mpjpe"] == pytest.approx(50) and means["shifted"]["mpjpe_valid"] == pytest.approx(50)
    forgiven = {
        "shifted": {"mpjpe_root", "pa_mpjpe", "st_mpjpe", "mpjpe_slots", "mpjpe_root_valid", "pa_mpjpe_rigid"},
        "scaled": {"pa_mpjpe", "st_mpjpe", "pa_mpjpe_rigid"},
        "mirrored": {"pa_mpjpe"},
    }
    for what, names in forgiven.items():
        assert {name for name, mean_mm in means[what].items() if mean_mm < 1e-4} == names
        assert all(mean_mm > 3 for name, mean_mm in means[what].items() if name not in names)


def test_mirrored_predictions_raise_the_reflection_warning():
    predicted, truth, *_ = some_hands(100)
    predicted[:, :, 2] -= 0.6
    some = predicted.copy()
    some[:10] *= [-1, 1, 1]
    for joints, expected in ((predicted, False), (some, True)):
        (result,) = score(make_hands(joints, truth), ["pa_mpjpe"])
        assert result.reflection_matters is expected
        assert result.figures["mean_without_reflection_mm"] >= result.figures["mean_mm"] - 1e-6


def test_one_missing_joint_leaves_the_hand_out_or_only_the_joint():
    predicted, truth, _, _ = some_hands()
    valid = np.ones((len(truth), 21), dtype=bool)
    valid[3, 7] = False
    truth[3, 7] += 5.0  # finite and wrong, as data sets store it
    figures = evaluate(predicted, truth, valid)
    for name, result in figures.items():
        assert result["hands"] == (39 if PROTOCOLS[name].whole_hands else 40), name
        assert result["mean_mm"] < 100, name
    without_valid = truth.copy()
    without_valid[3, 7] = np.nan
    assert evaluate(predicted, without_valid) == evaluate(predicted, truth, valid)


def test_ten_valid_joints_are_enough_for_the_slots_as_long_as_a_wrist_is_stored():
    predicted, truth, _, _ = some_hands(12)
    valid = np.ones((12, 21), dtype=bool)
    valid[1, 10:], valid[2, 9:], valid[3, 0], valid[4, 0] = False, False, False, False
    truth[4, 0] = np.nan
    (result,) = score(make_hands(predicted, truth, valid), ["mpjpe_slots"])
    assert np.flatnonzero(np.isnan(result.per_hand_mm)).tolist() == [2, 4] and result.figures["hands"] == 10


def test_a_hand_whose_truth_is_all_minus_one_is_not_there():
    predicted, truth, _, _ = some_hands()
    truth[5] = -1.0
    for name, result in evaluate(predicted, truth).items():
        assert (result["hands"], result["left_out"]) == (39, 1), name


def test_predictions_that_are_not_finite_fail_and_enter_no_average():
    predicted, truth, valid, side = some_hands()
    good = evaluate(
        np.delete(predicted, [1, 2, 3], axis=0),
        np.delete(truth, [1, 2, 3], axis=0),
        np.delete(valid, [1, 2, 3], axis=0),
        np.delete(side, [1, 2, 3]),
    )
    predicted[1, 4, 2], predicted[2], predicted[3, 0, 0] = np.nan, np.inf, 1e200
    spoiled = evaluate(predicted, truth, valid, side)
    for name, result in spoiled.items():
        assert result.pop("failed") == 3 and good[name].pop("failed") == 0
        assert result == pytest.approx(good[name], rel=1e-12), name
    (result,) = score(make_hands(predicted, truth, valid, side), ["pa_mpjpe"])
    assert result.failed.tolist() == [1, 2, 3] and np.isnan(result.per_hand_mm[1:4]).all()


def test_all_zero_predictions_are_scored():
    truth = some_hands()[1]
    figures = evaluate(np.zeros_like(truth), truth)
    spread = 1000 * np.linalg.norm(truth - truth.mean(axis=1, keepdims=True), axis=2).mean()
    assert (
        figures["pa_mpjpe"]["mean_mm"] == pytest.approx(spread) == pytest.approx(figures["pa_mpjpe_rigid"]["mean_mm"])
    )
    assert figures["st_mpjpe"]["mean_mm"] == pytest.approx(figures["mpjpe_root"]["mean_mm"])


@pytest.mark.parametrize("count", [0, 1])
def test_one_hand_and_none_need_no_special_care(count):
    predicted, truth, _, side = some_hands(9)
    with np.errstate(all="raise"):
        figures = evaluate(predicted[:count], truth[:count], side=side[:count])
    for name, result in figures.items():
        assert result["hands"] == count
        assert np.isnan(result["mean_mm"]) if count == 0 else result["mean_mm"] > 0, name


def test_predictions_without_a_place_in_the_camera_frame_are_kept_from_absolute_figures():
    predicted, truth, _, _ = some_hands()
    absolute = np.arange(40) < 10
    figures = evaluate(predicted, truth, absolute=absolute)
    assert (figures["mpjpe"]["hands"], figures["mpjpe"]["left_out"]) == (10, 30) and figures["mpjpe_root"][
        "hands"
    ] == 40
    assert "mpjpe" not in evaluate(predicted, truth, absolute=np.zeros(40, dtype=bool))


def test_half_and_single_precision_are_scored_in_double():
    predicted, truth, valid, side = (
        each.astype(np.float32) if each.dtype.kind == "f" else each for each in some_hands()
    )
    assert evaluate(predicted, truth, valid, side) == evaluate(
        predicted.astype(float), truth.astype(float), valid, side
    )


def test_per_hand_means_count_valid_joints_only():
    errors = np.array([[1.0, np.nan, np.nan], [3.0, 5.0, np.nan]])
    assert hand_means(errors)[:2].tolist() == [2.0, 5.0] and np.isnan(hand_means(errors)[2])


def test_shapes_that_do_not_fit_are_named():
    predicted, truth, valid, _ = some_hands()
    with pytest.raises(ValueError, match=r"predicted has shape \(39, 21, 3\), expected \(40, 21, 3\)"):
        evaluate(predicted[1:], truth)
    with pytest.raises(ValueError, match=r"valid has shape \(21, 40\)"):
        evaluate(predicted, truth, valid.T)
    with pytest.raises(ValueError, match="predicted vertices"):
        evaluate(predicted, truth, vertices=(np.zeros((2, 700, 3)), np.zeros((2, 778, 3))))
