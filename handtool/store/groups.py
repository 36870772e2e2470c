"""The groups /weights (a state dict) and /metrics (figures per protocol), which are not tables."""

from collections.abc import Mapping

import h5py
import numpy as np

from handtool.store.columns import read_array, write_array
from handtool.store.file import File, plain_attrs
from handtool.store.sink import Sink
from handtool.store.text import write_attrs

METRIC_ARRAYS = ("per_hand", "per_joint", "per_finger", "per_video", "pck")  # groups of /metrics other than protocols


def write_weights(sink: Sink, weights: dict[str, np.ndarray], attrs: dict) -> None:
    """Writes a state dict (torch's name -> array), with attributes that say how to use it."""
    group = sink.h5.create_group("weights")
    for name, array in weights.items():
        assert "/" not in name, name
        sink.digests[f"weights/{name}"] = write_array(group, name, np.asarray(array), contiguous=True)
    write_attrs(group, attrs)


def read_weights(file: File) -> tuple[dict[str, np.ndarray], dict]:
    """(state dict of arrays, attributes). Errors: HandtoolError (no weights in this file), DamagedFile."""
    file.need("weights", hint="handtool pretrain pairs.h5 -o encoder.h5")
    group = file.h5["weights"]
    return {name: read_array(group[name], file.path) for name in group}, plain_attrs(group)


def write_metrics(sink: Sink, protocols: Mapping[str, Mapping[str, object]], arrays: dict[str, np.ndarray]) -> None:
    """One group per protocol with its figures as attributes; arrays by path below /metrics (per_hand/mpjpe_mm: mm)."""
    top = sink.h5.create_group("metrics")
    for protocol, figures in protocols.items():
        write_attrs(top.create_group(protocol), figures)
    for path, array in arrays.items():
        folder, name = path.rsplit("/", 1)
        unit = None if np.asarray(array).dtype.kind != "f" else "mm" if name.endswith("_mm") else "1"
        sink.digests[f"metrics/{path}"] = write_array(top.require_group(folder), name, np.asarray(array), unit)


def read_metrics(file: File) -> dict:
    """{protocol: {figure: value}}, and the groups METRIC_ARRAYS as nested dicts of arrays."""
    file.need("metrics", hint="handtool eval test.h5 --model pose.h5 -o result.h5")
    return read_group(file.h5["metrics"], file)


def read_group(group: h5py.Group, file: File) -> dict:
    found = plain_attrs(group)
    for name, item in group.items():
        found[name] = read_array(item, file.path) if isinstance(item, h5py.Dataset) else read_group(item, file)
    return found
