"""COCO's json as its relatives write it: every annotation is used, or left out and counted, or the file is refused."""

import json
import logging

import numpy as np
import pytest
from footage import picture, run_stage, write_image

from handtool.config import ExtractConfig
from handtool.errors import DamagedFile, HandtoolError
from handtool.hands.skeleton import LEFT, RIGHT, UNKNOWN
from handtool.stages.extract import extract
from handtool.vision.boxes_file import BoxesFile

BOX = [10, 20, 30, 40]


def coco(path, annotations, categories=({"id": 1, "name": "hand"},), images=None, **more):
    """annotations: on image 1, of category 1, with BOX, unless they say otherwise; the value ... leaves the key out."""
    images = images or [{"id": 1, "file_name": "a.jpg", "width": 640, "height": 480}]
    whole = [{"image_id": 1, "category_id": 1, "bbox": BOX, **one} for one in annotations]
    kept = [{key: value for key, value in one.items() if value is not ...} for one in whole]
    path.write_text(json.dumps({"images": images, "categories": list(categories), "annotations": kept, **more}))
    return BoxesFile(str(path))


def boxes_of(boxes, name="a.jpg"):
    return [hand.box.tolist() for hand in boxes.hands_on(name, 640, 480)]


POLYGONS = [[5, 6, 50, 6, 50, 70], [40.5, 2, 44, 8, 41, 9]]
RUNS = {"counts": [3, 5, 9], "size": [480, 640]}


@pytest.mark.parametrize(
    "annotation, box, reason",
    [
        ({}, [10, 20, 40, 60], ""),
        ({"iscrowd": 1}, None, "a crowd"),
        ({"iscrowd": 0}, [10, 20, 40, 60], ""),
        ({"category_id": "1"}, [10, 20, 40, 60], ""),
        ({"category_id": 1.0, "image_id": "1"}, [10, 20, 40, 60], ""),
        ({"category_id": 2}, None, "not a hand: person"),
        ({"category_id": "2"}, None, "not a hand: person"),
        ({"category_id": 9}, None, "of category 9, which the file does not list"),
        ({"category_id": ...}, [10, 20, 40, 60], ""),
        ({"image_id": 5}, None, "on a picture that the file does not list"),
        ({"bbox": ..., "segmentation": POLYGONS}, [5, 2, 50, 70], ""),
        ({"bbox": [], "segmentation": POLYGONS}, [5, 2, 50, 70], ""),
        ({"bbox": ..., "segmentation": RUNS}, None, "a mask without a box"),
        ({"bbox": ..., "segmentation": {"counts": "PYQ1", "size": [480, 640]}}, None, "a mask without a box"),
        ({"bbox": None}, None, "without a box"),
        ({"segmentation": RUNS}, [10, 20, 40, 60], ""),
        ({"bbox_mode": 0}, [10, 20, 30, 40], ""),
        ({"bbox_mode": 1}, [10, 20, 40, 60], ""),
        ({"bbox_format": "XYXY"}, [10, 20, 30, 40], ""),
        ({"bbox_mode": "BoxMode.XYXY_ABS"}, [10, 20, 30, 40], ""),
        ({"bbox_format": "cxcywh", "bbox": [100, 100, 20, 10]}, [90, 95, 110, 105], ""),
    ],
)
def test_an_annotation_is_used_or_left_out_with_its_reason(tmp_path, annotation, box, reason):
    categories = [{"id": 1, "name": "hand"}, {"id": 2, "name": "person"}]
    boxes = coco(tmp_path / "b.json", [annotation, {"bbox": [1, 2, 3, 4]}], categories)
    assert boxes_of(boxes) == ([box] if box else []) + [[1, 2, 4, 6]]
    assert dict(boxes.left_out) == ({reason: 1} if reason else {}) and not boxes.notes


def test_the_file_may_say_how_its_boxes_are_written_and_an_annotation_may_say_otherwise(tmp_path):
    for more in ({"info": {"bbox_format": "xyxy"}}, {"bbox_format": "pascal_voc"}):
        boxes = coco(tmp_path / "b.json", [{}, {"bbox_format": "xywh"}], **more)
        assert boxes_of(boxes) == [[10, 20, 30, 40], [10, 20, 40, 60]]
    for said in (2, "XYXY_REL", "yolo"):
        with pytest.raises(DamagedFile, match="has bbox_mode .*expected px as xywh, xyxy, cxcywh"):
            coco(tmp_path / "b.json", [{"bbox_mode": said}])


def test_corners_that_are_called_nothing_are_refused_and_hands_cut_by_the_border_are_not(tmp_path):
    rng = np.random.default_rng(0)
    low = rng.uniform(250, 350, (12, 2)).round()
    corners = [{"bbox": [*map(float, point), *map(float, point + rng.uniform(40, 90, 2).round())]} for point in low]
    with pytest.raises(DamagedFile, match="of 12 boxes stick out of their pictures as x, y, width, height") as refusal:
        coco(tmp_path / "b.json", corners)
    assert '{"bbox_format": "xyxy"}' in refusal.value.hint
    assert len(coco(tmp_path / "b.json", corners, info={"bbox_format": "xyxy"})) == 12
    cut = [{"bbox": [600.0 + n, 440.0, 80.0, 90.0]} for n in range(12)]  # as width and height; no corners
    assert len(coco(tmp_path / "c.json", cut)) == 12
    plain = [{"bbox": [float(x) - 200, float(y) - 200, 60.0, 70.0]} for x, y in low]
    assert len(coco(tmp_path / "d.json", plain)) == 12


@pytest.mark.parametrize("names", [("cup", "person"), ("object",), ("0",)])
def test_where_no_category_is_a_hand_all_boxes_are_taken_and_it_is_told(tmp_path, names):
    categories = [{"id": number + 1, "name": name} for number, name in enumerate(names)]
    boxes = coco(tmp_path / "b.json", [{"category_id": number + 1} for number in range(len(names))], categories)
    assert len(boxes) == len(names) and f"called a hand ({', '.join(names)})" in boxes.notes[0]
    assert not coco(tmp_path / "c.json", [{}], ()).notes, "a file without categories has nothing to tell"


@pytest.mark.parametrize(
    "name, side",
    [("myleft", LEFT), ("yourright", RIGHT), ("my_left", LEFT), ("Left Hand", LEFT), ("rightHand", RIGHT)]
    + [("hand", UNKNOWN), ("left_or_right_hand", UNKNOWN)],
)
def test_sides_in_the_names_of_categories(tmp_path, name, side):
    boxes = coco(tmp_path / "b.json", [{}], [{"id": 1, "name": name}, {"id": 2, "name": "hands"}])
    assert [hand.side for hand in boxes.hands_on("a.jpg", 640, 480)] == [side]


def test_names_in_folders_and_sizes_in_texts_are_understood(tmp_path):
    images = [{"id": "x", "file_name": "train/deep/a.jpg", "width": "640", "height": "480"}]
    boxes = coco(tmp_path / "b.json", [{"image_id": "x"}], images=images)
    for name in ("a.jpg", "deep/a.jpg", "/data/train/deep/a.jpg"):
        assert boxes_of(boxes, name) == [[10, 20, 40, 60]], name
    assert boxes_of(boxes, "other/a.jpg") == []


def test_boxes_of_no_size_are_refused_and_counted_and_the_others_are_used(tmp_path):
    write_image(tmp_path / "p" / "a.jpg", picture(0, 1, (640, 480)))
    bad = [
        {"bbox": [10, 10, 0, 0]},
        {"bbox": [50, 50, -20, 30]},
        {"bbox": [700, 10, 30, 30]},
        {"bbox": [0.1, 0.2, 0.3, 0.2]},
    ]
    coco(tmp_path / "b.json", [*bad, {}, {"iscrowd": 1}])
    config = ExtractConfig(workers=1, size=64)
    report = run_stage(extract, [tmp_path / "p"], tmp_path / "o.h5", config, boxes=tmp_path / "b.json")
    hands = report["accounting"][2]
    assert hands["done"] == 1 and sum(hands["failed"].values()) == 4
    assert hands["failed"] == {"boxes smaller than a pixel": 3, "boxes outside their frame": 1}
    assert report["boxes_left_out"] == {"a crowd": 1}


def test_a_file_without_any_box_of_a_hand_says_what_it_has(tmp_path, caplog):
    write_image(tmp_path / "p" / "a.jpg", picture(0, 1, (640, 480)))
    coco(tmp_path / "b.json", [{"bbox": ..., "segmentation": RUNS}, {"iscrowd": 1}])
    config = ExtractConfig(workers=1, size=64)
    with pytest.raises(HandtoolError, match="b.json has no box of a hand .*a mask without a box: 1"):
        run_stage(extract, [tmp_path / "p"], tmp_path / "o.h5", config, boxes=tmp_path / "b.json")
    coco(tmp_path / "c.json", [{}], [{"id": 1, "name": "person"}])
    with caplog.at_level(logging.WARNING):
        run_stage(extract, [tmp_path / "p"], tmp_path / "c.h5", config, boxes=tmp_path / "c.json")
    assert "all boxes are taken for hands" in caplog.text
