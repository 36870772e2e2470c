"""Options that several commands share: one name for one thing, everywhere."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from handtool.cli import state
from handtool.config import ARCHS

MACHINE, OUTPUT = "Machine", "Output and messages"  # the last two panels of a help page


def option(words: str, help: str, panel: str | None = None, **more: Any) -> Any:
    """`option("--ef N", "Candidates …", GRAPH, min=1)`: names and a word for the value, help text, panel of the help."""
    names = [word for word in words.split() if word.startswith("-")]
    metavar = words.split()[-1] if words.split()[-1] not in names else None
    return typer.Option(*names, metavar=metavar, help=help, rich_help_panel=panel, **more)


def set_quiet(value: bool) -> bool:
    state.quiet = value
    return value


def set_verbose(value: bool) -> bool:
    state.verbose = value
    return value


def set_moved(value: list[Path] | None) -> list[Path] | None:
    state.moved = list(value or [])
    return value


Source = Annotated[
    str, typer.Argument(metavar="[SOURCE]", help="A handtool file; - or nothing: standard input.", show_default=False)
]
Sources = Annotated[
    list[str],
    typer.Argument(metavar="SOURCE...", help="Handtool files; - or nothing: standard input.", show_default=False),
]
Output = Annotated[
    str, option("-o --output FILE", "The file to write; - or nothing: standard output.", OUTPUT, show_default=False)
]
NamedOutput = Annotated[
    str, option("-o --output FILE", "The file to write; -: standard output (cannot be resumed).", OUTPUT)
]
ReportOutput = Annotated[
    str | None,
    option("-o --output FILE", "The file to write; nothing: only print a report.", OUTPUT, show_default=False),
]
Force = Annotated[bool, option("--force", "Make the output anew even if it exists.", OUTPUT)]
Restart = Annotated[bool, option("--restart", "Begin anew instead of continuing from OUT.partial/.", OUTPUT)]
Json = Annotated[bool, option("--json", "Print the report as JSON.", OUTPUT)]
Quiet = Annotated[bool, option("-q --quiet", "Print only errors on standard error.", OUTPUT, callback=set_quiet)]
Verbose = Annotated[bool, option("-v --verbose", "Print more on standard error.", OUTPUT, callback=set_verbose)]
Everything = Annotated[bool, option("--all", "Print every figure of the report; so does -v.", OUTPUT)]
Moved = Annotated[
    list[Path] | None,
    option(
        "--linked --crops FILE",
        "Where a linked file is now, if it was moved (it is known by its uuid; repeatable).",
        OUTPUT,
        callback=set_moved,
        show_default=False,
    ),
]
Seed = Annotated[int, option("--seed N", "Same seed, same inputs: same result.", min=0)]
Workers = Annotated[
    int, option("--workers N", "Worker processes; 0: one per core.", MACHINE, min=0, envvar="HANDTOOL_WORKERS")
]
Threads = Annotated[
    int, option("--threads N", "Threads; 0: one per core; 1: the same pairs each time.", MACHINE, min=0)
]
DeviceName = Literal["auto", "cpu", "cuda"]
Device = Annotated[DeviceName, option("--device", "auto: a GPU if there is one.", MACHINE, envvar="HANDTOOL_DEVICE")]
Precision = Annotated[
    Literal["auto", "bf16", "fp32"], option("--precision", "auto: bf16 on CUDA, fp32 on the CPU.", MACHINE)
]

# Of pretrain and finetune.
OPTIMISATION = "Optimisation"
Gpus = Annotated[
    int | None, option("--gpus N", "GPUs of this machine; 0: the CPU.", min=0, show_default="one if there is one")
]
Steps = Annotated[int | None, option("--steps N", "Steps, instead of epochs.", min=1, show_default=False)]
Arch = Annotated[Literal[ARCHS], option("--arch NAME", f"Encoder: {', '.join(ARCHS[:-1])} or {ARCHS[-1]}.")]
Init = Annotated[str, option("--init imagenet|scratch|FILE", "Weights that the encoder starts from.")]
InputSize = Annotated[int, option("--input-size PX", "Side of the network's input, 32 at least.", min=32)]
DryRun = Annotated[bool, option("--dry-run", "Print shapes, steps, learning rate and memory; train nothing.")]
Accumulate = Annotated[
    int, option("--accumulate N", "Forward passes a step; each has its own loss.", OPTIMISATION, min=1)
]
Optimizer = Annotated[
    Literal["adam", "adamw", "lars-adam"],
    option("--optimizer", "lars-adam is the one of the published pre-training.", OPTIMISATION),
]
TrainingPrecision = Annotated[
    Literal["auto", "bf16", "fp16", "fp32"], option("--precision", "auto: bf16 on CUDA, fp32 on the CPU.", MACHINE)
]
Compile = Annotated[
    bool,
    option(
        "--compile", "Compile the network first: takes minutes, then steps are faster; last digits differ.", MACHINE
    ),
]
Processes = Annotated[int, option("--processes N", "Processes on the CPU (with --gpus 0).", MACHINE, min=1)]
CheckpointEvery = Annotated[
    int, option("--checkpoint-every STEPS", "Save a checkpoint this often; 0: every five minutes.", MACHINE, min=0)
]
Tensorboard = Annotated[
    str | None, option("--tensorboard DIR", "Also write the curve there, for TensorBoard.", MACHINE, show_default=False)
]
