"""Ctrl-C and SIGTERM while a child process is being made: raised there, they would leave half of one behind."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import NoReturn

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
leftovers: set[Path] = set()  # temporary files of this process


@contextlib.contextmanager
def hold_signals(block: bool = True) -> Iterator[None]:
    """SIGINT, SIGTERM and SIGHUP that arrive within are obeyed at its end. A process made within has them blocked for
    good: its parent ends it, and it says nothing of its own about them; without `block` it obeys them.

    To block them is not enough: another thread of this process (of OpenBLAS, say) then takes the signal, and Python
    raises in the main thread all the same.
    """
    is_main = threading.current_thread() is threading.main_thread()  # in others nothing is raised
    handlers = {number: signal.getsignal(number) for number in ENDING if is_main}
    held: list[int] = []

    def hold(number: int, frame: FrameType | None) -> None:
        held.append(number)

    try:
        for number, handler in handlers.items():
            if callable(handler):
                signal.signal(number, hold)
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING if block else ())
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    finally:
        for number, handler in handlers.items():
            if callable(handler):
                signal.signal(number, handler)
        for caught in held:
            signal.raise_signal(caught)


def end_at_once(code: int) -> NoReturn:
    """Ends the process from any thread, whatever the main one does, without its temporary files."""
    for path in leftovers:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
    os._exit(code)
