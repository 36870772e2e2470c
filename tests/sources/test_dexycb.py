"""DexYCB in its official layout: ten subjects, a hundred sequences each, eight cameras, left hands, pictures without
a hand."""

import shutil

import cv2
import numpy as np
import pytest
from footage import run_stage, tables_of, write_image

from handtool.config import ExtractConfig
from handtool.errors import HandtoolError, WrongCommand
from handtool.hands.skeleton import BONES, LEFT, RIGHT
from handtool.sources.find import find_videos
from handtool.sources.frame import Choice, Sampling, Tally
from handtool.sources.read import read_frames
from handtool.sources.reopen import find_again
from handtool.sources.sets.dexycb import SERIALS, SUBJECTS
from handtool.stages.extract import extract
from handtool.store import CROPS, LABELS, VIDEOS

pytest.importorskip("yaml", reason="needs the extra `datasets`")

CAMERAS = {
    serial: (600.0 + 3 * i, 601.0 + 2 * i, 310.0 + i, 240.0 - i) for i, serial in enumerate(SERIALS)
}  # fx, fy, ppx, ppy


def sequence_name(subject, number):
    return f"2020{7 + subject // 3:02d}{subject + 9:02d}_{140000 + 7 * number:06d}"


def make_sequence(folder, side, frames):
    lines = [
        "extrinsics: '20200702_151821'",
        "mano_calib:",
        f"- 20200709-subject-01_{side}",
        "mano_sides:",
        f"- {side}",
        f"num_frames: {frames}",
    ]
    folder.mkdir(parents=True)
    lines += ["serials:", *(f"- '{serial}'" for serial in SERIALS), "ycb_grasp_ind: 0", "ycb_ids:", "- 2", ""]
    (folder / "meta.yml").write_text("\n".join(lines))


def make_root(root, subjects=range(10), seed=5):
    """All that is no picture. Returns {(subject, sequence): (side, frames)}."""
    rng, made = np.random.default_rng(seed), {}
    for subject in subjects:
        for number in range(100):
            side, frames = ("left", "right")[rng.integers(2)], int(rng.integers(1, 4))
            make_sequence(root / SUBJECTS[subject] / sequence_name(subject, number), side, frames)
            made[subject, number] = side, frames
    folder = root / "calibration" / "intrinsics"
    folder.mkdir(parents=True)
    for serial, (fx, fy, x, y) in CAMERAS.items():
        numbers = f"  fx: {fx}\n  fy: {fy}\n  ppx: {x}\n  ppy: {y}\n"
        (folder / f"{serial}_640x480.yml").write_text(f"color:\n{numbers}depth:\n{numbers}")
    return made


def make_pictures(root, subject, number, frames, without_hand=()):
    """Of one sequence: a hand drawn where an independent projection puts it. Returns {(camera, frame): (21, 3) m}."""
    rng, truth = np.random.default_rng(1000 * subject + number), {}
    for camera, serial in enumerate(SERIALS):
        folder = root / SUBJECTS[subject] / sequence_name(subject, number) / serial
        for frame in range(frames):
            joints = rng.uniform(-0.04, 0.04, (21, 3)) + (0.05 * rng.normal(), 0, 0.8)
            fx, fy, x, y = CAMERAS[serial]
            points = np.stack([fx * joints[:, 0] / joints[:, 2] + x, fy * joints[:, 1] / joints[:, 2] + y], axis=1)
            picture = np.full((480, 640, 3), 40, np.uint8)
            if (camera, frame) in without_hand:
                joints, points = np.full((21, 3), -1.0), np.full((21, 2), -1.0)
            else:
                truth[camera, frame] = joints
                for a, b in BONES:
                    cv2.line(picture, *(tuple(map(int, np.round(points[end]))) for end in (a, b)), (210, 160, 130), 3)
            write_image(folder / f"color_{frame:06d}.jpg", picture)
            np.savez(
                folder / f"labels_{frame:06d}.npz",
                seg=np.zeros((4, 4), np.uint8),
                pose_y=np.zeros((2, 3, 4), np.float32),
                pose_m=np.zeros((1, 51), np.float32),
                joint_3d=joints[None].astype(np.float32),
                joint_2d=points[None].astype(np.float32),
            )
    return truth


def part_of(setup, subject, sequence, camera):
    """Which part an image is in, from 0."""
    match setup:
        case "s0":
            return "train" if sequence % 5 != 4 else "val" if subject < 2 else "test"
        case "s1":
            return {6: "val", 7: "test", 8: "test"}.get(subject, "train")
        case "s2":
            return {6: "val", 7: "test"}.get(camera, "train")
        case "s3":
            return {3: "val", 19: "val", 7: "test", 11: "test", 15: "test"}.get(sequence // 5, "train")
    return ""


def count_samples(made, split):
    """{(subject, sequence, camera, frame): number}: subjects, sequences, cameras, frames, the frame running fastest."""
    setup, _, part = split.partition("_")
    order = [
        (s, q, c, f)
        for (s, q), (_, frames) in made.items()
        for c in range(8)
        if part_of(setup, s, q, c) == part
        for f in range(frames)
    ]
    return {sample: number for number, sample in enumerate(order)}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The whole set, with pictures of three sequences of s0_val. Returns root, {(subject, sequence): (side,
    frames)}, and their truth."""
    root = tmp_path_factory.mktemp("sets") / "DexYCB"
    made, truth = make_root(root), {}
    for subject, number, gaps in ((0, 4, ((0, 0), (3, 0))), (1, 9, ()), (1, 94, ((7, 0),))):
        truth[subject, number] = make_pictures(root, subject, number, made[subject, number][1], gaps)
    return root, made, truth


def find(root, split, subset=(), cameras=(), dataset=None):
    return find_videos([root], choice=Choice(dataset, split, subset, cameras)).videos


@pytest.mark.parametrize("split", ["s0_val", "s2_val", "s2_test", "s3_train"])
def test_a_hand_has_the_numbers_sides_and_joints_of_the_set(whole, split):
    root, made, truth = whole
    numbers, seen = count_samples(made, split), 0
    for (subject, number), hands in truth.items():
        name = f"DexYCB/{SUBJECTS[subject]}/{sequence_name(subject, number)}"
        side, frames = made[subject, number]
        if not (videos := [video for video in find(root, split) if video.name == name]):
            assert (subject, number, 0, 0) not in numbers
            continue
        tally = Tally()
        for frame in read_frames(videos[0], Sampling(), tally):
            camera, place = divmod(frame.number, frames)
            assert videos[0].subject == SUBJECTS[subject] and frame.name.endswith(
                f"{SERIALS[camera]}/color_{place:06d}.jpg"
            )
            if (camera, place) not in hands:
                assert frame.hands == ()
                continue
            (hand,), joints, (fx, fy, x, y) = frame.hands, hands[camera, place], CAMERAS[SERIALS[camera]]
            assert hand.sample_id == numbers[subject, number, camera, place] and hand.sample_key == frame.name
            assert hand.side == {"left": LEFT, "right": RIGHT}[side] and hand.valid.all() and hand.keypoints_valid.all()
            assert np.allclose(hand.joints, joints, atol=1e-7) and hand.camera.tolist() == [
                [fx, 0, x],
                [0, fy, y],
                [0, 0, 1],
            ]
            projected = [(fx * a / c + x, fy * b / c + y) for a, b, c in joints]
            assert np.allclose(hand.keypoints, projected, atol=1e-3)
            low, high = np.min(projected, axis=0), np.max(projected, axis=0) + 1
            assert np.allclose(hand.box, [*low, *high], atol=1e-3)
            red = frame.image[tuple(np.round(hand.keypoints).astype(int).T[::-1])]
            assert (red[:, 0] > 120).all(), "the hand is drawn where its keypoints are"
            seen += 1
        assert tally.status == "ok" and tally.decoded == len(videos[0].rows)
    assert seen


def test_splits_have_the_official_numbers_of_sequences_and_share_no_image(whole):
    root, made, _ = whole
    counts = [
        tuple(len(find(root, f"{setup}_{part}")) for part in ("train", "val", "test"))
        for setup in ("s0", "s1", "s2", "s3")
    ]
    assert counts == [(800, 40, 160), (700, 100, 200), (1000, 1000, 1000), (750, 100, 150)]
    everything = set(count_samples(made, "all"))
    for setup in ("s0", "s1", "s2", "s3"):
        parts = [set(count_samples(made, f"{setup}_{part}")) for part in ("train", "val", "test")]
        assert sum(map(len, parts)) == len(everything) and set.union(*parts) == everything
    for split in ("s0_train", "s2_val", "s3_test", "all"):
        rows = [row for video in find(root, split) for row in video.rows]
        assert rows == list(range(len(count_samples(made, split))))


def test_a_subset_keeps_the_numbers_of_the_whole_split(whole):
    root, made, _ = whole
    numbers = count_samples(made, "s0_val")
    for subset, cameras, holds in [
        ((), (SERIALS[5], SERIALS[2]), lambda s, q, c, f: c in (2, 5)),
        (("subject-02",), (), lambda s, q, c, f: s == 1),
        (("left",), (), lambda s, q, c, f: made[s, q][0] == "left"),
        (("right", SUBJECTS[0]), (SERIALS[7],), lambda s, q, c, f: (made[s, q][0], s, c) == ("right", 0, 7)),
    ]:
        rows = [row for video in find(root, "s0_val", subset, cameras) for row in video.rows]
        assert rows == [number for sample, number in numbers.items() if holds(*sample)] and rows


def test_the_set_is_extracted_with_its_losses_counted(whole, tmp_path):
    root, made, truth = whole
    report = run_stage(extract, [root], tmp_path / "val.h5", ExtractConfig(workers=1, split="s0_val", size=64))
    hands, pictures = sum(map(len, truth.values())), sum(8 * made[which][1] for which in truth)
    videos, frames, kept = report["accounting"]
    assert kept["done"] == hands and frames["done"] == hands and videos["done"] == 3
    assert frames["skipped"]["no hand found"] == pictures - hands
    assert frames["failed"] == {
        "images not readable (No such file or directory)": len(count_samples(made, "s0_val")) - pictures
    }
    tables = tables_of(tmp_path / "val.h5", CROPS, LABELS, VIDEOS)
    numbers = count_samples(made, "s0_val")
    assert tables["labels/sample_id"].tolist() == [numbers[s, q, c, f] for (s, q) in truth for c, f in truth[s, q]]
    assert np.unique(tables["crops/video"]).size == 3 and set(tables["videos/subject"]) == {SUBJECTS[0], SUBJECTS[1]}


def test_a_video_is_found_again_with_the_same_numbers_whatever_the_split(whole, tmp_path):
    root, made, _ = whole
    (video,) = (video for video in find(root, "s2_test", ("subject-02",)) if video.name.endswith(sequence_name(1, 9)))
    again = find_again(video.name, str(root), [], [])
    assert again.name == video.name
    numbers = {frame.name: frame.number for frame in read_frames(again, Sampling(), Tally())}
    for frame in read_frames(video, Sampling(), Tally()):
        assert numbers[frame.name] == frame.number
    make_root(tmp_path / "one", subjects=(6,))  # of one subject alone, too
    assert find_again(f"one/{SUBJECTS[6]}/{sequence_name(6, 3)}", str(tmp_path / "one"), [], []).subject == SUBJECTS[6]


def spoil_sequences(root):
    shutil.rmtree(root / SUBJECTS[6] / sequence_name(6, 50))


def spoil_meta(root):
    (root / SUBJECTS[6] / sequence_name(6, 50) / "meta.yml").unlink()


def spoil_count(root):
    path = root / SUBJECTS[6] / sequence_name(6, 50) / "meta.yml"
    path.write_text(path.read_text().replace("num_frames: ", "num_frames: many"))


def spoil_serials(root):
    path = root / SUBJECTS[6] / sequence_name(6, 50) / "meta.yml"
    path.write_text(path.read_text().replace(SERIALS[3], "841412060264"))


def spoil_yaml(root):
    (root / SUBJECTS[6] / sequence_name(6, 50) / "meta.yml").write_text("!!python/object/apply:os.system ['true']")


def spoil_camera(root):
    (root / "calibration" / "intrinsics" / f"{SERIALS[4]}_640x480.yml").unlink()


def spoil_focal(root):
    (root / "calibration" / "intrinsics" / f"{SERIALS[4]}_640x480.yml").write_text(
        "color: {fx: 600.0, fy: 600.0, ppx: 320.0}\n"
    )


@pytest.mark.parametrize(
    "spoil, message",
    [
        (spoil_sequences, r"subject-07 has 99 sequences, looked for 100"),
        (spoil_meta, r"meta.yml cannot be read \(No such file or directory\); beside it: nothing"),
        (spoil_count, r"num_frames 'many\d'"),
        (spoil_serials, r"has the cameras .*841412060264.*, looked for 836212060125"),
        (spoil_yaml, r"meta.yml is no YAML: could not determine a constructor"),
        (
            spoil_camera,
            rf"{SERIALS[4]}_640x480.yml cannot be read \(No such file or directory\); beside it: {SERIALS[0]}",
        ),
        (spoil_focal, r"looked for fx, fy, ppx and ppy"),
    ],
)
def test_what_is_missing_is_named(tmp_path, spoil, message):
    make_root(tmp_path / "d", subjects=(6,))
    assert len(find(tmp_path / "d", "s1_val")) == 100
    shutil.copytree(tmp_path / "d", tmp_path / "e")  # another path: what was read once is remembered
    spoil(tmp_path / "e")
    with pytest.raises(HandtoolError, match=message):
        find(tmp_path / "e", "s1_val")


def test_a_wrong_root_and_wrong_names_are_told(whole, tmp_path, handtool):
    root, _, _ = whole
    make_root(tmp_path / "one", subjects=(6,))
    with pytest.raises(
        HandtoolError, match=r"lacks 10 of the 10 subjects of DexYCB .*, the first 20200709-subject-01; found 2020"
    ):
        find(root / SUBJECTS[0], None, dataset="dexycb")
    with pytest.raises(HandtoolError, match=r"lacks 9 of the 10 subjects of DexYCB \(s0_train\)"):
        find(tmp_path / "one", "s0_train")
    for split, subset, cameras, message in [
        ("train", (), (), "no split 'train'"),
        ("s0_val", ("gs",), (), "no 'gs' among what --subset chooses"),
        ("s0_val", (), ("8",), "no '8' among what --cameras chooses"),
        ("s2_val", (), (SERIALS[0],), f"s2_val has no image of {SERIALS[0]}"),
        ("s0_val", ("subject-05",), (), "s0_val has no image of subject-05"),
    ]:
        with pytest.raises(WrongCommand, match=message):
            find(root, split, subset, cameras)
    done = handtool("extract", root, "-o", "x.h5")
    assert done.returncode == 2 and "which split?" in done.stderr and "s0_train | s0_val" in done.stderr


def test_labels_that_cannot_be_read_are_counted(tmp_path):
    made = make_root(tmp_path / "d", subjects=(6,))
    make_pictures(tmp_path / "d", 6, 0, made[6, 0][1])
    folder = tmp_path / "d" / SUBJECTS[6] / sequence_name(6, 0)
    (folder / SERIALS[0] / "labels_000000.npz").unlink()
    (folder / SERIALS[1] / "labels_000000.npz").write_bytes(b"PK\x03\x04 cut")
    np.savez(folder / SERIALS[2] / "labels_000000.npz", joint_3d=np.zeros((1, 21, 3)))
    np.savez(
        folder / SERIALS[3] / "labels_000000.npz", joint_3d=np.array([None]), joint_2d=np.array([None])
    )  # pickled: not read
    np.savez(folder / SERIALS[4] / "labels_000000.npz", joint_3d=np.zeros((1, 20, 3)), joint_2d=np.zeros((1, 20, 2)))
    (folder / SERIALS[5] / "color_000000.jpg").unlink()
    tally, frames = Tally(), made[6, 0][1]
    assert len(list(read_frames(find(tmp_path / "d", "s1_val")[0], Sampling(), tally))) == 8 * frames - 6
    assert tally.failed == {
        "labels not readable (No such file or directory)": 1,
        "labels that are damaged": 3,
        "labels without joint_3d and joint_2d": 1,
        "images not readable (No such file or directory)": 1,
    }
