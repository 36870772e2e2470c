"""NT-Xent and its adaptive weights: against slow truths, published figures, finite differences, and where formulas
break."""

import itertools
import json
import math

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize
from torch.utils._python_dispatch import TorchDispatchMode

from handtool.nn.models.losses import adaptive_weights, nt_xent
from handtool.nn.models.objectives.hard_contrast import BatchLoss
from handtool.nn.models.objectives.similarity import similarity_figures

WEIGHTS = {
    "linear": {"kind": "linear"},
    "sigmoid_pos1_neg0.05": {"kind": "sigmoid"},
    "sigmoid_pos5_neg0.005": {"kind": "sigmoid", "lambda_pos": 5.0, "lambda_neg": 0.005},
}


@pytest.fixture
def rng():
    return np.random.default_rng(7)


@pytest.fixture(scope="module")
def reference(samples):
    """What the published functions gave: arrays as tensors, scalars as a dict."""
    arrays = np.load(samples / "reference" / "contrastive.npz")
    return {name: torch.from_numpy(arrays[name]) for name in arrays}, json.loads(
        (samples / "reference" / "contrastive.json").read_text()
    )


def unit_rows(rng, num, dim=16, dtype=torch.float64):
    return normalize(torch.from_numpy(rng.normal(size=(num, dim))), dim=1).to(dtype)


def keypoints(rng, num):
    return torch.from_numpy(rng.uniform(0, 128, (num, 21, 2)))


def double_loop(z1, z2, temperature, pair_weights=None, all_weights=None):
    """The formula, term by term."""
    z, num = torch.cat((z1, z2)).tolist(), len(z1)
    total = 0.0
    for i in range(2 * num):
        partner = (i + num) % (2 * num)
        similarity = [sum(a * b for a, b in zip(z[i], z[k], strict=True)) for k in range(2 * num)]
        weight = 1.0 if pair_weights is None else float(pair_weights[i % num])
        above = math.exp(weight * similarity[partner] / temperature)
        below = 0.0
        for k in range(2 * num):
            if k != i:
                below += math.exp(
                    (1.0 if all_weights is None else float(all_weights[i, k])) * similarity[k] / temperature
                )
        total -= math.log(above / below)
    return total / (2 * num)


@pytest.mark.parametrize("temperature", [0.5, 0.1, 0.03])
@pytest.mark.parametrize("num", [1, 2, 9])
def test_nt_xent_is_the_papers_double_loop(rng, num, temperature):
    z1, z2 = unit_rows(rng, num), unit_rows(rng, num)
    assert nt_xent(z1, z2, temperature).item() == pytest.approx(double_loop(z1, z2, temperature), rel=1e-12)


@pytest.mark.parametrize("side", ["both", "pos", "neg"])
@pytest.mark.parametrize("kind", ["linear", "sigmoid"])
def test_weighted_nt_xent_is_the_double_loop_on_either_side(rng, kind, side):
    z1, z2 = unit_rows(rng, 6), unit_rows(rng, 6)
    pair_weights, all_weights = adaptive_weights(keypoints(rng, 6), keypoints(rng, 6), kind)
    given = (None if side == "neg" else pair_weights, None if side == "pos" else all_weights)
    assert nt_xent(z1, z2, 0.5, *given).item() == pytest.approx(double_loop(z1, z2, 0.5, *given), rel=1e-12)


@pytest.mark.parametrize("kind", ["linear", "sigmoid"])
def test_adaptive_weights_are_the_papers_double_loop(rng, kind):
    xy1, xy2 = keypoints(rng, 5), keypoints(rng, 5)
    pair_weights, all_weights = adaptive_weights(xy1, xy2, kind, 2.5, 0.01)
    views = torch.cat((xy1, xy2)).tolist()
    distance = [[sum(math.dist(p, q) for p, q in zip(a, b, strict=True)) / 21 for b in views] for a in views]
    pairs = [distance[i][i + 5] for i in range(5)]
    entries = [d for row in distance for d in row]
    for i in range(5):
        assert pair_weights[i].item() == pytest.approx(weigh_by_hand(pairs[i], pairs, kind, 2.5), abs=1e-12)
    for a in range(10):
        for b in range(10):
            assert all_weights[a, b].item() == pytest.approx(
                weigh_by_hand(distance[a][b], entries, kind, 0.01), abs=1e-12
            )


def weigh_by_hand(distance, among, kind, strength):
    if kind == "linear":
        return (max(among) - distance) / (max(among) - min(among))
    return 1 / (1 + math.exp(strength * (distance - sum(among) / len(among))))


def test_losses_equal_the_published_ones(reference):
    arrays, scalars = reference
    z1, z2 = normalize(arrays["p1"], dim=1), normalize(arrays["p2"], dim=1)
    assert nt_xent(z1, z2).item() == pytest.approx(scalars["nt_xent"], abs=1e-6)
    assert nt_xent(z1, z2, 0.1).item() == pytest.approx(scalars["nt_xent_t0.1"], abs=1e-6)
    for name, settings in WEIGHTS.items():
        pair_weights, all_weights = adaptive_weights(arrays["joints1"], arrays["joints2"], **settings)
        assert torch.allclose(pair_weights, arrays[f"{name}.pos"], rtol=0, atol=1e-6)
        assert torch.allclose(all_weights, arrays[f"{name}.neg"], rtol=0, atol=1e-6)
        assert nt_xent(z1, z2, 0.5, pair_weights, all_weights).item() == pytest.approx(
            scalars[f"{name}.both"], abs=1e-6
        )
        assert nt_xent(z1, z2, 0.5, pair_weights, None).item() == pytest.approx(scalars[f"{name}.pos"], abs=1e-6)
        assert nt_xent(z1, z2, 0.5, None, all_weights).item() == pytest.approx(scalars[f"{name}.neg"], abs=1e-6)


def test_the_gradient_equals_the_published_one(reference):
    arrays, _ = reference
    p1, p2 = arrays["p1"].clone().requires_grad_(), arrays["p2"].clone().requires_grad_()
    weights = adaptive_weights(arrays["joints1"], arrays["joints2"], "linear")
    nt_xent(normalize(p1, dim=1), normalize(p2, dim=1), 0.5, *weights).backward()
    for found, name in ((p1.grad, "linear.both.grad_p1"), (p2.grad, "linear.both.grad_p2")):
        assert (found - arrays[name]).abs().max() <= 1e-6 * arrays[name].abs().max()


@pytest.mark.parametrize("side", ["both", "pos", "neg"])
@pytest.mark.parametrize("kind", ["none", "linear", "sigmoid"])
def test_the_gradient_is_that_of_finite_differences(rng, kind, side):
    xy1, xy2 = keypoints(rng, 4), keypoints(rng, 4)
    z1, z2 = unit_rows(rng, 4, 6).requires_grad_(), unit_rows(rng, 4, 6).requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: BatchLoss(0.2, kind, side)(a, b, xy1, xy2), (z1, z2))


def test_no_gradient_flows_into_the_weights(rng):
    xy1, xy2 = keypoints(rng, 3).requires_grad_(), keypoints(rng, 3).requires_grad_()
    pair_weights, all_weights = adaptive_weights(xy1, xy2)
    assert not pair_weights.requires_grad and not all_weights.requires_grad
    given = torch.rand(3, dtype=torch.float64, requires_grad=True)
    z1 = unit_rows(rng, 3).requires_grad_()
    nt_xent(z1, unit_rows(rng, 3), 0.5, given).backward()
    assert given.grad is None and z1.grad.abs().max() > 0


@pytest.mark.parametrize("kind", ["linear", "sigmoid"])
def test_without_a_spread_every_weight_is_one(rng, kind):
    same = keypoints(rng, 4)[:1].repeat(4, 1, 1)
    for weights in adaptive_weights(same, same, kind):
        assert torch.equal(weights, torch.ones_like(weights))
    one_pair, _ = adaptive_weights(keypoints(rng, 1), keypoints(rng, 1), kind)
    assert one_pair.tolist() == [1.0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equal_distances_that_rounding_tells_apart_have_no_spread(rng, dtype):
    xy1 = keypoints(rng, 50).to(dtype)
    pair_weights, _ = adaptive_weights(xy1, xy1 + torch.tensor([3.1, -4.7], dtype=dtype))
    distances = (xy1 - (xy1 + torch.tensor([3.1, -4.7], dtype=dtype))).norm(dim=2).mean(1)
    assert distances.max() > distances.min()  # rounding did tell them apart
    assert torch.equal(pair_weights, torch.ones(50, dtype=dtype))


class LargestTensor(TorchDispatchMode):
    """Notes how many numbers the largest result of any operation holds."""

    numbers = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        made = operation(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, (list, tuple)) else [made]:
            self.numbers = max(self.numbers, tensor.numel() if isinstance(tensor, torch.Tensor) else 0)
        return made


@pytest.mark.parametrize("kind", ["linear", "sigmoid"])
def test_weights_never_hold_every_joint_of_every_pair_of_views(rng, kind):
    num = 64
    xy1, xy2 = keypoints(rng, num), keypoints(rng, num)
    with LargestTensor() as largest:
        adaptive_weights(xy1, xy2, kind)
    assert largest.numbers == (2 * num) ** 2


def test_hands_that_are_the_same_in_both_views_have_finite_weights_and_loss(rng):
    """Distances of 0 beside others: the largest weight, 1, and a gradient without NaN."""
    xy = keypoints(rng, 5)
    pair_weights, all_weights = adaptive_weights(xy, torch.cat((xy[:1], keypoints(rng, 4))))
    assert pair_weights[0] == 1 and torch.equal(all_weights.diagonal(), torch.ones(10, dtype=torch.float64))
    z = unit_rows(rng, 5).requires_grad_()
    nt_xent(z, z, 0.5, pair_weights, all_weights).backward()
    assert torch.isfinite(z.grad).all()


def test_one_pair_alone_has_no_loss(rng):
    assert nt_xent(unit_rows(rng, 1), unit_rows(rng, 1)).item() == pytest.approx(0, abs=1e-12)


def test_equal_projections_lose_the_log_of_what_is_to_choose_from():
    z = torch.zeros(8, 4, dtype=torch.float64)
    z[:, 0] = 1
    assert nt_xent(z, z).item() == pytest.approx(math.log(15), rel=1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_raised_and_does_not_overflow(rng, dtype):
    z1, z2 = unit_rows(rng, 6, dtype=dtype), unit_rows(rng, 6, dtype=dtype)
    loss = nt_xent(z1, z2, 0.01)  # exp(100) is far beyond half precision
    assert loss.dtype == torch.float32 and torch.isfinite(loss)
    assert loss.item() == pytest.approx(nt_xent(z1.double(), z2.double(), 0.01).item(), rel=1e-5)
    for weights in adaptive_weights(keypoints(rng, 3).to(dtype), keypoints(rng, 3).to(dtype)):
        assert weights.dtype == torch.float32


def test_single_and_double_precision_stay(rng):
    for dtype in (torch.float32, torch.float64):
        assert nt_xent(unit_rows(rng, 3, dtype=dtype), unit_rows(rng, 3, dtype=dtype)).dtype == dtype
        assert adaptive_weights(keypoints(rng, 3).to(dtype), keypoints(rng, 3).to(dtype))[1].dtype == dtype


def test_autocast_does_not_reach_into_the_loss(rng):
    z1, z2 = unit_rows(rng, 6, dtype=torch.float32), unit_rows(rng, 6, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        assert (
            nt_xent(z1, z2, 0.05).item()
            == nt_xent(z1, z2, 0.05).item()
            == pytest.approx(double_loop(z1, z2, 0.05), rel=1e-5)
        )


def test_shapes_that_do_not_fit_are_refused(rng):
    z, xy = unit_rows(rng, 3), keypoints(rng, 3)
    for wrong in (
        lambda: nt_xent(z, z[:2]),
        lambda: nt_xent(z[:0], z[:0]),
        lambda: nt_xent(z, z, 0.0),
        lambda: nt_xent(z, z, 0.5, torch.ones(6)),
        lambda: nt_xent(z, z, 0.5, None, torch.ones(3, 3)),
        lambda: adaptive_weights(xy, xy[:2]),
        lambda: adaptive_weights(xy[:0], xy[:0]),
        lambda: adaptive_weights(xy, xy, "cubic"),
    ):
        with pytest.raises(ValueError):
            wrong()


@pytest.mark.parametrize("negatives", ["global", "local"])
@pytest.mark.parametrize("side", ["both", "pos", "neg"])
@pytest.mark.parametrize("kind", ["none", "linear", "sigmoid"])
def test_the_training_loss_of_one_process_is_the_public_one(rng, kind, side, negatives):
    z1, z2, xy1, xy2 = unit_rows(rng, 5), unit_rows(rng, 5), keypoints(rng, 5), keypoints(rng, 5)
    weights = (None, None) if kind == "none" else adaptive_weights(xy1, xy2, kind, 0.7, 0.02)
    given = (None if side == "neg" else weights[0], None if side == "pos" else weights[1])
    loss = BatchLoss(0.2, kind, side, 0.7, 0.02, negatives)(z1, z2, xy1, xy2)
    assert loss.item() == pytest.approx(nt_xent(z1, z2, 0.2, *given).item(), rel=1e-12)


def test_what_is_watched_is_means_over_partners_and_over_all_others(rng):
    z1, z2 = unit_rows(rng, 4), unit_rows(rng, 4)
    positive, negative, alignment, uniformity = similarity_figures(z1, z2).tolist()
    z = torch.cat((z1, z2))
    others = [float(z[i] @ z[k]) for i in range(8) for k in range(8) if k not in (i, (i + 4) % 8)]
    assert positive == pytest.approx(float((z1 * z2).sum(1).mean()))
    assert negative == pytest.approx(sum(others) / len(others))
    assert alignment == pytest.approx(
        sum(math.dist(a, b) ** 2 for a, b in zip(z1.tolist(), z2.tolist(), strict=True)) / 4
    )
    views = [
        [math.exp(-2 * math.dist(a, b) ** 2) for a, b in itertools.combinations(view.tolist(), 2)] for view in (z1, z2)
    ]
    assert uniformity == pytest.approx(sum(math.log(sum(view) / len(view)) for view in views) / 2)


def test_a_collapse_and_an_even_spread_look_as_they_should():
    same = torch.zeros(5, 8, dtype=torch.float64)
    same[:, 2] = 1
    assert similarity_figures(same, same).tolist() == pytest.approx([1, 1, 0, 0], abs=1e-12)
    opposite = torch.tensor([[1.0, 0], [-1, 0]], dtype=torch.float64)
    assert similarity_figures(opposite, opposite).tolist() == pytest.approx([1, -1, 0, -8])
    assert math.isnan(similarity_figures(same[:1], same[:1])[3])
