"""Errors that are not bugs of handtool, and the exit codes."""

COULD_NOT = 1  # a known cause: missing input, no hands at all, a device that is not there, a full disk
WRONG_COMMAND = 2  # the command line itself
DAMAGED = 3  # the input is damaged, hostile, from a newer format or not ours
INTERRUPTED = 130
BROKEN_PIPE = 141
TERMINATED = 143


class HandtoolError(Exception):
    """An error that the user can fix: one line, and a hint to paste.

    `message` says what was asked and what was found; `hint` is a command line or other advice, or None.
    """

    exit_code = COULD_NOT

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class WrongCommand(HandtoolError):
    """The command line is wrong in a way that the option parser cannot see (exit 2)."""

    exit_code = WRONG_COMMAND


class DamagedFile(HandtoolError):
    """The input is damaged, hostile, from a newer format, or not ours (exit 3)."""

    exit_code = DAMAGED


class Terminated(BaseException):
    """SIGTERM arrived (pre-emption). Not an Exception, so that no handler swallows it before exit 143."""


def first_line(error: object) -> str:
    """The first line of a library's error, at most 160 characters; its type if it has no message."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:160]
