"""The plain labelled format: what is in it comes out, what is wrong in it is named."""

import json
import zipfile

import numpy as np
import pytest
from footage import make_labelled

from handtool.errors import DamagedFile, HandtoolError
from handtool.hands.skeleton import LEFT, RIGHT
from handtool.sources.find import find_videos
from handtool.sources.frame import Sampling, Tally
from handtool.sources.npz import read_npz
from handtool.sources.read import read_frames


def read_set(folder):
    return [
        (video, tally, list(read_frames(video, Sampling(), tally)))
        for video in find_videos([folder]).videos
        for tally in [Tally()]
    ]


@pytest.mark.parametrize("as_json", [False, True])
def test_every_row_is_a_frame_with_its_hand(tmp_path, as_json):
    folder = make_labelled(tmp_path / "my hands", as_json=as_json)
    ((video, tally, frames),) = read_set(folder)
    assert video.name == "my hands" and tally.status == "ok" and len(frames) == 6
    hands = [frame.hands[0] for frame in frames]
    assert [hand.side for hand in hands] == [LEFT, RIGHT] * 3
    assert [hand.sample_id for hand in hands] == list(range(6)) and hands[2].sample_key == "002.jpg"
    assert hands[0].joints.dtype == np.float32 and hands[0].valid.all() and hands[0].box is None


def test_joints_without_keypoints_are_projected_with_the_images_camera(tmp_path):
    ((_, _, frames),) = read_set(make_labelled(tmp_path / "a"))
    hand = frames[1].hands[0]
    for joint, point in zip(hand.joints, hand.keypoints, strict=True):
        x, y, z = joint.astype(float)
        assert np.allclose(point, (400 * x / z + 112, 400 * y / z + 112), atol=1e-6)
    assert hand.keypoints_valid.all()


def test_unknown_joints_and_those_behind_the_camera_are_not_valid(tmp_path):
    joints = np.random.default_rng(0).uniform(-0.05, 0.05, (6, 21, 3)) + (0, 0, 0.4)
    joints[:, 9] = joints[:, 0] + (0, 0.09, 0)
    joints[0, 4], joints[1, 7, 2] = np.nan, -0.2
    valid = np.ones((6, 21), bool)
    valid[2, 3] = False
    ((_, _, frames),) = read_set(make_labelled(tmp_path / "a", joints_m=joints, valid=valid))
    hands = [frame.hands[0] for frame in frames]
    assert np.flatnonzero(~hands[0].valid).tolist() == [4] == np.flatnonzero(~hands[0].keypoints_valid).tolist()
    assert (
        hands[1].valid.all()
        and np.flatnonzero(~hands[1].keypoints_valid).tolist() == [7]
        and np.isnan(hands[1].keypoints[7]).all()
    )
    assert np.flatnonzero(~hands[2].valid).tolist() == [3]


def test_video_and_subject_make_videos_and_box_and_keypoints_are_taken_as_given(tmp_path):
    box, keypoints = np.tile([10.0, 20, 110, 140], (6, 1)), np.full((6, 21, 2), 50.0)
    folder = make_labelled(
        tmp_path / "a", video=np.array(list("xxyyyx")), subject=np.array(["s"] * 6), box=box, keypoints=keypoints
    )
    first, second = read_set(folder)
    assert (first[0].name, first[0].subject, first[0].rows, second[0].rows) == ("a/x", "s", (0, 1, 5), (2, 3, 4))
    assert np.array_equal(second[2][0].hands[0].box, box[0]) and np.array_equal(
        second[2][0].hands[0].keypoints, keypoints[0]
    )
    assert [frame.number for frame in first[2]] == [0, 1, 2]


def test_a_list_of_objects_is_read_like_columns(tmp_path):
    folder = make_labelled(tmp_path / "a", count=3)
    arrays = np.load(folder / "labels.npz")
    hands = [{name: arrays[name][row].tolist() for name in arrays.files} for row in range(3)]
    hands[1]["box"] = [0, 0, 100, 100]
    (folder / "labels.npz").unlink()
    (folder / "labels.json").write_text(json.dumps(hands))
    ((_, _, frames),) = read_set(folder)
    assert [frame.hands[0].box is None for frame in frames] == [True, False, True]


def test_missing_images_are_counted_not_fatal(tmp_path):
    folder = make_labelled(tmp_path / "a")
    (folder / "images" / "002.jpg").unlink()
    ((_, tally, frames),) = read_set(folder)
    assert len(frames) == 5 and tally.failed.total() == 1 and "No such file" in tally.status


@pytest.mark.parametrize("name", ["a\0b.jpg", "a" * 300 + ".jpg"])
def test_a_name_that_no_file_can_have_costs_its_row(tmp_path, name):
    folder = make_labelled(tmp_path / "a", image=np.array([name] + [f"{number:03d}.jpg" for number in range(1, 6)]))
    ((_, tally, frames),) = read_set(folder)
    assert len(frames) == 5 and tally.failed.total() == 1


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"K": None}, "has no K; it has image, joints_m, side"),
        (
            {"joints_m": np.zeros((6, 20, 3))},
            r"joints_m is float64 of shape \(6, 20, 3\), expected numbers of shape \(6, 21, 3\)",
        ),
        ({"side": np.array(["left"] * 5 + ["lefty"])}, "side 'lefty' in row 5"),
        ({"image": np.array(["../../etc/passwd.jpg"] * 6)}, "not a path inside"),
        ({"image": np.array(["/etc/passwd.jpg"] * 6)}, "not a path inside"),
        ({"K": np.tile(np.eye(3)[::-1], (6, 1, 1))}, "no camera matrix"),
        ({"side": np.array(["left"] * 4)}, "side is"),
        ({"side": np.array(["left"] * 6, dtype=object)}, "cannot be read"),
        ({"box": np.zeros((6, 3))}, "box is"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, changes, message):
    with pytest.raises(HandtoolError, match=message):
        find_videos([make_labelled(tmp_path / "a", **changes)])


@pytest.mark.parametrize(
    "content", ["{", "[1, 2]", "7", '{"image": ["a.jpg"], "K": [[1]], "joints_m": [[["x"]]], "side": ["left"]}']
)
def test_json_that_is_something_else_is_refused(tmp_path, content):
    (tmp_path / "labels.json").write_text(content)
    with pytest.raises(HandtoolError, match="labels.json"):
        find_videos([tmp_path])


def test_two_labels_files_are_one_too_many(tmp_path):
    folder = make_labelled(tmp_path / "a")
    (folder / "labels.json").write_text("[]")
    with pytest.raises(HandtoolError, match="labels.npz and labels.json"):
        find_videos([folder])


def test_real_labelled_hands_project_onto_their_fingers(samples):
    """Joints on the fingers: the tips' colours are skin, redder than blue (background: a bluish shop window)."""
    ((video, tally, frames),) = read_set(samples / "realworld3d")
    assert tally.decoded == 300 and all(frame.hands[0].side == LEFT for frame in frames)
    redness = []
    for frame in frames[::20]:
        points = frame.hands[0].keypoints.round().astype(int).clip(0, 255)
        skin = frame.image[points[:, 1], points[:, 0]].astype(float)
        ground = frame.image[::4, ::4].reshape(-1, 3).astype(float)
        redness.append(((skin[:, 0] - skin[:, 2]).mean(), np.median(ground[:, 0] - ground[:, 2])))
    on_hand, anywhere = np.array(redness).T
    assert (on_hand > anywhere + 15).mean() > 0.9


def write_npy(archive, name, header, data):
    """A member that says of itself what `header` says."""
    text = repr(header).encode()
    text += b" " * (-(10 + len(text) + 1) % 64) + b"\n"
    archive.writestr(f"{name}.npy", b"\x93NUMPY\1\0" + len(text).to_bytes(2, "little") + text + data)


@pytest.mark.parametrize(
    "shape, kind, size, message",
    [
        ((10**12, 21, 3), "<f8", 8, "holds another number of bytes"),
        ((3, -7), "<f8", 0, "another number of bytes"),
        ((1,), "|O", 8, "holds objects"),
        ((100_000_000,), "<f8", 800_000_000, "say that they unpack to"),
    ],
)
def test_an_archive_of_labels_that_says_more_than_it_holds_is_refused(tmp_path, shape, kind, size, message):
    with zipfile.ZipFile(tmp_path / "labels.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        write_npy(archive, "K", {"descr": kind, "fortran_order": False, "shape": shape}, bytes(size))
    with pytest.raises(DamagedFile, match=message):
        find_videos([tmp_path])


def test_an_archive_of_labels_is_read_as_numpy_reads_it(tmp_path):
    arrays = {"a": np.arange(6.0).reshape(2, 3), "b": np.asfortranarray(np.arange(6).reshape(2, 3)), "c": np.float32(3)}
    arrays |= {"d": np.empty((0, 4)), "e": np.array(["x", "äö"])}
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "a.npz", **arrays)
        read = read_npz(tmp_path / "a.npz")
        assert list(read) == list(arrays)
        for name, array in arrays.items():
            assert read[name].dtype == np.asarray(array).dtype and np.array_equal(read[name], array)


def test_a_flipped_bit_in_an_archive_of_labels_is_found_by_its_crc(tmp_path):
    folder = make_labelled(tmp_path / "a")
    data = bytearray((folder / "labels.npz").read_bytes())
    data[len(data) // 2] ^= 1
    (folder / "labels.npz").write_bytes(data)
    with pytest.raises(DamagedFile, match="Bad CRC-32"):
        find_videos([folder])
