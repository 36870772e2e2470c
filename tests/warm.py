"""Python in a fork of a process that has loaded the libraries and handtool once: importing torch takes 2 to 4 s, the
others and a command up to 1 s.

A `Server` is what the fixture `handtool` starts, for each pytest process one without and one with torch. `python -I -S
tests/warm_client.py SOCKET -m MODULE ARGUMENTS…` or `SOCKET -c CODE` is then the command. What only a fresh interpreter
shows (which modules a command loads, signals, terminals) is tested with `python -m handtool`.
"""

import ast
import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

CLIENT = Path(__file__).with_name("warm_client.py")
LIBRARIES = "av cv2 h5py hnswlib numpy rich.progress scipy.spatial typer"
TORCH = "torch torch._dynamo torchvision"
TORCH_STAGES = {"pretrain", "finetune", "predict"}
TORCH_WORDS = {*TORCH_STAGES, "export", "--model", "--encoder", "--processes"}  # of a command that needs torch


class Server:
    """A process of its own, which ends with its standard input: with `close`, or with the process that started it."""

    def __init__(self, folder: Path, environment: dict[str, str], with_torch: bool) -> None:
        path = folder / ("torch" if with_torch else "light")
        self.process = subprocess.Popen(
            [sys.executable, __file__, path, TORCH if with_torch else ""],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
        )
        assert self.process.stdout.readline() == b"ready\n"
        self.python = [sys.executable, "-I", "-S", str(CLIENT), str(path)]
        self.command = [*self.python, "-m", "handtool"]

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def serve(path: str) -> dict:
    """Answers until standard input ends, then leaves. Returns in every process that it forks, with what that process
    has to do."""
    running: dict[int, tuple[int, socket.socket]] = {}  # what tells the end of a process: its number, and who asked
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        print("ready", flush=True)
        while True:
            asking = [channel for _, channel in running.values()]
            for ready in select.select([listener, 0, *running, *asking], [], [])[0]:
                if ready == 0:
                    sys.exit()
                elif ready is listener:
                    channel, _ = listener.accept()
                    request, descriptors = receive(channel)
                    if (child := os.fork()) == 0:
                        return take_over(request, descriptors)
                    running[os.pidfd_open(child)] = child, channel
                    for descriptor in descriptors:
                        os.close(descriptor)
                elif ready in running:
                    answer(ready, *running.pop(ready))
                else:  # whoever asked is gone
                    for child in [child for child, channel in running.values() if channel is ready]:
                        os.kill(child, signal.SIGKILL)


def receive(channel: socket.socket) -> tuple[dict, list[int]]:
    head, descriptors, _, _ = socket.recv_fds(channel, 4, 3)
    with channel.makefile("rb") as stream:
        return ast.literal_eval(stream.read(int.from_bytes(head, "big")).decode()), descriptors


def answer(ended: int, child: int, channel: socket.socket) -> None:
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os.close(ended)
    with channel, contextlib.suppress(OSError):
        channel.sendall(str(status).encode())


def take_over(request: dict, descriptors: list[int]) -> dict:
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
        os.close(descriptor)
    return request


def be_fresh(request: dict) -> None:
    """What an interpreter finds when it starts."""
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.path[0] = request["folder"]
    sys.argv = [request["words"][0], *request["words"][2:]]
    sys.stdin, sys.stdout = open(0, closefd=False), open(1, "w", closefd=False)
    sys.stderr = open(2, "w", errors="backslashreplace", closefd=False)
    sys.modules["numpy"].random.seed()


def run_command(how: str, what: str) -> NoReturn:
    """As `python -m` or `-c`, but that nothing is taken down at the end, which takes longer than most commands."""
    code: object = 1
    try:
        if how == "-m":
            runpy.run_module(what, run_name="__main__", alter_sys=True)
        else:
            exec(what, {"__name__": "__main__"})
        code = 0
    except SystemExit as end:
        code = end.code
    except BaseException:
        sys.excepthook(*sys.exc_info())
    importlib.import_module("handtool.cli.app").leave(code)


def load(torch: str) -> None:
    """`torch`: the libraries of the stages that train and predict, else "". What is not installed is left out."""
    names = [*LIBRARIES.split(), *torch.split()]
    for room in ("handtool.cli", "handtool.stages"):
        modules = pkgutil.iter_modules(importlib.import_module(room).__path__)
        names += [f"{room}.{module.name}" for module in modules if torch or module.name not in TORCH_STAGES]
    for name in names:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)


if __name__ == "__main__":
    import gc
    import importlib
    import multiprocessing
    import pkgutil
    import runpy

    fork = multiprocessing.get_context("fork")
    multiprocessing.get_context = lambda *_: fork  # for the workers of stages, which would load the libraries again
    load(sys.argv[2])
    gc.freeze()
    request = serve(sys.argv[1])
    be_fresh(request)
    run_command(*request["words"][:2])
