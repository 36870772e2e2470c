"""A scene: hands in a place, in one light, before one camera; its solids at a moment, and which joints are seen.

Everything is drawn from (seed, number of the video), so that a video is the same whatever others are made, and how.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from handtool.hands.camera import project
from handtool.synth.actor import Actor
from handtool.synth.anatomy import Subject, draw_subject
from handtool.synth.camera_model import CameraEffects, draw_camera_effects
from handtool.synth.cloth import Cloth, draw_cloth
from handtool.synth.flesh import Cones
from handtool.synth.framing import pan
from handtool.synth.light import Light, draw_light
from handtool.synth.passers import Passer, add_passers, draw_passers
from handtool.synth.places import draw_place, sample_background
from handtool.synth.setting import Setting
from handtool.synth.things import join

VIDEOS_PER_SUBJECT = 2
SUBJECT, VIDEO, FILM, GUEST = 1, 2, 3, 4  # streams of random numbers


@dataclass(frozen=True)
class Scene:
    """A video before its pictures are taken; F frames, camera frame, metres."""

    actors: tuple[Actor, ...]
    in_front: Cones | None  # what comes between hand and camera; one moment
    in_front_cloth: Cloth
    subject: Subject
    place: str
    light: Light
    lens: CameraEffects
    canvas: np.ndarray  # the place
    view: np.ndarray  # (F, 4) centre x, y, zoom, turn of the picture behind the hands
    passers: list[Passer]
    focal: float
    width: int  # px of a frame
    height: int
    fps: float
    rng_key: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.view)


def draw_surroundings(
    rng: np.random.Generator, setting: Setting, time: np.ndarray, video: int, picture: tuple, passers: int
) -> dict[str, Any]:
    """What of a Scene is neither hands nor camera. picture: width, height and detail, as `draw_camera_effects` takes
    them."""
    view, drawn = pan(rng, time), {"in_front_cloth": draw_cloth(rng, True), "place": f"place-{video:04d}"}
    drawn |= {"light": draw_light(rng, setting.harshness)}
    drawn |= {"lens": draw_camera_effects(rng, setting.roughness, *picture), "canvas": draw_place(rng, setting.clutter)}
    moving = draw_passers(rng, time, view, passers, 0.3 + 0.25 * setting.clutter)
    return drawn | {"view": view, "passers": moving}


def subject_of(seed: int, video: int) -> Subject:
    """A subject appears in `VIDEOS_PER_SUBJECT` videos."""
    person = video // VIDEOS_PER_SUBJECT
    return draw_subject(np.random.default_rng([seed, SUBJECT, person]), f"subject-{person:04d}")


def solids(scene: Scene, frame: int) -> tuple[Cones, list[slice]]:
    """All cones of a moment, and which of them belong to each hand; what comes in front stands last."""
    together, *others = (actor.cones(frame) for actor in scene.actors)
    owners = [slice(0, len(together.group))]
    for cones in others:
        owners.append(slice(owners[-1].stop, owners[-1].stop + len(cones.group)))
        together = join(together, cones)
    if scene.in_front is not None:
        together = join(together, scene.in_front)
    return together, owners


def background_of(scene: Scene, frame: int, width: int, height: int) -> np.ndarray:
    """(height, width, 3) uint8: the place behind the hands, with what passes there."""
    background = sample_background(scene.canvas, width, height, scene.view[frame])
    add_passers(background, scene.passers, scene.view[frame], frame)
    return background


def velocity(actor: Actor, frame: int, camera: np.ndarray, fps: float) -> np.ndarray:
    """(2,) px a second, of the middle of the hand."""
    neighbour = frame + 1 if frame + 1 < len(actor.joints) else max(frame - 1, 0)
    now, then = (project(actor.joints[each], camera).mean(0) for each in (frame, neighbour))
    return (then - now) * fps


def flesh_around(subject: Subject) -> np.ndarray:
    """(21,) m: how deep each joint may lie under its own flesh, seen aslant; wrist and roots lie in the palm."""
    deep = 1.7 * subject.radii
    deep[0, 0], deep[1:, 0] = 0.026 * subject.flesh, 0.020 * subject.flesh
    return np.concatenate([[0.034 * subject.flesh], deep.ravel()]) + 0.002


def see_joints(actor: Actor, frame: int, camera: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """(21,) bool: in the picture, and the ray to the joint first meets the flesh around it. depth: (H, W) m."""
    joints, (height, width) = actor.joints[frame], depth.shape
    pixel = np.floor(project(joints, camera) + 0.5).astype(int)
    inside = ((pixel >= 0) & (pixel < (width, height))).all(1)
    u, v = np.clip(pixel, 0, (width - 1, height - 1)).T
    return inside & (depth[v, u] > np.linalg.norm(joints, axis=1) - flesh_around(actor.subject))
