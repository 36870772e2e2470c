"""The colour of each point of the surface: paler palms, redder knuckles and fingertips, creases, nails.

Written in what numpy and torch share: `xp` is either module, and every array is one of its own.
"""

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from handtool.synth.anatomy import Subject
from handtool.synth.cloth import Cloth, Glove, dress, wear_glove
from handtool.synth.flesh import ARM, DISTAL, MIDDLE, PALM, PROXIMAL, SLEEVE, Cones

GRAIN = 128  # side of the repeating skin pattern
GRAIN_M = 0.0007  # metres per texel


@dataclass(frozen=True)
class Look:
    """What the colour of a point depends on, by its cone: P cones of one hand and what it holds. float32."""

    frame: Any  # (3, 3, P)
    origin: Any  # (3, P)
    bone: Any  # (P,)
    group: Any  # (P,) int
    kind: Any  # (P,) int
    patch: Any  # (P,) int, where in the skin's pattern a cone begins
    tip: Any  # (P,) flesh around the tip of the cone's finger
    back: Any  # (3, 1) colours
    palm: Any
    nail: Any
    grain: Any  # (GRAIN, GRAIN)
    shine: float
    wrinkles: float
    cloths: dict[int, Cloth]
    glove: Glove | None

    def convert(self, change) -> "Look":
        """With `change` done to every array: what takes it to another device."""
        return replace(self, **{f.name: change(getattr(self, f.name)) for f in fields(self)[:11]})


def look_of(subject: Subject, cones: Cones, grain: np.ndarray, cloths: dict[int, Cloth], glove: Glove | None) -> Look:
    """cones: one moment, in the camera's frame."""
    back, palm, nail = (np.asarray(c, np.float32)[:, None] for c in (subject.back, subject.palm, subject.nail))
    frame, origin, bone = (
        np.ascontiguousarray(np.moveaxis(a, 0, -1), np.float32) for a in (cones.frame, cones.origin, cones.bone)
    )
    tip = subject.radii[cones.finger, 3].astype(np.float32)
    patch = 37 * np.arange(len(cones.group))
    arrays = (frame, origin, bone, cones.group, cones.kind, patch, tip, back, palm, nail, grain)
    return Look(*arrays, shine=subject.shine, wrinkles=subject.wrinkles, cloths=cloths, glove=glove)


def make_grain(rng: np.random.Generator) -> np.ndarray:
    """(GRAIN, GRAIN) float32, mean 0, standard deviation 1: blotches and fine grain, tiling without a seam."""
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(GRAIN), np.fft.fftfreq(GRAIN)))
    amplitude = 1 / (0.02 + frequency) ** 1.2 + 12 * np.exp(-(((frequency - 0.3) / 0.1) ** 2))
    amplitude[0, 0] = 0
    field = np.fft.ifft2(np.fft.fft2(rng.normal(size=(GRAIN, GRAIN))) * amplitude).real
    return (field / field.std()).astype(np.float32)


def smooth_step(xp, x, low: float, high: float):
    s = xp.clip((x - low) * (1 / (high - low)), 0, 1)
    return s * s * (3 - 2 * s)


def bell(xp, x, width: float):
    x = x * (1 / width)
    return xp.exp(-(x * x))


def whole(xp, x):
    """Rounded towards zero, to index with."""
    return x.astype(np.int32) if xp is np else x.to(xp.int64)


def paint(xp, look: Look, cone, point, normal, in_hand) -> tuple:
    """cone (n,) int; point, normal (3, n) in the camera's frame; in_hand (3, n), the points in the hand's frame, m.

    Returns albedo (3, n) linear, shine (n,), skin (n,) bool.
    """
    kind = look.kind[cone]
    x, y, z = (point[i] - look.origin[i][cone] for i in range(3))
    axis, across, back = ([look.frame[i, j][cone] for i in range(3)] for j in range(3))
    along = x * axis[0] + y * axis[1] + z * axis[2]  # m from the bone's first joint
    sideways = x * across[0] + y * across[1] + z * across[2]
    dorsal = normal[0] * back[0] + normal[1] * back[1] + normal[2] * back[2]  # -1 palm .. 1 back
    texel = whole(xp, along * (1 / GRAIN_M)) + look.patch[cone], whole(xp, sideways * (1 / GRAIN_M) + 9 * dorsal)
    pattern = look.grain[texel[0] & (GRAIN - 1), texel[1] & (GRAIN - 1)]
    palmar = smooth_step(xp, -dorsal, -0.15, 0.45)
    broad = (kind == ARM) | (kind == PALM)
    palmar = palmar * (1 - broad * (0.7 - 0.7 * smooth_step(xp, in_hand[0], -0.018, 0.012)))
    dark, red = wrinkles(xp, look.bone[cone], kind, along, in_hand, dorsal, palmar)
    shade = (1 - look.wrinkles * dark) * (1 + 0.045 * pattern)
    red = red + 0.05 * pattern
    tint = xp.stack([1 + 0.12 * red, 1 - 0.20 * red, 1 - 0.16 * red])
    albedo = (look.back + (look.palm - look.back) * palmar) * shade * tint
    shine = look.shine + 0 * shade
    add_nails(xp, look, cone, kind, along, sideways, dorsal, albedo, shine)
    skin = kind < SLEEVE
    if look.glove is not None:
        skin = skin & ~wear_glove(xp, look.glove, kind, in_hand, palmar, dark, pattern, albedo, shine)
    dress(xp, look.cloths, look.group[cone], along, pattern, albedo, shine)
    return albedo, shine, skin


def wrinkles(xp, bone, kind, along, in_hand, dorsal, palmar) -> tuple:
    """How much darker (0..1) and how much redder the skin is: creases, knuckles, lines of the palm, fingertips."""
    bone = xp.clip(bone, 1e-3, None)
    proximal, middle, distal = kind == PROXIMAL, kind == MIDDLE, kind == DISTAL
    jointed = proximal | middle | distal
    to_joint = along - proximal * bone  # signed distance to the joint in the middle of the finger or its last one
    crease = bell(xp, to_joint, 0.0007) + 0.6 * bell(xp, abs(to_joint) - 0.0021, 0.0006)
    crease = crease + middle * bell(xp, along - bone, 0.0007) + proximal * bell(xp, along - 0.5 * bone, 0.0008)
    folds = bell(xp, to_joint, 0.0042) * (0.5 + 0.5 * xp.cos(to_joint * (2 * np.pi / 0.0019)))
    dark = jointed * (0.34 * crease * palmar + 0.26 * folds * smooth_step(xp, dorsal, 0.25, 0.7))
    red = jointed * (0.8 * bell(xp, to_joint, 0.006) * smooth_step(xp, dorsal, 0.1, 0.7))
    red = red + distal * (0.9 * palmar * smooth_step(xp, along * (1 / bone), 0.3, 1.0))
    on_palm = xp.where((kind == PALM) | (proximal & (along < 0.3 * bone)))[0]
    if len(on_palm):
        palmar = palmar[on_palm]
        dark[on_palm] += 0.36 * palm_lines(xp, in_hand[:, on_palm]) * smooth_step(xp, palmar, 0.5, 0.95)
        red[on_palm] += 0.25 * palmar
    return dark, red


def palm_lines(xp, in_hand):
    """(3, n) m in the hand's frame -> 0..1 on the three great creases: around the thumb's ball, across the palm, below
    the fingers."""
    x, y = in_hand[0] * 1000, in_hand[1] * 1000
    thumb = bell(xp, xp.hypot(x - 32, y - 34) - 35, 0.9) * ((y < 30) & (x < 70))
    middle = bell(xp, x - 62 - 0.34 * (y - 4) + 0.006 * (y - 10) ** 2, 0.9) * ((y < 27) & (y > -26))
    below = bell(xp, x - 69 - 0.30 * y + 0.0016 * (y + 6) ** 2, 0.9) * ((y < 11) & (y > -40))
    wrist = bell(xp, x + 4, 0.8) + 0.6 * bell(xp, x + 8, 0.7)
    return xp.clip(thumb + middle + below + 0.8 * wrist, 0, 1)


def add_nails(xp, look: Look, cone, kind, along, sideways, dorsal, albedo, shine) -> None:
    """A rounded plate on the back of each last phalanx, with a pale moon and a dark rim; in place."""
    near = xp.where((kind == DISTAL) & (dorsal > 0.2))[0]
    if len(near) == 0:
        return
    radius, dorsal = look.tip[cone[near]], dorsal[near]
    length = look.bone[cone[near]] + radius
    u = (along[near] - (length - 1.05 * radius)) / (1.05 * radius)
    v = sideways[near] / (0.86 * radius)
    edge = 1 - (u**4 + v**4)
    lifted = smooth_step(xp, dorsal, 0.2, 0.4)
    plate, rim = smooth_step(xp, edge, 0.0, 0.30) * lifted, bell(xp, edge, 0.22) * lifted
    tint = look.nail * (1 + 0.25 * smooth_step(xp, -u, 0.45, 0.8) + 0.35 * smooth_step(xp, u, 0.72, 0.9))
    albedo[:, near] = (albedo[:, near] * (1 - plate) + tint * plate) * (1 - 0.35 * rim * (1 - plate))
    shine[near] += 0.22 * plate
