"""Shared by all tests: where the samples are, and the handtool command run as a user runs it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import handtool as package

HERE = Path(__file__).resolve().parent


def find_samples() -> Path | None:
    named = os.environ.get("HANDTOOL_TEST_DATA")
    beside = HERE.parents[1] / "shared" / "data"
    return Path(named) if named else beside if beside.is_dir() else None


@pytest.fixture(scope="session")
def samples() -> Path:
    """The folder of sample videos, images and reference figures; skips where there is none."""
    folder = find_samples()
    if folder is None or not folder.is_dir():
        pytest.skip("no sample data: set HANDTOOL_TEST_DATA to its folder")
    return folder


@pytest.fixture
def handtool(tmp_path):
    """`handtool("mine", "e.h5", "-o", "p.h5")` in an empty folder -> CompletedProcess with text; `stdin=bytes` for a pipe."""

    def run(
        *args,
        stdin: bytes | None = None,
        cwd: Path = tmp_path,
        env: dict | None = None,
        binary: bool = False,
        timeout: float = 300,
    ):
        environment = {
            **os.environ,
            "PYTHONPATH": str(Path(package.__file__).parents[1]),
            "NO_COLOR": "1",
            "COLUMNS": "200",
            **(env or {}),
        }
        given = {"stdin": subprocess.DEVNULL} if stdin is None else {"input": stdin}
        done = subprocess.run(
            [sys.executable, "-m", "handtool", *map(str, args)],
            capture_output=True,
            cwd=cwd,
            env=environment,
            timeout=timeout,
            **given,
        )
        if not binary:
            done.stdout = done.stdout.decode()
        done.stderr = done.stderr.decode()
        return done

    return run
