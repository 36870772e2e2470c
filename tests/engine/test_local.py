"""Worker processes: what one item does to its process costs that item, and nothing else."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from handtool.engine import local
from handtool.engine.local import count_workers, run_in_processes
from handtool.errors import HandtoolError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def new_interpreters(monkeypatch):
    monkeypatch.setattr(local, "get_context", multiprocessing.get_context)


def open_squares(offset: int):
    def work(item, heartbeat):
        if item == "die":
            os.kill(os.getpid(), signal.SIGSEGV)
        if item == "hang":
            yield "first"
            time.sleep(60)
        if item == "heartbeat":
            for _ in range(6):
                time.sleep(0.5)
                heartbeat()
        if item == "bug":
            raise KeyError("a bug of ours")
        if item == "mistake":
            raise HandtoolError("the user's mistake", hint="a remedy")
        if item == "memory":
            raise MemoryError
        if item == "deaf":
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGINT)
        yield offset, item
        yield os.getpid()

    return work


def run(items, workers=2, timeout_s=20.0):
    results, lost, done = {}, {}, set()
    for event in run_in_processes(open_squares, (7,), items, workers, timeout_s):
        if event.kind == "result":
            results.setdefault(event.item, []).append(event.value)
        elif event.kind == "lost":
            lost[event.item] = event.value
        elif event.kind == "done":
            done.add(event.item)
    return results, lost, done


def test_every_item_is_done_by_some_worker_and_its_results_come_in_order():
    results, lost, done = run(list("abcdefgh"))
    assert done == set(range(8)) and not lost
    assert [results[number][0] for number in range(8)] == [(7, letter) for letter in "abcdefgh"]
    assert len({result[1] for result in results.values()}) <= 2 and os.getpid() not in {
        result[1] for result in results.values()
    }


def test_a_worker_that_dies_costs_its_item_only():
    results, lost, done = run(["a", "die", "b", "die", "c"])
    assert done == {0, 2, 4} and lost == {1: "its process died (SIGSEGV)", 3: "its process died (SIGSEGV)"}


def test_a_worker_that_hangs_is_given_up_and_one_that_sends_heartbeats_is_not():
    results, lost, done = run(["hang", "heartbeat"], timeout_s=1.5)
    assert lost == {0: "no new frame for 1.5 s"} and done == {1} and results[0] == ["first"]


def test_a_pool_that_is_stopped_for_longer_than_the_timeout_loses_nothing(tmp_path):
    code = (
        "from test_local import run\n"
        "if __name__ == '__main__':\n"
        "    print('begun', flush=True)\n"
        "    print(run(['heartbeat', 'heartbeat'], timeout_s=1.5)[1:])\n"
    )
    (tmp_path / "pool.py").write_text(code)
    paths = [str(ROOT), str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    command = [sys.executable, tmp_path / "pool.py"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    pool = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, start_new_session=True)
    assert pool.stdout.readline() == "begun\n"
    time.sleep(1)
    for _ in range(2):
        os.killpg(pool.pid, signal.SIGSTOP)
        time.sleep(3.5)
        os.killpg(pool.pid, signal.SIGCONT)
        time.sleep(0.5)
    assert pool.communicate(timeout=60)[0] == "({}, {0, 1})\n"


def test_every_beat_is_told_in_the_end():
    event = list(run_in_processes(open_squares, (7,), ["heartbeat"], 1, 20.0))
    assert sum(one.value for one in event if one.kind == "heartbeat") == 6


def test_an_item_too_large_for_memory_is_lost():
    _, lost, done = run(["memory", "a"], workers=1)
    assert lost == {0: "not enough memory for it"} and done == {1}


def test_signals_to_the_whole_group_do_not_end_a_worker():
    _, lost, done = run(["deaf"])
    assert done == {0} and not lost


def test_errors_come_back_as_what_they_are():
    with pytest.raises(HandtoolError) as caught:
        run(["mistake"])
    assert (caught.value.message, caught.value.hint) == ("the user's mistake", "a remedy")
    with pytest.raises(RuntimeError, match="a bug of ours"):
        run(["bug"])


def test_nothing_to_do_starts_nothing():
    assert run([]) == ({}, {}, set())


def test_a_reader_that_stops_early_leaves_no_worker_behind():
    event = run_in_processes(open_squares, (0,), ["a", "hang", "hang"], 2, 20.0)
    next(event)
    assert multiprocessing.active_children()
    event.close()
    assert not multiprocessing.active_children()


def test_workers_are_never_more_than_items_and_zero_means_one_per_core():
    assert count_workers(8, 3) == 3 and count_workers(2, 10) == 2
    assert count_workers(0, 10**6) == len(os.sched_getaffinity(0)) and count_workers(0, 0) == 1
