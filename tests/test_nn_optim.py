"""Optimiser and learning rate: the published figures, and a schedule as long as the steps really taken."""

import numpy as np
import pytest
import torch
from torch import nn

from handtool.config import PretrainConfig
from handtool.nn.optim import learning_rate, make_adam, square_root_rate


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
    optimiser = make_adam(model, 1e-3, 0.1)
    for value in model.parameters():
        value.grad = torch.zeros_like(value)
    optimiser.step()
    moved = {name for name, value in model.named_parameters() if not torch.equal(value, before[name])}
    assert moved == {"0.weight", "3.weight"}
