"""Hands that the rows of a LeRobot set tell of: which hand, on which picture, where, and what is not taken."""

import cv2
import numpy as np
import pytest
from footage import run_stage, tables_of
from lerobot_sets import CAMERAS, as_lists, ball, feature, make_v2, make_v3, write_table
from pyarrow import parquet
from scipy.spatial.transform import Rotation
from true_hands import draw_hands

from handtool.config import ExportConfig, ExtractConfig
from handtool.errors import WrongCommand
from handtool.hands.skeleton import JOINTS, LEFT, RIGHT
from handtool.sources.find import find_videos
from handtool.sources.frame import Sampling, Tally
from handtool.sources.read import read_frames
from handtool.stages.export import export
from handtool.stages.extract import extract
from handtool.store import CROPS, LABELS, open_file

LENGTHS = (4, 5)
K = (80.0, 82.0, 47.5, 31.5)
FISHEYE = (0.05, -0.02, 0.01, -0.003)
CAMERA = CAMERAS[:1]


def make_hands(seed=0):
    """(9, 2, 21, 3) m of a left and a right hand on each frame, before the camera."""
    rng = np.random.default_rng(seed)
    sides = [draw_hands(9, rng, np.full(9, left)) + (-0.09 if left else 0.09, 0, 0) for left in (True, False)]
    return np.stack(sides, axis=1)


def see(hands, k=K, distortion=(0, 0, 0, 0)):
    """(…, 21, 2) px, by OpenCV."""
    matrix = np.array([[k[0], 0, k[2]], [0, k[1], k[3]], [0, 0, 1]])
    flat = np.ascontiguousarray(hands.reshape(-1, 1, 3), np.float64)
    seen, _ = cv2.fisheye.projectPoints(flat, np.zeros(3), np.zeros(3), matrix, np.array(distortion, float))
    plain = cv2.projectPoints(flat, np.zeros(3), np.zeros(3), matrix, None)[0]
    return (seen if any(distortion) else plain).reshape(*hands.shape[:-1], 2)


def make_set(root, columns, cameras=CAMERA, **how):
    features = {name: feature("float32", values.shape[1]) for name, values in columns.items()}
    return make_v3(root, LENGTHS, cameras=cameras, columns=columns, features=features, picture_of=ball, **how)


def read(root, number=0, every=1):
    tally = Tally()
    video = find_videos([root]).videos[number]
    return list(read_frames(video, Sampling(every=every), tally)), tally, video


def flat(values):
    return np.asarray(values, np.float32).reshape(9, -1)


def with_score(points, score=1.0):
    return np.concatenate([points, np.full((*points.shape[:-1], 1), score)], axis=-1)


def quietbit(hands, points, distortion=(0, 0, 0, 0)):
    return {
        "observation.hands.kp2d": flat(with_score(points)),
        "observation.hands.kp3d": flat(hands),
        "observation.intrinsics": np.tile(np.float32([*K, *distortion]), (9, 1)),
    }


def test_keypoints_and_joints_are_those_of_their_frame(tmp_path):
    hands = make_hands()
    frames, tally, video = read(make_set(tmp_path / "set", quietbit(hands, see(hands))), number=1, every=2)
    assert video.is_labelled and tally.status == "ok" and [frame.number for frame in frames] == [0, 2, 4]
    for frame in frames:
        assert [hand.side for hand in frame.hands] == [LEFT, RIGHT]
        for hand, truth in zip(frame.hands, hands[4 + frame.number]):
            assert np.allclose(hand.joints, truth, atol=1e-6) and hand.valid.all() and hand.keypoints_valid.all()
            assert np.allclose(hand.keypoints, see(truth), atol=1e-4)
            assert hand.camera[[0, 1, 0, 1], [0, 1, 2, 2]].tolist() == list(K)
            low, high = see(truth).min(axis=0), see(truth).max(axis=0) + 1
            assert np.allclose(hand.box, [*low, *high], atol=1e-3)
    assert frames[1].hands[1].sample_key == f"set/episode_000001/{CAMERA[0]}/000002/right"


def test_what_is_not_known_is_not_valid(tmp_path):
    hands = make_hands()
    columns = quietbit(hands, see(hands))
    columns["observation.hands.kp2d"].reshape(9, 2, 21, 3)[0, 0, 7, 2] = 0  # a keypoint without a score
    columns["observation.hands.kp2d"].reshape(9, 2, 21, 3)[1, 1] = np.nan
    columns["observation.hands.kp3d"].reshape(9, 2, 21, 3)[2, 0] = 0  # no joints, but keypoints
    columns["observation.hands.valid"] = np.ones((9, 2), np.float32)
    columns["observation.hands.valid"][3] = (0, np.nan)
    frames, _, _ = read(make_set(tmp_path / "set", columns))
    assert [len(frame.hands) for frame in frames] == [2, 1, 2, 0]
    assert np.flatnonzero(~frames[0].hands[0].keypoints_valid).tolist() == [7] and frames[0].hands[0].valid.all()
    assert not frames[2].hands[0].valid.any() and frames[2].hands[0].keypoints_valid.all()
    assert np.isnan(frames[2].hands[0].joints).all()


@pytest.mark.parametrize("distortion", [(0, 0, 0, 0), FISHEYE])
def test_joints_alone_are_projected_through_the_lens(tmp_path, distortion):
    hands = make_hands()
    columns = quietbit(hands, see(hands), distortion)
    del columns["observation.hands.kp2d"]
    frames, _, _ = read(make_set(tmp_path / "set", columns))
    for frame in frames:
        for hand, truth in zip(frame.hands, hands[frame.number]):
            assert np.allclose(hand.keypoints, see(truth, distortion=distortion), atol=1e-3)
            assert hand.lens.bends == any(distortion) and hand.camera[0, 0] == K[0]


@pytest.mark.parametrize("order", ["xyzw", "wxyz"])
def test_joints_in_the_world_come_into_the_frame_of_the_head_camera(tmp_path, order):
    hands, rng = make_hands(), np.random.default_rng(3)
    turns, places = Rotation.random(9, random_state=3), rng.normal(size=(9, 3))
    world = np.array([[turn.apply(hand) + place for hand in both] for turn, place, both in zip(turns, places, hands)])
    quaternion = turns.as_quat() if order == "xyzw" else np.roll(turns.as_quat(), 1, axis=1)
    columns = {
        "observation.state.hand_left_world": flat(world[:, 0]),
        "observation.state.hand_right_world": flat(world[:, 1]),
        "observation.state.head_left_camera_position": places,
        "observation.state.head_left_camera_rotation": quaternion,
        "observation.intrinsics": np.tile(K, (9, 1)),
    }
    features = {
        name: feature("float32", *((21, 3) if "hand_" in name else values.shape[1:]))
        for name, values in columns.items()
    }
    features["observation.state.head_left_camera_rotation"]["names"] = list(order) if order == "wxyz" else None
    root = make_v3(tmp_path / "set", LENGTHS, cameras=CAMERA, columns=columns, features=features)
    frames, _, _ = read(root)
    for frame in frames:
        for hand, truth in zip(frame.hands, hands[frame.number]):
            assert np.allclose(hand.joints, truth, atol=1e-5) and np.allclose(hand.keypoints, see(truth), atol=2e-2)
            assert np.allclose(hand.extrinsics[:, :3].T @ -hand.extrinsics[:, 3], places[frame.number], atol=1e-5)


def test_the_bones_within_the_palm_of_a_manus_glove_are_left_out_and_right_comes_first(tmp_path):
    hands = make_hands()
    names = ["wrist", *JOINTS[1:5]]
    for finger in range(1, 5):
        names += ["metacarpal", *JOINTS[1 + 4 * finger : 5 + 4 * finger]]
    glove = np.full((9, 2, 25, 3), 9.0)
    for place, name in enumerate(names):
        if name in JOINTS:
            glove[:, :, place] = hands[:, ::-1, JOINTS.index(name)]
    columns = {"hand_joints": flat(glove), "observation.intrinsics": np.tile(K, (9, 1))}
    frames, _, _ = read(make_set(tmp_path / "set", columns))
    for hand, truth in zip(frames[1].hands, hands[1], strict=True):
        assert np.allclose(hand.joints, truth, atol=1e-6)


def test_labels_belong_to_the_camera_at_the_head_and_the_others_are_searched(tmp_path):
    hands = make_hands()
    root = make_set(tmp_path / "set", quietbit(hands, see(hands)), cameras=CAMERAS)
    assert [video.is_labelled for video in find_videos([root]).videos] == [True, False] * 2
    other = make_set(tmp_path / "other", quietbit(hands, see(hands)), cameras=("cam_a", "cam_b"))
    frames, tally, video = read(other)
    assert not video.is_labelled and frames[0].hands is None
    assert list(tally.notes) == ["hands not read: the set does not say which camera sees them"]


def test_what_cannot_be_read_as_21_joints_is_named(tmp_path):
    columns = {
        "observation.state.finger_pose": np.zeros((9, 90)),
        "hand_shape": np.zeros((9, 20)),
        "gripper": np.zeros((9, 2)),
    }
    _, tally, video = read(make_set(tmp_path / "set", columns))
    assert not video.is_labelled
    assert list(tally.notes) == ["not read as 21 joints of a hand: observation.state.finger_pose (90), hand_shape (20)"]


def test_version_2_knows_hands_too(tmp_path):
    hands = make_hands()
    columns = quietbit(hands, see(hands))
    features = {name: feature("float32", values.shape[1]) for name, values in columns.items()}
    root = make_v2(tmp_path / "set", LENGTHS, cameras=CAMERA, columns=columns, features=features)
    frames, _, _ = read(root, number=1)
    assert np.allclose(frames[2].hands[1].joints, hands[6, 1], atol=1e-6)


def test_extract_takes_them_as_labels_and_no_detector_is_needed(tmp_path):
    hands = make_hands()
    root = make_set(tmp_path / "set", quietbit(hands, see(hands)))
    report = run_stage(extract, [root], tmp_path / "c.h5", ExtractConfig(every=2, workers=1))
    tables = tables_of(tmp_path / "c.h5")
    assert report["accounting"][2]["done"] == 10 and tables[CROPS.frame.path].tolist() == [0, 0, 2, 2, 0, 0, 2, 2, 4, 4]
    assert np.allclose(tables[LABELS.joints.path], hands[[0, 2, 4, 6, 8]].reshape(10, 21, 3), atol=1e-6)
    assert tables[LABELS.valid.path].all() and tables[CROPS.side.path].tolist() == [LEFT, RIGHT] * 5
    with pytest.raises(WrongCommand, match="labels of lerobot say what is known of its cameras"):
        run_stage(extract, [root], tmp_path / "d.h5", ExtractConfig(every=2, camera="1,1,1,1"))


@pytest.mark.parametrize("fault", ["missing", "cut short", "other widths", "no such rows", "a link"])
def test_a_table_of_labels_that_lies_costs_its_episodes_and_nothing_else(tmp_path, fault):
    hands = make_hands()
    columns = quietbit(hands, see(hands))
    root = make_set(tmp_path / "set", columns)
    path = root / "data/chunk-000/file-000.parquet"
    if fault == "missing":
        path.unlink()
    elif fault == "cut short":
        path.write_bytes(path.read_bytes()[:-30])
    elif fault == "a link":
        path.rename(tmp_path / "elsewhere")
        path.symlink_to(tmp_path / "elsewhere")
    else:
        narrow = {name: as_lists(values[:, :20]) for name, values in columns.items()}
        rows = {"episode_index": [0] * 9, "frame_index": list(range(9))}
        same = {name: as_lists(values) for name, values in columns.items()}
        write_table(path, {**narrow, **rows} if fault == "other widths" else {**same, **rows, "episode_index": [7] * 9})
    frames, tally, _ = read(root)
    if fault == "no such rows":
        assert all(frame.hands == () for frame in frames) and len(frames) == 4
    else:
        assert not frames and tally.problem and "\n" not in tally.problem


def test_a_fisheye_lens_goes_in_and_out_again(tmp_path):
    hands = make_hands()
    seen = see(hands, distortion=FISHEYE)
    root = make_set(tmp_path / "set", quietbit(hands, seen, FISHEYE))
    run_stage(extract, [root], tmp_path / "c.h5", ExtractConfig(every=1, workers=1))
    tables = tables_of(tmp_path / "c.h5")
    assert tables[LABELS.valid.path].all() and (tables[CROPS.lens_model.path] == 2).all()
    (tmp_path / "again").mkdir()
    with open_file(tmp_path / "c.h5") as file:
        export(file, tmp_path / "again", ExportConfig("lerobot", no_video=True))
    told = parquet.read_table(tmp_path / "again/data/chunk-000/file-000.parquet")
    points = np.array(told["observation.hands.kp2d"].to_pylist()).reshape(9, 2, 21, 3)
    assert np.abs(points[..., :2] - seen).max() < 0.01 and (points[..., 2] == 1).all()
    assert np.allclose(told["observation.hands.kp3d"].to_pylist(), hands.reshape(9, 126), atol=1e-6)
    assert np.allclose(told["observation.intrinsics"].to_pylist(), [*K, *FISHEYE])
