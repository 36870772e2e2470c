"""Writes the completion scripts: `python -m handtool.cli.completions completions/`. A test keeps the committed ones fresh."""

import sys
from pathlib import Path

from typer.completion import get_completion_script

FILES = {"bash": "handtool.bash", "zsh": "_handtool", "fish": "handtool.fish"}


def make_completions() -> dict[str, str]:
    """File name -> text, for each of the three shells."""
    return {
        name: get_completion_script(prog_name="handtool", complete_var="_HANDTOOL_COMPLETE", shell=shell).rstrip()
        + "\n"
        for shell, name in FILES.items()
    }


if __name__ == "__main__":
    for name, text in make_completions().items():
        (Path(sys.argv[1]) / name).write_text(text)
