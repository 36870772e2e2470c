"""Submissions: what the official evaluations would read from them is what was predicted, in their order, axes and
units."""

import json
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from making import make_hands, record, write_crops, write_labels, write_videos

from handtool import store
from handtool.config import ExportConfig
from handtool.errors import HandtoolError, WrongCommand
from handtool.sources import submission
from handtool.sources.submission import Submission, write_assemblyhands, write_dexycb, write_freihand, write_ho3d
from handtool.stages.export import export
from handtool.store import LEFT, PREDICTIONS, RIGHT

MANO_TO_STANDARD = [0, 13, 14, 15, 16, 1, 2, 3, 17, 4, 5, 6, 18, 10, 11, 12, 19, 7, 8, 9, 20]
INTERHAND_TO_STANDARD = [20, 3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12, 19, 18, 17, 16]


def make_predicted(count: int, seed: int = 0, **changes) -> Submission:
    """Hands in a shuffled order; sample i is row where sample_id == i."""
    rng = np.random.default_rng(seed)
    joints = (rng.normal(0, 0.05, (count, 21, 3)) + [0.02, -0.1, 0.6]).astype(np.float32)
    number = rng.permutation(count)
    keys = np.array([f"evaluation/rgb/{n:08d}.jpg" for n in number], dtype=object)
    return replace(
        Submission("p.h5", joints, np.ones(count, bool), np.ones(count, bool), np.full(count, RIGHT), number, keys),
        **changes,
    )


def read_zip(path):
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == ["pred.json"]
        xyz, verts = json.loads(archive.read("pred.json"))
    return np.array(xyz), np.array(verts)


def test_freihands_zip_has_3960_hands_in_the_order_of_the_images_and_says_that_zeros_are_no_mesh(tmp_path, monkeypatch):
    monkeypatch.setattr(submission, "NUM_VERTICES", 4)  # less to read back; all 778 in those below
    hands = make_predicted(3960)
    report = write_freihand(hands, tmp_path / "pred.zip")
    xyz, verts = read_zip(tmp_path / "pred.zip")
    assert xyz.shape == (3960, 21, 3) and verts.shape == (3960, 4, 3) and not verts.any()
    assert np.array_equal(xyz.astype(np.float32)[hands.sample_id], hands.joints), (
        "every digit of every hand, at its own place"
    )
    assert "F-scores" in report["vertices"] and "nothing" in report["vertices"] and report["samples"] == 3960
    assert (tmp_path / "pred.zip").stat().st_size < 4e6, "it is compressed"


def test_a_predicted_mesh_goes_along_and_the_same_hands_give_the_same_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(submission, "FREIHAND_IMAGES", 5)
    vertices = np.random.default_rng(1).normal(0, 0.1, (5, 778, 3)).astype(np.float32)
    hands = make_predicted(5, vertices=vertices)
    assert write_freihand(hands, tmp_path / "one.zip")["vertices"] == "as predicted"
    assert np.array_equal(read_zip(tmp_path / "one.zip")[1].astype(np.float32)[hands.sample_id], vertices)
    write_freihand(hands, tmp_path / "two.zip")
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    vertices[3, 7, 1] = np.nan
    with pytest.raises(HandtoolError, match="1 of 5 predicted meshes"):
        write_freihand(hands, tmp_path / "three.zip")


def test_freihand_refuses_what_is_no_whole_evaluation(tmp_path, monkeypatch):
    monkeypatch.setattr(submission, "FREIHAND_IMAGES", 9)
    hands, target = make_predicted(9), tmp_path / "pred.zip"
    kept = hands.sample_id != 4

    def refusal(of: Submission) -> str:
        with pytest.raises(HandtoolError) as caught:
            write_freihand(of, target)
        assert caught.value.hint
        return caught.value.message

    some = replace(
        hands,
        **{
            name: getattr(hands, name)[kept]
            for name in ("joints", "valid", "absolute", "side", "sample_id", "sample_key")
        },
    )
    assert "lacks 1 of them, the first 4" in refusal(some)
    assert "2 of 9 predictions of p.h5 are relative to the wrist" in refusal(
        replace(hands, absolute=~np.isin(hands.sample_id, [0, 8]))
    )
    assert "lacks the prediction of 1 of 9 samples, the first 4" in refusal(replace(hands, valid=kept))
    assert "2 samples more than once, the first 1" in refusal(
        replace(hands, sample_id=np.array([0, 1, 1, 2, 3, 4, 4, 5, 6]))
    )
    assert "1 with a larger number" in refusal(replace(hands, sample_id=np.arange(1, 10)))
    assert "training set" in refusal(
        replace(hands, sample_key=np.array(["training/rgb/00000000.jpg"] * 9, dtype=object))
    )
    assert "no sample numbers of FreiHAND" in refusal(replace(hands, sample_id=np.full(9, -1)))
    assert not target.exists()


def test_dexycbs_lines_are_64_numbers_in_mm_and_images_without_a_hand_keep_their_index(tmp_path):
    hands = make_predicted(40)
    number = np.sort(np.random.default_rng(3).choice(np.arange(7, 90), 40, replace=False))[hands.sample_id]
    hands = replace(hands, sample_id=number, side=np.arange(40) % 2)
    report = write_dexycb(hands, tmp_path / "pred.txt")
    results = {}
    for line in (tmp_path / "pred.txt").read_text().splitlines():
        elems = line.split(",")
        assert len(elems) == 64
        results[int(elems[0])] = np.array(elems[1:], dtype=np.float64).reshape(21, 3)
    assert list(results) == sorted(number)
    for row, index in enumerate(number):
        np.testing.assert_allclose(results[index], 1000 * hands.joints[row].astype(float), atol=1e-5)
    assert report["indices_between_without_a_line"] == number.max() - number.min() + 1 - 40


@pytest.mark.parametrize(("count", "version"), [(11, "version 2"), (20, "version 3")])
def test_ho3d_gets_opengl_axes_and_manos_order(tmp_path, monkeypatch, count, version):
    monkeypatch.setattr(submission, "HO3D_IMAGES", {"version 2": 11, "version 3": 20})
    hands = make_predicted(count)
    report = write_ho3d(hands, tmp_path / "pred.zip")
    xyz, verts = read_zip(tmp_path / "pred.zip")
    assert (
        report["version"] == version
        and xyz.shape == (count, 21, 3)
        and verts.shape == (count, 778, 3)
        and not verts.any()
    )
    assert (xyz[:, :, 2] < 0).all(), "the hand is on the negative z axis"
    back = xyz[hands.sample_id][:, MANO_TO_STANDARD]
    np.testing.assert_array_equal((back * [1, -1, -1]).astype(np.float32), hands.joints)


def test_ho3d_of_neither_version_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(submission, "HO3D_IMAGES", {"version 2": 11, "version 3": 20})
    with pytest.raises(HandtoolError, match="version 3, has 20 samples, p.h5 lacks 6"):
        write_ho3d(make_predicted(14), tmp_path / "pred.zip")
    with pytest.raises(HandtoolError, match="1 with a larger number"):
        write_ho3d(make_predicted(21), tmp_path / "pred.zip")


def make_assembly(rng):
    """Two frames: both hands seen by two cameras, then a left hand alone by one. Returns Submission and {(frame,
    side): world joints m}."""
    world = {
        (frame, side): rng.normal(0, 0.1, (21, 3))
        for frame, side in (("000012", RIGHT), ("000012", LEFT), ("000345", LEFT))
    }
    rows = [("000012", RIGHT, 0), ("000345", LEFT, 1), ("000012", LEFT, 0), ("000012", RIGHT, 1), ("000012", LEFT, 1)]
    rotation = [np.linalg.qr(rng.normal(size=(3, 3)))[0] for _ in range(2)]
    extrinsics = [np.c_[each * np.linalg.det(each), rng.normal(size=3)] for each in rotation]
    joints = np.array([world[frame, side] @ extrinsics[c][:, :3].T + extrinsics[c][:, 3] for frame, side, c in rows])
    keys = np.array([f"ego_images_rectified/val/seq_a/HMC_{c}/{frame}.jpg" for frame, _, c in rows], dtype=object)
    side = np.array([side for _, side, _ in rows])
    ones = np.ones(len(rows), bool)
    return Submission(
        "p.h5",
        joints,
        ones,
        ones,
        side,
        np.array([7, 9, 7, 8, 8]),
        keys,
        None,
        np.array([extrinsics[c] for *_, c in rows]),
    ), world


def test_assemblyhands_gets_two_hands_a_frame_in_the_world_and_zeros_where_there_is_none(tmp_path):
    hands, world = make_assembly(np.random.default_rng(5))
    report = write_assemblyhands(hands, tmp_path / "pred.json")
    frames = json.loads((tmp_path / "pred.json").read_text())["annotations"]["seq_a"]
    assert list(frames) == ["000012", "000345"]
    for (frame, side), joints in world.items():
        half = np.array(frames[frame]["world_coord"])[[0, 21][side == LEFT] :][:21]
        np.testing.assert_allclose(half[INTERHAND_TO_STANDARD], 1000 * joints, atol=1e-4)
    assert (
        not np.array(frames["000345"]["world_coord"])[:21].any()
        and frames["000345"]["joint_valid"] == [0] * 21 + [1] * 21
    )
    assert (
        report["hands"] == 3
        and report["hands_not_in_the_picture_filled_with_zeros"] == 1
        and report["cameras_averaged_per_hand"] == {1: 1, 2: 2}
    )


def test_cameras_that_disagree_are_averaged_in_the_world(tmp_path):
    hands, world = make_assembly(np.random.default_rng(6))
    shift = np.zeros_like(hands.joints)
    shift[3] = hands.extrinsics[3, :, :3] @ [
        0.01,
        0,
        0,
    ]  # the second camera sees the right hand 10 mm further along the world's x
    write_assemblyhands(replace(hands, joints=hands.joints + shift), tmp_path / "pred.json")
    found = np.array(json.loads((tmp_path / "pred.json").read_text())["annotations"]["seq_a"]["000012"]["world_coord"])
    np.testing.assert_allclose(found[:21][INTERHAND_TO_STANDARD], 1000 * world["000012", RIGHT] + [5, 0, 0], atol=1e-4)


def test_assemblyhands_template_says_which_frames_and_keeps_what_it_says_beside(tmp_path):
    hands, _ = make_assembly(np.random.default_rng(7))
    blank = {"world_coord": [[-1, -1, -1]] * 42}
    template = {"info": "of 2023", "annotations": {"seq_a": {"000345": dict(blank), "000400": dict(blank)}}}
    (tmp_path / "t.json").write_text(json.dumps(template))
    report = write_assemblyhands(hands, tmp_path / "pred.json", tmp_path / "t.json")
    body = json.loads((tmp_path / "pred.json").read_text())
    assert body["info"] == "of 2023" and list(body["annotations"]["seq_a"]) == ["000345", "000400"]
    assert (
        np.array(body["annotations"]["seq_a"]["000345"]["world_coord"])[21:].all()
        and not np.array(body["annotations"]["seq_a"]["000400"]["world_coord"]).any()
    )
    assert report["samples"] == 2 and report["hands_on_frames_that_the_template_has_not"] == 2
    (tmp_path / "t.json").write_text(json.dumps({"annotations": {"seq_b": {"000345": {}}}}))
    with pytest.raises(HandtoolError, match="names 1 frames, and p.h5 has none"):
        write_assemblyhands(hands, tmp_path / "pred.json", tmp_path / "t.json")
    (tmp_path / "t.json").write_text("[1, 2]")
    with pytest.raises(HandtoolError, match="no template"):
        write_assemblyhands(hands, tmp_path / "pred.json", tmp_path / "t.json")


def test_assemblyhands_without_the_way_to_the_world_or_of_another_set_is_refused(tmp_path):
    hands, _ = make_assembly(np.random.default_rng(8))
    with pytest.raises(HandtoolError, match="5 of 5 hands of p.h5 have no extrinsics"):
        write_assemblyhands(replace(hands, extrinsics=None), tmp_path / "pred.json")
    with pytest.raises(HandtoolError, match="is no hand of AssemblyHands"):
        write_assemblyhands(
            replace(hands, sample_key=np.array(["photo.jpg"] * 5, dtype=object)), tmp_path / "pred.json"
        )


def make_file(path, count=6):
    """Labelled crops with predictions; samples in falling order."""
    rng = np.random.default_rng(0)
    hands = make_hands(count, rng)
    with store.create_file(path, record()) as sink:
        write_videos(sink, 1)
        write_crops(sink, np.zeros(count, int), rng.integers(0, 2, count), hands, rng)
        write_labels(sink, hands)
        columns = dict(
            joints=hands["joints"] + 0.01,
            keypoints=hands["xy"],
            valid=np.ones(count, bool),
            absolute=np.ones(count, bool),
            scale=np.full(count, 0.03),
        )
        store.write_table(sink, PREDICTIONS, columns, {"scale_source": "mean"})
        sink.finish({})
    return path


def test_the_stage_joins_predictions_with_their_samples_and_says_whose_scale_it_is(tmp_path):
    with store.open_file(make_file(tmp_path / "p.h5")) as file:
        report = export(file, tmp_path / "t", ExportConfig("dexycb"))
        assert (
            report["accounting"][0]["done"] == 6 and report["scale_source"] == "mean" and report["format"] == "dexycb"
        )
        with pytest.raises(HandtoolError, match="FreiHAND's evaluation has 3960 samples, p.h5 lacks 3954"):
            export(file, tmp_path / "t", ExportConfig("freihand"))
        with pytest.raises(WrongCommand, match="/labels cannot be written as ho3d"):
            export(file, tmp_path / "t", ExportConfig("ho3d", "labels"))
        with pytest.raises(WrongCommand, match="--template"):
            export(file, tmp_path / "t", ExportConfig("dexycb"), template=tmp_path)
    lines = (tmp_path / "t").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == list("012345")


def test_a_submission_is_asked_for_by_format_and_nothing_is_left_of_a_refused_one(tmp_path, handtool):
    make_file(tmp_path / "p.h5")
    assert (
        handtool("export", "p.h5", "--format", "dexycb", "-o", "pred.txt").returncode == 0
        and (tmp_path / "pred.txt").exists()
    )
    no_zip = handtool("export", "p.h5", "--format", "freihand", "-o", "pred.json")
    assert no_zip.returncode == 2 and "is a zip with pred.json" in no_zip.stderr and "-o pred.zip" in no_zip.stderr
    short = handtool("export", "p.h5", "--format", "ho3d", "-o", "pred.zip")
    assert short.returncode == 1 and "lacks 11518 of them" in short.stderr and not (tmp_path / "pred.zip").exists()
