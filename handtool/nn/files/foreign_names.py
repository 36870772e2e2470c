"""Which tensors of a file are the encoder's: found by their names and shapes, whatever wraps them.

Known are the names of torchvision, timm, transformers (ViT, DINOv2, DINOv3, ConvNeXt), mmpretrain and mmpose, the
original DINO, DINOv2, MAE and ConvNeXt, ViTPose (HaMeR, WiLoR), and everything that only puts words before them: DDP,
Lightning, MoCo, BYOL, SimCLR, lightly, solo-learn.
"""

import logging
import re
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from handtool.nn.files.foreign_weights import NUMBERED

log = logging.getLogger(__name__)

# Words of the branch that is not the one its authors evaluate: DINO's is the teacher, all others' the trained one.
SECOND_CHOICE = re.compile(r"(^|[._])(student|momentum|encoder_k|target|predictor|ema|memory)([._]|$)", re.IGNORECASE)
# The first weight of a layout that is renamed: what stands before it is the prefix of all.
STEMS = re.compile(
    r"(^|.*?\.)(?:embeddings\.patch_embeddings\.(?:projection\.)?|patch_embed\.(?:projection|proj)\.|"
    r"downsample_layers\.0\.0\.|stem\.0\.|0\.)weight$"
)
# transformers' ConvNeXt, whose stem is called as its ViT's patches are, to its authors' names, which timm knows
CONVNEXT = "embeddings.layernorm.weight"
CONVNEXT_RULES = (
    (r"^embeddings\.patch_embeddings\.", "downsample_layers.0.0."),
    (r"^embeddings\.layernorm\.", "downsample_layers.0.1."),
)
RULES: tuple[tuple[str, str], ...] = (
    # a ResNet's children by number: Lightning checkpoints of PeCLR and SiMHand, lightly
    *((rf"^{number}\.(?=\d+\.|weight|bias|running|num)", f"{name}.") for number, name in NUMBERED.items()),
    # transformers: ConvNeXt
    (r"^encoder\.stages\.(\d+)\.downsampling_layer\.", r"downsample_layers.\1."),
    (r"^encoder\.stages\.(\d+)\.layers\.(\d+)\.", r"stages.\1.\2."),
    (r"\.layer_scale_parameter$", ".gamma"),
    (r"^(stages\..*)\.layernorm\.", r"\1.norm."),
    # transformers: ViT, DINOv2, DINOv3
    (r"^embeddings\.(cls_token|mask_token)$", r"\1"),
    (r"^embeddings\.register_tokens$", "reg_token"),
    (r"^embeddings\.position_embeddings$", "pos_embed"),
    (r"^embeddings\.patch_embeddings\.(projection\.)?", "patch_embed.proj."),
    (r"^(encoder\.|model\.)?layers?\.(\d+)\.", r"blocks.\2."),
    (r"\.attention\.(?:attention\.)?([qkv])(?:uery|ey|alue|_proj)\.", r".attn.\1."),
    (r"\.attention\.(?:output\.dense|o_proj)\.", ".attn.proj."),
    (r"\.layernorm_before\.", ".norm1."),
    (r"\.layernorm_after\.", ".norm2."),
    (r"\.(?:intermediate\.dense|mlp\.up_proj)\.", ".mlp.fc1."),
    (r"\.(?:output\.dense|mlp\.down_proj)\.", ".mlp.fc2."),
    (r"\.layer_scale(\d)\.lambda1$", r".ls\1.gamma"),
    (r"^layernorm\.", "norm."),
    # mmpretrain
    (r"^patch_embed\.projection\.", "patch_embed.proj."),
    (r"\.ln(\d)\.", r".norm\1."),
    (r"\.ffn\.layers\.0\.0\.", ".mlp.fc1."),
    (r"\.ffn\.layers\.1\.", ".mlp.fc2."),
    (r"^ln1\.", "norm."),
    (r"\.depthwise_conv\.", ".dwconv."),
    (r"\.pointwise_conv(\d)\.", r".pwconv\1."),
    (r"^norm3\.", "norm."),
    # ViTPose
    (r"^last_norm\.", "norm."),
)


# timm has two ways to name layer scale, the last norm, and biases where keys have none
SECOND_NAMES = (
    (r"\.ls(\d)\.gamma$", r".gamma_\1"),
    (r"^norm\.", "fc_norm."),
    (r"\.attn\.([qv])\.bias$", r".attn.\1_bias"),
)


@dataclass(frozen=True)
class Backbone:
    """Tensors under the encoder's own names, and what stood before them in the file."""

    tensors: dict[str, Tensor]
    prefix: str
    others: tuple[str, ...]  # prefixes under which as many tensors fit


def find_backbone(tensors: Mapping[str, Tensor], net: nn.Module) -> Backbone | None:
    """The weights of `net` in the file; None if fewer than a tenth of its tensors are there under any prefix."""
    wanted = {name: value.shape for name, value in net.state_dict().items()}
    found = []
    for prefix in find_prefixes(tensors, wanted):
        own = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
        fitting = max((fit(names, net) for names in (own, rename(own, wanted))), key=lambda each: count(each, wanted))
        found.append((count(fitting, wanted), prefix, fitting))
    most = max((number for number, _, _ in found), default=0)
    if most < len(wanted) / 10:
        return None
    best = sorted((each for each in found if each[0] == most), key=lambda each: (is_second(each[1]), len(each[1])))
    return Backbone(best[0][2], best[0][1], tuple(prefix for _, prefix, _ in best[1:]))


def is_second(prefix: str) -> bool:
    return bool(SECOND_CHOICE.search(prefix))


def count(tensors: Mapping[str, Tensor], wanted: Mapping[str, torch.Size]) -> int:
    """How many of the wanted tensors are there in the wanted shape, axes of length 1 aside."""
    long_axes = [
        ([n for n in tensors[name].shape if n > 1], [n for n in shape if n > 1])
        for name, shape in wanted.items()
        if name in tensors
    ]
    return sum(one == other for one, other in long_axes)


def find_prefixes(tensors: Mapping[str, Tensor], wanted: Mapping[str, torch.Size], most: int = 12) -> list[str]:
    """What may stand before the encoder's names, the likeliest first."""
    seen: Counter[str] = Counter()
    for name in tensors:
        for start in [0] + [match.end() for match in re.finditer(r"\.", name)]:
            seen[name[:start]] += name[start:] in wanted
        if match := STEMS.match(name):
            seen[match[1]] += len(wanted)  # its names are other ones
    return [prefix for prefix, number in seen.most_common(most) if number]


def rename(tensors: Mapping[str, Tensor], wanted: Mapping[str, torch.Size]) -> dict[str, Tensor]:
    """The tensors under timm's or torchvision's names; queries, keys and values as one."""
    renamed = {}
    for name, value in tensors.items():
        for pattern, replacement in (CONVNEXT_RULES if CONVNEXT in tensors else ()) + RULES:
            name = re.sub(pattern, replacement, name)
        renamed[name] = value
    renamed.pop("mask_token", None)  # by it timm's filters take the file for one with other names
    for name in [name for name in renamed if ".attn.q." in name]:
        parts = [name.replace(".attn.q.", f".attn.{part}.") for part in "qkv"]
        if all(part in renamed for part in parts):
            renamed[name.replace(".attn.q.", ".attn.qkv.")] = torch.cat([renamed.pop(part) for part in parts])
    for name in list(renamed):
        for one, other in SECOND_NAMES:
            if name not in wanted and (second := re.sub(one, other, name)) in wanted:
                renamed[second] = renamed.pop(name)
                break
    return renamed


def fit(tensors: dict[str, Tensor], net: nn.Module) -> dict[str, Tensor]:
    """The tensors as timm brings them to this network: other layouts renamed, position embeddings resampled."""
    wanted = {name: value.shape for name, value in net.state_dict().items()}
    adapt = getattr(sys.modules[type(net).__module__], "checkpoint_filter_fn", None)
    if adapt is None or count(tensors, wanted) == len(wanted):
        return tensors
    if "pos_embed" in tensors and "pos_embed" in wanted:
        tensors = tensors | {"pos_embed": square_positions(tensors["pos_embed"], getattr(net, "num_prefix_tokens", 0))}
    try:
        adapted = dict(adapt(dict(tensors), net))
    except Exception:  # timm's filters fail in many ways on names of other networks
        return tensors
    return adapted if count(adapted, wanted) >= count(tensors, wanted) else tensors


def square_positions(positions: Tensor, prefix_tokens: int) -> Tensor:
    """Position embeddings (1, 1 + 16 x 12, D) of ViTPose, for pictures of 4 : 3, resampled to a square; others as they
    are. Its first one, of a class token that is not there, is added to all others, as ViTPose does."""
    if positions.ndim != 3 or positions.shape[1] < 2:
        return positions
    cells = positions.shape[1] - 1
    unit = round((cells / 12) ** 0.5)
    if cells != 12 * unit**2 or is_square(cells) or is_square(cells + 1):
        return positions
    first, rest = positions[:, :1], positions[:, 1:]
    grid = (rest + first).float().unflatten(1, (4 * unit, 3 * unit)).permute(0, 3, 1, 2)
    side = round(cells**0.5)
    grid = interpolate(grid, (side, side), mode="bicubic", antialias=True, align_corners=False)
    square = grid.permute(0, 2, 3, 1).flatten(1, 2)
    return torch.cat([first] * prefix_tokens + [square], dim=1)


def is_square(number: int) -> bool:
    return round(number**0.5) ** 2 == number


def describe_network(tensors: Mapping[str, Tensor]) -> tuple[str, str] | None:
    """What a file of weights looks like, and the --arch for it; None if like nothing known."""
    for name, value in tensors.items():
        match = STEMS.match(name)
        if match is None or value.ndim != 4:
            continue
        own = rename({n.removeprefix(match[1]): v for n, v in tensors.items() if n.startswith(match[1])}, {})
        width, patch = value.shape[0], value.shape[-1]
        if depth := count_parts(own, r"blocks\.(\d+)\."):
            size = {192: "tiny", 384: "small", 768: "base", 1024: "large", 1280: "huge", 1536: "giant"}.get(width)
            kind = "dinov2" if patch == 14 else "224"
            told = f"a ViT of {depth} blocks, {width} wide, patches of {patch} px"
            return told, f"timm:vit_{size}_patch{patch}_{kind}" if size else "timm:NAME"
        if depths := [count_parts(own, rf"stages\.{stage}\.(?:blocks\.)?(\d+)\.") for stage in range(4)]:
            if all(depths):
                size = {(96, 9): "tiny", (96, 27): "small", (128, 27): "base", (192, 27): "large"}.get(
                    (width, depths[2])
                )
                told = f"a ConvNeXt of {', '.join(map(str, depths))} blocks, {width} wide"
                return told, f"timm:convnext_{size}" if size else "timm:NAME"
    return None


def count_parts(names: Mapping[str, object], pattern: str) -> int:
    return len({match[1] for name in names if (match := re.match(pattern, name))})
