"""ONNX estimators: whatever their layout, the keypoints come back in pixels of the crop, the hand as seen."""

import numpy as np
import pytest

pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: pip install 'handtool[onnx]'")
pytest.importorskip("onnx", reason="onnx is not installed: pip install 'handtool[onnx]'")
from types import SimpleNamespace

from onnx_models import make_onnx

from handtool.errors import HandtoolError
from handtool.hands.skeleton import FROM_MANO, LEFT, RIGHT, UNKNOWN
from handtool.vision.contracts import HandCrop
from handtool.vision.onnx_keypoints import OnnxKeypoints, find_layout, from_heatmaps, from_regression, from_simcc
from handtool.vision.onnx_session import Network, find_size, is_channels_last
from handtool.vision.onnx_settings import KeypointSettings
from handtool.vision.resample import placement, resample

INPUT = SimpleNamespace(width=96, height=64, path="m.onnx")
PLAIN = ("mean=0", "std=1")
DOWN = np.stack(
    [np.zeros(21), np.arange(21.0)], axis=1
)  # the test model's i-th keypoint lies i px of its input below the spot


def spot(x: int, y: int, size: int = 128, **more) -> HandCrop:
    """A crop with a red square of 13 px around (x, y)."""
    image = np.full((size, size, 3), 20, np.uint8)
    image[y - 6 : y + 7, x - 6 : x + 7, 0] = 255
    return HandCrop(image, **more)


@pytest.mark.parametrize("layout", ["regression", "heatmap", "simcc"])
def test_the_layout_is_told_by_its_shape_and_points_lie_where_they_are_on_the_crop(tmp_path, layout):
    estimator = OnnxKeypoints(make_onnx(tmp_path / "k.onnx", layout), PLAIN)
    spots = [(40, 60), (70, 30), (61, 90)]
    found = estimator.find_keypoints([spot(*place) for place in spots])
    assert estimator.layout == layout
    for place, (xy, score, _) in zip(spots, found, strict=True):
        expected = np.array(place) + (
            2 * DOWN if layout == "regression" else 0
        )  # a px of the input is 2 px of the crop
        off = 2 if layout == "regression" else 7  # anywhere on the spot is a maximum of its own picture
        assert np.abs(xy - expected).max() <= off and score.shape == (21,) and (score <= 1).all()


@pytest.mark.parametrize("side", [LEFT, RIGHT, UNKNOWN])
def test_a_model_of_right_hands_sees_left_ones_mirrored_and_they_come_back_as_seen(tmp_path, side):
    image = np.full((64, 64, 3), 20, np.uint8)
    image[20:24, 6:10] = 255  # first from the left
    image[20:24, 50:60, 0] = 255
    model = make_onnx(tmp_path / "k.onnx", "regression")
    [(plain, *_)] = OnnxKeypoints(model, (*PLAIN, "side=seen")).find_keypoints([HandCrop(image, side=side)])
    [(right, *_)] = OnnxKeypoints(model, (*PLAIN, "side=right")).find_keypoints([HandCrop(image, side=side)])
    assert np.allclose(plain[0], right[0]) and plain[0] == pytest.approx(((6 + 59) / 2, 21.5))
    image[:, :30] = 20
    mirrored = OnnxKeypoints(model, (*PLAIN, "side=right", "order=" + ",".join(map(str, FROM_MANO))))
    [(xy, *_)] = mirrored.find_keypoints([HandCrop(image, side=side)])
    assert np.allclose(xy, (54.5, 21.5) + np.stack([np.zeros(21), np.array(FROM_MANO)], 1)), (
        "the x of a mirrored hand is mirrored back"
    )


@pytest.mark.parametrize("side, sign", [(LEFT, -1), (RIGHT, 1)])
def test_a_model_that_knows_3d_says_so_and_left_hands_are_mirrored_back(tmp_path, side, sign):
    known = np.random.default_rng(5).normal(0, 50, (21, 3)).astype(np.float32)
    model = make_onnx(tmp_path / "k.onnx", "regression", joints=known)
    options = (*PLAIN, "side=right", "joints=world", "joints_scale=0.001", "order=" + ",".join(map(str, FROM_MANO)))
    [(_, _, joints)] = OnnxKeypoints(model, options).find_keypoints([HandCrop(spot(40, 60).image, side=side)])
    expected = known[list(FROM_MANO)] - known[FROM_MANO[0]]
    np.testing.assert_allclose(joints, expected * [sign, 1, 1] / 1000, atol=1e-6)
    [(*_, joints)] = OnnxKeypoints(model, (*PLAIN, "output=points")).find_keypoints([spot(40, 60)])
    assert joints is None
    for name, message in (("points", "is no 21 joints in 3D"), ("gone", "has no output 'gone'")):
        with pytest.raises(HandtoolError, match=message):
            OnnxKeypoints(model, (*PLAIN, f"joints={name}"))


def test_a_model_that_wants_more_context_gets_black_around_the_crop_and_the_points_are_the_same(tmp_path):
    model = make_onnx(tmp_path / "k.onnx", "regression")
    for context in (1.3, 2.0, 3.0, 1.0):
        [(xy, *_)] = OnnxKeypoints(model, (*PLAIN, f"context={context}")).find_keypoints([spot(60, 70, context=1.3)])
        assert np.abs(xy[0] - (60, 70)).max() <= 1.5 * max(context, 1.3)


def test_resampling_is_what_torch_trains_on():
    torch = pytest.importorskip("torch")
    from handtool.nn.views.augmentation import whole_crop
    from handtool.nn.views.views import warp

    rng = np.random.default_rng(0)
    for side, size in ((224, 128), (224, 224), (64, 96), (100, 64), (224, 96)):
        crop = rng.integers(0, 256, (side, side, 3), np.uint8)
        view = whole_crop(1, side, size)
        theirs = (
            warp(torch.from_numpy(crop[None]), view.matrix, size, oversample=2 if side > size else 1)[0]
            .permute(1, 2, 0)
            .numpy()
        )
        assert np.abs(resample(crop, size, size, size / side) / 255 - theirs).max() < 1e-4
        np.testing.assert_allclose(placement(side, size, size, size / side), view.matrix[0, :2].numpy(), atol=1e-12)


@pytest.mark.parametrize(
    "kind, dtype", [("tensor(float)", np.float32), ("tensor(float16)", np.float16), ("tensor(uint8)", np.uint8)]
)
@pytest.mark.parametrize("colour, last", [("rgb", False), ("bgr", True)])
def test_the_picture_reaches_the_network_as_it_wants_it(kind, dtype, colour, last):
    pictures = np.random.default_rng(0).uniform(0, 255, (2, 4, 5, 3)).astype(np.float32)
    network = object.__new__(Network)
    network.settings, network.input, network.channels_last = (
        KeypointSettings(colour=colour, mean=(0.1, 0.2, 0.3)),
        SimpleNamespace(type=kind),
        last,
    )
    found = network.prepare(pictures)
    assert found.dtype == dtype and found.shape == ((2, 4, 5, 3) if last else (2, 3, 4, 5))
    for channel in range(3):
        plane = pictures[..., 2 - channel if colour == "bgr" else channel]
        mean, std = network.settings.mean[channel], network.settings.std[channel]
        wanted = np.rint(plane) if dtype == np.uint8 else (plane / 255 - mean) / std
        np.testing.assert_allclose(found[..., channel] if last else found[:, channel], wanted, atol=2e-3)


@pytest.mark.parametrize(
    "shape, channels, asked, expected",
    [
        ([1, 3, 64, 96], "auto", None, (False, 96, 64)),
        (["N", 64, 96, 3], "auto", None, (True, 96, 64)),
        (["N", 3, "h", "w"], "auto", (96, 64), (False, 96, 64)),
        (["N", "c", "h", "w"], "last", (96, 64), (True, 96, 64)),
    ],
)
def test_size_and_order_of_axes_are_the_models_own_where_it_has_them(shape, channels, asked, expected):
    last = is_channels_last(shape, channels, "m.onnx")
    assert (last, *find_size(shape, last, asked, "m.onnx")) == expected
    with pytest.raises(HandtoolError, match="leaves the size of its input open|not 32x32"):
        find_size(shape, last, None if "h" in shape else (32, 32), "m.onnx")


def gaussians(points: np.ndarray, cells: tuple[int, int], to_cells) -> np.ndarray:
    """(1, 21, h, w): a Gaussian of deviation 2 cells at each point."""
    places, (wide, high) = to_cells(points), cells
    column, row = np.arange(wide)[None, None], np.arange(high)[None, :, None]
    distance = (column - places[:, 0, None, None]) ** 2 + (row - places[:, 1, None, None]) ** 2
    return np.exp(-distance / 8).astype(np.float32)[None]


@pytest.mark.parametrize(
    "grid, to_cells",
    [
        ("centres", lambda points: (points + 0.5) / 4 - 0.5),
        ("stride", lambda points: points / 4),
        ("corners", lambda points: points * (np.array([23, 15]) / np.array([95, 63]))),
    ],
)
def test_heat_maps_of_known_points_give_them_back_on_every_grid(grid, to_cells):
    points = np.random.default_rng(1).uniform(10, 54, (21, 2))
    maps = gaussians(points, (24, 16), to_cells)
    exact, score = from_heatmaps(maps, KeypointSettings(grid=grid), INPUT)
    assert np.abs(exact[0] - points).max() < 0.01 and score.min() > 0.8
    rough = from_heatmaps(maps, KeypointSettings(grid=grid, refine="none"), INPUT)[0][0]
    quarter = from_heatmaps(maps, KeypointSettings(grid=grid, refine="quarter"), INPUT)[0][0]
    assert (
        0.5 < np.abs(rough - points).max() <= 2.2
        and np.abs(quarter - points).mean() < 0.75 * np.abs(rough - points).mean()
    )
    last = from_heatmaps(maps.transpose(0, 2, 3, 1), KeypointSettings(grid=grid), INPUT)[0]
    assert np.array_equal(last, exact), "channels last"


def test_a_sigmoid_is_taken_where_the_model_leaves_it_out():
    maps = gaussians(np.full((21, 2), 30.0), (24, 16), lambda points: points / 4)
    logits = np.log(np.clip(maps, 1e-6, 1 - 1e-6) / (1 - np.clip(maps, 1e-6, 1 - 1e-6)))
    points, score = from_heatmaps(logits, KeypointSettings(activation="sigmoid", grid="stride"), INPUT)
    assert np.abs(points - 30).max() < 0.1 and score.max() <= 1


def test_simcc_reads_each_axis_by_itself():
    rng = np.random.default_rng(2)
    x, y = rng.integers(0, 192, (3, 21)), rng.integers(0, 128, (3, 21))
    across, down = rng.uniform(0, 0.3, (3, 21, 192)), rng.uniform(0, 0.3, (3, 21, 128))
    np.put_along_axis(across, x[..., None], 0.9, 2)
    np.put_along_axis(down, y[..., None], 0.7, 2)
    points, score = from_simcc(across, down, INPUT)
    assert np.array_equal(points, np.stack([x / 2, y / 2], -1)) and (score == 0.7).all()


@pytest.mark.parametrize(
    "units, scale",
    [("px", lambda p: p), ("fraction", lambda p: (p + 0.5) / (96, 64)), ("signed", lambda p: (p + 0.5) / (48, 32) - 1)],
)
def test_regression_speaks_in_any_unit_flat_or_not_with_depth_or_without(units, scale):
    points = np.random.default_rng(3).uniform(0, 60, (2, 21, 2))
    said = scale(points)
    for values in (said, said.reshape(2, 42), np.concatenate([said, said[..., :1]], -1).reshape(2, 63)):
        np.testing.assert_allclose(from_regression(values, units, INPUT)[0], points, atol=1e-9)


@pytest.mark.parametrize(
    "shapes, options, expected",
    [
        ({"a": (1, 21, 16, 24)}, {}, ("heatmap", ("a",))),
        ({"x": (1, 21, 192), "y": (1, 21, 128)}, {}, ("simcc", ("x", "y"))),
        ({"y": (1, 21, 128), "x": (1, 21, 192)}, {}, ("simcc", ("x", "y"))),
        (
            {"points": (1, 63), "present": (1, 1), "world": (1, 63)},
            {"output": ("points",), "score": "present"},
            ("regression", ("points",)),
        ),
        ({"xy": (1, 21, 2), "score": (1, 21)}, {}, ("regression", ("xy",))),
    ],
)
def test_which_outputs_are_the_keypoints(shapes, options, expected):
    outputs = {name: np.zeros(shape) for name, shape in shapes.items()}
    assert find_layout(outputs, KeypointSettings(**options), INPUT) == expected


@pytest.mark.parametrize(
    "shapes, options, message",
    [
        ({"a": (1, 1000)}, {}, "a 1x1000.*not 21 keypoints"),
        ({"a": (1, 17, 64, 64)}, {}, "not 21 keypoints"),
        ({"a": (1, 63), "b": (1, 63)}, {}, "several outputs could be the keypoints"),
        ({"a": (1, 63)}, {"output": ("b",)}, "no output 'b'"),
        ({"a": (1, 63)}, {"layout": "simcc"}, "not 21 keypoints as simcc"),
        ({"a": (1, 63), "b": (1, 5)}, {"score": "b"}, "is no score"),
    ],
)
def test_a_model_of_something_else_is_refused_with_what_it_gives(shapes, options, message):
    with pytest.raises(HandtoolError, match=message) as caught:
        find_layout({name: np.zeros(shape) for name, shape in shapes.items()}, KeypointSettings(**options), INPUT)
    assert caught.value.hint.startswith("--onnx")
