"""Time and memory of `evaluate` on many hands, beside the usual loop over samples doing the same protocols.

python tests/benchmarks/bench_metrics.py --hands 1000000 --loop 10000
"""

import argparse
import resource
import time

import numpy as np
from scipy.integrate import trapezoid
from scipy.linalg import orthogonal_procrustes

from handtool.hands.metrics import evaluate


def make_hands(count, seed=0):
    """Random hands, their predictions (turned, scaled, noisy), 5 % with some invalid joints; float32, as a file
    holds them."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(0, 0.03, (count, 21, 3)).astype(np.float32)
    truth[..., 2] += 0.6
    predicted = truth * np.float32(1.05) + rng.normal(0, 0.006, truth.shape).astype(np.float32)
    valid = np.ones((count, 21), dtype=bool)
    partial = rng.random(count) < 0.05
    valid[partial] = rng.random((partial.sum(), 21)) > 0.1
    return predicted, truth, valid, rng.integers(0, 2, count)


def evaluate_in_a_loop(predicted, truth, valid, side):
    """As published codes do it: one hand after the other, one joint after the other into lists, thresholds one by
    one."""
    whole = {name: [[] for _ in range(21)] for name in ("mpjpe", "mpjpe_root", "pa_mpjpe", "st_mpjpe")}
    slots, hand_first = [[] for _ in range(42)], {"mpjpe_valid": [], "mpjpe_root_valid": [], "pa_mpjpe_rigid": []}
    no_mirror = []
    for pred, true, ok, which in zip(predicted.astype(float), truth.astype(float), valid, side, strict=True):
        distance = np.sqrt(((pred - true) ** 2).sum(-1))
        rooted = np.sqrt(((pred - pred[0] - true + true[0]) ** 2).sum(-1))
        rigid = np.sqrt(((_rigid(pred[ok], true[ok]) - true[ok]) ** 2).sum(-1)) if ok.any() else None
        if ok.all():
            scaled = (pred - pred[0]) * np.linalg.norm(true[9] - true[0]) / np.linalg.norm(pred[9] - pred[0]) + true[0]
            st, pa = (np.sqrt(((each - true) ** 2).sum(-1)) for each in (scaled, _similarity(pred, true)))
            for name, errors in (("mpjpe", distance), ("mpjpe_root", rooted), ("pa_mpjpe", pa), ("st_mpjpe", st)):
                for joint in range(21):
                    whole[name][joint].append(errors[joint])
            no_mirror.append(rigid.mean())
        if ok.sum() >= 10:
            for joint in np.flatnonzero(ok):
                slots[joint + 21 * int(which == 0)].append(rooted[joint])
        if ok.any():
            hand_first["mpjpe_valid"].append(distance[ok].mean())
            hand_first["pa_mpjpe_rigid"].append(rigid.mean())
        if ok[0]:
            hand_first["mpjpe_root_valid"].append(rooted[ok].mean())
    means = {name: 1000 * np.mean(errors) for name, errors in hand_first.items()}
    means |= {name: 1000 * np.mean([np.mean(joint) for joint in joints]) for name, joints in whole.items()}
    means["mpjpe_slots"] = 1000 * np.mean([np.mean(slot) for slot in slots if slot])
    for joints in whole.values():
        _medians_and_area(joints, np.linspace(0, 0.05, 100))
    _medians_and_area(whole["st_mpjpe"], np.linspace(0.02, 0.05, 15))
    return means


def _medians_and_area(joints, thresholds):
    medians = [np.median(joint) for joint in joints]
    curves = [[np.mean((np.array(joint) <= threshold).astype(float)) for threshold in thresholds] for joint in joints]
    return np.mean(medians), np.mean([trapezoid(curve, thresholds) for curve in curves]) / (
        thresholds[-1] - thresholds[0]
    )


def _similarity(pred, true):
    pred_c, true_c = pred - pred.mean(0), true - true.mean(0)
    pred_norm, true_norm = np.linalg.norm(pred_c) + 1e-8, np.linalg.norm(true_c) + 1e-8
    rotation, scale = orthogonal_procrustes(true_c / true_norm, pred_c / pred_norm)
    return (pred_c / pred_norm) @ rotation.T * scale * true_norm + true.mean(0)


def _rigid(pred, true):
    pred_c, true_c = pred - pred.mean(0), true - true.mean(0)
    u, s, vt = np.linalg.svd(true_c.T @ pred_c)
    if np.linalg.det(u @ vt) < 0:
        u[:, 2] *= -1
        s[2] *= -1
    return pred_c @ (u @ vt).T * s.sum() / (pred_c**2).sum() + true.mean(0)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hands", type=int, default=1_000_000)
    parser.add_argument("--loop", type=int, default=10_000)
    options = parser.parse_args()

    few = make_hands(options.loop)
    start = time.perf_counter()
    looped = evaluate_in_a_loop(*few)
    loop_us = 1e6 * (time.perf_counter() - start) / options.loop
    figures = evaluate(*few)
    for name, mean_mm in looped.items():
        assert abs(figures[name]["mean_mm"] / mean_mm - 1) < 1e-9, (name, figures[name]["mean_mm"], mean_mm)

    many = make_hands(options.hands)
    start = time.perf_counter()
    evaluate(*many)
    seconds = time.perf_counter() - start
    batch_us = 1e6 * seconds / options.hands
    peak_gib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"loop over {options.loop} hands: {loop_us:.0f} us a hand; the means agree to 1e-9")
    print(
        f"evaluate on {options.hands} hands: {seconds:.1f} s, {batch_us:.1f} us a hand, {loop_us / batch_us:.0f} "
        "times faster"
    )
    print(f"peak memory {peak_gib:.2f} GiB, hands and their making included")


if __name__ == "__main__":
    main()
