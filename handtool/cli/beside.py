"""What predict makes beside its file where it is asked to: the film of `show --video`, and the table of `export`."""

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

from handtool.cli import export, show, state
from handtool.cli.inputs import open_sources
from handtool.cli.outputs import refuse_own_input
from handtool.cli.runner import bars
from handtool.config import ExportConfig, OverlayConfig
from handtool.errors import HandtoolError, WrongCommand

log = logging.getLogger(__name__)
TABLES = (".csv", ".json", ".npz")


def check_names(film: Path | None, table: Path | None, others: list[str]) -> None:
    """Before the work begins: WrongCommand for names of another kind of file, or of `others`, the sources and the
    output; HandtoolError where there is no folder for it."""
    for path in filter(None, (film, table)):
        refuse_own_input(path, list(map(Path, others)))
        if str(path) in others:
            raise WrongCommand(f"{path} is named twice", hint="choose another name for one of them")
        if not path.absolute().parent.is_dir():
            folder = path.absolute().parent
            raise HandtoolError(f"there is no folder {folder} for {path.name}", hint=f"mkdir -p {folder}")
    if film:
        show.check_ending(str(film), video=True)
    if table and table.suffix.lower() not in TABLES:
        raise WrongCommand(f"--export {table}: the suffix is none of {', '.join(TABLES)}", hint="--export hands.csv")


def make_beside(output: str, film: Path | None, table: Path | None, force: bool) -> None:
    """From the finished file, as the two commands do. Raises what they raise."""
    if film is None and table is None:
        return
    with open_sources([output]) as (file,):
        if film:
            with acting_as("show"):
                show.film(file, str(film), OverlayConfig(), [], force)
        if table:
            with acting_as("export"), contextlib.ExitStack() as stack:
                export.write(file, table, ExportConfig(export.choose_format(str(table), None)), force, bars(stack))
    for made in filter(None, (film, table)):
        log.info("%s is made from %s", made, output)


@contextlib.contextmanager
def acting_as(command: str) -> Iterator[None]:
    """What is made is the same as if that command had made it; the one report is that of the predictions."""
    before = state.command, state.reports
    state.command, state.reports = command, []
    try:
        yield
    finally:
        state.command, state.reports = before
