"""What was chosen is part of the fingerprint: another plan is another result, the same plan by another way is not."""

import hashlib
import json
import os
import subprocess
from pathlib import Path

import h5py
import pytest
from making import make_file
from training import add_pairs

import handtool as package
from handtool import config as defaults
from handtool import store
from handtool.config import FinetuneConfig, PretrainConfig
from handtool.stages import finetune, pretrain

RUN = ["--arch", "resnet18", "--init", "scratch", "--input-size", "32", "--gpus", "0", "--workers", "1"]


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hands")
    return add_pairs(make_file(folder / "keypoints.h5", (20, 20)), folder / "pairs.h5")


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    return make_file(tmp_path_factory.mktemp("labelled") / "train.h5", (20, 20), ("labels",))


def fingerprint(stage, path, config) -> str:
    with store.open_file(path) as source:
        planned = stage.plan(source, config)
    return store.Record(
        f"handtool {stage.__name__.split('.')[-1]}", dict(config.__dict__), [], plan=planned
    ).fingerprint


@pytest.mark.parametrize("stage, make", [(pretrain, PretrainConfig), (finetune, FinetuneConfig)])
def test_one_two_and_eight_ranks_are_three_results_however_they_are_started(stage, make, pairs, labelled, monkeypatch):
    path = pairs if stage is pretrain else labelled
    started_here = {
        n: fingerprint(stage, path, make(gpus=0, processes=n, init="scratch", batch_size=32)) for n in (1, 2, 8)
    }
    assert len(set(started_here.values())) == 3
    for count, expected in started_here.items():
        monkeypatch.setenv("RANK", "0")
        monkeypatch.setenv("WORLD_SIZE", str(count))
        assert fingerprint(stage, path, make(gpus=0, init="scratch", batch_size=32)) == expected


def test_the_same_plan_by_another_way_is_the_same_result(pairs):
    one = fingerprint(pretrain, pairs, PretrainConfig(gpus=0, batch_size=8, epochs=3))
    for same in (
        {"precision": "fp32"},
        {"epochs": 7, "steps": 15},
        {"weights": "linear", "inverse": "exact"},
        {"learning_rate": 1e-4 * 8**0.5},
        {"workers": 3, "checkpoint_every": 5, "compile": True, "tensorboard": "there"},
        {"warmup": 0.08},  # of 15 steps one, as of the default
    ):
        given = {"batch_size": 8, "epochs": 3} | same
        changed = fingerprint(pretrain, pairs, PretrainConfig(gpus=0, **given))
        assert (changed == one) == (same != {"warmup": 0.08}), same


def test_another_plan_is_another_result(pairs, labelled):
    for stage, path, make in ((pretrain, pairs, PretrainConfig), (finetune, labelled, FinetuneConfig)):
        changes = ({}, {"batch_size": 8}, {"steps": 3}, {"precision": "bf16"}, {"accumulate": 2}, {"warmup": 0.5})
        configs = [
            make(gpus=0, init="scratch", **{"steps": 9} | change) for change in (*changes, {"learning_rate": 0.5})
        ]
        assert len({fingerprint(stage, path, config) for config in configs}) == len(configs)


def test_a_stage_whose_result_never_changed_has_the_fingerprint_of_0_1_0():
    step = store.Record("handtool embed", {"min_score": 0.5, "workers": 3}, [store.Input("c.h5", 9, "some-uuid")])
    old = json.dumps(["handtool embed", {"min_score": 0.5}, ["some-uuid"]], sort_keys=True)
    assert step.result == 1 and step.fingerprint == hashlib.sha256(old.encode()).hexdigest()


def test_a_result_version_that_rose_is_said_and_force_makes_it_anew(handtool, tmp_path, monkeypatch):
    make_file(tmp_path / "k.h5", (6, 6))
    made = handtool("embed", "k.h5", "--dim", "5", "-o", "e.h5")
    assert made.returncode == 0, made.stderr
    assert "up to date" in handtool("embed", "k.h5", "--dim", "5", "-o", "e.h5").stderr
    monkeypatch.setitem(defaults.RESULT_VERSIONS, "embed", 2)
    with store.open_file(tmp_path / "e.h5") as file:
        last = file.provenance[-1]
    now = store.Record("handtool embed", last["config"], [])
    assert now.difference(last) == "by an older version of embed (result 1, now 2)" and now.result == 2
    with h5py.File(tmp_path / "e.h5") as file:
        assert int(file["provenance/001"].attrs["result"]) == 1


def test_an_unfinished_run_of_another_plan_is_not_continued(pairs, handtool, tmp_path):
    command = ["pretrain", pairs, "-o", "e.h5", *RUN, "--steps", "3"]
    plan = {"batch_size": 6, "steps": 3}
    step = store.Record("handtool pretrain", {}, [], plan=plan)
    with store.open_job(tmp_path / "e.h5", step) as job:
        job.save("checkpoint", {"curve/step": 1})
    done = handtool(*command, "--batch-size", "8")
    assert done.returncode == 1 and "holds the beginning of another run, made with" in done.stderr
    assert "batch_size 6 instead of 8" in done.stderr and "--restart" in done.stderr


def test_rank_0_decides_whether_to_train_and_the_others_hear_of_it(pairs, tmp_path, warm_server):
    """Finished, begun anew, made by force, refused: no run hangs, one report a run, and a refusal ends all."""
    warm = warm_server(True)  # new processes would import torch for most of a minute
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--no-python"]
    start = [*warm.python, *torchrun, *warm.command]
    environment = {**os.environ, "PYTHONPATH": str(Path(package.__file__).parents[1]), "OMP_NUM_THREADS": "1"}

    def run(*more: str) -> subprocess.CompletedProcess:
        command = [*start, "pretrain", str(pairs), "-o", "e.h5", *RUN, "--batch-size", "4", "--steps", "1", *more]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)

    for more, said in (((), "learning rate"), ((), "up to date"), (("--restart",), "learning rate")):
        done = run(*more)
        assert done.returncode == 0 and done.stderr.count(said) == 1 and done.stdout.count("pairs per step") == 1, done
        assert not (tmp_path / "e.h5.partial").exists()
    other = run("--batch-size", "6")
    assert other.returncode == 1 and other.stderr.count("made with batch_size 4 instead of 6") == 1 and not other.stdout
    done = run("--batch-size", "6", "--force")
    assert done.returncode == 0 and done.stdout.count("pairs per step") == 1, done.stderr
