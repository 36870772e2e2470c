"""The example scripts, run as a newcomer runs them: through pipes, in shards, on synthetic hands. On real video:
test_real_video.py."""

import importlib.util
import itertools
import os
import subprocess
import sys
from pathlib import Path

import footage
import numpy as np
import pytest
from comparing import assert_same_tables
from footage import make_video
from making import make_file, make_result, record, write_crops, write_labels, write_videos
from running import read_tables, same_tables

from handtool import store
from handtool.config import ExtractConfig, KeypointsConfig
from handtool.stages.extract import extract
from handtool.stages.keypoints import keypoints

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def test_the_quickstart_ends_in_a_table_and_pictures(tmp_path, run_script):
    small = {
        "HANDTOOL": "handtool",
        "PYTHON": sys.executable,
        "VIDEOS": "4",
        "FRAMES": "3",
        "STEPS": "2",
        "EPOCHS": "1",
    }
    said = run_script("quickstart.sh", "out", folder=tmp_path, **small)
    made = {path.name for path in (tmp_path / "out").iterdir()}
    assert {
        "labels.png",
        "pairs.png",
        "embeddings.png",
        "pretraining.png",
        "predictions.png",
        "scores.png",
        "predictions.mp4",
        "report.html",
    } < made
    assert (
        "always" in said
        and "the model" in said
        and "real_video.sh" in said
        and not list((tmp_path / "out").glob("*.partial"))
    )


def test_the_mean_pose_makes_no_error_where_all_hands_are_one_and_some_elsewhere(tmp_path):
    sys.path.insert(0, str(EXAMPLES))
    from mean_pose import predict_mean

    rng = np.random.default_rng(4)
    hand = rng.normal(0, 0.03, (21, 3))
    for name, noise in (("same", 0.0), ("others", 0.02)):
        side, size = rng.integers(0, 2, 8), rng.uniform(0.8, 1.2, 8)
        joints = size[:, None, None] * (hand + noise * rng.normal(size=(8, 21, 3)))
        joints = np.where((side == 0)[:, None, None], joints * [-1, 1, 1], joints) + rng.normal(size=(8, 1, 3))
        with store.create_file(tmp_path / f"{name}.h5", record()) as sink:
            write_videos(sink, 1)
            known = {"joints": joints, "xy": np.zeros((8, 21, 2)), "camera": np.tile(np.eye(3), (8, 1, 1))}
            write_crops(sink, np.zeros(8, int), side, known, rng)
            write_labels(sink, known)
            sink.finish({})
    assert predict_mean(tmp_path / "same.h5", tmp_path / "same.h5")["mpjpe_root"]["mean_mm"] < 1e-3
    assert predict_mean(tmp_path / "same.h5", tmp_path / "others.h5")["mpjpe_root"]["mean_mm"] > 5


def test_the_piped_example_gives_the_tables_of_the_chain(handtool, tmp_path, run_script):
    make_file(tmp_path / "crops.h5", (12, 12, 8), ("labels",))
    run_script("piped.sh", "crops.h5", "piped", folder=tmp_path)
    for command, source, output in (("keypoints", "crops", "k"), ("embed", "k", "e"), ("mine", "e", "pairs")):
        assert handtool(command, f"{source}.h5", "-o", f"{output}.h5").returncode == 0
    assert_same_tables(tmp_path / "piped" / "pairs.h5", tmp_path / "pairs.h5")
    lines = handtool("info", "piped/pairs.h5", "--commands").stdout.splitlines()
    assert lines[1:] == ["handtool keypoints crops.h5 | handtool embed | handtool mine --topk 5 -o piped/pairs.h5"]


SBATCH = """#!/bin/bash
# runs at once what SLURM would run later
array="" wrap=""
while [[ $1 == --* ]]; do
  case $1 in
    --array=1-*) array=${1#--array=1-} ;;
    --wrap=*) wrap=${1#--wrap=} ;;
    --dependency=*) [[ $1 == *afterok:7 ]] || exit 9 ;;
  esac
  shift
done
[[ -n $wrap ]] && { sh -c "$wrap" >&2; exit; }
for task in $(seq "$array"); do
  export SLURM_ARRAY_TASK_ID=$task SLURM_ARRAY_TASK_MIN=1 SLURM_ARRAY_TASK_MAX=$array
  export SLURM_ARRAY_TASK_STEP=1 SLURM_ARRAY_TASK_COUNT=$array
  bash "$@" >&2 || exit
done
echo "7;cluster"
"""
PARALLEL = """#!/bin/bash
# one after the other: {} in every argument is the job's
command=()
while [[ $1 == --* ]]; do case $1 in --jobs | --joblog) shift ;; esac; shift; done
while [[ $1 != ::: ]]; do command+=("$1"); shift; done
shift
for job in "$@"; do "${command[@]//\\{\\}/$job}" || exit; done
"""


def make_three_videos(tmp_path: Path) -> tuple[Path, Path]:
    """Five hands in three videos, and their crops as one run makes them."""
    folder = tmp_path / "my videos"
    folder.mkdir()
    for number, frames in enumerate((30, 60, 31)):
        make_video(folder / f"{number}.mp4", frames=frames)
    config = ExtractConfig(whole=True, workers=1)
    footage.run_stage(extract, [folder], tmp_path / "single.h5", config)
    return folder, tmp_path / "single.h5"


def estimate(crops: Path) -> tuple[str, Path]:
    """Options of keypoints, and what one run makes of the crops by them."""
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: pip install 'handtool[onnx]'")
    from onnx_models import make_onnx

    model, single = make_onnx(crops.parent / "points.onnx", "regression"), crops.parent / "single-keypoints.h5"
    config = KeypointsConfig("onnx", min_score=0.0, workers=1)
    footage.run_stage(keypoints, crops, single, config, model=model)
    return f"--estimator {model} --min-score 0", single


def add_command(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / "commands").mkdir(exist_ok=True)
    (tmp_path / "commands" / name).write_text(text)
    (tmp_path / "commands" / name).chmod(0o755)


def test_shards_in_parallel_are_the_single_run(tmp_path, run_script):
    """With a stand-in for GNU parallel, which starts the same commands one after the other."""
    folder, single = make_three_videos(tmp_path)
    add_command(tmp_path, "parallel", PARALLEL)
    said = run_script("parallel.sh", folder, "the out", "--whole", folder=tmp_path, SHARDS="2")
    assert "hands: 5 in = 5 done" in said and "missing" not in said
    assert same_tables(read_tables(single), read_tables(tmp_path / "the out" / "crops.h5"))
    again = run_script("parallel.sh", folder, "the out", "--whole", folder=tmp_path, SHARDS="2")
    assert again.count("is up to date") == 3


def test_shards_on_slurm_are_the_single_run(tmp_path, run_script):
    """With a stand-in for the scheduler, which starts the same commands one after the other."""
    folder, single = make_three_videos(tmp_path)
    options, single = estimate(single)
    add_command(tmp_path, "sbatch", SBATCH)
    how = {"folder": tmp_path, "SHARDS": "2", "KEYPOINTS": options}
    said = run_script("slurm_array.sh", folder, "the out", "--whole", **how)
    assert "hands: 5 in = 5 done" in said and "missing" not in said
    assert same_tables(read_tables(single), read_tables(tmp_path / "the out" / "keypoints.h5"))
    assert run_script("slurm_array.sh", folder, "the out", "--whole", **how).count("is up to date") == 5


def test_a_ray_cluster_is_started_on_the_nodes_and_stopped_at_the_end(tmp_path):
    """With stand-ins that only say what they are asked."""
    for name in ("ray", "ssh", "handtool"):
        add_command(tmp_path, name, f'#!/bin/sh\necho "{name} $* @${{RAY_ADDRESS#*:}}" >> "$LOG"\n')
    (tmp_path / "nodes").write_text("one\ntwo\n")
    (tmp_path / "videos").mkdir()
    path = f"{tmp_path}/commands:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "LOG": str(tmp_path / "log"), "NODES": "nodes", "PORT": "7001"}
    environment.pop("RAY_ADDRESS", None)
    command = ["bash", EXAMPLES / "ray_cluster.sh", "videos", "out", "--whole"]
    subprocess.run(command, check=True, cwd=tmp_path, env=environment)
    said = (tmp_path / "log").read_text().splitlines()
    assert all(line.endswith("@7001") for line in said)
    assert [line.split(" --")[0].split(" @")[0].replace("umask", "|").split("|")[0].strip() for line in said] == [
        "ray get-auth-token",
        "ray start",
        "ssh one",
        "ssh two",
        f"handtool extract {tmp_path}/videos",
        f"handtool keypoints {tmp_path}/out/crops.h5",
        "ssh -n one ray stop",
        "ssh -n two ray stop",
        "ray stop",
    ]
    assert all("ray start --address=" in line for line in said if line.startswith("ssh ") and "-n" not in line)


JOB = {  # what batch/v1 knows of the fields that the example uses: others are refused, as by kubectl --validate=strict
    "": {"apiVersion": str, "kind": str, "metadata": dict, "spec": dict},
    "metadata": {"name": str},
    "spec": dict.fromkeys(("completions", "parallelism", "backoffLimitPerIndex", "maxFailedIndexes"), int)
    | {"completionMode": str, "template": dict},
    "spec.template": {"spec": dict},
    "spec.template.spec": {"restartPolicy": str, "terminationGracePeriodSeconds": int, "containers": list}
    | {"volumes": list},
    "spec.template.spec.containers": dict.fromkeys(("command", "args", "env", "volumeMounts"), list)
    | {"name": str, "image": str, "resources": dict},
    "spec.template.spec.containers.env": {"name": str, "valueFrom": dict},
    "spec.template.spec.containers.env.valueFrom": {"resourceFieldRef": dict},
    "spec.template.spec.containers.env.valueFrom.resourceFieldRef": {"resource": str},
    "spec.template.spec.containers.resources": {"requests": dict, "limits": dict},
    "spec.template.spec.containers.resources.requests": {"cpu": str, "memory": str},
    "spec.template.spec.containers.resources.limits": {"memory": str},
    "spec.template.spec.containers.volumeMounts": {"name": str, "mountPath": str},
    "spec.template.spec.volumes": {"name": str, "persistentVolumeClaim": dict},
    "spec.template.spec.volumes.persistentVolumeClaim": {"claimName": str},
}


def check_fields(values: dict, place: str = "") -> None:
    assert values.keys() == JOB[place].keys(), place
    for name, value in values.items():
        assert type(value) is JOB[place][name], f"{place}.{name}"
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, dict):
                check_fields(each, f"{place}.{name}".strip("."))


def test_the_kubernetes_job_is_one_and_its_shards_are_the_single_run(tmp_path, run_script):
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed: pip install 'handtool[datasets]'")
    job = yaml.safe_load((EXAMPLES / "kubernetes_job.yaml").read_text())
    check_fields(job)
    assert (job["apiVersion"], job["kind"]) == ("batch/v1", "Job")
    spec, pod = job["spec"], job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert spec["completionMode"] == "Indexed" and pod["restartPolicy"] == "Never", "a limit per index asks for both"
    assert spec["parallelism"] <= spec["completions"] and spec["maxFailedIndexes"] <= spec["completions"]
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
    (script,) = container["args"]
    assert f"auto/{spec['completions']} " in script and container["command"] == ["/bin/bash", "-euc"]
    folder, single = make_three_videos(tmp_path)
    options, single = estimate(single)
    script = script.replace("/data/videos", f"'{folder}'")
    script = script.replace(f"auto/{spec['completions']} ", "auto/2 --whole ").replace("/data", str(tmp_path))
    script = script.replace("handtool keypoints", f"handtool keypoints {options}")
    (tmp_path / "out").mkdir()
    (tmp_path / "pod.sh").write_text(f"set -eu\n{script}")
    for index in "01":
        run_script(tmp_path / "pod.sh", folder=tmp_path, JOB_COMPLETION_INDEX=index, WORKERS="1")
    (tmp_path / "join.sh").write_text("handtool cat out/keypoints-*.h5 -o joined.h5")
    run_script(tmp_path / "join.sh", folder=tmp_path)
    assert same_tables(read_tables(single), read_tables(tmp_path / "joined.h5"))


def study(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_gain_of_a_study_is_paired_by_video_and_seed():
    rng = np.random.default_rng(0)
    hard = rng.uniform(5, 50, 30) + rng.uniform(
        0, 20, (3, 1)
    )  # some videos are ten times as hard as others, some seeds worse
    percent, low, high = study("study_table").gain(0.9 * hard, hard)
    assert np.allclose((percent, low, high), 10), "the same share of every video: no doubt is left"
    noisy = hard * rng.normal(0.9, 0.03, hard.shape)
    percent, low, high = study("study_table").gain(noisy, hard)
    assert (
        low < percent < high and 5 < low and high < 15 and np.isclose(percent, 100 * (1 - noisy.mean() / hard.mean()))
    )


def test_a_study_compares_methods_that_took_the_same_time(monkeypatch, capsys, tmp_path):
    table, rng = study("study_table"), np.random.default_rng(2)
    hard = rng.uniform(10, 20, 40)

    def row(factor):
        each = {"each_pa": factor * hard, "each_root": factor**2 * hard, "video": np.arange(40) // 2, "auc": 0.5}
        return {seed: each | {"pa": each["each_pa"].mean(), "root": each["each_root"].mean()} for seed in (1, 2)}

    rows = {("peclr", "0.1", "100"): row(1), ("peclr", "0.1", "900"): row(0.9), ("ours", "0.1", "900"): row(0.72)}
    monkeypatch.setattr(table, "read_results", lambda folder, methods: rows)
    monkeypatch.setattr(sys, "argv", ["study_table", str(tmp_path), "peclr,ours", "peclr", "ours", "peclr"])
    table.main()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4 and [line.split()[1:3] for line in lines[1:]] == [
        ["100", "peclr"],
        ["900", "peclr"],
        ["900", "ours"],
    ]
    assert "+20.0 (+20.0 to +20.0) / +36.0 (+36.0 to +36.0)" in lines[3] and "-25.0 (" in lines[2]
    assert "(" not in lines[1].split("0.500")[1], "nothing took as long as this row"


def test_a_studys_probe_reads_poses_off_features(monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES)
    probe, rng = study("study_probe"), np.random.default_rng(1)
    poses = rng.normal(size=(200, 63))
    features, few = poses @ rng.normal(size=(63, 90)) + 5, slice(180, 200)
    assert (
        np.abs(probe.tuned_ridge(features[:180], poses[:180], features[few]) - poses[few]).max() < 0.05
    )  # they hold the pose
    loud = rng.normal(size=(200, 90))  # these hold nothing: no better than the mean hand, and little worse
    said, mean = probe.tuned_ridge(loud[:180], poses[:180], loud[few]), poses[:180].mean(0)
    assert 0.99 < np.square(said - poses[few]).sum() / np.square(mean - poses[few]).sum() < 1.2
    centred = features - features[:180].mean(0)
    for row, answer in zip(centred[few], probe.nearest(features[:180], poses[:180], features[few]), strict=True):
        cosines = [row @ other / np.linalg.norm(row) / np.linalg.norm(other) for other in centred[:180]]
        assert np.allclose(answer, poses[sorted(range(180), key=lambda other: -cosines[other])[:10]].mean(0))
    turn, bone = np.linalg.qr(rng.normal(size=(3, 3)))[0], rng.uniform(0.03, 0.05, 200)
    turned = (2 * poses.reshape(-1, 21, 3) @ turn).reshape(200, 63)
    pa, root = probe.errors_mm(turned, poses, bone)
    assert pa.max() < 1e-3 and np.allclose(
        root, [1000 * b * np.linalg.norm((t - p).reshape(21, 3), axis=1).mean() for b, t, p in zip(bone, turned, poses)]
    )


def test_the_gain_over_the_estimator_is_of_hands_that_both_know_in_blocks_of_one_film(monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES)
    table, rng = study("study_real_table"), np.random.default_rng(2)
    theirs = {"each_pa": rng.uniform(5, 20, 60), "video": np.zeros(60, int)}
    ours = {seed: {"each_pa": 0.8 * theirs["each_pa"], "video": theirs["video"]} for seed in (1, 2)}
    ours[1]["each_pa"][:5], theirs["each_pa"][55:] = np.nan, np.nan
    assert np.allclose(table.compare(ours, theirs), 20)
    noisy = {1: {"each_pa": rng.uniform(5, 20, 60), "video": theirs["video"]}}
    percent, low, high = table.compare(noisy, theirs)
    assert low < percent < high, "six blocks, though one film"
    several = table.in_blocks(
        {"each_pa": theirs["each_pa"], "video": np.arange(60) // 6}, np.isfinite(theirs["each_pa"])
    )
    assert several["video"].tolist() == (np.arange(55) // 6).tolist(), "ten films stay whole"


def test_the_table_of_real_hands_is_of_result_files(tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(EXAMPLES)
    for name in ("train", "test"):
        make_file(tmp_path / f"{name}.h5", (3, 3, 3, 3), ("labels",))
    for name, mm in {
        "mediapipe-0-1": 10,
        "scratch+own-30-1": 13,
        "scratch+own-30-2": 12,
        "correction-200-1": 8,
    }.items():
        make_result(tmp_path / f"result-{name}.h5", tmp_path / "test.h5", mm)
    study("study_real_table").main(tmp_path)
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [line[:2] for line in lines[2:]] == [["0", "mediapipe"], ["30", "scratch+own"], ["200", "correction"]]
    assert lines[2][3] == "10.00" and lines[3][6] == "12.50" and lines[3][7:10] == ["(12.00", "to", "13.00)"]
    assert 18 < float(lines[4][-4]) < 22 and float(lines[3][-4]) < -15 and len(lines[2]) == 4


def test_a_study_of_real_hands_needs_a_folder_and_labels():
    done = subprocess.run(["bash", EXAMPLES / "study_real.sh", "folder"], capture_output=True, text=True)
    assert done.returncode == 2 and "FOLDER LABELLED" in done.stdout


STUB = """#!/usr/bin/env bash
# notes the command and makes the file that it would make
echo "$*" >> "$LOG"
case $1 in *study_wrong.py) touch "$3" ;; esac
while [ $# -gt 0 ]; do case $1 in -o) touch "$2" ;; esac; shift; done
"""


def test_all_rows_of_a_study_take_the_same_time(tmp_path):
    stub = tmp_path / "stub"
    stub.write_text(STUB)
    stub.chmod(0o755)
    env = {**os.environ, "LOG": str(tmp_path / "log"), "HANDTOOL": str(stub), "PYTHON": str(stub)}
    done = subprocess.run(["bash", EXAMPLES / "study.sh", "small", tmp_path / "out"], env=env, capture_output=True)
    assert done.returncode == 0, done.stderr
    taken, rows = {"out": 0.0}, {}
    for words in map(str.split, (tmp_path / "log").read_text().splitlines()):
        given = dict(itertools.pairwise(words))
        if words[0] == "pretrain":
            taken[given["-o"]] = 3.5 * int(given["--steps"])
        elif words[0] == "finetune":
            steps = int(given["--steps"])
            encoder = (tmp_path / "out" / given.get("--encoder", "")).resolve()  # maybe a link to another row's
            rows[given["-o"].removeprefix("pose-")] = steps + taken[encoder.name], given
    for name, (total, given) in rows.items():
        method, fraction, budget, seed = name.removesuffix(".h5").rsplit("-", 3)
        assert fraction == given["--label-fraction"] and seed == given["--seed"]
        assert ("--pool" in given) == method.endswith("+pool") and ("--encoder" in given) == ("scratch" not in method)
        assert abs(total - int(budget)) < 1 or method == "longer", name
        assert "--encoder" not in given or given["--encoder"].endswith(f"-{seed}.h5")
    several = {name.rsplit("-", 3)[0] for name in rows if name.endswith("-0.1-1000-3.h5")}
    assert {"scratch", "peclr", "simhand", "keypoints", "softhand", "oracle", "handtool+pool", "scratch+pool"} < several
    assert {"longer", "fresh-head", "temperature-.1", "wrong-handtool+pool", "depth-off+pool"} < {
        name.rsplit("-", 3)[0] for name in rows
    }
    assert not (tmp_path / "out" / "encoder-handtool-1.h5").samefile(tmp_path / "out" / "encoder-softhand-1.h5")
    assert (tmp_path / "out" / "encoder-handtool-1.h5").samefile(tmp_path / "out" / "encoder-keypoints-1.h5")


def test_a_study_has_a_scale():
    done = subprocess.run(["bash", EXAMPLES / "study.sh"], capture_output=True, text=True)
    assert done.returncode == 2 and "small|medium|large" in done.stdout and "pipefail" not in done.stdout
