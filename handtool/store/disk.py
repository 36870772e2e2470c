"""Writing files so that they appear complete or not at all, also when the disk is full."""

import contextlib
import errno
import fcntl
import glob
import io
import mmap
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from handtool.errors import HandtoolError
from handtool.names import name_beside

RANDOM = 8  # letters that tempfile puts into a name

ZEROS = 1 << 22  # bytes written at once


class DiskFile(io.RawIOBase):
    """The file that libhdf5 writes to. libhdf5 crashes the process when a write fails; this one keeps the error.

    `error` is the first OSError, or None; check it after closing the HDF5 file and before giving the file its name.
    Once closed it takes and gives nothing, and says nothing: libhdf5 may only then let go of a file that was given up.
    """

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self.raw = os.fdopen(descriptor, "w+b", buffering=0)
        self.error: OSError | None = None

    def writable(self) -> bool:  # libraries ask this before they write
        return True

    readable = seekable = writable

    def write(self, data: Any) -> int:  # a buffer
        view = memoryview(data).cast("B")
        while len(view) and self.error is None:
            try:
                view = view[self.raw.write(view) :]
            except OSError as error:
                self.error = error
            except BaseException:  # libhdf5 may swallow the exception, but the file is damaged
                self.error = OSError(errno.EINTR, "interrupted")
                raise
        return memoryview(data).nbytes

    def readinto(self, buffer: Any) -> int:
        return 0 if self.closed else self.raw.readinto(buffer)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return offset if self.closed else self.raw.seek(offset, whence)

    def tell(self) -> int:
        return 0 if self.closed else self.raw.tell()

    def flush(self) -> None:
        """Nothing waits here."""

    def truncate(self, size: int | None = None) -> int:
        self.attempt(lambda: self.raw.truncate(size))
        return size or 0

    def sync(self) -> None:
        self.attempt(lambda: os.fsync(self.raw.fileno()))

    def attempt(self, step: Callable[[], object]) -> None:
        if self.error is None:
            try:
                step()
            except OSError as error:
                self.error = error

    def close(self) -> None:
        self.error = self.error or OSError(errno.EBADF, "closed")
        self.raw.close()
        super().close()


def scratch_array(folder: Path | None, shape: tuple[int, ...], dtype: np.dtype | type) -> np.ndarray:
    """An array on the disk, in an unnamed file that disappears with the array. Its space is allocated at once, so that
    a full disk raises HandtoolError here instead of crashing the process later. `folder` None: the temporary folder."""
    size = max(1, int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize)
    with tempfile.TemporaryFile(dir=folder) as file:
        try:
            allocate(file.fileno(), size)
        except OSError as error:
            raise disk_error(error, folder or tempfile.gettempdir()) from error
        return np.frombuffer(mmap.mmap(file.fileno(), size), dtype, int(np.prod(shape, dtype=np.int64))).reshape(shape)


def allocate(descriptor: int, size: int) -> None:
    """Zeros in a new file, in space of their own. Raises OSError where there is too little of it."""
    if hasattr(os, "posix_fallocate"):
        return os.posix_fallocate(descriptor, 0, size)
    for start in range(0, size, ZEROS):  # macOS
        os.pwrite(descriptor, bytes(min(ZEROS, size - start)), start)


def disk_error(error: OSError, path: Path | str) -> HandtoolError:
    """The error for a failed write: which file, why, and a hint."""
    hint = "free some space, or set TMPDIR to a folder with more (df -h)" if error.errno in (27, 28, 122) else None
    return HandtoolError(f"cannot write {path}: {os.strerror(error.errno or 5).lower()}", hint=hint)


def make_neighbour(path: Path) -> tuple[int, Path]:
    """An open, locked temporary file beside `path`. Removes the temporary files that killed writers left there."""
    suffix = ".handtool-tmp"
    prefix = name_beside(path, ".", ".", room=RANDOM + len(suffix))
    refuse_no_file(path)
    try:
        for stale in path.parent.glob(f"{glob.escape(prefix)}*{suffix}"):
            remove_if_abandoned(stale)
        descriptor, name = tempfile.mkstemp(suffix, prefix, path.parent)
    except OSError as error:
        raise HandtoolError(f"cannot write into {path.parent}: {(error.strerror or str(error)).lower()}") from error
    with contextlib.suppress(OSError):  # a file system without locks: others cannot lock it either, and leave it alone
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    if not os.path.exists(name):  # another writer removed it before it was locked
        os.close(descriptor)
        return make_neighbour(path)
    os.fchmod(descriptor, 0o666 & ~current_umask())
    return descriptor, Path(name)


def refuse_no_file(path: Path) -> None:
    """Refuses to replace a folder, a device or a named pipe by a file, even with --force."""
    if path.is_dir():
        raise HandtoolError(f"cannot write {path}: it is a folder", hint=f"-o {path / 'FILE'}")
    if path.exists() and not path.is_file():
        hint = "choose another -o; - is standard output"
        raise HandtoolError(f"cannot write {path}: it is no regular file", hint=hint)


def current_umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def remove_if_abandoned(path: Path) -> None:
    """Removes a temporary file whose writer died: the kernel has released the lock that a living writer holds."""
    try:
        descriptor = os.open(path, os.O_RDWR)
    except OSError:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink(missing_ok=True)
    except OSError:
        pass
    finally:
        os.close(descriptor)


def linked_path(path: Path, name: str) -> Path:
    """The file that `path` calls `name`: beside it or, if `path` is a symbolic link, also beside its target."""
    near = Path(os.path.normpath(os.path.join(os.path.realpath(path.parent), name)))
    if path.is_symlink() and not near.exists():
        return Path(os.path.normpath(os.path.join(os.path.dirname(os.path.realpath(path)), name)))
    return near


def publish(temporary: Path, path: Path) -> None:
    """Gives a finished, fsynced file its name, and fsyncs the folder, so that the name survives a power failure.
    Errors: HandtoolError (the folder is gone)."""
    try:
        os.replace(temporary, path)
        sync_folder(path.parent)
    except OSError as error:
        raise disk_error(error, path) from error


def sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    with contextlib.suppress(OSError):  # some network file systems cannot fsync a folder
        os.fsync(descriptor)
    os.close(descriptor)


@contextlib.contextmanager
def write_whole(path: Path) -> Iterator[DiskFile]:
    """A file other than HDF5, written in any order; it gets its name if the `with` block succeeds. A failed write
    raises HandtoolError at the end of the block, because a library in between (PyAV) would swallow the exception."""
    descriptor, temporary = make_neighbour(path)
    disk = DiskFile(descriptor)
    try:
        yield disk
        disk.sync()
        if disk.error:
            raise disk_error(disk.error, path)
        publish(temporary, path)
    finally:
        disk.close()
        temporary.unlink(missing_ok=True)


def write_bytes_whole(path: Path, data: bytes) -> None:
    """Writes a small file (csv, png, html), whole or not at all. Errors: HandtoolError if a write fails."""
    with write_whole(path) as file:
        file.write(data)
