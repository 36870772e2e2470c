"""Options on the command line: how one is written, and those that several commands share."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from handtool.cli import state
from handtool.config import Engine as EngineName

MACHINE, OUTPUT = "Machine", "Output and messages"  # the last two panels of a help page


def option(kind: Any, usage: str, help: str, panel: str | None = None, *, unset: str | bool = True, **more: Any) -> Any:
    """The annotation of a parameter that is an option, of type `kind`.

    usage: names, then what follows them ("-o --output FILE"). panel: of the help page. unset: what the help shows in
    the place of the default; False: nothing. more: limits and what else typer.Option takes.
    """
    words = usage.split()
    names = [word for word in words if word.startswith("-")]
    metavar = " ".join(words[len(names) :]) or None
    info = typer.Option(*names, metavar=metavar, help=help, rich_help_panel=panel, show_default=unset, **more)
    return Annotated[kind, info]


def argument(kind: Any, metavar: str, help: str) -> Any:
    """The annotation of a parameter that is given without a name."""
    return Annotated[kind, typer.Argument(metavar=metavar, help=help, show_default=False)]


def keep(name: str) -> Callable:
    """Leaves the value of an option in cli/state.py."""

    def callback(value: Any) -> Any:
        setattr(state, name, value)
        return value

    return callback


Source = argument(str, "[SOURCE]", "A handtool file; - or nothing: standard input.")
Sources = argument(list[str], "SOURCE...", "Handtool files; - or nothing: standard input.")
Output = option(str, "-o --output FILE", "The file to write; - or nothing: standard output.", OUTPUT, unset=False)
NamedOutput = option(str, "-o --output FILE", "The file to write; -: standard output (cannot be resumed).", OUTPUT)
ReportOutput = option(str | None, "-o --output FILE", "The file to write; nothing: only print a report.", OUTPUT)
Force = option(bool, "--force", "Make the output anew even if it exists.", OUTPUT)
Restart = option(bool, "--restart", "Begin anew instead of continuing from OUT.partial/.", OUTPUT)
Everything = option(bool, "--all", "Print every figure of the report; so does -v.", OUTPUT)
Moved = option(
    list[Path] | None,
    "--linked --crops FILE",
    "Where a linked file is now, if it was moved (it is known by its uuid; repeatable).",
    OUTPUT,
    callback=keep("moved"),
)
Seed = option(int, "--seed N", "Same seed, same inputs: same result.", min=0)
Workers = option(int, "--workers N", "Worker processes; 0: one per core.", MACHINE, min=0, envvar="HANDTOOL_WORKERS")
Engine = option(
    EngineName,
    "--engine",
    "local: processes of this machine; ray: of the Ray cluster that RAY_ADDRESS names, or of one that is started here; "
    "--workers 0 is then one per CPU of the cluster.",
    MACHINE,
)
GpusPerWorker = option(
    float, "--gpus-per-worker N", "With --engine ray: GPUs of each worker; 0.25: four share one.", MACHINE, min=0.0
)
Threads = option(int, "--threads N", "Threads; 0: one per core; 1: the same pairs each time.", MACHINE, min=0)
DeviceName = Literal["auto", "cpu", "cuda"]
Device = option(DeviceName, "--device", "auto: a GPU if there is one.", MACHINE, envvar="HANDTOOL_DEVICE")
Precision = option(Literal["auto", "bf16", "fp32"], "--precision", "auto: bf16 on CUDA, fp32 on the CPU.", MACHINE)

# Every command has these; command.py adds them.
EVERYWHERE = {
    "as_json": option(bool, "--json", "Print the report as JSON.", OUTPUT, callback=keep("as_json")),
    "quiet": option(bool, "-q --quiet", "Print only errors on standard error.", OUTPUT, callback=keep("quiet")),
    "verbose": option(bool, "-v --verbose", "Print more on standard error.", OUTPUT, callback=keep("verbose")),
}
