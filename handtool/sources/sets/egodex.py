"""EgoDex (Apple, Hoque et al. 2025, arXiv 2505.11709): the view of a headset, 1920 x 1080, 30 frames a second, of
people at work with their hands, and the headset's own tracking of them.

    part1/ … part5/  test/  extra/          or any folder of them, or one task
      <task>/0.mp4  0.hdf5  1.mp4  1.hdf5 …
          camera/intrinsic (3, 3) px · transforms/<joint> (n, 4, 4) m · confidences/<joint> (n,) 0..1, not in all files
          attributes session_name, environment, task, …, any of which may be missing

Row i of the tables is frame i; where a film and its tables differ in length, the shorter one counts. A video is one mp4
file, sampled like any film (--fps, --every). Its subject is the session's name, or else the task, its place the
environment. The split is the folder's: part1 to part5 are `train`, then `test` and `extra`.

Conversions: each transform is a pose in a world with y up, the camera's too, and the camera's own axes already are x
right, y down, z forward: X_camera = R^T (X_world - t), where R | t is the pose of `camera`. Joints are the wrist
(`leftHand`) and four of each finger; the metacarpals are left out, and thumbKnuckle is taken for the thumb's CMC. A
joint is valid where confidence of the wrist x its own is at least 0.5; without confidences all are. Keypoints are
projections; where films were made smaller, K follows. Of a hand with fewer than 5 joints on the picture no row is made:
it is counted.

The labels are a device's tracking, not measured truth: the report says so. `sample_id` is the number of the frame,
`sample_key` the film's path below the root with it. Memory: 550 bytes a frame of the film that is read.

Licence CC-BY-NC-ND: no crops made from it may be passed on.
"""

import logging
import mmap
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from handtool.errors import DamagedFile, HandtoolError
from handtool.hands.boxes import box_of_points
from handtool.hands.skeleton import LEFT, NUM_JOINTS, RIGHT
from handtool.names import natural
from handtool.sources.foreign_hdf5 import Hdf5, open_hdf5
from handtool.sources.frame import Choice, Frame, KnownHand, Sampling, Tally, Video
from handtool.sources.labelled_frames import from_joints
from handtool.sources.sets.dataset_choice import choose_some, missing_error, refuse_choice
from handtool.sources.video import read_video

NAME, TITLE = "egodex", "EgoDex"
BOX_SCALE = 1.75
SPLITS = {f"part{number}": "train" for number in range(1, 6)} | {"test": "test", "extra": "extra"}
FILM, TABLES = ".mp4", ".hdf5"
SIDES = {"left": LEFT, "right": RIGHT}
LEVELS = ("Knuckle", "IntermediateBase", "IntermediateTip", "Tip")
FINGERS = ("Thumb", "IndexFinger", "MiddleFinger", "RingFinger", "LittleFinger")
OTHER_NAMES = {"LittleFinger": "PinkyFinger", "Thumb": "Thunmb"}  # as some copies call them
WIDTH, HEIGHT = 1920, 1080  # px, of which K is
SURE = 0.5  # least confidence of a joint
FEWEST_IN_VIEW = 5  # joints on the picture
LEAST_DIFFERENCE = 1  # frames by which a film may be longer than its tables, in sound files
OUTSIDE, UNSURE = "tracked outside of the picture", f"tracked with a confidence below {SURE}"
PSEUDO = "labels are the device's tracking, not measured truth"
MOST_TRIED = 20  # files of a folder
MOST_LOOKED_AT = 1 << 28  # bytes of a file in which its names are looked for
WHERE = "its root is a folder of tasks, each with 0.mp4 and 0.hdf5, 1.mp4 and 1.hdf5, …"
log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Tracking:
    """What the tables say of n frames. camera: (3, 3) px. extrinsics: (n, 3, 4) world to camera. joints: (n, 2, 21, 3)
    m, camera frame, of the left and the right hand; sure: (n, 2, 21)."""

    camera: np.ndarray
    extrinsics: np.ndarray
    joints: np.ndarray
    sure: np.ndarray
    session: str
    place: str
    has_confidences: bool


def is_root(folder: Path, names: list[str], below: list[str]) -> bool:
    """Whether it is a task: a film and its tables under one number, and in the tables the names of EgoDex's."""
    films = {Path(name).stem for name in names if name.endswith(FILM)}
    both = (name for name in names if name.endswith(TABLES) and Path(name).stem in films)
    first = [name for name in both if Path(name).stem.isdecimal()][:MOST_TRIED]
    return any(has_names(folder / name) for name in first)  # one may be damaged


def has_names(path: Path) -> bool:
    """HDF5 stores the names of its tables as they are: no file is opened by libhdf5 before a worker reads it."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return all(data.find(name, 0, MOST_LOOKED_AT) >= 0 for name in (b"leftHand", b"intrinsic", b"transforms"))
    except (OSError, ValueError):  # empty
        return False


def find_videos(root: Path, title: str, choice: Choice) -> list[Video]:
    """One video a film, in natural order. Raises HandtoolError where there is none, WrongCommand for other splits."""
    refuse_choice(TITLE, "--cameras", choice.cameras, "it has one camera")
    refuse_choice(TITLE, "--subset", choice.subset, "name the folders of the tasks instead")
    if choice.split:
        choose_some(TITLE, "--split", (choice.split,), dict.fromkeys(SPLITS.values()))
    films = [path for path in walk(root) if path.suffix == FILM and path.stem.isdecimal()]
    if not films:
        raise missing_error(root / "<task>" / "0.mp4", "films with their tables", WHERE)
    if lacking := sum(not path.with_suffix(TABLES).exists() for path in films):
        log.warning("%s: %d of %d films have no tables beside them", root, lacking, len(films))
    videos = [make_video(path, root, title) for path in films]
    return [video for video in videos if choice.split in (None, video.split)]


def walk(root: Path) -> Iterator[Path]:
    """The files below a folder; links to folders are followed, once."""
    seen: set[str] = set()
    for folder, below, names in os.walk(root, followlinks=True):
        if (real := os.path.realpath(folder)) in seen:
            below.clear()
            continue
        seen.add(real)
        below[:] = sorted((name for name in below if not name.startswith(".")), key=natural)
        yield from (Path(folder) / name for name in sorted(names, key=natural) if not name.startswith("."))


def make_video(path: Path, root: Path, title: str) -> Video:
    name = f"{title}/{path.relative_to(root).as_posix()}"
    parts = (*root.resolve().parts[-2:], *path.relative_to(root).parts)
    split = next((SPLITS[part] for part in reversed(parts) if part in SPLITS), "")
    return Video(name, str(path), "video", dataset=NAME, split=split, knows_hands=True)


def read_frames(video: Video, sampling: Sampling, tally: Tally) -> Iterator[Frame]:
    """The kept frames, each with the hands that are on it."""
    path = Path(video.path)
    try:
        tracking = read_tables(path.with_suffix(TABLES))
    except DamagedFile as error:
        tally.problem = f"damaged labels: {error}"
        return
    except HandtoolError as error:
        tally.problem = f"its labels cannot be read: {error}"
        return
    tally.subject, tally.place = tracking.session or path.parent.name, tracking.place
    tally.note(PSEUDO)
    if not tracking.has_confidences:
        tally.note("no confidences in its tables: all joints are taken as valid")
    for frame in read_video(video, sampling, tally):  # frames beyond the first one without a row are told
        beyond = frame.number - len(tracking.joints) + 1
        if beyond > LEAST_DIFFERENCE and frame.kept:
            tally.unseen["frames beyond the end of their labels"] += 1
        hands = () if beyond > 0 else tuple(hands_on(frame, tracking, video.name, tally))
        yield replace(frame, hands=hands)


def hands_on(frame: Frame, tracking: Tracking, name: str, tally: Tally) -> Iterator[KnownHand]:
    height, width = frame.image.shape[:2]
    camera = scale_camera(tracking.camera, width, height)
    for place, side in enumerate(SIDES.values()):
        joints, sure = tracking.joints[frame.number, place], tracking.sure[frame.number, place]
        known = from_joints(np.where(sure[:, None], joints, np.nan), camera)
        points = known["keypoints"]
        in_view = known["keypoints_valid"] & (points > -0.5).all(axis=1)
        in_view &= (points < (width - 0.5, height - 0.5)).all(axis=1)
        if in_view.sum() < FEWEST_IN_VIEW:
            if frame.kept:
                tally.left_out[UNSURE if sure.sum() < FEWEST_IN_VIEW else OUTSIDE] += 1
            continue
        known |= {"box": box_of_points(points, in_view), "extrinsics": tracking.extrinsics[frame.number]}
        yield KnownHand(side=side, sample_id=frame.number, sample_key=f"{name}#{frame.number}", **known)


def scale_camera(camera: np.ndarray, width: int, height: int) -> np.ndarray:
    """K of frames that were made smaller, or larger: centres of pixels are at integers."""
    scale = np.array([width / WIDTH, height / HEIGHT, 1.0])
    scaled = camera * scale[:, None]
    scaled[:2, 2] += 0.5 * scale[:2] - 0.5
    return scaled


def read_tables(path: Path) -> Tracking:
    """Raises HandtoolError, DamagedFile."""
    with open_hdf5(path) as file:
        camera = need(file, "camera/intrinsic", (3, 3)).astype(np.float64)
        if not np.isfinite(camera).all() or min(camera[0, 0], camera[1, 1]) <= 0 or (camera[2] != (0, 0, 1)).any():
            raise DamagedFile(f"{path}: camera/intrinsic is no camera matrix")
        pose = need(file, "transforms/camera", (None, 4, 4)).astype(np.float64)
        names = [joint_names(side) for side in SIDES]
        places = [
            [need_joint(file, "transforms", name, (None, 4, 4))[:, :3, 3].copy() for name in each] for each in names
        ]
        given = [[find_joint(file, "confidences", name, (None,)) for name in each] for each in names]
        session, place = file.text("session_name") or file.text("task"), file.text("environment")
    confidences = [[each for each in of_side if each is not None] for of_side in given]
    has_confidences = all(len(each) == NUM_JOINTS for each in confidences)
    tables = [pose, *places[0], *places[1], *(sum(confidences, []) if has_confidences else [])]
    count = min(len(table) for table in tables)
    world = np.stack([[table[:count] for table in of_side] for of_side in places]).transpose(2, 0, 1, 3)
    extrinsics = invert_poses(pose[:count], path)
    joints = world @ np.swapaxes(extrinsics[:, None, :, :3], -1, -2) + extrinsics[:, None, None, :, 3]
    sure = np.ones(joints.shape[:3], bool)
    if has_confidences:
        each = np.stack([[table[:count] for table in of_side] for of_side in confidences]).transpose(2, 0, 1)
        sure = np.where(np.arange(NUM_JOINTS) == 0, each, each * each[..., :1]) >= SURE
    return Tracking(camera, extrinsics, joints, sure & np.isfinite(joints).all(-1), session, place, has_confidences)


def invert_poses(pose: np.ndarray, path: Path) -> np.ndarray:
    """pose: (n, 4, 4) camera to world. Returns (n, 3, 4) world to camera, NaN where it is no rigid motion."""
    turn = np.swapaxes(pose[:, :3, :3], -1, -2)
    with np.errstate(all="ignore"):
        rigid = np.abs(turn @ pose[:, :3, :3] - np.eye(3)).max(axis=(1, 2), initial=0) < 0.01
        extrinsics = np.concatenate([turn, -turn @ pose[:, :3, 3:]], axis=2)
    if len(pose) and not rigid.any():
        raise DamagedFile(f"{path}: no pose of its camera is a rotation and a place")
    extrinsics[~rigid] = np.nan
    return extrinsics


def joint_names(side: str) -> list[str]:
    """In handtool's order."""
    return [f"{side}Hand", *(f"{side}{finger}{level}" for finger in FINGERS for level in LEVELS)]


def find_joint(file: Hdf5, group: str, name: str, shape: tuple[int | None, ...]) -> np.ndarray | None:
    others = [name.replace(usual, other) for usual, other in OTHER_NAMES.items() if usual in name]
    for called in (name, *others):
        if (found := file.read(f"{group}/{called}", shape)) is not None:
            return found
    return None


def need_joint(file: Hdf5, group: str, name: str, shape: tuple[int | None, ...]) -> np.ndarray:
    if (found := find_joint(file, group, name, shape)) is None:
        raise DamagedFile(f"{file.path} has no {group}/{name}")
    return found


def need(file: Hdf5, name: str, shape: tuple[int | None, ...]) -> np.ndarray:
    if (found := file.read(name, shape)) is None:
        raise DamagedFile(f"{file.path} has no {name}")
    return found
