"""Writing: an output that appears complete or not at all, with links, checksums and provenance."""

import contextlib
import json
import os
import shutil
import sys
import tempfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import h5py
import numpy as np

from handtool.errors import HandtoolError
from handtool.signals import leftovers
from handtool.store.columns import crc32, create_chunked, to_storage, write_array, write_checksum
from handtool.store.disk import DiskFile, disk_error, make_neighbour, publish
from handtool.store.file import File
from handtool.store.provenance import Record, merge_chains, write_chain
from handtool.store.schema import CROPS, CURVE, FORMAT, FORMAT_VERSION, Column, Table
from handtool.store.text import encode, write_attrs

COPY_BYTES = 1 << 22


class Sink:
    """A file that is written under a temporary name. `path` None: a stream to standard output.

    Use as a context manager; without `finish(report)` nothing is left behind.
    """

    def __init__(self, path: Path | None, record: Record, sources: list[File]) -> None:
        self.path, self.record, self.sources = path, record, sources
        if path is None:
            descriptor, name = tempfile.mkstemp(".h5", "handtool-")
            self.temporary = Path(name)
        else:
            descriptor, self.temporary = make_neighbour(path)
        leftovers.add(self.temporary)
        self.disk = DiskFile(descriptor)
        self.h5 = h5py.File(self.disk, "w", libver=("v110", "v110"))
        self.digests: dict[str, int] = {}
        self.links: dict[str, File] = {}
        self.finished = False
        self.uuid = ""  # set by finish()

    def __enter__(self) -> "Sink":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: object) -> None:
        full = self.disk.error
        if not self.finished:
            with contextlib.suppress(Exception):  # the disk is full or the run was interrupted; the file is deleted
                self.h5.close()
        self.disk.close()
        self.temporary.unlink(missing_ok=True)
        leftovers.discard(self.temporary)
        if full and not isinstance(error, HandtoolError) and (error is None or isinstance(error, Exception)):
            raise disk_error(full, self.path or self.temporary) from error

    @property
    def folder(self) -> Path | None:
        """The real folder of the output, since `..` after a symbolic link to a folder leads elsewhere."""
        return None if self.path is None else Path(os.path.realpath(self.path.parent))

    def has(self, name: str) -> bool:
        return name in self.h5 or name in self.links

    def inherit_pool(self, pool: File) -> None:
        """Adds every table of `pool` under /pool: linked if it has a path, copied if it came by pipe."""
        self.h5.require_group("pool")
        for name in pool.tables:
            owner = pool.owner(name)
            if owner.carried:
                self.copy_table(owner, name, f"pool/{name}")
            else:
                self.links[f"pool/{name}"] = owner

    def inherit(self, source: File, only: tuple[Table, ...] | None = None, but: tuple[Table, ...] = ()) -> None:
        """Adds every table of `source` that this sink lacks: linked if it has a path, copied if it came by pipe."""
        wanted = [t.group for t in only] if only is not None else [n for n in source.tables if n != "curve"]
        for name in wanted:
            if name in {t.group for t in but} or self.has(name) or not source.has(name):
                continue
            owner = source.owner(name)
            if owner.carried:
                self.copy_table(owner, name)
            else:
                self.links[name] = owner

    def copy_table(self, owner: File, name: str, place: str | None = None) -> None:
        place = place or name
        owner.h5.copy(owner.h5[name], self.h5, place)
        for key, dataset in self.h5[place].items():
            self.digests[f"{place}/{key}"] = int(dataset.attrs.get("crc32", 0))
        if name == "pairs" and owner.pool:
            self.inherit_pool(owner.pool)

    def finish(self, report: dict) -> None:
        """Writes links, provenance, `complete`; fsyncs; gives the file its name. Errors: HandtoolError (disk full)."""
        self.write_links()
        product = self.uuid = self.record.product_uuid(self.digests)
        chains = [source.provenance for source in self.sources]
        entry = self.record.as_entry(product, [source.uuid for source in self.sources], report)
        write_chain(self.h5, merge_chains([*chains, [entry]]))
        self.h5.attrs["format"] = encode(FORMAT)
        self.h5.attrs["format_version"] = np.int32(FORMAT_VERSION)
        self.h5.attrs["uuid"] = encode(product)
        self.h5.flush()
        self.h5.attrs["complete"] = np.True_
        self.h5.close()
        self.disk.sync()
        if self.disk.error:
            raise disk_error(self.disk.error, self.path or self.temporary)
        self.finished = True
        if self.path is not None:
            publish(self.temporary, self.path)

    def write_links(self) -> None:
        recorded = {}
        for name, owner in self.links.items():
            target = os.path.join(os.path.realpath(owner.path.parent), owner.path.name)
            text = target if self.folder is None else os.path.relpath(target, self.folder)
            self.h5[name] = h5py.ExternalLink(text, f"/{name.removeprefix('pool/')}")
            recorded[name] = {"file": text, "uuid": owner.uuid}
        self.h5.attrs["links"] = encode(json.dumps(recorded))  # in ASCII, since a file name need not be UTF-8

    def copy_to(self, stream: BinaryIO) -> None:
        """Copies the finished file to a stream."""
        with open(self.temporary, "rb") as file:
            shutil.copyfileobj(file, stream, COPY_BYTES)
        stream.flush()


class PoolSink(Sink):
    """The group /pool of a sink, written like a file: tables with rows of several files."""

    def __init__(self, anchors: Sink) -> None:
        self.path, self.temporary, self.links = anchors.path, anchors.temporary, {}
        self.anchors, self.h5 = anchors, anchors.h5.create_group("pool")
        self.digests = {}

    def close(self) -> None:
        """Tells the sink what was written, which counts for its uuid."""
        self.anchors.digests |= {f"pool/{name}": checksum for name, checksum in self.digests.items()}


class TableWriter:
    """Writes a table block by block; made by `open_table`. `attrs` may be changed until it closes."""

    def __init__(self, sink: Sink, table: Table, attrs: dict | None = None, jpeg_bytes: int | None = None) -> None:
        assert not sink.has(table.group), f"/{table.group} is written already"
        self.sink, self.table, self.attrs = sink, table, dict(attrs or {})
        self.group = sink.h5.create_group(table.group)
        self.datasets: dict[str, h5py.Dataset] = {}
        self.checksums: dict[str, int] = {}
        self.texts: dict[str, list[str]] = {}
        self.sizes: list[int] = []
        self.crcs: list[int] = []
        self.spool: Any = self.open_spool(jpeg_bytes) if table is CROPS else None
        self.written = 0

    def open_spool(self, total: int | None) -> Any:  # h5py.Dataset or a file
        """Where JPEG bytes go: into the contiguous column if their total is known, else into a temporary file."""
        if total:
            return self.group.create_dataset("jpeg", shape=(total,), dtype="u1")
        return tempfile.TemporaryFile(dir=self.sink.folder)

    def __enter__(self) -> "TableWriter":
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        if kind is None:
            self.close()

    def append(self, block: Mapping[str, Any]) -> None:
        """Appends a block: column name -> (k, …) values; `jpeg` is a list of k bytes objects."""
        block = dict(block)
        if self.spool is not None and "jpeg" in block:
            self.append_jpegs(block.pop("jpeg"))
        known = self.table.by_name
        assert set(block) <= set(known), f"/{self.table.group} has no column {set(block) - set(known)}"
        lengths = {len(values) for name, values in block.items() if known[name].length != "N+1"}
        assert len(lengths) <= 1, f"/{self.table.group}: columns of {lengths} rows"
        for name, values in block.items():
            if known[name].dtype == "utf8":
                self.texts.setdefault(name, []).extend(str(v) for v in values)
            else:
                self.append_array(known[name], to_storage(known[name], values))

    def append_array(self, column: Column, array: np.ndarray) -> None:
        dataset = self.datasets.get(column.name)
        if dataset is None:
            dataset = self.datasets[column.name] = create_chunked(
                self.group, column.name, array.dtype, (0, *array.shape[1:]), growing=True
            )
        start = dataset.shape[0]
        dataset.resize(start + len(array), axis=0)
        if array.size:
            dataset[start:] = array
        self.checksums[column.name] = crc32(array, self.checksums.get(column.name, 0))

    def append_jpegs(self, jpegs: list[bytes]) -> None:
        data = b"".join(jpegs)
        self.sizes.extend(map(len, jpegs))
        self.crcs.extend(map(zlib.crc32, jpegs))
        self.checksums["jpeg"] = zlib.crc32(data, self.checksums.get("jpeg", 0))
        if isinstance(self.spool, h5py.Dataset):
            if data:
                self.spool[self.written : self.written + len(data)] = np.frombuffer(data, np.uint8)
        else:
            try:
                self.spool.write(data)
            except OSError as error:
                raise disk_error(error, self.sink.path or self.sink.temporary) from error
        self.written += len(data)

    def close(self) -> None:
        if self.spool is not None:
            self.close_jpegs()
        for name, texts in self.texts.items():
            self.note(name, write_array(self.group, name, to_storage(self.table.by_name[name], texts)))
        for name, dataset in self.datasets.items():
            self.note(name, write_checksum(dataset, self.checksums[name], getattr(self.table, name).unit))
        missing = [c.name for c in self.table.columns if not c.optional and c.name not in self.group]
        written = [c.name for c in self.table.columns if c.name in self.group and c.length != "N+1"]
        assert not missing or not any(len(self.group[name]) for name in written), f"/{self.table.group} lacks {missing}"
        self.write_empty(missing)
        write_attrs(self.group, self.attrs)

    def close_jpegs(self) -> None:
        """Writes jpeg, jpeg_offset and jpeg_crc32. With `cat --link` jpeg is empty and the others are given."""
        if "jpeg_file" in self.datasets:
            self.group.create_dataset("jpeg", shape=(0,), dtype="u1")
            self.note("jpeg", write_checksum(self.group["jpeg"], 0))
            return
        offset = np.concatenate([[0], np.cumsum(self.sizes, dtype=np.int64)]).astype(np.int64)
        self.append_array(CROPS.jpeg_offset, offset)
        self.append_array(CROPS.jpeg_crc32, np.array(self.crcs, dtype="<u4"))
        if isinstance(self.spool, h5py.Dataset):
            assert self.written == self.spool.shape[0], "fewer JPEG bytes than were promised"
        else:
            dataset = self.group.create_dataset("jpeg", shape=(self.written,), dtype="u1")
            self.spool.seek(0)
            for start in range(0, self.written, COPY_BYTES):
                block = self.spool.read(COPY_BYTES)
                dataset[start : start + len(block)] = np.frombuffer(block, np.uint8)
            self.spool.close()
        self.note("jpeg", write_checksum(self.group["jpeg"], self.checksums.get("jpeg", 0)))

    def write_empty(self, names: list[str]) -> None:
        """Writes empty columns: a table without rows still has all its columns."""
        for name in names:
            column = getattr(self.table, name)
            shape = (0, *(n or 0 for n in column.shape))
            values: object = [] if column.dtype == "utf8" else np.zeros((1,) if column.length == "N+1" else shape)
            self.note(name, write_array(self.group, name, to_storage(column, values), column.unit))

    def note(self, name: str, checksum: int) -> None:
        if self.table is CURVE and name == "seconds":
            return  # the time it took does not belong to the result or its uuid
        self.sink.digests[f"{self.table.group}/{name}"] = int(checksum)


def open_table(sink: Sink, table: Table, attrs: dict | None = None, jpeg_bytes: int | None = None) -> TableWriter:
    """A table to append to. `jpeg_bytes`: total bytes of JPEG, if known; they are then written only once."""
    return TableWriter(sink, table, attrs, jpeg_bytes)


def write_table(sink: Sink, table: Table, columns: Mapping[str, Any], attrs: dict | None = None) -> None:
    """Writes a whole table: {column name: array or list of str}."""
    with open_table(sink, table, attrs) as writer:
        writer.append(columns)


def create_file(path: Path | None, record: Record, sources: list[File] | None = None) -> Sink:
    """Begins an output (None: a stream). Errors: HandtoolError (no such folder, no permission, disk full)."""
    if path is not None and not (folder := path.absolute().parent).is_dir():
        raise HandtoolError(f"there is no folder {folder} for {path.name}", hint=f"mkdir -p {folder}")
    try:
        return Sink(path, record, list(sources or []))
    except OSError as error:
        raise disk_error(error, path or tempfile.gettempdir()) from error


def send(sink: Sink) -> None:
    """Copies a finished stream to standard output. Errors: HandtoolError (disk full), BrokenPipeError."""
    try:
        sink.copy_to(sys.stdout.buffer)
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            raise
        raise disk_error(error, "standard output") from error
