"""A backbone of timm is an encoder like any other: timm's own features, trained whole, written and rebuilt."""

import numpy as np
import pytest
import torch
from making import make_file, record
from training import add_pairs, assert_same_weights, killed_at_save, run_finetune, run_pretrain

from handtool import store
from handtool.config import FinetuneConfig
from handtool.errors import HandtoolError, WrongCommand
from handtool.nn.files.onnx_export import export_onnx
from handtool.nn.files.pose_weights import read_pose, write_pose
from handtool.nn.files.weights import export_weights, read_encoder, write_encoder
from handtool.nn.models.encoder import count_batches_once, find_stages, make_encoder
from handtool.nn.models.pose_model import Contract, PoseModel
from handtool.nn.models.pose_objective import layer_shares
from handtool.nn.models.pretraining import PretrainModel
from handtool.nn.training.optimiser import make_optimiser
from handtool.nn.views.views import IMAGENET_MEAN, IMAGENET_STD

timm = pytest.importorskip("timm")
# name, side of the input, stride of its map; small ones of each family, and the two whose tokens are laid out otherwise
BACKBONES = {
    "test_vit": (64, 16),
    "test_convnext": (64, 32),
    "test_efficientnet": (64, 32),
    "test_resnet": (64, 32),
    "hiera_tiny_224": (64, 32),
    "vit_small_patch14_dinov2": (56, 14),
    "vit_small_patch16_dinov3": (64, 16),
    "swin_tiny_patch4_window7_224": (224, 32),
}
FEW = ("test_vit", "test_convnext", "test_efficientnet")


def build(name, size=None, seed=3):
    torch.manual_seed(seed)
    return make_encoder(f"timm:{name}", size or BACKBONES[name][0])


@pytest.fixture
def images():
    return lambda size, num=2: torch.randn(num, 3, size, size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", BACKBONES)
def test_features_are_those_of_timms_own_forward(name, images):
    size, stride = BACKBONES[name]
    encoder = build(name).eval()
    fixed = {"img_size": size} if timm.models.get_pretrained_cfg(name).fixed_input_size else {}
    theirs = timm.create_model(name, num_classes=0, **fixed).eval()
    theirs.load_state_dict(encoder.backbone.state_dict())
    # the same picture, normalised as timm's own transform would
    mean, std = (torch.tensor(theirs.pretrained_cfg[part]).view(3, 1, 1) for part in ("mean", "std"))
    ours = images(size)
    pixels = ours * torch.tensor(IMAGENET_STD).view(3, 1, 1) + torch.tensor(IMAGENET_MEAN).view(3, 1, 1)
    with torch.no_grad():
        expected = theirs((pixels - mean) / std)
        spatial, pooled = encoder.both(ours)
        torch.testing.assert_close(encoder(ours), expected, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(pooled, expected, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(encoder.features(ours), spatial, rtol=0, atol=0)
    assert expected.shape[1] == encoder.num_pooled and encoder.stride == stride
    assert spatial.shape == (2, encoder.num_features, size // stride, size // stride)


@pytest.mark.parametrize("name", ["hiera_tiny_224", "vit_small_patch14_dinov2", "swin_tiny_patch4_window7_224"])
def test_the_cells_of_the_map_lie_where_their_pixels_do(name):
    """A patch of noise in one corner changes the cells of that corner most."""
    size, stride = BACKBONES[name]
    encoder, cells = build(name).eval(), size // stride
    plain = torch.zeros(1, 3, size, size)
    for row, column in ((0, cells - 1), (cells - 1, 0)):
        marked = plain.clone()
        marked[..., row * stride : (row + 1) * stride, column * stride : (column + 1) * stride] = 3.0
        with torch.no_grad():
            change = (encoder.features(marked) - encoder.features(plain)).norm(dim=1)[0]
        assert divmod(int(change.argmax()), cells) == (row, column)


@pytest.mark.parametrize("name", FEW)
@pytest.mark.parametrize("head", ["regression", "heatmap"])
def test_a_step_changes_every_weight_that_is_not_idle(name, head, images):
    size = BACKBONES[name][0]
    model = PoseModel(build(name), Contract(size=size, head=head))
    assert_all_learn(model, lambda: [out.float() for out in model(images(size, 4))])
    idle = [key for key, value in model.encoder.named_parameters() if not value.requires_grad]
    assert all("norm" in key for key in idle) and (head == "heatmap" or not idle)


@pytest.mark.parametrize("head", [None, "heatmap"])
@pytest.mark.parametrize("contrast", [True, False])
def test_pre_training_changes_every_weight_that_is_not_idle(head, contrast, images):
    if not (head or contrast):
        return
    model = PretrainModel("timm:test_convnext", contrast, head, 64, depth=True)

    def outputs():
        projections, found = model(images(64, 4))
        return [*found, *([] if projections is None else [projections])]

    assert_all_learn(model, outputs)


def assert_all_learn(model, outputs):
    model.train()
    torch.stack([(part * torch.randn_like(part)).sum() for part in outputs()]).sum().backward()
    for key, value in model.named_parameters():
        if "refine" in key:  # is taught by cameras, which are not part of this
            continue
        assert (value.grad is not None and bool(value.grad.any())) == value.requires_grad, key


def test_the_heat_map_head_fits_any_stride(images):
    for name, cells in (("test_vit", 16), ("vit_small_patch14_dinov2", 16), ("test_convnext", 16)):
        size = BACKBONES[name][0]
        model = PoseModel(build(name), Contract(size=size, head="heatmap")).eval()
        heat, *_ = model(images(size))
        assert heat.shape == (2, 21, cells, cells) and model.head.cell * cells == size


def test_a_perfect_heat_map_gives_the_keypoints_back_whatever_the_cell():
    """Heat drawn in px by a second way, resampled from a fine grid, against `solve`."""
    size, cells = 56, 16
    head = PoseModel(build("vit_small_patch14_dinov2"), Contract(size=size, head="heatmap")).head
    uv = 8 + 40 * torch.rand(3, 21, 2, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    axis = (torch.arange(cells, dtype=torch.float64) + 0.5) * size / cells - 0.5
    across, down = axis[None, :] - uv[..., :1, None], axis[:, None] - uv[..., 1:, None]
    heat = torch.exp(-(across**2 + down**2) / (2 * (size / cells) ** 2))
    location = torch.randn(3, 21, 3, 1, 1, dtype=torch.float64).expand(-1, -1, -1, cells, cells)
    camera = torch.tensor([[60.0, 0, 27.5], [0, 60, 27.5], [0, 0, 1]], dtype=torch.float64).expand(3, 3, 3)
    np.testing.assert_allclose(head.solve(heat, location, location, camera)[1], uv, atol=1e-6)


def test_layer_decay_goes_by_block():
    stages = find_stages("timm:test_vit", 64)
    rates = layer_shares(stages, 0.5)
    model = PoseModel(build("test_vit"), Contract(size=64))
    optimiser = make_optimiser(model, FinetuneConfig(), 1.0, rates)
    by_weight = {id(value): group["share"] for group in optimiser.param_groups for value in group["params"]}
    found = {key: by_weight[id(value)] for key, value in model.named_parameters()}
    depth = len(model.encoder.net.blocks)
    assert found["head.fc.weight"] == 1.0 and found["encoder.net.norm.weight"] == 0.5
    for block in range(depth):
        shares = {share for key, share in found.items() if f"net.blocks.{block}." in key}
        assert shares == {0.5 ** (depth - block)}, block  # timm counts the last norm with the last block
    assert {found[f"encoder.net.{key}"] for key in ("cls_token", "pos_embed", "patch_embed.proj.weight")} == {
        0.5 ** (depth + 1)
    }


@pytest.mark.parametrize(
    ("arch", "size", "told", "hint"),
    [
        ("timm:vit_small_patch14_dinov2", 64, "cannot take inputs of 64 px: its patches have 14 px", "--input-size 70"),
        ("timm:hiera_tiny_224", 60, "cannot take inputs of 60 px", "--input-size 64"),
        ("timm:convnext_tinny", 64, "timm knows no 'convnext_tinny'", "--arch timm:convnext_tiny"),
        ("timm:crossvit_9_240", 240, "has no last feature map", "--arch timm:convnext_tiny"),
        ("vit_tiny_patch16_224", 64, "no architecture 'vit_tiny_patch16_224'", "--arch timm:vit_tiny_patch16_224"),
        ("resnet19", 64, "no architecture 'resnet19'", "--arch resnet50"),
    ],
)
def test_what_cannot_be_built_is_refused_in_one_line(arch, size, told, hint):
    with pytest.raises(WrongCommand, match=told) as caught:
        find_stages(arch, size)
    assert hint in caught.value.hint and "\n" not in str(caught.value)


def test_without_timm_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "timm", None)
    with pytest.raises(HandtoolError, match="needs the timm package") as caught:
        make_encoder("timm:test_vit", 64)
    assert caught.value.hint == "pip install 'handtool[timm]'"


@pytest.mark.parametrize("name", ["test_vit", "test_efficientnet", "resnet18"])
def test_activations_computed_again_give_the_same_gradients_and_statistics(name, images):
    results = []
    for keep in (True, False):
        torch.manual_seed(4)
        encoder = build(name, 64) if name in BACKBONES else make_encoder(name)
        if not keep:
            count_batches_once(encoder)
        encoder.keep_activations(keep)
        encoder.train()
        (encoder(images(64, 4)) ** 2).sum().backward()
        grads = {key: value.grad.clone() for key, value in encoder.named_parameters()}
        momenta = {module.momentum for module in encoder.modules() if hasattr(module, "num_batches_tracked")}
        assert 0 not in momenta
        results.append((grads, {key: value.clone() for key, value in encoder.state_dict().items()}))
    for one, other in zip(*results, strict=True):
        for key in one:
            torch.testing.assert_close(one[key], other[key], rtol=1e-5, atol=1e-6, msg=key)


def test_files_hold_all_that_rebuilds_the_network(tmp_path, images):
    encoder, pose = build("test_vit").eval(), PoseModel(build("test_vit"), Contract(size=64, head="heatmap")).eval()
    contract = {"size": 64, "mean": np.array(IMAGENET_MEAN), "std": np.array(IMAGENET_STD), "box_scale": 1.3}
    with store.create_file(tmp_path / "e.h5", record()) as sink:
        write_encoder(sink, encoder, None, contract, {})
        sink.finish({})
    with store.create_file(tmp_path / "p.h5", record()) as sink:
        write_pose(sink, pose, {})
        sink.finish({})
    with store.open_file(tmp_path / "e.h5") as file, torch.no_grad():
        again = read_encoder(file)[0].eval()
        assert torch.equal(again(images(64)), encoder(images(64)))
        for suffix in (".safetensors", ".pth"):
            about = export_weights(file, tmp_path / f"w{suffix}")
            assert about["architecture"] == "timm:test_vit"
    theirs = timm.create_model("test_vit", num_classes=0, img_size=64)
    theirs.load_state_dict(torch.load(tmp_path / "w.pth", weights_only=True), strict=True)
    with store.open_file(tmp_path / "p.h5") as file, torch.no_grad():
        for one, other in zip(read_pose(file)(images(64)), pose(images(64)), strict=True):
            assert torch.equal(one, other)


@pytest.mark.parametrize("name", ["test_vit", "test_convnext"])
def test_onnx_says_what_torch_says(name, tmp_path):
    pytest.importorskip("onnxscript"), pytest.importorskip("onnxruntime")
    with store.create_file(tmp_path / "p.h5", record()) as sink:
        write_pose(sink, PoseModel(build(name), Contract(size=64, bone_m=0.03)), {})
        sink.finish({})
    with store.open_file(tmp_path / "p.h5") as file:
        report = export_onnx(file, tmp_path / "p.onnx")
    assert report["architecture"] == f"timm:{name}" and report["difference_from_torch"] < 1e-4


@pytest.mark.parametrize("name", ["test_vit", "test_convnext"])
def test_the_whole_chain_and_a_kill_that_changes_no_bit(name, tmp_path, monkeypatch):
    arch = {"arch": f"timm:{name}", "input_size": 64, "workers": 1}
    pairs = add_pairs(make_file(tmp_path / "keypoints.h5", (5, 5)), tmp_path / "pairs.h5")
    run_pretrain(pairs, tmp_path / "e.h5", **arch, steps=4, checkpoint_activations=True)
    with killed_at_save(monkeypatch, 2):
        run_pretrain(pairs, tmp_path / "f.h5", **arch, steps=4, checkpoint_activations=True, checkpoint_every=1)
    run_pretrain(pairs, tmp_path / "f.h5", **arch, steps=4, checkpoint_activations=True, checkpoint_every=1)
    assert_same_weights(tmp_path / "e.h5", tmp_path / "f.h5")
    labelled = make_file(tmp_path / "train.h5", (5, 4), ("labels",))
    choices = {"init": str(tmp_path / "e.h5"), "layer_decay": 0.7, "head": "heatmap", "input_size": 64, "arch": None}
    report = run_finetune(labelled, tmp_path / "pose.h5", **choices, steps=3)
    assert report["architecture"] == f"timm:{name}" and np.isfinite(report["loss_last"])
    run_finetune(labelled, tmp_path / "frozen.h5", **choices | {"layer_decay": 1.0}, freeze=True, steps=3)
    with store.open_file(tmp_path / "e.h5") as one, store.open_file(tmp_path / "frozen.h5") as other:
        before, after = store.read_weights(one)[0], store.read_weights(other)[0]
    assert all(np.array_equal(value, after[key]) for key, value in before.items() if key.startswith("encoder."))
