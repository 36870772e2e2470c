"""Detectors and keypoint estimators on the command line: by name, or by a model's file and its suffix."""

from collections.abc import Mapping
from pathlib import Path

from handtool.cli.options import MACHINE, DeviceName, option
from handtool.config import DETECTORS, ESTIMATORS, ESTIMATORS_3D, ModelFile
from handtool.errors import WrongCommand

SUFFIXES = {end: name for known in (DETECTORS, ESTIMATORS) for name, file in known.items() for end in file.endings}

Model = option(str | None, "--model FILE", "The file of that model.")
ONNX = "--onnx KEY=VALUE", "What the ONNX model expects, where its metadata do not say it (repeatable)."
Onnx = option(list[str] | None, *ONNX)
Device = option(
    DeviceName,
    "--device",
    "Where an ONNX model or a pose.h5 runs; MediaPipe runs on the CPU.",
    MACHINE,
    envvar="HANDTOOL_DEVICE",
)


def knows_3d(model: str | None) -> bool:
    """Whether the `--model` of predict or eval is an estimator that knows 3D without labels, rather than a pose.h5."""
    return model is not None and kind_of(model, None) in ESTIMATORS_3D


def kind_of(asked: str, model: str | None) -> str:
    """onnx, mediapipe or model where `asked` or the suffix of a file says so; any other word as it is."""
    return SUFFIXES.get(Path(model or asked).suffix.lower(), asked)


def name_and_file(
    option: str, asked: str, model: str | None, names: Mapping[str, ModelFile], unsaid: str | None = None
) -> tuple[str, str | None]:
    """The name and the file of what is asked for: `asked` is one of the names, or a file.

    Where `asked` is `unsaid`, the suffix of `model` chooses. Raises WrongCommand.
    """
    if asked not in names:
        if model is not None:
            raise WrongCommand(f"{option} {asked} and --model {model} are two files", hint="give one of them")
        asked, model = suffix_name(option, asked, names), asked
    elif model is not None:
        named = suffix_name("--model", model, names)
        asked = named if asked == unsaid else asked
        if named != asked:
            raise WrongCommand(f"{option} {asked} takes no model of that kind: {model}", hint=f"{option} {model}")
    elif example := names[asked].example:
        raise WrongCommand(f"{option} {asked} needs the file of a model", hint=f"{option} {example}")
    return asked, model


def suffix_name(option: str, file: str, names: Mapping[str, ModelFile]) -> str:
    kinds = {ending: name for name, model in names.items() for ending in model.endings}
    name = kinds.get(Path(file).suffix.lower())
    if name is None:
        told = f"neither {' nor '.join(names)}, nor a file ending in {' or '.join(kinds)}"
        raise WrongCommand(f"{option} {file}: {told}", hint=f"{option} {next(iter(names))}")
    return name
