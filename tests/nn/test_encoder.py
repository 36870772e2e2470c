"""The encoder is torchvision's ResNet up to its pooled features."""

import pytest
import torch
import torchvision

from handtool.errors import HandtoolError
from handtool.nn.models.encoder import make_encoder, make_projection_head


@pytest.mark.parametrize("arch", ["resnet18", "resnet50"])
def test_encoder_equals_torchvision_without_its_classifier(arch):
    encoder = make_encoder(arch).eval()
    reference = getattr(torchvision.models, arch)()
    report = reference.load_state_dict(encoder.state_dict(), strict=False)
    assert report.missing_keys == ["fc.weight", "fc.bias"] and report.unexpected_keys == []
    reference.fc = torch.nn.Identity()
    images = torch.randn(2, 3, 96, 96)
    with torch.no_grad():
        assert torch.equal(encoder(images), reference.eval()(images))
        assert encoder(images).shape == (2, encoder.num_features)
        assert encoder.features(images).shape == (2, encoder.num_features, 3, 3)


def test_resnet50_has_the_papers_23_51_million_parameters():
    assert sum(p.numel() for p in make_encoder("resnet50").parameters()) == 23_508_032


def test_projection_head_is_linear_with_bias_norm_relu_linear_without():
    head = make_projection_head(512)
    assert {name: tuple(value.shape) for name, value in head.named_parameters()} == {
        "0.weight": (512, 512),
        "0.bias": (512,),
        "1.weight": (512,),
        "1.bias": (512,),
        "3.weight": (128, 512),
    }
    assert head(torch.randn(4, 512)).shape == (4, 128)


def test_an_unknown_architecture_is_refused_with_those_that_exist():
    with pytest.raises(HandtoolError, match="resnet19.*resnet18, resnet34"):
        make_encoder("resnet19")
