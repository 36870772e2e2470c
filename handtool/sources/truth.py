"""Videos whose hands are known: a `truth.h5` beside the video files has every hand on every frame; it is joined to
the hands that a detector finds."""

from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from handtool.hands.boxes import iou
from handtool.hands.skeleton import UNKNOWN, bone_length
from handtool.names import INTRINSICS
from handtool.sources.frame import KnownHand, Video
from handtool.sources.labelled_frames import only_a_box

NAME, BOXES = "truth.h5", "boxes.json"
COMPANIONS = frozenset({NAME, BOXES, INTRINSICS})  # what lies beside such videos and is no footage
# intersection over union of a found box (of landmarks: without the flesh around them) and the known one
LEAST_OVERLAP = 0.2
LABELLED, STRANGER, MISSED, TURNED = "labelled", "not in the truth", "known but not found", "side corrected"


def find_truth(video: Video) -> Path | None:
    """The `truth.h5` beside a video, if there is one."""
    path = Path(video.path).parent / NAME
    return path if video.kind == "video" and path.is_file() else None


@dataclass(frozen=True, eq=False)
class KnownVideo:
    """What is known of one video. camera: (3, 3) of its frames; size: (width, height) px; hands: by frame number."""

    subject: str
    place: str

    camera: np.ndarray
    size: tuple[int, int]
    hands: dict[int, list[KnownHand]]

    def join(self, number: int, boxes: np.ndarray, sides: list[int], tally: Counter) -> list[KnownHand | None]:
        """boxes: (n, 4) px found on frame `number`, sides: as estimated. For each box its hand or None.

        The pair that overlaps most is joined first; each known hand once. `tally` counts joined and other hands.
        """
        known = self.hands.get(number, [])
        joined: list[KnownHand | None] = [None] * len(boxes)
        overlap = iou(boxes[:, None], np.array([hand.box for hand in known]).reshape(-1, 4))
        while overlap.size and overlap.max() >= LEAST_OVERLAP:
            here, there = map(int, np.unravel_index(overlap.argmax(), overlap.shape))
            joined[here] = known[there]
            tally[TURNED] += sides[here] != known[there].side
            overlap[here], overlap[:, there] = -1, -1
        matched = sum(hand is not None for hand in joined)
        tally.update({LABELLED: matched, STRANGER: len(boxes) - matched, MISSED: len(known) - matched})
        return joined


def make_known_video(columns: dict[str, np.ndarray], about: dict) -> KnownVideo:
    """columns: of the table /truth, the rows of one video, with `row` (n,), their place. about: its row of /videos."""
    hands = defaultdict(list)
    for i, frame in enumerate(columns["frame"].tolist()):
        hands[frame].append(
            KnownHand(
                side=int(columns["side"][i]),
                camera=columns["camera"][i],
                joints=columns["joints"][i],
                valid=np.ones(21, bool),
                keypoints=columns["keypoints"][i].astype(np.float64),
                keypoints_valid=np.ones(21, bool),
                sample_id=int(columns["row"][i]),
                sample_key=f"{about['name']}/{frame:06d}/{columns['track'][i]}",
                box=columns["box"][i].astype(np.float64),
                scale=float(bone_length(columns["joints"][i])),
                visible=columns["visible"][i],
            )
        )
    camera = columns["camera"][0] if len(columns["camera"]) else np.full((3, 3), np.nan)
    return KnownVideo(
        str(about["subject"]), str(about["place"]), camera, (int(about["width"]), int(about["height"])), dict(hands)
    )


def unknown_hand(camera: np.ndarray) -> KnownHand:
    """The label of a hand that matches no known hand, in a video of known hands."""
    return KnownHand(side=UNKNOWN, sample_id=-1, sample_key="", visible=np.zeros(21, bool), **only_a_box(None, camera))
