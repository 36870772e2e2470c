"""A film: several hands in the frames of one video, with the truth about each of them on every frame."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import numpy as np

from handtool.hands.camera import project
from handtool.hands.skeleton import LEFT, RIGHT
from handtool.synth import camera_model
from handtool.synth.actor import Actor, draw_actor
from handtool.synth.anatomy import draw_subject
from handtool.synth.crops import Side
from handtool.synth.framing import Lane, draw_focal, frame_camera
from handtool.synth.scene import FILM, GUEST, Scene, draw_surroundings, see_joints, subject_of, velocity
from handtool.synth.setting import SETTINGS, Difficulty, Setting
from handtool.synth.things import make_occluder
from handtool.synth.tracing import FAR
from handtool.synth.world import pictures

LEAST_INSIDE = 0.5  # share of a hand's joints within the frame for it to be on that frame
ALONE = 0.25  # films with one hand only
COLUMNS = ("frame", "side", "track", "box", "joints", "keypoints", "visible", "camera")


def draw_film(
    seed: int, video: int, frames: int, fps: float, width: int, height: int, difficulty: Difficulty, side: Side
) -> Scene:
    """The film with that number: both hands of its subject (or one of them), at harder settings also of guests."""
    setting, time = SETTINGS[difficulty], np.arange(frames) / fps
    rng = np.random.default_rng([seed, FILM, video])
    subject, focal = subject_of(seed, video), draw_focal(rng, width)
    people = [(subject, each) for each in draw_sides(rng, side)]
    for k, which in enumerate(draw_guests(rng, setting, side)):
        people.append((draw_subject(np.random.default_rng([seed, GUEST, video, k]), "guest"), which))
    edges = np.linspace(0, width, len(people) + 1)
    lanes = [Lane(width, height, x0, x1, 0.4, 0.75) for x0, x1 in pairwise(edges)]
    actors = [
        draw_actor(rng, who, which, setting, time, focal, lane if which == RIGHT else mirror_lane(lane), film=True)
        for (who, which), lane in zip(people, lanes, strict=True)
    ]
    occluder = make_occluder(rng, actors[0].joints[0, 9]) if rng.random() < setting.occluders else None
    around = draw_surroundings(rng, setting, time, video, (width, height, height / 480), 2 * setting.passers)
    around |= {"focal": focal, "width": width, "height": height, "fps": fps, "rng_key": (seed, FILM, video)}
    return Scene(actors=tuple(actors), in_front=occluder, subject=subject, **around)


def draw_sides(rng: np.random.Generator, side: Side) -> list[int]:
    """Of the subject's hands, from left to right in the picture: one's own, or those of someone opposite."""
    alone, own, which = rng.random() < ALONE, rng.random() < 0.6, int(rng.integers(2))
    if side != "both":
        return [{"left": LEFT, "right": RIGHT}[side]]
    if alone:
        return [(LEFT, RIGHT)[which]]
    return [LEFT, RIGHT] if own else [RIGHT, LEFT]


def draw_guests(rng: np.random.Generator, setting: Setting, side: Side) -> list[int]:
    count = int(rng.random() < setting.guests) + int(rng.random() < 0.4 * setting.guests)
    drawn = [(LEFT, RIGHT)[which] for which in rng.integers(2, size=count)]
    return drawn if side == "both" else [{"left": LEFT, "right": RIGHT}[side]] * count


def mirror_lane(lane: Lane) -> Lane:
    """Where a left hand moves while it is still drawn as a right one."""
    return replace(lane, x0=lane.width - lane.x1, x1=lane.width - lane.x0)


def shoot(scene: Scene, device: str | None = None) -> Iterator[tuple[np.ndarray, list[dict]]]:
    """Every frame, (H, W, 3) uint8 RGB, and what is known of each hand that is on it: a row of COLUMNS. device: of
    torch; None: numpy."""
    camera = frame_camera(scene.focal, scene.width, scene.height)
    cameras = np.broadcast_to(camera, (len(scene), 3, 3))
    for frame, (image, depth) in enumerate(pictures(scene, cameras, scene.width, scene.height, device)):
        for actor in scene.actors:
            motion = velocity(actor, frame, camera, scene.fps) * scene.lens.shutter
            camera_model.smear(image, depth < FAR, actor.boxes[frame], motion)
        picture = camera_model.expose(image, scene.lens, np.random.default_rng([*scene.rng_key, frame]))
        rows = [know(scene, actor, track, frame, camera, depth) for track, actor in enumerate(scene.actors)]
        yield picture, [row for row in rows if row]


def know(scene: Scene, actor: Actor, track: int, frame: int, camera: np.ndarray, depth: np.ndarray) -> dict | None:
    """None where most of the hand is outside the frame."""
    joints = actor.joints[frame]
    keypoints = project(joints, camera)
    inside = ((keypoints > -0.5) & (keypoints < (scene.width - 0.5, scene.height - 0.5))).all(1)
    if inside.mean() < LEAST_INSIDE:
        return None
    visible = see_joints(actor, frame, camera, depth)
    values = frame, actor.side, track, actor.boxes[frame], joints, keypoints, visible, camera
    return dict(zip(COLUMNS, values, strict=True))
