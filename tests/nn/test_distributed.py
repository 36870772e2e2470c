"""Several processes train as one: same loss, same gradient, same statistics, and everyone knows its place."""

import logging
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from making import make_hands
from torch import nn
from torch.distributed.run import main as torchrun
from torch.nn.functional import normalize
from torch.nn.parallel import DistributedDataParallel
from training import TinyEncoder

from handtool.config import PretrainConfig
from handtool.errors import DamagedFile, HandtoolError, WrongCommand
from handtool.nn.models import collectives, pretraining
from handtool.nn.models.batch_norm import SharedBatchNorm, share_batch_norm
from handtool.nn.models.objectives.estimated_pose import EstimatedHands
from handtool.nn.models.objectives.hard_contrast import BatchLoss
from handtool.nn.models.pose_model import Contract, PoseLosses, PoseModel
from handtool.nn.models.pretraining import PairBatch, PretrainObjective, make_pretrain_model
from handtool.nn.training import distributed
from handtool.nn.training.distributed import Place, find_devices, find_init_method, place_from_environment
from handtool.nn.training.launch import launch
from handtool.nn.views.augmentation import LabelledHands
from handtool.nn.views.views import DRAWS, render
from handtool.progress import silent
from handtool.stages.pretrain import resolve_defaults

PAIRS, SIDE, KINDS = 8, 6, ("none", "linear", "sigmoid")


def make_network() -> nn.Module:
    """Small, float64, with both kinds of batch norm."""
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(3, 5, 3, bias=False),
        nn.BatchNorm2d(5),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(5 * 16, 7),
        nn.BatchNorm1d(7),
        nn.ReLU(),
        nn.Linear(7, 6),
    ).double()


def make_batch() -> tuple[torch.Tensor, torch.Tensor]:
    """(2, PAIRS, 3, SIDE, SIDE) images and (2, PAIRS, 21, 2) keypoints of both views."""
    rng = np.random.default_rng(4)
    return torch.from_numpy(rng.normal(size=(2, PAIRS, 3, SIDE, SIDE))), torch.from_numpy(
        rng.uniform(0, 128, (2, PAIRS, 21, 2))
    )


def loss_of(network, batch_loss, images, xy):
    projections = network(images.flatten(0, 1))
    z1, z2 = normalize(projections, dim=1).chunk(2)
    return batch_loss(z1, z2, xy[0], xy[1])


def train_one_step(folder: Path, place: Place) -> None:
    """In each process: its share of the batch, through DDP; rank 0 keeps loss, gradients and buffers."""
    for weights in KINDS:
        network = DistributedDataParallel(share_batch_norm(make_network(), "cpu"))
        images, xy = make_batch()
        share = PAIRS // place.processes
        own = slice(place.rank * share, (place.rank + 1) * share)
        loss = loss_of(network, BatchLoss(0.3, weights), images[:, own], xy[:, own])
        loss.backward()
        loss = collectives.total(loss.detach()) / place.processes
        if place.rank == 0:
            gradients = {name: value.grad for name, value in network.module.named_parameters()}
            torch.save(
                {"loss": loss, "gradients": gradients, "buffers": dict(network.module.named_buffers())},
                folder / f"{weights}.pt",
            )


def assert_one_process_did_the_same(folder: Path) -> None:
    for weights in KINDS:
        found, network = torch.load(folder / f"{weights}.pt"), make_network()
        loss = loss_of(network, BatchLoss(0.3, weights), *make_batch())
        loss.backward()
        assert found["loss"].item() == pytest.approx(loss.item(), abs=1e-9)
        largest = max(value.grad.abs().max() for value in network.parameters())
        for name, value in network.named_parameters():
            assert (found["gradients"][name] - value.grad).abs().max() <= 1e-6 * largest, name
        for name, value in network.named_buffers():
            assert torch.allclose(found["buffers"][name].double(), value.double(), rtol=0, atol=1e-9), name


def do_all(folder: Path, progress=silent) -> None:
    """What four processes do, one after the other: that they start takes longer than all of it."""
    place = place_from_environment("cpu")
    with distributed.process_group(place):
        train_one_step(folder, place)
        fine_tune_one_step(folder, place)
        pretrain_one_step(folder, place)
        add_up(folder)


@pytest.fixture(scope="module")
def by_four(tmp_path_factory, run_forked):
    folder = tmp_path_factory.mktemp("four")
    run_forked(launch, do_all, 4, (folder,), silent)
    return folder


def test_four_processes_have_loss_and_gradient_of_one_on_the_joined_batch(by_four):
    assert_one_process_did_the_same(by_four)


def test_two_processes_that_torchrun_starts_have_them_too(tmp_path, warm_server, run_forked):
    code = (
        f"import sys; sys.path[:0] = {sys.path!r}\nfrom test_distributed import *\n"
        "place = place_from_environment('cpu')\n"
        f"with distributed.process_group(place):\n    train_one_step(Path({str(tmp_path)!r}), place)"
    )
    words = ["--standalone", "--nproc-per-node=2", "--no-python", *warm_server(True).python, "-c", code]
    run_forked(torchrun, words)
    assert_one_process_did_the_same(tmp_path)


def test_shared_batch_norm_in_one_process_is_torchs_own():
    torch.manual_seed(0)
    for own, images in ((nn.BatchNorm2d(4), torch.randn(6, 4, 3, 5) * 3 + 2), (nn.BatchNorm1d(4), torch.randn(6, 4))):
        nn.init.uniform_(own.weight)
        shared = share_batch_norm(nn.Sequential(own), "cpu")[0]
        assert isinstance(shared, SharedBatchNorm) and shared.state_dict().keys() == own.state_dict().keys()
        one, other = images.clone().requires_grad_(), images.clone().requires_grad_()
        wanted = torch.randn_like(images)
        (own(one) * wanted).sum().backward()
        (shared(other) * wanted).sum().backward()
        assert torch.allclose(one.grad, other.grad, atol=1e-5)
        assert torch.allclose(own.running_var, shared.running_var) and torch.allclose(
            own.running_mean, shared.running_mean
        )
        assert torch.allclose(own.eval()(images), shared.eval()(images), atol=1e-5)


def test_shared_batch_norm_keeps_frozen_parameters_frozen_and_half_precision_as_it_came():
    own = nn.Sequential(nn.BatchNorm2d(4)).requires_grad_(False)
    weight = own[0].weight
    shared = share_batch_norm(own, "cpu")[0]
    assert shared.weight is weight and not any(value.requires_grad for value in shared.parameters())
    images = 100 + torch.randn(6, 4, 3, 5)
    for half in (torch.bfloat16, torch.float16):
        seen = share_batch_norm(nn.Sequential(nn.BatchNorm2d(4)), "cpu")(images.to(half))
        assert seen.dtype == half
        expected = nn.BatchNorm2d(4)(images.to(half).float())
        assert torch.allclose(seen.float(), expected, atol=0.03)


def work_and_fail(progress=silent) -> None:
    logging.getLogger("handtool.test").info("said by %s", os.environ["RANK"])
    progress("work", 1, 2, loss=0.5)
    with distributed.process_group(place_from_environment("cpu")):
        if collectives.rank() == 1:
            raise DamagedFile("crop 3 is no JPEG", hint="make it again")
        collectives.gather(torch.zeros(1))  # waits for a process that will not come


def test_the_parent_hears_progress_and_log_of_the_first_process_and_the_error_of_any(caplog):
    seen = []
    with caplog.at_level("INFO", "handtool.test"), pytest.raises(DamagedFile, match="^crop 3 is no JPEG$") as caught:
        launch(work_and_fail, 2, (), lambda *place, **figures: seen.append((place, figures)))
    assert caught.value.hint == "make it again"
    assert seen == [(("work", 1, 2), {"loss": 0.5})]
    assert [line.getMessage() for line in caplog.records if line.name == "handtool.test"] == ["said by 0"]


def test_one_process_needs_nobody():
    values = torch.arange(3.0)
    assert collectives.gather(values) is values and collectives.total(values) is values
    assert distributed.any_process(True) and not distributed.any_process(False)
    assert torch.equal(collectives.extreme(values, largest=True), values) and distributed.broadcast({"a": 1}) == {
        "a": 1
    }
    assert (collectives.rank(), collectives.processes()) == (0, 1)


def test_the_place_comes_from_torchrun_or_a_slurm_step():
    assert place_from_environment("cpu", {}) is None
    torchrun = {
        "RANK": "5",
        "WORLD_SIZE": "8",
        "LOCAL_RANK": "1",
        "LOCAL_WORLD_SIZE": "4",
        "MASTER_ADDR": "node7",
        "MASTER_PORT": "1234",
    }
    assert place_from_environment("cuda", torchrun) == Place("cuda", 5, 1, 8, 4)
    assert find_init_method(torchrun) == "env://"
    slurm = {
        "SLURM_PROCID": "3",
        "SLURM_LOCALID": "1",
        "SLURM_STEP_NUM_TASKS": "4",
        "SLURM_STEP_TASKS_PER_NODE": "2(x2)",
        "SLURM_JOB_ID": "40017",
    }
    assert place_from_environment("cuda", slurm) == Place("cuda", 3, 1, 4, 2)
    for nodes, first in (("gpu[03-07,9]", "gpu03"), ("alpha,beta", "alpha"), ("login-1", "login-1"), ("a[1,4]", "a1")):
        assert find_init_method(slurm | {"SLURM_STEP_NODELIST": nodes}) == f"tcp://{first}:20017"


def test_a_batch_script_of_several_tasks_is_not_yet_a_step():
    assert place_from_environment("cpu", {"SLURM_NTASKS": "4", "SLURM_PROCID": "0"}) is None


def test_gpus_that_are_not_there_are_named_with_the_way_out(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(HandtoolError) as caught:
        find_devices(4, 1, "pretrain pairs.h5")
    assert caught.value.message == "--gpus 4 asked, no CUDA GPU on this machine; --gpus 0 trains on the CPU"
    assert caught.value.hint == "handtool pretrain pairs.h5 --gpus 0"
    assert find_devices(None, 3, "pretrain pairs.h5") == ("cpu", 3) and find_devices(0, 1, "pretrain pairs.h5") == (
        "cpu",
        1,
    )
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert (
        find_devices(None, 1, "x") == ("cuda", 1)
        and find_devices(2, 1, "x") == ("cuda", 2)
        and find_devices(0, 2, "x") == ("cpu", 2)
    )
    with pytest.raises(HandtoolError, match="--gpus 4 asked, 2 CUDA GPUs on this machine"):
        find_devices(4, 1, "x")
    with pytest.raises(WrongCommand):
        find_devices(2, 2, "x")


def add_up(folder: Path) -> None:
    """Three passes of one step; each process keeps its gradient after each of them."""
    torch.manual_seed(0)
    model = nn.Linear(3, 1, bias=False)
    network, seen = DistributedDataParallel(model), []
    for number, now in enumerate((False, False, True)):
        with distributed.sync_gradients(network, now):
            network(torch.full((1, 3), 10.0**number) * (1 + collectives.rank())).sum().backward()
        seen.append(model.weight.grad[0, 0].item())
    torch.save(seen, folder / f"sums{collectives.rank()}.pt")


def test_gradients_of_several_passes_are_averaged_over_processes_at_the_last(by_four):
    for rank in range(4):
        own = 1 + rank
        assert torch.load(by_four / f"sums{rank}.pt") == [own, 11 * own, 111 * 2.5]


POSE_HEADS = ("heatmap", "heatmap published", "regression")


def make_pose_losses(kind: str) -> PoseLosses:
    torch.manual_seed(3)
    model = PoseModel(TinyEncoder(), Contract(size=32, head=kind.split()[0]))
    if model.contract.head == "heatmap":
        model.head.per_batch = "published" in kind
    else:
        nn.init.normal_(model.head.refine[-1].weight)
    return PoseLosses(model).double()


def make_labelled() -> tuple[torch.Tensor, LabelledHands]:
    """PAIRS inputs and labels. Of the second half most have nothing but some keypoints, so that processes know
    unequally much."""
    rng = np.random.default_rng(6)
    hands = make_hands(PAIRS, rng, 32)
    joints, xy, camera = (torch.from_numpy(hands[name]) for name in ("joints", "xy", "camera"))
    valid, seen = torch.ones(PAIRS, 21, dtype=torch.bool), torch.from_numpy(rng.random((PAIRS, 21)) < 0.8)
    valid[-3:], camera[-3:] = False, float("nan")
    seen[-1] = False
    return torch.from_numpy(rng.normal(size=(PAIRS, 3, 32, 32))), LabelledHands(
        joints, valid, xy, seen, (joints[:, 9] - joints[:, 10]).norm(dim=1), camera
    )


def pose_loss(network, losses: PoseLosses, inputs: torch.Tensor, hands: LabelledHands) -> torch.Tensor:
    head = losses.model.head
    return (torch.tensor(head.loss_weights) * network(inputs, head.targets(hands), None)).sum()


def fine_tune_one_step(folder: Path, place: Place) -> None:
    inputs, hands = make_labelled()
    own = place.share(PAIRS)
    for kind in POSE_HEADS:
        losses = share_batch_norm(make_pose_losses(kind), "cpu")
        network = DistributedDataParallel(losses)
        loss = pose_loss(network, losses, inputs[own], hands.rows(np.arange(PAIRS)[own]))
        loss.backward()
        loss = collectives.total(loss.detach()) / place.processes
        if place.rank == 0:
            gradients = {name: value.grad for name, value in losses.named_parameters()}
            torch.save(
                {"loss": loss, "gradients": gradients, "buffers": dict(losses.named_buffers())}, folder / f"{kind}.pt"
            )


def test_four_processes_fine_tune_as_one_on_the_joined_batch(by_four):
    for kind in POSE_HEADS:
        found, losses = torch.load(by_four / f"{kind}.pt"), make_pose_losses(kind)
        loss = pose_loss(losses, losses, *make_labelled())
        loss.backward()
        assert found["loss"].item() == pytest.approx(loss.item(), rel=1e-9), kind
        largest = max(value.grad.abs().max() for value in losses.parameters())
        for name, value in losses.named_parameters():
            assert (found["gradients"][name] - value.grad).abs().max() <= 1e-6 * largest, (kind, name)
        for name, value in losses.named_buffers():
            assert torch.allclose(found["buffers"][name].double(), value.double(), rtol=0, atol=1e-9), (kind, name)


SUMS = {
    "softhand": {"method": "softhand", "temperature": 0.3},
    "keypoints": {"method": "keypoints"},
    "handtool": {"method": "handtool", "contrast": "soft"},
    "heatmap": {"method": "handtool", "contrast": "hard", "weights": "linear", "pretrain_head": "heatmap"},
}


def make_sum(kind: str) -> PretrainObjective:
    """The objective in float64, with an encoder of one layer, and views of float64 too."""
    config = resolve_defaults(PretrainConfig(input_size=32, **SUMS[kind]))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(pretraining, "make_encoder", lambda *_: TinyEncoder())
        torch.manual_seed(3)
        model = make_pretrain_model(config).double()
    return PretrainObjective(model, config, None)


def make_pairs(own: slice) -> tuple[PairBatch, torch.Tensor]:
    """The share of a process, and its crops. Of the second half of the hands the joints are unknown, and scores are
    lower, so that processes know unequally much."""
    rng = np.random.default_rng(6)
    xy = torch.from_numpy(rng.uniform(4, 28, (2, PAIRS, 21, 2)))
    score = torch.from_numpy(rng.uniform(0.2, 1, (2, PAIRS, 21)))
    joints, bone = torch.from_numpy(rng.normal(0, 0.05, (2, PAIRS, 21, 3))), torch.full((2, PAIRS), 0.03)
    half = PAIRS // 2
    joints[:, half:], bone[:, half:] = torch.nan, torch.nan
    score[:, half:] /= 3
    crops = torch.from_numpy(rng.integers(0, 256, (2, PAIRS, 32, 32, 3), dtype=np.uint8))
    shares = [of[:, own].flatten(0, 1) for of in (xy, score, joints, bone, crops)]
    estimated = EstimatedHands(*shares[1:4])
    drawn = rng.random((2, PAIRS, DRAWS))[:, own]
    return PairBatch(shares[0], torch.zeros(len(shares[0]), dtype=torch.bool), drawn, False, estimated), shares[4]


def sum_loss(objective: PretrainObjective, network: nn.Module, own: slice) -> tuple[torch.Tensor, torch.Tensor]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(pretraining, "render", lambda *given: render(*given).double())
        return objective(network, *make_pairs(own))


def pretrain_one_step(folder: Path, place: Place) -> None:
    for kind in SUMS:
        objective = make_sum(kind)
        network = DistributedDataParallel(share_batch_norm(objective.network, "cpu"))
        loss, figures = sum_loss(objective, network, place.share(PAIRS))
        loss.backward()
        numbers = collectives.total(torch.cat((loss.detach()[None], figures))) / place.processes
        if place.rank == 0:
            gradients = {name: value.grad for name, value in objective.model.named_parameters()}
            torch.save({"numbers": numbers, "gradients": gradients}, folder / f"sum-{kind}.pt")


@pytest.mark.parametrize("kind", SUMS)
def test_four_processes_pretrain_by_any_sum_of_objectives_as_one(by_four, kind):
    found, objective = torch.load(by_four / f"sum-{kind}.pt"), make_sum(kind)
    loss, figures = sum_loss(objective, objective.network, slice(None))
    loss.backward()
    assert found["numbers"][0].item() == pytest.approx(loss.item(), rel=1e-6)
    assert found["numbers"][1:].tolist() == pytest.approx(figures.tolist(), rel=1e-6, abs=1e-9)
    trained = {name: value for name, value in objective.model.named_parameters() if value.requires_grad}
    largest = max(value.grad.abs().max() for value in trained.values())
    for name, value in trained.items():
        assert (found["gradients"][name] - value.grad).abs().max() <= 1e-5 * largest, name
