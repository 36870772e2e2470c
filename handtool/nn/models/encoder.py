"""Encoders by name (resnet_encoder.py, timm_encoder.py), and the projection head for pre-training.

Shapes: B images, D features, P = 128 outputs of the projection head.
"""

from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import unset_fake_temporarily

from handtool.config import ARCHS
from handtool.errors import WrongCommand
from handtool.nn.models.resnet_encoder import Encoder
from handtool.nn.models.timm_encoder import PREFIX, TimmEncoder

AnyEncoder = Encoder | TimmEncoder
ENCODERS = dict.fromkeys(ARCHS, Encoder)  # a family other than ResNet gets its own class


def make_encoder(arch: str, size: int = 224) -> AnyEncoder:
    """A newly initialised encoder for inputs of `size` px (as torchvision or timm initialises it, with torch's global
    generator)."""
    if arch.startswith(PREFIX):
        return TimmEncoder(arch, size)
    if arch not in ENCODERS:
        known = f"there are {', '.join(ENCODERS)}, and {PREFIX}NAME"
        near = ARCHS[2] if arch.startswith("resnet") else f"{PREFIX}{arch}"  # a name of timm's without what marks it
        raise WrongCommand(f"no architecture {arch!r}: {known}", hint=f"--arch {near}")
    return ENCODERS[arch](arch)


def find_stages(arch: str, size: int) -> tuple[tuple[str, ...], ...]:
    """`stages` of the encoder, without computing its weights."""
    if arch in ENCODERS:
        return ENCODERS[arch].stages
    with torch.device("meta"):
        return make_encoder(arch, size).stages


def count_batches_once(network: nn.Module) -> None:
    """Lets batch norms that compute their activations again for the gradients (`keep_activations`) leave their running
    statistics alone the second time."""

    def hold(norm: Any, _: object) -> None:
        norm.held = norm.momentum if is_in_backward() else None
        norm.momentum = norm.momentum if norm.held is None else 0.0

    def release(norm: Any, *_: object) -> None:
        if norm.held is not None:
            norm.momentum = norm.held
            norm.num_batches_tracked -= 1

    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.register_forward_pre_hook(hold)
            # also where the second pass ends early, by an exception, since nothing more is needed
            module.register_forward_hook(release, always_call=True)


def is_in_backward() -> bool:
    """Whether autograd is computing gradients in this thread."""
    return torch._C._current_graph_task_id() != -1


def freeze_idle(encoder: AnyEncoder, spatial: bool, pooled: bool) -> None:
    """Freeze the weights without influence on the outputs that are used, the map or the pooled features: of the norm
    behind the pooling, say. Processes that average gradients would wait for theirs."""
    if not isinstance(encoder, TimmEncoder):
        return
    with unset_fake_temporarily(), torch.device("meta"), torch.enable_grad():
        shadow = TimmEncoder(encoder.arch, encoder.size)
        found = shadow.both(torch.zeros(2, 3, encoder.size, encoder.size))
        sum(part.sum() for part, used in zip(found, (spatial, pooled), strict=True) if used).backward()  # type: ignore
    for own, other in zip(encoder.parameters(), shadow.parameters(), strict=True):
        own.requires_grad_(other.grad is not None)


def make_projection_head(num_features: int, hidden: int = 512, out: int = 128) -> nn.Sequential:
    """(B, D) -> (B, P), as in PeCLR and SiMHand (arXiv:2106.05953, section 4): bias before the norm, none after."""
    return nn.Sequential(
        nn.Linear(num_features, hidden),
        nn.BatchNorm1d(hidden),
        nn.ReLU(inplace=True),
        nn.Linear(hidden, out, bias=False),
    )
