"""The encoder of torchvision: a ResNet without its classifier. Other encoders have the same attributes.

Shapes: B images, D features.
"""

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


class Encoder(nn.Module):
    """ResNet (He et al. 2016, arXiv:1512.03385) to global average pooled features.

    The parts have torchvision's names (`conv1`, `bn1`, `layer1.0.conv1`, ...), so that state dicts can be exchanged.
    `num_features` is D of the map: 512 for resnet18 and 34, else 2048; `num_pooled` of the pooled features; `stride`
    the px of the input per cell of the map. `stages` names the parts that have weights, from the output to the input:
    --layer-decay slows each stage more.
    """

    stages: tuple[tuple[str, ...], ...] = (("layer4",), ("layer3",), ("layer2",), ("layer1",), ("conv1", "bn1"))
    stride: float = 32
    kept = True  # activations, for the gradients

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

    @property
    def num_pooled(self) -> int:
        return self.num_features

    @property
    def backbone(self) -> nn.Module:
        """What has the weights, under torchvision's names."""
        return self

    def features(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) normalised RGB -> the last feature map (B, D, ceil(H / 32), ceil(W / 32))."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = layer(x) if self.kept or not self.training else checkpoint(layer, x, use_reentrant=False)
        return x

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) normalised RGB -> (B, D)."""
        return self.features(images).mean(dim=(2, 3))

    def both(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, H, W) normalised RGB -> what `features` and what `forward` give, in one pass."""
        seen = self.features(images)
        return seen, seen.mean(dim=(2, 3))

    def keep_activations(self, keep: bool) -> None:
        """keep: False computes the activations of the layers again for their gradients, which saves memory."""
        self.kept = keep
