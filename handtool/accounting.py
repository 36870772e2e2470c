"""Counts of the items of a run: in = done + skipped (by reason) + failed (by reason)."""

from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Accounting:
    """Counts one kind of item ("hands", "videos"); `as_report()` is printed and stored in the file."""

    what: str
    done: int = 0
    skipped: Counter = field(default_factory=Counter)
    failed: Counter = field(default_factory=Counter)

    def skip(self, reason: str, count: int = 1) -> None:
        if count:
            self.skipped[reason] += int(count)

    def fail(self, reason: str, count: int = 1) -> None:
        if count:
            self.failed[reason] += int(count)

    @property
    def total(self) -> int:
        return self.done + self.skipped.total() + self.failed.total()

    def as_report(self) -> dict:
        return {
            "what": self.what,
            "in": self.total,
            "done": int(self.done),
            "skipped": dict(sorted(self.skipped.items())),
            "failed": dict(sorted(self.failed.items())),
        }

    def __add__(self, other: "Accounting") -> "Accounting":
        assert self.what == other.what
        return Accounting(self.what, self.done + other.done, self.skipped + other.skipped, self.failed + other.failed)
