"""What a run says that nobody watches: a line a minute, and progress.json."""

import json
import logging
import os
import subprocess
import sys

import pytest
from making import make_file
from running import package_environment

from handtool.cli import signs, state
from handtool.cli.signs import Signs, duration, rate


@pytest.fixture
def clock(monkeypatch):
    """Seconds, to be set."""
    now = [1000.0]
    monkeypatch.setattr(signs.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(state, "command", "extract")
    return now


def lines_of(caplog):
    return [record.getMessage() for record in caplog.records]


def test_a_line_a_minute_says_done_of_all_figures_rate_and_time_left(clock, caplog):
    caplog.set_level(logging.INFO)
    said = Signs(lines=True, file=None)
    said("videos", 100, 1000)  # done by an earlier run
    said("frames", 0)
    for second in range(1, 131):
        clock[0] += 1
        said("frames", 20 * second)
        said("videos", 100 + second / 2, 1000, hands=40 * second, loss=0.25)
    assert lines_of(caplog) == [
        "after 1 min: videos 130 of 1,000 (13 %), 0.49/s, 29 min left, hands 2,360, loss 0.25; frames 1,200, 20/s",
        "after 2 min: videos 160 of 1,000 (16 %), 0.5/s, 28 min left, hands 4,760, loss 0.25; frames 2,400, 20/s",
    ]


def test_what_is_not_done_is_said_again_though_nothing_new_is_known(clock, caplog):
    caplog.set_level(logging.INFO)
    said = Signs(lines=True, file=None)
    said("videos", 0, 2)
    for minute in (1, 2):
        clock[0] += 60
        said("frames", 600 * minute)
    first, second = lines_of(caplog)
    assert first.endswith(": videos 0 of 2 (0 %); frames 600")
    assert second.endswith(": videos 0 of 2 (0 %); frames 1,200, 10/s")


def test_work_that_is_over_is_not_said_again(clock, caplog):
    caplog.set_level(logging.INFO)
    said = Signs(lines=True, file=None)
    said("build", 1, 1)
    clock[0] += 61
    said("ask", 0, 10)
    clock[0] += 61
    said("ask", 5, 10)
    assert lines_of(caplog) == [
        "after 1 min: build 1 of 1 (100 %); ask 0 of 10 (0 %)",
        "after 2 min: ask 5 of 10 (50 %), 4.9/min, 1 min left",
    ]


def test_the_file_for_monitors_is_written_every_few_seconds_whole_and_its_disk_may_be_full(clock, tmp_path):
    said = Signs(lines=False, file=tmp_path / "progress.json")
    said("videos", 0, 8)
    assert not list(tmp_path.iterdir()), "a short run writes none"
    clock[0] += 10
    said("videos", 2, 8, hands=7, loss=float("nan"))
    content = json.loads((tmp_path / "progress.json").read_text())
    assert content["command"] == "handtool extract" and content["pid"] == os.getpid() and content["seconds"] == 10
    assert content["started"] <= content["updated"]
    item = {"what": "videos", "done": 2, "total": 8, "per_s": 0.2, "seconds_left": 30, "figures": {"hands": 7}}
    assert content["work"] == [item]
    clock[0] += 1
    said("videos", 3, 8)
    assert json.loads((tmp_path / "progress.json").read_text()) == content, "too soon"
    assert [path.name for path in tmp_path.iterdir()] == ["progress.json"]
    gone = Signs(lines=False, file=tmp_path / "no such folder" / "progress.json")
    clock[0] += 10
    gone("videos", 1, 8)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59.4, "59 s"), (61, "1 min"), (3600, "1 h"), (12_000, "3 h 20 min"), (187_200, "2 d 4 h")],
)
def test_durations_have_two_units_at_most(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("per_s", "text"), [(1234.5, "1,234/s"), (2.345, "2.3/s"), (0.1, "6/min"), (0.001, "3.6/h"), (1e-6, "0.0036/h")]
)
def test_rates_have_the_unit_in_which_they_can_be_read(per_s, text):
    assert rate(per_s) == text


SOON = "from handtool.cli import signs\nsigns.LINE_S = 0.0\nfrom handtool.__main__ import main\nmain()"


@pytest.mark.parametrize("quiet", [False, True])
def test_a_command_without_a_terminal_says_it_unless_it_is_to_be_quiet(tmp_path, quiet):
    source = make_file(tmp_path / "keypoints.h5", (9, 8))
    words = ["embed", str(source), "-o", str(tmp_path / "e.h5"), *(["--quiet"] if quiet else [])]
    command = [sys.executable, "-c", SOON, *words]
    done = subprocess.run(command, env=package_environment(), capture_output=True, text=True, check=True)
    assert ("handtool embed: after 0 s: embed 17 of 17 (100 %)" in done.stderr) == (not quiet)
    assert done.stderr if not quiet else not done.stderr
