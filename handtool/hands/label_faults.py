"""What no true label of a hand can be: bones of no hand's size, joints behind the camera, keypoints off the picture.

Every limit is generous. Some joints of a true hand may be outside the picture, hidden, or unknown; a newborn's bones
are a third as long as an adult's; hands are cut by the border. None of that is a fault.
"""

from dataclasses import dataclass

import numpy as np

from handtool.hands.boxes import enlarge
from handtool.hands.camera import project
from handtool.hands.hand_size import ADULT_MM, bone_lengths
from handtool.hands.skeleton import BONES, FROM_INTERHAND_RIGHT, FROM_LEVEL_MAJOR, FROM_MANO, FROM_RHD_LEFT, NUM_JOINTS

# of a hand as a whole, the first that holds
AROUND, BEHIND, SIZE = "joints around the camera itself", "joints behind the camera", "bones of no hand's size"
POINT, OFF = "keypoints within two pixels", "keypoints all off the picture"
BESIDE, ELSEWHERE = "keypoints all outside the hand's box", "keypoints elsewhere than the projected joints"
FAULTS = ("", AROUND, BEHIND, SIZE, POINT, OFF, BESIDE, ELSEWHERE)
# of single joints or keypoints
FILLER, FAR = "joints at 0 0 0, or several at one point", "joints over 20 cm from their neighbours"
FILLER_2D = "keypoints at 0 0, or several at one point"

SIZES = (0.25, 2.5)  # bones / those of an adult: a newborn's are 0.34, the longest ever measured 1.7
LONGEST_M = 0.2  # of one bone: the longest, from wrist to knuckle, measure 0.09
LEAST_SPAN_PX = 2.0
BOX_ROOM = 1.5  # the box, so many times as large, holds a keypoint at least
FARTHEST = 0.5  # of the extent of the keypoints: median distance to the projected joints
LEAST_FARTHEST_PX = 5.0
RIM = 1.1  # of the distance of the farthest joint from the middle of the hand
SAME_POINT = 3  # joints with equal coordinates; two may be equal where a skeleton lacks one
# Joints of five chains, level by level, the wrist first: that of HANDS 2017
FROM_HANDS_2017 = (0, 1, 6, 7, 8, 2, 9, 10, 11, 3, 12, 13, 14, 4, 15, 16, 17, 5, 18, 19, 20)
ORDERS = {
    "MANO's (16 joints, then 5 tips)": FROM_MANO,
    "InterHand2.6M's (from tip to palm, the wrist last)": FROM_INTERHAND_RIGHT,
    "RHD's (from tip to palm)": FROM_RHD_LEFT,
    "level by level": FROM_LEVEL_MAJOR,
    "that of HANDS 2017": FROM_HANDS_2017,
}
LIKE, UNLIKE = 0.25, 0.35  # spread of log(bone / an adult's bone): of hands 0.05 to 0.18, in a wrong order over 0.5
PARENT, CHILD = (np.array(ends) for ends in zip(*BONES, strict=True))
IS_END = (np.arange(NUM_JOINTS) == PARENT[:, None]) | (np.arange(NUM_JOINTS) == CHILD[:, None])  # (20, 21)


@dataclass(frozen=True, eq=False)
class Labels:
    """n labelled hands. joints: (n, 21, 3) m, camera frame; camera: (n, 3, 3); keypoints: (n, 21, 2) px of the picture;
    valid, keypoints_valid: (n, 21); box: (n, 4) px, NaN: the picture is the hand; size: (n, 2) width, height px.
    projected: (n, 21, 2) px, the joints through a lens that bends, whose camera is NaN here; None: there is none."""

    joints: np.ndarray
    valid: np.ndarray
    camera: np.ndarray
    keypoints: np.ndarray
    keypoints_valid: np.ndarray
    box: np.ndarray
    size: np.ndarray
    projected: np.ndarray | None = None

    @property
    def behind(self) -> np.ndarray:
        """(n, 21): joints that the camera cannot see; a fisheye lens may see beside itself, and behind."""
        behind = self.joints[..., 2] <= 0
        return behind if self.projected is None else behind & ~np.isfinite(self.projected).all(axis=2)


@dataclass(frozen=True, eq=False)
class Found:
    """fault: (n,) place in FAULTS. valid, keypoints_valid: (n, 21), what remains of the given ones. singles: marked
    joints and keypoints of hands without a fault, by reason. ratio: (n,) bones / an adult's, NaN: too little known.
    known: (n,) whether anything is."""

    fault: np.ndarray
    valid: np.ndarray
    keypoints_valid: np.ndarray
    singles: dict[str, int]
    ratio: np.ndarray
    known: np.ndarray


@np.errstate(all="ignore")  # whatever numbers a file may hold
def find_faults(labels: Labels) -> Found:
    """The faults of each hand, and its joints and keypoints that can be true. Nothing is moved."""
    joints, keypoints = labels.joints, labels.keypoints
    given = labels.valid & np.isfinite(joints).all(axis=2)
    given_2d = labels.keypoints_valid & np.isfinite(keypoints).all(axis=2)
    filler, filler_2d = is_filler(joints, given), is_filler(keypoints, given_2d)
    seen = given_2d & ~filler_2d
    far, ratio = look_at_bones(bone_lengths(joints), given & ~filler)
    valid = given & ~filler & ~far
    wrong = {
        AROUND: is_around(joints, given, valid),
        BEHIND: 2 * (valid & labels.behind).sum(axis=1) > valid.sum(axis=1),
        SIZE: (ratio < SIZES[0]) | (ratio > SIZES[1]),
        POINT: (seen.sum(axis=1) >= SAME_POINT) & (span(keypoints, seen) < LEAST_SPAN_PX),
        OFF: seen.any(axis=1) & ~(seen & is_inside(keypoints, labels.size)).any(axis=1),
        BESIDE: is_beside(keypoints, seen, labels.box),
        ELSEWHERE: is_elsewhere(labels, valid, seen),
    }
    fault = np.zeros(len(joints), np.int8)
    for place in range(len(FAULTS) - 1, 0, -1):
        fault[wrong[FAULTS[place]]] = place
    counts = {FILLER: filler, FAR: far, FILLER_2D: filler_2d}
    singles = {why: int(marked[fault == 0].sum()) for why, marked in counts.items() if marked[fault == 0].any()}
    in_space = wrong[AROUND] | wrong[BEHIND] | wrong[SIZE]
    in_picture = wrong[POINT] | wrong[OFF] | wrong[BESIDE] | wrong[ELSEWHERE]
    known = valid.any(axis=1) | seen.any(axis=1)
    return Found(fault, valid & ~(in_space | in_picture)[:, None], seen & ~in_picture[:, None], singles, ratio, known)


def look_at_bones(length: np.ndarray, valid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """length: (n, 20) m, valid: (n, 21). Returns (n, 21), which joints are far from their neighbours, and (n,), the
    bones of the others / an adult's. Where most joints are far, it is the hand that is too large: none is marked."""
    ends = valid[:, PARENT] & valid[:, CHILD]
    far = is_far(length, ends) & valid
    far &= (2 * far.sum(axis=1) <= valid.sum(axis=1))[:, None]
    return far, size_ratio(length, ends & ~far[:, PARENT] & ~far[:, CHILD])


def is_filler(points: np.ndarray, known: np.ndarray) -> np.ndarray:
    """points: (n, 21, d), known: (n, 21). Returns (n, 21): those that stand for "not known": all 0, or (three or more)
    equal."""
    first = points[..., 0]  # of most hands no two are equal
    same = known[:, None] & (first[:, :, None] == first[:, None])
    equal = same.sum(axis=2) >= SAME_POINT
    if equal.any():
        equal = (same & (points[:, :, None] == points[:, None]).all(axis=3)).sum(axis=2) >= SAME_POINT
    return known & (equal | (points == 0).all(axis=2))


def is_far(length: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """length: (n, 20) m; ends: (n, 20), whether both ends are known. Returns (n, 21): joints all of whose bones are too
    long."""
    bones, short = ends @ IS_END, (ends & ~(length > LONGEST_M)) @ IS_END
    return bones & ~short


def size_ratio(length: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """length: (n, 20) m. Returns (n,): the known bones / those of an adult; NaN: fewer than three are known."""
    usual = np.where(ends, ADULT_MM / 1000, 0).sum(axis=1)
    return np.where(
        ends.sum(axis=1) >= SAME_POINT, np.where(ends, length, 0).sum(axis=1) / np.maximum(usual, 1e-9), np.nan
    )


def is_around(joints: np.ndarray, given: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """(n,): whether the camera's centre is within the hand or at its rim: joints relative to one of them, not to the
    camera. given: (n, 21), valid ones and those at 0 0 0."""
    root = given & (joints == 0).all(axis=2)
    valid = valid | (root & (root.sum(axis=1) < SAME_POINT)[:, None])  # of more, they stand for "not known"
    count = np.maximum(valid.sum(axis=1), 1)
    centre = np.where(valid[..., None], joints, 0).sum(axis=1) / count[:, None]
    reach = np.where(valid, np.linalg.norm(joints - centre[:, None], axis=2), 0).max(axis=1)
    return (valid.sum(axis=1) >= SAME_POINT) & (np.linalg.norm(centre, axis=1) < RIM * reach)


def is_inside(points: np.ndarray, size: np.ndarray) -> np.ndarray:
    """points: (n, k, 2) px, centres at integers; size: (n, 2). Returns (n, k)."""
    return np.all((points >= -0.5) & (points <= size[:, None] - 0.5), axis=2)


def span(points: np.ndarray, known: np.ndarray) -> np.ndarray:
    """(n, k, 2) px -> (n,) px, the larger side of their extent; -inf: none is known."""
    low, high = (np.where(known[..., None], points, empty) for empty in (np.inf, -np.inf))
    return (high.max(axis=1) - low.min(axis=1)).max(axis=1)


def is_beside(points: np.ndarray, known: np.ndarray, box: np.ndarray) -> np.ndarray:
    """(n,): whether none of the known points is in the box, somewhat enlarged. False without a box."""
    room = enlarge(box, BOX_ROOM)
    inside = ((points + 0.5 >= room[:, None, :2]) & (points + 0.5 <= room[:, None, 2:])).all(axis=2)
    return known.any(axis=1) & np.isfinite(box).all(axis=1) & ~(known & inside).any(axis=1)


def is_elsewhere(labels: Labels, valid: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """(n,): whether the joints, projected, lie far from the keypoints. False where those are the projected joints."""
    there = project(labels.joints, labels.camera)
    if labels.projected is not None:
        there = np.where(np.isfinite(labels.projected), labels.projected, there)
    both = valid & seen & ~labels.behind & np.isfinite(there).all(axis=2)
    away = np.linalg.norm(there - labels.keypoints, axis=2)
    limit = np.maximum(FARTHEST * span(labels.keypoints, seen), LEAST_FARTHEST_PX)
    count = both.sum(axis=1)
    return (count >= SAME_POINT) & (2 * (both & (away > limit[:, None])).sum(axis=1) > count)


def spread(joints: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """joints: (n, 21, 3), any unit. Returns (n,): how far the proportions of the bones are from an adult's, as the
    standard deviation of the logarithm of their ratio; NaN: too few bones are known."""
    ends = valid[:, PARENT] & valid[:, CHILD]
    ratio = np.where(ends, np.log(np.maximum(bone_lengths(joints), 1e-6) / ADULT_MM), 0)
    count = np.where(ends.sum(axis=1) >= 15, ends.sum(axis=1), np.nan)
    mean = ratio.sum(axis=1) / count
    return np.sqrt(np.where(ends, (ratio - mean[:, None]) ** 2, 0).sum(axis=1) / count)


def find_order(joints: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """(n,): the place in ORDERS of the foreign order that the joints are in; -1: none, or the standard order."""
    order, own = np.full(len(joints), -1), spread(joints, valid)
    rows = np.flatnonzero(own > UNLIKE)
    if len(rows):
        fits = [spread(joints[rows][:, list(of)], valid[rows][:, list(of)]) for of in ORDERS.values()]
        fit = np.nan_to_num(np.array(fits), nan=np.inf)
        order[rows] = np.where(fit.min(axis=0) < LIKE, fit.argmin(axis=0), -1)
    return order
