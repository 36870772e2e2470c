"""MediaPipe Hands as detector and as keypoint estimator: the solutions API, or the Tasks API with a `.task` file.
Imported only when chosen.

Zhang et al. 2020, arXiv:2006.10214; its 3D ("world landmarks"): Grishchenko et al. 2022, arXiv:2206.11678. Each
picture is processed by itself (static_image_mode, IMAGE), so that the result does not depend on earlier pictures. There
is no score per keypoint; that of the hand is used for all 21. The solutions API assumes a mirrored selfie: on ordinary
pictures its "Left" is a right hand. The Tasks API labels the same hand "Right".
mediapipe_package.py says which of them is used.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Protocol

import cv2
import numpy as np

from handtool.errors import HandtoolError, first_line
from handtool.hands.boxes import box_of_points
from handtool.hands.skeleton import LEFT, RIGHT, WRIST
from handtool.vision.contracts import Detection, EstimatedHand, HandCrop
from handtool.vision.mediapipe_package import NAME_IT, find_api

SOLUTION_SIDES = {"Left": RIGHT, "Right": LEFT}
TASK_SIDES = {"Left": LEFT, "Right": RIGHT}
MAX_HANDS = 8  # on a frame
# side of the picture / of the hand's box: the palm detector works best with the first; the others find what it missed
CONTEXTS = (1.95, 2.7, 1.6)


class FoundHand(NamedTuple):
    """xy: (21, 2) px, centres at integers. side: LEFT or RIGHT, of the hand itself. joints: (21, 3) m relative to the
    wrist, in the axes of the camera."""

    xy: np.ndarray
    side: int
    score: float
    joints: np.ndarray


class LandmarkModel(Protocol):
    def look(self, image: np.ndarray) -> list[FoundHand]:
        """The hands on a picture (h, w, 3) uint8 RGB, best first."""


def open_hands(max_hands: int, min_score: float, task: str | Path | None = None) -> LandmarkModel:
    """MediaPipe's own object. Raises HandtoolError if the installed version lacks the API that is asked for."""
    api = find_api(task)
    with native_stderr_closed():
        import mediapipe

        hands = (
            Solution(mediapipe, max_hands, min_score)
            if api.task is None
            else Landmarker(mediapipe, max_hands, min_score, api.task)
        )
        hands.look(np.zeros((64, 64, 3), np.uint8))  # its models are loaded by the first picture
    return hands


@contextmanager
def native_stderr_closed() -> Iterator[None]:
    """TensorFlow Lite's notices go to the file descriptor, past Python and every log level."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


class Solution:
    """The solutions API, whose models are part of the package."""

    def __init__(self, mediapipe, max_hands: int, min_score: float) -> None:
        self.hands = mediapipe.solutions.hands.Hands(
            static_image_mode=True, max_num_hands=max_hands, min_detection_confidence=min_score
        )

    def look(self, image: np.ndarray) -> list[FoundHand]:
        with native_stderr_closed():
            found = self.hands.process(image)
        told = zip(
            found.multi_hand_landmarks or (),
            found.multi_hand_world_landmarks or (),
            (said.classification[0] for said in found.multi_handedness or ()),
            strict=True,
        )
        return best_first(
            (landmarks.landmark, world.landmark, SOLUTION_SIDES[said.label], said.score, image)
            for landmarks, world, said in told
        )


class Landmarker:
    """The Tasks API. 1.x reads an array that is not contiguous wrongly, and hangs on one of floats: neither gets in."""

    def __init__(self, mediapipe, max_hands: int, min_score: float, task: Path) -> None:
        vision = mediapipe.tasks.vision
        options = vision.HandLandmarkerOptions(
            base_options=mediapipe.tasks.BaseOptions(model_asset_path=os.fspath(task)),
            num_hands=max_hands,
            min_hand_detection_confidence=min_score,
        )
        try:
            self.hands = vision.HandLandmarker.create_from_options(options)
        except (RuntimeError, ValueError, OSError) as error:  # which one depends on the version
            raise HandtoolError(f"{task} is no hand landmarker: {first_line(error)}", hint=NAME_IT) from None
        self.as_image = lambda image: mediapipe.Image(
            image_format=mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(image)
        )

    def look(self, image: np.ndarray) -> list[FoundHand]:
        assert image.dtype == np.uint8
        with native_stderr_closed():
            found = self.hands.detect(self.as_image(image))
        told = zip(found.hand_landmarks, found.hand_world_landmarks, found.handedness, strict=True)
        return best_first(
            (landmarks, world, TASK_SIDES[said[0].category_name], said[0].score, image)
            for landmarks, world, said in told
        )


def best_first(told: Iterator[tuple]) -> list[FoundHand]:
    """(landmarks in 0..1, world landmarks in m about the hand's centre, side, score, picture) of each hand."""
    hands = []
    for landmarks, world, side, score, image in told:
        relative = np.array([(point.x, point.y) for point in landmarks])
        # its 0..1 runs from edge to edge of the picture; a pixel's centre is half a pixel in
        xy, joints = relative * image.shape[1::-1] - 0.5, np.array([(point.x, point.y, point.z) for point in world])
        hands.append(FoundHand(xy, side, float(score), joints - joints[WRIST]))
    return sorted(hands, key=lambda hand: -hand.score)


class MediaPipeDetector:
    """LandmarkModel on frames; the box is that of the 21 landmarks, which are kept, with their 3D."""

    batch = 1

    def __init__(self, min_score: float, task: str | Path | None = None) -> None:
        self.hands = open_hands(MAX_HANDS, min_score, task)

    def find_hands(self, images: list[np.ndarray], names: list[str]) -> list[list[Detection]]:
        return [
            [
                Detection(box_of_points(hand.xy), hand.side, hand.score, hand.xy, hand.score, joints=hand.joints)
                for hand in self.hands.look(image)
            ]
            for image in images
        ]


class MediaPipeKeypoints:
    """Keypoints on crops, each padded with black until the hand has the context that the palm detector wants."""

    batch = 1

    def __init__(self, min_score: float, task: str | Path | None = None) -> None:
        self.hands = open_hands(2, min_score, task)

    def find_keypoints(self, crops: list[HandCrop]) -> list[EstimatedHand | None]:
        return [self.look_at(crop.image, crop.context) for crop in crops]

    def look_at(self, crop: np.ndarray, context: float) -> EstimatedHand | None:
        size = crop.shape[0]
        for wanted in CONTEXTS:
            pad = max(0, round(size * (wanted / context - 1) / 2))
            hands = self.hands.look(cv2.copyMakeBorder(crop, pad, pad, pad, pad, cv2.BORDER_CONSTANT))
            if hands:  # a neighbour's hand may reach into the crop: the one nearest to the middle
                middle = (size - 1) / 2 + pad
                nearest = min(hands, key=lambda hand: np.linalg.norm(hand.xy.mean(0) - middle))
                return EstimatedHand(nearest.xy - pad, np.full(21, nearest.score), nearest.joints)
        return None
