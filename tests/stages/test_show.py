"""show: every kind of file gives its picture, and says what it has where it does not."""

import cv2
import numpy as np
import pytest
from making import make_file, record
from running import run_stage

from handtool import store
from handtool.config import MineConfig, ShowConfig
from handtool.errors import HandtoolError
from handtool.render.tiles import hand_tiles
from handtool.stages.mine import mine
from handtool.stages.show import choose_rows, describe, draw_png, possible_kinds, read_drawn_hands, read_scores, show
from handtool.store import CROPS, CURVE, KEYPOINTS, LABELS, PAIRS, PREDICTIONS


def add(source_path, path, table, columns, attrs=None):
    with store.open_file(source_path) as source, store.create_file(path, record("handtool test"), [source]) as sink:
        store.write_table(sink, table, columns, attrs)
        sink.inherit(source)
        sink.finish({})
    return path


@pytest.fixture
def hands(tmp_path):
    return make_file(tmp_path / "hands.h5", (6, 5, 4), ("keypoints", "labels", "embeddings"))


@pytest.fixture
def pairs(tmp_path, hands):
    anchor = np.repeat(np.arange(15), 3)
    columns = {
        "anchor": anchor,
        "positive": (anchor + np.tile([1, 2, 3], 15)) % 15,
        "distance": np.linspace(0.1, 2, 45),
        "rank": np.tile([1, 2, 3], 15),
        "anchor_offset": np.arange(16) * 3,
    }
    return add(hands, tmp_path / "pairs.h5", PAIRS, columns, {"topk": 3, "index": "exact", "pool_uuid": ""})


@pytest.fixture
def predictions(tmp_path, hands):
    with store.open_file(hands) as file:
        joints, keypoints = store.read_column(file, LABELS.joints), store.read_column(file, LABELS.keypoints)
    valid = np.arange(15) != 4
    wrong = joints + np.linspace(0, 0.05, 15)[:, None, None] * np.random.default_rng(0).normal(size=(15, 21, 3))
    columns = {
        "joints": wrong,
        "keypoints": keypoints + 3,
        "valid": valid,
        "absolute": valid,
        "scale": np.full(15, 0.03),
    }
    return add(hands, tmp_path / "predictions.h5", PREDICTIONS, columns, {"scale_source": "truth"})


@pytest.mark.parametrize("kind", ["crops", "keypoints", "labels", "embeddings"])
def test_every_table_of_hands_gives_a_picture_of_its_own(hands, kind):
    with store.open_file(hands) as file:
        image = show(file, ShowConfig(kind=kind, rows=2, columns=3, tile=64))
        assert image.dtype == np.uint8 and image.ndim == 3 and image.std() > 5
        assert np.array_equal(image, show(file, ShowConfig(kind=kind, rows=2, columns=3, tile=64))), (
            "same seed, same picture"
        )
        if kind != "embeddings":
            assert not np.array_equal(show(file, ShowConfig(kind=kind, rows=2, columns=3, tile=64, seed=6)), image)


def test_the_default_is_what_the_file_itself_holds(pairs, predictions):
    with store.open_file(pairs) as file:
        assert possible_kinds(file) == ["pairs", "embeddings", "keypoints", "labels", "crops"]
    with store.open_file(predictions) as file:
        assert describe(file)["default"] == "predictions" and describe(file)["to_see"]["labels"] == 15


def test_pairs_show_an_anchor_and_its_ranks_in_each_row(pairs):
    with store.open_file(pairs) as file:
        three, two = (show(file, ShowConfig(rows=4, columns=ranks, tile=240)) for ranks in (6, 2))
    assert three.shape[1] - two.shape[1] == 250, "as many ranks as there are, or as were asked for"


def test_positives_from_another_file_are_shown_from_there(tmp_path, hands):
    pool = make_file(tmp_path / "pool.h5", (7, 8, 9), ("keypoints", "embeddings"), seed=3)
    run_stage(mine, hands, tmp_path / "mined.h5", MineConfig(topk=2, index="exact"), pool=pool)
    with store.open_file(tmp_path / "mined.h5") as file, store.open_file(pool) as other:
        assert file.pool and show(file, ShowConfig(tile=64)).std() > 5
        tiles = hand_tiles(read_drawn_hands(file.pool, np.array([23])), 64)
        assert np.array_equal(tiles[0].image, hand_tiles(read_drawn_hands(other, np.array([23])), 64)[0].image), (
            "row 23 of the pool, where the anchors are 15"
        )


def test_predictions_leave_out_what_is_not_valid_and_rank_by_error(predictions):
    with store.open_file(predictions) as file:
        png, report = draw_png(file, ShowConfig(tile=80, columns=2))
    image = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    assert report["kind"] == "predictions" and image.shape[:2] == (report["height_px"], report["width_px"])


def test_predictions_without_truth_are_shown_too(tmp_path):
    bare = make_file(tmp_path / "bare.h5", (4,), ())
    joints, points = np.random.default_rng(0).normal(size=(4, 21, 3)), np.full((4, 21, 2), 30.0)
    flags = {"valid": np.ones(4, bool), "absolute": np.zeros(4, bool)}
    columns = {"joints": joints, "keypoints": points, **flags, "scale": np.full(4, 0.03)}
    with store.open_file(add(bare, tmp_path / "p.h5", PREDICTIONS, columns, {"scale_source": "mean"})) as file:
        assert show(file, ShowConfig(tile=64)).std() > 5


def test_a_curve_is_drawn(tmp_path):
    with store.create_file(tmp_path / "encoder.h5", record()) as sink:
        step = np.arange(50)
        store.write_table(
            sink, CURVE, {"step": step, "loss": 5 - step / 20, "learning_rate": np.ones(50), "seconds": step / 10}
        )
        sink.finish({})
    with store.open_file(tmp_path / "encoder.h5") as file:
        assert show(file, ShowConfig()).shape == (460 + 240, 860, 3), "the loss, and below it the learning rate"


def test_scores_are_drawn(tmp_path, predictions):
    with (
        store.open_file(predictions) as source,
        store.create_file(tmp_path / "result.h5", record("handtool eval"), [source]) as sink,
    ):
        thresholds, share = np.linspace(0, 50, 100), np.tile(np.linspace(0, 1, 100), (21, 1))
        arrays = {
            "per_joint/pa_mpjpe_mm": np.arange(21.0),
            "pck/pa_mpjpe_0_50mm": share,
            "pck/thresholds_0_50mm": thresholds,
        }
        store.write_metrics(sink, {"pa_mpjpe": {"mean_mm": 10.0}}, arrays)
        sink.inherit(source)
        sink.finish({})
    with store.open_file(tmp_path / "result.h5") as file:
        assert possible_kinds(file)[0] == "metrics" and show(file, ShowConfig()).shape == (66 + 380 + 210, 860, 3)


def test_keypoints_are_ordered_by_their_own_score(tmp_path, hands):
    with store.open_file(hands) as source, store.create_file(tmp_path / "scored.h5", record(), [source]) as sink:
        score = np.linspace(1, 0, 15)[:, None].repeat(21, 1)
        valid = np.arange(15) != 14
        columns = {"xy": store.read_column(source, KEYPOINTS.xy), "score": score, "valid": valid}
        store.write_table(sink, KEYPOINTS, columns, {"skeleton": "hand21", "model": "drawn"})
        sink.inherit(source)
        sink.finish({})
    with store.open_file(tmp_path / "scored.h5") as file:
        scores = read_scores(file, "keypoints")
        rows = choose_rows(file, np.flatnonzero(valid), scores, ShowConfig(order="score"), 3, 3)
        assert rows.tolist() == [13, 12, 11], "lowest first, without the hand that was not found"


@pytest.mark.parametrize("order", ["video", "score"])
def test_hands_come_in_the_order_asked_for(hands, order):
    with store.open_file(hands) as file:
        assert show(file, ShowConfig(kind="crops", order=order, rows=2, columns=4, tile=64)).std() > 5


def test_a_kind_that_is_not_there_is_named_beside_what_is(hands, tmp_path):
    with (
        store.open_file(hands) as file,
        pytest.raises(HandtoolError, match="no pairs to show, it has embeddings") as caught,
    ):
        show(file, ShowConfig(kind="pairs"))
    assert "--kind" in caught.value.hint
    with (
        store.open_file(make_file(tmp_path / "none.h5", (0,), ())) as file,
        pytest.raises(HandtoolError, match="nothing to look at"),
    ):
        assert file.count(CROPS) == 0
        show(file, ShowConfig())


def test_the_command_writes_a_picture_whole_and_only_where_it_was_told(handtool, hands, tmp_path):
    told = handtool("show", hands)
    assert told.returncode == 0 and "-o sheet.png" in told.stdout and not list(tmp_path.glob("*.png"))
    first = handtool("show", hands, "-o", "a.png", "--tile", 64)
    assert first.returncode == 0, first.stderr
    assert cv2.imread(str(tmp_path / "a.png")) is not None
    assert handtool("show", hands, "-o", "a.png", "--tile", 64).returncode == 0, "the same picture is up to date"
    assert handtool("show", hands, "-o", "a.png", "--tile", 80).returncode == 1
    piped = handtool("show", "-", "-o", "-", "--kind", "crops", stdin=hands.read_bytes(), binary=True)
    assert piped.returncode == 0 and piped.stdout[:8] == b"\x89PNG\r\n\x1a\n"
