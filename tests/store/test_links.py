"""Links hold when files move together, and say so when they do not."""

import json

import h5py
import numpy as np
import pytest
from making import make_file, record

from handtool import store
from handtool.errors import DamagedFile, HandtoolError
from handtool.store import CROPS, EMBEDDINGS, KEYPOINTS, VIDEOS
from handtool.store import file as store_file


def embed(source: store.File, path, **config) -> None:
    """A stage that adds a table: the simplest one."""
    n = source.count(CROPS)
    with store.create_file(path, record("handtool embed", **config), [source]) as sink:
        store.write_table(sink, EMBEDDINGS, dict(vector=np.arange(3.0 * n).reshape(n, 3), valid=np.ones(n, bool)))
        sink.inherit(source)
        sink.finish({})


@pytest.fixture
def chain(tmp_path):
    """keypoints.h5 and embeddings.h5 that links to it, in one folder."""
    folder = tmp_path / "one"
    folder.mkdir()
    with store.open_file(make_file(folder / "keypoints.h5")) as source:
        embed(source, folder / "embeddings.h5")
    return folder


def test_linked_tables_read_like_own_ones(chain):
    with store.open_file(chain / "embeddings.h5") as file, store.open_file(chain / "keypoints.h5") as source:
        assert file.tables == ["videos", "crops", "keypoints", "embeddings"]
        assert np.array_equal(store.read_column(file, KEYPOINTS.xy), store.read_column(source, KEYPOINTS.xy))
        assert store.open_jpegs(file)[3] == store.open_jpegs(source)[3]
        assert (chain / "embeddings.h5").stat().st_size < (chain / "keypoints.h5").stat().st_size


def test_links_hold_when_the_folder_moves(chain, tmp_path, monkeypatch):
    moved = chain.rename(tmp_path / "two")
    monkeypatch.chdir("/")
    monkeypatch.setenv("HDF5_EXT_PREFIX", "/nowhere")
    with store.open_file(moved / "embeddings.h5") as file:
        assert file.count(KEYPOINTS) == 9


def test_a_missing_file_is_named_and_can_be_named_anew(chain, tmp_path, monkeypatch):
    elsewhere = (chain / "keypoints.h5").rename(tmp_path / "elsewhere.h5")
    with store.open_file(chain / "embeddings.h5") as file:
        with pytest.raises(HandtoolError, match="which is not there") as caught:
            store.read_column(file, KEYPOINTS.xy)
        assert "--linked" in caught.value.hint
        monkeypatch.setattr(store_file, "relocated", [elsewhere])
        assert store.read_column(file, KEYPOINTS.xy).shape == (9, 21, 2)


def test_a_regenerated_file_is_refused_with_both_uuids(chain):
    old = store.open_file(chain / "keypoints.h5").uuid
    new = store.open_file(make_file(chain / "keypoints.h5", seed=1)).uuid
    with store.open_file(chain / "embeddings.h5") as file, pytest.raises(HandtoolError) as caught:
        store.read_column(file, KEYPOINTS.xy)
    assert old in caught.value.message and new in caught.value.message


def test_a_link_always_goes_to_the_owner(chain):
    with store.open_file(chain / "embeddings.h5") as source:
        with store.create_file(chain / "third.h5", record("handtool third"), [source]) as sink:
            sink.inherit(source)
            sink.finish({})
    with store.open_file(chain / "third.h5") as file:
        assert file.links["keypoints"]["file"] == "keypoints.h5" and file.links["embeddings"]["file"] == "embeddings.h5"
        assert [e["program"] for e in file.provenance] == ["handtool test", "handtool embed", "handtool third"]


def test_what_came_by_pipe_is_carried_inside(chain, tmp_path):
    with store.open_file(chain / "keypoints.h5", carried=True) as source:
        embed(source, tmp_path / "embeddings.h5")
    (chain / "keypoints.h5").unlink()
    with store.open_file(tmp_path / "embeddings.h5") as file:
        assert file.links == {} and store.read_column(file, KEYPOINTS.xy).shape == (9, 21, 2)
        assert store.open_jpegs(file)[0][:2] == b"\xff\xd8" and store.find_faults(file, deep=True) == []


def test_a_stream_links_by_absolute_path(chain, tmp_path):
    with store.open_file(chain / "keypoints.h5") as source:
        with store.create_file(None, record("handtool embed"), [source]) as sink:
            sink.inherit(source)
            sink.finish({})
            with open(tmp_path / "stream.h5", "wb") as stream:
                sink.copy_to(stream)
    with store.open_file(tmp_path / "stream.h5") as file:
        assert file.links["crops"]["file"] == str(chain / "keypoints.h5")


def test_a_link_to_a_damaged_file_is_refused_as_damaged(chain):
    data = (chain / "keypoints.h5").read_bytes()
    (chain / "keypoints.h5").write_bytes(data[: len(data) // 2])
    with store.open_file(chain / "embeddings.h5") as file, pytest.raises(DamagedFile):
        store.read_column(file, KEYPOINTS.xy)


def test_inheriting_some_tables_leaves_the_others(chain, tmp_path):
    with store.open_file(chain / "embeddings.h5") as source:
        with store.create_file(tmp_path / "few.h5", record(), [source]) as sink:
            sink.inherit(source, only=(VIDEOS, CROPS))
            sink.finish({})
    assert store.open_file(tmp_path / "few.h5").tables == ["videos", "crops"]


def test_commands_of_the_chain_are_told_in_order_with_pipes_as_pipes(chain):
    entries = [
        {"uuid": "a", "parents": "", "inputs": [], "command": "handtool extract v -o -"},
        {"uuid": "b", "parents": "a", "inputs": [{"path": "-"}], "command": "handtool keypoints - -o k.h5"},
        {"uuid": "c", "parents": "b", "inputs": [{"path": "k.h5"}], "command": "handtool embed k.h5 -o e.h5"},
    ]
    assert store.rebuild_commands(entries) == [
        "handtool extract v -o - | handtool keypoints - -o k.h5",
        "handtool embed k.h5 -o e.h5",
    ]


def test_links_hold_through_symbolic_links_to_the_folder_and_to_the_file(chain, tmp_path):
    deep = tmp_path / "real" / "deep"
    deep.mkdir(parents=True)
    (tmp_path / "short").symlink_to(deep)
    with store.open_file(chain / "keypoints.h5") as source:
        embed(source, tmp_path / "short" / "e.h5")
    (tmp_path / "latest.h5").symlink_to(deep / "e.h5")
    for path in (tmp_path / "short" / "e.h5", deep / "e.h5", tmp_path / "latest.h5"):
        with store.open_file(path) as file:
            assert store.find_faults(file) == []


def test_names_that_are_no_utf8_can_be_linked_to(chain):
    odd = chain / b"caf\xe9.h5".decode("utf-8", "surrogateescape")
    (chain / "keypoints.h5").rename(odd)
    with store.open_file(odd) as source:
        embed(source, chain / "e.h5")
    with store.open_file(chain / "e.h5") as file:
        assert file.count(KEYPOINTS) == 9


def test_a_linked_file_with_another_number_of_hands_is_refused(chain):
    with store.open_file(make_file(chain / "short.h5", (2, 2), seed=7)) as other:
        record_of_links = {"file": "short.h5", "uuid": other.uuid}
    with h5py.File(chain / "embeddings.h5", "r+") as h5:
        links = {name: record_of_links for name in json.loads(h5.attrs["links"])}
        h5.attrs["links"] = np.bytes_(json.dumps(links))
        for name in links:
            del h5[name]
            h5[name] = h5py.ExternalLink("short.h5", f"/{name}")
    with store.open_file(chain / "embeddings.h5") as file, pytest.raises(DamagedFile, match="9 hands"):
        store.read_column(file, KEYPOINTS.xy)


def test_images_left_in_a_file_that_moved_are_found_by_name(chain, tmp_path, monkeypatch):
    from handtool.config import CatConfig
    from handtool.stages.cat import cat

    with (
        store.open_file(chain / "keypoints.h5") as source,
        store.create_file(tmp_path / "all.h5", record(), [source]) as sink,
    ):
        cat([source], sink, CatConfig(link=True))
        sink.finish({})
    moved = (chain / "keypoints.h5").rename(tmp_path / "moved.h5")
    with store.open_file(tmp_path / "all.h5") as file:
        with pytest.raises(HandtoolError, match="which is not there"):
            store.open_jpegs(file)
        monkeypatch.setattr(store_file, "relocated", [moved])
        assert store.open_jpegs(file)[0][:2] == b"\xff\xd8"


def test_redirections_are_told_as_such():
    entries = [
        {"uuid": "a", "parents": "", "inputs": [], "command": "handtool embed k.h5", "streamed": True},
        {
            "uuid": "b",
            "parents": "a",
            "inputs": [{"path": "my e.h5", "uuid": "a"}],
            "command": "handtool mine 'my e.h5'",
            "streamed": True,
        },
        {"uuid": "m", "parents": "", "inputs": [], "command": "handtool finetune t.h5"},
        {
            "uuid": "c",
            "parents": "b m",
            "inputs": [{"path": "-", "uuid": "b"}, {"path": "pose.h5", "uuid": "m"}],
            "command": "handtool x",
            "streamed": True,
        },
    ]
    lines = ["handtool embed k.h5 > 'my e.h5'", "handtool finetune t.h5", "handtool mine 'my e.h5' | handtool x > x.h5"]
    assert store.rebuild_commands(entries, "x.h5") == lines
