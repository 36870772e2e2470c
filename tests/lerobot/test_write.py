"""Predictions and labels of videos as a LeRobot set: the same numbers, the same pictures, and nothing unsaid."""

import builtins
import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
from footage import make_video, number_of, picture, run_stage
from lerobot_sets import write_film
from making import record
from pyarrow import parquet
from running import read
from true_hands import draw_hands

from handtool import store
from handtool.cli.export import choose_format, write_folder
from handtool.cli.folder import check_folder, publish_folder, temporary_folder
from handtool.config import ExportConfig, ExtractConfig
from handtool.errors import HandtoolError, WrongCommand
from handtool.hands.palm import palm_rotation
from handtool.hands.skeleton import LEFT
from handtool.lerobot.features import CAMERA, NAMES
from handtool.lerobot.statistics import join, measure
from handtool.progress import silent
from handtool.sources import parquet as parquet_of_ours
from handtool.sources.find import find_videos
from handtool.sources.frame import Sampling, Tally
from handtool.sources.parquet import import_parquet
from handtool.sources.read import read_frames
from handtool.stages.export import export
from handtool.stages.extract import extract
from handtool.stages.overlay import find_footage
from handtool.store import CROPS, LABELS, PREDICTIONS

BOXES = {"left": (4, 20, 40, 60), "right": (52, 20, 90, 60)}


def make_predictions(folder: Path, films: list[Path], on=(0, 1, 4), joints=None, absolute=True, **config) -> Path:
    """Of a left and a right hand on some frames of each film."""
    lines = [
        f"{film.as_posix()},{frame},{','.join(map(str, box))},{side},0.{8 + (side == 'left')}"
        for film in films
        for frame in on
        for side, box in BOXES.items()
    ]
    (folder / "boxes.csv").write_text("video,frame,x0,y0,x1,y1,side,score\n" + "\n".join(lines) + "\n")
    settings = {"every": 1, "workers": 1, "camera": "100,101,47,31", "min_score": 0.0, **config}
    run_stage(extract, films, folder / "c.h5", ExtractConfig(**settings), boxes=folder / "boxes.csv")
    return predict(folder / "c.h5", folder / "p.h5", joints, absolute)


def predict(crops: Path, target: Path, joints=None, absolute=True) -> Path:
    rng = np.random.default_rng(4)
    with store.open_file(crops) as file, store.create_file(target, record(seed=2), [file]) as sink:
        count = file.count(CROPS)
        side = store.read_column(file, CROPS.side)
        joints = draw_hands(count, rng, side == LEFT).astype(np.float32) if joints is None else joints
        points, ones = rng.normal(100, 30, (count, 21, 2)), np.ones(count, bool)
        columns = dict(
            joints=joints, keypoints=points, valid=ones, absolute=ones & absolute, scale=np.full(count, 0.03)
        )
        store.write_table(sink, PREDICTIONS, columns, {"scale_source": "mean"})
        sink.inherit(file)
        sink.finish({})
    return target


def export_set(source: Path, target: Path, films=True, **config) -> dict:
    target.mkdir()
    with store.open_file(source) as file:
        footage = find_footage(file, []) if films else None
        return export(file, target, ExportConfig("lerobot", **config), footage=footage)


def rows_of(root: Path) -> dict[str, np.ndarray]:
    table = parquet.read_table(root / "data/chunk-000/file-000.parquet")
    return {name: np.array(table[name].to_pylist()) for name in table.column_names}


def json_of(root: Path, name: str) -> dict:
    return json.loads((root / "meta" / name).read_text(), parse_constant=lambda word: pytest.fail(f"{word} is no json"))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(predictions, set) of two films of 10 frames/s, of 6 and 8 frames."""
    folder = tmp_path_factory.mktemp("made")
    films = [make_video(folder / f"{name}.mp4", count, 10) for name, count in (("a", 6), ("b", 8))]
    source = make_predictions(folder, films)
    export_set(source, folder / "set")
    return source, folder / "set"


def test_every_frame_is_a_row_and_every_hand_is_on_its_own_to_the_last_bit(made):
    source, root = made
    rows = rows_of(root)
    assert rows["episode_index"].tolist() == [0] * 6 + [1] * 8 and rows["index"].tolist() == list(range(14))
    assert rows["frame_index"].tolist() == [*range(6), *range(8)]
    assert np.array_equal(rows["timestamp"].astype(np.float32), (rows["frame_index"] / 10).astype(np.float32))
    video, frame, side = (read(source, column) for column in (CROPS.video, CROPS.frame, CROPS.side))
    joints, points, score = (read(source, c) for c in (PREDICTIONS.joints, PREDICTIONS.keypoints, CROPS.score))
    affine, seen = read(source, CROPS.crop_from_frame), np.zeros((14, 2), bool)
    for hand in range(len(video)):
        row, place = 6 * video[hand] + frame[hand], int(side[hand] != LEFT)
        seen[row, place] = True
        assert np.array_equal(
            rows["observation.hands.kp3d"][row].reshape(2, 21, 3)[place].astype(np.float32), joints[hand]
        )
        back = np.linalg.inv(np.vstack([affine[hand], [0, 0, 1]]))
        told = rows["observation.hands.kp2d"][row].reshape(2, 21, 3)[place]
        for joint in range(21):
            expected = back @ (*points[hand, joint].astype(np.float64), 1)
            assert told[joint, :2] == pytest.approx(expected[:2], rel=1e-6) and told[joint, 2] == score[hand]
    assert np.array_equal(rows["observation.hands.valid"], seen) and seen.sum() == 12
    assert not rows["observation.hands.kp3d"].reshape(14, 2, -1)[~seen].any()
    assert np.allclose(rows["observation.intrinsics"], [100, 101, 47, 31, 0, 0, 0, 0])


def test_the_action_is_the_state_of_the_next_frame_and_the_state_is_wrist_and_palm(made):
    source, root = made
    rows, state = rows_of(root), rows_of(root)["observation.state"]
    assert np.array_equal(rows["action"][:5], state[1:6]) and np.array_equal(rows["action"][5], state[5])
    assert np.array_equal(rows["action"][13], state[13])
    joints, side = read(source, PREDICTIONS.joints), read(source, CROPS.side)
    first = int(np.flatnonzero(side == LEFT)[0])
    turn = palm_rotation(joints[first : first + 1], side[first : first + 1])[0]
    assert np.allclose(state[0, :9], [*joints[first, 0], *turn[:, 0], *turn[:, 1]], atol=1e-6)


def test_the_tables_say_where_everything_lies(made):
    _, root = made
    info, [episodes] = json_of(root, "info.json"), list((root / "meta/episodes").rglob("*.parquet"))
    rows = parquet.read_table(episodes).to_pylist()
    assert [(row["dataset_from_index"], row["dataset_to_index"], row["length"]) for row in rows] == [
        (0, 6, 6),
        (6, 14, 8),
    ]
    assert [row[f"videos/{CAMERA}/to_timestamp"] for row in rows] == [0.6, 0.8]
    assert (info["total_frames"], info["total_episodes"], info["fps"], info["codebase_version"]) == (14, 2, 10, "v3.0")
    assert info["handtool"]["videos"] == ["a.mp4", "b.mp4"]
    data = parquet.read_schema(root / "data/chunk-000/file-000.parquet")
    declared = {name: about for name, about in info["features"].items() if about["dtype"] != "video"}
    assert list(declared) == data.names, "an undeclared column makes the whole set fail to load"
    assert all(len(names) == info["features"][name]["shape"][0] for name, names in NAMES.items())
    tasks = parquet.read_table(root / "meta/tasks.parquet")
    assert tasks["task"].to_pylist() == ["hands"]
    assert json.loads(tasks.schema.metadata[b"pandas"])["index_columns"] == ["task"]
    assert (root / "README.md").read_text().startswith("---\ntags:\n- LeRobot\n")
    assert parquet.ParquetFile(root / "data/chunk-000/file-000.parquet").num_row_groups == 2


def test_statistics_are_those_of_the_frames_with_a_hand(made):
    _, root = made
    rows, stats = rows_of(root), json_of(root, "stats.json")
    [episodes] = list((root / "meta/episodes").rglob("*.parquet"))
    of_first = parquet.read_table(episodes).to_pylist()[0]
    values = rows["observation.hands.kp3d"]
    there = [row for row in range(14) if rows["observation.hands.valid"][row, 0]]
    for column in (0, 7, 62):
        one = [float(values[row, column]) for row in there]
        mean = math.fsum(one) / len(one)
        std = math.sqrt(math.fsum((value - mean) ** 2 for value in one) / len(one))
        told = {name: stats["observation.hands.kp3d"][name][column] for name in ("min", "max", "mean", "std")}
        assert told == pytest.approx({"min": min(one), "max": max(one), "mean": mean, "std": std})
        three = sorted(float(values[row, column]) for row in there if row < 6)
        assert of_first["stats/observation.hands.kp3d/q50"][column] == pytest.approx(three[1])
        assert of_first["stats/observation.hands.kp3d/q10"][column] == pytest.approx(0.8 * three[0] + 0.2 * three[1])
    assert stats["observation.hands.kp3d"]["count"] == [6] and stats["observation.intrinsics"]["std"] == [1.0] * 8
    colours = stats[CAMERA]["mean"]
    assert np.shape(colours) == (3, 1, 1) and 0.2 < colours[0][0][0] < 0.8
    everything = [value for each in stats.values() for name in each for value in np.ravel(each[name])]
    assert np.isfinite(everything).all()


def test_joined_statistics_are_those_of_all_at_once():
    rng = np.random.default_rng(0)
    values, known = rng.normal(3, 2, (60, 4)), rng.random((60, 4)) < 0.6
    known[:20, 1] = False
    known[:, 3] = False
    parts = [measure(values[rows], known[rows]) for rows in (slice(0, 20), slice(20, 25), slice(25, 60))]
    one, whole = join(parts).as_columns((-1,)), measure(values, known).as_columns((-1,))
    for name in ("min", "max", "mean", "std", "count"):
        assert one[name] == pytest.approx(whole[name]), name
    assert whole["mean"][3] == 0 and whole["std"][3] == 1


def test_films_are_copied_with_even_times_and_those_that_cannot_be_are_encoded_one_picture_a_row(tmp_path):
    uneven = make_video(tmp_path / "uneven.mp4", 12, 10, times=[0.1 * n + 0.03 * (n % 3 == 1) for n in range(12)])
    images = [picture(number, 12) for number in range(12)]
    late = write_film(tmp_path / "late.mkv", images, 10, options={"bf": "3", "g": "12"})
    other = write_film(tmp_path / "other.mp4", images, 10, "mpeg4", {"b": "4000000"})
    films = [uneven, late, other]
    report = export_set(make_predictions(tmp_path, films), tmp_path / "set")
    assert (report["films_copied"], report["films_encoded"]) == (2, 1)
    for video, original in zip(find_videos([tmp_path / "set"]).videos, films, strict=True):
        frames = list(read_frames(video, Sampling(every=1), Tally()))
        assert [number_of(frame.image, 12) for frame in frames] == list(range(12))
        assert [frame.time for frame in frames] == pytest.approx([0.1 * n for n in range(12)])
        if original is not other:
            before = list(read_frames(find_videos([original]).videos[0], Sampling(every=1), Tally()))
            assert all(np.array_equal(one.image, other.image) for one, other in zip(frames, before, strict=True))


def test_sampled_frames_become_a_film_of_these_alone(tmp_path):
    film = make_video(tmp_path / "a.mp4", 30, 10)
    source = make_predictions(tmp_path, [film], on=(0, 10), every=None, fps=2.0)
    report = export_set(source, tmp_path / "set")
    assert report["fps"] == 2 and report["frames"] == 6
    [video] = find_videos([tmp_path / "set"]).videos
    frames = list(read_frames(video, Sampling(every=1), Tally()))
    assert [number_of(frame.image, 30) for frame in frames] == pytest.approx([0, 5, 10, 15, 20, 25], abs=1)
    assert rows_of(tmp_path / "set")["observation.hands.valid"][:, 0].tolist() == [1, 0, 1, 0, 0, 0]
    export_set(source, tmp_path / "bare", films=False)
    with_film, without = rows_of(tmp_path / "set"), rows_of(tmp_path / "bare")
    assert all(np.array_equal(with_film[name], without[name]) for name in with_film)


def test_a_set_without_films_has_the_same_rows(made, tmp_path):
    source, root = made
    export_set(source, tmp_path / "bare", films=False)
    info = json_of(tmp_path / "bare", "info.json")
    assert info["video_path"] is None and CAMERA not in info["features"] and not (tmp_path / "bare/videos").exists()
    with_films, without = rows_of(root), rows_of(tmp_path / "bare")
    assert all(np.array_equal(with_films[name], without[name]) for name in with_films)


def test_what_was_written_is_read_back_as_labels(made, tmp_path):
    source, root = made
    report = run_stage(extract, [root], tmp_path / "back.h5", ExtractConfig(every=1, workers=1, trust_labels=True))
    assert report["accounting"][2]["done"] == 12 and "notes" not in report
    order = np.lexsort([read(source, column) for column in (CROPS.side, CROPS.frame, CROPS.video)])
    assert np.array_equal(read(tmp_path / "back.h5", LABELS.joints), read(source, PREDICTIONS.joints)[order])
    affines = [np.concatenate([read(path, CROPS.crop_from_frame), np.tile([[[0, 0, 1]]], (12, 1, 1))], axis=1)
               for path in (source, tmp_path / "back.h5")]  # fmt: skip
    homogeneous = np.concatenate([read(source, PREDICTIONS.keypoints), np.ones((12, 21, 1))], axis=2)[order]
    moved = homogeneous @ np.swapaxes(affines[1] @ np.linalg.inv(affines[0])[order], 1, 2)
    assert np.allclose(read(tmp_path / "back.h5", LABELS.keypoints), moved[:, :, :2], atol=1e-3)
    export_set(tmp_path / "back.h5", tmp_path / "again")
    again, first = rows_of(tmp_path / "again"), rows_of(root)
    for name in ("observation.hands.kp3d", "observation.hands.valid", "observation.state"):
        assert np.array_equal(again[name], first[name]), name


def test_hands_without_a_camera_are_relative_and_say_so(tmp_path):
    film = make_video(tmp_path / "a.mp4", 6, 10)
    source = make_predictions(tmp_path, [film], absolute=False, camera=None)
    export_set(source, tmp_path / "set")
    rows = rows_of(tmp_path / "set")
    assert not rows["observation.hands.absolute"].any() and not rows["observation.intrinsics"].any()
    run_stage(extract, [tmp_path / "set"], tmp_path / "back.h5", ExtractConfig(every=1, workers=1))
    assert not read(tmp_path / "back.h5", LABELS.valid).any(), "not in the camera's frame"


def test_of_two_hands_of_a_side_the_better_one_is_written_and_the_other_counted(tmp_path, monkeypatch):
    film = make_video(tmp_path / "a.mp4", 6, 10)
    monkeypatch.setitem(BOXES, "Right", (30, 2, 60, 30))  # of the lower score 0.8, as `right`: the earlier row wins
    source = make_predictions(tmp_path, [film])
    report = export_set(source, tmp_path / "set")
    assert report["accounting"][1]["done"] == 6
    assert report["accounting"][1]["skipped"] == {"of one side on one frame with a better one": 3}


def test_films_of_another_rate_or_size_are_left_out_and_counted(tmp_path):
    films = [make_video(tmp_path / f"{n}.mp4", 6, fps, size) for n, (fps, size) in enumerate(
        [(10, (96, 64)), (10, (96, 64)), (20, (96, 64)), (10, (128, 64))])]  # fmt: skip
    report = export_set(make_predictions(tmp_path, films), tmp_path / "set")
    assert report["accounting"][0]["skipped"] == {
        "of another rate or size than the others: 20 frames/s of 96 x 64 px": 1,
        "of another rate or size than the others: 10 frames/s of 128 x 64 px": 1,
    }
    assert report["accounting"][0]["done"] == 2 and report["frames"] == 12


def test_a_film_that_is_gone_or_another_one_is_counted(tmp_path):
    films = [make_video(tmp_path / f"{n}.mp4", 6, 10) for n in range(3)]
    source = make_predictions(tmp_path, films)
    films[1].unlink()
    write_film(films[2], [np.zeros((64, 96, 3), np.uint8)] * 6, 10)
    report = export_set(source, tmp_path / "set")
    videos = report["accounting"][0]
    assert videos["done"] == 1 and videos["skipped"] == {"not where they were (--videos DIR)": 1}
    assert videos["failed"] == {"their films show something else now": 1}


def test_what_no_episode_can_be_made_of_is_refused(tmp_path, made):
    film = make_video(tmp_path / "a.mp4", 6, 10)
    source = make_predictions(tmp_path, [film], on=(0,), every=None, keyframes=True)
    with pytest.raises(HandtoolError, match="which frames were looked at"):
        export_set(source, tmp_path / "set")
    with pytest.raises(WrongCommand, match="cannot be written as lerobot"):
        export_set(made[0], tmp_path / "other", table="crops")


def test_the_folder_appears_whole_or_not_at_all_and_never_in_place_of_another(tmp_path):
    target = tmp_path / "set"
    with pytest.raises(RuntimeError), temporary_folder(target) as folder:
        (folder / "half").write_text("x")
        raise RuntimeError
    assert not list(tmp_path.iterdir())
    (target / "meta").mkdir(parents=True)
    (target / "mine.txt").write_text("x")
    for force in (False, True):
        with pytest.raises(HandtoolError, match="no set that handtool wrote"):
            check_folder(target, force)
    (target / "meta/info.json").write_text('{"handtool": {}}')
    with pytest.raises(HandtoolError, match="exists"):
        check_folder(target, False)
    check_folder(target, True)
    with temporary_folder(target) as folder:
        (folder / "new").write_text("y")
        publish_folder(folder, target)
    assert [path.name for path in target.iterdir()] == ["new"] and [path.name for path in tmp_path.iterdir()] == ["set"]


def test_a_folder_that_a_killed_writer_left_is_removed_and_that_of_a_living_one_is_not(tmp_path):
    (tmp_path / ".set.abcdefgh.handtool-tmp").mkdir()
    with temporary_folder(tmp_path / "set"):
        with temporary_folder(tmp_path / "set"):
            assert len(os.listdir(tmp_path)) == 2
    assert not os.listdir(tmp_path)


def test_a_table_as_parquet_loses_nothing(made, tmp_path):
    source, _ = made
    with store.open_file(source) as file:
        export(file, tmp_path / "p.parquet", ExportConfig("parquet", "predictions"))
        export(file, tmp_path / "c.parquet", ExportConfig("parquet", "crops", "crop"))
    table = parquet.read_table(tmp_path / "p.parquet")
    assert table.column_names[:8] == ["row", "video", "frame", "time", "track", "side", "box", "score"]
    joints = np.array(table["joints"].to_pylist(), np.float32).reshape(12, 21, 3)
    assert np.array_equal(joints, read(source, PREDICTIONS.joints))
    assert table["side"].to_pylist() == [["LEFT", "RIGHT"][side] for side in read(source, CROPS.side)]
    assert table.schema.field("joints").metadata == {b"shape": b"21,3", b"unit": b"m"}
    assert table.schema.metadata[b"handtool.pixels_of"] == b"frame"
    crops = parquet.read_table(tmp_path / "c.parquet")
    landmarks = np.array(crops["landmarks"].to_pylist(), np.float32).reshape(12, 21, 2)
    assert np.array_equal(landmarks, read(source, CROPS.landmarks), equal_nan=True)


def test_the_command_makes_a_folder_and_never_replaces_what_it_reads(made, tmp_path):
    source, _ = made

    def write(path, force=False, no_video=False):
        with store.open_file(path) as file:
            return write_folder(file, tmp_path / "set", ExportConfig("lerobot", no_video=no_video), force, silent, [])

    assert write(source, no_video=True)["frames"] == 14
    assert (tmp_path / "set/meta/info.json").is_file() and os.listdir(tmp_path) == ["set"]
    with pytest.raises(HandtoolError, match="set exists") as caught:
        write(source)
    assert "--force" in caught.value.hint
    write(source, force=True)
    assert (tmp_path / "set/videos").is_dir() and os.listdir(tmp_path) == ["set"]
    inside = predict(source.with_name("c.h5"), tmp_path / "set/p.h5")
    with pytest.raises(WrongCommand, match="both input and output"):
        write(inside, force=True)
    with pytest.raises(WrongCommand, match="it cannot go to standard output"):
        choose_format("-", "lerobot")
    assert inside.is_file()


def test_a_pyarrow_that_is_missing_or_does_not_go_with_numpy_is_told_in_one_line(monkeypatch):
    def refuse(name, *rest, **more):
        if name.startswith("pyarrow"):
            raise ImportError("numpy.core.multiarray failed to import\n  a long story")
        return original(name, *rest, **more)

    original = builtins.__import__
    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(
        HandtoolError, match="cannot be imported beside numpy .*: numpy.core.multiarray failed"
    ) as caught:
        import_parquet()
    assert "\n" not in caught.value.message and "pip install 'pyarrow" in caught.value.hint
    monkeypatch.setattr(parquet_of_ours.util, "find_spec", lambda name: None)
    with pytest.raises(HandtoolError, match="not installed") as caught:
        import_parquet()
    assert caught.value.hint == "pip install 'handtool[lerobot]'"
