"""The inputs of a command: handtool files, opened and checked, and videos, images and other raw files, by path."""

import contextlib
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from handtool.addresses import is_address, without_secrets
from handtool.bounded import read_bounded, too_large
from handtool.cli import state
from handtool.errors import HandtoolError, WrongCommand

if TYPE_CHECKING:
    from handtool.store import File

LARGEST_LIST = 1 << 28  # bytes
log = logging.getLogger(__name__)


@contextlib.contextmanager
def open_sources(names: list[str]) -> Iterator[list["File"]]:
    """The inputs, opened and checked; `-` is standard input, spooled if it is a pipe."""
    from handtool.store import file, open_file, receive

    file.relocated[:] = state.moved or []
    if names.count("-") > 1:
        raise WrongCommand("standard input can be only one of the sources")
    with contextlib.ExitStack() as stack:
        opened = []
        for name in names:
            path, spooled = receive() if name == "-" else (Path(name), False)
            if spooled:
                stack.callback(path.unlink, missing_ok=True)
            elif name == "-":
                state.redirected = path
            opened.append(stack.enter_context(open_file(path, carried=spooled or path == state.spool)))
            log.debug("reads %s (uuid %s)", "standard input" if opened[-1].carried else path, opened[-1].uuid)
        yield opened


def open_raw(names: list[str]) -> list[Path]:
    """Raw material: videos, images, folders. HandtoolError where it does not exist."""
    if not names or "-" in names:
        told = "videos and images are named, they cannot come by pipe"
        raise WrongCommand(told, hint=f"handtool {state.command} PATH -o FILE")
    for name in names:
        if is_address(name):
            told = f"{without_secrets(name)} is an address: addresses are read from a list"
            raise WrongCommand(told, hint=f"handtool {state.command} --list FILE")
        if not Path(name).exists():
            raise HandtoolError(f"{name} does not exist", hint=f"ls {Path(name).parent}")
    return [Path(name) for name in names]


def is_footage(name: str) -> bool:
    """Whether a source is a video, an image or a folder of them, rather than a handtool file (which `-` is too)."""
    from handtool.store.gatekeeper import SIGNATURE

    path = Path(name)
    if path.is_file() and path.suffix not in (".h5", ".hdf5"):
        return path.open("rb").read(8) != SIGNATURE
    return path.is_dir() or (not path.exists() and name != "-" and path.suffix not in (".h5", ".hdf5"))


def read_list(name: str) -> list[Path | str]:
    """The sources that a list names, one a line, without empty lines and lines that begin with #.

    If the list contains NUL bytes, these separate the sources instead. `-` is standard input. Relative paths start at
    the working directory. Addresses (s3://, https://, …) are texts, everything else is a path. Raises HandtoolError
    where the list is empty.
    """
    if name == "-" and sys.stdin.isatty():
        hint = f"find videos -type f | handtool {state.command} --list - -o FILE"
        raise WrongCommand("--list - reads the list from standard input", hint=hint)
    if name == "-":
        data = sys.stdin.buffer.read(LARGEST_LIST + 1)
        if len(data) > LARGEST_LIST:
            raise too_large("--list -", len(data), LARGEST_LIST)
    else:
        data = read_bounded(name, LARGEST_LIST, "line", f"--list {name}")
    if b"\0" in data:
        lines = data.split(b"\0")
    else:
        lines = [line for line in data.splitlines() if not line.startswith(b"#")]
    texts = [os.fsdecode(line) for line in lines if line.strip()]
    paths = [text.strip() if is_address(text) else Path(text) for text in texts]
    if not paths:
        raise HandtoolError(f"--list {name} names nothing", hint="one path a line")
    return paths


def stamp(file: "File | Path") -> Any:
    """An input as the history records it."""
    from handtool.store import Input, stamp_raw

    if isinstance(file, Path):
        return stamp_raw(file)
    return Input("-" if file.carried else str(file.path), file.path.stat().st_size, file.uuid)


@contextlib.contextmanager
def open_extra(name: str) -> Iterator["File | Path"]:
    """A further input: a file of ours, opened, or raw material, as a path."""
    from handtool.store import open_file
    from handtool.store.gatekeeper import SIGNATURE

    path = Path(name)
    if not path.exists():
        raise HandtoolError(f"{path} does not exist", hint=f"ls {path.parent}")
    head = path.open("rb").read(8) if path.is_file() else b""
    if head != SIGNATURE and path.suffix not in (".h5", ".hdf5"):
        yield path
    else:
        with open_file(path) as file:
            yield file
