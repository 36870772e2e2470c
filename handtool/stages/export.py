"""export: tables as csv, json, npz or parquet; hands as COCO's json; predictions or labels of videos as a LeRobot set;
predictions as a submission for a published data set; weights as safetensors, a torch file, or an ONNX model that runs
without torch.

Floats are written in the fewest digits that give the same number when read. Unknown values are `nan` in csv (a wrist
without a place in space: empty cells), null in json. Every table of hands begins with what identifies a hand: video,
frame, time, track, side, box and score.
"""

import csv
import io
import json
import zipfile
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from handtool.accounting import Accounting
from handtool.config import ExportConfig
from handtool.errors import HandtoolError, WrongCommand
from handtool.exporting.coco import export_coco
from handtool.hands.crop_maps import CropMaps
from handtool.hands.palm import palm_rotation
from handtool.hands.skeleton import JOINTS
from handtool.lerobot.hands_table import write_hands_table
from handtool.lerobot.write import write_set
from handtool.names import printable
from handtool.progress import Progress, silent
from handtool.sources.frame import Video
from handtool.sources.submission import WRITERS, Submission
from handtool.store import (
    CROPS,
    ENUMS,
    KEYPOINTS,
    LABELS,
    PREDICTIONS,
    ROW_TABLES,
    TABLES,
    Column,
    File,
    Table,
    read_attrs,
    read_column,
    read_geometry,
    read_metrics,
    video_names,
)

BLOCK_ROWS = 8192
TABLE_FORMATS = ("csv", "json", "npz", "parquet")
WEIGHT_FORMATS = ("safetensors", "pth", "onnx")
ENUM_NAMES = {name: np.array(list(members)) for name, members in ENUMS.items()}
# Columns of /crops that hold the images.
NOT_EXPORTED = {"jpeg", "jpeg_offset", "jpeg_crc32", "jpeg_file", "jpeg_start", "thumbnails"}
AXES = ("x", "y", "z")
BOX_EDGES = ("x0", "y0", "x1", "y1")
VIDEO_NAME = Column("video", "utf8")
HAND = (VIDEO_NAME, CROPS.frame, CROPS.time, CROPS.track, CROPS.side, CROPS.box, CROPS.score)  # what identifies a hand
# Columns in px of the crop, which `--in frame` moves into the frame.
POINTS_IN_CROP = (CROPS.landmarks, KEYPOINTS.xy, LABELS.keypoints, PREDICTIONS.keypoints)
RENAMED = {KEYPOINTS.score: "keypoint_score"}  # `score` is the hand's in every table
# Columns that are added to predictions:
WRIST = Column("wrist", "f4", (3,), unit="m")  # NaN if the pose is relative to the wrist
CAMERA_SOURCE = Column("camera_source", "utf8")  # known, assumed or none
PALM_ROTATION = Column("palm_rotation", "f4", (3, 3), unit="1")
SAMPLE_COLUMNS = {"side": CROPS.side, "sample_id": LABELS.sample_id, "sample_key": LABELS.sample_key}


def export(
    source: File,
    target: Path,
    config: ExportConfig,
    progress: Progress = silent,
    *,
    template: Path | None = None,
    footage: list[Video | None] | None = None,
) -> dict:
    """Writes one table of the source, its metrics or its weights, to `target`; as a LeRobot set into the empty folder
    `target`. `template`: the file with the frames of an AssemblyHands submission. footage: for a LeRobot set the film
    of each row of /videos, None where it was not found; None: without films.

    Raises WrongCommand if format and table do not fit, HandtoolError if the table is missing or incomplete for a
    submission.
    """
    if template and config.format != "assemblyhands":
        raise WrongCommand(
            "--template names the frames of a submission to AssemblyHands", hint="--format assemblyhands"
        )
    assert config.format is not None
    if config.format == "lerobot":
        return export_lerobot(source, target, config, footage, progress)
    if config.format in WRITERS:
        return export_submission(source, target, config, template)
    if config.format == "coco":
        read = partial(read_in_frame, source)
        return export_coco(source, config.table, target, read, progress)
    name = config.table or last_table(source, config.format)
    if (name == "weights") != (config.format in WEIGHT_FORMATS):
        fitting = WEIGHT_FORMATS if name == "weights" else TABLE_FORMATS
        raise WrongCommand(f"/{name} cannot be written as {config.format}", hint=f"-o FILE.{' | .'.join(fitting)}")
    if name == "weights":
        return {"table": name, "format": config.format} | export_weights_to(source, target, config.format)
    if name == "metrics" and config.format == "parquet":
        raise WrongCommand("/metrics cannot be written as parquet", hint="-o FILE.csv | .json | .npz")
    if name == "metrics":
        source.need(name, hint="handtool eval test.h5 --model pose.h5 -o result.h5")
        rows = {"csv": metrics_to_csv, "json": metrics_to_json, "npz": metrics_to_npz}[config.format](
            read_metrics(source), target
        )
        return {"table": name, "format": config.format, "figures": rows}
    if name not in TABLES:
        raise WrongCommand(f"there is no table {name!r}", hint=f"--table {' | '.join([*TABLES, 'metrics', 'weights'])}")
    table = TABLES[name]
    source.need(table, hint=f"handtool info {source.path}")
    pixels = choose_pixels(source, table, config.pixels)
    writers = {"csv": table_to_csv, "json": table_to_json, "npz": table_to_npz, "parquet": table_to_parquet}
    write = writers[config.format]
    write(source, table, target, pixels, progress)
    return {
        "accounting": [Accounting("rows", done=source.count(table)).as_report()],
        "table": name,
        "format": config.format,
    } | ({"pixels_of": f"the {pixels}"} if pixels else {})


def export_lerobot(
    source: File, target: Path, config: ExportConfig, footage: list[Video | None] | None, progress: Progress
) -> dict:
    """A LeRobot set of the predictions, or else the labels."""
    there = [table for table in (PREDICTIONS, LABELS) if source.has(table)]
    asked = config.table or max(there, key=lambda table: source.owns(table.group), default=PREDICTIONS).group
    if asked not in (PREDICTIONS.group, LABELS.group):
        raise WrongCommand(f"/{asked} cannot be written as lerobot", hint="--table predictions | labels")
    source.need(CROPS, hint="handtool predict VIDEOS --model pose.h5 -o predictions.h5")
    source.need(TABLES[asked], hint="handtool predict {path} --model pose.h5 -o predictions.h5")

    def read(column: Column, rows: np.ndarray) -> np.ndarray:
        moved = column in POINTS_IN_CROP or column == CROPS.camera
        return read_values(source, column, "frame", rows) if moved else read_column(source, column, rows)

    return write_set(source, target, TABLES[asked], footage, read, progress)


def choose_pixels(source: File, table: Table, asked: str | None) -> str | None:
    """Whether keypoints are written in px of the "frame" or of the "crop"; None: the table has none. Raises
    WrongCommand where the choice has no effect."""
    if any(column in POINTS_IN_CROP and source.has(column) for column in table.columns):
        source.need(CROPS, hint="--in crop")
        return asked or "frame"
    if asked:
        raise WrongCommand(f"--in {asked} does nothing: /{table.group} has no points in a crop", hint="leave --in out")
    return None


def export_submission(source: File, target: Path, config: ExportConfig, template: Path | None) -> dict:
    """Predictions in the format of the data set's own evaluation (sources/submission.py)."""
    if config.table not in (None, PREDICTIONS.group):
        raise WrongCommand(f"/{config.table} cannot be written as {config.format}", hint="--table predictions")
    source.need(PREDICTIONS, hint="handtool predict {path} --model pose.h5 -o predictions.h5")
    source.need(
        LABELS,
        hint="which sample is which hand stands in /labels: handtool extract ROOT_OF_THE_SET --split … -o test.h5, "
        "then predict",
    )
    columns = {name: read_column(source, PREDICTIONS.by_name[name]) for name in ("joints", "valid", "absolute")}
    columns |= {name: read_column(source, column) for name, column in SAMPLE_COLUMNS.items()}
    columns |= {
        column.name: read_column(source, column)
        for column in (PREDICTIONS.vertices, LABELS.extrinsics)
        if source.has(column)
    }
    named = {"template": template} if template else {}
    assert config.format is not None
    figures = WRITERS[config.format](Submission(source.path.name, **columns), target, **named)
    accounting = Accounting("hands", done=int((columns["sample_id"] >= 0).sum()))
    accounting.skip("of no data set", int((columns["sample_id"] < 0).sum()))
    about = {"table": PREDICTIONS.group, "format": config.format}
    return (
        {"accounting": [accounting.as_report()]}
        | about
        | figures
        | {"scale_source": read_attrs(source, PREDICTIONS)["scale_source"]}
    )


def last_table(source: File, wanted: str) -> str:
    """The default table: weights for the formats of weights, else metrics if there are any, else the last table in
    the file itself."""
    if wanted in WEIGHT_FORMATS:
        return "weights"
    own = [name for name in source.tables if source.owns(name)]
    if source.has("metrics"):
        return "metrics"
    if not own:
        raise HandtoolError(f"{source.path} has no table of its own", hint="name one: --table keypoints")
    return own[-1]


def exported_columns(source: File, table: Table) -> list[Column]:
    """What identifies a hand, if the rows are hands, then the columns of the table; predictions also get the wrist and
    the palm, so that a track is a trajectory."""
    own = [column for column in table.columns if source.has(column)]
    if table is CROPS:
        kept = [column for column in own if column.name not in NOT_EXPORTED]
        return [VIDEO_NAME if column == CROPS.video else column for column in kept]
    hand = HAND if table in ROW_TABLES and source.has(CROPS) else ()
    camera = [CAMERA_SOURCE] if source.has(CROPS) else []
    return [*hand, *own, *([WRIST, *camera, PALM_ROTATION] if table is PREDICTIONS else [])]


def exported_name(column: Column) -> str:
    return RENAMED.get(column, column.name)


def read_values(source: File, column: Column, pixels: str | None, rows: slice | np.ndarray | None = None) -> np.ndarray:
    """Some rows of the column, or all: sides and videos as names, points of the crop in px of the frame if `pixels`
    says so, other values unchanged."""
    if column is VIDEO_NAME:
        return np.array(video_names(source), dtype=object)[read_column(source, CROPS.video, rows)]
    if column is WRIST:
        absolute = read_column(source, PREDICTIONS.absolute, rows)
        return np.where(absolute[:, None], read_column(source, PREDICTIONS.joints, rows)[:, 0], np.float32(np.nan))
    if column is CAMERA_SOURCE:
        known = np.isfinite(read_column(source, CROPS.camera, rows)).all((1, 2))
        has = source.has(CROPS.camera_assumed)
        assumed = read_column(source, CROPS.camera_assumed, rows) if has else np.zeros(len(known), bool)
        return np.where(known, np.where(assumed, "assumed", "known"), "none").astype(object)
    if column is PALM_ROTATION:
        side = read_column(source, CROPS.side, rows) if source.has(CROPS) else None
        return palm_rotation(read_column(source, PREDICTIONS.joints, rows), side)
    values = read_column(source, column, rows)
    if pixels == "frame" and (column in POINTS_IN_CROP or column == CROPS.camera):
        crops = CropMaps(**read_geometry(source, rows))
        moved = crops.frame_cameras() if column == CROPS.camera else crops.to_frame(values)
        return moved.astype(values.dtype)
    return ENUM_NAMES[column.dtype][values] if column.dtype in ENUM_NAMES else values


def read_in_frame(source: File, column: Column, rows: slice) -> np.ndarray:
    return read_values(source, column, "frame", rows)


def read_parts(source: File, column: Column, pixels: str | None, progress: Progress) -> Iterator[np.ndarray]:
    """The column, block by block."""
    start, values = 0, None
    while values is None or len(values) == BLOCK_ROWS:
        values = read_values(source, column, pixels, slice(start, start + BLOCK_ROWS))
        start += len(values)
        progress(f"write {column.path}", start)
        if len(values):
            yield values


def table_to_csv(source: File, table: Table, target: Path, pixels: str | None, progress: Progress) -> None:
    """One line per row, a hand's begins with its row. A column (n, 21, 3) becomes 63 columns, named by joint, axis and
    unit."""
    columns = csv_columns(source, table)
    count = source.count(table)
    with target.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        for start in range(0, max(count, 1), BLOCK_ROWS):
            rows = slice(start, min(start + BLOCK_ROWS, count))
            values = [read_values(source, column, pixels, rows) for column in columns]
            if start == 0:
                cells_of = [cell_names(column, value.shape[1:], pixels) for column, value in zip(columns, values)]
                head = [name for names in cells_of for name in names]
                writer.writerow((["row"] if table in ROW_TABLES else []) + head)
            cells = [cell_texts(value) for value in values]
            cells = [np.where(c == "nan", "", c) if column is WRIST else c for c, column in zip(cells, columns)]
            if table in ROW_TABLES:
                cells.insert(0, np.arange(rows.start, rows.stop).astype(str)[:, None])
            writer.writerows(zip(*(column for block in cells for column in block.T.tolist())))
            progress(f"write {table.group}", rows.stop, count)


def csv_columns(source: File, table: Table) -> list[Column]:
    """Those with one value per row."""
    return [column for column in exported_columns(source, table) if column.length != "N+1"]


def flat_columns(source: File, table: Table) -> dict[str, np.ndarray]:
    """The table as in the csv, in memory: name of a column -> (n,) values."""
    flat: dict[str, np.ndarray] = {}
    pixels = choose_pixels(source, table, None)
    for column in csv_columns(source, table):
        values = read_values(source, column, pixels)
        names = cell_names(column, values.shape[1:], pixels)
        flat |= dict(zip(names, values.reshape(len(values), len(names)).T))
    return flat


def cell_names(column: Column, shape: tuple[int, ...], pixels: str | None) -> list[str]:
    """`xy` (21, 2) px -> wrist_x_px, wrist_y_px, thumb_cmc_x_px, …; in px of the crop wrist_x_crop_px, …"""
    prefix = "" if column.name == "xy" else f"{exported_name(column)}_"
    unit = "" if column.unit in (None, "1") else f"_{column.unit.replace('/', 'per_').replace('1per', 'per')}"
    unit = "_crop_px" if pixels == "crop" and column in POINTS_IN_CROP else unit
    if not shape:
        return [f"{exported_name(column)}{unit}"]
    first = JOINTS if shape[0] == len(JOINTS) else [str(i) for i in range(shape[0])]
    if len(shape) == 1:
        names = AXES if column is WRIST else BOX_EDGES if column.name == "box" else first
        return [f"{prefix}{name}{unit}" for name in names]
    second = AXES[: shape[1]] if shape[0] > 3 and shape[1] <= 3 else [str(i) for i in range(shape[1])]
    return [f"{prefix}{one}_{other}{unit}" for one in first for other in second]


def cell_texts(values: np.ndarray) -> np.ndarray:
    """(n, cells) str. What would steer a terminal in a name is spelled out."""
    flat = values.reshape(len(values), int(np.prod(values.shape[1:])))
    if flat.dtype == object:
        return np.array([[printable(str(text)) for text in row] for row in flat], object).reshape(flat.shape)
    return flat.astype(np.int8).astype(str) if flat.dtype == bool else flat.astype(str)


def json_values(values: np.ndarray) -> list:
    """Nested lists; values that are not finite become None."""
    if values.dtype.kind != "f":
        return values.tolist()
    shortest = values.astype(str).astype(np.float64) if values.dtype == np.float32 else values
    return np.where(np.isfinite(values), shortest.astype(object), np.array(None)).tolist()


def table_to_json(source: File, table: Table, target: Path, pixels: str | None, progress: Progress) -> None:
    """{"table", "source", "rows", "pixels_of", "units", "columns": {name: nested lists}}, written a block at a time."""
    columns = exported_columns(source, table)
    head = {"table": table.group, "source": source.uuid, "rows": source.count(table)}
    head |= {"pixels_of": pixels} if pixels else {}
    head |= {"units": units_of(columns)}
    with target.open("w", encoding="utf-8") as file:
        file.write(json.dumps(head, ensure_ascii=False)[:-1] + ', "columns": {')
        for number, column in enumerate(columns):
            file.write(("" if number == 0 else ",") + f'\n"{exported_name(column)}": [')
            for place, values in enumerate(read_parts(source, column, pixels, progress)):
                file.write(("" if place == 0 else ", ") + json.dumps(json_values(values), ensure_ascii=False)[1:-1])
            file.write("]")
        file.write("\n}}\n")


def units_of(columns: list[Column]) -> dict[str, str]:
    return {exported_name(column): column.unit for column in columns if column.unit}


def table_to_npz(source: File, table: Table, target: Path, pixels: str | None, progress: Progress) -> None:
    """One array per column; texts as unicode arrays, so that numpy.load needs no pickle. `units` (k, 2): the names of
    columns and their units; `pixels_of`: "frame" or "crop", if the table has points in pixels."""
    columns = exported_columns(source, table)
    about = {"units": np.array(list(units_of(columns).items()), dtype=str).reshape(-1, 2)}
    about |= {"pixels_of": np.array(pixels)} if pixels else {}
    arrays = ((exported_name(column), read_values(source, column, pixels)) for column in columns)
    write_npz(target, chain(about.items(), arrays))


def table_to_parquet(source: File, table: Table, target: Path, pixels: str | None, progress: Progress) -> None:
    """A column for each of the csv's kinds of values, (n, 21, 3) as lists of 63 (lerobot/hands_table.py)."""
    columns, count = csv_columns(source, table), source.count(table)
    about = {"handtool.table": table.group, "handtool.source": source.uuid}
    about |= {"handtool.pixels_of": pixels} if pixels else {}

    def blocks() -> Iterator[dict[str, np.ndarray]]:
        for start in range(0, max(count, 1), BLOCK_ROWS):
            rows = slice(start, min(start + BLOCK_ROWS, count))
            numbers = {"row": np.arange(rows.start, rows.stop)} if table in ROW_TABLES else {}
            yield numbers | {exported_name(column): read_values(source, column, pixels, rows) for column in columns}
            progress(f"write {table.group}", rows.stop, count)

    write_hands_table(target, blocks(), units_of(columns), about)


def write_npz(target: Path, arrays: Iterable[tuple[str, np.ndarray]]) -> None:
    """As numpy.savez, but with a fixed time in the archive, so that the same arrays give the same bytes."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays:
            array = np.asarray(array.tolist(), dtype=str) if array.dtype == object else np.ascontiguousarray(array)
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)


def metrics_to_csv(metrics: dict, target: Path) -> int:
    """One line per figure: protocol, figure, value. The arrays of single hands and joints are in json and npz only."""
    lines = [
        (protocol, figure, value)
        for protocol, figures in metrics.items()
        for figure, value in figures.items()
        if np.ndim(value) == 0 and not isinstance(value, dict)
    ]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("protocol", "figure", "value"))
    writer.writerows(lines)
    target.write_text(text.getvalue(), encoding="utf-8")
    return len(lines)


def metrics_to_json(metrics: dict, target: Path) -> int:
    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(inner) for key, inner in value.items()}
        if isinstance(value, str):
            return value
        listed = json_values(np.asarray(value)) if np.ndim(value) else json_values(np.asarray(value)[None])[0]
        return listed

    target.write_text(
        json.dumps({"table": "metrics", "metrics": plain(metrics)}, ensure_ascii=False, indent=1) + "\n",
        encoding="utf-8",
    )
    return sum(len(figures) for figures in metrics.values())


def metrics_to_npz(metrics: dict, target: Path) -> int:
    def flat(values: dict, path: str) -> Iterator[tuple[str, np.ndarray]]:
        for key, value in values.items():
            if isinstance(value, dict):
                yield from flat(value, f"{path}{key}/")
            else:
                yield f"{path}{key}", np.asarray(value)

    arrays = list(flat(metrics, ""))
    write_npz(target, arrays)
    return len(arrays)


def export_weights_to(source: File, target: Path, wanted: str) -> dict:
    """ONNX by nn/files/onnx_export.py; else by nn/files/weights.py, with torchvision's names, in the container of
    the suffix."""
    from handtool.nn.files.onnx_export import export_onnx
    from handtool.nn.files.weights import export_weights

    figures = export_onnx(source, target) if wanted == "onnx" else export_weights(source, target, f".{wanted}")
    return {key: value for key, value in figures.items() if key != "format"}
