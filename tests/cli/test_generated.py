"""Completions and the page of commands are committed, fresh, and of use."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from handtool.cli.app import HELPERS, VERBS

ROOT = Path(__file__).resolve().parents[2]
FILES = ("completions/handtool.bash", "completions/_handtool", "completions/handtool.fish", "handtool/docs/COMMANDS.md")
REFRESH = "run in the root of the checkout: python -m handtool.cli.generate"


@pytest.fixture(scope="module")
def generated(tmp_path_factory) -> Path:
    """A folder with what is generated, made where colours are asked for and the terminal is narrow."""
    folder = tmp_path_factory.mktemp("generated")
    for name in FILES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "FORCE_COLOR": "1", "COLUMNS": "60"}
    subprocess.run([sys.executable, "-m", "handtool.cli.generate", folder], env=environment, check=True)
    return folder


@pytest.mark.parametrize("name", FILES)
def test_what_is_generated_is_committed_as_it_is_now(generated, name):
    assert (ROOT / name).exists() and (ROOT / name).read_text() == (generated / name).read_text(), REFRESH


def test_the_page_has_the_help_of_every_command_as_it_is_printed(handtool):
    page = (ROOT / "handtool/docs/COMMANDS.md").read_text()
    for command in (*VERBS, *HELPERS):
        assert f"## handtool {command}\n" in page
    printed = handtool("mine", "--help", env={"COLUMNS": "100"}).stdout
    assert "\n".join(line.rstrip() for line in printed.strip().splitlines()) in page


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


def test_no_help_speaks_of_types_and_ranges():
    page = (ROOT / "handtool/docs/COMMANDS.md").read_text()
    assert re.findall(r".*(?:<\w+|range|\[\d*<?=?x[<>]).*", page) == []


def test_the_chain_of_commands_can_be_copied_from_a_narrow_terminal(handtool):
    lines = handtool("--help", env={"COLUMNS": "80"}).stdout.splitlines()
    chain = [shlex.split(line) for line in lines if line.startswith(" handtool ")]
    assert [words[1] for words in chain] == list(VERBS)
    made = {"videos/", "train.h5", "test.h5"}  # what the user has
    for words in chain:
        assert words[2] in made and (words[1] != "finetune" or words[words.index("--encoder") + 1] in made)
        made.add(words[-1])
