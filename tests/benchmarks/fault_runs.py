"""A handtool command in a fork of this process, struck by a fault: what the trials of faults share.

This process has loaded everything once (tests/warm.py), so a small command takes 0.05 to 0.5 s. It runs with
fault_shim.c in front of libc, which strikes the N-th call that changes a file below the folder of the run.
"""

import argparse
import contextlib
import ctypes
import os
import pkgutil
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from multiprocessing import get_context
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import NamedTuple, NoReturn

HERE = Path(__file__).resolve()
sys.path[:0] = [str(HERE.parents[1]), str(HERE.parents[2])]
COUNT, FULL, ONCE, SHORT, STRIKE, STRIKE_COMMAND, STRIKE_GROUP = range(7)  # as fault_shim.c has them
ALONE = {"OMP_NUM_THREADS": "1", "NO_COLOR": "1", "COLUMNS": "200", "PYTHONDONTWRITEBYTECODE": "1"}
GONE_S, STOPS_S, LONGEST_S = 5.0, 5.0, 60.0  # for workers after a kill, for a command after a signal, for any command
SUBREAPER = 36  # prctl: processes whose parent died become children of this one


class Fault(NamedTuple):
    """`mode` at the `at`-th call, or with `after` the signal so many seconds after the start; to the whole `group` or
    to the command alone."""

    mode: int = COUNT
    at: int = 0
    signal: int = 0
    after: float | None = None
    group: bool = True


class Ended(NamedTuple):
    """code: negative for a signal, None where it hung. left: processes that outlived the command. calls: that changed
    files; struck: of these."""

    code: int | None
    said: str
    seconds: float
    calls: int
    struck: int
    left: int


def begin(what: str, count: int) -> tuple[argparse.Namespace, Path]:
    """The arguments, and an empty folder that goes with this process. Starts this program again below the shim."""
    parser = argparse.ArgumentParser(description=what)
    parser.add_argument("--count", type=int, default=count)
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--only", default="", help="cases whose name holds this")
    parser.add_argument("--verbose", action="store_true", help="of mutants: the outcome of each")
    options = parser.parse_args()
    if "FAULT_SHIM" not in os.environ:
        sys.exit(start_below_shim())
    folder = Path(os.environ["FAULT_SHIM"]).parent
    os.environ.pop("LD_PRELOAD")
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a script's background process has it ignored
    SHIM.prctl(SUBREAPER, 1)
    return options, folder


def start_below_shim() -> int:
    if shutil.which("gcc") is None:
        print("no gcc here, which the faults need: nothing was tried")
        return 0
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        shim = Path(folder) / "shim.so"
        subprocess.run(
            ["gcc", "-shared", "-fPIC", "-O2", "-o", shim, HERE.with_name("fault_shim.c"), "-ldl"], check=True
        )
        environment = {**os.environ, **ALONE, "LD_PRELOAD": str(shim), "FAULT_SHIM": str(shim)}
        process = subprocess.Popen([sys.executable, "-u", *sys.argv], env=environment)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # it ends by itself, with its table
        signal.signal(signal.SIGTERM, lambda *_: process.send_signal(signal.SIGINT))
        return process.wait()


def load() -> None:
    """All libraries and commands. torchvision's ResNet-18 becomes a network of a few kB, FreiHAND a set of nine:
    what is tried is files."""
    import gc
    import importlib

    import cv2
    import warm

    cv2.setNumThreads(1)  # a fork has no threads of its parent's, and would wait for them

    warm.importlib, warm.pkgutil = importlib, pkgutil
    warm.load(warm.TORCH)
    from training import TinyEncoder

    from handtool.engine import local
    from handtool.nn.models import encoder
    from handtool.sources import submission

    submission.FREIHAND_IMAGES = 9
    encoder.ENCODERS["resnet18"] = TinyEncoder
    local.get_context = lambda _: Forks()
    gc.collect()
    gc.freeze()


class Forks:
    """In place of multiprocessing's `spawn`: workers are forks, without the ends of pipes that belong to the command,
    so that they see its end as workers of their own would."""

    def __init__(self) -> None:
        self.pipes: list = []

    def Pipe(self):  # noqa: N802
        self.pipes.append(get_context("fork").Pipe())
        return self.pipes[-1]

    def Process(self, target, args, **more):  # noqa: N802
        return ForkProcess(target=self.work, args=(target, args), **more)

    def work(self, target, args) -> None:
        for ours, _ in self.pipes:
            ours.close()
        target(*args)


SHIM = ctypes.CDLL(None)


def run(words: list[str], folder: Path, fault: Fault = Fault(), longest: float = LONGEST_S) -> Ended:
    """`handtool WORDS` in folder/box, with folder/box.tmp for temporary files."""
    SHIM.fault_arm(b"", COUNT, ctypes.c_long(0), 0)
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        try:
            be_command(words, folder, fault)
        except KeyboardInterrupt:  # before the command obeys signals: as an interpreter that is starting
            os._exit(130)
    code = wait(child, longest if fault.after is None else fault.after)
    if code is None and fault.after is not None:
        try:
            (os.killpg if fault.group else os.kill)(child, fault.signal)
        except ProcessLookupError:  # it leads no group yet
            os.kill(child, fault.signal)
        code = wait(child, STOPS_S)
    if code is None:
        os.killpg(child, signal.SIGKILL)
        wait(child, GONE_S)
    seconds, left = time.monotonic() - began, count_left(child)
    said = (folder / "stderr").read_text(errors="replace")
    return Ended(code, said, seconds, SHIM.fault_count(), SHIM.fault_struck(), left)


def be_command(words: list[str], folder: Path, fault: Fault) -> NoReturn:
    from handtool.cli import app

    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, name in enumerate(("/dev/null", folder / "stdout", folder / "stderr")):
        os.dup2(os.open(name, os.O_RDWR | (os.O_CREAT | os.O_TRUNC if number else 0), 0o666), number)
    sys.stdin, sys.stdout = open(0, closefd=False), open(1, "w", closefd=False)
    sys.stderr = open(2, "w", errors="backslashreplace", closefd=False)
    os.chdir(folder / "box")
    os.environ["TMPDIR"], tempfile.tempdir, sys.argv = str(folder / "box.tmp"), None, ["handtool", *words]
    SHIM.fault_arm(str(folder / "box").encode(), fault.mode, ctypes.c_long(fault.at), fault.signal)
    code: object = 0
    try:
        app.main()
    except SystemExit as end:
        code = end.code
    except BaseException:
        code = 1
        sys.excepthook(*sys.exc_info())
    app.leave(code)


def wait(child: int, seconds: float) -> int | None:
    """Its exit code; None if it still runs after so long."""
    descriptor = os.pidfd_open(child)
    try:
        if select.select([descriptor], [], [], seconds)[0]:
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        return None
    finally:
        os.close(descriptor)


def count_left(session: int) -> int:
    """Processes of the command that live on after GONE_S; they are killed."""
    until = time.monotonic() + GONE_S
    while (alive := living(session)) and time.monotonic() < until:
        time.sleep(0.02)
    for process in alive:
        os.kill(process, signal.SIGKILL)
    return len(alive)


def living(session: int) -> list[int]:
    """The processes of a session. Those that have ended are reaped."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                state, _, _, of = (entry / "stat").read_text().rpartition(")")[2].split()[:4]
            except OSError:
                continue
            if int(of) == session and state == "Z":
                with contextlib.suppress(ChildProcessError):  # of another process, which will reap it
                    os.waitpid(int(entry.name), os.WNOHANG)
            elif int(of) == session:
                found.append(int(entry.name))
    return found


def print_table(title: str, columns: list[str], counts: dict[str, Counter], seconds: float) -> None:
    """Markdown, a line a case, with the sums."""
    total = sum(counts.values(), Counter())
    print(f"\n{title}, {seconds:.0f} s\n\n| case | {' | '.join(columns)} |\n|{' --- |' * (len(columns) + 1)}")
    for name, found in [*counts.items(), ("all", total)]:
        print(f"| {name} | {' | '.join(str(found[column]) for column in columns)} |")
