"""The device that renders: numpy on the CPU, or torch on a GPU. torch is imported only if there may be a GPU."""

from pathlib import Path

from handtool.errors import HandtoolError

DRIVERS = (Path("/proc/driver/nvidia/version"), Path("/dev/dxg"))  # NVIDIA's on Linux, and under Windows' subsystem


def choose_device(asked: str, engine: str = "local", gpus: float = 0.0) -> str | None:
    """asked: auto, cpu or cuda. Returns torch's name, or None for numpy. engine ray: of workers with `gpus` each, not
    of this machine. Raises HandtoolError if it is not here."""
    if asked not in ("auto", "cpu", "cuda"):
        raise HandtoolError(f"--device {asked}: auto, cpu or cuda")
    if engine == "ray":
        if asked == "cuda" and not gpus:
            raise HandtoolError("--device cuda asked of workers without a GPU", hint="add --gpus-per-worker 1")
        return "cuda" if gpus and asked != "cpu" else None
    if asked == "cpu" or (asked == "auto" and not any(driver.exists() for driver in DRIVERS)):
        return None
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if asked == "cuda":
        raise HandtoolError("--device cuda asked, no CUDA GPU here", hint="--device cpu")
    return None
