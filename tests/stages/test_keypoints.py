"""keypoints: one row for every hand, from labels, from the detector, or from an estimator, and a reason where there
is none."""

import dataclasses

import numpy as np
import pytest
from footage import make_boxes, make_labelled, picture, run_stage, write_image

import handtool
from handtool import store
from handtool.config import ExtractConfig, KeypointsConfig
from handtool.errors import HandtoolError
from handtool.stages.cat import join_attrs
from handtool.stages.extract import extract
from handtool.stages.keypoints import ESTIMATED, KNOWN, choose_origin, context_of, keypoints
from handtool.store import CROPS, KEYPOINTS, LABELS, VIDEOS


@pytest.fixture
def crops(tmp_path):
    """Seven hands: one found by a detector on a picture, six labelled, of which row 2 lacks a point and row 3 all."""
    write_image(tmp_path / "x" / "1.png", picture(0, 1))
    boxes = make_boxes(tmp_path / "b.json", {"x/1.png": [[10, 10, 30, 20]]})
    valid = np.ones((6, 21), bool)
    valid[1, 5], valid[2] = False, False
    make_labelled(tmp_path / "set", valid=valid)
    run_stage(extract, [tmp_path / "x", tmp_path / "set"], tmp_path / "crops.h5", ExtractConfig(workers=1), boxes=boxes)
    return tmp_path / "crops.h5"


def with_landmarks(path, score, joints=None):
    """The same file, but the detector found the landmarks of row 0 (all at 50, 60) along the way; with `joints`
    (21, 3) also in 3D."""
    target = path.parent / f"landmarks {score}.h5"
    with store.open_file(path) as file:
        copies = {
            table: {
                column.name: store.read_column(file, column)
                for column in table.columns
                if file.has(column) and not column.name.startswith("jpeg")
            }
            for table in (VIDEOS, CROPS, LABELS)
        }
        jpegs, attrs = store.open_jpegs(file), store.read_attrs(file, CROPS)
        copies[CROPS]["jpeg"] = [jpegs[row] for row in range(len(jpegs))]
        copies[CROPS]["landmarks"][0], copies[CROPS]["landmarks_score"][0] = (50, 60), score
        if joints is not None:
            copies[CROPS]["landmarks_joints"] = np.full((7, 21, 3), np.nan)
            copies[CROPS]["landmarks_joints"][0] = joints
        with store.create_file(target, store.Record("handtool test", {}, [])) as sink:
            for table, columns in copies.items():
                store.write_table(
                    sink, table, columns, attrs={k: attrs[k] for k in ("size", "box_scale")} if table is CROPS else None
                )
            sink.finish({})
    return target


def read(path):
    with store.open_file(path) as file:
        required = [column for column in KEYPOINTS.columns if not column.optional]
        return [store.read_column(file, column) for column in required], store.read_attrs(file, KEYPOINTS)


def read_joints(path):
    with store.open_file(path) as file:
        return store.read_column(file, KEYPOINTS.joints)


def test_labels_and_the_detectors_landmarks_are_carried_over_and_the_incomplete_are_marked(tmp_path, crops):
    source = with_landmarks(crops, 0.9)
    report = run_stage(keypoints, source, tmp_path / "k.h5", KeypointsConfig())
    (xy, score, valid), attrs = read(tmp_path / "k.h5")
    with store.open_file(source) as file:
        truth = store.read_column(file, LABELS.keypoints)
    assert valid.tolist() == [True, True, False, False, True, True, True]
    assert (xy[0] == (50, 60)).all() and np.allclose(score[0], 0.9)
    assert np.array_equal(xy[4], truth[4]) and (score[4] == 1).all()
    assert np.flatnonzero(np.isnan(xy[2]).any(1)).tolist() == [5] and score[2, 5] == 0 and np.isnan(xy[3]).all()
    assert attrs["skeleton"] == "hand21" and attrs["model"] == "labels + detector"
    assert report["accounting"][0]["skipped"] == {"only some of the 21 points known": 1, "no 2D truth": 1}
    assert report["accounting"][0]["done"] == 5 and report["hands_by_origin"] == {"labels": 6, "detector": 1}


def test_the_detectors_3d_is_carried_over_and_through_the_files_that_follow(tmp_path, crops):
    joints = np.random.default_rng(2).normal(0, 0.05, (21, 3)).astype(np.float32)
    report = run_stage(keypoints, with_landmarks(crops, 0.9, joints), tmp_path / "k.h5", KeypointsConfig())
    (_, _, valid), attrs = read(tmp_path / "k.h5")
    found = read_joints(tmp_path / "k.h5")
    assert np.array_equal(found[0], joints) and np.isnan(found[1:]).all() and valid[1:].any()
    assert attrs["joints_source"] == "detector" and report["hands_in_3d"] == 1
    run_stage(keypoints, crops, tmp_path / "l.h5", KeypointsConfig(estimator="labels"))
    with store.open_file(tmp_path / "l.h5") as file:
        assert not file.has(KEYPOINTS.joints) and "joints_source" not in store.read_attrs(file, KEYPOINTS)
    handtool.run("cat", [tmp_path / "k.h5", tmp_path / "l.h5"], tmp_path / "all.h5")
    handtool.run("embed", tmp_path / "all.h5", tmp_path / "e.h5", dim=3)
    handtool.run("mine", tmp_path / "e.h5", tmp_path / "p.h5", exclude="none", topk=1)
    handtool.run("split", tmp_path / "all.h5", [tmp_path / "a.h5", tmp_path / "b.h5"], by="row", shares=(50, 50))
    for name, hands in (("all", 14), ("e", 14), ("p", 14)):
        carried = read_joints(tmp_path / f"{name}.h5")
        assert len(carried) == hands and np.array_equal(carried[0], joints) and np.isnan(carried[1:]).all()
        assert read(tmp_path / f"{name}.h5")[1]["joints_source"] == "detector"
    parts = np.concatenate([read_joints(tmp_path / f"{name}.h5") for name in "ab"])
    assert len(parts) == 14 and np.array_equal(parts[np.isfinite(parts).all((1, 2))], joints[None])


def test_the_new_file_links_to_what_it_came_from(tmp_path, crops):
    run_stage(keypoints, with_landmarks(crops, 0.9), tmp_path / "k.h5", KeypointsConfig())
    with store.open_file(tmp_path / "k.h5") as file:
        assert (
            file.has(CROPS)
            and file.has(LABELS)
            and file.has(VIDEOS)
            and file.count(CROPS) == file.count(KEYPOINTS) == 7
        )


def test_a_hand_below_the_score_is_kept_and_marked(tmp_path, crops):
    report = run_stage(keypoints, with_landmarks(crops, 0.6), tmp_path / "k.h5", KeypointsConfig(min_score=0.7))
    (xy, _, valid), _ = read(tmp_path / "k.h5")
    assert (
        not valid[0] and np.isfinite(xy[0]).all() and report["accounting"][0]["skipped"]["score below --min-score"] == 1
    )


def test_labels_can_be_asked_for_and_are_missed_where_there_are_none(tmp_path, crops):
    report = run_stage(keypoints, crops, tmp_path / "k.h5", KeypointsConfig(estimator="labels"))
    assert report["accounting"][0]["skipped"]["no 2D truth"] == 2 and report["hands_by_origin"] == {"labels": 7}
    write_image(tmp_path / "y" / "1.png", picture(0, 1))
    run_stage(extract, [tmp_path / "y"], tmp_path / "y.h5", ExtractConfig(whole=True, workers=1))
    with pytest.raises(HandtoolError, match="has no /labels"):
        run_stage(keypoints, tmp_path / "y.h5", tmp_path / "z.h5", KeypointsConfig(estimator="labels"))


def test_a_hand_without_either_needs_mediapipe_and_says_so(tmp_path, crops, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(HandtoolError, match="mediapipe package is not installed"):
        run_stage(keypoints, crops, tmp_path / "k.h5", KeypointsConfig())


def test_of_a_set_that_publishes_boxes_alone_there_is_nothing_to_copy(tmp_path):
    for name, known in (("boxes", False), ("points", True)):
        make_labelled(tmp_path / name, valid=np.full((6, 21), known))
    run_stage(extract, [tmp_path / "boxes", tmp_path / "points"], tmp_path / "crops.h5", ExtractConfig(workers=1))
    with store.open_file(tmp_path / "crops.h5") as file:
        assert choose_origin(file, KeypointsConfig()).tolist() == [ESTIMATED] * 6 + [KNOWN] * 6
        assert choose_origin(file, KeypointsConfig(estimator="labels")).tolist() == [KNOWN] * 12


@pytest.mark.parametrize("with_3d", [None, np.random.default_rng(1).normal(0, 0.05, (7, 21, 3)).astype(np.float32)])
def test_finished_blocks_of_an_interrupted_run_are_used_as_they_are(tmp_path, crops, monkeypatch, with_3d):
    monkeypatch.setattr("handtool.stages.keypoints.check_estimator", lambda *_: None)
    monkeypatch.setattr("handtool.stages.keypoints.describe_estimator", lambda *_: {})
    config, answer = (
        KeypointsConfig(estimator="mediapipe"),
        np.random.default_rng(0).uniform(0, 224, (7, 21, 2)).astype(np.float32),
    )
    found = np.array([True] * 6 + [False])
    with store.open_job(tmp_path / "k.h5", store.Record("handtool keypoints", dataclasses.asdict(config), [])) as job:
        part = {"xy": answer, "score": np.full((7, 21), 0.8, np.float32), "found": found}
        job.save("hands-0000000", part | ({} if with_3d is None else {"joints": with_3d}))
    report = run_stage(keypoints, crops, tmp_path / "k.h5", config)
    (xy, _, valid), attrs = read(tmp_path / "k.h5")
    assert np.array_equal(xy, answer) and np.array_equal(valid, found) and attrs["model"] == "mediapipe"
    assert attrs.get("joints_source") == (None if with_3d is None else "mediapipe")
    if with_3d is not None:
        assert np.array_equal(read_joints(tmp_path / "k.h5"), with_3d) and report["hands_in_3d"] == 7
    assert report["accounting"][0]["skipped"] == {"no hand seen on the crop": 1}


def test_noise_is_drawn_by_row_whatever_the_blocks_and_only_moves_the_points(tmp_path, crops, monkeypatch):
    run_stage(keypoints, crops, tmp_path / "0.h5", KeypointsConfig(estimator="labels"))
    for name, rows, seed in (("1", 8192, 5), ("2", 3, 5), ("3", 8192, 6)):
        monkeypatch.setattr("handtool.stages.keypoints.NOISE_ROWS", rows)
        report = run_stage(
            keypoints, crops, tmp_path / f"{name}.h5", KeypointsConfig(estimator="labels", noise_px=3.0, seed=seed)
        )
        assert report["noise_px"] == 3.0
    (plain, score, valid), attrs = read(tmp_path / "0.h5")
    moved = [read(tmp_path / f"{name}.h5")[0] for name in "123"]
    assert np.array_equal(moved[0][0], moved[1][0], equal_nan=True) and not np.array_equal(
        moved[0][0], moved[2][0], equal_nan=True
    )
    assert np.array_equal(moved[0][1], score) and np.array_equal(moved[0][2], valid) and "noise_px" not in attrs
    shift = (moved[0][0] - plain)[valid]
    assert abs(shift.mean()) < 0.7 and 2.5 < shift.std() < 3.5
    assert read(tmp_path / "1.h5")[1]["noise_px"] == 3.0
    with store.open_file(tmp_path / "0.h5") as one, store.open_file(tmp_path / "1.h5") as other:
        with pytest.raises(HandtoolError, match="do not go together: noise_px"):
            join_attrs([one, other], KEYPOINTS)


def test_an_estimator_that_is_named_looks_at_every_hand(tmp_path, crops, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    source = with_landmarks(crops, 0.9)
    assert run_stage(keypoints, source, tmp_path / "k.h5", KeypointsConfig())["hands_by_origin"] == {
        "labels": 6,
        "detector": 1,
    }
    with pytest.raises(HandtoolError, match="mediapipe package is not installed"):
        run_stage(keypoints, source, tmp_path / "m.h5", KeypointsConfig(estimator="mediapipe"))


def test_context_is_the_crops_side_over_the_hands(crops):
    with store.open_file(crops) as file:
        context = context_of(file, np.array([0, 3]))
    assert context == pytest.approx([1.3, 1.0])


def test_a_file_without_crops_is_told_how_to_get_them(tmp_path):
    with store.create_file(tmp_path / "e.h5", store.Record("handtool test", {}, [])) as sink:
        sink.finish({})
    with pytest.raises(HandtoolError, match="has no /crops"):
        run_stage(keypoints, tmp_path / "e.h5", tmp_path / "k.h5", KeypointsConfig())


def test_by_pipe_the_same_keypoints_come_out(tmp_path, crops, handtool):
    source = with_landmarks(crops, 0.9)
    assert handtool("keypoints", source, "-o", "k.h5").returncode == 0
    piped = handtool("keypoints", stdin=source.read_bytes(), binary=True)
    (tmp_path / "p.h5").write_bytes(piped.stdout)
    for mine, theirs in zip(read(tmp_path / "k.h5")[0], read(tmp_path / "p.h5")[0], strict=True):
        np.testing.assert_array_equal(mine, theirs)
