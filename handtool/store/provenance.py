"""The chain of programs that made a file: who, with which settings, from what, and what it reported."""

import hashlib
import json
import platform
import shlex
import socket
import sys
import time
import uuid
from dataclasses import dataclass, field
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import h5py
import numpy as np

from handtool import __version__
from handtool.config import MACHINE_SETTINGS
from handtool.store.columns import read_array, write_array
from handtool.store.text import decode, encode, from_json_bytes, json_bytes, plain

NAMESPACE = uuid.UUID("6f1d6b6e-5a0a-5c57-9d0e-68616e64746f")
LIBRARIES = ("numpy", "h5py", "torch", "torchvision", "hnswlib", "opencv-python", "opencv-python-headless", "av", "mediapipe")
LONG_TEXTS = ("command", "config", "inputs", "report", "libraries")  # u1 datasets; everything else is an attribute


@dataclass(frozen=True)
class Input:
    """A file of ours (its uuid) or raw material (path, size and time; a folder: a digest of those of its files)."""

    path: str
    size: int
    uuid: str = ""
    stamp: str = ""

    @property
    def identity(self) -> str:
        return self.uuid or f"{self.path} {self.size} {self.stamp}"


@dataclass
class Record:
    """One step, before it has run."""

    program: str
    config: dict
    inputs: list[Input] = field(default_factory=list)
    command: str = ""
    seed: int = -1
    streamed: bool = False
    began: float = field(default_factory=time.monotonic)
    started: str = field(default_factory=lambda: datetime.now(timezone.utc).isoformat(timespec="seconds"))

    @property
    def settings(self) -> dict:
        """The part of the config that can change the result."""
        return json.loads(json.dumps({k: v for k, v in self.config.items() if k not in MACHINE_SETTINGS}, default=plain))

    @property
    def fingerprint(self) -> str:
        """Same program, settings and inputs: the same text. What `up to date` and a resumed job compare."""
        identities = [item.identity for item in self.inputs]
        return hashlib.sha256(json.dumps([self.program, self.settings, identities], sort_keys=True).encode()).hexdigest()

    def product_uuid(self, digests: dict[str, int]) -> str:
        inputs = [item.uuid for item in self.inputs if item.uuid]
        return str(uuid.uuid5(NAMESPACE, json.dumps([self.program, self.settings, inputs, digests], sort_keys=True)))

    def as_entry(self, product: str, parents: list[str], report: dict) -> dict:
        return {
            "program": self.program,
            "version": __version__,
            "uuid": product,
            "fingerprint": self.fingerprint,
            "parents": " ".join(parents),
            "seed": int(self.seed),
            "streamed": bool(self.streamed),
            "started": self.started,
            "seconds": round(time.monotonic() - self.began, 3),
            "host": socket.gethostname(),
            "command": self.command,
            "config": json.loads(json.dumps(self.config, default=plain)),
            "inputs": [item.__dict__ for item in self.inputs],
            "report": report,
            "libraries": library_versions(),
        }


def library_versions() -> dict[str, str]:
    """Versions of what is installed, by name; nothing is imported for it."""
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def stamp_raw(path: Path) -> Input:
    """Raw material as an input. A folder stands for all files below it."""
    path = Path(path)
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    lines = [f"{p.relative_to(path) if path.is_dir() else p.name} {p.stat().st_size} {p.stat().st_mtime_ns}" for p in files]
    digest = hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return Input(str(path.absolute()), sum(p.stat().st_size for p in files), "", digest)


def command_line() -> str:
    return shlex.join(["handtool", *sys.argv[1:]])


def merge_chains(chains: list[list[dict]]) -> list[dict]:
    """Several histories as one, oldest first, each step once."""
    merged: dict[str, dict] = {}
    for chain in chains:
        for entry in chain:
            merged.setdefault(entry["uuid"], entry)
    return list(merged.values())


def write_chain(h5: h5py.File, chain: list[dict]) -> None:
    top = h5.create_group("provenance")
    for number, entry in enumerate(chain):
        group = top.create_group(f"{number:03d}")
        for key, value in entry.items():
            if key in LONG_TEXTS:
                write_array(group, key, json_bytes(value), contiguous=True)
            else:
                group.attrs[key] = encode(value) if isinstance(value, str) else np.asarray(value)


def read_chain(h5: h5py.File, path: object) -> list[dict]:
    """Every step, oldest first. Errors: DamagedFile."""
    chain = []
    for name in sorted(h5["provenance"], key=int) if "provenance" in h5 else []:
        group = h5["provenance"][name]
        entry = {key: decode(value) if isinstance(value, bytes) else plain(value) for key, value in group.attrs.items()}
        for key in LONG_TEXTS:
            if key in group:
                entry[key] = from_json_bytes(read_array(group[key], path))
        chain.append(entry)
    return chain


def rebuild_commands(chain: list[dict]) -> list[str]:
    """The shell lines that make the file again, pipes written as pipes."""
    lines: list[tuple[str, str]] = []  # (uuid of what the line makes, line)
    for entry in chain:
        parent = entry["parents"].split(" ")[0] if entry["parents"] else ""
        piped = any(item["path"] == "-" for item in entry["inputs"])
        if piped and lines and lines[-1][0] == parent:
            lines[-1] = (entry["uuid"], f"{lines[-1][1]} | {entry['command']}")
        else:
            lines.append((entry["uuid"], entry["command"]))
    return [line for _, line in lines]
