"""The pictures of a scene, by numpy one at a time, or by torch_world.py many at once."""

from collections.abc import Iterator

import numpy as np

from handtool.synth.actor import Actor
from handtool.synth.flesh import Cones
from handtool.synth.light import find_corners, find_shadow, shade
from handtool.synth.scene import Scene, background_of, solids
from handtool.synth.skin import look_of, paint
from handtool.synth.things import OCCLUDER
from handtool.synth.tracing import FAR, trace


def render(scene: Scene, frame: int, camera: np.ndarray, width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
    """The picture before lens and JPEG, (H, W, 3) float32 RGB 0..255, and the distances (H, W) m, FAR: nothing."""
    background = background_of(scene, frame, width, height)
    cones, owners = solids(scene, frame)
    hits = trace(cones, camera, width, height)
    if hits is None:
        return background.astype(np.float32), np.full((height, width), FAR, np.float32)
    rows, columns = hits.padded
    depth: np.ndarray = np.full(rows * columns, FAR, np.float32)
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
