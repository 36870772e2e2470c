"""The gate through which every label passes, whatever its source: what cannot be true of its picture is marked not
valid and counted. What is measured on the way tells faults of a whole source (`label_verdict`)."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from handtool.hands.label_faults import FAULTS, Found, Labels, find_faults, find_order, is_inside
from handtool.hands.lens import project
from handtool.hands.palm_side import side_by_joints
from handtool.sources.frame import Frame, KnownHand, Video

# of one hand: its side as given, and by its joints; the place of its fault in FAULTS; bones / an adult's; the place of
# its order of joints in ORDERS, -1 none; keypoints that are known, on the picture, on it if K were of a picture scaled
# to this one (NaN: K's centre is no centre of any such), within 0 and 1; the picture in px; K
FIELDS = tuple("side shown fault ratio order seen inside scaled unit width height fx cx cy".split())
BLOCK = 256  # hands measured at once
MOST_HELD, MOST_BYTES = 32, 12 << 20  # frames that are looked at together, and their pixels
SAMPLE, LARGE = 256, 2_048  # labels of a source that are judged before the work begins, where it has more than that
SAME_CENTRE = 0.02  # largest difference, relative, of K's centre from the picture's on one axis and on the other


@dataclass
class LabelGate:
    """Of one video, or a chunk of one. trusted: nothing is marked or measured. checked: labelled hands; marked: those
    with a fault, by fault; singles: joints and keypoints of the others by reason."""

    trusted: bool = False
    checked: int = 0
    marked: Counter = field(default_factory=Counter)
    singles: Counter = field(default_factory=Counter)
    waiting: list[tuple[np.ndarray, Labels]] = field(default_factory=list)  # sides as given
    blocks: list[np.ndarray] = field(default_factory=list)

    def pass_frames(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        """The same frames in the same order, their hands as `check` gives them. A few are held back, since looking at
        one hand takes as long as at ten."""
        held: list[Frame] = []
        for frame in frames:
            if self.trusted or not frame.hands:
                yield from self.release(held)
                yield frame
                continue
            held.append(frame)
            if len(held) >= MOST_HELD or sum(one.image.size for one in held) >= MOST_BYTES:
                yield from self.release(held)
        yield from self.release(held)

    def release(self, held: list[Frame]) -> Iterator[Frame]:
        hands = [hand for frame in held for hand in frame.hands or ()]
        sizes = [frame.image.shape[1::-1] for frame in held for _ in frame.hands or ()]
        checked = iter(self.check(hands, np.array(sizes).reshape(-1, 2)))
        for frame in held:
            yield replace(frame, hands=tuple(next(checked) for _ in frame.hands or ()))
        held.clear()

    def check(self, hands: list[KnownHand], size: np.ndarray) -> list[KnownHand]:
        """The hands with what can be true of them valid. size: (n, 2) width, height px of their pictures."""
        if self.trusted or not hands:
            return hands
        labels = as_labels(hands, size)
        found = find_faults(labels)
        self.checked += int((labels.valid.any(axis=1) | labels.keypoints_valid.any(axis=1)).sum())
        self.marked.update(FAULTS[fault] for fault in found.fault.tolist() if fault)
        self.singles.update(found.singles)
        self.waiting.append((np.array([hand.side for hand in hands]), labels))
        if sum(len(side) for side, _ in self.waiting) >= BLOCK:
            self.measure_waiting()
        return [with_marks(hand, found, row) for row, hand in enumerate(hands)]

    def measure_waiting(self) -> None:
        if self.waiting:
            sides, labels = zip(*self.waiting, strict=True)
            self.blocks.append(measure(np.concatenate(sides), join(labels)))
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
    projected = np.full((len(hands), 21, 2), np.nan)
    for row, hand in enumerate(hands):
        if hand.lens is not None and hand.lens.bends:
            camera[row], projected[row] = np.nan, project(hand.lens, joints[row])
    of_picture = keypoints, keypoints_valid, np.array(box, float), size
    return Labels(joints.astype(np.float64), valid, camera, *of_picture, projected)


def join(labels: tuple[Labels, ...]) -> Labels:
    return Labels(*(np.concatenate(each) for each in zip(*(vars(one).values() for one in labels), strict=True)))


def with_marks(hand: KnownHand, found: Found, row: int) -> KnownHand:
    """Where no joint remains, nothing else that is told of the hand in space counts either."""
    valid, keypoints_valid = found.valid[row], found.keypoints_valid[row]
    if np.array_equal(valid, hand.valid) and np.array_equal(keypoints_valid, hand.keypoints_valid):
        return hand
    hand, had_joints = replace(hand, valid=valid, keypoints_valid=keypoints_valid), hand.valid.any()
    if valid.any() or not had_joints:
        return hand
    mesh = None if hand.vertices is None else np.full_like(hand.vertices, np.nan)
    return replace(hand, scale=float("nan"), vertices=mesh)


@np.errstate(all="ignore")
def measure(side: np.ndarray, labels: Labels) -> np.ndarray:
    """(n, len(FIELDS)) float32, of the hands of whom anything is known, as they were given. side: (n,)."""
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
    return np.stack([columns[name] for name in FIELDS], axis=1).astype(np.float32)[found.known]


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
