"""pretrain learns, goes on where it was killed to the same last bit, and every option does something."""

import itertools
import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from making import SIZE, make_file, record, write_crops, write_videos
from torch import nn
from training import PRETRAIN_QUICK as QUICK
from training import TOPK, Killed, add_pairs, curve_of, killed_at_save, weights_of
from training import run_pretrain as run

import handtool as package
from handtool import store
from handtool.config import METHODS, PretrainConfig
from handtool.errors import HandtoolError, Terminated, WrongCommand
from handtool.nn.files import loader
from handtool.nn.files.weights import read_encoder
from handtool.nn.models import heatmap_head, pretraining
from handtool.nn.models.objectives import hard_contrast, similarity
from handtool.nn.models.resnet_encoder import Encoder
from handtool.nn.training import curve, loop
from handtool.nn.training.metrics_log import NAME
from handtool.stages.pretrain import dry_run
from handtool.store import CURVE, KEYPOINTS, PAIRS

CURVE_COLUMNS = curve.ALWAYS.keys() | set(similarity.FIGURES)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("hands")


@pytest.fixture(scope="module")
def keypoints(folder):
    return make_file(folder / "keypoints.h5", (9, 8))


@pytest.fixture(scope="module")
def pairs(folder, keypoints):
    return add_pairs(keypoints, folder / "pairs.h5")


@pytest.fixture(scope="module")
def known_pairs(folder):
    """Pairs of hands whose estimator knows 3D, and is surer of some points than of others."""
    return add_pairs(make_file(folder / "known.h5", (9, 8), ("keypoints", "joints")), folder / "known-pairs.h5")


def assert_same_result(one, other):
    weights, others = weights_of(one), weights_of(other)
    assert weights.keys() == others.keys()
    for name, value in weights.items():
        assert np.array_equal(value, others[name]), name
    for name in CURVE_COLUMNS - {"seconds"}:
        assert curve_of(one, getattr(CURVE, name)) == curve_of(other, getattr(CURVE, name)), name


class SmallEncoder(Encoder):
    """Stands for a ResNet where what is tested lies elsewhere: a hundredth of its weights to save and load."""

    num_features = 24

    def __init__(self, arch, size):
        nn.Module.__init__(self)
        self.arch = "resnet18"
        self.stem = nn.Sequential(nn.Conv2d(3, 24, 5, 4, bias=False), nn.BatchNorm2d(24), nn.ReLU())

    def features(self, images):
        """A map of one cell for every 32 px."""
        return nn.functional.avg_pool2d(self.stem(images), 7, 8, 3)

    def forward(self, images):
        return self.stem(images).mean(dim=(2, 3))


@pytest.fixture
def small(monkeypatch):
    """A small network, and crops decoded in this process."""
    monkeypatch.setattr(pretraining, "make_encoder", SmallEncoder)
    monkeypatch.setattr(loader, "fit_workers", lambda *_: 0)


def run_small(*arguments, **changes):
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(pretraining, "make_encoder", SmallEncoder)
        return run(*arguments, **changes)


@pytest.fixture(scope="module")
def trained_small(pairs, folder):
    run_small(pairs, folder / "small.h5")
    return folder / "small.h5"


@pytest.fixture(scope="module")
def trained(pairs, folder):
    """An uninterrupted run of QUICK, to hold others against."""
    return folder / "encoder.h5", run(pairs, folder / "encoder.h5")


def make_poses(folder):
    """Four shapes that stay different when turned (a ring, a line, two clumps, a square), each six times on other
    grounds."""
    rng = np.random.default_rng(2)
    turn = np.linspace(0, 2 * np.pi, 21, endpoint=False)
    shapes = np.stack(
        [
            np.stack((np.cos(turn), np.sin(turn)), 1),
            np.linspace(-1, 1, 21)[:, None] * [[1, 0]],
            np.where(np.arange(21) % 2, 1, -1)[:, None] * [[0.9, 0]],
            np.stack(np.divmod(np.arange(21), 5), 1) / 2 - 1,
        ]
    )
    xy = (SIZE / 2 + 0.3 * SIZE * shapes[np.arange(24) % 4] + rng.normal(0, 0.7, (24, 21, 2))).astype(np.float32)
    with store.create_file(folder / "keypoints.h5", record()) as sink:
        write_videos(sink, 1)
        write_crops(sink, np.zeros(24, int), np.ones(24, int), {"xy": xy, "camera": np.full((24, 3, 3), np.nan)}, rng)
        store.write_table(
            sink,
            KEYPOINTS,
            dict(xy=xy, score=np.ones((24, 21)), valid=np.ones(24, bool)),
            {"skeleton": "hand21", "model": "drawn"},
        )
        sink.finish({})
    return add_pairs(folder / "keypoints.h5", folder / "pairs.h5")


def test_the_loss_falls_on_a_world_that_can_be_learnt(small, tmp_path):
    report = run(
        make_poses(tmp_path),
        tmp_path / "e.h5",
        steps=150,
        batch_size=16,
        learning_rate=3e-3,
        temperature=0.2,
        weights="none",
    )
    assert report["loss_last"] < report["loss_first"] - 0.2
    assert report["positive_similarity"] > report["negative_similarity"] + 0.05


def test_keypoints_are_learnt_on_such_a_world(tmp_path):
    make_poses(tmp_path)
    settings = {"method": "keypoints", "steps": 40, "batch_size": 16, "learning_rate": 1e-3}
    report = run(tmp_path / "keypoints.h5", tmp_path / "e.h5", **settings)
    assert report["keypoint_loss"] < 0.6 * curve_of(tmp_path / "e.h5", CURVE.keypoint_loss)[0]


def test_the_product_is_an_encoder_that_knows_what_it_wants_to_see(trained):
    path, report = trained
    with store.open_file(path) as file:
        encoder, head, attrs = read_encoder(file)
    config = json.loads(attrs["config"])
    assert (attrs["architecture"], attrs["size"], attrs["side"], attrs["box_scale"]) == ("resnet18", 32, "RIGHT", 1.3)
    assert np.allclose(attrs["mean"], (0.485, 0.456, 0.406)) and np.allclose(attrs["std"], (0.229, 0.224, 0.225))
    assert (config["method"], config["weights"], config["inverse"], config["precision"], config["steps"]) == (
        "simhand",
        "linear",
        "exact",
        "fp32",
        8,
    )
    assert head(encoder.eval()(torch.zeros(2, 3, 32, 32))).shape == (2, 128)
    torchvision.models.resnet18().load_state_dict(
        {**torchvision.models.resnet18().state_dict(), **encoder.state_dict()}
    )
    assert report["accounting"] == [{"what": "hands", "in": 17, "done": 17, "skipped": {}, "failed": {}}]
    assert report["steps"] == 8 and report["pairs_per_step"] == 6


def test_two_runs_of_one_seed_are_one_result_with_any_number_of_workers(pairs, trained, tmp_path):
    run(pairs, tmp_path / "again.h5", workers=2)
    assert_same_result(tmp_path / "again.h5", trained[0])


@pytest.mark.parametrize("when, every", [(1, 1), (2, 3), (5, 2), (7, 3), (8, 1)])
def test_a_run_killed_at_any_step_ends_in_the_same_last_bit(
    pairs, small, trained_small, tmp_path, monkeypatch, when, every
):
    """Killed instead of the first checkpoint at or after step `when`; the next run finds what was saved before."""
    saves, save = itertools.count(1), store.Job.save

    def save_or_die(job, name, values, attrs=None):
        if next(saves) * every >= when:
            raise Killed
        save(job, name, values, attrs)

    with monkeypatch.context() as patched:
        patched.setattr(store.Job, "save", save_or_die)
        with pytest.raises(Killed):
            run(pairs, tmp_path / "e.h5", checkpoint_every=every)
    assert not (tmp_path / "e.h5").exists()
    run(pairs, tmp_path / "e.h5", checkpoint_every=every)
    assert_same_result(tmp_path / "e.h5", trained_small)
    assert not (tmp_path / "e.h5.partial").exists()


@pytest.mark.parametrize(
    "choices",
    [{"accumulate": 3}, {"optimizer": "lars-adam"}, {"optimizer": "adamw"}, {"precision": "fp16", "batch_size": 4}],
)
def test_a_run_killed_ends_in_the_same_last_bit_whatever_was_chosen(pairs, small, tmp_path, monkeypatch, choices):
    run(pairs, tmp_path / "whole.h5", **choices)
    with killed_at_save(monkeypatch, 3):
        run(pairs, tmp_path / "e.h5", checkpoint_every=2, **choices)
    run(pairs, tmp_path / "e.h5", checkpoint_every=2, **choices)
    assert_same_result(tmp_path / "e.h5", tmp_path / "whole.h5")


OURS = [
    {"method": "keypoints"},
    {"method": "softhand", "soft_sigma": 0.5},
    {"method": "handtool"},
    {"method": "handtool", "contrast": "soft", "pretrain_head": "heatmap"},
    {"method": "simhand", "keypoint_weight": 3.0},
]


@pytest.mark.parametrize("choices", OURS)
def test_our_methods_end_where_they_would_when_killed(known_pairs, small, tmp_path, monkeypatch, choices):
    monkeypatch.setattr(heatmap_head, "WIDTH", 8)
    run(known_pairs, tmp_path / "whole.h5", **choices)
    with killed_at_save(monkeypatch, 3):
        run(known_pairs, tmp_path / "e.h5", checkpoint_every=2, **choices)
    run(known_pairs, tmp_path / "e.h5", checkpoint_every=2, **choices)
    assert weights_of(tmp_path / "e.h5").keys() == weights_of(tmp_path / "whole.h5").keys()
    for name, value in weights_of(tmp_path / "whole.h5").items():
        assert np.array_equal(value, weights_of(tmp_path / "e.h5")[name]), name
    assert curve_of(tmp_path / "e.h5") == curve_of(tmp_path / "whole.h5")


def test_keypoints_need_no_pairs_and_encoder_h5_carries_the_head(keypoints, known_pairs, small, tmp_path):
    report = run(keypoints, tmp_path / "e.h5", method="keypoints")
    parts = {name.split(".")[0] for name in weights_of(tmp_path / "e.h5")}
    assert parts == {"encoder", "head"} and "positive_similarity" not in report
    run(known_pairs, tmp_path / "b.h5", method="simhand", keypoint_weight=1.0, steps=1)
    assert {name.split(".")[0] for name in weights_of(tmp_path / "b.h5")} == {"encoder", "projection_head", "head"}


def test_depth_is_learnt_only_where_the_estimator_knows_it(pairs, known_pairs, small, tmp_path):
    assert "depth_loss" in run(known_pairs, tmp_path / "with.h5", method="handtool", steps=2)
    run(pairs, tmp_path / "without.h5", method="handtool", steps=2)
    assert max(curve_of(tmp_path / "with.h5", CURVE.depth_loss)) > 0
    assert max(curve_of(tmp_path / "without.h5", CURVE.depth_loss)) == 0
    with pytest.raises(HandtoolError, match="no hand to train on has joints"):
        run(pairs, tmp_path / "e.h5", method="keypoints", keypoint_weight=0.0, depth_weight=1.0)
    with pytest.raises(WrongCommand, match="learns nothing"):
        run(pairs, tmp_path / "f.h5", method="keypoints", keypoint_weight=0.0)


@pytest.fixture
def gradients(monkeypatch):
    """Every step's gradients as the optimiser sees them, of the first kernel."""
    seen, make = [], loop.make_optimiser

    def make_and_listen(*args):
        optimiser = make(*args)
        optimiser.register_step_pre_hook(
            lambda optimiser, *_: seen.append(optimiser.param_groups[0]["params"][0].grad.clone())
        )
        return optimiser

    monkeypatch.setattr(loop, "make_optimiser", make_and_listen)
    return seen


def test_accumulated_passes_are_the_mean_of_the_passes_one_by_one(pairs, small, tmp_path, gradients):
    run(pairs, tmp_path / "one.h5", steps=6, learning_rate=0.0)
    each = torch.stack(gradients)
    gradients.clear()
    report = run(pairs, tmp_path / "three.h5", steps=2, learning_rate=0.0, accumulate=3)
    assert report["pairs_per_step"] == 18 and report["steps"] == 2
    assert torch.allclose(torch.stack(gradients), each.view(2, 3, *each.shape[1:]).mean(1), rtol=1e-3, atol=1e-6)
    assert curve_of(tmp_path / "three.h5") == pytest.approx(
        np.reshape(curve_of(tmp_path / "one.h5"), (2, 3)).mean(1), rel=1e-6
    )


def test_gradients_of_fp16_are_those_of_fp32_and_the_scale_is_kept(pairs, small, tmp_path, gradients):
    run(pairs, tmp_path / "full.h5", steps=1, learning_rate=0.0)
    run(
        pairs,
        tmp_path / "half.h5",
        steps=1,
        learning_rate=0.0,
        precision="fp16",
        optimizer="lars-adam",
        checkpoint_every=1,
    )
    full, half = gradients[:2]  # LARS then hands its own to Adam
    assert 0 < (full - half).norm() < 0.05 * full.norm()


def test_accumulation_makes_the_learning_rate_of_the_pairs_of_a_step(pairs, small, tmp_path):
    run(pairs, tmp_path / "e.h5", steps=None, epochs=3, accumulate=4, warmup=0.0)
    assert curve_of(tmp_path / "e.h5", CURVE.learning_rate)[0] == pytest.approx(1e-4 * np.sqrt(6 * 4))
    assert len(curve_of(tmp_path / "e.h5")) == 3 * (17 // 6) // 4


def test_weights_of_original_keypoints_do_not_know_the_views(pairs, small, tmp_path, monkeypatch):
    """Distances of the crops' own keypoints, in px of the input: what the loss is given, against the file."""
    seen, call = [], hard_contrast.BatchLoss.__call__
    monkeypatch.setattr(
        hard_contrast.BatchLoss,
        "__call__",
        lambda self, z1, z2, xy1, xy2: seen.append((xy1, xy2)) or call(self, z1, z2, xy1, xy2),
    )
    run(pairs, tmp_path / "e.h5", steps=1, batch_size=17, weight_keypoints="original", seed=3)
    with store.open_file(pairs) as file:
        xy, left = (
            store.read_column(file, KEYPOINTS.xy).astype(float),
            store.read_column(file, store.CROPS.side) == store.LEFT,
        )
        positive = store.read_column(file, PAIRS.positive)[::TOPK]
    xy[left, :, 0] = SIZE - 1 - xy[left, :, 0]
    expected = np.linalg.norm(xy - xy[positive], axis=2).mean(1) * QUICK["input_size"] / SIZE
    found = (seen[0][0] - seen[0][1]).norm(dim=2).mean(1).numpy()
    assert np.allclose(np.sort(found), np.sort(expected), atol=1e-4)


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGTERM there")
def test_sigterm_saves_says_so_and_the_next_run_goes_on_from_there(
    pairs, small, trained_small, tmp_path, caplog, monkeypatch
):
    steps, append = itertools.count(1), curve.Curve.append

    def append_and_terminate(*args):
        append(*args)
        if next(steps) == 5:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patched, caplog.at_level("INFO"), pytest.raises(Terminated):
        patched.setattr(curve.Curve, "append", append_and_terminate)
        run(pairs, tmp_path / "e.h5")
    assert "saved after step 5 of 8; the same command goes on from there" in caplog.text
    caplog.clear()
    with caplog.at_level("INFO"):
        run(pairs, tmp_path / "e.h5")
    assert "going on after step 5 of 8" in caplog.text
    assert_same_result(tmp_path / "e.h5", trained_small)


STUCK = """
import itertools, pathlib, sys, time
from handtool.__main__ import main
from handtool.cli import signs
from handtool.nn.training import curve, loop
signs.FILE_S = 0.0
curve.Clock.__init__.__defaults__ = (0.0,)  # figures are read after every step
calls, scale = itertools.count(1), loop.GradScaler.scale
def stop_for_a_minute(scaler, loss):
    if next(calls) == 4:
        pathlib.Path("stuck").touch()
        end = time.monotonic() + 60
        while time.monotonic() < end:
            time.sleep(1)
    return scale(scaler, loss)
loop.GradScaler.scale = stop_for_a_minute
main()
"""


def test_a_step_that_takes_a_minute_is_given_up_and_the_one_before_it_saved(handtool, pairs, tmp_path):
    options = [str(item) for key, value in QUICK.items() for item in (f"--{key.replace('_', '-')}", value)]
    environment = {**os.environ, "PYTHONPATH": str(Path(package.__file__).parents[1])}
    words = ["pretrain", str(pairs), "-o", "stuck.h5", *options]
    command = [sys.executable, "-c", STUCK, *words]
    first = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)
    while not (tmp_path / "stuck").exists():
        assert first.poll() is None
        time.sleep(0.01)
    metrics, progress = ((tmp_path / "stuck.h5.partial" / name).read_text() for name in (NAME, "progress.json"))
    metrics = [json.loads(line) for line in metrics.splitlines()]
    assert [line["step"] for line in metrics] == [0, 1, 2] and metrics[0].keys() == CURVE_COLUMNS
    train = json.loads(progress)["work"][-1]
    assert (train["what"], train["done"], train["total"]) == ("train", 3, 8)
    assert train["figures"]["loss"] == pytest.approx(metrics[-1]["loss"])
    begun = time.monotonic()
    first.terminate()
    said = first.communicate()[1]
    assert time.monotonic() - begun < 20 and first.returncode == 143
    assert "saved after step 3 of 8; the same command goes on from there" in said
    assert not list(tmp_path.glob("*.handtool-tmp")) and not list(tmp_path.glob(".*.handtool-tmp"))
    assert "going on after step 3 of 8" in handtool(*words).stderr
    assert handtool("pretrain", pairs, "-o", "straight.h5", *options).returncode == 0
    stuck, straight = (weights_of(tmp_path / name) for name in ("stuck.h5", "straight.h5"))
    assert all(np.array_equal(stuck[name], straight[name]) for name in stuck | straight)
    assert any("running" in name for name in stuck)


def test_the_command_killed_by_the_kernel_goes_on_when_run_again(handtool, pairs, tmp_path):
    settings = QUICK | {"steps": 8, "checkpoint_every": 2}
    options = [str(item) for key, value in settings.items() for item in (f"--{key.replace('_', '-')}", value)]
    environment = {**os.environ, "PYTHONPATH": str(Path(package.__file__).parents[1])}
    command = [sys.executable, "-m", "handtool", "pretrain", str(pairs), "-o", "e.h5", *options]
    first = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL)
    while not (tmp_path / "e.h5.partial" / "checkpoint.part.h5").exists():
        assert first.poll() is None
        time.sleep(0.01)
    first.kill()
    first.wait()
    again = handtool("pretrain", pairs, "-o", "e.h5", *options, "--json")
    assert again.returncode == 0, again.stderr
    assert "going on after step" in again.stderr
    assert json.loads(again.stdout)["report"]["steps"] == 8


OPTIONS = [
    {"method": "simclr"},
    {"method": "peclr"},
    {"weights": "none"},
    {"weights": "sigmoid"},
    {"weight_side": "pos"},
    {"weight_side": "neg"},
    {"weight_keypoints": "original"},
    {"weights": "sigmoid", "lambda_pos": 0.1},
    {"weights": "sigmoid", "lambda_neg": 0.5},
    {"inverse": "published"},
    {"inverse": "none"},
    {"positives": "2"},
    {"positives": "sample"},
    {"positives": "all"},
    {"temperature": 0.1},
    {"input_size": 48},
    {"batch_size": 8},
    {"learning_rate": 0.01},
    {"warmup": 0.5},
    {"weight_decay": 0.5},
    {"precision": "bf16"},
    {"seed": 6},
    {"accumulate": 2},
    {"optimizer": "adamw", "weight_decay": 0.5},
    {"optimizer": "lars-adam", "learning_rate": 0.02},
    {"precision": "fp16"},
    *OURS,
    {"method": "softhand"},
    {"method": "softhand", "temperature": 0.1},
    {"method": "handtool", "depth_weight": 2.0},
    {"method": "handtool", "keypoint_weight": 2.0},
    {"method": "handtool", "contrast": "hard"},
    {"method": "handtool", "contrast": "soft"},
    {"method": "handtool", "pretrain_head": "heatmap"},
]


def test_every_option_changes_the_training_and_no_two_alike(known_pairs, small, tmp_path, monkeypatch):
    monkeypatch.setattr(heatmap_head, "WIDTH", 8)
    curves = {}
    for number, change in enumerate([{}, *OPTIONS]):
        run(known_pairs, tmp_path / f"{number}.h5", steps=4, **change)
        assert curves.setdefault(tuple(curve_of(tmp_path / f"{number}.h5")), change) is change


def test_a_trained_encoder_can_be_the_start_of_another(pairs, trained, tmp_path):
    run(pairs, tmp_path / "e.h5", init=str(trained[0]), steps=1, learning_rate=0.0)
    started, found = weights_of(trained[0]), weights_of(tmp_path / "e.h5")
    for name in started:
        if name.startswith("encoder") and "running" not in name and "tracked" not in name:
            assert np.array_equal(started[name], found[name]), name


def test_epochs_are_whole_batches_of_all_pairs(pairs, small, tmp_path):
    report = run(pairs, tmp_path / "e.h5", steps=None, epochs=2)
    assert report["steps"] == 2 * (17 // 6)
    rates = curve_of(tmp_path / "e.h5", CURVE.learning_rate)
    assert max(rates) <= 1e-4 * np.sqrt(6) * (1 + 1e-9) and rates[-1] < max(rates) / 2


def test_the_batch_is_lowered_to_the_pairs_that_there_are_and_said(pairs, small, tmp_path, caplog):
    with caplog.at_level("INFO"):
        report = run(pairs, tmp_path / "e.h5", batch_size=None, steps=1)
    assert report["pairs_per_step"] == 17 and "batch size lowered from 32 to 17" in caplog.text


def test_two_processes_train_as_one(pairs, tmp_path, run_forked):
    choices = {"batch_size": 8, "accumulate": 2, "steps": 2, "learning_rate": 1e-4}
    run_small(pairs, tmp_path / "one.h5", **choices)
    report = run_forked(run_small, pairs, tmp_path / "two.h5", processes=2, **choices)
    assert report["processes"] == 2 and report["pairs_per_step"] == 16
    found, expected = curve_of(tmp_path / "two.h5"), curve_of(tmp_path / "one.h5")
    assert found[0] == pytest.approx(expected[0], abs=1e-5)  # the same hands in the same views: one joined batch
    assert found == pytest.approx(expected, abs=0.1)  # then Adam turns the rounding of small gradients into steps
    for column in (CURVE.positive_similarity, CURVE.negative_similarity, CURVE.alignment, CURVE.uniformity):
        watched = [curve_of(tmp_path / name, column)[0] for name in ("two.h5", "one.h5")]
        assert watched[0] == pytest.approx(watched[1], abs=2e-5), column.name


@pytest.mark.parametrize("method", METHODS)
def test_what_is_missing_is_named_with_the_command_that_makes_it(keypoints, small, tmp_path, method):
    crops = make_file(tmp_path / "crops.h5", (3, 3), ())
    with pytest.raises(HandtoolError, match="has no /keypoints") as caught:
        run(crops, tmp_path / "e.h5", method=method)
    assert caught.value.hint == f"handtool keypoints {crops} -o keypoints.h5"
    if METHODS[method].mined and METHODS[method].contrast != "none":
        with pytest.raises(HandtoolError, match="has no /pairs") as caught:
            run(keypoints, tmp_path / "f.h5", method=method)
        assert caught.value.hint.startswith("handtool mine")
    else:
        assert run(keypoints, tmp_path / "f.h5", method=method, steps=1)["accounting"][0]["done"] == 17


def test_a_loss_that_is_no_number_ends_the_run_with_the_step(pairs, small, tmp_path):
    with pytest.raises(HandtoolError, match="the loss is nan at step"):
        run(pairs, tmp_path / "e.h5", learning_rate=1e30)


def test_a_collapse_is_said_once_and_can_be_read_off_the_curve(
    pairs, small, trained_small, tmp_path, caplog, monkeypatch
):
    """An encoder that gives nearly nothing in front of a head with a bias: all hands alike, and no gradient that
    tells them apart."""

    def faint_head(num_features):
        head = nn.Linear(num_features, 128)
        nn.init.normal_(head.weight, std=1e-4)
        return head

    monkeypatch.setattr(pretraining, "make_projection_head", faint_head)
    run(pairs, tmp_path / "e.h5", steps=40, method="simclr", learning_rate=1e-6)
    said = [line.getMessage() for line in caplog.records if "collapse" in line.getMessage()]
    assert len(said) == 1 and "mean similarity 1.000 of different hands" in said[0]
    for column, value in (
        (CURVE.positive_similarity, 1),
        (CURVE.negative_similarity, 1),
        (CURVE.alignment, 0),
        (CURVE.uniformity, 0),
    ):
        assert curve_of(tmp_path / "e.h5", column) == pytest.approx([value] * 40, abs=0.01)
    assert min(curve_of(trained_small, CURVE.alignment)) > 0.1 and max(curve_of(trained_small, CURVE.uniformity)) < -0.1


def test_projections_that_are_all_zero_are_a_collapse_too(pairs, small, tmp_path, caplog, monkeypatch):
    def dead_head(num_features):
        head = nn.Linear(num_features, 128)
        nn.init.zeros_(head.weight), nn.init.zeros_(head.bias)
        return head

    monkeypatch.setattr(pretraining, "make_projection_head", dead_head)
    run(pairs, tmp_path / "e.h5", steps=2, method="simclr", learning_rate=0.0)
    said = [line.getMessage() for line in caplog.records if "collapse" in line.getMessage()]
    assert len(said) == 1 and "all projections are 0" in said[0]


def test_the_board_shows_the_curve_once_also_of_a_run_that_went_on(pairs, small, tmp_path, monkeypatch):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board, saves, save = tmp_path / "board", itertools.count(1), store.Job.save

    def save_or_die(job, name, values, attrs=None):
        if next(saves) == 3:
            raise Killed
        save(job, name, values, attrs)

    monkeypatch.setattr(curve.Clock, "tick", lambda clock: True)  # a look at every step, as of steps that take seconds
    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(store.Job, "save", save_or_die)
        run(pairs, tmp_path / "e.h5", checkpoint_every=2, tensorboard=str(board))
    run(pairs, tmp_path / "e.h5", checkpoint_every=2, tensorboard=str(board))
    events = EventAccumulator(str(board)).Reload()
    assert set(events.Tags()["scalars"]) == CURVE_COLUMNS - {"step", "seconds"}
    for name in events.Tags()["scalars"]:
        assert [event.step for event in events.Scalars(name)] == list(range(8))
        assert [event.value for event in events.Scalars(name)] == pytest.approx(
            curve_of(tmp_path / "e.h5", getattr(CURVE, name)), rel=1e-6
        )


def test_a_compiled_network_trains_like_the_plain_one(pairs, small, trained_small, tmp_path, monkeypatch):
    """Traced and differentiated ahead of time; what writes machine code from that needs a minute and is left out
    here."""
    monkeypatch.setattr(loop.torch, "compile", partial(torch.compile, backend="aot_eager"))
    run(pairs, tmp_path / "e.h5", compile=True)
    assert weights_of(tmp_path / "e.h5").keys() == weights_of(trained_small).keys()
    assert curve_of(tmp_path / "e.h5") == pytest.approx(curve_of(trained_small), abs=0.01)


def test_a_network_that_cannot_be_compiled_ends_the_run_with_the_reason(pairs, small, tmp_path, monkeypatch):
    def broken(*_):
        raise OSError("no compiler here")

    monkeypatch.setattr(loop.torch, "compile", partial(torch.compile, backend=broken))
    with pytest.raises(HandtoolError, match="could not be compiled: .*no compiler here") as told:
        run(pairs, tmp_path / "e.h5", compile=True)
    assert told.value.hint == "leave --compile out" and not (tmp_path / "e.h5").exists()


def test_out_of_memory_is_one_line_and_its_batch_size_fits(pairs, small, tmp_path, monkeypatch):
    """A device that takes 8 crops at once."""
    forward = pretraining.PretrainObjective.__call__

    def take_eight(self, network, batch, crops):
        if len(crops) > 8:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
        return forward(self, network, batch, crops)

    monkeypatch.setattr(pretraining.PretrainObjective, "__call__", take_eight)
    with pytest.raises(
        HandtoolError, match=r"^out of memory on the CPU: 6 pairs on each process need about \d+\.\d GiB$"
    ) as told:
        run(pairs, tmp_path / "e.h5")
    batch_size, accumulate = map(
        int, re.fullmatch(r"--batch-size (\d+) should fit, --accumulate (\d+) .*", told.value.hint).groups()
    )
    assert batch_size < 6 and batch_size * accumulate >= 6
    assert (
        run(pairs, tmp_path / "e.h5", batch_size=batch_size, accumulate=accumulate)["pairs_per_step"]
        == batch_size * accumulate
    )


def run_out_of_memory(pairs, out):
    """-> what is said where a gigabyte more than now is all there is."""
    torch.ones(2, requires_grad=True).sum().backward()
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 2**30, used + 2**30))
    with pytest.raises(HandtoolError) as told:
        run(pairs, out, batch_size=17, input_size=384)
    return told.value.message


def test_the_end_of_real_memory_is_that_line_too(pairs, tmp_path, run_forked):
    said = run_forked(run_out_of_memory, pairs, tmp_path / "e.h5")
    assert said.startswith("out of memory on the CPU: 17 pairs on each process need about")


def test_a_dry_run_says_what_the_run_then_does_and_leaves_nothing(handtool, pairs, small, tmp_path):
    settings = {
        "arch": "resnet18",
        "init": "scratch",
        "input_size": 32,
        "batch_size": 6,
        "accumulate": 2,
        "epochs": 2,
        "gpus": 0,
    }
    options = [str(item) for key, value in settings.items() for item in (f"--{key.replace('_', '-')}", value)]
    said = handtool("pretrain", pairs, *options, "--dry-run", "--json")
    assert said.returncode == 0, said.stderr
    assert os.listdir(tmp_path) == []
    dry, real = json.loads(said.stdout)["report"], run(pairs, tmp_path / "e.h5", **settings | {"steps": None})
    for name in ("accounting", "side_unknown_as_right", "pairs_per_step", "steps", "processes"):
        assert dry[name] == real[name], name
    rates = curve_of(tmp_path / "e.h5", CURVE.learning_rate)
    assert dry["learning_rate"] == pytest.approx(1e-4 * 12**0.5) and max(rates) <= dry["learning_rate"]
    assert (
        dry["crops"] == [17, SIZE, SIZE, 3]
        and dry["views_of_a_process"] == [12, 3, 32, 32]
        and dry["loss_matrix_of_a_process"] == [12, 12]
    )
    assert dry["largest_batch_size_that_should_fit"] > 6


def test_a_dry_run_finds_out_what_the_run_would_not_like(pairs, tmp_path):
    for wrong, message in (
        ({"init": "nowhere.pth"}, "no weights at nowhere.pth"),
        ({"positives": "9"}, "no hand to train on"),
        ({"gpus": 99}, "99 asked"),
    ):
        with store.open_file(pairs) as file, pytest.raises(HandtoolError, match=message):
            dry_run(file, None, PretrainConfig(**QUICK | wrong))


def test_positives_that_make_no_sense_are_a_wrong_command(pairs, tmp_path):
    for number, wrong in enumerate(("0", "-1", "some", "")):
        with pytest.raises(WrongCommand):
            run(pairs, tmp_path / f"{number}.h5", positives=wrong)
    with pytest.raises(HandtoolError, match="no hand to train on"):
        run(pairs, tmp_path / "e.h5", positives="9")


def test_one_pair_a_process_is_too_few_for_batch_norm(pairs, tmp_path):
    with pytest.raises(HandtoolError, match="batch norm needs 2"):
        run(pairs, tmp_path / "e.h5", batch_size=3, processes=2)


def test_gpus_that_are_not_there_end_the_command_before_anything_else(handtool, pairs):
    done = handtool("pretrain", pairs, "--gpus", 64, env={"CUDA_VISIBLE_DEVICES": ""})
    assert done.returncode == 1 and done.stdout == ""
    assert "--gpus 64 asked" in done.stderr and "--gpus 0 trains on the CPU" in done.stderr
