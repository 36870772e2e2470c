"""Things: what a hand holds, and what comes between it and the camera."""

from dataclasses import fields

import numpy as np

from handtool.synth.flesh import THING, THING_GROUP, Builder, Cones

HELD, OCCLUDER = THING_GROUP, THING_GROUP + 1


def distance_to_cones(cones: Cones, points: np.ndarray) -> np.ndarray:
    """points (n, 3) -> (n, P) m to each cone's surface, negative inside; the axis is followed to its nearest point,
    which for slim cones is within a per cent of the true distance."""
    axis = cones.b - cones.a
    offset = points[:, None] - cones.a
    h = np.clip((offset * axis).sum(-1) / np.maximum((axis * axis).sum(-1), 1e-12), 0, 1)
    centre_distance = np.linalg.norm(offset - h[..., None] * axis, axis=-1)
    return centre_distance - (cones.radius_a + h * (cones.radius_b - cones.radius_a))


def join(cones: Cones, more: Cones) -> Cones:
    """One moment each. Neighbours of one group would melt into each other."""
    assert cones.group[-1] != more.group[0]
    return Cones(**{f.name: np.concatenate([getattr(cones, f.name), getattr(more, f.name)]) for f in fields(Cones)})


def fill_grasp(rng: np.random.Generator, hand: Cones, joints: np.ndarray) -> Cones | None:
    """A ball, a rod or a bottle that just touches the hand around it. hand and joints (21, 3) in the hand's frame. None
    if nothing fits."""
    palm = joints[9] + 0.3 * (joints[0] - joints[9]) + np.array([0.0, 0.0, -0.014])
    centre = 0.25 * (joints[4] + joints[8]) + 0.22 * joints[12] + 0.28 * palm
    across = joints[5] - joints[17]
    across = across / np.linalg.norm(across)
    rod = rng.random() < 0.65
    reach = np.linspace(-0.035, 0.035, 7)[:, None] * across if rod else np.zeros((1, 3))
    radius = float(distance_to_cones(hand, centre + reach).min()) + 0.0015
    if radius < 0.008:
        return None
    forward = joints[9] / np.linalg.norm(joints[9])
    frame = np.stack([across, np.cross(forward, across), forward], 1)
    thing = Builder()
    if rod:
        up, down = rng.uniform(0.05, 0.14, 2)
        neck = rng.choice([1.0, 1.0, 0.6])
        thing.add(THING, HELD, (centre - across * down)[None], centre + across * 0.03, radius, radius, frame)
        thing.add(THING, HELD, (centre + across * 0.03)[None], centre + across * up, radius, radius * neck, frame)
    else:
        thing.add(THING, HELD, centre[None], centre + across * 0.001, radius, radius, frame)
    return thing.finish().at(0)


def make_occluder(rng: np.random.Generator, centre: np.ndarray) -> Cones:
    """A rod or a ball in front of `centre` (3,) m, camera frame; it hides a part of the hand, never all of it."""
    nearer = centre * rng.uniform(0.55, 0.8)
    angle = rng.uniform(0, 2 * np.pi)
    aside = np.array([np.cos(angle), np.sin(angle), 0.0]) * rng.uniform(0.02, 0.06)
    along = np.array([-np.sin(angle), np.cos(angle), rng.uniform(-0.3, 0.3)])
    along /= np.linalg.norm(along)
    thick = rng.uniform(0.004, 0.016)
    frame = np.stack([along, np.array([0.0, 0.0, 1.0]), np.cross(along, [0.0, 0.0, 1.0])], 1)
    half = along * rng.choice([0.012, 0.25])
    occluder, middle = Builder(), nearer + aside
    occluder.add(THING, OCCLUDER, (middle - half)[None], middle + half, thick, thick * rng.uniform(0.6, 1.0), frame)
    return occluder.finish().at(0)
