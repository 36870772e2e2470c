"""The encoder: a torchvision ResNet without its classifier, and the projection head for pre-training.

Shapes: B images, D features, P = 128 outputs of the projection head.
"""

from torch import Tensor, nn

from handtool.config import ARCHS
from handtool.errors import HandtoolError


class Encoder(nn.Module):
    """ResNet (He et al. 2016, arXiv:1512.03385) to global average pooled features.

    The parts have torchvision's names (`conv1`, `bn1`, `layer1.0.conv1`, ...), so that state dicts can be exchanged.
    `num_features` is D: 512 for resnet18 and 34, else 2048. `stages` names the parts that have weights, from the output
    to the input: --layer-decay slows each stage more.
    """

    stages: tuple[tuple[str, ...], ...] = (("layer4",), ("layer3",), ("layer2",), ("layer1",), ("conv1", "bn1"))

    conv1: nn.Module
    bn1: nn.Module
    relu: nn.Module
    maxpool: nn.Module
    layer1: nn.Module
    layer2: nn.Module
    layer3: nn.Module
    layer4: nn.Module

    def __init__(self, arch: str) -> None:
        super().__init__()
        import torchvision.models

        resnet = getattr(torchvision.models, arch)(weights=None)
        self.arch = arch
        self.num_features = resnet.fc.in_features
        for name in ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4"):
            setattr(self, name, getattr(resnet, name))

    def features(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) normalised RGB -> the last feature map (B, D, ceil(H / 32), ceil(W / 32))."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) normalised RGB -> (B, D)."""
        return self.features(images).mean(dim=(2, 3))


ENCODERS = dict.fromkeys(ARCHS, Encoder)  # a family other than ResNet gets its own class


def make_encoder(arch: str) -> Encoder:
    """A newly initialised encoder (as torchvision initialises it, with torch's global generator)."""
    if arch not in ENCODERS:
        raise HandtoolError(f"no architecture {arch!r}: there are {', '.join(ENCODERS)}")
    return ENCODERS[arch](arch)


def make_projection_head(num_features: int, hidden: int = 512, out: int = 128) -> nn.Sequential:
    """(B, D) -> (B, P), as in PeCLR and SiMHand (arXiv:2106.05953, section 4): bias before the norm, none after."""
    return nn.Sequential(
        nn.Linear(num_features, hidden),
        nn.BatchNorm1d(hidden),
        nn.ReLU(inplace=True),
        nn.Linear(hidden, out, bias=False),
    )
