"""Completions are committed for three shells, fresh, and answer."""

from pathlib import Path

import pytest

from handtool.cli.completions import make_completions

FOLDER = Path(__file__).resolve().parents[2] / "completions"


def test_the_committed_scripts_are_what_typer_generates():
    assert {p.name: p.read_text() for p in FOLDER.iterdir()} == make_completions()


@pytest.mark.parametrize(
    "asked",
    [
        {"_HANDTOOL_COMPLETE": "complete_bash", "COMP_WORDS": "handtool mi", "COMP_CWORD": "1"},
        {"_HANDTOOL_COMPLETE": "complete_zsh", "_TYPER_COMPLETE_ARGS": "handtool mi"},
        {
            "_HANDTOOL_COMPLETE": "complete_fish",
            "_TYPER_COMPLETE_ARGS": "handtool mi",
            "_TYPER_COMPLETE_FISH_ACTION": "get-args",
        },
    ],
    ids=["bash", "zsh", "fish"],
)
def test_a_shell_is_told_the_command_that_it_began(handtool, asked):
    done = handtool(env=asked)
    assert "mine" in done.stdout and "embed" not in done.stdout
