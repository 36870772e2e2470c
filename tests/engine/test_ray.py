"""Workers on a Ray cluster give the events of those on one machine; a node that dies costs nothing but time."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from handtool.engine import local, ray_cluster
from handtool.engine.shipping import Folder
from handtool.engine.units import run_units
from handtool.errors import HandtoolError


@pytest.fixture(scope="module")
def ray():
    """Ray on this machine, for all tests here; its processes find this file."""
    pytest.importorskip("ray", reason="Ray is not installed")
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]))
        patched.delenv("RAY_ADDRESS", raising=False)
        with ray_cluster.connected(2) as ray:
            yield ray


def open_work(folder: Path, offset: int):
    def work(item, heartbeat):
        if item == "die":
            os.kill(os.getpid(), signal.SIGSEGV)
        if item == "hang":
            time.sleep(60)
        if item == "bug":
            raise KeyError("a bug of ours")
        if item == "mistake":
            raise HandtoolError("the user's mistake", hint="a remedy")
        if item == "memory":
            raise MemoryError
        if item == "node":  # as if the node had died twice
            tries = len(list(folder.glob("try-*")))
            (folder / f"try-{tries}").touch()
            if tries < 2:
                os.kill(os.getppid(), signal.SIGKILL)
                time.sleep(60)
        if item == "deadly node":
            os.kill(os.getppid(), signal.SIGKILL)
            time.sleep(60)
        for _ in range(3):
            heartbeat()
        if item == "writes":
            (folder / "a.part.h5").write_bytes(b"whole")
            (folder / "a.reading").write_bytes(b"note")
        if item == "writes and dies":
            (folder / "b.reading").write_bytes(b"note")
            os.kill(os.getpid(), signal.SIGABRT)
        yield offset, item, os.environ["OMP_NUM_THREADS"]
        yield os.getpid()

    return work


def run(items, place, timeout_s=20.0, **more):
    told, kinds = {}, {number: [] for number in range(len(items))}
    for event in run_units("ray", open_work, (place, 7), items, 2, timeout_s, **more):
        if event.kind != "heartbeat":
            told.setdefault(event.item, []).append(event.value)
            kinds[event.item].append(event.kind)
    return told, kinds


def test_every_unit_is_done_once_by_processes_that_are_kept(ray, tmp_path):
    told, kinds = run(list("abcdefgh"), tmp_path)
    assert all(kind == ["result", "result", "done"] for kind in kinds.values())
    assert [told[number][0] for number in range(8)] == [(7, letter, "1") for letter in "abcdefgh"]
    assert len({told[number][1] for number in range(8)}) <= 2


def test_a_unit_that_crashes_hangs_or_is_too_large_is_lost_for_the_reason_that_one_machine_gives(ray, tmp_path):
    told, kinds = run(["a", "die", "hang", "memory", "b"], tmp_path, timeout_s=1.5)
    assert kinds[0] == kinds[4] == ["result", "result", "done"]
    assert all(kinds[number] == ["again", "lost"] for number in (1, 2, 3))
    assert told[1] == ["its process died (SIGSEGV)"] * 2
    assert told[2] == ["no new frame for 1.5 s"] * 2 and told[3] == [local.NO_MEMORY] * 2


def test_a_unit_whose_node_dies_is_done_elsewhere_and_one_that_costs_three_is_lost(ray, tmp_path):
    told, kinds = run(["a", "node", "b"], tmp_path)
    assert kinds[1] == ["again", "result", "result", "done"] and kinds[0] == kinds[2] == ["result", "result", "done"]
    assert len(list(tmp_path.glob("try-*"))) == 3
    told, kinds = run(["deadly node"], tmp_path)
    assert told[0] == [local.NODE_DIED] * 2 and kinds[0] == ["again", "lost"] and not local.is_lasting(told[0][1])
    assert told[0][1].startswith(local.LOST)


def test_errors_come_back_as_what_they_are(ray, tmp_path):
    with pytest.raises(HandtoolError) as caught:
        run(["mistake"], tmp_path)
    assert (caught.value.message, caught.value.hint) == ("the user's mistake", "a remedy")
    with pytest.raises(RuntimeError, match="a bug of ours"):
        run(["bug"], tmp_path)


@pytest.mark.parametrize("is_seen", [True, False])
def test_what_a_worker_writes_arrives_whether_or_not_its_node_sees_the_folder(ray, tmp_path, monkeypatch, is_seen):
    kept = []

    def keep(path, content):
        kept.append(path.name)
        path.write_bytes(content)

    if not is_seen:
        monkeypatch.setattr(Path, "touch", lambda path: None)
    run(["writes", "writes and dies"], tmp_path, folder=Folder(tmp_path, ".part.h5", keep))
    assert (tmp_path / "a.part.h5").read_bytes() == b"whole" and (tmp_path / "b.reading").read_bytes() == b"note"
    assert sorted(set(kept)) == ([] if is_seen else ["a.part.h5", "b.reading"])
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".cluster")]


def test_a_node_that_does_not_see_an_input_says_so(ray, tmp_path, monkeypatch):
    here = tmp_path / "a.mp4"
    here.touch()
    assert run(["a"], tmp_path, reads=lambda item: [str(here), str(tmp_path / "nowhere")])[1][0][-1] == "done"
    exists = os.path.exists
    monkeypatch.setattr(ray_cluster.os.path, "exists", lambda path: path == "/only/here.mp4" or exists(path))
    with pytest.raises(HandtoolError, match="^/only/here.mp4 is not there on .*, a node of the cluster$"):
        run(["a"], tmp_path, reads=lambda item: ["/only/here.mp4"])


def test_more_gpus_than_there_are_is_said(ray, tmp_path):
    with pytest.raises(HandtoolError, match="no node of the cluster has 1000 GPU"):
        run(["a"], tmp_path, gpus=1000.0)


def test_without_ray_there_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(HandtoolError, match="^--engine ray needs Ray$") as caught:
        run(["a"], tmp_path)
    assert caught.value.hint == "pip install 'handtool[ray]'"
    assert not run([], tmp_path)[0], "nothing to do needs nothing"
