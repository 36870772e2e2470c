"""What a LeRobot set made by handtool says of each frame: names, shapes and order as quietbit's sets have them where
they have the same (docs/DATA.md). [left, right] everywhere; all float32 and flat, with zeros where nothing is known and
a flag that says so."""

from dataclasses import dataclass

import numpy as np

from handtool.hands.palm import palm_rotation
from handtool.hands.skeleton import JOINTS, LEFT, RIGHT

CAMERA = "observation.images.main"
SIDES = ((LEFT, "left"), (RIGHT, "right"))
AXES = ("x", "y", "z")
STATE = (*(f"wrist_{axis}" for axis in AXES), *(f"rot6d_{n}" for n in range(6)))


def of_joints(*parts: str) -> tuple[str, ...]:
    return tuple(f"{side}_{joint}_{part}" for _, side in SIDES for joint in JOINTS for part in parts)


def of_sides(*parts: str) -> tuple[str, ...]:
    return tuple(f"{side}_{part}" for _, side in SIDES for part in parts)


NAMES = {
    "observation.state": of_sides(*STATE),
    "action": of_sides(*STATE),
    "observation.hands.kp3d": of_joints(*AXES),
    "observation.hands.kp2d": of_joints("u", "v", "score"),
    "observation.hands.kp3d_valid": of_joints("valid"),
    "observation.hands.valid": of_sides("valid"),
    "observation.hands.score": of_sides("score"),
    "observation.hands.absolute": of_sides("absolute"),
    "observation.intrinsics": ("fx", "fy", "cx", "cy", "k1", "k2", "k3", "k4"),
}


@dataclass(frozen=True, eq=False)
class Hands:
    """The hands of one video, (n, …) each, one at most of a side on a frame. row: of the episode; side: LEFT or RIGHT.
    score: NaN unknown. joints: (n, 21, 3) m, joints_valid (n, 21), absolute (n,): in the camera's frame, else relative
    to the wrist. points: (n, 21, 2) px of the frame, points_valid (n, 21). camera: (n, 8) fx fy cx cy px, k1..k4 of a
    fisheye lens, NaN unknown."""

    row: np.ndarray
    side: np.ndarray
    score: np.ndarray
    joints: np.ndarray
    joints_valid: np.ndarray
    absolute: np.ndarray
    points: np.ndarray
    points_valid: np.ndarray
    camera: np.ndarray


@dataclass(frozen=True, eq=False)
class Told:
    """A feature of an episode: values (frames, k) float32, and which of them are known (frames, k) bool."""

    values: np.ndarray
    known: np.ndarray


def tell(hands: Hands, frames: int) -> dict[str, Told]:
    """Every feature of an episode of so many frames, in the order of NAMES."""
    there = np.any(hands.joints_valid, axis=1) | np.any(hands.points_valid, axis=1)
    score = np.where(np.isfinite(hands.score), hands.score, 1.0).astype(np.float32)
    points_score = np.where(hands.points_valid, score[:, None], 0)
    points = np.concatenate([hands.points, points_score[:, :, None]], axis=2)
    points_known = np.repeat(hands.points_valid[:, :, None], 3, axis=2)
    joints_known = np.repeat(hands.joints_valid[:, :, None], 3, axis=2)
    rotation = palm_rotation(np.where(joints_known, hands.joints, np.nan), hands.side)
    state = np.concatenate([hands.joints[:, 0], rotation[:, :, 0], rotation[:, :, 1]], axis=1)
    state_known = np.isfinite(state) & hands.joints_valid[:, :1]
    flags = {"valid": there, "absolute": hands.absolute & there}

    def place(values: np.ndarray, known: np.ndarray) -> Told:
        return fill(hands, frames, values.reshape(len(values), -1), known.reshape(len(values), -1))

    told = {"observation.state": place(state, state_known)}
    told["action"] = Told(*(next_of(each) for each in vars(told["observation.state"]).values()))
    told["observation.hands.kp3d"] = place(hands.joints, joints_known)
    told["observation.hands.kp2d"] = place(points, points_known)
    told["observation.hands.kp3d_valid"] = everywhere(place(hands.joints_valid, np.ones((len(there), 21), bool)))
    for name, flag in flags.items():
        told[f"observation.hands.{name}"] = everywhere(place(flag, np.ones((len(there), 1), bool)))
    told["observation.hands.score"] = place(score, there)
    told["observation.intrinsics"] = intrinsics_of(hands, frames)
    return {name: told[name] for name in NAMES}


def fill(hands: Hands, frames: int, values: np.ndarray, known: np.ndarray) -> Told:
    """values, known: (n, k) of the hands. Returns (frames, 2 k), left before right, 0 where nothing is known."""
    filled = np.zeros((frames, 2, values.shape[1]), np.float32)
    is_known = np.zeros(filled.shape, bool)
    place = (hands.side != LEFT).astype(int)
    filled[hands.row, place] = np.where(known, values, 0)
    is_known[hands.row, place] = known
    return Told(filled.reshape(frames, -1), is_known.reshape(frames, -1))


def everywhere(told: Told) -> Told:
    """Flags are known where there is no hand, too."""
    return Told(told.values, np.ones(told.values.shape, bool))


def next_of(values: np.ndarray) -> np.ndarray:
    """Of the frame after each; the last one's own."""
    return np.concatenate([values[1:], values[-1:]])


def intrinsics_of(hands: Hands, frames: int) -> Told:
    """Those of the hands of each frame; on frames without hands those of the film where all its hands have the same."""
    values = np.zeros((frames, 8), np.float32)
    has = np.isfinite(hands.camera).all(axis=1)
    given = hands.camera[has].astype(np.float32)
    if len(given) and np.allclose(given, given[0], rtol=1e-3, atol=1e-3):
        values[:] = given[0]
    values[hands.row[has]] = given
    return Told(values, np.repeat(values[:, :1] > 0, 8, axis=1))


def describe(fps: float | int, height: int, width: int, codec: str | None) -> dict[str, dict]:
    """The features of info.json. codec: of the films, None: there are none."""
    film = {
        "dtype": "video",
        "shape": [height, width, 3],
        "names": ["height", "width", "channels"],
        "info": {
            "video.height": height,
            "video.width": width,
            "video.codec": codec,
            "video.pix_fmt": "yuv420p",
            "video.is_depth_map": False,
            "video.fps": fps,
            "video.channels": 3,
            "has_audio": False,
        },
    }
    features: dict[str, dict] = {CAMERA: film} if codec else {}
    features |= {
        name: {"dtype": "float32", "shape": [len(names)], "names": list(names)} for name, names in NAMES.items()
    }
    features |= {"timestamp": {"dtype": "float32", "shape": [1], "names": None}}
    usual = ("frame_index", "episode_index", "index", "task_index")
    return features | {name: {"dtype": "int64", "shape": [1], "names": None} for name in usual}
