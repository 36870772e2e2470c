"""Weights in and out: how an encoder is initialised, and how encoders and pose models are stored in a handtool file.

In our files the encoder's tensors are named `encoder.<torchvision's or timm's name>`; `projection_head.*` (encoder.h5)
or `head.*` (pose.h5) come with them.
"""

import io
import json
import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from handtool import store
from handtool.errors import HandtoolError
from handtool.nn.files.foreign_names import describe_network, find_backbone
from handtool.nn.files.foreign_weights import find_arch, read_tensors, torchvision_names
from handtool.nn.files.published_weights import fetch_published
from handtool.nn.models.encoder import AnyEncoder, find_stages, make_encoder, make_projection_head
from handtool.store.gatekeeper import SIGNATURE

log = logging.getLogger(__name__)

# expected besides an encoder
HEADS = ("fc.", "classifier.", "projection_head.", "encoder.final_layer.", "final_layer.", "zroot_ref.", "head.")


FIT = 0.95  # of the encoder's tensors must be in a foreign file


def check_start(arch: str, size: int, init: str | Path) -> None:
    """Check, before anything else is done, that there is such an encoder for inputs of `size` px, and that the weights
    that it is published with are here, or come, where `init` is "imagenet". Raises HandtoolError, WrongCommand."""
    find_stages(arch, size)
    if str(init) == "imagenet":
        fetch_published(arch)


def init_encoder(encoder: AnyEncoder, init: str | Path) -> dict:
    """Fill the encoder from "imagenet" (torchvision's IMAGENET1K_V1, or the weights that timm publishes for it),
    "scratch" (left as it is), or a file of weights.

    Returns {"init", "loaded", "missing", "unexpected"}. Raises HandtoolError if weights are missing or misshapen.
    """
    if str(init) == "scratch":
        return {"init": "scratch", "loaded": 0, "missing": [], "unexpected": []}
    path = fetch_published(encoder.arch) if str(init) == "imagenet" else Path(init)
    return {"init": str(init)} | fill_encoder(encoder, read_any(path), path)


def fill_encoder(encoder: AnyEncoder, tensors: Mapping[str, Tensor], path: Path) -> dict:
    """Copy the encoder's weights out of all tensors of a file, ours or a foreign one; the report of `load_encoder`."""
    if is_ours(path):
        return load_encoder(encoder, torchvision_names(tensors), path)
    found = find_backbone(tensors, encoder.backbone)
    if found is None:
        return load_encoder(encoder, torchvision_names(tensors), path, FIT)
    if found.prefix:
        rather = f", rather than under {', '.join(map(repr, found.others))}" if found.others else ""
        log.info("%s: the encoder's weights are those under %r%s", path, found.prefix, rather)
    report = load_encoder(encoder, found.tensors, path, FIT)
    left = [name for name in tensors if not name.startswith(found.prefix)]
    return report | {"unexpected": sorted(report["unexpected"] + left)}


def load_encoder(encoder: AnyEncoder, found: Mapping[str, Tensor], origin: str | Path, share: float = 1.0) -> dict:
    """Copy tensors under the encoder's own names into it. `share`: of its tensors must be among them; those that are
    not are told."""
    wanted = encoder.backbone.state_dict()
    # files of torch before 0.4.1 have none
    counters = {name for name in wanted if name.endswith("num_batches_tracked")}
    missing = sorted(name for name in wanted if name not in found)
    unexpected = sorted(name for name in found if name not in wanted)
    lacking = [name for name in missing if name not in counters]
    # the counters are () or (1,)
    misfits = [name for name in wanted if name in found and found[name].squeeze().shape != wanted[name].squeeze().shape]
    parts, arch = {name.partition(".")[0] for name in wanted}, find_arch(found)
    beyond = [name for name in unexpected if name.partition(".")[0] in parts]
    if arch not in (None, encoder.arch) and (lacking or misfits or beyond):
        raise HandtoolError(f"{origin} holds a {arch}, and the encoder is a {encoder.arch}", hint=f"--arch {arch}")
    if len(lacking) > (1 - share) * len(wanted):
        some = f"{len(lacking)} of the {len(wanted)} weights of {encoder.arch}"
        looks, hint = describe_network(found) or (None, None)
        like = f"; it looks like {looks}" if looks and hint != f"--arch {encoder.arch}" else ""
        raise HandtoolError(f"{origin} lacks {some}: {first_names(lacking)}{like}", hint=hint and f"--arch {hint}")
    if lacking:
        log.warning(
            "%s lacks %d weights, which stay as they are initialised: %s", origin, len(lacking), first_names(lacking)
        )
    if misfits:
        some = f"{len(misfits)} weights are of another shape than {encoder.arch}'s"
        looks, hint = describe_network(found) or (None, None)
        like = f"; it looks like {looks}" if looks else ""
        raise HandtoolError(f"{origin}: {some}: {first_names(misfits)}{like}", hint=hint and f"--arch {hint}")
    for name in wanted.keys() & found.keys():
        wanted[name].copy_(found[name].reshape(wanted[name].shape))
    if unknown := [name for name in unexpected if not name.startswith(HEADS)]:
        told = "%s also holds %d tensors of no known part, left out: %s"
        log.warning(told, origin, len(unknown), first_names(unknown))
    return {"loaded": len(wanted) - len(missing), "missing": missing, "unexpected": unexpected}


def read_attrs_of(path: str | Path) -> dict:
    """The attributes of /weights in one of our files; {} for foreign files, "imagenet" and "scratch"."""
    path = Path(path)
    if not path.is_file() or not is_ours(path):
        return {}
    with store.open_file(path) as file:
        return store.read_weights(file)[1]


def is_ours(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(8) == SIGNATURE


def read_any(path: Path) -> dict[str, Tensor]:
    """The tensors of one of our files or of a foreign one."""
    if path.is_file() and is_ours(path):
        with store.open_file(path) as file:
            return read_state(file)[0]
    return read_tensors(path)


def read_state(file: store.File) -> tuple[dict[str, Tensor], dict]:
    """All tensors of /weights and its attributes."""
    arrays, attrs = store.read_weights(file)
    return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}, attrs


def part_of(tensors: Mapping[str, Tensor], part: str, like: nn.Module) -> dict[str, Tensor]:
    """The tensors named `part.*` without that prefix, shaped as the module has them (the file has no scalars)."""
    shapes = {name: value.shape for name, value in like.state_dict().items()}
    own = {name.removeprefix(f"{part}."): value for name, value in tensors.items() if name.startswith(f"{part}.")}
    fits = {name for name, value in own.items() if name in shapes and value.numel() == shapes[name].numel()}
    return {name: value.reshape(shapes[name]) if name in fits else value for name, value in own.items()}


def write_state(sink: store.Sink, parts: Mapping[str, nn.Module], attrs: Mapping[str, object]) -> None:
    """Write modules as /weights: one dataset per tensor, named `part.name`, half precision raised to float32."""
    arrays = {}
    for part, module in parts.items():
        for name, value in module.state_dict().items():
            value = value.detach().cpu()
            arrays[f"{part}.{name}"] = (value.float() if value.is_floating_point() else value).numpy()
    store.write_weights(sink, arrays, attrs=dict(attrs))


def write_encoder(
    sink: store.Sink,
    encoder: AnyEncoder,
    projection_head: nn.Module | None,
    contract: Mapping,
    config: Mapping,
    head: nn.Module | None = None,
) -> None:
    """Write a pre-trained encoder as /weights, with the heads that it was trained with; fine-tuning starts from `head`.

    `contract`: what the encoder expects of its input: size (px), mean, std (RGB, 0..1), side, box_scale. `config`: the
    settings of the run.
    """
    attrs = {"kind": "encoder", "architecture": encoder.arch, "config": json.dumps(dict(config))} | dict(contract)
    parts = {"encoder": encoder.backbone, "projection_head": projection_head, "head": head}
    write_state(sink, {name: part for name, part in parts.items() if part is not None}, attrs)


def read_encoder(file: store.File) -> tuple[AnyEncoder, nn.Sequential | None, dict]:
    """The encoder of an encoder.h5 or pose.h5, the projection head if it has one, and the attributes of /weights."""
    tensors, attrs = read_state(file)
    if "architecture" not in attrs:
        raise HandtoolError(f"{file.path} holds no encoder: it corrects {attrs.get('estimator', 'something')}")
    encoder = make_encoder(attrs["architecture"], int(attrs["size"]))
    load_encoder(encoder, torchvision_names(tensors), file.path)
    head = None
    if "projection_head.0.weight" in tensors:
        hidden, num_features = tensors["projection_head.0.weight"].shape
        head = make_projection_head(num_features, hidden, len(tensors["projection_head.3.weight"]))
        head.load_state_dict(part_of(tensors, "projection_head", head))
    return encoder, head, attrs


def export_weights(file: store.File, path: Path, suffix: str = "") -> dict:
    """Write /weights as `.safetensors` or as a torch state dict (`.pth`, `.pt`); the encoder under torchvision's or
    timm's names. suffix: of the name that the file will get, where `path` is a temporary one.

    Load it with `torchvision.models.resnet50().load_state_dict(weights, strict=False)`, or into
    `timm.create_model(NAME, num_classes=0, img_size=SIZE)`: there is no classifier, and the heads keep their own names.
    Returns {"format", "architecture", "tensors", "bytes"}. The bytes are made in memory: both libraries answer a full
    disk or a signal with errors of their own, and safetensors with files of its own.
    """
    tensors, attrs = read_state(file)
    if "architecture" not in attrs:
        raise HandtoolError(f"{file.path} holds no encoder: it corrects {attrs.get('estimator', 'something')}")
    encoder = make_encoder(attrs["architecture"], int(attrs["size"]))
    bare = torchvision_names(tensors)
    shapes = {name: value.shape for name, value in encoder.backbone.state_dict().items()}
    bare = {name: value.reshape(shapes.get(name, value.shape)) for name, value in bare.items()}
    suffix = suffix or path.suffix
    if suffix == ".safetensors":
        from safetensors.torch import save

        path.write_bytes(sort_metadata(save(bare, {key: text_of(value) for key, value in attrs.items()})))
    elif suffix in (".pth", ".pt"):
        archive = io.BytesIO()
        torch.save(bare, archive)
        path.write_bytes(archive.getbuffer())
    else:
        raise HandtoolError(
            f"weights are exported as .safetensors, .pth or .pt, not as {suffix or 'a file without suffix'}"
        )
    return {"format": suffix[1:], "architecture": encoder.arch, "tensors": len(bare), "bytes": path.stat().st_size}


def sort_metadata(data: bytes) -> bytes:
    """Brings the metadata of a safetensors file, which the library writes in any order, into order, so that the same
    weights are the same bytes. Its beginning: length of the header (u64), header (JSON, padded with spaces)."""
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    assert len(text) <= end - 8
    return data[:8] + text.ljust(end - 8) + data[end:]


def first_names(names: list[str], most: int = 3) -> str:
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")


def text_of(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(np.asarray(value).tolist())
