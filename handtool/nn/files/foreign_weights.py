"""Weights from other programs: read without running any code of theirs, and renamed to torchvision's names.

Containers: torch's `.pth` / `.pt` / `.ckpt` (bare, under `state_dict`, Lightning's) and safetensors.
"""

import logging
import pickle
import re
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from handtool.errors import DamagedFile, HandtoolError, first_line

log = logging.getLogger(__name__)

# Lightning checkpoints of PeCLR and SiMHand hold the ResNet's children by number.
NUMBERED = {"0": "conv1", "1": "bn1", "4": "layer1", "5": "layer2", "6": "layer3", "7": "layer4"}
BLOCKS: dict[tuple[tuple[int, ...], int], str] = {  # blocks in layer1..4, convolutions per block
    ((2, 2, 2, 2), 2): "resnet18",
    ((3, 4, 6, 3), 2): "resnet34",
    ((3, 4, 6, 3), 3): "resnet50",
    ((3, 4, 23, 3), 3): "resnet101",
    ((3, 8, 36, 3), 3): "resnet152",
}


class Inert:
    """Replaces a class that a checkpoint names and that is not loaded: called, it becomes an empty dictionary.

    torch's reader fills OrderedDict itself but no subclass of it, so that dict-like configurations can be read.
    """

    def __new__(cls, *args: object, **kwargs: object) -> Any:  # an OrderedDict
        return OrderedDict()


class InertList:
    """The same for classes that are filled like a list."""

    def __new__(cls, *args: object, **kwargs: object) -> Any:  # a list
        return []


LIST_LIKE = {"collections.deque"}


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors or torch file, under the names used there.

    Torch files are only ever read with `weights_only=True`; classes that they name are replaced by inert stubs. Raises
    HandtoolError (no such file, no weights in it), DamagedFile (unreadable, or it names a class not to be loaded).
    """
    if not path.is_file():
        raise HandtoolError(f"no weights at {path}", hint="--init imagenet | scratch | FILE")
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except (SafetensorError, OSError) as error:
            raise DamagedFile(f"{path} is not readable as safetensors: {error}") from None
    content = load_torch(path)
    for key in ("state_dict", "model", "model_state_dict"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
            break
    items = content.items() if isinstance(content, Mapping) else ()
    tensors = {name: value for name, value in items if isinstance(value, Tensor)}
    if not tensors:
        raise HandtoolError(
            f"{path} holds no state dict", hint="save model.state_dict(), bare or under the key 'state_dict'"
        )
    return tensors


def load_torch(path: Path) -> object:
    """torch.load(weights_only=True); foreign classes become `Inert` and are listed in the log."""
    try:
        foreign = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except (ValueError, RuntimeError, OSError):  # torch's format before 1.6 cannot be searched for class names
        foreign = []
    except (pickle.UnpicklingError, EOFError, UnicodeDecodeError, KeyError, IndexError) as error:
        raise DamagedFile(f"{path} is damaged, or not made by torch.save: {first_line(error)}") from None
    if foreign:
        log.warning("%s names %s: left out, only its weights are read", path.name, ", ".join(sorted(foreign)))
    stubs: list[Any] = [(type("Stub", (InertList if name in LIST_LIKE else Inert,), {}), name) for name in foreign]
    try:
        with torch.serialization.safe_globals(stubs):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged bytes make torch raise errors of any kind
        raise DamagedFile(f"{path} is damaged, or not made by torch.save: {first_line(error)}") from None


def torchvision_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors under torchvision's ResNet names; tensors that are no part of the ResNet keep their names.

    Handles DDP's `module.`, torch.compile's `_orig_mod.`, PeCLR's fine-tuned `backend_model.`, Lightning's
    `encoder.features.<number>.`, our `encoder.`.
    """
    bare = {re.sub(r"^((module|_orig_mod)\.)+", "", name): value for name, value in tensors.items()}
    is_lightning = "encoder.features.4.0.conv1.weight" in bare
    renamed = {}
    for name, value in bare.items():
        numbered = re.match(r"encoder\.features\.(\d)\.(.+)", name) if is_lightning else None
        if numbered and numbered[1] in NUMBERED:
            name = f"{NUMBERED[numbered[1]]}.{numbered[2]}"
        renamed[re.sub(r"^(backend_model|encoder)\.", "", name)] = value
    return renamed


def find_arch(names: Mapping[str, object]) -> str | None:
    """Which ResNet these torchvision names belong to; None if to none."""
    blocks = {match[0] for name in names if (match := re.match(r"layer(\d)\.\d+\.", name))}
    counts = tuple(sum(block.startswith(f"layer{layer}.") for block in blocks) for layer in (1, 2, 3, 4))
    return BLOCKS.get((counts, 3 if "layer1.0.conv3.weight" in names else 2))
