"""One person's hand: bone lengths, thickness, colours and the limits of the joints.

The hand's own frame, of a right hand: origin at the wrist, x towards the fingers, y towards the thumb (radial), z out
of the back (dorsal).
"""

from dataclasses import dataclass

import numpy as np

# A pose is 24 angles in radians: thumb (radial abduction, palmar abduction, MCP, IP), then for each finger (MCP
# flexion, abduction towards the thumb, PIP, DIP), then how far the thumb is turned to face the fingers, the cupping of
# the palm, wrist flexion and deviation.
PRONATION, CUPPING, WRIST_FLEXION, WRIST_DEVIATION = 20, 21, 22, 23
NUM_ANGLES = 24

LOWER_DEG = np.array([-15, -8, -10, -20] + [-20, -20, -5, -8] * 4 + [0, 0, -60, -20], float)
UPPER_DEG = np.array([65, 62, 60, 80] + [92, 20, 112, 82] * 4 + [80, 20, 60, 30], float)
LOWER, UPPER = np.radians(LOWER_DEG), np.radians(UPPER_DEG)

# Medians of adult hands in labelled photographs, mm: where each chain leaves the palm, then its three bones.
ROOT_MM = np.array([[22, 21, -9], [85, 24, 2], [87, 3, 4], [80, -16, 1], [73, -33, -5]], float)
BONE_MM = np.array([[40, 33, 27], [41, 24.5, 23], [46, 28, 23.5], [43, 27, 22.5], [32, 20, 19]], float)
RADIUS_MM = np.array(  # flesh around the chain's first joint, its second, its third, its tip
    [[13.0, 10.6, 9.6, 7.8], [9.6, 8.5, 7.4, 6.3], [9.8, 8.7, 7.6, 6.5], [9.3, 8.2, 7.2, 6.1], [8.2, 7.1, 6.3, 5.4]]
)
YAW = np.radians([0.0, 4.0, 0.5, -4.0, -9.0])  # how the fingers fan out at rest, and how their planes of flexion
ROLL = np.radians([0.0, -7.0, -1.0, 6.0, 13.0])  # meet over the scaphoid bone when they bend
CUP_SHARE = np.array([0.0, 0.0, 0.0, 0.5, 1.0])  # only the ring and little metacarpals move

# Backs of hands from light to dark, sRGB 0-255.
TONES = np.array(
    [[241, 205, 180], [228, 184, 152], [209, 160, 125], [184, 133, 98], [150, 103, 74], [115, 76, 54], [82, 54, 41]],
    float,
)


@dataclass(frozen=True)
class Subject:
    """Lengths in metres; colours linear RGB in 0..1."""

    name: str
    roots: np.ndarray  # (5, 3) first joint of each chain in the hand's frame (thumb CMC, finger MCP)
    bones: np.ndarray  # (5, 3) lengths of the bones that follow
    radii: np.ndarray  # (5, 4) flesh around each chain's joints
    yaw: np.ndarray  # (5,) radians
    flesh: float  # thickness of palm and arm, 1 = average
    back: np.ndarray  # (3,) colour of the back of the hand
    palm: np.ndarray  # (3,) colour of the palm
    nail: np.ndarray  # (3,) colour of the nails
    shine: float  # strength of the highlight
    wrinkles: float  # depth of creases
    mottle: int  # seed of the skin's pattern


def to_linear(srgb: np.ndarray) -> np.ndarray:
    """Pixel values 0..255 to light 0..1. A square for the 2.2 of sRGB, so that the way back is a root."""
    return (np.asarray(srgb, float) / 255.0) ** 2


def draw_colours(rng: np.random.Generator) -> dict:
    """Skin on the ramp of tones with a shift in redness; palms are paler, the more so on dark skin."""
    tone = rng.uniform(0.0, len(TONES) - 1.001)
    low = int(tone)
    back = TONES[low] + (tone - low) * (TONES[low + 1] - TONES[low])
    back = np.clip(back + rng.normal(0, 5) * np.array([1.0, 0.0, -0.6]) + rng.normal(0, 4), 20, 250)
    pale = np.array([232, 178, 150], float)
    palm = back + (pale - back) * (0.35 + 0.06 * tone)
    nail = palm + (np.array([240, 190, 180], float) - palm) * 0.35
    if rng.random() < 0.15:  # varnish
        nail = rng.uniform(30, 230, 3)
    return {"back": to_linear(back), "palm": to_linear(palm), "nail": to_linear(nail)}


def draw_subject(rng: np.random.Generator, name: str) -> Subject:
    """A person: hand size, finger proportions and thickness vary as among adults (s.d. 7, 4 and 8 %)."""
    size = np.clip(rng.normal(1.0, 0.07), 0.82, 1.18)
    fingers = size * np.clip(rng.normal(1.0, 0.04, 5), 0.9, 1.1)
    thick = size * np.clip(rng.normal(1.0, 0.08), 0.85, 1.2)
    bones = BONE_MM * fingers[:, None] * np.clip(rng.normal(1.0, 0.03, (5, 3)), 0.93, 1.07)
    broad = np.clip(rng.normal(1.0, 0.04), 0.92, 1.08)
    roots = ROOT_MM * size * np.array([1.0, broad, 1.0])
    return Subject(
        name=name,
        roots=roots / 1000,
        bones=bones / 1000,
        radii=RADIUS_MM * thick * np.clip(rng.normal(1.0, 0.025, (5, 1)), 0.95, 1.05) / 1000,
        yaw=YAW + np.radians(rng.normal(0, 1.5, 5)),
        flesh=float(thick),
        shine=float(rng.uniform(0.03, 0.14)),
        wrinkles=float(rng.uniform(0.5, 1.2)),
        mottle=int(rng.integers(2**31)),
        **draw_colours(rng),
    )
