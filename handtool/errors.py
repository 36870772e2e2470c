"""The two ways in which a run can fail through no fault of ours, and their exit codes."""

COULD_NOT = 1  # a known cause: missing input, no hands at all, a device that is not there, a full disk
WRONG_COMMAND = 2  # the command line itself
DAMAGED = 3  # the input is damaged, hostile, from a newer format or not ours
INTERRUPTED = 130
BROKEN_PIPE = 141
TERMINATED = 143


class HandtoolError(Exception):
    """Something the user can mend: one clear line, and a hint to paste.

    `message` names what was asked and what was found; `hint` is a command line or a remedy, or None.
    """

    exit_code = COULD_NOT

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class WrongCommand(HandtoolError):
    """The options contradict each other, or lack something that only the program can see (exit 2)."""

    exit_code = WRONG_COMMAND


class DamagedFile(HandtoolError):
    """The input is damaged, hostile, from a newer format, or not ours (exit 3)."""

    exit_code = DAMAGED


class Terminated(BaseException):
    """SIGTERM arrived (pre-emption). Not an Exception, so that nothing swallows it on its way to exit 143."""


def first_line(error: object) -> str:
    """What somebody else's error says, as one line of at most 160 characters; its type where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:160]
