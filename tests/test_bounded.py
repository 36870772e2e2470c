"""What a user names is read whole, and never without end."""

import json
import os
import subprocess
import sys
import time

import pytest

from handtool.bounded import read_bounded, read_json
from handtool.errors import DamagedFile, HandtoolError


@pytest.mark.parametrize("size", [0, 1, 3_000_000])
def test_a_sound_file_is_read_whole(tmp_path, size):
    text = b"".join(b"%d,\n" % number for number in range(size // 8))
    (tmp_path / "a").write_bytes(text)
    assert read_bounded(tmp_path / "a") == text


def test_a_pipe_is_read_to_its_end_also_where_its_writer_takes_its_time(tmp_path):
    code = "import time, sys; print('a,b', flush=True); time.sleep(1.5); print('c')"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as child:
        assert read_bounded(f"/dev/fd/{child.stdout.fileno()}", kind="line") == b"a,b\nc\n"


def test_a_pipe_that_nobody_writes_to_is_told_within_two_seconds(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    began = time.monotonic()
    with pytest.raises(HandtoolError, match="nothing comes out of this pipe"):
        read_bounded(tmp_path / "pipe")
    assert time.monotonic() - began < 2


@pytest.mark.parametrize("name, told", [("/dev/zero", "a device"), (".", "a folder"), ("nowhere", "no such file")])
def test_what_is_no_file_is_said(name, told):
    with pytest.raises(HandtoolError, match=told):
        read_bounded(name)


def test_a_pipe_without_end_is_left_after_a_megabyte_without_a_break():
    with subprocess.Popen(["cat", "/dev/zero"], stdout=subprocess.PIPE) as child:
        with pytest.raises(DamagedFile, match="a word or a line of more than 1 MB"):
            read_bounded(f"/dev/fd/{child.stdout.fileno()}")
        child.kill()


def test_a_pipe_without_end_whose_lines_are_short_is_left_at_the_bound():
    with subprocess.Popen(["yes"], stdout=subprocess.PIPE) as child:
        with pytest.raises(DamagedFile, match="such a file may have 3,000,000"):
            read_bounded(f"/dev/fd/{child.stdout.fileno()}", 3_000_000, "line")
        child.kill()


def test_a_sparse_file_of_50_gb_is_not_read(tmp_path):
    with open(tmp_path / "a", "wb") as file:
        file.truncate(50 << 30)
    with pytest.raises(DamagedFile, match="such a file may have"):
        read_bounded(tmp_path / "a")


def test_json_may_begin_with_a_mark_of_its_encoding(tmp_path):
    (tmp_path / "a.json").write_bytes(b"\xef\xbb\xbf" + json.dumps({"a": [1, "ä"]}).encode())
    assert read_json(tmp_path / "a.json") == {"a": [1, "ä"]}
