"""Ego-Exo4D's hands (Grauman et al. 2024, arXiv 2311.18259): both hands of people at skilled work, seen by the glasses
that they wear (Aria) and by cameras around them.

    <root>/
      annotations/ego_pose/train/hand/annotation/<take_uid>.json       marked by people; automatic/: found by models
                                 camera_pose/<take_uid>.json
      takes.json                                                       names of the takes
      takes/<take_name>/frame_aligned_videos/cam01.mp4                 the cameras around, and, for the glasses,
      image/undistorted/train/<take_name>/000123.jpg                   pictures freed of distortion, 512 x 512
or, as the set's handpose scripts prepare it,
      annotation/manual/ego_pose_gt_anno_train_public.json             (or auto/, or directly below the root)
      image/undistorted/train/<take_name>/000123.jpg

Pictures may also lie in images/<take>/<camera>/ or <take>/<camera>/, of the glasses without <camera>; <take> is name
or uid, the number the frame's. The glasses' own films are fisheye, and no label is of them: they are not read.

Conversions: X_camera = R X_world + t, joints by their names to our order. A manual joint is valid where at least 3
cameras saw it; in the prepared files where valid_3d says so. The glasses' pictures lie on their side: they are turned
by 90 degrees clockwise, and joints, keypoints, boxes, K and R | t with them. A box holds the keypoints on the picture,
where the set has none; a hand without any is left out and counted. The sides are the wearer's own.

A video is a take with all its cameras, since they see the same moments; its rows go camera by camera, `frame` is the
place in it. `sample_key` is take/camera/frame. `--subset automatic` takes what models found, `--cameras` chooses:
aria01, cam01. The raw form was read in the set's own code; of the prepared one K is taken as the scripts make it.

Memory: 1.5 kB an annotated frame. Licence: Ego-Exo4D's agreement.
"""

import logging
from collections.abc import Iterator
from dataclasses import replace
from math import gcd
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from handtool.hands.boxes import box_of_points
from handtool.hands.camera import project
from handtool.hands.skeleton import LEFT, RIGHT
from handtool.sources.frame import Choice, Frame, KnownHand, Sampling, Tally, Video
from handtool.sources.labelled_frames import BadLabel, Sample, read_known
from handtool.sources.sets.dataset_choice import choose_some, choose_split, missing_error, refuse_choice
from handtool.sources.sets.egoexo_hands import ARIA_SIZE, PREPARED, Seen, is_aria
from handtool.sources.sets.egoexo_layout import (
    SPLITS,
    SUBSETS,
    Take,
    find_pictures,
    list_splits,
    raw_folder,
    read_annotations,
    read_takes,
)
from handtool.sources.video import read_video

NAME, TITLE = "egoexo4d", "Ego-Exo4D"
BOX_SCALE = 1.75
FEWEST_IN_VIEW = 5  # keypoints on the picture
TURN = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])  # of camera axes, as the picture is turned clockwise
NO_BOX = "not on the picture, or hardly"
WHERE = "its root holds annotations/ego_pose/, or the prepared ego_pose_gt_anno_train_public.json, and the pictures"
PICTURES = (
    "pictures of the annotated takes (image/undistorted/<split>/<take_name>/, or frame_aligned_videos/cam01.mp4; the "
    "glasses' own films are fisheye and are not read)"
)
log = logging.getLogger(__name__)


def is_root(folder: Path, names: list[str], below: list[str]) -> bool:
    return any(list_splits(folder, subset) for subset in SUBSETS)


def find_videos(root: Path, title: str, choice: Choice) -> list[Video]:
    """One video a take. Raises HandtoolError where something is missing, WrongCommand for unknown names."""
    subset, *more = choose_some(TITLE, "--subset", choice.subset or ("manual",), SUBSETS)
    if more:
        refuse_choice(TITLE, "--subset", choice.subset, "manual and automatic labels are not to be mixed")
    there = list_splits(root, subset)
    if not there and choice.split is None:
        raise missing_error(raw_folder(root, "train", subset), "the annotations of its hands", WHERE)
    split = choose_split(TITLE, choice.split, SPLITS, there, root)
    named, videos, first, lacking = read_takes(root), [], 0, []
    for take, frames in read_annotations(root, split, subset, named):
        pictures = {
            camera: find_pictures(root, split, take, camera) for camera in sorted({one.camera for one in frames})
        }
        chosen = [one for one in frames if not choice.cameras or one.camera in choice.cameras]
        chosen = [one for one in chosen if pictures[one.camera]]
        if chosen:
            chosen.sort(key=lambda one: (one.camera, one.frame))
            videos.append(make_video(root, f"{title}/{split}", split, take, chosen, pictures, first))
            first += len(chosen)
        else:
            lacking.append(take.name or take.uid)
    if not videos:
        looked_for = PICTURES + (f" of --cameras {','.join(choice.cameras)}" if choice.cameras else "")
        raise missing_error(root / "image" / "undistorted" / split / (lacking or ["take"])[0], looked_for, WHERE)
    if lacking:
        log.warning("%s: of %d takes there are labels and no pictures (%s, …)", root, len(lacking), lacking[0])
    return videos


def make_video(
    root: Path, title: str, split: str, take: Take, frames: list[Seen], pictures: dict[str, str], first: int
) -> Video:
    """frames: a row each, camera by camera. first: rows of the takes before. labels: place (n,) of the pictures, number
    (n,) in the video, id (n,), and of `Seen` camera, frame and the arrays."""
    arrays: dict[str, Any] = {
        name: np.array([getattr(one, name) for one in frames])
        for name in ("camera", "frame", "intrinsics", "extrinsics", "valid", "keypoints_valid", "box")
    }
    arrays |= {name: np.array([getattr(one, name) for one in frames], np.float32) for name in ("joints", "keypoints")}
    arrays["place"] = np.array([pictures[one.camera] for one in frames])
    arrays["number"], name = np.arange(len(frames)), take.name or take.uid
    arrays["id"] = arrays["number"] + first
    about: dict[str, Any] = {"subject": take.subject, "dataset": NAME, "split": split, "labels": arrays}
    rows = tuple(range(first, first + len(frames)))
    return Video(f"{title}/{name}", str(root), "labelled", rows=rows, **about)


def read_labelled_frames(video: Video, tally: Tally) -> Iterator[Frame]:
    """Every annotated frame of which there is a picture."""
    places = video.labels["place"]
    starts = [0, *(np.flatnonzero(places[1:] != places[:-1]) + 1).tolist(), len(places)]
    for start, end in zip(starts, starts[1:]):
        part = video.of_rows(slice(start, end))
        is_film = str(places[start]).endswith(".mp4")
        yield from read_film(part, tally) if is_film else read_folder(part, tally)


def read_folder(video: Video, tally: Tally) -> Iterator[Frame]:
    labels, place = video.labels, str(video.labels["place"][0])
    numbered = {int(path.stem): path for path in (Path(video.path) / place).iterdir() if path.stem.isdecimal()}
    turns = is_aria(str(labels["camera"][0]))

    def find(row: int) -> Sample:
        number = int(labels["frame"][row])
        path = numbered.get(number, Path(video.path) / place / f"{number:06d}.jpg")
        return Sample(path, f"{place}/{path.name}", int(labels["number"][row]))

    def label(row: int, where: Sample, image: np.ndarray) -> tuple[KnownHand, ...]:
        if labels["camera"][row] == PREPARED and image.shape[:2] != (ARIA_SIZE, ARIA_SIZE):
            raise BadLabel(f"images of another size than {ARIA_SIZE} x {ARIA_SIZE}, of which the labels are")
        return tuple(hands_on(video, row, image, turns, tally))

    for frame in read_known(video, tally, find, label):
        if turns:
            tally.width, tally.height = frame.image.shape[:2]
            frame = replace(frame, image=np.ascontiguousarray(np.rot90(frame.image, -1)), jpeg=None)
        yield frame


def read_film(video: Video, tally: Tally) -> Iterator[Frame]:
    """The annotated frames of a film, by their numbers."""
    labels, path = video.labels, Path(video.path) / str(video.labels["place"][0])
    row_of = {int(frame): row for row, frame in enumerate(labels["frame"].tolist())}
    step, own = gcd(*row_of) or 1, Tally(heartbeat=tally.heartbeat)
    for frame in read_video(Video(path.name, str(path), "video"), Sampling(every=step), own):
        if (row := row_of.pop(frame.number, None)) is not None:
            tally.saw(frame.image)
            tally.decoded, tally.sampled = tally.decoded + 1, tally.sampled + 1
            hands = tuple(hands_on(video, row, frame.image, False, tally))
            yield replace(frame, number=int(labels["number"][row]), time=float("nan"), hands=hands)
        if not row_of:
            break
    if row_of:
        tally.failed["frames that are not in their film, or damaged there"] += len(row_of)
    if own.problem:
        tally.note(f"{path.name}: {own.problem}")


def hands_on(video: Video, row: int, image: np.ndarray, turns: bool, tally: Tally) -> Iterator[KnownHand]:
    """Right and left. turns: the picture will be turned clockwise, and the labels are with it."""
    labels, (height, width) = video.labels, image.shape[:2]
    camera, extrinsics = labels["intrinsics"][row], labels["extrinsics"][row]
    size = (height, width) if turns else (width, height)
    if turns:
        extrinsics = TURN @ extrinsics
    for place, side in enumerate((RIGHT, LEFT)):
        joints, valid = labels["joints"][row, place].astype(np.float64), labels["valid"][row, place]
        points, seen = labels["keypoints"][row, place].astype(np.float64), labels["keypoints_valid"][row, place]
        box = labels["box"][row, place]
        if not (seen.any() or valid.any() or np.isfinite(box).all()):
            continue  # the hand is not annotated
        if not seen.any():
            seen = valid & (joints[:, 2] > 0)
            points = np.where(seen[:, None], project(joints, camera), np.nan)
        if turns:
            joints, points = joints @ TURN.T, np.stack([height - 1 - points[:, 1], points[:, 0]], axis=1)
            box = np.array([height - box[3], box[0], height - box[1], box[2]])
        inside = seen & (points > -0.5).all(axis=1) & (points < np.array(size) - 0.5).all(axis=1)
        if not np.isfinite(box).all() and inside.sum() < FEWEST_IN_VIEW:
            tally.left_out[NO_BOX] += 1
            continue
        yield KnownHand(
            side=side,
            camera=turn_camera(camera, height) if turns else camera,
            joints=joints.astype(np.float32),
            valid=valid,
            keypoints=points,
            keypoints_valid=seen,
            sample_id=int(labels["id"][row]),
            sample_key=f"{PurePosixPath(video.name).name}/{labels['camera'][row]}/{labels['frame'][row]:06d}",
            box=box if np.isfinite(box).all() else box_of_points(points, inside),
            extrinsics=extrinsics,
        )


def turn_camera(camera: np.ndarray, height: int) -> np.ndarray:
    """K of the picture turned clockwise, whose height was that before."""
    (fx, _, cx), (_, fy, cy), _ = camera
    return np.array([[fy, 0, height - 1 - cy], [0, fx, cx], [0, 0, 1]])
