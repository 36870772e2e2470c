"""An output that is a folder: it appears whole or not at all, and nothing of others is ever replaced."""

import contextlib
import fcntl
import glob
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from handtool.cli.outputs import ANEW
from handtool.errors import HandtoolError

SUFFIX = ".handtool-tmp"


def check_folder(target: Path, force: bool) -> None:
    """Raises HandtoolError where something is there that is not to be replaced: what handtool has not written, and
    without `force` anything."""
    parent = target.absolute().parent
    if not parent.is_dir():
        raise HandtoolError(f"there is no folder {parent} for {target.name}", hint=f"mkdir -p {parent}")
    if not target.exists() and not target.is_symlink():
        return
    if target.is_symlink() or not target.is_dir():
        raise HandtoolError(f"{target} exists and is no folder: a LeRobot set is one", hint="choose another -o")
    if not any(target.iterdir()):
        return
    try:
        is_ours = "handtool" in json.loads((target / "meta" / "info.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):
        is_ours = False
    if not is_ours:
        raise HandtoolError(f"{target} exists and is no set that handtool wrote", hint="choose another -o")
    if not force:
        raise HandtoolError(f"{target} exists", hint=ANEW)


@contextlib.contextmanager
def temporary_folder(target: Path) -> Iterator[Path]:
    """Beside the target, so that it can be renamed. It is gone afterwards; those of killed writers are removed."""
    from handtool.store.disk import current_umask, disk_error

    parent, prefix = target.absolute().parent, f".{target.name[:100]}."
    for stale in parent.glob(f"{glob.escape(prefix)}*{SUFFIX}"):
        remove_if_abandoned(stale)
    try:
        path = Path(tempfile.mkdtemp(SUFFIX, prefix, parent))
        path.chmod(0o777 & ~current_umask())
        lock = os.open(path, os.O_RDONLY)
    except OSError as error:
        raise disk_error(error, parent) from error
    try:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield path
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            raise
        raise disk_error(error, target) from error
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(lock)


def remove_if_abandoned(path: Path) -> None:
    """Where its writer died: the kernel has released the lock that a living one holds."""
    with contextlib.suppress(OSError):
        lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path, ignore_errors=True)
        finally:
            os.close(lock)


def publish_folder(temporary: Path, target: Path) -> None:
    """Its files reach the disk before it gets its name; what was there before goes when the new one is there."""
    from handtool.store.disk import sync_folder

    for path in temporary.rglob("*"):
        if path.is_file():
            with path.open("rb+") as stream:
                os.fsync(stream.fileno())
    old = temporary.with_name(f"{temporary.name.removesuffix(SUFFIX)}.old{SUFFIX}")
    if target.exists() and any(target.iterdir()):
        os.rename(target, old)
    os.rename(temporary, target)
    sync_folder(target.absolute().parent)
    shutil.rmtree(old, ignore_errors=True)
