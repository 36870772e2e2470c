"""report: one page from real files, with everything that they hold and nothing from outside."""

import re

import numpy as np
import pytest
from making import make_file, record

from handtool import store
from handtool.config import ReportConfig
from handtool.render.scores import pck_curves
from handtool.stages.report import join_chains, report
from handtool.store import CURVE, PAIRS


def grey(file, kind):
    return np.full((40, 60, 3), 128, np.uint8)


def noise(file, kind):
    return np.random.default_rng(0).integers(0, 255, (400, 600, 3), dtype=np.uint8)


@pytest.fixture
def files(tmp_path):
    """Hands, pairs of them, an encoder and a result, under a name that wants to be escaped."""
    hands = make_file(tmp_path / "hands & <b>.h5", (5, 4), ("keypoints", "embeddings"))
    with store.open_file(hands) as source, store.create_file(tmp_path / "pairs.h5", record("handtool mine", topk=2), [source]) as sink:
        anchor = np.repeat(np.arange(9), 2)
        columns = {"anchor": anchor, "positive": (anchor + 3) % 9, "distance": np.linspace(0, 1, 18), "rank": np.tile([1, 2], 9)}
        store.write_table(sink, PAIRS, {**columns, "anchor_offset": np.arange(10) * 2}, {"topk": 2, "index": "exact", "pool_uuid": ""})
        sink.inherit(source)
        lost = {"what": "hands", "in": 9, "done": 7, "skipped": {"no <i>other</i> video": 2}, "failed": {}}
        sink.finish({"accounting": [lost], "pairs": 18})
    with store.create_file(tmp_path / "encoder.h5", record("handtool pretrain")) as sink:
        step = np.arange(30)
        store.write_table(sink, CURVE, {"step": step, "loss": 5 - step / 20, "learning_rate": np.ones(30), "seconds": step / 10})
        sink.finish({})
    with store.create_file(tmp_path / "result.h5", record("handtool eval")) as sink:
        figures = {"alignment": "wrist on wrist", "hands": 9, "mean_mm": 21.37, "auc_0_50mm": 0.61, "failed": 0, "scale_source": "truth"}
        curves = {"pck/mpjpe_root_0_50mm": np.linspace(0, 1, 100), "pck/thresholds_0_50mm": np.linspace(0, 50, 100)}
        store.write_metrics(sink, {"mpjpe_root": figures}, curves)
        sink.finish({})
    names = ("hands & <b>.h5", "pairs.h5", "encoder.h5", "result.h5")
    opened = [store.open_file(tmp_path / name) for name in names]
    yield opened
    for file in opened:
        file.close()


def test_the_page_holds_every_part_and_asks_for_nothing_outside(files):
    html, told = report(files, ReportConfig(), grey)
    assert told["sections"] == ["Files", "From start to end", "Pairs", "Training", "Results", "Pictures", "How it was made"]
    assert html.count("<svg") == 5 and html.count("data:image/jpeg;base64,") == 3
    assert "mpjpe_root" in html and "21.37" in html and "wrist on wrist" in html
    assert not re.search(r"(src|href)=[\"']?(https?:|//)", html) and "<script" not in html


def test_what_comes_from_files_is_escaped(files):
    html, _ = report(files, ReportConfig(), grey)
    assert "hands &amp; &lt;b&gt;.h5" in html and "hands & <b>" not in html
    assert "no &lt;i&gt;other&lt;/i&gt; video: 2" in html


def test_each_step_is_told_once_however_many_files_share_it(files):
    chain = join_chains(files)
    assert [entry["program"] for entry in chain].count("handtool test") == 1 and len(chain) == 4
    assert len(join_chains(files[:2])) == 2


def test_pictures_beyond_the_limit_are_left_out_and_counted(files):
    html, told = report(files, ReportConfig(max_bytes=200_000), noise)
    assert told["pictures_left_out"] == 3 - html.count("data:image/jpeg") > 0
    assert "left out" in html


def test_pck_curves_are_the_means_over_the_joints():
    thresholds = np.linspace(0, 50, 11)
    by_joint = np.random.default_rng(0).uniform(size=(21, 11))
    pck = {"pa_mpjpe_0_50mm": by_joint, "st_mpjpe_20_50mm": by_joint, "thresholds_0_50mm": thresholds, "thresholds_20_50mm": thresholds}
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
