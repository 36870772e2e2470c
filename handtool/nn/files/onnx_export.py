"""Our weights as an ONNX model that runs without torch, with metadata that describe its inputs and outputs.

pose.h5     image (B, 3, S, S), camera (B, 3, 3) px of the input -> keypoints (B, 21, 2) px of the input,
            joints (B, 21, 3) in lengths of the reference bone (middle MCP - PIP), camera frame;
            both of the hand as a right one
encoder.h5  image (B, 3, S, S) -> features (B, D) and, if the file has that head, projection (B, P)

The image is a whole crop resized to S, left hands mirrored, RGB, normalised by the metadata's `mean` and `std` (0..1).
"""

import importlib.util
import logging
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from handtool.errors import HandtoolError
from handtool.nn.files.pose_weights import read_pose
from handtool.nn.files.weights import read_encoder, text_of
from handtool.nn.models.encoder import AnyEncoder
from handtool.nn.models.pose_model import PoseModel, assumed_camera

log = logging.getLogger(__name__)
NEEDED = ("onnx", "onnxscript")
OLDEST_TORCH = (2, 6)
TOLERANCE = 1e-4  # of the largest number of an output, between torch and onnxruntime
CHECKED = 3  # random pictures on which they are compared
SEEDS = (5, 6, 7)  # tried in turn: if two heat-map cells are equally high, rounding decides


class DeployedPose(nn.Module):
    """The steps of predict from the picture to the pose, in one graph."""

    inputs, outputs = ("image", "camera"), ("keypoints", "joints")

    def __init__(self, model: PoseModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor, camera: Tensor) -> tuple[Tensor, Tensor]:
        joints, keypoints = self.model.solve(*self.model(image), camera.double())
        return keypoints.float(), joints.float()


class DeployedEncoder(nn.Module):
    inputs: tuple[str, ...] = ("image",)

    def __init__(self, encoder: AnyEncoder, head: nn.Module | None) -> None:
        super().__init__()
        self.encoder, self.head = encoder, head
        self.outputs: tuple[str, ...] = ("features",) if head is None else ("features", "projection")

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        features = self.encoder(image)
        return (features,) if self.head is None else (features, self.head(features))


def export_onnx(file: Any, path: Path) -> dict:
    """Write the weights of a pose.h5 or encoder.h5 (an open handtool file) to `path`, and compare with torch if
    onnxruntime is installed.

    Returns {"architecture", "outputs", "bytes", "difference_from_torch"}: the largest difference divided by the largest
    number, None if not compared. Raises HandtoolError if a package is missing, torch is too old, or the two disagree.
    """
    require_exporter()
    deployed, metadata, size = read_deployed(file)
    program = trace(deployed.eval(), example_inputs(deployed, size, SEEDS[0]))
    program.model.metadata_props.update({f"handtool.{key}": value for key, value in metadata.items()})
    forget_origin(program.model)
    program.save(path)
    difference = compare(path, deployed, size)
    about = {"architecture": metadata["architecture"], "outputs": list(deployed.outputs)}
    return about | {"bytes": path.stat().st_size, "difference_from_torch": difference}


def require_exporter() -> None:
    if missing := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
        raise HandtoolError(f"export to ONNX needs {' and '.join(missing)}", hint="pip install 'handtool[onnx]'")
    if tuple(int(part) for part in torch.__version__.split(".")[:2]) < OLDEST_TORCH:
        raise HandtoolError(
            f"export to ONNX needs torch 2.6 or newer, here is {torch.__version__}",
            hint="pip install --upgrade torch torchvision",
        )


def read_deployed(file: Any) -> tuple[DeployedPose | DeployedEncoder, dict[str, str], int]:
    """The module to export, its metadata (without prefix) and the side of its input in px."""
    encoder, head, attrs = read_encoder(file)
    contract = {"uuid": file.uuid, "architecture": encoder.arch, "kind": attrs["kind"]}
    contract |= {key: text_of(attrs[key]) for key in ("box_scale",) if key in attrs}
    picture = {"size": str(int(attrs["size"])), "colour": "rgb", "channels": "first"}
    picture |= {name: comma_separated(attrs[name]) for name in ("mean", "std")}
    if attrs["kind"] != "pose":
        return DeployedEncoder(encoder, head), contract | picture | {"side": "right"}, int(attrs["size"])
    model = read_pose(file)
    meaning = {"layout": "regression", "units": "px", "output": "keypoints", "camera": "camera"}
    meaning |= {"head": model.contract.head, "side": model.contract.side.lower()}
    meaning |= {name: repr(float(getattr(model.contract, name))) for name in ("focal", "bone_m")}
    if np.isfinite(model.contract.bone_m):
        meaning |= {"joints": "joints", "joints_scale": meaning["bone_m"]}
    return DeployedPose(model), contract | picture | meaning, model.contract.size


def comma_separated(values: Any) -> str:
    return ",".join(repr(float(value)) for value in np.ravel(values))


def example_inputs(deployed: DeployedPose | DeployedEncoder, size: int, seed: int) -> dict[str, Tensor]:
    images = torch.randn(CHECKED, 3, size, size, generator=torch.Generator().manual_seed(seed))
    cameras = assumed_camera(size, 1.7).float().repeat(CHECKED, 1, 1)
    return {name: {"image": images, "camera": cameras}[name] for name in deployed.inputs}


def trace(deployed: DeployedPose | DeployedEncoder, inputs: Mapping[str, Tensor]):
    """Export with torch's own exporter, for any number of hands at once."""
    hands = torch.export.Dim("hands")
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of the exporter's own affairs
        return torch.onnx.export(
            deployed,
            tuple(inputs.values()),
            dynamo=True,
            verbose=False,
            input_names=list(inputs),
            output_names=list(deployed.outputs),
            dynamic_shapes={name: {0: hands} for name in inputs},
        )


def forget_origin(model: Any) -> None:
    """The exporter notes for every node from which line of which file of this machine it came."""
    for node in model.graph:
        node.metadata_props.clear()
        node.doc_string = None
    for value in (*model.graph.inputs, *model.graph.outputs, *model.graph.initializers.values()):
        value.metadata_props.clear()


@torch.no_grad()
def compare(path: Path, deployed: DeployedPose | DeployedEncoder, size: int) -> float | None:
    """The largest difference between onnxruntime and torch, as a share of the largest number of that output."""
    if importlib.util.find_spec("onnxruntime") is None:
        log.warning("the model was not compared with torch: the onnxruntime package is not installed")
        return None
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for seed in SEEDS:
        inputs = example_inputs(deployed, size, seed)
        found = session.run(list(deployed.outputs), {name: value.numpy() for name, value in inputs.items()})
        wanted = [output.numpy() for output in deployed(*inputs.values())]
        difference = max(float(np.abs(a - b).max() / np.abs(b).max()) for a, b in zip(found, wanted, strict=True))
        if difference <= TOLERANCE:
            return difference
    raise HandtoolError(
        f"the exported model differs from torch by {difference:.1e}",
        hint="pip install --upgrade onnx onnxscript onnxruntime torch",
    )
