"""YouTube-3D-Hands in its official layout: hands of both sides on the frames of videos, boxes from their meshes, no
joint in metres."""

import json

import numpy as np
import pytest
from footage import run_stage, tables_of, write_image

from handtool.config import BOX_SCALE, ExtractConfig, KeypointsConfig
from handtool.errors import HandtoolError, WrongCommand
from handtool.hands.skeleton import LEFT, RIGHT
from handtool.sources.find import find_videos
from handtool.sources.frame import Choice, Sampling, Tally
from handtool.sources.read import read_frames
from handtool.stages.extract import extract
from handtool.stages.keypoints import ESTIMATED, choose_origin
from handtool.store import CROPS, LABELS, VIDEOS, open_file

pytest.importorskip("ijson", reason="needs the extra `datasets`")

HANDS = (  # video, frame, is_left: two hands on one image, frames whose order is not that of their names
    ("birdLKWfdpA", 1200, 0),
    ("xyzUVW_-012", 30, 1),
    ("birdLKWfdpA", 90, 1),
    ("birdLKWfdpA", 1200, 1),
    ("xyzUVW_-012", 4, 0),
    ("birdLKWfdpA", 300, 0),
)


def make_set(root, size=(320, 180), stored=(320, 180), split="train"):
    """size: width, height as labelled; stored: of the frames that are there. A hand is a bright block. Returns boxes
    x0 y0 x1 y1 as labelled."""
    rng, pictures, boxes, images, annotations = np.random.default_rng(4), {}, [], {}, []
    ratio = np.array(stored) / size
    for number, (video, frame, is_left) in enumerate(HANDS):
        x, y = 20 + 150 * is_left + rng.integers(0, 40), rng.integers(20, 90)
        low, high = np.array([x, y]), np.array([x + 60, y + 40])
        vertices = np.concatenate([rng.uniform(low, high, (776, 2)), [low, high]])
        name = f"youtube/{video}/video/frames/{frame}.png"
        image = images.setdefault(name, {"name": name, "width": size[0], "height": size[1], "id": 500 + len(images)})
        annotations.append(
            {
                "vertices": np.hstack([vertices, rng.normal(size=(778, 1))]).tolist(),
                "is_left": is_left,
                "image_id": image["id"],
                "id": 7000 - number,
            }
        )
        boxes.append([*low, *(high + 1)])
        picture = pictures.setdefault(name, np.full((stored[1], stored[0], 3), 30, np.uint8))
        a, b = np.round(low * ratio).astype(int), np.round((high + 1) * ratio).astype(int)
        picture[a[1] : b[1], a[0] : b[0]] = 220
    for name, picture in pictures.items():
        write_image(root / name, picture)
    (root / f"youtube_{split}.json").write_text(
        json.dumps({"images": list(images.values()), "annotations": annotations})
    )
    return np.array(boxes, float)


def read_set(root, **choice):
    tally = Tally()
    videos = find_videos([root], choice=Choice(**choice)).videos
    return videos, tally, [frame for video in videos for frame in read_frames(video, Sampling(), tally)]


@pytest.mark.parametrize("stored", [(320, 180), (160, 90), (427, 240)])
def test_boxes_and_sides_are_known_at_whatever_resolution_and_no_joint(tmp_path, stored):
    boxes = make_set(tmp_path / "yt", stored=stored)
    videos, tally, frames = read_set(tmp_path / "yt")
    assert [(video.name, len(video.rows)) for video in videos] == [
        ("yt/train/birdLKWfdpA", 3),
        ("yt/train/xyzUVW_-012", 2),
    ] and tally.status == "ok"
    assert [frame.number for frame in frames] == [90, 300, 1200, 4, 30]
    ids = []
    for frame in frames:
        for hand in frame.hands:
            video, number, is_left = HANDS[hand.sample_id]
            assert frame.name == hand.sample_key == f"youtube/{video}/video/frames/{number}.png" and hand.side == (
                LEFT if is_left else RIGHT
            )
            assert np.allclose(hand.box, boxes[hand.sample_id] * np.tile(np.array(stored) / (320, 180), 2))
            x0, y0, x1, y1 = np.round(hand.box).astype(int)
            assert (frame.image[y0 + 1 : y1 - 1, x0 + 1 : x1 - 1] == 220).all() and (
                frame.image[y0 + 1 : y1 - 1, [x0 - 2, x1 + 1]] == 30
            ).all()
            assert (
                not hand.valid.any()
                and not hand.keypoints_valid.any()
                and np.isnan(hand.joints).all()
                and np.isnan(hand.camera).all()
            )
            ids.append(hand.sample_id)
    assert sorted(ids) == list(range(6)) and ids[2:4] == [0, 3], "both hands of an image, in the order of the json"


def test_a_side_can_be_chosen_and_keeps_its_numbers(tmp_path):
    make_set(tmp_path / "yt")
    for side, ids in (("left", [1, 2, 3]), ("right", [0, 4, 5])):
        _, _, frames = read_set(tmp_path / "yt", subset=(side,))
        assert sorted(hand.sample_id for frame in frames for hand in frame.hands) == ids


def test_the_set_is_extracted_for_pre_training_with_its_losses_counted(tmp_path):
    root = tmp_path / "yt"
    make_set(root)
    (
        root / "youtube" / "birdLKWfdpA" / "video" / "frames" / "300.png"
    ).unlink()  # a video that is no longer to be had in full
    write_image(root / "youtube" / "xyzUVW_-012" / "video" / "frames" / "4.png", np.zeros((320, 180, 3), np.uint8))
    report = run_stage(extract, [root], tmp_path / "yt.h5", ExtractConfig(workers=1, size=64))
    _, frames, hands = report["accounting"]
    assert hands["done"] == 4 and (report["left"], report["right"]) == (3, 1) and report["box_scale"] == BOX_SCALE
    assert frames["failed"] == {
        "images not readable (No such file or directory)": 1,
        "images of another aspect than was labelled": 1,
    }
    tables = tables_of(tmp_path / "yt.h5", CROPS, LABELS, VIDEOS)
    assert tables["labels/sample_id"].tolist() == [2, 0, 3, 1] and not tables["labels/valid"].any()
    with open_file(tmp_path / "yt.h5") as file:
        assert (choose_origin(file, KeypointsConfig()) == ESTIMATED).all(), "their keypoints are looked for"


def test_what_is_missing_or_of_another_version_is_named(tmp_path):
    root = tmp_path / "yt"
    make_set(root)
    good = json.loads((root / "youtube_train.json").read_text())

    def changed(kind, **values):
        return json.dumps({**good, kind: [{**good[kind][0], **values}, *good[kind][1:]]})

    for text, message in [
        (
            changed("annotations", vertices=[[1, 2, 3]] * 21),
            r"number 0 of annotations is not as it should be: vertices of shape \(21, 3\)",
        ),
        (changed("annotations", image_id=9), r"has hands on image 9, and no image of that id"),
        (
            changed("images", name="../../etc/1.png"),
            r"number 0 of images .* '../../etc/1.png' is no path below the root",
        ),
        (changed("images", width=0), "a size of 0 x 180"),
        (
            json.dumps({"images": [{"id": 1, "name": "a/1.png"}], "annotations": []}),
            "number 0 of images is not as it should be: no 'width'",
        ),
        (json.dumps({"images": []}), "has no annotations; it has images"),
        (json.dumps(good)[:-900], r"youtube_train.json \([\d,]+ bytes\) ends in the middle"),
    ]:
        (root / "youtube_train.json").write_text(text)
        with pytest.raises(HandtoolError, match=message):
            read_set(root)
    (root / "youtube_train.json").write_text(json.dumps(good))
    for error, message, choice in [
        (WrongCommand, "no split 'eval'", dict(split="eval")),
        (HandtoolError, "youtube_val.json does not exist", dict(split="val")),
        (WrongCommand, "has no 'both'", dict(subset=("both",))),
        (WrongCommand, "each video has its own", dict(cameras=("1",))),
    ]:
        with pytest.raises(error, match=message):
            read_set(root, **choice)
    (root / "youtube").rename(root / "frames")
    with pytest.raises(
        HandtoolError,
        match=r"youtube does not exist: looked for the frames .*, found in .*yt: frames, youtube_train.json",
    ):
        read_set(root)
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        HandtoolError,
        match="looked for youtube_train.json, youtube_val.json or youtube_test.json, found in .*empty: nothing",
    ):
        read_set(tmp_path / "empty", dataset="youtube3d")
