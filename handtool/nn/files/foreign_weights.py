"""Weights from other programs: read without running any code of theirs, and renamed to torchvision's names.

Containers: torch's `.pth` / `.pt` / `.ckpt` (bare, under `state_dict`, Lightning's) and safetensors.
"""

import logging
import mmap
import os
import pickle
import re
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from handtool import archives
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
ZIP_START = b"PK\3\4"
OLD_START = pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2)  # before torch 1.6
BYTEARRAYS = (b"c__builtin__\nbytearray\n", b"cbuiltins\nbytearray\n")
HINT = "downloaded to its end? make it again: torch.save(model.state_dict(), FILE)"


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors or torch file, under the names used there.

    Torch files are only ever read with `weights_only=True`; classes that they name are replaced by inert stubs. Raises
    HandtoolError (no such file, no weights in it), DamagedFile (unreadable, or it names a class not to be loaded).
    """
    if not path.is_file():
        raise HandtoolError(f"no weights at {path}", hint="--init imagenet | scratch | FILE")
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load

        try:
            return load(path.read_bytes())  # load_file maps it: SIGBUS where it is overwritten meanwhile
        except (SafetensorError, OSError) as error:
            raise DamagedFile(f"{path} is not readable as safetensors: {error}") from None
    content = load_torch(path)
    for key in ("state_dict", "model", "model_state_dict"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
            break
    tensors = flatten(content)
    if odd := [name for name, value in tensors.items() if value.device.type != "cpu" or value.layout != torch.strided]:
        raise DamagedFile(f"{path} holds {odd[0]} without its numbers, or sparse", HINT)
    if not tensors:
        raise HandtoolError(
            f"{path} holds no state dict", hint="save model.state_dict(), bare or under the key 'state_dict'"
        )
    return tensors


def check_archive(path: Path) -> None:
    """Compares the bytes of a torch file with their crc32s, which torch does not. Raises DamagedFile, also for a bomb.

    Nothing to compare have torch's format before 1.6, which is no zip archive, and safetensors.
    """
    with path.open("rb") as file:
        head = file.read(len(OLD_START))
        if head == OLD_START:
            return refuse_bytearrays(path, read_all(file))
    if not head.startswith(ZIP_START):
        raise DamagedFile(f"{path} is damaged, or not made by torch.save", HINT)
    with archives.open_zip(path, HINT) as archive:
        if archives.has_checksums(archive):
            archives.check_crcs(archive)
            pickles = [name for name in archive.namelist() if name.endswith("data.pkl")]
            return refuse_bytearrays(path, b"".join(map(archive.read, pickles)))
        if any(member.compress_type for member in archive.infolist()):
            raise DamagedFile(f"{path} is compressed and has no checksums, which torch.save does not write", HINT)
    log.info("%s was written without checksums: damage in it is not found", path.name)
    with path.open("rb") as file:
        refuse_bytearrays(path, read_all(file))


def read_all(file: BinaryIO) -> bytes | mmap.mmap:
    return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if os.fstat(file.fileno()).st_size else b""


def refuse_bytearrays(path: Path, content: bytes | mmap.mmap) -> None:
    """torch's reader lets a checkpoint make them, of any size."""
    if any(content.find(name) >= 0 for name in BYTEARRAYS):
        raise DamagedFile(f"{path} asks for a bytearray, which is no weight", HINT)


def flatten(content: object, depth: int = 3) -> dict[str, Tensor]:
    """The tensors of dictionaries within dictionaries ("teacher" and "student", say), named `key.name`."""
    items = content.items() if isinstance(content, Mapping) else ()
    tensors = {str(name): value for name, value in items if isinstance(value, Tensor)}
    if not tensors and depth:
        for key, part in items:
            tensors |= {f"{key}.{name}": value for name, value in flatten(part, depth - 1).items()}
    return tensors


def load_torch(path: Path) -> object:
    """torch.load(weights_only=True); foreign classes become `Inert` and are listed in the log."""
    check_archive(path)
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
