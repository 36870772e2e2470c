"""Files: the only package that knows how they are stored. docs/SCHEMA.md specifies the format. (HDF5 of others:
sources/foreign_hdf5.py)"""

from handtool.store.checks import find_broken_links, find_faults
from handtool.store.crop_geometry import read_geometry
from handtool.store.disk import scratch_array, write_bytes_whole, write_whole
from handtool.store.file import File, open_file, read_attrs, read_blocks, read_column, video_names
from handtool.store.groups import METRIC_ARRAYS, read_metrics, read_weights, write_metrics, write_weights
from handtool.store.job import Job, open_job, remove_leftover
from handtool.store.jpegs import Jpegs, open_jpegs
from handtool.store.mediapipe_api import api_attrs, differ, is_mixed, join_apis, name_api
from handtool.store.origin import read_origin
from handtool.store.pipes import receive, refuse_closed, refuse_terminal
from handtool.store.provenance import Input, Record, rebuild_commands, stamp_list, stamp_raw
from handtool.store.schema import (
    CROPS,
    CURVE,
    EMBEDDINGS,
    ENUMS,
    FOUND,
    KEYPOINTS,
    LABELS,
    LEFT,
    LOOKED_AGAIN,
    PAIRS,
    PREDICTIONS,
    RIGHT,
    ROW_TABLES,
    TABLES,
    TRUTH,
    UNKNOWN,
    VIDEOS,
    WHOLE_PICTURE,
    Column,
    Table,
)
from handtool.store.sink import Sink, create_file, open_table, send, write_table
