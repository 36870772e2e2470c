"""`handtool` in a fork of a process that has loaded the libraries once: importing torch takes 2 to 4 s, most tests of a
command need none of it.

`Server` is what the fixture `handtool` starts, once for each pytest process. `python -I -S tests/warm.py SOCKET
ARGUMENTS…` is the command: its working directory, environment and first three descriptors are those of the run, its
exit status is the run's. handtool itself is imported anew in every run. What only a fresh interpreter shows (which
modules a command loads, signals, terminals) is tested with `python -m handtool`.
"""

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

LIBRARIES = "av cv2 h5py hnswlib numpy rich.progress scipy.spatial torch torch._dynamo torchvision typer"
TORCH_WORDS = {
    "pretrain",
    "finetune",
    "predict",
    "export",
    "--model",
    "--encoder",
    "--processes",
}  # of a command that needs torch


class Server:
    """A process of its own, which ends with its standard input: with `close`, or with the process that started it."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.socket = folder / "s"
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--serve", self.socket],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
        )
        assert self.process.stdout.readline() == b"ready\n"
        self.command = [sys.executable, "-I", "-S", __file__, str(self.socket)]

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def ask(path: str, words: list[str]) -> int:
    """In the command: has the server run it; returns the exit status, negative for a signal."""
    request = json.dumps({"words": words, "folder": os.getcwd(), "environment": dict(os.environ)}).encode()
    with socket.socket(socket.AF_UNIX) as channel:
        channel.connect(path)
        socket.send_fds(channel, [len(request).to_bytes(4, "big")], [0, 1, 2])
        channel.sendall(request)
        return int(channel.recv(16))


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
        return json.loads(stream.read(int.from_bytes(head, "big"))), descriptors


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
    sys.argv = ["handtool", *request["words"]]
    sys.stdin, sys.stdout = open(0, closefd=False), open(1, "w", closefd=False)
    sys.stderr = open(2, "w", errors="backslashreplace", closefd=False)
    sys.modules["numpy"].random.seed()


def run_command() -> NoReturn:
    """As `python -m handtool`, but that nothing is taken down at the end, which takes longer than most commands."""
    code: object = 1
    try:
        runpy.run_module("handtool", run_name="__main__", alter_sys=True)
    except SystemExit as end:
        code = end.code
    except BaseException:
        sys.excepthook(*sys.exc_info())
    sys.modules["handtool.cli.app"].leave(code)


if __name__ == "__main__" and sys.argv[1] != "--serve":
    code = ask(sys.argv[1], sys.argv[2:])
    if code < 0:
        os.kill(os.getpid(), -code)
    sys.exit(code)
elif __name__ == "__main__":
    import gc
    import importlib
    import runpy

    for name in LIBRARIES.split():
        importlib.import_module(name)
    gc.freeze()
    be_fresh(serve(sys.argv[2]))
    run_command()
