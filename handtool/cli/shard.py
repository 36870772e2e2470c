"""Which shard of a run this process is: said outright, or told by the cluster that started it."""

import re
from collections.abc import Mapping

from handtool.errors import WrongCommand

FORMAT = "--shard 2/8 (the second of eight), --shard auto, or --shard auto/8"


def read_shard(text: str | None, environment: Mapping[str, str]) -> str | None:
    """ "2/8" from what `--shard` was given; None where it was not. `auto` asks the environment, `auto/8` also says of
    how many.

    A SLURM array, then a Kubernetes indexed job, then RANK and WORLD_SIZE. Raises WrongCommand where these do not tell.
    """
    if text is None:
        return None
    auto, said = re.fullmatch(r"auto(?:/(\d+))?", text), re.fullmatch(r"(\d+)/(\d+)", text)
    if auto:
        number, of = ask(environment, int(auto[1]) if auto[1] else None)
    elif said:
        number, of = int(said[1]), int(said[2])
    else:
        raise WrongCommand(f"--shard {text}: not a shard", hint=FORMAT)
    if not 1 <= number <= of:
        hint = "shards are counted from 1: 1/8 to 8/8"
        raise WrongCommand(f"--shard {text}: there is no shard {number} of {of}", hint=hint)
    return f"{number}/{of}"


def ask(environment: Mapping[str, str], of: int | None) -> tuple[int, int]:
    """(number from 1, of how many) by the cluster's variables."""
    if "SLURM_ARRAY_TASK_ID" in environment:
        names = ("ID", "MIN", "MAX", "STEP", "COUNT")
        return ask_slurm({name: int(environment.get(f"SLURM_ARRAY_TASK_{name}", -1)) for name in names}, of)
    if "JOB_COMPLETION_INDEX" in environment:
        if of is None:
            told = "--shard auto: Kubernetes tells the index of a pod, but not of how many"
            raise WrongCommand(told, hint="--shard auto/8, for completions: 8")
        return int(environment["JOB_COMPLETION_INDEX"]) + 1, of
    if "RANK" in environment and "WORLD_SIZE" in environment:
        count = int(environment["WORLD_SIZE"])
        if of not in (None, count):
            raise WrongCommand(f"--shard auto/{of}: WORLD_SIZE is {count}", hint="--shard auto")
        return int(environment["RANK"]) + 1, count
    raise WrongCommand(
        "--shard auto: none of SLURM_ARRAY_TASK_ID, JOB_COMPLETION_INDEX, RANK with WORLD_SIZE is set",
        hint=f"say which one: {FORMAT}",
    )


def ask_slurm(task: dict[str, int], of: int | None) -> tuple[int, int]:
    """Only a whole array tells (0-7, 1-8 or 0-14:2); a part of one, such as a few tasks run again, does not."""
    step = max(task["STEP"], 1)
    is_whole = task["COUNT"] == (task["MAX"] - task["MIN"]) // step + 1
    if not is_whole or (of != task["COUNT"] if of is not None else task["MIN"] not in (0, 1)):
        raise WrongCommand(
            f"--shard auto: this array has {task['COUNT']} tasks, {task['MIN']} to {task['MAX']}, "
            "which may be a part of a larger one",
            hint=f"say which one, counted from 1: --shard $SLURM_ARRAY_TASK_ID/{of or 'N'}",
        )
    return (task["ID"] - task["MIN"]) // step + 1, task["COUNT"]
