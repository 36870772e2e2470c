"""The weights that encoders are published with (`--init imagenet`): from the cache, else downloaded into it.

The cache is HANDTOOL_CACHE if that is set, else torch hub's; files in the hubs' own caches are used, too.
"""

import hashlib
import os
import shutil
from pathlib import Path
from typing import Any

import torch

from handtool.errors import DamagedFile, HandtoolError, WrongCommand, first_line
from handtool.nn.models.timm_encoder import PREFIX, import_timm

SAFE = "model.safetensors"  # the file of weights in a repository of timm's
SHA256 = 64  # digits


def fetch_published(arch: str) -> Path:
    """torchvision's IMAGENET1K_V1 (both papers start from it), or what timm publishes for `timm:NAME`."""
    return fetch_timm(arch.removeprefix(PREFIX)) if arch.startswith(PREFIX) else fetch_imagenet(arch)


def fetch_imagenet(arch: str) -> Path:
    """torchvision's IMAGENET1K_V1."""
    from urllib.request import Request, urlopen

    from torchvision.models import get_model_weights

    url = get_model_weights(arch)["IMAGENET1K_V1"].url
    name = url.rsplit("/", 1)[-1]
    hub = Path(torch.hub.get_dir()) / "checkpoints"
    folder = cache_folder()
    for cached in (folder / name, hub / name):
        if cached.is_file():
            return cached
    try:
        # torch's own download waits for minutes if no server answers
        urlopen(Request(url, method="HEAD"), timeout=15).close()
        folder.mkdir(parents=True, exist_ok=True)
        digest = name.rsplit("-", 1)[-1].split(".")[0]
        torch.hub.download_url_to_file(url, str(folder / name), hash_prefix=digest, progress=False)
    except (OSError, RuntimeError) as error:
        raise not_fetched(name, folder, url, error) from None
    return folder / name


def fetch_timm(name: str) -> Path:
    """The weights that timm publishes for an architecture, by timm's tag or its default one."""
    config = import_timm().models.get_pretrained_cfg(name)
    if not config.hf_hub_id:
        raise WrongCommand(f"timm publishes no weights for {name}", hint="--init scratch, or --init FILE")
    repository, file = config.hf_hub_id, config.hf_hub_filename or SAFE
    return fetch_from_hub(repository, file, f"{repository.rsplit('/', 1)[-1]}-{file}")


def fetch_from_hub(repository: str, file: str, named: str) -> Path:
    """A file of the Hugging Face hub, which is called `named` in the cache; its checksum is the one that the hub
    gives."""
    import huggingface_hub as hub

    folder = cache_folder()
    if (folder / named).is_file():
        return folder / named
    if isinstance(cached := hub.try_to_load_from_cache(repository, file), str):
        return Path(cached)
    url, partial = hub.hf_hub_url(repository, file), folder / f"{named}.partial"
    try:
        about: Any = hub.get_hf_file_metadata(url, timeout=15)
        path = Path(hub.hf_hub_download(repository, file, local_dir=partial))
    except Exception as error:  # the hub's client raises errors of several libraries
        raise not_fetched(named, folder, url, error) from None
    whole = len(about.etag or "") != SHA256 or sha256_of(path) == about.etag
    if whole:
        path.replace(folder / named)
    shutil.rmtree(partial)
    if not whole:
        raise DamagedFile(f"{url} arrived damaged: its checksum is not the hub's", hint="try again")
    return folder / named


def cache_folder() -> Path:
    own = os.environ.get("HANDTOOL_CACHE")
    return Path(own) if own else Path(torch.hub.get_dir()) / "checkpoints"


def sha256_of(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def not_fetched(name: str, folder: Path, url: str, error: Exception) -> HandtoolError:
    return HandtoolError(
        f"--init imagenet needs {name}, which is not at {folder}, and {url} could not be fetched: "
        f"{first_line(getattr(error, 'reason', error))}",
        hint=f"--init scratch, or --init FILE, or fetch it elsewhere and put it there: {folder / name}",
    )
