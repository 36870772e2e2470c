"""The input that an ONNX model expects and the meaning of its outputs: by options, else by metadata, else defaults.

An option is KEY=VALUE (`--onnx colour=bgr`); the same key stands in the metadata as `handtool.KEY`. ONNX.md beside this
file explains each.
"""

import dataclasses
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from handtool.errors import HandtoolError, WrongCommand
from handtool.hands.skeleton import STANDARD

log = logging.getLogger(__name__)
PREFIX = "handtool."


@dataclass(frozen=True)
class DetectorSettings:
    layout: str = "auto"  # auto | yolov8 | yolov5 | end2end | dets | boxes
    size: tuple[int, int] | None = None  # width, height of the input in px; None: the model's own
    channels: str = "auto"  # first (NCHW) or last (NHWC); auto: where the 3 is
    colour: str = "rgb"  # or bgr
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)  # of pixels in 0..1, in the order of `colour`
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    fill: float = 114.0  # grey (0..255) beside the picture
    pad: str = "centre"  # where the picture lies in the square: centre or corner (the upper left)
    units: str = "px"  # of the boxes: px of the input, or fraction of its sides
    hand: tuple[int, ...] | None = (
        None  # class numbers that are hands; None: by the model's class names, or the only class
    )
    left: int | None = None  # class number of left hands
    right: int | None = None
    iou: float = 0.5  # of two boxes that overlap more, the better one is kept


@dataclass(frozen=True)
class KeypointSettings:
    layout: str = "auto"  # auto | heatmap | simcc | regression
    size: tuple[int, int] | None = None
    channels: str = "auto"
    colour: str = "rgb"
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    context: float | None = None  # side of the input / of the hand's box; None: the crop as it is
    side: str = "seen"  # or right, left: hands of the other side are mirrored in, and their keypoints back
    output: tuple[str, ...] | None = (
        None  # names of the outputs with the keypoints (simcc: x, then y); None: by their shapes
    )
    score: str | None = None  # name of the output with the score, of each keypoint or of the hand
    joints: str | None = None  # name of an output (n, 21, 3) or (n, 63): 3D, x right, y down, z forward
    joints_scale: float = 1.0  # metres per unit of that output
    activation: str = "none"  # of scores and heat maps: none or sigmoid
    units: str = "px"  # of regression: px of the input (centres at integers), fraction (0..1), signed (-1..1)
    grid: str = "centres"  # of heat maps: where cell i lies: centres (i+.5)s-.5, stride i s, corners i (W-1)/(w-1)
    refine: str = "log"  # of a maximum on a heat map: log (parabola through the logarithms), quarter (of a cell), none
    order: tuple[int, ...] = STANDARD  # keypoint i is the model's order[i]
    camera: str | None = None  # name of an input that takes the (B, 3, 3) intrinsics of the input
    focal: float | None = None  # in sides of the crop, of the camera that is assumed where none is known


Settings = TypeVar("Settings", DetectorSettings, KeypointSettings)

CHOICES = {
    (DetectorSettings, "layout"): ("auto", "yolov8", "yolov5", "end2end", "dets", "boxes"),
    (KeypointSettings, "layout"): ("auto", "heatmap", "simcc", "regression"),
    (DetectorSettings, "units"): ("px", "fraction"),
    (KeypointSettings, "units"): ("px", "fraction", "signed"),
    "channels": ("auto", "first", "last"),
    "colour": ("rgb", "bgr"),
    "pad": ("centre", "corner"),
    "side": ("seen", "right", "left"),
    "activation": ("none", "sigmoid"),
    "grid": ("centres", "stride", "corners"),
    "refine": ("log", "quarter", "none"),
}


def read_settings(kind: type[Settings], metadata: Mapping[str, str], given: tuple[str, ...]) -> Settings:
    """Options over metadata over defaults. Raises WrongCommand for options, HandtoolError for metadata."""
    keys, texts = {field.name for field in dataclasses.fields(kind)}, {}
    for name, text in metadata.items():
        if name.startswith(PREFIX) and name.removeprefix(PREFIX) in keys:
            texts[name.removeprefix(PREFIX)] = (text, HandtoolError, f"metadata {name}={text}")
    for option in given:
        key, equals, text = option.partition("=")
        if not equals or key not in keys:
            raise WrongCommand(
                f"--onnx {option}: expected KEY=VALUE, KEY one of {', '.join(sorted(keys))}",
                hint=f"--onnx {min(keys)}=…",
            )
        texts[key] = (text, WrongCommand, f"--onnx {option}")
    values: dict[str, Any] = {}
    for key, (text, error, where) in texts.items():
        try:
            values[key] = read_value(kind, key, text)
        except ValueError as problem:
            raise error(f"{where}: {problem}") from None
    return kind(**values)


def read_value(kind: type, key: str, text: str) -> object:
    """The text of one key as its value. Raises ValueError, which names what was expected."""
    choices = CHOICES.get((kind, key)) or CHOICES.get(key)
    if choices:
        return one_of(text, choices)
    match key:
        case "output":
            return tuple(text.split(","))
        case "score" | "camera" | "joints":
            return text
        case "hand":
            return tuple(numbers(text, int))
        case "left" | "right":
            return numbers(text, int, (1,))[0]
        case "size":
            return tuple(2 * numbers(text, int, (1, 2)))[:2]
        case "mean" | "std":
            values = tuple(3 * numbers(text, float, (1, 3)))[:3]
            if key == "std" and min(values) <= 0:
                raise ValueError("a deviation is above 0")
            return values
        case "order":
            return permutation(numbers(text, int, (21,)))
        case _:  # fill, iou, context, focal, joints_scale
            return numbers(text, float, (1,))[0]


def one_of(text: str, choices: tuple[str, ...]) -> str:
    if text not in choices:
        raise ValueError(f"expected {' | '.join(choices)}")
    return text


def numbers(text: str, kind: type, counts: tuple[int, ...] = ()) -> list:
    try:
        found = [kind(part) for part in text.split(",")]
    except ValueError:
        found = []
    if not found or (counts and len(found) not in counts):
        raise ValueError(f"expected {' or '.join(map(str, counts)) or 'some'} numbers, separated by commas")
    return found


def permutation(order: list[int]) -> tuple[int, ...]:
    if sorted(order) != list(STANDARD):
        raise ValueError("expected the numbers 0 to 20, each once")
    return tuple(order)
