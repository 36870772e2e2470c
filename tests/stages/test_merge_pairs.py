"""cat --merge-pairs: a pool that was mined in parts has the pairs of a pool that was mined at once."""

import json

import numpy as np
import pytest
from making import make_hands, record, write_crops
from running import read, read_tables, run_stage, same_tables

from handtool import store
from handtool.config import CatConfig, MergeConfig, MineConfig
from handtool.errors import HandtoolError
from handtool.mining import merging
from handtool.stages.cat import cat, merge_pairs
from handtool.stages.mine import mine
from handtool.store import CROPS, EMBEDDINGS, KEYPOINTS, PAIRS, VIDEOS

SPACE = {"kind": "pca", "source": "keypoints", "normalization": "crop", "mean": np.zeros(3), "basis": np.eye(3)}


def make_part(path, rng, videos, dim=4, grid=None, hands=12, space=SPACE, run=None, ordinals=None, twins=None, far=0):
    """Hands of some videos, by name, with keypoints and embeddings; on a grid many distances are equal. `twins`: of
    whom a hand ("film number") has the bytes, if it has not its own."""
    video = np.sort(rng.integers(0, len(videos), hands))
    vector = (rng.normal(size=(hands, dim)) + far).astype(np.float32)
    if grid:
        vector = (np.round(vector * grid) / 10).astype(np.float32)
    valid, known = rng.random(hands) > 0.1, make_hands(hands, rng)
    count, one = len(videos), np.ones(len(videos))
    with store.create_file(path, run or record(name=str(path))) as sink:
        texts = dict(name=videos, path=videos, subject=[""] * count, place=[""] * count, status=["ok"] * count)
        numbers = dict.fromkeys(("fps", "width", "height", "frames_decoded", "frames_failed"), one)
        ordinal = np.arange(count) if ordinals is None else ordinals
        store.write_table(sink, VIDEOS, texts | numbers | {"ordinal": ordinal})
        more = dict(frame=rng.permutation(hands), time=rng.uniform(0, 9, hands), track=rng.integers(-1, 2, hands))
        if twins is not None:
            place = np.arange(hands) - np.searchsorted(video, video)
            own = [f"{videos[film]} {number}" for film, number in zip(video, place)]
            more["jpeg"] = [twins.get(name, name).encode() for name in own]
        write_crops(sink, video, rng.integers(0, 3, hands), known, rng, **more)
        columns = dict(xy=known["xy"], score=np.ones((hands, 21)), valid=np.ones(hands, bool))
        store.write_table(sink, KEYPOINTS, columns, {"skeleton": "hand21", "model": "drawn"})
        vector[~valid] = np.nan
        store.write_table(sink, EMBEDDINGS, dict(vector=vector, valid=valid), space)
        sink.finish({})
    return path


def mine_parts(folder, anchors, parts, config):
    made = []
    for n, part in enumerate(parts):
        made.append(folder / f"pairs-{n}.h5")
        run_stage(mine, anchors, made[-1], config, pool=part)
    return made


def read_pairs(path):
    return {column.name: read(path, column) for column in PAIRS.columns}


def figures(path):
    with store.open_file(path, trusted=True) as file:
        return store.read_attrs(file, PAIRS)


RULES = [
    {},
    {"metric": "cosine"},
    {"same_side": True, "max_distance": 1.5},
    {"min_distance": 0.5, "topk": 9},
    {"exclude": "track"},
    {"exclude": "none", "min_gap": 2.0},
    {"exclude": "none", "topk": 1},
]


@pytest.mark.parametrize("seed", range(14))
def test_parts_have_the_pairs_of_the_whole_pool_row_for_row(tmp_path, seed, monkeypatch):
    monkeypatch.setattr(merging, "BLOCK_ROWS", 7)
    rng = np.random.default_rng(seed)
    config = MineConfig(index="exact", threads=1, **RULES[seed % len(RULES)])
    dim, grid = int(rng.integers(1, 6)), [None, 3][seed % 2]
    sizes = rng.integers(6, 30, int(rng.integers(1, 5)))
    anchors = make_part(tmp_path / "a.h5", rng, ["v0", "v1", "w9"], dim, grid, 25)
    parts = [
        make_part(tmp_path / f"part-{n}.h5", rng, [f"w{n}", f"v{n % 2}", f"u{n}"], dim, grid, int(size))
        for n, size in enumerate(sizes)
    ]
    pairs = mine_parts(tmp_path, anchors, parts, config)
    run_stage(merge_pairs, pairs, tmp_path / "merged.h5", MergeConfig())
    run_stage(cat, parts, tmp_path / "whole.h5", CatConfig())
    run_stage(mine, anchors, tmp_path / "once.h5", config, pool=tmp_path / "whole.h5")
    merged, once = read_pairs(tmp_path / "merged.h5"), read_pairs(tmp_path / "once.h5")
    for name in merged:
        assert np.array_equal(merged[name], once[name]), name
    ours, theirs = figures(tmp_path / "merged.h5"), figures(tmp_path / "once.h5")
    assert set(ours) == set(theirs) and ours.pop("pool_uuid") == "" and theirs.pop("pool_uuid")
    for name in ours:
        assert np.array_equal(ours[name], theirs[name]), name
    with store.open_file(tmp_path / "merged.h5") as one, store.open_file(tmp_path / "whole.h5") as other:
        assert not store.find_faults(one, deep=True)
        for column in (CROPS.box, CROPS.video, KEYPOINTS.xy, EMBEDDINGS.vector, VIDEOS.name):
            mine_, whole = store.read_column(one.pool, column), store.read_column(other, column)
            assert np.array_equal(mine_, whole, equal_nan=column.dtype[0] == "f")
        ours, theirs = store.open_jpegs(one.pool), store.open_jpegs(other)
        assert [ours[row] for row in range(len(ours))] == [theirs[row] for row in range(len(theirs))]


@pytest.mark.parametrize("exclude", ["video", "track", "none"])
@pytest.mark.parametrize("seed", range(3))
def test_anchors_that_are_the_whole_pool_have_the_pairs_of_one_search(tmp_path, exclude, seed, monkeypatch):
    rng = np.random.default_rng(seed)
    config = MineConfig(index="exact", threads=1, topk=4, exclude=exclude)
    run = record("handtool extract")  # shards of one run, whose videos cat puts in turn
    videos = [[f"v{n}" for n in range(shard, 9, 3)] for shard in range(3)]
    parts = [
        make_part(tmp_path / f"e{n}.h5", rng, names, grid=[None, 2][seed % 2], run=run, ordinals=np.arange(n, 9, 3))
        for n, names in enumerate(videos)
    ]
    run_stage(cat, parts, tmp_path / "all.h5", CatConfig(link=True))
    pairs = mine_parts(tmp_path, tmp_path / "all.h5", parts[::-1], config)
    run_stage(merge_pairs, pairs, tmp_path / "merged.h5", MergeConfig())
    run_stage(mine, tmp_path / "all.h5", tmp_path / "once.h5", config)
    assert same_tables(read_tables(tmp_path / "merged.h5"), read_tables(tmp_path / "once.h5"))
    ours, theirs = figures(tmp_path / "merged.h5"), figures(tmp_path / "once.h5")
    assert all(np.array_equal(ours[name], theirs[name]) for name in theirs) and set(ours) == set(theirs)
    assert not (read(tmp_path / "merged.h5", PAIRS.anchor) == read(tmp_path / "merged.h5", PAIRS.positive)).any()
    with store.open_file(tmp_path / "merged.h5") as file:
        assert file.pool is None and not store.find_faults(file, deep=True)
    monkeypatch.setattr("handtool.stages.cat.find_rows_in", lambda *_: None)
    run_stage(merge_pairs, pairs, tmp_path / "apart.h5", MergeConfig())
    if exclude == "video":  # the same hands, as rows of a pool
        assert np.array_equal(read(tmp_path / "apart.h5", PAIRS.distance), read(tmp_path / "once.h5", PAIRS.distance))


def test_a_recording_that_only_the_whole_pool_joins_is_heeded_and_the_lists_are_full(tmp_path):
    """The anchors' film overlaps film b of the first part, and b overlaps film c of the second: one recording."""
    rng = np.random.default_rng(1)
    anchors = make_part(tmp_path / "a.h5", rng, ["a"], twins={})
    parts = [
        make_part(tmp_path / "b.h5", rng, ["b", "b2"], hands=40, twins={"b 0": "a 0", "b 1": "a 1"}, far=9),
        make_part(tmp_path / "c.h5", rng, ["c", "c2"], hands=40, twins={"c 0": "b 2", "c 1": "b 3"}),
    ]
    config = MineConfig(index="exact", topk=3)
    pairs = mine_parts(tmp_path, anchors, parts, config)
    report = run_stage(merge_pairs, pairs, tmp_path / "merged.h5", MergeConfig())
    run_stage(cat, parts, tmp_path / "whole.h5", CatConfig())
    run_stage(mine, anchors, tmp_path / "once.h5", config, pool=tmp_path / "whole.h5")
    merged, once = read_pairs(tmp_path / "merged.h5"), read_pairs(tmp_path / "once.h5")
    assert all(np.array_equal(merged[name], once[name]) for name in merged)
    named = read(tmp_path / "whole.h5", VIDEOS.name)[read(tmp_path / "whole.h5", CROPS.video)]
    assert "c" in named[read(pairs[1], PAIRS.positive) + 40] and set(named[merged["positive"]]) == {"c2"}
    assert report["copies"] == [["a", "b", "c"]] and report["short_anchors"] == 0


def test_hnsw_in_parts_finds_what_one_graph_finds(tmp_path):
    rng, names = np.random.default_rng(3), [f"v{n}" for n in range(40)]
    parts = [make_part(tmp_path / f"e{n}.h5", rng, names[n::4], 8, hands=900) for n in range(4)]
    run_stage(cat, parts, tmp_path / "all.h5", CatConfig(link=True))
    config = MineConfig(threads=1)
    pairs = mine_parts(tmp_path, tmp_path / "all.h5", parts, config)
    ours = run_stage(merge_pairs, pairs, tmp_path / "merged.h5", MergeConfig())
    theirs = run_stage(mine, tmp_path / "all.h5", tmp_path / "once.h5", config)
    assert ours["recall"] >= theirs["recall"] - 0.002 and ours["repeatable"] and ours["parts"] == 4
    for name in ("accounting", "pairs", "short_anchors", "topk", "index", "exclude"):
        assert ours[name] == theirs[name]


def test_pretrain_reads_the_merged_pairs_as_those_of_one_pool(tmp_path):
    from handtool.config import PretrainConfig
    from handtool.nn.files.paired_hands import read_paired

    rng = np.random.default_rng(4)
    anchors = make_part(tmp_path / "a.h5", rng, ["a0", "a1"])
    parts = [make_part(tmp_path / f"e{n}.h5", rng, [f"b{n}", f"c{n}"]) for n in range(3)]
    config = MineConfig(index="exact")
    run_stage(merge_pairs, mine_parts(tmp_path, anchors, parts, config), tmp_path / "merged.h5", MergeConfig())
    run_stage(cat, parts, tmp_path / "whole.h5", CatConfig())
    run_stage(mine, anchors, tmp_path / "once.h5", config, pool=tmp_path / "whole.h5")
    with store.open_file(tmp_path / "merged.h5") as one, store.open_file(tmp_path / "once.h5") as other:
        ours, theirs = read_paired(one, PretrainConfig()), read_paired(other, PretrainConfig())
    assert np.array_equal(ours.xy, theirs.xy) and np.array_equal(ours.pairs.anchors, theirs.pairs.anchors)


def test_merged_pairs_are_parts_of_a_larger_pool(tmp_path):
    rng = np.random.default_rng(5)
    anchors = make_part(tmp_path / "a.h5", rng, ["a0", "a1"])
    parts = [make_part(tmp_path / f"e{n}.h5", rng, [f"b{n}", f"c{n}"]) for n in range(3)]
    pairs = mine_parts(tmp_path, anchors, parts, MineConfig(ef=80, threads=1))
    run_stage(merge_pairs, pairs[:2], tmp_path / "two.h5", MergeConfig())
    run_stage(merge_pairs, [tmp_path / "two.h5", pairs[2]], tmp_path / "three.h5", MergeConfig())
    run_stage(merge_pairs, pairs, tmp_path / "once.h5", MergeConfig())
    two, once = read_pairs(tmp_path / "three.h5"), read_pairs(tmp_path / "once.h5")
    assert all(np.array_equal(two[name], once[name]) for name in two)
    with store.open_file(tmp_path / "three.h5") as file:
        assert not store.find_faults(file, deep=True) and len(store.open_jpegs(file.pool)) == 36


def merge(tmp_path, pairs):
    return run_stage(merge_pairs, pairs, tmp_path / "refused.h5", MergeConfig())


def test_what_does_not_go_together_is_refused_with_the_way_out(tmp_path):
    rng = np.random.default_rng(6)
    anchors, others = (make_part(tmp_path / f"{name}.h5", rng, [name, name + "2"], hands=30) for name in "ab")
    parts = [make_part(tmp_path / f"e{n}.h5", rng, [f"c{n}", f"d{n}"]) for n in range(2)]
    pairs = mine_parts(tmp_path, anchors, parts, MineConfig())

    def refused(first, message, hint, anchors=anchors, part=parts[1], **options):
        run_stage(mine, anchors, tmp_path / "other.h5", MineConfig(**options), pool=part)
        with pytest.raises(HandtoolError, match=message) as caught:
            merge(tmp_path, [first, tmp_path / "other.h5"])
        assert hint in caught.value.hint and not (tmp_path / "refused.h5").exists()

    refused(pairs[0], "different anchors: .*a.h5 and .*b.h5", "handtool mine ", anchors=others)
    refused(pairs[0], "different settings: topk 5 and 3", "same options", topk=3)
    refused(pairs[0], "different settings: ef 64 and 80", "same options", ef=80)
    refused(pairs[0], "12 hands in common", "in one part only", part=parts[0])
    run_stage(cat, parts, tmp_path / "both.h5", CatConfig())
    refused(pairs[1], "12 hands in common", "in one part only", part=tmp_path / "both.h5")
    limited = mine_parts(tmp_path, anchors, parts[:1], MineConfig(max_in_degree=3))[0]
    refused(limited, "mined with --max-in-degree", "--parts 2", max_in_degree=3)
    run_stage(mine, anchors, tmp_path / "self.h5", MineConfig())
    with pytest.raises(HandtoolError, match="not mined in a part"):
        merge(tmp_path, [tmp_path / "self.h5"])
    other_space = make_part(tmp_path / "s.h5", rng, ["e", "f"], space=SPACE | {"basis": 2 * np.eye(3)})
    with pytest.raises(HandtoolError, match="different spaces .basis differ") as caught:
        run_stage(mine, anchors, tmp_path / "refused.h5", MineConfig(), pool=other_space)
    assert f"--basis {anchors}" in caught.value.hint


@pytest.mark.parametrize("first", ["embed", "cat"])
def test_the_commands_of_the_manual_merge_the_parts_and_go_on(tmp_path, handtool, first):
    """The shards are embedded one by one, in the space of the first one, and joined; or joined and embedded."""
    rng, basis = np.random.default_rng(7), []
    for n in range(2):
        make_part(tmp_path / f"k{n}.h5", rng, [f"v{n}", f"w{n}"])
    if first == "cat":
        assert handtool("cat", "--link", "k0.h5", "k1.h5", "-o", "k.h5").returncode == 0
        assert handtool("embed", "k.h5", "-o", "all.h5").returncode == 0
        basis = ["--basis", "all.h5"]
    for n in range(2):
        assert handtool("embed", f"k{n}.h5", *basis, "-o", f"embeddings-{n}.h5").returncode == 0
        basis = basis or ["--basis", "embeddings-0.h5"]
    if first == "embed":
        assert handtool("cat", "--link", "embeddings-0.h5", "embeddings-1.h5", "-o", "all.h5").returncode == 0
    for n in range(2):
        done = handtool("mine", "all.h5", "--in", f"embeddings-{n}.h5", "--index", "exact", "-o", f"pairs-{n}.h5")
        assert done.returncode == 0, done.stderr
    done = handtool("cat", "--merge-pairs", "pairs-0.h5", "pairs-1.h5", "-o", "pairs.h5")
    assert done.returncode == 0 and "the search was exact" in done.stdout, done.stderr
    assert handtool("mine", "all.h5", "--index", "exact", "-o", "once.h5").returncode == 0
    assert same_tables(read_tables(tmp_path / "pairs.h5"), read_tables(tmp_path / "once.h5"))
    with store.open_file(tmp_path / "pairs.h5") as file:
        assert file.pool is None
    again = handtool("cat", "--merge-pairs", "pairs-0.h5", "pairs-1.h5", "-o", "pairs.h5", "--json")
    assert "up to date" in again.stderr and json.loads(again.stdout)["report"]["parts"] == 2
    assert handtool("cat", "--merge-pairs", "--link", "pairs-0.h5", "-o", "x.h5").returncode == 2
    assert "no part" in handtool("cat", "--merge-pairs", "pairs-0.h5", "-o", "x.h5").stderr
