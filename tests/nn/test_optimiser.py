"""Optimiser and learning rate: the published figures, and a schedule as long as the steps really taken."""

import numpy as np
import pytest
import torch
from torch import nn

from handtool.config import PretrainConfig
from handtool.nn.training.optimiser import learning_rate, make_optimiser, square_root_rate


def test_the_square_root_rule_gives_both_published_rates():
    assert square_root_rate(PretrainConfig.base_rate, 2048) == pytest.approx(4.525e-3, rel=1e-3)
    assert square_root_rate(PretrainConfig.base_rate, 1024) == pytest.approx(3.2e-3, rel=1e-3)


@pytest.mark.parametrize("steps, warmup", [(100, 10), (7, 1), (1, 0), (3, 3), (5, 0)])
def test_the_rate_rises_in_a_line_and_falls_in_a_cosine_to_the_last_step(steps, warmup):
    rates = np.array([learning_rate(step, steps, warmup, 2.0) for step in range(steps)])
    assert (rates > 0).all() and (rates <= 2.0).all()
    assert np.allclose(rates[:warmup], 2.0 * np.arange(1, warmup + 1) / (warmup + 1))
    assert np.allclose(rates[warmup:], 1 + np.cos(np.pi * np.arange(steps - warmup) / max(steps - warmup, 1)))
    assert (np.diff(rates[warmup:]) < 0).all()


def test_biases_and_norms_do_not_decay():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    optimiser = make_optimiser(model, PretrainConfig(weight_decay=0.1), 1e-3)
    for value in model.parameters():
        value.grad = torch.zeros_like(value)
    optimiser.step()
    moved = {name for name, value in model.named_parameters() if not torch.equal(value, before[name])}
    assert moved == {"0.weight", "3.weight"}


def make_model():
    torch.manual_seed(3)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2)).double()
    nn.init.uniform_(model[1].bias)
    return model


def test_lars_adam_is_the_papers_loop():
    """LARS with clipping (eta 0.02) on the gradient, its decay in it, then Adam: number by number, in float64."""
    rates, decay, eta = (0.3, 1e-3, 2e-2, 1e-3), 0.05, 0.02
    model = make_model()
    optimiser = make_optimiser(model, PretrainConfig(optimizer="lars-adam", weight_decay=decay), 1.0)
    own = {name: value.detach().numpy().copy() for name, value in model.named_parameters()}
    first, second = ({name: np.zeros_like(value) for name, value in own.items()} for _ in range(2))
    clipped = set()
    for step, rate in enumerate(rates, 1):
        for group in optimiser.param_groups:
            group["lr"] = rate
        for number, (name, value) in enumerate(model.named_parameters()):
            value.grad = torch.randn_like(value) * 10.0 ** (step - number)
            slope, weights = value.grad.numpy().copy(), own[name]
            fade = decay if weights.ndim > 1 else 0.0
            size, length = np.sqrt((weights**2).sum()), np.sqrt((slope**2).sum())
            factor = 1.0
            if size > 0 and length > 0:
                factor = min(eta * size / (length + fade * size + 1e-8) / rate, 1.0)
                slope = slope + fade * weights
            clipped.add(factor == 1.0)
            slope = slope * factor
            first[name] = 0.9 * first[name] + 0.1 * slope
            second[name] = 0.999 * second[name] + 0.001 * slope**2
            own[name] = weights - rate * first[name] / (1 - 0.9**step) / (
                np.sqrt(second[name] / (1 - 0.999**step)) + 1e-8
            )
        optimiser.step()
    assert clipped == {True, False}
    for name, value in model.named_parameters():
        assert np.allclose(value.detach().numpy(), own[name], rtol=1e-10, atol=1e-12), name


def test_lars_leaves_alone_what_has_no_size_or_no_slope():
    model = nn.Linear(3, 2)
    nn.init.zeros_(model.bias)
    before = model.weight.detach().clone()
    optimiser = make_optimiser(model, PretrainConfig(optimizer="lars-adam", weight_decay=0.5), 0.1)
    model.weight.grad, model.bias.grad = torch.zeros(2, 3), torch.tensor([1.0, -1.0])
    optimiser.step()
    assert torch.equal(model.weight, before)
    assert torch.allclose(model.bias, torch.tensor([-0.1, 0.1]))


def test_the_decay_of_adamw_stands_beside_the_gradient():
    model = make_model()
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    optimiser = make_optimiser(model, PretrainConfig(optimizer="adamw", weight_decay=0.5), 0.1)
    for value in model.parameters():
        value.grad = torch.zeros_like(value)
    optimiser.step()
    for name, value in model.named_parameters():
        assert torch.allclose(value, before[name] * (0.95 if value.ndim > 1 else 1.0)), name
