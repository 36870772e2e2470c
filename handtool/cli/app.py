"""The `handtool` command: seven verbs in pipeline order, then the helpers."""

import contextlib
import importlib
import os
import signal
import sys
from typing import NoReturn

import typer

from handtool import __version__
from handtool.cli.command import Command, with_common_options
from handtool.cli.options import option
from handtool.cli.printing import Messages
from handtool.cli.runner import run_to_code, with_exit_code

VERBS = {  # in pipeline order, each with its line in the list of commands
    "extract": "Find the hands in videos and images, and cut them out.",
    "keypoints": "Give every hand its 21 2D keypoints.",
    "embed": "Turn the keypoints of each hand into a short vector (PCA).",
    "mine": "Find, for every hand, the most similar hands in other videos.",
    "pretrain": "Train an encoder on such pairs, without labels.",
    "finetune": "Train a 3D pose model on labelled hands.",
    "eval": "Score predicted hands: MPJPE, PA-MPJPE, PCK, AUC.",
}
HELP = {"help_option_names": ["-h", "--help"]}
HELPERS = {
    "synth": "Make labelled hands, or videos of them, from nothing.",
    "predict": "Predict the 3D pose of every hand, of crops or of videos.",
    "show": "Draw what a file holds: sheets, maps, curves, or a film.",
    "report": "Put files together on one HTML page.",
    "info": "Tell what is in a file, and how it was made.",
    "check": "Tell whether files are whole.",
    "cat": "Join files of hands.",
    "split": "Divide hands into training, validation and test.",
    "export": "Write tables as csv, json or npz, and weights for other programs.",
    "doctor": "Tell whether this machine is ready.",
}


def show_version(value: bool) -> None:
    if value:
        typer.echo(f"handtool {__version__}")
        raise typer.Exit


def start(
    version: option(bool, "--version", "Print the version.", callback=show_version, is_eager=True) = False,
) -> None:
    """From video to a 3D hand-pose model and its error in mm, in steps that read and write HDF5:

    handtool extract videos/ -o crops.h5
    handtool keypoints crops.h5 -o keypoints.h5
    handtool embed keypoints.h5 -o embeddings.h5
    handtool mine embeddings.h5 --topk 5 -o pairs.h5
    handtool pretrain pairs.h5 --gpus 4 -o encoder.h5
    handtool finetune train.h5 --encoder encoder.h5 -o pose.h5
    handtool eval test.h5 --model pose.h5 -o result.h5
    """


def make_app(wanted: str | None = None, listed: bool = False) -> typer.Typer:
    """All commands, or only the `wanted` one, so that the others need not be loaded. `listed`: none is loaded, since
    the list of commands shows no options, and reading them takes typer as long as everything else.
    """
    plain = {"add_completion": False, "pretty_exceptions_enable": False}
    app = typer.Typer(name="handtool", no_args_is_help=True, context_settings=HELP, **plain)
    app.callback()(start)
    for panel, commands in (("The pipeline", VERBS), ("Helpers", HELPERS)):
        for name, summary in commands.items():
            if listed:
                app.command(name, rich_help_panel=panel, help=summary)(start_nothing)
            elif wanted in (None, name):
                function = getattr(importlib.import_module(f"handtool.cli.{name}"), name)
                whole = with_common_options(with_exit_code(function, name))
                app.command(name, cls=Command, rich_help_panel=panel)(whole)
    return app


def start_nothing() -> None:
    """In the place of a command that is only listed."""
    raise AssertionError("a command was run that was only to be listed")


def main() -> None:
    replace_closed_streams()
    if "_HANDTOOL_COMPLETE" in os.environ:  # the shell asks what could come next (completions/)
        from typer.completion import completion_init

        completion_init()
    sys.stdout.reconfigure(errors="backslashreplace")  # a file name need not be UTF-8
    sys.stderr = Messages(sys.stderr)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `--help | head`; a command has pipes of its own, and ignores it
    named = [word for word in sys.argv[1:] if word in (*VERBS, *HELPERS)]
    asked = named[0] if named and named[0] == sys.argv[1] else None

    def run() -> None:
        try:
            make_app(asked, listed=not named and "_HANDTOOL_COMPLETE" not in os.environ)(prog_name="handtool")
        finally:
            sys.stdout.flush()

    try:
        sys.exit(run_to_code(run))
    except SystemExit as end:
        if started_by_others():
            leave(end.code)
        raise


def replace_closed_streams() -> None:
    """/dev/null for the standard streams that are closed, as daemons and some batch systems start their programs: what
    is said there is lost, and no file that is opened later gets their numbers, where libraries print."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            if (nowhere := os.open(os.devnull, os.O_RDWR)) != number:
                os.dup2(nowhere, number)
                os.close(nowhere)
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w" if number else "r"))


def started_by_others() -> bool:
    """Whether torchrun or a SLURM step of several tasks started this process."""
    return {"RANK", "WORLD_SIZE"} <= set(os.environ) or os.environ.get("SLURM_STEP_NUM_TASKS", "1") != "1"


def leave(code: str | int | None) -> NoReturn:
    """End at once, when everything is written and said, without waiting for torch's own threads: now and then one of
    them outlives what it belongs to, the process is aborted, and the launcher takes a finished run for a failed one.
    """
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))
