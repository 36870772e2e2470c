"""handtool split: training, validation and test."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from handtool.cli import state
from handtool.cli.effects import COMMON, always, only
from handtool.cli.options import OUTPUT, Force, Moved, Seed, Source, option
from handtool.cli.printing import print_report
from handtool.cli.runner import run_stage
from handtool.config import SplitConfig
from handtool.errors import WrongCommand

EFFECTS = (
    COMMON
    | always("outputs", "by", "shares", "in_order")
    | only("seed", lambda v: not v.in_order, "with --in-order, which draws nothing at random")
)


def split(
    source: Source = "-",
    shares: option(str, "--shares N,N…", "Parts of the hands, one for each output.") = ",".join(
        f"{share:g}" for share in SplitConfig.shares
    ),
    by: option(Literal["video", "subject", "row"], "--by", "Hands that are never divided.") = SplitConfig.by,
    seed: Seed = SplitConfig.seed,
    in_order: option(
        bool, "--in-order", "Give the first hands to the first output, instead of drawing them."
    ) = SplitConfig.in_order,
    outputs: option(
        list[str] | None, "-o --output FILE", "A file to write, one for each share, in their order.", OUTPUT
    ) = None,
    moved: Moved = None,
    force: Force = False,
) -> None:
    """Divide hands into files that share no video (or subject, or hand).

    Pairs are not carried over: mine again in the training part.

    Example: handtool split labelled.h5 --by video --shares 80,20 -o train.h5 -o test.h5
    """
    from handtool.stages.split import split as stage

    numbers = read_shares(shares)
    check_outputs(outputs or [], numbers, shares)
    reports = {}
    with named_source(source) as path:
        # Existing outputs come first: if one is of another split, nothing is written, so parts of two splits never mix.
        for part in sorted(range(len(outputs)), key=lambda part: not Path(outputs[part]).exists()):
            config = SplitConfig(by, numbers, part, in_order, seed)
            reports[part] = run_stage(stage, [path], outputs[part], config, force=force, table=None)
    parts = [{"output": output} | reports[part] for part, output in enumerate(outputs)]
    print_report({"parts": parts}, None, table=lay_out_parts)


@contextlib.contextmanager
def named_source(source: str) -> Iterator[str]:
    """A path that can be opened once per part: standard input is kept in a file as long as that takes."""
    if source != "-":
        yield source
        return
    from handtool.store import pipes

    path, spooled = pipes.receive()
    state.spool, state.redirected = (path, None) if spooled else (None, path)
    try:
        yield str(path)
    finally:
        if spooled:
            path.unlink(missing_ok=True)


def read_shares(text: str) -> tuple[float, ...]:
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if not numbers or not all(0 < number < float("inf") for number in numbers):
        raise WrongCommand(f"--shares {text} is not a list of positive numbers", hint="--shares 80,20")
    return numbers


def check_outputs(outputs: list[str], numbers: tuple[float, ...], text: str) -> None:
    if len(outputs) != len(numbers) or len(outputs) < 2:
        hint = " ".join(f"-o part{i + 1}.h5" for i in range(max(len(numbers), 2)))
        raise WrongCommand(f"--shares {text} makes {len(numbers)} parts, {len(outputs)} outputs were named", hint=hint)
    if "-" in outputs:
        raise WrongCommand("several parts cannot go to standard output", hint="name each: -o train.h5 -o test.h5")
    if len({Path(output).resolve() for output in outputs}) < len(outputs):
        raise WrongCommand(f"two parts cannot have one name ({', '.join(outputs)})")


def lay_out_parts(report: dict) -> list[str]:
    lines = []
    for part in report["parts"]:
        hands = f"{part['accounting'][0]['done']:,} hands ({part['share']:.1%})"
        told = f"{hands} of {part['videos']:,} videos, {part['units']:,} by {part['by']}"
        lines.append(f"{part['output']}: {told}")
    left_out = report["parts"][0].get("left_out", [])
    if left_out:
        why = " (pairs would point into other parts: mine again)" if "pairs" in left_out else ""
        lines.append(f"left out: {', '.join(left_out)}{why}")
    return lines
