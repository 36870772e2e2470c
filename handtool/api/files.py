"""`handtool.open`: a handtool file as arrays, with its linked files; checksums are verified as in the commands."""

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from handtool import store
from handtool.errors import HandtoolError
from handtool.store import PAIRS, ROW_TABLES, TABLES, File
from handtool.store.columns import read_array

if TYPE_CHECKING:
    import pandas

Rows = int | slice | list[int] | np.ndarray


def open(path: str | Path) -> "HandFile":
    """A handtool file, read-only. Errors: HandtoolError (no such file), DamagedFile (not HDF5, not ours, damaged,
    hostile, newer)."""
    return HandFile(store.open_file(path))


class HandFile:
    """An open file: `f["keypoints/xy"]`, `f.images[i]`, `len(f)`; a context manager. Row i is one hand in all."""

    def __init__(self, file: File) -> None:
        self.file = file
        self.path, self.uuid = file.path, file.uuid

    def __enter__(self) -> "HandFile":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.file.close()

    def __len__(self) -> int:
        """The number of hands; 0 for a file without any (weights, metrics)."""
        for table in ROW_TABLES:
            if self.file.has(table):
                return self.file.count(table)
        return len(store.read_column(self.file, PAIRS.anchor_offset)) - 1 if self.file.has(PAIRS) else 0

    @property
    def tables(self) -> list[str]:
        """Names of all tables, own and linked, and of the groups `metrics` and `weights`."""
        return self.file.tables + [name for name in ("metrics", "weights") if self.file.has(name)]

    def columns(self, table: str) -> list[str]:
        """Names of the columns of a table, or of the arrays in `weights` and `metrics`, which are no tables."""
        if not self.file.h5:
            raise HandtoolError(f"{self.path} is closed")
        self.file.need(table, hint=f"it has {', '.join(self.tables) or 'none'}")
        if table in TABLES:
            return [column.name for column in TABLES[table].columns if self.file.has(column)]
        return list_arrays(self.file.h5[table])

    def __contains__(self, name: str) -> bool:
        """`"keypoints" in f`, `"keypoints/xy" in f`."""
        table, _, column = name.partition("/")
        return table in self.tables and (not column or column in self.columns(table))

    def __getitem__(self, name: str) -> np.ndarray:
        """A whole column, "table/column", its crc32 verified: text as str, sides as 0 LEFT, 1 RIGHT, 2 UNKNOWN."""
        return self.read(name)

    def read(self, name: str, rows: slice | list[int] | np.ndarray | None = None) -> np.ndarray:
        """As `f[name]`; with `rows` (a slice, row numbers in any order, or a mask) only those."""
        table, _, column = name.partition("/")
        if column not in self.columns(table):
            wrong = f"no /{name}" if column else f"/{table} is a table, not a column"
            raise HandtoolError(f"{self.path}: {wrong}", hint=f"/{table} has {', '.join(self.columns(table))}")
        chosen = rows if rows is None or isinstance(rows, slice) else np.asarray(rows)
        if table in TABLES:
            return store.read_column(self.file, TABLES[table].by_name[column], chosen)
        values = read_array(self.file.h5[table][column], self.path)
        return values if chosen is None else values[chosen]

    def attrs(self, table: str) -> dict[str, Any]:
        """The attributes of a table or of `weights`; for `metrics` {protocol: {figure: value}}."""
        self.file.need(table, hint=f"it has {', '.join(self.tables) or 'none'}")
        if table == "metrics":
            figures = store.read_metrics(self.file)
            return {name: value for name, value in figures.items() if name not in store.METRIC_ARRAYS}
        return store.read_attrs(self.file, table)

    @cached_property
    def images(self) -> "Images":
        """The crops: `f.images[i]` (S, S, 3) uint8 RGB; a slice, row numbers or a mask give (n, S, S, 3)."""
        return Images(self.file)

    @property
    def pool(self) -> "HandFile | None":
        """The file whose rows the positives are, if they were mined in another one (`mine --in`); else None."""
        return HandFile(self.file.pool) if self.file.pool else None

    @property
    def report(self) -> dict[str, Any]:
        """The report of the last step."""
        return self.file.report

    def to_pandas(self, table: str) -> "pandas.DataFrame":
        """A table as `handtool export` writes it to csv: sides and videos as names, (N, 21, 2) as 42 columns named by
        joint and axis.

        Errors: HandtoolError if pandas is not installed or there is no such table.
        """
        try:
            import pandas
        except ImportError:
            raise HandtoolError("to_pandas needs pandas, which is not installed", hint="pip install pandas") from None
        from handtool.stages.export import flat_columns

        self.file.need(table, hint=f"it has {', '.join(self.file.tables) or 'none'}")
        if table not in TABLES:
            raise HandtoolError(f"/{table} is not a table of columns", hint=f'f.attrs("{table}"), f.columns("{table}")')
        frame = pandas.DataFrame(flat_columns(self.file, TABLES[table]))
        return frame.rename_axis("row") if TABLES[table] in ROW_TABLES else frame

    def __repr__(self) -> str:
        if not self.file.h5:
            return f"<handtool file {self.path}, closed>"
        return "\n".join([f"<handtool file {self.path}", *map(self.describe, self.tables)]) + ">"

    def describe(self, name: str) -> str:
        """One line: the table, its rows and columns, and its file if linked; or the error's text."""
        lies_in = f", in {self.file.place_of(name)}" if name in self.file.links else ""
        try:
            rows = f"{self.file.count(TABLES[name]):,} x " if name in TABLES else f"{len(self.columns(name))} arrays"
            return f"  {name}: {rows}{', '.join(self.columns(name)) if name in TABLES else ''}{lies_in}"
        except HandtoolError as error:
            return f"  {name}: {error.message}"


class Images:
    """The crops of a file, decoded on access."""

    def __init__(self, file: File) -> None:
        from handtool.nn.files.data import Crops

        self.crops = Crops(file)

    def __len__(self) -> int:
        return len(self.crops)

    def __getitem__(self, rows: Rows) -> np.ndarray:
        """(S, S, 3) for a row number, (n, S, S, 3) for several; uint8 RGB. Errors: IndexError, DamagedFile."""
        if isinstance(rows, (int, np.integer)):
            return self.crops.decode(np.array([range(len(self))[rows]])).numpy()[0]
        return self.crops.decode(np.arange(len(self))[rows]).numpy()

    def __repr__(self) -> str:
        return f"<{len(self):,} crops of {self.crops.size} px>"


def list_arrays(group: h5py.Group, prefix: str = "") -> list[str]:
    """Paths of all arrays below a group."""
    found: list[str] = []
    for name, item in group.items():
        found += list_arrays(item, f"{prefix}{name}/") if isinstance(item, h5py.Group) else [prefix + name]
    return found
