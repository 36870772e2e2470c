"""--shard: said outright, or by the cluster's variables; never guessed."""

import pytest

from handtool.cli.shard import read_shard
from handtool.errors import WrongCommand


def slurm(task: int, first: int, last: int, step: int = 1, count: int | None = None) -> dict[str, str]:
    count = count if count is not None else (last - first) // step + 1
    values = {"ID": task, "MIN": first, "MAX": last, "STEP": step, "COUNT": count}
    return {f"SLURM_ARRAY_TASK_{name}": str(value) for name, value in values.items()}


RANK, POD = {"RANK": "3", "WORLD_SIZE": "4"}, {"JOB_COMPLETION_INDEX": "0"}


@pytest.mark.parametrize(
    "text, environment, expected",
    [
        (None, RANK, None),
        ("2/8", RANK, "2/8"),
        ("02/8", {}, "2/8"),
        ("auto", RANK, "4/4"),
        ("auto/4", RANK, "4/4"),
        ("auto/8", POD, "1/8"),
        ("auto", slurm(1, 1, 16), "1/16"),
        ("auto", slurm(15, 0, 15), "16/16"),
        ("auto", slurm(6, 0, 14, 2), "4/8"),
        ("auto/16", slurm(103, 100, 115), "4/16"),
        ("auto", {**RANK, **POD, **slurm(2, 1, 3)}, "2/3"),
        ("auto/2", {**RANK, **POD}, "1/2"),
    ],
)
def test_a_shard_is_what_was_said_or_what_the_cluster_says(text, environment, expected):
    assert read_shard(text, environment) == expected


@pytest.mark.parametrize(
    "text, environment, message",
    [
        ("0/8", {}, "no shard 0 of 8"),
        ("9/8", {}, "no shard 9 of 8"),
        ("1/0", {}, "no shard 1 of 0"),
        ("1:8", {}, "not a shard"),
        ("auto", {}, "none of SLURM_ARRAY_TASK_ID"),
        ("auto", {"RANK": "1"}, "none of"),
        ("auto", POD, "not of how many"),
        ("auto/8", {"JOB_COMPLETION_INDEX": "8"}, "no shard 9 of 8"),
        ("auto/8", RANK, "WORLD_SIZE is 4"),
        ("auto", slurm(3, 3, 3), "part of a larger one"),
        ("auto", slurm(3, 1, 7, count=3), "part of a larger one"),
        ("auto/16", slurm(1, 1, 4), "part of a larger one"),
    ],
)
def test_what_does_not_tell_the_shard_is_refused_with_the_way_to_say_it(text, environment, message):
    """A few tasks of an array that are run again do not know that array: guessing would make other shards."""
    with pytest.raises(WrongCommand, match=message) as caught:
        read_shard(text, environment)
    assert caught.value.hint
