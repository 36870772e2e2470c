"""What MediaPipe, which never saw them, makes of the hands of synth."""

from dataclasses import dataclass

import cv2
import numpy as np

from handtool.synth.crops import BOX_SCALE, make_video
from handtool.vision.mediapipe import CONTEXTS, FoundHand, LandmarkModel


@dataclass
class Sight:
    """errors: of each hand that was found, mean distance of the 21 keypoints as a share of the hand's extent. sides:
    taken for the right one."""

    looked: int
    errors: np.ndarray
    sides: np.ndarray

    @property
    def found(self) -> float:
        return len(self.errors) / self.looked


def find_hand(hands: LandmarkModel, crop: np.ndarray) -> FoundHand | None:
    """As the keypoints stage looks: the crop padded to one context after the other; the hand nearest to the middle,
    in px of the crop."""
    size = len(crop)
    for wanted in CONTEXTS:
        pad = max(0, round(size * (wanted / BOX_SCALE - 1) / 2))
        seen = hands.look(cv2.copyMakeBorder(crop, pad, pad, pad, pad, cv2.BORDER_CONSTANT))
        if seen:
            nearest = min(seen, key=lambda hand: np.linalg.norm(hand.xy.mean(0) - pad - (size - 1) / 2))
            return nearest._replace(xy=nearest.xy - pad)
    return None


def look_at_synth(
    hands: LandmarkModel, difficulty: str, videos: range, frames: int, size: int = 224, seed: int = 5
) -> Sight:
    errors, sides = [], []
    for video in videos:
        made = make_video(seed, video, frames, size, difficulty, "both")
        for jpeg, truth in zip(made["jpeg"], made["keypoints"], strict=True):
            seen = find_hand(hands, cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)[..., ::-1])
            if seen is not None:
                errors.append(np.linalg.norm(seen.xy - truth, axis=1).mean() / np.ptp(truth, axis=0).max())
                sides.append(seen.side == made["side"])
    return Sight(len(videos) * frames, np.array(errors), np.array(sides))
