"""Hands that somebody else's model found, as columns: .npz, .parquet, or .json (an object of columns, or a list of
objects, one a hand). One row, one hand; what is not known is NaN or null, and a column that nobody knows is left out:

    video        (n,) text          file of the video or image, or the end of its path (also called `image`)
    frame        (n,) int           number of the decoded frame from 0; of videos this or
    time         (n,) s             its time stamp; of images neither
    side         (n,) text          left or right, or 0 and 1 (also called `is_right`)
    score        (n,)               0 to 1; without it 1
    box          (n, 4) px          x0 y0 x1 y1 by its edges; without it the extent of the keypoints
    keypoints    (n, 21, 2) px      of the frame; without them the joints are projected, where they are in its camera
    keypoints_score  (n, 21) or (n,)   0 to 1; without it the score
    joints       (n, 21, 3) m       in the axes of the camera (also called `joints_m`), relative to any point, or with
    translation  (n, 3) m           to be added, in the camera's frame; so are joints that all lie deeper than 5 cm
    camera       (n, 3, 3) px       or (3, 3): intrinsics of the frame (also called `K`)

Pixels have centres at integers; camera axes are x right, y down, z forward; joints in handtool's order. In parquet the
arrays are lists, nested or flat. Memory, in each worker process: a million hands take 1.3 GB while the file is read,
and 0.6 GB then.
"""

import math
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from handtool import bounded
from handtool.archives import PLAIN, RATIO
from handtool.errors import DamagedFile
from handtool.hands.boxes import box_of_points
from handtool.hands.camera import project
from handtool.sources.npz import read_npz
from handtool.sources.parquet import ParquetFile
from handtool.vision.boxes_columns import read_side

SHAPES: dict[str, tuple[int, ...]] = {"video": (), "frame": (), "time": (), "side": (), "score": (), "box": (4,)}
SHAPES |= {"keypoints": (21, 2), "keypoints_score": (21,), "joints": (21, 3), "translation": (3,), "camera": (3, 3)}
ALIASES = {"image": "video", "is_right": "side", "joints_m": "joints", "K": "camera"}
TEXTS, LARGE = ("video", "side"), ("keypoints", "joints")
TEXT_NAMES = ("video", "image")  # always texts; a side may be 0 and 1
LEAST_DEPTH = 0.05  # m: joints that all lie deeper are in the camera's frame
MOST_ROWS, BLOCK_ROWS = 50_000_000, 65_536
HELP = "python -c 'import handtool.extraction.hands_columns as h; help(h)'"
HINT = f"columns video, frame or time, side, box or keypoints, …: {HELP}"


@dataclass(eq=False)
class FoundHands:
    """n hands. name: (n,) of their pictures as the file writes it; frame: (n,) -1 unknown; time: (n,) s, NaN; side:
    (n,); score, keypoints_score: (n,); box: (n, 4); keypoints: (n, 21, 2); joints: (n, 21, 3) m, in the camera's frame
    where `absolute` (n,); camera: (n, 3, 3); row: (n,) in the file. left_out: hands by the reason. notes: what needs
    saying."""

    name: np.ndarray
    frame: np.ndarray
    time: np.ndarray
    side: np.ndarray
    score: np.ndarray
    keypoints_score: np.ndarray
    box: np.ndarray
    keypoints: np.ndarray
    joints: np.ndarray
    absolute: np.ndarray
    camera: np.ndarray
    row: np.ndarray
    left_out: Counter = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)

    def take(self, rows: np.ndarray) -> "FoundHands":
        own = {name: values[rows] for name, values in vars(self).items() if isinstance(values, np.ndarray)}
        return FoundHands(**own, left_out=self.left_out, notes=self.notes)


def read_hands(path: str) -> FoundHands:
    """Raises HandtoolError where it cannot be read, DamagedFile where it is not as described above."""
    suffix = Path(path).suffix.lower()
    if suffix == ".parquet":
        given = read_parquet(path)
    elif suffix == ".npz":
        given = dict(read_npz(Path(path)))
    elif suffix == ".json":
        given = read_json(path)
    else:
        raise DamagedFile(f"{path} is no .npz, .parquet or .json", hint=HINT)
    columns = {ALIASES.get(name, name): values for name, values in given.items()}
    unknown = [name for name in columns if name not in SHAPES]
    columns = {name: values for name, values in columns.items() if name in SHAPES}
    if missing := [name for name in ("video", "side") if name not in columns]:
        raise DamagedFile(f"{path} has no {' and no '.join(missing)}; it has {str(sorted(given))[:200]}", hint=HINT)
    count = len(np.atleast_1d(columns["video"]))
    checked = {name: check_column(path, name, values, count) for name, values in columns.items()}
    hands = make_hands(path, checked, count)
    if unknown:
        hands.notes.append(f"columns that are not read: {', '.join(map(str, unknown))[:200]}")
    return hands


def make_hands(path: str, columns: dict[str, np.ndarray], count: int) -> FoundHands:
    def of(name: str) -> np.ndarray:
        return columns[name] if name in columns else np.full((count, *SHAPES[name]), np.nan, np.float32)

    sides = {text: read_side(one_side(text)) for text in np.unique(columns["side"]).tolist()}
    if wrong := [text for text, side in sides.items() if side is None]:
        raise DamagedFile(f"{path} has side {wrong[0][:80]!r}, expected left or right", hint=HINT)
    joints, camera = of("joints"), of("camera")
    absolute = np.isfinite(joints).all(axis=(1, 2))
    with np.errstate(invalid="ignore"):
        if "translation" in columns:
            joints = joints + columns["translation"][:, None].astype(np.float32)
            absolute &= np.isfinite(columns["translation"]).all(axis=1)
        absolute &= (joints[..., 2] > LEAST_DEPTH).all(axis=1)
    keypoints = of("keypoints")
    projected = absolute & np.isfinite(camera).all(axis=(1, 2)) & ~np.isfinite(keypoints).any(axis=(1, 2))
    if projected.any():
        keypoints = keypoints.copy()
        keypoints[projected] = project(joints[projected].astype(np.float64), camera[projected])
    boxes = of("box").astype(np.float64)
    without = np.flatnonzero(~np.isfinite(boxes).all(axis=1))
    for start in range(0, len(without), BLOCK_ROWS):
        rows = without[start : start + BLOCK_ROWS]
        boxes[rows] = box_of_points(keypoints[rows])
    score = np.where(np.isfinite(of("score")), of("score"), 1.0)
    sure = score
    if (given := columns.get("keypoints_score")) is not None:
        sure = np.where(np.isfinite(given), given, score[:, None]).mean(axis=1)
    hands = FoundHands(
        name=columns["video"],
        frame=np.where(np.isfinite(of("frame")), of("frame"), -1).astype(np.int64),
        time=of("time"),
        side=np.array([sides[text] for text in columns["side"].tolist()], np.int8),
        score=score,
        keypoints_score=sure,
        box=boxes,
        keypoints=keypoints,
        joints=joints,
        absolute=absolute,
        camera=camera,
        row=np.arange(count),
    )
    known = np.isfinite(hands.box).all(axis=1)
    hands.left_out["without a box, keypoints or joints in a known camera"] += int((~known).sum())
    hands.left_out = +hands.left_out
    return hands if known.all() else hands.take(np.flatnonzero(known))


def one_side(text: str) -> str:
    """1.0 and True are 1."""
    return {"1.0": "1", "True": "1", "0.0": "0", "False": "0"}.get(text, text)


def check_column(path: str, name: str, values: Any, count: int) -> np.ndarray:
    """float64, or texts. Raises DamagedFile."""
    values, shape = np.asarray(values), (count, *SHAPES[name])
    if name in TEXTS:
        kind = values.dtype.kind
        if values.shape != shape or kind not in ("USbifu" if name == "side" else "US"):
            raise DamagedFile(f"{path}: {name} is {values.dtype} {values.shape}, expected {count} texts", hint=HINT)
        return np.char.decode(values, "utf-8", "replace") if kind == "S" else values.astype(str)
    if name == "camera" and values.shape == (3, 3):
        values = np.broadcast_to(values, shape)
    if name == "keypoints_score" and values.shape == (count,):
        values = np.broadcast_to(values[:, None], shape)
    if values.dtype.kind not in "fiub" or (values.shape != shape and values.shape != (count, int(np.prod(shape[1:])))):
        told = f"{name} is {values.dtype} {values.shape}, expected numbers of shape {shape}"
        raise DamagedFile(f"{path}: {told}", hint=HINT)
    values = values.reshape(shape).astype(np.float32 if name in LARGE else np.float64, copy=False)
    if name == "frame" and (np.isinf(values).any() or (np.abs(values) > 2**53).any() or (values % 1 > 0).any()):
        raise DamagedFile(f"{path}: frame has numbers that are no whole ones", hint=HINT)
    return values


def read_json(path: str) -> dict[str, Any]:
    content = bounded.read_json(path, hint=HINT)
    if isinstance(content, list) and all(isinstance(hand, dict) for hand in content):
        names = sorted({name for hand in content for name in hand})
        content = {name: [hand.get(name) for hand in content] for name in names}
    if not isinstance(content, dict):
        raise DamagedFile(f"{path} is neither an object of columns nor a list of objects, one a hand", hint=HINT)
    return {name: from_lists(path, name, values) for name, values in content.items()}


def from_lists(path: str, name: str, values: Any) -> np.ndarray:
    """null becomes NaN or the empty text."""
    known = ALIASES.get(name, name)
    if known not in SHAPES or not isinstance(values, list):
        return np.zeros(0)
    if known in TEXTS:
        return np.array(["" if value is None else str(value) for value in values], dtype=str)
    filler = np.full(SHAPES[known], np.nan).tolist()
    try:
        return np.array([filler if value is None else value for value in values], dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        told = f"{name} is not numbers of shape {('n', *SHAPES[known])} throughout"
        raise DamagedFile(f"{path}: {told}", hint=HINT) from None


def read_parquet(path: str) -> dict[str, np.ndarray]:
    """A column at a time: each takes its memory twice."""
    file = ParquetFile(Path(path), TEXT_NAMES)
    known = {name: ALIASES.get(name, name) for name in file.columns if ALIASES.get(name, name) in SHAPES}
    size, packed = file.rows * sum(8 * math.prod(SHAPES[name]) for name in known.values()), Path(path).stat().st_size
    if size > max(PLAIN, RATIO * packed) or file.rows > MOST_ROWS:
        told = f"its {packed:,} bytes say that they unpack to {size:,} and {file.rows:,} rows"
        raise DamagedFile(f"{path} cannot be read: {told}", hint=HINT)
    others = {name: np.zeros(0) for name in file.columns if name not in known}
    return others | {name: read_column(file, name, of) for name, of in known.items()}


def read_column(file: ParquetFile, name: str, known: str) -> np.ndarray:
    """Texts, numbers, or lists of numbers, nested or flat. null becomes NaN or the empty text."""
    kind, is_list = np.float32 if known in LARGE else np.float64, file.is_list(name)
    width = math.prod(SHAPES[known]) if is_list else 1
    if known in TEXTS:
        return np.array(file.texts(name), dtype=str)
    parts = [file.as_matrix(batch, name, width).astype(kind) for batch in file.read([name])]
    values = np.concatenate([*parts, np.empty((0, width), kind)])
    return values.reshape(len(values), *SHAPES[known]) if is_list else values[:, 0]
