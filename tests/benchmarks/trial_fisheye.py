"""Where does a detector find more hands: on a fisheye frame as it was taken, straightened, or mildly rectified?

    python tests/benchmarks/trial_fisheye.py FILM...

Some frames of each film are set into a fisheye frame (the lens of Egocentric-10K's example, 122 degrees across), as
if a narrower pinhole camera had seen them straight ahead, and 30 and 48 degrees to the left. The truth is what the
detector finds on the film itself; a hand is found where the points of one lie within 0.3 of its size, in the mean.
Straightened: a pinhole picture of the same K and size. Rectified: stereographic, with the same focal length in the
middle.
"""

import argparse
from collections import Counter
from pathlib import Path

import av
import cv2
import numpy as np

from handtool.config import ExtractConfig
from handtool.hands.lens import make_lens, project, unproject
from handtool.vision.detectors import open_detector

WIDTH, HEIGHT = 960, 540
K = np.array([[515.3, 0, 483.1], [0, 515.3, 269.6], [0, 0, 1.0]])
LENS = make_lens("fisheye", K, [-0.1166, 0, 0, 0])
TURNS = 0, -30, -48  # degrees: to the left
GRAY = 110, 110, 110
NEAR = 0.3  # of a hand's size


def pinhole_ray(points: np.ndarray) -> np.ndarray:
    """(…, 2) px of the straightened picture -> (…, 3)."""
    image = (points - K[:2, 2]) / K[0, 0]
    return np.concatenate([image, np.ones((*image.shape[:-1], 1))], axis=-1)


def stereographic_ray(points: np.ndarray) -> np.ndarray:
    """(…, 2) px of the rectified picture, r = 2 tan(angle / 2) -> (…, 3)."""
    image = (points - K[:2, 2]) / K[0, 0]
    radius = np.linalg.norm(image, axis=-1, keepdims=True)
    angle = 2 * np.arctan(radius / 2)
    return np.concatenate([image / np.maximum(radius, 1e-9) * np.sin(angle), np.cos(angle)], axis=-1)


WAYS = {"as taken": None, "straightened": pinhole_ray, "rectified": stereographic_ray}
PIXELS = np.stack(np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT)), axis=-1).astype(float)


def read_frames(film: Path, every: int, most: int) -> list[np.ndarray]:
    with av.open(str(film)) as container:
        frames = (frame for number, frame in enumerate(container.decode(video=0)) if number % every == 0)
        return [frame.to_ndarray(format="rgb24") for frame, _ in zip(frames, range(most))]


def set_into_fisheye(image: np.ndarray, focal: float, turn: np.ndarray) -> np.ndarray:
    """turn: from the axes of the fisheye camera to those of the film's."""
    seen = unproject(LENS, PIXELS) @ turn.T
    depth = np.where(seen[..., 2:] > 0.05, seen[..., 2:], np.nan)
    middle = (np.array(image.shape[1::-1]) - 1) / 2
    places = np.nan_to_num(focal * seen[..., :2] / depth + middle, nan=-1e4).astype(np.float32)
    shrinking = focal / K[0, 0]
    smooth = image if shrinking < 1.6 else cv2.GaussianBlur(image, (0, 0), 0.4 * shrinking)
    border = {"borderMode": cv2.BORDER_CONSTANT, "borderValue": GRAY}
    return cv2.remap(smooth, places[..., 0], places[..., 1], cv2.INTER_LINEAR, **border)


def look(detector, image: np.ndarray) -> list[np.ndarray]:
    """The points of the hands on it, (21, 2) px each."""
    found = detector.find_hands([np.ascontiguousarray(image)], [""])[0]
    return [hand.landmarks for hand in found if hand.landmarks is not None]


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("films", nargs="+", type=Path)
    asked.add_argument("--every", type=int, default=12, help="of the frames")
    asked.add_argument("--most", type=int, default=24, help="frames of a film")
    given = asked.parse_args()
    detector = open_detector(ExtractConfig())
    maps = {
        name: np.nan_to_num(project(LENS, ray(PIXELS)), nan=-1e4).astype(np.float32)
        for name, ray in WAYS.items()
        if ray
    }
    hands, found = Counter[str](), Counter[tuple[str, str]]()
    for film in given.films:
        for image in read_frames(film, given.every, given.most):
            focal = 1.1 * max(image.shape)
            truth = look(detector, image)
            for degrees in TURNS if truth else ():
                angle = np.radians(-degrees)
                turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
                frame = set_into_fisheye(image, focal, turn)
                middle = (np.array(image.shape[1::-1]) - 1) / 2
                rays = [
                    np.concatenate([(points - middle) / focal, np.ones((21, 1))], axis=1) @ turn for points in truth
                ]
                inside = [points for points in (project(LENS, each) for each in rays) if is_inside(points)]
                for name, ray in WAYS.items():
                    picture = (
                        frame if ray is None else cv2.remap(frame, *np.moveaxis(maps[name], -1, 0), cv2.INTER_LINEAR)
                    )
                    seen = [points if ray is None else project(LENS, ray(points)) for points in look(detector, picture)]
                    for points in inside:
                        rows = ["all", f"{-degrees} degrees to the left", film.stem]
                        rows += ["in the left fifth"] if points[:, 0].mean() < WIDTH / 5 else []
                        for row in rows:
                            hands[row] += name == "as taken"
                            found[row, name] += is_there(points, seen)
    print(f"| share of hands found, % (hands) | {' | '.join(WAYS)} |\n|---|{'---|' * len(WAYS)}")
    for row in sorted(hands):
        print(
            f"| {row} ({hands[row]}) | "
            + " | ".join(f"{100 * found[row, name] / hands[row]:.1f}" for name in WAYS)
            + " |"
        )


def is_inside(points: np.ndarray) -> bool:
    return bool(np.isfinite(points).all() and ((points >= 0) & (points < [WIDTH, HEIGHT])).all())


def is_there(points: np.ndarray, seen: list[np.ndarray]) -> bool:
    size = np.ptp(points, axis=0).max()
    return any(np.nanmean(np.linalg.norm(other - points, axis=1)) < NEAR * size for other in seen)


if __name__ == "__main__":
    main()
