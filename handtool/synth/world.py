"""A scene: hands in a place, in one light, before one camera; and the picture of a moment of it.

Everything is drawn from (seed, number of the video), so that a video is the same whatever others are made, by how many workers,
in which order.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from handtool.hands.camera import project
from handtool.synth.actor import Actor
from handtool.synth.anatomy import Subject, draw_subject
from handtool.synth.camera_model import CameraModel
from handtool.synth.cloth import Cloth
from handtool.synth.flesh import Cones
from handtool.synth.light import Light, find_corners, find_shadow, shade
from handtool.synth.passers import Passer, add_passers
from handtool.synth.places import sample_background
from handtool.synth.skin import look_of, paint
from handtool.synth.things import OCCLUDER, join
from handtool.synth.tracing import FAR, trace

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
    lens: CameraModel
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


def subject_of(seed: int, video: int) -> Subject:
    """A subject appears in `VIDEOS_PER_SUBJECT` videos."""
    person = video // VIDEOS_PER_SUBJECT
    return draw_subject(np.random.default_rng([seed, SUBJECT, person]), f"subject-{person:04d}")


def solids(scene: Scene, frame: int) -> tuple[Cones, list[slice]]:
    """All cones of a moment, and which of them belong to each hand; what comes in front stands last."""
    parts = [actor.cones(frame) for actor in scene.actors]
    together, owners, start = None, [], 0
    for cones in parts:
        owners.append(slice(start, start + len(cones.group)))
        start += len(cones.group)
        together = cones if together is None else join(together, cones)
    if scene.in_front is not None:
        together = join(together, scene.in_front)
    return together, owners


def render(scene: Scene, frame: int, camera: np.ndarray, width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
    """The picture before lens and JPEG, (H, W, 3) float32 RGB 0..255, and the distances from the eye (H, W) m, FAR where there is nothing."""
    background = sample_background(scene.canvas, width, height, scene.view[frame])
    add_passers(background, scene.passers, scene.view[frame], frame)
    cones, owners = solids(scene, frame)
    hits = trace(cones, camera, width, height)
    if hits is None:
        return background.astype(np.float32), np.full((height, width), FAR, np.float32)
    rows, columns = hits.padded
    depth = np.full(rows * columns, FAR, np.float32)
    depth[hits.pixel.ravel()] = hits.depth.ravel()
    depth = depth.reshape(rows, columns)
    met = np.flatnonzero(hits.depth < FAR)
    pixel, cone, cover = (values.ravel()[met] for values in (hits.pixel, hits.cone, hits.cover))
    point, normal = (values.reshape(3, -1)[:, met] for values in (hits.point, hits.normal))
    if len(met) == 0:
        return background.astype(np.float32), depth[:height, :width]
    middle = float(np.median(hits.depth.ravel()[met]))
    corners = find_corners(depth, camera[0, 0], middle).ravel()[pixel]
    shadow = find_shadow(depth, scene.light, camera[0, 0], middle).ravel()[pixel]
    albedo, shine, skin = paint_all(scene, frame, cones, owners, cone, point, normal)
    colour = shade(np, scene.light, albedo, shine, skin, point, normal, shadow, corners)
    colour = 255 * np.sqrt(np.clip(colour, 0, 1))
    image = np.zeros((rows, columns, 3), np.float32)
    image[:height, :width] = background
    flat = image.reshape(-1, 3)
    flat[pixel] += (colour.T - flat[pixel]) * cover[:, None]
    return image[:height, :width], depth[:height, :width]


def pictures(
    scene: Scene, cameras: np.ndarray, width: int, height: int, device: str | None = None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """`render` of every frame in order, cameras (F, 3, 3). device: torch's name of one; None: numpy, without torch."""
    if device is None:
        for frame in range(len(scene)):
            yield render(scene, frame, cameras[frame], width, height)
        return
    from handtool.synth.torch_world import batch_of, render_frames

    batch = batch_of(scene, width, height)
    for start in range(0, len(scene), batch):
        frames = range(start, min(start + batch, len(scene)))
        yield from zip(
            *render_frames(scene, frames, cameras[frames.start : frames.stop], width, height, device), strict=True
        )


def paint_all(
    scene: Scene, frame: int, cones: Cones, owners: list[slice], cone, point, normal
) -> tuple[np.ndarray, ...]:
    """`paint` for each hand's own points; what comes in front takes the look of the last hand, and its own cloth."""
    if len(owners) == 1:
        return paint_part(scene, scene.actors[0], frame, cones, cone, point, normal)
    albedo, shine, skin = np.empty_like(point), np.empty(len(cone), np.float32), np.empty(len(cone), bool)
    stops = [owner.stop for owner in owners[:-1]] + [len(cones.group)]
    for actor, owner, stop in zip(scene.actors, owners, stops, strict=True):
        here = np.flatnonzero((cone >= owner.start) & (cone < stop))
        if len(here):
            part = cones.some(slice(owner.start, stop))
            made = paint_part(scene, actor, frame, part, cone[here] - owner.start, point[:, here], normal[:, here])
            albedo[:, here], shine[here], skin[here] = made
    return albedo, shine, skin


def paint_part(scene: Scene, actor: Actor, frame: int, cones: Cones, cone, point, normal) -> tuple[np.ndarray, ...]:
    cloths = {**actor.cloths, OCCLUDER: scene.in_front_cloth}
    look = look_of(actor.subject, cones, actor.grain, cloths, actor.glove)
    in_hand = actor.turn[frame].T.astype(np.float32) @ (point - actor.shift[frame].astype(np.float32)[:, None])
    return paint(np, look, cone, point, normal, in_hand)


def velocity(actor: Actor, frame: int, camera: np.ndarray, fps: float) -> np.ndarray:
    """(2,) px a second, of the middle of the hand."""
    neighbour = frame + 1 if frame + 1 < len(actor.joints) else max(frame - 1, 0)
    now, then = (project(actor.joints[each], camera).mean(0) for each in (frame, neighbour))
    return (then - now) * fps


def flesh_around(subject: Subject) -> np.ndarray:
    """(21,) m: how deep each joint may lie under its own flesh, seen aslant; wrist, thumb's root and knuckles lie within the palm."""
    deep = 1.7 * subject.radii
    deep[0, 0], deep[1:, 0] = 0.026 * subject.flesh, 0.020 * subject.flesh
    return np.concatenate([[0.034 * subject.flesh], deep.ravel()]) + 0.002


def see_joints(actor: Actor, frame: int, camera: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """(21,) bool: in the picture, and what the ray to the joint meets first is the flesh around that joint. depth: (H, W) m."""
    joints, (height, width) = actor.joints[frame], depth.shape
    pixel = np.floor(project(joints, camera) + 0.5).astype(int)
    inside = ((pixel >= 0) & (pixel < (width, height))).all(1)
    u, v = np.clip(pixel, 0, (width - 1, height - 1)).T
    return inside & (depth[v, u] > np.linalg.norm(joints, axis=1) - flesh_around(actor.subject))
