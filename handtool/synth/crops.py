"""The labelled crops of one hand's video."""

from typing import Literal

import numpy as np

from handtool.hands.boxes import crop_affine
from handtool.hands.camera import crop_camera, project
from handtool.hands.skeleton import LEFT, RIGHT, bone_length
from handtool.synth import camera_model
from handtool.synth.actor import MIRROR, draw_actor
from handtool.synth.framing import Lane, draw_focal, frame_camera, jitter_boxes, mirror_boxes
from handtool.synth.motion import FPS
from handtool.synth.scene import VIDEO, Scene, draw_surroundings, see_joints, subject_of, velocity
from handtool.synth.setting import SETTINGS, Difficulty
from handtool.synth.things import make_occluder
from handtool.synth.tracing import FAR
from handtool.synth.world import pictures

FRAME = (1280, 720)  # px, of the picture that a crop is thought to be cut from
BOX_SCALE = 1.3
Side = Literal["left", "right", "both"]


def draw_scene(
    seed: int, video: int, frames: int, size: int, difficulty: Difficulty, side: Side
) -> tuple[Scene, np.ndarray]:
    """The video with that number, of one hand, and (F, 2, 3) from its frames to the crops."""
    setting, time = SETTINGS[difficulty], np.arange(frames) / FPS
    subject = subject_of(seed, video)
    rng = np.random.default_rng([seed, VIDEO, video])
    drawn = {"left": LEFT, "right": RIGHT, "both": (LEFT, RIGHT)[rng.integers(2)]}[side]
    focal = draw_focal(rng, FRAME[0])
    actor = draw_actor(rng, subject, drawn, setting, time, focal, Lane(*FRAME, 0, FRAME[0]), film=False)
    mirror = MIRROR if drawn == LEFT else np.eye(3)
    occluder = make_occluder(rng, mirror @ actor.joints[0, 9]) if rng.random() < setting.occluders else None
    occluder = occluder and occluder.placed(mirror, np.zeros(3))
    boxes = jitter_boxes(rng, mirror_boxes(actor.boxes, FRAME[0]) if drawn == LEFT else actor.boxes, setting.jitter)
    boxes = mirror_boxes(boxes, FRAME[0]) if drawn == LEFT else boxes
    around = draw_surroundings(rng, setting, time, video, (size, size, size / 224), setting.passers)
    around |= {"focal": focal, "width": FRAME[0], "height": FRAME[1], "fps": FPS, "rng_key": (seed, VIDEO, video)}
    scene = Scene(actors=(actor,), in_front=occluder, subject=subject, **around)
    return scene, crop_affine(boxes, size, BOX_SCALE)


def develop(
    scene: Scene, crop_from_frame: np.ndarray, frame: int, camera: np.ndarray, image: np.ndarray, depth: np.ndarray
) -> dict:
    """The crop after lens and JPEG, with its labels."""
    (actor,) = scene.actors
    joints = actor.joints[frame]
    keypoints = project(joints, camera)
    covered, whole = depth < FAR, np.array([0, 0, *image.shape[1::-1]])
    camera_model.smear(image, covered, whole, velocity(actor, frame, camera, scene.fps) * scene.lens.shutter)
    picture = camera_model.expose(image, scene.lens, np.random.default_rng([*scene.rng_key, frame]))
    row = {"jpeg": camera_model.encode(picture, scene.lens.quality), "joints": joints, "scale": bone_length(joints)}
    row |= {"keypoints": keypoints, "visible": see_joints(actor, frame, camera, depth), "camera": camera}
    return row | {"box": actor.boxes[frame], "crop_from_frame": crop_from_frame[frame]}


def crop_cameras(scene: Scene, crop_from_frame: np.ndarray) -> np.ndarray:
    """(F, 3, 3) intrinsics of the crops."""
    return crop_camera(crop_from_frame, frame_camera(scene.focal, scene.width, scene.height))


def make_video(
    seed: int,
    video: int,
    frames: int,
    size: int,
    difficulty: Difficulty,
    side: Side,
    device: str | None = None,
    heartbeat=lambda: None,
) -> dict:
    """Everything that is stored of a video: columns of F rows, and `subject`, `place`, `side`. device: of torch; None:
    numpy."""
    scene, crop_from_frame = draw_scene(seed, video, frames, size, difficulty, side)
    cameras, rows = crop_cameras(scene, crop_from_frame), []
    for frame, (image, depth) in enumerate(pictures(scene, cameras, size, size, device)):
        rows.append(develop(scene, crop_from_frame, frame, cameras[frame], image, depth))
        heartbeat()
    columns = {
        key: [row[key] for row in rows] if key == "jpeg" else np.array([row[key] for row in rows]) for key in rows[0]
    }
    return {**columns, "subject": scene.subject.name, "place": scene.place, "side": scene.actors[0].side}
