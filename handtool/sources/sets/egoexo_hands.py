"""The hands of Ego-Exo4D as its json have them: one take after another, frame by frame, camera by camera.

    raw       hand/annotation|automatic/<take_uid>.json
                  frame -> [{annotation3D: {NAME: {x, y, z, num_views_for_3d}}, annotation2D: {CAMERA: {NAME: {x, y}}}}]
              camera_pose/<take_uid>.json
                  CAMERA -> camera_intrinsics 3 x 3 px, camera_extrinsics: frame -> 3 x 4 m, world to camera
    prepared  ego_pose_gt_anno_<split>_public.json
                  take -> frame -> right_hand_3d 21 x 3 m, right_hand_2d 21 x 2 px, right_hand_valid_3d 21,
                  right_hand_bbox x0 y0 x1 y1, the same of left_hand; metadata; [] for a hand that is absent

NAME is right_wrist, right_thumb_1 … left_pinky_4, 1 nearest the palm; a joint that is not known is absent (raw) or NaN.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from handtool import bounded
from handtool.errors import DamagedFile
from handtool.sources.large_json import read_members
from handtool.sources.sets.multi_camera import as_numbers

SIDES = ("right", "left")
FINGERS = ("thumb", "index", "middle", "ring", "pinky")
NAMES = ("wrist", *(f"{finger}_{level}" for finger in FINGERS for level in range(1, 5)))
FEWEST_VIEWS = 3  # cameras that a manually annotated joint is triangulated from, to be believed
ARIA = np.array([[150.0, 0, 255.5], [0, 150, 255.5], [0, 0, 1]])  # K of the undistorted pictures
ARIA_SIZE = 512  # px, both sides of these
PREPARED = "aria"  # the camera of a prepared file
MOST_FRAME = 10**9
OTHER = "a file of another version?"
NOWHERE_3D, NOWHERE_2D = np.full((2, 21, 3), np.nan), np.full((2, 21, 2), np.nan)


@dataclass(frozen=True, eq=False)
class Seen:
    """Both hands, right and left, on one frame of a camera. intrinsics: (3, 3) px, extrinsics: (3, 4) m, NaN unknown.
    joints: (2, 21, 3) m, its frame; valid, keypoints_valid: (2, 21); keypoints: (2, 21, 2) px; box: (2, 4) px, NaN."""

    camera: str
    frame: int
    intrinsics: np.ndarray
    extrinsics: np.ndarray
    joints: np.ndarray
    valid: np.ndarray
    keypoints: np.ndarray
    keypoints_valid: np.ndarray
    box: np.ndarray


def is_aria(camera: str) -> bool:
    return camera.lower().startswith("aria")


def read_prepared(path: Path) -> Iterator[tuple[str, str, list[Seen]]]:
    """Of each take: its key, the name in its metadata ("" none), its frames. Raises DamagedFile."""
    for take, frames in read_members(path):
        try:
            about = (each["metadata"] for each in frames.values() if each.get("metadata"))
            named = next((each.get("take_name", "") for each in about), "")
            yield take, str(named), [read_entry(number_of(frame), each, path) for frame, each in frames.items()]
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise DamagedFile(f"{path}: take {take[:60]!r} is not as it should be ({error})", OTHER) from None


def read_entry(frame: int, entry: dict, path: Path) -> Seen:
    joints, keypoints, box = NOWHERE_3D.copy(), NOWHERE_2D.copy(), np.full((2, 4), np.nan)
    marked = np.ones((2, 21), bool)
    for place, side in enumerate(SIDES):
        what = f"frame {frame}, {side}_hand"
        for key, into, shape in (("3d", joints, (21, 3)), ("2d", keypoints, (21, 2)), ("bbox", box, (4,))):
            if values := entry.get(f"{side}_hand_{key}"):
                into[place] = as_numbers(nulls(values), shape, path, f"{what}_{key}")
        if values := entry.get(f"{side}_hand_valid_3d"):
            marked[place] = as_numbers(values, (21,), path, f"{what}_valid_3d") > 0
    valid, seen = (marked & np.isfinite(each).all(axis=2) for each in (joints, keypoints))
    return Seen(PREPARED, frame, ARIA, np.full((3, 4), np.nan), joints, valid, keypoints, seen, box)


def nulls(values: Any) -> Any:
    """null, as large_json reads NaN, becomes NaN in numbers of any nesting."""
    if isinstance(values, list):
        return [nulls(each) for each in values]
    return float("nan") if values is None else values


def read_raw(path: Path, poses: Path, manual: bool) -> list[Seen]:
    """The frames of one take. manual: joints seen by fewer than FEWEST_VIEWS cameras are not valid. Raises
    HandtoolError."""
    cameras = bounded.read_json(poses, hint=OTHER)
    found = []
    try:
        frames = bounded.read_json(path, hint=OTHER).items()
        known = {name: each for name, each in cameras.items() if isinstance(each, dict) and "camera_intrinsics" in each}
        matrices = {
            name: as_numbers(each["camera_intrinsics"], (3, 3), poses, f"K of {name}") for name, each in known.items()
        }
        for frame, entries in frames:
            entry = entries[0] if isinstance(entries, list) and entries else entries or {}
            world, sure = world_joints(entry.get("annotation3D") or {}, manual)
            seen = entry.get("annotation2D") or {}
            for name, camera in known.items():
                outer = camera["camera_extrinsics"]
                outer = outer.get(frame) if isinstance(outer, dict) else outer
                if outer is None:
                    continue
                extrinsics = as_numbers(outer, (3, 4), poses, f"R | t of {name}, frame {frame}")
                joints = world @ extrinsics[:, :3].T + extrinsics[:, 3]
                keypoints = annotated_points(seen.get(name) or {})
                valid, there = sure & np.isfinite(joints).all(axis=2), np.isfinite(keypoints).all(axis=2)
                box = np.full((2, 4), np.nan)
                number = number_of(frame)
                found.append(Seen(name, number, matrices[name], extrinsics, joints, valid, keypoints, there, box))
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise DamagedFile(f"{path} is not as it should be ({error})", OTHER) from None
    return found


def world_joints(given: dict, manual: bool) -> tuple[np.ndarray, np.ndarray]:
    """(2, 21, 3) m, NaN unknown, and (2, 21), which are to be believed."""
    joints, sure = NOWHERE_3D.copy(), np.zeros((2, 21), bool)
    for place, side in enumerate(SIDES):
        for row, name in enumerate(NAMES):
            if (point := given.get(f"{side}_{name}")) is not None:
                joints[place, row] = [float(point[axis]) for axis in "xyz"]
                sure[place, row] = not manual or float(point.get("num_views_for_3d") or 0) >= FEWEST_VIEWS
    return joints, sure


def annotated_points(given: dict) -> np.ndarray:
    """(2, 21, 2) px, NaN where nobody has marked the joint."""
    points = NOWHERE_2D.copy()
    for place, side in enumerate(SIDES):
        for row, name in enumerate(NAMES):
            if (point := given.get(f"{side}_{name}")) is not None:
                points[place, row] = float(point["x"]), float(point["y"])
    return points


def number_of(frame: str) -> int:
    if not frame.isdecimal() or int(frame[:12]) > MOST_FRAME:
        raise ValueError(f"frame {frame[:20]!r} is no number")
    return int(frame)
