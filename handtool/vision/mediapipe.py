"""MediaPipe Hands (0.10.21, the solutions API) as detector and as keypoint estimator. Imported only when chosen.

Zhang et al. 2020, arXiv:2006.10214. Each picture is looked at by itself (static_image_mode), so that what is found does not depend on what
was looked at before. Its handedness assumes a mirrored selfie: on ordinary pictures its "Left" is a right hand, and is turned round here.
It gives no score per keypoint; that of the hand stands for all 21.
"""

import importlib.util
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import cv2
import numpy as np

from handtool.errors import HandtoolError
from handtool.hands.boxes import box_of_points
from handtool.hands.skeleton import LEFT, RIGHT
from handtool.vision.contracts import Detection, HandCrop

SIDES = {"Left": RIGHT, "Right": LEFT}
MAX_HANDS = 8  # on a frame
CONTEXTS = (
    1.95,
    1.6,
)  # side of the picture / of the hand's box: its palm detector works best with the first, the second finds what that missed


def require_mediapipe() -> None:
    """Raises HandtoolError where the package is missing, without importing it."""
    if importlib.util.find_spec("mediapipe") is None:
        python = f"{sys.version_info.major}.{sys.version_info.minor}"
        raise HandtoolError(
            f"the mediapipe package is not installed (this is Python {python}; it exists for Python < 3.13)",
            hint="pip install 'handtool[mediapipe]', or bring boxes (--boxes FILE) or images that are hand crops (--whole)",
        )


def open_solution(max_hands: int, min_score: float):
    """MediaPipe's own object. Raises HandtoolError where the installed version has no solutions API."""
    require_mediapipe()
    with native_stderr_closed():
        import mediapipe

        if not hasattr(mediapipe, "solutions"):
            raise HandtoolError(
                f"mediapipe {mediapipe.__version__} has no solutions API", hint="pip install 'mediapipe==0.10.21' (Python < 3.13)"
            )
        hands = mediapipe.solutions.hands.Hands(static_image_mode=True, max_num_hands=max_hands, min_detection_confidence=min_score)
        hands.process(np.zeros((64, 64, 3), np.uint8))  # its models are loaded by the first picture
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


def look(solution, image: np.ndarray) -> list[tuple[np.ndarray, str, float]]:
    """(landmarks (21, 2) px, "Left" or "Right" as it says, score) of each hand on the picture, best first."""
    with native_stderr_closed():
        found = solution.process(image)
    hands, size = [], image.shape[1::-1]
    for landmarks, handedness in zip(found.multi_hand_landmarks or (), found.multi_handedness or (), strict=True):
        relative = np.array([(point.x, point.y) for point in landmarks.landmark])
        said = handedness.classification[0]
        # its 0..1 runs from edge to edge of the picture; a pixel's centre is half a pixel in
        hands.append((relative * size - 0.5, said.label, float(said.score)))
    return sorted(hands, key=lambda hand: -hand[2])


class MediaPipeDetector:
    """Hands on frames; the box is that of the 21 landmarks, which are kept."""

    batch = 1

    def __init__(self, min_score: float) -> None:
        self.hands = open_solution(MAX_HANDS, min_score)

    def find_hands(self, images: list[np.ndarray], names: list[str]) -> list[list[Detection]]:
        return [[as_detection(*hand) for hand in look(self.hands, image)] for image in images]


def as_detection(xy: np.ndarray, said: str, score: float) -> Detection:
    return Detection(box_of_points(xy), SIDES[said], score, xy, score)


class MediaPipeKeypoints:
    """Keypoints on crops, each padded with black until the hand has the context that the palm detector wants."""

    batch = 1

    def __init__(self, min_score: float) -> None:
        self.hands = open_solution(2, min_score)

    def find_keypoints(self, crops: list[HandCrop]) -> list[tuple[np.ndarray, np.ndarray] | None]:
        return [self.look_at(crop.image, crop.context) for crop in crops]

    def look_at(self, crop: np.ndarray, context: float) -> tuple[np.ndarray, np.ndarray] | None:
        size = crop.shape[0]
        for wanted in CONTEXTS:
            pad = max(0, round(size * (wanted / context - 1) / 2))
            hands = look(self.hands, cv2.copyMakeBorder(crop, pad, pad, pad, pad, cv2.BORDER_CONSTANT))
            if hands:  # a neighbour's hand may reach into the crop: the one nearest to the middle
                middle = (size - 1) / 2 + pad
                xy, _, score = min(hands, key=lambda hand: np.linalg.norm(hand[0].mean(0) - middle))
                return xy - pad, np.full(21, score)
        return None
