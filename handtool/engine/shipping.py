"""The folder into which workers write, on nodes of a cluster that see it and on those that do not.

A node that sees it writes there, as a process of this machine does. Any other one writes into a folder of its own, and
what it has finished travels to the process that started the run.
"""

import contextlib
import os
import secrets
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple


class Folder(NamedTuple):
    """One of the arguments of `open_work`: a folder into which workers write.

    finished: the suffix of files that are whole when they have their name; others are notes about the unit in work.
    keep(path, content) writes a file that came from elsewhere, whole or not at all.
    """

    path: Path
    finished: str
    keep: Callable[[Path, bytes], object]


@contextlib.contextmanager
def leave_token(folder: Folder | None) -> Iterator[str]:
    """The name of an empty file in the folder, by which a node knows it from another one of the same name."""
    name = f".cluster-{secrets.token_hex(8)}"
    if folder is None:
        yield name
        return
    (folder.path / name).touch()
    try:
        yield name
        os.listdir(folder.path)  # NFS looks anew for files of others in a folder that is listed
    finally:
        (folder.path / name).unlink(missing_ok=True)


def settle(folder: Folder, token: str) -> Path:
    """On a node: the folder to write into, itself if it is seen there."""
    seen = (folder.path / token).exists()
    return folder.path if seen else Path(tempfile.mkdtemp(prefix="handtool-"))


def take_files(own: Path, finished: str, all_of_them: bool) -> Iterator[tuple[str, bytes]]:
    """Takes the finished files out of a node's own folder; all of them: notes, too. Gives (name, content)."""
    for path in sorted(own.iterdir()):
        if path.is_file() and not path.name.startswith(".") and (all_of_them or path.name.endswith(finished)):
            yield path.name, path.read_bytes()
            path.unlink()
