"""What the rows of a LeRobot set tell of hands, as 21 joints on a camera's pictures. There is no standard; read are

    …hands.kp2d (126)           [left, right] x 21 x (u, v, score), px of the picture; score 0: not known
    …hands.kp3d (126)           [left, right] x 21 x xyz, m, camera frame (x right, y down, z forward); all 0: no hand
    …hands.valid (2)            0: no such hand; also …hands.presence
    …hands.absolute (2)         0: kp3d is relative to the wrist, which is not read
    …hands.kp3d_valid (42)      0: this joint of kp3d is not known
    …intrinsics (4, 8 or 9)     fx fy cx cy, then k1..k4 of OpenCV's fisheye; or K by rows
    …hand_left_world, …hand_right_world (63) with …head_left_camera_position (3) and …_rotation (4)
                                EgoSuite: m, in the world, and the camera's pose in it, a quaternion x y z w unless the
                                names say otherwise (not verified on the set itself); the axes as above
    …hand_joints (150)          Manus: [right, left] x 25 x xyz; the four bones within the palm are left out. Taken to
                                be m in the camera's frame (not verified)

in joint order 0 wrist, 1-4 thumb … 17-20 little finger. The first two are those of quietbit's sets, and with the next
three those that `export --format lerobot` writes. Keypoints that are not given are projected, for which the intrinsics
are needed; a fisheye lens is kept, and each crop gets a camera of its own. Parameters of MANO are
not read: its model is licensed. All other features that speak of hands are named in the report.
"""

import math
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from handtool.hands.boxes import box_of_points
from handtool.hands.lens import STRONGEST, Lens, make_lens, project
from handtool.hands.skeleton import LEFT, RIGHT
from handtool.names import printable
from handtool.sources.frame import Episode, KnownHand
from handtool.sources.parquet import ParquetFile
from handtool.sources.sets.lerobot_info import Info

ROLES = {  # role -> ending of the feature's name, numbers a row
    "points": (r"hands\.kp2d", (126,)),
    "joints": (r"hands\.kp3d", (126,)),
    "valid": (r"hands\.(valid|presence)", (2,)),
    "absolute": (r"hands\.absolute", (2,)),
    "known": (r"hands\.kp3d_valid", (42,)),
    "intrinsics": (r"intrinsics", (4, 8, 9)),
    "left_world": (r"hand_left_world", (63,)),
    "right_world": (r"hand_right_world", (63,)),
    "position": (r"head_left_camera_position", (3,)),
    "rotation": (r"head_left_camera_rotation", (4,)),
    "manus": (r"hand_joints", (150,)),
}
WAYS = (  # to the keypoints of a hand; the first that a set has
    ("points",),
    ("joints", "intrinsics"),
    ("left_world", "right_world", "position", "rotation", "intrinsics"),
    ("manus", "intrinsics"),
)
ALSO = ("joints", "valid", "absolute", "known", "intrinsics")
OF_HANDS = re.compile(r"(?!.*hands\.score$).*(hand|wrist|finger|mano|kp[23]d|palm)", re.IGNORECASE)
FIRST_PERSON = re.compile(r"(.*[._])?(ego|main|head|head_left|egocentric)(_camera)?")
MANUS = [0, 1, 2, 3, 4, *(first + n for first in (6, 11, 16, 21) for n in range(4))]
MOST_NAMED = 10
SIDES = ((LEFT, "left"), (RIGHT, "right"))


def find_hands(info: Info, camera: str) -> tuple[tuple[tuple[str, str, int], ...], tuple[str, ...]]:
    """What the rows tell of hands on a camera's pictures: (role, feature, width) each; and what of it is not read."""
    found = {}
    for role, (ending, widths) in ROLES.items():
        pattern = re.compile(rf"(?!action)(.*[._])?{ending}")
        names = [name for name, width in info.widths.items() if width in widths and pattern.fullmatch(name)]
        if names:
            found[role] = names[0]
    way = next((way for way in WAYS if set(way) <= set(found)), ())
    taken = [role for role in (*way, *ALSO) if role in found] if way else []
    notes = []
    if taken and camera != camera_of_hands(info):
        notes += [] if camera_of_hands(info) else ["hands not read: the set does not say which camera sees them"]
        taken = []
    used = {found[role] for role in taken}
    rest = [name for name in info.widths if OF_HANDS.match(name) and name not in used]
    if rest and (taken or not way):
        told = ", ".join(f"{printable(name)} ({info.widths[name]})" for name in rest[:MOST_NAMED])
        notes.append(f"not read as 21 joints of a hand: {told}{' …' * (len(rest) > MOST_NAMED)}")
    hands = {role: (found[role], info.widths[found[role]]) for role in taken}
    if "rotation" in hands and found["rotation"] in info.real_first:
        hands["rotation_wxyz"] = hands.pop("rotation")
    return tuple((role, *about) for role, about in hands.items()), tuple(notes)


def camera_of_hands(info: Info) -> str | None:
    """The only camera, or the only one at the wearer's head."""
    worn = [camera for camera in info.cameras if FIRST_PERSON.fullmatch(camera)]
    chosen = info.cameras if len(info.cameras) == 1 else worn
    return chosen[0] if len(chosen) == 1 else None


@dataclass(frozen=True, eq=False)
class Rows:
    """Of an episode. of_frame: the row of each frame. values: role -> (n, width) float64, NaN where nothing is said."""

    name: str
    of_frame: dict[int, int]
    values: dict[str, np.ndarray]

    def hands(self, frame: int) -> tuple[KnownHand, ...]:
        """The hands on a picture, left before right; without those of which nothing is on it."""
        row = self.of_frame.get(frame)
        if row is None:
            return ()
        said = {role: values[row] for role, values in self.values.items()}
        lens = read_lens(said.get("intrinsics"))
        joints, extrinsics = read_joints(said)
        is_there = read_flags(said.get("valid"))
        found = []
        for place, (side, called) in enumerate(SIDES):
            valid = np.isfinite(joints[place]).all(axis=1) & (joints[place] != 0).any() & is_there[place]
            valid &= read_flags(said.get("known"), 42).reshape(2, 21)[place]
            points = read_points(said.get("points"), place, joints[place], lens, valid)
            seen = np.isfinite(points).all(axis=1) & is_there[place]
            if not seen.any():
                continue
            known = KnownHand(
                side=side,
                camera=np.full((3, 3), np.nan) if lens is None else lens.camera,
                joints=np.where(valid[:, None], joints[place], np.nan).astype(np.float32),
                valid=valid,
                keypoints=np.where(seen[:, None], points, np.nan),
                keypoints_valid=seen,
                sample_id=frame,
                sample_key=f"{self.name}/{frame:06d}/{called}",
                box=box_of_points(points, seen),
                extrinsics=extrinsics,
                lens=lens,
            )
            found.append(known)
        return tuple(found)


def read_rows(episode: Episode, name: str) -> Rows:
    """Raises HandtoolError, DamagedFile."""
    file = ParquetFile(Path(episode.table))
    columns = {role: (column, width) for role, column, width in episode.hands if column in file.columns}
    widths = {column: width for column, width in columns.values()} | {"episode_index": 1}
    widths |= {"frame_index": 1} if "frame_index" in file.columns else {}
    table = file.matrix(widths, only=("episode_index", episode.number))
    count = len(table["episode_index"])
    frames = table["frame_index"][:, 0] if "frame_index" in table else np.arange(count)
    of_frame = {int(frame): row for row, frame in enumerate(frames.tolist()) if math.isfinite(frame)}
    return Rows(name, of_frame, {role: table[column] for role, (column, _) in columns.items()})


def read_flags(flags: np.ndarray | None, count: int = 2) -> np.ndarray:
    """(count,) bool: of left and right; all where nothing is said."""
    return np.ones(count, bool) if flags is None else np.nan_to_num(flags) > 0.5


def read_lens(numbers: np.ndarray | None) -> Lens | None:
    """None where nothing is said, or what cannot be."""
    if numbers is None or not np.isfinite(numbers).all():
        return None
    if len(numbers) == 9:
        camera, distortion = numbers.reshape(3, 3), np.zeros(0)
    else:
        fx, fy, cx, cy = numbers[:4]
        camera, distortion = np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]]), numbers[4:]
    is_camera = camera[0, 0] > 0 and camera[1, 1] > 0 and camera[0, 1] == 0 and np.array_equal(camera[2], (0, 0, 1))
    if not is_camera or (np.abs(numbers) > STRONGEST).any():
        return None
    return make_lens("fisheye", camera, distortion) if distortion.any() else make_lens("pinhole", camera)


def read_joints(said: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray | None]:
    """(2, 21, 3) m of left and right in the camera's frame, NaN where they are not known; and the camera's (3, 4)
    extrinsics, if any."""
    if "joints" in said:
        absolute = read_flags(said.get("absolute"))
        return np.where(absolute[:, None, None], said["joints"].reshape(2, 21, 3), np.nan), None
    if "left_world" in said:
        world = np.stack([said["left_world"], said["right_world"]]).reshape(2, 21, 3)
        x, y, z, w = said["rotation"] if "rotation" in said else np.roll(said["rotation_wxyz"], -1)
        rotation = rotation_of(x, y, z, w).T
        extrinsics = np.column_stack([rotation, -rotation @ said["position"]])
        moved = world @ rotation.T + extrinsics[:, 3]
        return np.where((world != 0).any(axis=(1, 2))[:, None, None], moved, np.nan), extrinsics
    if "manus" in said:
        return said["manus"].reshape(2, 25, 3)[::-1, MANUS], None
    return np.full((2, 21, 3), np.nan), None


def rotation_of(x: float, y: float, z: float, w: float) -> np.ndarray:
    """(3, 3) of a quaternion of any length; NaN of one of none."""
    with np.errstate(all="ignore"):
        x, y, z, w = np.array([x, y, z, w]) / np.sqrt(x * x + y * y + z * z + w * w)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


def read_points(
    said: np.ndarray | None, place: int, joints: np.ndarray, lens: Lens | None, valid: np.ndarray
) -> np.ndarray:
    """(21, 2) px of the picture, NaN where they are not known: as they are given, else the joints projected."""
    if said is not None:
        given = said.reshape(2, 21, 3)[place]
        return np.where(given[:, 2:] > 0, given[:, :2], np.nan)
    if lens is None:
        return np.full((21, 2), np.nan)
    seen = valid & (joints[:, 2] > 0)
    return np.where(seen[:, None], project(lens, joints), np.nan)
