"""Hand keypoints of every COCO-shaped flavour, from small sets in their published layouts."""

import json

import numpy as np
import pytest
from coco_sets import (
    MMPOSE,
    SIZE,
    draw_points,
    flat,
    hand_category,
    images_of,
    label_studio_task,
    make_cvat,
    make_onehand10k,
    make_whole_body,
    write_json,
    write_pictures,
)
from footage import make_labelled

from handtool.errors import DamagedFile, HandtoolError, WrongCommand
from handtool.hands.joint_names import find_hands
from handtool.hands.skeleton import FROM_RHD_LEFT, JOINTS, LEFT, RIGHT, UNKNOWN
from handtool.sources import annotation_file
from handtool.sources.datasets import check_found
from handtool.sources.find import find_videos
from handtool.sources.frame import Choice, Sampling, Tally
from handtool.sources.read import read_frames

ONE_HAND = {"annotations": [{"id": 1, "image_id": 1, "keypoints": [1] * 63}]}
SHUFFLED = np.random.default_rng(3).permutation(21).tolist()


def read_set(*sources, **choice):
    """The videos, their tally and all their frames."""
    tally, choice = Tally(), Choice(**choice)
    videos = find_videos(list(sources), choice=choice).videos
    check_found(videos, choice)
    return videos, tally, [frame for video in videos for frame in read_frames(video, Sampling(), tally)]


def hands_of(*sources, **choice):
    _, tally, frames = read_set(*sources, **choice)
    assert tally.status == "ok"
    return [hand for frame in frames for hand in frame.hands]


def same_points(hand, expected):
    np.testing.assert_allclose(hand.keypoints, expected, atol=1e-4)
    np.testing.assert_array_equal(hand.keypoints_valid, np.isfinite(expected).all(axis=1))


@pytest.mark.parametrize("names", [None, MMPOSE, list(JOINTS)])
def test_flat_keypoints_of_mmpose_are_labels_with_missing_joints_unknown(tmp_path, names):
    truth = make_onehand10k(tmp_path / "oh", names=names)
    videos, tally, frames = read_set(tmp_path / "oh")
    assert [video.name for video in videos] == ["oh/test_onehand10k"] and tally.status == "ok"
    assert [frame.number for frame in frames] == [0, 1, 2, 3, 4] and len(frames[0].hands) == 1
    content = json.loads((tmp_path / "oh" / "test_onehand10k.json").read_text())
    for frame, points, annotation in zip(frames, truth, content["annotations"], strict=True):
        [hand] = frame.hands
        same_points(hand, points)
        x, y, width, height = annotation["bbox"]
        np.testing.assert_allclose(hand.box, [x, y, x + width, y + height], atol=1e-4)
        assert hand.side == UNKNOWN and hand.visible is None and hand.sample_id == annotation["id"]
        assert np.isnan(hand.camera).all() and np.isnan(hand.joints).all() and not hand.valid.any()
        assert hand.sample_key == frame.name


def test_freihand_in_mmposes_json_is_right_hands_that_fill_their_pictures(tmp_path):
    names = ["training/rgb/00017620.jpg", "training/rgb/00000355.jpg"]
    write_pictures(tmp_path, names, (224, 224))
    points = [draw_points(i, (224, 224)) + 0.123 for i in range(2)]
    annotations = [
        {"id": i, "image_id": 10 + i, "category_id": 1, "bbox": [62, 82, 104, 63], "keypoints": flat(points[i])}
        for i in range(2)
    ]
    content = {"info": {"description": "FreiHand"}, "images": images_of(names, (224, 224)), "annotations": annotations}
    write_json(tmp_path / "annotations" / "freihand_train.json", content | {"categories": [hand_category(MMPOSE)]})
    videos, tally, frames = read_set(tmp_path)
    assert tally.status == "ok" and [frame.name for frame in frames] == names[::-1] and len(videos) == 1
    for frame, expected in zip(frames, points[::-1], strict=True):
        [hand] = frame.hands
        assert hand.box is None and hand.side == RIGHT
        same_points(hand, expected)


def test_the_side_is_told_by_keys_attributes_categories_or_the_end_of_a_file_name(tmp_path):
    names = ["imgs/000_l.jpg", "imgs/001_r.jpg", "imgs/002.jpg", "imgs/003.jpg", "imgs/004.jpg", "imgs/005.jpg"]
    write_pictures(tmp_path, names)
    said = [{}, {}, {"hand_type": "left"}, {"attributes": {"side": "R"}}, {"category_id": 2}, {"side": "unknown"}]
    annotations = [
        {"id": i, "image_id": 10 + i, "category_id": 1, "keypoints": flat(draw_points(i)), "head_size": 60.0, **more}
        for i, more in enumerate(said)
    ]
    categories = [hand_category(MMPOSE), hand_category(MMPOSE, "right_hand", 2)]
    write_json(tmp_path / "p.json", {"images": images_of(names), "annotations": annotations, "categories": categories})
    assert [hand.side for hand in hands_of(tmp_path)] == [LEFT, RIGHT, LEFT, RIGHT, RIGHT, UNKNOWN]


def make_rhd_json(root, names=None):
    """mmpose's rhd_train.json: nested lists, each finger from its tip; K and joints in mm."""
    files = ["training/color/00001.png", "training/color/00002.png"]
    write_pictures(root, files)
    focal, centre, annotations, truth = [120.0, 121.0], [47.5, 39.5], [], []
    order = [0, 4, 3, 2, 1, 8, 7, 6, 5, 12, 11, 10, 9, 16, 15, 14, 13, 20, 19, 18, 17]  # theirs[i] = standard[order[i]]
    images = [image | {"cam_param": {"focal": focal, "princpt": centre}} for image in images_of(files)]
    for place, image in enumerate(images):
        points = draw_points(place)
        depth = 400 + 10 * np.arange(21.0)
        joints = np.column_stack([(points - centre) / focal * depth[:, None], depth])  # mm
        truth.append((points, joints / 1000))
        own = {"id": place, "image_id": image["id"], "category_id": 1, "hand_type": ["left", "right"][place]}
        own |= {"keypoints": np.column_stack([points, np.ones(21)])[order].tolist(), "bbox": [1, 2, 70, 60]}
        annotations.append(own | {"joint_cam": joints[order].tolist(), "num_keypoints": 21})
    content = {"info": {"description": "RHD"}, "images": images, "annotations": annotations}
    write_json(root / "annotations" / "rhd_train.json", content | {"categories": [hand_category(names)]})
    return truth


@pytest.mark.parametrize("names", [None, [MMPOSE[joint] for joint in FROM_RHD_LEFT]])
def test_rhd_of_mmpose_has_joints_in_mm_from_tip_to_palm_and_a_camera(tmp_path, names):
    truth = make_rhd_json(tmp_path, names)
    found = hands_of(tmp_path)
    assert [hand.side for hand in found] == [LEFT, RIGHT]
    for hand, (points, joints) in zip(found, truth, strict=True):
        same_points(hand, points)
        np.testing.assert_allclose(hand.joints, joints, atol=1e-6)
        seen = hand.joints[:, :2] / hand.joints[:, 2:] * hand.camera[[0, 1], [0, 1]] + hand.camera[:2, 2]
        np.testing.assert_allclose(seen, points, atol=1e-3)
        assert hand.valid.all()


def test_coco_wholebody_gives_its_hands_and_never_the_person(tmp_path):
    truth = make_whole_body(tmp_path)
    videos, tally, frames = read_set(tmp_path)
    assert [video.name.split("/", 1)[1] for video in videos] == ["coco_wholebody_val_v1.0"] and tally.status == "ok"
    found = {(frame.name, hand.side): hand for frame in frames for hand in frame.hands}
    assert set(found) == set(truth) and sum(len(frame.hands) for frame in frames) == len(truth) == 4
    for key, (points, (x, y, width, height)) in truth.items():
        same_points(found[key], points)
        np.testing.assert_allclose(found[key].box, [x, y, x + width, y + height])
        assert found[key].visible is None  # its third value is a share, never 2


def test_a_stream_of_a_large_file_gives_the_same_hands_as_the_whole_file(tmp_path, monkeypatch):
    pytest.importorskip("ijson", reason="needs the extra `datasets`")
    make_whole_body(tmp_path / "body")
    make_onehand10k(tmp_path / "hand", names=MMPOSE)
    whole = hands_of(tmp_path / "body") + hands_of(tmp_path / "hand")
    monkeypatch.setattr(annotation_file, "LARGE", 100)
    for one, other in zip(whole, hands_of(tmp_path / "body") + hands_of(tmp_path / "hand"), strict=True):
        np.testing.assert_array_equal(one.keypoints, other.keypoints)
        np.testing.assert_array_equal(one.box, other.box)
        assert (one.side, one.sample_id, one.sample_key) == (other.side, other.sample_id, other.sample_key)


@pytest.mark.parametrize(
    "names",
    [
        [name.upper().replace("LITTLE", "PINKY") for name in JOINTS],
        [name.replace("forefinger", "pointer").replace("pinky_finger", "small") for name in MMPOSE],
        [f"right_{name}" for name in MMPOSE],
        [f"{name[:-1]}{int(name[-1]) - 1}" if name[-1].isdecimal() else name for name in MMPOSE],
        [f"kp-{number}" for number in range(1, 22)],
        [str(number) for number in range(21)],
    ],
)
def test_joints_are_found_by_their_names_wherever_they_stand(tmp_path, names):
    truth = make_onehand10k(tmp_path)
    path = tmp_path / "test_onehand10k.json"
    content = json.loads(path.read_text())
    content["categories"][0]["keypoints"] = [names[joint] for joint in SHUFFLED]
    for annotation in content["annotations"]:
        annotation["keypoints"] = np.array(annotation["keypoints"]).reshape(21, 3)[SHUFFLED].reshape(-1).tolist()
    path.write_text(json.dumps(content))
    for hand, points in zip(hands_of(tmp_path), truth, strict=True):
        same_points(hand, points)
        assert hand.side == (RIGHT if names[0].startswith("right") else UNKNOWN)


def test_names_that_are_no_hands_joints_are_none(tmp_path):
    face = [f"brow_{place}" if place else "nose" for place in range(21)]
    assert find_hands(face) == {} and find_hands(MMPOSE[:-1] + ["thumb1"]) == {} and find_hands(MMPOSE[:20]) == {}
    assert find_hands(["left_wrist", "left_big_toe", "left_small_toe"]) == {}
    body = ["left_wrist", "right_wrist", "left_small_toe"]
    hand = ["hand_root", *MMPOSE[1:]]
    both = body + [f"{side}_{name}" for side in ("left", "right") for name in hand]
    assert find_hands(both) == {LEFT: tuple(range(3, 24)), RIGHT: tuple(range(24, 45))}
    make_onehand10k(tmp_path, names=face)
    with pytest.raises(DamagedFile, match="no hand that can be used .keypoints that are not a hand's: 5"):
        read_set(tmp_path)


def test_an_order_that_nobody_names_is_refused_where_the_bones_say_otherwise(tmp_path):
    make_onehand10k(tmp_path)
    path = tmp_path / "test_onehand10k.json"
    content = json.loads(path.read_text())
    for annotation in content["annotations"]:
        points = draw_points(annotation["id"])
        annotation["keypoints"] = flat(points[list(FROM_RHD_LEFT)])
    path.write_text(json.dumps(content))
    with pytest.raises(DamagedFile, match="5 hands have no names, and are in another order: RHD's"):
        read_set(tmp_path)


@pytest.mark.parametrize("packed", [True, False])
def test_cvats_keypoints_count_from_the_corner_and_tell_what_is_hidden(tmp_path, packed):
    root, truth = make_cvat(tmp_path / "task", packed)
    if packed:  # nothing of the folder is needed
        for path in sorted((tmp_path / "task").rglob("*"), reverse=True):
            path.unlink() if path.is_file() else path.rmdir()
    before = sorted(tmp_path.rglob("*"))
    found = hands_of(root)
    assert sorted(tmp_path.rglob("*")) == before, "nothing is unpacked"
    for hand, points in zip(found, truth, strict=True):
        same_points(hand, points)
        assert hand.side == LEFT and hand.visible.sum() == 15 and not hand.visible[np.isnan(points[:, 0])].any()
        np.testing.assert_allclose(hand.box, [5, 5, 65, 65])


def test_label_studios_own_json_gives_hands_by_parent_or_by_side(tmp_path):
    points = [draw_points(place) for place in range(6)]
    points[1][20] = np.nan
    tasks = [
        label_studio_task(7, "a.jpg", [("l1", "", points[0]), ("r1", "", points[1])]),
        label_studio_task(8, "b.jpg", [("", "left_", points[2]), ("", "right_", points[3])]),
        label_studio_task(9, "c.jpg", [("", "", points[4]), ("", "", points[5])]),  # nobody can tell them apart
    ]
    write_pictures(tmp_path / "images", ["a.jpg", "b.jpg", "c.jpg"])
    write_json(tmp_path / "export.json", tasks)
    _, tally, frames = read_set(tmp_path)
    assert [frame.name for frame in frames] == ["a.jpg", "b.jpg"] and tally.status == "ok"
    assert any("1 hands that cannot be told apart" in note for note in tally.notes)
    hands = [hand for frame in frames for hand in frame.hands]
    assert [hand.side for hand in hands] == [LEFT, RIGHT, LEFT, RIGHT] and hands[0].sample_id == 7
    for hand, expected in zip(hands, points[:4], strict=True):
        same_points(hand, expected)
        assert (hand.box[:2] <= np.nanmin(expected, axis=0) + 0.5).all()
    low = (np.nanmin(points[0], axis=0) + 0.5) - np.array(SIZE) / 100
    np.testing.assert_allclose(hands[0].box[:2], low, atol=1e-3)


def test_label_studios_coco_export_keeps_two_hands_apart_by_the_sides_in_its_names(tmp_path):
    left, right = np.floor(draw_points(1)), np.floor(draw_points(2))
    names = [f"{side}_{name}" for side in ("left", "right") for name in JOINTS]
    marks = np.where(np.arange(42) % 21 == 5, 0, 2)
    points = [int(value) for value in flat(np.vstack([left, right]), marks)]
    one = {"id": 0, "image_id": 10, "category_id": 1, "keypoints": points}
    one |= {"num_keypoints": 40, "bbox": [0, 0, 90, 70], "area": 1, "iscrowd": 0, "segmentation": []}
    info = {"year": 2026, "version": "1.0", "description": "", "contributor": "Label Studio", "url": ""}
    content = {"images": images_of(["images/x.jpg"]), "annotations": [one], "info": info}
    write_json(tmp_path / "result.json", content | {"categories": [hand_category(names, "default")]})
    write_pictures(tmp_path, ["images/x.jpg"])
    for hand, side, points in zip(hands_of(tmp_path), (LEFT, RIGHT), (left, right), strict=True):
        expected = np.where(np.arange(21)[:, None] == 5, np.nan, points - 0.5)
        same_points(hand, expected)
        assert hand.side == side and hand.visible.sum() == 20
        np.testing.assert_allclose(hand.box, [*np.nanmin(expected, axis=0), *np.nanmax(expected, axis=0) + 1])


def test_pictures_resized_since_take_their_points_along_and_turned_ones_are_left_out(tmp_path):
    truth = make_onehand10k(tmp_path)
    write_pictures(tmp_path, ["9.jpg"], (SIZE[0] * 2, SIZE[1] * 2))
    write_pictures(tmp_path, ["33.jpg"], SIZE[::-1])
    _, tally, frames = read_set(tmp_path)
    assert dict(tally.failed) == {"images of another shape than their labels state": 1} and len(frames) == 4
    same_points(frames[0].hands[0], 2 * (truth[0] + 0.5) - 0.5)


def test_the_json_itself_or_one_of_several_is_named(tmp_path):
    make_onehand10k(tmp_path / "oh")
    path = tmp_path / "oh" / "test_onehand10k.json"
    videos, _, frames = read_set(path)
    assert [video.path for video in videos] == [str(path)] and len(frames) == 5
    nested = write_json(tmp_path / "oh" / "annotations" / "onehand10k_train.json", json.loads(path.read_text()))
    assert len(read_set(nested)[2]) == 5
    with pytest.raises(WrongCommand, match="onehand10k_train and test_onehand10k, which are not to be mixed"):
        read_set(tmp_path / "oh")
    for asked in ("train", "onehand10k_train"):
        assert {video.split for video in read_set(tmp_path / "oh", split=asked)[0]} == {"onehand10k_train"}
    with pytest.raises(WrongCommand, match="no split 'val'"):
        read_set(tmp_path / "oh", split="val")


def test_pictures_that_the_file_does_not_list_or_without_a_hand_are_counted(tmp_path):
    make_onehand10k(tmp_path)
    write_pictures(tmp_path, ["b.jpg", "c.png"])
    path = tmp_path / "test_onehand10k.json"
    content = json.loads(path.read_text())
    del content["annotations"][1:3]
    path.write_text(json.dumps(content))
    _, tally, frames = read_set(tmp_path)
    notes = [note.partition(": ")[2] for note in tally.notes]
    assert len(frames) == 3 and [frame.number for frame in frames] == [0, 3, 4]
    assert notes == ["2 pictures without a hand left out", "2 pictures that it does not list left out"]


def test_two_subsets_of_equal_file_names_keep_to_their_own_pictures(tmp_path):
    for number, subset in enumerate(("train", "val")):
        content = {"images": images_of(["0.jpg"]), "categories": [hand_category(MMPOSE)]}
        content["annotations"] = [{"id": 1, "image_id": 10, "category_id": 1, "keypoints": flat(draw_points(number))}]
        write_json(tmp_path / "annotations" / f"person_keypoints_{subset}.json", content)
        write_pictures(tmp_path / "images" / subset, ["0.jpg"])
    for subset in ("train", "val"):
        [video] = read_set(tmp_path, split=subset)[0]
        assert video.labels["path"].tolist() == [f"images/{subset}/0.jpg"]


def test_json_without_hands_is_no_set_and_pictures_beside_it_stay_pictures(tmp_path):
    write_pictures(tmp_path, ["a.jpg"])
    person = {"id": 1, "image_id": 10, "category_id": 1, "bbox": [0, 0, 50, 60], "keypoints": [1, 2, 2] * 17}
    path = write_json(tmp_path / "p.json", {"images": images_of(["a.jpg"]), "annotations": [person], "categories": []})
    assert [video.kind for video in find_videos([tmp_path]).videos] == ["images"]
    with pytest.raises(DamagedFile, match="no keypoints of hands"):
        find_videos([path])
    make_onehand10k(tmp_path / "b")
    assert [video.kind for video in find_videos([tmp_path / "b"], choice=Choice(boxes=True)).videos] == ["images"]
    (tmp_path / "c").mkdir()
    (tmp_path / "b" / "test_onehand10k.json").rename(tmp_path / "c" / "far.json")
    with pytest.raises(HandtoolError, match="no video and no image"):
        find_videos([tmp_path / "c"])
    with pytest.raises(HandtoolError, match="none of the 5 pictures .* is there: looked for '9.jpg'"):
        find_videos([tmp_path / "c" / "far.json"])


def test_labels_in_the_projects_own_format_go_before_and_labels_json_may_be_either(tmp_path):
    folder = make_labelled(tmp_path / "own", as_json=True)
    own = [video.dataset for video in find_videos([folder]).videos]
    make_onehand10k(folder)
    for source in (folder, folder / "labels.json"):
        assert [video.dataset for video in find_videos([source]).videos] == own == [""]
    make_onehand10k(tmp_path / "coco")
    (tmp_path / "coco" / "test_onehand10k.json").rename(tmp_path / "coco" / "labels.json")
    for source in (tmp_path / "coco", tmp_path / "coco" / "labels.json"):
        assert [video.dataset for video in find_videos([source]).videos] == ["coco"]


def spoil(content, how):
    first = content["annotations"][0]
    if how == "no such picture":
        first["image_id"] = 10**30
    elif how == "texts":
        first["keypoints"] = ["1"] * 63
    elif how == "huge":
        first["keypoints"] = [10**400] * 63
    elif how == "too many":
        first["keypoints"] = [1.0] * 300_000
    elif how == "nothing seen":
        first["keypoints"] = [0] * 63
    elif how == "crowd":
        first["iscrowd"] = 1
    elif how == "not numbers":
        first["keypoints"] = [float("nan")] * 62 + [None]
    return content


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ("no such picture", "annotations on pictures that the file does not list"),
        ("texts", "keypoints that are no numbers"),
        ("huge", "keypoints that are no numbers"),
        ("too many", "keypoints that are no numbers"),
        ("nothing seen", "hands of which no keypoint is known"),
        ("crowd", "crowds"),
        ("not numbers", "hands of which no keypoint is known"),
    ],
)
def test_an_annotation_that_cannot_be_used_is_counted_with_its_reason(tmp_path, how, why):
    make_onehand10k(tmp_path)
    path = tmp_path / "test_onehand10k.json"
    path.write_text(json.dumps(spoil(json.loads(path.read_text()), how)))
    _, tally, frames = read_set(tmp_path)
    notes = [note.partition(": ")[2] for note in tally.notes]
    assert len(frames) == 4 and notes == [f"1 {why} left out", "1 pictures without a hand left out"]


def test_paths_never_leave_the_folder_and_single_values_that_are_no_number_are_unknown(tmp_path):
    make_onehand10k(tmp_path / "set")
    write_pictures(tmp_path, ["secret.jpg"])
    path = tmp_path / "set" / "test_onehand10k.json"
    content = json.loads(path.read_text())
    names = ["../secret.jpg", str(tmp_path / "secret.jpg"), "a\0b.jpg", "gone.jpg", "20000.jpg"]
    for image, name in zip(content["images"], names, strict=True):
        image["file_name"] = name
    last = content["annotations"][-1]
    last["keypoints"][0], last["keypoints"][4], last["keypoints"][6] = float("nan"), 1e300, float("-inf")
    last["bbox"] = [float("nan"), 0, 1e300, -5]
    path.write_text(json.dumps(content))
    _, tally, frames = read_set(tmp_path / "set")
    assert dict(tally.failed) == {
        "images whose names are no paths inside the folder": 3,
        "images that are not there": 1,
    }
    [hand] = frames[0].hands
    assert hand.keypoints_valid.tolist() == [False] * 3 + [True, False] + [True] * 16
    assert np.isfinite(hand.box).all(), "the extent of the others"


@pytest.mark.parametrize(
    "text",
    [
        json.dumps({"images": [{"id": 1}, 5]} | ONE_HAND),
        json.dumps({"images": [{"id": 1}, {"id": 1}]} | ONE_HAND),
        json.dumps({"images": 7} | ONE_HAND),
        json.dumps({"images": []} | ONE_HAND)[:-9],
        '[{"annotations": [{"result": [{"type": "keypointlabels", "value": {"keypointlabels": ["x"]}}]}]}, 5]',
        '[{"annotations": [{"result": [{"type": "keypointlabels", "value": {"keypointlabels": ["x"]}}]}]}]',
        '{"annotations": ' + "[" * 100_000 + ' "keypoints"',
        "{}",
        "",
    ],
)
def test_files_that_are_not_as_described_are_refused_in_one_line(tmp_path, text):
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(DamagedFile) as error:
        find_videos([path])
    assert "\n" not in str(error.value) and str(path) in str(error.value)


def test_a_list_without_an_end_in_a_stream_is_refused_before_it_fills_the_memory(tmp_path, monkeypatch):
    pytest.importorskip("ijson", reason="needs the extra `datasets`")
    monkeypatch.setattr(annotation_file, "LARGE", 100)
    monkeypatch.setattr("handtool.sources.large_json.LONGEST_LIST", 1 << 20)
    path = tmp_path / "a.json"
    path.write_text('{"images": [{"id": 1}], "annotations": [{"keypoints": [' + "1.5, " * 600_000 + "1]}]}")
    with pytest.raises(DamagedFile, match="a list of more than 1 MB"):
        find_videos([path])


def test_archives_that_are_bombs_or_hold_no_hands_are_refused(tmp_path):
    import zipfile

    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("annotations/a.json", b"0" * (140 << 20))
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("../a.txt", "x")
    (tmp_path / "no.zip").write_bytes(b"PK no")
    for name, why in (("bomb", "unpack to"), ("other", "no json with keypoints"), ("no", "cannot be read")):
        with pytest.raises(HandtoolError, match=why):
            find_videos([tmp_path / f"{name}.zip"])
    assert {path.name for path in tmp_path.iterdir()} == {"bomb.zip", "other.zip", "no.zip"}
