"""The cameras of HOT3D clips and of UmeTrack's: their lenses, and places in the world."""

from functools import lru_cache
from typing import Any

import numpy as np

from handtool.hands import lens as lenses
from handtool.sources.labelled_frames import BadLabel

LARGEST_NUMBER = 1e9  # px, m or a factor of a lens
# their order of the distortion -> that of hands/lens.py
MODELS: dict[str, tuple[str, tuple[int, ...]]] = {
    "pinholeplane": ("pinhole", ()),
    "opencv": ("pinhole", (0, 1, 3, 4, 2)),
    "rational": ("pinhole", (0, 1, 3, 4, 2, 5, 6, 7)),
    "kannala": ("fisheye", (0, 1, 2, 3)),
    "fisheye624": ("fisheye624", tuple(range(12))),
    "fisheye62": ("fisheye624", (0, 1, 2, 3, 6, 7, 4, 5)),  # the prism's four are 0
}


def read_lens(told: Any) -> tuple[lenses.Lens, tuple[int, int]]:
    """And the width and height of its pictures, px. Raises BadLabel."""
    told = told if isinstance(told, dict) else {}
    kind = str(told.get("projection_model_type")).rpartition(".")[2].lower().removeprefix("oculusvision")
    numbers = as_numbers(told.get("projection_params"))
    size = as_numbers([told.get("image_width"), told.get("image_height")])
    if kind == "fisheye624" and numbers.size == 15:  # one focal length
        numbers = np.concatenate([numbers[:1], numbers])
    if kind == "fisheye" and numbers.size == 12 and not numbers[8:].any():  # of its eight, four are tangential
        kind = "kannala"
    model, order = MODELS.get(kind, ("", ()))
    if not model or numbers.size < 4 + len(order) or not (numbers[:2] > 0).all() or size.size != 2:
        raise BadLabel("images of cameras of a model that is not known")
    distortion = numbers[4:][list(order)] if order else np.zeros(0)
    if model == "fisheye624":
        distortion = np.concatenate([distortion, np.zeros(12 - len(distortion))])
    return lens_of(model, *numbers[:4].tolist(), tuple(distortion.tolist())), (int(size[0]), int(size[1]))


@lru_cache(maxsize=16)
def lens_of(model: str, fx: float, fy: float, cx: float, cy: float, distortion: tuple[float, ...]) -> lenses.Lens:
    """Kept, since a lens works out how far it sees."""
    return lenses.make_lens(model, np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]]), np.array(distortion))


def read_place(told: Any) -> np.ndarray:
    """(4, 4) of a quaternion, w first, and a translation in m. Raises BadLabel."""
    told = told if isinstance(told, dict) else {}
    turn, shift = as_numbers(told.get("quaternion_wxyz")), as_numbers(told.get("translation_xyz"))
    if turn.shape != (4,) or shift.shape != (3,) or not 0.9 < np.linalg.norm(turn) < 1.1:
        raise BadLabel("images with a place of the camera or the wrist that is none")
    w, x, y, z = turn / np.linalg.norm(turn)
    place = np.eye(4)
    place[:3, 3] = shift
    place[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return place


def as_numbers(values: Any) -> np.ndarray:
    """(n,) float64; of anything else, also of numbers without measure, (0,)."""
    try:
        numbers = np.array(values, np.float64)
    except (TypeError, ValueError, OverflowError):
        return np.zeros(0)
    return numbers if numbers.ndim == 1 and (np.abs(numbers) < LARGEST_NUMBER).all() else np.zeros(0)
