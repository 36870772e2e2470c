"""From frame to crop and back. A crop of a frame without distortion is a square of it: an affine map. A crop of a frame
behind a lens is the picture of a camera of its own, a pinhole in the same place that is turned to the hand:

    frame px = lens(R^T K^-1 crop px)        x_crop = R x_frame

with K the camera of the crop (its intrinsics) and R its rotation. Joints are stored in the axes of the frame's camera;
networks that see the crop, and its K, work in those of the crop's camera.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from handtool.hands.boxes import apply_affine, invert
from handtool.hands.camera import crop_camera
from handtool.hands.lens import MODELS, Lens, project, unproject

OUTLINE = 32  # points about a box
WIDEST = 3.0  # half the side of a crop, in focal lengths: 143 degrees from side to side
ROUNDS = 4  # of turning the camera to the middle of what it sees
NUDGE = 1e-3  # px, of the finite differences


class OutOfSight(ValueError):
    """A box that no camera of a crop can show; the message is the reason."""


@dataclass(frozen=True, eq=False)
class CropMaps:
    """Of n crops. crop_from_frame: (n, 2, 3), where there is a lens only its first order in the middle of the crop;
    camera: (n, 3, 3) K of the crop, NaN unknown. rotation: (n, 3, 3), lens_model: (n,) places in MODELS, lens: (n, 18)
    numbers; None: no crop has a lens."""

    crop_from_frame: np.ndarray
    camera: np.ndarray
    rotation: np.ndarray | None = None
    lens_model: np.ndarray | None = None
    lens: np.ndarray | None = None

    def __getitem__(self, rows: np.ndarray | slice) -> "CropMaps":
        lens = (None if column is None else column[rows] for column in (self.rotation, self.lens_model, self.lens))
        return CropMaps(self.crop_from_frame[rows], self.camera[rows], *lens)

    def __len__(self) -> int:
        return len(self.camera)

    def lenses(self) -> Iterator[tuple[Lens, np.ndarray]]:
        """Each lens, and the places of its crops."""
        if self.lens_model is None or self.lens is None:
            return
        places = np.flatnonzero(self.lens_model)
        about = np.concatenate([self.lens_model[places, None], self.lens[places]], axis=1)
        kinds, number = np.unique(about, axis=0, return_inverse=True)
        for place, kind in enumerate(kinds):
            yield Lens(MODELS[int(kind[0])], kind[1:]), places[number.ravel() == place]

    def to_frame(self, points: np.ndarray) -> np.ndarray:
        """points: (n, k, 2) px of the crops. Returns px of the frames as they were taken."""
        points = np.asarray(points, np.float64)
        moved = apply_affine(invert(self.crop_from_frame), points)
        for lens, rows in self.lenses():
            assert self.rotation is not None
            moved[rows] = project(lens, through(points[rows], self.camera[rows]) @ self.rotation[rows])
        return moved

    def to_crop(self, points: np.ndarray) -> np.ndarray:
        """points: (n, k, 2) px of the frames as they were taken. Returns px of the crops; NaN where the lens, or the
        camera of the crop, cannot see them."""
        points = np.asarray(points, np.float64)
        moved = apply_affine(self.crop_from_frame, points)
        for lens, rows in self.lenses():
            assert self.rotation is not None
            seen = unproject(lens, points[rows]) @ self.rotation[rows].swapaxes(1, 2)
            image = seen @ self.camera[rows].swapaxes(1, 2)
            with np.errstate(divide="ignore", invalid="ignore"):
                moved[rows] = np.where(seen[..., 2:] > 0, image[..., :2] / image[..., 2:], np.nan)
        return moved

    def joints_to_frame(self, joints: np.ndarray) -> np.ndarray:
        """joints: (n, k, 3) in the axes of the crops' cameras, about any point. Returns them in the frames'."""
        return self.turned(joints, inverse=True)

    def joints_to_crop(self, joints: np.ndarray) -> np.ndarray:
        return self.turned(joints, inverse=False)

    def turned(self, joints: np.ndarray, inverse: bool) -> np.ndarray:
        if self.rotation is None or self.lens_model is None or not self.lens_model.any():
            return joints
        turned, rows = np.array(joints), np.flatnonzero(self.lens_model)
        turn = self.rotation[rows] if inverse else self.rotation[rows].swapaxes(1, 2)
        turned[rows] = turned[rows].astype(np.float64) @ turn
        return turned

    def frame_cameras(self) -> np.ndarray:
        """(n, 3, 3): K of the frames, without the distortion of a lens; NaN unknown."""
        cameras = crop_camera(invert(self.crop_from_frame), self.camera)
        for lens, rows in self.lenses():
            cameras[rows] = lens.camera
        return cameras


def through(points: np.ndarray, camera: np.ndarray) -> np.ndarray:
    """points: (n, k, 2) px, camera: (n, 3, 3). Returns the rays (n, k, 3), of any length."""
    homogeneous = np.concatenate([points, np.ones_like(points[..., :1])], axis=-1)
    return homogeneous @ np.linalg.inv(camera).swapaxes(1, 2)


def look_at(lens: Lens, box: np.ndarray, size: int, box_scale: float, whole: bool = False) -> CropMaps:
    """The map of one crop (n = 1) of `size` px whose camera looks at the box (4,) px of the frame, by its edges.

    The side of the crop is `box_scale` times the larger side of the hand's box on it. The hand is taken for the ellipse
    in its box, or for all of the box where it is the `whole` picture. Raises OutOfSight.
    """
    outline = unproject(lens, (corners_and_edges if whole else ellipse)(box) - 0.5)
    outline = outline[np.isfinite(outline).all(1)]
    ahead = unproject(lens, (box[:2] + box[2:])[None] / 2 - 0.5)[0]
    if len(outline) < OUTLINE / 2 or not np.isfinite(ahead).all():
        raise OutOfSight("boxes outside of what their lens sees")
    half = np.inf
    for _ in range(ROUNDS):
        turn = turn_to_axis(ahead)
        seen = outline @ turn.T
        if (seen[:, 2] <= 0).any():
            break
        flat = seen[:, :2] / seen[:, 2:]
        low, high = flat.min(0), flat.max(0)
        half = (high - low).max() / 2 * box_scale
        ahead = turn.T @ np.array([*(low + high) / 2, 1])
        ahead /= np.linalg.norm(ahead)
    if not half <= WIDEST:
        raise OutOfSight("boxes too wide for the camera of a crop")
    focal, middle = size / 2 / half, (size - 1) / 2
    camera = np.array([[focal, 0, middle], [0, focal, middle], [0, 0, 1]])
    code = np.array([MODELS.index(lens.model)], np.int8)
    crop = CropMaps(np.eye(2, 3)[None], camera[None], turn_to_axis(ahead)[None], code, lens.numbers[None])
    affine = first_order(crop, middle)
    if not np.isfinite(affine).all():
        raise OutOfSight("boxes outside of what their lens sees")
    return replace(crop, crop_from_frame=affine[None])


def first_order(crop: CropMaps, middle: float) -> np.ndarray:
    """(2, 3): the affine map from frame to crop that agrees with the exact one in the middle of the crop."""
    steps = np.array([[0, 0], [NUDGE, 0], [-NUDGE, 0], [0, NUDGE], [0, -NUDGE]])
    there, right, left, below, above = crop.to_frame((middle + steps)[None])[0]
    linear = np.linalg.inv(np.stack([right - left, below - above], axis=1) / (2 * NUDGE))
    return np.concatenate([linear, (middle - linear @ there)[:, None]], axis=1)


def turn_to_axis(ahead: np.ndarray) -> np.ndarray:
    """(3, 3): the shortest rotation that brings a unit vector (3,) onto the axis of the camera."""
    x, y, z = ahead
    across = np.array([[0, 0, -x], [0, 0, -y], [x, y, 0]])  # Rodrigues' formula
    return np.eye(3) + across + across @ across / (1 + z)


def ellipse(box: np.ndarray) -> np.ndarray:
    """(OUTLINE, 2): points on the ellipse in a box (4,)."""
    angle = np.arange(OUTLINE) * 2 * np.pi / OUTLINE
    return (box[:2] + box[2:]) / 2 + (box[2:] - box[:2]) / 2 * np.stack([np.cos(angle), np.sin(angle)], axis=1)


def corners_and_edges(box: np.ndarray) -> np.ndarray:
    """(OUTLINE, 2): points on the edges of a box (4,), its corners among them."""
    share = np.arange(OUTLINE // 4) / (OUTLINE // 4)
    zero, one = np.zeros_like(share), np.ones_like(share)
    sides = [(share, zero), (one, share), (1 - share, one), (zero, 1 - share)]
    return box[:2] + (box[2:] - box[:2]) * np.concatenate([np.stack(side, axis=1) for side in sides])
