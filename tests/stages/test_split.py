"""split: parts that share nothing and together are everything."""

import json

import numpy as np
import pytest
from making import make_file, make_hands, record, write_crops, write_videos
from running import read, read_tables, run_stage

from handtool import store
from handtool.config import EmbedConfig, MineConfig, SplitConfig
from handtool.errors import HandtoolError
from handtool.stages.embed import embed
from handtool.stages.mine import mine
from handtool.stages.split import split
from handtool.store import CROPS, VIDEOS


def make_subjects(path, subjects, hands_per_video):
    rng, n = np.random.default_rng(0), sum(hands_per_video)
    with store.create_file(path, record(seed=1)) as sink:
        write_videos(sink, len(subjects), subjects)
        write_crops(sink, np.repeat(np.arange(len(subjects)), hands_per_video), np.ones(n), make_hands(n, rng), rng)
        sink.finish({})
    return path


def run_all(source, folder, **config):
    """Every part of a split: (paths, reports)."""
    shares = config.pop("shares", (80.0, 20.0))
    paths = [folder / f"part{part}.h5" for part in range(len(shares))]
    return paths, [
        run_stage(split, source, path, SplitConfig(shares=shares, part=part, **config))
        for part, path in enumerate(paths)
    ]


@pytest.mark.parametrize("by", ["video", "row"])
@pytest.mark.parametrize("in_order", [True, False])
def test_parts_are_disjoint_and_together_everything(tmp_path, by, in_order):
    source = make_file(tmp_path / "all.h5", (4, 3, 0, 5, 2, 6), ("keypoints", "labels", "embeddings"))
    whole = read_tables(source)
    paths, reports = run_all(source, tmp_path, shares=(50.0, 30.0, 20.0), by=by, in_order=in_order)
    parts = [read_tables(path) for path in paths]
    rows = np.concatenate([part["crops/source_row"] for part in parts])
    assert sorted(rows) == list(range(20)) and all(len(part["crops/video"]) for part in parts)
    for part in parts:
        kept = part["crops/source_row"]
        assert (np.diff(kept) > 0).all()
        for name in set(whole) - {"crops/source_row", "crops/video", "crops/jpeg_offset"}:
            if not name.startswith("videos/"):
                assert np.array_equal(part[name], whole[name][kept], equal_nan=whole[name].dtype.kind == "f"), name
        assert np.array_equal(
            part["videos/name"][part["crops/video"]], whole["videos/name"][whole["crops/video"]][kept]
        )
    names = [set(part["videos/name"]) for part in parts]
    assert set.union(*names) == set(whole["videos/name"]), "a video without hands is not lost"
    if by == "video":
        assert sum(map(len, names)) == 6
    assert [report["accounting"][0]["done"] for report in reports] == [len(part["crops/video"]) for part in parts]
    assert all(report["accounting"][0]["in"] == 20 for report in reports)
    for path in paths:
        with store.open_file(path) as file:
            assert not file.links and not store.find_faults(file, deep=True)


def test_in_order_gives_the_first_hands_to_the_first_part(tmp_path):
    paths, _ = run_all(make_file(tmp_path / "all.h5", (5, 5)), tmp_path, by="row", in_order=True)
    assert read(paths[0], CROPS.source_row).tolist() == list(range(8))


def test_the_seed_decides_and_only_the_seed(tmp_path):
    source = make_file(tmp_path / "all.h5", (10, 10))
    rows = [read(run_all(source, tmp_path, by="row", seed=seed)[0][0], CROPS.source_row).tolist() for seed in (1, 1, 2)]
    assert rows[0] == rows[1] != rows[2]
    assert len(rows[0]) == 16 and rows[0] != list(range(16))


def test_drawn_videos_come_near_to_the_shares(tmp_path):
    paths, reports = run_all(make_file(tmp_path / "all.h5", (30, 10, 10)), tmp_path, by="video")
    assert [report["share"] for report in reports] == [0.8, 0.2]


def test_no_person_is_on_both_sides(tmp_path):
    subjects = ["ann", "bob", "ann", "cid", "bob", "dan"]
    source = make_subjects(tmp_path / "all.h5", subjects, [2] * 6)
    for seed in range(4):
        paths, reports = run_all(source, tmp_path, by="subject", shares=(50.0, 50.0), seed=seed)
        people = [set(read(path, VIDEOS.subject)) for path in paths]
        assert not people[0] & people[1] and people[0] | people[1] == set(subjects)
        assert [report["units"] for report in reports] == [len(some) for some in people]


def test_a_video_of_an_unknown_person_is_a_person_of_its_own(tmp_path, caplog):
    source = make_subjects(tmp_path / "all.h5", ["ann", "", "ann", ""], [2] * 4)
    paths, _ = run_all(source, tmp_path, by="subject", shares=(50.0, 50.0))
    subjects = [read(path, VIDEOS.subject).tolist() for path in paths]
    assert sorted(subjects) == [["", ""], ["ann", "ann"]]
    with pytest.raises(HandtoolError, match="does not know whose hands"):
        run_all(make_subjects(tmp_path / "nobody.h5", ["", ""], [2, 2]), tmp_path, by="subject")


def test_people_who_share_a_video_are_on_one_side_and_too_few_are_told_the_way(tmp_path):
    source = make_file(tmp_path / "all.h5", (5, 5, 5))
    with pytest.raises(HandtoolError, match="has 1 subjects that share no video, 2 parts were asked") as caught:
        run_all(source, tmp_path, by="subject")
    assert caught.value.hint.endswith("--by video")


def test_fewer_videos_than_parts_is_an_error_with_a_way_out(tmp_path):
    source = make_file(tmp_path / "all.h5", (5, 0))
    with pytest.raises(HandtoolError, match="has 1 videos with hands, 2 parts were asked") as caught:
        run_all(source, tmp_path)
    assert "--by row" not in caught.value.hint, "it would put hands of one video on both sides"
    with pytest.raises(HandtoolError, match="has 0 different hands"):
        run_all(make_file(tmp_path / "none.h5", (0,)), tmp_path, by="row")


def test_pairs_are_left_out_and_that_is_said(tmp_path):
    make_file(tmp_path / "k.h5", (6, 6))
    run_stage(embed, tmp_path / "k.h5", tmp_path / "e.h5", EmbedConfig())
    run_stage(mine, tmp_path / "e.h5", tmp_path / "p.h5", MineConfig(topk=2))
    paths, reports = run_all(tmp_path / "p.h5", tmp_path)
    assert reports[0]["left_out"] == ["pairs"]
    with store.open_file(paths[0]) as file:
        assert file.tables == ["videos", "crops", "keypoints", "embeddings"]


def test_the_command_writes_both_files_and_reports_once(tmp_path, handtool):
    make_file(tmp_path / "all.h5", (5, 5))
    command = ("split", "all.h5", "--by", "row", "--shares", "80,20", "-o", "train.h5", "-o", "test.h5")
    done = handtool(*command, "--json")
    assert done.returncode == 0, done.stderr
    parts = json.loads(done.stdout)["report"]["parts"]
    assert [(part["output"], part["accounting"][0]["done"]) for part in parts] == [("train.h5", 8), ("test.h5", 2)]
    again = handtool(*command)
    assert again.stderr.count("up to date") == 2 and "train.h5: 8 hands (80.0%)" in again.stdout
    (tmp_path / "test.h5").unlink()
    assert handtool(*command).stderr.count("up to date") == 1 and (tmp_path / "test.h5").exists()
    before = (tmp_path / "test.h5").read_bytes()
    piped = handtool("split", "--by", "row", "-o", "a.h5", "-o", "b.h5", stdin=(tmp_path / "all.h5").read_bytes())
    assert piped.returncode == 0, piped.stderr
    assert np.array_equal(read(tmp_path / "b.h5", CROPS.source_row), read(tmp_path / "test.h5", CROPS.source_row))
    assert (tmp_path / "test.h5").read_bytes() == before


@pytest.mark.parametrize(
    "options",
    [
        ("-o", "a.h5"),
        ("-o", "a.h5", "-o", "a.h5"),
        ("-o", "a.h5", "-o", "-"),
        ("--shares", "80,x", "-o", "a.h5", "-o", "b.h5"),
        ("--shares", "nan,20", "-o", "a.h5", "-o", "b.h5"),
        (),
    ],
)
def test_a_wrong_command_line_is_exit_2(tmp_path, handtool, options):
    make_file(tmp_path / "all.h5", (5, 5))
    done = handtool("split", "all.h5", *options)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["all.h5"]


def test_parts_of_two_splits_never_stand_side_by_side(tmp_path, handtool):
    make_file(tmp_path / "all.h5", (5, 5))
    command = ("split", "all.h5", "--by", "row", "-o", "train.h5", "-o", "test.h5")
    assert handtool(*command, "--seed", "1").returncode == 0
    (tmp_path / "train.h5").unlink()
    done = handtool(*command, "--seed", "2")
    assert done.returncode == 1 and "seed 1 instead of 2" in done.stderr and not (tmp_path / "train.h5").exists()


def test_a_split_of_a_pipe_remembers_the_pipe(tmp_path, handtool):
    make_file(tmp_path / "all.h5", (5, 5))
    assert (
        handtool(
            "split", "--by", "row", "-o", "a.h5", "-o", "b.h5", stdin=(tmp_path / "all.h5").read_bytes()
        ).returncode
        == 0
    )
    assert handtool("info", "a.h5", "--commands").stdout == "handtool test | handtool split --by row -o a.h5 -o b.h5\n"


def test_a_seed_beside_in_order_is_refused_since_nothing_is_drawn(handtool, tmp_path):
    make_file(tmp_path / "all.h5", (5, 5))
    words = ("split", "all.h5", "--by", "row", "--in-order", "-o", "a.h5", "-o", "b.h5")
    done = handtool(*words, "--seed", 9)
    assert done.returncode == 2 and "--seed" in done.stderr and not (tmp_path / "a.h5").exists()
    assert handtool(*words).returncode == 0
