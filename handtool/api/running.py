"""`handtool.run`: runs a command from Python.

The call uses the command's own options (cli/NAME.py), so that names, ranges, choices, conflicts between options and the
command line in the output's history are defined once.
"""

import difflib
import keyword
import os
import shlex
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer

from handtool.cli import state
from handtool.cli.app import HELPERS, VERBS, make_app
from handtool.cores import settle_openmp
from handtool.errors import WrongCommand
from handtool.store.file import relocated

Name = str | Path
RUN_LOCK = threading.RLock()  # cli/state.py holds the state of one command
SHELL_ONLY = {"source", "sources", "output", "outputs", "as_json", "quiet", "verbose", "everything", "help"}
CONFIG_NAMES = {
    "noise_px": "noise",
    "source": "from",
    "rotation_deg": "rotation",
    "blur_px": "blur",
    "protocols": "protocol",
}


def run(
    command: str,
    sources: Name | Iterable[Name] | None = None,
    /,
    output: Name | Iterable[Name] | None = None,
    **settings: Any,
) -> dict[str, Any]:
    """`handtool COMMAND SOURCES… -o OUTPUT --setting value …`; returns its report. Nothing is printed.

    `settings`: the command's options, with _ for -, under their name or that of the config (config.py), including
    further inputs (model="pose.h5") and force=True, restart=True. Lists are given as lists or tuples. As on the command
    line, an existing output of the same settings and inputs is kept, and its report is returned.

    Errors: WrongCommand (no such command or setting, a value out of range, a setting that has no effect with the
    others), other HandtoolErrors as raised by the command; none ends the process.
    """
    with RUN_LOCK:
        settle_openmp()
        group, options = load_command(command)
        words = [command, *source_words(command, options, sources, settings)]
        known = settings_of(options)
        words += [word for name, value in settings.items() for word in setting_words(command, known, name, value)]
        words += output_words(command, options, output, settings)
        with call_from_python(command, words) as reports, usage_errors(command):
            with group.make_context("handtool", [*words, "--quiet"]) as context:
                group.invoke(context)
        return reports[-1] if reports else {}  # a rank other than 0 has no report


def load_command(command: str) -> tuple[Any, list[Any]]:
    """typer's group with only that command, and the command's options. Errors: WrongCommand."""
    check_name("command", command, [*VERBS, *HELPERS])
    group: Any = typer.main.get_command(make_app(command))
    return group, group.commands[command].params


def settings_of(options: list[Any]) -> dict[str, Any]:
    """A command's options by their names in `run`."""
    known = {word.lstrip("-").replace("-", "_"): option for option in options for word in (*option.opts, option.name)}
    known |= {name: known[other] for name, other in CONFIG_NAMES.items() if other in known}
    return {
        name: option for name, option in known.items() if option.name not in SHELL_ONLY and not keyword.iskeyword(name)
    }


@contextmanager
def call_from_python(command: str, words: list[str]) -> Iterator[list[dict]]:
    """Within, commands append their reports to the list that is yielded, and raise their errors."""
    before = vars(state).copy()
    reports: list[dict] = []
    vars(state).update(command=command, line=shlex.join(["handtool", *words]), reports=reports)
    try:
        yield reports
    finally:
        vars(state).update(before)
        relocated.clear()


@contextmanager
def usage_errors(command: str) -> Iterator[None]:
    """Turns typer's usage errors into WrongCommand; a command that ends with an exit code has reported the reason."""
    try:
        yield
    except typer.Exit:
        pass
    except Exception as error:
        if not hasattr(error, "format_message"):
            raise
        raise WrongCommand(error.format_message(), hint=f"handtool {command} --help") from None


def source_words(command: str, options: list, sources: Name | Iterable[Name] | None, settings: dict) -> list[str]:
    takes = next((option for option in options if option.name in ("source", "sources")), None)
    names = as_list(sources)
    if takes is None and names:
        raise WrongCommand(f"{command} takes no source", hint=f'handtool.run("{command}", output="{names[0]}")')
    if takes is not None and not names and "listed" not in settings:
        raise WrongCommand(f"{command} needs a source", hint=f'handtool.run("{command}", "FILE.h5", …)')
    return [check_path(text_of(name)) for name in names]


def output_words(command: str, options: list, output: Name | Iterable[Name] | None, settings: dict) -> list[str]:
    """The words for the output. A command whose default is standard output needs a file name here."""
    takes = next((option for option in options if option.name in ("output", "outputs")), None)
    names = as_list(output)
    if names and takes is None:
        raise WrongCommand(f"{command} writes no file", hint=f'handtool.run("{command}", …) returns its report')
    if not names and takes is not None and takes.default == "-" and "videos" not in settings:
        raise WrongCommand(f"{command} needs an output", hint=f'handtool.run("{command}", …, "FILE.h5")')
    return [word for name in names for word in ("-o", check_path(text_of(name)))]


def setting_words(command: str, known: dict[str, Any], name: str, value: Any) -> list[str]:
    """The words of one setting on the command line. Errors: WrongCommand, with the most similar name."""
    check_name(f"setting of {command}", name, known)
    option = known[name]
    word = next(word for word in option.opts if word.startswith("--"))
    if value is None or value is False:
        return []
    if getattr(option, "is_flag", False):
        if value is not True:
            raise WrongCommand(f"{name}={value!r}: True or False")
        return [word]
    if option.multiple:
        return [part for each in as_list(value) for part in (word, text_of(each))]
    return [word, ",".join(map(text_of, value)) if isinstance(value, (list, tuple)) else text_of(value)]


def check_name(what: str, name: str, known: Iterable[str]) -> None:
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"{near[0]}?" if near else f"there are {', '.join(known)}"
        raise WrongCommand(f"{name!r} is no {what}", hint=hint)


def check_path(name: str) -> str:
    if name.startswith("-"):
        raise WrongCommand(f"{name!r} is not the name of a file", hint=f"./{name}")
    return name


def as_list(values: Any) -> list:
    return [] if values is None else [values] if isinstance(values, (str, os.PathLike)) else list(values)


def text_of(value: Any) -> str:
    return os.fspath(value) if isinstance(value, os.PathLike) else str(getattr(value, "item", lambda: value)())
