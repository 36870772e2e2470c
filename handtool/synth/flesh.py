"""The hand's volume: round cones around the bones (two spheres and the cone that touches both), in groups that melt.

Within a group the surfaces melt (a finger's phalanges; the palm with the roots of the fingers); groups only touch, so
that adjacent fingers stay separate.
"""

from dataclasses import dataclass, fields, replace

import numpy as np

from handtool.synth.anatomy import Subject

PALM, PROXIMAL, MIDDLE, DISTAL, ARM, SLEEVE, RING, THING = range(8)  # what a cone is made of
PALM_GROUP, FIRST_FINGER, SLEEVE_GROUP, RING_GROUP, THING_GROUP = 0, 1, 6, 7, 8
BLEND_M = {PALM_GROUP: 0.0034, SLEEVE_GROUP: 0.004, RING_GROUP: 0.0004, THING_GROUP: 0.001}  # width of the melting zone
FINGER_BLEND_M = 0.0014


@dataclass
class Cones:
    """P round cones in one frame of reference, sorted by group; F moments, or one (without the first axis). Metres."""

    a: np.ndarray  # (F, P, 3) centre of the first sphere
    b: np.ndarray  # (F, P, 3)
    frame: np.ndarray  # (F, P, 3, 3) columns: along, towards the thumb, dorsal (for the skin's pattern)
    origin: np.ndarray  # (F, P, 3) where the skin's pattern starts: the joint at which the bone begins
    radius_a: np.ndarray  # (P,)
    radius_b: np.ndarray  # (P,)
    bone: np.ndarray  # (P,) length of the bone
    group: np.ndarray  # (P,) int
    kind: np.ndarray  # (P,) int
    finger: np.ndarray  # (P,) int, 0 thumb .. 4 little, -1 none
    blend: np.ndarray  # (P,) width of the melting zone

    def at(self, moment: int) -> "Cones":
        return replace(self, **{name: getattr(self, name)[moment] for name in MOVING})

    def some(self, which: slice) -> "Cones":
        """Of one moment, some cones."""
        return Cones(**{each.name: getattr(self, each.name)[which] for each in fields(self)})

    def placed(self, turn: np.ndarray, shift: np.ndarray) -> "Cones":
        """One moment in another frame: x' = turn x + shift. A `turn` that mirrors makes a right hand a left one."""
        points = {name: getattr(self, name) @ turn.T + shift for name in ("a", "b", "origin")}
        return replace(self, frame=turn @ self.frame, **points)


MOVING = ("a", "b", "frame", "origin")
FOREARM_M = 0.26  # wrist to elbow


@dataclass(frozen=True)
class Dress:
    """What a hand wears. sleeve: m from wrist to hem, None: no. rings: (finger, place along the bone 0..1)."""

    sleeve: float | None = None
    rings: tuple[tuple[int, float], ...] = ()


class Builder:
    """Collects cones of F moments; `finish` sorts them by group."""

    def __init__(self) -> None:
        self.rows: list[dict] = []

    def add(self, kind, group, a, b, radius_a, radius_b, frame, finger=-1, origin=None, bone=0.0) -> None:
        """a, b, origin: (F, 3); frame: (F, 3, 3) or (3, 3)."""
        blend = BLEND_M.get(group, BLEND_M[THING_GROUP] if group > THING_GROUP else FINGER_BLEND_M)
        a, b = np.broadcast_arrays(a, b)
        frame = np.broadcast_to(frame, (*a.shape, 3))
        values = a, b, frame, a if origin is None else origin, radius_a, radius_b, bone, group, kind, finger, blend
        self.rows.append(dict(zip((f.name for f in fields(Cones)), values, strict=True)))

    def finish(self) -> Cones:
        self.rows.sort(key=lambda row: row["group"])
        columns = {name: [row[name] for row in self.rows] for name in self.rows[0]}
        return Cones(
            **{name: np.stack(values, 1) if name in MOVING else np.array(values) for name, values in columns.items()}
        )


def build_hand(
    subject: Subject,
    joints: np.ndarray,
    frames: np.ndarray,
    forearm: np.ndarray,
    dress: Dress = Dress(),
    arm: np.ndarray | float = FOREARM_M,
) -> Cones:
    """joints (F, 21, 3) m, bone frames (F, 20, 3, 3), forearm (F, 3, 3), all in the hand's frame. arm: (F,) m from the
    wrist to its end."""
    cones = Builder()
    for finger in range(5):
        add_finger(cones, subject, finger, joints, frames)
    for finger, place in dress.rings:
        add_ring(cones, subject, finger, place, joints, frames)
    add_palm(cones, subject, joints, frames)
    add_forearm(cones, subject, forearm, dress.sleeve, np.broadcast_to(arm, len(joints)))
    return cones.finish()


def add_finger(cones: Builder, subject: Subject, finger: int, joints: np.ndarray, frames: np.ndarray) -> None:
    """Phalanges from the first joint to the tip. The tip's joint lies on the skin; the root is also palm."""
    first = 4 * finger + 1
    radius = subject.radii[finger]
    kinds = (PALM, PROXIMAL, DISTAL) if finger == 0 else (PROXIMAL, MIDDLE, DISTAL)
    group = FIRST_FINGER + finger
    skip = int(finger == 0)  # the thumb's metacarpal is part of the palm
    for i in range(skip, 3):
        a, b = joints[:, first + i], joints[:, first + i + 1]
        frame = frames[:, first + i]
        skin = {"finger": finger, "origin": a, "bone": subject.bones[finger, i]}
        if i == 2:
            along, back = frame[..., 0], frame[..., 2]
            b = b - along * radius[3]
            pulp = a + 0.52 * (b - a) - back * 0.16 * radius[3]
            cones.add(kinds[i], group, pulp, b - back * 0.04 * radius[3], radius[3], radius[3] * 0.9, frame, **skin)
        cones.add(kinds[i], group, a, b, radius[i] * 0.95, radius[i + 1] * (0.95 if i < 2 else 1.0), frame, **skin)
    start, end = joints[:, first + skip], joints[:, first + skip + 1]
    low, high = radius[skip], radius[skip + 1]
    root = low * 0.93, low + 0.55 * (high - low) - 0.0012
    piece = start, start + 0.55 * (end - start), *root, frames[:, first + skip]
    cones.add(PROXIMAL, PALM_GROUP, *piece, finger, start, subject.bones[finger, skip])


def add_ring(
    cones: Builder, subject: Subject, finger: int, place: float, joints: np.ndarray, frames: np.ndarray
) -> None:
    """A ball just thicker than the phalanx nearest to the palm: what stands out of the skin is a band."""
    bone = int(finger == 0)  # the thumb's first bone lies in the palm
    first = 4 * finger + 1 + bone
    a, b = joints[:, first], joints[:, first + 1]
    radius = 0.95 * (subject.radii[finger, bone] * (1 - place) + subject.radii[finger, bone + 1] * place) + 0.0006
    centre = a + place * (b - a)
    frame = frames[:, first]
    cones.add(RING, RING_GROUP, centre, centre + 1e-4 * frame[..., 0], radius, radius, frame, finger)


def add_palm(cones: Builder, subject: Subject, joints: np.ndarray, frames: np.ndarray) -> None:
    """Metacarpals with their pads, the balls of thumb and little finger, and the webs between the fingers."""
    t, s = subject.flesh, np.linalg.norm(subject.roots[2]) / 0.087
    for finger in range(1, 5):
        knuckle, frame = joints[:, 4 * finger + 1], frames[:, 4 * finger]
        start = knuckle * [0.10, 0.42, 0.0] + [0.0, 0.0, -0.002]
        end = knuckle - 0.0025 * t * frame[..., 2] - 0.002 * frame[..., 0]
        cones.add(PALM, PALM_GROUP, start, end, 0.0125 * t, (0.0098, 0.0101, 0.0096, 0.0092)[finger - 1] * t, frame)
    base, thumb, index, little = (joints[:, i] for i in (1, 2, 5, 17))
    cones.add(PALM, PALM_GROUP, base * 0.85, thumb, 0.0135 * t, 0.0098 * t, frames[:, 1])
    ball = base + 0.40 * (thumb - base) + np.array([0.0, -0.004, -0.004]) * s
    cones.add(PALM, PALM_GROUP, np.array([0.016, 0.010, -0.008]) * s, ball, 0.0125 * t, 0.0128 * t, frames[:, 1])
    web = base + 0.72 * (thumb - base)
    cones.add(PALM, PALM_GROUP, web, index * [0.66, 0.85, 0.0] + [0.0, 0.0, -0.005], 0.0062 * t, 0.0075 * t, np.eye(3))
    heel = little * [0.72, 1.02, 1.0] + [0.0, 0.0, -0.006]
    cones.add(PALM, PALM_GROUP, np.array([0.010, -0.016, -0.007]) * s, heel, 0.0125 * t, 0.0098 * t, frames[:, 16])
    for i, j in ((5, 9), (9, 13), (13, 17)):
        left = joints[:, i] + 0.26 * (joints[:, i + 1] - joints[:, i]) - 0.0015 * frames[:, i][..., 2]
        right = joints[:, j] + 0.26 * (joints[:, j + 1] - joints[:, j]) - 0.0015 * frames[:, j][..., 2]
        cones.add(PALM, PALM_GROUP, left, right, 0.0052 * t, 0.0050 * t, frames[:, i - 1])


def add_forearm(cones: Builder, subject: Subject, forearm: np.ndarray, sleeve: float | None, arm: np.ndarray) -> None:
    """Radius and ulna side by side; a sleeve is a wider pair from `sleeve` metres behind the wrist on. Beyond the elbow
    it goes on straight."""
    t, away, across = subject.flesh, -forearm[..., 0], forearm[..., 1]
    elbow = np.minimum(arm, FOREARM_M)[:, None] * away
    for side in (1, -1):
        start = 0.0105 * side * t * across + 0.004 * away
        end = elbow + 0.016 * side * t * across
        cones.add(ARM, PALM_GROUP, start, end, 0.0155 * t, 0.031 * t, forearm)
        beyond = np.maximum(arm - FOREARM_M, 0)[:, None] * away
        if beyond.any():
            cones.add(ARM, PALM_GROUP, end, end + beyond, 0.031 * t, 0.042 * t, forearm)
        if sleeve is not None:
            cones.add(SLEEVE, SLEEVE_GROUP, start + sleeve * away, end, 0.0215 * t + 0.06 * sleeve, 0.040 * t, forearm)
            if beyond.any():
                cones.add(SLEEVE, SLEEVE_GROUP, end, end + beyond, 0.040 * t, 0.052 * t, forearm)
