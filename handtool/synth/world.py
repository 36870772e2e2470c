"""One video of the world: who, where, in which light, seen by which camera, doing what; and the labelled crops of it.

Everything is drawn from (seed, number of the video), so that a video is the same whatever others are made, by how many workers,
in which order.
"""

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from handtool.hands.boxes import crop_affine
from handtool.hands.camera import crop_camera, mirror_camera, mirror_joints, mirror_points, project
from handtool.hands.skeleton import LEFT, RIGHT, bone_length
from handtool.synth import lens as lenses
from handtool.synth.anatomy import Subject, draw_subject
from handtool.synth.flesh import SLEEVE_GROUP, Cones, build_hand
from handtool.synth.framing import FRAME, frame_camera, hand_boxes, jitter_boxes, mirror_affine, pan, place_hand
from handtool.synth.kinematics import forward
from handtool.synth.light import Light, draw_light, find_corners, find_shadow, shade
from handtool.synth.motion import FPS, move_fingers, turn_hand
from handtool.synth.places import draw_place, look_at
from handtool.synth.skin import Cloth, draw_cloth, make_grain, paint
from handtool.synth.things import HELD, OCCLUDER, fill_grasp, join, make_occluder
from handtool.synth.tracing import FAR, trace

Difficulty = Literal["easy", "medium", "wild"]
BOX_SCALE = 1.3
VIDEOS_PER_SUBJECT = 2
SUBJECT, VIDEO = 1, 2  # streams of random numbers


@dataclass(frozen=True)
class Setting:
    """What a difficulty means; shares and strengths in 0..1."""

    looseness: float  # of the hand's orientation
    clutter: float
    harshness: float
    roughness: float
    things: float
    occluders: float
    sleeves: float
    jitter: float  # of the box, in its sides


SETTINGS = {
    "easy": Setting(0.15, 0.05, 0.1, 0.05, 0.0, 0.0, 0.25, 0.0),
    "medium": Setting(0.45, 0.45, 0.5, 0.4, 0.3, 0.0, 0.4, 0.04),
    "wild": Setting(0.8, 1.0, 1.0, 1.0, 0.45, 0.35, 0.5, 0.08),
}


@dataclass(frozen=True)
class Scene:
    """A video before its pictures are taken, with a right hand; F frames, camera frame, metres."""

    subject: Subject
    place: str
    side: int
    size: int
    light: Light
    lens: lenses.Lens
    canvas: np.ndarray  # the place
    view: np.ndarray  # (F, 4) centre x, y, zoom, turn of the picture behind the crop
    grain: np.ndarray
    cloths: dict[int, Cloth]
    hand: Cones  # in the hand's frame
    held: Cones | None  # in the hand's frame
    in_front: Cones | None  # in the camera's frame
    turn: np.ndarray  # (F, 3, 3) hand to camera
    shift: np.ndarray  # (F, 3)
    joints: np.ndarray  # (F, 21, 3)
    focal: float
    boxes: np.ndarray  # (F, 4) px in the frame
    crop_from_frame: np.ndarray  # (F, 2, 3)
    cameras: np.ndarray  # (F, 3, 3) of the crops
    rng_key: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.joints)


def draw_scene(seed: int, video: int, frames: int, size: int, difficulty: Difficulty, side: Literal["left", "right", "both"]) -> Scene:
    """The video with that number: its subject appears in `VIDEOS_PER_SUBJECT` videos, its place in no other."""
    setting = SETTINGS[difficulty]
    person = video // VIDEOS_PER_SUBJECT
    subject = draw_subject(np.random.default_rng([seed, SUBJECT, person]), f"subject-{person:04d}")
    rng = np.random.default_rng([seed, VIDEO, video])
    drawn = LEFT if rng.random() < 0.5 else RIGHT
    grasp = rng.random() < setting.things
    sleeve = rng.uniform(0.01, 0.09) if rng.random() < setting.sleeves else None
    time = np.arange(frames) / FPS
    angles = move_fingers(rng, time, grasp)
    turn = turn_hand(rng, time, setting.looseness)
    in_hand, bone_frames, forearm = forward(subject, angles)
    hand = build_hand(subject, in_hand, bone_frames, forearm, sleeve)
    focal = FRAME[0] / 2 / np.tan(np.radians(rng.uniform(46, 78)) / 2)
    shift = place_hand(rng, time, turn, in_hand, focal)
    held = fill_grasp(rng, hand.at(0), in_hand[0]) if grasp else None
    occluder = make_occluder(rng, shift[0] + turn[0] @ in_hand[0, 9]) if rng.random() < setting.occluders else None
    joints = np.einsum("fij,fkj->fki", turn, in_hand) + shift[:, None]
    boxes = hand_boxes(hand, turn, shift, frame_camera(focal))
    crop_from_frame = crop_affine(jitter_boxes(rng, boxes, setting.jitter), size, BOX_SCALE)
    return Scene(
        subject=subject,
        place=f"place-{video:04d}",
        side={"left": LEFT, "right": RIGHT, "both": drawn}[side],
        size=size,
        light=draw_light(rng, setting.harshness),
        lens=lenses.draw_lens(rng, setting.roughness, size),
        canvas=draw_place(rng, setting.clutter),
        view=pan(rng, time),
        grain=make_grain(np.random.default_rng(subject.mottle)),
        cloths={SLEEVE_GROUP: draw_cloth(rng, False), HELD: draw_cloth(rng, True), OCCLUDER: draw_cloth(rng, True)},
        hand=hand,
        held=held,
        in_front=occluder,
        turn=turn,
        shift=shift,
        joints=joints,
        focal=focal,
        boxes=boxes,
        crop_from_frame=crop_from_frame,
        cameras=crop_camera(crop_from_frame, frame_camera(focal)),
        rng_key=(seed, VIDEO, video),
    )


def render(scene: Scene, frame: int) -> tuple[np.ndarray, np.ndarray]:
    """The crop before lens and JPEG, (S, S, 3) float32 RGB 0..255, and the distances from the eye (S, S) m, FAR where there is nothing."""
    size, camera = scene.size, scene.cameras[frame]
    background = look_at(scene.canvas, size, scene.view[frame, :2], scene.view[frame, 2], scene.view[frame, 3]).astype(np.float32)
    cones = scene.hand.at(frame)
    if scene.held is not None:
        cones = join(cones, scene.held)
    cones = cones.placed(scene.turn[frame], scene.shift[frame])
    if scene.in_front is not None:
        cones = join(cones, scene.in_front)
    hits = trace(cones, camera, size)
    height, width = hits.padded
    depth = np.full(height * width, FAR, np.float32)
    depth[hits.pixel.ravel()] = hits.depth.ravel()
    depth = depth.reshape(height, width)
    met = hits.depth < FAR
    pixel, cone, point, normal = hits.pixel[met], hits.cone[met], hits.point[:, met], hits.normal[:, met]
    corners = find_corners(depth, camera[0, 0]).ravel()[pixel]
    shadow = find_shadow(depth, scene.light, camera[0, 0]).ravel()[pixel]
    albedo, shine, skin = paint(cones, scene.subject, scene.grain, scene.cloths, scene.turn[frame], scene.shift[frame], cone, point, normal)
    colour = shade(scene.light, albedo, shine, skin, point, normal, shadow, corners)
    colour = 255 * np.sqrt(np.clip(colour, 0, 1))
    image = np.zeros((height, width, 3), np.float32)
    image[:size, :size] = background
    flat = image.reshape(-1, 3)
    flat[pixel] += (colour.T - flat[pixel]) * hits.cover[met][:, None]
    return image[:size, :size], depth[:size, :size]


def flesh_around(subject: Subject) -> np.ndarray:
    """(21,) m: how deep each joint may lie under its own flesh, seen aslant; wrist, thumb's root and knuckles lie within the palm."""
    deep = 1.7 * subject.radii
    deep[0, 0], deep[1:, 0] = 0.026 * subject.flesh, 0.020 * subject.flesh
    return np.concatenate([[0.034 * subject.flesh], deep.ravel()]) + 0.002


def see_joints(scene: Scene, frame: int, depth: np.ndarray) -> np.ndarray:
    """(21,) bool: in the picture, and what the ray to the joint meets first is the flesh around that joint."""
    size = scene.size
    joints = scene.joints[frame]
    pixel = np.floor(project(joints, scene.cameras[frame]) + 0.5).astype(int)
    inside = ((pixel >= 0) & (pixel < size)).all(1)
    u, v = np.clip(pixel, 0, size - 1).T
    return inside & (depth[v, u] > np.linalg.norm(joints, axis=1) - flesh_around(scene.subject))


def take_crop(scene: Scene, frame: int) -> dict:
    """One labelled crop: jpeg, joints (21, 3), keypoints (21, 2), visible (21,), camera, box, crop_from_frame; mirrored for a left hand."""
    rng = np.random.default_rng([*scene.rng_key, frame])
    image, depth = render(scene, frame)
    joints, camera = scene.joints[frame], scene.cameras[frame]
    keypoints = project(joints, camera)
    neighbour = frame + 1 if frame + 1 < len(scene) else max(frame - 1, 0)
    motion = (project(scene.joints[neighbour], camera) - keypoints).mean(0)
    box, crop_from_frame = scene.boxes[frame], scene.crop_from_frame[frame]
    visible = see_joints(scene, frame, depth)
    if scene.side == LEFT:
        image = cv2.flip(image, 1)
        motion = motion * np.array([-1, 1])
        joints, keypoints, camera = mirror_joints(joints), mirror_points(keypoints, scene.size), mirror_camera(camera, scene.size)
        box = np.array([FRAME[0] - box[2], box[1], FRAME[0] - box[0], box[3]])
        crop_from_frame = mirror_affine(crop_from_frame, FRAME[0], scene.size)
    picture = lenses.expose(image, scene.lens, motion, rng)
    return {
        "jpeg": lenses.encode(picture, scene.lens.quality),
        "joints": joints,
        "keypoints": keypoints,
        "visible": visible,
        "scale": bone_length(joints),
        "camera": camera,
        "box": box,
        "crop_from_frame": crop_from_frame,
    }


def make_video(seed: int, video: int, frames: int, size: int, difficulty: Difficulty, side: Literal["left", "right", "both"]) -> dict:
    """Everything the file keeps of a video: columns of F rows, and `subject`, `place`, `side`."""
    scene = draw_scene(seed, video, frames, size, difficulty, side)
    rows = [take_crop(scene, frame) for frame in range(frames)]
    columns = {key: [row[key] for row in rows] if key == "jpeg" else np.array([row[key] for row in rows]) for key in rows[0]}
    return {**columns, "subject": scene.subject.name, "place": scene.place, "side": scene.side}
