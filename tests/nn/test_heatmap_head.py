"""The heat-map head: its size, its targets and their way back, its losses, and where it puts a hand before the
camera."""

import numpy as np
import pytest
import torch
from making import make_hands
from torch import nn

from handtool.config import FinetuneConfig
from handtool.errors import HandtoolError
from handtool.hands.camera import place_root as numpy_place_root
from handtool.hands.camera import project
from handtool.hands.camera import rays as numpy_rays
from handtool.hands.skeleton import PARENTS
from handtool.nn.models.encoder import make_encoder
from handtool.nn.models.heatmap_head import HeatmapHead, find_maxima, gaussians, losses_of_maps, make_targets
from handtool.nn.models.pose_model import Contract, PoseModel
from handtool.nn.models.pose_objective import layer_shares
from handtool.nn.training.optimiser import make_optimiser, set_learning_rate
from handtool.nn.views.augmentation import (
    AugmentRanges,
    LabelledHands,
    blur,
    draw_blurs,
    draw_mirrored,
    draw_windows,
    mirror_hands,
    transform_labels,
    whole_crop,
)
from handtool.nn.views.geometry import place_root

SIDE, SIZE = 96, 64
CELLS = SIZE // 4


def labelled(count=6, seed=0, spread=0.012) -> LabelledHands:
    """Hands that stay in the picture through any view."""
    hands = make_hands(count, np.random.default_rng(seed), SIDE)
    joints = (hands["joints"] - [0, 0, 0.5]) * spread / 0.03 + [0.01, 0, 0.5]
    image = joints @ hands["camera"].transpose(0, 2, 1)
    keypoints = torch.from_numpy(image[..., :2] / image[..., 2:])
    joints = torch.from_numpy(joints)
    everything = torch.ones(count, 21, dtype=torch.bool)
    return LabelledHands(
        joints,
        everything,
        keypoints,
        everything.clone(),
        (joints[:, 9] - joints[:, 10]).norm(dim=1),
        torch.from_numpy(hands["camera"]),
    )


def perfect(targets, cells=CELLS):
    """What a head that has learnt everything says: the maps of its targets, the same in every cell."""
    heat = gaussians(targets.uv, cells, cells)
    direction, location = (
        values[..., None, None].expand(-1, -1, -1, cells, cells).clone()
        for values in (targets.direction, targets.location)
    )
    return heat, direction, location


@pytest.mark.parametrize(("arch", "millions"), [("resnet50", 36.06), ("resnet18", 17.44)])
def test_the_network_has_as_many_parameters_as_the_published_one(arch, millions):
    with torch.device("meta"):
        model = PoseModel(make_encoder(arch), Contract(size=128, head="heatmap"))
    count = sum(value.numel() for value in model.parameters())
    assert round(count / 1e6, 2) == millions
    if arch == "resnet50":
        assert round(sum(value.numel() for value in model.head.upsample.parameters()) / 1e6, 2) == 10.49
        assert round(sum(value.numel() for value in model.encoder.parameters()) / 1e6, 2) == 23.51


def test_maps_are_a_quarter_of_the_input():
    model = PoseModel(make_encoder("resnet18"), Contract(size=SIZE, head="heatmap")).eval()
    heat, direction, location = model(torch.zeros(2, 3, SIZE, SIZE))
    assert heat.shape == (2, 21, CELLS, CELLS) and direction.shape == location.shape == (2, 21, 3, CELLS, CELLS)
    assert (heat > 0).all() and (heat < 1).all()


def test_an_input_that_is_no_multiple_of_32_is_refused():
    with pytest.raises(HandtoolError, match="multiple of 32 px, not 72") as caught:
        HeatmapHead(8, 72)
    assert caught.value.hint.startswith("--input-size 64")


@pytest.mark.parametrize("angle", [0.0, 90.0])
def test_targets_through_any_view_are_read_back_as_the_labels(angle):
    hands = labelled()
    view = (
        draw_windows(len(hands), SIDE, SIZE, AugmentRanges(angle_deg=angle), np.random.default_rng(1))
        if angle
        else whole_crop(6, SIDE, SIZE)
    )
    seen = transform_labels(hands, view)
    head = HeatmapHead(8, SIZE)
    joints, uv = head.solve(*perfect(make_targets(seen)), seen.camera)
    torch.testing.assert_close(uv, seen.keypoints, atol=1e-3, rtol=0)  # px: finer than a cell of 4
    torch.testing.assert_close(
        joints * seen.bone[:, None, None], seen.joints, atol=1e-4, rtol=0
    )  # m: the depth from rays good to 1e-3 px
    relative = joints - joints[:, :1]
    torch.testing.assert_close(relative * seen.bone[:, None, None], seen.joints - seen.joints[:, :1], atol=1e-6, rtol=0)


def test_locations_are_read_where_the_joint_is_and_nowhere_else():
    seen = transform_labels(labelled(), whole_crop(6, SIDE, SIZE))
    heat, direction, location = perfect(make_targets(seen))
    _, score, index = find_maxima(heat)
    assert (score > np.exp(-0.25) - 1e-6).all()  # the nearest cell is half a cell away on both axes at most
    mask = torch.zeros(6, 21, CELLS * CELLS).scatter(2, index[..., None], 1.0).view_as(heat)[:, :, None]
    noise = torch.randn_like(location) * (1 - mask)
    head = HeatmapHead(8, SIZE)
    torch.testing.assert_close(
        head.solve(heat, direction, location + noise, seen.camera)[0],
        head.solve(heat, direction, location, seen.camera)[0],
    )


def test_mirrored_hands_project_to_mirrored_keypoints_and_the_others_stay():
    hands, which = labelled(), np.array([True, False, True, True, False, False])
    seen = mirror_hands(hands, which, SIDE)
    projected = project(seen.joints.numpy(), seen.camera.numpy())
    assert np.allclose(projected, seen.keypoints.numpy(), atol=1e-9)
    assert np.allclose(seen.keypoints[which][..., 0], SIDE - 1 - hands.keypoints[which][..., 0]) and torch.equal(
        seen.joints[~which], hands.joints[~which]
    )
    drawn = draw_mirrored(4000, AugmentRanges(mirror=0.3), np.random.default_rng(0))
    assert abs(drawn.mean() - 0.3) < 0.03 and not draw_mirrored(50, AugmentRanges(), np.random.default_rng(0)).any()


def test_a_maximum_at_the_rim_is_its_cell():
    heat = torch.zeros(1, 21, 8, 8)
    heat[0, :, 0, 5], heat[0, :, 0, 4], heat[0, :, 1, 5] = 0.9, 0.7, 0.8
    place, _, index = find_maxima(heat)
    assert (
        (place[..., 1] == 0).all() and (place[..., 0] < 5).all() and (place[..., 0] > 4.5).all() and (index == 5).all()
    )


def test_a_guess_without_length_or_place_is_still_a_hand():
    heat, flat = torch.rand(3, 21, 8, 8), torch.zeros(3, 21, 3, 8, 8)
    heat[0] = heat[0, :1]  # all keypoints on one spot
    camera = labelled(3).camera
    joints, uv = HeatmapHead(8, 32).solve(heat, flat, flat, camera)
    assert torch.isfinite(joints).all() and torch.isfinite(uv).all() and (joints[..., 2] > 0).all()


def test_the_place_before_the_camera_is_numpys():
    rng = np.random.default_rng(2)
    hands = labelled(20)
    relative = hands.joints - hands.joints[:, :1] + 0.003 * torch.from_numpy(rng.normal(size=(20, 21, 3)))
    uv = hands.keypoints + torch.from_numpy(rng.normal(size=(20, 21, 2)))
    found = place_root(relative, torch.from_numpy(numpy_rays(uv.numpy(), hands.camera.numpy())), (0.0, 1e3))
    np.testing.assert_allclose(found, numpy_place_root(relative.numpy(), uv.numpy(), hands.camera.numpy()), rtol=1e-9)


def paper_losses(heat, direction, location, hands, uv_valid):
    """The losses as sums over numbers: heat; directions and locations of each hand as a norm."""
    count, _, high, wide = heat.shape
    joints, uv = hands.joints.numpy(), hands.keypoints.numpy()
    loss, norms = 0.0, np.zeros((2, count))
    for joint in range(21):
        squares = []
        for hand in range(count):
            truth = np.zeros((high, wide))
            for row in range(high):
                for column in range(wide):
                    away = (4 * column + 1.5 - uv[hand, joint, 0]) ** 2 + (4 * row + 1.5 - uv[hand, joint, 1]) ** 2
                    truth[row, column] = np.exp(-away / (2 * 4**2))
            if not uv_valid[hand, joint]:
                continue
            squares.append(((heat[hand, joint] - truth) ** 2).mean())
            bone = joints[hand, joint] - joints[hand, max(PARENTS[joint], 0)]
            targets = (
                bone / max(np.linalg.norm(bone), 1e-12),
                (joints[hand, joint] - joints[hand, 0]) / np.linalg.norm(joints[hand, 0] - joints[hand, 9]),
            )
            for kind, (maps, value) in enumerate(zip((direction, location), targets)):
                norms[kind, hand] += (((maps[hand, joint] - value[:, None, None]) * truth) ** 2).sum()
        loss += 0.5 * np.mean(squares)
    return loss, np.sqrt(norms)


@pytest.mark.parametrize("published", [False, True])
def test_losses_are_those_of_a_loop_over_numbers(published):
    hands = transform_labels(labelled(3), whole_crop(3, SIDE, SIZE))
    hands.keypoints_valid[1, 4:7] = False
    hands.camera[1] = float("nan")  # or the joint would be looked for where its camera shows it
    targets = make_targets(hands)
    maps = [torch.rand(3, 21, CELLS, CELLS), *torch.randn(2, 3, 21, 3, CELLS, CELLS)]
    parts = losses_of_maps(*maps, targets, published)
    heat, norms = paper_losses(*(values.numpy().astype(float) for values in maps), hands, hands.keypoints_valid.numpy())
    expected = [heat, *(np.sqrt((norms**2).sum(1)) / 3 if published else norms.mean(1))]
    np.testing.assert_allclose([part.item() for part in parts], expected, rtol=2e-5)


def test_the_published_norm_shrinks_with_the_batch_and_ours_does_not():
    targets = make_targets(transform_labels(labelled(4), whole_crop(4, SIDE, SIZE)))
    maps = [torch.rand(4, 21, CELLS, CELLS), *torch.randn(2, 4, 21, 3, CELLS, CELLS)]
    four_times = type(targets)(
        **{name: value.repeat(4, *[1] * (value.ndim - 1)) for name, value in vars(targets).items()}
    )
    repeated = [values.repeat(4, *[1] * (values.ndim - 1)) for values in maps]
    for published, factors in ((False, (1, 1, 1)), (True, (1, 0.5, 0.5))):
        once, often = losses_of_maps(*maps, targets, published), losses_of_maps(*repeated, four_times, published)
        for one, other, factor in zip(once, often, factors):
            assert other.item() == pytest.approx(factor * one.item(), rel=1e-5)


def test_what_is_not_known_teaches_nothing():
    hands = transform_labels(labelled(6), whole_crop(6, SIDE, SIZE))
    hands.valid[0], hands.joints[0] = False, float("nan")  # keypoints only
    hands.keypoints_valid[1], hands.keypoints[1] = False, float("nan")  # joints and camera
    hands.valid[2, 9] = False  # no unit of length, and joint 10 without its parent
    hands.keypoints_valid[3, 5], hands.keypoints[3, 5], hands.camera[3] = False, float("nan"), float("nan")
    hands.valid[4], hands.keypoints_valid[4] = False, False  # nothing
    targets = make_targets(hands)
    assert targets.uv_valid.sum(1).tolist() == [21, 21, 21, 20, 0, 21]
    assert targets.location_valid.sum(1).tolist() == [0, 21, 0, 20, 0, 21]
    assert targets.direction_valid.sum(1).tolist() == [0, 21, 19, 20, 0, 21]
    maps = [
        torch.rand(6, 21, CELLS, CELLS).requires_grad_(),
        *(torch.randn(6, 21, 3, CELLS, CELLS).requires_grad_() for _ in range(2)),
    ]
    sum(losses_of_maps(*maps, targets)).backward()
    for values, valid in zip(maps, (targets.uv_valid, targets.direction_valid, targets.location_valid)):
        assert torch.isfinite(values.grad).all()
        assert (values.grad.flatten(2).abs().amax(2) > 0).tolist() == valid.tolist()


def test_maps_are_in_float32_under_autocast():
    head = HeatmapHead(16, 32)
    with torch.autocast("cpu", torch.bfloat16):
        maps = head(torch.randn(2, 16, 1, 1).bfloat16())
    assert all(values.dtype == torch.float32 for values in maps)


def test_layers_learn_at_shares_of_the_rate_that_fall_from_the_head_down():
    model = PoseModel(make_encoder("resnet18"), Contract(size=32, head="heatmap"))
    optimiser = make_optimiser(model, FinetuneConfig(), 1.0, layer_shares(model.encoder.stages, 0.5))
    set_learning_rate(optimiser, 0.8)
    rate = {parameter: group["lr"] for group in optimiser.param_groups for parameter in group["params"]}
    decay = {parameter: group["weight_decay"] for group in optimiser.param_groups for parameter in group["params"]}
    expected = {
        "head": 1.0,
        "layer4": 0.5,
        "layer3": 0.25,
        "layer2": 0.125,
        "layer1": 0.0625,
        "conv1": 0.03125,
        "bn1": 0.03125,
    }
    for name, parameter in model.named_parameters():
        part = name.removeprefix("encoder.").split(".")[0]
        assert rate[parameter] == pytest.approx(0.8 * expected[part]), name
        assert decay[parameter] == (1e-6 if parameter.ndim > 1 else 0.0)
    assert len(make_optimiser(model, FinetuneConfig(), 1.0, layer_shares(model.encoder.stages, 1.0)).param_groups) == 2


def test_one_rate_for_all_is_what_it_was_without_shares():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    groups = make_optimiser(model, FinetuneConfig(), 1e-3).param_groups
    assert [[tuple(value.shape) for value in group["params"]] for group in groups] == [[(4, 3)], [(4,), (4,), (4,)]]


def test_a_blur_spreads_a_point_by_its_sigma_and_none_is_none():
    images = torch.zeros(3, 3, 31, 31, dtype=torch.float64)
    images[:, :, 15, 15] = 1
    sigma = torch.tensor([0.0, 0.5, 1.5], dtype=torch.float64)
    seen = blur(images, sigma)
    torch.testing.assert_close(seen[0], images[0])
    torch.testing.assert_close(seen.sum((2, 3)), torch.ones(3, 3, dtype=torch.float64))
    squares = (torch.arange(31.0).double() - 15) ** 2
    for axis in (1, 2):  # of rows and columns
        variance = (seen[:, 0].sum(3 - axis) * squares).sum(1)
        assert variance[1].item() == pytest.approx(0.25, rel=0.2) and variance[2].item() == pytest.approx(
            2.25, rel=0.05
        )
    drawn = draw_blurs(1000, AugmentRanges(blur=0.5), np.random.default_rng(0))
    assert 0 <= drawn.min() < 0.01 and 0.49 < drawn.max() <= 0.5
