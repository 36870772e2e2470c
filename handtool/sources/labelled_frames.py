"""The frames of a published set, one a row: its image and the hands known on it, or the reason why there are none."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from handtool.bounded import read_json
from handtool.errors import DamagedFile, first_line
from handtool.hands.boxes import box_of_points
from handtool.hands.camera import project
from handtool.hands.skeleton import NUM_JOINTS
from handtool.sources.frame import Frame, Tally, Video
from handtool.sources.images import BadImage, Label, Sample, read_samples

HINT = "downloaded to its end?"


class BadLabel(BadImage):
    """A label that cannot be used, and with it the image; the message is the reason that is counted."""


def read_known(video: Video, tally: Tally, find: Callable[[int], Sample], label: Label) -> Iterator[Frame]:
    """Every row of the video, in its order, found by its place among them. `label` may raise BadLabel."""
    return read_samples(map(find, range(len(video.rows))), tally, label)


def read_numbers(path: Path) -> np.ndarray:
    """float64, from a json that is lists of numbers. Raises HandtoolError, DamagedFile."""
    what = f"{path} ({path.stat().st_size} bytes)" if path.exists() else str(path)
    try:
        return np.array(read_json(path, hint=HINT, what=what), dtype=np.float64)
    except (ValueError, TypeError, OverflowError) as error:
        raise DamagedFile(f"{what} cannot be read: {first_line(error)}", HINT) from None


def from_joints(joints: np.ndarray, camera: np.ndarray, keypoints: np.ndarray | None = None) -> dict[str, Any]:
    """What follows from joints (21, 3) m, camera frame, NaN: not known, and a camera (3, 3): fields of a KnownHand.

    keypoints: (21, 2) px where the set publishes them; without, the joints are projected, and what lies behind the
    camera is not seen. The box holds all keypoints, and is None where there is none.
    """
    valid = np.isfinite(joints).all(axis=1)
    if keypoints is None:
        seen = valid & (joints[:, 2] > 0)
        keypoints = np.where(seen[:, None], project(joints, camera), np.nan)
    else:
        seen = np.isfinite(keypoints).all(axis=1)
    box = box_of_points(keypoints, seen) if seen.any() else None
    found = {"joints": joints.astype(np.float32), "valid": valid, "camera": camera}
    return found | {"keypoints": keypoints, "keypoints_valid": seen, "box": box}


def only_a_box(box: np.ndarray | None, camera: np.ndarray | None = None) -> dict[str, Any]:
    """The same fields where no joint is known. box: (4,) px."""
    nowhere = np.full((NUM_JOINTS, 3), np.nan)
    known = from_joints(nowhere, np.full((3, 3), np.nan) if camera is None else camera, nowhere[:, :2])
    return known | {"box": box}
