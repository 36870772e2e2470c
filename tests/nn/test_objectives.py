"""The objectives of pre-training against double loops in float64, and against finite differences."""

import math

import numpy as np
import pytest
import torch

from handtool.hands.skeleton import FROM_LEVEL_MAJOR, LEVEL_MAJOR
from handtool.nn.models.heatmap_head import HeatmapHead
from handtool.nn.models.losses import nt_xent
from handtool.nn.models.objectives.estimated_pose import EstimatedHands, EstimatedPose, labels_of_views
from handtool.nn.models.objectives.soft_contrast import SoftLoss
from handtool.nn.models.regression_head import RegressionHead
from handtool.nn.views.views import DRAWS, ViewRanges, make_views

SIDE = 64


@pytest.fixture
def rng():
    return np.random.default_rng(8)


def unit_rows(rng, num, dim=16):
    return torch.nn.functional.normalize(torch.from_numpy(rng.normal(size=(num, dim))), dim=1)


def keypoints(rng, num):
    return torch.from_numpy(rng.uniform(0, SIDE, (num, 21, 2)))


def soft_double_loop(z1, z2, xy1, xy2, temperature, factor):
    z, xy, pairs = torch.cat((z1, z2)).tolist(), torch.cat((xy1, xy2)).tolist(), len(z1)
    distance = [[np.mean([math.dist(a, b) for a, b in zip(p, q, strict=True)]) for q in xy] for p in xy]
    sigma = factor * sorted(distance[i][i + pairs] for i in range(pairs))[(pairs - 1) // 2]
    total = 0.0
    for i in range(2 * pairs):
        others = [k for k in range(2 * pairs) if k != i]
        target = {k: math.exp(-distance[i][k] / sigma) for k in others}
        said = {k: math.exp(np.dot(z[i], z[k]) / temperature) for k in others}
        total -= sum(target[k] / sum(target.values()) * math.log(said[k] / sum(said.values())) for k in others)
    return total / (2 * pairs)


@pytest.mark.parametrize(("temperature", "factor"), [(0.5, 1.0), (0.1, 0.3)])
def test_the_soft_contrast_is_the_double_loop(rng, temperature, factor):
    z1, z2, xy1, xy2 = unit_rows(rng, 5), unit_rows(rng, 5), keypoints(rng, 5), keypoints(rng, 5)
    for negatives in ("global", "local"):
        loss = SoftLoss(temperature, factor, negatives)(z1, z2, xy1, xy2)
        assert loss.item() == pytest.approx(soft_double_loop(z1, z2, xy1, xy2, temperature, factor), rel=1e-12)
        assert loss.item() == pytest.approx(SoftLoss(temperature, factor)(z1, z2, 7 * xy1, 7 * xy2).item(), rel=1e-12)


def test_the_gradient_of_the_soft_contrast_is_that_of_finite_differences(rng):
    z1, z2, xy1, xy2 = unit_rows(rng, 3, 4), unit_rows(rng, 3, 4), keypoints(rng, 3), keypoints(rng, 3)
    for z in (z1, z2):
        z.requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: SoftLoss(0.3)(a, b, xy1, xy2), (z1, z2))
    xy1.requires_grad_()
    SoftLoss(0.3)(z1, z2, xy1, xy2).backward()
    assert xy1.grad is None and z1.grad is not None


def test_soft_targets_of_the_nearest_alone_are_nt_xent(rng):
    """Partners are nearer than all other hands, and sigma is tiny; where they are the same hand, at any sigma."""
    z1, z2, xy = unit_rows(rng, 5), unit_rows(rng, 5), keypoints(rng, 5)
    expected = nt_xent(z1, z2, 0.2).item()
    assert SoftLoss(0.2, 0.01)(z1, z2, xy, xy + 1).item() == pytest.approx(expected, rel=1e-9)
    assert SoftLoss(0.2)(z1, z2, xy, xy).item() == pytest.approx(expected, rel=1e-9)


def make_estimated(rng, num):
    """Views of `num` hands and what the estimator knows of them; of the last no joints."""
    views = make_views(keypoints(rng, num), rng.random((num, DRAWS)), ViewRanges(), 32, SIDE)
    joints = torch.from_numpy(rng.normal(0, 0.05, (num, 21, 3)))
    joints[-1] = torch.nan
    bone = torch.from_numpy(rng.uniform(0.02, 0.03, num))
    return views, EstimatedHands(torch.from_numpy(rng.uniform(0.2, 1, (num, 21))), joints, bone)


def with_palm(values):
    """(21, d) joints -> the 21 slots of the regression head, one by one."""
    return [(values[0] + values[9]) / 2, *(values[joint] for joint in LEVEL_MAJOR[1:])]


def pose_double_loop(uv, z, views, hands):
    """Weighted mean absolute differences: of keypoints in half sides of the view, of depths in reference bones."""
    sums = np.zeros((2, 2))
    for hand in range(len(uv)):
        xy, joints, score = (of[hand].numpy() for of in (views.xy, hands.joints, hands.score))
        weight = with_palm(score)
        weight[0] = min(score[0], score[9])
        for slot, point in enumerate(with_palm(xy)):
            for axis in range(2):
                sums[0] += weight[slot] * abs(uv[hand, slot, axis] - point[axis]) / (views.size / 2), weight[slot]
        points = with_palm(joints)
        for slot in range(1, 21):
            if np.isfinite(joints).all():
                depth = (points[slot][2] - points[0][2]) / float(hands.bone[hand])
                sums[1] += weight[slot] * abs(z[hand, slot] - depth), weight[slot]
    return sums[:, 0] / sums[:, 1]


def test_the_pose_of_the_estimator_is_the_double_loop_and_its_gradient_that_of_finite_differences(rng):
    views, hands = make_estimated(rng, 4)
    head = RegressionHead(8, 32).double()
    uv, z = torch.from_numpy(rng.uniform(0, 32, (4, 21, 2))), torch.from_numpy(rng.normal(size=(4, 21)))
    loss, figures = EstimatedPose(head, 10.0, 0.45)((uv, z), views, hands)
    expected = pose_double_loop(uv.numpy(), z.numpy(), views, hands)
    assert figures.tolist() == pytest.approx(expected, rel=1e-6)  # targets are float32
    assert loss.item() == pytest.approx(10 * expected[0] + 0.45 * expected[1], rel=1e-6)
    for values in (uv, z):
        values.requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: EstimatedPose(head, 10.0, 0.45)((a, b), views, hands)[0], (uv, z))


def test_a_heat_map_head_is_taught_places_and_where_known_locations(rng):
    views, hands = make_estimated(rng, 3)
    head = HeatmapHead(8, 32).double()
    outputs = [value.double().requires_grad_() for value in head(torch.from_numpy(rng.normal(size=(3, 8, 1, 1))))]
    loss, figures = EstimatedPose(head, 10.0, 0.45)(tuple(outputs), views, hands)
    heat, direction, location = torch.autograd.grad(loss, outputs)
    assert (figures > 0).all() and heat.abs().sum() > 0
    for gradient in (direction, location):
        assert gradient[:2].abs().sum() > 0 and gradient[2].abs().sum() == 0


def test_joints_turn_with_the_picture_and_depth_stays(rng):
    """Under parallel projection the keypoints of a view are those of the turned joints."""
    joints = torch.from_numpy(rng.normal(0, 0.05, (3, 21, 3)))
    xy = 30 + 200 * joints[..., :2]
    views = make_views(xy, rng.random((3, DRAWS)), ViewRanges(), 32, SIDE)
    labels = labels_of_views(views, EstimatedHands(torch.ones(3, 21), joints, torch.ones(3)))
    seen, turned = (of - of[:, :1] for of in (labels.keypoints, labels.joints[..., :2]))
    scale = seen.norm(dim=(1, 2), keepdim=True) / turned.norm(dim=(1, 2), keepdim=True)
    assert torch.allclose(seen, scale * turned, atol=1e-9) and labels.joints[..., 2].equal(joints[..., 2])


def test_noise_and_another_hands_keypoints_hardly_move_what_is_learnt(rng):
    """One pose in 600 hands; 4.5 % of the side as noise on every point, and 15 % of the hands with another's. What the
    loss leads to is much nearer to the truth than the mean, and doubtful points that say so do nothing."""
    truth = rng.uniform(-0.5, 0.5, (21, 2))
    told = truth + rng.normal(0, 0.09, (600, 21, 2))
    told[:90] = rng.uniform(-0.5, 0.5, (1, 21, 2)) + 0.6
    views = make_views(keypoints(rng, 600), rng.random((600, DRAWS)), ViewRanges(), 32, SIDE)
    views.xy.copy_(torch.from_numpy(16 * told + 15.5))
    score, head = torch.ones(600, 21), RegressionHead(1, 32).double()
    errors = {}
    for name, doubt in (("believed", 1.0), ("doubted", 0.0)):
        score[:90] = doubt
        hands = EstimatedHands(score, torch.full((600, 21, 3), torch.nan), torch.full((600,), torch.nan))
        torch.nn.init.zeros_(head.fc.weight), torch.nn.init.zeros_(head.fc.bias)
        optimiser = torch.optim.Adam([head.fc.bias], lr=0.03)
        for step in range(120):
            optimiser.param_groups[0]["lr"] = 0.03 * (1 - step / 120)
            optimiser.zero_grad()
            EstimatedPose(head, 1.0, 0.0)(head(torch.zeros(600, 1).double()), views, hands)[0].backward()
            optimiser.step()
        learnt = (head(torch.zeros(1, 1).double())[0][0].detach().numpy() - 15.5) / 16
        errors[name] = np.abs(learnt[list(FROM_LEVEL_MAJOR)][1:] - truth[1:]).mean()  # the palm's slot is no joint
    mean = np.abs(told.mean(0) - truth)[1:].mean()
    assert errors["believed"] < 0.3 * mean and errors["doubted"] < 0.08 * mean
