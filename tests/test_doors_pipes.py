"""`-` on both sides: the tables that come through a pipe are the tables that come through files."""

import json

import numpy as np
import pytest
from making import make_file

from handtool import store
from handtool.store import TABLES

SMALL = ["--gpus", "0", "--init", "scratch", "--arch", "resnet18", "--input-size", "32", "--batch-size", "8", "--workers", "1", "--steps", "2"]


def tables_of(path) -> dict[str, np.ndarray]:
    """Every column that a file owns or links to, crops as bytes."""
    with store.open_file(path) as file:
        names = [c for name in file.tables for c in TABLES[name].columns if file.has(c) and c.name != "seconds"]
        return {c.path: store.read_column(file, c) for c in names}


def assert_same_tables(one, other) -> None:
    first, second = tables_of(one), tables_of(other)
    assert first.keys() == second.keys()
    for path, values in first.items():
        assert np.array_equal(values, second[path], equal_nan=values.dtype.kind == "f"), path


@pytest.fixture
def chain(handtool, tmp_path):
    """crops -> keypoints -> embeddings -> pairs by files."""
    make_file(tmp_path / "crops.h5", (12, 12, 8), ("labels",))
    for command, source, output, *more in (
        ("keypoints", "crops", "keypoints"), ("embed", "keypoints", "embeddings"), ("mine", "embeddings", "pairs", "--threads", "1"),
    ):  # fmt: skip
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


def test_training_and_scoring_read_a_pipe_too(handtool, chain):
    pairs = handtool("embed", "keypoints.h5", binary=True).stdout
    pairs = handtool("mine", "--threads", "1", stdin=pairs, binary=True).stdout
    done = handtool("pretrain", "-", *SMALL, "-o", "encoder.h5", stdin=pairs)
    assert done.returncode == 0, done.stderr
    crops = (chain / "crops.h5").read_bytes()
    done = handtool("finetune", *SMALL, "-o", "pose.h5", stdin=crops)
    assert done.returncode == 0, done.stderr
    done = handtool("eval", "--model", "pose.h5", "--json", stdin=crops)
    assert done.returncode == 0 and json.loads(done.stdout)["report"], done.stderr
