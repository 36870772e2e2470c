"""handtool check: is a file whole?"""

import contextlib

import typer

from handtool.cli import state
from handtool.cli.effects import COMMON, always
from handtool.cli.options import Moved, Sources, option
from handtool.cli.printing import print_report
from handtool.cli.runner import bars

EFFECTS = COMMON | always("deep")


def check(
    sources: Sources = None,
    deep: option(bool, "--deep", "Read every byte and compare every checksum, also of linked files.") = False,
    moved: Moved = None,
) -> None:
    """Check files: structure and links, or every byte with --deep. Exit 0: all sound; 3: damaged; 1: missing.

    Example: handtool check --deep *.h5
    """
    from handtool.stages.check import check as stage
    from handtool.store import file, receive

    file.relocated[:] = state.moved or []
    with contextlib.ExitStack() as stack:
        progress, results = bars(stack), []
        for name in sources or ["-"]:
            path, spooled = receive() if name == "-" else (name, False)
            if spooled:
                stack.callback(path.unlink, missing_ok=True)
            results.append(stage(path, deep, progress, spooled) | {"path": name})
    print_report({"files": results}, None, table=lay_out_check)
    raise typer.Exit(max(result["exit_code"] for result in results))


def lay_out_check(report: dict) -> list[str]:
    lines = []
    for result in report["files"]:
        lines.append(f"{result['path']}: {'ok' if result['sound'] else 'NOT SOUND'}")
        lines += [f"  {fault}" for fault in result["faults"]]
    return lines
