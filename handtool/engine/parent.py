"""A child process that does not outlive its parent."""

import ctypes
import os
import signal
import sys


def end_with_parent(parent: int) -> None:
    """On Linux: SIGKILL for this process when process `parent` ends, so that no orphan writes or holds a lock."""
    if sys.platform == "linux":
        set_parent_death_signal = 1
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)
    if os.getppid() != parent:  # it died before we could ask
        os._exit(1)
