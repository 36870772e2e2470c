"""mine: pairs of alike hands from different videos."""

import json

import numpy as np
import pytest
from making import make_file, make_hands, record, write_crops, write_videos
from running import read, read_tables, run_stage, same_tables

from handtool import store
from handtool.config import MineConfig
from handtool.errors import HandtoolError
from handtool.stages import mine as stage
from handtool.stages.mine import mine
from handtool.store import EMBEDDINGS, PAIRS


def make_embeddings(path, vector, video, valid=None):
    """vector (n, D), video (n,) from 0 without gaps."""
    rng, n = np.random.default_rng(0), len(vector)
    with store.create_file(path, record(seed=1)) as sink:
        write_videos(sink, int(max(video, default=0)) + 1)
        write_crops(sink, video, np.ones(n, int), make_hands(n, rng), rng)
        columns = dict(vector=vector, valid=np.ones(n, bool) if valid is None else valid)
        store.write_table(sink, EMBEDDINGS, columns, {"kind": "pca", "normalization": "crop"})
        sink.finish({})
    return path


def read_pairs(path):
    return {column.name: read(path, column) for column in PAIRS.columns}


@pytest.mark.parametrize("index", ["hnsw", "exact"])
def test_pairs_are_the_nearest_hands_of_other_videos(tmp_path, index, monkeypatch):
    monkeypatch.setattr(stage, "BLOCK_ROWS", 17)
    rng = np.random.default_rng(1)
    vector, video = rng.normal(size=(90, 14)).astype(np.float32), np.repeat(np.arange(3), 30)
    source = make_embeddings(tmp_path / "e.h5", vector, video)
    report = run_stage(mine, source, tmp_path / "p.h5", MineConfig(topk=4, index=index))
    pairs = read_pairs(tmp_path / "p.h5")
    distance = np.linalg.norm(vector[:, None].astype(float) - vector, axis=2)
    distance[video[:, None] == video] = np.inf
    assert np.array_equal(pairs["positive"].reshape(90, 4), np.argsort(distance, axis=1)[:, :4])
    assert np.allclose(pairs["distance"].reshape(90, 4), np.sort(distance, axis=1)[:, :4])
    assert np.array_equal(pairs["anchor"], np.repeat(np.arange(90), 4))
    assert np.array_equal(pairs["rank"], np.tile(np.arange(1, 5), 90))
    assert np.array_equal(pairs["anchor_offset"], 4 * np.arange(91))
    assert report["pairs"] == 360 and report["recall"] == 1.0 and report["short_anchors"] == 0
    with store.open_file(tmp_path / "p.h5") as file:
        attrs = store.read_attrs(file, PAIRS)
        assert (attrs["topk"], attrs["index"], attrs["recall"]) == (4, index, 1.0)
        assert attrs["pool_uuid"] == file.owner("embeddings").uuid
        assert not store.find_faults(file, deep=True)


def test_hands_without_embedding_are_in_no_pair_and_counted(tmp_path):
    rng = np.random.default_rng(2)
    valid = np.ones(60, bool)
    valid[[0, 35]] = False
    vector = np.where(valid[:, None], rng.normal(size=(60, 14)), 0).astype(np.float32)
    report = run_stage(mine, make_embeddings(tmp_path / "e.h5", vector, np.repeat([0, 1], 30), valid), tmp_path / "p.h5", MineConfig())
    pairs = read_pairs(tmp_path / "p.h5")
    assert not np.isin([0, 35], np.concatenate([pairs["anchor"], pairs["positive"]])).any()
    assert pairs["anchor_offset"][[0, 1, 35, 36]].tolist() == [0, 0, 170, 170]
    assert report["accounting"] == [{"what": "hands", "in": 60, "done": 58, "skipped": {"no embedding": 2}, "failed": {}}]


def test_fewer_hands_than_k_are_fewer_pairs_and_counted(tmp_path):
    vector = np.arange(5, dtype=np.float32)[:, None]
    report = run_stage(mine, make_embeddings(tmp_path / "e.h5", vector, np.array([0, 0, 0, 1, 1])), tmp_path / "p.h5", MineConfig(topk=3))
    pairs = read_pairs(tmp_path / "p.h5")
    assert pairs["anchor_offset"].tolist() == [0, 2, 4, 6, 9, 12]
    assert pairs["positive"].tolist() == [3, 4, 3, 4, 3, 4, 2, 1, 0, 2, 1, 0]
    assert report["short_anchors"] == 3


def test_equal_vectors_pair_with_the_lowest_rows(tmp_path):
    run_stage(
        mine, make_embeddings(tmp_path / "e.h5", np.ones((6, 2), np.float32), np.repeat([0, 1], 3)), tmp_path / "p.h5", MineConfig(topk=2)
    )
    assert read(tmp_path / "p.h5", PAIRS.positive).tolist() == [3, 4] * 3 + [0, 1] * 3


def test_one_video_cannot_be_paired_and_says_so(tmp_path, handtool):
    make_file(tmp_path / "e.h5", (8,), tables=("embeddings",))
    done = handtool("mine", "e.h5", "--topk", "5", "-o", "p.h5")
    assert done.returncode == 1 and not (tmp_path / "p.h5").exists()
    assert "all 8 hands of e.h5 are from one video (video 0)" in done.stderr and "hint: " in done.stderr


@pytest.mark.parametrize("count", [0, 1])
def test_no_hand_and_one_hand_have_no_pairs(tmp_path, count):
    source = make_embeddings(tmp_path / "e.h5", np.zeros((count, 3), np.float32), np.zeros(count, int))
    with pytest.raises(HandtoolError, match="one video|no hand"):
        run_stage(mine, source, tmp_path / "p.h5", MineConfig())


def test_a_file_without_embeddings_names_the_command(tmp_path):
    with pytest.raises(HandtoolError, match="has no /embeddings") as caught:
        run_stage(mine, make_file(tmp_path / "k.h5"), tmp_path / "p.h5", MineConfig())
    assert caught.value.hint.startswith("handtool embed ")


def test_the_command_of_the_manual_works_as_written_and_by_pipe(tmp_path, handtool):
    make_file(tmp_path / "embeddings.h5", (20, 20), tables=("embeddings",))
    done = handtool("mine", "embeddings.h5", "--topk", "5", "-o", "pairs.h5")
    assert done.returncode == 0, done.stderr
    assert "40 in = 40 done" in done.stdout
    again = handtool("mine", "embeddings.h5", "--topk", "5", "-o", "pairs.h5", "--json")
    assert "up to date" in again.stderr and json.loads(again.stdout)["report"]["pairs"] == 200
    other = handtool("mine", "embeddings.h5", "--topk", "4", "-o", "pairs.h5")
    assert other.returncode == 1 and "topk 5 instead of 4" in other.stderr
    piped = handtool("mine", "-", "--topk", "5", stdin=(tmp_path / "embeddings.h5").read_bytes(), binary=True)
    (tmp_path / "piped.h5").write_bytes(piped.stdout)
    assert same_tables(read_tables(tmp_path / "pairs.h5"), read_tables(tmp_path / "piped.h5"))
    assert handtool("mine", "embeddings.h5", "--topk", "0", "-o", "x.h5").returncode == 2
