"""The gate through which every label passes, whatever its source: what cannot be true of its picture is marked not
valid and counted. What is measured on the way tells faults of a whole source (`label_verdict`)."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from handtool.hands.label_faults import FAULTS, Found, Labels, find_faults, find_order, is_inside
from handtool.hands.palm_side import side_by_joints
from handtool.sources.frame import Frame, KnownHand, Video

# of one hand: its side as given, and by its joints; the place of its fault in FAULTS; bones / an adult's; the place of
# its order of joints in ORDERS, -1 none; keypoints that are known, on the picture, on it if K were of a picture scaled
# to this one (NaN: K's centre is no centre of any such), within 0 and 1; the picture in px; K
FIELDS = tuple("side shown fault ratio order seen inside scaled unit width height fx cx cy".split())
BLOCK = 256  # hands measured at once
SAMPLE, LARGE = 256, 2_048  # labels of a source that are judged before the work begins, where it has more than that
SAME_CENTRE = 0.02  # largest difference, relative, of K's centre from the picture's on one axis and on the other


@dataclass
class LabelGate:
    """Of one video, or a chunk of one. trusted: nothing is marked or measured. marked: hands by fault; singles: their
    joints and keypoints by reason."""

    trusted: bool = False
    checked: int = 0
    marked: Counter = field(default_factory=Counter)
    singles: Counter = field(default_factory=Counter)
    waiting: list[tuple[int, Labels]] = field(default_factory=list)  # side as given
    blocks: list[np.ndarray] = field(default_factory=list)

    def pass_frames(self, frames: Iterator[Frame]) -> Iterator[Frame]:
        for frame in frames:
            hands = frame.hands
            yield (
                replace(frame, hands=tuple(self.check(hand, *frame.image.shape[1::-1]) for hand in hands))
                if hands
                else frame
            )

    def check(self, hand: KnownHand, width: int, height: int) -> KnownHand:
        """The hand with what can be true of it valid. width, height: px of its picture."""
        if self.trusted:
            return hand
        labels = as_labels([hand], np.array([[width, height]]))
        found = find_faults(labels)
        if not found.known[0] and not found.singles:
            return hand
        self.checked += 1
        self.singles.update(found.singles)
        if found.known[0]:
            self.waiting.append((hand.side, labels))
            if len(self.waiting) >= BLOCK:
                self.measure_waiting()
        if fault := FAULTS[found.fault[0]]:
            self.marked[fault] += 1
        elif not found.singles:
            return hand
        return with_marks(hand, found)

    def measure_waiting(self) -> None:
        if self.waiting:
            sides, labels = zip(*self.waiting, strict=True)
            self.blocks.append(measure(np.array(sides), join(labels)))
            self.waiting.clear()

    def as_outcome(self) -> dict:
        self.measure_waiting()
        evidence = np.concatenate([np.zeros((0, len(FIELDS)), np.float32), *self.blocks])
        counts = {"labels_marked": dict(self.marked), "label_singles": dict(self.singles)}
        return counts | {"labels_checked": self.checked, "label_evidence": evidence}


def as_labels(hands: list[KnownHand], size: np.ndarray) -> Labels:
    """size: (n, 2) width, height px of the picture of each."""
    nowhere = np.full(4, np.nan)
    box = [nowhere if hand.box is None else hand.box for hand in hands]
    columns = (
        np.array([getattr(hand, name) for hand in hands])
        for name in ("joints", "valid", "camera", "keypoints", "keypoints_valid")
    )
    joints, valid, camera, keypoints, keypoints_valid = columns
    return Labels(joints.astype(np.float64), valid, camera, keypoints, keypoints_valid, np.array(box, float), size)


def join(labels: tuple[Labels, ...]) -> Labels:
    return Labels(*(np.concatenate(each) for each in zip(*(vars(one).values() for one in labels), strict=True)))


def with_marks(hand: KnownHand, found: Found) -> KnownHand:
    """Where no joint remains, nothing else that is told of the hand in space counts either."""
    hand = replace(hand, valid=found.valid[0], keypoints_valid=found.keypoints_valid[0])
    if found.valid[0].any():
        return hand
    mesh = None if hand.vertices is None else np.full_like(hand.vertices, np.nan)
    return replace(hand, scale=float("nan"), vertices=mesh)


@np.errstate(all="ignore")
def measure(side: np.ndarray, labels: Labels) -> np.ndarray:
    """(n, len(FIELDS)) float32, of labels as they were given. side: (n,)."""
    found = find_faults(labels)
    valid = labels.valid & np.isfinite(labels.joints).all(axis=2)
    points, width, height = labels.keypoints, *labels.size.T
    seen = labels.keypoints_valid & np.isfinite(points).all(axis=2)
    fx, cx, cy = labels.camera[:, 0, 0], labels.camera[:, 0, 2], labels.camera[:, 1, 2]
    scale = np.stack([width / (2 * cx + 1), height / (2 * cy + 1)], axis=1)
    scaled = (seen & is_inside((points + 0.5) * scale[:, None] - 0.5, labels.size)).sum(axis=1)
    of_scaled = (scale > 0).all(axis=1) & (np.abs(np.log(scale[:, 0] / scale[:, 1])) < SAME_CENTRE)
    columns = {
        "side": side,
        "shown": side_by_joints(labels.joints, valid),
        "fault": found.fault,
        "ratio": found.ratio,
        "order": find_order(labels.joints, valid),
        "seen": seen.sum(axis=1),
        "inside": (seen & is_inside(points, labels.size)).sum(axis=1),
        "scaled": np.where(of_scaled, scaled, np.nan),
        "unit": (seen & (np.abs(points) <= 1).all(axis=2)).sum(axis=1),
        "width": width,
        "height": height,
        "fx": fx,
        "cx": cx,
        "cy": cy,
    }
    return np.stack([columns[name] for name in FIELDS], axis=1).astype(np.float32)


def sample_labelled(videos: list[Video]) -> list[Video]:
    """Labelled videos thinned to SAMPLE rows of each source that has more than LARGE, spread evenly over it."""
    sources: dict[tuple[str, str], list[Video]] = {}
    for video in videos:
        if video.kind == "labelled":
            sources.setdefault((video.path, video.split), []).append(video)
    thinned = []
    for its_own in sources.values():
        ends = np.cumsum([len(video.rows) for video in its_own])
        if ends[-1] <= LARGE:
            continue
        places = np.unique(np.linspace(0, ends[-1] - 1, SAMPLE).astype(np.int64))
        for video, end, owner in zip(its_own, ends, range(len(its_own)), strict=True):
            chosen = places[np.searchsorted(ends, places, side="right") == owner]
            thinned += [video.of_rows(chosen - end + len(video.rows))] if len(chosen) else []
    return thinned
