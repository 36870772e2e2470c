"""On SIGTERM (a scheduler pre-empts the job): finish the current step, save, exit."""

import logging
import signal
import threading
from typing import Any

from handtool.errors import Terminated

log = logging.getLogger(__name__)


class Sigterm:
    """Within the context SIGTERM only sets `received`; afterwards the previous handler is restored."""

    def __init__(self) -> None:
        self.received = False
        self.before: Any = None

    def __enter__(self) -> "Sigterm":
        if threading.current_thread() is threading.main_thread():  # only this one may set handlers
            self.before = signal.signal(signal.SIGTERM, self.note)
        return self

    def __exit__(self, *_: object) -> None:
        if self.before is not None:
            signal.signal(signal.SIGTERM, self.before)

    def note(self, *_: object) -> None:
        self.received = True

    def leave(self, message: str) -> None:
        log.info(message)
        raise Terminated
