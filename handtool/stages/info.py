"""info: what is in a file, which file each table lies in, and the commands that made it."""

from collections.abc import Callable
from functools import partial

import numpy as np

from handtool.errors import HandtoolError
from handtool.store import METRIC_ARRAYS, File, open_jpegs, read_attrs, read_column, rebuild_commands
from handtool.store.schema import CROPS, TABLES, VIDEOS

LONGEST_ARRAY = 16


def info(source: File) -> dict:
    """Tables with their rows, attributes and owner, the last accounting, and the commands that rebuild the file.

    If a linked file is gone or is another one, `missing` lists it; the rest is reported all the same.
    """
    last = source.provenance[-1]
    made_by = f"{last['program']} {last['version']} at {last['started']} in {last['seconds']:.1f} s"
    report: dict = {"path": str(source.path), "uuid": source.uuid, "made_by": made_by}
    report["tables"] = describe_tables(source)
    if source.has("weights"):
        report["weights"] = describe_attrs(read_attrs(source, "weights"))
    if source.has("metrics"):
        report["protocols"] = [name for name in source.h5["metrics"] if name not in METRIC_ARRAYS]
    if {"videos", "crops"} <= {name for name, table in report["tables"].items() if table["rows"] is not None}:
        report["hands_per_video"] = count_per_video(source)
    if missing := find_missing(source):
        report["missing"] = missing
    report["commands"] = commands(source)
    report["last_report"] = source.report
    return report


def commands(source: File) -> list[str]:
    """The shell commands that make the file again; linked files may be missing."""
    return rebuild_commands(source.provenance, None if source.carried else str(source.path))


def describe_tables(source: File) -> dict:
    """For a table in a file that cannot be opened, rows is None; its place is reported."""
    tables: dict[str, dict] = {}
    for name in source.tables:
        try:
            owner = source.owner(name)
        except HandtoolError:
            tables[name] = {"rows": None, "lies_in": str(source.place_of(name)), "attrs": {}, "columns": {}}
            continue
        where = {"rows": source.count(TABLES[name]), "lies_in": "here" if owner is source else str(owner.path)}
        columns = {key: f"{item.dtype} {item.shape}" for key, item in owner.h5[name].items()}
        tables[name] = where | {"attrs": describe_attrs(read_attrs(source, name)), "columns": columns}
    return tables


def find_missing(source: File) -> list[dict]:
    """Why tables and images in other files cannot be read: one error for each file."""
    checks: dict[object, Callable[[], object]] = {
        source.place_of(name): partial(source.owner, name) for name in source.links
    }
    if source.has(CROPS):
        checks["images"] = partial(open_jpegs, source)
    errors: list[HandtoolError] = []
    for check in checks.values():
        try:
            check()
        except HandtoolError as error:
            errors.append(error)
    # reversed: an error of a table replaces the same one of the images, which come last
    unique = {error.hint: error for error in reversed(errors)}
    return [{"what": error.message, "hint": error.hint} for error in reversed(unique.values())]


def describe_attrs(attrs: dict) -> dict:
    """Attributes as they are; an array too long to read, as its shape."""
    return {
        key: f"array {value.shape}" if isinstance(value, np.ndarray) and value.size > LONGEST_ARRAY else value
        for key, value in sorted(attrs.items())
    }


def count_per_video(source: File) -> dict:
    names, video = read_column(source, VIDEOS.name), read_column(source, CROPS.video)
    counts = np.bincount(video, minlength=len(names))
    median = float(np.median(counts)) if len(counts) else 0.0
    return {"videos": len(names), "without_hands": int((counts == 0).sum()), "median": median}
