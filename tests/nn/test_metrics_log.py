"""metrics.jsonl: a line for each step, once, whatever a kill left there."""

import json
import math

import pytest
import torch

from handtool.nn.training.curve import Curve
from handtool.nn.training.metrics_log import NAME, MetricsLog


def grow(curve, steps, fetched=True):
    for step in range(len(curve), len(curve) + steps):
        curve.append(0.5, step / 2, torch.tensor([step + 0.25, 7.0]), 31.5 if step == 2 else math.nan)
    if fetched:
        curve.fetch()


def read(folder):
    return [json.loads(line) for line in (folder / NAME).read_text().splitlines()]


def test_each_step_is_one_line_and_what_is_not_known_is_left_out(tmp_path):
    curve = Curve(("height",), True, None)
    log = MetricsLog(tmp_path, curve)
    assert read(tmp_path) == []
    grow(curve, 2)
    log.write(curve)
    grow(curve, 1)
    grow(curve, 1, fetched=False)
    log.write(curve)
    log.write(curve)
    lines = read(tmp_path)
    assert [line["step"] for line in lines] == [0, 1, 2]
    assert lines[0] == {"step": 0, "loss": 0.25, "learning_rate": 0.5, "seconds": 0.0, "height": 7.0}
    assert lines[2] == {"step": 2, "loss": 2.25, "learning_rate": 0.5, "seconds": 1.0, "height": 7.0} | {
        "validation_mm": 31.5
    }


def test_a_resumed_run_begins_with_the_steps_of_the_checkpoint(tmp_path):
    curve = Curve((), False, None)
    for step in range(3):
        curve.append(0.5, step, torch.tensor([step + 0.25]))
    checkpoint = curve.as_arrays()
    (tmp_path / NAME).write_text("".join(f'{{"step": {step}}}\n' for step in range(9)) + '{"step": 9, "lo')
    resumed = Curve((), False, checkpoint)
    log = MetricsLog(tmp_path, resumed)
    assert [line["loss"] for line in read(tmp_path)] == [0.25, 1.25, 2.25]
    resumed.append(0.5, 3.0, torch.tensor([9.0]))
    resumed.fetch()
    log.write(resumed)
    assert [(line["step"], line["loss"]) for line in read(tmp_path)][2:] == [(2, 2.25), (3, 9.0)]


@pytest.mark.parametrize("folder", [None, "no such folder"])
def test_without_a_folder_or_room_the_training_goes_on(tmp_path, folder):
    curve = Curve((), False, None)
    log = MetricsLog(folder and tmp_path / folder, curve)
    curve.append(0.5, 3.0, torch.tensor([9.0]))
    curve.fetch()
    log.write(curve)
    assert not list(tmp_path.iterdir())
