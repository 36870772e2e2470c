"""The camera of the footage: what `--camera` says of it, the files that it is published in, and how it fits the
frames of a video. Where nobody knows the intrinsics, they are assumed: from an angle of view, or from the focal length
that a file states."""

import os
from collections.abc import Callable

import numpy as np

from handtool.bounded import LONGEST_SETTING, parse_json, read_bounded
from handtool.errors import DamagedFile, HandtoolError, WrongCommand
from handtool.hands.lens import COUNTS, STRONGEST, Lens, make_lens

FORMAT = (
    'fx,fy,cx,cy in px, a json file {"model": "pinhole" | "fisheye", "K": 3x3, "distortion": [...]} or {"model", "fx", '
    '"fy", "cx", "cy", "k1", ...}, auto (an intrinsics.json beside the videos), none, or an assumption: fov=DEGREES '
    "(horizontal) or exif (the focal length that a file states)"
)
AUTO, NONE = "auto", "none"
WORDS = (AUTO, NONE)
FOCAL = ("fx", "fy", "cx", "cy")
NAMES = {  # of the distortion, in a flat file
    "pinhole": tuple("k1 k2 p1 p2 k3 k4 k5 k6 s1 s2 s3 s4 tau_x tau_y".split()),
    "fisheye": ("k1", "k2", "k3", "k4"),
    "fisheye624": tuple("k1 k2 k3 k4 k5 k6 p1 p2 s1 s2 s3 s4".split()),
}
LARGEST = 1 << 17  # px, side of a picture
LEAST_LIMIT = 0.1  # radians, of what a lens sees about its axis
USED, OTHER_SHAPE = "with intrinsics.json", "with one of another picture shape, not used"
FOV, EXIF = "fov=", "exif"
NARROWEST, WIDEST = 1.0, 170.0  # horizontal angles of view, degrees
FILM_DIAGONAL_MM = float(np.hypot(36, 24))


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


def read_camera_model(text: str) -> Lens | None:
    """text: the value of `--camera`; None where it says nothing of one camera for all. Raises HandtoolError if it is
    neither four numbers, nor a file of one, nor an assumption."""
    if is_assumed(text) or text in WORDS:
        if text.startswith(FOV):
            read_fov(text)
        return None
    try:
        fx, fy, cx, cy = (float(number) for number in text.split(","))
        return check_camera_model(text, "pinhole", [[fx, 0, cx], [0, fy, cy], [0, 0, 1]], [], None, WrongCommand)
    except ValueError:
        pass
    if not os.path.exists(text):
        raise HandtoolError(f"--camera {text}: neither four numbers nor a file", hint=f"--camera takes {FORMAT}")
    return parse_camera_model(read_bounded(text, LONGEST_SETTING, what=f"--camera {text}"), text)


def parse_camera_model(content: bytes, name: str) -> Lens:
    """content: of the file `name`, a camera in one of two forms: {model, K, distortion}, or flat, as Egocentric-10K
    publishes them: {model, fx, fy, cx, cy, k1, k2, ...}; both perhaps with image_width and image_height. Raises
    DamagedFile."""
    told = parse_json(content, f"--camera {name}", f"--camera takes {FORMAT}")
    if not isinstance(told, dict) or not ("K" in told or all(key in told for key in FOCAL)):
        raise DamagedFile(f"--camera {name}: no K in it, nor fx, fy, cx and cy", hint=f"--camera takes {FORMAT}")
    size = told.get("image_width"), told.get("image_height")
    if "K" in told:
        model, camera, distortion = told.get("model", "pinhole"), told["K"], told.get("distortion") or []
    else:
        fx, fy, cx, cy = (told[key] for key in FOCAL)
        model, camera = told.get("model"), [[fx, 0, cx], [0, fy, cy], [0, 0, 1]]
        distortion = flat_distortion(told, model) if isinstance(model, str) and model in COUNTS else []
    return check_camera_model(name, model, camera, distortion, None if size == (None, None) else size, DamagedFile)


def flat_distortion(told: dict, model: str) -> list:
    """The numbers under their names, in the order of the model; those that the longest list leaves out are 0."""
    names = NAMES[model]
    given = max((place + 1 for place, name in enumerate(names) if name in told), default=0)
    count = min(count for count in COUNTS[model] if count >= given)
    return [told.get(name, 0.0) for name in names[:count]]


def check_camera_model(text: str, model, camera, distortion, size, wrong: type[HandtoolError]) -> Lens:
    try:
        camera, distortion = np.array(camera, dtype=np.float64), np.array(distortion, dtype=np.float64).ravel()
    except (TypeError, ValueError, OverflowError):
        raise wrong(f"--camera {text}: K and distortion are not numbers", hint=f"--camera takes {FORMAT}") from None
    if not isinstance(model, str) or model not in COUNTS:
        raise wrong(f"--camera {text}: model {model!r}, expected {' or '.join(COUNTS)}")
    if (
        camera.shape != (3, 3)
        or not np.isfinite(camera).all()
        or camera[0, 0] <= 0
        or camera[1, 1] <= 0
        or tuple(camera[2]) != (0, 0, 1)
        or (camera[0, 1], camera[1, 0]) != (0, 0)
    ):
        raise wrong(f"--camera {text}: K is no camera matrix (fx 0 cx, 0 fy cy, 0 0 1; fx and fy > 0)")
    if distortion.size not in COUNTS[model] or not (np.abs(distortion) <= STRONGEST).all():
        raise wrong(f"--camera {text}: {distortion.size} distortion numbers; a {model} lens has one of {COUNTS[model]}")
    if size is not None and not all(type(side) is int and 0 < side <= LARGEST for side in size):
        raise wrong(f"--camera {text}: image_width and image_height {size} are no size of a picture in px")
    lens = make_lens(model, camera, distortion, size)
    if not lens.limit >= LEAST_LIMIT:
        raise wrong(f"--camera {text}: its distortion folds back before {np.degrees(LEAST_LIMIT):.0f} degrees")
    return lens


class VideoCamera:
    """The camera of the frames of one video. lens: None where nobody knows one; found: the file that it was found in
    ("": the user named it for all videos, or the source knows it). used: what became of a file that was found."""

    def __init__(self, lens: Lens | None, found: str = "", note: Callable[[str], None] = lambda text: None) -> None:
        self.lens, self.found, self.note, self.used = lens, found, note, ""
        self.by_size: dict[tuple[int, int], np.ndarray | Lens] = {}

    def of(self, image: np.ndarray) -> np.ndarray | Lens:
        """The lens of a picture where it bends, else K (3, 3) px, NaN unknown. Raises HandtoolError where the camera
        that the user named is one for pictures of another shape."""
        size = image.shape[1], image.shape[0]
        if size not in self.by_size:
            self.by_size[size] = self.fit(*size)
        return self.by_size[size]

    def fit(self, width: int, height: int) -> np.ndarray | Lens:
        if self.lens is None:
            return np.full((3, 3), np.nan)
        fitting = self.lens.for_picture(width, height)
        stated = "x".join(map(str, self.lens.size or ()))
        if fitting is None and not self.found:
            told = f"--camera is of pictures of {stated} px, here they have {width}x{height}, which is another shape"
            raise HandtoolError(told, hint="a camera of these pictures, or --camera auto: each video has its own")
        if fitting is None:
            self.used = OTHER_SHAPE
            self.note(f"its intrinsics are of pictures of another shape ({stated} px) and were not used")
            return np.full((3, 3), np.nan)
        self.used = USED
        if fitting is not self.lens:
            self.note(f"intrinsics of {stated} px scaled to its {width}x{height}")
        return fitting if fitting.bends else fitting.camera
