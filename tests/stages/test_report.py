"""report: one page from real files, with everything that they hold and nothing from outside."""

import re

import numpy as np
import pytest
from making import make_file, record

from handtool import store
from handtool.config import EvalConfig, ReportConfig
from handtool.errors import HandtoolError
from handtool.render.scores import pck_curves
from handtool.render.svg import cut
from handtool.stages.eval import compare_results, evaluate
from handtool.stages.report import join_chains, report
from handtool.store import CURVE, LABELS, PAIRS, PREDICTIONS


def grey(file, kind):
    return np.full((40, 60, 3), 128, np.uint8)


def noise(file, kind):
    return np.random.default_rng(0).integers(0, 255, (400, 600, 3), dtype=np.uint8)


def alone(results, protocols, seed):
    raise AssertionError("one result is not compared with anything")


@pytest.fixture
def files(tmp_path):
    """Hands, pairs of them, an encoder and a result, under a name that wants to be escaped."""
    hands = make_file(tmp_path / "hands & <b>.h5", (5, 4), ("keypoints", "embeddings"))
    with (
        store.open_file(hands) as source,
        store.create_file(tmp_path / "pairs.h5", record("handtool mine", topk=2), [source]) as sink,
    ):
        anchor = np.repeat(np.arange(9), 2)
        columns = {
            "anchor": anchor,
            "positive": (anchor + 3) % 9,
            "distance": np.linspace(0, 1, 18),
            "rank": np.tile([1, 2], 9),
        }
        store.write_table(
            sink, PAIRS, {**columns, "anchor_offset": np.arange(10) * 2}, {"topk": 2, "index": "exact", "pool_uuid": ""}
        )
        sink.inherit(source)
        lost = {"what": "hands", "in": 9, "done": 7, "skipped": {"no <i>other</i> video": 2}, "failed": {}}
        sink.finish({"accounting": [lost], "pairs": 18})
    with store.create_file(tmp_path / "encoder.h5", record("handtool pretrain")) as sink:
        step = np.arange(30)
        store.write_table(
            sink, CURVE, {"step": step, "loss": 5 - step / 20, "learning_rate": np.ones(30), "seconds": step / 10}
        )
        sink.finish({})
    with store.create_file(tmp_path / "result.h5", record("handtool eval")) as sink:
        figures = {
            "alignment": "wrist on wrist",
            "hands": 9,
            "mean_mm": 21.37,
            "auc_0_50mm": 0.61,
            "failed": 0,
            "scale_source": "truth",
        }
        arrays = {"pck/mpjpe_root_0_50mm": np.linspace(0, 1, 100), "pck/thresholds_0_50mm": np.linspace(0, 50, 100)}
        arrays["per_joint/mpjpe_root_mm"] = 10 + np.arange(21) / 10
        store.write_metrics(sink, {"mpjpe_root": figures}, arrays)
        sink.finish({})
    names = ("hands & <b>.h5", "pairs.h5", "encoder.h5", "result.h5")
    opened = [store.open_file(tmp_path / name) for name in names]
    yield opened
    for file in opened:
        file.close()


def test_the_page_holds_every_part_and_asks_for_nothing_outside(files):
    html, told = report(files, ReportConfig(), grey, alone)
    assert told["sections"] == [
        "Files",
        "From start to end",
        "Pairs",
        "Training",
        "Results",
        "Pictures",
        "How it was made",
    ]
    assert html.count("<svg") == 6 and html.count("data:image/jpeg;base64,") == 3
    assert "mpjpe_root" in html and "21.37" in html and "wrist on wrist" in html
    assert not re.search(r"(src|href)=[\"']?(https?:|//)", html) and "<script" not in html


def test_the_error_of_every_joint_stands_on_the_drawn_hand(files):
    html, _ = report(files, ReportConfig(), grey, alone)
    hand = html[html.index("Mean error of each joint") :]
    assert [float(mm) for mm in re.findall(r'class="tick"[^>]*>([0-9.]+)<', hand[: hand.index("</svg>")])] == [
        10 + joint / 10 for joint in range(21)
    ]
    assert hand.count("<title>") == 21 and "<title>little_tip</title>" in hand


@pytest.fixture
def results(tmp_path):
    """Three results on the same 12 hands of 4 videos: 10, 13 and 9 mm from the truth, as eval writes them."""
    test = make_file(tmp_path / "test.h5", (3, 3, 3, 3), ("labels",))
    opened = []
    for name, mm in (("first", 10.0), ("worse", 13.0), ("better", 9.0)):
        with (
            store.open_file(test) as source,
            store.create_file(tmp_path / f"{name}.h5", record("handtool eval"), [source]) as sink,
        ):
            truth, count = store.read_column(source, LABELS.joints), source.count(LABELS)
            joints = truth.copy()
            joints[:, 1:, 0] += mm / 1000 * 21 / 20  # not the wrist, which stays where it is
            columns = dict(
                joints=joints,
                keypoints=np.zeros((count, 21, 2)),
                valid=np.ones(count, bool),
                absolute=np.ones(count, bool),
                scale=np.full(count, 0.03),
            )
            store.write_table(sink, PREDICTIONS, columns, {"scale_source": "truth"})
            sink.inherit(source)
            sink.finish({})
        with (
            store.open_file(tmp_path / f"{name}.h5") as source,
            store.create_file(tmp_path / f"{name}-result.h5", record("handtool eval"), [source]) as sink,
        ):
            sink.finish(evaluate([source], sink, EvalConfig(resamples=50)))
        opened.append(store.open_file(tmp_path / f"{name}-result.h5"))
    yield opened
    for file in opened:
        file.close()


def test_results_stand_side_by_side_and_against_the_first(results):
    html, told = report(results, ReportConfig(), grey, compare_results)
    assert "Comparison" in told["sections"]
    part = html[html.index('id="comparison"') : html.index('id="results"')]
    rows = [re.findall(r"<td[^>]*>([^<]*)</td>", row) for row in re.findall(r"<tr>(.*?)</tr>", part)]
    root = {row[1]: row for row in rows if row and row[0] == "mpjpe_root"}
    assert set(root) == {"worse-result", "better-result"}, "the first is what they are compared with"
    assert float(root["worse-result"][3]) == pytest.approx(3, rel=1e-3) and float(
        root["worse-result"][5]
    ) == pytest.approx(30, rel=1e-3)
    assert float(root["better-result"][3]) == pytest.approx(-1, rel=1e-3)
    beside = {row[0]: row for row in rows if len(row) == 7}
    assert [float(beside[f"{name}-result"][4]) for name in ("first", "worse", "better")] == pytest.approx(
        [10, 13, 9], rel=1e-3
    )
    assert part.count("<svg") == 4 and part.count('class="joint"') == 6


def test_results_that_cannot_be_compared_are_shown_with_the_reason(results):
    def refuse(files, protocols, seed):
        raise HandtoolError("b.h5 holds <other> hands")

    html, _ = report(results, ReportConfig(), grey, refuse)
    assert "Not compared hand by hand: b.h5 holds &lt;other&gt; hands." in html and "Against" not in html


def test_results_of_one_name_are_told_apart(results, handtool, tmp_path):
    for folder, name in (("a", "first"), ("b", "worse")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "result.h5").write_bytes((tmp_path / f"{name}-result.h5").read_bytes())
    moved = [option for name in ("test", "first", "worse") for option in ("--linked", tmp_path / f"{name}.h5")]
    done = handtool("report", "a/result.h5", "b/result.h5", "a/result.h5", *moved, "-o", "r.html")
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "r.html").read_text()
    part = page[page.index('id="comparison"') : page.index('id="results"')]
    names = re.findall(r"<tr><td[^>]*>([^<]*)</td>", part)[:3]
    assert [name.rpartition("a/")[2] for name in names[::2]] == ["result (1)", "result (2)"] and names[1].endswith(
        "b/result"
    )
    assert part.count("<polyline") == 6, "no curve hides another's name"
    assert "Not compared" not in part


def test_a_protocol_under_which_a_result_has_no_figure_is_not_compared(results, tmp_path):
    with store.create_file(tmp_path / "none.h5", record("handtool eval")) as sink:
        nothing = {"alignment": "similarity", "hands": 0, "mean_mm": float("nan")}
        store.write_metrics(sink, {"pa_mpjpe": nothing, "mpjpe_root": nothing}, {})
        sink.finish({})
    with store.open_file(tmp_path / "none.h5") as none:
        html, told = report([results[0], none], ReportConfig(), grey, alone)
    assert "Comparison" not in told["sections"] and "nan" not in html


def test_equal_steps_of_several_files_are_one_bar(results):
    html, _ = report(results, ReportConfig(), grey, compare_results)
    funnel = html[html.index("Counts after each step") : html.index("What each step gave")]
    assert funnel.count("eval: hands") == 1
    assert funnel.count("first-result.h5, worse-result.h5, better-result.h5") == 1


def test_long_names_keep_their_ends():
    assert (
        cut("result-simhand-0.1-1", 11) == "resul…0.1-1" and len(cut("x" * 99, 10)) == 10 and cut("short", 5) == "short"
    )


def test_what_comes_from_files_is_escaped(files):
    html, _ = report(files, ReportConfig(), grey, alone)
    assert "hands &amp; &lt;b&gt;.h5" in html and "hands & <b>" not in html
    assert "no &lt;i&gt;other&lt;/i&gt; video: 2" in html


def test_each_step_is_told_once_however_many_files_share_it(files):
    chain = join_chains(files)
    assert [entry["program"] for entry in chain].count("handtool test") == 1 and len(chain) == 4
    assert len(join_chains(files[:2])) == 2


def test_pictures_beyond_the_limit_are_left_out_and_counted(files):
    html, told = report(files, ReportConfig(max_bytes=200_000), noise, alone)
    assert told["pictures_left_out"] == 3 - html.count("data:image/jpeg") > 0
    assert "left out" in html


def test_pck_curves_are_the_means_over_the_joints():
    thresholds = np.linspace(0, 50, 11)
    by_joint = np.random.default_rng(0).uniform(size=(21, 11))
    pck = {
        "pa_mpjpe_0_50mm": by_joint,
        "st_mpjpe_20_50mm": by_joint,
        "thresholds_0_50mm": thresholds,
        "thresholds_20_50mm": thresholds,
    }
    curves = pck_curves(pck)
    assert list(curves) == ["pa_mpjpe"] and np.allclose(curves["pa_mpjpe"][1], by_joint.mean(0))


def test_the_command_writes_the_page(handtool, tmp_path):
    make_file(tmp_path / "a.h5", (3, 2), ("keypoints", "labels"))
    done = handtool("report", "a.h5", "-o", "r.html", "--json")
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "r.html").read_text()
    assert page.startswith("<!doctype html>") and page.count("data:image/jpeg") == 2
    assert handtool("report", "a.h5").returncode == 0
    assert handtool("report", "missing.h5", "-o", "x.html").returncode == 1
