"""New files from rows of old ones: chosen hands of several files, in a given order, each with its source row."""

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from handtool.errors import HandtoolError
from handtool.progress import Progress, silent
from handtool.store.disk import linked_path
from handtool.store.file import File, Pool, find_moved, read_column
from handtool.store.jpegs import Jpegs, open_jpegs, read_jpeg_files
from handtool.store.schema import CROPS, LABELS, PAIRS, UNKNOWN, VIDEOS, Column, Table
from handtool.store.sink import Sink, open_table, write_table

BLOCK_ROWS = 4096
OWN_COLUMNS = {"video", "source_row", "jpeg", "jpeg_offset", "jpeg_crc32", "jpeg_file", "jpeg_start"}
EMPTY = {"f": np.nan, "b": False, "i": -1, "u": "", "s": UNKNOWN}  # fill values by the first letter of the dtype


@dataclass(frozen=True)
class Chosen:
    """N chosen rows in the order of writing. `file` (N,): index into `files`; `row` (N,): row in that file."""

    files: list[File]
    file: np.ndarray
    row: np.ndarray

    def read(self, column: Column, block: slice = slice(None)) -> np.ndarray:
        """The column for a block of the chosen rows, filled for files without it; at least one file must have it."""
        file, row = self.file[block], self.row[block]
        example = read_column(next(f for f in self.files if f.has(column)), column, slice(0, 0))
        fill = column.fill if column.fill is not None else EMPTY[column.dtype[0]]
        values = np.full((len(row), *example.shape[1:]), fill, dtype=example.dtype)
        for n in np.unique(file):
            if self.files[n].has(column):
                values[file == n] = read_column(self.files[n], column, row[file == n])
        return values

    def new_rows(self) -> list[np.ndarray]:
        """For each file: old row -> new row, -1 if not chosen."""
        maps = [np.full(file.count(CROPS), -1, np.int64) for file in self.files]
        for n, new in enumerate(maps):
            here = np.flatnonzero(self.file == n)
            new[self.row[here]] = here
        return maps


def nothing_known(table: Table, count: int, names: Iterable[str] = ()) -> dict[str, object]:
    """Fill values for `count` unknown hands: the required columns of a table, and the optional ones among `names`."""
    columns = [column for column in table.columns if not column.optional or column.name in names]
    filled = {column: unknown_values(column, count) for column in columns}
    return {column.name: array.tolist() if column.dtype == "utf8" else array for column, array in filled.items()}


def unknown_values(column: Column, count: int) -> np.ndarray:
    """(count, ...): the fill value of a column."""
    return np.full((count, *(n or 0 for n in column.shape)), column.fill)


def present_columns(files: list[File], table: Table) -> list[Column]:
    """The columns that at least one of the files has, in the schema's order."""
    return [column for column in table.columns if any(file.has(column) for file in files)]


def copy_rows(sink: Sink, chosen: Chosen, table: Table, attrs: dict, progress: Progress = silent) -> None:
    """Writes a table of hands (keypoints, embeddings, labels, predictions) for the chosen rows."""
    columns = present_columns(chosen.files, table)
    with open_table(sink, table, attrs) as writer:
        for start in range(0, max(len(chosen.row), 1), BLOCK_ROWS):
            block = slice(start, start + BLOCK_ROWS)
            writer.append({column.name: chosen.read(column, block) for column in columns})
            progress(f"copy {table.group}", min(block.stop, len(chosen.row)), len(chosen.row))


def copy_crops(
    sink: Sink,
    chosen: Chosen,
    video: np.ndarray,
    source_row: np.ndarray,
    attrs: dict,
    link: bool = False,
    progress: Progress = silent,
) -> None:
    """Writes /crops with new video numbers (N,), and the images, or with `link` only their places in the old files.

    Raises HandtoolError if `link` is asked for a file that came by pipe.
    """
    jpegs = [open_jpegs(file) for file in chosen.files]
    columns = [column for column in present_columns(chosen.files, CROPS) if column.name not in OWN_COLUMNS]
    kept = JpegLinks(sink, chosen.files, jpegs) if link else None
    attrs = attrs | ({"jpeg_files": kept.as_json()} if kept else {})
    total = sum(int(jpegs[n].size[chosen.row[chosen.file == n]].sum()) for n in range(len(jpegs)))
    with open_table(sink, CROPS, attrs, jpeg_bytes=None if link else total) as writer:
        for start in range(0, max(len(chosen.row), 1), BLOCK_ROWS):
            block = slice(start, start + BLOCK_ROWS)
            own = {"video": video[block], "source_row": source_row[block]}
            places = list(zip(chosen.file[block].tolist(), chosen.row[block].tolist()))
            images = kept.columns(places, first=start == 0) if kept else {"jpeg": [jpegs[n][row] for n, row in places]}
            writer.append({**{column.name: chosen.read(column, block) for column in columns}, **own, **images})
            progress("copy crops", min(block.stop, len(chosen.row)), len(chosen.row))


class JpegLinks:
    """The columns that say in which files images are, for images that are not copied."""

    def __init__(self, sink: Sink, files: list[File], jpegs: list[Jpegs]) -> None:
        self.jpegs, self.end = jpegs, 0
        self.paths: list[dict] = []
        self.first = []  # for each of `files`: index in `paths` of its first file
        for file in files:
            owner = file.owner("crops")
            if owner.carried or (isinstance(owner, Pool) and not owner.has(CROPS.jpeg_file)):
                raise HandtoolError(
                    f"the crops of {file.path} came by pipe and cannot be linked to",
                    hint="leave --link out, or give the file by name",
                )
            self.first.append(len(self.paths))
            own = [{"file": owner.path.name, "uuid": owner.uuid}]
            for entry in read_jpeg_files(owner) if file.has(CROPS.jpeg_file) else own:
                path = str(find_moved(entry["uuid"]) or linked_path(owner.path, entry["file"]))
                path = path if sink.folder is None else os.path.relpath(path, sink.folder)
                self.paths.append({"file": path, "uuid": entry["uuid"]})

    def as_json(self) -> str:
        return json.dumps(self.paths)  # in ASCII, since a file name need not be UTF-8

    def columns(self, places: list[tuple[int, int]], first: bool) -> dict[str, np.ndarray]:
        size = np.array([self.jpegs[n].size[row] for n, row in places], np.int64)
        ends = self.end + np.cumsum(size)
        self.end += int(size.sum())
        return {
            "jpeg_offset": np.r_[0, ends] if first else ends,
            "jpeg_crc32": np.array([self.jpegs[n].crc[row] for n, row in places], np.uint32),
            "jpeg_file": np.array([self.first[n] + self.jpegs[n].file_of(row) for n, row in places], np.int32),
            "jpeg_start": np.array([self.jpegs[n].start[row] for n, row in places], np.int64),
        }


def copy_videos(
    sink: Sink, files: list[File], file: np.ndarray, row: np.ndarray, ordinal: np.ndarray | None = None
) -> None:
    """Writes /videos: rows `row` (V,) of the files `file` (V,), with `ordinal` (V,) replaced if given."""
    chosen = Chosen(files, file, row)
    columns = {column.name: chosen.read(column) for column in present_columns(files, VIDEOS)}
    write_table(sink, VIDEOS, columns if ordinal is None else columns | {"ordinal": ordinal})


def replace_videos(
    sink: Sink, kept: File, again: File, numbers: np.ndarray, attrs: dict, progress: Progress = silent
) -> None:
    """Writes /videos, /crops and /labels of `kept`, with the videos `numbers` (W,), which have no hands there, replaced
    by the W of `again`, and their hands among the others in the order of the videos."""
    file, row = np.zeros(kept.count(VIDEOS), np.int64), np.arange(kept.count(VIDEOS))
    file[numbers], row[numbers] = 1, np.arange(len(numbers))
    copy_videos(sink, [kept, again], file, row)
    videos = [read_column(kept, CROPS.video).astype(np.int64), numbers[read_column(again, CROPS.video)]]
    order = np.argsort(np.concatenate(videos), kind="stable")
    which = np.repeat([0, 1], [len(video) for video in videos])[order]
    chosen = Chosen([kept, again], which, np.concatenate([np.arange(len(video)) for video in videos])[order])
    untouched = np.full(len(order), -1)
    copy_crops(sink, chosen, np.concatenate(videos)[order], untouched, attrs, progress=progress)
    if kept.has(LABELS) or again.has(LABELS):
        copy_rows(sink, chosen, LABELS, {}, progress)


def copy_pairs(sink: Sink, chosen: Chosen, attrs: dict, progress: Progress = silent) -> int:
    """Writes /pairs of the chosen hands with new row numbers; returns their number. Both hands must be chosen."""
    new_rows, written = chosen.new_rows(), 0
    offsets = [read_column(file, PAIRS.anchor_offset) for file in chosen.files]
    with open_table(sink, PAIRS, attrs) as writer:
        writer.append({"anchor_offset": np.zeros(1, np.int64)})
        for start in range(0, max(len(chosen.row), 1), BLOCK_ROWS):
            file, row = chosen.file[start : start + BLOCK_ROWS], chosen.row[start : start + BLOCK_ROWS]
            nothing, count = np.zeros(0, np.int64), np.zeros(len(row), np.int64)
            parts = [{"anchor": nothing, "positive": nothing, "distance": nothing, "rank": nothing}]
            for n in np.unique(file):
                here = np.flatnonzero(file == n)
                first = offsets[n][row[here]]
                count[here] = size = offsets[n][row[here] + 1] - first
                owner = np.repeat(here, size)
                place = np.arange(len(owner)) + np.repeat(first - np.cumsum(size) + size, size)
                part = {c.name: read_column(chosen.files[n], c, place) for c in PAIRS.columns[1:4]}
                parts.append(part | {"anchor": start + owner, "positive": new_rows[n][part["positive"]]})
            columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
            order = np.argsort(columns["anchor"], kind="stable")
            columns = {name: values[order] for name, values in columns.items()}
            writer.append(columns | {"anchor_offset": written + np.cumsum(count)})
            written += int(count.sum())
            progress("copy pairs", min(start + BLOCK_ROWS, len(chosen.row)), len(chosen.row))
    return written
