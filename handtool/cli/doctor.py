"""handtool doctor: is this machine ready?"""

import contextlib

import typer

from handtool.cli.effects import COMMON
from handtool.cli.printing import print_report
from handtool.cli.runner import bars
from handtool.errors import COULD_NOT

EFFECTS = COMMON


def doctor() -> None:
    """Check Python, torch, OpenCV, PyAV, hnswlib, MediaPipe, GPU and disk, and say what to do about what is missing.

    Exit 0: ready; 1: something that is needed is missing.

    Example: handtool doctor
    """
    from handtool.stages.doctor import doctor as stage

    with contextlib.ExitStack() as stack:
        report = stage(bars(stack))
    print_report(report, None, table=lay_out_findings)
    raise typer.Exit(0 if report["ready"] else COULD_NOT)


def lay_out_findings(report: dict) -> list[str]:
    lines = []
    for finding in report["findings"]:
        optional = "" if finding["status"] == "ok" or finding["needed"] else " (optional)"
        lines.append(f"{finding['name']:<10} {finding['status']}{optional}: {finding['found']}")
        if finding["remedy"]:
            lines.append(f"{'':<10} -> {finding['remedy']}")
    return lines + ["ready" if report["ready"] else "NOT ready"]
