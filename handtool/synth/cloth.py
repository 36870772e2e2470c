"""Surfaces other than skin: sleeves, rings, things held, and gloves. `xp`: numpy or torch; colours: linear RGB."""

from dataclasses import dataclass

import numpy as np

from handtool.synth.flesh import ARM, DISTAL, MIDDLE


@dataclass(frozen=True)
class Cloth:
    """A stripe every `period` metres along the cone (0: none)."""

    colour: tuple[float, float, float]
    stripe: tuple[float, float, float]
    period: float
    shine: float


@dataclass(frozen=True)
class Glove:
    """cuff: m up the arm from the wrist. knit: how strong its weave shows. bare: the two last phalanges are."""

    back: tuple[float, float, float]
    palm: tuple[float, float, float]
    cuff: float
    shine: float
    knit: float
    bare: bool


def draw_light_colour(rng: np.random.Generator) -> tuple[float, float, float]:
    return tuple((rng.uniform(0.05, 0.95, 3) ** 2).tolist())


def draw_cloth(rng: np.random.Generator, shiny: bool) -> Cloth:
    colour, stripe = draw_light_colour(rng), draw_light_colour(rng)
    period = float(rng.choice([0.0, 0.0, 0.012, 0.022, 0.04]))
    return Cloth(colour, stripe, period, float(rng.uniform(0.1, 0.5)) if shiny else 0.0)


def draw_metal(rng: np.random.Generator) -> Cloth:
    """Gold, silver, copper or steel."""
    metals = ((0.80, 0.52, 0.18), (0.75, 0.75, 0.72), (0.72, 0.38, 0.22), (0.40, 0.41, 0.44))
    colour = metals[rng.integers(len(metals))]
    return Cloth(colour, colour, 0.0, 0.9)


def draw_glove(rng: np.random.Generator) -> Glove:
    """Of rubber, of wool, or a work glove with a coated palm."""
    kind = rng.integers(3)
    back, cuff = draw_light_colour(rng), float(rng.uniform(0.0, 0.07))
    if kind == 0:
        rubber = ((0.05, 0.16, 0.55), (0.75, 0.75, 0.72), (0.02, 0.02, 0.02), (0.55, 0.25, 0.35))[rng.integers(4)]
        return Glove(rubber, rubber, cuff, 0.3, 0.0, False)
    if kind == 1:
        return Glove(back, back, cuff, 0.0, 0.16, bool(rng.random() < 0.4))
    return Glove(back, draw_light_colour(rng), cuff, 0.06, 0.10, False)


def column(xp, colour: tuple, like):
    """(3, 1), of the kind and in the place of `like`."""
    return (
        np.array(colour, np.float32)[:, None]
        if xp is np
        else xp.tensor(colour, dtype=like.dtype, device=like.device)[:, None]
    )


def wear_glove(xp, glove: Glove, kind, in_hand, palmar, dark, pattern, albedo, shine):
    """Covers the hand up to the cuff, in place. Returns (n,) bool: where."""
    covered = (kind < ARM) | ((kind == ARM) & (in_hand[0] > -glove.cuff))
    if glove.bare:
        covered = covered & (kind != MIDDLE) & (kind != DISTAL)
    here = xp.where(covered)[0]
    palm, back = column(xp, glove.palm, albedo), column(xp, glove.back, albedo)
    weave = (1 + glove.knit * pattern[here]) * (1 - 0.6 * dark[here])
    albedo[:, here] = (back + (palm - back) * palmar[here]) * weave
    shine[here] = glove.shine
    return covered


def dress(xp, cloths: dict[int, Cloth], group, along, pattern, albedo, shine) -> None:
    """Sleeves, rings and things take the colours of their cloth, in place."""
    for number, cloth in cloths.items():
        here = xp.where(group == number)[0]
        if len(here) == 0:
            continue
        colour = column(xp, cloth.colour, albedo)
        if cloth.period:
            wave = abs((along[here] * (1 / cloth.period)) % 1.0 - 0.5)
            colour = colour + (column(xp, cloth.stripe, albedo) - colour) * xp.clip((wave - 0.22) * (1 / 0.06), 0, 1)
        albedo[:, here] = colour * (1 + 0.08 * pattern[here])
        shine[here] = cloth.shine
