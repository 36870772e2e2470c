"""handtool doctor: is this machine ready?"""

import contextlib

import typer

from handtool.cli.effects import COMMON, always
from handtool.cli.options import option
from handtool.cli.printing import print_report
from handtool.cli.runner import bars
from handtool.errors import COULD_NOT

EFFECTS = COMMON | always("download")


def doctor(
    download: option(
        bool,
        "--download",
        "First fetch the file that MediaPipe 1.x needs, hand_landmarker.task (7.8 MB), into the cache: HANDTOOL_CACHE, "
        "else ~/.cache/handtool.",
    ) = False,
) -> None:
    """Check Python, torch, OpenCV, PyAV, hnswlib, MediaPipe, GPU and disk, and say what to do about what is missing.

    MediaPipe is shown a drawn hand, which it must find.

    Exit 0: ready; 1: something that is needed is missing.

    Example: handtool doctor
    """
    from handtool.stages.doctor import doctor as stage

    with contextlib.ExitStack() as stack:
        report = stage(bars(stack), fetch=download)
    print_report(report, None, table=lay_out_findings)
    raise typer.Exit(0 if report["ready"] else COULD_NOT)


def lay_out_findings(report: dict) -> list[str]:
    lines = [f"{'task file':<10} {report['task_file']}"] if "task_file" in report else []
    for finding in report["findings"]:
        optional = "" if finding["status"] == "ok" or finding["needed"] else " (optional)"
        lines.append(f"{finding['name']:<10} {finding['status']}{optional}: {finding['found']}")
        if finding["remedy"]:
            lines.append(f"{'':<10} -> {finding['remedy']}")
    return lines + ["ready" if report["ready"] else "NOT ready"]
