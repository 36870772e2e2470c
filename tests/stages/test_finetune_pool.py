"""Unlabelled hands train beside labelled ones: they are counted, change the result, and leave it repeatable."""

from pathlib import Path

import numpy as np
import pytest
from making import make_file
from training import TinyEncoder, assert_same_weights, curve_of, killed_at_save, run_finetune

from handtool import store
from handtool.config import FinetuneConfig
from handtool.errors import HandtoolError, WrongCommand
from handtool.hands import lifting
from handtool.nn.files.draws import LabelledDraws
from handtool.nn.files.labelled_hands import read_labelled
from handtool.nn.files.pool_hands import join_crops
from handtool.nn.models import heatmap_head
from handtool.nn.models.encoder import ENCODERS
from handtool.nn.training.distributed import Place
from handtool.nn.training.plan import divide_batch
from handtool.nn.views.augmentation import transform_labels
from handtool.stages.finetune import augmentation, find_contract, make_model, plan_for, resolve_defaults

HEADS = ("regression", "heatmap")


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    return make_file(tmp_path_factory.mktemp("labelled") / "train.h5", (5, 4, 3), ("labels",))


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    return make_file(tmp_path_factory.mktemp("pool") / "pool.h5", (6, 5), ("keypoints", "joints"), seed=3)


@pytest.fixture(autouse=True)
def narrow(monkeypatch):
    monkeypatch.setattr(heatmap_head, "WIDTH", 16)
    monkeypatch.setattr(lifting, "EXAMPLES", 100)
    monkeypatch.setitem(ENCODERS, "tiny", TinyEncoder)


def run(*files, **changes):
    return run_finetune(*files, **{"arch": "tiny"} | changes)


@pytest.mark.parametrize("head", HEADS)
def test_the_pool_trains_beside_the_labels_and_is_counted(labelled, pool, tmp_path, head):
    report = run(labelled, tmp_path / "pose.h5", head=head, pool=str(pool), batch_size=8)
    assert (report["trained_on"], report["pool_hands"], report["pool_hands_in_3d"]) == (12, 11, 11)
    assert [each["what"] for each in report["accounting"]] == ["hands", "pool hands"]
    run(labelled, tmp_path / "alone.h5", head=head, batch_size=4)
    assert not np.array_equal(*(curve_of(tmp_path / f"{name}.h5") for name in ("pose", "alone")))


@pytest.mark.parametrize("head", HEADS)
def test_every_option_of_the_pool_changes_the_training(labelled, pool, tmp_path, head):
    curves = {}
    changes = [{}, {"pool_share": 0.25}, {"pool_weight": 0.2}, {"pool_weight": 0.0}]
    changes += [
        {"pool_depth": "estimated"},
        {"pool_depth": "lifted"},
        {"pool_depth": "lifted", "pool_depth_weight": 0.5},
    ]
    for number, change in enumerate(changes):
        run(labelled, tmp_path / f"{number}.h5", head=head, pool=str(pool), batch_size=8, steps=3, **change)
        assert curves.setdefault(tuple(curve_of(tmp_path / f"{number}.h5")), change) is change


def test_depth_weighs_as_published_unless_a_pool_teaches_it_or_one_says_otherwise(labelled, pool, tmp_path):
    choices = {"batch_size": 8, "head": "regression"}
    weights = []
    for change in ({}, {"pool": str(pool), "pool_depth": "lifted"}, {"pool": str(pool)}, {"depth_weight": 7.0}):
        config = resolve_defaults(FinetuneConfig(init="scratch", arch="tiny", input_size=32, **choices | change))
        with store.open_file(labelled) as source:
            weights.append(make_model(config, find_contract(read_labelled(source, config), config)).head.loss_weights)
    assert weights == [(1.0, 5.0, 1.0), (1.0, 20.0, 1.0), (1.0, 5.0, 1.0), (1.0, 7.0, 1.0)]
    run(labelled, tmp_path / "one.h5", **choices)
    run(labelled, tmp_path / "other.h5", depth_weight=7.0, **choices)
    assert curve_of(tmp_path / "one.h5") != curve_of(tmp_path / "other.h5")
    with pytest.raises(WrongCommand, match="of the regression head"):
        run(labelled, tmp_path / "none.h5", head="heatmap", depth_weight=7.0)


@pytest.mark.parametrize("head", HEADS)
def test_killed_and_run_again_ends_in_the_same_bits(labelled, pool, tmp_path, monkeypatch, head):
    choices = {"head": head, "pool": str(pool), "batch_size": 8, "mirror": 0.3, "pool_depth": "lifted"}
    run(labelled, tmp_path / "whole.h5", **choices)
    with killed_at_save(monkeypatch, 2):
        run(labelled, tmp_path / "e.h5", checkpoint_every=2, **choices)
    run(labelled, tmp_path / "e.h5", checkpoint_every=2, **choices)
    assert_same_weights(tmp_path / "e.h5", tmp_path / "whole.h5")
    assert curve_of(tmp_path / "e.h5") == curve_of(tmp_path / "whole.h5")


def draws_of(labelled: Path, pool: Path, processes: int, **changes) -> list[LabelledDraws]:
    """What each of the processes draws."""
    choices = {"head": "regression", "init": "scratch", "pool_depth": "lifted"} | changes
    config = resolve_defaults(FinetuneConfig(pool=str(pool), **choices))
    with store.open_file(labelled) as source:
        hands, made = read_labelled(source, config).with_lifted_pool(config), []
        for rank in range(processes):
            place = Place("cpu", rank, rank, processes, processes)
            plan, crops = plan_for(hands, config, place), join_crops(source, hands.pool)
            own, of_pool = place.share(plan.schedule.batch_size), place.share(plan.pool.batch_size)
            settings = (augmentation(config), 32, plan.pool, of_pool, (config.pool_weight, config.pool_depth_weight))
            made.append(LabelledDraws(crops, hands, plan.schedule, own, *settings))
    return made


def test_the_shares_of_two_processes_are_the_batch_of_one(labelled, pool):
    one, *two = draws_of(labelled, pool, 1, batch_size=8) + draws_of(labelled, pool, 2, batch_size=8)
    for number in (0, 3):
        whole, parts = one.rows(number), [draws.rows(number) for draws in two]
        labels, pooled = ([part[half] for part in parts] for half in (slice(2), slice(2, 4)))
        assert np.array_equal(whole, np.concatenate(labels + pooled))
        assert (whole[:4] < 12).all() and (whole[4:] >= 12).all()
        batches = [draws.batch(number) for draws in two]
        for at, place in ((0, 0), (1, 2)):
            assert np.allclose(batches[at].view.matrix[:2], one.batch(number).view.matrix[place : place + 2])


def test_a_hand_of_the_pool_knows_what_its_file_says_and_weighs_what_was_asked(labelled, pool):
    (draws,) = draws_of(labelled, pool, 1, batch_size=8, pool_weight=0.5, pool_depth_weight=0.25, rotation_deg=0.0)
    batch, rows = draws.batch(0), draws.rows(0)
    seen = transform_labels(batch.labels, batch.view)
    with store.open_file(pool) as file:
        score = store.read_column(file, store.KEYPOINTS.score)
        xy, left = store.read_column(file, store.KEYPOINTS.xy), store.read_column(file, store.CROPS.side) == store.LEFT
    for place in range(8):
        if place < 4:
            assert (batch.labels.keypoints_weight[place] == 1).all() and batch.labels.camera[place].isfinite().all()
            continue
        row = rows[place] - 12
        assert np.allclose(batch.labels.keypoints_weight[place], 0.5 * score[row])
        assert np.allclose(batch.labels.joints_weight[place], 0.25 * score[row])
        canonical = np.where(left[row] * np.array([True, False]), 63 - xy[row], xy[row])
        matrix = batch.view.matrix[place].numpy()
        assert np.allclose(seen.keypoints[place], canonical @ matrix[:2, :2].T + matrix[:2, 2], atol=1e-4)
        assert bool(batch.flipped[place]) == left[row]


def test_the_pools_depth_comes_from_the_labels_or_from_the_estimator(labelled, pool):
    read = {}
    for choice in ("lifted", "estimated"):
        (draws,) = draws_of(labelled, pool, 1, batch_size=8, pool_depth=choice)
        read[choice] = draws.hands.pool
        assert draws.batch(0).labels.valid.all()
    with store.open_file(pool) as file:
        left = store.read_column(file, store.CROPS.side) == store.LEFT
        stored = store.read_column(file, store.KEYPOINTS.joints) * np.where(left, -1, 1)[:, None, None] ** [1, 0, 0]
    assert np.allclose(read["estimated"].estimated.joints, stored, atol=1e-6)
    known = draws.hands.labels
    fitted = lifting.fit_lifting(known.joints.numpy(), known.bone.numpy(), FinetuneConfig.seed)
    assert np.array_equal(read["lifted"].estimated.joints, fitted.apply(read["lifted"].xy.numpy()))
    assert (read["lifted"].estimated.bone == 1).all()


def test_without_a_whole_labelled_hand_the_pool_teaches_keypoints_alone(labelled, pool, caplog):
    config = FinetuneConfig(head="regression", init="scratch", pool=str(pool), pool_depth="lifted")
    with store.open_file(labelled) as source:
        hands = read_labelled(source, config)
    hands.labels.valid[:, 20] = False
    known = hands.with_lifted_pool(config).pool.labels(np.arange(3), 1.0, 1.0)
    assert not known.valid.any() and known.keypoints_valid.all() and "keypoints alone" in caplog.text


@pytest.mark.parametrize(
    ("asked", "labels", "pool_hands", "share", "processes", "expected"),
    [
        (32, 240, 4800, 0.5, 1, (16, 16)),
        (32, 10, 4800, 0.5, 1, (10, 22)),  # ten labels: the pool fills the batch
        (32, 240, 5, 0.5, 1, (16, 5)),
        (32, 240, 4800, 0.05, 1, (30, 2)),
        (4, 240, 4800, 0.95, 1, (1, 3)),
        (32, 240, 4800, 0.25, 2, (12, 4)),
        (32, 240, 0, 0.5, 1, (32, 0)),
    ],
)
def test_a_batch_is_divided_between_labels_and_pool(asked, labels, pool_hands, share, processes, expected):
    assert divide_batch(asked, labels, pool_hands, share, processes) == expected


def test_a_pool_that_cannot_train_is_an_error_with_the_way_out(labelled, tmp_path):
    crops = make_file(tmp_path / "crops.h5", (3,), ())
    with pytest.raises(HandtoolError, match="has no /keypoints") as caught:
        run(labelled, tmp_path / "pose.h5", pool=str(crops))
    assert caught.value.hint == f"handtool keypoints {crops} -o keypoints.h5"


def test_the_command_says_that_the_pool_trained_and_knows_its_file_again(handtool, labelled, pool, tmp_path):
    line = ["finetune", labelled, "--pool", pool, "--arch", "resnet18", "--init", "scratch", "--input-size", 32]
    line += ["--head", "regression", "--batch-size", 8, "--steps", 1, "--gpus", 0, "-o", tmp_path / "pose.h5", "--json"]
    done = handtool(*line)
    assert done.returncode == 0 and '"pool_hands": 11' in done.stdout, done.stderr
    again = handtool(*line)
    assert again.returncode == 0 and "up to date" in again.stderr
    dry = handtool(*line[:-3], "--dry-run", "--json")
    assert dry.returncode == 0 and '"pool_hands": 11' in dry.stdout, dry.stderr
