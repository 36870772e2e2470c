"""Time of a child's own: asleep or computing counts, waiting for a core or being stopped does not."""

import os
import signal
import subprocess
import sys
import time

import pytest

from handtool import own_time
from handtool.own_time import OwnTime

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def watch(code: str, seconds: float, stop: bool = False) -> OwnTime:
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    try:
        assert child.stdout.readline() == b"begun\n"
        if stop:
            os.kill(child.pid, signal.SIGSTOP)
            time.sleep(0.1)
        watched, end = OwnTime(child.pid), time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(0.1)
            watched.look()
        return watched
    finally:
        child.kill()
        child.wait()


def test_a_child_that_sleeps_and_one_that_computes():
    asleep = watch("import time; print('begun', flush=True); time.sleep(60)", 1.0)
    assert 0.7 < asleep.asleep_s < 1.3 and asleep.computing_s == 0
    computing = watch("print('begun', flush=True)\nwhile True: pass", 2.0)
    assert computing.asleep_s == 0 and 0.1 < computing.computing_s < 2.3  # as much as a shared machine gives it


def test_a_child_that_is_stopped_has_no_time_of_its_own():
    assert watch("print('begun', flush=True)\nwhile True: pass", 1.0, stop=True).seconds <= 0.1


def test_a_child_that_waits_for_a_core_is_told_from_one_that_computes(monkeypatch):
    clock, cpu = [100.0], [5.0]
    monkeypatch.setattr(own_time.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(own_time, "read_process", lambda pid: (cpu[0], True))
    starved = OwnTime(1)
    for _ in range(100):  # 25 processes share a core
        clock[0], cpu[0] = clock[0] + 1.0, cpu[0] + 0.04
        starved.look()
    assert starved.seconds == pytest.approx(99 * 0.04)
    for _ in range(10):  # eight threads at work are not eight times as late
        clock[0], cpu[0] = clock[0] + 1.0, cpu[0] + 8.0
        starved.look()
    assert starved.seconds == pytest.approx(99 * 0.04 + 10)
    starved.restart()
    assert starved.seconds == 0


def test_time_in_which_the_watcher_was_away_does_not_count(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(own_time.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(own_time, "read_process", lambda pid: (1.0, False))
    watched = OwnTime(1)
    for passed in (1.0, 70.0, 1.0):
        clock[0] += passed
        watched.look()
    assert watched.seconds == 1.0 + own_time.LONGEST_TICK_S + 1.0


def test_a_name_with_brackets_does_not_shift_the_fields(tmp_path):
    (tmp_path / "stat").write_text("7 (a) R (b) S 1 7 7 0 -1 0 1 2 3 4 250 50 0 0\n")
    fields = own_time.read_stat(tmp_path / "stat")
    assert fields[0] == "S" and (fields[11], fields[12]) == ("250", "50")
