"""AssemblyHands in its official layout: cameras that move with the head and have three names, both hands,
millimetres of a world; a test without truth."""

import json
import logging

import cv2
import numpy as np
import pytest
from footage import run_stage, tables_of

from handtool import store
from handtool.config import ExtractConfig
from handtool.errors import HandtoolError, WrongCommand
from handtool.hands.skeleton import LEFT, RIGHT
from handtool.sources import folder_chunks
from handtool.sources.find import find_videos
from handtool.sources.frame import Choice, Sampling, Tally
from handtool.sources.read import read_frames
from handtool.sources.sets.assemblyhands import NAME
from handtool.stages.extract import extract
from handtool.store import CROPS, LABELS

pytest.importorskip("ijson", reason="needs the extra `datasets`")

SEQUENCES = (
    "nusar-2021_action_both_9012-c07c_9012_user_id_2021-02-01_164345",
    "nusar-2021_action_both_9081-c11b_9081_user_id_2021-02-12_161433",
)
CAMERAS = (("HMC_84346135", "HMC_84355350"), ("HMC_21110305", "HMC_21179183"))
FRAMES = (520, 522, 530)
FINGERS = ("thumb", "index", "middle", "ring", "pinky")
THEIRS = [f"{finger}{level}" for finger in FINGERS for level in (4, 3, 2, 1)] + ["wrist"]
OURS = ["wrist"] + [f"{finger}{level}" for finger in FINGERS for level in (1, 2, 3, 4)]
RIGHT_GONE, LEFT_GONE = 3, 7  # annotations with one hand


def make_assembly(root, splits=("val",), prefix="images", withheld=False, joint_3d=True):
    """Two sequences, two cameras each, three frames; grey images. withheld: every coordinate of the truth is 1, as
    in the public test."""
    rng = np.random.default_rng(3)
    for split in splits:
        images, annotations, calibration, poses = [], [], {}, {}
        for sequence, cameras in zip(SEQUENCES, CAMERAS, strict=True):
            calibration[sequence] = {"intrinsics": {}, "extrinsics": {f"{frame:06d}": {} for frame in FRAMES}}
            for camera in cameras:
                calibration[sequence]["intrinsics"][camera + "_mono10bit"] = [
                    [rng.uniform(190, 260), 0, 318.0],
                    [0, rng.uniform(190, 260), 240.0],
                    [0, 0, 1],
                ]
            poses[sequence] = {}
            for frame in FRAMES:
                known = np.ones((42, 1), int)
                known[rng.integers(0, 42, 4)] = 0
                world = rng.normal((0, 0, 0), 40, (42, 3))
                coordinates = np.ones((42, 3)) if withheld else world
                poses[sequence][f"{frame:06d}"] = {"world_coord": coordinates.tolist(), "joint_valid": known.tolist()}
                for camera in cameras:
                    rotation = cv2.Rodrigues(rng.normal(0, 0.8, 3))[0]
                    outer = np.column_stack([rotation, rng.normal((0, 0, 400), 20)])  # mm; the head turns
                    calibration[sequence]["extrinsics"][f"{frame:06d}"][camera + "_mono10bit"] = outer.tolist()
                    name = f"ego_images_rectified/{split}/{sequence}/{camera}_mono10bit/{frame:06d}.jpg"
                    number, valid = 9000 - 13 * len(images), known.copy()
                    valid[5 + len(images)] = 0
                    boxes = {}
                    for side, start in (("right", 0), ("left", 21)):
                        pixels = np.array(
                            [see(calibration[sequence], camera, frame, point)[1] for point in world[start : start + 21]]
                        )
                        boxes[side] = [*pixels.min(0), *pixels.max(0)]
                    if len(annotations) in (RIGHT_GONE, LEFT_GONE):
                        boxes["right" if len(annotations) == RIGHT_GONE else "left"] = None
                    images.append(
                        {
                            "id": number,
                            "file_name": name,
                            "width": 636,
                            "height": 480,
                            "seq_name": sequence,
                            "camera": camera,
                            "frame_idx": frame,
                        }
                    )
                    annotations.append(
                        {"id": len(annotations), "image_id": number, "bbox": boxes, "joint_valid": valid.tolist()}
                    )
                    path = root / prefix / name
                    path.parent.mkdir(parents=True, exist_ok=True)
                    cv2.imwrite(str(path), cv2.resize(rng.integers(0, 255, (5, 7), dtype=np.uint8), (636, 480)))
        content = {
            "ego_data": {"images": images, "annotations": annotations},
            "ego_calib": {"calibration": calibration},
            "joint_3d": {"annotations": poses},
        }
        for kind, values in content.items():
            if kind != "joint_3d" or joint_3d:
                path = root / "annotations" / split / f"assemblyhands_{split}_{kind}_v1-1.json"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(json.dumps(values))
    return root


def see(calibration, camera, frame, point):
    """A point of the world (mm) -> in the camera's frame (m) and in pixels, number by number."""
    outer, inner = (
        calibration["extrinsics"][f"{frame:06d}"][camera + "_mono10bit"],
        calibration["intrinsics"][camera + "_mono10bit"],
    )
    x, y, z = (sum(outer[row][k] * point[k] for k in range(3)) + outer[row][3] for row in range(3))
    return (x / 1000, y / 1000, z / 1000), (inner[0][0] * x / z + inner[0][2], inner[1][1] * y / z + inner[1][2])


def load(root, kind, split="val"):
    return json.loads((root / "annotations" / split / f"assemblyhands_{split}_{kind}_v1-1.json").read_text())


def read_set(root, split=None, **choice):
    videos = find_videos([root], choice=Choice(split=split, **choice)).videos
    tallies = [Tally() for _ in videos]
    return (
        videos,
        tallies,
        [
            frame
            for video, tally in zip(videos, tallies, strict=True)
            for frame in read_frames(video, Sampling(), tally)
        ],
    )


@pytest.mark.parametrize("dataset, prefix", [(None, "images"), (NAME, "images"), (None, ".")])
def test_every_hand_is_in_the_frame_of_its_camera_at_that_moment(tmp_path, dataset, prefix):
    root = make_assembly(tmp_path / "AssemblyHands", prefix=prefix)
    videos, tallies, frames = read_set(root, dataset=dataset)
    assert [video.name for video in videos] == [f"AssemblyHands/val/{sequence}" for sequence in SEQUENCES]
    assert [video.subject for video in videos] == ["9012", "9081"] and all(tally.status == "ok" for tally in tallies)
    assert [frame.number for frame in frames] == 2 * list(range(6)) and sum(len(frame.hands) for frame in frames) == 22
    data, calibration, poses = (
        load(root, "ego_data"),
        load(root, "ego_calib")["calibration"],
        load(root, "joint_3d")["annotations"],
    )
    images = {image["id"]: image for image in data["images"]}
    for frame in frames:
        for hand in frame.hands:
            annotation = data["annotations"][hand.sample_id]
            image = images[annotation["image_id"]]
            assert (
                hand.sample_key
                == frame.name
                == (f"images/{image['file_name']}" if prefix == "images" else image["file_name"])
            )
            side, start = ("right", 0) if hand.side == RIGHT else ("left", 21)
            assert hand.box.tolist() == annotation["bbox"][side]
            pose = poses[image["seq_name"]][f"{image['frame_idx']:06d}"]
            for joint, name in enumerate(OURS):
                theirs = start + THEIRS.index(name)
                place, pixel = see(
                    calibration[image["seq_name"]], image["camera"], image["frame_idx"], pose["world_coord"][theirs]
                )
                assert hand.joints[joint] == pytest.approx(place, abs=1e-6)
                known = bool(annotation["joint_valid"][theirs][0] and pose["joint_valid"][theirs][0])
                assert hand.valid[joint] == hand.keypoints_valid[joint] == known
                assert (
                    hand.keypoints[joint] == pytest.approx(pixel, abs=1e-6)
                    if known
                    else np.isnan(hand.keypoints[joint]).all()
                )
    seen = {(hand.sample_id, hand.side) for frame in frames for hand in frame.hands}
    assert seen == {(i, side) for i in range(12) for side in (LEFT, RIGHT)} - {(RIGHT_GONE, RIGHT), (LEFT_GONE, LEFT)}


def test_extract_cuts_grey_images_at_the_sets_scale_over_two_workers(tmp_path, monkeypatch):
    root = make_assembly(tmp_path / "a")
    monkeypatch.setattr(folder_chunks, "CHUNK_IMAGES", 4)
    report = run_stage(extract, [root], tmp_path / "a.h5", ExtractConfig(workers=2))
    assert (report["left"], report["right"], report["box_scale"]) == (11, 11, 1.75)
    tables = tables_of(tmp_path / "a.h5", CROPS, LABELS)
    with store.open_file(tmp_path / "a.h5") as file:
        assert store.read_attrs(file, CROPS)["box_scale"] == 1.75
    side = (tables["crops/box"][:, 2:] - tables["crops/box"][:, :2]).max(axis=1)
    assert np.allclose(224 / tables["crops/crop_from_frame"][:, 0, 0], 1.75 * side, atol=0.51)
    camera, joints = tables["crops/camera"], tables["labels/joints"].astype(float)
    image = np.einsum("nij,nkj->nki", camera, joints)
    assert (
        np.abs(image[..., :2] / image[..., 2:] - tables["labels/keypoints"])[tables["labels/keypoints_valid"]].max()
        < 1e-3
    )
    assert np.array_equal(tables["crops/video"], np.repeat([0, 1], 11)) and tables["labels/extrinsics"].shape == (
        22,
        3,
        4,
    )


@pytest.mark.parametrize("spelled", ["HMC_21179183", "HMC_21179183_mono10bit", "21179183"])
def test_a_camera_is_chosen_by_any_of_its_names(tmp_path, spelled):
    root = make_assembly(tmp_path / "a")
    videos, _, frames = read_set(root, cameras=(spelled,))
    assert (
        len(frames) == 3
        and all("HMC_21179183_mono10bit" in frame.name for frame in frames)
        and videos[0].subject == "9081"
    )
    assert [frame.number for frame in frames] == [3, 4, 5] and [frame.hands[0].sample_id for frame in frames] == [
        7,
        9,
        11,
    ]


@pytest.mark.parametrize("withheld, joint_3d", [(True, True), (False, False)])
def test_the_withheld_truth_of_test_is_told_and_its_boxes_come_out(tmp_path, caplog, withheld, joint_3d):
    root = make_assembly(tmp_path / "a", ("test",), withheld=withheld, joint_3d=joint_3d)
    with caplog.at_level(logging.WARNING):
        _, tallies, frames = read_set(root, "test")
    assert "AssemblyHands withholds the truth of test" in caplog.text and all(tally.status == "ok" for tally in tallies)
    hands = [hand for frame in frames for hand in frame.hands]
    assert len(hands) == 22 and not any(
        hand.valid.any() or hand.keypoints_valid.any() or np.isfinite(hand.joints).any() for hand in hands
    )
    assert all(np.isfinite(hand.box).all() and np.isfinite(hand.camera).all() for hand in hands)


def test_frames_and_images_that_are_not_there_are_counted(tmp_path):
    root = make_assembly(tmp_path / "a")
    spoil(root, "ego_calib", lambda all: all["calibration"][SEQUENCES[0]]["extrinsics"].pop("000522"))
    spoil(root, "joint_3d", lambda all: all["annotations"][SEQUENCES[1]].pop("000530"))
    next((root / "images").rglob("*/HMC_21110305_mono10bit/000520.jpg")).unlink()
    _, tallies, frames = read_set(root)
    assert len(frames) == 7 and tallies[0].failed == {"images of frames without a calibration": 2}
    assert tallies[1].failed == {
        "images of frames without a pose": 2,
        "images not readable (No such file or directory)": 1,
    }


def spoil(root, kind, change):
    path = root / "annotations" / "val" / f"assemblyhands_val_{kind}_v1-1.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def older(root):
    for path in (root / "annotations" / "val").iterdir():
        path.rename(path.with_name(path.name.replace("_v1-1", "")))


def cut(root):
    path = root / "annotations" / "val" / "assemblyhands_val_joint_3d_v1-1.json"
    path.write_text(path.read_text()[:-5000])


@pytest.mark.parametrize(
    "change, message",
    [
        (
            older,
            r"assemblyhands_val_ego_data_v1-1.json does not exist: looked for .*, "
            "found in .*val: assemblyhands_val_ego_calib.json, assemblyhands_val_ego_data.json",
        ),
        (
            lambda root: (root / "annotations/val/assemblyhands_val_joint_3d_v1-1.json").unlink(),
            r"joint_3d_v1-1.json does not exist: looked for assemblyhands_val_ego_data",
        ),
        (cut, r"joint_3d_v1-1.json \([\d,]+ bytes\) ends in the middle"),
        (
            lambda root: (root / "images").rename(root / "pictures"),
            r"looked for 12 images in 4 folders, found in .*a: annotations, pictures",
        ),
        (
            lambda root: spoil(root, "ego_calib", lambda all: all["calibration"].pop(SEQUENCES[1])),
            r"calib_v1-1.json lacks 1 of 2 sequences that data names, the first nusar",
        ),
        (
            lambda root: spoil(root, "ego_calib", lambda all: all["calibration"][SEQUENCES[1]].pop("extrinsics")),
            r"is not as expected \(KeyError\('extrinsics'\)\)",
        ),
        (
            lambda root: spoil(
                root,
                "ego_calib",
                lambda all: all["calibration"][SEQUENCES[0]].update(extrinsics=dict.fromkeys(["000520", "000521"])),
            ),
            r"is not as expected \(TypeError",
        ),
        (
            lambda root: spoil(root, "joint_3d", lambda all: all["annotations"].update({SEQUENCES[0]: [7]})),
            r"is not as expected \(TypeError\('no object'\)\)",
        ),
        (
            lambda root: spoil(root, "joint_3d", lambda all: all.pop("annotations")),
            r"has no annotations; it has nothing",
        ),
        (
            lambda root: spoil(root, "ego_data", lambda all: all["annotations"][4].update(bbox=[0, 0, 9, 9])),
            r"entry 4 of annotations is not as expected",
        ),
        (
            lambda root: spoil(
                root,
                "joint_3d",
                lambda all: all["annotations"][SEQUENCES[0]]["000520"].update(world_coord=[[0, 0, 1]] * 21),
            ),
            r"frame 520 of .* shape \(42, 3\)",
        ),
    ],
)
def test_what_is_missing_or_of_another_version_is_named(tmp_path, change, message):
    root = make_assembly(tmp_path / "a")
    change(root)
    with pytest.raises(HandtoolError, match=message):
        find_videos([root])


def test_wrong_roots_and_choices_are_told(tmp_path):
    root = make_assembly(tmp_path / "a", ("val", "train"))
    with pytest.raises(
        HandtoolError,
        match=r"assemblyhands_train_ego_data_v1-1.json does not exist: looked for the annotations of AssemblyHands, "
        "found in .*images: ego",
    ):
        find_videos([root / "images"], choice=Choice(NAME))
    for choice, message in [
        (Choice(), "train and val, which are not to be mixed"),
        (Choice(split="dev"), "no split 'dev'"),
        (Choice(split="val", subset=("left",)), "no subsets"),
        (Choice(split="val", cameras=("HMC_1",)), "no '1' among what --cameras chooses"),
    ]:
        with pytest.raises(WrongCommand, match=message):
            find_videos([root], choice=choice)
