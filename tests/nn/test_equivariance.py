"""Undoing a view on the projections: exact where the points move as the hand does, and as published where that is
asked."""

import json
import math

import cv2
import numpy as np
import pytest
import torch
from drawing import draw_views
from torch.nn.functional import normalize

from handtool.config import PretrainConfig
from handtool.nn.models.losses import adaptive_weights, nt_xent
from handtool.nn.views.equivariance import undo_views
from handtool.nn.views.views import ViewRanges


@pytest.fixture(scope="module")
def reference(samples):
    arrays = np.load(samples / "reference" / "contrastive.npz")
    return {name: torch.from_numpy(arrays[name]) for name in arrays}, json.loads(
        (samples / "reference" / "contrastive.json").read_text()
    )


def published_shift(arrays):
    return torch.stack((arrays["jitter_x_px"], arrays["jitter_y_px"]), 1) / PretrainConfig.input_size


def as_points(xy, origin):
    """64 points: the 21 keypoints three times and their mean, px from `origin`, as rows of 128."""
    return (torch.cat((xy, xy, xy, xy.mean(1, keepdim=True)), 1) - origin).reshape(len(xy), 128)


@pytest.mark.parametrize("size", [64, 128, 224])
@pytest.mark.parametrize(
    "ranges",
    [ViewRanges(), ViewRanges(angle_deg=180, shift_px=60.0, scale=(0.2, 5.0)), ViewRanges(angle_deg=0, shift_px=0.0)],
)
def test_undoing_any_recorded_view_gives_the_hand_before_it(ranges, size):
    rng = np.random.default_rng(size)
    xy = torch.from_numpy(rng.uniform(20, 200, (50, 1, 2)) + rng.normal(0, 25, (50, 21, 2)))
    views = draw_views(xy, ranges, size, 224, rng)
    undone = undo_views(as_points(views.xy, (size - 1) / 2), views.angle_deg, views.shift_fraction())
    before = normalize(as_points(xy, xy.mean(1, keepdim=True)), dim=1)
    assert (undone - before).abs().max() < 1e-9


def test_the_published_inverse_matches_its_reference(reference):
    arrays, scalars = reference
    shift = published_shift(arrays)
    z1 = undo_views(arrays["p1"], arrays["angle_deg"][:24], shift[:24])
    z2 = undo_views(arrays["p2"], arrays["angle_deg"][24:], shift[24:])
    assert (z1 - arrays["equivariant_z1"]).abs().max() < 1e-6
    assert (z2 - arrays["equivariant_z2"]).abs().max() < 1e-6
    assert nt_xent(z1, z2).item() == pytest.approx(scalars["peclr.nt_xent"], abs=1e-6)
    weights = adaptive_weights(arrays["joints1"], arrays["joints2"])
    assert nt_xent(z1, z2, 0.5, *weights).item() == pytest.approx(scalars["simhand_w.linear.both"], abs=1e-6)


def undo_by_hand(row, angle_deg, shift_fraction):
    """One projection, point by point, turned by OpenCV's own matrix."""
    points = np.array(row).reshape(-1, 2) / math.sqrt(sum(value * value for value in row))
    for axis in (0, 1):
        points[:, axis] -= shift_fraction[axis] * (max(points[:, axis]) - min(points[:, axis]))
    centre = points.mean(0)
    turn = cv2.getRotationMatrix2D((0, 0), -angle_deg, 1.0)[:, :2]
    turned = np.array([turn @ (point - centre) + centre for point in points])
    return turned.ravel() / np.linalg.norm(turned)


def test_undoing_is_the_papers_loop_over_points():
    rng = np.random.default_rng(3)
    raw, angle, shift = (
        rng.normal(size=(20, 128)),
        rng.integers(-180, 181, 20).astype(float),
        rng.normal(0, 0.3, (20, 2)),
    )
    undone = undo_views(*(torch.from_numpy(value) for value in (raw, angle, shift))).numpy()
    for row in range(20):
        assert np.abs(undone[row] - undo_by_hand(raw[row], angle[row], shift[row])).max() < 1e-12


def test_points_that_lie_on_one_another_are_undone_without_nan():
    """A projection of equal points has no extent and nothing to turn; one of zeros has no direction either."""
    raw = torch.stack((torch.ones(128), torch.zeros(128))).double().requires_grad_()
    undone = undo_views(raw, torch.tensor([30.0, 30.0]), torch.full((2, 2), 0.2))
    undone.square().sum().backward()
    assert torch.allclose(undone[0], torch.full((128,), 128**-0.5, dtype=torch.float64)) and torch.equal(
        undone[1], torch.zeros(128).double()
    )
    assert torch.isfinite(raw.grad).all()


def test_the_result_is_unit_rows_in_the_precision_given():
    rng = np.random.default_rng(0)
    raw, angle, shift = torch.from_numpy(rng.normal(size=(6, 128))), torch.full((6,), 30.0), torch.full((6, 2), 0.2)
    for dtype, expected in (
        (torch.float64, torch.float64),
        (torch.float32, torch.float32),
        (torch.bfloat16, torch.float32),
        (torch.float16, torch.float32),
    ):
        undone = undo_views(raw.to(dtype), angle, shift)
        assert undone.dtype == expected
        assert torch.allclose(undone.norm(dim=1), torch.ones(6, dtype=expected), atol=1e-5)


def test_the_gradient_reaches_the_points_but_not_through_extent_and_centroid():
    """The same arithmetic with extent and centroid as constants has the same gradient."""
    rng = np.random.default_rng(1)
    raw = torch.from_numpy(rng.normal(size=(3, 128))).requires_grad_()
    angle, shift, wanted = (
        torch.tensor([10.0, -30, 45]).double(),
        torch.from_numpy(rng.normal(size=(3, 2))),
        torch.from_numpy(rng.normal(size=(3, 128))),
    )
    (undo_views(raw, angle, shift) * wanted).sum().backward()
    other = raw.detach().clone().requires_grad_()
    points = normalize(other, dim=1).reshape(3, 64, 2)
    fixed = points.detach()
    move = shift * (fixed.amax(1) - fixed.amin(1))
    centre = fixed.mean(1) - move
    turn = torch.deg2rad(-angle)  # turning by the negative angle, in coordinates whose y points down
    x, y = (points - move[:, None] - centre[:, None]).unbind(2)
    cos, sin = torch.cos(turn)[:, None], torch.sin(turn)[:, None]
    turned = torch.stack((cos * x + sin * y + centre[:, 0, None], -sin * x + cos * y + centre[:, 1, None]), 2)
    (normalize(turned.reshape(3, 128), dim=1) * wanted).sum().backward()
    assert raw.grad.abs().max() > 1e-3
    assert torch.allclose(raw.grad, other.grad, rtol=0, atol=1e-12)


def test_shapes_that_do_not_fit_are_refused():
    for shapes in (
        ((3, 127), (3,), (3, 2)),
        ((3, 128), (2,), (3, 2)),
        ((3, 128), (3,), (3,)),
        ((0, 128), (0,), (0, 2)),
        ((128,), (1,), (1, 2)),
    ):
        with pytest.raises(ValueError):
            undo_views(*(torch.zeros(shape) for shape in shapes))
