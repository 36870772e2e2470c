"""Shared by all tests: where the samples are, and the handtool command run as a user runs it."""

import contextlib
import functools
import json
import multiprocessing
import os
import pickle
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable
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


@pytest.fixture(scope="session", autouse=True)
def workers_are_forked():
    """The worker processes of a stage are forks of a server that has loaded the libraries, not new interpreters, which
    take 1 s each. They get their work as those do (tests/engine starts those)."""
    from handtool.engine import local

    multiprocessing.set_forkserver_preload(["handtool.stages.extract", "handtool.stages.keypoints"])
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(local, "get_context", lambda _: multiprocessing.get_context("forkserver"))
        yield


@pytest.fixture
def in_this_process(monkeypatch):
    """`extract` reads in this process, where a test may have changed something."""
    from handtool.engine.local import run_here
    from handtool.extraction import label_checks, reading

    def run(engine, work, arguments, items, *settings, **more):
        return run_here(work, arguments, items)

    for part in (label_checks, reading):
        monkeypatch.setattr(part, "run_units", run)


@pytest.fixture(scope="session")
def warm_server(environment):
    """-> `warm_server(with_torch)` is the server, started when it is first asked for. Its folder is not pytest's: the
    path of a socket has 107 characters at most."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as opened:

        @functools.cache
        def start(with_torch: bool) -> warm.Server:
            return opened.enter_context(contextlib.closing(warm.Server(Path(folder), environment, with_torch)))

        yield start


FORKED = """
import json, pickle, sys
sys.path[:0] = {path!r}
from handtool.nn.training import launch as starting
launch, starting.START = starting.launch, "fork"
starting.launch = lambda *sent: launch(*pickle.loads(pickle.dumps(sent[:3])), *sent[3:])  # as new processes get it
function, arguments, settings = pickle.loads({call!r})
json.dump(function(*arguments, **settings), sys.stdout)
"""


@pytest.fixture(scope="session")
def run_forked(warm_server, environment):
    """`run_forked(function, ARGUMENTS…)` calls it in a fork of a process that has loaded the libraries -> its result,
    as JSON has it. The processes that it launches are forks too: a new one imports torch for 3 s."""

    def run(function: Callable, *arguments, **settings):
        code = FORKED.format(path=sys.path, call=pickle.dumps((function, arguments, settings)))
        command = [*warm_server(True).python, "-c", code]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


@pytest.fixture
def handtool(tmp_path, warm_server, environment):
    """`handtool("mine", "e.h5", "-o", "p.h5")` in an empty folder -> CompletedProcess with text; `stdin=bytes` for a
    pipe.

    Commands run in a fork of a process that has loaded the libraries (warm.py); `fresh`: in an interpreter of their
    own. That a command loads what it needs is seen there, in the example scripts and in test_commands.py.
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
        command = [sys.executable, "-m", "handtool"] if fresh else warm_server(needs_torch).command
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


SHIM = """#!/bin/sh
case " $* " in {patterns}) exec {with_torch} "$@" ;; esac
if [ -e "$0-$1" ]; then exec {light} "$@"; fi
touch "$0-$1"
exec {fresh} "$@"
"""


@pytest.fixture(scope="session")
def run_script(warm_server, environment):
    """`run_script("piped.sh", ARGUMENTS…, folder=PATH)` runs an example with a `handtool` command that is the package
    under test -> what it printed.

    Commands that do not need torch run in an interpreter of their own the first time, else all run in forks.
    """

    def run(name: str, *arguments, folder: Path, **more: str) -> str:
        commands = folder / "commands"
        commands.mkdir(exist_ok=True)
        patterns = " | ".join(f'*" {word} "*' for word in sorted(warm.TORCH_WORDS))
        ways = {"with_torch": warm_server(True).command, "light": warm_server(False).command}
        ways["fresh"] = [sys.executable, "-m", "handtool"]
        shim = SHIM.format(patterns=patterns, **{name: shlex.join(words) for name, words in ways.items()})
        (commands / "handtool").write_text(shim)
        (commands / "handtool").chmod(0o755)
        done = subprocess.run(
            ["bash", HERE.parent / "examples" / name, *map(str, arguments)],
            capture_output=True,
            text=True,
            cwd=folder,
            env={**environment, "PATH": f"{commands}:{os.environ['PATH']}", **more},
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    return run
