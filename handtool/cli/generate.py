"""Writes what is generated from the command line: `python -m handtool.cli.generate` in the root of the checkout.

completions/ holds a script for each of three shells, handtool/docs/COMMANDS.md the help of every command. A test
checks that both are fresh.
"""

import contextlib
import io
import os
import sys
from pathlib import Path

import typer
from typer.completion import get_completion_script

from handtool.cli.app import HELPERS, VERBS, make_app

FILES = {"bash": "handtool.bash", "zsh": "_handtool", "fish": "handtool.fish"}
PAGE = "handtool/docs/COMMANDS.md"
WIDTH = 100  # columns of the help in the page
HEAD = """# Commands

The help of every command, as `handtool COMMAND --help` prints it. `python -m handtool.cli.generate` writes this page.
"""


def make_completions() -> dict[str, str]:
    """File name -> text, for each of the three shells."""
    asked = {"prog_name": "handtool", "complete_var": "_HANDTOOL_COMPLETE"}
    return {name: get_completion_script(shell=shell, **asked).rstrip() + "\n" for shell, name in FILES.items()}


def make_page() -> str:
    """One section for each command, in the order of `handtool --help`."""
    listed, whole = (typer.main.get_command(make_app(listed=listed)) for listed in (True, False))
    context = whole.make_context("handtool", [], resilient_parsing=True)
    sections = [section("handtool", listed.make_context("handtool", [], resilient_parsing=True))]
    for name in (*VERBS, *HELPERS):
        asked = whole.commands[name].make_context(name, [], parent=context, resilient_parsing=True)
        sections.append(section(f"handtool {name}", asked))
    return "\n".join([HEAD, *sections])


def section(title: str, context: typer.Context) -> str:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        context.get_help()
    lines = [line.rstrip() for line in printed.getvalue().splitlines()]
    return "\n".join([f"## {title}", "", "```", *"\n".join(lines).strip("\n").splitlines(), "```", ""])


def print_plainly() -> None:
    """Help without colours, at one width, whatever the terminal is."""
    os.environ |= {"COLUMNS": str(WIDTH), "NO_COLOR": "1"}
    from typer import rich_utils

    rich_utils.MAX_WIDTH, rich_utils.FORCE_TERMINAL = WIDTH, False


if __name__ == "__main__":
    root = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
    print_plainly()
    for name, text in make_completions().items():
        (root / "completions" / name).write_text(text)
    (root / PAGE).write_text(make_page(), encoding="utf-8")
