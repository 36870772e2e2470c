"""SiMHand's released json (Hand100M): their boxes, keypoints and positives, from the json to a training, unmined."""

import json

import numpy as np
import pytest
from footage import picture, run_stage, tables_of, write_image

from handtool import store
from handtool.config import ExtractConfig, KeypointsConfig, MineConfig, PretrainConfig
from handtool.errors import DamagedFile, HandtoolError, WrongCommand
from handtool.hands.skeleton import LEFT, RIGHT
from handtool.sources.find import find_videos
from handtool.stages.extract import extract
from handtool.stages.keypoints import keypoints
from handtool.stages.mine import mine
from handtool.store import CROPS, KEYPOINTS, LABELS, PAIRS, VIDEOS

pytest.importorskip("ijson", reason="needs the extra `datasets`")
NAME = "annotations/Ego4D/Hand100M_Ego4D_50k_v1-1.json"
SIZE = (160, 120)
HANDS = (  # video, frame, box, side: two hands on one image, and a name that comes later in the json
    ("kitchen_b", 60, (20, 10, 80, 70), "Left"),
    ("kitchen_a", 30, (60, 40, 140, 90), "Right"),
    ("kitchen_a", 30, (5, 8, 45, 60), "Left"),
    ("kitchen_a", 0, (30, 20, 110, 100), "Right"),
    ("kitchen_b", 0, (50, 50, 90, 85), "Right"),
)
POSITIVES = {0: [(3, 0.1), (99, 0.2), (1, 0.3)], 1: [(4, 0.5)], 2: [(77, 0.1)], 3: [(0, 0.1), (3, 0.15), (4, 0.4)]}


def make_set(root, name=NAME, change=None, flat=True):
    """Returns keypoints (5, 21, 2) as shares of each crop."""
    shares = np.random.default_rng(2).uniform(0.15, 0.85, (len(HANDS), 21, 2))
    images, annotations = {}, []
    for number, (video, frame, box, side) in enumerate(HANDS):
        file = f"{video}/frame_{frame:06d}.jpg"
        if file not in images:
            write_image(root / file, picture(number, 6, SIZE))
            images[file] = {"id": f"img{number}", "file_name": file, "width": SIZE[0], "height": SIZE[1]}
        points = np.dstack([shares[number : number + 1], np.zeros((1, 21, 1))])[0]
        positives = POSITIVES.get(number, [])
        annotations.append(
            {
                "image_id": images[file]["id"],
                "hand_id": f"hand-{number}",
                "boxes": json.dumps(list(box)),
                "left_right": side,
                "keypoint_25d": points.ravel().tolist() if flat else points.tolist(),
                "positive_sample": [f"hand-{other}" for other, _ in positives],
                "distance": [distance for _, distance in positives],
            }
        )
    content = {"images": list(images.values()), "annotations": annotations}
    if change:
        change(content)
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(json.dumps(content))
    return shares


def make_pairs(tmp_path, **settings):
    """The documented commands. Returns the report of mine."""
    root = tmp_path / "Hand100M"
    run_stage(extract, [root], tmp_path / "crops.h5", ExtractConfig(workers=1, size=64))
    run_stage(keypoints, tmp_path / "crops.h5", tmp_path / "keypoints.h5", KeypointsConfig(workers=1))
    config, output = MineConfig(**settings), tmp_path / "pairs.h5"
    with store.open_file(tmp_path / "keypoints.h5") as source:
        with store.create_file(output, store.Record("handtool mine", {}, []), [source]) as sink:
            report = mine(source, sink, config, pairs=root / NAME)
            sink.finish(report)
    return report


@pytest.mark.parametrize("flat", [True, False])
def test_boxes_sides_and_keypoints_come_out_and_no_label(tmp_path, flat):
    shares = make_set(tmp_path / "Hand100M", flat=flat)
    run_stage(extract, [tmp_path / "Hand100M"], tmp_path / "c.h5", ExtractConfig(workers=1, size=64))
    tables = tables_of(tmp_path / "c.h5", VIDEOS, CROPS, LABELS)
    assert tables["videos/name"].tolist() == [f"Hand100M/Ego4D_50k/kitchen_{each}" for each in "ab"]
    assert tables["labels/sample_key"].tolist() == [f"hand-{number}" for number in (3, 1, 2, 4, 0)]
    assert tables["crops/frame"].tolist() == [0, 30, 30, 0, 60] and tables["labels/sample_id"].tolist() == [
        3,
        1,
        2,
        4,
        0,
    ]
    assert not tables["labels/valid"].any() and not tables["labels/keypoints_valid"].any()
    for row, hand in enumerate(tables["labels/sample_id"]):
        x0, y0, x1, y1 = HANDS[hand][2]
        assert tables["crops/box"][row].tolist() == [x0, y0, x1, y1]
        assert tables["crops/side"][row] == (LEFT if HANDS[hand][3] == "Left" else RIGHT)
        side = 1.3 * max(x1 - x0, y1 - y0)  # their crop: square, 1.3 times the box, about its middle
        corner = np.array([(x0 + x1) / 2 - side / 2, (y0 + y1) / 2 - side / 2])
        affine = tables["crops/crop_from_frame"][row]
        for share, point in zip(shares[hand], tables["crops/landmarks"][row]):
            expected = affine[:, :2] @ (corner + share * side - 0.5) + affine[:, 2]
            assert np.allclose(point, expected, atol=1e-3)
    with store.open_file(tmp_path / "c.h5") as file:
        assert store.read_attrs(file, CROPS)["landmarks_source"] == "simhand"


def test_their_positives_become_pairs_without_a_search_and_missing_ones_are_counted(tmp_path):
    make_set(tmp_path / "Hand100M")
    report = make_pairs(tmp_path)
    tables = tables_of(tmp_path / "pairs.h5", PAIRS, LABELS, KEYPOINTS)
    names = tables["labels/sample_key"]
    found = [
        (names[a], names[p], round(float(d), 4), int(r))
        for a, p, d, r in zip(*(tables[f"pairs/{name}"] for name in ("anchor", "positive", "distance", "rank")))
    ]
    assert found == [
        ("hand-3", "hand-0", 0.1, 1),
        ("hand-3", "hand-4", 0.4, 2),
        ("hand-1", "hand-4", 0.5, 1),
        ("hand-0", "hand-3", 0.1, 1),
        ("hand-0", "hand-1", 0.3, 2),
    ]
    assert tables["pairs/anchor_offset"].tolist() == [0, 2, 3, 3, 3, 5] and tables["keypoints/valid"].all()
    hands, pairs = report["accounting"]
    assert hands["done"] == 3 and sum(hands["skipped"].values()) == 2
    assert pairs["done"] == 5 and sorted(pairs["skipped"].values()) == [1, 2]
    with store.open_file(tmp_path / "pairs.h5") as file:
        assert not store.find_faults(file) and store.read_attrs(file, KEYPOINTS)["model"] == "simhand"


def test_pretraining_takes_these_pairs(tmp_path):
    make_set(tmp_path / "Hand100M")
    make_pairs(tmp_path)
    from handtool.nn.files.paired_hands import read_paired
    from handtool.stages.pretrain import resolve_defaults

    with store.open_file(tmp_path / "pairs.h5") as file:
        hands = read_paired(file, resolve_defaults(PretrainConfig(method="simhand")))
    assert len(hands.pairs) == 3 and np.isfinite(hands.xy.numpy()).all()


def test_rules_choose_among_their_positives(tmp_path):
    make_set(tmp_path / "Hand100M")
    report = make_pairs(tmp_path, topk=1, max_distance=0.45)
    _, pairs = report["accounting"]
    assert pairs["done"] == 2 and pairs["skipped"]["beyond --topk"] == 2
    assert pairs["skipped"]["farther than --max-distance"] == 1


def test_hands_of_another_json_give_no_pairs(tmp_path):
    make_set(tmp_path / "Hand100M")

    def rename(content):
        for each in content["annotations"]:
            each["hand_id"] = f"other-{each['hand_id']}"

    make_pairs(tmp_path)
    make_set(tmp_path / "other", change=rename)
    with store.open_file(tmp_path / "keypoints.h5") as source:
        with pytest.raises(HandtoolError, match="gives no hand of .* a positive"):
            with store.create_file(tmp_path / "p.h5", store.Record("handtool mine", {}, []), [source]) as sink:
                mine(source, sink, MineConfig(), pairs=tmp_path / "other" / NAME)


def test_frames_that_are_not_there_are_counted_and_none_at_all_is_said(tmp_path):
    root = tmp_path / "Hand100M"
    make_set(root)
    (root / "kitchen_b" / "frame_000060.jpg").unlink()
    report = run_stage(extract, [root], tmp_path / "c.h5", ExtractConfig(workers=1, size=64))
    assert report["accounting"][2]["done"] == 4 and sum(report["accounting"][1]["failed"].values()) == 1
    for image in root.glob("kitchen_*/*.jpg"):
        image.unlink()
    with pytest.raises(HandtoolError, match="cut by SiMHand's scripts"):
        find_videos([root])


def test_of_several_json_one_is_chosen(tmp_path):
    for name in (NAME, NAME.replace("50k", "100k")):
        make_set(tmp_path / "Hand100M", name)
    with pytest.raises(WrongCommand, match="Ego4D_100k and Ego4D_50k"):
        find_videos([tmp_path / "Hand100M"])


def first(content, **values):
    content["annotations"][0] |= values


@pytest.mark.parametrize(
    "change, told",
    [
        (lambda content: content["images"][0].update(file_name="../../etc/passwd"), "no path below the root"),
        (lambda content: content["images"][0].update(file_name="/etc/passwd"), "no path below the root"),
        (lambda content: first(content, boxes="[1, 2, 3"), "number 0 of annotations"),
        (lambda content: first(content, boxes=json.dumps([5] * 4000)), "more than one box"),
        (lambda content: first(content, boxes="[[9, 9, 3, 3]]"), "no x0, y0, x1, y1"),
        (lambda content: first(content, boxes=None), "no x0, y0, x1, y1"),
        (lambda content: first(content, keypoint_25d=[0.5] * 42), "42 numbers"),
        (lambda content: first(content, image_id="nothing"), "are not listed"),
        (lambda content: content["annotations"][0].pop("hand_id"), "no 'hand_id'"),
        (lambda content: content["annotations"].clear(), "no annotations"),
        (lambda content: content["annotations"].insert(0, 7), "number 0 of annotations"),
    ],
)
def test_hostile_json_is_refused_in_one_line(tmp_path, change, told):
    make_set(tmp_path / "Hand100M", change=change)
    with pytest.raises(DamagedFile, match=told) as error:
        find_videos([tmp_path / "Hand100M"])
    assert "\n" not in error.value.message


@pytest.mark.parametrize(
    "values, told", [({"distance": []}, "3 positives and 0 distances"), ({"positive_sample": 7}, "annotation 0")]
)
def test_hostile_positives_are_refused_in_one_line(tmp_path, values, told):
    from handtool.sources.sets.simhand import read_positives

    make_set(tmp_path / "Hand100M", change=lambda content: first(content, **values))
    with pytest.raises(DamagedFile, match=told):
        list(read_positives(tmp_path / "Hand100M" / NAME))
