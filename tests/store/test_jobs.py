"""A long stage's state: finished parts survive, other jobs are kept out, damaged parts are noticed."""

import errno
import fcntl
import logging
import os
import threading
from functools import partial

import numpy as np
import pytest
from making import make_file, record

from handtool import store
from handtool.errors import DamagedFile, HandtoolError
from handtool.store.disk import scratch_array


def test_a_part_comes_back_as_it_was_saved(tmp_path):
    values = {
        "a/b": np.arange(6.0).reshape(2, 3),
        "raw": b"\0\1\2",
        "n": 3,
        "words": ["ä", "b"],
        "none": None,
        "scalar": np.int64(7),
        "empty": np.zeros((0, 4)),
    }
    with store.open_job(tmp_path / "out.h5", record()) as job:
        job.save("video-3", values)
        assert job.has("video-3") and job.names() == ["video-3"]
        loaded = job.load("video-3")
    assert np.array_equal(loaded["a/b"], values["a/b"]) and loaded["raw"] == b"\0\1\2" and loaded["words"] == ["ä", "b"]
    assert (
        loaded["n"] == 3 and loaded["none"] is None and int(loaded["scalar"]) == 7 and loaded["empty"].shape == (0, 4)
    )


def test_the_same_job_goes_on_with_its_parts(tmp_path):
    with store.open_job(tmp_path / "out.h5", record(fps=1)) as job:
        job.save("one", {"x": np.ones(3)})
    with store.open_job(tmp_path / "out.h5", record(fps=1)) as job:
        assert job.names() == ["one"]
        job.remove()
    assert list(tmp_path.iterdir()) == []


def test_another_setting_is_refused_by_name_and_restart_is_the_way_out(tmp_path):
    with store.open_job(tmp_path / "out.h5", record(fps=1)) as job:
        job.save("one", {"x": np.ones(3)})
    with pytest.raises(HandtoolError, match="another run, made with fps 1 instead of 2") as caught:
        store.open_job(tmp_path / "out.h5", record(fps=2))
    assert "--restart" in caught.value.hint
    with store.open_job(tmp_path / "out.h5", record(fps=2), restart=True) as job:
        assert job.names() == []


def test_a_job_that_ends_before_its_first_part_leaves_no_folder(tmp_path):
    with store.open_job(tmp_path / "out.h5", record(fps=1)):
        assert (tmp_path / "out.h5.partial").is_dir()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_without_parts_is_taken_over(tmp_path):
    killed = store.open_job(tmp_path / "out.h5", record(fps=1))
    os.close(killed.lock)
    with store.open_job(tmp_path / "out.h5", record(fps=2)) as job:
        job.save("one", {"x": np.ones(3)})
    with pytest.raises(HandtoolError, match="another run, made with"):
        store.open_job(tmp_path / "out.h5", record(fps=1))


@pytest.mark.parametrize("reached", range(5))
def test_what_a_kill_left_of_a_removal_goes_with_the_next_look(tmp_path, monkeypatch, reached):
    """Five removals, the folder's own among them; another job's state stays."""

    def count(remove, *arguments, **keywords):
        if next(removals, None) is None:
            raise KeyboardInterrupt
        return remove(*arguments, **keywords)

    made = store.open_job(tmp_path / "out.h5", record())
    for name in ("one", "two"):
        made.save(name, {"x": np.ones(3)})
    removals = iter(range(reached))
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        for name in ("unlink", "rmdir"):
            patched.setattr(os, name, partial(count, getattr(os, name)))
        made.remove()
    os.close(made.lock)
    store.remove_leftover(tmp_path / "out.h5", record(fps=2))
    assert (tmp_path / "out.h5.partial").exists() == (reached < 4)
    store.remove_leftover(tmp_path / "out.h5", record())
    assert not list(tmp_path.iterdir())


def test_a_second_process_is_kept_out(tmp_path):
    with store.open_job(tmp_path / "out.h5", record()):
        with pytest.raises(HandtoolError, match="by another process"):
            store.open_job(tmp_path / "out.h5", record())


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_said_and_is_no_other_process(tmp_path, monkeypatch, caplog, number):
    def refuse(descriptor, how):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with caplog.at_level(logging.WARNING), store.open_job(tmp_path / "out.h5", record()) as job:
        job.save("one", {"x": np.ones(3)})
        assert job.names() == ["one"]
    assert os.strerror(number).lower() in caplog.text and "do not start a second run" in caplog.text
    make_file(tmp_path / "whole.h5")


@pytest.mark.parametrize("share", [0.0, 0.5, 0.95])
def test_a_damaged_part_is_noticed(tmp_path, share):
    with store.open_job(tmp_path / "out.h5", record()) as job:
        job.save("one", {"x": np.random.default_rng(0).normal(size=1000)})
        data = job.path("one").read_bytes()
        job.path("one").write_bytes(data[: int(share * len(data))])
        with pytest.raises(DamagedFile):
            job.load("one")


def test_the_state_of_a_stream_does_not_outlive_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with store.open_job(None, record()) as job:
        job.save("one", {"x": np.ones(3)})
        assert job.names() == ["one"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("shape", [(3, 5), (0, 4), (2, 1 << 20)])
def test_scratch_space_is_allocated_without_posix_fallocate_too(tmp_path, monkeypatch, shape):
    monkeypatch.delattr(os, "posix_fallocate", raising=False)
    array = scratch_array(tmp_path, shape, np.float32)
    assert array.shape == shape and not array.any()
    array[...] = 3
    assert array.sum() == 3 * np.prod(shape)


def test_a_full_disk_is_said_without_posix_fallocate_too(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "posix_fallocate", raising=False)
    monkeypatch.setattr(os, "pwrite", lambda *given: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full")))
    with pytest.raises(HandtoolError, match="no space left"):
        scratch_array(tmp_path, (10,), np.float32)


def test_the_end_of_the_workers_of_a_killed_process_is_waited_for(tmp_path):
    ended = store.open_job(tmp_path / "out.h5", record())
    ended.save("a", {"x": np.arange(3)})
    threading.Timer(0.3, os.close, [ended.lock]).start()
    with store.open_job(tmp_path / "out.h5", record()) as job:
        assert job.has("a")
