"""HO-3D in its official layout: recordings of one camera and of several, pickles of Python 2 and 3, an evaluation
with its truth and without."""

import json
import os
import pickle

import cv2
import numpy as np
import pytest
from footage import run_stage, tables_of, write_image

from handtool.config import ExtractConfig
from handtool.errors import DamagedFile, HandtoolError, WrongCommand
from handtool.hands.skeleton import BONES, JOINTS, RIGHT
from handtool.sources.find import find_videos
from handtool.sources.frame import Choice, Sampling, Tally
from handtool.sources.read import read_frames
from handtool.sources.reopen import find_again
from handtool.stages.extract import extract
from handtool.store import CROPS, LABELS, VIDEOS

MANO = ["wrist"] + [
    f"{finger}_{joint}" for finger in ("index", "middle", "little", "ring") for joint in ("mcp", "pip", "dip")
]
MANO += ["thumb_cmc", "thumb_mcp", "thumb_ip"] + [
    f"{finger}_tip" for finger in ("thumb", "index", "middle", "ring", "little")
]
CAMERA = [[614.6, 0.0, 320.3], [0.0, 615.1, 241.8], [0.0, 0.0, 1.0]]
TRAIN = ("ABF10/0002", "ABF10/0000", "SM2/0000", "ABF11/0002", "SB10/0007", "SM2/0005")
EVALUATION = ("SB11/0001", "SM1/0000", "SB11/0003")


def published(joints):
    """From metres, y down, z forward, our order, to theirs."""
    by_name = dict(zip(JOINTS, joints, strict=True))
    return np.array([(x, -y, -z) for x, y, z in (by_name[name] for name in MANO)])


def project(joints):
    (fx, _, cx), (_, fy, cy), _ = CAMERA
    return np.array([(fx * x / z + cx, fy * y / z + cy) for x, y, z in joints])


def draw(points):
    picture = np.full((480, 640, 3), 40, np.uint8)
    for a, b in BONES:
        cv2.line(picture, *(tuple(map(int, np.round(points[end]))) for end in (a, b)), (210, 160, 130), 3)
    return picture


def make_ho3d(root, ending=".jpg", protocol=4, truth=True):
    """Returns {line: (21, 3) m, our axes and order}."""
    rng, known = np.random.default_rng(8), {}
    for split, lines in (("train", TRAIN), ("evaluation", EVALUATION)):
        for line in lines:
            sequence, frame = line.split("/")
            joints = rng.uniform(-0.05, 0.05, (21, 3)) + (0.05 * rng.normal(), 0, 0.6)
            known[line], points = joints, project(joints)
            write_image(root / split / sequence / "rgb" / f"{frame}{ending}", draw(points))
            label = {
                "objName": "021_bleach_cleanser",
                "objTrans": rng.normal(size=3),
                "objLabel": 12,
                "camMat": np.array(CAMERA),
            }
            theirs = published(joints)
            if split == "train":
                label |= {
                    "handJoints3D": theirs,
                    "handPose": rng.normal(size=48),
                    "handBeta": rng.normal(size=10),
                    "handVertContact": np.zeros(778),
                }
            else:
                label |= {
                    "handJoints3D": theirs[0],
                    "handBoundingBox": [*(points.min(axis=0) - 3), *(points.max(axis=0) + 3)],
                }
            path = root / split / sequence / "meta" / f"{frame}.pkl"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(pickle.dumps(label, protocol))
        (root / f"{split}.txt").write_text("\n".join(lines) + "\n")
    if truth:
        (root / "evaluation_xyz.json").write_text(json.dumps([published(known[line]).tolist() for line in EVALUATION]))
    return known


def read_set(root, split, **choice):
    hands, tally = {}, Tally()
    for video in find_videos([root], choice=Choice(split=split, **choice)).videos:
        for frame in read_frames(video, Sampling(), tally):
            hands[frame.hands[0].sample_key] = video, frame, frame.hands[0]
    return hands, tally


@pytest.mark.parametrize("ending, protocol", [(".png", 0), (".png", 2), (".jpg", 4)])
def test_joints_come_from_opengls_axes_and_manos_order_and_lie_on_the_picture(tmp_path, ending, protocol):
    known = make_ho3d(tmp_path / "HO3D", ending, protocol)
    hands, tally = read_set(tmp_path / "HO3D", "train")
    assert tally.status == "ok" and {key: hand.sample_id for key, (_, _, hand) in hands.items()} == {
        line: row for row, line in enumerate(TRAIN)
    }
    for line, (_, frame, hand) in hands.items():
        sequence, number = line.split("/")
        assert hand.side == RIGHT and hand.valid.all() and hand.camera.tolist() == CAMERA
        assert np.allclose(hand.joints, known[line], atol=1e-7) and np.allclose(
            hand.keypoints, project(known[line]), atol=1e-9
        )
        low, high = hand.keypoints.min(axis=0), hand.keypoints.max(axis=0) + 1
        assert np.allclose(hand.box, [*low, *high])
        assert frame.name == f"train/{sequence}/rgb/{number}{ending}" and (frame.jpeg is None) == (ending == ".png")
        assert (frame.image[tuple(np.round(hand.keypoints).astype(int).T[::-1])][:, 0] > 120).all(), (
            "the hand is drawn where its keypoints are"
        )
    videos = {line: video.name for line, (video, _, _) in hands.items()}
    assert set(videos.values()) == {f"HO3D/train/{recording}" for recording in ("ABF1", "SM2", "SB1")}, (
        "all cameras of a recording are one video"
    )
    assert (
        videos["ABF10/0002"] == videos["ABF11/0002"]
        and hands["ABF11/0002"][1].number == 10002
        and hands["SM2/0005"][1].number == 5
    )


@pytest.mark.parametrize("truth", [True, False])
def test_the_evaluation_has_its_boxes_and_its_joints_only_where_they_were_published(tmp_path, truth):
    known = make_ho3d(tmp_path / "HO3D", truth=truth)
    hands, _ = read_set(tmp_path / "HO3D", "evaluation")
    assert list(hands) == ["SB11/0001", "SB11/0003", "SM1/0000"] and [
        hand.sample_id for _, _, hand in hands.values()
    ] == [0, 2, 1]
    for line, (_, _, hand) in hands.items():
        points = project(known[line])
        assert (
            np.allclose(hand.box, [*(points.min(axis=0) - 3), *(points.max(axis=0) + 4)])
            and hand.camera.tolist() == CAMERA
        )
        if truth:
            assert (
                np.allclose(hand.joints, known[line], atol=1e-7)
                and hand.valid.all()
                and np.allclose(hand.keypoints, points)
            )
        else:
            assert not hand.valid.any() and not hand.keypoints_valid.any() and np.isnan(hand.joints).all()


def test_sequences_and_cameras_can_be_chosen_and_keep_their_numbers(tmp_path):
    make_ho3d(tmp_path / "HO3D")
    for choice, rows in [
        (dict(subset=("ABF1",)), [0, 1, 3]),
        (dict(subset=("ABF10", "SM2")), [0, 1, 2, 5]),
        (dict(cameras=("0",)), [0, 1, 4]),
        (dict(subset=("ABF1",), cameras=("1",)), [3]),
    ]:
        hands, _ = read_set(tmp_path / "HO3D", "train", **choice)
        assert sorted(hand.sample_id for _, _, hand in hands.values()) == rows


def test_a_recording_in_both_splits_is_found_again_in_its_own(tmp_path):
    make_ho3d(tmp_path / "HO3D")
    for split in ("train", "evaluation"):
        assert find_again(f"HO3D/{split}/SB1", str(tmp_path / "HO3D"), [], []).split == split


def test_the_set_is_extracted_with_its_losses_counted(tmp_path):
    root = tmp_path / "HO3D"
    known = make_ho3d(root)
    (root / "train" / "ABF10" / "rgb" / "0000.jpg").unlink()
    (root / "train" / "SM2" / "meta" / "0000.pkl").unlink()
    path = root / "train" / "ABF11" / "meta" / "0002.pkl"
    path.write_bytes(path.read_bytes()[:-30])
    path = root / "train" / "SM2" / "meta" / "0005.pkl"
    path.write_bytes(pickle.dumps({"handJoints3D": None, "camMat": np.array(CAMERA)}))  # an image that nobody annotated
    report = run_stage(extract, [root], tmp_path / "t.h5", ExtractConfig(workers=1, split="train", size=64))
    _, frames, hands = report["accounting"]
    assert hands["done"] == 2 and report["right"] == 2 and report["box_scale"] == 1.75
    assert frames["skipped"]["no hand found"] == 1 and frames["failed"] == {
        "images not readable (No such file or directory)": 1,
        "labels not readable (No such file or directory)": 1,
        "labels that are damaged": 1,
    }
    tables = tables_of(tmp_path / "t.h5", CROPS, LABELS, VIDEOS)
    assert tables["labels/sample_id"].tolist() == [0, 4] and np.allclose(
        tables["labels/joints"][0], known["ABF10/0002"], atol=1e-6
    )
    for crop_camera, joints, points in zip(
        tables["crops/camera"], tables["labels/joints"], tables["labels/keypoints"], strict=True
    ):
        image = joints @ crop_camera.T
        assert np.allclose(image[:, :2] / image[:, 2:], points, atol=1e-3), (
            "the crop's camera projects the joints onto its keypoints"
        )


class Hostile:
    def __reduce__(self):
        return os.system, ("touch hostile",)


def test_a_hostile_label_stops_the_run_and_is_named(tmp_path, handtool):
    make_ho3d(tmp_path / "HO3D")
    (tmp_path / "HO3D" / "train" / "SM2" / "meta" / "0005.pkl").write_bytes(
        pickle.dumps({"handJoints3D": Hostile()}, 2)
    )
    done = handtool("extract", "HO3D", "--split", "train", "-o", "x.h5")
    assert (
        done.returncode == 3
        and "SM2/meta/0005.pkl is a pickle that asks for posix.system" in done.stderr
        and "Traceback" not in done.stderr
    )
    assert not (tmp_path / "hostile").exists() and not (tmp_path / "x.h5").exists()


def test_what_is_missing_or_of_another_set_is_named(tmp_path):
    make_ho3d(tmp_path / "good")
    (tmp_path / "empty").mkdir()

    def find(split, dataset="ho3d", root="bad", **choice):
        return find_videos([tmp_path / root], choice=Choice(dataset, split, **choice)).videos

    for error, message, arguments in [
        (
            HandtoolError,
            r"train does not exist: looked for train/ and evaluation/ of HO-3D, found in .*empty: nothing",
            dict(split=None, root="empty"),
        ),
        (HandtoolError, r"train.txt does not exist", dict(split="train", root="good/train")),
        (WrongCommand, "no split 'val'", dict(split="val", root="good")),
        (WrongCommand, "has no 'XY1' among what --subset chooses", dict(split="train", root="good", subset=("XY1",))),
        (WrongCommand, "has no '4' among what --cameras chooses", dict(split="train", root="good", cameras=("4",))),
        (
            WrongCommand,
            "train has no image of SM2, 0",
            dict(split="train", root="good", subset=("SM2",), cameras=("0",)),
        ),
    ]:
        with pytest.raises(error, match=message):
            find(**arguments)
    assert find("eval", dataset=None, root="good")

    def rewrite(name, content):
        path = tmp_path / "bad" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    make_ho3d(tmp_path / "bad")
    for name, content, split, error, message in [
        (
            "evaluation_xyz.json",
            b"[[[0, 0, 1]]]",
            "evaluation",
            HandtoolError,
            r"shape \(1, 1, 3\), evaluation.txt has 3 lines",
        ),
        ("evaluation_xyz.json", b"[[[0, 0, 1", "evaluation", HandtoolError, "cannot be read"),
        (
            "train/ABF10/meta/0002.pkl",
            pickle.dumps({"rightHandJoints3D": 1, "camMat": 2}),
            "train",
            HandtoolError,
            "found camMat, rightHandJoints3D",
        ),
        ("train/ABF10/meta/0002.pkl", pickle.dumps(Hostile()), "train", DamagedFile, "posix.system"),
        ("train.txt", b"../../etc/0000\n", "train", HandtoolError, "has the line '../../etc/0000'"),
        ("train.txt", b"\n", "train", HandtoolError, "has no line"),
        (
            "train.txt",
            b"XY10/0000\n",
            "train",
            HandtoolError,
            "XY10.* does not exist: looked for the sequences that train.txt names",
        ),
    ]:
        rewrite(name, content)
        with pytest.raises(error, match=message):
            find(split)
