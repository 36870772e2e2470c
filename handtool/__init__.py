"""handtool: from video to a 3D hand-pose model, in composable steps that read and write HDF5.

The public names (docs/API.md) are loaded when they are first used: `import handtool` loads no numpy, torch or h5py.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from handtool.api.files import open as open
    from handtool.api.hand_dataset import HandDataset as HandDataset
    from handtool.api.models import load_encoder as load_encoder
    from handtool.api.models import load_pose as load_pose
    from handtool.api.running import run as run

__version__ = "0.3.0"

# name -> module of handtool.api
PUBLIC = {
    "open": "files",
    "HandDataset": "hand_dataset",
    "run": "running",
    "load_encoder": "models",
    "load_pose": "models",
}
__all__ = [*PUBLIC, "__version__"]


def __getattr__(name: str) -> Any:
    if name not in PUBLIC:
        raise AttributeError(f"module 'handtool' has no attribute {name!r}")
    from importlib import import_module

    value = globals()[name] = getattr(import_module(f"handtool.api.{PUBLIC[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *PUBLIC})
