"""Pictures: marks lie where the data is, text is drawn whatever its letters, sheets hold every tile."""

import cv2
import numpy as np
import pytest

from handtool.render.canvas import ACCENT, PAPER, blank, decode, encode_png, shorten, text_width, write
from handtool.render.choose import choose_anchors, choose_by_video, choose_hands, choose_lowest, choose_ranked
from handtool.render.curves import curve_sheet
from handtool.render.embedding_map import choose_thumbnails, draw_map, group_colours, place_points
from handtool.render.plots import nice_ticks, plot_curve, smooth
from handtool.render.sheet import Tile, contact_sheet
from handtool.render.skeleton import FINGER_COLOURS, draw_skeleton, joint_colours, scale_points
from handtool.render.space import draw_space, turn


def a_hand(side=120):
    angle = np.linspace(-0.7, 0.7, 5)
    points = [np.array([side / 2, side * 0.9])]
    for a in angle:
        points += [points[0] + r * side * np.array([np.sin(a), -np.cos(a)]) for r in (0.25, 0.4, 0.55, 0.7)]
    return np.array(points)


def distance_to(image, point, colour):
    return np.abs(image[int(round(point[1])), int(round(point[0]))].astype(int) - colour).max()


def test_each_joint_is_marked_in_its_fingers_colour_where_it_is():
    tile = np.full((120, 120, 3), 90, np.uint8)
    points = a_hand()
    draw_skeleton(tile, points)
    for joint, colour in enumerate(joint_colours()):
        assert distance_to(tile, points[joint], colour) < 30, joint
    assert len(set(FINGER_COLOURS.values())) == 5


def test_joints_that_are_not_valid_or_not_finite_leave_no_mark():
    tile = np.full((120, 120, 3), 90, np.uint8)
    points = a_hand()
    draw_skeleton(tile, points, valid=np.zeros(21, bool))
    assert (tile == 90).all()
    points[:] = np.nan
    points[3] = 1e12
    draw_skeleton(tile, points)
    assert (tile == 90).all()


def test_hidden_joints_are_open_rings():
    seen, hidden = (np.full((200, 200, 3), 90, np.uint8) for _ in range(2))
    points = a_hand(200)
    draw_skeleton(seen, points)
    draw_skeleton(hidden, points, visible=np.zeros(21, bool))
    assert (
        distance_to(hidden, points[8], np.array(FINGER_COLOURS["index"]))
        > 60
        > distance_to(seen, points[8], np.array(FINGER_COLOURS["index"]))
    )


def test_points_of_a_crop_land_on_the_same_spot_of_a_larger_tile():
    crop = np.zeros((64, 64, 3), np.uint8)
    crop[40, 20] = 255
    large = cv2.resize(crop, (256, 256), interpolation=cv2.INTER_LINEAR)
    v, u = np.unravel_index(large[..., 0].argmax(), (256, 256))
    assert np.abs(scale_points(np.array([20.0, 40.0]), 64, 256) - [u, v]).max() <= 1


def test_a_hand_in_space_fits_its_panel_and_missing_joints_do_no_harm():
    rng = np.random.default_rng(0)
    joints = rng.normal(0, 0.05, (21, 3)) + [0, 0, 0.5]
    panel = draw_space(joints, 150, joints + 0.02)
    assert panel.shape == (150, 150, 3) and (panel != PAPER).any(2).sum() > 300
    assert (draw_space(np.full((21, 3), np.nan), 150) != PAPER).any(2).sum() < 700, "only the frame"


def test_a_hand_is_turned_as_its_captions_say():
    right, down, far = np.eye(3)
    assert np.allclose(turn(np.stack([right, down, far]), 0), [[1, 0], [0, 1], [0, 0]]), "from the camera"
    assert np.allclose(turn(far, 90), [1, 0]) and np.allclose(turn(down, 90), [0, 1]), "from the side, far is right"
    assert np.allclose(turn(far, 0, 90), [0, -1]) and np.allclose(turn(right, 0, 90), [1, 0]), "from above, far is up"
    joints = np.random.default_rng(0).normal(size=(21, 3))
    whole = np.concatenate(
        [turn(joints, 37), (joints @ [-np.sin(np.deg2rad(37)), 0, np.cos(np.deg2rad(37))])[:, None]], 1
    )
    assert np.allclose(np.linalg.norm(whole, axis=1), np.linalg.norm(joints, axis=1)), "turned, not stretched"


def test_text_is_drawn_at_the_border_and_in_foreign_letters_too():
    page = blank(60, 100)
    write(page, "left out at the right edge", 60, 30)
    write(page, "naïve 手 \N{WAVING HAND SIGN}", -20, 50)
    write(page, "above", 10, 1)
    assert (page[20:34, 60:] != PAPER).any() and (page[40:55, :60] != PAPER).any()
    assert page.shape == (60, 100, 3)


def test_a_long_name_keeps_its_end():
    short = shorten("a/very/long/path/of/folders/video-0012.mp4", 90, 8)
    assert short.startswith("...") and short.endswith("12.mp4") and text_width(short, 8) <= 90
    assert shorten("short", 90, 8) == "short"


def test_a_contact_sheet_shows_every_tile():
    colours = [(int(10 * i), 40, 200) for i in range(7)]
    tiles = [Tile(np.full((50, 50, 3), colour, np.uint8), f"name {i}", "detail") for i, colour in enumerate(colours)]
    sheet = contact_sheet(tiles, 3, "title", "subtitle")
    for colour in colours:
        assert (sheet == colour).all(2).sum() == 2500
    bare = contact_sheet([Tile(t.image) for t in tiles], 3, "title", "subtitle")
    assert bare.shape[0] < sheet.shape[0]


def test_bytes_that_are_no_picture_become_a_grey_tile():
    assert decode(b"\xff\xd8 broken", 40).shape == (40, 40, 3)
    jpeg = cv2.imencode(".jpg", np.full((20, 20, 3), (0, 0, 255), np.uint8))[1].tobytes()
    red = decode(jpeg, 40)
    assert red[20, 20, 0] > 200 > 60 > red[20, 20, 2], "RGB, not BGR"
    back = cv2.imdecode(np.frombuffer(encode_png(red), np.uint8), cv2.IMREAD_COLOR)
    assert np.array_equal(back[..., ::-1], red)


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-3, 7), (0.0012, 0.0019), (5, 5), (100, 123456)])
def test_ticks_are_round_numbers_within_the_range(low, high):
    ticks = nice_ticks(low, high)
    assert ticks == sorted(ticks) and all(low - 1e-9 <= t <= high + 1e-9 for t in ticks) and 1 <= len(ticks) <= 11
    assert nice_ticks(float("nan"), 1) == []


def test_the_running_mean_is_the_slow_one():
    values = np.random.default_rng(0).normal(size=101)
    slow = [values[max(0, i - 2) : i + 3].mean() for i in range(101)]
    assert np.allclose(smooth(values, 0.04), slow)


@pytest.mark.parametrize(
    "values", [np.array([]), np.array([np.nan, np.inf]), np.array([1.0]), np.zeros(9), np.arange(100.0)]
)
def test_curves_of_anything_are_drawn(values):
    assert (plot_curve(np.arange(len(values)), values, "t", "s") != PAPER).any()


def test_every_column_of_a_training_that_holds_numbers_has_its_panel():
    step = np.arange(60)
    columns = {"step": step, "loss": 5 - step / 20, "learning_rate": np.ones(60), "seconds": step / 10.0}
    plain = curve_sheet(columns, "t", "s")
    more = curve_sheet(columns | {"positive_similarity": step / 60, "negative_similarity": step / 99}, "t", "s")
    unknown = curve_sheet(columns | {"validation_mm": np.full(60, np.nan)}, "t", "s")
    assert more.shape[0] > plain.shape[0] == unknown.shape[0]


def test_a_falling_curve_falls_on_the_page():
    page = plot_curve(np.arange(200), np.linspace(5, 1, 200), "t", "s")
    rows, columns = np.nonzero((np.abs(page.astype(int) - ACCENT).max(2)) < 10)
    assert rows[columns < 200].mean() + 100 < rows[columns > 700].mean()


def test_thumbnails_do_not_overlap_and_stray_points_stay_on_the_map():
    rng = np.random.default_rng(0)
    xy = np.concatenate([rng.normal(size=(300, 2)), [[1e6, 0]]])
    points = place_points(xy)
    assert (points >= 0).all() and (points[:, 0] <= 1200).all() and (points[:, 1] <= 900).all()
    chosen = choose_thumbnails(points, np.arange(301), 40, 50)
    gaps = np.abs(points[chosen][:, None] - points[chosen]).max(2) + 1e9 * np.eye(len(chosen))
    assert gaps.min() >= 42 and 20 < len(chosen) <= 50
    tiles = {row: np.zeros((40, 40, 3), np.uint8) for row in chosen}
    assert draw_map(points, rng.integers(0, 5, 301), tiles, "t", "s", ("x", "y")).shape == (900, 1200, 3)
    assert len(np.unique(group_colours(np.arange(12)).round(), axis=0)) == 12


def test_anchors_of_every_kind_are_chosen_once_each():
    rng = np.random.default_rng(0)
    distance, video, partner = rng.uniform(size=400), rng.integers(0, 40, 400), rng.integers(0, 40, 400)
    groups = dict(choose_anchors(distance, video, partner, rng, 12))
    assert list(groups) == ["best", "median", "worst", "random"]
    places = np.concatenate(list(groups.values()))
    assert len(places) == len(set(places.tolist())) == 12
    assert (
        distance[groups["best"]].max()
        < distance[groups["median"]].min()
        <= distance[groups["median"]].max()
        < distance[groups["worst"]].min()
    )
    assert distance.argmin() in groups["best"] and distance.argmax() in groups["worst"]
    assert len(set(video[places].tolist())) == 12, "of twelve videos"


def test_a_pair_and_its_mirror_are_not_both_shown_where_there_are_others():
    distance, video, partner = np.array([0.1, 0.1, 0.5, 0.9]), np.array([0, 1, 2, 3]), np.array([1, 0, 3, 0])
    groups = dict(choose_anchors(distance, video, partner, np.random.default_rng(0), 2))
    assert groups["best"].tolist() == [0] and groups["median"].tolist() == [2]
    few = choose_anchors(distance[:2], video[:2], partner[:2], np.random.default_rng(0), 12)
    assert sum(len(places) for _, places in few) == 2, "but all where there are no others"


def test_hands_are_chosen_as_asked():
    rng = np.random.default_rng(0)
    rows, video = np.arange(100, 160), np.repeat([3, 5, 9], 20)
    assert len(set(choose_hands(rows, rng, 10).tolist())) == 10 and len(choose_hands(rows, rng, 1000)) == 60
    by_video = choose_by_video(rows, video, rng, 8, 4)
    assert len(by_video) == 8 and len({v for r, v in zip(rows, video, strict=True) if r in by_video}) == 2
    score = rng.uniform(size=60)
    assert choose_lowest(rows, score, 3).tolist() == rows[np.argsort(score)[:3]].tolist()
    ranked = dict(choose_ranked(np.array([4.0, np.nan, 1, 9, 2]), np.arange(5), 2))
    assert ranked["worst"].tolist() == [3, 0] and ranked["best"].tolist() == [2, 4] and 1 not in ranked["median"]
    spread = dict(choose_ranked(np.array([4.0, np.nan, 1, 9, 2]), np.array([0, 0, 0, 1, 1]), 2))
    assert spread["worst"].tolist() == [3, 0] and spread["best"].tolist() == [2, 4], "of two videos"
