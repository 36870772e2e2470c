"""The curve of a training: figures come over once, and a loss that is no number ends it."""

import math

import numpy as np
import pytest
import torch

from handtool.errors import HandtoolError
from handtool.nn.training.curve import Curve


def test_figures_come_over_once_and_a_checkpoint_goes_on():
    curve = Curve(("alignment",), True, None)
    curve.append(0.1, 1.0, torch.tensor([3.0, 0.5]))
    curve.append(0.2, 2.0, torch.tensor([2.0, 0.25]), validation_mm=40.0)
    curve.fetch()
    curve.values["loss"][0] = math.nan  # nobody looks at it again
    curve.append(0.3, 3.0, torch.tensor([1.0, 0.125]))
    state = curve.as_arrays()
    assert state["curve/step"].tolist() == [0, 1, 2] and state["curve/alignment"].tolist() == [0.5, 0.25, 0.125]
    assert np.array_equal(state["curve/validation_mm"], [np.nan, 40, np.nan], equal_nan=True)
    again = Curve(("alignment",), True, state)
    assert len(again) == 3 and again.last()["loss"] == 1.0 and again.last()["seconds"] == 3.0


def test_a_loss_that_is_no_number_is_an_error_with_its_step():
    curve = Curve((), False, None)
    curve.append(0.1, 1.0, torch.tensor([3.0]))
    curve.append(0.25, 1.0, torch.tensor([math.inf]))
    with pytest.raises(HandtoolError, match="the loss is inf at step 1, learning rate 0.25"):
        curve.fetch()
