"""Runs a stage as `handtool.cli` does, without it. Files are fresh and our own, so they are opened as `trusted`."""

import os
from pathlib import Path

import numpy as np
from making import record

import handtool
from handtool import store


def package_environment(**more: str) -> dict[str, str]:
    """Of a command that a test starts: it finds the package under test."""
    return {**os.environ, "PYTHONPATH": str(Path(handtool.__file__).parents[1]), **more}


def run_stage(stage, sources: Path | list[Path], output: Path, config, **extra) -> dict:
    """Runs `stage(source or sources, sink, config, …)` into `output` and returns its report. `extra`: paths of
    further files."""
    paths = sources if isinstance(sources, list) else [sources]
    files = [store.open_file(path, trusted=True) for path in paths]
    others = {key: store.open_file(path, trusted=True) for key, path in extra.items()}
    try:
        with store.create_file(output, record(stage.__name__, **config.__dict__), [*files, *others.values()]) as sink:
            report = stage(files if isinstance(sources, list) else files[0], sink, config, **others)
            sink.finish(report)
    finally:
        for file in [*files, *others.values()]:
            file.close()
    return report


def read(path: Path, column, rows=None) -> np.ndarray:
    with store.open_file(path, trusted=True) as file:
        return store.read_column(file, column, rows)


def read_tables(path: Path) -> dict[str, np.ndarray]:
    """Every column of every table, linked ones too."""
    with store.open_file(path, trusted=True) as file:
        columns = [
            c
            for name in file.tables
            for c in store.TABLES[name].columns
            if file.has(c) and c.name not in ("jpeg", "jpeg_file", "jpeg_start")
        ]
        tables = {column.path: store.read_column(file, column) for column in columns}
        if file.has("crops"):
            jpegs = store.open_jpegs(file)
            tables["crops/jpeg"] = np.array([jpegs[row] for row in range(len(jpegs))], dtype=object)
    return tables


def same_tables(one: dict, other: dict, but: tuple[str, ...] = ()) -> bool:
    assert set(one) == set(other), set(one) ^ set(other)
    for name in set(one) - set(but):
        equal = np.array_equal(one[name], other[name], equal_nan=one[name].dtype.kind == "f")
        assert equal, name
    return True
