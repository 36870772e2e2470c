"""What belongs together stays together in every stage: FreiHAND's four pictures of a hand, and a clip in which two
people appear."""

import json

import numpy as np
import pytest
from footage import make_freihand, make_labelled
from footage import run_stage as run_resumable
from running import read, run_stage

from handtool import store
from handtool.config import (
    EmbedConfig,
    EvalConfig,
    ExtractConfig,
    FinetuneConfig,
    KeypointsConfig,
    MineConfig,
    SplitConfig,
)
from handtool.errors import HandtoolError
from handtool.nn.files.labelled_hands import read_labelled
from handtool.stages.embed import embed
from handtool.stages.eval import evaluate
from handtool.stages.extract import extract
from handtool.stages.keypoints import keypoints
from handtool.stages.mine import mine
from handtool.stages.split import split
from handtool.store import CROPS, LABELS, PAIRS, PREDICTIONS, VIDEOS

HANDS = 6


def describe(folder, config, dim):
    """extract, keypoints, embed. Returns (crops.h5, embeddings.h5), beside the folder."""
    crops, found, embedded = (folder.parent / f"{name}.h5" for name in ("crops", "keypoints", "embeddings"))
    run_resumable(extract, [folder], crops, config)
    run_resumable(keypoints, crops, found, KeypointsConfig())
    run_stage(embed, found, embedded, EmbedConfig(dim=dim))
    return crops, embedded


@pytest.fixture(scope="module")
def freihand(tmp_path_factory):
    """6 hands before 4 backgrounds."""
    root = make_freihand(tmp_path_factory.mktemp("set") / "FreiHAND", num_hands=HANDS)
    return describe(root, ExtractConfig(split="train", workers=1), dim=4)


def hand_of(path, rows=None):
    return read(path, LABELS.sample_id, rows) % HANDS


@pytest.mark.parametrize("rules", [{}, {"exclude": "none"}, {"exclude": "track"}, {"index": "exact"}])
def test_no_picture_of_a_hand_is_the_positive_of_another(freihand, tmp_path, rules):
    report = run_stage(mine, freihand[1], tmp_path / "pairs.h5", MineConfig(**rules))
    pairs = tmp_path / "pairs.h5"
    anchor, positive = (hand_of(pairs, read(pairs, column)) for column in (PAIRS.anchor, PAIRS.positive))
    assert report["pairs"] == len(anchor) == 4 * HANDS * MineConfig.topk and (anchor != positive).all()


@pytest.mark.parametrize("in_order", [False, True])
@pytest.mark.parametrize("by", ["video", "row"])
def test_no_hand_is_on_both_sides_of_a_split(freihand, tmp_path, by, in_order):
    for seed in range(1 if in_order else 3):
        parts = [tmp_path / f"{by}{seed}{part}.h5" for part in range(3)]
        for part, path in enumerate(parts):
            run_stage(split, freihand[0], path, SplitConfig(by, (50.0, 30.0, 20.0), part, in_order, seed))
        hands = [set(hand_of(path)) for path in parts]
        assert [len(some) for some in hands] == [3, 2, 1] and set.union(*hands) == set(range(HANDS))
        assert [len(read(path, CROPS.video)) for path in parts] == [12, 8, 4]
        again = tmp_path / f"{by}{seed}again.h5"  # a part is divided as the whole is
        run_stage(split, parts[0], again, SplitConfig(by, (50.0, 50.0), 0, in_order, seed))
        assert len(read(again, CROPS.video)) == 4 * len(set(hand_of(again)))


def test_no_hand_is_held_out_and_trained_on_or_half_of_a_fraction(freihand):
    with store.open_file(freihand[0]) as file:
        for by in ("video", "row"):
            for seed in range(3):
                hands = read_labelled(file, FinetuneConfig(val_share=0.3, val_by=by, label_fraction=0.5, seed=seed))
                held, trained = hand_of(freihand[0], hands.held), hand_of(freihand[0], hands.train)
                assert len(held) == len(trained) == 8 and len(set(held)) == len(set(trained)) == 2
                assert not set(held) & set(trained)
        with pytest.raises(HandtoolError, match="does not know whose hands") as caught:
            read_labelled(file, FinetuneConfig(val_share=0.3, val_by="subject"))
    assert caught.value.hint == "--val-by video"


def test_the_four_pictures_of_a_hand_are_drawn_together_in_an_interval(freihand, tmp_path):
    add_predictions(freihand[0], tmp_path / "p.h5", 2.0 ** hand_of(freihand[0]))
    with store.open_file(tmp_path / "p.h5") as file:
        (result,) = evaluate([file], None, EvalConfig())["results"]
    figures = result["protocols"]["mpjpe"]
    assert figures["hands"] == 24 and figures["hands_drawn"] == HANDS and "per_video_mm" not in result
    assert figures["interval"].endswith("by hand")


def add_predictions(labelled, path, error_mm):
    """error_mm (n,): how far every joint of a hand is predicted from where it is."""
    with store.open_file(labelled) as file, store.create_file(path, store.Record("test", {}), [file]) as sink:
        truth, known = store.read_column(file, LABELS.joints).astype(float), np.ones(len(error_mm), bool)
        joints = truth + 1e-3 * np.asarray(error_mm)[:, None, None] * np.array([1.0, 0, 0])
        columns = dict(
            joints=joints, keypoints=truth[:, :, :2], valid=known, absolute=known, scale=np.full(len(truth), 0.03)
        )
        store.write_table(sink, PREDICTIONS, columns, attrs={"scale_source": "truth"})
        sink.inherit(file)
        sink.finish({})
    return path


@pytest.fixture(scope="module")
def two_people(tmp_path_factory):
    """A clip of ann and bob, and another one of bob alone, in the plain format."""
    video = np.array(["walk"] * 6 + ["run"] * 3)
    subject = np.array(["ann", "bob"] * 3 + ["bob"] * 3)
    folder = make_labelled(tmp_path_factory.mktemp("plain") / "mine", count=9, video=video, subject=subject)
    return describe(folder, ExtractConfig(workers=1), dim=3)


def clip_of(path, rows=slice(None)):
    """The clip is the last part of the name; two of the three rows of /videos are one."""
    names = np.array([name.rpartition("/")[2] for name in read(path, VIDEOS.name)])
    assert sorted(names) == ["run", "walk", "walk"]
    return names[read(path, CROPS.video)][rows]


@pytest.mark.parametrize("rules", [{}, {"index": "exact"}, {"same_side": True}])
def test_no_pair_joins_a_clip_of_two_people_with_itself(two_people, tmp_path, rules):
    run_stage(mine, two_people[1], tmp_path / "pairs.h5", MineConfig(topk=2, **rules))
    anchor, positive = (
        clip_of(two_people[1], read(tmp_path / "pairs.h5", column)) for column in (PAIRS.anchor, PAIRS.positive)
    )
    assert len(anchor) and (anchor != positive).all()


def test_a_clip_of_two_people_is_on_one_side_of_a_split(two_people, tmp_path):
    for part in (0, 1):
        run_stage(split, two_people[1], tmp_path / f"{part}.h5", SplitConfig("video", (50.0, 50.0), part))
    assert sorted(len(read(tmp_path / f"{part}.h5", CROPS.video)) for part in (0, 1)) == [3, 6]
    with pytest.raises(HandtoolError, match="has 1 subjects that share no video") as caught:
        run_stage(split, two_people[1], tmp_path / "x.h5", SplitConfig("subject", (50.0, 50.0), 0))
    assert caught.value.hint.endswith("--by video"), "bob is in both clips"


def test_a_clip_of_two_people_is_one_video_of_an_evaluation(two_people, tmp_path):
    walks = clip_of(two_people[1]) == "walk"
    error_mm = np.zeros(9)
    error_mm[walks], error_mm[~walks] = [1, 2, 3, 4, 5, 6], 8
    path = add_predictions(two_people[0], tmp_path / "p.h5", error_mm)
    (result,) = run_stage(evaluate, [path], tmp_path / "r.h5", EvalConfig())["results"]
    assert result["per_video_mm"]["mpjpe"] == pytest.approx({"mine/walk": 3.5, "mine/run": 8}, rel=1e-4)
    assert result["protocols"]["mpjpe"]["videos_drawn"] == 2
    with store.open_file(tmp_path / "r.h5") as file:
        assert store.read_metrics(file)["per_video"]["mpjpe_mm"] == pytest.approx([3.5, 3.5, 8], rel=1e-4)


def test_one_clip_alone_has_no_pairs_whoever_is_in_it(two_people, tmp_path, handtool):
    done = handtool("split", two_people[1], "--shares", "60,40", "-o", "walk.h5", "-o", "run.h5", "--json")
    assert done.returncode == 0, done.stderr
    assert [part["videos"] for part in json.loads(done.stdout)["report"]["parts"]] == [2, 1]
    done = handtool("mine", "walk.h5", "-o", "p.h5")
    assert done.returncode == 1 and "all 6 hands of walk.h5 are from one video (mine/walk)" in done.stderr
    assert "--exclude track" in done.stderr


def test_the_pictures_of_one_hand_alone_have_no_pairs_and_no_rule_makes_any(freihand, tmp_path, handtool):
    shares = SplitConfig("row", (1.0, 5.0), 0)
    run_stage(split, freihand[1], tmp_path / "one.h5", shares)
    for rules in ((), ("--exclude", "none"), ("--exclude", "track")):
        done = handtool("mine", "one.h5", *rules, "-o", "p.h5")
        assert done.returncode == 1 and "all 4 hands of one.h5 show one and the same hand" in done.stderr
        assert "--exclude" not in done.stderr
