"""cat: several files as one."""

import json
import shutil

import numpy as np
import pytest
from making import SIZE, make_file, make_hands, record, write_crops, write_labels, write_videos
from running import read, read_tables, run_stage, same_tables

from handtool import store
from handtool.config import CatConfig, EmbedConfig, MineConfig, SplitConfig
from handtool.errors import HandtoolError
from handtool.stages.cat import cat
from handtool.stages.embed import embed
from handtool.stages.mine import mine
from handtool.stages.split import split
from handtool.store import CROPS, EMBEDDINGS, KEYPOINTS, LABELS, PAIRS, VIDEOS


def make_mined(folder, name, hands_per_video=(6, 5), seed=0):
    """A chain of three files that link to each other; returns the last, with pairs."""
    make_file(folder / f"{name}-k.h5", hands_per_video, seed=seed)
    run_stage(embed, folder / f"{name}-k.h5", folder / f"{name}-e.h5", EmbedConfig())
    run_stage(mine, folder / f"{name}-e.h5", folder / f"{name}-p.h5", MineConfig(topk=3))
    return folder / f"{name}-p.h5"


def make_labelled(path, videos, with_visible):
    rng = np.random.default_rng(5)
    hands = make_hands(2 * videos, rng)
    with store.create_file(path, record(seed=9, videos=videos)) as sink:
        write_videos(sink, videos)
        write_crops(sink, np.repeat(np.arange(videos), 2), np.ones(2 * videos), hands, rng)
        write_labels(sink, hands)
        if with_visible:
            del sink.h5["labels"]
            columns = {"visible": np.ones((2 * videos, 21), bool), "scale": np.ones(2 * videos)}
            rest = dict(
                joints=hands["joints"],
                valid=np.ones((2 * videos, 21), bool),
                keypoints=hands["xy"],
                keypoints_valid=np.ones((2 * videos, 21), bool),
            )
            store.write_table(
                sink, LABELS, columns | rest | dict(sample_id=np.arange(2 * videos), sample_key=["é"] * 2 * videos)
            )
        sink.finish({})
    return path


def test_files_follow_each_other_with_their_numbers_shifted(tmp_path):
    one, two = make_file(tmp_path / "one.h5", (5, 4), seed=1), make_file(tmp_path / "two.h5", (3, 0, 2), seed=2)
    report = run_stage(cat, [one, two], tmp_path / "both.h5", CatConfig())
    tables, first, second = (read_tables(path) for path in (tmp_path / "both.h5", one, two))
    assert tables["crops/video"].tolist() == [0] * 5 + [1] * 4 + [2] * 3 + [4] * 2
    assert tables["crops/source_row"].tolist() == [*range(9), *range(5)]
    assert tables["videos/ordinal"].tolist() == [0, 1, 2, 3, 4]
    own = {"crops/video", "crops/source_row", "crops/jpeg_offset", "videos/ordinal"}
    for name in set(tables) - own:
        assert np.array_equal(
            tables[name], np.concatenate([first[name], second[name]]), equal_nan=tables[name].dtype.kind == "f"
        ), name
    assert report["accounting"][0]["done"] == 14 and report["videos"] == 5
    with store.open_file(tmp_path / "both.h5") as file:
        assert not file.links and not store.find_faults(file, deep=True)


def test_pairs_point_to_the_same_hands_as_before(tmp_path):
    make_file(tmp_path / "both-k.h5", (6, 5, 4, 7), seed=3)
    run_stage(embed, tmp_path / "both-k.h5", tmp_path / "both-e.h5", EmbedConfig())
    for part, name in enumerate(("a", "b")):
        run_stage(
            split, tmp_path / "both-e.h5", tmp_path / f"{name}.h5", SplitConfig(shares=(50, 50), part=part, seed=1)
        )
        run_stage(mine, tmp_path / f"{name}.h5", tmp_path / f"{name}-p.h5", MineConfig(topk=3))
    run_stage(cat, [tmp_path / "b-p.h5", tmp_path / "a-p.h5"], tmp_path / "joined.h5", CatConfig())
    joined = read_tables(tmp_path / "joined.h5")
    original = read(tmp_path / "both-e.h5", EMBEDDINGS.vector)
    assert np.array_equal(joined["embeddings/vector"], original), "shards of one run stand as they stood"
    anchor, positive = joined["pairs/anchor"], joined["pairs/positive"]
    assert (np.diff(anchor) >= 0).all() and np.array_equal(
        joined["pairs/anchor_offset"], np.searchsorted(anchor, np.arange(23))
    )
    assert np.allclose(
        np.linalg.norm(original[anchor].astype(float) - original[positive], axis=1), joined["pairs/distance"], rtol=1e-5
    )
    count = sum(len(read(tmp_path / f"{name}-p.h5", PAIRS.anchor)) for name in "ab")
    assert len(anchor) == count
    with store.open_file(tmp_path / "joined.h5") as file:
        assert not store.find_faults(file, deep=True)


def test_shards_of_one_run_become_that_run_again(tmp_path):
    whole = make_file(tmp_path / "whole.h5", (3, 4, 0, 5, 2, 6), ("keypoints", "labels", "embeddings"))
    shards = [tmp_path / f"{part}.h5" for part in range(3)]
    for part, shard in enumerate(shards):
        run_stage(split, whole, shard, SplitConfig(shares=(1, 1, 1), part=part))
    run_stage(cat, shards[::-1], tmp_path / "again.h5", CatConfig())
    assert same_tables(read_tables(whole), read_tables(tmp_path / "again.h5"), but=("crops/source_row",))


def test_one_file_without_its_links_is_the_same_file(tmp_path):
    source = make_mined(tmp_path, "x")
    run_stage(cat, [source], tmp_path / "flat.h5", CatConfig())
    expected = read_tables(source)
    for path in tmp_path.glob("x-*.h5"):
        path.unlink()
    assert same_tables(read_tables(tmp_path / "flat.h5"), expected)
    with store.open_file(tmp_path / "flat.h5") as file:
        assert not file.links
        assert {"recall", "topk", "pool_uuid"} <= set(store.read_attrs(file, PAIRS))


def test_linked_images_stay_where_they_are(tmp_path):
    one, two = make_file(tmp_path / "one.h5", (5, 4), seed=1), make_file(tmp_path / "two.h5", (3, 2), seed=2)
    (tmp_path / "below").mkdir()
    run_stage(cat, [one, two], tmp_path / "copied.h5", CatConfig())
    run_stage(cat, [one, two], tmp_path / "below" / "linked.h5", CatConfig(link=True))
    assert same_tables(read_tables(tmp_path / "copied.h5"), read_tables(tmp_path / "below" / "linked.h5"))
    with store.open_file(tmp_path / "below" / "linked.h5") as file:
        assert not store.find_faults(file, deep=True)
        assert file.h5["crops/jpeg"].shape == (0,)
        named = json.loads(store.read_attrs(file, CROPS)["jpeg_files"])
        assert [entry["file"] for entry in named] == ["../one.h5", "../two.h5"]
    run_stage(cat, [tmp_path / "below" / "linked.h5", one], tmp_path / "again.h5", CatConfig(link=True))
    run_stage(cat, [tmp_path / "again.h5"], tmp_path / "flat.h5", CatConfig())
    assert np.array_equal(
        read_tables(tmp_path / "flat.h5")["crops/jpeg"][:14], read_tables(tmp_path / "copied.h5")["crops/jpeg"]
    )
    make_file(two, (3, 2), seed=3)
    with store.open_file(tmp_path / "below" / "linked.h5") as file, pytest.raises(HandtoolError, match="found"):
        store.open_jpegs(file)


def test_images_that_came_by_pipe_cannot_be_linked_to(tmp_path, handtool):
    make_file(tmp_path / "one.h5")
    refused = handtool("cat", "-", "--link", "-o", "x.h5", stdin=(tmp_path / "one.h5").read_bytes())
    assert refused.returncode == 1 and "came by pipe" in refused.stderr
    done = handtool("cat", "-", "-o", "x.h5", stdin=(tmp_path / "one.h5").read_bytes())
    assert done.returncode == 0, done.stderr
    assert same_tables(read_tables(tmp_path / "x.h5"), read_tables(tmp_path / "one.h5"))


def test_a_missing_optional_column_is_filled(tmp_path):
    one, two = make_labelled(tmp_path / "one.h5", 2, True), make_labelled(tmp_path / "two.h5", 3, False)
    three = make_file(tmp_path / "three.h5", (2,), tables=())
    run_stage(cat, [one, two, three], tmp_path / "all.h5", CatConfig())
    tables = read_tables(tmp_path / "all.h5")
    assert tables["labels/visible"][:4].all() and not tables["labels/visible"][4:].any()
    assert np.isfinite(tables["labels/joints"][:10]).all() and np.isnan(tables["labels/joints"][10:]).all()
    assert tables["labels/sample_id"].tolist() == [*range(4), *range(6), -1, -1]
    assert tables["labels/sample_key"][[0, 4, 11]].tolist() == ["é", "hand 0", ""]
    assert not tables["labels/keypoints_valid"][10:].any()


def test_tables_that_do_not_go_together_are_refused_with_the_remedy(tmp_path):
    one, two = make_mined(tmp_path, "one", seed=1), make_mined(tmp_path, "two", seed=2)
    with pytest.raises(
        HandtoolError, match="/embeddings of .* do not go together: mean and basis and explained_variance differ"
    ) as caught:
        run_stage(cat, [one, two], tmp_path / "x.h5", CatConfig())
    assert "--basis" in caught.value.hint
    with pytest.raises(HandtoolError, match="one-k.h5 has not"):
        run_stage(cat, [two, tmp_path / "one-k.h5"], tmp_path / "x.h5", CatConfig())
    rng, hands = np.random.default_rng(0), make_hands(2, np.random.default_rng(0), size=32)
    with store.create_file(tmp_path / "small.h5", record(seed=4)) as sink:
        write_videos(sink, 1)
        write_crops(sink, np.zeros(2, int), np.ones(2), hands, rng, size=32)
        store.write_table(
            sink,
            KEYPOINTS,
            dict(xy=hands["xy"], score=np.ones((2, 21)), valid=np.ones(2, bool)),
            {"skeleton": "hand21", "model": "x"},
        )
        sink.finish({})
    with pytest.raises(HandtoolError, match=f"size differ \\(size: {SIZE} and 32\\)"):
        run_stage(cat, [tmp_path / "one-k.h5", tmp_path / "small.h5"], tmp_path / "x.h5", CatConfig())
    assert not (tmp_path / "x.h5").exists()


def test_keypoints_of_two_models_are_joined_under_both_names(tmp_path):
    one, two = make_file(tmp_path / "one.h5", seed=1), make_file(tmp_path / "two.h5", seed=2)
    with store.open_file(two) as file, store.create_file(tmp_path / "other.h5", record(seed=3), [file]) as sink:
        columns = {column.name: store.read_column(file, column) for column in KEYPOINTS.columns if file.has(column)}
        store.write_table(sink, KEYPOINTS, columns, {"skeleton": "hand21", "model": "mediapipe + drawn"})
        sink.inherit(file)
        sink.finish({})
    run_stage(cat, [one, tmp_path / "other.h5"], tmp_path / "both.h5", CatConfig())
    with store.open_file(tmp_path / "both.h5") as file:
        assert store.read_attrs(file, KEYPOINTS) == {"skeleton": "hand21", "model": "drawn + mediapipe"}


def test_the_same_file_twice_is_twice_the_hands(tmp_path):
    one = make_file(tmp_path / "one.h5", (2, 1))
    shutil.copy(one, tmp_path / "copy.h5")
    run_stage(cat, [one, tmp_path / "copy.h5"], tmp_path / "both.h5", CatConfig())
    assert read(tmp_path / "both.h5", CROPS.video).tolist() == [0, 0, 1, 2, 2, 3]
    assert read(tmp_path / "both.h5", VIDEOS.ordinal).tolist() == [0, 1, 2, 3]


def test_a_file_without_hands_can_be_joined(tmp_path):
    run_stage(
        cat,
        [make_file(tmp_path / "none.h5", (0,)), make_file(tmp_path / "one.h5", (2,), seed=1)],
        tmp_path / "both.h5",
        CatConfig(),
    )
    assert read(tmp_path / "both.h5", CROPS.video).tolist() == [1, 1]
    for link in (False, True):
        run_stage(cat, [tmp_path / "none.h5"], tmp_path / "empty.h5", CatConfig(link))
        with store.open_file(tmp_path / "empty.h5") as file:
            assert file.count(CROPS) == 0 and file.count(VIDEOS) == 1 and not store.find_faults(file, deep=True)
