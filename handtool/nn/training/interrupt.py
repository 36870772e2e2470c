"""SIGTERM as a wish that the training loop grants between two steps (pre-emption by a scheduler)."""

import logging
import signal
import threading
from typing import Any

from handtool.errors import Terminated

log = logging.getLogger(__name__)


class Sigterm:
    """Within the context SIGTERM only sets `received`; outside it means again what it meant before."""

    def __init__(self) -> None:
        self.received = False
        self.before: Any = None

    def __enter__(self) -> "Sigterm":
        if threading.current_thread() is threading.main_thread():  # the only one that Python lets set handlers
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
