"""`-` on both sides: the tables that come through a pipe are the tables that come through files."""

import shlex
import subprocess
import sys

import cv2
import numpy as np
import pytest
from comparing import assert_same_tables
from making import make_file

from handtool import store
from handtool.store import CURVE, KEYPOINTS

SMALL = [
    "--gpus",
    "0",
    "--init",
    "scratch",
    "--arch",
    "resnet18",
    "--input-size",
    "32",
    "--batch-size",
    "8",
    "--workers",
    "1",
    "--steps",
    "2",
]


@pytest.fixture
def chain(handtool, tmp_path):
    """crops -> keypoints -> embeddings -> pairs by files."""
    make_file(tmp_path / "crops.h5", (12, 12, 8), ("labels",))
    for command, source, output, *more in (
        ("keypoints", "crops", "keypoints"),
        ("embed", "keypoints", "embeddings"),
        ("mine", "embeddings", "pairs", "--threads", "1"),
    ):
        done = handtool(command, f"{source}.h5", *more, "-o", f"{output}.h5")
        assert done.returncode == 0, done.stderr
    return tmp_path


@pytest.mark.parametrize(
    ("before", "command", "output"),
    [
        (None, ["keypoints"], "keypoints"),
        (["keypoints", "crops.h5"], ["embed"], "embeddings"),
        (["embed", "keypoints.h5"], ["mine", "--threads", "1"], "pairs"),
    ],
)
def test_a_stage_gives_the_same_tables_by_pipe(handtool, chain, before, command, output):
    data = handtool(*before, binary=True).stdout if before else (chain / "crops.h5").read_bytes()
    done = handtool(*command, "-", "-o", "-", stdin=data, binary=True)
    assert done.returncode == 0, done.stderr
    (chain / "piped.h5").write_bytes(done.stdout)
    assert_same_tables(chain / "piped.h5", chain / f"{output}.h5")


def test_three_stages_joined_by_pipes_carry_everything_and_give_the_chains_tables(handtool, chain):
    data = (chain / "crops.h5").read_bytes()
    for command in (["keypoints"], ["embed"], ["mine", "--threads", "1"]):
        done = handtool(*command, stdin=data, binary=True)
        assert done.returncode == 0, done.stderr
        data = done.stdout
    (chain / "piped.h5").write_bytes(data)
    (chain / "crops.h5").rename(chain / "gone.h5")
    with store.open_file(chain / "piped.h5") as file:
        assert file.links == {}
    (chain / "gone.h5").rename(chain / "crops.h5")
    assert_same_tables(chain / "piped.h5", chain / "pairs.h5")


def weights_of(path) -> dict[str, np.ndarray]:
    with store.open_file(path) as file:
        return {**store.read_weights(file)[0], "loss": store.read_column(file, CURVE.loss)}


@pytest.mark.parametrize(("command", "source"), [("pretrain", "pairs.h5"), ("finetune", "crops.h5")])
def test_training_through_pipes_gives_the_weights_of_training_by_files(handtool, chain, command, source):
    small = [*SMALL, *(["--head", "regression"] if command == "finetune" else [])]
    by_file = handtool(command, source, *small, "-o", "file.h5", fresh=command == "finetune")
    assert by_file.returncode == 0, by_file.stderr
    data = (chain / "crops.h5").read_bytes()
    if command == "pretrain":  # embeddings and pairs as they come through pipes
        data = handtool(
            "mine", "--threads", "1", stdin=handtool("embed", "keypoints.h5", binary=True).stdout, binary=True
        ).stdout
    done = handtool(command, "-", *small, "-o", "-", stdin=data, binary=True)
    assert done.returncode == 0, done.stderr
    (chain / "pipe.h5").write_bytes(done.stdout)
    one, other = weights_of(chain / "file.h5"), weights_of(chain / "pipe.h5")
    assert one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)


def test_predictions_and_scores_through_pipes_are_those_of_files(handtool, chain):
    assert handtool("finetune", "crops.h5", *SMALL, "-o", "pose.h5").returncode == 0
    crops = (chain / "crops.h5").read_bytes()
    for command in ("predict", "eval"):
        assert (
            handtool(
                command, "crops.h5", "--model", "pose.h5", "-o", f"{command}.h5", fresh=command == "predict"
            ).returncode
            == 0
        )
        done = handtool(command, "-", "--model", "pose.h5", "-o", "-", stdin=crops, binary=True)
        assert done.returncode == 0, done.stderr
        (chain / "pipe.h5").write_bytes(done.stdout)
        assert_same_tables(chain / "pipe.h5", chain / f"{command}.h5")
    with store.open_file(chain / "pipe.h5") as one, store.open_file(chain / "eval.h5") as other:
        first, second = store.read_metrics(one), store.read_metrics(other)
        assert first["mpjpe"]["mean_mm"] == second["mpjpe"]["mean_mm"] > 0


def test_extract_streams_the_tables_of_its_file(handtool, tmp_path):
    rng = np.random.default_rng(0)
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        for number in range(3):
            cv2.imwrite(str(tmp_path / folder / f"{number}.jpg"), rng.integers(0, 255, (80, 60, 3), np.uint8))
    command = ["extract", "one", "two", "--whole", "--size", "64", "--workers", "1"]
    assert handtool(*command, "-o", "file.h5").returncode == 0
    (tmp_path / "pipe.h5").write_bytes(handtool(*command, "-o", "-", binary=True).stdout)
    assert_same_tables(tmp_path / "pipe.h5", tmp_path / "file.h5")
    assert not list(tmp_path.glob("*.partial"))


def shell(line: str, folder, environment) -> subprocess.CompletedProcess:
    line = line.replace("handtool", f"{shlex.quote(sys.executable)} -m handtool")
    return subprocess.run(["sh", "-c", line], cwd=folder, env=environment, capture_output=True, text=True)


def test_a_closed_standard_stream_costs_only_what_would_have_been_said_there(tmp_path, environment):
    """Daemons, cron and some batch systems start programs without them."""
    make_file(tmp_path / "crops.h5", (2,), ("labels",))
    for number, closed in enumerate((">&-", "2>&-", ">&- 2>&- <&-")):
        done = shell(f"handtool keypoints crops.h5 -o {number}.h5 {closed}", tmp_path, environment)
        assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
        with store.open_file(tmp_path / f"{number}.h5") as file:
            assert file.has(KEYPOINTS.xy)
    for line in ("handtool keypoints crops.h5 >&-", "handtool export crops.h5 --table labels --format csv >&-"):
        done = shell(line, tmp_path, environment)
        assert done.returncode == 1 and "standard output is closed" in done.stderr, done.stderr
