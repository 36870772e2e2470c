"""The hands on the frames of a video: from the source's labels, else from a detector on the picture as it was taken."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from handtool.config import ExtractConfig
from handtool.hands.boxes import apply_affine, apply_affine_to_box, invert, larger_side, whole_image
from handtool.hands.lens import Lens
from handtool.vision.boxes_file import BoxesFile
from handtool.vision.camera_model import VideoCamera, read_camera_model
from handtool.vision.contracts import WHOLE_PICTURE, Detection, Detector
from handtool.vision.cropping import BadBox, cut_square, hand_square
from handtool.vision.detectors import check_detector, open_detector
from handtool.vision.guarded import Failed, Guarded
from handtool.vision.rows import Hand
from handtool.vision.second_look import Sight

# side of the picture / of the hand's box, of the further looks one after the other
CONTEXTS, WHOLE_CONTEXTS = (2.7, 1.95, 3.5), (1.95, 2.7, 1.6)
LARGEST_PX = 640  # side of such a picture
PLAIN_PX = 256  # side of the black picture on which a detector that has failed at first is tried
MIN_SHARE = 0.3  # of the larger side of an image: a smaller hand is not what the image is a picture of


@dataclass(frozen=True)
class FinderSettings:
    """What a worker process needs in order to find hands. boxes, model, hands: files; camera: numbers or a file."""

    config: ExtractConfig
    boxes: str | None = None
    camera: str | None = None
    model: str | None = None
    hands: str | None = None

    @property
    def looks(self) -> bool:
        """Whether a detector looks for hands: not where a file or the user says where they are."""
        return self.boxes is None and self.hands is None and not self.config.whole

    def check(self, needs_detector: bool) -> BoxesFile | None:
        """Opens everything that opens quickly, so that mistakes are reported before the work begins."""
        if self.camera is not None:
            read_camera_model(self.camera)
        if self.boxes is not None:
            return BoxesFile(self.boxes)
        if needs_detector:
            check_detector(self.config, self.model)
        return None


class HandFinder:
    """Used in a worker process. The detector is opened for the first frame that needs it: labelled sets do not.

    hands_of: what somebody else found on a frame, with its camera where it is not known otherwise, in place of a
    detector."""

    def __init__(
        self, settings: FinderSettings, hands_of: Callable[[Any, np.ndarray | Lens], list[Hand]] | None = None
    ) -> None:
        self.settings, self.hands_of = settings, hands_of
        self.waiting: list[Sight] = []  # frames that were read, to be looked at together

    @cached_property
    def detector(self) -> Guarded:
        chosen = self.settings.config, self.settings.boxes, self.settings.model
        return guard(lambda: open_detector(*chosen), self.settings.looks)

    def find_in(self, frames: Iterable, one_by_one: bool = False, camera: VideoCamera | None = None) -> Iterator[Sight]:
        """frames: as sources/ gives them (image, name, and hands where they are known). Each with its hands, in order;
        the detector is given as many pictures at once as it takes, or one_by_one. camera: None: nobody knows it."""
        camera = camera or VideoCamera(None)
        waiting = self.waiting = []
        for frame in frames:
            if frame.hands is not None:
                known = [as_labelled(hand) for hand in frame.hands]
                yield Sight(frame, frame.image, np.full((3, 3), np.nan), known)
                continue
            if self.hands_of is not None:
                own = camera.of(frame.image)
                yield Sight(frame, frame.image, own, self.hands_of(frame, own))
                continue
            waiting.append(Sight(frame, frame.image, camera.of(frame.image), [], again=self.settings.looks))
            if one_by_one or len(waiting) >= self.detector.batch:
                yield from self.look(waiting)
                waiting.clear()
        if waiting:
            yield from self.look(waiting)

    def look(self, waiting: list[Sight]) -> Iterator[Sight]:
        found = self.detector.answer([(sight.image, sight.frame.name) for sight in waiting])
        for sight, hands in zip(waiting, found, strict=True):
            if isinstance(hands, Failed):
                sight.failed, sight.again, hands = hands.reason, False, []
            if not hands and sight.again and np.isnan(sight.time):
                hands = self.look_at_whole(sight)
            sight.hands = [(hand, sight.camera, {}) for hand in hands]
            yield sight

    def look_again(
        self, sight: Sight, box: np.ndarray, contexts: tuple[float, ...] = CONTEXTS
    ) -> Iterator[list[Detection]]:
        """The hands near a box (4,) px of the picture: of one cut-out after the other, from the frame around it."""
        height, width = sight.image.shape[:2]
        for context in contexts:
            try:
                region = hand_square(box, context, width, height)
            except BadBox:  # for one: the track has left the picture
                return
            cut, affine = cut_square(sight.image, region, min(LARGEST_PX, int(region[2] - region[0])))
            (hands,) = self.detector.answer([(cut, sight.frame.name)])
            yield [] if isinstance(hands, Failed) else [move(hand, invert(affine)) for hand in hands]

    def look_at_whole(self, sight: Sight) -> list[Detection]:
        """An image on which nothing was found may be the close picture of one hand: the best one that fills it."""
        size = max(sight.image.shape[:2])
        for hands in self.look_again(sight, whole_image(*sight.image.shape[1::-1]), WHOLE_CONTEXTS):
            large = [hand for hand in hands if larger_side(hand.box) >= MIN_SHARE * size]
            if large:
                return [replace(max(large, key=lambda hand: hand.score), found=WHOLE_PICTURE)]
        return []


def guard(open_it: Callable[[], Detector], is_foreign: bool = True) -> Guarded:
    """A detector, asked for pictures and their names. is_foreign: not our own code."""

    def ask(detector: Detector, pictures: list[tuple[np.ndarray, str]]) -> list[list[Detection]]:
        return detector.find_hands([image for image, _ in pictures], [name for _, name in pictures])

    return Guarded("the detector", open_it, ask, (np.zeros((PLAIN_PX, PLAIN_PX, 3), np.uint8), ""), is_foreign)


def move(hand: Detection, affine: np.ndarray) -> Detection:
    """affine: (2, 3) from the picture that the hand was found on to the frame."""
    landmarks = None if hand.landmarks is None else apply_affine(affine, hand.landmarks)
    return replace(hand, box=apply_affine_to_box(affine, hand.box), landmarks=landmarks)


def as_labelled(known) -> Hand:
    """known: a KnownHand of sources/; without a box, the whole image is the hand."""
    box = np.full(4, np.nan) if known.box is None else known.box
    camera = known.lens if known.lens is not None and known.lens.bends else known.camera
    seen = Detection(box, known.side, whole=known.box is None)
    if known.landmarks is not None:
        seen = replace(seen, landmarks=known.landmarks, landmarks_score=1.0)
    return seen, camera, known.as_label()
