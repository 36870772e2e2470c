"""The camera of the footage, in OpenCV's model: its intrinsics, and the removal of lens distortion from pictures. Where
nobody knows the intrinsics, they are assumed: from an angle of view, or from the focal length that a file states."""

import os
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from handtool.bounded import LONGEST_SETTING, read_json
from handtool.errors import DamagedFile, HandtoolError, WrongCommand

FORMAT = (
    'fx,fy,cx,cy in px, a json file {"model": "pinhole" | "fisheye", "K": 3x3, "distortion": [...]}, or an assumption: '
    "fov=DEGREES (horizontal) or exif (the focal length that a file states)"
)
FOV, EXIF = "fov=", "exif"
NARROWEST, WIDEST = 1.0, 170.0  # horizontal angles of view, degrees
FILM_DIAGONAL_MM = float(np.hypot(36, 24))
COUNTS = {"pinhole": (0, 4, 5, 8, 12, 14), "fisheye": (0, 4)}


@dataclass(frozen=True, eq=False)
class CameraModel:
    """camera: (3, 3) K in px, centres at integers. distortion: k1 k2 p1 p2 k3 … (pinhole), k1..k4 (fisheye) or none."""

    model: str
    camera: np.ndarray
    distortion: np.ndarray

    def undistort(self, image: np.ndarray) -> np.ndarray:
        """The picture of a pinhole camera with the same K and size; pixels outside the original are black."""
        if not np.any(self.distortion) and self.model == "pinhole":
            return image
        size = image.shape[1::-1]
        distortion = self.distortion if self.distortion.size else np.zeros(4)
        module: Any = cv2.fisheye if self.model == "fisheye" else cv2
        across, down = module.initUndistortRectifyMap(
            self.camera, distortion, np.eye(3), self.camera, size, cv2.CV_16SC2
        )
        return cv2.remap(image, across, down, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)


def is_assumed(text: str | None) -> bool:
    """Whether the value of `--camera` only assumes a camera."""
    return text is not None and (text.startswith(FOV) or text == EXIF)


def read_fov(text: str) -> float:
    """Degrees. Raises HandtoolError."""
    try:
        degrees = float(text.removeprefix(FOV))
    except ValueError:
        degrees = float("nan")
    if not NARROWEST <= degrees <= WIDEST:
        raise WrongCommand(f"--camera {text}: no angle of {NARROWEST:g} to {WIDEST:g} degrees", hint="--camera fov=65")
    return degrees


def assume_camera(text: str, width: int, height: int, focal_35mm: float) -> np.ndarray:
    """(3, 3) K of an upright picture of that size, its axis through the middle; NaN where `exif` is asked for and the
    file states no focal length. text: a value of `--camera` that `is_assumed`; focal_35mm: mm, NaN unknown."""
    if text == EXIF:  # the same diagonal angle of view
        focal = focal_35mm * np.hypot(width, height) / FILM_DIAGONAL_MM
    else:
        focal = width / 2 / np.tan(np.radians(read_fov(text)) / 2)
    known = np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]])
    return known if np.isfinite(focal) else np.full((3, 3), np.nan)


def read_camera_model(text: str) -> CameraModel | None:
    """text: the value of `--camera`; None where it only assumes one, which depends on the picture. Raises HandtoolError
    if it is neither four numbers, nor such a file, nor an assumption."""
    if is_assumed(text):
        if text != EXIF:
            read_fov(text)
        return None
    try:
        fx, fy, cx, cy = (float(number) for number in text.split(","))
        return check_camera_model(text, "pinhole", [[fx, 0, cx], [0, fy, cy], [0, 0, 1]], [], WrongCommand)
    except ValueError:
        pass
    if not os.path.exists(text):
        raise HandtoolError(f"--camera {text}: neither four numbers nor a file", hint=f"--camera takes {FORMAT}")
    content = read_json(text, LONGEST_SETTING, f"--camera takes {FORMAT}", f"--camera {text}")
    if not isinstance(content, dict) or "K" not in content:
        raise DamagedFile(f"--camera {text}: no K in it", hint=f"--camera takes {FORMAT}")
    return check_camera_model(
        text, content.get("model", "pinhole"), content["K"], content.get("distortion") or [], DamagedFile
    )


def check_camera_model(text: str, model: str, camera, distortion, wrong: type[HandtoolError]) -> CameraModel:
    try:
        camera, distortion = np.array(camera, dtype=np.float64), np.array(distortion, dtype=np.float64).ravel()
    except (TypeError, ValueError, OverflowError):
        raise wrong(f"--camera {text}: K and distortion are not numbers", hint=f"--camera takes {FORMAT}") from None
    if not isinstance(model, str) or model not in COUNTS:
        raise wrong(f"--camera {text}: model {model!r}, expected pinhole or fisheye")
    if (
        camera.shape != (3, 3)
        or not np.isfinite(camera).all()
        or camera[0, 0] <= 0
        or camera[1, 1] <= 0
        or tuple(camera[2]) != (0, 0, 1)
    ):
        raise wrong(f"--camera {text}: K is no camera matrix (3x3, fx and fy > 0, last row 0 0 1)")
    if distortion.size not in COUNTS[model] or not np.isfinite(distortion).all():
        raise wrong(f"--camera {text}: {distortion.size} distortion numbers; a {model} lens has one of {COUNTS[model]}")
    return CameraModel(model, camera, distortion)
