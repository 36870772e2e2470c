"""Films taken through a fisheye lens: crops with cameras of their own, and everything that reads them; cameras that are
found beside the videos."""

import io
import json
import tarfile
from dataclasses import replace

import numpy as np
import pytest
from footage import make_boxes, make_labelled, make_video, run_stage
from making import make_file, record

import handtool
from handtool import store
from handtool.config import ExtractConfig, OverlayConfig, PredictByEstimatorConfig, PredictConfig
from handtool.errors import DamagedFile, HandtoolError
from handtool.hands.boxes import box_of_points
from handtool.hands.camera import project as project_pinhole
from handtool.hands.crop_maps import CropMaps
from handtool.hands.hand_size import ADULT_MM
from handtool.hands.lens import make_lens, project
from handtool.hands.skeleton import BONES
from handtool.stages.extract import extract
from handtool.store import CROPS, LABELS, LEFT, PREDICTIONS, RIGHT, TRUTH, VIDEOS

FRAMES, SIZE = 6, (128, 96)
FLAT = {"model": "fisheye", "image_width": 128, "image_height": 96, "fx": 38.0, "fy": 38.5, "cx": 63.1, "cy": 47.9}
FLAT |= {"k1": 0.01, "k2": -0.02, "k3": 0.003, "k4": 0.0}
LENS = make_lens("fisheye", np.array([[38.0, 0, 63.1], [0, 38.5, 47.9], [0, 0, 1]]), [0.01, -0.02, 0.003, 0.0])
ONE = {"workers": 1, "size": 64}


def draw_hand(rng):
    """(21, 3) m about its wrist, with an adult's bones."""
    hand = np.zeros((21, 3))
    for (parent, child), length in zip(BONES, ADULT_MM / 1000, strict=True):
        step = rng.normal(size=3) + [0, -2, 0]
        hand[child] = hand[parent] + length * step / np.linalg.norm(step)
    return hand


def make_joints():
    """(FRAMES, 2, 21, 3): a left hand comes in from beyond a right angle to the axis, a right one is before it."""
    rng = np.random.default_rng(5)
    hands, angle = [draw_hand(rng), draw_hand(rng)], np.linspace(-1.62, -0.9, FRAMES)
    left = 0.45 * np.stack([np.sin(angle), 0.1 + 0 * angle, np.cos(angle)], axis=1)
    right = np.stack([np.linspace(0.1, 0.2, FRAMES), np.full(FRAMES, 0.1), np.full(FRAMES, 0.5)], axis=1)
    return np.stack([left[:, None] + hands[0], right[:, None] + hands[1]], axis=1)


def write_truth(folder, joints):
    count = 2 * FRAMES
    seen = project(LENS, joints)
    about = {"name": ["s"], "path": ["a.mp4"], "subject": ["ann"], "place": ["den"], "status": ["ok"], "ordinal": [0]}
    about |= {"fps": [12], "width": [SIZE[0]], "height": [SIZE[1]], "frames_decoded": [FRAMES], "frames_failed": [0]}
    truth = {
        "video": np.zeros(count),
        "frame": np.repeat(np.arange(FRAMES), 2),
        "time": np.repeat(np.arange(FRAMES), 2) / 12,
        "side": np.tile([LEFT, RIGHT], FRAMES),
        "track": np.tile([0, 1], FRAMES),
        "box": box_of_points(seen).reshape(-1, 4),
        "joints": joints.reshape(-1, 21, 3),
        "keypoints": seen.reshape(-1, 21, 2),
        "visible": np.ones((count, 21), bool),
        "camera": np.tile(LENS.camera, (count, 1, 1)),
    }
    with store.create_file(folder / "truth.h5", record("handtool synth")) as sink:
        store.write_table(sink, VIDEOS, about)
        store.write_table(sink, TRUTH, truth)
        sink.finish({})
    boxes = box_of_points(seen)
    sides = {f"a.mp4#{n}": [[x0, y0, x1 - x0, y1 - y0] for x0, y0, x1, y1 in boxes[n]] for n in range(FRAMES)}
    return make_boxes(folder / "boxes.json", sides)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """crops.h5 of a labelled fisheye film of two hands, the truth, and the report."""
    folder, joints = tmp_path_factory.mktemp("world") / "w", make_joints()
    folder.mkdir()
    make_video(folder / "a.mp4", frames=FRAMES, fps=12, size=SIZE)
    (folder / "intrinsics.json").write_text(json.dumps(FLAT))
    boxes, out = write_truth(folder, joints), folder.parent / "crops.h5"
    report = run_stage(extract, [folder], out, ExtractConfig(every=1, **ONE), boxes=boxes)
    return out, joints.reshape(-1, 21, 3), report


@pytest.fixture
def crops(world):
    with store.open_file(world[0]) as file:
        yield file


def maps_of(file):
    return CropMaps(**store.read_geometry(file))


def test_labels_reach_the_crop_through_the_lens_and_their_joints_stay_in_the_frames_axes(world, crops):
    _, joints, report = world
    assert report["videos_by_camera"] == {"with intrinsics.json": 1} and report["camera_source"] == {"known": 12}
    assert report["truth"]["labelled"] == 12 and "files_left_out" not in report
    maps, keypoints = maps_of(crops), store.read_column(crops, LABELS.keypoints)
    known = store.read_column(crops, LABELS.keypoints_valid)
    assert known.all() and (joints[0, :, 2] < 0).any(), "beyond a right angle to the axis, and seen"
    assert store.read_column(crops, CROPS.lens_model).tolist() == [2] * 12
    np.testing.assert_allclose(store.read_column(crops, LABELS.joints), joints, atol=1e-7)
    np.testing.assert_allclose(project_pinhole(maps.joints_to_crop(joints), maps.camera), keypoints, atol=1e-3)
    np.testing.assert_allclose(maps.to_frame(keypoints), project(LENS, joints), atol=1e-3)
    np.testing.assert_allclose(maps.joints_to_frame(maps.joints_to_crop(joints)), joints, atol=1e-9)


def test_what_training_reads_is_in_the_axes_of_the_crops_camera(world, crops):
    from handtool.nn.files.data import read_labels

    labels, _ = read_labels(crops)
    seen = project_pinhole(labels.joints.numpy(), labels.camera.numpy())
    np.testing.assert_allclose(seen, labels.keypoints.numpy(), atol=1e-3)
    item = handtool.HandDataset(world[0])[1]
    np.testing.assert_allclose(project_pinhole(item["joints"], item["camera"]), item["keypoints"], atol=1e-2)


def test_an_estimate_is_placed_on_its_rays_in_the_frames_axes(world, crops):
    from handtool.stages.predict import columns_of_estimate, smooth

    _, joints, _ = world
    found = {"joints": joints - joints[:, :1], "xy": store.read_column(crops, LABELS.keypoints)}
    columns, _ = columns_of_estimate(crops, found | {"reason": np.full(12, "")})
    assert columns["absolute"].all()
    np.testing.assert_allclose(columns["joints"], joints, atol=1e-5)
    before = columns["keypoints"].copy()
    smooth(crops, columns, PredictByEstimatorConfig(smooth=True, min_cutoff=1e6))  # follows everything
    np.testing.assert_allclose(columns["keypoints"], before, atol=0.01)
    np.testing.assert_allclose(columns["joints"], joints, atol=1e-4)


def test_a_network_sees_the_crop_and_its_joints_come_back_to_the_frames_axes(world, crops, tmp_path, monkeypatch):
    """The network is an oracle that knows the joints as the camera of each crop sees them, R x, in bones."""
    from training import make_pose

    from handtool.nn.files import inference
    from handtool.nn.files.pose_weights import write_pose
    from handtool.stages.predict import predict

    _, joints, _ = world
    rotation, bone = store.read_column(crops, CROPS.rotation), store.read_column(crops, LABELS.scale)
    turned = np.einsum("nij,nkj->nki", rotation, joints) / bone[:, None, None]

    def oracle(model, images, side, camera, precision):
        rows = [int(np.abs(store.read_column(crops, CROPS.camera) - one).sum((1, 2)).argmin()) for one in camera]
        return turned[rows], store.read_column(crops, LABELS.keypoints)[rows]

    monkeypatch.setattr(inference, "predict_batch", oracle)
    with store.create_file(tmp_path / "pose.h5", record()) as sink:
        write_pose(sink, make_pose(), {})
        sink.finish({})
    with store.open_file(tmp_path / "pose.h5") as pose:
        with store.create_file(tmp_path / "p.h5", record(), [crops, pose]) as sink:
            sink.finish(predict(crops, sink, PredictConfig(device="cpu", workers=1), model=pose))
    with store.open_file(tmp_path / "p.h5") as file:
        np.testing.assert_allclose(store.read_column(file, PREDICTIONS.joints), joints, atol=1e-5)


def test_points_that_an_estimator_finds_in_3d_are_turned_to_the_frames_axes(world, crops):
    from handtool.stages.keypoints import EstimatorSettings, FoundKeypoints, put_part

    _, joints, _ = world
    rows = np.array([7, 2, 4])
    rotation = store.read_column(crops, CROPS.rotation)[rows]
    seen = np.einsum("nij,nkj->nki", rotation, joints[rows] - joints[rows, :1]).astype(np.float32)
    part = {"xy": np.zeros((3, 21, 2)), "score": np.ones((3, 21)), "joints": seen, "found": np.ones(3, bool)}
    hands = FoundKeypoints.none(12)
    put_part(hands, maps_of(crops), rows, part, EstimatorSettings("onnx", None, None))
    np.testing.assert_allclose(hands.joints[rows], joints[rows] - joints[rows, :1], atol=1e-6)


def test_exported_points_and_cameras_are_those_of_the_frame_as_it_was_taken(world, crops):
    from handtool.stages.export import read_values

    _, joints, _ = world
    rows = slice(3, 9)
    there = read_values(crops, LABELS.keypoints, "frame", rows)
    np.testing.assert_allclose(there, project(LENS, joints[rows]), atol=1e-3)
    np.testing.assert_allclose(read_values(crops, CROPS.camera, "frame", rows)[0], LENS.camera)
    in_crop = store.read_column(crops, LABELS.keypoints)[rows]
    np.testing.assert_array_equal(read_values(crops, LABELS.keypoints, "crop", rows), in_crop)


def test_a_film_with_its_hands_is_drawn_on_the_frames_as_they_were_taken(world, tmp_path):
    from handtool.sources.frame import Video
    from handtool.stages.overlay import overlay, read_scene

    out, joints, _ = world
    with store.open_file(out) as file, (tmp_path / "o.mp4").open("wb") as sink:
        footage = [Video("a", str(out.parent / "w" / "a.mp4"), "video")]
        report = overlay(file, sink, OverlayConfig(kind="labels"), footage=footage, note="")
        hand = read_scene(file, np.arange(12), "labels").in_frame(0)
    assert (report["from_frames"], report["from_crops"]) == (FRAMES, 0)
    np.testing.assert_allclose(hand.points, project(LENS, joints[0]), atol=1e-3)


def test_files_with_and_without_a_lens_are_joined(world, tmp_path):
    plain = make_file(tmp_path / "plain.h5", tables=("labels",))
    with store.open_file(plain) as file:
        assert store.read_geometry(file).keys() == {"crop_from_frame", "camera"}
    film, boxes = world[0].parent / "w" / "a.mp4", world[0].parent / "w" / "boxes.json"
    report = run_stage(extract, [film], tmp_path / "l.h5", ExtractConfig(**ONE), boxes=boxes)
    assert report["videos_by_camera"] == {"with intrinsics.json": 1}, "beside a file that is named itself"
    handtool.run("cat", [plain, tmp_path / "l.h5"], tmp_path / "all.h5")
    points, found = np.random.default_rng(0).uniform(5, 60, (11, 4, 2)), []
    for path in (tmp_path / "all.h5", plain, tmp_path / "l.h5"):
        with store.open_file(path) as file:
            found.append(maps_of(file))
    np.testing.assert_allclose(found[0].to_frame(points)[:9], found[1].to_frame(points[:9]))
    np.testing.assert_allclose(found[0].to_frame(points)[9:], found[2].to_frame(points[9:]))
    assert np.isnan(found[0].rotation[:9]).all() and found[0].lens_model.tolist() == [0] * 9 + [2] * 2


def make_tree(folder):
    """Six videos: two with a camera of their own each, one below a folder that has one, one whose file is no camera,
    one of another shape, and one without."""
    hands = {}
    for name, told in {
        "one/a.mp4": FLAT,
        "two/b.mp4": FLAT | {"fx": 60.0, "image_width": 64, "image_height": 48},
        "two/deep/c.mp4": None,
        "bad/d.mp4": {"fx": 1},
        "other/e.mp4": FLAT | {"image_height": 128},
        "none/f.mp4": None,
    }.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        make_video(path, frames=2, fps=2, size=SIZE)
        hands[f"{name}#0"] = [[40, 30, 30, 30]]
        if told:
            (path.parent / "intrinsics.json").write_text(json.dumps(told))
    return make_boxes(folder.parent / "boxes.json", hands)


def test_every_video_has_the_camera_that_lies_beside_it_or_above(tmp_path, caplog):
    boxes = make_tree(tmp_path / "t")
    (tmp_path / "intrinsics.json").write_text(json.dumps(FLAT))  # above what was named: not looked at
    report = run_stage(extract, [tmp_path / "t"], tmp_path / "c.h5", ExtractConfig(**ONE), boxes=boxes)
    assert report["videos_by_camera"] == {
        "with intrinsics.json": 3,
        "with one that cannot be read": 1,
        "with one of another picture shape, not used": 1,
        "without": 1,
    }
    assert report["camera_source"] == {"known": 3, "none": 3}
    assert report["notes"]["intrinsics of 64x48 px scaled to its 128x96"] == ["t/two/b.mp4", "t/two/deep/c.mp4"]
    assert "bad/intrinsics.json" in caplog.text
    with store.open_file(tmp_path / "c.h5") as file:
        names = [store.video_names(file)[video][-5] for video in store.read_column(file, CROPS.video)]
        focal = dict(zip(names, store.read_column(file, CROPS.lens)[:, 0].tolist(), strict=True))
    assert [focal[name] for name in "abc"] == [38, 120, 120] and all(np.isnan(focal[name]) for name in "def")


def test_a_camera_is_found_in_the_tar_of_a_film_or_beside_it(tmp_path):
    from handtool.extraction.cameras import give_cameras
    from handtool.sources.frame import Video

    (tmp_path / "worker").mkdir()
    beside = tmp_path / "worker" / "intrinsics.json"
    beside.write_text(json.dumps(FLAT | {"fx": 70.0}))
    inside = json.dumps(FLAT | {"fx": 80.0}).encode()
    for name, files in (("0.tar", {"a.mp4": b"x"}), ("1.tar", {"a.mp4": b"x", "intrinsics.json": inside})):
        with tarfile.open(tmp_path / "worker" / name, "w") as tar:
            for member, content in files.items():
                about = tarfile.TarInfo(member)
                about.size = len(content)
                tar.addfile(about, io.BytesIO(content))
    tars = [tmp_path / "worker" / f"{number}.tar" for number in (0, 1)]
    videos = [Video(f"{tar.name}/a.mp4", f"{tar}/a.mp4", "video") for tar in tars]
    for sources in ([tmp_path], tars):
        first, second = give_cameras(videos, sources, None, whole=False)
        assert (first.lens.numbers[0], first.lens_file) == (70, str(beside))
        assert (second.lens.numbers[0], second.lens_file) == (80, f"{tars[1]}/intrinsics.json")


def test_one_camera_is_named_for_all_videos_or_none(tmp_path):
    boxes, named = make_tree(tmp_path / "t"), tmp_path / "c.json"
    named.write_text(json.dumps(FLAT | {"fx": 50.0}))
    config = ExtractConfig(**ONE)
    report = run_stage(extract, [tmp_path / "t"], tmp_path / "c.h5", config, boxes=boxes, lens=named)
    assert "videos_by_camera" not in report
    run_stage(extract, [tmp_path / "t"], tmp_path / "n.h5", replace(config, camera="none"), boxes=boxes)
    with store.open_file(tmp_path / "c.h5") as file, store.open_file(tmp_path / "n.h5") as none:
        assert set(store.read_column(file, CROPS.lens)[:, 0]) == {50} and not none.has(CROPS.lens)


def test_a_camera_for_pictures_of_another_shape_that_the_user_names_is_refused(tmp_path):
    make_video(tmp_path / "a.mp4", frames=1, size=SIZE)
    boxes = make_boxes(tmp_path / "b.json", {"a.mp4#0": [[40, 30, 30, 30]]})
    (tmp_path / "c.json").write_text(json.dumps(FLAT | {"image_height": 128}))
    with pytest.raises(HandtoolError, match="of pictures of 128x128 px, here they have 128x96"):
        run_stage(
            extract,
            [tmp_path / "a.mp4"],
            tmp_path / "c.h5",
            ExtractConfig(**ONE),
            boxes=boxes,
            lens=tmp_path / "c.json",
        )


def test_a_labelled_set_of_ones_own_may_have_a_lens(tmp_path):
    joints = make_joints()[-2:, 1]
    folder = make_labelled(
        tmp_path / "set",
        count=2,
        size=96,
        joints_m=joints,
        K=LENS.camera,
        box=box_of_points(project(LENS, joints)),
        model=np.array(["fisheye"] * 2),
        distortion=LENS.numbers[4:8],
    )
    run_stage(extract, [folder], tmp_path / "c.h5", ExtractConfig(**ONE))
    with store.open_file(tmp_path / "c.h5") as file:
        maps, keypoints = maps_of(file), store.read_column(file, LABELS.keypoints)
        np.testing.assert_allclose(store.read_column(file, LABELS.joints), joints, atol=1e-6)
    np.testing.assert_allclose(project_pinhole(maps.joints_to_crop(joints), maps.camera), keypoints, atol=1e-3)
    np.testing.assert_allclose(maps.lens[0], LENS.numbers)


@pytest.mark.parametrize(
    "changes, told",
    [
        ({"model": np.array(["fisheye"] * 2)}, "model and distortion go together"),
        ({"model": np.array(["fisheye"] * 2), "distortion": np.zeros((2, 5))}, "with 5 numbers in row 0"),
        ({"model": np.array(["mirror"] * 2), "distortion": np.zeros(4)}, "model 'mirror'"),
        ({"model": np.array(["fisheye"] * 2), "distortion": np.full(4, np.nan)}, "no usable numbers"),
        ({"model": np.array(["fisheye"] * 2), "distortion": np.zeros((3, 4))}, r"shape \(3, 4\), expected"),
    ],
)
def test_a_lens_in_labels_that_is_none_is_refused(tmp_path, changes, told):
    with pytest.raises(DamagedFile, match=told):
        run_stage(extract, [make_labelled(tmp_path / "s", count=2, **changes)], tmp_path / "c.h5", ExtractConfig(**ONE))


def test_labels_that_the_lens_puts_elsewhere_are_marked(world):
    from handtool.sources.label_gate import LabelGate
    from handtool.sources.truth import make_known_video

    _, joints, _ = world
    with store.open_file(world[0].parent / "w" / "truth.h5") as truth:
        columns = {column.name: store.read_column(truth, column) for column in TRUTH.columns}
    known = make_known_video(
        columns | {"row": np.arange(12)}, {"name": "s", "subject": "", "place": "", "width": 128, "height": 96}
    )
    hands = [replace(hand, lens=LENS) for hand in known.hands[0]]
    gate, size = LabelGate(), np.tile(SIZE, (2, 1))
    assert all(hand.valid.all() for hand in gate.check(hands, size)) and not gate.marked
    moved = [replace(hand, keypoints=hand.keypoints + [40, 0], box=hand.box + [40, 0, 40, 0]) for hand in hands]
    assert not any(hand.valid.any() for hand in gate.check(moved, size)) and gate.marked.total() == 2


def test_a_camera_beside_a_video_that_changes_makes_its_output_old(tmp_path):
    path = make_video(tmp_path / "a.mp4", frames=1)
    before = store.stamp_raw(path).identity
    (tmp_path / "intrinsics.json").write_text(json.dumps(FLAT))
    assert store.stamp_raw(path).identity != before
