"""EgoDex in its published layout: films with the tables of a headset's tracking, sampled like any film."""

import h5py
import numpy as np
import pytest
from footage import make_video, run_stage, tables_of
from true_hands import draw_hands

from handtool.config import ExtractConfig
from handtool.errors import DamagedFile, HandtoolError, WrongCommand
from handtool.hands.skeleton import LEFT, RIGHT
from handtool.sources.find import find_videos
from handtool.sources.frame import Choice, Sampling, Tally
from handtool.sources.read import read_frames
from handtool.sources.sets import egodex
from handtool.stages.extract import extract
from handtool.store import CROPS, LABELS, VIDEOS

K = np.array([[736.6339, 0, 960], [0, 736.6339, 540], [0, 0, 1]])
SIZE = 192, 108  # px: a tenth of the published films
PARTS = ("Knuckle", "IntermediateBase", "IntermediateTip", "Tip")
BODY = ["hip", *(f"spine{i}" for i in range(1, 8)), *(f"neck{i}" for i in range(1, 5))]
BODY += [f"{side}{part}" for side in ("left", "right") for part in ("Shoulder", "Arm", "Forearm")]


def names_of(side):
    """As the published code lists them, wrist first."""
    fingers = [f"{side}Thumb{part}" for part in PARTS]
    fingers += [f"{side}{finger}Finger{part}" for finger in ("Index", "Middle", "Ring", "Little") for part in PARTS]
    return [f"{side}Hand", *fingers]


def make_poses(frames, seed=3):
    """Camera poses (n, 4, 4) in the world, and joints (2, n, 21, 3) in the camera, left then right."""
    rng, poses = np.random.default_rng(seed), np.tile(np.eye(4), (frames, 1, 1))
    for pose in poses:
        turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
        turn[:, 0] *= np.linalg.det(turn)
        pose[:3, :3], pose[:3, 3] = turn, rng.uniform(-1, 1, 3) + (0, 1.6, 0)
    hands = [draw_hands(frames, rng, np.full(frames, left)) + (-0.15 if left else 0.15, 0, 0) for left in (True, False)]
    return poses, np.array(hands)


def make_episode(folder, number, frames=6, tables=None, confidences=None, rename=str, seed=3, **attributes):
    """tables: rows of the tables; confidences: of some joints, by name (None of a name: no group at all)."""
    folder.mkdir(parents=True, exist_ok=True)
    make_video(folder / f"{number}.mp4", frames, 30, SIZE)
    rows = tables or frames
    poses, hands = make_poses(rows, seed)
    rng = np.random.default_rng(9)
    with h5py.File(folder / f"{number}.hdf5", "w") as file:
        file["camera/intrinsic"] = K.astype(np.float32)
        file["transforms/camera"] = poses.astype(np.float32)
        joints = dict(zip(names_of("left") + names_of("right"), np.concatenate([h.transpose(1, 0, 2) for h in hands])))
        joints |= {f"left{finger}FingerMetacarpal": rng.normal(size=(rows, 3)) for finger in ("Index", "Ring")}
        joints |= {name: rng.normal(size=(rows, 3)) for name in BODY}
        for name, places in joints.items():
            local = np.tile(np.eye(4), (rows, 1, 1))
            local[:, :3, 3] = places
            file[f"transforms/{rename(name)}"] = (poses @ local).astype(np.float32)
            if confidences is not False:
                given = (confidences or {}).get(name, 1.0)
                file[f"confidences/{rename(name)}"] = np.full(rows, given, np.float32)
        for name, value in {"task": "fold_towel", **attributes}.items():
            file.attrs[name] = value
    return hands


def project_by_hand(joint):
    """px of the small film: that of a pixel centre in the full one, scaled by the edges."""
    x, y, z = map(float, joint)
    return [(736.6339 * a / z + c + 0.5) * 0.1 - 0.5 for a, c in ((x, 960), (y, 540))]


def read_set(root, sampling=Sampling(every=1), **choice):
    videos = find_videos([root], choice=Choice(**choice)).videos
    tallies = [Tally() for _ in videos]
    return videos, tallies, [list(read_frames(video, sampling, tally)) for video, tally in zip(videos, tallies)]


def test_joints_are_in_the_cameras_frame_and_keypoints_are_their_projections(tmp_path):
    hands = make_episode(tmp_path / "part1" / "fold_towel", 0, session_name="s17", environment=b"kitchen")
    (video,), (tally,), (frames,) = read_set(tmp_path)
    assert (video.kind, video.dataset, video.split) == ("video", "egodex", "train")
    assert video.name == f"{tmp_path.name}/part1/fold_towel/0.mp4" and len(frames) == 6 and tally.status == "ok"
    assert (tally.subject, tally.place) == ("s17", "kitchen") and list(tally.notes) == [egodex.PSEUDO]
    with h5py.File(tmp_path / "part1" / "fold_towel" / "0.hdf5") as file:
        world = file["transforms/rightIndexFingerTip"][:, :3, 3]
    for frame in frames:
        assert [hand.side for hand in frame.hands] == [LEFT, RIGHT]
        for hand, truth in zip(frame.hands, hands[:, frame.number]):
            assert np.allclose(hand.joints, truth, atol=2e-6) and hand.valid.all() and hand.sample_id == frame.number
            expected = np.array([project_by_hand(joint) for joint in truth])
            assert np.abs(hand.keypoints - expected).max() < 0.01
            inside = (expected > -0.5).all(axis=1) & (expected < (191.5, 107.5)).all(axis=1)
            low, high = expected[inside].min(axis=0), expected[inside].max(axis=0) + 1
            assert np.allclose(hand.box, [*low, *high], atol=0.01)
        turn, move = frame.hands[1].extrinsics[:, :3], frame.hands[1].extrinsics[:, 3]
        assert np.allclose(turn @ world[frame.number] + move, frame.hands[1].joints[8], atol=2e-6)


def test_confidences_tell_which_joints_are_valid(tmp_path):
    low = {"leftHand": 0.4, "rightHand": 0.8, "rightRingFingerTip": 0.6, "rightThumbTip": 0.7}
    make_episode(tmp_path / "task", 0, frames=2, confidences=low)
    make_episode(tmp_path / "task", 1, frames=2, confidences=False)
    _, (sure, unknown), (frames, others) = read_set(tmp_path)
    for frame in frames:
        (hand,) = frame.hands  # 0.8 x 0.6 < 0.5 <= 0.8 x 0.7
        assert hand.side == RIGHT and np.flatnonzero(~hand.valid).tolist() == [16]
    assert dict(sure.left_out) == {egodex.UNSURE: 2} and not unknown.left_out
    assert all(hand.valid.all() for frame in others for hand in frame.hands)
    assert any("no confidences" in note for note in unknown.notes) and len(sure.notes) == 1


def test_hands_outside_of_the_picture_are_counted_and_make_no_row(tmp_path):
    make_episode(tmp_path / "task", 0, frames=2)
    with h5py.File(tmp_path / "task" / "0.hdf5", "r+") as file:
        pose = file["transforms/camera"][:]
        for place, name in enumerate(names_of("left")):  # behind the camera on the first frame, beside it on the next
            for row, where in enumerate(((0, 0, -0.4, 1), (-3.0, 0, 0.4, 1))):
                file[f"transforms/{name}"][row, :, 3] = pose[row] @ (np.array(where) + (0, 0.001 * place, 0, 0))
    _, (tally,), (frames,) = read_set(tmp_path)
    assert [[hand.side for hand in frame.hands] for frame in frames] == [[RIGHT], [RIGHT]]
    assert dict(tally.left_out) == {egodex.OUTSIDE: 2}


@pytest.mark.parametrize("tables, lacking", [(5, 0), (8, 0), (3, 2)])
def test_the_shorter_of_film_and_tables_counts(tmp_path, tables, lacking):
    make_episode(tmp_path / "task", 0, frames=6, tables=tables)
    _, (tally,), (frames,) = read_set(tmp_path)
    assert [bool(frame.hands) for frame in frames] == [number < tables for number in range(6)]
    assert sum(tally.unseen.values()) == lacking


def test_misspelt_joints_are_known(tmp_path):
    hands = make_episode(
        tmp_path / "task", 0, frames=2, rename=lambda name: name.replace("Thumb", "Thunmb").replace("Little", "Pinky")
    )
    _, _, (frames,) = read_set(tmp_path)
    assert np.allclose(frames[1].hands[0].joints, hands[0, 1], atol=2e-6)


def test_the_set_is_extracted_at_the_rate_asked_for_and_no_detector_looks(tmp_path):
    make_episode(tmp_path / "test" / "a", 0, frames=30, session_name="s1")
    make_episode(tmp_path / "test" / "a", 10, frames=30, confidences={"leftHand": 0.0})
    make_episode(tmp_path / "test" / "a", 2, frames=30)
    (tmp_path / "test" / "a" / "2.hdf5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(500))
    config = ExtractConfig(workers=1, size=64, fps=10.0)
    report = run_stage(extract, [tmp_path], tmp_path / "out.h5", config)
    films, frames, hands = report["accounting"]
    assert films["done"] == 2 and films["failed"] == {"damaged labels": 1}
    assert frames["done"] == 20 and hands["done"] == 30 and hands["skipped"] == {egodex.UNSURE: 10}
    assert report["box_scale"] == 1.75 and egodex.PSEUDO in report["notes"]
    tables = tables_of(tmp_path / "out.h5", VIDEOS, CROPS, LABELS)
    assert tables["videos/subject"].tolist() == ["s1", "", "fold_towel"] and (tables["crops/frame"] % 3 == 0).all()
    assert np.isfinite(tables["crops/camera"]).all() and tables["labels/valid"].all()
    assert len(np.unique(tables["crops/track"][:20])) == 2
    for row in (0, 29):  # joints, camera and keypoints of the crop agree
        joints, camera = tables["labels/joints"][row].astype(float), tables["crops/camera"][row]
        x, y, z = joints[7]
        expected = camera[0, 0] * x / z + camera[0, 2], camera[1, 1] * y / z + camera[1, 2]
        assert np.allclose(tables["labels/keypoints"][row, 7], expected, atol=0.01)


def test_a_split_is_chosen_by_the_folder_and_two_are_not_mixed_unasked(tmp_path):
    for part in ("part2", "test"):
        make_episode(tmp_path / part / "task", 0, frames=1)
    assert [video.split for video in read_set(tmp_path, split="test")[0]] == ["test"]
    assert [video.split for video in read_set(tmp_path, dataset="egodex")[0]] == ["train", "test"]
    with pytest.raises(WrongCommand, match="not to be mixed"):
        run_stage(extract, [tmp_path], tmp_path / "out.h5", ExtractConfig(workers=1))
    with pytest.raises(WrongCommand, match="no 'val'"):
        read_set(tmp_path, split="val")
    with pytest.raises(HandtoolError, match="0.mp4"):
        (tmp_path / "nothing").mkdir()
        read_set(tmp_path / "nothing", dataset="egodex")


def test_films_beside_other_tables_are_plain_films(tmp_path):
    make_video(tmp_path / "0.mp4", 2, 30, SIZE)
    with h5py.File(tmp_path / "0.hdf5", "w") as file:
        file["actions"] = np.zeros((2, 7))
    (video,) = find_videos([tmp_path]).videos
    assert video.dataset == ""


def external(file):
    file.move("transforms/leftHand", "kept")
    file["transforms/leftHand"] = h5py.ExternalLink("other.hdf5", "/x")


def soft(file):
    file.move("transforms/leftHand", "kept")
    file["transforms/leftHand"] = h5py.SoftLink("/kept")


def outside(file):
    del file["transforms/leftHand"]
    file.create_dataset("transforms/leftHand", (2, 4, 4), np.float32, external=[("other.raw", 0, 128)])


def virtual(file):
    del file["transforms/leftHand"]
    layout = h5py.VirtualLayout((2, 4, 4), np.float32)
    layout[:] = h5py.VirtualSource("other.hdf5", "x", (2, 4, 4))
    file.create_virtual_dataset("transforms/leftHand", layout)


def huge(file):
    del file["transforms/leftHand"]
    file.create_dataset("transforms/leftHand", (1 << 40, 4, 4), np.float32, chunks=(64, 4, 4))


def huge_pieces(file):
    del file["transforms/leftHand"]
    file.create_dataset("transforms/leftHand", (2, 4, 4), np.float32, chunks=(1 << 22, 4, 4), maxshape=(None, 4, 4))


def packed(file):
    del file["transforms/leftHand"]
    file.create_dataset("transforms/leftHand", (2, 4, 4), np.float32, compression="lzf")


def texts(file):
    del file["camera/intrinsic"]
    file["camera/intrinsic"] = np.full((3, 3), b"a")


def lacking(file):
    del file["transforms/rightRingFingerTip"]


def no_camera(file):
    file["camera/intrinsic"][1, 1] = np.nan


def no_poses(file):
    file["transforms/camera"][:] = 0


def group(file):
    file.move("transforms/leftHand", "kept")
    file.create_group("transforms/leftHand")


@pytest.mark.parametrize(
    "spoil, told",
    [
        (external, "may lead out"),
        (soft, "may lead out"),
        (outside, "in another file"),
        (virtual, "in another file"),
        (huge, "more than the file can hold"),
        (huge_pieces, "stored in pieces"),
        (packed, "not HDF5's own"),
        (texts, "expected numbers"),
        (lacking, "has no transforms/rightRingFingerTip"),
        (no_camera, "no camera matrix"),
        (no_poses, "a rotation and a place"),
        (group, "no table of numbers"),
    ],
)
def test_hostile_tables_are_refused_in_one_line(tmp_path, spoil, told):
    make_episode(tmp_path / "task", 0, frames=2)
    with h5py.File(tmp_path / "task" / "0.hdf5", "r+") as file:
        spoil(file)
    (video,), (tally,), (frames,) = read_set(tmp_path)
    assert not frames and tally.problem.startswith("damaged labels: ") and told in tally.problem
    assert "\n" not in tally.problem


def test_a_set_of_nothing_but_hostile_tables_is_exit_3(tmp_path):
    make_episode(tmp_path / "task", 0, frames=2)
    with h5py.File(tmp_path / "task" / "0.hdf5", "r+") as file:
        external(file)
    with pytest.raises(DamagedFile, match="damaged labels"):
        run_stage(extract, [tmp_path], tmp_path / "out.h5", ExtractConfig(workers=1))
