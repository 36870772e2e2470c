"""mmpose's predictions, and the keypoints of COCO's json, become boxes and landmarks of their pictures."""

import json

import numpy as np
import pytest
from coco_sets import MMPOSE, draw_points, flat, hand_category, images_of, make_whole_body, write_json
from footage import make_video, run_stage

from handtool.config import ExtractConfig
from handtool.errors import DamagedFile
from handtool.hands.skeleton import FROM_RHD_LEFT, LEFT, RIGHT
from handtool.stages.extract import extract
from handtool.store import CROPS, open_file, read_attrs, read_column
from handtool.vision.boxes_file import BoxesFile

SIZE = (96, 64)


def instance(points, nested=True, **more):
    low, high = points.min(axis=0) - 4, points.max(axis=0) + 4
    box = [*low.tolist(), *high.tolist()]
    scores = np.linspace(0.6, 1, len(points)).tolist()
    own = {
        "keypoints": points.tolist(),
        "keypoint_scores": scores,
        "bbox": [box] if nested else box,
        "bbox_score": 0.875,
    }
    return own | more


def hand_on(path, name):
    [hand] = BoxesFile(str(path)).hands_on(name, *SIZE)
    return hand


@pytest.mark.parametrize("nested", [True, False])
def test_an_image_of_the_inferencer_is_known_by_the_name_of_its_json(tmp_path, nested):
    points = draw_points(1)
    path = write_json(tmp_path / "photo 1.json", [instance(points, nested)])
    for name in ("photo 1.jpg", "/data/photo 1.png"):
        hand = hand_on(path, name)
        np.testing.assert_allclose(hand.landmarks, points)
        np.testing.assert_allclose(hand.box, [*points.min(axis=0) - 4, *points.max(axis=0) + 4])
        assert hand.score == 0.875 and hand.landmarks_score == pytest.approx(0.8)
    assert BoxesFile(str(path)).hands_on("other.jpg", *SIZE) == []


@pytest.mark.parametrize("demo", [False, True])
def test_frames_of_the_inferencer_count_from_0_and_those_of_the_demo_from_1(tmp_path, demo):
    points = [draw_points(number) for number in range(4)]
    first = 1 if demo else 0
    frames = [{"frame_id": first + number, "instances": [instance(one)]} for number, one in enumerate(points)]
    frames[2]["instances"] = []
    content = {"meta_info": {"dataset_name": "onehand10k"}, "instance_info": frames} if demo else frames
    path = write_json(tmp_path / ("results_clip.json" if demo else "clip.json"), content)
    for number in (0, 1, 3):
        np.testing.assert_allclose(hand_on(path, f"videos/clip.mp4#{number}").landmarks, points[number])
    assert BoxesFile(str(path)).hands_on("videos/clip.mp4#2", *SIZE) == []


def test_the_demo_names_its_points_and_an_unnamed_other_order_is_no_landmark(tmp_path):
    points = [draw_points(number) for number in range(5)]
    order = list(FROM_RHD_LEFT)
    frames = [{"frame_id": 1 + number, "instances": [instance(one[order])]} for number, one in enumerate(points)]
    names = {str(place): MMPOSE[joint] for place, joint in enumerate(order)}
    named = {"meta_info": {"keypoint_id2name": names}, "instance_info": frames}
    np.testing.assert_allclose(hand_on(write_json(tmp_path / "results_a.json", named), "a.mp4#3").landmarks, points[3])
    unnamed = BoxesFile(str(write_json(tmp_path / "results_b.json", {"instance_info": frames})))
    assert unnamed.hands_on("b.mp4#3", *SIZE)[0].landmarks is None and "RHD" in unnamed.notes[0]


def test_a_body_of_133_points_has_two_hands_and_is_none_itself(tmp_path):
    body = np.random.default_rng(0).uniform(0, 60, (133, 2))
    left, right = draw_points(3), draw_points(4)
    body[91:112], body[112:133] = left, right
    path = write_json(tmp_path / "a.json", [instance(body)])
    one, other = BoxesFile(str(path)).hands_on("a.jpg", *SIZE)
    for hand, side, points in ((one, LEFT, left), (other, RIGHT, right)):
        np.testing.assert_allclose(hand.landmarks, points)
        np.testing.assert_allclose(hand.box, [*points.min(axis=0), *points.max(axis=0) + 1])
        assert hand.side == side
    assert other.score == pytest.approx(np.linspace(0.6, 1, 133)[112:].mean())


def test_a_folder_of_jsons_is_one_file_of_boxes(tmp_path):
    for number in range(3):
        write_json(tmp_path / f"{number}.json", [instance(draw_points(number))])
    np.testing.assert_allclose(hand_on(tmp_path, "pictures/2.jpg").landmarks, draw_points(2))
    write_json(tmp_path / "3.json", {"a": 1})
    with pytest.raises(DamagedFile, match="3.json holds no predictions"):
        BoxesFile(str(tmp_path))


@pytest.mark.parametrize(
    "content",
    [
        [{"frame_id": -1, "instances": []}],
        [{"frame_id": "1", "instances": []}],
        [{"frame_id": 10**30, "instances": []}],
        [{"frame_id": 0, "instances": 5}],
        [{"frame_id": 0, "instances": []}, 5],
        [{"keypoints": [["1", "2"]] * 21}],
        [{"keypoints": [[1e300, float("nan")]] * 21}],
        [{"keypoints": [[10**400, 1]] * 21}],
        [{"keypoints": [[1, 2]] * 17}],
        [{"keypoints": [1] * 300_000}],
    ],
)
def test_predictions_that_are_not_as_described_are_refused_in_one_line(tmp_path, content):
    path = write_json(tmp_path / "a.json", content)
    with pytest.raises(DamagedFile) as error:
        BoxesFile(str(path))
    assert "\n" not in str(error.value) and "a.json" in str(error.value)


def test_a_video_takes_boxes_and_landmarks_from_the_predictions_of_another_model(tmp_path):
    make_video(tmp_path / "clip.mp4", frames=6, size=SIZE)
    points = [draw_points(number, SIZE) for number in range(6)]
    frames = [{"frame_id": number, "instances": [instance(one)]} for number, one in enumerate(points)]
    path = write_json(tmp_path / "clip.json", frames)
    run_stage(
        extract, [tmp_path / "clip.mp4"], tmp_path / "c.h5", ExtractConfig(every=2, workers=1, size=48), boxes=path
    )
    with open_file(tmp_path / "c.h5") as file:
        affine, found = read_column(file, CROPS.crop_from_frame), read_column(file, CROPS.landmarks)
        assert read_column(file, CROPS.frame).tolist() == [0, 2, 4]
        assert read_attrs(file, CROPS)["landmarks_source"] == "boxes"
        for row, number in enumerate((0, 2, 4)):
            expected = [[affine[row, 0] @ [x, y, 1], affine[row, 1] @ [x, y, 1]] for x, y in points[number]]
            np.testing.assert_allclose(found[row], expected, atol=1e-3)


def test_keypoints_of_coco_json_are_landmarks_by_their_names_and_follow_a_resized_picture(tmp_path):
    points, order = draw_points(1), list(FROM_RHD_LEFT)
    own = {"id": 1, "image_id": 10, "category_id": 1, "bbox": [5, 6, 70, 60]}
    whole = own | {"keypoints": flat(points[order], 2), "keypoint_scores": [0.5] * 20 + [1.0]}
    part = own | {"id": 2, "keypoints": flat(points[order], [0] + [1] * 20)}
    categories = [hand_category([MMPOSE[joint] for joint in order])]
    content = {"images": images_of(["a.jpg"], SIZE), "annotations": [whole, part], "categories": categories}
    boxes = BoxesFile(str(write_json(tmp_path / "b.json", content)))
    one, other = boxes.hands_on("a.jpg", 2 * SIZE[0], 2 * SIZE[1])
    np.testing.assert_allclose(one.landmarks, 2 * (points + 0.5) - 0.5)
    assert one.landmarks_score == pytest.approx(11 / 21) and other.landmarks is None and boxes.unused_keypoints == 1
    assert one.box.tolist() == [10, 12, 150, 132]


def test_boxes_of_a_whole_body_are_its_hands_even_where_some_people_have_none(tmp_path):
    truth = make_whole_body(tmp_path)
    path = tmp_path / "annotations" / "coco_wholebody_val_v1.0.json"
    content = json.loads(path.read_text())
    plain = {"id": 90, "image_id": 10, "category_id": 1, "bbox": [0, 0, 90, 70], "keypoints": [1, 2, 2] * 17}
    content["annotations"].append(plain)
    boxes = BoxesFile(str(write_json(path, content)))
    found = [hand.box.tolist() for name in boxes.rows for hand in boxes.hands_on(name, 96, 80)]
    expected = [[x, y, x + width, y + height] for _, (x, y, width, height) in truth.values()]
    assert sorted(found) == sorted(expected) and dict(boxes.left_out) == {"a person": 1}
    content["annotations"] = [plain]
    assert not len(BoxesFile(str(write_json(path, content)))), "nor where there are only people"
