"""A detector or an estimator, whose exceptions cost the picture on which it raised, and no other."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from handtool.errors import HandtoolError, first_line

ESTIMATOR_FAILED = "the estimator failed"  # how such a reason begins
MAX_REASONS = 8  # different ones that are told; a message may hold numbers that are never the same


@dataclass(frozen=True)
class Failed:
    """In the place of an answer: why there is none."""

    reason: str


class Guarded:
    """what: "the detector" or "the estimator". open_model: opens it; ask(model, items): its answers, one for each item.

    A model that has raised is opened anew, since MediaPipe, for one, then refuses everything. `plain` is an item on
    which a sound model does not raise, whatever it finds there. is_foreign: False for our own code, whose exceptions
    are raised. batch: items per call, for best speed.
    """

    def __init__(
        self,
        what: str,
        open_model: Callable[[], Any],
        ask: Callable[[Any, list], list],
        plain: Any,
        is_foreign: bool = True,
    ) -> None:
        self.what, self.open_model, self.ask, self.plain = what, open_model, ask, plain
        self.is_foreign = is_foreign
        self.model = open_model()
        self.batch: int = self.model.batch
        self.has_answered = False
        self.reasons: set[str] = set()

    def answer(self, items: list) -> list:
        """One answer for each item, or a `Failed`. Raises HandtoolError if the model fails on the plain one too."""
        try:
            answers = self.ask(self.model, items)
        except Exception as error:
            if not self.is_foreign or isinstance(error, AssertionError):  # our own mistake, or the user's
                raise
            reason = self.describe(error)
        else:
            self.has_answered = True
            return answers
        self.open_anew()
        return [Failed(reason)] if len(items) == 1 else [each for item in items for each in self.answer([item])]

    def open_anew(self) -> None:
        self.model = None
        try:
            self.model = self.open_model()
            if not self.has_answered:
                self.ask(self.model, [self.plain])
        except (MemoryError, HandtoolError):
            raise
        except Exception as error:
            told = f"{self.describe(error)}, on a plain picture too"
            raise HandtoolError(told, hint="handtool doctor; install it anew, or take another one") from None
        self.has_answered = True

    def describe(self, error: Exception) -> str:
        """The reason that is counted: "the estimator failed (RuntimeError: …)"."""
        message, kind = first_line(error), type(error).__name__
        told = message if isinstance(error, HandtoolError) or message == kind else f"{kind}: {message}"
        reason = f"{self.what} failed ({told})"
        if len(self.reasons) >= MAX_REASONS and reason not in self.reasons:
            return f"{self.what} failed (otherwise)"
        self.reasons.add(reason)
        return reason
