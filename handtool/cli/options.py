"""Options that several commands share: one name for one thing, everywhere."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from handtool.cli import state


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
        help="Where the result goes; - or nothing: standard output.",
        show_default=False,
    ),
]
NamedOutput = Annotated[
    str,
    typer.Option(
        "-o", "--output", metavar="FILE", help="Where the result goes; - : standard output (cannot be resumed)."
    ),
]
ReportOutput = Annotated[
    str | None,
    typer.Option(
        "-o", "--output", metavar="FILE", help="Write the result here too; nothing: only print it.", show_default=False
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Make the output anew even if it exists.")]
Restart = Annotated[bool, typer.Option("--restart", help="Begin anew instead of going on with OUT.partial/.")]
Json = Annotated[bool, typer.Option("--json", help="Print the report as JSON.")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", callback=set_quiet, help="Only errors on standard error.")]
Verbose = Annotated[bool, typer.Option("-v", "--verbose", callback=set_verbose, help="More on standard error.")]
Moved = Annotated[
    list[Path] | None,
    typer.Option(
        "--crops",
        metavar="PATH",
        callback=set_moved,
        help="Where a linked file is now, if it was moved (found by its uuid; repeatable).",
        show_default=False,
    ),
]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Same seed, same inputs: same result.")]
Workers = Annotated[
    int, typer.Option("--workers", min=0, envvar="HANDTOOL_WORKERS", help="Worker processes; 0: one per core.")
]
Threads = Annotated[int, typer.Option("--threads", min=0, help="Threads; 0: one per core; 1: deterministic.")]
Device = Annotated[str, typer.Option("--device", envvar="HANDTOOL_DEVICE", help="auto, cpu or cuda.")]
Gpus = Annotated[
    int | None,
    typer.Option("--gpus", min=0, help="GPUs of this machine; 0: the CPU.", show_default="one if there is one"),
]
Processes = Annotated[int, typer.Option("--processes", min=1, help="Processes on the CPU (with --gpus 0).")]
BatchSize = Annotated[int | None, typer.Option("--batch-size", min=1, help="Per step, over all processes.")]
InputSize = Annotated[int, typer.Option("--input-size", min=32, help="Side of the network's input, px.")]
LearningRate = Annotated[float | None, typer.Option("--learning-rate", min=0.0, help="Peak learning rate.")]

# Of pretrain and finetune.
TRAINING = {"rich_help_panel": "Training"}
Accumulate = Annotated[int, typer.Option(min=1, help="Forward passes a step; each has a loss of its own.", **TRAINING)]
Optimizer = Annotated[
    Literal["adam", "adamw", "lars-adam"],
    typer.Option(help="lars-adam: the published one of pre-training.", **TRAINING),
]
Precision = Annotated[
    Literal["auto", "bf16", "fp16", "fp32"], typer.Option(help="auto: bf16 on CUDA, fp32 on the CPU.", **TRAINING)
]
CheckpointEvery = Annotated[
    int, typer.Option(min=0, metavar="STEPS", help="Save this often; 0: every five minutes.", **TRAINING)
]
Compile = Annotated[
    bool,
    typer.Option(
        "--compile", help="Compile the network first: minutes, then faster steps; other last digits.", **TRAINING
    ),
]
Tensorboard = Annotated[
    str | None,
    typer.Option("--tensorboard", metavar="DIR", help="Write the curve there too, for TensorBoard.", **TRAINING),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Say shapes, steps, learning rate and memory; train nothing.", **TRAINING)
]
