"""Checkpoints of other programs: the encoder's weights are found under any prefix and by the names of ten families.

Each file is made with that program's own code where it is installed, else by its layout of names, from a network of
timm or torchvision whose weights must come out the same.
"""

import re

import pytest
import torch
import torchvision
from safetensors.torch import save_file

from handtool.errors import HandtoolError
from handtool.nn.files.foreign_names import find_backbone, square_positions
from handtool.nn.files.weights import init_encoder
from handtool.nn.models.encoder import make_encoder

timm = pytest.importorskip("timm")


def randomise(module):
    """All weights and statistics are drawn, so that none is right by its initialisation."""
    generator = torch.Generator().manual_seed(7)
    for value in module.state_dict().values():
        if value.is_floating_point():
            value.copy_(torch.rand(value.shape, generator=generator) + 0.1)
    return module.state_dict()


@pytest.fixture(scope="module")
def resnet():
    return randomise(torchvision.models.resnet18())


@pytest.fixture(scope="module")
def vit():
    return randomise(timm.create_model("test_vit", num_classes=10, img_size=64))


@pytest.fixture(scope="module")
def convnext():
    return randomise(timm.create_model("test_convnext", num_classes=10))


def without(state, *starts):
    return {name: value for name, value in state.items() if not name.startswith(starts)}


def under(prefix, state):
    return {f"{prefix}{name}": value for name, value in state.items()}


def zeros(state):
    return {name: torch.zeros_like(value) for name, value in state.items()}


NUMBERS = {"conv1": "0", "bn1": "1", "layer1": "4", "layer2": "5", "layer3": "6", "layer4": "7"}


def by_number(state):
    return {f"{NUMBERS[name.split('.')[0]]}.{name.split('.', 1)[1]}": v for name, v in without(state, "fc").items()}


def renamed(state, *rules):
    out = {}
    for name, value in state.items():
        for pattern, replacement in rules:
            name = re.sub(pattern, replacement, name)
        out[name] = value
    return out


def split_qkv(state, names):
    """transformers has three layers where timm has one. names: of query, key and value behind `blocks.N.`."""
    out = {}
    for name, value in state.items():
        if ".attn.qkv." in name:
            for part, own in zip(value.chunk(3), names, strict=True):
                out[name.replace("attn.qkv", own)] = part
        else:
            out[name] = value
    return out


def as_transformers(state):
    """ViTModel of transformers 4."""
    names = [f"attention.attention.{part}" for part in ("query", "key", "value")]
    return renamed(
        split_qkv(without(state, "head"), names),
        (r"^(cls_token)", r"embeddings.\1"),
        (r"^pos_embed", "embeddings.position_embeddings"),
        (r"^patch_embed\.proj", "embeddings.patch_embeddings.projection"),
        (r"^blocks\.", "encoder.layer."),
        (r"\.attn\.proj", ".attention.output.dense"),
        (r"\.norm1\.", ".layernorm_before."),
        (r"\.norm2\.", ".layernorm_after."),
        (r"\.mlp\.fc1\.", ".intermediate.dense."),
        (r"\.mlp\.fc2\.", ".output.dense."),
        (r"\.ls(\d)\.gamma", r".layer_scale\1.lambda1"),
        (r"^norm\.", "layernorm."),
    )


def as_mmpretrain(state):
    return renamed(
        without(state, "head"),
        (r"^patch_embed\.proj", "patch_embed.projection"),
        (r"^blocks\.", "layers."),
        (r"\.norm(\d)\.", r".ln\1."),
        (r"\.mlp\.fc1\.", ".ffn.layers.0.0."),
        (r"\.mlp\.fc2\.", ".ffn.layers.1."),
        (r"\.ls(\d)\.gamma", r".ls\1.weight"),
        (r"^norm\.", "ln1."),
    )


def as_original_convnext(state):
    return renamed(
        without(state, "head.fc"),
        (r"^stem\.", "downsample_layers.0."),
        (r"^stages\.(\d)\.downsample\.", r"downsample_layers.\1."),
        (r"^stages\.(\d)\.blocks\.", r"stages.\1."),
        (r"\.conv_dw\.", ".dwconv."),
        (r"\.mlp\.fc(\d)\.", r".pwconv\1."),
        (r"^head\.norm\.", "norm."),
    )


LOOSE = {"decoder.weight": torch.ones(2, 2)}  # what else such a file holds
RESNETS = {
    "torchvision": (lambda s: s, ""),
    "Lightning": (lambda s: {"state_dict": under("model.encoder.", s), "epoch": 3, "loops": {}}, "model.encoder."),
    "DDP, compiled": (lambda s: under("module._orig_mod.", s), "module._orig_mod."),
    "MoCo v2": (
        lambda s: {
            "state_dict": under("module.encoder_q.", s)
            | under("module.encoder_k.", zeros(s))
            | {"module.queue": torch.zeros(128, 64), "module.queue_ptr": torch.zeros(1)}
        },
        "module.encoder_q.",
    ),
    "MoCo v3": (
        lambda s: {
            "state_dict": under("module.momentum_encoder.", zeros(s)) | under("module.base_encoder.", without(s, "fc"))
        },
        "module.base_encoder.",
    ),
    "BYOL": (
        lambda s: {
            "target_network_state_dict": under("encoder.", zeros(s)),
            "online_network_state_dict": under("encoder.", s),
        },
        "online_network_state_dict.encoder.",
    ),
    "DINO": (
        lambda s: {
            "student": under("module.backbone.", zeros(s)),
            "teacher": under("backbone.", s) | {"head.mlp.0.weight": torch.zeros(3, 3)},
            "epoch": 99,
        },
        "teacher.backbone.",
    ),
    "SimCLR of lightly": (
        lambda s: {"state_dict": under("backbone.", by_number(s)) | {"projection_head.layers.0.weight": torch.ones(2)}},
        "backbone.",
    ),
    "BYOL of lightly": (
        lambda s: under("backbone.", by_number(s)) | under("backbone_momentum.", by_number(zeros(s))),
        "backbone.",
    ),
    "solo-learn": (
        lambda s: {"state_dict": under("backbone.", s) | under("momentum_backbone.", zeros(s)) | LOOSE},
        "backbone.",
    ),
    "mmpretrain, mmpose": (
        lambda s: {"meta": {"v": 1}, "state_dict": under("backbone.", without(s, "fc")) | {"head.x": torch.ones(3)}},
        "backbone.",
    ),
}


@pytest.mark.parametrize("family", RESNETS)
def test_a_resnet_of_any_program_fills_the_encoder(family, resnet, tmp_path, caplog):
    wrap, prefix = RESNETS[family]
    torch.save(wrap(dict(resnet)), tmp_path / "w.pth")
    encoder = make_encoder("resnet18")
    with caplog.at_level("INFO"):
        report = init_encoder(encoder, tmp_path / "w.pth")
    assert report["loaded"] == len(encoder.state_dict()) and not report["missing"]
    for name, value in encoder.state_dict().items():
        assert torch.equal(value, resnet[name]), name
    assert (f"under {prefix!r}" in caplog.text) == bool(prefix)


VITS = {
    "timm, in bf16": lambda s: {name: value.bfloat16() for name, value in s.items()},
    "DINO": lambda s: {
        "teacher": under("backbone.", without(s, "head")),
        "student": under("module.backbone.", zeros(s)),
    },
    "MAE": lambda s: {"model": without(s, "head") | {"mask_token": torch.ones(3)} | LOOSE},
    "transformers": as_transformers,
    "transformers, with a head": lambda s: under("vit.", as_transformers(s)) | {"classifier.weight": torch.ones(2, 2)},
    "mmpretrain": lambda s: {"state_dict": under("backbone.", as_mmpretrain(s)), "meta": {}},
    "HaMeR, WiLoR": lambda s: {
        "state_dict": under("backbone.", renamed(without(s, "head", "cls_token"), (r"^norm\.", "last_norm.")))
        | {"mano_head.decpose.weight": torch.ones(2, 2)}
    },
}


@pytest.mark.parametrize("family", VITS)
def test_a_vit_of_any_program_fills_the_encoder(family, vit, tmp_path):
    content, path = VITS[family](dict(vit)), tmp_path / "w.safetensors"
    if all(isinstance(value, torch.Tensor) for value in content.values()):
        save_file({name: value.contiguous() for name, value in content.items()}, path)
    else:
        torch.save(content, path := tmp_path / "w.pth")
    encoder = make_encoder("timm:test_vit", 64)
    report = init_encoder(encoder, path)
    lacking = {"cls_token"} if family.startswith("HaMeR") else set()
    assert set(report["missing"]) <= lacking
    for name, value in encoder.backbone.state_dict().items():
        if name not in lacking:
            expected = vit[name].bfloat16().float() if "bf16" in family else vit[name]
            assert torch.equal(value, expected), name


@pytest.mark.parametrize("prefix", ["", "backbone.", "module.encoder."])
def test_a_convnext_by_its_authors_names_fills_the_encoder(prefix, convnext, tmp_path):
    torch.save({"model": under(prefix, as_original_convnext(dict(convnext)))}, tmp_path / "w.pth")
    encoder = make_encoder("timm:test_convnext", 64)
    assert not init_encoder(encoder, tmp_path / "w.pth")["missing"]
    for name, value in encoder.backbone.state_dict().items():
        assert torch.equal(value, convnext[name]), name


@pytest.mark.parametrize("config", ["ViT", "Dinov2", "ConvNext"])
def test_files_that_transformers_writes_fill_the_encoder(config, tmp_path):
    """Both programs' features must agree: names alone could be exchanged."""
    transformers = pytest.importorskip("transformers")
    small = {
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 64,
        "layer_norm_eps": 1e-6,
    }
    torch.manual_seed(0)
    if config == "ConvNext":
        theirs = transformers.ConvNextModel(
            transformers.ConvNextConfig(hidden_sizes=[40, 80, 160, 320], depths=[2, 2, 6, 2])
        )
        arch = "timm:convnext_atto"
    elif config == "ViT":
        sizes = {"hidden_size": 192, "num_attention_heads": 3, "intermediate_size": 768, "num_hidden_layers": 12}
        theirs = transformers.ViTModel(transformers.ViTConfig(**small | sizes), add_pooling_layer=False)
        arch = "timm:vit_tiny_patch16_224"
    else:
        sizes = {"hidden_size": 384, "num_attention_heads": 6, "num_hidden_layers": 12, "patch_size": 14}
        theirs = transformers.Dinov2Model(transformers.Dinov2Config(**small | sizes | {"image_size": 56}))
        arch = "timm:vit_small_patch14_dinov2"
    randomise_slightly(theirs)
    theirs.eval().save_pretrained(tmp_path)
    size = 56 if "14" in arch else 64
    encoder = make_encoder(arch, size).eval()
    assert init_encoder(encoder, tmp_path / "model.safetensors")["missing"] == []
    images = torch.randn(2, 3, size, size)
    with torch.no_grad():
        out = theirs(images)
        expected = out.pooler_output if config == "ConvNext" else out.last_hidden_state[:, 0]
        torch.testing.assert_close(encoder.net(images), expected, rtol=1e-4, atol=1e-4)


def randomise_slightly(module):
    generator = torch.Generator().manual_seed(3)
    for value in module.state_dict().values():
        if value.is_floating_point():
            value.add_(0.02 * torch.randn(value.shape, generator=generator))


def test_position_embeddings_are_resampled_as_timm_does(vit):
    smaller = timm.create_model("test_vit", num_classes=0, img_size=96)
    found = find_backbone(without(vit, "head"), smaller)
    assert found.tensors["pos_embed"].shape == (1, 37, 64)
    from timm.layers import resample_abs_pos_embed

    expected = resample_abs_pos_embed(vit["pos_embed"], [6, 6], num_prefix_tokens=1)
    torch.testing.assert_close(found.tensors["pos_embed"], expected)


def test_position_embeddings_of_a_four_by_three_picture_become_square():
    """ViTPose's grid of 16 x 12, whose value is the row: after resampling rows still rise evenly, columns are flat."""
    rows = torch.arange(16.0)[:, None].expand(16, 12).reshape(1, 192, 1)
    square = square_positions(torch.cat([torch.full((1, 1, 1), 100.0), rows], 1), 0)
    grid = square.view(14, 14)
    assert torch.allclose(grid, grid[:, :1].expand(14, 14), atol=1e-4)
    steps = grid[2:-2, 0].diff()
    assert torch.allclose(steps, torch.full_like(steps, 16 / 14), atol=0.05) and 100 < grid.min() < grid.max() < 116


REFUSED = {
    "another ViT": (
        "timm:test_vit",
        lambda: timm.create_model("vit_tiny_patch16_224", img_size=64).state_dict(),
        "looks like a ViT of 12 blocks, 192 wide, patches of 16 px",
        "--arch timm:vit_tiny_patch16_224",
    ),
    "a ConvNeXt for a ViT": (
        "timm:test_vit",
        lambda: timm.create_model("convnext_atto").state_dict(),
        "looks like a ConvNeXt of 2, 2, 6, 2 blocks, 40 wide",
        "--arch timm:NAME",
    ),
    "a ResNet for a ViT": (
        "timm:test_vit",
        lambda: torchvision.models.resnet34().state_dict(),
        "holds a resnet34, and the encoder is a timm:test_vit",
        "--arch resnet34",
    ),
    "a deeper ResNet": (
        "resnet18",
        lambda: under("backbone.", torchvision.models.resnet34().state_dict()),
        "holds a resnet34, and the encoder is a resnet18",
        "--arch resnet34",
    ),
    "half of the weights": (
        "timm:test_vit",
        lambda: without(timm.create_model("test_vit", img_size=64).state_dict(), "blocks.3", "blocks.4", "blocks.5"),
        r"lacks 36 of the 78 weights of timm:test_vit",
        None,
    ),
    "no network at all": (
        "timm:test_vit",
        lambda: {"a.b": torch.zeros(3), "c": torch.zeros(2, 2)},
        r"lacks 78 of the 78 weights of timm:test_vit",
        None,
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_does_not_fit_is_refused_with_what_it_looks_like(kind, tmp_path):
    arch, make, told, hint = REFUSED[kind]
    torch.save(make(), tmp_path / "w.pth")
    with pytest.raises(HandtoolError, match=told) as caught:
        init_encoder(make_encoder(arch, 64), tmp_path / "w.pth")
    assert "\n" not in str(caught.value)
    if hint:
        assert caught.value.hint == hint


def test_a_linear_layer_named_like_a_stem_is_no_network():
    found = find_backbone({"0.weight": torch.zeros(3, 3), "1.bias": torch.zeros(3)}, torchvision.models.resnet18())
    assert found is None
