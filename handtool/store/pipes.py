"""`-`: standard input and output. HDF5 cannot stream, so a pipe is copied to a temporary file before it is read."""

import logging
import os
import select
import stat
import sys
import tempfile
from pathlib import Path

from handtool.errors import HandtoolError, WrongCommand
from handtool.signals import leftovers
from handtool.store.disk import disk_error

BLOCK = 1 << 20
REPORT_BYTES = 1 << 30
WAIT_SECONDS = 0.5  # s
log = logging.getLogger(__name__)


def receive() -> tuple[Path, bool]:
    """Standard input as a path, and whether that is a temporary copy (to be removed afterwards).

    Errors: WrongCommand (a terminal), HandtoolError (nothing arrived, no room in $TMPDIR).
    """
    if sys.stdin is None or sys.stdin.closed or sys.stdin.isatty():
        raise WrongCommand(
            "no SOURCE given and standard input is a terminal",
            hint="name a file, or pipe one in: handtool … -o - | handtool …",
        )
    descriptor = sys.stdin.fileno()
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        path = Path(f"/proc/self/fd/{descriptor}")
        if path.exists():
            return Path(os.readlink(path)), False
    leftovers.add(path := spool())
    return path, True


def spool() -> Path:
    descriptor, name = tempfile.mkstemp(".h5", "handtool-stdin-")
    total, reported = 0, False
    try:
        with os.fdopen(descriptor, "wb") as file:
            while block := read_block(sys.stdin.fileno()):
                file.write(block)
                total += len(block)
                if total > REPORT_BYTES and not reported:
                    log.info(
                        "standard input is past 1 GiB; it is kept in %s until it is read (TMPDIR chooses the folder)",
                        name,
                    )
                    reported = True
        if total == 0:
            raise HandtoolError(
                "nothing arrived on standard input", hint="the command before the | failed; its message says why"
            )
    except OSError as error:
        os.unlink(name)
        raise disk_error(error, name) from error
    except BaseException:
        os.unlink(name)
        raise
    return Path(name)


def read_block(descriptor: int) -> bytes:
    """The next bytes, b"" at the end. Waits with a timeout: a blocking read would delay a signal just before it."""
    while not select.select([descriptor], [], [], WAIT_SECONDS)[0]:
        pass
    return os.read(descriptor, BLOCK)


def refuse_terminal(what: str = "HDF5", reader: str = "handtool info -") -> None:
    """Refuses to write bytes to a terminal, or where nobody gets them. `reader`: a command for the hint."""
    refuse_closed()
    if sys.stdout.isatty():
        raise WrongCommand(f"{what} would go to the terminal", hint=f"add -o FILE, or pipe it: … | {reader}")


def refuse_closed() -> None:
    """Refuses to write what is asked for where nobody gets it."""
    if getattr(sys.stdout, "name", os.devnull) == os.devnull:  # by which the command line replaces a closed one
        raise HandtoolError("standard output is closed", hint="add -o FILE")
