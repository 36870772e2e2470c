"""Parquet files from elsewhere, by pyarrow (the extra `lerobot`): chosen columns of chosen rows, within bounds.

A file is read batch by batch, within a bound of memory; texts are read as dictionaries, so that a long one that is said
a million times is kept once.
"""

import contextlib
import os
import resource
import stat
from collections.abc import Iterable, Iterator
from importlib import metadata, util
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from handtool.errors import DamagedFile, HandtoolError, first_line
from handtool.names import printable

BATCH_ROWS = 1024
MOST_ROWS = 100_000_000  # of a file
MOST_BYTES = 4 << 30  # of memory, for one batch
LONGEST_TEXT = 1000  # characters that are kept
HINT = "downloaded to its end?"


def import_parquet() -> ModuleType:
    """pyarrow.parquet. Raises HandtoolError where it is missing, or does not go with the numpy that is installed."""
    try:
        from pyarrow import parquet
    except ImportError as error:
        if util.find_spec("pyarrow") is None:
            raise HandtoolError(
                "parquet files are read and written by pyarrow, which is not installed",
                hint="pip install 'handtool[lerobot]'",
            ) from None
        found = f"pyarrow {metadata.version('pyarrow')} cannot be imported beside numpy {np.__version__}"
        older = int(np.__version__.partition(".")[0]) < 2
        raise HandtoolError(
            f"{found}: {first_line(error)}", hint=f"pip install 'pyarrow>=15{',<26' * older}' --force-reinstall"
        ) from None
    return parquet


class ParquetFile:
    """Opened for reading. Every fault of the file becomes a DamagedFile of one line."""

    def __init__(self, path: Path, texts: tuple[str, ...] = ()) -> None:
        """texts: the columns of text that will be read."""
        self.path = path
        parquet = import_parquet()
        try:
            is_plain = stat.S_ISREG(os.stat(path).st_mode)  # never waits for a pipe
        except (OSError, ValueError) as error:
            told = (getattr(error, "strerror", None) or str(error)).lower()
            raise HandtoolError(f"{self.name} cannot be read: {told}", hint=HINT) from None
        if not is_plain:
            raise DamagedFile(f"{self.name} is no plain file")
        with self.told():
            self.about = parquet.read_metadata(path)
            self.leaves = [self.about.schema.column(number).path for number in range(len(self.about.schema))]
            as_dictionary = self.leaves_of(texts)
            self.file = parquet.ParquetFile(path, metadata=self.about, read_dictionary=as_dictionary, pre_buffer=False)
            self.columns = list(self.file.schema_arrow.names)
            self.rows = self.about.num_rows
        if not 0 <= self.rows <= MOST_ROWS:
            raise DamagedFile(f"{self.name} says that it has {self.rows:,} rows, and may have {MOST_ROWS:,}")

    @property
    def name(self) -> str:
        return printable(str(self.path))

    def told(self) -> "Told":
        return Told(self.name)

    def leaves_of(self, names: Iterable[str]) -> list[str]:
        """The paths of the columns of values, which a column of lists is made of."""
        return [path for path in self.leaves if any(path == name or path.startswith(f"{name}.") for name in names)]

    def is_list(self, name: str) -> bool:
        """Whether it has several values a row."""
        return "list" in str(self.file.schema_arrow.field(name).type)

    def read(self, names: list[str]) -> Iterator[dict[str, Any]]:
        """Arrow arrays of those columns, batch by batch. What the metadata say of their sizes is not asked: pyarrow
        ends the process where they lie."""
        with self.told():
            batches = self.file.iter_batches(BATCH_ROWS, columns=names, use_threads=False)
        while True:
            with self.told():
                batch = next(batches, None)
                arrays = batch and {name: batch.column(name) for name in names}
            if arrays is None:
                return
            yield arrays

    def numbers(self, names: list[str]) -> dict[str, np.ndarray]:
        """(n,) float64 of columns with one number a row, NaN where there is none."""
        return {name: each[:, 0] for name, each in self.matrix(dict.fromkeys(names, 1)).items()}

    def matrix(self, widths: dict[str, int], only: tuple[str, float] | None = None) -> dict[str, np.ndarray]:
        """widths: numbers in a row of each column. only: the rows where a column has a value. Returns (n, width)
        float64 of each, NaN where there is none. Raises DamagedFile where a row has another number of them."""
        parts: dict[str, list[np.ndarray]] = {name: [np.empty((0, width))] for name, width in widths.items()}
        for batch in self.read(list(widths)):
            rows = self.as_matrix(batch, only[0], 1)[:, 0] == only[1] if only else None
            if rows is not None and not rows.any():
                continue
            for name, width in widths.items():
                values = self.as_matrix(batch, name, width)
                parts[name].append(values if rows is None else values[rows])
        return {name: np.concatenate(each) for name, each in parts.items()}

    def as_matrix(self, batch: dict[str, Any], name: str, width: int) -> np.ndarray:
        with self.told():
            return as_matrix(batch[name], width, f"{self.name}: {printable(name)}")

    def texts(self, name: str) -> list[str]:
        """Of a column of texts, or of lists of them, which are joined by "; "."""
        found: list[str] = []
        for batch in self.read([name]):
            with self.told():
                found += [as_text(value) for value in batch[name]]
        return found


class Told:
    """Whatever pyarrow raises becomes a DamagedFile: the file is at fault, not the machine. It may take MOST_BYTES
    meanwhile, so that a row that says it has a thousand million values is refused."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __enter__(self) -> None:
        self.before = resource.getrlimit(resource.RLIMIT_AS)
        with contextlib.suppress(OSError, ValueError):  # Linux alone says how much is taken
            pages = int(Path("/proc/self/statm").read_text().partition(" ")[0])
            most = pages * resource.getpagesize() + MOST_BYTES
            if self.before[0] == resource.RLIM_INFINITY or most < self.before[0]:
                resource.setrlimit(resource.RLIMIT_AS, (most, self.before[1]))

    def __exit__(self, kind, error, trace) -> None:
        resource.setrlimit(resource.RLIMIT_AS, self.before)
        is_ours = isinstance(error, (HandtoolError, AssertionError, GeneratorExit)) or not isinstance(error, Exception)
        if error is not None and not is_ours:
            told = "it takes too much memory" if isinstance(error, MemoryError) else printable(first_line(error))
            raise DamagedFile(f"{self.name} cannot be read as parquet: {told}", hint=HINT) from None


def as_matrix(array: Any, width: int, what: str) -> np.ndarray:
    """(n, width) float64 of an Arrow array of numbers, or of lists of them nested as deep as may be."""
    import pyarrow as pa
    from pyarrow import compute

    count, inner = len(array), array
    while isinstance(inner, pa.ExtensionArray):
        inner = inner.storage
    rows = np.flatnonzero(inner.is_valid().to_numpy(zero_copy_only=False)) if inner.null_count else np.arange(count)
    inner = inner.drop_null() if inner.null_count else inner
    while pa.types.is_list(inner.type) or pa.types.is_large_list(inner.type) or pa.types.is_fixed_size_list(inner.type):
        lengths = compute.list_value_length(inner)
        if inner.null_count or (len(inner) and compute.min(lengths).as_py() != compute.max(lengths).as_py()):
            raise DamagedFile(f"{what} has rows of different lengths", hint=HINT)
        inner = inner.flatten()
    is_number = any(is_a(inner.type) for is_a in (pa.types.is_floating, pa.types.is_integer, pa.types.is_boolean))
    if not is_number or len(inner) != len(rows) * width:
        raise DamagedFile(f"{what} is {array.type}, looked for {width} numbers a row", hint=HINT)
    values = np.full((count, width), np.nan)
    flat = inner.to_numpy(zero_copy_only=False)
    with np.errstate(invalid="ignore"):  # whatever bits a damaged file has for a number
        values[rows] = np.array(flat, np.float64).reshape(len(rows), width)
    return values


def as_text(value: Any) -> str:
    """An Arrow scalar: a text, a list of them, or nothing."""
    plain = value.as_py()
    several = plain if isinstance(plain, list) else [plain]
    return "; ".join(str(each)[:LONGEST_TEXT] for each in several[:10] if each is not None)[:LONGEST_TEXT]
