"""Someone else's eyes on the command line: named, or by the file of a model whose suffix says what it is."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from handtool.config import ModelFile
from handtool.errors import WrongCommand

Model = Annotated[
    str | None,
    typer.Option("--model", metavar="FILE", help="The model's file, if it is not named already.", show_default=False),
]
Onnx = Annotated[
    list[str] | None,
    typer.Option(
        "--onnx",
        metavar="KEY=VALUE",
        help="What an ONNX model expects, where its metadata do not say it (repeatable).",
        show_default=False,
    ),
]

Device = Annotated[
    str,
    typer.Option(
        "--device",
        envvar="HANDTOOL_DEVICE",
        help="Where a model of ONNX or of handtool runs: auto, cpu or cuda (MediaPipe: the CPU).",
    ),
]


def name_and_file(
    option: str,
    asked: str,
    model: str | None,
    names: Mapping[str, ModelFile],
    onnx: list[str] | None = None,
    unsaid: str | None = None,
) -> tuple[str, str | None]:
    """`asked` is one of the names, or a file. A model with nothing asked (`unsaid`) chooses by its suffix. Raises WrongCommand."""
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
    if onnx and asked != "onnx":
        raise WrongCommand(f"--onnx {onnx[0]} describes an ONNX model, and none is named", hint=f"{option} hands.onnx")
    return asked, model


def suffix_name(option: str, file: str, names: Mapping[str, ModelFile]) -> str:
    kinds = {ending: name for name, model in names.items() for ending in model.endings}
    name = kinds.get(Path(file).suffix.lower())
    if name is None:
        raise WrongCommand(
            f"{option} {file}: neither {' nor '.join(names)}, nor a file ending in {' or '.join(kinds)}",
            hint=f"{option} {next(iter(names))}",
        )
    return name
