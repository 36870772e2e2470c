"""Provenance: the chain of programs that made a file, with settings, inputs and reports."""

import errno
import hashlib
import json
import os
import platform
import shlex
import socket
import stat
import time
import uuid
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import h5py

from handtool import __version__
from handtool.addresses import identify
from handtool.config import MACHINE_SETTINGS, OPEN_SETTINGS, RESULT_VERSIONS
from handtool.names import INTRINSICS, natural
from handtool.store.columns import read_array, write_array
from handtool.store.text import decode, from_json_bytes, json_bytes, plain, write_attrs

NAMESPACE = uuid.UUID("6f1d6b6e-5a0a-5c57-9d0e-68616e64746f")
LIBRARIES = (
    "numpy h5py torch torchvision hnswlib opencv-python opencv-python-headless av mediapipe onnx onnxruntime".split()
)
# stored as u1 datasets; everything else as attributes
LONG_TEXTS = ("command", "config", "inputs", "report", "libraries")


@dataclass(frozen=True)
class Input:
    """A handtool file (its uuid) or a raw file (path, size and time; for a folder a digest of those of its files)."""

    path: str
    size: int
    uuid: str = ""
    stamp: str = ""

    @property
    def identity(self) -> str:
        return self.uuid or f"{self.path} {self.size} {self.stamp}"


@dataclass
class Record:
    """One step, before it has run. `plan`: for a training, the values of settings that the config leaves open."""

    program: str
    config: dict
    inputs: list[Input] = field(default_factory=list)
    command: str = ""
    seed: int = -1
    streamed: bool = False
    plan: dict = field(default_factory=dict)
    began: float = field(default_factory=time.monotonic)
    started: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    @property
    def settings(self) -> dict:
        """The settings of config and plan that can change the result."""
        left_out = MACHINE_SETTINGS | OPEN_SETTINGS if self.plan else MACHINE_SETTINGS
        chosen = {key: value for key, value in self.config.items() if key not in left_out} | self.plan
        return json.loads(json.dumps(chosen, default=plain))

    @property
    def result(self) -> int:
        """The result version of this program, see config.RESULT_VERSIONS."""
        return RESULT_VERSIONS.get(self.program.removeprefix("handtool "), 1)

    @property
    def fingerprint(self) -> str:
        """A hash of program, result version, settings, plan and inputs. `up to date` and resumed jobs compare it."""
        said: list[object] = [self.program, self.settings, [item.identity for item in self.inputs]]
        said += [self.result] if self.result > 1 else []  # so that files of 0.1.0 stay up to date if nothing changed
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()

    def difference(self, other: dict) -> str:
        """How `other`, a step of a file or the note of a job, was made differently; empty if only the inputs differ."""
        if other["program"] != self.program:
            return f"by `{other['program']}`"
        if (result := other.get("result", 1)) != self.result:
            name, age = self.program.removeprefix("handtool "), "an older" if result < self.result else "a newer"
            return f"by {age} version of {name} (result {result}, now {self.result})"
        then = other["config"]
        changed = [
            f"{key} {short(then.get(key))} instead of {short(value)}"
            for key, value in self.settings.items()
            if then.get(key) != value
        ]
        return "with " + ", ".join(changed) if changed else ""

    def product_uuid(self, digests: dict[str, int]) -> str:
        """The uuid of the result. It does not depend on the number of threads; the fingerprint does."""
        inputs = [item.uuid for item in self.inputs if item.uuid]
        settings = {key: value for key, value in self.settings.items() if key != "threads"}
        return str(uuid.uuid5(NAMESPACE, json.dumps([self.program, settings, inputs, digests], sort_keys=True)))

    def as_entry(self, product: str, parents: list[str], report: dict) -> dict:
        return {
            "program": self.program,
            "version": __version__,
            "uuid": product,
            "fingerprint": self.fingerprint,
            "result": self.result,
            "parents": " ".join(parents),
            "seed": int(self.seed),
            "streamed": bool(self.streamed),
            "started": self.started,
            "seconds": round(time.monotonic() - self.began, 3),
            "host": socket.gethostname(),
            "command": self.command,
            "config": json.loads(json.dumps(self.config | self.plan, default=plain)),
            "inputs": [item.__dict__ for item in self.inputs],
            "report": report,
            "libraries": library_versions(),
        }


def short(value: object) -> object:
    """A setting as a person reads it."""
    return f"{value:.6g}" if isinstance(value, float) else value


def library_versions() -> dict[str, str]:
    """Versions of the installed libraries, by name, without importing them."""
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def stamp_raw(path: Path) -> Input:
    """A raw file as an input, with the camera beside it; a folder stands for all files below it."""
    path = Path(path)
    files = find_material(path) if path.is_dir() else [(path.name, path.stat().st_size, path.stat().st_mtime_ns)]
    if not path.is_dir() and (camera := stat_or_none(os.path.join(path.parent, INTRINSICS))):
        files.append((INTRINSICS, camera.st_size, camera.st_mtime_ns))
    stamp = digest(f"{name} {size} {changed}" for name, size, changed in files)
    return Input(str(path.absolute()), sum(size for _, size, _ in files), "", stamp)


def stamp_list(name: str, paths: list[Path | str], absent: Collection[str] = ()) -> Input:
    """A list of raw files as one input: the files that it names, not its own time. A missing file, and one that is
    `absent` whether it is there or not, has size 0; a text is an address."""
    stamps = [stamp_item(path, absent) for path in paths]
    whole = name if name == "-" else str(Path(name).absolute())
    return Input(whole, sum(item.size for item in stamps), "", digest(item.identity for item in stamps))


def stamp_item(item: Path | str, absent: Collection[str]) -> Input:
    """An address is known by itself alone: shards on many machines must agree, whatever the network does."""
    if isinstance(item, str):
        return Input(identify(item), 0)
    there = item.exists() and str(item) not in absent
    return stamp_raw(item) if there else Input(str(item.absolute()), 0)


def digest(lines: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()[:16]


def find_material(folder: Path) -> list[tuple[str, int, int]]:
    """All files below, by the parts of their paths in natural order, each with its size and time in ns. Left out is
    what handtool writes: hidden files, HDF5 (an output may be beside its videos) and OUT.partial/. One `stat` each."""
    found, seen = [], set()
    for here, below, names in os.walk(folder, followlinks=True):
        if os.path.realpath(here) in seen:
            below.clear()
            continue
        seen.add(os.path.realpath(here))
        below[:] = [name for name in below if not name.startswith(".") and not name.endswith(".partial")]
        under = os.path.relpath(here, folder) + os.sep if here != os.fspath(folder) else ""
        for name in names:
            ours = name.startswith(".") or name.endswith((".h5", ".hdf5"))
            if not ours and (file := stat_or_none(os.path.join(here, name))):
                found.append((under + name, file.st_size, file.st_mtime_ns))
    return sorted(found, key=lambda file: natural(file[0].replace(os.sep, "\0")))


def stat_or_none(path: str) -> os.stat_result | None:
    """None if it is no regular file, such as a broken link or a socket."""
    try:
        file = os.stat(path)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return None
        raise
    return file if stat.S_ISREG(file.st_mode) else None


def merge_chains(chains: list[list[dict]]) -> list[dict]:
    """Several chains as one, oldest first, each step once."""
    merged: dict[str, dict] = {}
    for chain in chains:
        for entry in chain:
            merged.setdefault(entry["uuid"], entry)
    return list(merged.values())


def write_chain(h5: h5py.File, chain: list[dict]) -> None:
    top = h5.create_group("provenance")
    for number, entry in enumerate(chain):
        group = top.create_group(f"{number:03d}")
        for key in (key for key in LONG_TEXTS if key in entry):
            write_array(group, key, json_bytes(entry[key]), contiguous=True)
        write_attrs(group, {key: value for key, value in entry.items() if key not in LONG_TEXTS})


def read_chain(h5: h5py.File, path: object) -> list[dict]:
    """All steps, oldest first. Errors: DamagedFile."""
    chain = []
    for name in sorted(h5["provenance"], key=int) if "provenance" in h5 else []:
        group = h5["provenance"][name]
        entry = {key: decode(value) if isinstance(value, bytes) else plain(value) for key, value in group.attrs.items()}
        chain.append(entry | {key: from_json_bytes(read_array(group[key], path)) for key in LONG_TEXTS if key in group})
    return chain


def rebuild_commands(chain: list[dict], path: str | None = None) -> list[str]:
    """The shell lines that make the file again, with pipes. `path`: of the file itself.

    A file that one step wrote to standard output and another read by name appears as a redirection.
    """
    inputs = [item for entry in chain for item in entry["inputs"]]
    names = {item["uuid"]: item["path"] for item in inputs if item.get("uuid") and item["path"] != "-"}
    lines: dict[str, str] = {}  # uuid of the file that the line makes -> line
    streamed = set()
    for entry in chain:
        parents = entry["parents"].split(" ")
        piped = [item.get("uuid") or parents[0] for item in entry["inputs"] if item["path"] == "-"]
        before = lines.pop(piped[0], None) if piped else None
        lines[entry["uuid"]] = f"{before} | {entry['command']}" if before else entry["command"]
        streamed |= {entry["uuid"]} if entry.get("streamed") else set()
    last = {chain[-1]["uuid"]: path} if chain and path else {}
    files = {uuid: name for uuid, name in (names | last).items() if uuid in streamed}
    return [f"{line} > {shlex.quote(files[uuid])}" if uuid in files else line for uuid, line in lines.items()]
