"""Work for the workers of test_ray.py, in a file that takes them no time to load."""

import os
import signal
import time
from pathlib import Path

from handtool.errors import HandtoolError


def open_work(folder: Path, offset: int):
    def work(item, heartbeat):
        if item == "die":
            os.kill(os.getpid(), signal.SIGSEGV)
        if item == "hang":
            time.sleep(60)
        if item == "bug":
            raise KeyError("a bug of ours")
        if item == "mistake":
            raise HandtoolError("the user's mistake", hint="a remedy")
        if item == "deadly node" or (item == "node" and not (folder / "met").exists()):
            (folder / ("met" if item == "node" else "deadly")).touch()
            os.kill(os.getppid(), signal.SIGKILL)
            time.sleep(60)
        for _ in range(3):
            heartbeat()
        if item == "writes":
            (folder / "a.part.h5").write_bytes(b"whole")
            (folder / "a.reading").write_bytes(b"note")
        if item == "writes and dies":
            (folder / "b.reading").write_bytes(b"note")
            os.kill(os.getpid(), signal.SIGABRT)
        yield offset, item, os.environ["OMP_NUM_THREADS"]
        yield os.getpid()

    return work
