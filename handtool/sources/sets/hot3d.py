"""HOT3D-Clips (Banerjee et al. 2025, arXiv 2411.19167) and the clips of the UmeTrack challenge: 5 s of both hands, seen
by the fisheye cameras of Aria glasses or a Quest 3, one tar a clip.

    train_aria/clip-001849.tar  train_quest3/…  test_aria/…      clip_definitions.json (whose sequence a clip is of)
        000000.image_214-1.jpg  000000.image_1201-1.jpg …        a camera each: 214-1 colour, 1201-1 and 1201-2 grey
        000000.cameras.json     camera -> calibration {image_width, image_height, projection_model_type,
                                projection_params}, T_world_from_camera {quaternion_wxyz, translation_xyz m}
        000000.hands.json       left, right -> umetrack_pose {joint_angles 20, T_world_from_wrist}, visibilities_modeled
        __hand_shapes.json__    umetrack -> the hand shape of the person, mm

A clip is a video with all its cameras, since they see the same moments; its rows go camera by camera. A tar without
hands.json or hand shapes (the test clips) is no labelled set: its images come out, one video a camera.

Conversions: joints by UmeTrack's model (hands/umetrack.py), which needs no licensed file: 20 of 21, the thumb's cmc is
not known. X_camera = R^T (X - t), where R | t is T_world_from_camera. Keypoints are projected through the lens onto the
picture as it is; each crop is then the picture of a pinhole camera of its own that is turned to the hand. A hand that
is visible by less than a tenth (`visibilities_modeled`), or has no keypoint on the picture, is left out, as in the
set's own crops. Box: the extent of the keypoints. Aria's images lie turned by 90 degrees, and so they stay. What is not
read: MANO's parameters, objects, masks.

`sample_id` is the place of the frame in the clip, `sample_key` the name of the image. Subject: the participant
(`P0001`) by clip_definitions.json, or the number of UmeTrack's subject in the name of the tar.
"""

import logging
import os
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from handtool.bounded import parse_json
from handtool.errors import DamagedFile, HandtoolError
from handtool.hands import lens as lenses
from handtool.hands.label_faults import is_inside
from handtool.hands.skeleton import LEFT, RIGHT
from handtool.hands.umetrack import BadShape, HandShape, make_shape, place_joints
from handtool.names import natural
from handtool.sources.frame import Choice, Frame, KnownHand, Tally, Video
from handtool.sources.labelled_frames import BadLabel, Sample, from_joints, read_known
from handtool.sources.large_json import read_members
from handtool.sources.sets.dataset_choice import choose_split, missing_error, refuse_choice
from handtool.sources.sets.hot3d_cameras import as_numbers, read_lens, read_place
from handtool.sources.tar_index import NoTar, TarIndex, read_index
from handtool.sources.tar_member import SUFFIX, Member, read_member

NAME, TITLE = "hot3d", "HOT3D clips"
SPLITS = {"train": "train"}  # the others have no labels
BOX_SCALE = 1.75  # side of a crop / extent of the keypoints
CAMERAS, HANDS, SHAPES, DEFINITIONS = ".cameras.json", ".hands.json", "__hand_shapes.json__", "clip_definitions.json"
IMAGE = re.compile(r"(.*)\.image_([^/]+)\.(?:jpe?g|png)")
SIDES = {"right": RIGHT, "left": LEFT}
LEAST_VISIBLE = 0.1  # share of the hand's surface
LARGEST = 16 << 20  # bytes of a json
HINT = "the test clips have no labels: leave out --dataset, then their images are read"
NONE = (-1, 0)  # span of what is not there
log = logging.getLogger(__name__)


def is_clip(names: list[str]) -> bool:
    """names: of the members of a tar. Whether labelled hands are in it."""
    endings = (CAMERAS, HANDS)
    return SHAPES in names and all(any(name.endswith(ending) for name in names) for ending in endings)


def is_root(folder: Path, names: list[str], below: list[str]) -> bool:
    """A folder of clips is searched as any folder of tars, each of which is recognised by its members."""
    return False


def find_videos(root: Path, title: str, choice: Choice) -> list[Video]:
    """The clips in the tars below `root`. Raises HandtoolError where there are none."""
    videos: list[Video] = []
    for folder, below, files in os.walk(root):
        below.sort(key=natural)
        for file in sorted((file for file in files if file.endswith(SUFFIX)), key=natural):
            place = Path(folder, file)
            try:
                index = read_index(str(place))
            except (NoTar, OSError) as error:
                log.warning("%s is not read: %s", place, error)
                continue
            if is_clip([*index.spans]):
                videos += find_in_tar(index, [*index.spans], f"{title}/{place.relative_to(root).as_posix()}", choice)
    if not videos:
        raise missing_error(root / "clip-000000.tar", f"tars with NUMBER{CAMERAS}, NUMBER{HANDS} and {SHAPES}", HINT)
    return videos


def find_in_tar(index: TarIndex, names: list[str], title: str, choice: Choice) -> Iterator[Video]:
    """The clip as a video, with the cameras that are asked for; nothing where it has none of them."""
    split = choose_split(TITLE, choice.split, SPLITS, ["train"], Path(index.path))
    refuse_choice(TITLE, "--subset", choice.subset, "name the tars that are wanted")
    found = [(match[2], match[1], name) for name in names if (match := IMAGE.fullmatch(name))]
    found = sorted((one for one in found if not choice.cameras or one[0] in choice.cameras), key=natural_parts)
    if not found:
        return
    keys = {key: place for place, key in enumerate(sorted({key for _, key, _ in found}, key=natural))}
    spans = {
        kind: np.array([index.spans.get(key + ending, NONE) for _, key, _ in found], np.int64)
        for kind, ending in (("cameras", CAMERAS), ("hands", HANDS))
    }
    labels = spans | {
        "image": np.array([index.spans[name] for _, _, name in found], np.int64),
        "camera": np.array([camera.encode() for camera, _, _ in found]),
        "name": np.array([name.encode() for _, _, name in found]),
        "id": np.array([keys[key] for _, key, _ in found], np.int64),
        "number": np.arange(len(found)),
    }
    tables = {"shapes": np.array([index.spans[SHAPES]], np.int64)}
    about: dict[str, Any] = {"dataset": NAME, "labels": labels, "tables": tables, "tar": index.path}
    about |= {"split": split, "subject": find_subject(Path(index.path))}
    yield Video(title, index.path, "labelled", rows=tuple(range(len(found))), **about)


def natural_parts(image: tuple[str, str, str]) -> tuple:
    return natural(image[0]), natural(image[1])


def find_subject(tar: Path) -> str:
    if match := re.match(r"(subject_\d+)_", tar.name):
        return match[1]
    if not (match := re.fullmatch(r"clip-(\d{1,9})", tar.stem)):
        return ""
    beside = (folder / DEFINITIONS for folder in (tar.parent, tar.parent.parent))
    place = next((path for path in beside if path.is_file()), None)
    return read_participants(place).get(int(match[1]), "") if place else ""


@lru_cache(maxsize=4)
def read_participants(path: Path) -> dict[int, str]:
    """Clip -> participant, by the name of its sequence (`P0001_23fa0ee8`)."""
    found: dict[int, str] = {}
    try:
        for clip, about in read_members(path):
            sequence = about.get("sequence_id") if isinstance(about, dict) else None
            if clip.isdecimal() and len(clip) < 10 and isinstance(sequence, str):
                found[int(clip)] = sequence.partition("_")[0]
    except HandtoolError as error:
        log.warning("whose hands they are is not known: %s", error.message)
    return found


def read_labelled_frames(video: Video, tally: Tally) -> Iterator[Frame]:
    """Every image of the rows, with the hands that are seen on it."""
    labels, shape = video.labels, None

    def find(row: int) -> Sample:
        name = labels["name"][row].decode()
        offset, size = labels["image"][row].tolist()
        return Sample(Member(video.tar, offset, size, f"{video.tar}/{name}"), name, int(labels["number"][row]))

    def label(row: int, sample: Sample, image: np.ndarray) -> tuple[KnownHand, ...]:
        nonlocal shape
        shape = shape or read_shape(video)
        cameras, poses = (read_part(video.tar, labels[kind][row], kind) for kind in ("cameras", "hands"))
        camera = labels["camera"][row].decode()
        about = cameras.get(camera)
        if not isinstance(about, dict):
            raise BadLabel("images of cameras without a calibration")
        (lens, size), world = read_lens(about.get("calibration")), read_place(about.get("T_world_from_camera"))
        if size != image.shape[1::-1]:
            raise BadLabel("images of another size than that of their calibration")
        place = int(labels["id"][row]), sample.name
        hands = (read_hand(shape, poses.get(name), side, lens, world, camera, place) for name, side in SIDES.items())
        return tuple(hand for hand in hands if hand and is_inside(hand.keypoints[None], np.array([size])).any())

    return read_known(video, tally, find, label)


def read_shape(video: Video) -> HandShape:
    told = read_part(video.tar, video.tables["shapes"][0], "hand shapes")
    try:
        return make_shape(told.get("umetrack"))
    except BadShape as error:
        raise BadLabel(f"images with {error}") from None


@lru_cache(maxsize=8)
def read_at(tar: str, offset: int, size: int) -> Any:
    return parse_json(read_member(Member(tar, offset, size, tar), LARGEST), tar)


def read_part(tar: str, span: np.ndarray, kind: str) -> dict:
    """One of the json objects of a frame. Raises BadLabel."""
    if span[0] < 0:
        raise BadLabel(f"images of frames without {kind}")
    try:
        content = read_at(tar, *span.tolist())
    except (OSError, ValueError, DamagedFile):
        content = None
    if not isinstance(content, dict):
        raise BadLabel(f"images of frames whose {kind} cannot be read")
    return content


def read_hand(
    shape: HandShape, told: Any, side: int, lens: lenses.Lens, world: np.ndarray, camera: str, place: tuple[int, str]
) -> KnownHand | None:
    """None where it is not known, or hardly seen. world: (4, 4), the camera's frame in the world; place: sample_id and
    sample_key. Raises BadLabel."""
    pose = told.get("umetrack_pose") if isinstance(told, dict) else None
    if not isinstance(told, dict) or not isinstance(pose, dict):
        return None
    visible = told.get("visibilities_modeled")
    share = visible.get(camera) if isinstance(visible, dict) else None
    if isinstance(share, (int, float)) and share < LEAST_VISIBLE:
        return None
    angles = as_numbers(pose.get("joint_angles"))
    if angles.size < 20:
        raise BadLabel("images with a pose that is none")
    joints = place_joints(shape, angles[:20], read_place(pose.get("T_world_from_wrist")), side)
    extrinsics = np.concatenate([world[:3, :3].T, -world[:3, :3].T @ world[:3, 3:]], axis=1)
    joints = joints @ extrinsics[:, :3].T + extrinsics[:, 3]
    keypoints = lenses.project(lens, joints)
    known = from_joints(joints, lens.camera, keypoints) | {"lens": lens if lens.bends else None}
    return KnownHand(side, sample_id=place[0], sample_key=place[1], extrinsics=extrinsics, **known)
