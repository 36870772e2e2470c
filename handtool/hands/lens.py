"""Lenses: from points before a camera to pixels of the picture as it was taken, and back.

Camera frame: x right, y down, z forward, metres; pixels have their centres at integers. A point is first brought to the
plane: q = (x, y) / z for a pinhole camera, and for a fisheye lens the direction of (x, y) with the angle to the axis as
its length. Then q is distorted, times the focal length, plus the principal point. Models, with their numbers:

    pinhole      fx fy cx cy, then OpenCV's k1 k2 p1 p2 [k3 [k4 k5 k6 [s1 s2 s3 s4 [tau_x tau_y]]]]
    fisheye      fx fy cx cy, then k1 k2 k3 k4: Kannala and Brandt 2006, as cv2.fisheye
    fisheye624   fx fy cx cy, then k1 ... k6 p1 p2 s1 s2 s3 s4: Aria's and Quest's FISHEYE624

A lens is used as far as its radial function grows: beyond, where a polynomial folds back, there is no pixel (NaN). All
in float64.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

MODELS = ("none", "pinhole", "fisheye", "fisheye624")  # by their code in a file; none: nobody knows of a lens
COUNTS = {"pinhole": (0, 4, 5, 8, 12, 14), "fisheye": (0, 4), "fisheye624": (12,)}  # numbers of the distortion
NUMBERS = 18  # of the longest lens: four, and fourteen of the distortion; the others end in zeros
ROUNDS = 60  # of halving an interval: to the last bit of a float64
NEWTON, HALVINGS = 20, 5
CLOSE = 1e-12  # in the plane of q: an inversion has arrived
STEP = 1e-6  # of the finite differences of Newton's method
FARTHEST = 20.0  # |q| of a pinhole camera, 87 degrees: nothing farther out is looked for
STRONGEST = 1e6  # number of a distortion; larger ones overflow
TINY = 1e-12  # of the highest factors of a polynomial: nothing
SAME_SHAPE = 0.01  # difference of two scales, relative: a resized picture
SHARE = 1 - 1e-9  # of the limit: at the fold itself the radial function no longer grows


@dataclass(frozen=True, eq=False)
class Lens:
    """model: one of MODELS but "none". numbers: (18,) as above, zeros where the model has fewer. size: width and height
    of the pictures that it was calibrated for, px; None: not stated."""

    model: str
    numbers: np.ndarray
    size: tuple[int, int] | None = None

    @property
    def camera(self) -> np.ndarray:
        """(3, 3): K, without the distortion."""
        fx, fy, cx, cy = self.numbers[:4]
        return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])

    @property
    def bends(self) -> bool:
        """Whether pictures differ from those of a pinhole camera with the same K."""
        return self.model != "pinhole" or bool(np.any(self.numbers[4:]))

    @cached_property
    def limit(self) -> float:
        """The largest |q| up to which no two directions share a pixel: the radial function grows, and what is not
        radial turns nothing inside out. inf: everywhere before a pinhole camera."""
        above, below = self.radial_polynomials()
        # d/dq of q A(q^2) / B(q^2) has the sign of A B + 2 s (A' B - A B'), with s = q^2
        slope = above * below + np.polynomial.Polynomial([0, 2]) * (above.deriv() * below - above * below.deriv())
        found = np.concatenate([slope.trim(TINY).roots(), below.trim(TINY).roots()])
        real = found[np.abs(found.imag) < 1e-9 * np.maximum(1, np.abs(found))].real
        fold = np.sqrt(real[real > 0].min(initial=np.inf))
        limit = float(min(fold, np.inf if self.model == "pinhole" else np.pi))
        return min(limit, self.find_fold(min(limit, FARTHEST))) if self.is_askew else limit

    @property
    def is_askew(self) -> bool:
        """Whether the distortion is not radial alone."""
        d = self.numbers[4:]
        return bool(np.any({"pinhole": d[[2, 3, *range(8, 14)]], "fisheye": d[:0], "fisheye624": d[6:]}[self.model]))

    def find_fold(self, most: float) -> float:
        """The largest |q| <= most with a positive Jacobian in all directions up to there, on a grid; else inf."""
        lengths = np.linspace(0, most, 401)[1:]
        angles = np.linspace(0, 2 * np.pi, 48, endpoint=False)
        q = lengths[:, None, None] * np.stack([np.cos(angles), np.sin(angles)], axis=-1)
        a, c = slopes(self, q)
        folds = (a[..., 0] * c[..., 1] - a[..., 1] * c[..., 0] <= 0).any(1)
        return float(lengths[max(folds.argmax() - 1, 0)]) if folds.any() else np.inf

    def radial_polynomials(self) -> tuple[np.polynomial.Polynomial, np.polynomial.Polynomial]:
        """Numerator and denominator of the factor of q, in |q|^2."""
        d = self.numbers[4:]
        if self.model == "pinhole":
            return np.polynomial.Polynomial([1, d[0], d[1], d[4]]), np.polynomial.Polynomial([1, *d[5:8]])
        return np.polynomial.Polynomial([1, *d[: 4 if self.model == "fisheye" else 6]]), np.polynomial.Polynomial([1])

    def scaled(self, across: float, down: float) -> "Lens":
        """The lens of the picture resized by these factors: edges stay edges, so that u' = s (u + 0.5) - 0.5."""
        factor, numbers = np.array([across, down]), self.numbers.copy()
        numbers[:2], numbers[2:4] = factor * numbers[:2], factor * (numbers[2:4] + 0.5) - 0.5
        return Lens(self.model, numbers)

    def for_picture(self, width: int, height: int) -> "Lens | None":
        """The lens in px of a picture of that size: itself, or scaled where only the size differs; None: the picture
        has another shape than those that it was calibrated for."""
        if self.size in (None, (width, height)):
            return self
        across, down = width / self.size[0], height / self.size[1]
        return self.scaled(across, down) if abs(across / down - 1) <= SAME_SHAPE else None


def make_lens(
    model: str,
    camera: np.ndarray,
    distortion: np.ndarray | Sequence[float] | None = None,
    size: tuple[int, int] | None = None,
) -> Lens:
    """camera: (3, 3) K without skew, px; distortion: as many numbers as COUNTS has for the model."""
    given = np.zeros(0) if distortion is None else np.asarray(distortion, np.float64).ravel()
    assert given.size in COUNTS[model] and camera[0, 1] == 0, "checked where they were read"
    numbers = np.zeros(NUMBERS)
    numbers[:4] = camera[0, 0], camera[1, 1], camera[0, 2], camera[1, 2]
    numbers[4 : 4 + given.size] = given
    return Lens(model, numbers, size)


def project(lens: Lens, points: np.ndarray) -> np.ndarray:
    """points: (..., 3) before the camera, any unit. Returns (..., 2) px; NaN where the lens sees nothing."""
    points = np.asarray(points, np.float64)
    q = to_plane(lens, points)
    with np.errstate(invalid="ignore", over="ignore"):
        seen = np.linalg.norm(q, axis=-1) <= lens.limit
        return np.where(seen[..., None], distort(lens, q) * lens.numbers[:2] + lens.numbers[2:4], np.nan)


def unproject(lens: Lens, pixels: np.ndarray) -> np.ndarray:
    """pixels: (..., 2) px of the picture as it was taken. Returns (..., 3) unit vectors; NaN where no ray meets it."""
    wanted = (np.asarray(pixels, np.float64) - lens.numbers[2:4]) / lens.numbers[:2]
    q = undistort(lens, wanted)
    if lens.model == "pinhole":
        rays = np.concatenate([q, np.ones_like(q[..., :1])], axis=-1)
        return rays / np.linalg.norm(rays, axis=-1, keepdims=True)
    angle = np.linalg.norm(q, axis=-1, keepdims=True)
    return np.concatenate([q * np.sinc(angle / np.pi), np.cos(angle)], axis=-1)


def to_plane(lens: Lens, points: np.ndarray) -> np.ndarray:
    """(..., 3) -> q (..., 2); NaN behind a pinhole camera, and at the camera itself."""
    across, depth = points[..., :2], points[..., 2:]
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        if lens.model == "pinhole":
            return across / np.where(depth > 0, depth, np.nan)
        far = np.linalg.norm(across, axis=-1, keepdims=True)
        angle = np.where((far > 0) | (depth > 0), np.arctan2(far, depth), np.nan)  # straight behind: any direction
        return across * np.where(far > 0, angle / np.where(far > 0, far, 1), np.where(depth > 0, 1 / depth, np.nan))


def distort(lens: Lens, q: np.ndarray) -> np.ndarray:
    """(..., 2) -> (..., 2), in units of the focal length."""
    squares, d = (q**2).sum(-1, keepdims=True), lens.numbers[4:]
    if lens.model == "fisheye624":
        bent = q * (1 + polynomial(squares, d[:6]))
        squares = (bent**2).sum(-1, keepdims=True)
        return bent + tangential(bent, squares, d[7], d[6]) + prism(squares, d[8:12])
    if lens.model == "fisheye":
        return q * (1 + polynomial(squares, d[:4]))
    factor = (1 + polynomial(squares, d[[0, 1, 4]])) / (1 + polynomial(squares, d[5:8]))
    bent = q * factor + tangential(q, squares, d[2], d[3]) + prism(squares, d[8:12])
    return tilt(bent, d[12], d[13]) if d[12] or d[13] else bent


def polynomial(squares: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """a s + b s^2 + c s^3 + ..."""
    result = np.zeros_like(squares)
    for factor in factors[::-1]:
        result = (result + factor) * squares
    return result


def tangential(q: np.ndarray, squares: np.ndarray, p1: float, p2: float) -> np.ndarray:
    """OpenCV's p1 and p2; FISHEYE624 numbers them the other way round."""
    x, y = q[..., :1], q[..., 1:]
    across, down = 2 * p1 * x * y + p2 * (squares + 2 * x**2), 2 * p2 * x * y + p1 * (squares + 2 * y**2)
    return np.concatenate([across, down], axis=-1)


def prism(squares: np.ndarray, s: np.ndarray) -> np.ndarray:
    return np.concatenate([s[0] * squares + s[1] * squares**2, s[2] * squares + s[3] * squares**2], axis=-1)


def tilt(q: np.ndarray, tau_x: float, tau_y: float) -> np.ndarray:
    """A sensor that is not square to the axis, by OpenCV's angles."""
    (cos_x, cos_y), (sin_x, sin_y) = np.cos([tau_x, tau_y]), np.sin([tau_x, tau_y])
    about_x = np.array([[1, 0, 0], [0, cos_x, sin_x], [0, -sin_x, cos_x]])
    turn = np.array([[cos_y, 0, -sin_y], [0, 1, 0], [sin_y, 0, cos_y]]) @ about_x
    matrix = np.array([[turn[2, 2], 0, -turn[0, 2]], [0, turn[2, 2], -turn[1, 2]], [0, 0, 1]]) @ turn
    image = np.concatenate([q, np.ones_like(q[..., :1])], axis=-1) @ matrix.T
    return image[..., :2] / image[..., 2:]


def undistort(lens: Lens, wanted: np.ndarray) -> np.ndarray:
    """The q whose `distort` is `wanted` (..., 2): the radial function alone is inverted by halving, then Newton's
    method finds the rest. NaN where there is none inside the limit."""
    flat = wanted.reshape(-1, 2)
    q = undo_radial(lens, flat)
    with np.errstate(all="ignore"):
        miss = distort(lens, q) - flat
        for _ in range(NEWTON if (np.abs(miss) > CLOSE).any() else 0):
            a, c = slopes(lens, q)
            determinant = a[:, 0] * c[:, 1] - a[:, 1] * c[:, 0]
            across = (c[:, 1] * miss[:, 0] - c[:, 0] * miss[:, 1]) / determinant
            down = (a[:, 0] * miss[:, 1] - a[:, 1] * miss[:, 0]) / determinant
            step = np.stack([across, down], axis=1)
            for _ in range(HALVINGS):  # a step that leads farther away is too long
                nearer = distort(lens, q - step) - flat
                longer = ~(np.linalg.norm(nearer, axis=1) < np.linalg.norm(miss, axis=1))
                step[longer] /= 2
            q, miss = q - step, distort(lens, q - step) - flat
            if not (np.abs(miss) > CLOSE).any():
                break
        found = np.abs(distort(lens, q) - flat).max(1) < 1e3 * CLOSE * np.maximum(1, np.abs(flat).max(1))
        found &= np.linalg.norm(q, axis=1) <= lens.limit
    q[~found] = np.nan
    return q.reshape(wanted.shape)


def slopes(lens: Lens, q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The derivatives of `distort` by the first and the second coordinate, (..., 2) each."""
    a, c = ((distort(lens, q + step) - distort(lens, q - step)) / (2 * STEP) for step in np.eye(2) * STEP)
    return a, c


def undo_radial(lens: Lens, wanted: np.ndarray) -> np.ndarray:
    """(n, 2) -> q (n, 2), by the radial function alone; at its limit where it never gets so far."""
    above, below = lens.radial_polynomials()
    length = np.linalg.norm(wanted, axis=1)
    low, high = np.zeros_like(length), np.full_like(length, SHARE * lens.limit)
    if np.isinf(lens.limit):
        high = np.maximum(1.0, length)
        with np.errstate(over="ignore", invalid="ignore"):
            for _ in range(ROUNDS):
                high = np.where(high * above(high**2) / below(high**2) < length, 2 * high, high)
    with np.errstate(over="ignore", invalid="ignore"):
        for _ in range(ROUNDS):
            middle = (low + high) / 2
            short = middle * above(middle**2) / below(middle**2) < length
            low, high = np.where(short, middle, low), np.where(short, high, middle)
    return wanted * np.where(length > 0, (low + high) / 2 / np.where(length > 0, length, 1), 1.0)[:, None]
