"""The 2.5D head: its geometry is the published one, its targets come back as the joints they were made from."""

import numpy as np
import pytest
import torch
from making import make_hands

from handtool.errors import HandtoolError
from handtool.hands.camera import lift_25d, project
from handtool.hands.camera import rays as numpy_rays
from handtool.hands.camera import root_depth as numpy_root_depth
from handtool.hands.skeleton import FROM_LEVEL_MAJOR, LEVEL_MAJOR
from handtool.nn.files.pose_weights import init_pose
from handtool.nn.models.encoder import make_encoder
from handtool.nn.models.pose_model import Contract, PoseModel
from handtool.nn.models.regression_head import (
    RegressionHead,
    joints_from_slots,
    lift,
    losses_25d,
    make_targets,
    rays,
    root_depth,
    slot_valid,
    slots_from_joints,
)
from handtool.nn.views.augmentation import (
    AugmentRanges,
    LabelledHands,
    draw_colours,
    draw_windows,
    jitter,
    render_inputs,
    transform_labels,
    whole_crop,
)

SIDE = 64


def labelled(count=6, seed=0) -> LabelledHands:
    hands = make_hands(count, np.random.default_rng(seed), SIDE)
    joints = torch.from_numpy(hands["joints"])
    everything = torch.ones(count, 21, dtype=torch.bool)
    bone = (joints[:, 9] - joints[:, 10]).norm(dim=1)
    return LabelledHands(
        joints, everything, torch.from_numpy(hands["xy"]), everything.clone(), bone, torch.from_numpy(hands["camera"])
    )


def perfect(targets):
    return targets.uv, targets.z_rel


def test_root_depth_is_the_published_one(samples):
    given = np.load(samples / "reference" / "lift25d.npz")
    xy = rays(torch.from_numpy(given["uv_px"]), torch.from_numpy(given["K"]))
    z_root = root_depth(xy, torch.from_numpy(given["zrel_scaled"]))
    np.testing.assert_allclose(z_root.numpy(), given["zroot_published"], rtol=1e-6)
    joints = (
        lift(xy, torch.from_numpy(given["zrel_scaled"]), z_root) * torch.from_numpy(given["scale_m"])[:, None, None]
    )
    np.testing.assert_allclose(joints[:, list(FROM_LEVEL_MAJOR)].numpy(), given["joints_m"], atol=1e-6)


def test_root_depth_and_lift_equal_numpys_on_any_input():
    rng = np.random.default_rng(3)
    uv, z_rel = (
        rng.uniform(0, SIDE, (50, 21, 2)),
        rng.normal(0, 1, (50, 21)),
    )  # no real hands: square roots of negatives, clamped depths
    camera, scale = make_hands(50, rng, SIDE)["camera"], rng.uniform(0.02, 0.03, 50)
    order = list(LEVEL_MAJOR)
    xy = rays(torch.from_numpy(uv[:, order]), torch.from_numpy(camera))
    z_root = root_depth(xy, torch.from_numpy(z_rel[:, order]))
    np.testing.assert_allclose(z_root.numpy(), numpy_root_depth(numpy_rays(uv, camera), z_rel), rtol=1e-12)
    joints = (
        lift(xy, torch.from_numpy(z_rel[:, order]), z_root)[:, list(FROM_LEVEL_MAJOR)].numpy() * scale[:, None, None]
    )
    np.testing.assert_allclose(joints, lift_25d(uv, z_rel, camera, scale), atol=1e-12)


def test_slots_have_the_palm_first_and_give_the_joints_back():
    joints = labelled().joints
    slots = slots_from_joints(joints)
    with_palm = joints.clone()
    with_palm[:, 0] = (joints[:, 0] + joints[:, 9]) / 2
    np.testing.assert_allclose(slots.numpy(), with_palm.numpy()[:, list(LEVEL_MAJOR)])
    torch.testing.assert_close(joints_from_slots(slots), joints)
    valid = torch.ones(1, 21, dtype=torch.bool)
    valid[0, 9] = False
    assert (~slot_valid(valid)[0]).nonzero()[:, 0].tolist() == [
        0,
        3,
    ]  # the palm needs both its ends; slot 3 is the middle MCP


def test_perfect_outputs_give_the_labels_back_through_any_view():
    hands = labelled()
    view = draw_windows(len(hands), SIDE, 96, AugmentRanges(), np.random.default_rng(1))
    seen = transform_labels(hands, view)
    head = RegressionHead(8, 96).eval()
    targets = make_targets(**vars(seen))
    # The published root depth is only right if the larger root of the quadratic is the hand's: use the true depth here.
    xy = rays(targets.uv, seen.camera)
    joints = joints_from_slots(lift(xy, targets.z_rel, targets.z_root)) * seen.bone[:, None, None]
    torch.testing.assert_close(joints, seen.joints, atol=1e-6, rtol=0)
    assert all(loss.item() < 1e-4 for loss in losses_25d(head, *perfect(targets), targets)[:2])


def test_a_view_moves_keypoints_joints_and_camera_together():
    hands = labelled()
    view = draw_windows(len(hands), SIDE, 96, AugmentRanges(), np.random.default_rng(1))
    seen = transform_labels(hands, view)
    np.testing.assert_allclose(project(seen.joints.numpy(), seen.camera.numpy()), seen.keypoints.numpy(), atol=1e-9)
    turned = np.abs(view.angle_deg.numpy()) > 1
    assert turned.any() and ((seen.joints - hands.joints).abs().amax((1, 2)).numpy()[turned] > 1e-3).all()
    torch.testing.assert_close(seen.joints[..., 2], hands.joints[..., 2])  # depths do not turn


def test_a_view_moves_the_image_with_its_keypoints():
    rng = np.random.default_rng(4)
    crops, flipped = torch.zeros(8, SIDE, SIDE, 3, dtype=torch.uint8), torch.arange(8) % 2 == 1
    spot = rng.integers(24, 40, (8, 2))
    for crop, (x, y) in zip(crops, spot):
        crop[y - 1 : y + 2, x - 1 : x + 2] = 255
    canonical = torch.from_numpy(np.where(flipped[:, None], [[SIDE - 1, 0]] + spot * [[-1, 1]], spot)).double()
    view = draw_windows(8, SIDE, 96, AugmentRanges(), rng)
    images = render_inputs(crops, view, flipped, None, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)).mean(1)
    grid = torch.arange(96.0)
    mass = images.sum((1, 2))
    centre = torch.stack([(images.sum(1) * grid).sum(1) / mass, (images.sum(2) * grid).sum(1) / mass], 1)
    expected = (view.matrix[:, :2, :2] @ canonical[..., None])[..., 0] + view.matrix[:, :2, 2]
    torch.testing.assert_close(centre.double(), expected, atol=0.15, rtol=0)


def test_the_whole_crop_at_its_own_size_is_itself():
    crops = torch.randint(0, 256, (2, SIDE, SIDE, 3), dtype=torch.uint8)
    images = render_inputs(
        crops, whole_crop(2, SIDE, SIDE), torch.zeros(2, dtype=torch.bool), None, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    )
    torch.testing.assert_close(images, crops.permute(0, 3, 1, 2) / 255, atol=1e-5, rtol=0)


def test_colour_jitter_of_nothing_is_nothing_and_keeps_grey_grey():
    images = torch.rand(3, 3, 8, 8)
    still = draw_colours(3, AugmentRanges(colour=0, hue=0), np.random.default_rng(0)).float()
    torch.testing.assert_close(jitter(images, still), images, atol=1e-5, rtol=0)
    grey = images.mean(1, keepdim=True).expand(-1, 3, -1, -1)
    moved = jitter(grey, draw_colours(3, AugmentRanges(), np.random.default_rng(0)).float())
    torch.testing.assert_close(moved, moved.mean(1, keepdim=True).expand_as(moved), atol=2e-3, rtol=0)
    assert (moved - grey).abs().max() > 0.05


def test_losses_count_only_what_is_known():
    hands = labelled()
    hands.valid[0] = False  # keypoints only
    hands.camera[1] = float("nan")  # no camera
    hands.joints[2, 14], hands.valid[2, 14] = float("nan"), False  # one joint missing
    hands.valid[3, 0] = False  # no wrist: no palm, so no depth relative to it
    hands.keypoints_valid[4, 5], hands.keypoints[4, 5] = False, float("nan")
    hands.bone[5] = float("nan")
    targets = make_targets(**vars(hands))
    assert targets.z_root_valid.tolist() == [False, False, True, False, True, False]
    assert targets.z_rel_valid.sum(1).tolist() == [0, 21, 20, 0, 21, 0]
    assert targets.uv_valid.sum(1).tolist() == [21, 21, 21, 21, 20, 21]
    head = RegressionHead(8, SIDE)
    uv, z_rel = (value.clone().requires_grad_() for value in perfect(targets))
    parts = losses_25d(head, uv + 1, z_rel + 1, targets)
    assert parts[0].item() == pytest.approx(224 / SIDE, rel=1e-5) and parts[1].item() == pytest.approx(1, rel=1e-5)
    sum(parts).backward()
    assert torch.isfinite(uv.grad).all() and torch.isfinite(z_rel.grad).all()
    assert (
        (uv.grad[4, 2] == 0).all() and z_rel.grad[0].abs().max() == 0 and z_rel.grad[5].abs().max() == 0
    )  # slot 2 is joint 5


def test_without_a_camera_the_palms_pixel_is_halfway_and_with_one_it_is_projected():
    hands = labelled(2)
    hands.camera[0] = float("nan")
    targets = make_targets(**vars(hands))
    torch.testing.assert_close(targets.uv[0, 0], ((hands.keypoints[0, 0] + hands.keypoints[0, 9]) / 2).float())
    palm = (hands.joints[1, 0] + hands.joints[1, 9]) / 2
    np.testing.assert_allclose(targets.uv[1, 0], project(palm[None].numpy(), hands.camera[1].numpy())[0], rtol=1e-6)


def test_a_new_head_says_the_middle_of_the_image_and_the_geometrys_depth():
    head = RegressionHead(16, 96).eval()
    uv, z_rel = head(torch.zeros(2, 16))
    torch.testing.assert_close(uv, torch.full((2, 21, 2), 47.5))
    assert z_rel.abs().max() == 0
    xy, depth = torch.rand(5, 21, 2), torch.rand(5, 21)
    torch.testing.assert_close(head.root(xy, depth), root_depth(xy.double(), depth.double()).float())


def test_depth_refinement_is_64_128_128_1():
    assert [tuple(p.shape) for p in RegressionHead(8, 96).refine.parameters() if p.ndim == 2] == [
        (128, 64),
        (128, 128),
        (1, 128),
    ]


def published_file(path):
    """A file as PeCLR's fine-tuned weights: resnet with fc 64, and zroot_ref."""
    torch.manual_seed(5)
    model = PoseModel(make_encoder("resnet18"), Contract(size=224))
    state = {f"backend_model.{k}": v for k, v in model.encoder.state_dict().items()}
    state |= {"backend_model.fc.weight": torch.randn(64, 512), "backend_model.fc.bias": torch.randn(64)}
    state |= {
        f"zroot_ref.zroot_ref.{k}": torch.rand_like(v.float()).to(v.dtype)
        for k, v in model.head.refine.state_dict().items()
    }
    torch.save({"state_dict": state}, path)
    return state


def test_the_published_fine_tuned_head_says_the_same_pixels_here(tmp_path):
    state = published_file(tmp_path / "w.pth")
    model = PoseModel(make_encoder("resnet18"), Contract(size=224)).eval()
    report = init_pose(model, tmp_path / "w.pth")
    assert report["head"] and report["missing"] == []
    features = torch.randn(3, 512)
    out = (features @ state["backend_model.fc.weight"].T + state["backend_model.fc.bias"])[:, :63].view(-1, 21, 3)
    uv, z_rel = model.head(features)
    torch.testing.assert_close(uv, out[..., :2], atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(z_rel[:, 1:], out[:, 1:, 2])
    for name, value in model.head.refine.state_dict().items():
        assert torch.equal(value, state[f"zroot_ref.zroot_ref.{name}"])


def test_the_published_head_at_another_input_size_is_refused(tmp_path):
    published_file(tmp_path / "w.pth")
    with pytest.raises(HandtoolError, match="is for 224 px, not 128") as caught:
        init_pose(PoseModel(make_encoder("resnet18"), Contract(size=128)), tmp_path / "w.pth")
    assert caught.value.hint == "--input-size 224"
