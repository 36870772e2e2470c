"""mine: pairs of alike hands from different videos."""

import json
import os
import signal
from dataclasses import replace

import numpy as np
import pytest
from making import make_file, make_hands, record, write_crops, write_videos
from running import read, read_tables, run_stage, same_tables

from handtool import store
from handtool.config import MineConfig
from handtool.engine.local import Event, run_here
from handtool.errors import HandtoolError
from handtool.mining import pairs as written
from handtool.mining.parts import open_search
from handtool.search import neighbors
from handtool.search import parts as searched
from handtool.stages.mine import mine
from handtool.store import EMBEDDINGS, PAIRS


def make_embeddings(path, vector, video, valid=None, side=None, track=None, subjects=None):
    """vector (n, D), video (n,) from 0 without gaps."""
    rng, n = np.random.default_rng(0), len(vector)
    with store.create_file(path, record(seed=1)) as sink:
        write_videos(sink, int(max(video, default=0)) + 1, subjects)
        write_crops(sink, video, np.ones(n, int) if side is None else side, make_hands(n, rng), rng, track=track)
        columns = dict(vector=vector, valid=np.ones(n, bool) if valid is None else valid)
        store.write_table(sink, EMBEDDINGS, columns, {"kind": "pca", "normalization": "crop"})
        sink.finish({})
    return path


def read_pairs(path):
    return {column.name: read(path, column) for column in PAIRS.columns}


@pytest.mark.parametrize("index", ["hnsw", "exact"])
def test_pairs_are_the_nearest_hands_of_other_videos(tmp_path, index, monkeypatch):
    monkeypatch.setattr(written, "BLOCK_ROWS", 17)
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
    report = run_stage(
        mine, make_embeddings(tmp_path / "e.h5", vector, np.repeat([0, 1], 30), valid), tmp_path / "p.h5", MineConfig()
    )
    pairs = read_pairs(tmp_path / "p.h5")
    assert not np.isin([0, 35], np.concatenate([pairs["anchor"], pairs["positive"]])).any()
    assert pairs["anchor_offset"][[0, 1, 35, 36]].tolist() == [0, 0, 170, 170]
    assert report["accounting"] == [
        {"what": "hands", "in": 60, "done": 58, "skipped": {"no embedding": 2}, "failed": {}}
    ]


def test_fewer_hands_than_k_are_fewer_pairs_and_counted(tmp_path):
    vector = np.arange(5, dtype=np.float32)[:, None]
    report = run_stage(
        mine,
        make_embeddings(tmp_path / "e.h5", vector, np.array([0, 0, 0, 1, 1])),
        tmp_path / "p.h5",
        MineConfig(topk=3),
    )
    pairs = read_pairs(tmp_path / "p.h5")
    assert pairs["anchor_offset"].tolist() == [0, 2, 4, 6, 9, 12]
    assert pairs["positive"].tolist() == [3, 4, 3, 4, 3, 4, 2, 1, 0, 2, 1, 0]
    assert report["short_anchors"] == 3


def test_equal_vectors_pair_with_the_lowest_rows(tmp_path):
    run_stage(
        mine,
        make_embeddings(tmp_path / "e.h5", np.ones((6, 2), np.float32), np.repeat([0, 1], 3)),
        tmp_path / "p.h5",
        MineConfig(topk=2),
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


def test_the_command_ends_in_two_sentences_that_the_file_bears_out(tmp_path, handtool):
    vectors = np.vstack((np.zeros(59), np.eye(59))).astype(np.float32)  # the first is nearest to every other one
    make_embeddings(tmp_path / "e.h5", vectors, np.arange(60))
    printed = handtool("mine", "e.h5", "--topk", "1", "--index", "exact", "-o", "p.h5").stdout.splitlines()
    most = np.bincount(read(tmp_path / "p.h5", PAIRS.positive)).max()
    assert printed[1:] == [
        "Found 1 neighbour in other videos for 60 of 60 hands; the search was exact.",
        f"Few hands are the positives of many: one of them is a positive of {most} of 60 hands; "
        "--max-in-degree 4 would limit that.",
    ]
    limited = handtool("mine", "e.h5", "--topk", "1", "--max-in-degree", "4", "-o", "q.h5").stdout.splitlines()
    most = np.bincount(read(tmp_path / "q.h5", PAIRS.positive)).max()
    assert limited[-1] == f"No hand is a positive of more than {most} of the 60 hands."
    assert limited[-2].endswith("; 100.0 % of the true neighbours were found.") and most <= 4
    whole = handtool("mine", "e.h5", "--topk", "1", "--index", "exact", "-o", "p.h5", "--all").stdout.splitlines()
    assert whole[-2:] == printed[-2:] and any(line.startswith("distance quantiles ") for line in whole)


def cut_apart(vector, allowed, topk):
    """The slow truth: rows (m, topk) and Euclidean distances of the nearest allowed ones."""
    distance = np.linalg.norm(vector[:, None].astype(float) - vector, axis=2)
    distance = np.where(allowed, distance, np.inf)
    order = np.lexsort((np.broadcast_to(np.arange(len(vector)), distance.shape), distance))[:, :topk]
    return order, np.take_along_axis(distance, order, 1)


def test_cosine_distance_is_one_minus_the_cosine_and_a_zero_vector_has_none(tmp_path):
    rng = np.random.default_rng(3)
    vector, video = rng.normal(size=(60, 4)).astype(np.float32), np.repeat(np.arange(3), 20)
    vector[7] = 0
    report = run_stage(
        mine, make_embeddings(tmp_path / "e.h5", vector, video), tmp_path / "p.h5", MineConfig(topk=3, metric="cosine")
    )
    unit = vector / np.maximum(np.linalg.norm(vector.astype(float), axis=1, keepdims=True), 1e-30)
    apart = np.where((video[:, None] != video) & (np.arange(60) != 7), 1 - unit @ unit.T, np.inf)
    pairs = read_pairs(tmp_path / "p.h5")
    order = np.argsort(apart, axis=1)[:, :3]
    others = np.arange(60) != 7
    assert np.array_equal(pairs["positive"].reshape(59, 3), order[others])
    assert np.allclose(pairs["distance"].reshape(59, 3), np.take_along_axis(apart, order, 1)[others], atol=1e-7)
    assert report["accounting"][0]["skipped"] == {"no embedding": 1} and report["metric"] == "cosine"


def test_max_distance_leaves_out_what_is_farther_and_counts_who_is_left_alone(tmp_path):
    vector, video = np.array([[0.0], [1.0], [5.0], [5.5], [90.0]], np.float32), np.array([0, 1, 0, 1, 2])
    report = run_stage(
        mine, make_embeddings(tmp_path / "e.h5", vector, video), tmp_path / "p.h5", MineConfig(topk=3, max_distance=4.5)
    )
    pairs = read_pairs(tmp_path / "p.h5")
    assert list(zip(pairs["anchor"].tolist(), pairs["positive"].tolist())) == [
        (0, 1),
        (1, 0),
        (1, 2),
        (2, 3),
        (2, 1),
        (3, 2),
    ]
    assert pairs["rank"].tolist() == [1, 1, 2, 1, 2, 1] and pairs["anchor_offset"].tolist() == [0, 1, 3, 5, 6, 6]
    assert report["accounting"] == [
        {"what": "hands", "in": 5, "done": 4, "skipped": {"none within --max-distance": 1}, "failed": {}}
    ]
    assert report["distance_quantiles"][-1] == 4.0 and report["in_degree_max"] == 2


def test_no_pair_at_all_is_exit_1_and_nothing_is_left(tmp_path, handtool):
    make_embeddings(tmp_path / "e.h5", np.arange(4, dtype=np.float32)[:, None], np.array([0, 1, 0, 1]))
    done = handtool("mine", "e.h5", "--max-distance", "0.5", "-o", "p.h5")
    assert done.returncode == 1 and "no hand of e.h5 has a positive under these rules" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["e.h5"]


def test_same_side_pairs_left_with_left_and_unknown_with_right(tmp_path):
    rng = np.random.default_rng(4)
    vector, video, side = (
        rng.normal(size=(80, 5)).astype(np.float32),
        np.repeat(np.arange(4), 20),
        rng.integers(0, 3, 80),
    )
    source = make_embeddings(tmp_path / "e.h5", vector, video, side=side)
    run_stage(mine, source, tmp_path / "p.h5", MineConfig(topk=2, same_side=True))
    order, _ = cut_apart(vector, (video[:, None] != video) & ((side[:, None] == 0) == (side == 0)), 2)
    assert np.array_equal(read(tmp_path / "p.h5", PAIRS.positive).reshape(80, 2), order)


@pytest.mark.parametrize("exclude", ["track", "none"])
def test_hands_of_one_video_may_pair_across_tracks_or_after_a_gap(tmp_path, exclude):
    rng = np.random.default_rng(5)
    vector, video, track = (
        rng.normal(size=(90, 5)).astype(np.float32),
        np.repeat(np.arange(2), 45),
        rng.integers(-1, 3, 90),
    )
    time = np.concatenate([np.arange(45) / 5.0] * 2)  # as write_crops has it
    source = make_embeddings(tmp_path / "e.h5", vector, video, track=track)
    same_video, near = video[:, None] == video, np.abs(time[:, None] - time) < 1.5
    same = (same_video & (track[:, None] == track) & (track >= 0)) if exclude == "track" else np.zeros((90, 90), bool)
    for gap, allowed in ((0.0, ~same), (1.5, ~same & ~(same_video & near))):
        run_stage(mine, source, tmp_path / f"{gap}.h5", MineConfig(topk=3, exclude=exclude, min_gap=gap))
        order, _ = cut_apart(vector, allowed & ~np.eye(90, dtype=bool), 3)
        assert np.array_equal(read(tmp_path / f"{gap}.h5", PAIRS.positive).reshape(90, 3), order)


def test_hands_of_one_subject_never_pair_where_that_is_asked_for(tmp_path):
    rng = np.random.default_rng(8)
    vector, video = rng.normal(size=(80, 5)).astype(np.float32), np.repeat(np.arange(4), 20)
    source = make_embeddings(tmp_path / "e.h5", vector, video, subjects=["anna", "ben", "anna", ""])
    run_stage(mine, source, tmp_path / "p.h5", MineConfig(topk=3, exclude="subject"))
    person = np.array([0, 1, 0, 2])[video]  # nobody is known of the last video: a person of its own
    order, _ = cut_apart(vector, person[:, None] != person, 3)
    assert np.array_equal(read(tmp_path / "p.h5", PAIRS.positive).reshape(80, 3), order)


@pytest.mark.parametrize("who, told", [("", "does not know whose hands"), ("ann", "are of one subject")])
def test_people_that_nobody_knows_and_a_single_one_cannot_be_kept_apart(tmp_path, who, told):
    vector, video = np.arange(4, dtype=np.float32)[:, None], np.array([0, 1, 0, 1])
    source = make_embeddings(tmp_path / "e.h5", vector, video, subjects=[who, who])
    with pytest.raises(HandtoolError, match=told) as caught:
        run_stage(mine, source, tmp_path / "p.h5", MineConfig(exclude="subject"))
    assert "--exclude video" in (caught.value.hint or "")


def test_a_gap_within_videos_that_never_pair_is_a_wrong_command(tmp_path, handtool):
    make_embeddings(tmp_path / "e.h5", np.arange(4, dtype=np.float32)[:, None], np.array([0, 1, 0, 1]))
    done = handtool("mine", "e.h5", "--min-gap", "2", "-o", "p.h5")
    assert done.returncode == 2 and "--exclude track" in done.stderr


@pytest.mark.parametrize("index", ["hnsw", "exact"])
def test_no_hand_is_the_positive_of_more_than_max_in_degree(tmp_path, index):
    rng = np.random.default_rng(6)
    sphere = rng.normal(size=(100, 12))
    vector = np.concatenate([sphere / np.linalg.norm(sphere, axis=1, keepdims=True), 0.01 * sphere[:3]]).astype(
        np.float32
    )  # a hub in the middle
    video = np.concatenate([np.repeat([0, 1], 50), [2, 2, 2]])
    source = make_embeddings(tmp_path / "e.h5", vector, video)
    free = run_stage(mine, source, tmp_path / "p.h5", MineConfig(topk=2))
    report = run_stage(mine, source, tmp_path / "q.h5", MineConfig(topk=2, max_in_degree=3, index=index))
    degree = np.bincount(read(tmp_path / "q.h5", PAIRS.positive), minlength=103)
    assert (
        free["in_degree_max"] > 10
        and degree.max() <= 3 == report["max_in_degree"]
        and report["in_degree_max"] == degree.max()
    )
    assert report["pairs"] == 206 and report["recall"] == 1.0


def test_a_large_result_lies_on_the_disk_while_it_is_made(tmp_path, monkeypatch):
    made = []
    real = written.scratch_array
    monkeypatch.setattr(written, "scratch_array", lambda *arguments: made.append(arguments[0]) or real(*arguments))
    monkeypatch.setattr(written, "SCRATCH_BYTES", 100)
    rng = np.random.default_rng(7)
    source = make_embeddings(
        tmp_path / "e.h5", rng.normal(size=(60, 4)).astype(np.float32), np.repeat(np.arange(3), 20)
    )
    run_stage(mine, source, tmp_path / "p.h5", MineConfig(topk=2))
    monkeypatch.setattr(written, "SCRATCH_BYTES", 1 << 30)
    run_stage(mine, source, tmp_path / "q.h5", MineConfig(topk=2))
    assert made == [tmp_path, tmp_path]
    assert same_tables(read_tables(tmp_path / "p.h5"), read_tables(tmp_path / "q.h5"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["e.h5", "p.h5", "q.h5"]


def embed_two(tmp_path, handtool):
    """anchors.h5 and pool.h5, embedded in one space."""
    make_file(tmp_path / "a.h5", (6, 5), ("keypoints",), seed=1)
    make_file(tmp_path / "b.h5", (9, 8, 7), ("keypoints",), seed=2)
    assert handtool("embed", "a.h5", "--dim", "4", "-o", "anchors.h5").returncode == 0
    assert handtool("embed", "b.h5", "--basis", "anchors.h5", "-o", "pool.h5").returncode == 0


def test_positives_may_be_hands_of_another_file_where_pretrain_finds_them(tmp_path, handtool):
    embed_two(tmp_path, handtool)
    # Both files name their videos "video 0", …: the same path means the same footage, so equal numbers do not pair.
    done = handtool("mine", "anchors.h5", "--in", "pool.h5", "--topk", "3", "-o", "pairs.h5", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)["report"]
    assert [part["in"] for part in report["accounting"]] == [11, 24]
    anchors, pool = read(tmp_path / "anchors.h5", EMBEDDINGS.vector), read(tmp_path / "pool.h5", EMBEDDINGS.vector)
    distance = np.linalg.norm(anchors[:, None].astype(float) - pool, axis=2)
    distance[np.repeat([0, 1], [6, 5])[:, None] == np.repeat([0, 1, 2], [9, 8, 7])] = np.inf
    with store.open_file(tmp_path / "pairs.h5") as file:
        assert np.array_equal(
            store.read_column(file, PAIRS.positive).reshape(11, 3), np.argsort(distance, axis=1)[:, :3]
        )
        assert (
            file.pool.count(store.CROPS) == 24
            and store.read_attrs(file, PAIRS)["pool_uuid"] == file.pool.owner("embeddings").uuid
        )
        assert len(store.open_jpegs(file.pool)) == 24
        assert not store.find_faults(file, deep=True)
    trained = handtool(
        "pretrain",
        "pairs.h5",
        "--arch",
        "resnet18",
        "--init",
        "scratch",
        "--steps",
        "2",
        "--batch-size",
        "4",
        "--input-size",
        "32",
        "--gpus",
        "0",
        "--workers",
        "1",
        "-o",
        "encoder.h5",
    )
    assert trained.returncode == 0, trained.stderr
    assert "11 in = 11 done" in trained.stdout
    shown = handtool("show", "pairs.h5", "-o", "sheet.png")
    assert shown.returncode == 0, shown.stderr
    joined = handtool("cat", "pairs.h5", "-o", "x.h5")
    assert joined.returncode == 1 and "pool of other hands" in joined.stderr
    (tmp_path / "b.h5").rename(tmp_path / "elsewhere.h5")
    gone = handtool(
        "pretrain", "pairs.h5", "--steps", "2", "--arch", "resnet18", "--init", "scratch", "--gpus", "0", "-o", "e2.h5"
    )
    assert gone.returncode == 1 and "b.h5" in gone.stderr and "--linked FILE" in gone.stderr


def test_two_spaces_cannot_be_mined_in_each_other(tmp_path, handtool):
    embed_two(tmp_path, handtool)
    assert handtool("embed", "b.h5", "--dim", "4", "-o", "own.h5").returncode == 0
    done = handtool("mine", "anchors.h5", "--in", "own.h5", "-o", "pairs.h5")
    assert (
        done.returncode == 1
        and "different spaces (mean, basis differ)" in done.stderr
        and "--basis anchors.h5" in done.stderr
    )


def test_a_pool_that_comes_by_pipe_is_carried(tmp_path, handtool):
    embed_two(tmp_path, handtool)
    named = handtool("mine", "anchors.h5", "--in", "pool.h5", "--topk", "2", "-o", "pairs.h5")
    assert named.returncode == 0, named.stderr
    stream = handtool(
        "mine", "-", "--in", "pool.h5", "--topk", "2", stdin=(tmp_path / "anchors.h5").read_bytes(), binary=True
    )
    assert stream.returncode == 1 and b"" == stream.stdout, "links of a piped file have no folder"
    whole = handtool("cat", "anchors.h5", stdin=None, binary=True).stdout
    stream = handtool("mine", "-", "--in", "pool.h5", "--topk", "2", stdin=whole, binary=True)
    assert stream.returncode == 0, stream.stderr
    (tmp_path / "piped.h5").write_bytes(stream.stdout)
    assert np.array_equal(read(tmp_path / "piped.h5", PAIRS.positive), read(tmp_path / "pairs.h5", PAIRS.positive))
    assert handtool("check", "--deep", "piped.h5").returncode == 0


def test_a_gpu_that_is_not_there_is_said(tmp_path, handtool):
    make_embeddings(tmp_path / "e.h5", np.arange(4, dtype=np.float32)[:, None], np.array([0, 1, 0, 1]))
    done = handtool(
        "mine", "e.h5", "--index", "exact", "--device", "cuda", "-o", "p.h5", env={"CUDA_VISIBLE_DEVICES": ""}
    )
    assert done.returncode == 1 and "no CUDA GPU here" in done.stderr


def make_many(path, count=6000):
    """So many hands, of videos so alike, that a graph is built."""
    vector = np.random.default_rng(4).normal(size=(count, 8)).astype(np.float32)
    return make_embeddings(path, vector, np.arange(count) % 60)


def test_one_thread_repeats_its_pairs_and_its_uuid_and_several_say_that_they_may_not(tmp_path, handtool):
    make_many(tmp_path / "e.h5")
    told, uuids, pairs = [], [], []
    for name, threads in (("a.h5", "1"), ("b.h5", "1"), ("c.h5", "2")):
        done = handtool("mine", "e.h5", "--threads", threads, "-o", name)
        assert done.returncode == 0, done.stderr
        told.append("the same seed may give a few other pairs; --threads 1 repeats them" in done.stdout)
        pairs.append(read_pairs(tmp_path / name))
        with store.open_file(tmp_path / name) as file:
            uuids.append(file.uuid)
            assert store.read_attrs(file, PAIRS)["repeatable"] == (threads == "1")
    assert told == [False, False, True] and uuids[0] == uuids[1] and same_tables(pairs[0], pairs[1])
    equal = all(np.array_equal(pairs[0][name], pairs[2][name]) for name in pairs[0])
    assert equal == (uuids[0] == uuids[2]), "the uuid is that of the pairs, however many threads found them"


@pytest.mark.parametrize("seed", range(12))
def test_a_pool_searched_in_parts_gives_the_same_file(tmp_path, seed, monkeypatch):
    """On a grid many distances are equal; blocks are small, so that one graph and its cells serve several."""
    monkeypatch.setattr(searched, "LEAST_ROWS", 16)
    monkeypatch.setattr("handtool.mining.parts.run_units", lambda *given, reads: run_here(*given[1:4]))
    rng = np.random.default_rng(seed)
    rules = [{}, {"same_side": True}, {"exclude": "none", "min_gap": 1.0}, {"metric": "cosine", "max_in_degree": 4}]
    config = MineConfig(topk=int(rng.integers(1, 7)), index="exact", threads=1, **rules[seed % 4])
    count, dim = int(rng.integers(40, 200)), int(rng.integers(1, 9))
    vector = rng.normal(size=(count, dim)).astype(np.float32)
    if seed % 2:
        vector = np.round(2 * vector) / 10
    video, side = np.sort(rng.integers(0, 5, count)), rng.integers(0, 3, count)
    source = make_embeddings(tmp_path / "e.h5", vector, video, rng.random(count) > 0.1, side)
    pool = {}
    if seed % 3 == 0:
        pool = {"pool": make_embeddings(tmp_path / "pool.h5", vector[::-1] + 0.1, video, side=side)}
    once = run_stage(mine, source, tmp_path / "once.h5", config, **pool)
    in_parts = replace(config, parts=int(rng.integers(1, 6)))
    ours = run_stage(mine, source, tmp_path / "parts.h5", in_parts, **pool)
    assert same_tables(read_tables(tmp_path / "once.h5"), read_tables(tmp_path / "parts.h5"))
    assert ours == once


def test_graphs_of_parts_find_what_one_graph_finds_and_are_built_once(tmp_path, monkeypatch):
    monkeypatch.setattr(searched, "LEAST_ROWS", 1000)  # a sample of 1,000 is one block
    monkeypatch.setattr("handtool.mining.parts.run_units", lambda *given, reads: run_here(*given[1:4]))
    built, real = [], neighbors.Graph
    monkeypatch.setattr(neighbors, "Graph", lambda *given: built.append(len(given[1])) or real(*given))
    rng = np.random.default_rng(8)
    vector, video = rng.normal(size=(4000, 8)).astype(np.float32), rng.integers(0, 50, 4000)
    source = make_embeddings(tmp_path / "e.h5", vector, video)
    once = run_stage(mine, source, tmp_path / "once.h5", MineConfig(threads=1))
    ours = run_stage(mine, source, tmp_path / "parts.h5", MineConfig(threads=1, parts=4))
    assert built == [4000, 1000, 1000, 1000, 1000]
    assert ours["recall"] >= once["recall"] - 0.002 and ours["repeatable"] and ours["accounting"] == once["accounting"]
    truth = run_stage(mine, source, tmp_path / "truth.h5", MineConfig(index="exact"))
    right = read_pairs(tmp_path / "parts.h5")["positive"] == read_pairs(tmp_path / "truth.h5")["positive"]
    assert abs(right.mean() - ours["recall"]) < 0.01 and truth["recall"] == 1.0


def test_a_part_whose_results_come_at_its_end_says_that_it_is_searched(tmp_path, monkeypatch):
    def results_last(*given, reads):
        events = list(run_here(*given[1:4]))
        yield from (Event(0, "heartbeat", 1) for _ in range(3))
        yield from events

    monkeypatch.setattr("handtool.mining.parts.run_units", results_last)
    rng, said = np.random.default_rng(2), []
    source = make_embeddings(tmp_path / "e.h5", rng.normal(size=(60, 3)).astype(np.float32), np.arange(60) // 10)
    config = MineConfig(topk=2, index="exact", parts=2)

    def watched(*given):
        return mine(*given, lambda *words, **_: said.append(words))

    run_stage(watched, source, tmp_path / "p.h5", config)
    asked = [words[1:] for words in said if words[0] == "search parts"]
    assert asked[:3] == [(0, 120)] * 3 and asked[-1] == (120, 120)


def test_parts_are_searched_by_processes_and_a_part_whose_process_dies_is_named(tmp_path, monkeypatch):
    rng = np.random.default_rng(9)
    vector, video = rng.normal(size=(90, 3)).astype(np.float32), np.repeat(np.arange(3), 30)
    source = make_embeddings(tmp_path / "e.h5", vector, video)
    run_stage(mine, source, tmp_path / "once.h5", MineConfig(index="exact"))
    run_stage(mine, source, tmp_path / "parts.h5", MineConfig(index="exact", parts=2))
    assert same_tables(read_tables(tmp_path / "once.h5"), read_tables(tmp_path / "parts.h5"))
    monkeypatch.setattr("handtool.mining.parts.open_search", die_once)
    run_stage(mine, source, tmp_path / "again.h5", MineConfig(index="exact", parts=2))
    assert same_tables(read_tables(tmp_path / "once.h5"), read_tables(tmp_path / "again.h5"))
    assert (tmp_path / "died").exists()
    monkeypatch.setattr("handtool.mining.parts.open_search", die)
    with pytest.raises(HandtoolError, match="part 1 of the pool could not be searched: its process died") as caught:
        run_stage(mine, source, tmp_path / "p.h5", MineConfig(index="exact", parts=2))
    assert "--parts" in caught.value.hint


def die_once(task):
    """In the middle of the first part: what it has told already is told again."""
    search = open_search(task)

    def work(item, heartbeat):
        yield from search(item, heartbeat)
        if not (mark := task.paths[0].parent / "died").exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)

    return work


def die(task):
    def work(item, heartbeat):
        os.kill(os.getpid(), signal.SIGKILL)
        yield

    return work


def test_nodes_of_a_ray_cluster_search_a_part_each_and_give_the_same_file(tmp_path, monkeypatch):
    pytest.importorskip("ray", reason="Ray is not installed")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    rng = np.random.default_rng(10)
    vector, video = rng.normal(size=(300, 5)).astype(np.float32), np.repeat(np.arange(3), 100)
    source = make_embeddings(tmp_path / "e.h5", vector, video)
    pool = make_embeddings(tmp_path / "pool.h5", rng.normal(size=(200, 5)).astype(np.float32), np.repeat([3, 4], 100))
    once = run_stage(mine, source, tmp_path / "once.h5", MineConfig(index="exact"), pool=pool)
    ours = run_stage(mine, source, tmp_path / "ray.h5", MineConfig(index="exact", engine="ray", parts=3), pool=pool)
    assert same_tables(read_tables(tmp_path / "once.h5"), read_tables(tmp_path / "ray.h5")) and ours == once
