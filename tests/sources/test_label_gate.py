"""Every reader's labels pass the gate: as they are where they are sound, refused where they are in another unit."""

import json
import pickle

import h5py
import numpy as np
import pytest
from footage import make_freihand, run_stage, tables_of
from test_assemblyhands import make_assembly
from test_dexycb import make_pictures, make_root, sequence_name
from test_egodex import make_episode
from test_egoexo4d import UID, make_prepared
from test_ho3d import make_ho3d
from test_hot3d import make_hot3d
from test_interhand import make_interhand
from test_rhd import make_rhd
from test_youtube3d import make_set
from true_hands import draw_hands

from handtool.config import DATASETS, ExtractConfig
from handtool.errors import DamagedFile
from handtool.hands.skeleton import RIGHT
from handtool.sources import label_gate
from handtool.sources.frame import Frame, KnownHand, Video
from handtool.sources.label_gate import FIELDS, SAMPLE, LabelGate, sample_labelled
from handtool.sources.labelled_frames import from_joints
from handtool.sources.sets.dexycb import SUBJECTS
from handtool.stages.extract import extract
from handtool.store import LABELS

UNIT = 1000  # a set in a unit so many times smaller than its own


def in_json(path, change):
    content = json.loads(path.read_text())
    path.write_text(json.dumps(change(content)))


def in_pickle(path, change):
    path.write_bytes(pickle.dumps(change(pickle.loads(path.read_bytes()))))


def times(values):
    return (np.array(values) * UNIT).tolist()


def freihand(root, wrong):
    make_freihand(root)
    if wrong:
        in_json(root / "training_xyz.json", times)


def ho3d(root, wrong):
    make_ho3d(root)
    for path in root.glob("train/*/meta/*.pkl") if wrong else ():
        in_pickle(path, lambda label: label | {"handJoints3D": label["handJoints3D"] * UNIT})


def dexycb(root, wrong):
    pytest.importorskip("yaml", reason="needs the extra `datasets`")
    made = make_root(root, subjects=range(2))
    make_pictures(root, 0, 4, made[0, 4][1])
    for path in root.glob(f"{SUBJECTS[0]}/{sequence_name(0, 4)}/*/labels_*.npz") if wrong else ():
        with np.load(path) as archive:
            label = dict(archive)
        np.savez(path, **label | {"joint_3d": label["joint_3d"] * UNIT})


def interhand(root, wrong):
    pytest.importorskip("ijson", reason="needs the extra `datasets`")
    make_interhand(root)

    def grow(joints):
        return {
            capture: {frame: pose | {"world_coord": times(pose["world_coord"])} for frame, pose in of_it.items()}
            for capture, of_it in joints.items()
        }

    def back(cameras):
        for of_it in cameras.values():
            of_it["campos"] = {name: times(place) for name, place in of_it["campos"].items()}
        return cameras

    if wrong:
        in_json(root / "annotations" / "train" / "InterHand2.6M_train_joint_3d.json", grow)
        in_json(root / "annotations" / "train" / "InterHand2.6M_train_camera.json", back)


def assemblyhands(root, wrong):
    pytest.importorskip("ijson", reason="needs the extra `datasets`")
    make_assembly(root, splits=("train",))

    def grow(content):
        for of_it in content["annotations"].values():
            for pose in of_it.values():
                pose["world_coord"] = (np.array(pose["world_coord"]) * (UNIT if wrong else 0.6)).tolist()
        return content

    def back(content):
        for of_it in content["calibration"].values():
            for frame in of_it["extrinsics"].values():
                for matrix in frame.values():
                    for row in matrix:
                        row[3] *= UNIT if wrong else 0.6
        return content

    in_json(root / "annotations" / "train" / "assemblyhands_train_joint_3d_v1-1.json", grow)
    in_json(root / "annotations" / "train" / "assemblyhands_train_ego_calib_v1-1.json", back)


def rhd(root, wrong):
    make_rhd(root)
    if wrong:
        in_pickle(
            root / "training" / "anno_training.pickle",
            lambda content: {number: label | {"xyz": label["xyz"] * UNIT} for number, label in content.items()},
        )


def egodex(root, wrong):
    make_episode(root / "part1" / "task", 0, frames=40)
    with h5py.File(root / "part1" / "task" / "0.hdf5", "r+") as file:
        for poses in file["transforms"].values() if wrong else ():
            poses[:, :3, 3] = poses[:, :3, 3] * UNIT


def egoexo4d(root, wrong):
    pytest.importorskip("ijson", reason="needs the extra `datasets`")
    make_prepared(root)
    if wrong:

        def grow(content):
            for entry in content[UID].values():
                entry |= {f"{side}_hand_3d": times(entry[f"{side}_hand_3d"]) for side in ("left", "right")}
            return content

        in_json(root / "annotation" / "manual" / "ego_pose_gt_anno_train_public.json", grow)


def hot3d(root, wrong):
    make_hot3d(root, scale=UNIT if wrong else 1.0)


MAKERS = {"freihand": freihand, "ho3d": ho3d, "dexycb": dexycb, "interhand": interhand, "rhd": rhd}
MAKERS |= {"assemblyhands": assemblyhands, "egodex": egodex, "egoexo4d": egoexo4d, "hot3d": hot3d}


def config_of(name, **more):
    split = {"dexycb": "s0_val"}.get(name, "train")
    return ExtractConfig(workers=1, size=64, dataset=name, split=split, **more)


@pytest.mark.parametrize("name", MAKERS)
def test_sound_labels_pass_as_they_are_and_another_unit_is_refused(tmp_path, name):
    MAKERS[name](tmp_path / "sound", wrong=False)
    report = run_stage(extract, [tmp_path / "sound"], tmp_path / "s.h5", config_of(name))
    assert "labels" not in [each["what"] for each in report["accounting"]] and "labels_in_part_not_valid" not in report
    run_stage(extract, [tmp_path / "sound"], tmp_path / "t.h5", config_of(name, trust_labels=True))
    looked_at, trusted = (tables_of(tmp_path / name, LABELS) for name in ("s.h5", "t.h5"))
    assert looked_at["labels/valid"].any()
    for path, values in looked_at.items():
        np.testing.assert_array_equal(values, trusted[path], err_msg=path)
    MAKERS[name](tmp_path / "wrong", wrong=True)
    with pytest.raises(DamagedFile, match="wrong.* hands have bones of no hand's size.*not metres"):
        run_stage(extract, [tmp_path / "wrong"], tmp_path / "w.h5", config_of(name))


def test_no_reader_is_left_out_but_those_that_know_no_joint_in_space(tmp_path):
    others = {"lerobot"}  # knows what its features say: its own tests
    assert set(DATASETS) - set(MAKERS) == {"youtube3d", "coco", "simhand", *others}
    pytest.importorskip("ijson", reason="needs the extra `datasets`")
    make_set(tmp_path / "y")
    report = run_stage(extract, [tmp_path / "y"], tmp_path / "y.h5", ExtractConfig(workers=1, size=64))
    assert [each["what"] for each in report["accounting"]] == ["videos", "frames", "hands"]


def test_the_sample_of_a_large_source_is_spread_evenly_over_its_videos(monkeypatch):
    monkeypatch.setattr(label_gate, "LARGE", 1000)
    counts = [700, 1, 2000, 299]
    starts = np.cumsum([0, *counts])
    videos = [
        Video(
            f"{number}",
            "root",
            "labelled",
            rows=tuple(range(start, start + count)),
            split="train",
            labels={"of": np.arange(start, start + count) * 2},
        )
        for number, (start, count) in enumerate(zip(starts[:-1].tolist(), counts, strict=True))
    ]
    small = Video("s", "other", "labelled", rows=tuple(range(1000)))
    thinned = sample_labelled([*videos, small, Video("v", "a.mp4", "video")])
    rows = [row for video in thinned for row in video.rows]
    assert len(rows) == SAMPLE and rows == sorted(set(rows)) and rows[0] == 0 and rows[-1] == 2999
    assert np.diff(rows).max() <= 13 and {video.name for video in thinned} <= {"0", "1", "2", "3"}
    assert all(video.labels["of"].tolist() == [2 * row for row in video.rows] for video in thinned)


def test_frames_pass_in_their_order_with_their_own_hands_however_many_are_held_back(monkeypatch):
    rng = np.random.default_rng(5)
    counts = [*rng.integers(0, 3, 60).tolist(), None, 1, 2]
    joints = draw_hands(sum(count or 0 for count in counts), rng, np.zeros(200, bool))
    camera = np.array([[400.0, 0, 112], [0, 400.0, 112], [0, 0, 1]])
    frames, start = [], 0
    for number, count in enumerate(counts):
        hands = None
        if count is not None:
            of_it = joints[start : start + count]
            known = [from_joints(hand, camera) | {"box": None} for hand in of_it]
            hands = tuple(KnownHand(RIGHT, sample_id=start + i, sample_key="", **one) for i, one in enumerate(known))
            start += count
        frames.append(Frame(np.zeros((224, 224, 3), np.uint8), number, np.nan, f"{number}", hands=hands))
    whole = LabelGate()
    for most in (1, 3, 32):
        monkeypatch.setattr(label_gate, "MOST_HELD", most)
        gate = LabelGate()
        passed = list(gate.pass_frames(iter(frames)))
        assert [frame.number for frame in passed] == list(range(len(frames)))
        for frame, given in zip(passed, frames, strict=True):
            assert (frame.hands is None) == (given.hands is None) and frame.hands == given.hands
        outcome = gate.as_outcome()
        assert outcome["labels_checked"] == len(joints) == len(outcome["label_evidence"])
        assert not outcome["labels_marked"] and not outcome["label_singles"]
    assert whole.as_outcome()["label_evidence"].shape == (0, len(FIELDS))
