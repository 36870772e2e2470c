"""The colour of each point of the surface: paler palms, redder knuckles and fingertips, creases, nails; and of sleeves and things."""

from dataclasses import dataclass

import numpy as np

from handtool.synth.anatomy import Subject
from handtool.synth.flesh import ARM, DISTAL, MIDDLE, PALM, PROXIMAL, SLEEVE, Cones

GRAIN = 128  # side of the repeating skin pattern
GRAIN_M = 0.0007  # metres per texel


@dataclass(frozen=True)
class Cloth:
    """Colours linear 0..1; a stripe every `period` metres along the cone (0: none)."""

    colour: np.ndarray
    stripe: np.ndarray
    period: float
    shine: float


def make_grain(rng: np.random.Generator) -> np.ndarray:
    """(GRAIN, GRAIN) float32, mean 0, standard deviation 1: blotches and fine grain, tiling without a seam."""
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(GRAIN), np.fft.fftfreq(GRAIN)))
    amplitude = 1 / (0.02 + frequency) ** 1.2 + 12 * np.exp(-(((frequency - 0.3) / 0.1) ** 2))
    amplitude[0, 0] = 0
    field = np.fft.ifft2(np.fft.fft2(rng.normal(size=(GRAIN, GRAIN))) * amplitude).real
    return (field / field.std()).astype(np.float32)


def smooth_step(x: np.ndarray, low: float, high: float) -> np.ndarray:
    s = np.clip((x - low) / (high - low), 0, 1)
    return s * s * (3 - 2 * s)


def bell(x: np.ndarray, width: float) -> np.ndarray:
    return np.exp(-((x / width) ** 2))


def local_coordinates(cones: Cones, cone: np.ndarray, point: np.ndarray, normal: np.ndarray) -> tuple[np.ndarray, ...]:
    """point, normal (3, n) -> along the bone (m from its first joint), sideways (m), and how dorsal the normal is (-1 palm .. 1 back)."""
    frame = cones.frame.astype(np.float32)
    origin = cones.origin.astype(np.float32)
    offset = [point[i] - origin[:, i][cone] for i in range(3)]
    along = sum(offset[i] * frame[:, i, 0][cone] for i in range(3))
    sideways = sum(offset[i] * frame[:, i, 1][cone] for i in range(3))
    return along, sideways, sum(normal[i] * frame[:, i, 2][cone] for i in range(3))


def paint(cones: Cones, subject: Subject, grain: np.ndarray, cloths: dict, hand_turn, wrist, cone, point, normal) -> tuple:
    """cone (n,), point and normal (3, n) in the camera frame; hand_turn (3, 3), wrist (3,).

    Returns albedo (3, n) linear, shine (n,), skin (n,) bool.

    `cloths`: group of the cones -> Cloth, for everything that is not skin.
    """
    along, sideways, dorsal = local_coordinates(cones, cone, point, normal)
    kind = cones.kind[cone]
    texel = (along / GRAIN_M).astype(np.int32) + 37 * cone, (sideways / GRAIN_M + 9 * dorsal).astype(np.int32)
    pattern = grain[texel[0] & (GRAIN - 1), texel[1] & (GRAIN - 1)]
    in_hand = hand_turn.T.astype(np.float32) @ (point - wrist.astype(np.float32)[:, None])
    palmar = smooth_step(-dorsal, -0.15, 0.45)
    palmar *= np.where((kind == ARM) | (kind == PALM), 0.3 + 0.7 * smooth_step(in_hand[0], -0.018, 0.012), 1)
    albedo = (subject.back[:, None] + (subject.palm - subject.back)[:, None] * palmar).astype(np.float32)
    dark, red = wrinkles(cones, cone, kind, along, in_hand, dorsal, palmar)
    shade = (1 - subject.wrinkles * dark) * (1 + 0.045 * pattern)
    red = red + 0.05 * pattern
    albedo *= shade * np.stack([1 + 0.12 * red, 1 - 0.20 * red, 1 - 0.16 * red]).astype(np.float32)
    shine = np.full(len(cone), subject.shine, np.float32)
    add_nails(cones, subject, cone, kind, along, sideways, dorsal, albedo, shine)
    dress(cones, cloths, cone, along, pattern, albedo, shine)
    return albedo, shine, kind < SLEEVE


def wrinkles(cones: Cones, cone, kind, along, in_hand, dorsal, palmar) -> tuple[np.ndarray, np.ndarray]:
    """How much darker (0..1) and how much redder the skin is: flexion creases, knuckles, the lines of the palm, fingertips."""
    bone = np.maximum(cones.bone[cone], 1e-3).astype(np.float32)
    to_joint = np.where(kind == PROXIMAL, along - bone, along)  # signed distance to the joint in the middle of the finger or its last one
    jointed = (kind == PROXIMAL) | (kind == MIDDLE) | (kind == DISTAL)
    crease = bell(to_joint, 0.0007) + 0.6 * bell(np.abs(to_joint) - 0.0021, 0.0006)
    crease = (
        crease + np.where(kind == MIDDLE, bell(along - bone, 0.0007), 0) + np.where(kind == PROXIMAL, bell(along - 0.5 * bone, 0.0008), 0)
    )
    folds = bell(to_joint, 0.0042) * (0.5 + 0.5 * np.cos(to_joint * (2 * np.pi / 0.0019)))
    dark = np.where(jointed, 0.34 * crease * palmar + 0.26 * folds * smooth_step(dorsal, 0.25, 0.7), 0)
    red = np.where(jointed, 0.8 * bell(to_joint, 0.006) * smooth_step(dorsal, 0.1, 0.7), 0)
    red = red + np.where(kind == DISTAL, 0.9 * palmar * smooth_step(along, 0.3 * bone, bone), 0)
    on_palm = (kind == PALM) | ((kind == PROXIMAL) & (along < 0.3 * bone))
    dark = dark + np.where(on_palm, 0.36 * palm_lines(in_hand) * smooth_step(palmar, 0.5, 0.95), 0)
    return dark, red + np.where(on_palm, 0.25 * palmar, 0)


def palm_lines(in_hand: np.ndarray) -> np.ndarray:
    """(3, n) m in the hand's frame -> 0..1 on the three great creases: around the thumb's ball, across the palm, below the fingers."""
    x, y = in_hand[0] * 1000, in_hand[1] * 1000
    thumb = bell(np.hypot(x - 32, y - 34) - 35, 0.9) * (y < 30) * (x < 70)
    middle = bell(x - 62 - 0.34 * (y - 4) + 0.006 * (y - 10) ** 2, 0.9) * (y < 27) * (y > -26)
    below = bell(x - 69 - 0.30 * y + 0.0016 * (y + 6) ** 2, 0.9) * (y < 11) * (y > -40)
    wrist = bell(x + 4, 0.8) + 0.6 * bell(x + 8, 0.7)
    return np.clip(thumb + middle + below + 0.8 * wrist, 0, 1)


def add_nails(cones: Cones, subject: Subject, cone, kind, along, sideways, dorsal, albedo, shine) -> None:
    """A rounded plate on the back of each last phalanx, with a pale moon and a dark rim; changes albedo and shine in place."""
    near = np.flatnonzero((kind == DISTAL) & (dorsal > 0.2))
    if len(near) == 0:
        return
    radius = subject.radii[cones.finger[cone[near]], 3].astype(np.float32)
    length = cones.bone[cone[near]].astype(np.float32) + radius
    u = (along[near] - (length - 1.05 * radius)) / (1.05 * radius)
    v = sideways[near] / (0.86 * radius)
    edge = 1 - (u**4 + v**4)
    plate = smooth_step(edge, 0.0, 0.30) * smooth_step(dorsal[near], 0.2, 0.4)
    rim = bell(edge, 0.22) * smooth_step(dorsal[near], 0.2, 0.4)
    tint = subject.nail[:, None] * (1 + 0.25 * smooth_step(-u, 0.45, 0.8) + 0.35 * smooth_step(u, 0.72, 0.9))
    albedo[:, near] = (albedo[:, near] * (1 - plate) + tint * plate) * (1 - 0.35 * rim * (1 - plate))
    shine[near] += 0.22 * plate


def dress(cones: Cones, cloths: dict, cone, along, pattern, albedo, shine) -> None:
    """Sleeves and things take the colours of their cloth, in place."""
    group = cones.group[cone]
    for number, cloth in cloths.items():
        here = np.flatnonzero(group == number)
        if len(here) == 0:
            continue
        stripes = 0.0
        if cloth.period:
            stripes = smooth_step(np.abs((along[here] / cloth.period) % 1.0 - 0.5), 0.22, 0.28)
        colour = cloth.colour[:, None] + (cloth.stripe - cloth.colour)[:, None] * stripes
        albedo[:, here] = colour * (1 + 0.08 * pattern[here])
        shine[here] = cloth.shine


def draw_cloth(rng: np.random.Generator, shiny: bool) -> Cloth:
    colour = rng.uniform(0.05, 0.95, 3) ** 2
    stripe = rng.uniform(0.05, 0.95, 3) ** 2
    period = float(rng.choice([0.0, 0.0, 0.012, 0.022, 0.04]))
    return Cloth(colour, stripe, period, float(rng.uniform(0.1, 0.5)) if shiny else 0.0)
