"""One hand of a video: its person, what it wears and holds, its motion and its place in front of the camera."""

from dataclasses import dataclass, replace

import numpy as np

from handtool.hands.skeleton import LEFT
from handtool.synth.anatomy import Subject
from handtool.synth.cloth import Cloth, Glove, draw_cloth, draw_glove, draw_metal
from handtool.synth.flesh import FOREARM_M, RING_GROUP, SLEEVE_GROUP, Cones, Dress, build_hand
from handtool.synth.framing import (
    Lane,
    arm_lengths,
    enter_and_leave,
    frame_camera,
    hand_boxes,
    mirror_boxes,
    place_hand,
)
from handtool.synth.kinematics import forward
from handtool.synth.motion import move_fingers, turn_hand
from handtool.synth.setting import Setting
from handtool.synth.skin import make_grain
from handtool.synth.things import HELD, fill_grasp, join

MIRROR = np.diag([-1.0, 1.0, 1.0])
GLOVE_M = 0.0007  # how thick a glove is


@dataclass(frozen=True)
class Actor:
    """F moments, camera frame, metres. A left hand is a right one whose `turn` mirrors."""

    subject: Subject  # as thick as what it wears
    side: int
    hand: Cones  # in the hand's frame, F moments
    held: Cones | None  # in the hand's frame, one moment
    turn: np.ndarray  # (F, 3, 3) hand to camera
    shift: np.ndarray  # (F, 3)
    joints: np.ndarray  # (F, 21, 3)
    boxes: np.ndarray  # (F, 4) px in the frame
    grain: np.ndarray
    cloths: dict[int, Cloth]  # by group of cones
    glove: Glove | None

    def cones(self, frame: int) -> Cones:
        """One moment, in the camera's frame, with what the hand holds."""
        cones = self.hand.at(frame)
        if self.held is not None:
            cones = join(cones, self.held)
        return cones.placed(self.turn[frame], self.shift[frame])


def draw_actor(
    rng: np.random.Generator,
    subject: Subject,
    side: int,
    setting: Setting,
    time: np.ndarray,
    focal: float,
    lane: Lane,
    film: bool,
) -> Actor:
    """All is drawn for a right hand and mirrored at the end. `film`: the arm reaches out of the picture, the hand may
    come and go."""
    grasp = rng.random() < setting.things
    dress = draw_dress(rng, setting)
    glove = draw_glove(rng) if rng.random() < setting.gloves else None
    worn = replace(subject, radii=subject.radii + GLOVE_M, flesh=1.04 * subject.flesh) if glove else subject
    angles = move_fingers(rng, time, grasp)
    turn = turn_hand(rng, time, setting.looseness)
    in_hand, bone_frames, forearm = forward(subject, angles)
    shift = place_hand(rng, time, turn, in_hand, focal, lane)
    if film:
        shift[:, 1] += enter_and_leave(rng, time, lane.height) * shift[:, 2] / focal
    arm = arm_lengths(turn, shift, forearm) if film else FOREARM_M
    hand = build_hand(worn, in_hand, bone_frames, forearm, dress, arm)
    held = fill_grasp(rng, hand.at(0), in_hand[0]) if grasp else None
    cloths = {SLEEVE_GROUP: draw_cloth(rng, False), RING_GROUP: draw_metal(rng), HELD: draw_cloth(rng, True)}
    joints = np.einsum("fij,fkj->fki", turn, in_hand) + shift[:, None]
    boxes = hand_boxes(hand, turn, shift, frame_camera(focal, lane.width, lane.height))
    grain = make_grain(np.random.default_rng(subject.mottle))
    actor = Actor(worn, side, hand, held, turn, shift, joints, boxes, grain, cloths, glove)
    return mirrored(actor, lane.width) if side == LEFT else actor


def mirrored(actor: Actor, width: int) -> Actor:
    """The hand as it is in a mirror: u' = width - 1 - u, X' = -X."""
    moved = {"turn": MIRROR @ actor.turn, "shift": actor.shift @ MIRROR, "joints": actor.joints @ MIRROR}
    return replace(actor, boxes=mirror_boxes(actor.boxes, width), **moved)


def draw_dress(rng: np.random.Generator, setting: Setting) -> Dress:
    sleeve = float(rng.uniform(0.01, 0.09)) if rng.random() < setting.sleeves else None
    count = int(rng.integers(1, 3)) if rng.random() < setting.rings else 0
    fingers = rng.permutation([1, 2, 2, 3, 3, 3, 4, 0])[:count]
    rings = tuple((finger, float(rng.uniform(0.28, 0.42))) for finger in dict.fromkeys(fingers.tolist()))
    return Dress(sleeve, rings)
