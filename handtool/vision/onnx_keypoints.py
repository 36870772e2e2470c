"""21 keypoints on crops by an ONNX model: heat maps, SimCC or direct regression. ONNX.md beside this file explains the
settings.

Shapes: n hands, 21 keypoints, h x w cells of a heat map. Points are px of the network's input, centres at integers.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from handtool.errors import HandtoolError
from handtool.hands.align import relative_to
from handtool.hands.boxes import apply_affine, as_3x3, invert
from handtool.hands.camera import mirror_camera, mirror_joints, mirror_points
from handtool.hands.skeleton import LEFT, NUM_JOINTS, RIGHT
from handtool.vision.contracts import EstimatedHand, HandCrop
from handtool.vision.onnx_session import Network, metadata_of, open_session, shape_text
from handtool.vision.onnx_settings import KeypointSettings, read_settings
from handtool.vision.resample import placement, resample

FOCAL = 1.74  # in sides of the crop, where neither the camera is known nor the model says what to assume
OTHER_SIDE = {"right": LEFT, "left": RIGHT, "seen": None}  # the side that is mirrored for a model of that one


class OnnxKeypoints:
    """Raises HandtoolError if the file is no ONNX model, or none of 21 keypoints in a known layout."""

    def __init__(self, path: str | Path, given: tuple[str, ...], device: str = "auto") -> None:
        session = open_session(path, device)
        self.settings = read_settings(KeypointSettings, metadata_of(session), given)
        self.network = Network(path, session, self.settings)
        self.batch = self.network.batch
        self.check_camera()
        self.layout, self.outputs = find_layout(
            self.network.blank(self.cameras([self.no_crop()])), self.settings, self.network
        )

    def find_keypoints(self, crops: list[HandCrop]) -> list[EstimatedHand | None]:
        width, height = self.network.width, self.network.height
        pictures = [resample(self.turned(crop), width, height, self.scale(crop)) for crop in crops]
        found = self.network.run(np.stack(pictures), self.cameras(crops))
        points, scores = self.decode(found)
        joints = self.decode_joints(found) if self.settings.joints else np.full((len(crops), 21, 3), np.nan)
        return [self.as_seen(*each) for each in zip(crops, points, scores, joints, strict=True)]

    def decode(self, found: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """(n, 21, 2) px of the input and (n, 21) in 0..1, in standard order."""
        values, settings = [found[name] for name in self.outputs], self.settings
        match self.layout:
            case "heatmap":
                points, score = from_heatmaps(values[0], settings, self.network)
            case "simcc":
                points, score = from_simcc(values[0], values[1], self.network)
            case "regression":
                points, score = from_regression(values[0], settings.units, self.network)
        if settings.score is not None:
            said = activated(found[settings.score].reshape(len(points), -1), settings.activation)
            score = np.broadcast_to(said, score.shape)
        order = list(settings.order)
        return points[:, order], np.clip(score[:, order], 0, 1)

    def decode_joints(self, found: Mapping[str, np.ndarray]) -> np.ndarray:
        """(n, 21, 3) m relative to the wrist, of the hand as the network sees it, in standard order."""
        assert self.settings.joints
        values = found[self.settings.joints].astype(float)
        joints = values.reshape(len(values), NUM_JOINTS, 3)[:, list(self.settings.order)]
        return self.settings.joints_scale * relative_to(joints)

    def as_seen(self, crop: HandCrop, xy: np.ndarray, score: np.ndarray, joints: np.ndarray) -> EstimatedHand | None:
        """Input px -> px of the crop as it is stored; None where the model gave no numbers."""
        side = crop.image.shape[0]
        xy = apply_affine(
            invert(placement(side, self.network.width, self.network.height, self.scale(crop))), xy.astype(float)
        )
        if not (np.isfinite(xy).all() and np.isfinite(score).all()):
            return None
        seen = joints if np.isfinite(joints).all() else None
        if not self.is_mirrored(crop):
            return EstimatedHand(xy, score, seen)
        return EstimatedHand(mirror_points(xy, side), score, None if seen is None else mirror_joints(seen))

    def is_mirrored(self, crop: HandCrop) -> bool:
        return crop.side == OTHER_SIDE[self.settings.side]

    def turned(self, crop: HandCrop) -> np.ndarray:
        return crop.image[:, ::-1] if self.is_mirrored(crop) else crop.image

    def scale(self, crop: HandCrop) -> float:
        """Input px per crop px: the whole crop, or as much around the hand (black beyond the crop) as the model
        wants."""
        whole = min(self.network.width, self.network.height) / crop.image.shape[0]
        return whole if self.settings.context is None else whole * crop.context / self.settings.context

    def cameras(self, crops: list[HandCrop]) -> dict[str, np.ndarray]:
        """The intrinsics of the inputs (n, 3, 3), if the model needs them."""
        return {self.settings.camera: np.stack([self.camera(crop) for crop in crops])} if self.settings.camera else {}

    def camera(self, crop: HandCrop) -> np.ndarray:
        """(3, 3) float32: of the crop, mirrored as it is and moved to the input; an assumed one, centred on the
        image, if it is unknown."""
        side = crop.image.shape[0]
        if np.isfinite(crop.camera).all():
            camera = mirror_camera(crop.camera, side) if self.is_mirrored(crop) else crop.camera
        else:
            focal, middle = (self.settings.focal or FOCAL) * side, (side - 1) / 2
            camera = np.array([[focal, 0, middle], [0, focal, middle], [0, 0, 1]])
        moved = as_3x3(placement(side, self.network.width, self.network.height, self.scale(crop))) @ camera
        return moved.astype(np.float32)

    def no_crop(self) -> HandCrop:
        side = min(self.network.width, self.network.height)
        return HandCrop(np.zeros((side, side, 3), np.uint8))

    def check_camera(self) -> None:
        taken = [one.name for one in self.network.session.get_inputs()]
        if self.settings.camera is not None and self.settings.camera not in taken:
            raise HandtoolError(
                f"{self.network.path} has no input {self.settings.camera!r}; it takes {', '.join(taken)}",
                hint="leave out --onnx camera",
            )


def from_heatmaps(maps: np.ndarray, settings: KeypointSettings, network: Network) -> tuple[np.ndarray, np.ndarray]:
    """(n, 21, h, w), or (n, h, w, 21) -> the place of each maximum, finer than a cell, and its height."""
    maps = activated(maps if maps.shape[1] == NUM_JOINTS else maps.transpose(0, 3, 1, 2), settings.activation)
    count, _, high, wide = maps.shape
    best = maps.reshape(count, NUM_JOINTS, -1).argmax(2)
    row, column = np.divmod(best, wide)
    hand, joint = np.indices(best.shape)
    score = maps[hand, joint, row, column]
    places = []
    for index, size, at in ((column, wide, lambda j: (row, j)), (row, high, lambda i: (i, column))):
        beside = [maps[(hand, joint, *at(np.clip(index + step, 0, size - 1)))] for step in (-1, 1)]
        inside = (index > 0) & (index < size - 1)
        places.append(index + np.where(inside, finer(beside[0], score, beside[1], settings.refine), 0))
    cells, sides = np.array([wide, high]), np.array([network.width, network.height])
    place = np.stack(places, axis=-1)
    match settings.grid:
        case "centres":
            return (place + 0.5) * (sides / cells) - 0.5, score
        case "stride":
            return place * (sides / cells), score
        case "corners":
            return place * ((sides - 1) / np.maximum(cells - 1, 1)), score
    raise AssertionError(settings.grid)


def finer(before: np.ndarray, top: np.ndarray, after: np.ndarray, how: str) -> np.ndarray:
    """How far, in cells, the true maximum lies from the highest cell, from the heights of its two neighbours.

    log: the vertex of the parabola through the logarithms, exact for a Gaussian (Zhang et al. 2020, arXiv:1910.06278,
    eq. 6, per axis). quarter: a quarter of a cell towards the higher one (Newell et al. 2016, arXiv:1603.06937).
    """
    if how == "none":
        return np.zeros_like(top)
    if how == "quarter":
        return 0.25 * np.sign(after - before)
    least = np.float32(1e-10)
    low, mid, high = (np.log(np.maximum(value, least)) for value in (before, top, after))
    bend = 2 * mid - low - high
    return np.clip(np.where(bend > 1e-6, (high - low) / np.maximum(2 * bend, 1e-6), 0), -0.5, 0.5)


def from_simcc(across: np.ndarray, down: np.ndarray, network: Network) -> tuple[np.ndarray, np.ndarray]:
    """(n, 21, bins of the width) and (n, 21, bins of the height) -> the highest bin of each; the score is the lower of
    the two heights.

    Li et al. 2022 (SimCC, arXiv:2107.03332): bin i is the place i / bins per px.
    """
    place = [
        values.argmax(2) * (side / values.shape[2])
        for values, side in ((across, network.width), (down, network.height))
    ]
    return np.stack(place, axis=-1), np.minimum(across.max(2), down.max(2))


def from_regression(values: np.ndarray, units: str, network: Network) -> tuple[np.ndarray, np.ndarray]:
    """(n, 21, 2 or more), or flat (n, 42 or 63): x and y of each, what follows is depth -> points, and 1 as the
    score, which the model does not provide."""
    points = values.reshape(len(values), NUM_JOINTS, -1)[..., :2].astype(np.float64)
    sides = np.array([network.width, network.height])
    if units == "fraction":
        points = points * sides - 0.5
    elif units == "signed":
        points = (points + 1) / 2 * sides - 0.5
    return points, np.ones(points.shape[:2], np.float32)


def activated(values: np.ndarray, how: str) -> np.ndarray:
    return 1 / (1 + np.exp(-values.astype(np.float32))) if how == "sigmoid" else values


def find_layout(
    outputs: Mapping[str, np.ndarray], settings: KeypointSettings, network: Network
) -> tuple[str, tuple[str, ...]]:
    """The layout and the names of its outputs: declared, else the only one that the shapes of the outputs for one
    picture allow."""
    named = {name: outputs[name].shape for name in settings.output or outputs if name in outputs}
    if missing := [
        name
        for name in (*(settings.output or ()), settings.score, settings.joints)
        if name is not None and name not in outputs
    ]:
        raise HandtoolError(
            f"{network.path} has no output {missing[0]!r}; it gives {', '.join(outputs)}", hint="--onnx output=NAME"
        )
    if settings.score is not None and outputs[settings.score][0].size not in (1, NUM_JOINTS):
        shape = shape_text(outputs[settings.score].shape)
        raise HandtoolError(
            f"{network.path}: the output {settings.score} ({shape}) is no score of a hand or of 21 keypoints",
            hint="--onnx score=NAME",
        )
    if settings.joints is not None and outputs[settings.joints][0].size != 3 * NUM_JOINTS:
        shape = shape_text(outputs[settings.joints].shape)
        raise HandtoolError(
            f"{network.path}: the output {settings.joints} ({shape}) is no 21 joints in 3D", hint="--onnx joints=NAME"
        )
    found = [
        (layout, names)
        for layout, choose in (
            ("heatmap", heatmap_outputs),
            ("simcc", simcc_outputs),
            ("regression", regression_outputs),
        )
        if settings.layout in ("auto", layout)
        for names in choose(
            {name: shape for name, shape in named.items() if name not in (settings.score, settings.joints)},
            network,
            settings.output,
        )
    ]
    if len(found) == 1:
        return found[0]
    text = ", ".join(f"{name} {shape_text(output.shape)}" for name, output in outputs.items())
    wanted = (
        "21 keypoints in a layout that is known" if settings.layout == "auto" else f"21 keypoints as {settings.layout}"
    )
    if found:
        raise HandtoolError(
            f"{network.path}: several outputs could be the keypoints ({text})", hint=f"--onnx output={found[0][1][0]}"
        )
    raise HandtoolError(
        f"{network.path}: its outputs ({text}) are not {wanted}", hint="--onnx layout=heatmap | simcc | regression"
    )


def heatmap_outputs(
    shapes: Mapping[str, tuple], network: Network, declared: tuple[str, ...] | None
) -> list[tuple[str, ...]]:
    return [(name,) for name, shape in shapes.items() if len(shape) == 4 and NUM_JOINTS in (shape[1], shape[3])]


def simcc_outputs(
    shapes: Mapping[str, tuple], network: Network, declared: tuple[str, ...] | None
) -> list[tuple[str, ...]]:
    """Pairs of outputs with at least a bin per px; of a square input the first is x, unless they are named."""
    fine = [
        name
        for name, shape in shapes.items()
        if len(shape) == 3 and shape[1] == NUM_JOINTS and shape[2] >= min(network.width, network.height)
    ]
    if len(fine) != 2:
        return []
    (x, y), (wide, high) = fine, (shapes[name][2] for name in fine)
    return [(y, x) if declared is None and wide * network.height != high * network.width else (x, y)]


def regression_outputs(
    shapes: Mapping[str, tuple], network: Network, declared: tuple[str, ...] | None
) -> list[tuple[str, ...]]:
    flat = ((2 * NUM_JOINTS,), (3 * NUM_JOINTS,))
    return [
        (name,)
        for name, shape in shapes.items()
        if shape[1:] in flat or (len(shape) == 3 and shape[1] == NUM_JOINTS and shape[2] in (2, 3))
    ]
