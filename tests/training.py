"""Trainings small enough for a test, run as the commands run them, and what they made."""

import itertools
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from making import record
from torch import nn

from handtool import store
from handtool.config import FinetuneConfig, PretrainConfig
from handtool.nn.models.encoder import make_encoder
from handtool.nn.models.pose_model import Contract, PoseModel
from handtool.nn.models.resnet_encoder import Encoder
from handtool.progress import silent
from handtool.stages.finetune import finetune
from handtool.stages.pretrain import pretrain
from handtool.store import CURVE, KEYPOINTS, PAIRS

PRETRAIN_QUICK = {
    "arch": "resnet18",
    "init": "scratch",
    "input_size": 32,
    "batch_size": 6,
    "steps": 8,
    "gpus": 0,
    "workers": 1,
}
FINETUNE_QUICK = PRETRAIN_QUICK | {"head": "regression", "batch_size": 4, "steps": 6}
TOPK = 3


class Killed(BaseException):
    """What stands for SIGKILL between two writes."""


@contextmanager
def killed_at_save(monkeypatch, number: int):
    """What runs within dies at its `number`-th checkpoint, before that is written."""
    saves, save = itertools.count(1), store.Job.save

    def save_or_die(job, name, values, attrs=None):
        if next(saves) == number:
            raise Killed
        save(job, name, values, attrs)

    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(store.Job, "save", save_or_die)
        yield


def add_pairs(source, path):
    """pairs.h5 beside `source`: neighbours by their keypoints, whatever the video."""
    with store.open_file(source) as file, store.create_file(path, record(), [file]) as sink:
        xy = store.read_column(file, KEYPOINTS.xy)
        distance = np.linalg.norm(xy[:, None] - xy[None], axis=3).mean(2)
        np.fill_diagonal(distance, np.inf)
        positive = np.argsort(distance, 1)[:, :TOPK]
        store.write_table(
            sink,
            PAIRS,
            dict(
                anchor=np.repeat(np.arange(len(xy)), TOPK),
                positive=positive.ravel(),
                distance=np.take_along_axis(distance, positive, 1).ravel(),
                rank=np.tile(np.arange(1, TOPK + 1), len(xy)),
                anchor_offset=np.arange(len(xy) + 1) * TOPK,
            ),
            {"topk": TOPK, "index": "exact", "pool_uuid": file.uuid},
        )
        sink.inherit(file)
        sink.finish({})
    return path


def run_pretrain(source, out, progress=silent, **changes):
    """The stage as the command runs it; returns its report."""
    config = PretrainConfig(**PRETRAIN_QUICK | changes)
    with (
        store.open_file(source) as file,
        store.open_job(out, record(**changes)) as job,
        store.create_file(out, record(**changes), [file]) as sink,
    ):
        report = pretrain(file, sink, config, job, progress)
        sink.finish(report)
        job.remove()
    return report


def run_finetune(source, out, progress=silent, encoder=None, **changes):
    """The stage as the command runs it; returns its report."""
    config = FinetuneConfig(**FINETUNE_QUICK | changes)
    with store.open_file(source) as file, store.open_job(out, record(**changes)) as job:
        with store.create_file(out, record(**changes), [file]) as sink:
            report = finetune(file, sink, config, job, progress, encoder)
            sink.finish(report)
        job.remove()
    return report


def weights_of(path):
    with store.open_file(path) as file:
        return store.read_weights(file)[0]


def curve_of(path, column=CURVE.loss):
    with store.open_file(path) as file:
        return store.read_column(file, column).tolist()


def assert_same_weights(one, other):
    weights, others = weights_of(one), weights_of(other)
    assert weights.keys() == others.keys()
    for name, value in weights.items():
        assert np.array_equal(value, others[name]), name


def make_pose(seed=0, size=48, bone_m=0.025):
    torch.manual_seed(seed)
    model = PoseModel(make_encoder("resnet18"), Contract(size=size, bone_m=bone_m, focal=1.8))
    nn.init.normal_(model.head.fc.weight, std=0.05)
    nn.init.normal_(model.head.refine[-1].weight, std=0.05)
    return model.eval()


class TinyEncoder(Encoder):
    """Eight numbers for every 32 px: (B, 3, S, S) -> (B, 8, S / 32, S / 32)."""

    num_features, stages = 8, (("conv", "norm"),)

    def __init__(self, arch="tiny"):
        nn.Module.__init__(self)
        self.arch, self.conv, self.norm = arch, nn.Conv2d(3, 8, 32, 32), nn.BatchNorm2d(8)

    def features(self, images):
        return torch.relu(self.norm(self.conv(images)))
