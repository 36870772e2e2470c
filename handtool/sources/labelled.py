"""Labelled hands of one's own: a folder of images and one `labels.npz` or `labels.json`.

    my_hands/
      labels.npz            or labels.json
      images/0001.jpg …     or the images beside the labels file

One row, one hand; an image may appear in several rows. Columns of the .npz (arrays of equal length N, not pickled):

    image      (N,) text         path of the image, relative to the folder of the labels file, or to `images/` in it
    K          (N, 3, 3)         intrinsics of that image, px, pixel centres at integers; (3, 3) = for all
    joints_m   (N, 21, 3)        m, camera frame: x right, y down, z forward; NaN = not known
    side       (N,) text         "left" or "right" (or "unknown")
    box        (N, 4)            optional: x0 y0 x1 y1 px by its edges; without it the image is the hand
    keypoints  (N, 21, 2)        optional: px of the image; without it the joints are projected with K
    model      (N,) text         optional: the kind of lens, "pinhole", "fisheye" or "fisheye624" (see hands/lens.py)
    distortion (N, d)            optional: its numbers, px as taken; (d,) = for all; K is then without them
    valid      (N, 21) bool      optional: which joints are known; without it those that are finite
    subject    (N,) text         optional: who
    video      (N,) text         optional: which footage; without it a subject's hands (or all) are one video.
                                 Hands of one video are never a mined pair, and a split never divides them

Joints: 0 wrist, 1-4 thumb from palm to tip, 5-8 index, 9-12 middle, 13-16 ring, 17-20 little finger. The .json is
either one object with these columns as lists, or a list of objects, one per hand, with these names; null = not known.
"""

import os
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path, PurePosixPath

import numpy as np

from handtool import bounded
from handtool.errors import DamagedFile
from handtool.hands.camera import project
from handtool.hands.lens import COUNTS, STRONGEST, make_lens
from handtool.hands.lens import project as project_through
from handtool.hands.skeleton import LEFT, RIGHT, UNKNOWN
from handtool.names import natural
from handtool.sources.frame import Frame, KnownHand, Tally, Video
from handtool.sources.labelled_frames import Sample, read_known
from handtool.sources.npz import read_npz

NAMES = ("labels.npz", "labels.json")
NEEDED = ("image", "K", "joints_m", "side")
OPTIONAL = ("box", "keypoints", "valid", "subject", "video", "model", "distortion")
SHAPES = {"K": (3, 3), "joints_m": (21, 3), "box": (4,), "keypoints": (21, 2), "valid": (21,)}
SIDES = {"left": LEFT, "right": RIGHT, "unknown": UNKNOWN}


def find_labelled(path: Path, name: str) -> list[Video]:
    """The videos of a labelled set, in the order of their first row. Raises DamagedFile for another format."""
    columns = read_labels(str(path))
    count = len(columns["image"])
    footage = columns.get("video", np.full(count, ""))
    subject = columns.get("subject", np.full(count, ""))
    rows: dict[tuple[str, str], list[int]] = {}
    for row in range(count):
        rows.setdefault((str(footage[row]), str(subject[row])), []).append(row)
    return [
        Video(f"{name}/{which}" if which else name, str(path), "labelled", rows=tuple(of_it), subject=who)
        for (which, who), of_it in rows.items()
    ]


def read_labelled(video: Video, tally: Tally) -> Iterator[Frame]:
    """Every labelled hand of a video, in the order of the file, one frame each; `number`: place of the sorted image."""
    path = Path(video.path)
    columns = read_labels(video.path)
    names = {str(columns["image"][row]) for row in video.rows}
    places = {name: place for place, name in enumerate(sorted(names, key=natural))}

    def find(row: int) -> Sample:
        name = str(columns["image"][video.rows[row]])
        beside = path.parent / name
        return Sample(beside if os.path.exists(beside) else path.parent / "images" / name, name, places[name])

    return read_known(video, tally, find, lambda row, place, image: (known_hand(columns, video.rows[row]),))


def known_hand(columns: dict[str, np.ndarray], row: int) -> KnownHand:
    joints = columns["joints_m"][row].astype(np.float32)
    valid = np.isfinite(joints).all(1)
    if "valid" in columns:
        valid &= columns["valid"][row]
    camera = columns["K"][row]
    lens = make_lens(str(columns["model"][row]), camera, columns["distortion"][row]) if "model" in columns else None
    if "keypoints" in columns:
        keypoints = columns["keypoints"][row].astype(np.float64)
        seen = np.isfinite(keypoints).all(1)
        if "valid" in columns:
            seen &= columns["valid"][row]
    elif lens is not None:
        keypoints = project_through(lens, np.where(valid[:, None], joints, np.nan))
        seen = np.isfinite(keypoints).all(1)
    else:
        seen = valid & (joints[:, 2] > 0)  # what lies behind the camera is not in the picture
        keypoints = np.where(seen[:, None], project(joints.astype(np.float64), camera), np.nan)
    return KnownHand(
        side=SIDES[str(columns["side"][row]).lower()],
        camera=camera,
        joints=joints,
        valid=valid,
        keypoints=keypoints,
        keypoints_valid=seen,
        sample_id=row,
        sample_key=str(columns["image"][row]),
        box=columns["box"][row] if "box" in columns and np.isfinite(columns["box"][row]).all() else None,
        lens=lens,
    )


@lru_cache(maxsize=4)
def read_labels(path: str) -> dict[str, np.ndarray]:
    """The checked columns of a labels file. Raises DamagedFile, which names column, row and what was expected."""
    columns = read_npz(Path(path)) if path.endswith(".npz") else read_json(path)
    missing = [name for name in NEEDED if name not in columns]
    if missing:
        raise DamagedFile(
            f"{path} has no {', '.join(missing)}; it has {', '.join(sorted(columns)) or 'nothing'}",
            hint="the format is described by: python -c 'import handtool.sources.labelled as l; help(l)'",
        )
    count = len(np.atleast_1d(columns["image"]))
    if not count:
        raise DamagedFile(f"{path} has no rows")
    checked = {name: check_column(path, name, columns[name], count) for name in (*NEEDED, *OPTIONAL) if name in columns}
    check_values(path, checked)
    return checked


def read_json(path: str) -> dict[str, np.ndarray]:
    content = bounded.read_json(path)
    if isinstance(content, list):
        if not all(isinstance(hand, dict) for hand in content):
            raise DamagedFile(f"{path} is a list, but not of objects, one per hand")
        names = sorted({name for hand in content for name in hand})
        content = {name: [hand.get(name) for hand in content] for name in names}
    if not isinstance(content, dict):
        raise DamagedFile(f"{path} is neither an object of columns nor a list of objects, one per hand")
    return {name: json_column(path, name, values) for name, values in content.items() if name in NEEDED + OPTIONAL}


def json_column(path: str, name: str, values) -> np.ndarray:
    """null becomes NaN (numbers) or the empty text; a missing row of a column takes the shape of the others."""
    rows = values if isinstance(values, list) else [values]
    if name not in SHAPES and name != "distortion":
        return np.array(["" if value is None else str(value) for value in rows], dtype=str)
    filler = np.full(SHAPES.get(name, ()), np.nan).tolist()
    try:
        return np.array([filler if value is None else value for value in rows], dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        shape = ("N", *SHAPES.get(name, "d"))
        raise DamagedFile(f"{path}: {name} is not numbers of shape {shape} throughout") from None


def check_column(path: str, name: str, values: np.ndarray, count: int) -> np.ndarray:
    values = np.asarray(values)
    if name == "distortion":
        return check_distortion(path, values, count)
    if name not in SHAPES:
        values = np.full(count, str(values)) if values.ndim == 0 else values
        if values.dtype.kind != "U" or values.shape != (count,):
            raise DamagedFile(f"{path}: {name} is {values.dtype} of shape {values.shape}, expected {count} texts")
        return values
    expected = (count, *SHAPES[name])
    if name == "K" and values.shape == (3, 3):
        values = np.broadcast_to(values, expected)
    if values.shape != expected or values.dtype.kind not in "fiub":
        raise DamagedFile(
            f"{path}: {name} is {values.dtype} of shape {values.shape}, expected numbers of shape {expected}"
        )
    if name == "valid":
        return np.nan_to_num(values).astype(bool) if values.dtype.kind == "f" else values.astype(bool)
    return values.astype(np.float64)


def check_distortion(path: str, values: np.ndarray, count: int) -> np.ndarray:
    """(n, d) numbers; those of one lens for all are repeated."""
    if values.ndim == 1 and values.dtype.kind in "fiu":
        values = np.broadcast_to(values, (count, len(values)))
    if values.ndim != 2 or len(values) != count or values.dtype.kind not in "fiu":
        told = f"distortion is {values.dtype} of shape {values.shape}, expected numbers of shape ({count}, d) or (d,)"
        raise DamagedFile(f"{path}: {told}")
    return values.astype(np.float64)


def check_lenses(path: str, columns: dict[str, np.ndarray]) -> None:
    """The lenses can be made: known models, as many numbers as they have, without skew."""
    if ("model" in columns) != ("distortion" in columns):
        raise DamagedFile(f"{path}: model and distortion go together, it has one of them")
    for row, model in enumerate(columns.get("model", ())):
        numbers, camera = columns["distortion"][row], columns["K"][row]
        if str(model) not in COUNTS or len(numbers) not in COUNTS[str(model)]:
            known = ", ".join(f"{name} {counts}" for name, counts in COUNTS.items())
            raise DamagedFile(f"{path}: model {str(model)!r} with {len(numbers)} numbers in row {row}; known: {known}")
        if not (np.abs(numbers) <= STRONGEST).all() or camera[0, 1] != 0:
            raise DamagedFile(f"{path}: the lens in row {row} has no usable numbers, or its K a skew")


def check_values(path: str, columns: dict[str, np.ndarray]) -> None:
    """Checks beyond shapes: sides exist, cameras and lenses are valid, paths stay inside the folder."""
    check_lenses(path, columns)
    for row, (image, side, camera) in enumerate(zip(columns["image"], columns["side"], columns["K"], strict=True)):
        place = PurePosixPath(str(image))
        if not str(image) or place.is_absolute() or ".." in place.parts:
            raise DamagedFile(f"{path}: image {str(image)!r} in row {row} is not a path inside the folder")
        if str(side).lower() not in SIDES:
            raise DamagedFile(f"{path}: side {str(side)!r} in row {row}, expected left, right or unknown")
        if not (
            np.isfinite(camera).all() and camera[0, 0] > 0 and camera[1, 1] > 0 and np.array_equal(camera[2], (0, 0, 1))
        ):
            raise DamagedFile(
                f"{path}: K in row {row} is no camera matrix (fx, fy > 0, last row 0 0 1): {camera.tolist()}"
            )
