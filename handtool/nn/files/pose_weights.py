"""How a pose model is initialised, written and read back."""

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from handtool import store
from handtool.errors import HandtoolError
from handtool.nn.files.foreign_weights import torchvision_names
from handtool.nn.files.published_weights import fetch_published
from handtool.nn.files.weights import fill_encoder, load_encoder, part_of, read_any, read_state, write_state
from handtool.nn.models.encoder import make_encoder
from handtool.nn.models.pose_model import Contract, PoseModel
from handtool.nn.models.regression_head import RegressionHead

log = logging.getLogger(__name__)

PUBLISHED_SIDE = 224  # px; the output of PeCLR's fine-tuned layer is in pixels of an input of this size
# a weight that only this head has, in our files
HEAD_MARKERS = {"heatmap": "head.upsample.0.weight", "regression": "head.refine.0.weight"}


def init_pose(model: PoseModel, init: str | Path, fresh_head: bool = False) -> dict:
    """Fill the encoder ("scratch", "imagenet", one of our files or a foreign one), and the head too if the file has one
    of its kind, unless `fresh_head`.

    Returns {"init", "loaded", "missing", "unexpected", "head"}.
    """
    if str(init) == "scratch":
        return {"init": "scratch", "loaded": 0, "missing": [], "unexpected": [], "head": False}
    path = fetch_published(model.encoder.arch) if str(init) == "imagenet" else Path(init)
    tensors = read_any(path)
    found = torchvision_names(tensors)
    report = fill_encoder(model.encoder, tensors, path)
    if fresh_head:
        return {"init": str(init)} | report | {"head": False}
    kinds = [kind for kind, marker in HEAD_MARKERS.items() if marker in tensors]
    kinds = kinds or ["regression"] * ("zroot_ref.zroot_ref.0.weight" in found)
    head = kinds == [model.contract.head]
    if head and HEAD_MARKERS[kinds[0]] in tensors:
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
    """PeCLR's fine-tuned head in our units: its output is in pixels of a 224 px input, ours in half sides from the
    centre."""
    if head.input_size != PUBLISHED_SIDE:
        told = f"the head of {origin} is for {PUBLISHED_SIDE} px, not {head.input_size}"
        raise HandtoolError(told, hint=f"--input-size {PUBLISHED_SIDE}")
    half = PUBLISHED_SIDE / 2
    weight, bias = found["fc.weight"].clone(), found["fc.bias"].clone()
    uv = [row for row in range(len(bias) - 1) if row % 3 < 2]
    weight[uv] /= half
    bias[uv] = (bias[uv] - (half - 0.5)) / half
    prefix = "zroot_ref.zroot_ref."
    refine = {f"refine.{name.removeprefix(prefix)}": value for name, value in found.items() if name.startswith(prefix)}
    return {"fc.weight": weight, "fc.bias": bias} | refine


def write_pose(sink, model: PoseModel, config: Mapping[str, object]) -> None:
    """Write /weights with everything that prediction needs; `config`: the settings of the run."""
    fields = asdict(model.contract).items()
    contract = {name: np.array(value) if isinstance(value, tuple) else value for name, value in fields}
    attrs = {"kind": "pose", "architecture": model.encoder.arch, "config": json.dumps(dict(config))}
    write_state(sink, {"encoder": model.encoder.backbone, "head": model.head}, attrs | contract)


def read_pose(file) -> PoseModel:
    """The pose model of a pose.h5, in evaluation mode, on the CPU. Raises HandtoolError for other weights."""
    tensors, attrs = read_state(file)
    if attrs.get("kind") != "pose":
        raise HandtoolError(
            f"{file.path} holds {attrs.get('kind', 'unknown')} weights, not a pose model",
            hint=f"handtool finetune train.h5 --encoder {file.path} -o pose.h5"
            if attrs.get("kind") == "encoder"
            else f"handtool predict SOURCE --model {file.path}",
        )
    model = PoseModel(make_encoder(attrs["architecture"], int(attrs["size"])), make_contract(attrs))
    load_encoder(model.encoder, torchvision_names(tensors), file.path)
    load_head(model.head, part_of(tensors, "head", model.head), file.path)
    return model.eval()


def read_contract(file) -> Contract:
    """The contract of a pose.h5, whether it holds a pose model or the correction of an estimator."""
    attrs = store.read_attrs(file, "weights")
    return make_contract(attrs) if attrs.get("kind") == "correction" else read_pose(file).contract


def make_contract(attrs: Mapping) -> Contract:
    known: dict[str, Any] = {"mirrored": False} | dict(attrs)  # files written before --mirror existed lack it
    known |= {name: tuple(map(float, known[name])) for name in ("mean", "std")}
    return Contract(**{name: known[name] for name in Contract.__dataclass_fields__})
