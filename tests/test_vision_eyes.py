"""Boxes from a file, lenses, tracks: everything that stands beside a detector."""

import json

import cv2
import numpy as np
import pytest
from footage import make_boxes

from handtool.errors import HandtoolError
from handtool.hands.skeleton import LEFT, RIGHT, UNKNOWN
from handtool.vision.boxes_file import BoxesFile
from handtool.vision.lens import read_lens
from handtool.vision.tracks import Linker

IMAGE = np.zeros((100, 100, 3), np.uint8)
K = [[400.0, 0, 159.5], [0, 400.0, 119.5], [0, 0, 1]]


def test_boxes_are_found_by_path_or_any_end_of_it_the_longest_first(tmp_path):
    path = make_boxes(
        tmp_path / "b.json", {"1.jpg": [[1, 2, 30, 40]], "a/1.jpg": [[5, 6, 7, 8], [1, 1, 9, 9]], "clip.mp4#12": [[0, 0, 5, 5]]}
    )
    boxes = BoxesFile(str(path), 0.5)
    assert [hand.box.tolist() for hand in boxes.hands_on("x/a/1.jpg")] == [[5, 6, 12, 14], [1, 1, 10, 10]]
    assert [hand.box.tolist() for hand in boxes.hands_on("x/c/1.jpg")] == [[1, 2, 31, 42]]
    assert len(boxes.hands_on("clip.mp4#12")) == 1 and boxes.hands_on("clip.mp4#13") == []


def test_side_comes_from_the_box_or_from_the_name_of_its_category(tmp_path):
    content = {
        "images": [{"id": 1, "file_name": "a.jpg"}],
        "categories": [{"id": 3, "name": "left_hand"}, {"id": 4, "name": "hand"}],
        "annotations": [
            {"image_id": 1, "bbox": [0, 0, 9, 9], "side": "right"},
            {"image_id": 1, "bbox": [0, 0, 9, 9], "category_id": 3},
            {"image_id": 1, "bbox": [0, 0, 9, 9], "category_id": 4},
            {"image_id": 1, "bbox": [0, 0, 9, 9], "hand_side": "l", "score": 0.4},
        ],
    }
    (tmp_path / "b.json").write_text(json.dumps(content))
    assert [hand.side for hand in BoxesFile(str(tmp_path / "b.json"), 0.0).hands_on("a.jpg")] == [RIGHT, LEFT, UNKNOWN, LEFT]
    assert len(BoxesFile(str(tmp_path / "b.json"), 0.5).hands_on("a.jpg")) == 3


@pytest.mark.parametrize(
    "content",
    ["no json", "[]", '{"images": []}', '{"images": [{"id": 1, "file_name": "a"}], "annotations": [{"image_id": 2, "bbox": [1,2,3,4]}]}'],
)
def test_a_file_that_is_not_coco_is_refused(tmp_path, content):
    (tmp_path / "b.json").write_text(content)
    with pytest.raises(HandtoolError, match="b.json"):
        BoxesFile(str(tmp_path / "b.json"), 0.5)


@pytest.mark.parametrize(
    "annotation, message", [({"bbox": [1, 2, 3]}, "expected x, y, width, height"), ({"bbox": [1, 2, 3, 4], "side": "both"}, "side 'both'")]
)
def test_a_wrong_annotation_is_named(tmp_path, annotation, message):
    content = {"images": [{"id": 1, "file_name": "a"}], "annotations": [{"image_id": 1, **annotation}]}
    (tmp_path / "b.json").write_text(json.dumps(content))
    with pytest.raises(HandtoolError, match=f"annotation 0 has.*{message}"):
        BoxesFile(str(tmp_path / "b.json"), 0.5)


def test_four_numbers_are_a_pinhole_camera_that_changes_no_pixel():
    lens = read_lens("500,510,320,240")
    assert lens.camera.tolist() == [[500, 0, 320], [0, 510, 240], [0, 0, 1]]
    assert lens.straighten(IMAGE) is IMAGE


@pytest.mark.parametrize("model, distortion", [("pinhole", [-0.3, 0.1, 0.002, -0.001, 0.0]), ("fisheye", [0.05, -0.02, 0.01, 0.0])])
def test_straightened_pictures_show_points_where_a_pinhole_camera_sees_them(tmp_path, model, distortion):
    """Dots are drawn where OpenCV's own projection puts them, and looked for at K (X/Z, Y/Z)."""
    (tmp_path / "c.json").write_text(json.dumps({"model": model, "K": K, "distortion": distortion}))
    points = np.array([[-0.1, -0.05, 1.0], [0.12, 0.08, 1.0], [0.0, -0.1, 1.0], [-0.15, 0.1, 1.0]])
    zero, camera, factors = np.zeros(3), np.array(K), np.array(distortion)
    if model == "fisheye":
        drawn = cv2.fisheye.projectPoints(points[:, None], zero, zero, camera, factors)[0][:, 0]
    else:
        drawn = cv2.projectPoints(points, zero, zero, camera, factors)[0][:, 0]
    seen = points @ camera.T
    for point, expected in zip(drawn, seen[:, :2] / seen[:, 2:], strict=True):
        v, u = np.indices((240, 320))
        image = np.repeat((255 * np.exp(-((u - point[0]) ** 2 + (v - point[1]) ** 2) / 18)).astype(np.uint8)[..., None], 3, -1)
        straight = read_lens(str(tmp_path / "c.json")).straighten(image)[..., 0].astype(float)
        found = np.array([(straight * u).sum(), (straight * v).sum()]) / straight.sum()
        assert np.linalg.norm(found - expected) < 0.35


@pytest.mark.parametrize(
    "content, message",
    [
        ('{"K": [[1, 0], [0, 1]]}', "no camera matrix"),
        ('{"model": "mirror", "K": [[1, 0, 0], [0, 1, 0], [0, 0, 1]]}', "model 'mirror'"),
        ('{"K": [[1, 0, 0], [0, 1, 0], [0, 0, 1]], "distortion": [1, 2, 3]}', "3 distortion numbers"),
        ('{"k": 1}', "no K"),
        ("", "neither four numbers nor a json file"),
    ],
)
def test_a_camera_file_that_is_none_is_refused(tmp_path, content, message):
    (tmp_path / "c.json").write_text(content)
    with pytest.raises(HandtoolError, match=message):
        read_lens(str(tmp_path / "c.json"))


def test_hands_are_linked_by_overlap_and_lonely_ones_get_no_track():
    linker = Linker()
    left, right = np.array([0.0, 0, 50, 50]), np.array([200.0, 0, 250, 50])
    linker.add(0.0, np.array([left, right]))
    linker.add(0.2, np.array([right + 10, left + 5]))
    linker.add(0.4, np.array([left + 10, left + 500]))
    assert linker.tracks().tolist() == [0, 1, 1, 0, 0, -1]


def test_hands_further_apart_in_time_or_without_time_are_not_linked():
    box = np.array([[0.0, 0, 50, 50]])
    for times in ((0.0, 0.25, 1.0), (np.nan,) * 3):
        linker = Linker()
        for time in times:
            linker.add(time, box)
        assert linker.tracks().tolist() == [-1, -1, -1]
