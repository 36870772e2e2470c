"""How the crops of a file lie in their frames: the columns from which hands/crop_maps.py derives the way to and fro."""

from typing import Any

import numpy as np

from handtool.store.file import File, read_column
from handtool.store.schema import CROPS


def read_geometry(file: File, rows: np.ndarray | slice | None = None) -> dict[str, Any]:
    """The fields of a `CropMaps`, of all rows or some; without those of a lens where no crop of the file has one."""
    known, lens = (CROPS.crop_from_frame, CROPS.camera), (CROPS.rotation, CROPS.lens_model, CROPS.lens)
    columns = (*known, *lens) if all(map(file.has, lens)) else known
    return {column.name: read_column(file, column, rows) for column in columns}
