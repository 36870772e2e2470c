"""On SIGTERM (a scheduler pre-empts the job): finish the current step, save, exit. A step that takes longer than a few
seconds is given up: what was there after the step before it is saved, and the process ends."""

import contextlib
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from handtool.errors import TERMINATED, HandtoolError, Terminated
from handtool.signals import end_at_once

log = logging.getLogger(__name__)
PATIENCE_S = 3.0  # with the step in which SIGTERM arrives
THE_END = b"\0"  # is the number of no signal
TELLING_S = 0.3  # in which a thread sends what was logged to the process that prints it
LONGEST_SAVE_S = 60.0  # a checkpoint that is being written when the patience ends


class Sigterm:
    """Within the context SIGTERM only sets `received`; afterwards the previous handler is restored.

    While the state of the training changes, it must be within `uninterrupted`. `save`: saves what `uninterrupted` left
    and says so; None: there is nothing to save. Python's handlers wait until a call into torch returns, so a thread
    learns of the signal by the descriptor that the interpreter itself writes to.
    """

    def __init__(self) -> None:
        self.received, self.is_whole = False, True
        self.save: Callable[[], str] | None = None
        self.changing, self.left = threading.Lock(), threading.Event()
        self.before: Any = None

    def __enter__(self) -> "Sigterm":
        if threading.current_thread() is threading.main_thread():  # only this one may set handlers
            self.before = signal.signal(signal.SIGTERM, self.note)
            self.reader, self.writer = os.pipe()
            os.set_blocking(self.writer, False)
            self.fd_before = signal.set_wakeup_fd(self.writer, warn_on_full_buffer=False)
            self.thread = threading.Thread(target=self.watch, daemon=True)
            self.thread.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: object) -> None:
        self.left.set()
        if self.before is not None:
            signal.set_wakeup_fd(self.fd_before)
            os.write(self.writer, THE_END)  # closing it would not do: processes that were forked have it, too
            self.thread.join()
            os.close(self.writer)
            os.close(self.reader)
            signal.signal(signal.SIGTERM, self.before)
        if self.received and isinstance(error, Exception) and not isinstance(error, HandtoolError):
            self.save_whole()
            raise Terminated from error  # the signal ended another rank, and so the connection to it

    def note(self, *_: object) -> None:
        self.received = True

    @contextlib.contextmanager
    def uninterrupted(self) -> Iterator[None]:
        with self.changing:
            self.is_whole = False
            yield
            self.is_whole = True

    def leave(self, message: str) -> None:
        self.left.set()
        log.info(message)
        raise Terminated

    def watch(self) -> None:
        """In the thread: waits for SIGTERM, then for the end of the context, and ends the process if that is late."""
        while not self.left.is_set():
            numbers = os.read(self.reader, 64)
            if signal.SIGTERM in numbers:
                self.received = True
                if not self.left.wait(PATIENCE_S):
                    self.give_up()
                return

    def give_up(self) -> None:
        if self.changing.acquire(timeout=LONGEST_SAVE_S) and not self.left.is_set():
            try:
                self.save_whole()
                time.sleep(TELLING_S)
            finally:
                end_at_once(TERMINATED)
        if not self.left.is_set():
            end_at_once(TERMINATED)

    def save_whole(self) -> None:
        if self.save is not None and self.is_whole:
            log.info(self.save())
