"""The tables and columns of a handtool file, version 1: names, types, shapes, units. docs/SCHEMA.md describes them.

Lengths: N hands, V videos, M pairs, H hands on frames, B bytes, T training steps. A column of a table: `CROPS.box`.
"""

from dataclasses import dataclass, field
from typing import Literal

FORMAT = "handtool"
FORMAT_VERSION = 1
LEFT, RIGHT, UNKNOWN = 0, 1, 2
FOUND, LOOKED_AGAIN, WHOLE_PICTURE = 0, 1, 2
ENUMS = {
    "side": {"LEFT": LEFT, "RIGHT": RIGHT, "UNKNOWN": UNKNOWN},
    "lens_model": {"NONE": 0, "PINHOLE": 1, "FISHEYE": 2, "FISHEYE624": 3},
    "how_found": {"FOUND": FOUND, "LOOKED_AGAIN": LOOKED_AGAIN, "WHOLE_PICTURE": WHOLE_PICTURE},
}

Length = Literal["N", "N+1", "V", "M", "H", "B", "T"]


@dataclass(frozen=True)
class Column:
    """One dataset. `shape`: lengths of the axes after the first; None: any length."""

    name: str
    dtype: str  # numpy's short name, "bool", a name in ENUMS (i1) or "utf8" (fixed length, padded with NUL)
    shape: tuple[int | None, ...] = ()
    unit: str | None = None
    length: Length = "N"
    optional: bool = False
    fill: float | int | bool | str | None = None  # what `cat` writes where a file lacks an optional column
    table: str = ""

    @property
    def path(self) -> str:
        return f"{self.table}/{self.name}"


@dataclass(frozen=True)
class Table:
    """One group and its columns, in the order of writing. Its name is `group`, since VIDEOS.name is a column."""

    group: str
    columns: tuple[Column, ...]
    attrs: tuple[str, ...] = ()
    by_name: dict[str, Column] = field(default_factory=dict, compare=False, repr=False)

    def __getattr__(self, name: str) -> Column:
        try:
            return self.__dict__["by_name"][name]
        except KeyError:
            raise AttributeError(f"/{self.__dict__.get('group')} has no column {name!r}") from None


def make_table(name: str, *columns: Column, attrs: tuple[str, ...] = ()) -> Table:
    owned = tuple(Column(**{**column.__dict__, "table": name}) for column in columns)
    return Table(name, owned, attrs, {column.name: column for column in owned})


VIDEOS = make_table(
    "videos",
    Column("name", "utf8", length="V"),
    Column("path", "utf8", length="V"),
    Column("subject", "utf8", length="V"),
    Column("place", "utf8", length="V"),
    Column("status", "utf8", length="V"),
    Column("ordinal", "i8", length="V"),
    Column("fps", "f4", unit="1/s", length="V"),
    Column("width", "i4", unit="px", length="V"),
    Column("height", "i4", unit="px", length="V"),
    Column("frames_decoded", "i8", length="V"),
    Column("frames_failed", "i8", length="V"),
    Column("frames_corrupt", "i8", length="V", optional=True, fill=-1),
    Column("duration", "f8", unit="s", length="V", optional=True, fill=float("nan")),
    Column("stream", "i4", length="V", optional=True, fill=-1),
    Column("version", "utf8", length="V", optional=True, fill=""),
)

CROPS = make_table(
    "crops",
    Column("video", "i4"),
    Column("frame", "i8"),
    Column("time", "f8", unit="s"),
    Column("side", "side"),
    Column("box", "f4", (4,), unit="px"),
    Column("score", "f4", unit="1"),
    Column("track", "i4"),
    Column("found", "how_found", optional=True, fill=FOUND),
    Column("landmarks", "f4", (21, 2), unit="px"),
    Column("landmarks_score", "f4", unit="1"),
    Column("landmarks_joints", "f4", (21, 3), unit="m", optional=True, fill=float("nan")),
    Column("crop_from_frame", "f8", (2, 3), unit="px"),
    Column("camera", "f8", (3, 3), unit="px"),
    Column("camera_assumed", "bool", optional=True, fill=False),
    Column("rotation", "f8", (3, 3), unit="1", optional=True, fill=float("nan")),
    Column("lens_model", "lens_model", optional=True, fill=0),
    Column("lens", "f8", (18,), unit="1", optional=True, fill=float("nan")),
    Column("source_row", "i8"),
    Column("thumbnails", "u1", (2, 8, 8), optional=True, fill=0),
    Column("jpeg", "u1", length="B"),
    Column("jpeg_offset", "i8", length="N+1"),
    Column("jpeg_crc32", "u4"),
    Column("jpeg_file", "i4", optional=True),
    Column("jpeg_start", "i8", optional=True),
    attrs=(
        *("size", "box_scale", "jpeg_files", "landmarks_source"),
        *("mediapipe_api", "mediapipe_version", "task_sha256"),
    ),
)

KEYPOINTS = make_table(
    "keypoints",
    Column("xy", "f4", (21, 2), unit="px"),
    Column("score", "f4", (21,), unit="1"),
    Column("valid", "bool"),
    Column("joints", "f4", (21, 3), unit="m", optional=True, fill=float("nan")),
    attrs=("skeleton", "model", "joints_source", "noise_px", "mediapipe_api", "mediapipe_version", "task_sha256"),
)

EMBEDDINGS = make_table(
    "embeddings",
    Column("vector", "f4", (None,), unit="1"),
    Column("valid", "bool"),
    attrs=(
        *("kind", "source", "normalization", "mean", "basis", "explained_variance", "encoder_uuid"),
        *("mediapipe_api", "mediapipe_version", "task_sha256"),
    ),
)

LABELS = make_table(
    "labels",
    Column("joints", "f4", (21, 3), unit="m", fill=float("nan")),
    Column("valid", "bool", (21,), fill=False),
    Column("keypoints", "f4", (21, 2), unit="px", fill=float("nan")),
    Column("keypoints_valid", "bool", (21,), fill=False),
    Column("scale", "f4", unit="m", fill=float("nan")),
    Column("visible", "bool", (21,), optional=True, fill=False),
    Column("vertices", "f4", (778, 3), unit="m", optional=True, fill=float("nan")),
    Column("extrinsics", "f8", (3, 4), unit="m", optional=True, fill=float("nan")),
    Column("sample_id", "i8", fill=-1),
    Column("sample_key", "utf8", fill=""),
)

PAIRS = make_table(
    "pairs",
    Column("anchor", "i8", length="M"),
    Column("positive", "i8", length="M"),
    Column("distance", "f4", unit="1", length="M"),
    Column("rank", "i2", length="M"),
    Column("anchor_offset", "i8", length="N+1"),
    attrs=("topk", "index", "pool_uuid"),
)

PREDICTIONS = make_table(
    "predictions",
    Column("joints", "f4", (21, 3), unit="m"),
    Column("keypoints", "f4", (21, 2), unit="px"),
    Column("valid", "bool"),
    Column("absolute", "bool"),
    Column("scale", "f4", unit="m"),
    Column("vertices", "f4", (778, 3), unit="m", optional=True),
    attrs=("scale_source", "smoothing", "mediapipe_api", "mediapipe_version", "task_sha256"),
)

CURVE = make_table(
    "curve",
    Column("step", "i8", length="T"),
    Column("loss", "f4", unit="1", length="T"),
    Column("learning_rate", "f8", unit="1", length="T"),
    Column("seconds", "f8", unit="s", length="T"),
    Column("positive_similarity", "f4", unit="1", length="T", optional=True),
    Column("negative_similarity", "f4", unit="1", length="T", optional=True),
    Column("alignment", "f4", unit="1", length="T", optional=True),
    Column("uniformity", "f4", unit="1", length="T", optional=True),
    Column("keypoint_loss", "f4", unit="1", length="T", optional=True),
    Column("depth_loss", "f4", unit="1", length="T", optional=True),
    Column("validation_mm", "f4", unit="mm", length="T", optional=True),
)

TRUTH = make_table(
    "truth",
    Column("video", "i4", length="H"),
    Column("frame", "i8", length="H"),
    Column("time", "f8", unit="s", length="H"),
    Column("side", "side", length="H"),
    Column("track", "i4", length="H"),
    Column("box", "f4", (4,), unit="px", length="H"),
    Column("joints", "f4", (21, 3), unit="m", length="H"),
    Column("keypoints", "f4", (21, 2), unit="px", length="H"),
    Column("visible", "bool", (21,), length="H"),
    Column("camera", "f8", (3, 3), unit="px", length="H"),
)

ROW_TABLES = (CROPS, KEYPOINTS, EMBEDDINGS, LABELS, PREDICTIONS)  # row i is the same hand in all of them
TABLES = {
    table.group: table for table in (VIDEOS, CROPS, KEYPOINTS, EMBEDDINGS, LABELS, PAIRS, PREDICTIONS, CURVE, TRUTH)
}
