"""HOT3D clips as they are published: hands by UmeTrack's model and cameras by their lenses, each computed here anew."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from archives import make_tar
from footage import picture, run_stage, tables_of
from scipy.spatial.transform import Rotation

from handtool import store
from handtool.config import ExtractConfig
from handtool.errors import HandtoolError, WrongCommand
from handtool.hands.skeleton import JOINTS, LEFT, RIGHT, bone_length
from handtool.hands.umetrack import BadShape, make_shape, place_joints
from handtool.sources.find import find_videos
from handtool.sources.frame import Choice, Sampling, Tally
from handtool.sources.read import read_frames
from handtool.stages.extract import extract
from handtool.store import CROPS, LABELS, VIDEOS

SIZE = (96, 80)
# UmeTrack's landmarks in its order; the last is the centre of the palm
THEIRS = [f"{finger}_tip" for finger in ("thumb", "index", "middle", "ring", "little")] + ["wrist", "thumb_mcp"]
THEIRS += ["thumb_ip"] + [f"{f}_{j}" for f in ("index", "middle", "ring", "little") for j in ("mcp", "pip", "dip")]
FISHEYE = [60.0, 47.5, 39.5, 0.3, -0.2, 0.1, -0.05, 0.02, -0.01, 1e-3, -2e-3, 3e-3, -1e-3, 2e-3, 1e-3]
CAMERAS = {
    "214-1": ("CameraModelType.FISHEYE624", FISHEYE),
    "1201-1": ("OculusVisionFishEye624", [60.0, 61.0, *FISHEYE[1:]]),
    "1201-2": ("PinholePlane", [80.0, 81.0, 47.5, 39.5]),
}


def make_profile(rng) -> dict:
    """A left hand, mm: straight fingers, each with a joint that spreads and three that bend, at the landmarks that they
    move."""
    rest, axes, landmarks = [], [], np.zeros((21, 3))
    index, weights = np.zeros((21, 3), int), np.zeros((21, 3))
    for finger, name in enumerate(("thumb", "index", "middle", "ring", "little")):
        knuckle = np.array([10.0 * finger - 20, 80.0 if finger else 30, 0]) + rng.normal(0, 1, 3)
        places = [knuckle + [0, bone, 0] for bone in (0, 35, 60, 80)]
        rest += [places[0], places[0], places[1], places[2]]
        axes += [[0, 0, 1], [1, 0, 0], [1, 0, 0], [1, 0, 0]]
        moved = ["mcp", "ip"] if name == "thumb" else ["mcp", "pip", "dip"]
        where = places[1:3] if name == "thumb" else places[:3]
        for level, (joint, place) in enumerate(zip([*moved, "tip"], [*where, places[3]], strict=True)):
            row = THEIRS.index(f"{name}_{joint}")
            landmarks[row], index[row, 0] = place, 2 + 3 * finger + min(level, 2)
            weights[row, 0] = 1
            if joint == "pip":  # half of it moves with the one before
                index[row, 1], weights[row] = 2 + 3 * finger, [0.5, 0.5, 0]
    weights[[5, 20], 0] = 1
    rest, axes = [*rest, [0, 0, 0], [0, 0, 0]], [*axes, [0, 0, 1], [1, 0, 0]]
    names = "joint_rest_positions joint_rotation_axes landmark_rest_positions landmark_rest_bone_indices"
    tables = [np.array(each).tolist() for each in (rest, axes, landmarks, index, weights)]
    return dict(zip([*names.split(), "landmark_rest_bone_weights"], tables, strict=True)) | {"hand_scale": 1.0}


def place_by_loops(profile: dict, angles, wrist, side: int) -> dict[str, np.ndarray]:
    """The landmarks by name, m: point by point, joint by joint."""
    places = {}
    for row, name in enumerate(THEIRS):
        sum_of_frames = np.zeros(3)
        for index, weight in zip(*(profile[f"landmark_rest_bone_{w}"][row] for w in ("indices", "weights"))):
            point = np.array(profile["landmark_rest_positions"][row]) / 1000
            finger, level = divmod(int(index) - 2, 3)
            for joint in range(level + 1, -1, -1) if index >= 2 else ():  # the farthest first
                number = 4 * finger + joint
                about = np.array(profile["joint_rest_positions"][number]) / 1000
                turn = Rotation.from_rotvec(np.array(profile["joint_rotation_axes"][number]) * angles[number])
                point = turn.apply(point - about) + about
            point = point * [-1 if side == RIGHT else 1, 1, 1]
            sum_of_frames += weight * (wrist[0].apply(point) + wrist[1])
        places[name] = sum_of_frames
    return places


def project_by_hand(point, model: str, numbers: list[float]) -> np.ndarray:
    """One point in the camera's frame, m -> px; FISHEYE624 as Aria's documentation has it."""
    x, y, z = point
    if model == "PinholePlane":
        fx, fy, cx, cy = numbers
        return np.array([fx * x / z + cx, fy * y / z + cy])
    fx, fy, cx, cy, *d = [numbers[0], *numbers] if len(numbers) == 15 else numbers
    r = np.hypot(x, y)
    theta = np.arctan2(r, z)
    bent = theta * (1 + sum(k * theta ** (2 * n + 2) for n, k in enumerate(d[:6])))
    u, v = bent * x / r, bent * y / r
    p1, p2, s1, s2, s3, s4 = d[6:]
    rr = u * u + v * v
    du = 2 * p2 * u * v + p1 * (rr + 2 * u * u) + s1 * rr + s2 * rr**2
    dv = 2 * p1 * u * v + p2 * (rr + 2 * v * v) + s3 * rr + s4 * rr**2
    return np.array([fx * (u + du) + cx, fy * (v + dv) + cy])


def told(rotation: Rotation, shift) -> dict:
    x, y, z, w = rotation.as_quat().tolist()
    return {"quaternion_wxyz": [w, x, y, z], "translation_xyz": np.asarray(shift).tolist()}


def make_hot3d(root: Path, clips=("train_aria/clip-001849",), frames=3, scale=1.0, change=None) -> dict:
    """Both hands half a metre before three cameras. Returns clip -> (camera, frame, hands, view) of each image: what is
    true of it. scale: of everything in the world; change: of the members, before they are written."""
    rng, truth = np.random.default_rng(3), {}
    for clip in clips:
        profile, members, truth[clip] = make_profile(rng), {}, []
        for frame in range(frames):
            turn = Rotation.random(random_state=rng)
            hands, views, names = {}, {}, {}
            for name, side, x in (("left", LEFT, -0.12), ("right", RIGHT, 0.1)):
                own = Rotation.from_euler("xyz", [np.pi + rng.normal(0, 0.1), rng.normal(0, 0.2), 0.1])
                wrist, angles = (turn * own, turn.apply([x, 0.08, 0.45])), rng.uniform(-0.1, 0.7, 20)
                hands[side] = place_by_loops(profile, angles, wrist, side)
                names[name] = {
                    "umetrack_pose": {
                        "joint_angles": [*angles, 0.0, 0.0],
                        "T_world_from_wrist": told(wrist[0], scale * wrist[1]),
                    },
                    "mano_pose": {"thetas": [0] * 15},
                    "visibilities_modeled": dict.fromkeys(CAMERAS, 0.05 if (frame, side) == (2, LEFT) else 0.9),
                }
            for number, (camera, (model, numbers)) in enumerate(CAMERAS.items()):
                view = turn * Rotation.from_euler("xyz", [0.05 * number, 0.1, 0]), turn.apply([0.02 * number, 0, 0])
                about = {"label": "camera-rgb", "image_width": SIZE[0], "image_height": SIZE[1]}
                about |= {"projection_model_type": model, "projection_params": numbers}
                views[camera] = {"calibration": about, "T_world_from_camera": told(view[0], scale * view[1])}
                truth[clip].append((camera, frame, hands, view))
                image = cv2.imencode(".jpg", picture(frame, frames, SIZE))[1].tobytes()
                members[f"{frame:06d}.image_{camera}.jpg"] = image
            members[f"{frame:06d}.cameras.json"] = json.dumps(views).encode()
            members[f"{frame:06d}.hands.json"] = json.dumps(names).encode()
            members[f"{frame:06d}.info.json"] = b"{}"
        large = {name: np.array(each) * (scale if "positions" in name else 1) for name, each in profile.items()}
        shapes = {"mano": [0.0] * 10, "umetrack": {name: each.tolist() for name, each in large.items()}}
        members["__hand_shapes.json__"] = json.dumps(shapes).encode()
        make_tar(root / f"{clip}.tar", change(members) if change else members)
    return truth


def read_clip(path: Path, **choice):
    tally = Tally()
    (video,) = find_videos([path], choice=Choice(**choice)).videos
    return video, tally, list(read_frames(video, Sampling(), tally))


def test_joints_and_keypoints_are_those_of_an_independent_computation(tmp_path):
    truth = make_hot3d(tmp_path)["train_aria/clip-001849"]
    video, tally, frames = read_clip(tmp_path / "train_aria" / "clip-001849.tar")
    assert (video.name, video.dataset, video.split) == ("clip-001849.tar", "hot3d", "train") and tally.status == "ok"
    by_name = {(camera, frame): (hands, view) for camera, frame, hands, view in truth}
    order = [(camera, f"{frame:06d}") for camera in CAMERAS for frame in range(3)]
    assert [(frame.name.rpartition("image_")[2][:-4], frame.name[:6]) for frame in frames] == order
    for number, frame in enumerate(frames):
        camera, place = frame.name.rpartition("image_")[2][:-4], int(frame.name[:6])
        hands, (turn, shift) = by_name[camera, place]
        assert frame.number == number and [hand.side for hand in frame.hands] == [RIGHT, LEFT][: 1 + (place < 2)]
        for hand in frame.hands:
            assert not hand.valid[1] and hand.valid.sum() == 20 and np.isnan(hand.joints[1]).all()
            for row, name in enumerate(JOINTS):
                if name == "thumb_cmc":
                    continue
                point = turn.inv().apply(hands[hand.side][name] - shift)
                assert np.allclose(hand.joints[row], point, atol=1e-6)
                assert np.allclose(hand.keypoints[row], project_by_hand(point, *CAMERAS[camera]), atol=1e-4)
            assert (hand.lens is None) == (camera == "1201-2") and hand.camera[0, 0] == CAMERAS[camera][1][0]
            assert np.allclose(hand.extrinsics, np.column_stack([turn.inv().as_matrix(), -turn.inv().apply(shift)]))
            assert (hand.sample_id, hand.sample_key) == (place, frame.name)
            assert 0.03 < bone_length(hand.joints) < 0.04


def test_a_right_hand_is_the_left_one_seen_in_a_mirror():
    rng = np.random.default_rng(1)
    shape, angles, wrist = make_shape(make_profile(rng)), rng.uniform(-0.2, 0.9, 20), np.eye(4)
    left, right = (place_joints(shape, angles, wrist, side) for side in (LEFT, RIGHT))
    known = np.isfinite(left).all(axis=1)
    assert np.allclose(left[known] * [-1, 1, 1], right[known]) and known.sum() == 20
    still = place_joints(shape, np.zeros(20), wrist, LEFT)
    assert np.allclose(still[5], shape.landmarks[8]) and np.allclose(still[0], shape.landmarks[5])


def test_a_file_of_hands_has_20_joints_of_each_and_its_person(tmp_path, in_this_process):
    clips = ("train_aria/clip-001849", "train_quest3/clip-000007")
    make_hot3d(tmp_path / "set", clips)
    (tmp_path / "set" / "clip_definitions.json").write_text(
        json.dumps({"1849": {"sequence_id": "P0001_23fa0ee8", "device": "Aria"}, "7": {"sequence_id": 5}})
    )
    report = run_stage(extract, [tmp_path / "set"], tmp_path / "o.h5", ExtractConfig(size=64))
    assert report["accounting"][0]["done"] == 2 and report["box_scale"] == 1.75
    with store.open_file(tmp_path / "o.h5") as file:
        assert store.read_column(file, VIDEOS.subject).tolist() == ["P0001", ""]
    tables = tables_of(tmp_path / "o.h5", CROPS, LABELS)
    assert tables["labels/valid"].sum(axis=1).tolist() == [20] * 30
    turned = np.isfinite(tables["crops/rotation"]).all(axis=(1, 2))
    assert len(turned) == 30 and turned.sum() == 20
    rotation = np.where(turned[:, None, None], tables["crops/rotation"], np.eye(3))
    seen = np.einsum("nij,njk,nlk->nli", tables["crops/camera"], rotation, tables["labels/joints"].astype(float))
    known = tables["labels/valid"]
    assert np.allclose((seen[..., :2] / seen[..., 2:])[known], tables["labels/keypoints"][known], atol=0.05)


def test_a_clip_can_be_read_by_some_of_its_cameras_and_by_the_name_of_the_set(tmp_path):
    make_hot3d(tmp_path / "set", ("train_aria/clip-000001",))
    (video,) = find_videos([tmp_path / "set"], choice=Choice(dataset="hot3d", cameras=("1201-1",))).videos
    assert video.name == "set/train_aria/clip-000001.tar" and len(video.rows) == 3
    with pytest.raises(HandtoolError):
        find_videos([tmp_path / "set"], choice=Choice(cameras=("9",)))
    for choice in (Choice(split="test"), Choice(subset=("a",))):
        with pytest.raises(WrongCommand, match="HOT3D"):
            find_videos([tmp_path / "set"], choice=choice)
    with pytest.raises(HandtoolError, match="does not exist: looked for"):
        find_videos([tmp_path], choice=Choice(dataset="hot3d", cameras=("9",)))


@pytest.mark.parametrize("without", ["hands.json", "__hand_shapes.json__"])
def test_a_clip_without_labels_gives_its_images_camera_by_camera(tmp_path, without):
    change = lambda members: {name: value for name, value in members.items() if not name.endswith(without)}  # noqa: E731
    make_hot3d(tmp_path / "set", ("test_aria/clip-000001",), change=change)
    found = find_videos([tmp_path / "set"])
    names = [f"set/test_aria/clip-000001.tar/image_{camera}" for camera in CAMERAS]
    assert sorted((video.name, video.kind, len(video.files)) for video in found.videos) == sorted(
        (name, "images", 3) for name in names
    )


def with_json(name, place, value):
    """The members, with one value of one json another; place: the keys that lead there."""

    def change(members):
        content = json.loads(members[name])
        inner = content
        for key in place[:-1]:
            inner = inner[key]
        inner[place[-1]] = value
        return members | {name: json.dumps(content).encode()}

    return change


HAND, CALIBRATION = ("left", "umetrack_pose"), ("214-1", "calibration")
BAD = [
    ("000000.cameras.json", (*CALIBRATION, "projection_model_type"), "Magic", "a model that is not known", 1),
    ("000000.cameras.json", (*CALIBRATION, "projection_params"), [1, 2], "a model that is not known", 1),
    ("000000.cameras.json", (*CALIBRATION, "projection_params"), [1e308] * 16, "a model that is not known", 1),
    ("000000.cameras.json", (*CALIBRATION, "image_width"), 640, "of another size", 1),
    ("000000.cameras.json", ("214-1", "T_world_from_camera", "quaternion_wxyz"), [0] * 4, "place of the camera", 1),
    ("000000.cameras.json", ("214-1",), None, "without a calibration", 1),
    ("000001.hands.json", (*HAND, "joint_angles"), [1.0], "a pose that is none", 3),
    ("000001.hands.json", (*HAND, "joint_angles"), ["a"] * 20, "a pose that is none", 3),
    ("000001.hands.json", (*HAND, "T_world_from_wrist"), {}, "wrist that is none", 3),
    ("__hand_shapes.json__", ("umetrack", "joint_rest_positions"), [[1]], "not numbers", 9),
    ("__hand_shapes.json__", ("umetrack", "landmark_rest_bone_indices"), [[99] * 3] * 21, "out of range", 9),
    ("__hand_shapes.json__", ("umetrack",), None, "no hand shape", 9),
]


@pytest.mark.parametrize("name, place, value, reason, count", BAD)
def test_a_label_that_cannot_be_used_is_counted_and_the_rest_is_read(tmp_path, name, place, value, reason, count):
    make_hot3d(tmp_path, change=with_json(name, place, value))
    _, tally, frames = read_clip(tmp_path)
    assert len(frames) == 9 - count and tally.failed.total() == count
    assert all(reason in told for told in tally.failed), tally.failed


@pytest.mark.parametrize("text", [b"{", b"[]", b"[" * 100_000, b"\xff"])
def test_json_that_is_none_is_counted(tmp_path, text):
    make_hot3d(tmp_path, change=lambda members: members | {"000000.cameras.json": text})
    _, tally, frames = read_clip(tmp_path)
    assert len(frames) == 6 and dict(tally.failed) == {"images of frames whose cameras cannot be read": 3}


def test_a_hand_that_is_missing_or_hardly_seen_is_none(tmp_path):
    change = with_json("000000.hands.json", ("left",), None)
    make_hot3d(tmp_path, change=change)
    _, tally, frames = read_clip(tmp_path)
    assert [len(frame.hands) for frame in frames] == [1, 2, 1] * 3 and tally.status == "ok"


def with_lens(model, numbers):
    """The members, with another lens of one camera on the first frame."""
    kind = with_json("000000.cameras.json", (*CALIBRATION, "projection_model_type"), model)
    values = with_json("000000.cameras.json", (*CALIBRATION, "projection_params"), numbers)
    return lambda members: values(kind(members))


@pytest.mark.parametrize(
    "model, numbers, same",
    [
        ("62", [60, 60, 47, 39, 0.3, -0.2, 0.1, -0.05, 1e-3, -2e-3, 0.02, -0.01], [0, 1, 2, 3, 6, 7, 4, 5]),
        ("", [60, 60, 47, 39, 0.1, -0.02, 0.01, 0.001, 0, 0, 0, 0], [0, 1, 2, 3]),
    ],
)
def test_older_fisheye_models_are_cases_of_the_newest(tmp_path, model, numbers, same):
    make_hot3d(tmp_path, change=with_lens(f"OculusVisionFishEye{model}", numbers))
    hand = read_clip(tmp_path)[2][0].hands[0]
    full = np.zeros(12)
    full[: len(same)] = np.array(numbers[4:])[same]
    for joint, point in zip(hand.joints[[0, 8, 20]], hand.keypoints[[0, 8, 20]], strict=True):
        assert np.allclose(point, project_by_hand(joint, "FISHEYE624", [*numbers[:4], *full]), atol=1e-3)


@pytest.mark.parametrize("model, order", [("OpenCV", [0, 1, 3, 4, 2]), ("Rational", [0, 1, 3, 4, 2, 5, 6, 7])])
def test_pinhole_lenses_with_distortion_are_those_of_opencv(tmp_path, model, order):
    numbers = [80.0, 81.0, 47.0, 39.0, 0.1, -0.05, 0.02, 1e-3, -2e-3, 0.01, 0.02, -0.01][: 4 + len(order)]
    make_hot3d(tmp_path, change=with_lens(model, numbers))
    hand = read_clip(tmp_path)[2][0].hands[0]
    fx, fy, cx, cy, *d = numbers
    camera, known = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]]), hand.valid
    joints, still = hand.joints[known].astype(float), np.zeros(3)
    points, _ = cv2.projectPoints(joints, still, still, camera, np.array(d)[order])
    assert np.allclose(points[:, 0], hand.keypoints[known], atol=1e-3) and hand.lens.bends


@pytest.mark.parametrize("profile", [None, {}, {"joint_rest_positions": [[0, 0, 0]] * 20}])
def test_a_shape_that_is_none_is_refused(profile):
    with pytest.raises(BadShape):
        make_shape(profile)
