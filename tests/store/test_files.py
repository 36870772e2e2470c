"""A file is whole or not there; a damaged, foreign or hostile one is refused with exit code 3."""

import io
import os
import signal
import subprocess
import sys
import time
import zlib

import h5py
import numpy as np
import pytest
from making import make_file, record

from handtool import store
from handtool.cli.runner import interrupt
from handtool.errors import DamagedFile, HandtoolError, Terminated
from handtool.store import CROPS, KEYPOINTS, LABELS, PAIRS, TABLES, VIDEOS


def rewrite(path, change):
    """Edits a published file as nobody should, to see whether it is noticed."""
    with h5py.File(path, "r+", locking=False) as h5:
        change(h5)


def test_what_is_written_is_read_back(tmp_path):
    path = make_file(tmp_path / "a file with ümlauts.h5", (3, 0, 2), ("keypoints", "labels"))
    with store.open_file(path) as file:
        assert file.tables == ["videos", "crops", "keypoints", "labels"]
        assert (file.count(CROPS), file.count(VIDEOS)) == (5, 3)
        assert store.read_column(file, CROPS.video).tolist() == [0, 0, 0, 2, 2]
        assert store.read_column(file, VIDEOS.name).tolist() == ["video 0", "video 1", "video 2"]
        assert store.read_column(file, LABELS.sample_key, np.array([4, 0])).tolist() == ["hand 4", "hand 0"]
        assert store.read_attrs(file, CROPS) == {"size": 64, "box_scale": 1.3}
        whole = store.read_column(file, KEYPOINTS.xy)
        blocks = [block for _, block in store.read_blocks(file, KEYPOINTS.xy, 2)]
        assert np.array_equal(np.concatenate(blocks), whole)
        jpegs = store.open_jpegs(file)
        assert len(jpegs) == 5 and all(jpegs[i][:2] == b"\xff\xd8" for i in range(5))


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_a_table_without_rows_has_all_its_columns(tmp_path, table):
    with store.create_file(tmp_path / "f.h5", record()) as sink:
        with store.open_table(sink, table):
            pass
        sink.finish({})
    with store.open_file(tmp_path / "f.h5") as file:
        assert file.count(table) == 0 and all(file.has(column) for column in table.columns if not column.optional)


@pytest.mark.parametrize("seed", range(5))
def test_rows_in_any_order_are_the_rows_of_the_whole_column(tmp_path, seed):
    rng = np.random.default_rng(seed)
    path = make_file(tmp_path / "f.h5", (40, 30))
    with store.open_file(path) as file:
        whole = store.read_column(file, KEYPOINTS.xy)
        rows = rng.integers(0, 70, rng.integers(0, 50))
        assert np.array_equal(store.read_column(file, KEYPOINTS.xy, rows), whole[rows])


def test_the_same_tables_give_the_same_uuid_and_others_another(tmp_path):
    uuids = [store.open_file(make_file(tmp_path / f"{i}.h5", seed=seed)).uuid for i, seed in enumerate((0, 0, 1))]
    assert uuids[0] == uuids[1] != uuids[2]


def test_bare_h5py_reads_everything_and_strings_have_fixed_length(tmp_path):
    with h5py.File(make_file(tmp_path / "f.h5", tables=("labels",))) as h5:
        assert h5["videos/name"].asstr()[0] == "video 0"
        assert h5["labels/joints"].attrs["unit"] == b"m"
        assert h5py.check_string_dtype(h5["videos/name"].dtype).length is not None
        assert h5["labels/joints"].fletcher32 and not h5["crops/jpeg"].chunks
        start, end = h5["crops/jpeg_offset"][:2]
        assert bytes(h5["crops/jpeg"][start:end])[:2] == b"\xff\xd8"


def test_a_stage_that_fails_leaves_nothing_behind(tmp_path):
    with pytest.raises(RuntimeError), store.create_file(tmp_path / "f.h5", record()) as sink:
        store.write_table(sink, PAIRS, {})
        raise RuntimeError("the stage failed")
    assert os.listdir(tmp_path) == []


def test_a_file_that_exists_stays_until_the_new_one_is_whole(tmp_path):
    path = make_file(tmp_path / "f.h5")
    before = path.read_bytes()
    with pytest.raises(RuntimeError), store.create_file(path, record()) as sink:
        store.write_table(sink, PAIRS, {})
        raise RuntimeError
    assert path.read_bytes() == before


WRITER = """
import sys, time
sys.path[:0] = [sys.argv[2], sys.argv[3]]
from making import record, write_videos
from handtool import store
from pathlib import Path
with store.create_file(Path(sys.argv[1]), record()) as sink:
    write_videos(sink, 1000)
    print("written", flush=True)
    time.sleep(60)
    sink.finish({})
"""


def test_a_killed_writer_leaves_no_output_and_the_next_one_sweeps_up(tmp_path):
    here = os.path.dirname(os.path.dirname(__file__))
    child = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path / "f.h5"), here, os.path.dirname(here)], stdout=subprocess.PIPE
    )
    assert child.stdout.readline() == b"written\n"
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert not (tmp_path / "f.h5").exists() and len(os.listdir(tmp_path)) == 1
    make_file(tmp_path / "f.h5")
    assert os.listdir(tmp_path) == ["f.h5"]


def test_a_live_writers_temporary_file_is_left_alone(tmp_path):
    with store.create_file(tmp_path / "f.h5", record()) as first:
        make_file(tmp_path / "f.h5", seed=1)
        store.write_table(first, PAIRS, {})
        first.finish({})
    assert store.open_file(tmp_path / "f.h5").has(PAIRS)


FULL = """
import resource, sys
sys.path[:0] = [sys.argv[2], sys.argv[3]]
from pathlib import Path
from making import make_file
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[4]), int(sys.argv[4])))
from handtool.errors import HandtoolError
try:
    make_file(Path(sys.argv[1]), (200, 200), ("keypoints", "labels"))
except HandtoolError as error:
    sys.exit(f"known: {error.message}")
"""


@pytest.mark.parametrize("limit", [0, 3000, 50_000, 400_000])
def test_a_full_disk_is_one_line_and_no_crash(tmp_path, limit):
    here = os.path.dirname(os.path.dirname(__file__))
    command = [sys.executable, "-c", FULL, str(tmp_path / "f.h5"), here, os.path.dirname(here), str(limit)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1 and "known: cannot write" in done.stderr, done.stderr
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.7, 0.99])
def test_a_truncated_file_is_refused(tmp_path, share):
    path = make_file(tmp_path / "f.h5")
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(DamagedFile):
        store.open_file(path)


@pytest.mark.parametrize("seed", range(40))
def test_a_flipped_byte_is_found_or_harmless(tmp_path, seed):
    rng = np.random.default_rng(seed)
    path = make_file(tmp_path / "f.h5", (3, 3), ("keypoints", "labels"))
    with store.open_file(path) as file:
        before = {
            c.path: store.read_column(file, c)
            for t in (VIDEOS, CROPS, KEYPOINTS, LABELS)
            for c in t.columns
            if file.has(c)
        }
    data = bytearray(path.read_bytes())
    data[rng.integers(len(data))] ^= 1 << int(rng.integers(8))
    path.write_bytes(bytes(data))
    try:
        with store.open_file(path) as file:
            faults = store.find_faults(file, deep=True)
            after = {
                c.path: store.read_column(file, c)
                for t in (VIDEOS, CROPS, KEYPOINTS, LABELS)
                for c in t.columns
                if file.has(c)
            }
    except DamagedFile:
        return
    assert faults or all(np.array_equal(before[k], after[k], equal_nan=before[k].dtype.kind == "f") for k in before)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"these are no hands", "is not an HDF5 file"),
        (b"\x89HDF\r\n\x1a\n" + b"\0" * 500, "is damaged"),
    ],
)
def test_a_foreign_file_is_refused_with_its_reason(tmp_path, content, words):
    path = tmp_path / "f.h5"
    path.write_bytes(content)
    with pytest.raises(DamagedFile, match=words):
        store.open_file(path)


def test_a_foreign_hdf5_file_is_refused(tmp_path):
    with h5py.File(tmp_path / "f.h5", "w") as h5:
        h5["x"] = np.arange(3)
    with pytest.raises(DamagedFile, match="not one of handtool's"):
        store.open_file(tmp_path / "f.h5")


def test_a_newer_format_asks_for_an_upgrade(tmp_path):
    path = make_file(tmp_path / "f.h5")
    rewrite(path, lambda h5: h5.attrs.__setitem__("format_version", np.int32(2)))
    with pytest.raises(DamagedFile) as caught:
        store.open_file(path)
    assert caught.value.hint == "upgrade handtool"


def soft_link(h5):
    h5["crops/other"] = h5py.SoftLink("/videos")


def external_link_to_no_table(h5):
    h5["passwords"] = h5py.ExternalLink("/etc/passwd", "/")


def external_link_without_record(h5):
    h5["pairs"] = h5py.ExternalLink("other.h5", "/pairs")


def external_storage(h5):
    h5.create_dataset("crops/secret", (100,), "u1", external=[("/etc/passwd", 0, 100)])


def virtual_dataset(h5):
    layout = h5py.VirtualLayout((3,), "i4")
    layout[:] = h5py.VirtualSource("other.h5", "x", (3,))
    h5.create_virtual_dataset("crops/far", layout)


def impossible_shape(h5):
    h5.create_dataset("keypoints/huge", (10**12,), "f4", chunks=(1000,))


def variable_length(h5):
    h5.create_dataset("crops/words", (3,), h5py.string_dtype())


def loop(h5):
    h5["crops/again"] = h5["/crops"]


def deep_nesting(h5):
    h5.create_group("g" + "/g" * 40)


def foreign_filter(h5):
    h5.create_dataset("crops/zipped", data=np.zeros(1000), compression="gzip")


def wrong_type(h5):
    del h5["keypoints/valid"]
    h5["keypoints/valid"] = np.zeros(9)


def wrong_length(h5):
    del h5["keypoints/valid"]
    h5["keypoints/valid"] = np.zeros(3, bool)


def missing_column(h5):
    del h5["crops/camera"]


def unfinished(h5):
    del h5.attrs["complete"]


def no_uuid(h5):
    del h5.attrs["uuid"]


def no_history(h5):
    del h5["provenance"]


def history_out_of_order(h5):
    h5.move("provenance/000", "provenance/zero")


def history_without_program(h5):
    del h5["provenance/000"].attrs["program"]


def history_that_is_no_json(h5):
    del h5["provenance/000/config"]
    h5["provenance/000/config"] = np.frombuffer(b"{nope", np.uint8)
    h5["provenance/000/config"].attrs["crc32"] = np.uint32(zlib.crc32(b"{nope"))


def scalar_dataset(h5):
    h5["provenance/000/x"] = np.int32(3)


def variable_length_attribute(h5):
    h5["crops"].attrs["words"] = "of any length"


def crops_of_no_size(h5):
    del h5["crops"].attrs["size"]


@pytest.mark.parametrize(
    "attack",
    [
        soft_link,
        external_link_to_no_table,
        external_link_without_record,
        external_storage,
        virtual_dataset,
        impossible_shape,
        variable_length,
        loop,
        deep_nesting,
        foreign_filter,
        wrong_type,
        wrong_length,
        missing_column,
        unfinished,
        no_uuid,
        no_history,
        history_out_of_order,
        history_without_program,
        history_that_is_no_json,
        scalar_dataset,
        variable_length_attribute,
        crops_of_no_size,
    ],
)
def test_a_hostile_file_is_refused(tmp_path, attack):
    path = make_file(tmp_path / "f.h5")
    store.open_file(path).close()
    time.sleep(0.01)
    rewrite(path, attack)
    with pytest.raises(DamagedFile):
        store.open_file(path)


def test_wrong_row_numbers_are_found_by_a_fast_check(tmp_path):
    path = make_file(tmp_path / "f.h5")

    def point_nowhere(h5):
        h5["crops/video"][0] = 77
        h5["crops/video"].attrs["crc32"] = np.uint32(zlib.crc32(h5["crops/video"][:].tobytes()))

    rewrite(path, point_nowhere)
    with store.open_file(path) as file:
        assert any("points outside" in fault for fault in store.find_faults(file))
        with pytest.raises(DamagedFile, match="points outside the 2 videos"):
            store.read_column(file, CROPS.video, slice(0, 3))


def test_an_edited_column_is_found_where_it_is_read_and_by_a_deep_check(tmp_path):
    path = make_file(tmp_path / "f.h5")
    rewrite(path, lambda h5: h5["keypoints/xy"].__setitem__((0, 0, 0), 5.0))
    with store.open_file(path) as file:
        assert any("/keypoints/xy" in fault for fault in store.find_faults(file, deep=True))
        with pytest.raises(DamagedFile, match="checksum"):
            store.read_column(file, KEYPOINTS.xy)


def test_an_edited_crop_is_found_when_it_is_read(tmp_path):
    path = make_file(tmp_path / "f.h5")
    rewrite(path, lambda h5: h5["crops/jpeg"].__setitem__(5, 99))
    with store.open_file(path) as file, pytest.raises(DamagedFile, match="row 0"):
        store.open_jpegs(file)[0]


@pytest.mark.parametrize("whole", [False, True])
def test_a_file_cut_or_overwritten_in_place_while_it_is_read_is_damaged_and_no_crash(tmp_path, whole):
    path, kept = make_file(tmp_path / "f.h5", (120, 80)), tmp_path / "kept"
    kept.write_bytes(path.read_bytes())
    with store.open_file(path) as file:
        jpegs = store.open_jpegs(file)
        last = len(jpegs) - 1
        assert jpegs[last][:2] == b"\xff\xd8"
        os.truncate(path, 0 if whole else jpegs.files[0][1] + 100)
        with pytest.raises(DamagedFile, match="the crop in row 199 does not match its checksum"):
            jpegs[last]
        with open(path, "r+b") as other:  # of the same length, from its beginning
            other.write(bytes(kept.stat().st_size))
        with pytest.raises(DamagedFile, match="the crop in row 0 does not match its checksum"):
            jpegs[0]


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    with pytest.raises(HandtoolError, match="does not exist"):
        store.open_file(tmp_path / "nothing.h5")
    with pytest.raises(HandtoolError, match="is a folder"):
        store.open_file(tmp_path)


def test_a_file_that_may_not_be_read_is_no_damaged_file(tmp_path, monkeypatch):
    path = make_file(tmp_path / "f.h5")
    monkeypatch.setattr("handtool.store.file.os.access", lambda *_: False)
    with pytest.raises(HandtoolError, match="permission denied") as caught:
        store.open_file(path)
    assert caught.value.exit_code == 1


def test_a_stream_or_a_folder_is_no_place_for_a_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(HandtoolError, match="no regular file"):
        store.open_file(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path):
        with pytest.raises(HandtoolError, match="cannot write"):
            store.create_file(path, record())


@pytest.mark.parametrize("when", [1, 4, 9, 13, 22, 31])
def test_a_signal_during_a_write_is_not_lost_and_no_write_is_lost_to_it(tmp_path, monkeypatch, when):
    calls = []

    class Raw(io.FileIO):
        def write(self, data):
            calls.append(len(data))
            if len(calls) == when:
                signal.raise_signal(signal.SIGTERM)
            return super().write(data)

    monkeypatch.setattr("handtool.store.disk.os.fdopen", lambda descriptor, *_, **__: Raw(descriptor, "r+"))
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        with pytest.raises(Terminated):
            make_file(tmp_path / "f.h5", (50, 50), ("keypoints", "labels"))
            time.sleep(5)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert len(calls) >= when
    if (tmp_path / "f.h5").exists():
        assert store.find_faults(store.open_file(tmp_path / "f.h5"), deep=True) == []
