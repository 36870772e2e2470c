"""What another process needs to open the same input, and to keep checkpoints in the same job."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from handtool import store
from handtool.store.file import relocated


@dataclass(frozen=True)
class Reopen:
    """Picklable. The gatekeeper has checked the file in the process that made this."""

    path: Path
    job_folder: Path | None = None  # None: this process keeps nothing
    relocated: list[Path] = field(default_factory=lambda: list(relocated))

    @contextmanager
    def open(self) -> Iterator[store.File]:
        relocated[:] = self.relocated
        with store.open_file(self.path, trusted=True) as source:
            yield source

    def open_job(self) -> store.Job | None:
        return None if self.job_folder is None else store.Job(self.job_folder)
