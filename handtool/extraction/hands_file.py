"""`extract --hands FILE`: the hands of a file instead of a detector's, as estimates (landmarks and their joints) or,
where the user says so, as labels."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from handtool.config import ExtractConfig
from handtool.errors import WrongCommand
from handtool.extraction.hands_columns import read_hands
from handtool.extraction.refusals import count_boxes
from handtool.hands.camera import place_robustly, project
from handtool.hands.lens import Lens, unproject
from handtool.hands.lens import project as project_through
from handtool.sources.datasets import name_landmarks
from handtool.sources.frame import Frame, KnownHand, Video
from handtool.sources.labelled_frames import from_joints
from handtool.vision.boxes_file import BoxesFile, plain
from handtool.vision.camera_model import VideoCamera
from handtool.vision.contracts import Detection
from handtool.vision.hand_finder import FinderSettings
from handtool.vision.rows import Hand

TEACHER = "teacher"  # what gave the landmarks: the attribute landmarks_source of /crops
SAME_TIME = 0.008  # s between a frame's time stamp and that in the file: half a frame at 60 a second


class HandsFile(BoxesFile):
    """Found by the names of their pictures, as boxes are. Raises HandtoolError if the file is not as described in
    hands_columns."""

    def __init__(self, path: str) -> None:
        hands = read_hands(path)
        self.left_out, self.notes, self.unused_keypoints, self.stems = hands.left_out, hands.notes, 0, False
        timed = (hands.frame < 0) & np.isfinite(hands.time)
        names = [plain(name) for name in hands.name.tolist()]
        names = [name if frame < 0 else f"{name}#{frame}" for name, frame in zip(names, hands.frame.tolist())]
        order = np.lexsort((np.where(timed, hands.time, 0.0), np.array(names, dtype=str))).tolist()  # stable
        self.hands, self.timed = hands.take(np.array(order, np.int64)), timed[order]
        self.box = self.hands.box
        self.rows, start = {}, 0
        for end in range(1, len(order) + 1):
            if end == len(order) or names[order[end]] != names[order[start]]:
                self.rows[names[order[start]]] = range(start, end)
                start = end

    def rows_on(self, frame: Frame) -> list[int]:
        """The hands on a frame: by its number, its name, or its time stamp."""
        if (name := self.find(frame.name)) is not None and not self.timed[self.rows[name]].any():
            return list(self.rows[name])
        video, _, number = frame.name.rpartition("#")
        if not number.isdecimal() or (name := self.find(video)) is None:
            return []
        rows = np.array(self.rows[name])
        rows = rows[self.timed[rows]]
        return rows[np.abs(self.hands.time[rows] - frame.time) <= SAME_TIME].tolist()

    def estimates_on(self, frame: Frame, camera: np.ndarray | Lens) -> list[Hand]:
        """camera: of the frame, where the file does not know it: (3, 3), or a lens that bends."""
        hands = self.hands
        return [(self.estimate(row), pick(hands.camera[row], camera), {}) for row in self.rows_on(frame)]

    def estimate(self, row: int) -> Detection:
        hands = self.hands
        known, joints = np.isfinite(hands.keypoints[row]).all(), hands.joints[row]
        return Detection(
            hands.box[row],
            int(hands.side[row]),
            float(hands.score[row]),
            hands.keypoints[row] if known else None,
            float(hands.keypoints_score[row]) if known else float("nan"),
            joints=joints - joints[:1] if np.isfinite(joints).all() else None,
            of_frame=True,
        )

    def labels_on(self, frame: Frame, camera: np.ndarray | Lens) -> Iterator[KnownHand]:
        hands = self.hands
        for row in self.rows_on(frame):
            own, joints, keypoints = pick(hands.camera[row], camera), hands.joints[row], hands.keypoints[row]
            if not hands.absolute[row]:
                joints = place(joints, keypoints, own)
            if not np.isfinite(keypoints).any():
                keypoints = see(joints, own)
            lens, inner = (own, own.camera) if isinstance(own, Lens) else (None, own)
            known = from_joints(joints, inner, keypoints) | {"box": hands.box[row]}
            about: dict[str, Any] = {"sample_id": int(hands.row[row]), "lens": lens}
            yield KnownHand(int(hands.side[row]), sample_key=f"{frame.name}/{hands.row[row]}", **about, **known)

    def label(self, frames: Iterable[Frame], camera: VideoCamera) -> Iterator[Frame]:
        """The same frames with these hands as known ones, where their source knows none."""
        for frame in frames:
            if frame.hands is None:
                frame = replace(frame, hands=tuple(self.labels_on(frame, camera.of(frame.image))))
            yield frame


def pick(camera: np.ndarray, other: np.ndarray | Lens) -> np.ndarray | Lens:
    return camera if np.isfinite(camera).all() else other


def see(joints: np.ndarray, camera: np.ndarray | Lens) -> np.ndarray:
    """joints: (21, 3) m, camera's frame. Returns (21, 2) px, NaN where they or the camera are unknown, or it sees
    nothing."""
    if isinstance(camera, Lens):
        return project_through(camera, joints)
    return np.where(joints[:, 2:] > 0, project(joints.astype(np.float64), camera), np.nan)


def place(joints: np.ndarray, keypoints: np.ndarray, camera: np.ndarray | Lens) -> np.ndarray:
    """joints: (21, 3) m relative to any point. Returns them in the camera's frame, on the rays of their keypoints; NaN
    where the camera or a keypoint is unknown."""
    if isinstance(camera, Lens):  # the same rays, seen by a camera whose K is the unit matrix
        ray = unproject(camera, keypoints)
        keypoints = np.where(ray[:, 2:] > 0, ray[:, :2] / np.where(ray[:, 2:] > 0, ray[:, 2:], 1), np.nan)
        camera = np.eye(3)
    if not (np.isfinite(joints).all() and np.isfinite(keypoints).all() and np.isfinite(camera).all()):
        return np.full((21, 3), np.nan)
    return joints + place_robustly(joints[None], keypoints[None], camera[None])[0]


def check_hands(hands: Path | None, boxes: Path | None, model: Path | None, config: ExtractConfig) -> None:
    """Raises WrongCommand for options that contradict --hands."""
    others = {"--boxes": boxes is not None, "--whole": config.whole, "--model": model is not None}
    if hands is not None and (other := next((name for name, given in others.items() if given), None)):
        raise WrongCommand(f"--hands and {other} are two ways to say where the hands are", hint="give one of them")


def count_joined(in_file: HandsFile, outcomes: list[dict]) -> dict[str, int]:
    """What was found on both sides, and on one alone."""
    joined, frames = count_boxes(outcomes), sum(one["sampled"] for one in outcomes)
    without = frames - sum(one["with_hands"] + one["none_kept"] for one in outcomes)
    return {
        "joined": joined,
        "not joined: on no frame that was looked at": len(in_file) - joined,
        "frames looked at without a hand in the file": without,
    }


def are_labels(settings: FinderSettings) -> bool:
    return settings.hands is not None and settings.config.hands_as == "labels"


def landmarks_source(config: ExtractConfig, hands: Path | None, videos: list[Video]) -> dict[str, str]:
    """The attribute of /crops, where the landmarks are not the detector's."""
    teacher = TEACHER if hands is not None and config.hands_as == "estimates" else ""
    givers = [name for name in (teacher, name_landmarks(videos)) if name]
    return {"landmarks_source": " + ".join(givers)} if givers else {}
