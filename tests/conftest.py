"""Shared by all tests: where the samples are, and the handtool command run as a user runs it."""

import contextlib
import functools
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import warm

# Before numpy and torch are imported: tests run side by side, and idle threads of OpenMP spin.
os.environ.setdefault("OMP_NUM_THREADS", "1")
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


@pytest.fixture(scope="session")
def environment() -> dict[str, str]:
    """Of every command that a test runs: the package under test, no colours, room for long lines."""
    from running import package_environment

    return package_environment(NO_COLOR="1", COLUMNS="200")


@pytest.fixture(scope="session")
def warm_server(environment):
    """-> the server, started when it is first asked for. Its folder is not pytest's: the path of a socket has 107
    characters at most."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as opened:
        yield functools.cache(lambda: opened.enter_context(contextlib.closing(warm.Server(Path(folder), environment))))


@pytest.fixture
def handtool(tmp_path, warm_server, environment):
    """`handtool("mine", "e.h5", "-o", "p.h5")` in an empty folder -> CompletedProcess with text; `stdin=bytes` for a
    pipe.

    Commands that need torch run in a fork of a process that has loaded it (warm.py); `fresh`: in an interpreter of
    their own, like the others.
    """

    def run(
        *args,
        stdin: bytes | None = None,
        cwd: Path = tmp_path,
        env: dict | None = None,
        binary: bool = False,
        timeout: float = 300,
        fresh: bool = False,
    ):
        given = {"stdin": subprocess.DEVNULL} if stdin is None else {"input": stdin}
        needs_torch = not warm.TORCH_WORDS.isdisjoint(map(str, args)) and "--help" not in args
        command = warm_server().command if needs_torch and not fresh else [sys.executable, "-m", "handtool"]
        done = subprocess.run(
            [*command, *map(str, args)],
            capture_output=True,
            cwd=cwd,
            env={**environment, **(env or {})},
            timeout=timeout,
            **given,
        )
        if not binary:
            done.stdout = done.stdout.decode()
        done.stderr = done.stderr.decode()
        return done

    return run
