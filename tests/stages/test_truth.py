"""extract on videos whose hands are known: the truth beside them becomes labels, whoever found the hands."""

import numpy as np
import pytest
from footage import make_boxes, make_video, run_stage
from making import record

from handtool import store
from handtool.config import ExtractConfig
from handtool.errors import DamagedFile, HandtoolError, WrongCommand
from handtool.hands.boxes import box_of_points
from handtool.hands.camera import project
from handtool.stages.extract import extract
from handtool.store import CROPS, LABELS, LEFT, RIGHT, TRUTH, VIDEOS

CAMERA = np.array([[120.0, 0, 47.5], [0, 120.0, 31.5], [0, 0, 1]])
FRAMES, SIZE = 12, (96, 64)


def make_world(folder, size=SIZE, name="a.mp4"):
    """A video of two hands a frame, and its truth. Returns joints (frames, 2, 21, 3) and boxes (frames, 2, 4)."""
    folder.mkdir()
    make_video(folder / name, frames=FRAMES, fps=12, size=SIZE)
    rng = np.random.default_rng(7)
    joints = rng.uniform(-0.04, 0.04, (FRAMES, 2, 21, 3)) + np.array([[-0.14, 0, 0.6], [0.14, 0, 0.6]])[:, None]
    joints[..., 0] += np.linspace(-0.03, 0.03, FRAMES)[:, None, None]
    boxes = box_of_points(project(joints, CAMERA))
    made = record("handtool synth")
    with store.create_file(folder / "truth.h5", made) as sink:
        videos = {
            "name": ["synth-0000"],
            "path": ["a.mp4"],
            "subject": ["ann"],
            "place": ["kitchen"],
            "status": ["ok"],
            "ordinal": [0],
            "fps": [12],
            "width": [size[0]],
            "height": [size[1]],
            "frames_decoded": [FRAMES],
            "frames_failed": [0],
        }
        store.write_table(sink, VIDEOS, videos)
        count = 2 * FRAMES
        truth = {
            "video": np.zeros(count),
            "frame": np.repeat(np.arange(FRAMES), 2),
            "time": np.repeat(np.arange(FRAMES), 2) / 12,
            "side": np.tile([LEFT, RIGHT], FRAMES),
            "track": np.tile([0, 1], FRAMES),
            "box": boxes.reshape(-1, 4),
            "joints": joints.reshape(-1, 21, 3),
            "keypoints": project(joints, CAMERA).reshape(-1, 21, 2),
            "visible": rng.random((count, 21)) < 0.8,
            "camera": np.tile(CAMERA, (count, 1, 1)),
        }
        store.write_table(sink, TRUTH, truth)
        sink.finish({})
    return joints, boxes


def boxes_of(path, boxes, **more):
    """boxes: frame -> (n, 4) by edges."""
    return make_boxes(
        path,
        {f"a.mp4#{n}": [[x0, y0, x1 - x0, y1 - y0] for x0, y0, x1, y1 in of_it] for n, of_it in boxes.items()},
        **more,
    )


def extract_all(folder, output, boxes):
    report = run_stage(extract, [folder], output, ExtractConfig(every=1, workers=1), boxes=boxes)
    with store.open_file(output) as file:
        columns = {
            c.path: store.read_column(file, c) for t in (VIDEOS, CROPS, LABELS) for c in t.columns if file.has(c)
        }
    return report, columns


def test_known_boxes_become_labelled_crops_with_the_exact_camera(tmp_path):
    joints, boxes = make_world(tmp_path / "w")
    report, columns = extract_all(
        tmp_path / "w", tmp_path / "c.h5", boxes_of(tmp_path / "w" / "boxes.json", dict(enumerate(boxes)))
    )
    assert report["truth"] == {"labelled": 24, "side corrected": 24} and "files_left_out" not in report
    assert columns["videos/subject"].tolist() == ["ann"] and columns["videos/place"].tolist() == ["kitchen"]
    assert columns["crops/side"].tolist() == [LEFT, RIGHT] * FRAMES
    assert np.allclose(columns["labels/joints"], joints.reshape(-1, 21, 3), atol=1e-6) and columns["labels/valid"].all()
    assert (
        np.abs(project(joints.reshape(-1, 21, 3), columns["crops/camera"]) - columns["labels/keypoints"]).max() < 1e-3
    )
    inside = columns["crops/crop_from_frame"]
    in_frame = project(joints.reshape(-1, 21, 3), CAMERA)
    assert (
        np.abs(in_frame @ inside[:, :, :2].swapaxes(1, 2) + inside[:, None, :, 2] - columns["labels/keypoints"]).max()
        < 1e-3
    )
    assert not columns["labels/visible"].all() and columns["labels/sample_key"][3] == "synth-0000/000001/1"


def test_a_detector_that_errs_a_little_still_meets_the_right_hand_and_all_is_counted(tmp_path):
    joints, boxes = make_world(tmp_path / "w")
    rng = np.random.default_rng(1)
    found = {n: (boxes[n] + rng.normal(0, 1, (2, 4)))[::-1] for n in range(FRAMES)}  # in another order
    found[3] = found[3][:1]  # one hand missed
    found[5] = np.array([[40.0, 2, 52, 12]])  # only something else seen
    report, columns = extract_all(tmp_path / "w", tmp_path / "c.h5", boxes_of(tmp_path / "b.json", found, side="left"))
    assert report["truth"] == {"labelled": 21, "not in the truth": 1, "known but not found": 3, "side corrected": 11}
    known = columns["labels/valid"].all(1)
    assert (
        known.sum() == 21
        and np.isnan(columns["labels/joints"][~known]).all()
        and not columns["labels/valid"][~known].any()
    )
    hand = (columns["crops/side"] == RIGHT).astype(int)
    expected = joints[columns["crops/frame"], hand]
    assert np.allclose(columns["labels/joints"][known], expected[known], atol=1e-6)
    assert np.isfinite(columns["crops/camera"]).all(), "the camera is known on every frame of the video"


def test_a_video_that_the_truth_does_not_know_stays_unlabelled(tmp_path):
    _, boxes = make_world(tmp_path / "w", name="b.mp4")
    made = make_boxes(tmp_path / "b.json", {"b.mp4#0": [[10, 10, 30, 30]]})
    report, columns = extract_all(tmp_path / "w", tmp_path / "c.h5", made)
    assert "truth" not in report and "labels/joints" not in columns and np.isnan(columns["crops/camera"]).all()


def test_a_truth_of_other_pictures_another_camera_or_another_kind_of_file_is_refused(tmp_path):
    _, boxes = make_world(tmp_path / "w", size=(192, 128))
    known = boxes_of(tmp_path / "b.json", dict(enumerate(boxes)))
    with pytest.raises(HandtoolError, match="96x64 px, the truth beside it was made for 192x128"):
        extract_all(tmp_path / "w", tmp_path / "c.h5", known)
    with pytest.raises(WrongCommand, match="knows the camera"):
        run_stage(
            extract,
            [tmp_path / "w"],
            tmp_path / "d.h5",
            ExtractConfig(workers=1, camera="120,120,47.5,31.5"),
            boxes=known,
        )
    (tmp_path / "w" / "truth.h5").write_bytes(b"not ours")
    with pytest.raises(DamagedFile):
        extract_all(tmp_path / "w", tmp_path / "e.h5", known)
