"""Large JSON is read entry by entry: what Python's json reads, from any block, in the memory of one entry."""

import json
import os
import sys
from pathlib import Path

import pytest

from handtool.errors import DamagedFile, HandtoolError
from handtool.sources import large_json
from handtool.sources.large_json import read_items, read_members

pytest.importorskip("ijson", reason="needs the extra `datasets`")
CONTENT = {
    "info": {"a": [1, {}]},
    "n": -12.5e-3,
    "list": [1, 23, 'é\\"]', None, [], {"k": [True, 10**15, 1e-30]}],
    "of": {"x": 456, "y": {}, "z": {"list": [0]}},
    "none": [],
    "nobody": {},
}


@pytest.mark.parametrize("block", [1, 7, 64, 1 << 20])
@pytest.mark.parametrize("layout", [{}, {"indent": 2, "ensure_ascii": False}, {"separators": (",", ":")}])
def test_a_stream_of_json_gives_what_json_gives_wherever_it_is_cut_into_blocks(tmp_path, monkeypatch, block, layout):
    monkeypatch.setattr(large_json, "BLOCK_BYTES", block)
    path = tmp_path / "a.json"
    path.write_text(json.dumps(CONTENT, **layout))
    assert dict(read_members(path)) == CONTENT
    assert list(read_items(path, "none", "list")) == [("list", i, each) for i, each in enumerate(CONTENT["list"])]
    assert dict(read_members(path, "of")) == CONTENT["of"] and list(read_members(path, "nobody")) == []


@pytest.mark.parametrize(
    "read", [read_members, lambda path: read_items(path, "list"), lambda path: read_members(path, "of")]
)
def test_a_file_cut_anywhere_is_named_as_cut(tmp_path, read):
    path, text = tmp_path / "a.json", json.dumps(CONTENT).encode()
    for end in range(len(text)):
        path.write_bytes(text[:end])
        with pytest.raises(DamagedFile, match=r"a.json \([\d,]+ bytes\) ends in the middle"):
            list(read(path))


@pytest.mark.parametrize(
    "text", ["<html>", "[1]", "5", '{"a" 1}', "{1: 2}", '{"a": [1e999]}', '{"a": 1} more', "{'a': 1}"]
)
def test_what_is_no_object_of_json_is_damage(tmp_path, text):
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(DamagedFile, match="cannot be read"):
        list(read_members(path))


def test_a_name_that_is_missing_is_told_with_those_that_are_there(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"images": [], "more": {"annotations": [1]}}')
    with pytest.raises(HandtoolError, match="has no annotations; it has images, more"):
        list(read_items(path, "images", "annotations"))


@pytest.mark.parametrize("block", [1, 2, 3, 5, 4096])
def test_numbers_that_are_none_are_null_and_words_stay(tmp_path, monkeypatch, block):
    monkeypatch.setattr(large_json, "BLOCK_BYTES", block)
    path = tmp_path / "a.json"
    path.write_text(
        '{"a": [NaN, 1.5, -Infinity,Infinity], "b":NaN, "c": ["NaN", "a NaN", "Infinity"], "NaN": {"d":NaN}}'
    )
    assert dict(read_members(path)) == {
        "a": [None, 1.5, None, None],
        "b": None,
        "c": ["NaN", "a NaN", "Infinity"],
        "NaN": {"d": None},
    }


@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_brackets_without_end_are_refused_before_they_fill_the_memory(tmp_path, opening):
    path = tmp_path / "a.json"
    path.write_text('{"a":' + 200_000 * opening)
    with pytest.raises(DamagedFile, match="nested more than 2000 deep"):
        list(read_items(path, "a"))


def test_of_two_equal_keys_the_last_one_counts_as_in_json(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"a": {"x": 1, "x": 2}}')
    assert dict(read_members(path)) == json.loads(path.read_text())


def test_memory_holds_an_entry_and_not_the_file(tmp_path):
    import tracemalloc

    path = tmp_path / "a.json"
    path.write_text(json.dumps({"a": [[0.5] * 1000] * 3000}))  # 15 MB
    tracemalloc.start()
    try:
        assert sum(len(value) for _, _, value in read_items(path, "a")) == 3_000_000
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_without_ijson_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ijson", None)
    with pytest.raises(HandtoolError, match="which is not installed") as told:
        list(read_members(tmp_path / "a.json"))
    assert told.value.hint == "pip install 'handtool[datasets]'"


def test_a_word_without_end_and_what_is_no_file_are_left_at_once(tmp_path):
    (tmp_path / "a.json").write_bytes(b'{"a": [' + b"9" * 5_000_000)
    with pytest.raises(DamagedFile, match="a word of more than 1 MB"):
        list(read_items(tmp_path / "a.json", "a"))
    for place in ("/dev/zero", str(tmp_path)):
        with pytest.raises(HandtoolError, match="it is no file"):
            list(read_items(Path(place), "a"))
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(HandtoolError, match="it is no file"):
        list(read_items(tmp_path / "pipe", "a"))
