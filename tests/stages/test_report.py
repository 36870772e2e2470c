"""report: one page from real files, with everything that they hold and nothing from outside."""

import json
import re
import zlib
from xml.etree.ElementTree import fromstring as parse

import h5py
import numpy as np
import pytest
from making import make_file, make_result, record

from handtool import store
from handtool.config import ReportConfig
from handtool.errors import HandtoolError
from handtool.render.motion_charts import TrackOverTime, coverage_chart
from handtool.render.scores import pck_curves
from handtool.render.svg import cut
from handtool.sources.frame import Sampling
from handtool.sources.reopen import interval_of, sampling_of, tick_of
from handtool.sources.ticks import Ticks
from handtool.stages.eval import compare_results
from handtool.stages.report import join_chains, report
from handtool.store import CURVE, PAIRS, PREDICTIONS


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
        make_result(tmp_path / f"{name}-result.h5", test, mm)
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
    names = ("test", "first-result-predictions", "worse-result-predictions")
    moved = [option for name in names for option in ("--linked", tmp_path / f"{name}.h5")]
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


# frames of the tracks 0 and 1 of the first video, and of 0 of the second
FRAMES = ((0, 1, 2, 3, 6, 7, 8, 9, 10, 11), (2, 3, 5, 6), (4, 5, 6))


def overwrite(path, **columns):
    """Other values in some columns of crops and videos (`videos_fps`), with their checksums."""
    with h5py.File(path, "r+") as file:
        for name, values in columns.items():
            dataset = file["videos/fps" if name == "videos_fps" else f"crops/{name}"]
            dataset[...] = values
            dataset.attrs["crc32"] = np.uint32(zlib.crc32(dataset[...].tobytes()))


def make_motion(path, smoothing=None, report=None, every=1):
    """Three tracks of a hand that moves evenly to the right at 10 frames/s, its palm turning about y by 3 degrees a
    frame, with predictions of them."""
    counts = [len(frames) for frames in FRAMES]
    crops = make_file(path.with_suffix(".crops.h5"), (counts[0] + counts[1], counts[2]), every=every, fps=1.0)
    frame = np.concatenate(FRAMES)
    track = np.repeat([0, 1, 0], counts)
    overwrite(crops, frame=frame, time=frame / 10, track=track, side=np.repeat([0, 1, 0], counts), videos_fps=10)
    hand = np.random.default_rng(5).uniform(-0.05, 0.05, (21, 3))
    hand -= hand[0]
    angle = np.deg2rad(3.0 * frame)
    turn = np.zeros((len(frame), 3, 3))
    turn[:, 0, 0], turn[:, 0, 2], turn[:, 2, 0], turn[:, 2, 2] = (
        np.cos(angle),
        np.sin(angle),
        -np.sin(angle),
        np.cos(angle),
    )
    turn[:, 1, 1] = 1
    joints = hand @ turn.swapaxes(1, 2) + np.stack([0.01 * frame, 0 * frame, 0 * frame + 0.5], 1)[:, None]
    with store.open_file(crops) as source, store.create_file(path, record("handtool predict"), [source]) as sink:
        keypoints = np.random.default_rng(6).uniform(10, 50, (1, 21, 2)) + np.zeros((len(frame), 1, 1))
        columns = dict(
            joints=joints,
            keypoints=keypoints,
            valid=np.ones(len(frame), bool),
            absolute=np.ones(len(frame), bool),
            scale=np.full(len(frame), 0.03),
        )
        attrs = {"scale_source": "mean"} | ({"smoothing": smoothing} if smoothing else {})
        store.write_table(sink, PREDICTIONS, columns, attrs)
        sink.inherit(source)
        sink.finish(report or {})
    return path


def motion_of(path) -> str:
    with store.open_file(path) as file:
        html, told = report([file], ReportConfig(), grey, alone)
    assert "Motion" in told["sections"]
    return html[html.index('id="motion"') : html.index('id="pictures"')]


def test_the_coverage_of_every_track_is_drawn_over_time_and_counted(tmp_path):
    part = motion_of(make_motion(tmp_path / "hands.h5"))
    charts = [parse(svg) for svg in re.findall(r"<svg.*?</svg>", part)]
    assert [chart.get("aria-label") for chart in charts[:2]] == [f"Tracks of video {v} over time" for v in (0, 1)]
    bars = [(bar.get("class"), float(bar.get("x")), float(bar.get("width"))) for bar in charts[0].iter("rect")][:-2]
    second = (480 - 24) / 1.2  # the chart spans 0 to 1.2 s
    expected = [("bar", 0.0, 0.4), ("bar", 0.6, 0.6), ("bar lost", 0.4, 0.2)]
    expected += [("bar", 0.2, 0.2), ("bar", 0.5, 0.2), ("bar lost", 0.4, 0.1)]
    for (kind, x, width), (known, begin, lasts) in zip(bars, expected, strict=True):
        assert kind == known and x == pytest.approx(12 + begin * second, abs=0.2)
        assert width == pytest.approx(lasts * second, abs=0.2)
    words = [text.text for text in charts[0].iter("text")]
    assert {"track 0, left", "10 frames, 2 lost", "track 1, right", "4 frames, 1 lost"} < set(words)
    cells = dict(re.findall(r"<td[^>]*>([^<]*)</td><td class=n[^>]*>([^<]*)</td>", part))
    assert cells["tracks"] == "3" and cells["hands found at the first look"] == "17"
    assert cells["hands lost between"] == "3" and cells["coverage, %"] == "85"


def test_a_hand_found_at_a_second_look_has_its_own_colour(tmp_path):
    found = np.zeros(10, bool)
    found[3:5] = True
    track = TrackOverTime(0, 0, np.arange(10) / 10, np.arange(10), found, 0.1)
    assert [(round(a, 2), round(b, 2), again) for a, b, again in track.runs()] == [
        (0, 0.3, False),
        (0.3, 0.5, True),
        (0.5, 1.0, False),
    ]
    kinds = [bar.get("class") for bar in parse(coverage_chart([track], "c")).iter("rect")]
    assert kinds.count("bar again") == 2 and "looked again" in coverage_chart([track], "c")


def test_paths_and_turns_are_plotted_and_broken_where_the_hand_was_lost(tmp_path):
    part = motion_of(make_motion(tmp_path / "hands.h5"))
    charts = {svg.get("aria-label"): svg for svg in map(parse, re.findall(r"<svg.*?</svg>", part))}
    name = "video 0, track 0, left: "
    path = charts[name + "path of the wrist, seen from the camera"]
    lines = [[tuple(map(float, p.split(","))) for p in line.get("points").split()] for line in path.iter("polyline")]
    assert [len(line) for line in lines] == [4, 6] * 3, "three axes, before and after the gap"
    steps = np.diff([x for x, _ in lines[0]])
    assert np.allclose(steps, steps[0], atol=0.15) and np.ptp([y for _, y in lines[2]]) < 0.2, "y does not change"
    rises = -np.diff([y for _, y in lines[0]])
    assert (rises > 0).all() and np.allclose(rises, rises.mean(), atol=0.15)
    turn = charts[name + "turn of the palm from its mean direction"]
    lines = [[tuple(map(float, p.split(","))) for p in line.get("points").split()] for line in turn.iter("polyline")]
    about_x, about_y = (np.concatenate([lines[i], lines[i + 1]]) for i in (0, 2))
    ticks = {
        float(t.text): float(t.get("y"))
        for t in turn.iter("text")
        if t.get("text-anchor") == "end" and t.get("class") == "tick"
    }
    (low, y_low), *_, (high, y_high) = sorted(ticks.items())
    degrees = (about_y[:, 1] - (y_low - 4)) / (y_high - y_low) * (high - low) + low
    expected = 3.0 * np.array(FRAMES[0])
    np.testing.assert_allclose(degrees - degrees.mean(), expected - expected.mean(), atol=0.3)
    assert np.ptp(about_x[:, 1]) < 0.3


def test_trembling_is_told_as_the_smoothing_step_counted_it_or_as_it_would_be(tmp_path):
    settings = json.dumps({"min_cutoff_hz": 1.0, "beta_hz_per_m_per_s": 30.0, "derivative_cutoff_hz": 1.0})
    counted = {
        "before": {"frames": 40, "wrist_mm": 4.5, "pose_mm": 2.25},
        "after": {"frames": 40, "wrist_mm": 1.125, "pose_mm": 0.75},
    }
    part = motion_of(make_motion(tmp_path / "smooth.h5", settings, {"still_hands": counted}))
    assert all(f">{mm}<" in part for mm in ("4.5", "2.25", "1.125", "0.75"))
    assert "40 frames. One-Euro filter at 1 Hz + 30 Hz per m/s, as predict --smooth applied it" in part
    assert "not known by how much" in motion_of(make_motion(tmp_path / "old.h5", settings))
    assert "as predict --smooth would apply it" in motion_of(make_motion(tmp_path / "raw.h5"))


def test_the_main_protocols_come_first(results):
    html, _ = report(results[:1], ReportConfig(), grey, alone)
    part = html[html.index('id="results"') :]
    tables = [re.findall(r"<tr><td[^>]*>([^<]*)</td>", table) for table in re.findall(r"<table.*?</table>", part)]
    assert tables[0] == ["pa_mpjpe", "mpjpe_root"] and len(tables[1]) > 2 and not set(tables[0]) & set(tables[1])


def test_every_bar_of_joined_runs_has_the_name_of_its_file(tmp_path, handtool):
    for name, count in (("first", 3), ("second", 4)):
        make_file(tmp_path / f"{name}.h5", (count, count))
        done = handtool("embed", f"{name}.h5", "--dim", "4", "-o", f"{name}-embedded.h5")
        assert done.returncode == 0, done.stderr
    opened = [store.open_file(tmp_path / f"{name}-embedded.h5") for name in ("first", "second")]
    html, _ = report(opened, ReportConfig(), grey, alone)
    for file in opened:
        file.close()
    funnel = parse(re.search(r"<svg[^>]*Counts after each step.*?</svg>", html).group())
    words = [text.text for text in funnel.iter("text")]
    assert words == ["embed: hands", "first-embedded.h5", "6", "second-embedded.h5", "8"]


@pytest.mark.parametrize("sampling", [Sampling(every=3), Sampling(fps=4.0), Sampling(fps=12.0), Sampling(fps=60.0)])
def test_ticks_number_the_frames_that_were_looked_at(sampling):
    fps, frames = 25.0, np.arange(200)
    ticks = Ticks(sampling.fps, sampling.every)
    kept = np.array([number for number in frames if ticks.meets(number, number / fps)])
    assert (np.diff(tick_of(sampling, fps, kept, kept / fps)) == 1).all()
    assert interval_of(sampling, fps) == pytest.approx(np.diff(kept / fps).mean(), rel=0.02)


def step(verb, uuid, parents="", **config):
    return {"program": f"handtool {verb}", "uuid": uuid, "parents": parents, "config": config}


def test_the_choice_of_frames_is_that_of_the_step_that_cut_the_hands_out():
    train = [step("extract", "t", fps=1.0, every=None), step("finetune", "m", "t")]
    filmed = step("predict", "p", "m", fps=None, every=1)
    assert sampling_of([*train, filmed]) == Sampling(every=1), "not that of the model's training hands"
    crops = step("extract", "c", fps=5.0, every=None)
    assert sampling_of([crops]) == Sampling(fps=5.0)
    assert sampling_of([*train, crops, step("predict", "q", "c m", bone="auto")]) == Sampling(fps=5.0), "by pipe"
    joined = step("cat", "j", "c d", link=False)
    assert sampling_of([crops, crops | {"uuid": "d"}, joined]) == Sampling(fps=5.0)
    assert sampling_of([crops, step("extract", "d", fps=2.0, every=None), joined]) is None
    assert sampling_of([crops, step("split", "s", "c", by="row")]) is None
    assert sampling_of([crops, step("split", "s", "c", by="row"), step("cat", "j", "c s", link=False)]) is None
    assert sampling_of([]) is None and sampling_of([step("synth", "y", fps=25.0)]) is None
