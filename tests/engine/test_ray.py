"""Workers on a Ray cluster give the events of those on one machine; a node that dies costs nothing but time."""

import os
import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from footage import damage, make_video, picture, run_stage, write_image
from running import read_tables, same_tables
from units_of_work import open_work

from handtool.config import ExtractConfig, KeypointsConfig, SynthConfig
from handtool.engine import local, ray_cluster, ray_connection
from handtool.engine.shipping import Folder
from handtool.engine.units import run_units
from handtool.errors import HandtoolError
from handtool.stages import keypoints as estimating
from handtool.stages.extract import extract
from handtool.stages.keypoints import keypoints
from handtool.stages.synth import synth
from handtool.store import open_file


@pytest.fixture(scope="module")
def ray():
    """Ray on this machine, for all tests here; its processes find this file."""
    pytest.importorskip("ray", reason="Ray is not installed")
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]))
        patched.delenv("RAY_ADDRESS", raising=False)
        with ray_connection.connected(2) as ray:
            yield ray


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


def test_a_unit_that_crashes_or_hangs_is_lost_for_the_reason_that_one_machine_gives(ray, tmp_path):
    told, kinds = run(["a", "die", "hang", "b"], tmp_path, timeout_s=1.0)
    assert kinds[0] == kinds[3] == ["result", "result", "done"] and kinds[1] == kinds[2] == ["again", "lost"]
    assert told[1] == ["its process died (SIGSEGV)"] * 2 and told[2] == ["no new frame for 1 s"] * 2


def test_a_unit_whose_node_dies_is_done_elsewhere_and_one_that_costs_three_is_lost(ray, tmp_path):
    told, kinds = run(["a", "node", "deadly node", "b"], tmp_path)
    assert kinds[1] == kinds[0] == kinds[3] == ["result", "result", "done"] and kinds[2] == ["again", "lost"]
    assert told[2] == [local.NODE_DIED] * 2 and local.NODE_DIED.startswith(local.LOST)
    assert not local.is_lasting(local.NODE_DIED)


def test_errors_come_back_as_what_they_are(ray, tmp_path):
    with pytest.raises(HandtoolError) as caught:
        run(["mistake"], tmp_path)
    assert (caught.value.message, caught.value.hint) == ("the user's mistake", "a remedy")
    with pytest.raises(RuntimeError, match="a bug of ours"):
        run(["bug"], tmp_path)


def test_what_a_worker_writes_arrives_from_a_node_that_does_not_see_the_folder(ray, tmp_path, monkeypatch):
    kept = []

    def keep(path, content):
        kept.append(path.name)
        path.write_bytes(content)

    monkeypatch.setattr(Path, "touch", lambda path: None)
    run(["writes", "writes and dies"], tmp_path, folder=Folder(tmp_path, ".part.h5", keep))
    assert (tmp_path / "a.part.h5").read_bytes() == b"whole" and (tmp_path / "b.reading").read_bytes() == b"note"
    assert {"a.part.h5", "b.reading"} <= set(kept)  # and the note about a, where one node did both


def test_a_node_that_does_not_see_an_input_says_so(ray, tmp_path, monkeypatch):
    exists = os.path.exists
    monkeypatch.setattr(ray_cluster.os.path, "exists", lambda path: path == "/only/here.mp4" or exists(path))
    with pytest.raises(HandtoolError, match="^/only/here.mp4 is not there on .*, a node of the cluster$"):
        run(["a"], tmp_path, reads=lambda item: ["/only/here.mp4"])


def test_more_gpus_than_there_are_is_said(ray, tmp_path):
    with pytest.raises(HandtoolError, match="no node of the cluster has 1000 GPU"):
        run(["a"], tmp_path, gpus=1000.0)


@pytest.mark.parametrize(
    "address, told", [("127.0.0.1:9", "cannot be joined: connection refused"), ("ray://a:1", "a Ray client cannot")]
)
def test_a_cluster_that_cannot_be_joined_is_said_at_once(monkeypatch, tmp_path, address, told):
    ray = pytest.importorskip("ray", reason="Ray is not installed")
    monkeypatch.setenv("RAY_ADDRESS", address)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with pytest.raises(HandtoolError, match=f"RAY_ADDRESS={address}.*{told}"):
        run(["a"], tmp_path)


def test_one_machine_needs_no_ray(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "ray", None)
    events = list(run_units("local", open_work, (tmp_path, 7), ["a"], 1, 20.0))
    assert [event.kind for event in events if event.kind != "heartbeat"] == ["result", "result", "done"]


def test_without_ray_there_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(HandtoolError, match="^--engine ray needs Ray$") as caught:
        run(["a"], tmp_path)
    assert caught.value.hint == "pip install 'handtool[ray]'"
    assert not run([], tmp_path)[0], "nothing to do needs nothing"


def same_file(one: Path, other: Path) -> None:
    assert same_tables(read_tables(one), read_tables(other))
    with open_file(one) as first, open_file(other) as second:
        assert first.uuid == second.uuid


@pytest.fixture(scope="module")
def films(tmp_path_factory) -> Path:
    """Two films, one of them damaged, a file that is none, and a folder of images."""
    folder = tmp_path_factory.mktemp("films")
    make_video(folder / "a.mp4", frames=60)
    damage(make_video(folder / "b.mp4", frames=90))
    (folder / "c.mp4").write_bytes(b"no film")
    for number in range(5):
        write_image(folder / "images" / f"{number}.jpg", picture(number, 5))
    return folder


def test_extract_gives_the_file_of_one_machine_where_nodes_see_the_output_and_where_not(
    ray, films, tmp_path, monkeypatch
):
    config = ExtractConfig(whole=True, every=3, size=32, workers=1)
    expected = run_stage(extract, [films], tmp_path / "local.h5", config)
    for name in ("seen", "unseen"):
        assert run_stage(extract, [films], tmp_path / f"{name}.h5", replace(config, engine="ray")) == expected
        same_file(tmp_path / f"{name}.h5", tmp_path / "local.h5")
        assert not list(tmp_path.glob("*.partial"))
        monkeypatch.setattr(Path, "touch", lambda path: None)
    assert expected["accounting"][0]["failed"]


def test_keypoints_gives_the_file_of_one_machine(ray, films, tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    from onnx_models import make_onnx

    run_stage(extract, [films], tmp_path / "crops.h5", ExtractConfig(whole=True, every=3, size=64, workers=1))
    model = make_onnx(tmp_path / "points.onnx", "regression")
    monkeypatch.setattr(estimating, "BLOCK_ROWS", 16)
    config = KeypointsConfig("onnx", min_score=0.0, workers=1, device="cpu")
    reports = [
        run_stage(
            keypoints, tmp_path / "crops.h5", tmp_path / f"{engine}.h5", replace(config, engine=engine), model=model
        )
        for engine in ("local", "ray")
    ]
    assert reports[0] == reports[1] and reports[0]["accounting"][0]["done"]
    same_file(tmp_path / "ray.h5", tmp_path / "local.h5")


def test_synth_gives_the_file_of_one_machine(ray, tmp_path):
    config = SynthConfig(num_videos=3, frames=2, size=32, workers=1, device="cpu")
    for engine in ("local", "ray"):
        run_stage(synth, [], tmp_path / f"{engine}.h5", replace(config, engine=engine))
    same_file(tmp_path / "ray.h5", tmp_path / "local.h5")


def test_the_example_runs_on_the_cluster_that_is_named(ray, films, tmp_path, run_script):
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    from onnx_models import make_onnx

    make_onnx(tmp_path / "points.onnx", "regression")
    where = {"RAY_ADDRESS": ray.get_runtime_context().gcs_address, "PYTHONPATH": os.environ["PYTHONPATH"]}
    where["RAY_AUTH_MODE"] = os.environ.get("RAY_AUTH_MODE", "disabled")  # which Ray has set
    where["KEYPOINTS"] = "--estimator points.onnx --min-score 0"
    said = run_script("ray_cluster.sh", films, "out", "--whole", "--every", "9", folder=tmp_path, **where)
    hands = re.findall(r"hands: (\d+) in = \1 done", said)
    assert len(hands) == 2 and hands[0] == hands[1] != "0" and f"hands by origin  onnx: {hands[0]}" in said
