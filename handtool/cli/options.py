"""Options that several commands share: one name for one thing, everywhere."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from handtool.cli import state
from handtool.config import ARCHS

MACHINE, OUTPUT = "Machine", "Output and messages"  # the last two panels of a help page


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
    str,
    typer.Option(
        "-o",
        "--output",
        metavar="FILE",
        help="The file to write; - or nothing: standard output.",
        show_default=False,
        rich_help_panel=OUTPUT,
    ),
]
NamedOutput = Annotated[
    str,
    typer.Option(
        "-o",
        "--output",
        metavar="FILE",
        help="The file to write; -: standard output (cannot be resumed).",
        rich_help_panel=OUTPUT,
    ),
]
ReportOutput = Annotated[
    str | None,
    typer.Option(
        "-o",
        "--output",
        metavar="FILE",
        help="The file to write; nothing: only print a report.",
        show_default=False,
        rich_help_panel=OUTPUT,
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Make the output anew even if it exists.", rich_help_panel=OUTPUT)]
Restart = Annotated[
    bool, typer.Option("--restart", help="Begin anew instead of continuing from OUT.partial/.", rich_help_panel=OUTPUT)
]
Json = Annotated[bool, typer.Option("--json", help="Print the report as JSON.", rich_help_panel=OUTPUT)]
Quiet = Annotated[
    bool,
    typer.Option(
        "-q", "--quiet", callback=set_quiet, help="Print only errors on standard error.", rich_help_panel=OUTPUT
    ),
]
Verbose = Annotated[
    bool,
    typer.Option("-v", "--verbose", callback=set_verbose, help="Print more on standard error.", rich_help_panel=OUTPUT),
]
Everything = Annotated[
    bool, typer.Option("--all", help="Print every figure of the report; so does -v.", rich_help_panel=OUTPUT)
]
Moved = Annotated[
    list[Path] | None,
    typer.Option(
        "--linked",
        "--crops",
        metavar="FILE",
        callback=set_moved,
        help="Where a linked file is now, if it was moved (it is known by its uuid; repeatable).",
        show_default=False,
        rich_help_panel=OUTPUT,
    ),
]
Seed = Annotated[int, typer.Option("--seed", metavar="N", min=0, help="Same seed, same inputs: same result.")]
Workers = Annotated[
    int,
    typer.Option(
        "--workers",
        metavar="N",
        min=0,
        envvar="HANDTOOL_WORKERS",
        help="Worker processes; 0: one per core.",
        rich_help_panel=MACHINE,
    ),
]
Threads = Annotated[
    int,
    typer.Option(
        "--threads",
        metavar="N",
        min=0,
        help="Threads; 0: one per core; 1: the same pairs each time.",
        rich_help_panel=MACHINE,
    ),
]
DeviceName = Literal["auto", "cpu", "cuda"]
Device = Annotated[
    DeviceName,
    typer.Option("--device", envvar="HANDTOOL_DEVICE", help="auto: a GPU if there is one.", rich_help_panel=MACHINE),
]
Precision = Annotated[
    Literal["auto", "bf16", "fp32"],
    typer.Option("--precision", help="auto: bf16 on CUDA, fp32 on the CPU.", rich_help_panel=MACHINE),
]

# Of pretrain and finetune.
OPTIMISATION = "Optimisation"
Gpus = Annotated[
    int | None,
    typer.Option(
        "--gpus", metavar="N", min=0, help="GPUs of this machine; 0: the CPU.", show_default="one if there is one"
    ),
]
Steps = Annotated[
    int | None, typer.Option("--steps", metavar="N", min=1, help="Steps, instead of epochs.", show_default=False)
]
Arch = Annotated[
    Literal[ARCHS], typer.Option("--arch", metavar="NAME", help=f"Encoder: {', '.join(ARCHS[:-1])} or {ARCHS[-1]}.")
]
Init = Annotated[
    str, typer.Option("--init", metavar="imagenet|scratch|FILE", help="Weights that the encoder starts from.")
]
InputSize = Annotated[
    int, typer.Option("--input-size", metavar="PX", min=32, help="Side of the network's input, 32 at least.")
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Print shapes, steps, learning rate and memory; train nothing.")
]
Accumulate = Annotated[
    int,
    typer.Option(
        "--accumulate",
        metavar="N",
        min=1,
        help="Forward passes a step; each has its own loss.",
        rich_help_panel=OPTIMISATION,
    ),
]
Optimizer = Annotated[
    Literal["adam", "adamw", "lars-adam"],
    typer.Option(
        "--optimizer", help="lars-adam is the one of the published pre-training.", rich_help_panel=OPTIMISATION
    ),
]
TrainingPrecision = Annotated[
    Literal["auto", "bf16", "fp16", "fp32"],
    typer.Option("--precision", help="auto: bf16 on CUDA, fp32 on the CPU.", rich_help_panel=MACHINE),
]
Compile = Annotated[
    bool,
    typer.Option(
        "--compile",
        help="Compile the network first: takes minutes, then steps are faster; last digits differ.",
        rich_help_panel=MACHINE,
    ),
]
Processes = Annotated[
    int,
    typer.Option(
        "--processes", metavar="N", min=1, help="Processes on the CPU (with --gpus 0).", rich_help_panel=MACHINE
    ),
]
CheckpointEvery = Annotated[
    int,
    typer.Option(
        "--checkpoint-every",
        metavar="STEPS",
        min=0,
        help="Save a checkpoint this often; 0: every five minutes.",
        rich_help_panel=MACHINE,
    ),
]
Tensorboard = Annotated[
    str | None,
    typer.Option(
        "--tensorboard",
        metavar="DIR",
        help="Also write the curve there, for TensorBoard.",
        show_default=False,
        rich_help_panel=MACHINE,
    ),
]
