"""Files that say more than they hold, or whose history is not what programs read: one line, in a second, in 500 MB."""

import json
import resource
import time

import h5py
import numpy as np
import pytest
from making import make_file

from handtool import store
from handtool.errors import DamagedFile
from handtool.store import gatekeeper
from handtool.store.columns import write_array
from handtool.store.text import encode


@pytest.fixture(autouse=True)
def seen_by_nobody(monkeypatch):
    monkeypatch.setattr(gatekeeper, "checked", {})


def refused(path, match):
    began = time.monotonic()
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    with pytest.raises(DamagedFile, match=match) as raised:
        store.open_file(path)
    assert "\n" not in str(raised.value) and time.monotonic() - began < 2
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss - before < 500_000  # kB


def replace(h5, path, **how):
    attrs = dict(h5[path].attrs)
    del h5[path]
    h5.create_dataset(path, **how)
    for key, value in attrs.items():
        h5[path].attrs[key] = value


@pytest.mark.parametrize("chunks", [(64,), None])
def test_rows_that_are_stored_nowhere_are_not_read_as_zeros(tmp_path, chunks):
    path = make_file(tmp_path / "a.h5")
    with h5py.File(path, "r+") as h5:
        replace(
            h5, "crops/score", shape=h5["crops/score"].shape, dtype="<f4", chunks=chunks, maxshape=chunks and (None,)
        )
    refused(path, "/crops/score has .* bytes, of which 0 are stored")


def test_a_trillion_rows_are_refused_also_in_a_file_that_is_made_large_enough(tmp_path):
    path = make_file(tmp_path / "a.h5")
    with h5py.File(path, "r+") as h5:
        replace(h5, "crops/score", shape=(10**12,), dtype="<f4", chunks=(1024,))
    refused(path, "more than the file holds")
    with open(path, "r+b") as file:
        file.truncate(1 << 43)
    gatekeeper.checked.clear()
    refused(path, "is hollow: of its")


def test_a_sparse_copy_of_a_sound_file_is_sound(tmp_path):
    path = make_file(tmp_path / "a.h5")
    with open(path, "r+b") as file:
        file.truncate(path.stat().st_size + (1 << 20))
    store.open_file(path).close()


def test_many_tables_on_the_same_bytes_are_refused(tmp_path):
    path = make_file(tmp_path / "a.h5")
    size = path.stat().st_size
    with h5py.File(path, "r+") as h5:
        h5.create_dataset("more/a", data=np.ones(size, "u1"))
        for name in "bcd":
            h5.create_dataset(f"more/{name}", shape=(size,), dtype="u1")
        place = h5["more/a"].id.get_offset()
    data, nowhere = path.read_bytes(), b"\xff" * 8 + size.to_bytes(8, "little")
    assert data.count(nowhere) == 3
    path.write_bytes(data.replace(nowhere, place.to_bytes(8, "little") + size.to_bytes(8, "little")))
    with h5py.File(path) as h5:
        assert h5["more/d"][:].all()
    refused(path, "says that it holds .* bytes of tables, more than")


OF_EACH_TYPE = [None, True, 3, 2.5, "text", [], [1], {}, {"a": 1}, [[]], "x" * 10]


def set_text(path, key, value, data=None):
    with h5py.File(path, "r+") as h5:
        group = h5["provenance"][max(h5["provenance"], key=int)]
        del group[key]
        text = json.dumps(value).encode() if data is None else data
        write_array(group, key, np.frombuffer(text, np.uint8), contiguous=True)
    gatekeeper.checked.clear()


@pytest.mark.parametrize("key, kind", [("command", str), ("config", dict), ("inputs", list), ("report", dict)])
def test_a_history_text_of_another_type_is_refused(tmp_path, key, kind):
    path = make_file(tmp_path / "a.h5")
    for value in OF_EACH_TYPE:
        set_text(path, key, value)
        if isinstance(value, kind) and (key != "inputs" or value == []):
            store.open_file(path).close()
        else:
            refused(path, f"{key} is not what a program of handtool writes")


@pytest.mark.parametrize(
    "report",
    [
        {"accounting": {"in": 1}},
        {"accounting": [3]},
        {"accounting": [{"what": "videos", "in": 1, "done": 1, "skipped": [], "failed": {}}]},
        {"accounting": [{"what": "videos", "in": "1", "done": 1, "skipped": {}, "failed": {}}]},
        {"accounting": [{"what": "videos", "in": 1, "done": 1, "skipped": {"x": None}, "failed": {}}]},
        {"per_video": []},
        {"per_video": [{"video": "a"}]},
        {"per_video": [{"video": "a", "status": "ok"}, {"status": "ok"}]},
        {"pairs": "many"},
        {"deep": json.loads("[" * 60 + "]" * 60)},
    ],
)
def test_a_report_that_cannot_be_printed_is_refused(tmp_path, report):
    path = make_file(tmp_path / "a.h5")
    set_text(path, "report", report)
    refused(path, "report is not what a program of handtool writes")


@pytest.mark.parametrize(
    "data, match",
    [
        (b"[" * 100_000, "is not what|recursion|nested"),
        (b"\xff\xfe\x00", "is damaged"),
        (b"9" * 10_000, "is damaged"),
        (b'{"a": [' + b"[]," * 5_000_000 + b"0]}", "is not what"),
        (b'"' + b"x" * (129 << 20) + b'"', "more than 134,217,728 bytes of text"),
    ],
)
def test_a_history_text_beyond_bounds_is_refused(tmp_path, data, match):
    path = make_file(tmp_path / "a.h5")
    set_text(path, "report", None, data)
    refused(path, match)


@pytest.mark.parametrize("key", ["program", "version", "uuid", "fingerprint", "parents", "started", "seconds", "host"])
def test_an_attribute_of_the_history_of_another_type_is_refused(tmp_path, key):
    path = make_file(tmp_path / "a.h5")
    for value in [
        np.int64(3),
        np.arange(3),
        np.array([b"a", b"b"]),
        np.bytes_(b"\xff\xfe"),
        encode("a"),
        np.float64(2),
    ]:
        with h5py.File(path, "r+") as h5:
            h5["provenance/000"].attrs[key] = value
        gatekeeper.checked.clear()
        good = np.issubdtype(value.dtype, np.number) if key == "seconds" else value.dtype.kind == "S"
        if good and value.ndim == 0 and value.tobytes() != b"\xff\xfe":
            store.open_file(path).close()
        else:
            refused(path, f"attribute {key} of /provenance/000 is of another type|can't decode")
