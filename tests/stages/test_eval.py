"""eval: from a file of predictions, or from a model, to a table of figures and a file that keeps them."""

import contextlib
import json

import numpy as np
import pytest
from making import make_file, record, write_crops, write_labels, write_videos
from making import make_hands as draw_hands
from scipy.integrate import trapezoid

from handtool import store
from handtool.config import EvalConfig, PredictConfig
from handtool.errors import HandtoolError, WrongCommand
from handtool.hands.metrics import evaluate
from handtool.stages import eval as stage
from handtool.store import CROPS, LABELS, PREDICTIONS


def make_predictions(path, count=12, seed=0, labels=True, columns=None, vertices=False):
    """A file of labelled hands of both sides and predictions about 10 mm off; `columns` replaces columns of
    /predictions."""
    rng = np.random.default_rng(seed)
    hands, side = draw_hands(count, rng), np.arange(count) % 2
    predicted = hands["joints"] + rng.normal(0, 0.006, (count, 21, 3))
    yes = np.ones(count, bool)
    table = dict(joints=predicted, keypoints=hands["xy"], valid=yes, absolute=yes, scale=np.full(count, 0.03))
    if vertices:
        table["vertices"] = rng.normal(0, 0.03, (count, 778, 3))
    with store.create_file(path, record(seed=seed)) as sink:
        write_videos(sink, 1)
        write_crops(sink, np.zeros(count, int), side, hands, rng)
        if labels and not vertices:
            write_labels(sink, hands)
        if vertices:
            all_valid = np.ones((count, 21), bool)
            truth = dict(joints=hands["joints"], valid=all_valid, keypoints=hands["xy"], keypoints_valid=all_valid)
            truth |= dict(scale=np.full(count, np.nan), sample_id=np.arange(count), sample_key=[""] * count)
            store.write_table(sink, LABELS, truth | dict(vertices=table["vertices"] + [0.002, 0, 0]))
        store.write_table(sink, PREDICTIONS, table | (columns or {}), attrs={"scale_source": "given"})
        sink.finish({})
    return path


def run(path, output=None, model=None, **config):
    """The stage's report on one file, written to `output` if one is named."""
    with store.open_file(path) as source:
        extra = {"model": store.open_file(model)} if model else {}
        if output is None:
            return stage.evaluate([source], None, EvalConfig(**config), **extra)
        with store.create_file(output, record("handtool eval"), [source]) as sink:
            report = stage.evaluate([source], sink, EvalConfig(**config), **extra)
            sink.finish(report)
        return report


def test_figures_are_those_of_evaluate_on_the_files_columns(tmp_path):
    path = make_predictions(tmp_path / "p.h5")
    with store.open_file(path) as file:
        predicted, truth, side = (
            store.read_column(file, column) for column in (PREDICTIONS.joints, LABELS.joints, CROPS.side)
        )
    (result,) = run(path)["results"]
    expected = evaluate(predicted, truth, side=side)
    assert set(result["protocols"]) == set(expected) and "mesh" not in expected
    for name, figures in expected.items():
        assert {key: result["protocols"][name][key] for key in figures} == figures
    assert result["scale_source"] == "given" and result["mean_scale_mm"] == pytest.approx(30)


def test_official_figures_survive_the_way_through_a_file(tmp_path, samples):
    with np.load(samples / "reference" / "metrics.npz") as arrays:
        hands = dict(arrays)
    official = json.loads((samples / "reference" / "metrics.json").read_text())
    count = len(hands["side"])
    rng, xy = np.random.default_rng(0), np.full((count, 21, 2), 5.0)
    with store.create_file(tmp_path / "p.h5", record()) as sink:
        write_videos(sink, 1)
        cameras = np.full((count, 3, 3), np.nan)
        write_crops(sink, np.zeros(count, int), hands["side"], {"camera": cameras, "xy": xy}, rng, size=8)
        truth = dict(
            joints=hands["truth_m"], valid=hands["valid"], keypoints=xy, keypoints_valid=np.ones((count, 21), bool)
        )
        store.write_table(
            sink,
            LABELS,
            truth | dict(scale=np.full(count, np.nan), sample_id=np.arange(count), sample_key=[""] * count),
        )
        yes = np.ones(count, bool)
        made = dict(joints=hands["predicted_m"], keypoints=xy, valid=yes, absolute=yes, scale=np.ones(count))
        store.write_table(sink, PREDICTIONS, made, attrs={"scale_source": "truth"})
        sink.finish({})
    (result,) = run(tmp_path / "p.h5")["results"]
    protocols = result["protocols"]
    assert protocols["mpjpe_slots"]["mean_mm"] == pytest.approx(
        official["assemblyhands"]["root_relative_mpjpe_mm"], rel=1e-6
    )
    assert protocols["pa_mpjpe"]["mean_mm"] == pytest.approx(official["dexycb"]["procrustes_mpjpe_mm"], rel=1e-6)
    assert protocols["pa_mpjpe_rigid"]["hands"] == official["egoexo4d"]["rows"]["count"]
    assert protocols["pa_mpjpe"]["left_out_because"] == {"not all 21 joints valid": 45}
    (warning,) = result["warnings"]
    assert "mirrored" in warning and "8.20" in warning and "8.73" in warning


def test_hands_without_prediction_or_truth_are_counted_and_named(tmp_path):
    valid, joints = np.ones(12, bool), np.random.default_rng(1).normal(0, 0.1, (12, 21, 3))
    valid[3], joints[5, 2, 1] = False, np.inf
    path = make_predictions(tmp_path / "p.h5", columns={"valid": valid, "joints": joints})
    report = run(path)
    assert report["accounting"] == [
        {"what": "hands", "in": 12, "done": 10, "skipped": {}, "failed": {"no finite prediction": 2}}
    ]
    (result,) = report["results"]
    assert result["failed_rows"] == [3, 5]
    assert all((figures["hands"], figures["failed"]) == (10, 2) for figures in result["protocols"].values())


def test_wrist_relative_predictions_get_no_absolute_figure(tmp_path):
    path = make_predictions(tmp_path / "p.h5", columns={"absolute": np.zeros(12, bool)})
    (result,) = run(path)["results"]
    assert not {"mpjpe", "mpjpe_valid"} & set(result["protocols"]) and "mpjpe_root" in result["protocols"]
    with pytest.raises(HandtoolError, match="mpjpe needs predictions in the camera frame"):
        run(path, protocols=("mpjpe",))


def test_meshes_are_scored_where_both_sides_have_them_and_flat_ones_are_named(tmp_path):
    with_mesh = make_predictions(tmp_path / "p.h5", count=4, vertices=True)
    (result,) = run(with_mesh)["results"]
    assert (
        result["protocols"]["mesh"]["mean_mm"] == pytest.approx(2.0, rel=1e-5)
        and result["protocols"]["pa_mesh"]["mean_mm"] < 1e-3
    )
    assert result["protocols"]["mesh"]["f_5mm"] == 1.0 and not result["warnings"]
    flat = make_predictions(tmp_path / "flat.h5", count=4, vertices=True, columns={"vertices": np.zeros((4, 778, 3))})
    (result,) = run(flat)["results"]
    assert any("vertices are all zero" in warning for warning in result["warnings"])


def test_the_result_file_keeps_figures_arrays_and_links_the_rest(tmp_path):
    path = make_predictions(tmp_path / "p.h5")
    (result,) = run(path, tmp_path / "r.h5")["results"]
    with store.open_file(tmp_path / "r.h5") as file:
        metrics = store.read_metrics(file)
        assert file.count(PREDICTIONS) == file.count(CROPS) == 12 and file.owner("predictions").path == path
    assert metrics["pa_mpjpe"]["mean_mm"] == result["protocols"]["pa_mpjpe"]["mean_mm"]
    assert (
        metrics["pa_mpjpe"]["alignment"] == "similarity, reflection allowed"
        and metrics["pa_mpjpe"]["scale_source"] == "given"
    )
    assert metrics["per_hand"]["mpjpe_valid_mm"].mean() == pytest.approx(metrics["mpjpe_valid"]["mean_mm"], rel=1e-12)
    assert metrics["per_joint"]["mpjpe_root_mm"].mean() == pytest.approx(metrics["mpjpe_root"]["mean_mm"], rel=1e-12)
    assert metrics["per_joint"]["mpjpe_root_mm"][0] == 0
    curve, thresholds = metrics["pck"]["mpjpe_0_50mm"].mean(axis=0), metrics["pck"]["thresholds_0_50mm"]
    assert trapezoid(curve, thresholds) / 50 == pytest.approx(metrics["mpjpe"]["auc_0_50mm"])
    assert curve.shape == thresholds.shape == (100,) and (np.diff(curve) >= 0).all() and thresholds[-1] == 50


def test_only_the_protocols_asked_for_are_scored(tmp_path):
    (result,) = run(make_predictions(tmp_path / "p.h5"), protocols=("st_mpjpe", "mpjpe_root"))["results"]
    assert list(result["protocols"]) == ["mpjpe_root", "st_mpjpe"]


def compare(*paths, **config):
    with contextlib.ExitStack() as stack:
        return stage.evaluate(
            [stack.enter_context(store.open_file(path)) for path in paths], None, EvalConfig(**config)
        )


def add_predictions(labelled, path, joints, valid=None):
    """Another prediction of the hands of `labelled`, in a file that links them."""
    count = len(joints)
    with store.open_file(labelled) as source, store.create_file(path, record(name=path.name), [source]) as sink:
        columns = dict(
            joints=joints, keypoints=np.zeros((count, 21, 2)), valid=np.ones(count, bool) if valid is None else valid
        )
        columns |= dict(absolute=np.ones(count, bool), scale=np.full(count, 0.03))
        store.write_table(sink, PREDICTIONS, columns, attrs={"scale_source": "mean"})
        sink.inherit(source)
        sink.finish({})
    return path


def test_several_results_are_compared_with_the_first_over_the_hands_that_all_have(tmp_path):
    labelled = make_file(tmp_path / "l.h5", (5, 6, 4, 7), tables=("labels",))
    with store.open_file(labelled) as file:
        truth, video = store.read_column(file, LABELS.joints).astype(np.float64), store.read_column(file, CROPS.video)
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 0.006, truth.shape) * rng.uniform(0.5, 2, 4)[video][:, None, None]
    paths = [add_predictions(labelled, tmp_path / "a.h5", truth + noise, np.arange(22) != 9)]
    paths.append(add_predictions(labelled, tmp_path / "b.h5", truth + 0.8 * noise, np.arange(22) != 3))
    paths.append(add_predictions(labelled, tmp_path / "c.h5", truth + rng.permutation(noise)))
    report = compare(*paths)
    assert [result["protocols"]["mpjpe"]["hands"] for result in report["results"]] == [21, 21, 22] and report[
        "against"
    ] == "a.h5"
    common = ~np.isin(np.arange(22), (3, 9))
    a, b = (1000 * np.linalg.norm(noise[common] * factor, axis=2).mean() for factor in (1, 0.8))
    row = next(row for row in report["differences"] if (row["protocol"], row["source"]) == ("mpjpe", "b.h5"))
    assert (
        row["hands"] == 20
        and row["mean_mm"] == pytest.approx(b, rel=1e-5)
        and row["difference_mm"] == pytest.approx(b - a, rel=1e-4)
    )
    assert row["difference_percent"] == pytest.approx(-20, abs=1e-2) and row["difference_high_mm"] < 0
    other = next(row for row in report["differences"] if (row["protocol"], row["source"]) == ("mpjpe", "c.h5"))
    assert other["difference_low_mm"] < other["difference_mm"] < other["difference_high_mm"]
    assert len(report["differences"]) == 2 * len(report["results"][0]["protocols"])
    for path, result in zip(paths, report["results"], strict=True):  # each stands as if it were alone
        assert result == run(path)["results"][0]


def test_results_on_other_hands_are_not_compared(tmp_path):
    first, twin, other = (make_predictions(tmp_path / f"{i}.h5", seed=seed) for i, seed in enumerate((0, 0, 1)))
    assert compare(first, twin)["differences"][0]["difference_mm"] == 0  # made apart, of the same labels
    with pytest.raises(HandtoolError, match="2.h5 holds other hands than .*0.h5: labels/joints of row 0 differs"):
        compare(first, other)
    with pytest.raises(HandtoolError, match="other hands.*: 9, not 12"):
        compare(first, make_predictions(tmp_path / "few.h5", count=9))
    with (
        store.open_file(first) as one,
        store.create_file(tmp_path / "r.h5", record(), [one]) as sink,
        pytest.raises(WrongCommand, match="2 were given"),
    ):
        stage.evaluate([one, one], sink, EvalConfig())


def test_every_mean_has_an_interval_by_video_and_means_by_finger_and_video_are_kept(tmp_path):
    labelled = make_file(tmp_path / "l.h5", (5, 6, 4), tables=("labels",))
    with store.open_file(labelled) as file:
        truth, video = store.read_column(file, LABELS.joints).astype(np.float64), store.read_column(file, CROPS.video)
    errors = np.array([0.004, 0.008, 0.020])[video]
    path = add_predictions(labelled, tmp_path / "p.h5", truth + errors[:, None, None] * np.array([1.0, 0, 0]))
    (result,) = run(path, tmp_path / "r.h5")["results"]
    figures = result["protocols"]["mpjpe"]
    assert result["per_video_mm"]["mpjpe"] == pytest.approx({"video 0": 4, "video 1": 8, "video 2": 20}, rel=1e-4)
    assert result["per_finger_mm"]["mpjpe"] == pytest.approx(
        dict.fromkeys(("thumb", "index", "middle", "ring", "little"), figures["mean_mm"]), rel=1e-4
    )
    assert (figures["mean_low_mm"], figures["mean_high_mm"]) == pytest.approx((4, 20), rel=1e-4) and figures[
        "videos_drawn"
    ] == 3
    assert any("rest on 3 videos" in warning for warning in result["warnings"])
    with store.open_file(tmp_path / "r.h5") as file:
        metrics = store.read_metrics(file)
    assert metrics["per_video"]["mpjpe_mm"] == pytest.approx([4, 8, 20], rel=1e-4) and metrics["per_finger"][
        "mpjpe_mm"
    ].shape == (5,)
    assert (
        metrics["mpjpe"]["mean_low_mm"] == figures["mean_low_mm"]
        and metrics["mpjpe"]["interval"] == "95 %, 2000 resamples by video"
    )
    (without,) = run(path, resamples=0)["results"]
    assert "mean_low_mm" not in without["protocols"]["mpjpe"]
    (by_hand,) = run(make_predictions(tmp_path / "one.h5"))["results"]  # a single video
    low, mean, high = (by_hand["protocols"]["pa_mpjpe"][name] for name in ("mean_low_mm", "mean_mm", "mean_high_mm"))
    assert low < mean < high and by_hand["protocols"]["pa_mpjpe"]["hands_drawn"] == 12 and "per_video_mm" not in by_hand


def test_what_cannot_be_scored_is_refused_in_one_line(tmp_path):
    path = make_predictions(tmp_path / "p.h5")
    with pytest.raises(WrongCommand, match="no protocol best"):
        run(path, protocols=("best",))
    with pytest.raises(WrongCommand, match="no --model was given"):
        run(path, bone="mean")
    with pytest.raises(HandtoolError, match="pa_mesh needs vertices"):
        run(path, protocols=("pa_mesh",))
    with pytest.raises(HandtoolError, match="has no /labels"):
        run(make_predictions(tmp_path / "bare.h5", labels=False))
    with pytest.raises(HandtoolError, match="has no /predictions") as caught:
        run(make_file(tmp_path / "labels.h5", tables=("labels",)))
    assert caught.value.hint == f"handtool eval {tmp_path / 'labels.h5'} --model pose.h5"
    with pytest.raises(HandtoolError, match="none of 12 hands can be scored .no finite prediction: 12"):
        run(make_predictions(tmp_path / "none.h5", columns={"valid": np.zeros(12, bool)}))


def test_a_model_is_run_over_the_crops_and_its_predictions_are_kept(tmp_path):
    torch = pytest.importorskip("torch")
    from handtool.nn.files.inference import predict_file
    from handtool.nn.files.pose_weights import write_pose
    from handtool.nn.models.encoder import make_encoder
    from handtool.nn.models.pose_model import Contract, PoseModel

    torch.manual_seed(0)
    with store.create_file(tmp_path / "pose.h5", record("handtool finetune")) as sink:
        write_pose(sink, PoseModel(make_encoder("resnet18"), Contract(size=32, bone_m=0.05)), {})
        sink.finish({})
    labelled = make_file(tmp_path / "test.h5", tables=("labels",))
    settings = dict(workers=1, device="cpu")
    (result,) = run(labelled, tmp_path / "r.h5", tmp_path / "pose.h5", **settings)["results"]
    with (
        store.open_file(labelled) as source,
        store.open_file(tmp_path / "pose.h5") as pose,
        store.open_file(tmp_path / "r.h5") as made,
    ):
        columns = predict_file(source, pose, PredictConfig(**settings))
        truth, side = store.read_column(source, LABELS.joints), store.read_column(source, CROPS.side)
        for name, column in columns.items():
            assert (store.read_column(made, PREDICTIONS.by_name[name]) == column).all(), name
    expected = evaluate(columns["joints"], truth, side=side)
    assert result["protocols"]["pa_mpjpe"]["mean_mm"] == pytest.approx(expected["pa_mpjpe"]["mean_mm"], rel=1e-12)
    assert (result["predictions"], result["scale_source"]) == ("pose.h5", "truth")
    assert (
        run(tmp_path / "r.h5")["results"][0]["protocols"] == result["protocols"]
    )  # the result is a file of predictions too
    (mean,) = run(labelled, model=tmp_path / "pose.h5", bone="mean", **settings)["results"]
    assert mean["scale_source"] == "mean" and mean["mean_scale_mm"] == pytest.approx(50)
    with pytest.raises(HandtoolError, match="the model predicts none"):
        run(labelled, model=tmp_path / "pose.h5", protocols=("mesh",))
    with pytest.raises(HandtoolError, match="has no /weights") as caught:
        run(labelled, model=labelled)
    assert "finetune" in caught.value.hint


def test_the_command_prints_its_table_and_writes_only_where_it_is_told(tmp_path, handtool):
    make_predictions(tmp_path / "p.h5", columns={"valid": np.arange(12) != 4})
    printed = handtool("eval", "p.h5", "--protocol", "pa_mpjpe", "--protocol", "st_mpjpe", "--all")
    assert printed.returncode == 0 and sorted(path.name for path in tmp_path.iterdir()) == ["p.h5"], printed.stderr
    lines = printed.stdout.splitlines()
    assert lines[0] == "hands: 12 in = 11 done + 0 skipped + 1 (no finite prediction: 1) failed"
    (row,) = [line for line in lines if line.startswith("st_mpjpe")]
    figures = json.loads(handtool("eval", "p.h5", "--json").stdout)["report"]["results"][0]["protocols"]["st_mpjpe"]
    between = f"{figures['mean_low_mm']:.2f}..{figures['mean_high_mm']:.2f}"
    assert row.split()[:6] == [
        "st_mpjpe",
        "11",
        "1",
        f"{figures['mean_mm']:.2f}",
        between,
        f"{figures['median_mm']:.2f}",
    ]
    assert row.endswith(figures["alignment"]) and "interval of the mean: 95 %, 2000 resamples by hand" in lines
    assert f"AUC 20-50 mm {figures['auc_20_50mm']:.4f}" in row
    assert "the same without reflection" in printed.stdout and "failed hands, the first rows: 4" in lines
    assert handtool("eval", "p.h5", "-o", "r.h5").returncode == 0
    again = handtool("eval", "p.h5", "-o", "r.h5")
    assert again.returncode == 0 and "up to date" in again.stderr and "pa_mpjpe" in again.stdout
    assert handtool("eval", "p.h5", "p.h5", "-o", "two.h5").returncode == 2
    fingers = handtool("eval", "p.h5", "--per", "finger", "--resamples", "0").stdout
    assert "mean mm per finger" in fingers and fingers.count("\nlittle ") == 1 and "interval" not in fingers
    against = handtool("eval", "p.h5", "r.h5", "--protocol", "pa_mpjpe").stdout.splitlines()
    assert "against p.h5, the same hands drawn for both:" in against
    (row,) = [line for line in against if "+0.00..+0.00" in line]
    assert "r.h5" in row and against[-1] == (
        "r.h5 has 0.00 mm less error than p.h5 under pa_mpjpe; the 95 % interval includes 0: it may be chance."
    )
    assert handtool("eval", stdin=(tmp_path / "p.h5").read_bytes()).stdout.splitlines()[0] == lines[0]


def test_the_command_shows_the_two_usual_protocols_and_ends_in_two_sentences(tmp_path, handtool):
    make_predictions(tmp_path / "p.h5", columns={"valid": np.arange(12) != 4})
    lines = handtool("eval", "p.h5", "--resamples", "20").stdout.splitlines()
    whole = handtool("eval", "p.h5", "--resamples", "20", "-v").stdout.splitlines()
    protocols = json.loads(handtool("eval", "p.h5", "--json").stdout)["report"]["results"][0]["protocols"]
    usual = {name: protocols[name] for name in ("pa_mpjpe", "mpjpe_root")}
    assert [line.split()[:2] for line in lines[2:4]] == [
        [name, f"{figures['mean_mm']:.2f}"] for name, figures in usual.items()
    ]
    assert all(f"{figures['auc_0_50mm']:.4f}" in line for line, figures in zip(lines[2:4], usual.values()))
    aligned, placed = (f"{figures['mean_mm']:.2f}" for figures in usual.values())
    assert lines[-2] == (
        f"The mean error is {aligned} mm after the best scaling, rotation and shift (pa_mpjpe) "
        f"and {placed} mm with wrist on wrist (mpjpe_root)."
    )
    assert lines[-1].startswith("11 of 12 hands are scored")
    assert f"--all shows {len(protocols) - 2} more protocols" in lines[-1]
    assert {line.split()[0] for line in whole if line} >= set(protocols) and whole[-2] == lines[-2]
