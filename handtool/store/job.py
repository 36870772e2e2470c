"""OUT.partial/: the saved state of a long stage, from which it continues after a kill."""

import contextlib
import fcntl
import json
import logging
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from handtool.errors import DamagedFile, HandtoolError, first_line
from handtool.names import name_beside
from handtool.store.columns import read_array, write_array
from handtool.store.disk import disk_error, write_bytes_whole, write_whole
from handtool.store.mediapipe_api import differ, name_api
from handtool.store.provenance import Record
from handtool.store.text import from_json_bytes, json_bytes

log = logging.getLogger(__name__)
LOCK_WAIT_S = 2.0
SUFFIX = ".part.h5"


class Job:
    """A folder of finished parts, each a complete, fsynced HDF5 file with checksums. Locked while open."""

    def __init__(self, folder: Path, lasting: bool = True) -> None:
        self.folder, self.lasting = folder, lasting
        self.lock: int | None = None

    def __enter__(self) -> "Job":
        return self

    def __exit__(self, *_: object) -> None:
        if not self.lasting or (self.lock is not None and not self.names()):  # nothing to continue from
            shutil.rmtree(self.folder, ignore_errors=True)
        if self.lock is not None:
            os.close(self.lock)

    def path(self, name: str) -> Path:
        return self.folder / f"{name}{SUFFIX}"

    def has(self, name: str) -> bool:
        return self.path(name).exists()

    def names(self) -> list[str]:
        return sorted(p.name.removesuffix(SUFFIX) for p in self.folder.glob(f"*{SUFFIX}"))

    def drop(self, name: str) -> None:
        self.path(name).unlink(missing_ok=True)

    def save(self, name: str, values: dict[str, object], attrs: dict | None = None) -> None:
        """Writes or replaces a part atomically: arrays and bytes as datasets, everything else as JSON."""
        with write_whole(self.path(name)) as disk, h5py.File(disk, "w", libver=("v110", "v110")) as h5:
            plain = {"attrs": attrs or {}, "values": {}}
            for key, value in values.items():
                if isinstance(value, (bytes, np.ndarray)):
                    write_value(h5, key, value)
                else:
                    plain["values"][key] = value
            write_array(h5, "plain", json_bytes(plain), contiguous=True)

    def load(self, name: str) -> dict:
        """The values that `save` wrote. Errors: DamagedFile."""
        path = self.path(name)
        try:
            with h5py.File(path, "r", locking=False) as h5:
                plain: Any = from_json_bytes(read_array(h5["plain"], path))
                values = dict(plain["values"])
                if "values" in h5:
                    h5["values"].visititems(lambda key, item: read_value(key, item, values, path))
                return values
        except (OSError, KeyError, RuntimeError, ValueError) as error:
            raise DamagedFile(f"{path} is damaged ({first_line(error)})", hint="run again with --restart") from error

    def keep_to(self, api: dict[str, str]) -> None:
        """api: which of MediaPipe's APIs makes the parts. Errors: HandtoolError if another one made those there are."""
        note = self.folder / "mediapipe.json"
        before = json.loads(note.read_text()) if note.exists() else {}
        if differ(before, api) and self.names():
            raise HandtoolError(
                f"{self.folder} holds the beginning of a run by MediaPipe's {name_api(before)}; here it would go on by "
                f"the {name_api(api)}",
                hint="add --restart to begin anew, choose another -o, or use what it began with",
            )
        write_bytes_whole(note, json.dumps(api).encode())

    def remove(self) -> None:
        """job.json last, by which `remove_leftover` knows what a kill leaves."""
        with contextlib.suppress(OSError):
            for path in self.folder.iterdir():
                if path.name != "job.json":
                    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        shutil.rmtree(self.folder, ignore_errors=True)


def write_value(h5: h5py.File, key: str, value: bytes | np.ndarray) -> None:
    array = np.frombuffer(value, np.uint8) if isinstance(value, bytes) else value
    write_array(h5.require_group("values"), key, array, contiguous=True)
    if isinstance(value, bytes):
        h5[f"values/{key}"].attrs["bytes"] = np.True_


def read_value(key: str, item: h5py.Dataset | h5py.Group, values: dict, path: Path) -> None:
    if isinstance(item, h5py.Dataset):
        array = read_array(item, path)
        values[key] = array.tobytes() if item.attrs.get("bytes", False) else array


def open_job(output: Path | None, record: Record, restart: bool = False) -> Job:
    """The state folder of an output. That of a stream is temporary.

    Errors: HandtoolError if another process uses it, or if it belongs to another job (hint: --restart).
    """
    if output is None:
        return Job(Path(tempfile.mkdtemp(prefix="handtool-")), lasting=False)
    folder = output.with_name(name_beside(output, "", ".partial"))
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise disk_error(error, folder) from error
    job = Job(folder)
    job.lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o666)
    try:
        lock_soon(job.lock)
    except BlockingIOError as error:
        os.close(job.lock)
        raise HandtoolError(
            f"{output} is being made by another process ({folder} is locked)", hint="wait for it, or choose another -o"
        ) from error
    except OSError as error:  # NFS without its lock daemon, Lustre without -o flock, some FUSE
        reason = (error.strerror or str(error)).lower()
        log.warning("no locks on this file system (%s): do not start a second run with the output %s", reason, output)
    claim(job, record, restart, output)
    return job


def lock_soon(descriptor: int) -> None:
    """Locks, and waits for a moment where that is refused: the workers of a process that was killed end a little later
    than it does. Raises BlockingIOError where it is locked for longer, other OSErrors where there are no locks."""
    end = time.monotonic() + LOCK_WAIT_S
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > end:
                raise
            time.sleep(LOCK_WAIT_S / 40)


def remove_leftover(output: Path, record: Record) -> None:
    """The state folder of a finished output, which a kill after it got its name left behind. That of another job, or
    one in use, stays."""
    job = Job(output.with_name(name_beside(output, "", ".partial")))
    note = job.folder / "job.json"
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        if not note.exists():
            return job.folder.rmdir()
        if json.loads(note.read_text())["fingerprint"] != record.fingerprint:
            return
        lock = os.open(job.folder / "lock", os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            job.remove()
        finally:
            os.close(lock)


def claim(job: Job, record: Record, restart: bool, output: Path) -> None:
    note = job.folder / "job.json"
    state = json.loads(note.read_text()) if note.exists() else None
    if restart or state is None:
        for part in job.names():
            job.drop(part)
    elif job.names() and state["fingerprint"] != record.fingerprint:
        made = record.difference(state) or "from other inputs"
        assert job.lock is not None
        os.close(job.lock)
        raise HandtoolError(
            f"{job.folder} holds the beginning of another run, made {made}",
            hint="add --restart to begin anew, or choose another -o",
        )
    said = {"program": record.program, "fingerprint": record.fingerprint, "result": record.result}
    write_bytes_whole(note, json.dumps(said | {"config": record.settings}, indent=1).encode())
