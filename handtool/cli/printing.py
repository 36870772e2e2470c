"""What a person reads: one line for an error, a short table for a report; or JSON for a program."""

import contextlib
import io
import json
import logging
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from handtool.cli import state
from handtool.names import printable, printable_json


class Messages(io.TextIOWrapper):
    """Standard error. What cannot be written there (a full disk, a reader that is gone) is lost, and the work goes
    on."""

    def __init__(self, before: Any) -> None:
        super().__init__(before.buffer, before.encoding, "backslashreplace", line_buffering=True)
        self.before = before  # it would close the buffer when it goes

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError):
            super().write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            super().flush()


class Handler(logging.StreamHandler):
    """Log lines as `handtool mine: …`, above a progress bar if there is one."""

    console = None  # the bars' console while they stand

    def emit(self, record: logging.LogRecord) -> None:
        line = printable(f"handtool {state.command}: {record.getMessage()}")
        if self.console is not None:
            self.console.print(line, markup=False, highlight=False, soft_wrap=True)
        else:
            print(line, file=sys.stderr, flush=True)


def start_logging() -> None:
    log = logging.getLogger("handtool")
    log.handlers[:] = [Handler()]
    log.propagate = False
    log.setLevel(logging.ERROR if state.quiet else logging.DEBUG if state.verbose else logging.INFO)


def say(message: str, hint: str | None = None) -> None:
    """One line on standard error, and a hint to paste."""
    if state.reports is not None:
        return logging.getLogger(__name__).warning("%s", message)
    name = "handtool" if state.command == "handtool" else f"handtool {state.command}"
    print(printable(f"{name}: {message}"), file=sys.stderr)
    if hint:
        print(printable(f"  hint: {hint}"), file=sys.stderr)
    sys.stderr.flush()


def lay_out(report: dict) -> list[str]:
    """Accounting lines first, then one figure a line."""
    lines = [accounting_line(item) for item in report.get("accounting", [])]
    figures = {k: v for k, v in report.items() if k != "accounting"}
    width = max([len(readable(k)) for k in figures], default=0)
    for key, value in figures.items():
        lines += [f"{'' if n else readable(key):<{width}}  {text}" for n, text in enumerate(value_lines(value))]
    return lines


def print_report(
    report: dict, target: Path | None, up_to_date: bool = False, table: Callable[[dict], list[str]] | None = lay_out
) -> dict:
    """To standard output, unless an HDF5 stream goes there; then to standard error. Returns the report.

    table: lays the report out as lines; None: the command itself prints it, with others.
    """
    if state.reports is not None:
        state.reports.append(report)
        return report
    stream = sys.stderr if state.streaming else sys.stdout
    if up_to_date and not state.quiet:
        say(f"{target} is up to date")
    if table and state.as_json:
        body = {"command": state.command, "output": str(target) if target else None, "up_to_date": up_to_date}
        body["report"] = clean(report)
        print(printable_json(json.dumps(body, ensure_ascii=False, indent=1)), file=stream)
    elif table and not (state.streaming and state.quiet):
        for line in table(report):
            print(printable(line), file=stream)
    stream.flush()
    return report


def clean(value: Any) -> Any:
    """JSON has no NaN: null stands for it."""
    if isinstance(value, dict):
        return {str(k): clean(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [clean(v) for v in value]
    if hasattr(value, "tolist"):
        return clean(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value


def lay_out_videos(report: dict) -> list[str]:
    """As `lay_out`; each video of a list is one line, its status at the end."""
    lists = {key: report[key] for key in ("per_video", "videos_not_read_whole") if key in report}
    if "per_video" in lists:
        lists.pop("videos_not_read_whole", None)  # they are among them
    lines = lay_out({key: value for key, value in report.items() if key not in ("per_video", "videos_not_read_whole")})
    for key, videos in lists.items():
        names = [name for name in videos[0] if name != "status"]
        cells = [[", ".join(value_lines(video[name])) for name in names] for video in videos]
        cells.insert(0, [readable(name) for name in names])
        widths = [max(map(len, column)) for column in zip(*cells)]
        ends = ["status"] + [video["status"] for video in videos]
        lines += ["", readable(key)]
        for row, end in zip(cells, ends):
            lines.append("  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:]), end]))
    return lines


def accounting_line(item: dict) -> str:
    skipped, failed = (reasons(item[kind]) for kind in ("skipped", "failed"))
    return f"{item['what']}: {item['in']:,} in = {item['done']:,} done + {skipped} skipped + {failed} failed"


def reasons(counts: dict[str, int]) -> str:
    listed = ", ".join(f"{reason}: {count:,}" for reason, count in counts.items())
    return f"{sum(counts.values()):,}" + (f" ({listed})" if listed else "")


def readable(key: str) -> str:
    return key.replace("_", " ")


def value_lines(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [f"{k}: {', '.join(value_lines(v))}" for k, v in value.items()] or ["-"]
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        if any(isinstance(v, (dict, str)) for v in value):
            return [", ".join(value_lines(v)) for v in value] or ["-"]
        return [" ".join(t for v in value for t in value_lines(v))]
    if isinstance(value, bool) or value is None:
        return ["-" if value is None else "yes" if value else "no"]
    if isinstance(value, int):
        return [f"{value:,}"]
    if isinstance(value, float):
        return [f"{value:.4g}" if abs(value) < 1e4 else f"{value:,.0f}"]
    return [printable(str(value))]
