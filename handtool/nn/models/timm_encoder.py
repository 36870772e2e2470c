"""Encoders of timm (Wightman 2019): ViT, ConvNeXt, Hiera, EfficientNet and others, asked for as `timm:NAME`.

The network is timm's own, with timm's names and defaults (drop path, layer scale, how features are pooled). timm is
imported only when such an encoder is made. Shapes: B images, D features of the map, E of the pooled ones, S side of the
input in px, h = w cells of the last map.
"""

from difflib import get_close_matches
from typing import Any

import torch
from torch import Tensor, nn
from torch._guards import active_fake_mode
from torch._subclasses.fake_tensor import unset_fake_temporarily

from handtool.errors import HandtoolError, WrongCommand, first_line
from handtool.nn.views.views import IMAGENET_MEAN, IMAGENET_STD

PREFIX = "timm:"


class TimmEncoder(nn.Module):
    """A timm backbone without its classifier, for inputs of one size. The attributes are those of `Encoder`.

    Images come with ImageNet's normalisation, as for all our encoders, and are brought to the one that this backbone's
    published weights expect.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, arch: str, size: int) -> None:
        """arch: `timm:NAME`, with timm's tag or without. size: px. Raises HandtoolError if timm is missing, does not
        know the name, or the backbone cannot take pictures of this size; WrongCommand for the latter two."""
        super().__init__()
        self.arch, self.size = arch, size
        self.net = make_backbone(arch.removeprefix(PREFIX), size)
        spatial, pooled = self.try_out()
        config = self.net.pretrained_cfg
        self.register_buffer("mean", channels(config["mean"]) - channels(IMAGENET_MEAN), persistent=False)
        self.register_buffer("std", channels(config["std"]), persistent=False)
        self.as_it_comes = tuple(config["mean"]) == IMAGENET_MEAN and tuple(config["std"]) == IMAGENET_STD
        self.num_features, self.num_pooled, self.stride = spatial[1], pooled[1], size / spatial[2]
        self.stages = find_blocks(self.net)

    @property
    def backbone(self) -> nn.Module:
        """What has the weights, under timm's names."""
        return self.net

    def features(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) normalised RGB -> the last feature map (B, D, h, w)."""
        return self.as_map(self.net.forward_features(self.normalise(images)))

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) normalised RGB -> (B, E), as timm pools them: class token or mean, with its norm."""
        return self.pool(self.net.forward_features(self.normalise(images)))

    def both(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, S, S) normalised RGB -> what `features` and what `forward` give, in one pass."""
        seen = self.net.forward_features(self.normalise(images))
        return self.as_map(seen), self.pool(seen)

    def pool(self, seen: Tensor) -> Tensor:
        return self.net.forward_head(seen, pre_logits=True)

    def as_map(self, seen: Tensor) -> Tensor:
        """What timm's `forward_features` gives, tokens (B, N, D) or a map with the channels first or last."""
        if seen.ndim == 3:
            patches = seen[:, getattr(self.net, "num_prefix_tokens", 0) :]
            side = round(patches.shape[1] ** 0.5)
            return patches.transpose(1, 2).unflatten(2, (side, side))
        return seen.permute(0, 3, 1, 2) if getattr(self.net, "output_fmt", "NCHW") == "NHWC" else seen

    def normalise(self, images: Tensor) -> Tensor:
        if self.as_it_comes:
            return images
        return (images * channels(IMAGENET_STD).to(images) - self.mean) / self.std

    def try_out(self) -> tuple[torch.Size, torch.Size]:
        """The shapes of map and pooled features of two pictures, without computing them."""
        try:
            with unset_fake_temporarily(), torch.device("meta"):
                shadow = make_backbone(self.arch.removeprefix(PREFIX), self.size)
                seen = shadow.forward_features(torch.zeros(2, 3, self.size, self.size))
                spatial, pooled = self.as_map(seen), shadow.forward_head(seen, True)
        except (AssertionError, RuntimeError, ValueError) as error:
            raise wrong_size(self.arch, self.size, error) from None
        except (AttributeError, TypeError):  # several maps, or none
            raise no_map(self.arch) from None
        if spatial.ndim != 4 or spatial.shape[2] != spatial.shape[3] or pooled.ndim != 2:
            raise no_map(self.arch)
        return spatial.shape, pooled.shape

    def keep_activations(self, keep: bool) -> None:
        """keep: False computes the activations of the blocks again for their gradients, which saves memory."""
        try:
            self.net.set_grad_checkpointing(not keep)
        except (AssertionError, NotImplementedError):
            told = f"{self.arch} cannot compute its activations again"
            raise WrongCommand(told, hint="leave --checkpoint-activations out") from None


def make_backbone(name: str, size: int) -> Any:
    """A new backbone of timm for pictures of `size` px, without classifier and without published weights."""
    if mode := active_fake_mode():  # timm computes with numbers while it builds, which fake tensors have none of
        with unset_fake_temporarily(), torch.device("meta"):
            net = make_backbone(name, size)
        with mode:
            return net._apply(lambda value: torch.empty(value.shape, dtype=value.dtype))
    timm = import_timm()
    try:
        config = timm.models.get_pretrained_cfg(name, allow_unregistered=False)
        fixed = {"img_size": size} if config.fixed_input_size else {}
        net = timm.create_model(name, pretrained=False, num_classes=0, **fixed)
    except (RuntimeError, AttributeError, KeyError) as error:
        if name.split(".")[0] not in timm.list_models():
            near = get_close_matches(name, timm.list_models(), 1) or ["convnext_tiny"]
            raise WrongCommand(f"timm knows no {name!r}", hint=f"--arch {PREFIX}{near[0]}") from None
        raise WrongCommand(f"timm cannot make {name}: {first_line(error)}") from None
    except (AssertionError, ValueError) as error:
        raise wrong_size(PREFIX + name, size, error) from None
    patch = getattr(getattr(net, "patch_embed", None), "patch_size", (1, 1))[0]
    if size % patch:
        raise wrong_size(PREFIX + name, size, ValueError(f"its patches have {patch} px"))
    return net


def import_timm() -> Any:
    try:
        import timm
    except ImportError:
        raise HandtoolError("--arch timm:NAME needs the timm package", hint="pip install 'handtool[timm]'") from None
    return timm


def wrong_size(arch: str, size: int, error: Exception) -> WrongCommand:
    """The error for an input that the backbone cannot take, with the nearest multiple of its patches' side."""
    unit = next((unit for unit in (14, 16) if f"{unit} px" in str(error)), 32)
    near = max(1, round(size / unit)) * unit
    near = near if near != size else 224
    return WrongCommand(f"{arch} cannot take inputs of {size} px: {first_line(error)}", hint=f"--input-size {near}")


def no_map(arch: str) -> WrongCommand:
    return WrongCommand(f"{arch} has no last feature map", hint=f"--arch {PREFIX}convnext_tiny, for example")


def channels(values: tuple[float, ...]) -> Tensor:
    return torch.tensor(values).view(1, 3, 1, 1)


def find_blocks(net: Any) -> tuple[tuple[str, ...], ...]:
    """The names of the parameters of each block, from the output to the input, by timm's own grouping."""
    from timm.models import group_parameters

    blocks = group_parameters(net, net.group_matcher(coarse=False), reverse=False)
    return tuple(tuple(f"net.{name}" for name in blocks[number]) for number in sorted(blocks, reverse=True))
