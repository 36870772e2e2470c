"""Files: the only package that uses HDF5. docs/SCHEMA.md specifies the format."""

from handtool.store.checks import find_broken_links, find_faults
from handtool.store.disk import scratch_array, write_bytes_whole, write_whole
from handtool.store.file import File, open_file, read_attrs, read_blocks, read_column, video_names
from handtool.store.groups import METRIC_ARRAYS, read_metrics, read_weights, write_metrics, write_weights
from handtool.store.job import Job, open_job
from handtool.store.jpegs import Jpegs, open_jpegs
from handtool.store.origin import read_origin
from handtool.store.pipes import receive, refuse_terminal
from handtool.store.provenance import Input, Record, rebuild_commands, stamp_list, stamp_raw
from handtool.store.schema import (
    CROPS,
    CURVE,
    EMBEDDINGS,
    KEYPOINTS,
    LABELS,
    LEFT,
    PAIRS,
    PREDICTIONS,
    RIGHT,
    ROW_TABLES,
    TABLES,
    TRUTH,
    UNKNOWN,
    VIDEOS,
    Column,
    Table,
)
from handtool.store.sink import Sink, create_file, open_table, send, write_table

__all__ = [
    "CROPS",
    "CURVE",
    "EMBEDDINGS",
    "KEYPOINTS",
    "LABELS",
    "LEFT",
    "METRIC_ARRAYS",
    "PAIRS",
    "PREDICTIONS",
    "RIGHT",
    "ROW_TABLES",
    "TABLES",
    "TRUTH",
    "UNKNOWN",
    "VIDEOS",
    "Column",
    "File",
    "Input",
    "Job",
    "Jpegs",
    "Record",
    "Sink",
    "Table",
    "create_file",
    "find_broken_links",
    "find_faults",
    "open_file",
    "open_job",
    "open_jpegs",
    "open_table",
    "read_attrs",
    "read_blocks",
    "read_column",
    "read_metrics",
    "read_origin",
    "read_weights",
    "rebuild_commands",
    "receive",
    "scratch_array",
    "refuse_terminal",
    "send",
    "stamp_list",
    "stamp_raw",
    "video_names",
    "write_bytes_whole",
    "write_metrics",
    "write_table",
    "write_weights",
    "write_whole",
]
