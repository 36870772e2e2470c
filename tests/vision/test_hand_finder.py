"""Boxes from a file, lenses: everything that stands beside a detector."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from footage import make_boxes

from handtool.config import ExtractConfig
from handtool.errors import DamagedFile, HandtoolError
from handtool.hands.skeleton import LEFT, RIGHT, UNKNOWN
from handtool.sources.frame import Frame
from handtool.vision.boxes_file import BoxesFile
from handtool.vision.camera_model import VideoCamera, read_camera_model
from handtool.vision.changes import Changes
from handtool.vision.contracts import FOUND, WHOLE_PICTURE, Detection
from handtool.vision.hand_finder import FinderSettings, HandFinder, guard

IMAGE = np.zeros((100, 100, 3), np.uint8)
K = [[400.0, 0, 159.5], [0, 400.0, 119.5], [0, 0, 1]]


def test_boxes_are_found_by_path_or_any_end_of_it_the_longest_first(tmp_path):
    path = make_boxes(
        tmp_path / "b.json",
        {"1.jpg": [[1, 2, 30, 40]], "a/1.jpg": [[5, 6, 7, 8], [1, 1, 9, 9]], "clip.mp4#12": [[0, 0, 5, 5]]},
    )
    boxes = BoxesFile(str(path))
    assert [hand.box.tolist() for hand in boxes.hands_on("x/a/1.jpg", 100, 100)] == [[5, 6, 12, 14], [1, 1, 10, 10]]
    assert [hand.box.tolist() for hand in boxes.hands_on("x/c/1.jpg", 100, 100)] == [[1, 2, 31, 42]]
    assert len(boxes.hands_on("clip.mp4#12", 100, 100)) == 1 and boxes.hands_on("clip.mp4#13", 100, 100) == []


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
    assert [hand.side for hand in BoxesFile(str(tmp_path / "b.json")).hands_on("a.jpg", 100, 100)] == [
        RIGHT,
        LEFT,
        UNKNOWN,
        LEFT,
    ]


@pytest.mark.parametrize(
    "content",
    [
        "no json",
        "[]",
        '{"images": []}',
        '{"images": [{"id": 1, "file_name": "a"}], "annotations": [{"image_id": 2, "bbox": [1,2,3,4]}]}',
    ],
)
def test_a_file_that_is_not_coco_is_refused(tmp_path, content):
    (tmp_path / "b.json").write_text(content)
    with pytest.raises(HandtoolError, match="b.json"):
        BoxesFile(str(tmp_path / "b.json"))


@pytest.mark.parametrize(
    "annotation, message",
    [({"bbox": [1, 2, 3]}, "expected x, y, width, height"), ({"bbox": [1, 2, 3, 4], "side": "both"}, "side 'both'")],
)
def test_a_wrong_annotation_is_named(tmp_path, annotation, message):
    content = {"images": [{"id": 1, "file_name": "a"}], "annotations": [{"image_id": 1, **annotation}]}
    (tmp_path / "b.json").write_text(json.dumps(content))
    with pytest.raises(HandtoolError, match=f"annotation 0 has.*{message}"):
        BoxesFile(str(tmp_path / "b.json"))


def test_100doh_boxes_are_shares_of_the_picture(tmp_path):
    hands = [{"x1": 0.1, "y1": 0.25, "x2": 0.5, "y2": 0.75, "hand_side": "l", "contact_state": 3, "obj_bbox": None}]
    hands += [{"x1": 0.0, "y1": 0.0, "x2": 0.2, "y2": 1.0, "hand_side": "r", "score": 0.7}]
    (tmp_path / "b.json").write_text(json.dumps({"cooking_v_1_frame000042.jpg": hands, "nobody.jpg": []}))
    boxes = BoxesFile(str(tmp_path / "b.json"))
    found = boxes.hands_on("x/cooking_v_1_frame000042.jpg", 400, 200)
    assert [hand.box.tolist() for hand in found] == [[40, 50, 200, 150], [0, 0, 80, 200]] and len(boxes) == 2
    assert [(hand.side, hand.score) for hand in found] == [(LEFT, 1.0), (RIGHT, 0.7)] and boxes.hands_on(
        "nobody.jpg", 9, 9
    ) == []


def coco(path: Path, annotations: list[dict], categories: tuple[str, ...] = (), **image: object) -> BoxesFile:
    """Boxes of one picture, `a.jpg`. A category's id is its place."""
    content = {
        "images": [{"id": 1, "file_name": "a.jpg", **image}],
        "categories": [{"id": number, "name": name} for number, name in enumerate(categories)],
        "annotations": [{"image_id": 1, "bbox": [10, 20, 30, 40], **annotation} for annotation in annotations],
    }
    path.write_text(json.dumps(content))
    return BoxesFile(str(path))


def test_of_several_categories_only_hands_are_hands(tmp_path):
    names = ("hand", "handbag", "LeftHand", "person", "r", "cup")
    boxes = coco(tmp_path / "b.json", [{"category_id": number} for number in range(6)] + [{}], names)
    assert [hand.side for hand in boxes.hands_on("a.jpg", 99, 99)] == [UNKNOWN, LEFT, RIGHT, UNKNOWN]
    assert boxes.left_out == {"not a hand: handbag": 1, "not a hand: person": 1, "not a hand: cup": 1}
    others = coco(tmp_path / "c.json", [{"category_id": 0}, {"category_id": 1}], ("cup", "person"))
    assert len(others) == 2 and not others.left_out, "where nothing is called a hand, all boxes are taken"


def test_of_a_whole_body_the_hands_are_taken_not_the_person(tmp_path):
    person = {
        "lefthand_box": [300, 120, 80, 60], "lefthand_valid": True, "lefthand_kpts": [1.0, 2.0, 0.5] * 21,
        "righthand_box": [1, 2, 3, 4], "righthand_valid": False,
    }  # fmt: skip
    nobody = {"lefthand_box": [0.0, 0.0, 0.0, 0.0], "righthand_box": [0.0, 0.0, 0.0, 0.0]}
    boxes = coco(tmp_path / "b.json", [person, nobody], ("person",))
    (hand,) = boxes.hands_on("a.jpg", 640, 480)
    assert (hand.box.tolist(), hand.side, boxes.unused_keypoints) == ([300, 120, 380, 180], LEFT, 0)
    assert hand.landmarks.tolist() == [[1, 2]] * 21 and hand.landmarks_score == 0.5


@pytest.mark.parametrize(
    "value", [0, "0", "left", "Left", "l", "LeftHand", "lefthand", "left_hand", "hand_l", "L_hand"]
)
def test_sides_as_the_world_writes_them(tmp_path, value):
    (tmp_path / "b.csv").write_text(f"image,x0,y0,x1,y1,side\na.jpg,1,2,3,4,{value}\n")
    said = [{"side": value}, {"hand_side": value}, {"attributes": {"side": value, "occluded": False}}]
    read = [coco(tmp_path / "b.json", [one]) for one in said] + [BoxesFile(str(tmp_path / "b.csv"))]
    if isinstance(value, str) and value.isalpha() and len(value) > 1:
        read.append(coco(tmp_path / "b.json", [{"category_id": 0}], (value,)))
    assert [boxes.hands_on("a.jpg", 99, 99)[0].side for boxes in read] == [LEFT] * len(read)


@pytest.mark.parametrize(
    "size, picture, box", [((320, 240), (640, 480), [20, 40, 80, 120]), ((640, 480), (640, 480), [10, 20, 40, 60])]
)
def test_boxes_of_a_resized_copy_are_scaled(tmp_path, size, picture, box):
    boxes = coco(tmp_path / "b.json", [{}], width=size[0], height=size[1])
    (hand,) = boxes.hands_on("a.jpg", *picture)
    assert hand.box.tolist() == box and not hand.refused


def test_boxes_of_a_picture_of_another_shape_are_refused(tmp_path):
    (hand,) = coco(tmp_path / "b.json", [{}], width=640, height=480).hands_on("a.jpg", 480, 640)
    assert hand.refused == "boxes for 640 x 480 px, the picture has 480 x 640"
    with pytest.raises(HandtoolError, match="several images the same id"):
        content = {"images": [{"id": 1, "file_name": "a"}, {"id": 1, "file_name": "b"}], "annotations": []}
        (tmp_path / "twice.json").write_text(json.dumps(content))
        BoxesFile(str(tmp_path / "twice.json"))


@pytest.mark.parametrize(
    "told, asked",
    [
        ("./pictures/1.jpg", "pictures/1.jpg"),
        ("pictures\\1.jpg", "x/pictures/1.jpg"),
        ("/home/bob/pictures/1.jpg", "pictures/1.jpg"),
        ("pictures/My%20Hand.JPG", "pictures/my hand.jpg"),
        ("pictures/Ha\u0308nde.jpg", "x/pictures/H\u00e4nde.jpg"),
        (os.path.abspath("pictures/1.jpg"), "pictures/1.jpg"),
        ("./films/clip.mp4#12", "films/clip.mp4#12"),
    ],
)
def test_a_picture_is_known_however_its_path_is_written(tmp_path, told, asked):
    boxes = BoxesFile(
        str(make_boxes(tmp_path / "b.json", {told: [[1, 2, 3, 4]], "pictures/other.jpg": [[0, 0, 9, 9]]}))
    )
    assert [hand.box.tolist() for hand in boxes.hands_on(asked, 99, 99)] == [[1, 2, 4, 6]]


def test_a_name_that_could_be_two_pictures_is_neither(tmp_path):
    names = {"/one/pictures/1.jpg": [[1, 2, 3, 4]], "/two/pictures/1.jpg": [[0, 0, 9, 9]], "A.jpg": [], "a.JPG": []}
    boxes = BoxesFile(str(make_boxes(tmp_path / "b.json", names)))
    assert boxes.find("pictures/1.jpg") is None and boxes.find("a.jpg") is None and boxes.find("A.jpg") == "A.jpg"


def test_csv_boxes_of_images_and_of_frames_of_videos(tmp_path):
    (tmp_path / "i.csv").write_text(
        "\ufeffscore,image,x0,y0,x1,y1,side\n0.25,a/1.jpg,1,2,30.5,40,Left\n,1.jpg,5,6,7,8,\n", encoding="utf-8"
    )
    boxes = BoxesFile(str(tmp_path / "i.csv"))
    (left,), (other,) = boxes.hands_on("a/1.jpg", 99, 99), boxes.hands_on("b/1.jpg", 99, 99)
    assert (left.box.tolist(), left.side, left.score) == ([1, 2, 30.5, 40], LEFT, 0.25) and (
        other.side,
        other.score,
    ) == (UNKNOWN, 1.0)
    (tmp_path / "v.csv").write_text(
        'video,frame,x0,y0,x1,y1\n"a, b.mp4",12,1,2,3,4\n"a, b.mp4",7,5,6,7,8\n"a, b.mp4",12,0,0,9,9\n'
    )
    found = BoxesFile(str(tmp_path / "v.csv")).hands_on("films/a, b.mp4#12", 99, 99)
    assert [hand.box.tolist() for hand in found] == [[1, 2, 3, 4], [0, 0, 9, 9]]


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("b.csv", "image,x,y,width,height\na,1,2,3,4\n", "needed are image or video, x0, y0, x1, y1"),
        ("b.csv", "image,x0,y0,x1,y1\na,1,2,three,4\n", "line 2 has box"),
        ("b.csv", "image,x0,y0,x1,y1\na,1,2,3\n", "line 2 has box"),
        ("b.csv", "image,x0,y0,x1,y1,score\na,1,2,3,4,1e400\n", "line 2 has box"),
        ("b.csv", "image,x0,y0,x1,y1,side\na,1,2,3,4,both\n", "line 2 has side 'both'"),
        ("b.csv", "video,frame,x0,y0,x1,y1\na,1.5,1,2,3,4\n", "frame '1.5'"),
        ("b.csv", "video,frame,x0,y0,x1,y1\na," + "9" * 5000 + ",1,2,3,4\n", "line 2 has frame"),
        ("b.json", "9" * 5_000_000, "a word or a line of more than 1 MB"),
        ("b.json", "9" * 5000, "4300 digits"),
        ("b.csv", "a" * 5_000_000, "a word or a line of more than 1 MB"),
        ("b.json", '{"a.jpg": [{"x1": 10, "y1": 20, "x2": 30, "y2": 40}]}', "expected shares of the picture"),
        ("b.json", '{"a.jpg": [{"x1": 0.1, "y1": 0.2}]}', "hand 0 of a.jpg has no x1"),
        ("b.json", '{"a.jpg": [{"x1": 0.1, "y1": 0.2, "x2": 0.3, "y2": null}]}', "expected numbers"),
        ("b.json", '{"a.jpg": 3}', "neither COCO's json nor 100DOH's"),
        ("b.csv", "", "needed are"),
        ("b.csv", "x0,y0,x1,y1,image\n1,2,3,4\n", "line 2 has no name of a picture"),
        ("b.csv", "image,x0,y0,x1,y1\n" + "a" * 200_000 + ",1,1,5,5\n", "field larger than"),
        ("b.json", "[" * 100_000, "nested too deep"),
        ("b.json", '{"a.jpg": [{"x1": ' + "9" * 400 + ', "y1": 0, "x2": 1, "y2": 1}]}', "expected numbers"),
    ],
)
def test_what_is_wrong_with_a_boxes_file_is_named(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(DamagedFile, match=message):
        BoxesFile(str(tmp_path / name))


def test_four_numbers_are_a_pinhole_camera_that_changes_no_pixel():
    lens = read_camera_model("500,510,320,240")
    assert lens.camera.tolist() == [[500, 0, 320], [0, 510, 240], [0, 0, 1]] and not lens.bends
    assert VideoCamera(lens).of(IMAGE).tolist() == lens.camera.tolist()


SMALL = {"model": "fisheye", "fx": 1, "fy": 1, "cx": 0, "cy": 0}
FLAT = {"model": "fisheye", "image_width": 320, "image_height": 240, "fx": 150.0, "fy": 151, "cx": 160, "cy": 119.5}


def test_the_published_form_of_a_fisheye_camera_is_read(tmp_path):
    (tmp_path / "i.json").write_text(json.dumps(FLAT | {"k1": -0.1, "k2": 0.02, "k3": 0.001, "k4": -0.003, "rms": 0.3}))
    lens = read_camera_model(str(tmp_path / "i.json"))
    assert (lens.model, lens.size, lens.bends) == ("fisheye", (320, 240), True)
    assert lens.numbers[:9].tolist() == [150, 151, 160, 119.5, -0.1, 0.02, 0.001, -0.003, 0]


def test_the_flat_form_of_a_wide_pinhole_has_its_numbers_in_opencvs_order(tmp_path):
    numbers = {"k1": -0.3, "k2": 0.1, "p1": 0.002, "k3": -0.01}
    (tmp_path / "i.json").write_text(json.dumps(FLAT | {"model": "pinhole"} | numbers))
    assert read_camera_model(str(tmp_path / "i.json")).numbers[4:10].tolist() == [-0.3, 0.1, 0.002, 0, -0.01, 0]


def test_a_camera_fits_pictures_of_another_size_but_not_of_another_shape(tmp_path):
    (tmp_path / "i.json").write_text(json.dumps(FLAT))
    lens, told = read_camera_model(str(tmp_path / "i.json")), []
    camera = VideoCamera(lens, "i.json", told.append)
    half = camera.of(np.zeros((120, 160, 3), np.uint8))
    np.testing.assert_allclose(half.numbers[:4], [75, 75.5, 79.75, 59.5])
    assert told == ["intrinsics of 320x240 px scaled to its 160x120"] and camera.used == "with intrinsics.json"
    assert np.isnan(camera.of(np.zeros((120, 120, 3), np.uint8))).all() and "another shape" in told[1]
    with pytest.raises(HandtoolError, match="of pictures of 320x240 px, here they have 120x120"):
        VideoCamera(lens).of(np.zeros((120, 120, 3), np.uint8))


@pytest.mark.parametrize(
    "content, message",
    [
        ('{"K": [[1, 0], [0, 1]]}', "no camera matrix"),
        ('{"model": "mirror", "K": [[1, 0, 0], [0, 1, 0], [0, 0, 1]]}', "model 'mirror'"),
        ('{"K": [[1, 0, 0], [0, 1, 0], [0, 0, 1]], "distortion": [1, 2, 3]}', "3 distortion numbers"),
        ('{"k": 1}', "no K"),
        (json.dumps({"fx": 1, "fy": 1, "cx": 0, "cy": 0}), "model None"),
        (json.dumps(SMALL | {"k1": -900}), "folds back before 6 degrees"),
        (json.dumps(SMALL | {"k1": 1e300}), "distortion numbers"),
        (json.dumps(SMALL | {"image_width": 5}), "no size of a picture"),
        ('{"K": [[1, 0.5, 0], [0, 1, 0], [0, 0, 1]]}', "no camera matrix"),
        ("", "cannot be read"),
        ("[" * 100_000, "nested too deep"),
        ('{"K": [[1' + "0" * 400 + ", 0, 0], [0, 1, 0], [0, 0, 1]]}", "not numbers"),
        ("9" * 5_000_000, "such a file may have"),
        ('{"model": [], "K": [[1, 0, 0], [0, 1, 0], [0, 0, 1]]}', r"model \[\], expected"),
    ],
)
def test_a_camera_file_that_is_none_is_refused(tmp_path, content, message):
    (tmp_path / "c.json").write_text(content)
    with pytest.raises(DamagedFile, match=message):
        read_camera_model(str(tmp_path / "c.json"))


def test_a_resting_hand_is_kept_once_and_again_when_it_has_changed():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (200, 300, 3), dtype=np.uint8)
    region = np.array([50, 40, 150, 140])
    changes, kept = Changes(0.03), []
    for number in range(6):
        noisy = np.clip(image.astype(int) + rng.integers(-6, 7, image.shape), 0, 255).astype(np.uint8)
        if number >= 3:
            noisy[60:100, 70:110] = 255
        changes.next_frame()
        kept.append(changes.is_new(noisy, region + rng.integers(-3, 4)))  # the box trembles
    assert kept == [True, False, False, True, False, False]


def test_slow_changes_add_up_and_two_hands_of_one_frame_are_not_each_other():
    changes, kept = Changes(0.03), []
    region = np.array([50, 40, 150, 140])
    for number in range(10):
        changes.next_frame()
        image = np.full((200, 300, 3), 100 + 3 * number, np.uint8)
        kept.append((changes.is_new(image, region), changes.is_new(image, region + 5)))
    assert [one for one, _ in kept] == [True, False, False, True, False, False, True, False, False, True]
    assert [other for _, other in kept] == [one for one, _ in kept]


def test_a_hand_long_unseen_is_forgotten():
    changes, image = Changes(0.03), np.zeros((100, 100, 3), np.uint8)
    region = np.array([10, 10, 50, 50])
    changes.next_frame()
    assert changes.is_new(image, region)
    for _ in range(11):
        changes.next_frame()
    assert changes.is_new(image, region) and len(changes.hands) == 1


class BrightSpots:
    """A detector of what is bright, if it is at most half as large as the picture, as a palm detector wants it."""

    batch = 2

    def find_hands(self, images, names):
        return [self.look(image) for image in images]

    def look(self, image) -> list[Detection]:
        rows, columns = np.nonzero(image[..., 0] > 128)
        if not len(rows) or max(np.ptp(rows), np.ptp(columns)) + 1 > max(image.shape[:2]) / 2:
            return []
        box = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], float)
        points = np.linspace(box[:2], box[2:] - 1, 21)
        return [Detection(box, RIGHT, 0.9, points, 0.9)]


def open_finder(**settings) -> HandFinder:
    finder = HandFinder(FinderSettings(ExtractConfig(**settings)))
    finder.detector = guard(BrightSpots)
    return finder


def frame_with(box, size=(400, 300), time=np.nan) -> Frame:
    image = np.zeros((size[1], size[0], 3), np.uint8)
    image[box[1] : box[3], box[0] : box[2]] = 255
    return Frame(image, 0, time, "a.png")


def test_a_close_picture_of_one_hand_is_found_by_looking_at_the_whole_picture_and_marked():
    large, small = (40, 20, 350, 280), (100, 100, 140, 150)
    sights = list(open_finder().find_in([frame_with(large), frame_with(small), frame_with((0, 0, 0, 0))]))
    (hand, _, _), (other, _, _) = sights[0].hands[0], sights[1].hands[0]
    assert hand.found == WHOLE_PICTURE and np.abs(hand.box - large).max() < 2
    assert np.abs(hand.landmarks - np.linspace(large[:2], np.array(large[2:]) - 1, 21)).max() < 2
    assert other.found == FOUND and other.box.tolist() == list(small) and not sights[2].hands


def test_frames_of_a_film_are_not_looked_at_as_one_hand():
    (sight,) = open_finder().find_in([frame_with((40, 20, 350, 280), time=0.0)])
    assert not sight.hands


@pytest.mark.parametrize("box", [(100, 100, 140, 150), (0, 0, 30, 40), (370, 260, 400, 300)])
def test_a_second_look_finds_the_hand_at_its_place_on_the_frame_also_at_the_border(box):
    (sight,) = open_finder().find_in([frame_with(box, time=0.0)])
    looks = list(open_finder().look_again(sight, np.array(box, float) + (5, -4, 8, 3)))
    assert len(looks) == 3
    for (hand,) in looks:
        assert np.abs(hand.box - box).max() < 2
        assert np.abs(hand.landmarks - np.linspace(box[:2], np.array(box[2:]) - 1, 21)).max() < 2


def test_there_is_no_second_look_outside_the_frame():
    (sight,) = open_finder().find_in([frame_with((100, 100, 140, 150), time=0.0)])
    assert list(open_finder().look_again(sight, np.array([500.0, 100, 540, 150]))) == []


def test_where_a_file_or_the_user_says_where_the_hands_are_nothing_is_looked_at_again(tmp_path):
    boxes = make_boxes(tmp_path / "b.json", {"a.png": [[1, 2, 30, 40]]})
    for settings in (FinderSettings(ExtractConfig(), str(boxes)), FinderSettings(ExtractConfig(whole=True))):
        (sight,) = HandFinder(settings).find_in([frame_with((100, 100, 140, 150), time=0.0)])
        assert len(sight.hands) == 1 and not sight.again
