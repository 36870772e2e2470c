"""Ego-Exo4D's hands, raw and prepared: from the world into each camera, the glasses' pictures turned upright."""

import json

import numpy as np
import pytest
from footage import make_video, run_stage, tables_of, write_image
from true_hands import draw_hands

from handtool.config import ExtractConfig
from handtool.errors import DamagedFile, HandtoolError, WrongCommand
from handtool.hands.skeleton import LEFT, RIGHT
from handtool.sources.find import find_videos
from handtool.sources.frame import Choice, Sampling, Tally
from handtool.sources.read import read_frames
from handtool.sources.sets import egoexo4d
from handtool.stages.extract import extract
from handtool.store import LABELS, VIDEOS

pytest.importorskip("ijson", reason="needs the extra `datasets`")
ORDER = ["wrist", *(f"{f}_{n}" for f in ("thumb", "index", "middle", "ring", "pinky") for n in (1, 2, 3, 4))]
UID, TAKE, FRAMES = "0a1b-uid", "cooking_07_2", (30, 33, 36)
ARIA = np.array([[150.0, 0, 255.5], [0, 150, 255.5], [0, 0, 1]])
EXO = np.array([[90.0, 0, 79.5], [0, 90, 59.5], [0, 0, 1]])  # of a film of 160 x 120


def see(joint, camera):
    x, y, z = map(float, joint)
    return [camera[0, 0] * x / z + camera[0, 2], camera[1, 1] * y / z + camera[1, 2]]


def make_poses(seed=5):
    """World joints (frames, right and left, 21, 3) m; extrinsics of the glasses by frame, and of a camera around."""
    rng = np.random.default_rng(seed)
    hands = np.array([draw_hands(len(FRAMES), rng, np.full(len(FRAMES), left)) for left in (False, True)])
    in_glasses = hands.transpose(1, 0, 2, 3) * 0.9 + (0, 0.05, 0)
    outer = []
    for _ in FRAMES:
        turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
        turn[:, 0] *= np.linalg.det(turn)
        outer.append(np.column_stack([turn, rng.uniform(-0.3, 0.3, 3)]))
    world = np.array([(of - pose[:, 3]) @ pose[:, :3] for of, pose in zip(in_glasses, outer)])
    middle = world[0].reshape(-1, 3).mean(axis=0)
    around = np.column_stack([np.eye(3), (0, 0, 0.8) - middle])
    return world, in_glasses, np.array(outer), around


def put_pictures(folder, in_glasses):
    """512 x 512, lying on their side; the tip of the right index finger is a white spot."""
    for frame, hands in zip(FRAMES, in_glasses):
        image = np.full((512, 512, 3), 40, np.uint8)
        x, y = np.round(see(hands[0][8], ARIA)).astype(int)
        image[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2] = 255
        write_image(folder / f"{frame:06d}.png", image)


def make_raw(root, views=5, change=None, exo=True):
    world, in_glasses, outer, around = make_poses()
    frames = {}
    for number, hands in zip(FRAMES, world):
        entry = {"annotation3D": {}, "annotation2D": {"cam01": {}}}
        for side, joints in zip(("right", "left"), hands):
            for name, (x, y, z) in zip(ORDER, joints.tolist()):
                entry["annotation3D"][f"{side}_{name}"] = {"x": x, "y": y, "z": z, "num_views_for_3d": views}
        frames[str(number)] = [entry]
    poses = {
        "aria01": {
            "camera_intrinsics": ARIA.tolist(),
            "camera_extrinsics": {str(number): each.tolist() for number, each in zip(FRAMES, outer)},
        },
        "cam01": {"camera_intrinsics": EXO.tolist(), "camera_extrinsics": around.tolist()},
        "metadata": {"take_uid": UID},
    }
    if change:
        change(frames, poses)
    below = root / "annotations" / "ego_pose" / "train"
    for path, content in (("hand/annotation", frames), ("camera_pose", poses)):
        (below / path).mkdir(parents=True, exist_ok=True)
        (below / path / f"{UID}.json").write_text(json.dumps(content))
    (root / "takes.json").write_text(
        json.dumps([{"take_uid": UID, "take_name": TAKE, "participant_uid": 317}, {"take_uid": "../x"}, 7])
    )
    put_pictures(root / "image" / "undistorted" / "train" / TAKE, in_glasses)
    if exo:
        film = root / "takes" / TAKE / "frame_aligned_videos"
        film.mkdir(parents=True)
        make_video(film / "cam01.mp4", 36, 30, (160, 120))  # frame 36 is beyond its end
        make_video(film / "aria01_214-1.mp4", 2, 30, (64, 64))
    return world, in_glasses, outer, around


def make_prepared(root, name="annotation/manual/ego_pose_gt_anno_train_public.json", change=None, split="train"):
    _, in_glasses, _, _ = make_poses()
    frames = {}
    for number, hands in zip(FRAMES, in_glasses):
        entry = {"metadata": {"take_uid": UID, "take_name": TAKE, "frame_number": number}}
        for side, joints in zip(("right", "left"), hands):
            points = np.array([see(joint, ARIA) for joint in joints])
            entry |= {f"{side}_hand_3d": joints.tolist(), f"{side}_hand_2d": points.tolist()}
            entry |= {f"{side}_hand_bbox": [*(points.min(axis=0) - 5), *(points.max(axis=0) + 5)]}
            entry |= {f"{side}_hand_valid_3d": [True] * 21}
        frames[str(number)] = entry
    if change:
        change(frames)
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(json.dumps({UID: frames}))
    put_pictures(root / "image" / "undistorted" / split / TAKE, in_glasses)
    return in_glasses


def read_set(root, **choice):
    tally = Tally()
    videos = find_videos([root], choice=Choice(**choice)).videos
    return videos, tally, [frame for video in videos for frame in read_frames(video, Sampling(), tally)]


def check_turned(frame, in_glasses):
    """The glasses' picture and labels, turned together by 90 degrees clockwise."""
    right, left = frame.hands
    assert (right.side, left.side) == (RIGHT, LEFT)
    for hand, joints in zip((right, left), in_glasses):
        upright = np.array([[-y, x, z] for x, y, z in joints])
        assert np.allclose(hand.joints, upright, atol=1e-5) and hand.valid.all() and hand.keypoints_valid.all()
        assert np.allclose(hand.keypoints, [see(joint, hand.camera) for joint in upright], atol=1e-2)
        where = np.array([see(joint, ARIA) for joint in joints])  # row and column of the picture as it lies
        assert np.allclose(hand.keypoints, np.stack([511 - where[:, 1], where[:, 0]], axis=1), atol=1e-2)
    x, y = np.round(right.keypoints[8]).astype(int)
    assert frame.image[y, x].tolist() == [255, 255, 255] and frame.image.sum() < frame.image.size * 41


def test_raw_annotations_come_into_the_frames_of_both_kinds_of_cameras(tmp_path):
    world, in_glasses, _, around = make_raw(tmp_path)
    (video,), tally, frames = read_set(tmp_path)
    assert (video.name, video.subject, video.split) == (f"{tmp_path.name}/train/{TAKE}", "317", "train")
    assert [frame.number for frame in frames] == [0, 1, 2, 3, 4] and len(video.rows) == 6
    for frame, hands in zip(frames[:3], in_glasses):
        check_turned(frame, hands)
    for row, frame in enumerate(frames[3:]):
        assert frame.image.shape == (120, 160, 3)
        for hand, joints in zip(frame.hands, world[row]):
            expected = [around[:, :3] @ joint + around[:, 3] for joint in joints]
            assert np.allclose(hand.joints, expected, atol=1e-5) and np.allclose(hand.camera, EXO)
            assert np.allclose(hand.keypoints, [see(joint, EXO) for joint in expected], atol=1e-2)
    for frame, of in zip(frames, [*world, *world]):
        for hand, joints in zip(frame.hands, of):
            assert np.allclose(joints @ hand.extrinsics[:, :3].T + hand.extrinsics[:, 3], hand.joints, atol=1e-5)
    assert frames[0].hands[0].sample_key == f"{TAKE}/aria01/000030"
    assert frames[4].hands[1].sample_key == f"{TAKE}/cam01/000033"
    assert dict(tally.failed) == {"frames that are not in their film, or damaged there": 1}


def test_manual_joints_count_where_three_cameras_saw_them_and_absent_ones_never(tmp_path):
    def change(frames, poses):
        frames["30"][0]["annotation3D"]["right_index_4"]["num_views_for_3d"] = 2
        del frames["30"][0]["annotation3D"]["right_pinky_1"]
        for name in ORDER:
            del frames["33"][0]["annotation3D"][f"left_{name}"]

    make_raw(tmp_path, change=change, exo=False)
    _, tally, frames = read_set(tmp_path, cameras=("aria01",))
    assert np.flatnonzero(~frames[0].hands[0].valid).tolist() == [8, 17]
    assert np.flatnonzero(~frames[0].hands[0].keypoints_valid).tolist() == [8, 17]
    assert [len(frame.hands) for frame in frames] == [2, 1, 2] and not tally.left_out


def test_points_that_were_marked_on_the_picture_are_the_keypoints(tmp_path):
    def change(frames, poses):
        marked = {f"right_{name}": {"x": 40.0 + n, "y": 60.0 - n} for n, name in enumerate(ORDER)}
        frames["30"][0]["annotation2D"]["cam01"] = marked

    make_raw(tmp_path, change=change)
    _, _, frames = read_set(tmp_path, cameras=("cam01",))
    right = frames[0].hands[0]
    assert right.keypoints.tolist() == [[40.0 + n, 60.0 - n] for n in range(21)]
    assert right.box.tolist() == [40, 40, 61, 61] and right.valid.all()


def test_the_prepared_file_gives_the_same_hands(tmp_path):
    in_glasses = make_prepared(tmp_path)
    (video,), tally, frames = read_set(tmp_path)
    assert video.name == f"{tmp_path.name}/train/{TAKE}" and len(frames) == 3 and tally.status == "ok"
    for frame, hands in zip(frames, in_glasses):
        check_turned(frame, hands)
        x0, y0, x1, y1 = frame.hands[0].box
        low, high = frame.hands[0].keypoints.min(axis=0), frame.hands[0].keypoints.max(axis=0)
        expected = (low[0] - 4, low[1] - 5, high[0] + 6, high[1] + 5)  # edges turn about the edge
        assert np.allclose([x0, y0, x1, y1], expected, atol=0.02)


def test_absent_hands_and_joints_of_the_prepared_file_are_not_valid(tmp_path):
    def change(frames):
        frames["30"] |= {f"left_hand_{key}": [] for key in ("3d", "2d", "bbox", "valid_3d")}
        frames["33"]["right_hand_3d"][5] = [float("nan")] * 3
        frames["33"]["right_hand_2d"][5] = [float("nan")] * 2
        frames["33"]["right_hand_valid_3d"][0] = False  # the wrist is there all the same

    make_prepared(tmp_path, change=change)
    _, _, frames = read_set(tmp_path)
    assert [hand.side for hand in frames[0].hands] == [RIGHT]
    assert np.flatnonzero(~frames[1].hands[0].valid).tolist() == [0, 5]


def test_boxes_alone_are_what_the_test_split_has(tmp_path):
    def change(frames):
        for entry in frames.values():
            for side in ("right", "left"):
                for key in ("3d", "2d", "valid_3d"):
                    del entry[f"{side}_hand_{key}"]

    make_prepared(tmp_path, "ego_pose_gt_anno_test_public.json", change, "test")
    (video,), _, frames = read_set(tmp_path)
    assert video.split == "test" and len(frames) == 3
    assert not any(hand.valid.any() or hand.keypoints_valid.any() for frame in frames for hand in frame.hands)
    assert all(np.isfinite(hand.box).all() for frame in frames for hand in frame.hands)


def test_the_set_is_extracted_and_what_is_lacking_is_counted(tmp_path):
    def change(frames, poses):
        for name in ORDER:  # 20 m beside the camera
            frames["33"][0]["annotation3D"][f"left_{name}"]["x"] += 20

    make_raw(tmp_path, change=change)
    (tmp_path / "image" / "undistorted" / "train" / TAKE / "000036.png").unlink()
    report = run_stage(extract, [tmp_path], tmp_path / "out.h5", ExtractConfig(workers=1, size=64))
    _, frames, hands = report["accounting"]
    assert frames["done"] == 4 and sum(frames["failed"].values()) == 2
    assert hands["done"] == 6 and hands["skipped"] == {egoexo4d.NO_BOX: 2} and report["box_scale"] == 1.75
    tables = tables_of(tmp_path / "out.h5", VIDEOS, LABELS)
    assert tables["labels/valid"].all() and np.isfinite(tables["labels/extrinsics"]).all()
    assert (tables["videos/width"].tolist(), tables["videos/subject"].tolist()) == ([512], ["317"])


def test_other_choices_are_refused(tmp_path):
    make_raw(tmp_path, exo=False)
    for choice, told in ({"split": "s0"}, "no split"), ({"subset": ("manual", "automatic")}, "not to be mixed"):
        with pytest.raises(WrongCommand, match=told):
            read_set(tmp_path, dataset="egoexo4d", **choice)
    with pytest.raises(HandtoolError, match="annotations of its hands"):
        read_set(tmp_path, dataset="egoexo4d", subset=("automatic",))
    with pytest.raises(HandtoolError, match="fisheye"):
        read_set(tmp_path, dataset="egoexo4d", cameras=("cam09",))
    for picture in (tmp_path / "image" / "undistorted" / "train" / TAKE).iterdir():
        picture.unlink()
    with pytest.raises(HandtoolError, match="fisheye"):
        read_set(tmp_path)


def other_size(root):
    for picture in (root / "image" / "undistorted" / "train" / TAKE).iterdir():
        write_image(picture, np.zeros((256, 256, 3), np.uint8))


def test_prepared_labels_are_of_pictures_of_their_size_alone(tmp_path):
    make_prepared(tmp_path)
    other_size(tmp_path)
    _, tally, frames = read_set(tmp_path)
    assert not frames and "another size" in next(iter(tally.failed))


@pytest.mark.parametrize(
    "change",
    [
        lambda frames, poses: frames.update({"thirty": frames["30"]}),
        lambda frames, poses: frames["30"][0]["annotation3D"]["right_wrist"].pop("x"),
        lambda frames, poses: frames["30"][0].update(annotation3D=[1, 2]),
        lambda frames, poses: frames.update({"30": 7}),
        lambda frames, poses: poses["aria01"].update(camera_intrinsics=[[1, 2], [3, 4]]),
        lambda frames, poses: poses["aria01"]["camera_extrinsics"].update({"30": "x"}),
        lambda frames, poses: poses["aria01"].pop("camera_extrinsics"),
    ],
)
def test_hostile_raw_json_is_refused_in_one_line(tmp_path, change):
    make_raw(tmp_path, change=change, exo=False)
    with pytest.raises(DamagedFile) as told:
        read_set(tmp_path)
    assert "\n" not in told.value.message


@pytest.mark.parametrize(
    "change",
    [
        lambda frames: frames["30"].update(right_hand_3d=[[1, 2, 3]] * 20),
        lambda frames: frames["30"].update(right_hand_bbox="x"),
        lambda frames: frames.update({"-1": frames["30"]}),
        lambda frames: frames.update({"30": 5}),
        lambda frames: frames["30"].update(metadata=[1]),
    ],
)
def test_hostile_prepared_json_is_refused_in_one_line(tmp_path, change):
    make_prepared(tmp_path, change=change)
    with pytest.raises(DamagedFile) as told:
        read_set(tmp_path)
    assert "\n" not in told.value.message


def test_names_in_the_json_lead_to_no_place_outside_the_root(tmp_path):
    make_prepared(tmp_path / "root", change=lambda frames: frames["30"]["metadata"].update(take_name="../../secret"))
    put_pictures(tmp_path / "secret", make_poses()[1])
    with pytest.raises(HandtoolError, match="fisheye"):
        read_set(tmp_path / "root")
