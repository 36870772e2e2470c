"""Charts and pages: well-formed, nothing from outside, everything escaped."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from handtool.render.page import as_text, figure, page, picture, shell, table
from handtool.render.svg import (
    LEFT,
    MAX_POINTS,
    RIGHT,
    WIDTH,
    curve_chart,
    funnel_chart,
    hand_chart,
    histogram_chart,
    intervals_chart,
    shares_chart,
)

NASTY = "<script>alert(\"x\")</script> & 'q'"


def parse(svg):
    return ElementTree.fromstring(svg)


def test_charts_are_well_formed_and_name_what_they_show():
    rng = np.random.default_rng(0)
    charts = [
        curve_chart(np.arange(3000), rng.normal(size=3000), NASTY),
        histogram_chart(rng.normal(size=500), NASTY, "n", NASTY),
        funnel_chart([(NASTY, [(NASTY, 100, NASTY), ("b", 3, "")]), ("hands", [("", 0, "")])], NASTY),
        intervals_chart([(NASTY, 3.0, 2.0, 5.0), ("b", 4.0, np.nan, np.nan)], NASTY, NASTY),
        hand_chart(np.arange(21.0), NASTY),
        shares_chart({NASTY: (np.linspace(0, 50, 100), np.linspace(0, 1, 100))}, "mm", NASTY),
    ]
    for chart in charts:
        assert parse(chart).get("aria-label") == NASTY
        assert "<script" not in chart


def test_a_long_curve_is_thinned_and_spans_the_whole_chart():
    lines = parse(curve_chart(np.arange(5000), np.linspace(9, 1, 5000), "loss")).findall("polyline")
    points = [[tuple(map(float, p.split(","))) for p in line.get("points").split()] for line in lines]
    assert all(len(p) == MAX_POINTS for p in points)
    assert points[0][0][0] == pytest.approx(LEFT) and points[0][-1][0] == pytest.approx(WIDTH - RIGHT)
    assert points[0][0][1] < points[0][-1][1], "larger losses stand higher"


def test_bars_of_a_histogram_are_as_high_as_its_counts():
    values = np.repeat([1.0, 2.0, 3.0], [10, 20, 5])
    heights = [float(rect.get("height")) for rect in parse(histogram_chart(values, "x", "n", "h")).findall("rect")]
    assert np.allclose(np.array(heights) / max(heights), [0.5, 1, 0.25], atol=0.01)


@pytest.mark.parametrize("values", [np.array([]), np.array([np.nan]), np.array([2.0]), np.zeros(5)])
def test_charts_of_almost_nothing_do_not_fail(values):
    assert histogram_chart(values, "x", "n", "h") and curve_chart(np.arange(len(values)), values, "c")


def test_a_page_escapes_everything_and_asks_for_nothing():
    body = (
        table([NASTY, "n"], [[NASTY, 1234], ["b", None]])
        + shell([NASTY])
        + figure(picture(b"\xff\xd8", 3, 4, NASTY), NASTY)
    )
    html = page(NASTY, NASTY, [(NASTY, body)])
    assert "<script" not in html and "alert(&quot;" in html
    assert not re.search(r"(src|href)=[\"']?(https?:|//)", html) and "@import" not in html and "url(" not in html
    assert "1,234" in html and '<td class=n data-of="n">–</td>' in html
    assert "prefers-color-scheme: dark" in html and "@media print" in html


def test_no_chart_is_wider_than_a_narrow_screen_can_show():
    """Text of 14 units on 480 is 10 px high on the 358 px that a phone leaves."""
    name = "a-long-name-of-a-result-file-with-its-settings-0.1-and-its-seed-7"
    charts = [
        funnel_chart([("extract: hands", [(name, 100, "no hand found: 38, not sampled: 70, " * 4)])], "f"),
        intervals_chart([(name, 3.0, 2.0, 5.0)], "mm", "i"),
        shares_chart({name: (np.arange(9), np.arange(9) / 8), "b": (np.arange(9), np.arange(9) / 8)}, "mm", "s"),
    ]
    for chart in map(parse, charts):
        assert chart.get("viewBox").split()[2] == str(WIDTH) == "480"
        for text in chart.iter("text"):
            width, x = 7 * len(text.text), float(text.get("x"))
            start = {"end": x - width, "middle": x - width / 2}.get(text.get("text-anchor"), x)
            assert start > -15 and start + width < WIDTH + 15, text.text


def test_a_wide_table_becomes_cards_in_which_every_figure_is_named():
    rows = [["pa", 1.5, "1 to 2", 9], ["root", 3.0, "", 8]]
    html = table(["protocol", "mean, mm", "95 %", "hands"], rows)
    wide = parse(re.sub(r"class=(\w+)", r"class='\1'", html))
    cards = wide.find("table")
    assert cards.get("class") == "cards"
    for row in cards.find("tbody"):
        assert [cell.get("data-of") for cell in row] == ["protocol", "mean, mm", "95 %", "hands"]
    narrow = table(["axis", "before, mm", "after, mm"], [["x", 1.0, 2.0]])
    assert "cards" not in narrow, "three columns fit on 390 px"
    style = page("t", "l", []).split("@media (max-width: 44rem)")[1]
    assert "content: attr(data-of)" in style and ".cards thead { display: none; }" in style


def test_figures_are_written_as_people_read_them():
    assert [as_text(v) for v in (True, 12345, 3.14159, None, "a")] == ["yes", "12,345", "3.142", "–", "a"]
