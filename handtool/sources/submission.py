"""Predictions in the file formats that the evaluation servers and scripts of published data sets read.

    freihand        pred.json in a zip: [xyz, verts], each a list over the 3960 images of the evaluation, metres, camera
                    frame
    ho3d            the same over the lines of evaluation.txt (11524 in version 2, 20137 in version 3), in OpenGL's axes
                    (x right, y up, z backward) and in MANO's order of joints
    dexycb          text, a line for each image with a hand: its index in the split, then 63 numbers, mm, camera frame
    assemblyhands   json {"annotations": {sequence: {frame: {"world_coord": 42 x 3 mm, "joint_valid": 42}}}}: world
                    frame, the right hand before the left, each from the tips to the wrist; zeros for a hand that is not
                    in the picture; one pose per frame for all of its cameras

Rows are found by `sample_id` (its number in the set) or, in AssemblyHands, by `sample_key` (the image's path); their
order is that of the set.
"""

import json
import re
import zipfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from handtool.bounded import parse_json, read_bounded
from handtool.errors import DamagedFile, HandtoolError
from handtool.hands.skeleton import FROM_INTERHAND_RIGHT, FROM_MANO, LEFT, NUM_VERTICES, RIGHT

FREIHAND_IMAGES = 3960
HO3D_IMAGES = {"version 2": 11524, "version 3": 20137}
OPENGL = np.array([1.0, -1.0, -1.0])
MM_DIGITS = 5  # of a millimetre; the file's float32 knows less
NO_MESH = "zeros, no mesh was predicted: mesh errors and F-scores of the server mean nothing"
FRAME_OF_KEY = re.compile(r"([^/]+)/[^/]+/(\d{6})\.\w+")  # sequence/camera/frame.jpg


@dataclass(frozen=True)
class Submission:
    """N hands of one file, in its order."""

    name: str  # of the file, for messages
    joints: np.ndarray  # (N, 21, 3) m: camera frame where `absolute`, else relative to the wrist
    valid: np.ndarray  # (N,)
    absolute: np.ndarray  # (N,)
    side: np.ndarray  # (N,)
    sample_id: np.ndarray  # (N,) -1: of no data set
    sample_key: np.ndarray  # (N,) str
    vertices: np.ndarray | None = None  # (N, 778, 3) m, as the joints
    extrinsics: np.ndarray | None = None  # (N, 3, 4) m, world to camera; NaN unknown


def write_freihand(hands: Submission, target: Path) -> dict:
    """Raises HandtoolError where the file is not the whole evaluation in the camera frame."""
    rows = order_rows(hands, "FreiHAND")
    if training := [key for key in hands.sample_key[rows] if key.startswith("training/")]:
        raise HandtoolError(
            f"{hands.name} holds {len(training)} hands of FreiHAND's training set, a submission is of its evaluation",
            hint="handtool extract FreiHAND_pub_v2 --split evaluation -o evaluation.h5",
        )
    refuse_gaps(hands, rows, FREIHAND_IMAGES, "FreiHAND's evaluation")
    figures = write_xyz_verts(target, hands.joints[rows], chosen(hands.vertices, rows))
    return {"samples": len(rows), "frame": "camera, m"} | figures


def write_ho3d(hands: Submission, target: Path) -> dict:
    """The version is known by the number of samples. Raises HandtoolError as `write_freihand`."""
    rows = order_rows(hands, "HO-3D")
    fits = (version for version, count in HO3D_IMAGES.items() if hands.sample_id[rows[-1]] < count)
    version = next(fits, "version 3")
    refuse_gaps(hands, rows, HO3D_IMAGES[version], f"HO-3D's evaluation, {version},")
    joints = np.empty((len(rows), 21, 3))
    joints[:, list(FROM_MANO)] = shortest(hands.joints[rows])
    vertices = chosen(hands.vertices, rows)
    figures = write_xyz_verts(target, joints * OPENGL, None if vertices is None else shortest(vertices) * OPENGL)
    about = {"version": version, "frame": "camera, OpenGL's axes, m", "joints": "MANO's order"}
    return {"samples": len(rows)} | about | figures


def write_dexycb(hands: Submission, target: Path) -> dict:
    """Images without a hand have an index and no line. Raises HandtoolError for missing or relative predictions."""
    rows = order_rows(hands, "DexYCB")
    index = hands.sample_id[rows]
    joints_mm = as_mm(hands.joints[rows]).reshape(len(rows), -1)
    with target.open("w", encoding="ascii") as file:
        for number, values in zip(index.tolist(), joints_mm.tolist(), strict=True):
            file.write(",".join(map(str, [number, *values])) + "\n")
    between = int(index[-1] - index[0] + 1 - len(index))
    indices = {"indices": f"{index[0]} to {index[-1]}", "indices_between_without_a_line": between}
    return {"samples": len(rows), "frame": "camera, mm"} | indices


def write_assemblyhands(hands: Submission, target: Path, template: Path | None = None) -> dict:
    """Cameras that see the same hand are averaged. template: the challenge's json; only its frames are written.

    Raises HandtoolError where a prediction or the way to the world is missing, or the template has other frames.
    """
    rows = order_rows(hands, "AssemblyHands", one_each=False)
    poses, cameras = join_cameras(hands, rows)
    body = read_template(template) if template else {"annotations": {}}
    frames = {(sequence, frame) for sequence, of_it in body["annotations"].items() for frame in of_it}
    frames = frames or {each[:2] for each in poses}
    if not any(each[:2] in frames for each in poses):
        raise HandtoolError(
            f"{template} names {len(frames)} frames, and {hands.name} has none of them",
            hint="the template of another split?",
        )
    blank = 0
    for sequence, frame in sorted(frames):
        both = [poses.get((sequence, frame, side)) for side in (RIGHT, LEFT)]
        blank += sum(pose is None for pose in both)
        entry = body["annotations"].setdefault(sequence, {}).setdefault(frame, {})
        entry["world_coord"] = np.concatenate([np.zeros((21, 3)) if pose is None else pose for pose in both]).tolist()
        entry["joint_valid"] = [int(pose is not None) for pose in both for _ in range(21)]
    target.write_text(json.dumps(body), encoding="utf-8")
    return {
        "samples": len(frames),
        "frame": "world, mm",
        "joints": "42, right before left, from tips to wrist",
        "hands": 2 * len(frames) - blank,
        "hands_not_in_the_picture_filled_with_zeros": blank,
        "cameras_averaged_per_hand": dict(sorted(cameras.items())),
        "hands_on_frames_that_the_template_has_not": sum(each[:2] not in frames for each in poses),
    }


WRITERS = {"freihand": write_freihand, "dexycb": write_dexycb, "ho3d": write_ho3d, "assemblyhands": write_assemblyhands}


def order_rows(hands: Submission, title: str, one_each: bool = True) -> np.ndarray:
    """The rows of samples, by `sample_id`. HandtoolError where one is double, missing or not in the camera frame."""
    rows = np.flatnonzero(hands.sample_id >= 0)
    if not len(rows):
        raise HandtoolError(
            f"{hands.name} has no sample numbers of {title}",
            hint="handtool extract ROOT_OF_THE_SET --split … -o test.h5, then predict",
        )
    rows = rows[np.argsort(hands.sample_id[rows], kind="stable")]
    number = hands.sample_id[rows]
    if one_each and (twice := number[1:][number[1:] == number[:-1]]).size:
        raise HandtoolError(
            f"{hands.name} has {len(twice)} samples more than once, the first {twice[0]}",
            hint="one split, one prediction of each",
        )
    finite = hands.valid[rows] & np.isfinite(hands.joints[rows]).all(axis=(1, 2))
    if not finite.all():
        first = number[~finite][0]
        raise HandtoolError(
            f"{hands.name} lacks the prediction of {(~finite).sum()} of {len(rows)} samples, the first {first}",
            hint="where the true bone length is not known: handtool predict … --bone mean",
        )
    if not (absolute := hands.absolute[rows]).all():
        raise HandtoolError(
            f"{(~absolute).sum()} of {len(rows)} predictions of {hands.name} are relative to the wrist, {title} wants "
            "the camera frame",
            hint="the camera has to be known: handtool extract … --camera fx,fy,cx,cy, then predict",
        )
    return rows


def refuse_gaps(hands: Submission, rows: np.ndarray, count: int, title: str) -> None:
    """HandtoolError where the samples are not 0 to count - 1."""
    number = hands.sample_id[rows]
    if beyond := int((number >= count).sum()):
        raise HandtoolError(
            f"{title} has {count} samples, and {hands.name} has {beyond} with a larger number", hint="another split?"
        )
    missing = np.setdiff1d(np.arange(count), number)
    if len(missing):
        raise HandtoolError(
            f"{title} has {count} samples, {hands.name} lacks {len(missing)} of them, the first {missing[0]}",
            hint="extract the whole split, without --limit or --shard, and predict it",
        )


def chosen(values: np.ndarray | None, rows: np.ndarray) -> np.ndarray | None:
    return None if values is None else values[rows]


def shortest(values: np.ndarray) -> np.ndarray:
    """float64 of the fewest digits that give back the same float32."""
    return values.astype(str).astype(np.float64) if values.dtype == np.float32 else values


def as_mm(joints: np.ndarray) -> np.ndarray:
    return np.round(1000 * joints.astype(np.float64), MM_DIGITS) + 0.0


def write_xyz_verts(target: Path, joints: np.ndarray, vertices: np.ndarray | None) -> dict:
    """[xyz, verts] as pred.json in a zip whose bytes depend on nothing else; where there are no vertices: zeros."""
    if vertices is not None and (broken := int((~np.isfinite(vertices).all(axis=(1, 2))).sum())):
        raise HandtoolError(f"{broken} of {len(vertices)} predicted meshes are not finite")
    nothing, member_info = json.dumps(np.zeros((NUM_VERTICES, 3)).tolist()), zipfile.ZipInfo("pred.json")
    member_info.compress_type = zipfile.ZIP_DEFLATED
    with zipfile.ZipFile(target, "w") as archive, archive.open(member_info, "w", force_zip64=True) as member:
        member.write(b"[[")
        member.write(", ".join(map(json.dumps, (shortest(joints) + 0.0).tolist())).encode())
        member.write(b"], [")
        for number in range(len(joints)):
            mesh = nothing if vertices is None else json.dumps((shortest(vertices[number]) + 0.0).tolist())
            member.write((", " if number else "").encode() + mesh.encode())
        member.write(b"]]")
    return {"vertices": NO_MESH if vertices is None else "as predicted"}


def join_cameras(hands: Submission, rows: np.ndarray) -> tuple[dict[tuple[str, str, int], np.ndarray], Counter]:
    """{(sequence, frame, side): (21, 3) mm, world, the set's order}, the mean over its cameras; and how many saw it."""
    extrinsics = np.full((len(rows), 3, 4), np.nan) if hands.extrinsics is None else hands.extrinsics[rows]
    if unknown := int((~np.isfinite(extrinsics).all(axis=(1, 2))).sum()):
        raise HandtoolError(
            f"{unknown} of {len(rows)} hands of {hands.name} have no extrinsics, AssemblyHands wants the world frame",
            hint="handtool extract ASSEMBLYHANDS_ROOT --split … -o test.h5 reads them with the images",
        )
    seen: dict[tuple[str, str, int], list[np.ndarray]] = {}
    for row, world in zip(rows, world_from_camera(hands.joints[rows], extrinsics), strict=True):
        place, side = FRAME_OF_KEY.search(hands.sample_key[row]), int(hands.side[row])
        if place is None or side not in (LEFT, RIGHT):
            raise HandtoolError(
                f"{hands.sample_key[row]!r} of {hands.name} is no hand of AssemblyHands (sequence/camera/000123.jpg, "
                "left or right)"
            )
        seen.setdefault((place[1], place[2], side), []).append(world)
    poses = {key: in_their_order(as_mm(np.mean(each, axis=0))) for key, each in seen.items()}
    return poses, Counter(map(len, seen.values()))


def world_from_camera(joints: np.ndarray, extrinsics: np.ndarray) -> np.ndarray:
    """joints (n, 21, 3) m, camera frame; extrinsics (n, 3, 4) m, world to camera: X = R W + t. Returns W (n, 21, 3)."""
    rotation, shift = extrinsics[:, :, :3], extrinsics[:, :, 3]
    return np.linalg.solve(rotation, np.swapaxes(joints - shift[:, None], 1, 2)).swapaxes(1, 2)


def in_their_order(joints: np.ndarray) -> np.ndarray:
    """(21, 3) of one hand, in the order that both hands of AssemblyHands and InterHand2.6M have in their half."""
    theirs = np.empty_like(joints)
    theirs[list(FROM_INTERHAND_RIGHT)] = joints
    return theirs


def read_template(path: Path) -> dict:
    """Raises HandtoolError where there is no such file, DamagedFile where it is no json of frames."""
    try:
        body = parse_json(read_bounded(path), str(path))
        if all(isinstance(entry, dict) for of_it in body["annotations"].values() for entry in of_it.values()):
            return body
    except (KeyError, TypeError, AttributeError):
        pass
    raise DamagedFile(
        f"--template {path} is no template of AssemblyHands", hint='{"annotations": {sequence: {"000123": {…}}}}'
    )
