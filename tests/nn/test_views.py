"""Views: one warp, right to the pixel, with keypoints, colours and records that agree with it."""

import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from drawing import draw_views

import handtool
from handtool.nn.views.views import (
    ViewRanges,
    mirror,
    move_points,
    normalize,
    render,
    rotation,
    scale_hsv,
    view_kernel,
    warp,
    window,
)


@pytest.fixture
def rng():
    return np.random.default_rng(11)


def soft_image(rng, side, blur=2.0):
    return cv2.GaussianBlur(rng.integers(0, 256, (side, side, 3)).astype(np.uint8), (0, 0), blur)


def some_views(rng, num=6, side=96, size=64, ranges=None):
    xy = torch.from_numpy(rng.uniform(0.3 * side, 0.7 * side, (num, 21, 2)))
    return xy, draw_views(xy, ranges or ViewRanges(), size, side, rng)


def test_one_warp_is_what_opencv_makes_of_the_same_matrix(rng):
    image = soft_image(rng, 96)
    _, views = some_views(rng)
    found = warp(torch.from_numpy(image)[None].repeat(6, 1, 1, 1), views.matrix, 64, oversample=1)
    for view, matrix in zip(found, views.matrix, strict=True):
        expected = cv2.warpAffine(image.astype(np.float32) / 255, matrix[:2].numpy(), (64, 64), flags=cv2.INTER_LINEAR)
        difference = np.abs(view.permute(1, 2, 0).numpy() - expected)
        assert np.percentile(difference, 99) < 0.01 and difference.max() < 0.06  # OpenCV rounds coordinates to 1/32 px


def test_a_shrunken_view_is_averaged_not_aliased(rng):
    stripes = np.zeros((96, 96, 3), np.uint8)
    stripes[:, ::2] = 255
    matrix = window(torch.tensor([[47.0, 47.5]]).double(), torch.tensor([48.0]).double(), 48)
    inner = (0, 0, slice(5, 40), slice(5, 40))
    plain = warp(torch.from_numpy(stripes)[None], matrix, 48, oversample=1)[inner]
    assert torch.allclose(plain, torch.tensor(1.0), atol=0.01)  # it meets every second column only
    assert torch.allclose(warp(torch.from_numpy(stripes)[None], matrix, 48)[inner], torch.tensor(0.5), atol=0.01)


def test_keypoints_go_where_the_pixels_go(rng):
    side, size = 128, 96
    xy, views = some_views(rng, 8, side, size)
    point = xy[:, 0]
    rows, columns = np.mgrid[:side, :side]
    for flipped in (False, True):
        where = point if not flipped else torch.stack((side - 1 - point[:, 0], point[:, 1]), 1)  # as stored
        spots = [255 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * 3.0**2)) for x, y in where.tolist()]
        crops = torch.from_numpy(np.repeat(np.stack(spots)[..., None], 3, 3).astype(np.uint8))
        seen = warp(crops, views.matrix @ mirror(torch.full((8,), flipped), side), size)[:, 0].double()
        inside = ((views.xy[:, 0] > 12) & (views.xy[:, 0] < size - 13)).all(1)
        assert inside.sum() > 3
        grid = torch.arange(size).double()
        mass = seen.sum((1, 2))
        centroid = torch.stack(((seen.sum(1) * grid).sum(1) / mass, (seen.sum(2) * grid).sum(1) / mass), 1)
        assert (centroid - views.xy[:, 0])[inside].abs().max() < 0.1  # px


def test_the_mirror_is_exact_and_its_own_inverse(rng):
    image = torch.from_numpy(rng.integers(0, 256, (2, 40, 40, 3)).astype(np.uint8))
    matrix = mirror(torch.tensor([True, False]), 40)
    assert torch.equal(matrix @ matrix, torch.eye(3).double().repeat(2, 1, 1))
    seen = (warp(image, matrix, 40, oversample=1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1)
    assert torch.equal(seen[0], image[0].flip(1)) and torch.equal(seen[1], image[1])


def test_a_turn_is_counter_clockwise_as_in_opencv():
    for angle in (-130.0, 17.0, 45.0):
        expected = cv2.getRotationMatrix2D((30.5, 12.25), angle, 1.0)
        found = rotation(torch.tensor([[30.5, 12.25]]).double(), torch.tensor([angle]).double())[0, :2]
        assert np.allclose(found.numpy(), expected, atol=1e-12)


def test_a_window_takes_pixel_edges_to_pixel_edges():
    matrix = window(torch.tensor([[50.0, 40.0]]).double(), torch.tensor([20.0]).double(), 80)
    corners = move_points(matrix, torch.tensor([[[30.0, 20.0], [70.0, 60.0], [50.0, 40.0]]]).double())
    assert torch.allclose(corners, torch.tensor([[[-0.5, -0.5], [79.5, 79.5], [39.5, 39.5]]]).double(), atol=1e-12)


def test_views_stay_within_their_ranges(rng):
    xy, views = some_views(rng, 4000, 96, 64)
    turned = torch.rad2deg(torch.atan2(views.matrix[:, 0, 1], views.matrix[:, 0, 0]))
    assert torch.allclose(turned, views.angle_deg, atol=1e-9)
    assert sorted(set(views.angle_deg.tolist())) == list(range(-45, 46))
    radius = (xy - xy.mean(1, keepdim=True)).norm(dim=2).amax(1)
    zoom = views.matrix[:, :2, :2].det().sqrt()
    drawn = 64 / (2 * zoom * radius)
    assert 0.9 <= drawn.min() < 0.91 and 1.49 < drawn.max() <= 1.5
    moved = (views.xy.mean(1) - 31.5) / zoom[:, None]  # of the mean keypoint, back in px of the crop
    moved *= 224 / 96  # the published crops have 224 px: the same part of a smaller one
    assert torch.allclose(moved, views.shift_px, atol=1e-9)
    assert -15 <= moved.min() < -14.9 and 14.9 < moved.max() <= 15 and abs(moved.mean()) < 0.5


def test_simclr_views_neither_turn_nor_shift(rng):
    _, views = some_views(rng, ranges=ViewRanges(angle_deg=0, shift_px=0.0))
    assert not views.angle_deg.any() and views.shift_fraction().abs().max() < 1e-12


def test_what_lies_outside_the_crop_is_black(rng):
    white = torch.full((1, 32, 32, 3), 255, dtype=torch.uint8)
    seen = warp(white, window(torch.tensor([[15.5, 15.5]]).double(), torch.tensor([32.0]).double(), 32), 32)[0, 0]
    assert torch.allclose(seen[10:22, 10:22], torch.tensor(1.0), atol=1e-6)
    assert seen[:7].abs().max() == 0 and seen[:, 25:].abs().max() == 0


def test_hue_saturation_and_value_are_multiplied_as_opencv_counts_them(rng):
    images = torch.from_numpy(rng.random((3, 3, 24, 24)).astype(np.float32))
    images[1, :, 0] = torch.tensor([[0.0], [0.5], [1.0]])  # a row of one pure colour
    images[1, :, 1] = 0.5  # and one of grey, which has no hue
    gains = torch.tensor([[0.3, 0.5, 0.7, 0.05], [0.9, 0.2, 1.0, 0.08], [0.01, 1.0, 0.5, 0.0]])
    found = scale_hsv(images, gains)
    for image, gain, changed in zip(images, gains.tolist(), found, strict=True):
        hsv = cv2.cvtColor(image.permute(1, 2, 0).contiguous().numpy(), cv2.COLOR_RGB2HSV)
        hsv[..., 0] *= gain[0]
        hsv[..., 1] *= gain[1]
        hsv[..., 2] = np.clip(hsv[..., 2] * gain[2] + gain[3], 0, 1)
        assert np.allclose(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB), changed.permute(1, 2, 0).numpy(), atol=1e-4)


def test_colours_that_are_left_alone_stay(rng):
    images = torch.from_numpy(rng.random((2, 3, 16, 16)).astype(np.float32))
    images[0] = 0.0
    assert torch.allclose(scale_hsv(images, torch.tensor([[1.0, 1, 1, 0]]).repeat(2, 1)), images, atol=1e-6)


def test_a_left_hand_renders_as_its_mirror_image(rng):
    image = torch.from_numpy(soft_image(rng, 48)[None])
    xy = torch.from_numpy(rng.uniform(10, 38, (1, 21, 2)))
    views = draw_views(xy, ViewRanges(), 32, 32, rng)
    right = render(image, views, torch.tensor([False]))
    left = render(image.flip(2), views, torch.tensor([True]))
    assert torch.allclose(left, right, atol=1e-5)


def test_rendering_in_blocks_changes_nothing(rng, monkeypatch):
    images = torch.from_numpy(np.stack([soft_image(rng, 32) for _ in range(5)]))
    views = draw_views(torch.from_numpy(rng.uniform(8, 24, (5, 21, 2))), ViewRanges(), 32, 32, rng)
    flipped = torch.tensor([True, False, True, False, False])
    whole = render(images, views, flipped)
    monkeypatch.setattr("handtool.nn.views.views.BLOCK", 2)
    assert torch.equal(render(images, views, flipped), whole)


def test_normalised_images_have_imagenets_mean_at_zero():
    image = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
    assert normalize(image).abs().max() < 1e-6
    assert torch.allclose(normalize(image + 0.1).flatten(), 0.1 / torch.tensor([0.229, 0.224, 0.225]), atol=1e-5)


def test_one_seed_draws_one_view(rng):
    xy = torch.from_numpy(rng.uniform(10, 60, (4, 21, 2)))
    first, second, other = (draw_views(xy, ViewRanges(), 32, 32, np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert torch.equal(first.matrix, second.matrix) and torch.equal(first.gains, second.gains)
    assert not torch.equal(first.matrix, other.matrix)


def test_the_kernel_of_the_gpu_makes_the_same_views(tmp_path):
    """Run by Triton's interpreter, which needs no GPU; it has to be chosen before the kernel is read."""
    pytest.importorskip("triton")
    code = """
import numpy as np
import torch
from handtool.nn.views.views import view_kernel
from handtool.nn.views.views import IMAGENET_MEAN, IMAGENET_STD
from handtool.nn.views.views import DRAWS, ViewRanges, make_views, mirror, normalize, scale_hsv, warp

rng, side, size = np.random.default_rng(4), 40, 28
crops = torch.from_numpy(rng.integers(0, 256, (5, side, side, 3)).astype(np.uint8))
crops[0] = crops[0, :, :, :1]  # grey, whose hue is nothing
crops[1] = 0
views = make_views(torch.from_numpy(rng.uniform(5, 35, (5, 21, 2))), rng.random((5, DRAWS)), ViewRanges(), size, 40)
matrix = views.matrix @ mirror(torch.from_numpy(rng.integers(0, 2, 5).astype(bool)), side)
for oversample, gains in ((2, views.gains), (1, views.gains), (2, None)):
    inverse = torch.linalg.inv(matrix)
    found = view_kernel.sample_views(crops, inverse, size, oversample, gains, IMAGENET_MEAN, IMAGENET_STD)
    expected = warp(crops, matrix, size, oversample)
    expected = normalize(expected if gains is None else scale_hsv(expected, gains.float()))
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert (found - expected).abs().max() < 2e-4, (oversample, gains is None, (found - expected).abs().max())
"""
    environment = {**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": str(Path(handtool.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_without_triton_a_gpu_makes_views_with_torch(monkeypatch, caplog):
    monkeypatch.setattr(view_kernel, "triton", None)
    view_kernel.is_usable.cache_clear()
    assert not view_kernel.is_usable("cpu")
    monkeypatch.setattr(view_kernel, "triton", object())

    def broken(*_):
        raise RuntimeError("Failed to find C compiler.\nmore")

    monkeypatch.setattr(view_kernel, "sample_views", broken)
    view_kernel.is_usable.cache_clear()
    assert not view_kernel.is_usable("cpu") and caplog.messages == [
        "views are made without Triton, which takes longer: Failed to find C compiler."
    ]
    view_kernel.is_usable.cache_clear()
