"""Checks the structure of a file in a child process before this process opens it.

A damaged or hostile file can crash libhdf5 or make it loop. In a child process, which is killed after ten seconds of
computing, this does no harm. `python -m handtool.store.gatekeeper PATH` prints JSON lines: a verdict on the file and on
each file that it links to.
"""

import _imp
import contextlib
import errno
import gc
import json
import os
import resource
import select
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, NoReturn

import h5py
import numpy as np
from h5py._objects import phil

from handtool.errors import DamagedFile, HandtoolError, first_line
from handtool.own_time import OwnTime
from handtool.signals import hold_signals
from handtool.store.disk import linked_path
from handtool.store.history_checks import check_history
from handtool.store.schema import ENUMS, FORMAT, FORMAT_VERSION, TABLES, Column, Table
from handtool.store.text import decode

SECONDS = 10  # of computing
LOOK_S = 0.2
ASLEEP_SECONDS = 60  # waiting for a disk that does not answer
FORK_ASLEEP_SECONDS = 5  # of a forked child, which may also wait for a lock that another thread held
CAN_FORK = sys.platform == "linux"
DONE = {"done": True}
SAID_DONE = json.dumps(DONE).encode() + b"\n"
UNANSWERED = {"problem": "could not be read: the disk does not answer", "unanswered": True}
Ending = Literal["crashes", "hangs", "sleeps"]
MOST_OBJECTS, DEEPEST = 200_000, 32
SIGNATURE = b"\x89HDF\r\n\x1a\n"
ALLOWED_FILTERS = {h5py.h5z.FILTER_FLETCHER32}
LINKING = ("/", "/pool")  # groups that may hold links to tables of other files
LARGEST_ATTRIBUTE = 16 << 20  # bytes
SPARSE = 1 << 30  # bytes of holes that a sparse copy of a sound file may have
checked: dict[tuple, dict] = {}  # files that this process has checked: (device, inode, size, mtime) -> verdict


class Refused(Exception):
    """The file is not accepted. Arguments: what is wrong with it, and optionally a hint."""


def ensure_sound(path: Path) -> None:
    """Checks the file and those it links to, once per process. Errors: DamagedFile if this file is not sound."""
    if identity(path) in checked:
        return judge(path, checked[identity(path)])
    for verdict in examine(path):
        if verdict["path"] and os.path.exists(verdict["path"]):
            checked[identity(Path(verdict["path"]))] = verdict
    judge(path, checked.get(identity(path), {"problem": "cannot be examined"}))


def identity(path: Path) -> tuple:
    stat = os.stat(path)
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns


def judge(path: Path, verdict: dict) -> None:
    if verdict.get("newer"):
        raise DamagedFile(
            f"{path} is in format version {verdict['newer']}, this program reads {FORMAT_VERSION}",
            hint="upgrade handtool",
        )
    if verdict.get("unanswered"):
        raise HandtoolError(
            f"{path} could not be read within {ASLEEP_SECONDS} s: the disk does not answer", hint="try again"
        )
    if verdict.get("problem"):
        raise DamagedFile(f"{path} {verdict['problem']}", hint=verdict.get("hint"))


def examine(path: Path) -> list[dict]:
    """The child's verdicts. If it crashed or hung, that is the verdict on the file that it was checking."""
    output, ending = fork_child(path) if CAN_FORK else start_child(path)
    if CAN_FORK and ending == "sleeps":
        output, ending = start_child(path)
    said = [json.loads(line) for line in output.decode("utf-8", "replace").splitlines() if line.endswith("}")]
    verdicts = [entry for entry in said if "problem" in entry]
    if DONE not in said:
        begun = [str(path), *(entry["path"] for entry in said if entry.get("begun"))]
        problem = {"problem": f"{ending} the HDF5 library", "hint": "it is damaged; make it again"}
        verdicts.append({"path": begun[-1]} | (UNANSWERED if ending == "sleeps" else problem))
    return verdicts


def fork_child(path: Path) -> tuple[bytes, Ending]:
    """What the child wrote, and how it ended if that is not all. A fork takes 5 ms, a new interpreter 300 ms.

    The child may come to wait for a lock that another thread held at the fork. Those that it needs are held here:
    h5py's, and Python's for imports, which the fork itself takes. Should it sleep all the same, `examine` asks a new
    interpreter.
    """
    reader, writer = os.pipe()
    child = 0
    try:
        with hold_signals():
            with ready_to_fork():
                child = os.fork()
                if child == 0:
                    be_child(path, writer)
            os.close(writer)
        return read_all(reader, OwnTime(child), min(ASLEEP_SECONDS, FORK_ASLEEP_SECONDS))
    finally:
        os.close(reader)
        if child:
            os.kill(child, signal.SIGKILL)  # its output is complete, or it hangs
            os.waitpid(child, 0)


@contextlib.contextmanager
def ready_to_fork() -> Iterator[None]:
    """Locks are taken in this order, since a thread that imports may come to need h5py's. No garbage is collected
    before the child has it switched off: finalizers may wait for threads that are not there."""
    was_enabled = gc.isenabled()
    _imp.acquire_lock()
    try:
        with phil, warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # warns of forking a process with threads
            gc.disable()
            yield
    finally:
        if was_enabled:
            gc.enable()
        _imp.release_lock()


def be_child(path: Path, writer: int) -> NoReturn:
    """Runs in the forked child. Writes, closes and waits for nothing that belongs to the parent, which ends it; should
    that be gone, the system does. Signals to the group are held (`hold_signals`)."""
    try:
        _, most = resource.getrlimit(resource.RLIMIT_CPU)
        limit = 2 * SECONDS if most == resource.RLIM_INFINITY else min(2 * SECONDS, most)
        resource.setrlimit(resource.RLIMIT_CPU, (int(limit), most))
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # libc prints to stderr when it crashes
        examine_all(str(path), lambda entry: os.write(writer, json.dumps(entry).encode() + b"\n"))
    finally:
        os._exit(0)


def read_all(reader: int, child: OwnTime, most_asleep: float) -> tuple[bytes, Ending]:
    """The bytes of a pipe until the child is done, or computes or sleeps for too long. The end of the pipe does not
    tell: a process that another thread starts meanwhile may hold its other side."""
    output = b""
    while child.look().computing_s < SECONDS and child.asleep_s < most_asleep:
        if select.select([reader], [], [], LOOK_S)[0]:
            block = os.read(reader, 1 << 16)
            output += block
            if not block or output.endswith(SAID_DONE):
                return output, "crashes"
        elif has_ended(child.pid) and not select.select([reader], [], [], 0)[0]:  # it may have written since
            return output, "crashes"
    return output, "hangs" if child.computing_s >= SECONDS else "sleeps"


def has_ended(child: int) -> bool:
    """Whether it has ended, though nobody has waited for it yet."""
    return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def start_child(path: Path) -> tuple[bytes, Ending]:
    """As `fork_child`, with a new interpreter: where forking is unsafe (macOS) or untested, or has come to nothing."""
    package = str(Path(__file__).resolve().parents[2])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))}
    environment.pop("HDF5_PLUGIN_PATH", None)
    command = [sys.executable, "-P", "-m", "handtool.store.gatekeeper", str(path)]
    how: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": environment}
    child = None
    try:
        with hold_signals():
            child = subprocess.Popen(command, stdout=subprocess.PIPE, **how)
        assert child.stdout is not None
        return read_all(child.stdout.fileno(), OwnTime(child.pid), ASLEEP_SECONDS)
    finally:
        if child is not None:
            child.kill()
            child.communicate()


def check_file(path: str) -> dict:
    """The verdict on one file: {"path", "problem", "hint", "newer", "links": {table: path}}."""
    verdict: dict[str, Any] = {"path": path, "problem": None, "hint": None, "newer": None, "links": {}}
    try:
        check_signature(path)
        check_storage(path)
        with h5py.File(path, "r", locking=False) as h5:
            version = check_header(h5)
            if version > FORMAT_VERSION:
                return {**verdict, "newer": int(version)}
            check_tree(h5, os.path.getsize(path))
            verdict["links"] = check_links(h5, path)
            check_tables(h5)
            check_history(h5)
    except Refused as refusal:
        verdict["problem"], verdict["hint"] = (*refusal.args, None)[:2]
    except Exception as error:  # h5py raises exceptions of many types on damaged files
        hint = "make it again; handtool check names damaged files"
        return verdict | {"problem": f"is damaged ({first_line(error)})", "hint": hint}
    return verdict


def check_signature(path: str) -> None:
    with open(path, "rb") as file:
        head = file.read(8)
    if not head:
        raise Refused("is empty", "the command that should have written it failed")
    if head != SIGNATURE:
        raise Refused("is not an HDF5 file", "videos and images enter through: handtool extract PATH -o crops.h5")


def check_storage(path: str) -> None:
    """Refuses a file that is hardly more than holes: shapes that fit its size would be read as gigabytes of zeros."""
    size = os.path.getsize(path)
    if size > SPARSE and (holes := size - bytes_stored(path, size)) > SPARSE and holes > 0.9 * size:
        raise Refused(f"is hollow: of its {size:,} bytes only {size - holes:,} are stored")


def bytes_stored(path: str, size: int) -> int:
    """The bytes outside of holes, where the file system tells (lseek(2)); else all."""
    if not hasattr(os, "SEEK_HOLE"):
        return size
    stored, end = 0, 0
    with open(path, "rb") as file:
        while end < size:
            try:
                start = os.lseek(file.fileno(), end, os.SEEK_DATA)
                end = os.lseek(file.fileno(), start, os.SEEK_HOLE)
            except OSError as error:  # nothing but a hole until the end; or it cannot tell
                return stored if error.errno == errno.ENXIO else size
            stored += end - start
    return stored


def check_header(h5: h5py.File) -> int:
    if decode(h5.attrs.get("format", "")) != FORMAT:
        raise Refused("is an HDF5 file, but not one of handtool's")
    version = int(h5.attrs.get("format_version", 0))
    if version <= FORMAT_VERSION and not bool(h5.attrs.get("complete", False)):
        raise Refused("was not finished by its writer", "make it again")
    if version <= FORMAT_VERSION and not decode(h5.attrs.get("uuid", "")):
        raise Refused("has no uuid")
    return version


def check_tree(h5: h5py.File, file_size: int) -> None:
    """Checks that each object is reached once, by a hard link, and has a plain type and a shape that fits the file."""
    seen, queue, total = {h5py.h5o.get_info(h5.id).addr}, [h5], 0
    while queue:
        group = queue.pop()
        check_attributes(group)
        for name in group:
            link = group.get(name, getlink=True)
            if isinstance(link, h5py.ExternalLink) and group.name in LINKING:
                continue  # check_links checks those
            if not isinstance(link, h5py.HardLink):
                raise Refused(f"holds a link out of the schema ({group.name.rstrip('/')}/{name})")
            item = group[name]
            address = h5py.h5o.get_info(item.id).addr
            if address in seen:
                raise Refused(f"holds {item.name} twice (a loop)")
            seen.add(address)
            if len(seen) > MOST_OBJECTS or item.name.count("/") > DEEPEST:
                raise Refused("holds more objects, or deeper ones, than any file of handtool's")
            if isinstance(item, h5py.Group):
                queue.append(item)
            elif isinstance(item, h5py.Dataset):
                check_attributes(item)
                total += check_dataset(item, file_size)
            else:
                raise Refused(f"holds a named type ({item.name})")
    if total > file_size:
        raise Refused(f"says that it holds {total:,} bytes of tables, more than the {file_size:,} of the file")


def is_plain(kind: h5py.h5t.TypeID) -> bool:
    """Whether a type has fixed length: integers, floats, strings, enums."""
    if isinstance(kind, h5py.h5t.TypeStringID) and kind.is_variable_str():
        return False
    return kind.get_class() in (h5py.h5t.INTEGER, h5py.h5t.FLOAT, h5py.h5t.STRING, h5py.h5t.ENUM)


def check_attributes(item: h5py.Group | h5py.Dataset) -> None:
    """Checks that all attributes have a plain type and can be read."""
    for name in item.attrs:
        if not is_plain(item.attrs.get_id(name).get_type()):
            raise Refused(f"holds the attribute {name} of {item.name} in a type that handtool does not write")
        if item.attrs.get_id(name).get_storage_size() > LARGEST_ATTRIBUTE:
            raise Refused(f"holds the attribute {name} of {item.name} with more bytes than any of handtool's")
        item.attrs[name]


def check_dataset(dataset: h5py.Dataset, file_size: int) -> int:
    """Returns the size of its rows, bytes."""
    kind = dataset.id.get_type()
    if not is_plain(kind) or dataset.shape == ():
        raise Refused(f"holds {dataset.name} of a type that handtool does not write")
    properties = dataset.id.get_create_plist()
    if properties.get_layout() == h5py.h5d.VIRTUAL:
        raise Refused(f"holds a virtual dataset ({dataset.name})")
    if properties.get_external_count():
        raise Refused(f"keeps {dataset.name} in another file (external storage)")
    filters = {properties.get_filter(i)[0] for i in range(properties.get_nfilters())}
    if filters - ALLOWED_FILTERS:
        raise Refused(f"holds {dataset.name} behind a filter that handtool does not use")
    size = int(np.prod(dataset.shape, dtype=object)) * kind.get_size() if dataset.shape is not None else 0
    if dataset.shape is None or size > file_size:
        raise Refused(f"says that {dataset.name} has shape {dataset.shape}, more than the file holds")
    if not size <= (stored := dataset.id.get_storage_size()) <= file_size:
        raise Refused(f"says that {dataset.name} has {size:,} bytes, of which {stored:,} are stored")
    return size


def check_links(h5: h5py.File, path: str) -> dict[str, str]:
    """Checks the external links of the root and of /pool: each leads to the table of its own name and is recorded with
    a uuid in the attribute `links`. Returns {table: path}."""
    recorded = json.loads(decode(h5.attrs.get("links", "{}")))
    found = {}
    for group in (h5[name] for name in LINKING if name in h5):
        for name in group:
            link = group.get(name, getlink=True)
            if isinstance(link, h5py.ExternalLink):
                place = f"{group.name}/{name}".lstrip("/")
                entry = recorded.get(place, {})
                known = name in TABLES and link.path == f"/{name}"
                if not known or entry.get("file") != link.filename or not isinstance(entry.get("uuid"), str):
                    raise Refused(f"holds a link out of the schema (/{place} -> {link.filename}:{link.path})")
                found[place] = str(linked_path(Path(path), link.filename))
    if set(found) != set(recorded):
        raise Refused("has links that do not match its record of them")
    return found


def check_tables(h5: h5py.File) -> None:
    """Checks the types of all columns and that columns of one table have one length, in the root and in /pool."""
    if "pool" in h5 and not ("pairs" in h5 and isinstance(h5["pool"], h5py.Group)):
        raise Refused("has a pool without pairs")
    for top in (h5, h5["pool"]) if "pool" in h5 else (h5,):
        rows: dict[str, int] = {}
        for name, table in TABLES.items():
            if isinstance(top.get(name, getlink=True) if name in top else None, h5py.HardLink):
                lengths = check_table(top[name], table)
                if name == "crops" and lengths["N"] and not {"size", "box_scale"} <= set(top[name].attrs):
                    raise Refused("does not say how large its crops are (/crops, attributes size and box_scale)")
                for key in ("N", "V") if table.group != "pairs" else ("N",):
                    if key in lengths and rows.setdefault(key, lengths[key]) != lengths[key]:
                        raise Refused(f"has {lengths[key]} rows in /{name}, {rows[key]} elsewhere")


def check_table(group: h5py.Group, table: Table) -> dict[str, int]:
    lengths: dict[str, int] = {}
    for column in table.columns:
        if column.name not in group:
            if column.optional:
                continue
            raise Refused(f"lacks /{column.path}")
        dataset = group[column.name]
        if not isinstance(dataset, h5py.Dataset):
            raise Refused(f"holds a group where /{column.path} belongs")
        check_column(dataset, column)
        key, length = ("N", dataset.shape[0] - 1) if column.length == "N+1" else (column.length, dataset.shape[0])
        if lengths.setdefault(key, length) != length:
            raise Refused(f"has {length} rows in /{column.path}, {lengths[key]} in its neighbours")
    return lengths


def check_column(dataset: h5py.Dataset, column: Column) -> None:
    kinds = {"utf8": "S", "bool": "b", **dict.fromkeys(ENUMS, "i")}
    kind, size = (kinds[column.dtype], None) if column.dtype in kinds else (column.dtype[0], int(column.dtype[1:]))
    fits = dataset.dtype.kind == kind and size in (None, dataset.dtype.itemsize)
    same_shape = all(want in (None, have) for have, want in zip(dataset.shape[1:], column.shape))
    if not fits or not same_shape or dataset.ndim != 1 + len(column.shape):
        raise Refused(f"holds /{column.path} as {dataset.dtype} {dataset.shape}, not as the schema says")


def examine_all(path: str, tell: Callable[[dict], object]) -> None:
    """Tells, for the file and those it links to: the beginning of its check and its verdict; then the end."""
    queue, seen = [path], set()
    while queue:
        current = queue.pop(0)
        if current in seen or not os.path.exists(current):
            continue
        seen.add(current)
        tell({"path": current, "begun": True})
        verdict = check_file(current)
        tell(verdict)
        queue.extend(verdict["links"].values())
    tell(DONE)


if __name__ == "__main__":
    examine_all(sys.argv[1], lambda entry: print(json.dumps(entry), flush=True))
