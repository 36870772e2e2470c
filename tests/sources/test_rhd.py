"""RHD in its official layout: two hands in every label, one of them in the picture, hidden joints, one large pickle."""

import os
import pickle

import cv2
import numpy as np
import pytest
from footage import run_stage, tables_of, write_image

from handtool.config import ExtractConfig
from handtool.errors import DamagedFile, HandtoolError, WrongCommand
from handtool.hands.skeleton import JOINTS, LEFT, RIGHT
from handtool.sources.find import find_videos
from handtool.sources.frame import Choice, Sampling, Tally
from handtool.sources.read import read_frames
from handtool.stages.extract import extract
from handtool.store import CROPS, LABELS

ORDER = ["wrist"] + [
    name for finger in range(5) for name in JOINTS[1 + 4 * finger : 5 + 4 * finger][::-1]
]  # each finger from its tip
CAMERA = [[282.9, 0.0, 160.0], [0.0, 283.4, 159.0], [0.0, 0.0, 1.0]]


def project(joints):
    (fx, _, cx), (_, fy, cy), _ = CAMERA
    return np.array([(fx * x / z + cx, fy * y / z + cy) for x, y, z in joints])


def make_rhd(root, count=5, protocol=2):
    """Odd images show more of the left hand. Returns {split: [(left, right) (21, 3) m in our order]} and who is
    seen."""
    rng, truth = np.random.default_rng(2), {}
    for split in ("training", "evaluation"):
        content, truth[split] = {}, []
        for number in range(count):
            hands = [rng.uniform(-0.05, 0.05, (21, 3)) + (shift, 0, 0.5) for shift in (0.1, -0.1)]
            seen = rng.integers(0, 2, 42)
            theirs = np.concatenate([[dict(zip(JOINTS, hand, strict=True))[name] for name in ORDER] for hand in hands])
            content[number] = {"xyz": theirs, "uv_vis": np.column_stack([project(theirs), seen]), "K": np.array(CAMERA)}
            picture, mask = np.full((320, 320, 3), 40, np.uint8), np.zeros((320, 320), np.uint8)
            for side, (hand, value) in enumerate(zip(hands, (5, 30), strict=True)):
                radius = 4 if (number % 2 == 0) == (side == 1) else 2
                for x, y in np.round(project(hand)).astype(int).tolist():
                    cv2.circle(picture, (x, y), radius, (210, 160, 130), -1)
                    cv2.circle(mask, (x, y), radius, value, -1)
            write_image(root / split / "color" / f"{number:05d}.png", picture)
            write_image(root / split / "mask" / f"{number:05d}.png", mask)
            truth[split].append((hands, seen))
        (root / split / f"anno_{split}.pickle").write_bytes(pickle.dumps(content, protocol))
    return truth


def read_set(root, split="training", **choice):
    tally = Tally()
    (video,) = find_videos([root], choice=Choice(split=split, **choice)).videos
    return video, tally, list(read_frames(video, Sampling(), tally))


@pytest.mark.parametrize("split, protocol", [("training", 2), ("evaluation", 0)])
def test_the_hand_that_covers_more_of_the_mask_comes_in_our_order(tmp_path, split, protocol):
    truth = make_rhd(tmp_path / "RHD", protocol=protocol)[split]
    video, tally, frames = read_set(tmp_path / "RHD", split)
    assert video.name == f"RHD/{split}" and tally.status == "ok" and len(frames) == 5
    for number, frame in enumerate(frames):
        (hand,), (hands, seen) = frame.hands, truth[number]
        side = LEFT if number % 2 else RIGHT
        assert (hand.side, hand.sample_id, hand.sample_key) == (side, number, f"{split}/color/{number:05d}.png")
        joints = hands[0 if side == LEFT else 1]
        assert (
            np.allclose(hand.joints, joints, atol=1e-7)
            and np.allclose(hand.keypoints, project(joints))
            and hand.valid.all()
        )
        half = seen[:21] if side == LEFT else seen[21:]
        assert hand.visible.tolist() == [bool(half[ORDER.index(name)]) for name in JOINTS]
        assert np.allclose(hand.box, [*hand.keypoints.min(axis=0), *(hand.keypoints.max(axis=0) + 1)])
        assert (frame.image[tuple(np.round(hand.keypoints).astype(int).T[::-1])][:, 0] > 120).all(), (
            "the hand is drawn where its keypoints are"
        )


def test_the_set_is_extracted_with_its_losses_counted(tmp_path):
    root = tmp_path / "RHD"
    make_rhd(root)
    (root / "training" / "color" / "00001.png").unlink()
    (root / "training" / "mask" / "00002.png").unlink()
    (root / "training" / "mask" / "00003.png").write_bytes(b"")
    report = run_stage(extract, [root], tmp_path / "r.h5", ExtractConfig(workers=1, split="train", size=64))
    _, frames, hands = report["accounting"]
    assert (
        hands["done"] == 2
        and report["box_scale"] == 1.75
        and frames["failed"]
        == {
            "images not readable (No such file or directory)": 1,
            "masks not readable (No such file or directory)": 1,
            "masks that cannot be decoded": 1,
        }
    )
    tables = tables_of(tmp_path / "r.h5", CROPS, LABELS)
    assert tables["labels/sample_id"].tolist() == [0, 4] and tables["labels/visible"].shape == (2, 21)


class Hostile:
    def __reduce__(self):
        return os.system, ("touch hostile",)


def test_what_is_missing_or_of_another_version_is_named(tmp_path):
    root = tmp_path / "RHD"
    make_rhd(root, count=1)
    path = root / "training" / "anno_training.pickle"
    good = path.read_bytes()
    for content, error, message in [
        (pickle.dumps([1, 2]), HandtoolError, "holds list, looked for a dictionary of images"),
        (
            pickle.dumps({0: {"xyz": np.zeros((21, 3))}}),
            HandtoolError,
            r"not as it should be: xyz of shape \(21, 3\); looked for",
        ),
        (pickle.dumps({0: {"xyz": np.zeros((42, 3))}}), HandtoolError, "not as it should be: no 'uv_vis'"),
        (
            pickle.dumps({"a": {name: np.zeros((42, 3)) for name in ("xyz", "uv_vis")}}),
            HandtoolError,
            "not as it should be",
        ),
        (pickle.dumps({0: Hostile()}), DamagedFile, "asks for posix.system"),
        (good[:-40], HandtoolError, "it is cut short"),
    ]:
        path.write_bytes(content)
        with pytest.raises(error, match=message):
            read_set(root)
    path.write_bytes(good)
    for message, choice in [
        ("no split 'val'", dict(split="val")),
        ("evaluation, which are not to be mixed", dict(split=None)),
        ("nothing to choose by", dict(subset=("left",))),
    ]:
        with pytest.raises(WrongCommand, match=message):
            read_set(root, **choice)
    (root / "training" / "mask").rename(root / "training" / "masks")
    with pytest.raises(
        HandtoolError,
        match=r"mask does not exist: looked for anno_training.pickle, color/ and mask/, "
        "found in .*training: anno_training",
    ):
        read_set(root)
    (tmp_path / "empty").mkdir()
    with pytest.raises(HandtoolError, match="looked for training/ and evaluation/ of RHD, found in .*empty: nothing"):
        read_set(tmp_path / "empty", split=None, dataset="rhd")
