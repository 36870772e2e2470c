"""A table of handtool as one parquet file: a column for each of the table's, arrays as flat lists of fixed length."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from handtool.sources.parquet import import_parquet


def write_hands_table(
    target: Path, blocks: Iterable[dict[str, np.ndarray]], units: dict[str, str], about: dict[str, str]
) -> None:
    """blocks: (n, …) values of each column, one block at least; texts as objects. units: of some columns; they stand in
    the metadata of the columns, with the shape of a row before it was made flat. about: metadata of the file."""
    parquet, writer = import_parquet(), None
    import pyarrow as pa

    try:
        for block in blocks:
            arrays = {name: as_arrow(values) for name, values in block.items()}
            fields = [
                pa.field(name, array.type, metadata=describe(block[name], units.get(name)))
                for name, array in arrays.items()
            ]
            table = pa.Table.from_arrays(list(arrays.values()), schema=pa.schema(fields, metadata=about))
            writer = writer or parquet.ParquetWriter(target, table.schema)
            writer.write_table(table)
    finally:
        if writer is not None:
            writer.close()


def as_arrow(values: np.ndarray):
    """(n,) numbers, flags or texts; (n, …) as lists of fixed length."""
    import pyarrow as pa

    if values.dtype == object:
        return pa.array([str(value) for value in values], pa.string())
    if values.ndim == 1:
        return pa.array(values)
    flat = pa.array(np.ascontiguousarray(values).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, int(np.prod(values.shape[1:])))


def describe(values: np.ndarray, unit: str | None) -> dict[str, str]:
    shape = {"shape": ",".join(map(str, values.shape[1:]))} if values.ndim > 1 else {}
    return shape | ({"unit": unit} if unit else {})
