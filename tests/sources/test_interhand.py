"""InterHand2.6M in its official layout: every hand comes out in its camera's frame, in metres and in our order; what
is missing is named."""

import json
import logging
import math

import cv2
import numpy as np
import pytest
from footage import run_stage, tables_of, write_image

from handtool import store
from handtool.config import ExtractConfig
from handtool.errors import HandtoolError, WrongCommand
from handtool.hands.skeleton import LEFT, RIGHT
from handtool.sources import folder_chunks
from handtool.sources.find import find_videos
from handtool.sources.frame import Choice, Sampling, Tally
from handtool.sources.read import read_frames
from handtool.sources.sets.interhand import NAME
from handtool.stages.extract import extract
from handtool.store import CROPS, LABELS, VIDEOS

pytest.importorskip("ijson", reason="needs the extra `datasets`")

FINGERS = ("thumb", "index", "middle", "ring", "pinky")
THEIRS = [f"{finger}{level}" for finger in FINGERS for level in (4, 3, 2, 1)] + [
    "wrist"
]  # skeleton.txt: from the tip to the palm
OURS = ["wrist"] + [f"{finger}{level}" for finger in FINGERS for level in (1, 2, 3, 4)]
SCENES = [  # capture, subject, sequence, kind of hand
    (0, 4, "ROM01_No_Interaction_2_Hand", "right"),
    (0, 4, "ROM02_Interaction_2_Hand", "interacting"),
    (1, 7, "ROM01_No_Interaction_2_Hand", "left"),
]
CAMERAS, FRAMES = ("400262", "400263", "410001"), (12, 18)


def make_interhand(root, splits=("train",), folder=None, seed=7):
    """Images, annotations and what went into them. folder: of annotations; None: the split's own (version 1.0)."""
    rng = np.random.default_rng(seed)
    for split in splits:
        images, annotations, cameras, joints = [], [], {}, {}
        for capture in (0, 1):
            turns = {camera: cv2.Rodrigues(rng.normal(0, 0.5, 3))[0] for camera in CAMERAS}
            cameras[str(capture)] = {
                "campos": {camera: (-turns[camera].T @ rng.normal((0, 0, 900), 20)).tolist() for camera in CAMERAS},
                "camrot": {camera: turns[camera].tolist() for camera in CAMERAS},
                "focal": {camera: rng.uniform(1200, 1300, 2).tolist() for camera in CAMERAS},
                "princpt": {camera: rng.uniform(160, 190, 2).tolist() for camera in CAMERAS},
            }
        for scene, (capture, subject, sequence, kind) in enumerate(SCENES):
            for frame in (number + 100 * scene for number in FRAMES):
                world = rng.normal(0, 30, (42, 3))
                known = np.ones((42, 1), bool)
                if kind != "interacting":
                    known[21:] = kind == "left"
                    known[:21] = kind == "right"
                joints.setdefault(str(capture), {})[str(frame)] = {
                    "world_coord": world.tolist(),
                    "joint_valid": known.tolist(),
                    "hand_type": kind,
                    "hand_type_valid": True,
                }
                for camera in CAMERAS:
                    name = f"Capture{capture}/{sequence}/cam{camera}/image{frame}.jpg"
                    valid = known.astype(int)
                    valid[[2, 30]] = 0  # outside the image
                    if (scene, camera) == (1, "400263"):
                        valid[21:] = 0  # the left hand is hidden
                    number = int(1000 * len(images) + 17)
                    images.append(
                        {
                            "id": number,
                            "file_name": name,
                            "width": 334,
                            "height": 512,
                            "capture": capture,
                            "subject": subject,
                            "seq_name": sequence,
                            "camera": camera,
                            "frame_idx": frame,
                        }
                    )
                    pixels = np.array([see(cameras, capture, camera, point)[1] for point in world[valid.ravel() > 0]])
                    low, high = pixels.min(0), pixels.max(0)
                    bbox = [*((low + high) / 2 - 0.6 * (high - low)), *(1.2 * (high - low))]
                    annotations.append(
                        {
                            "id": number + 5,
                            "image_id": number,
                            "bbox": bbox,
                            "joint_valid": valid.tolist(),
                            "hand_type": kind,
                            "hand_type_valid": 1,
                        }
                    )
                    picture = cv2.resize(rng.integers(0, 255, (8, 5, 3), dtype=np.uint8), (334, 512))
                    write_image(root / "images" / split / name, picture)
        order = rng.permutation(len(annotations))  # as pycocotools allows
        content = {
            "data": {"images": images, "annotations": [annotations[i] for i in order]},
            "camera": cameras,
            "joint_3d": joints,
        }
        for kind, values in content.items():
            path = root / "annotations" / (folder or split) / f"InterHand2.6M_{split}_{kind}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(values))
    return root


def see(cameras, capture, camera, point):
    """A point of the world (mm) -> in the camera's frame (m) and in pixels, number by number."""
    about = cameras[str(capture)]
    position, rotation, focal, centre = (about[name][camera] for name in ("campos", "camrot", "focal", "princpt"))
    away = [point[k] - position[k] for k in range(3)]
    x, y, z = (sum(rotation[row][k] * away[k] for k in range(3)) for row in range(3))
    return (x / 1000, y / 1000, z / 1000), (focal[0] * x / z + centre[0], focal[1] * y / z + centre[1])


def load(root, kind, split="train"):
    return json.loads((root / "annotations" / split / f"InterHand2.6M_{split}_{kind}.json").read_text())


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


@pytest.mark.parametrize("dataset", [None, NAME])
def test_every_hand_is_in_its_cameras_frame_in_metres_and_in_our_order(tmp_path, dataset):
    root = make_interhand(tmp_path / "InterHand2.6M_5fps_batch1")
    videos, tallies, frames = read_set(root, dataset=dataset)
    assert [video.name.partition("/")[2] for video in videos] == [
        f"train/Capture{capture}/{sequence}" for capture, _, sequence, _ in SCENES
    ]
    assert [video.subject for video in videos] == ["4", "4", "7"] and all(tally.status == "ok" for tally in tallies)
    assert len(frames) == 18 and [frame.number for frame in frames] == 3 * list(range(6))
    data, cameras, joints = (load(root, kind) for kind in ("data", "camera", "joint_3d"))
    images = {image["id"]: image for image in data["images"]}
    hands = [hand for frame in frames for hand in frame.hands]
    assert len(hands) == 6 + 2 * 4 + 2 + 6 and sorted({hand.sample_id for hand in hands}) == list(range(18))
    for frame in frames:
        for hand in frame.hands:
            annotation = data["annotations"][hand.sample_id]
            image = images[annotation["image_id"]]
            assert hand.sample_key == f"images/train/{image['file_name']}" == frame.name
            pose, start = joints[str(image["capture"])][str(image["frame_idx"])], 0 if hand.side == RIGHT else 21
            for joint, name in enumerate(OURS):
                theirs = start + THEIRS.index(name)
                place, pixel = see(cameras, image["capture"], image["camera"], pose["world_coord"][theirs])
                assert hand.joints[joint] == pytest.approx(place, abs=1e-6)
                assert hand.valid[joint] == bool(annotation["joint_valid"][theirs][0]) == hand.keypoints_valid[joint]
                assert (
                    hand.keypoints[joint] == pytest.approx(pixel, abs=1e-6)
                    if hand.valid[joint]
                    else np.isnan(hand.keypoints[joint]).all()
                )
            world = np.array([see(cameras, image["capture"], image["camera"], point)[0] for point in np.eye(3)])
            assert np.allclose(hand.extrinsics[:, :3] / 1000 + hand.extrinsics[:, 3:], world.T, atol=1e-9)


def test_each_of_two_hands_has_its_own_box_and_a_hidden_one_is_no_row(tmp_path):
    root = make_interhand(tmp_path / "i")
    _, _, frames = read_set(root)
    data = load(root, "data")
    for frame in frames:
        for hand in frame.hands:
            x, y, width, height = data["annotations"][hand.sample_id]["bbox"]
            whole = (x, y, x + width, y + height)
            points = hand.keypoints[hand.keypoints_valid]
            centre, half = (points.min(0) + points.max(0)) / 2, 0.6 * (points.max(0) - points.min(0))
            assert np.allclose(hand.box, [*(centre - half), *(centre + half)], atol=1e-6), (
                "the set's own way, of this hand alone"
            )
            assert np.allclose(hand.box, whole, atol=1e-6) or len(frame.hands) == 2
    sides = [[hand.side for hand in frame.hands] for frame in frames]
    assert sides == 6 * [[RIGHT]] + 2 * [[RIGHT, LEFT]] + 2 * [[RIGHT]] + 2 * [[RIGHT, LEFT]] + 6 * [[LEFT]]


def test_extract_cuts_at_the_sets_scale_and_goes_on_where_it_was_killed(tmp_path, monkeypatch, caplog):
    root = make_interhand(tmp_path / "i", ("train", "test"))
    report = run_stage(extract, [root], tmp_path / "a.h5", ExtractConfig(workers=1, split="test"))
    monkeypatch.setattr(folder_chunks, "CHUNK_IMAGES", 4)
    run_stage(extract, [root], tmp_path / "b.h5", ExtractConfig(workers=2, split="test"), keep_job=True)
    for lost in (tmp_path / "b.h5.partial").glob("video-0000001*"):  # as if it had been killed there
        lost.unlink()
    (tmp_path / "b.h5").unlink()
    with caplog.at_level(logging.INFO):
        run_stage(extract, [root], tmp_path / "b.h5", ExtractConfig(workers=1, split="test"))
    assert "2 of 3 videos are done already" in caplog.text
    one, two = (tables_of(tmp_path / name, CROPS, LABELS) for name in ("a.h5", "b.h5"))
    assert all(
        np.array_equal(one[name], two[name]) for name in one if "score" not in name and one[name].dtype.kind not in "f"
    )
    assert np.array_equal(one["labels/joints"], two["labels/joints"]) and report["left"] == 10 and report["right"] == 12
    with store.open_file(tmp_path / "a.h5") as file:
        assert store.read_attrs(file, CROPS)["box_scale"] == 1.25
        names = store.read_column(file, VIDEOS.name)
    assert names[1] == "i/test/Capture0/ROM02_Interaction_2_Hand" and np.bincount(one["crops/video"]).tolist() == [
        6,
        10,
        6,
    ]
    sure = one["labels/keypoints_valid"]
    image = np.einsum("nij,nkj->nki", one["crops/camera"], one["labels/joints"].astype(float))
    assert np.abs(image[..., :2] / image[..., 2:] - one["labels/keypoints"])[sure].max() < 1e-3, (
        "camera and joints of the crop belong together"
    )
    side = one["crops/box"][:, 2:] - one["crops/box"][:, :2]
    assert np.allclose(224 / one["crops/crop_from_frame"][:, 0, 0], 1.25 * side.max(axis=1), atol=0.51)


def test_cameras_and_subsets_are_chosen_and_every_sample_keeps_its_number(tmp_path):
    root = make_interhand(tmp_path / "i")
    everything = {
        (hand.sample_id, hand.side): (hand.sample_key, frame.number)
        for frame in read_set(root)[2]
        for hand in frame.hands
    }
    for cameras in (("400263",), ("cam410001", "400263")):
        _, _, frames = read_set(root, cameras=cameras)
        assert len(frames) == 6 * len(cameras) and all(
            frame.name.split("/")[4].removeprefix("cam") in "".join(cameras) for frame in frames
        )
        assert all(
            everything[hand.sample_id, hand.side] == (hand.sample_key, frame.number)
            for frame in frames
            for hand in frame.hands
        )
    annotations = [annotation["id"] for annotation in load(root, "data")["annotations"]]
    with pytest.raises(
        HandtoolError, match="aid_human_annot_train.txt does not exist: looked for the ids of human_annot"
    ):
        read_set(root, subset=("human_annot",))
    (root / "annotations" / "train" / "aid_human_annot_train.txt").write_text("\n".join(map(str, annotations[3:8])))
    assert {frame.hands[0].sample_id for frame in read_set(root, subset=("human_annot",))[2]} == set(range(3, 8))


@pytest.mark.parametrize(
    "types, scenes", [(("left", "right"), (0, 2)), (("interacting",), (1,)), (("all", "right"), (0,))]
)
def test_images_are_chosen_by_the_kind_of_hands_on_them(tmp_path, types, scenes):
    root = make_interhand(tmp_path / "i")
    videos, _, frames = read_set(root, subset=types)
    assert [video.name.partition("train/")[2] for video in videos] == [
        f"Capture{SCENES[scene][0]}/{SCENES[scene][2]}" for scene in scenes
    ]
    assert len(frames) == 6 * len(scenes)
    (root / "annotations" / "train" / "aid_human_annot_train.txt").write_text("1\n2\n")
    with pytest.raises(HandtoolError, match="has no image that is asked for by --subset$"):
        read_set(root, subset=("human_annot", *types[-1:]))


def test_annotations_of_version_0_lie_in_folders_by_who_made_them(tmp_path):
    root = make_interhand(tmp_path / "i", folder="machine_annot")
    make_interhand(root, folder="human_annot", seed=8)
    with pytest.raises(WrongCommand, match="by people and by machine"):
        read_set(root)
    machine, human = (read_set(root, subset=(which,))[2] for which in ("machine_annot", "human_annot"))
    assert len(machine) == len(human) == 18 and not np.allclose(machine[0].hands[0].joints, human[0].hands[0].joints)
    make_interhand(root, folder="all", seed=9)
    assert len(read_set(root)[2]) == 18
    with pytest.raises(WrongCommand, match="--subset all,human_annot"):
        read_set(root, subset=("all", "human_annot"))


def test_images_that_are_not_there_are_counted_and_their_folders_told(tmp_path, caplog):
    root = make_interhand(tmp_path / "i")
    gone = root / "images" / "train" / "Capture1" / "ROM01_No_Interaction_2_Hand" / "cam400262"
    for path in gone.iterdir():
        path.unlink()
    gone.rmdir()
    (gone.parent / "cam400263" / "image212.jpg").unlink()
    with caplog.at_level(logging.WARNING):
        _, tallies, frames = read_set(root)
    assert (
        "1 of 9 folders of images are not there (images/train/Capture1/ROM01_No_Interaction_2_Hand/cam400262)"
        in caplog.text
    )
    assert len(frames) == 15 and tallies[2].failed == {"images not readable (No such file or directory)": 3}


def spoil(root, kind, change):
    path = root / "annotations" / "train" / f"InterHand2.6M_train_{kind}.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def cut(root):
    path = root / "annotations" / "train" / "InterHand2.6M_train_data.json"
    path.write_text(path.read_text()[:-400])


def lose_images(root):
    (root / "images" / "train").rename(root / "images" / "training")


@pytest.mark.parametrize(
    "change, message",
    [
        (
            lambda root: (root / "annotations/train/InterHand2.6M_train_camera.json").unlink(),
            r"camera.json does not exist: looked for InterHand2.6M_train_data",
        ),
        (cut, r"InterHand2.6M_train_data.json \([\d,]+ bytes\) ends in the middle"),
        (lose_images, r"looked for 18 images in 9 folders, found in .*images: training"),
        (
            lambda root: spoil(root, "joint_3d", lambda all: all["1"].pop("212")),
            r"joint_3d.json lacks 212 of capture 1, which InterHand2.6M_train_data.json names",
        ),
        (
            lambda root: spoil(root, "camera", lambda all: all["1"]["camrot"].pop("400262")),
            r"camera.json lacks 400262 of capture 1",
        ),
        (
            lambda root: spoil(root, "joint_3d", lambda all: all["0"].update({"12": [[0, 0, 0]] * 42})),
            r"frame 12 of capture 0 has no world_coord",
        ),
        (lambda root: spoil(root, "data", lambda all: all.pop("annotations")), r"has no annotations; it has images"),
        (
            lambda root: spoil(root, "data", lambda all: all["images"][0].update(file_name="../../x/a.jpg")),
            r"name images in .*/x, which is not a path inside",
        ),
        (
            lambda root: spoil(root, "data", lambda all: all["images"].pop()),
            r"annotations name images that it does not list",
        ),
        (
            lambda root: spoil(root, "data", lambda all: all["images"][3].pop("capture")),
            r"entry 3 of images is not as expected \(KeyError\('capture'\)\)",
        ),
        (
            lambda root: spoil(root, "data", lambda all: all["annotations"][2].update(joint_valid=[1] * 21)),
            r"joint_valid of annotation 2 is not 42 marks",
        ),
        (
            lambda root: spoil(root, "camera", lambda all: all["0"]["focal"].update({"400262": 1200.0})),
            r"camera 400262 of capture 0 is not numbers of shape \(2,\)",
        ),
        (lambda root: spoil(root, "camera", lambda all: all.update({"0": [[]]})), r"capture 0 is not as expected"),
        (lambda root: spoil(root, "camera", lambda all: all["1"].update(focal=None)), r"capture 1 is not as expected"),
        (lambda root: spoil(root, "joint_3d", lambda all: all.update({"1": [7]})), r"capture 1 is not as expected"),
    ],
)
def test_what_is_missing_or_of_another_version_is_named(tmp_path, change, message):
    root = make_interhand(tmp_path / "i")
    change(root)
    with pytest.raises(HandtoolError, match=message):
        find_videos([root])


def test_wrong_roots_splits_and_cameras_are_told(tmp_path):
    root = make_interhand(tmp_path / "i", ("train", "val"))
    with pytest.raises(
        HandtoolError,
        match=r"InterHand2.6M_train_data.json does not exist: looked for .*, found in .*images: train, val",
    ):
        find_videos([root / "images"], choice=Choice(NAME))
    with pytest.raises(
        HandtoolError, match=r"InterHand2.6M_test_data.json does not exist: .* found in .*annotations: train, val"
    ):
        find_videos([root], choice=Choice(split="test"))
    for choice, message in [
        (Choice(), "train and val, which are not to be mixed"),
        (Choice(split="dev"), "no split 'dev'"),
        (Choice(split="val", subset=("gs",)), "no 'gs' among what --subset chooses"),
        (Choice(split="val", cameras=("400999",)), "no '400999' among what --cameras chooses"),
    ]:
        with pytest.raises(WrongCommand, match=message):
            find_videos([root], choice=choice)


def test_a_sequence_is_found_again_by_its_name(tmp_path):
    from handtool.sources.reopen import find_again, read_again

    root = make_interhand(tmp_path / "i", ("train", "val"))
    videos, _, frames = read_set(root, "val")
    for place, video in enumerate(videos):
        again = find_again(video.name, video.path, [], [])
        assert again.name == video.name and [frame.name for frame in read_again(again, [1, 4])] == [
            frames[6 * place + 1].name,
            frames[6 * place + 4].name,
        ]


def test_the_real_sample_projects_onto_its_boxes(samples):
    videos, tallies, frames = read_set(samples / "interhand26m")
    assert [len(frame.hands) for frame in frames] == [2, 2, 1, 1] and all(tally.status == "ok" for tally in tallies)
    annotations = {
        f"image{number}.jpg": box
        for number, box in (
            (29590, (32.6246, 116.909, 215.5838, 234.7028)),
            (2017, (154.459, 27.9448, 245.0981, 212.4804)),
        )
    }
    for frame in frames:
        for hand in frame.hands:
            bone = np.linalg.norm(hand.joints[10] - hand.joints[9])
            assert hand.valid.all() and 0.03 < bone < 0.06 and 0.9 < hand.joints[0, 2] < 1.3 and math.isnan(hand.scale)
            span = (hand.keypoints.max(0) - hand.keypoints.min(0)) * 1.2
            assert np.allclose(hand.box[2:] - hand.box[:2], span, atol=1e-3)
            if frame.name in annotations:
                assert np.allclose(hand.box, annotations[frame.name], atol=1e-3)
