"""Hands of both sides in one world, seen by cameras: what InterHand2.6M and AssemblyHands have in common.

Their 42 joints are 21 of the right hand, then 21 of the left, each finger from its tip, the wrist last. Videos carry

    labels    file (n,) path of the image below the root · id (n,) · number (n,) · valid (n, 42)
              hands (n, 2), whether there may be a right and a left one · pose, view (n,): rows of the tables, -1: none
    tables    joints (p, 42, 3) m, world · camera (c, 3, 3) px · extrinsics (c, 3, 4) R | t, X_camera = R X_world + t, m

(camera and extrinsics among the labels where each image has its own) and turns into the camera's frame here, once.
"""

import logging
import os
from array import array
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from handtool.errors import DamagedFile, HandtoolError
from handtool.hands.camera import project
from handtool.hands.skeleton import FROM_INTERHAND_LEFT, FROM_INTERHAND_RIGHT, LEFT, RIGHT
from handtool.sources.frame import Frame, KnownHand, Tally, Video
from handtool.sources.labelled_frames import BadLabel, Sample, read_known
from handtool.sources.sets.dataset_choice import missing_error

MM = 1e-3  # m
ORDERS = {RIGHT: list(FROM_INTERHAND_RIGHT), LEFT: list(FROM_INTERHAND_LEFT)}
MOST_NAMED = 3
OTHER_VERSION = "a file of another version?"
log = logging.getLogger(__name__)


def read_multi_camera(
    video: Video, tally: Tally, find_box: Callable[[int, KnownHand], np.ndarray | None]
) -> Iterator[Frame]:
    """Every image of the rows with its hands, right before left. find_box(row, hand): (4,) px, None: no such hand."""

    def find(row: int) -> Sample:
        name = os.fsdecode(video.labels["file"][row])
        return Sample(Path(video.path) / name, name, int(video.labels["number"][row]))

    def label(row: int, place: Sample, image: np.ndarray) -> tuple[KnownHand, ...]:
        if "camera" in video.labels and np.isnan(video.labels["extrinsics"][row]).any():
            raise BadLabel("images of frames without a calibration")
        if video.labels["pose"][row] < 0 and len(video.tables["joints"]):
            raise BadLabel("images of frames without a pose")
        sides = [side for side, there in zip((RIGHT, LEFT), video.labels["hands"][row]) if there]
        known = (hand_in_camera(video, row, side, place.name) for side in sides)
        return tuple(replace(hand, box=box) for hand in known if (box := find_box(row, hand)) is not None)

    return read_known(video, tally, find, label)


def hand_in_camera(video: Video, row: int, side: int, name: str) -> KnownHand:
    """One hand of one image, in the frame of its camera; no box yet. Joints that are not valid are kept, and marked."""
    labels, tables, order = video.labels, video.tables, ORDERS[side]
    pose = labels["pose"][row]
    camera, extrinsics = (
        labels[column][row] if column in labels else tables[column][labels["view"][row]]
        for column in ("camera", "extrinsics")
    )
    world = np.full((21, 3), np.nan) if pose < 0 else tables["joints"][pose][order]
    joints = world @ extrinsics[:, :3].T + extrinsics[:, 3]
    valid = labels["valid"][row][order] & np.isfinite(joints).all(axis=1)
    seen = valid & (joints[:, 2] > 0)
    keypoints = np.where(seen[:, None], project(joints, camera), np.nan)
    known = side, camera, joints.astype(np.float32), valid, keypoints, seen
    return KnownHand(*known, int(labels["id"][row]), name, extrinsics=extrinsics)


def find_missing_folders(root: Path, videos: list[Video], hint: str) -> None:
    """Missing folders of images: an error if all are missing, else a warning, and their images fail when read."""
    folders = sorted({os.path.dirname(os.fsdecode(name)) for video in videos for name in video.labels["file"].tolist()})
    for folder in folders:
        if os.path.isabs(folder) or ".." in folder.split("/"):
            raise HandtoolError(f"{root}: the labels name images in {folder}, which is not a path inside the folder")
    missing = [folder for folder in folders if not (root / folder).is_dir()]
    if folders and len(missing) == len(folders):
        images = sum(len(video.rows) for video in videos)
        raise missing_error(root / folders[0], f"{images:,} images in {len(folders):,} folders", hint)
    if missing:
        named = ", ".join(missing[:MOST_NAMED]) + (" …" if len(missing) > MOST_NAMED else "")
        told = "%s: %d of %d folders of images are not there (%s); what the labels name there is counted as failed"
        log.warning(told, root, len(missing), len(folders), named)


def flat_mask(values: object, path: Path, what: str) -> bytes:
    """42 marks, written as [1, 0, …] or [[1], [0], …], as 42 bytes of 0 and 1."""
    if isinstance(values, list) and len(values) == 42:
        flat = [value[0] if isinstance(value, list) and value else value for value in values]
        if not any(isinstance(value, list) for value in flat):
            return bytes(bool(value) for value in flat)
    raise DamagedFile(f"{path}: joint_valid of {what} is not 42 marks", hint=OTHER_VERSION)


def unexpected(path: Path, what: str, error: Exception) -> HandtoolError:
    return DamagedFile(f"{path}: {what} is not as expected ({error!r})", hint=OTHER_VERSION)


def read_pose(pose: object, path: Path, what: str) -> tuple[np.ndarray, bytes]:
    """joints (42, 3) m in the world, and which are known: 42 bytes of 0 and 1, all 1 where the file does not say."""
    if not isinstance(pose, dict) or "world_coord" not in pose:
        raise DamagedFile(f"{path}: {what} has no world_coord", hint=OTHER_VERSION)
    known = flat_mask(pose.get("joint_valid", [1] * 42), path, what)
    return as_numbers(pose["world_coord"], (42, 3), path, what) * MM, known


def as_numbers(values: object, shape: tuple[int, ...], path: Path, what: str) -> np.ndarray:
    """float64 of that shape; raises HandtoolError, which names what was expected."""
    try:
        numbers = np.array(values, dtype=np.float64)
    except (TypeError, ValueError):
        numbers = np.zeros(0)
    if numbers.shape != shape:
        raise DamagedFile(f"{path}: {what} is not numbers of shape {shape}", hint=OTHER_VERSION)
    return numbers


def rows_of_images(
    images: dict[str, array], files: list[bytes], image_id: np.ndarray, path: Path
) -> dict[str, np.ndarray]:
    """The columns of the images, and `file`, for each annotation, whose image is `image_id` (n,)."""
    columns = {name: np.frombuffer(values, np.int64) for name, values in images.items()}
    columns["file"] = np.array(files or [b""])
    of = find_rows(columns.pop("id"), image_id, path)
    return {name: values[of] for name, values in columns.items()}


def find_rows(ids: np.ndarray, wanted: np.ndarray, path: Path) -> np.ndarray:
    """The place of each wanted id among `ids`."""
    if not len(wanted):
        raise DamagedFile(f"{path} has no annotations")
    order = np.argsort(ids, kind="stable")
    places = np.searchsorted(ids, wanted, sorter=order)
    found = order[np.minimum(places, len(ids) - 1)] if len(ids) else np.zeros(len(wanted), np.int64)
    if not len(ids) or not np.array_equal(ids[found], wanted):
        raise DamagedFile(f"{path}: annotations name images that it does not list", hint="downloaded to its end?")
    return found
