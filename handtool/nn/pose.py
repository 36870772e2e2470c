"""A pose model: encoder, head, and the contract of what goes in and comes out; how it starts, is written, and is read back."""

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from handtool.errors import HandtoolError
from handtool.nn.encoder import IMAGENET_MEAN, IMAGENET_STD, Encoder, make_encoder
from handtool.nn.foreign import torchvision_names
from handtool.nn.heatmap import HeatmapHead
from handtool.nn.regression import RegressionHead
from handtool.nn.weights import fetch_imagenet, load_encoder, part_of, read_any, read_state, write_state

log = logging.getLogger(__name__)

FOCAL = 388.9 / 224  # of the crop's side; PeCLR's assumed camera, where the training hands had none
PUBLISHED_SIDE = 224  # px; PeCLR's fine-tuned layer speaks in pixels of such an input

PUBLISHED_NORMALIZATION = {"mean": (0.5, 0.5, 0.5), "std": (1.0, 1.0, 1.0)}  # DetNet's, whatever its encoder was trained with


@dataclass(frozen=True)
class Contract:
    """What the model expects and what its numbers mean."""

    size: int  # px, side of the input: the whole crop, resized
    mean: tuple[float, ...] = IMAGENET_MEAN  # RGB, of 0..1
    std: tuple[float, ...] = IMAGENET_STD
    side: str = "RIGHT"  # left hands are mirrored in and mirrored back
    box_scale: float = 1.3  # of the crops that it was trained on
    bone_m: float = float("nan")  # mean reference bone of the training hands
    head: str = "regression"  # or heatmap
    mirrored: bool = False  # it has seen mirrored hands too, so that --flip makes sense
    focal: float = FOCAL  # median focal length of the training crops, in sides of the crop: assumed where a camera is unknown


HEADS = {"heatmap": HeatmapHead, "regression": RegressionHead}
MARKS = {"heatmap": "head.upsample.0.weight", "regression": "head.refine.0.weight"}  # what tells them apart in a file of ours


class PoseModel(nn.Module):
    """(B, 3, size, size) normalised canonical right hands -> what the head says of them, which `solve` understands."""

    def __init__(self, encoder: Encoder, contract: Contract) -> None:
        super().__init__()
        self.encoder, self.contract = encoder, contract
        self.head = HEADS[contract.head](encoder.num_features, contract.size)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return self.head(self.encoder.features(images) if self.head.spatial else self.encoder(images))

    def solve(self, *outputs_and_camera: Tensor) -> tuple[Tensor, Tensor]:
        """What `forward` said and, last, the inputs' cameras (B, 3, 3) float64 -> joints (B, 21, 3), reference-bone lengths in the camera frame,
        and keypoints (B, 21, 2) px of the input; float64, standard order.
        """
        return self.head.solve(*outputs_and_camera)


class PoseLosses(nn.Module):
    """Model and losses as one module, whose gradients DDP can average: inputs and targets -> (3,) parts of the loss."""

    def __init__(self, model: PoseModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Tensor, targets: object, half: bool) -> Tensor:
        with torch.autocast(inputs.device.type, torch.bfloat16, enabled=half):
            outputs = self.model(inputs)
        return torch.stack(self.model.head.losses(outputs, targets))


def layer_shares(model: PoseModel, decay: float) -> dict[nn.Module, float]:
    """Layer-wise learning rates: the head at the whole rate, each stage of the encoder below it at `decay` times that of the one above."""
    encoder = model.encoder
    stages = [(encoder.layer4,), (encoder.layer3,), (encoder.layer2,), (encoder.layer1,), (encoder.conv1, encoder.bn1)]
    return {part: decay**depth for depth, parts in enumerate(stages, 1) for part in parts}


def init_pose(model: PoseModel, init: str | Path) -> dict:
    """Fill the encoder ("scratch", "imagenet", a file of ours or a foreign one), and the head too where the file has one that fits.

    Returns {"init", "loaded", "missing", "unexpected", "head"}.
    """
    if str(init) == "scratch":
        return {"init": "scratch", "loaded": 0, "missing": [], "unexpected": [], "head": False}
    path = fetch_imagenet(model.encoder.arch) if str(init) == "imagenet" else Path(init)
    tensors = read_any(path)
    found = torchvision_names(tensors)
    report = load_encoder(model.encoder, found, path)
    kinds = [kind for kind, mark in MARKS.items() if mark in tensors] or ["regression"] * ("zroot_ref.zroot_ref.0.weight" in found)
    head = kinds == [model.contract.head]
    if head and MARKS[kinds[0]] in tensors:
        load_head(model.head, part_of(tensors, "head", model.head), path)
    elif head:
        load_head(model.head, published_head(found, model.head, path), path)
    elif kinds:
        log.warning("%s has a %s head: only its encoder is taken", path, kinds[0])
    return {"init": str(init)} | report | {"head": head}


def load_head(head: nn.Module, state: Mapping[str, Tensor], origin: Path) -> None:
    try:
        head.load_state_dict(dict(state))
    except RuntimeError as error:
        raise HandtoolError(f"{origin} has a head of another kind: {str(error).splitlines()[-1].strip()}") from None


def published_head(found: Mapping[str, Tensor], head: RegressionHead, origin: Path) -> dict[str, Tensor]:
    """PeCLR's fine-tuned head in our units: its layer speaks in pixels of a 224 px input, ours in half sides from the centre."""
    if head.input_size != PUBLISHED_SIDE:
        raise HandtoolError(f"the head of {origin} is for {PUBLISHED_SIDE} px, not {head.input_size}",
                            hint=f"--input-size {PUBLISHED_SIDE}")
    half = PUBLISHED_SIDE / 2
    weight, bias = found["fc.weight"].clone(), found["fc.bias"].clone()
    uv = [row for row in range(len(bias) - 1) if row % 3 < 2]
    weight[uv] /= half
    bias[uv] = (bias[uv] - (half - 0.5)) / half
    prefix = "zroot_ref.zroot_ref."
    refine = {f"refine.{name.removeprefix(prefix)}": value for name, value in found.items() if name.startswith(prefix)}
    return {"fc.weight": weight, "fc.bias": bias} | refine


def write_pose(sink, model: PoseModel, config: Mapping[str, object]) -> None:
    """Write /weights with all that prediction needs; `config`: the settings of the run."""
    contract = {name: np.array(value) if isinstance(value, tuple) else value for name, value in asdict(model.contract).items()}
    attrs = {"kind": "pose", "architecture": model.encoder.arch, "config": json.dumps(dict(config))}
    write_state(sink, {"encoder": model.encoder, "head": model.head}, attrs | contract)


def read_pose(file) -> PoseModel:
    """The pose model of a pose.h5, in evaluation mode, on the CPU. Raises HandtoolError for a file with other weights."""
    tensors, attrs = read_state(file)
    if attrs.get("kind") != "pose":
        raise HandtoolError(f"{file.path} holds {attrs.get('kind', 'unknown')} weights, not a pose model",
                            hint=f"handtool finetune train.h5 --encoder {file.path} -o pose.h5")
    attrs = {"mirrored": False} | dict(attrs)  # files from before there was a choice
    contract = {name: attrs[name] for name in Contract.__dataclass_fields__}
    contract |= {name: tuple(map(float, attrs[name])) for name in ("mean", "std")}
    model = PoseModel(make_encoder(attrs["architecture"]), Contract(**contract))
    load_encoder(model.encoder, torchvision_names(tensors), file.path)
    load_head(model.head, part_of(tensors, "head", model.head), file.path)
    return model.eval()


def assumed_camera(side: int, focal: float) -> torch.Tensor:
    """(3, 3) of a crop of `side` px whose true camera is unknown: its axis through the centre."""
    middle = (side - 1) / 2
    return torch.tensor([[focal * side, 0, middle], [0, focal * side, middle], [0, 0, 1]], dtype=torch.float64)
