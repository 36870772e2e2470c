"""Progress bars with rate and time left, on standard error."""

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from handtool.cli.printing import Handler
from handtool.names import printable


class Rate(ProgressColumn):
    """Units per second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if not speed else f"{speed:,.0f}/s" if speed >= 10 else f"{speed:.2f}/s", style="cyan")


class Bars:
    """A `handtool.progress.Progress`: one bar for each `what`, drawn as long as the context stands."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        self.drawn = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            Rate(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[figures]}", style="dim"),
            console=console,
            transient=True,
        )
        self.tasks: dict[str, int] = {}

    def __enter__(self) -> "Bars":
        self.drawn.start()
        Handler.console = self.drawn.console
        return self

    def __exit__(self, *_: object) -> None:
        Handler.console = None
        self.drawn.stop()

    def __call__(self, what: str, done: float, total: float | None = None, **figures: float) -> None:
        if what not in self.tasks:
            self.tasks[what] = self.drawn.add_task(printable(what), total=total, figures="")
        shown = "  ".join(f"{k.replace('_', ' ')} {v:.4g}" for k, v in figures.items())
        self.drawn.update(self.tasks[what], completed=done, total=total, figures=shown)
