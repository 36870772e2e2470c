"""export --format coco: what is written is read back, by our readers and by pycocotools, with equal numbers."""

import json

import numpy as np
import pytest
from coco_sets import draw_points, flat, hand_category, images_of, write_json, write_pictures
from footage import make_video, run_stage
from making import make_file, record
from running import read

from handtool import store
from handtool.config import ExportConfig, ExtractConfig, KeypointsConfig
from handtool.errors import HandtoolError, WrongCommand
from handtool.hands.boxes import apply_affine, invert
from handtool.hands.skeleton import JOINTS
from handtool.sources.find import find_videos
from handtool.sources.frame import Sampling, Tally
from handtool.sources.read import read_frames
from handtool.stages.export import export
from handtool.stages.extract import extract
from handtool.stages.keypoints import keypoints
from handtool.store import CROPS, KEYPOINTS, LABELS

SMALL = ExtractConfig(workers=1, size=48)


def export_file(source, target, **config):
    with store.open_file(source) as file:
        report = export(file, target, ExportConfig(format="coco", **config))
    return report, json.loads(target.read_text())


def make_pictures(root):
    """Two folders of labelled pictures with visibility, one of them with two hands."""
    names = ["one/a.png", "one/b.png", "two/a.png"]
    write_pictures(root, names[:2])
    write_pictures(root, names[2:], (128, 112))
    images = images_of(names[:2]) + [images_of(names[2:], (128, 112))[0] | {"id": 12}]
    marks = np.array([2] * 10 + [1] * 10 + [0])
    annotations = [
        {"id": 7 * i + 1, "image_id": 10 + image, "category_id": 1, "keypoints": flat(draw_points(i) / 3 + 20.3, marks)}
        | {"bbox": [15.3, 16.0, 40.25, 33.1], "side": side}
        for i, (image, side) in enumerate([(0, "left"), (1, "right"), (1, "left"), (2, "unknown")])
    ]
    categories = [hand_category(list(JOINTS))]
    write_json(root / "hands.json", {"images": images, "annotations": annotations, "categories": categories})
    return annotations


def read_hands(root):
    frames = [frame for video in find_videos([root]).videos for frame in read_frames(video, Sampling(), Tally())]
    return [(frame.name, hand) for frame in frames for hand in frame.hands]


def test_labels_of_pictures_go_out_and_come_in_again_with_equal_numbers(tmp_path):
    root = tmp_path / "set"
    given = make_pictures(root)
    run_stage(extract, [root], tmp_path / "c.h5", SMALL)
    before = read_hands(root)
    report, content = export_file(tmp_path / "c.h5", root / "hands.json")
    assert report["images"] == 3 and report["accounting"][0]["done"] == 4 and "images_of_unknown_size" not in report
    assert [(one["file_name"], one["width"], one["height"]) for one in content["images"]] == [
        ("one/a.png", 96, 80), ("one/b.png", 96, 80), ("two/a.png", 128, 112)
    ]  # fmt: skip
    assert [one["side"] for one in content["annotations"]] == [one["side"] for one in given]
    assert [one["num_keypoints"] for one in content["annotations"]] == [20] * 4
    for (name, hand), (was_name, was) in zip(read_hands(root), before, strict=True):
        assert (name, hand.side) == (was_name, was.side)
        np.testing.assert_array_equal(hand.visible, was.visible)
        np.testing.assert_array_equal(hand.keypoints_valid, was.keypoints_valid)
        np.testing.assert_allclose(hand.keypoints, was.keypoints, atol=1e-4)  # to the crop and back
        np.testing.assert_array_equal(hand.box.astype(np.float32), was.box.astype(np.float32))


def test_numbers_are_those_of_the_table_and_pycocotools_reads_them(tmp_path):
    coco = pytest.importorskip("pycocotools.coco", reason="needs pycocotools")
    root = tmp_path / "set"
    make_pictures(root)
    run_stage(extract, [root], tmp_path / "c.h5", SMALL)
    export_file(tmp_path / "c.h5", tmp_path / "out.json")
    affine, points = read(tmp_path / "c.h5", CROPS.crop_from_frame), read(tmp_path / "c.h5", LABELS.keypoints)
    expected = apply_affine(invert(affine), points.astype(np.float64)).astype(np.float32)
    loaded = coco.COCO(str(tmp_path / "out.json"))
    [category] = loaded.loadCats(loaded.getCatIds())
    assert category["keypoints"] == list(JOINTS) and [0 < end <= 21 for bone in category["skeleton"] for end in bone]
    for row, one in enumerate(loaded.loadAnns(sorted(loaded.getAnnIds()))):
        values = np.array(one["keypoints"]).reshape(21, 3)
        assert one["id"] == row + 1 and values[:, 2].tolist() == [2] * 10 + [1] * 10 + [0]
        np.testing.assert_array_equal(values[:20, :2].astype(np.float32), expected[row, :20])
        assert values[20].tolist() == [0, 0, 0]
        x, y, width, height = one["bbox"]
        edges = np.array([x, y, x + width, y + height], np.float32)
        np.testing.assert_array_equal(edges, read(tmp_path / "c.h5", CROPS.box)[row])
        assert one["area"] == width * height and one["iscrowd"] == 0
    results = loaded.loadRes([one | {"score": 0.5} for one in loaded.loadAnns(loaded.getAnnIds())])
    evaluation = pytest.importorskip("pycocotools.cocoeval").COCOeval(loaded, results, "keypoints")
    evaluation.params.kpt_oks_sigmas = np.full(21, 0.05)
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    assert evaluation.stats[0] == pytest.approx(1)


def test_hands_on_a_film_come_back_as_boxes_and_landmarks(tmp_path):
    make_video(tmp_path / "clip.mp4", frames=6, size=(96, 64))
    points = [draw_points(number, (96, 64)) for number in range(6)]
    images = [{"id": number, "file_name": f"clip.mp4#{number}"} for number in range(6)]
    annotations = [
        {"id": i, "image_id": i, "category_id": 1, "bbox": [4, 5.5, 60, 50], "keypoints": flat(one, 2), "score": 0.75}
        | {"side": ["left", "right"][i % 2]}
        for i, one in enumerate(points)
    ]
    content = {"images": images, "annotations": annotations, "categories": [hand_category(list(JOINTS))]}
    given = write_json(tmp_path / "given.json", content)
    config = ExtractConfig(every=1, workers=1, size=48)
    run_stage(extract, [tmp_path / "clip.mp4"], tmp_path / "c.h5", config, boxes=given)
    run_stage(keypoints, tmp_path / "c.h5", tmp_path / "k.h5", KeypointsConfig())
    report, written = export_file(tmp_path / "k.h5", tmp_path / "out.json")
    assert report["table"] == "keypoints" and [one["file_name"] for one in written["images"]] == [
        f"clip.mp4#{number}" for number in range(6)
    ]
    assert {(one["width"], one["height"]) for one in written["images"]} == {(96, 64)}
    assert {one["score"] for one in written["annotations"]} == {0.75}
    run_stage(extract, [tmp_path / "clip.mp4"], tmp_path / "again.h5", config, boxes=tmp_path / "out.json")
    for column in (CROPS.box, CROPS.side, CROPS.score, CROPS.frame):
        np.testing.assert_array_equal(read(tmp_path / "c.h5", column), read(tmp_path / "again.h5", column))
    moved = np.abs(read(tmp_path / "c.h5", CROPS.landmarks) - read(tmp_path / "again.h5", CROPS.landmarks))
    assert moved.max() < 1e-4


def test_images_without_labels_are_called_as_they_lie_below_their_folder(tmp_path):
    write_pictures(tmp_path / "album" / "a", ["1.png", "2.png", "10.png"])
    write_pictures(tmp_path / "album" / "b", ["1.png"], (64, 50))
    run_stage(extract, [tmp_path / "album"], tmp_path / "c.h5", ExtractConfig(workers=1, size=48, whole=True))
    with store.open_file(tmp_path / "c.h5") as file, store.create_file(tmp_path / "k.h5", record(), [file]) as sink:
        xy = np.random.default_rng(0).uniform(0, 48, (4, 21, 2))
        columns = {"xy": xy, "score": np.full((4, 21), 0.625), "valid": np.array([True, True, False, True])}
        store.write_table(sink, KEYPOINTS, columns, {"skeleton": "hand21", "model": "drawn"})
        sink.inherit(file)
        sink.finish({})
    report, content = export_file(tmp_path / "k.h5", tmp_path / "out.json")
    names = ["a/1.png", "a/2.png", "a/10.png", "b/1.png"]
    assert [one["file_name"] for one in content["images"]] == names and content["images"][3]["width"] == 64
    assert report["accounting"][0]["skipped"] == {"box alone: no keypoint is known": 1}
    third = content["annotations"][2]
    assert third["num_keypoints"] == 0 and third["keypoints"] == [0] * 63 and third["bbox"] == [0, 0, 96, 80]
    assert content["annotations"][0]["keypoint_scores"] == [0.625] * 21
    (tmp_path / "album").rename(tmp_path / "gone")
    report, content = export_file(tmp_path / "k.h5", tmp_path / "out.json")
    assert report["images_of_unknown_size"] == 4 and "width" not in content["images"][0]
    assert content["images"][2]["file_name"] == "album/a#2"


def test_predictions_are_written_by_default_where_the_file_has_them(tmp_path):
    source = make_file(tmp_path / "l.h5", (3, 2), ("labels", "keypoints"))
    for table, expected in (("labels", "labels"), ("keypoints", "keypoints"), (None, "keypoints")):
        assert export_file(source, tmp_path / "o.json", table=table)[0]["table"] == expected
    with pytest.raises(WrongCommand, match="/crops cannot be written as coco"):
        export_file(source, tmp_path / "o.json", table="crops")
    with pytest.raises(HandtoolError, match="no keypoints"):
        export_file(make_file(tmp_path / "c.h5", (1,), ()), tmp_path / "o.json")
    with pytest.raises(HandtoolError, match="predictions"):
        export_file(source, tmp_path / "o.json", table="predictions")
