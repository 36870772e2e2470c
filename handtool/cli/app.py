"""The `handtool` command: seven verbs in pipeline order, helpers beside them."""

import importlib
import os
import sys
from typing import Annotated

import typer

from handtool import __version__
from handtool.cli.doors import guarded

VERBS = ("extract", "keypoints", "embed", "mine", "pretrain", "finetune", "eval")
HELPERS = ("synth", "predict", "show", "report", "info", "check", "cat", "split", "export", "doctor")


def show_version(value: bool) -> None:
    if value:
        typer.echo(f"handtool {__version__}")
        raise typer.Exit


def start(version: Annotated[bool, typer.Option("--version", callback=show_version, is_eager=True, help="Print the version.")] = False) -> None:
    """From video to a 3D hand-pose model and its number, in steps that read and write HDF5.

    handtool extract videos/ -o crops.h5; handtool keypoints crops.h5 -o keypoints.h5; handtool embed keypoints.h5 -o embeddings.h5;
    handtool mine embeddings.h5 --topk 5 -o pairs.h5; handtool pretrain pairs.h5 --gpus 4
    """


def make_app(wanted: str | None = None, explain: bool = False) -> typer.Typer:
    """All commands, or only the one that is wanted: the others need not be loaded to run it.

    `explain`: each command is there by its description alone, without options. That is all that the list of commands shows, and typer
    takes as long to read the options of seventeen commands as to start.
    """
    app = typer.Typer(
        name="handtool", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, context_settings={"help_option_names": ["-h", "--help"]}
    )  # fmt: skip
    app.callback()(start)
    for panel, names in (("The pipeline", VERBS), ("Helpers", HELPERS)):
        for name in names if wanted is None else set(names) & {wanted}:
            function = getattr(importlib.import_module(f"handtool.cli.{name}"), name)
            command = app.command(name, rich_help_panel=panel, help=function.__doc__)
            command(start_nothing if explain else guarded(function, name))
    return app


def start_nothing() -> None:
    """In the place of a command that is only listed."""
    raise AssertionError("a command was run that was only to be listed")


def main() -> None:
    if "_HANDTOOL_COMPLETE" in os.environ:  # the shell asks what could come next (completions/)
        from typer.completion import completion_init

        completion_init()
    if sys.stdout is not None:
        sys.stdout.reconfigure(errors="backslashreplace")  # a file name need not be UTF-8
    named = [word for word in sys.argv[1:] if word in (*VERBS, *HELPERS)]
    asked = named[0] if named and named[0] == sys.argv[1] else None
    make_app(asked, explain=not named and "_HANDTOOL_COMPLETE" not in os.environ)(prog_name="handtool")
