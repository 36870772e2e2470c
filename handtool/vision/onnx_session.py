"""An ONNX model in onnxruntime: opened, inspected for its input size, and run on batches of pictures."""

import importlib.util
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from handtool.errors import DamagedFile, HandtoolError, first_line
from handtool.vision.onnx_settings import DetectorSettings, KeypointSettings

log = logging.getLogger(__name__)
HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
BATCH = 8  # where the model leaves it open
TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(uint8)": np.uint8}


def require_onnxruntime(device: str = "auto") -> None:
    """Raises HandtoolError if the package is missing, or a GPU is asked for that it cannot use."""
    if importlib.util.find_spec("onnxruntime") is None:
        raise HandtoolError("the onnxruntime package is not installed", hint="pip install 'handtool[onnx]'")
    if device not in ("auto", "cpu", "cuda"):
        raise HandtoolError(f"--device {device}: auto, cpu or cuda")
    if device == "cuda":
        import onnxruntime

        if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
            raise HandtoolError(
                f"--device cuda: this onnxruntime ({onnxruntime.__version__}) cannot use CUDA",
                hint="pip install onnxruntime-gpu, or --device cpu",
            )


def open_session(path: str | Path, device: str = "auto"):
    """onnxruntime's session on one thread: work is spread over processes. Raises HandtoolError, for
    a damaged model DamagedFile."""
    require_onnxruntime(device)
    if not Path(path).is_file():
        raise HandtoolError(
            f"no model at {path}" if not Path(path).exists() else f"{path} is no file", hint="an ONNX file: hands.onnx"
        )
    with open(path, "rb") as file:
        if file.read(8) == HDF5_SIGNATURE:
            raise HandtoolError(
                f"{path} is HDF5, not an ONNX model",
                hint=f"handtool export {path} -o {Path(path).with_suffix('.onnx')}",
            )
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    here = onnxruntime.get_available_providers()
    wanted = ["CPUExecutionProvider"] if device == "cpu" else ["CUDAExecutionProvider", "CPUExecutionProvider"]
    try:
        return onnxruntime.InferenceSession(
            os.fspath(path), options, providers=[name for name in wanted if name in here]
        )
    except Exception as error:  # its exceptions have no common base
        raise DamagedFile(
            f"{path} is not a model that onnxruntime {onnxruntime.__version__} can open: {first_line(error)}",
            hint="check it: python -c \"import onnx; onnx.checker.check_model('FILE')\"",
        ) from None


def metadata_of(session) -> Mapping[str, str]:
    return session.get_modelmeta().custom_metadata_map


class Network:
    """A session with its settings. width, height: px of its input; batch: pictures per call, for best speed."""

    def __init__(self, path: str | Path, session, settings: DetectorSettings | KeypointSettings) -> None:
        self.path, self.session, self.settings = path, session, settings
        pictures = [one for one in session.get_inputs() if len(one.shape) == 4]
        others = [
            one.name
            for one in session.get_inputs()
            if one not in pictures and one.name != getattr(settings, "camera", None)
        ]
        if len(pictures) != 1 or others:
            found = ", ".join(f"{one.name} {shape_text(one.shape)}" for one in session.get_inputs())
            raise HandtoolError(f"{path} takes {found}; expected one picture, of four axes")
        [self.input] = pictures
        if self.input.type not in TYPES:
            raise HandtoolError(f"{path}: its input is {self.input.type}; expected {', '.join(TYPES)}")
        self.channels_last = is_channels_last(self.input.shape, settings.channels, path)
        self.width, self.height = find_size(self.input.shape, self.channels_last, settings.size, path)
        fixed = self.input.shape[0]
        self.fixed_batch = fixed if isinstance(fixed, int) and fixed > 0 else None
        self.batch = self.fixed_batch or BATCH

    def run(self, pictures: np.ndarray, more: Mapping[str, np.ndarray] | None = None) -> dict[str, np.ndarray]:
        """pictures: (n, height, width, 3) RGB in 0..255; more: further inputs (n, …). Returns its outputs by name,
        floats as float32.

        Raises HandtoolError if the model rejects them.
        """
        count, size = len(pictures), self.fixed_batch or len(pictures)
        collected: dict[str, list] = {}
        for start in range(0, count, size):
            part = slice(start, start + size)
            inputs = {self.input.name: self.prepare(fill_up(pictures[part], size))}
            inputs |= {name: fill_up(values[part], size) for name, values in (more or {}).items()}
            try:
                outputs = self.session.run(None, inputs)
            except Exception as error:
                raise HandtoolError(f"{self.path} cannot be run on a picture: {first_line(error)}") from None
            for one, values in zip(self.session.get_outputs(), outputs, strict=True):
                values = np.asarray(values)
                collected.setdefault(one.name, []).append(
                    values.astype(np.float32) if values.dtype.kind == "f" else values
                )
        if count <= size:
            return {name: parts[0][:count] if size > count else parts[0] for name, parts in collected.items()}
        return {name: np.concatenate(parts)[:count] for name, parts in collected.items()}

    def prepare(self, pictures: np.ndarray) -> np.ndarray:
        """Colours in their order, mean and deviation, axes and type as the model wants them; a uint8 input takes the
        pixels as they are."""
        ordered = pictures[..., ::-1] if self.settings.colour == "bgr" else pictures
        kind = TYPES[self.input.type]
        if kind is np.uint8:
            ordered = np.clip(np.rint(ordered), 0, 255)
        else:
            mean, std = np.array(self.settings.mean, np.float32), np.array(self.settings.std, np.float32)
            ordered = (ordered.astype(np.float32) / np.float32(255) - mean) / std
        moved = ordered if self.channels_last else ordered.transpose(0, 3, 1, 2)
        return np.ascontiguousarray(moved, dtype=kind)

    def blank(self, more: Mapping[str, np.ndarray] | None = None) -> dict[str, np.ndarray]:
        """Its outputs for one black picture: their shapes determine the layout, and lazy loading is done here."""
        return self.run(np.zeros((1, self.height, self.width, 3), np.uint8), more)


def fill_up(values: np.ndarray, size: int) -> np.ndarray:
    """The first axis brought to `size` by repeating the last one."""
    return (
        values if len(values) == size else np.concatenate([values, np.repeat(values[-1:], size - len(values), axis=0)])
    )


def is_channels_last(shape: list, channels: str, path: str | Path) -> bool:
    first, last = shape[1] == 3, shape[3] == 3
    if channels == "auto" and first == last:
        raise HandtoolError(
            f"{path}: of the input {shape_text(shape)} no axis is clearly the colours",
            hint="--onnx channels=first (or last)",
        )
    return last if channels == "auto" else channels == "last"


def find_size(shape: list, channels_last: bool, asked: tuple[int, int] | None, path: str | Path) -> tuple[int, int]:
    """width, height px."""
    height, width = shape[1:3] if channels_last else shape[2:4]
    found: tuple[Any, ...] = tuple(own if isinstance(own, int) and own > 0 else None for own in (width, height))
    if asked is None and None in found:
        raise HandtoolError(f"{path} leaves the size of its input open ({shape_text(shape)})", hint="--onnx size=640")
    if asked and any(own not in (None, wanted) for own, wanted in zip(found, asked, strict=True)):
        raise HandtoolError(
            f"{path} takes pictures of {width}x{height} px, not {asked[0]}x{asked[1]}", hint="leave out --onnx size"
        )
    return asked or (int(found[0]), int(found[1]))


def shape_text(shape) -> str:
    return "x".join(str(axis) if isinstance(axis, int) else "?" for axis in shape) or "(one number)"
