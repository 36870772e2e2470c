"""extract --hands: what another model found becomes crops with landmarks, or labels; every hand is accounted for."""

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from footage import make_video, run_stage, tables_of, write_image
from true_hands import draw_hands

from handtool import store
from handtool.config import ExtractConfig, KeypointsConfig
from handtool.errors import DamagedFile, HandtoolError, WrongCommand
from handtool.extraction import hands_columns
from handtool.extraction.hands_columns import read_hands
from handtool.hands.skeleton import LEFT, RIGHT
from handtool.stages.extract import extract
from handtool.stages.keypoints import keypoints
from handtool.store import KEYPOINTS, LABELS

SIZE, FRAMES, FPS = (320, 240), 8, 10
K = np.array([[300.0, 0, 160], [0, 300, 120], [0, 0, 1]])


def see(joints):
    """px, joint by joint."""
    return np.array([[300 * x / z + 160, 300 * y / z + 120] for x, y, z in joints.tolist()])


def make_hands(count=4, seed=1):
    """Hands on frames 0, 2, 4, …, left and right in turn: joints (count, 21, 3) m in the camera's frame, and the
    columns that tell them."""
    left = np.arange(count) % 2 == 0
    joints = draw_hands(count, np.random.default_rng(seed), left)
    columns = {
        "video": np.array(["clip.mp4"] * count),
        "frame": 2 * np.arange(count),
        "side": np.where(left, "left", "right"),
        "score": np.linspace(0.6, 0.9, count),
        "keypoints": np.array([see(hand) for hand in joints]),
        "joints": joints - joints[:, :1],
        "camera": K,
    }
    return joints, columns


def run(folder, columns, name="hands.npz", source=None, lens=None, **settings):
    write = {".npz": save_npz, ".json": save_json, ".parquet": save_parquet}[Path(name).suffix]
    if not (folder / "clip.mp4").exists() and source is None:
        make_video(folder / "clip.mp4", FRAMES, FPS, SIZE)
    write(folder / name, columns)
    config = ExtractConfig(workers=1, size=64, **{"every": 1, **settings})
    output = folder / "out.h5"
    more = {} if lens is None else {"lens": lens}
    report = run_stage(extract, [source or folder / "clip.mp4"], output, config, hands=folder / name, **more)
    return report, tables_of(output)


def save_npz(path, columns):
    np.savez(path, **columns)


def save_json(path, columns):
    path.write_text(json.dumps({name: np.asarray(values).tolist() for name, values in columns.items()}))


def save_parquet(path, columns):
    pa = pytest.importorskip("pyarrow", reason="needs the extra `lerobot`")
    from pyarrow import parquet

    count = len(columns["video"])
    columns = {name: np.broadcast_to(v, (count, 3, 3)) if name == "camera" else v for name, v in columns.items()}
    flat = {
        name: np.asarray(v).reshape(count, -1).tolist() if np.ndim(v) == 3 else list(v) for name, v in columns.items()
    }
    parquet.write_table(pa.table(flat), path)


@pytest.mark.parametrize("name", ["hands.npz", "hands.json", "hands.parquet"])
def test_estimates_become_crops_with_landmarks_and_joints_and_no_detector_looks(tmp_path, name):
    joints, columns = make_hands()
    report, tables = run(tmp_path, columns, name, detector="none of any kind")
    assert tables["crops/frame"].tolist() == [0, 2, 4, 6] and tables["crops/side"].tolist() == [LEFT, RIGHT] * 2
    assert np.allclose(tables["crops/score"], columns["score"]) and not store.open_file(tmp_path / "out.h5").has(LABELS)
    assert np.allclose(tables["crops/landmarks_joints"], joints - joints[:, :1], atol=1e-6)
    for row, hand in enumerate(joints):
        box = columns["keypoints"][row].min(axis=0), columns["keypoints"][row].max(axis=0) + 1
        assert np.allclose(tables["crops/box"][row], np.concatenate(box), atol=1e-3)
        camera = tables["crops/camera"][row]  # of the crop: projects the joints to the landmarks
        for joint, point in zip(hand, tables["crops/landmarks"][row]):
            x, y, z = joint
            assert np.allclose(
                point, (camera[0, 0] * x / z + camera[0, 2], camera[1, 1] * y / z + camera[1, 2]), atol=0.01
            )
    joined = report["hands_in_the_file"]
    assert list(joined.values()) == [4, 0, 4] and "frames looked at without a hand in the file" in joined


def test_keypoints_takes_them_over_and_says_that_a_teacher_gave_them(tmp_path):
    joints, columns = make_hands()
    run(tmp_path, columns)
    run_stage(keypoints, tmp_path / "out.h5", tmp_path / "k.h5", KeypointsConfig())
    with store.open_file(tmp_path / "k.h5") as file:
        attrs = store.read_attrs(file, KEYPOINTS)
        assert attrs["model"] == attrs["joints_source"] == "teacher" and store.read_column(file, KEYPOINTS.valid).all()
        assert np.allclose(store.read_column(file, KEYPOINTS.joints), joints - joints[:, :1], atol=1e-6)
        assert np.allclose(store.read_column(file, KEYPOINTS.score)[1], columns["score"][1])


@pytest.mark.parametrize("how", ["translation", "camera frame", "placed on the rays"])
def test_as_labels_their_joints_are_in_the_cameras_frame(tmp_path, how):
    joints, columns = make_hands()
    if how == "translation":
        columns |= {"joints": joints - (0.1, 0.2, 0.3), "translation": np.tile([0.1, 0.2, 0.3], (4, 1))}
        columns.pop("keypoints")
    if how == "camera frame":
        columns |= {"joints": joints}
    report, tables = run(tmp_path, columns, hands_as="labels")
    assert np.allclose(tables["labels/joints"], joints, atol=1e-4) and tables["labels/valid"].all()
    assert np.isnan(tables["crops/landmarks"]).all() and tables["labels/sample_id"].tolist() == [0, 1, 2, 3]
    on_frame = np.array([see(hand) for hand in joints])
    affine = tables["crops/crop_from_frame"]
    expected = on_frame @ affine[:, :, :2].transpose(0, 2, 1) + affine[:, None, :, 2]
    assert np.allclose(tables["labels/keypoints"], expected, atol=0.05) and tables["labels/keypoints_valid"].all()
    assert report["hands_in_the_file"]["joined"] == 4


def test_without_a_camera_labels_are_their_keypoints_alone(tmp_path):
    _, columns = make_hands()
    columns.pop("camera")
    _, tables = run(tmp_path, columns, hands_as="labels")
    assert not tables["labels/valid"].any() and tables["labels/keypoints_valid"].all()
    assert np.isnan(tables["crops/camera"]).all()


def test_labels_that_cannot_be_true_are_refused_and_estimates_are_not_believed_anyway(tmp_path):
    joints, columns = make_hands(count=12)
    columns |= {"joints": 1000 * joints, "frame": np.arange(12) % FRAMES}
    with pytest.raises(DamagedFile, match="hands.npz: .*not metres"):
        run(tmp_path, columns, hands_as="labels")
    report, _ = run(tmp_path, columns)
    assert report["hands_in_the_file"]["joined"] == 12


def test_hands_are_found_by_time_stamp(tmp_path):
    _, columns = make_hands()
    columns["time"] = columns.pop("frame") / FPS + np.array([0.004, -0.004, 0.0, 0.02])
    report, tables = run(tmp_path, columns)
    assert tables["crops/frame"].tolist() == [0, 2, 4], "the last is 20 ms off"
    assert list(report["hands_in_the_file"].values()) == [3, 1, 5]


def test_hands_on_images_are_found_by_the_name(tmp_path):
    joints, columns = make_hands(count=3)
    for number in range(3):
        write_image(tmp_path / "set" / "a" / f"{number}.png", np.full((240, 320, 3), 60, np.uint8))
    columns |= {"image": np.array(["a/0.png", "a\\2.png", "b/9.png"])}
    del columns["video"], columns["frame"]
    report, tables = run(tmp_path, columns, source=tmp_path / "set", every=None)
    assert tables["crops/frame"].tolist() == [0, 2]
    assert list(report["hands_in_the_file"].values()) == [2, 1, 1]


def test_hands_without_a_place_are_left_out_and_counted_and_unknown_columns_are_told(tmp_path, caplog):
    _, columns = make_hands()
    columns["keypoints"][1] = np.nan
    columns["beta"] = np.zeros((4, 10))
    report, tables = run(tmp_path, columns)
    assert tables["crops/frame"].tolist() == [0, 4, 6] and "beta" in caplog.text
    assert list(report["hands_left_out"].values()) == [1]


def test_json_may_be_a_list_of_hands_with_nulls(tmp_path):
    _, columns = make_hands()
    hands = [
        {name: np.asarray(columns[name])[n].tolist() for name in ("video", "frame", "side", "keypoints")}
        for n in range(4)
    ]
    hands[2] |= {"keypoints": None, "box": [10, 20, 60, 90]}
    (tmp_path / "hands.json").write_text(json.dumps(hands))
    found = read_hands(str(tmp_path / "hands.json"))
    assert np.isnan(found.keypoints[2]).all() and found.box[2].tolist() == [10, 20, 60, 90] and len(found.box) == 4


def spoilt(columns, how):
    match how:
        case "no video":
            columns.pop("video")
        case "no side":
            columns.pop("side")
        case "side":
            columns["side"] = np.array(["both"] * 4)
        case "keypoints":
            columns["keypoints"] = columns["keypoints"][:, :20]
        case "objects":
            columns["video"] = columns["video"].astype(object)
        case "lengths":
            columns["frame"] = columns["frame"][:3]
        case "frame":
            columns["frame"] = columns["frame"] + 0.5
        case "texts":
            columns["score"] = np.array(["high"] * 4)
    return columns


@pytest.mark.parametrize("how", ["no video", "no side", "side", "keypoints", "objects", "lengths", "frame", "texts"])
def test_files_that_are_not_as_described_are_refused_in_one_line(tmp_path, how):
    np.savez(tmp_path / "hands.npz", **spoilt(make_hands()[1], how))
    with pytest.raises(DamagedFile, match="hands.npz") as told:
        read_hands(str(tmp_path / "hands.npz"))
    assert "\n" not in told.value.message


@pytest.mark.parametrize("name", ["hands.parquet", "hands.npz", "hands.json"])
def test_damaged_and_hostile_files_are_refused(tmp_path, name, monkeypatch):
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow", reason="needs the extra `lerobot`")
    (tmp_path / name).write_bytes(b"PAR1" + bytes(200) + b"PAR1")
    with pytest.raises(DamagedFile, match=name):
        read_hands(str(tmp_path / name))
    if name.endswith("parquet"):
        save_parquet(tmp_path / name, make_hands()[1])
        monkeypatch.setattr(hands_columns, "PLAIN", 10)
        monkeypatch.setattr(hands_columns, "RATIO", 0.01)
        with pytest.raises(DamagedFile, match="unpack to"):
            read_hands(str(tmp_path / name))
    with pytest.raises(HandtoolError):
        read_hands(str(tmp_path / f"no_{name}"))


def test_options_that_contradict_it_are_refused(tmp_path):
    _, columns = make_hands()
    with pytest.raises(WrongCommand, match="--whole"):
        run(tmp_path, columns, whole=True)


def test_estimates_from_behind_a_lens_keep_the_axes_of_the_frames_camera(tmp_path):
    joints, columns = make_hands()
    lens = tmp_path / "lens.json"
    lens.write_text(json.dumps({"model": "fisheye", "K": K.tolist(), "distortion": [0.05, 0, 0, 0]}))
    columns.pop("camera")
    _, tables = run(tmp_path, columns, lens=lens)
    assert np.allclose(tables["crops/landmarks_joints"], joints - joints[:, :1], atol=1e-6)
    turned = np.arccos(tables["crops/rotation"][:, 2, 2])
    assert turned.max() > 0.05, "the cameras of the crops are turned"


@pytest.mark.parametrize("relative", [True, False])
def test_labels_go_through_a_lens_that_bends(tmp_path, relative):
    joints, columns = make_hands()
    bend = np.array([-0.2, 0.05, 0.001, -0.002])
    columns["keypoints"] = np.array(
        [cv2.projectPoints(hand, np.zeros(3), np.zeros(3), K, bend)[0][:, 0] for hand in joints]
    )
    columns.pop("camera")
    if not relative:
        columns |= {"joints": joints}
    lens = tmp_path / "lens.json"
    lens.write_text(json.dumps({"model": "pinhole", "K": K.tolist(), "distortion": bend.tolist()}))
    _, tables = run(tmp_path, columns, hands_as="labels", lens=lens)
    assert tables["labels/valid"].all() and np.allclose(tables["labels/joints"], joints, atol=1e-3)


def test_the_documented_lines_make_the_file_from_what_the_demos_put_out(tmp_path):
    """DATA.md's example, on hands as HaMeR's and WiLoR's demos have them: left ones mirrored, place apart."""
    text = (Path(hands_columns.__file__).parents[1] / "docs" / "DATA.md").read_text()
    (code,) = re.findall(r"```python\n(.*?def save_hands.*?)```", text, re.DOTALL)
    scope: dict = {}
    exec(code, scope)
    joints, columns = make_hands()
    place = joints[:, 9] * 0.9
    outputs = []
    for n in range(4):
        is_right = float(n % 2)
        seen = (joints[n] - place[n]) * (1 if is_right else -1, 1, 1)
        outputs.append({"pred_keypoints_3d": seen, "pred_cam_t_full": place[n], "is_right": is_right})
        outputs[-1] |= {"scaled_focal_length": 300.0, "img_size": (320, 240), "video": "clip.mp4", "frame": 2 * n}
    scope["save_hands"](tmp_path / "teacher.npz", outputs)
    with np.load(tmp_path / "teacher.npz") as archive:
        made = dict(archive)
    _, tables = run(tmp_path, made, hands_as="labels")
    assert (
        np.allclose(tables["labels/joints"], joints, atol=1e-5) and tables["crops/side"].tolist() == [LEFT, RIGHT] * 2
    )
