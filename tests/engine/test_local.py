"""Worker processes: what one item does to its process costs that item, and nothing else."""

import errno
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
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
        if isinstance(item, Path):  # dies or hangs once, and then no more
            yield "first"
            if not item.exists():
                item.touch()
                time.sleep(60) if item.name.startswith("hang") else os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(0.3)
            yield "second", time.monotonic()
        if item == "heartbeat":
            for _ in range(6):
                time.sleep(0.5)
                heartbeat()
        if item == "bug":
            raise KeyError("a bug of ours")
        if item == "full":
            raise OSError(errno.ENOSPC, "no space left", "part.h5")
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
        elif event.kind == "again":
            results.pop(event.item, None)
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


def test_what_hung_or_was_killed_is_tried_once_more_at_the_end_and_alone(tmp_path):
    names = ["hang 1", "kill 1", "hang 2", "kill 2"]
    items = ["die", *(tmp_path / name for name in names), *"abcd"]
    kinds = {number: [] for number in range(len(items))}
    results, told = {}, []
    for event in run_in_processes(open_squares, (7,), items, 2, 1.5):
        kinds[event.item].append(event.kind)
        told.append((event.item, event.kind))
        if event.kind == "result":
            results.setdefault(event.item, []).append(event.value)
    assert kinds[0] == ["again", "lost"]
    for number in range(1, 5):
        assert kinds[number] == ["result", "again", "result", "result", "result", "result", "heartbeat", "done"]
        assert results[number][:2] == ["first", "first"] and results[number][2][0] == "second"
    begun_again = min(told.index((number, "lost" if number == 0 else "done")) for number in range(5))
    assert all(told.index((number, "done")) < begun_again for number in range(5, 9)), "the others are done by then"
    moments = [results[number][2][1] for number in range(1, 5)]
    assert np.diff(moments).min() > 0.25, "one after the other, in order"


def open_unless_killed(folder: Path, times: int, text: str):
    """The first `times` workers are killed before their work begins."""
    before = len(list(folder.iterdir()))
    (folder / str(os.getpid())).touch()
    if before < times:
        os.kill(os.getpid(), signal.SIGKILL)
    return lambda item, heartbeat: [text]


def test_a_worker_killed_before_its_work_begins_costs_nothing_and_three_in_a_row_are_told(tmp_path):
    events = list(run_in_processes(open_unless_killed, (tmp_path, 2, "x"), [1, 2, 3], 1, 20.0))
    assert [event.kind for event in events].count("done") == 3 and not {"again", "lost"} & {e.kind for e in events}
    with pytest.raises(HandtoolError, match=r"worker processes end before their work begins: .*\(SIGKILL\)"):
        list(run_in_processes(open_unless_killed, (tmp_path, 99, "x"), [1, 2, 3], 2, 20.0))


def test_a_machine_with_no_room_for_another_process_goes_on_with_those_there_are(monkeypatch, caplog):
    started, start = [], multiprocessing.context.SpawnProcess.start

    def start_two(process):
        if len(started) == 2:
            raise BlockingIOError(11, "Resource temporarily unavailable")
        started.append(process)
        start(process)

    monkeypatch.setattr(multiprocessing.context.SpawnProcess, "start", start_two)
    _, lost, done = run("abcdef", workers=4)
    assert done == set(range(6)) and not lost and "2 worker processes, not one more: resource" in caplog.text
    with pytest.raises(HandtoolError, match="no worker process can be started: resource temporarily unavailable"):
        run("ab")


def test_a_worker_that_computes_for_ever_ends_with_its_parent(tmp_path):
    code = (
        "import os\nfrom test_local import open_spinning, run_in_processes\n"
        "if __name__ == '__main__':\n"
        "    for event in run_in_processes(open_spinning, (), [1], 1, 60.0):\n"
        "        print(event.value, flush=True)\n"
    )
    (tmp_path / "pool.py").write_text(code)
    paths = [str(ROOT), str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    pool = subprocess.Popen([sys.executable, tmp_path / "pool.py"], stdout=subprocess.PIPE, text=True, env=environment)
    worker = int(pool.stdout.readline())
    pool.kill()
    pool.wait()
    end = time.monotonic() + 10
    while Path(f"/proc/{worker}").exists() and time.monotonic() < end:
        time.sleep(0.05)
    assert not Path(f"/proc/{worker}").exists()


def open_spinning():
    def work(item, heartbeat):
        yield os.getpid()
        while True:
            pass

    return work


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
    with pytest.raises(OSError, match="no space left") as full:
        run(["full"])
    assert full.value.errno == errno.ENOSPC and "in a worker process" in full.value.__notes__[0]


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


def test_without_sched_getaffinity_the_cores_of_the_machine_count(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 7)
    assert count_workers(0, 100) == 7
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert count_workers(0, 100) == 1
