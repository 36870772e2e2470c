"""Every flag of pretrain and finetune with two CPU processes: they train, and as one process does."""

import dataclasses
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from making import make_file
from training import TinyEncoder, add_pairs

from handtool import store
from handtool.config import FinetuneConfig, PretrainConfig
from handtool.nn.files.labelled_hands import read_labelled
from handtool.nn.files.paired_hands import read_paired
from handtool.nn.files.reopen import Reopen
from handtool.nn.models.encoder import ENCODERS, make_encoder
from handtool.nn.training import distributed, loop
from handtool.nn.training.distributed import Place
from handtool.nn.training.launch import launch, train_as_one_of_many
from handtool.progress import silent
from handtool.stages import finetune, pretrain

TINY = {"arch": "tiny", "init": "scratch", "input_size": 32, "batch_size": 4, "steps": 2, "gpus": 0, "workers": 1}
# Beside these: gpus and processes, which are two CPU processes here, and what no flag sets.
ELSEWHERE = {"gpus", "processes", "checkpoint_seconds", "batch_size_cuda", "batch_size_cpu", "base_rate"}
PRETRAIN = [
    {"method": "simclr", "precision": "bf16", "accumulate": 2, "optimizer": "adamw", "warmup": 0.5, "weight_decay": 0.1}
    | {"workers": 2, "checkpoint_every": 1, "temperature": 0.2},
    {"method": "peclr", "inverse": "published", "precision": "fp16", "optimizer": "lars-adam", "tensorboard": "board"}
    | {"learning_rate": 1e-3, "seed": 6},
    {"weights": "sigmoid", "lambda_pos": 0.1, "lambda_neg": 0.5, "weight_side": "pos", "positives": "all"}
    | {"epochs": 1, "steps": None, "batch_size": 8, "input_size": 48, "compile": True},
    {
        "weight_keypoints": "original",
        "positives": "sample",
        "negatives": "local",
        "init": "weights.pth",
        "arch": "resnet18",
        "checkpoint_activations": True,
    },
    {"method": "handtool", "contrast": "soft", "soft_sigma": 0.5, "pretrain_head": "heatmap"},
    {"method": "keypoints", "keypoint_weight": 5.0, "depth_weight": 1.0, "precision": "bf16"},
]
FINETUNE = [
    {"head": "heatmap", "freeze": True, "precision": "bf16", "accumulate": 2, "val_share": 0.3, "patience": 1}
    | {"rotation_deg": 20.0, "shift": 0.2, "zoom": 0.2, "colour": 0.0, "blur_px": 1.0, "mirror": 0.5},
    {"head": "regression", "precision": "fp16", "optimizer": "lars-adam", "layer_decay": 0.7, "label_fraction": 0.8}
    | {"label_choice": "head", "learning_rate": 1e-4, "warmup": 0.5, "checkpoint_every": 1}
    | {"checkpoint_activations": True},
    {"head": "heatmap", "loss": "published", "normalization": "published", "compile": True, "weight_decay": 0.1}
    | {"val_share": 0.2, "val_by": "row", "tensorboard": "board"},
    {"head": "regression", "freeze": True, "precision": "bf16", "init": "weights.pth", "arch": "resnet18", "seed": 6}
    | {"fresh_head": True, "epochs": 1, "steps": None, "input_size": 64, "workers": 2, "batch_size": 8},
    {"head": "regression", "pool": "pool.h5", "pool_share": 0.4, "pool_weight": 0.5, "batch_size": 10}
    | {"depth_weight": 10.0},
    {"head": "heatmap", "pool": "pool.h5", "pool_depth": "estimated", "pool_depth_weight": 0.5, "batch_size": 8},
]
STAGES = {
    "pretrain": (PretrainConfig, PRETRAIN, read_paired, pretrain),
    "finetune": (FinetuneConfig, FINETUNE, read_labelled, finetune),
}


def configs_of(kind: str, folder: Path) -> list:
    """The groups of flags as settled configs, files in `folder`."""
    make, groups, _, stage = STAGES[kind]
    named = [
        {key: str(folder / value) if key in ("init", "tensorboard", "pool") else value for key, value in group.items()}
        for group in groups
    ]
    return [stage.resolve_defaults(make(**TINY | group)) for group in named]


class Kept:
    """A job in memory (or in `path`) with the last checkpoint, without the optimiser's state, which is most of it."""

    folder = None  # for the log of figures

    def __init__(self, path: Path | None = None) -> None:
        self.path, self.state = path, {}

    def has(self, name: str) -> bool:
        return False

    def save(self, name: str, values: dict) -> None:
        self.state = {key: value for key, value in values.items() if key.startswith(("curve/", "model/encoder"))}
        if self.path:
            np.savez(self.path, **self.state)


class Opened(Reopen):
    def open_job(self) -> Kept:
        return Kept(self.job_folder)


def train_all(folder: Path, progress=silent) -> None:
    """In each of two processes: one training after the other."""
    ENCODERS["tiny"] = TinyEncoder  # of a ResNet, eight trainings take half a minute
    distributed.leave_process_group = lambda: None  # the next training needs the same processes
    loop.torch.compile = partial(torch.compile, backend="eager")  # without the minute that machine code takes
    for kind, (_, _, read, stage) in STAGES.items():
        for number, config in enumerate(configs_of(kind, folder / kind)):
            reopen = Opened(folder / kind / "source.h5", folder / kind / f"{number}.npz", [])
            train_as_one_of_many(read, stage.train, "cpu", reopen, config)


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setitem(ENCODERS, "tiny", TinyEncoder)


@pytest.fixture(scope="module")
def trained(tmp_path_factory, run_forked) -> Path:
    """A folder for each stage, with the last checkpoint of each group of flags as two processes made it."""
    folder = tmp_path_factory.mktemp("flags")
    for kind in STAGES:
        (folder / kind).mkdir()
        start_weights(folder / kind / "weights.pth")
    add_pairs(make_file(folder / "keypoints.h5", (9, 8), ("keypoints", "joints")), folder / "pretrain" / "source.h5")
    make_file(folder / "finetune" / "source.h5", (7, 6, 6), ("labels",))
    make_file(folder / "finetune" / "pool.h5", (7, 6), ("keypoints", "joints"), seed=1)
    run_forked(launch, train_all, 2, (folder,), silent)
    return folder


def train_here(kind: str, folder: Path, config) -> np.ndarray:
    """The losses of one process."""
    _, _, read, stage = STAGES[kind]
    job, alone = Kept(), dataclasses.replace(config, compile=False, tensorboard=None, checkpoint_every=0)
    with store.open_file(folder / "source.h5") as source:
        stage.train(Place("cpu"), source, read(source, alone), alone, job, silent)
    return job.state["curve/loss"]


@pytest.mark.parametrize("kind", STAGES)
def test_every_flag_trains_with_two_processes_as_with_one(kind, trained):
    (make, groups, _, stage), folder, weights = STAGES[kind], trained / kind, start_weights()
    for number, config in enumerate(configs_of(kind, folder)):
        state = np.load(folder / f"{number}.npz")
        loss, alone = state["curve/loss"], train_here(kind, folder, config)
        assert len(loss) == len(alone) and np.isfinite(loss).all(), config.__dict__
        if getattr(config, "negatives", "global") == "global":
            assert loss[0] == pytest.approx(alone[0], rel=0.02), config.__dict__
        if getattr(config, "freeze", False):
            fresh = stage.make_model(
                config, finetune.Contract(config.input_size, head=config.head)
            ).encoder.state_dict()
            for name, value in (weights if config.init != "scratch" else fresh).items():
                assert np.array_equal(state[f"model/encoder.{name}"], value.numpy()), name
    if any("tensorboard" in group for group in groups):
        assert list((folder / "board").iterdir())
    assert set().union(*groups) | ELSEWHERE == {field.name for field in dataclasses.fields(make)}, (
        "a flag is not tested"
    )


def start_weights(path: Path | None = None) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    weights = make_encoder("resnet18").state_dict()
    if path:
        torch.save(weights, path)
    return weights
