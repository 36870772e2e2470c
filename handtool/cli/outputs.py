"""The outputs of a command: none is overwritten unasked, none is made twice, each appears whole or not at all."""

import contextlib
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from handtool.errors import HandtoolError, WrongCommand

if TYPE_CHECKING:
    from handtool.store import File, Record

log = logging.getLogger(__name__)
ANEW = "add --force to make it anew, or choose another -o"


def read_kept_report(target: Path, record: "Record") -> dict | None:
    """The report of an output that this very command made already; None where there is no output.

    Errors: HandtoolError where the output is another one, with what differs.
    """
    from handtool.errors import DamagedFile
    from handtool.store import find_broken_links, open_file
    from handtool.store.disk import refuse_no_file

    if not target.exists():
        return None
    refuse_no_file(target)
    try:
        with open_file(target) as kept:
            last, broken = kept.provenance[-1], find_broken_links(kept)
    except DamagedFile as error:
        told = f"{target} exists and is not a sound handtool file ({error.message})"
        raise HandtoolError(told, hint="choose another -o, or add --force") from error
    if last["fingerprint"] != record.fingerprint:
        raise HandtoolError(f"{target} exists, made {difference(last, record)}", hint=ANEW)
    if broken:
        raise HandtoolError(broken[0].message, hint=ANEW)
    return last["report"]


@contextlib.contextmanager
def open_failed(target: Path | None, record: "Record", listed: dict[str, list]) -> Iterator["File | None"]:
    """The output that this very command made before, if some of its videos failed; else None.

    A listed file that was missing then may be there now. Errors: HandtoolError where the output is another one.
    """
    from handtool.store import VIDEOS, open_file, read_column, stamp_list

    if target is None or not target.exists():
        yield None
        return
    with open_file(target) as kept:
        failed: set[str] = set()
        if kept.has(VIDEOS):
            failed.update(read_column(kept, VIDEOS.path)[read_column(kept, VIDEOS.frames_decoded) == 0])
        relisted = {name: stamp_list(name, paths, failed) for name, paths in listed.items()}
        then = replace(record, inputs=[relisted.get(item.path, item) for item in record.inputs])
        if kept.provenance[-1]["fingerprint"] != then.fingerprint:
            read_kept_report(target, record)  # raises, unless it is up to date
        log.info("%s of %s failed", f"{len(failed)} videos" if failed else "no video", target)
        yield kept if failed else None


def difference(last: dict, record: "Record") -> str:
    """What sets an existing output apart from the one asked for, in words."""
    if made := record.difference(last):
        return made
    have = [item["uuid"] or item["stamp"] for item in last["inputs"]]
    names = [item.path for item in record.inputs if (item.uuid or item.stamp) not in have]
    return "from other inputs" + (f" ({', '.join(names)} differs)" if names else "")


def refuse_own_input(target: Path | None, inputs: list["File | Path"], program: str | None = None) -> None:
    """An output over its own input, over a file that an input links to, or over a file of a folder that is read, would
    destroy what it is made of. In such a folder only what `program` itself has made is replaced."""
    if target is None or not os.path.lexists(target):
        return
    paths = [[item] if isinstance(item, Path) else files_of(item) for item in inputs]
    if any(is_same(target, path) for path in chain.from_iterable(paths)):
        raise WrongCommand(f"{target} is both input and output", hint="choose another -o")
    for folder in (item for item in inputs if isinstance(item, Path) and item.is_dir()):
        if is_below(target, folder) and not is_made_by(target, program):
            raise WrongCommand(f"{target} lies in {folder}, which is read", hint="choose another -o")


def files_of(file: "File") -> list[Path]:
    """The file, and those in which it keeps its tables and its images."""
    from handtool.store import CROPS, open_jpegs

    kept = []
    with contextlib.suppress(HandtoolError):  # some are gone
        kept = [Path(path) for path, _ in open_jpegs(file).files] if file.has(CROPS) else []
    return [file.path, *file.linked_paths(), *kept]


def is_same(target: Path, path: Path) -> bool:
    """Whether both names lead to one file, whatever they are: links, other spellings."""
    try:
        return os.path.samefile(target, path)
    except (OSError, ValueError):
        return False


def is_below(target: Path, folder: Path) -> bool:
    """By its place, and by what it links to."""
    root = os.path.realpath(folder)
    own = os.path.join(os.path.realpath(target.parent), target.name)
    return any(os.path.commonpath([root, place]) == root for place in (own, os.path.realpath(target)))


def is_made_by(target: Path, program: str | None) -> bool:
    from handtool.store import open_file

    try:
        with open_file(target) as file:
            return file.provenance[-1]["program"] == program
    except HandtoolError:
        return False


def write_other(output: str, data: bytes, force: bool) -> str:
    """Write a picture, a page or a text whole or not at all. An existing file with the same bytes is `up to date`.

    Returns what happened: "written" or "up to date". Errors: HandtoolError where it exists with other bytes.
    """
    from handtool.store import refuse_closed, refuse_terminal, write_bytes_whole

    if output == "-":
        refuse_terminal("a picture", "display -") if b"\0" in data else refuse_closed()
        sys.stdout.buffer.write(data)
        return "written"
    path = Path(output)
    if path.exists() and not force:
        if path.is_file() and path.read_bytes() == data:
            log.info("%s is up to date", path)
            return "up to date"
        raise HandtoolError(f"{path} exists, with another content", hint=ANEW)
    write_bytes_whole(path, data)
    return "written"


@contextlib.contextmanager
def open_whole(output: str) -> Iterator[BinaryIO]:
    """A file that is written in any order (a film): whole or not at all, also on standard output."""
    from handtool.store import refuse_terminal, write_whole

    if output != "-":
        with write_whole(Path(output)) as file:
            yield file
        return
    refuse_terminal("a film", "ffplay -")
    with tempfile.TemporaryFile() as file:
        yield file
        file.seek(0)
        shutil.copyfileobj(file, sys.stdout.buffer)
