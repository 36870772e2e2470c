"""The look at a file before it is opened: in a child process, whose crash or hang is the verdict on the file."""

import _imp
import os
import signal
import threading
import time

import h5py
import numpy as np
import pytest
from making import make_file, record

from handtool import store
from handtool.errors import DamagedFile, HandtoolError
from handtool.own_time import OwnTime
from handtool.store import gatekeeper
from handtool.store.gatekeeper import SIGNATURE


@pytest.fixture(autouse=True)
def seen_by_nobody(monkeypatch):
    monkeypatch.setattr(gatekeeper, "checked", {})


@pytest.fixture
def children(monkeypatch):
    """Those that were forked, by number."""
    numbers, fork = [], os.fork

    def fork_and_note():
        numbers.append(fork())
        return numbers[-1]

    monkeypatch.setattr(os, "fork", fork_and_note)
    return numbers


def assert_none_is_left(children):
    """Neither running nor dead and waited for by nobody."""
    assert children or not gatekeeper.CAN_FORK
    for number in children:
        with pytest.raises(ChildProcessError):
            os.waitpid(number, os.WNOHANG)


def linked_pair(folder):
    make_file(folder / "crops.h5")
    with (
        store.open_file(folder / "crops.h5") as source,
        store.create_file(folder / "linking.h5", record(), [source]) as sink,
    ):
        sink.inherit(source)
        sink.finish({})
    gatekeeper.checked.clear()
    return folder / "linking.h5"


def sleeper(path):
    path.write_text("#!/bin/sh\nexec sleep 60\n")
    path.chmod(0o755)
    return str(path)


def test_a_forked_child_that_waits_for_a_lock_is_no_disk_that_does_not_answer(tmp_path, monkeypatch, children):
    """Whatever another thread held at the fork: a new interpreter is asked."""
    path = make_file(tmp_path / "f.h5")
    gatekeeper.checked.clear()
    held = threading.Lock()
    held.acquire()
    monkeypatch.setattr(gatekeeper, "FORK_ASLEEP_SECONDS", 0.5)
    monkeypatch.setattr(gatekeeper, "check_file", lambda name: held.acquire())
    store.open_file(path).close()
    assert_none_is_left(children)


def test_a_pipe_that_another_process_holds_open_does_not_delay_the_answer(tmp_path, monkeypatch):
    path, fork, others = make_file(tmp_path / "f.h5"), os.fork, []
    gatekeeper.checked.clear()

    def fork_two():  # a process that another thread starts at this moment inherits the pipe
        if (other := fork()) == 0:
            time.sleep(60)
            os._exit(0)
        others.append(other)
        return fork()

    monkeypatch.setattr(os, "fork", fork_two)
    began = time.monotonic()
    try:
        store.open_file(path).close()
        assert time.monotonic() - began < 5
        monkeypatch.setattr(gatekeeper, "check_file", lambda name: os._exit(0))
        gatekeeper.checked.clear()
        with pytest.raises(DamagedFile, match="crashes the HDF5 library"):
            store.open_file(path)
        assert time.monotonic() - began < 10
    finally:
        for other in others:
            os.kill(other, signal.SIGKILL)
            os.waitpid(other, 0)


def test_what_a_child_says_last_is_heard_though_it_has_ended_when_it_is_looked_for(monkeypatch):
    """On a busy machine it writes and ends between the wait for its pipe and the look at it."""
    reader, writer = os.pipe()

    def has_ended(child):
        os.write(writer, gatekeeper.SAID_DONE)
        return True

    monkeypatch.setattr(gatekeeper, "has_ended", has_ended)
    monkeypatch.setattr(gatekeeper, "LOOK_S", 0.01)
    assert gatekeeper.read_all(reader, OwnTime(os.getpid()), 60)[0] == gatekeeper.SAID_DONE
    os.close(reader)
    os.close(writer)


def test_a_thread_that_opens_a_file_while_the_main_thread_imports_waits_for_nobody(tmp_path, monkeypatch):
    """Whoever imports may come to need h5py's lock: it is never held by one who waits for that of imports."""
    path = make_file(tmp_path / "f.h5")
    gatekeeper.checked.clear()
    opened = []
    thread = threading.Thread(target=lambda: opened.append(gatekeeper.examine(path)))
    _imp.acquire_lock()
    try:
        thread.start()
        time.sleep(0.5)
        free = gatekeeper.phil.acquire(False)
        assert free and not opened
        gatekeeper.phil.release()
    finally:
        _imp.release_lock()
    thread.join(30)
    assert [verdict["problem"] for verdict in opened[0]] == [None]


def test_ctrl_c_while_it_forks_is_obeyed_once_it_is_done_and_leaves_no_child(tmp_path, monkeypatch, children):
    path, fork = make_file(tmp_path / "f.h5"), os.fork
    gatekeeper.checked.clear()

    def interrupt():  # this thread: one that other tests have left might take the signal only after this test
        signal.pthread_kill(threading.get_ident(), signal.SIGINT)

    def fork_between_signals():
        interrupt()
        child = fork()
        if child:
            interrupt()
            os.kill(child, signal.SIGINT)
        return child

    monkeypatch.setattr(os, "fork", fork_between_signals)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            store.open_file(path)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
    finally:
        signal.signal(signal.SIGINT, before)
    assert_none_is_left(children)


def spin():
    while True:
        pass


@pytest.mark.parametrize("ending", ["crashes", "hangs"])
def test_a_crash_or_a_hang_is_the_verdict_on_the_file_being_looked_at(tmp_path, monkeypatch, children, ending):
    path, look = linked_pair(tmp_path), gatekeeper.check_file
    monkeypatch.setattr(gatekeeper, "SECONDS", 0.5)

    def fall(name):
        if not name.endswith("crops.h5"):
            return look(name)
        os.kill(os.getpid(), signal.SIGKILL) if ending == "crashes" else spin()

    monkeypatch.setattr(gatekeeper, "check_file", fall)
    verdicts = {os.path.basename(verdict["path"]): verdict["problem"] for verdict in gatekeeper.examine(path)}
    assert verdicts == {"linking.h5": None, "crops.h5": f"{ending} the HDF5 library"}
    assert_none_is_left(children)
    with pytest.raises(DamagedFile, match=rf"crops.h5 {ending} the HDF5 library"):
        store.open_file(tmp_path / "crops.h5")


def test_a_disk_that_does_not_answer_is_no_damage(tmp_path, monkeypatch, children):
    path = make_file(tmp_path / "f.h5")
    gatekeeper.checked.clear()
    monkeypatch.setattr(gatekeeper, "ASLEEP_SECONDS", 0.5)
    monkeypatch.setattr(gatekeeper, "check_file", lambda name: time.sleep(60))
    monkeypatch.setattr(gatekeeper.sys, "executable", sleeper(tmp_path / "python"))
    with pytest.raises(HandtoolError, match="f.h5 could not be read within 0.5 s") as caught:
        store.open_file(path)
    assert not isinstance(caught.value, DamagedFile)
    assert_none_is_left(children)


def test_a_fork_and_a_new_interpreter_see_the_same(tmp_path, monkeypatch):
    cut = tmp_path / "cut.h5"
    cut.write_bytes(make_file(tmp_path / "whole.h5").read_bytes()[:-1000])
    (tmp_path / "text.h5").write_text("hands")
    (tmp_path / "noise.h5").write_bytes(SIGNATURE + np.random.default_rng(0).bytes(5000))
    for path in (linked_pair(tmp_path), cut, tmp_path / "text.h5", tmp_path / "noise.h5"):
        by_fork = gatekeeper.examine(path)
        monkeypatch.setattr(gatekeeper, "CAN_FORK", not gatekeeper.CAN_FORK)
        assert gatekeeper.examine(path) == by_fork and by_fork[0]["path"] == str(path)


def test_looking_while_other_threads_are_inside_libhdf5(tmp_path, monkeypatch):
    """A lock that another thread held at the fork would never be free in the child."""
    path, other, over = make_file(tmp_path / "f.h5"), tmp_path / "other.h5", threading.Event()
    with h5py.File(other, "w") as h5:
        h5["numbers"] = np.zeros((200, 1000))
    monkeypatch.setattr(gatekeeper, "SECONDS", 3)
    monkeypatch.setattr(gatekeeper, "ASLEEP_SECONDS", 3)

    def read_on():
        with h5py.File(other) as h5:
            while not over.is_set():
                h5["numbers"][:]

    threads = [threading.Thread(target=read_on) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(10):  # nearly always, one of them holds it
            assert [verdict["problem"] for verdict in gatekeeper.examine(path)] == [None]
    finally:
        over.set()
        for thread in threads:
            thread.join()


def test_the_child_dies_with_the_wait_for_it(tmp_path, monkeypatch, children):
    path = make_file(tmp_path / "f.h5")
    monkeypatch.setattr(gatekeeper, "check_file", lambda _: time.sleep(60))

    def interrupt(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    try:
        with pytest.raises(KeyboardInterrupt):
            store.open_file(path)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert_none_is_left(children)
