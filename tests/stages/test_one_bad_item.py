"""What a detector or an estimator does on one picture costs that picture: an exception, a crash, a hang. What only
happens once costs nothing."""

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from comparing import assert_same_bytes as same
from comparing import reasons
from footage import make_video, run_stage, tables_of, write_image

from handtool.config import ExtractConfig, KeypointsConfig
from handtool.errors import HandtoolError
from handtool.extraction import reading
from handtool.extraction.reading import open_finder
from handtool.hands.skeleton import RIGHT
from handtool.stages import extract as extracting
from handtool.stages import keypoints as estimating
from handtool.stages.extract import extract
from handtool.stages.keypoints import find_joints, keypoints, open_worker
from handtool.store import CROPS, KEYPOINTS, Record, open_file, open_job
from handtool.vision.contracts import Detection, EstimatedHand
from handtool.vision.detectors import DETECTORS
from handtool.vision.estimators import ESTIMATORS
from handtool.vision.guarded import Failed, Guarded

COUNT = 12
BLOCK = 4


def grey_of(number: int) -> int:
    return 30 + 15 * number


class Faulty:
    """A detector and an estimator, which knows a picture by its grey. `path`: json, what it does at which picture."""

    def __init__(self, path: str, batch: int = 3) -> None:
        self.folder, self.batch, self.is_broken = Path(path).parent, batch, False
        self.faults = json.loads(Path(path).read_text())

    def meet(self, image: np.ndarray) -> int:
        """The number of the picture."""
        if self.is_broken:
            raise ValueError("Graph has errors")  # as MediaPipe says of every picture after an exception
        number = round((float(image.mean()) - 30) / 15)
        fault, _, once = self.faults.get(str(number), self.faults.get("all", "")).partition(" ")
        mark = self.folder / f"mark {number}"
        if once and mark.exists():
            return number
        if once:
            mark.touch()
        match fault:
            case "raise":
                self.is_broken = True
                raise RuntimeError(f"CHECK failed at 0x7f12\nin line {number}")
            case "memory":
                raise MemoryError
            case "crash":
                os.kill(os.getpid(), signal.SIGSEGV)
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case "hang":
                time.sleep(60)
        return number

    def find_keypoints(self, crops):
        numbers = [self.meet(crop.image) for crop in crops]
        return [EstimatedHand(np.full((21, 2), 1.0 + n), np.ones(21), np.full((21, 3), 0.01 * n)) for n in numbers]

    def find_hands(self, images, names):
        numbers = [self.meet(image) for image in images]
        return [[Detection(np.array([4.0, 4, 44, 34 + n]), RIGHT, 0.9)] for n in numbers]


def open_faulty_worker(settings, jpegs):
    ESTIMATORS["mediapipe"] = lambda config, model: Faulty(model)
    return open_worker(settings, jpegs)


def open_faulty_finder(settings, folder):
    DETECTORS["mediapipe"] = lambda config, model: Faulty(model, batch=2)
    return open_finder(settings, folder)


@pytest.fixture
def faulty(tmp_path, monkeypatch):
    """-> `faulty(**faults)` writes them down for the detector and the estimator, which are these. Returns the path."""
    monkeypatch.setattr(estimating, "open_worker", open_faulty_worker)
    monkeypatch.setattr(estimating, "check_settings", lambda *_: None)
    monkeypatch.setattr(estimating, "describe_api", lambda *_: {})
    monkeypatch.setattr(estimating, "BLOCK_ROWS", BLOCK)
    monkeypatch.setattr(reading, "open_finder", open_faulty_finder)
    monkeypatch.setattr(extracting, "describe_detector", lambda *_: {})
    monkeypatch.setattr("handtool.vision.hand_finder.check_detector", lambda *_: None)

    def write(faults: dict) -> Path:
        for mark in tmp_path.glob("mark *"):
            mark.unlink()
        (tmp_path / "faults.json").write_text(json.dumps(faults))
        return tmp_path / "faults.json"

    return write


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures") / "f"
    for number in range(COUNT):
        write_image(folder / f"{number:02d}.png", np.full((64, 64, 3), grey_of(number), np.uint8))
    return folder


@pytest.fixture(scope="module")
def crops(pictures):
    run_stage(extract, [pictures], pictures.parent / "crops.h5", ExtractConfig(whole=True, workers=1))
    return pictures.parent / "crops.h5"


def estimate(crops, output, model, **settings):
    report = run_stage(keypoints, crops, output, KeypointsConfig("mediapipe", **settings), model=model)
    return report["accounting"][0], tables_of(output, KEYPOINTS)


def test_an_estimator_that_raises_costs_the_crops_on_which_it_does(crops, faulty, tmp_path):
    whole, wanted = estimate(crops, tmp_path / "a.h5", faulty({}), workers=1)
    counts, found = estimate(crops, tmp_path / "b.h5", faulty({2: "raise", 5: "memory", 6: "raise"}), workers=2)
    assert whole["done"] == COUNT
    told = "the estimator failed (RuntimeError: CHECK failed at 0x7f12)"
    assert counts["failed"] == {told: 2, "the estimator failed (MemoryError)": 1} and counts["done"] == COUNT - 3
    good = np.delete(np.arange(COUNT), [2, 5, 6])
    assert np.flatnonzero(found["keypoints/valid"]).tolist() == good.tolist()
    for name in ("keypoints/xy", "keypoints/score", "keypoints/joints"):
        assert np.array_equal(found[name][good], wanted[name][good])


def test_what_an_estimator_failed_at_is_told_of_its_3d_too(crops, faulty):
    with open_file(crops) as source, open_job(None, Record("handtool test", {})) as job:
        config = KeypointsConfig("mediapipe", workers=1)
        found = find_joints(source, config, job=job, model=faulty({3: "raise", 4: "crash"}))
    told = {3: "the estimator failed (RuntimeError: CHECK failed at 0x7f12)", 4: "its process died (SIGSEGV)"}
    assert found["reason"].tolist() == [told.get(number, "") for number in range(COUNT)]


def test_an_estimator_that_crashes_or_hangs_costs_the_crops_on_which_it_does(crops, faulty, tmp_path):
    faults = faulty({1: "crash", 9: "hang", 10: "kill"})
    counts, found = estimate(crops, tmp_path / "k.h5", faults, workers=2, timeout_s=1.0)
    failed = {"its process died (SIGSEGV)": 1, "its process died (SIGKILL)": 1, "no new frame for 1 s": 1}
    assert counts["failed"] == failed
    assert np.flatnonzero(~found["keypoints/valid"]).tolist() == [1, 9, 10]


def test_what_happens_to_a_worker_once_costs_nothing(crops, faulty, tmp_path, caplog):
    estimate(crops, tmp_path / "a.h5", faulty({}), workers=1)
    faults = faulty({1: "kill once", 4: "hang once", 5: "crash once", 11: "kill once"})
    counts, _ = estimate(crops, tmp_path / "b.h5", faults, workers=2, timeout_s=1.0)
    assert counts["done"] == COUNT and not counts["failed"]
    same(tmp_path / "a.h5", tmp_path / "b.h5")
    assert "rows 0 to 3: its process died (SIGKILL); tried once more at the end" in caplog.text


def test_an_estimator_that_fails_on_every_crop_ends_the_run_in_one_line(crops, faulty, tmp_path):
    with pytest.raises(HandtoolError, match=r"the estimator failed \(RuntimeError: CHECK .*, on a plain picture too"):
        estimate(crops, tmp_path / "k.h5", faulty({"all": "raise"}), workers=1)
    every = {number: "raise" for number in range(COUNT)}
    with pytest.raises(HandtoolError, match=r"none of the 12 hands .* gets keypoints \(the estimator failed"):
        estimate(crops, tmp_path / "k.h5", faulty(every), workers=1)
    assert not (tmp_path / "k.h5").exists()


def find(source, output, model, **settings):
    report = run_stage(extract, [source], output, ExtractConfig(**settings), model=model)
    return report, tables_of(output, CROPS)


def test_a_detector_that_raises_costs_the_pictures_on_which_it_does(pictures, faulty, tmp_path):
    find(pictures, tmp_path / "a.h5", faulty({}), workers=1)
    report, found = find(pictures, tmp_path / "b.h5", faulty({2: "raise", 5: "memory"}), workers=1)
    assert found["crops/frame"].tolist() == [number for number in range(COUNT) if number not in (2, 5)]
    failed = {
        "frames on which the detector failed (RuntimeError: CHECK failed at 0x7f12)": 1,
        "frames on which the detector failed (MemoryError)": 1,
    }
    counts = reasons(report, "frames")
    assert counts["failed"] == failed and (counts["in"], counts["done"]) == (COUNT, COUNT - 2)
    status = report["per_video"][0]["status"]
    assert all(f"1 {reason}" in status for reason in failed) and reasons(report, "videos")["done"] == 1


def test_the_frames_of_a_film_on_which_a_detector_raises_are_counted(faulty, tmp_path):
    video = make_video(tmp_path / "a.mp4", frames=90)  # its three kept frames are 40, 90 and 140 grey on average
    report, found = find(video, tmp_path / "c.h5", faulty({}), workers=1)
    assert reasons(report, "frames")["done"] == 3
    report, found = find(video, tmp_path / "d.h5", faulty({"4": "raise", "5": "raise"}), workers=1, every=1)
    counts = reasons(report, "frames")
    assert sum(counts["failed"].values()) > 5 and counts["done"] + sum(counts["failed"].values()) == counts["in"] == 90
    assert len(found["crops/frame"]) == counts["done"]


def test_a_detector_that_crashes_hangs_or_is_killed_costs_its_picture_and_once_nothing(pictures, faulty, tmp_path):
    find(pictures, tmp_path / "a.h5", faulty({}), workers=1)
    report, found = find(
        pictures, tmp_path / "b.h5", faulty({2: "crash", 7: "hang once", 8: "kill"}), workers=1, timeout_s=1.0
    )
    lost = "images that ended or stopped the process that read them"
    assert reasons(report, "frames")["failed"] == {lost: 2}
    assert found["crops/frame"].tolist() == [number for number in range(COUNT) if number not in (2, 8)]
    report, _ = find(pictures, tmp_path / "c.h5", faulty({3: "kill once", 7: "crash once"}), workers=1)
    assert not reasons(report, "frames")["failed"]
    same(tmp_path / "a.h5", tmp_path / "c.h5")


def test_a_detector_that_fails_on_every_picture_ends_the_run_in_one_line(pictures, faulty, tmp_path):
    with pytest.raises(HandtoolError, match=r"the detector failed \(RuntimeError: CHECK .*, on a plain picture too"):
        find(pictures, tmp_path / "c.h5", faulty({"all": "raise"}), workers=1)
    every = {number: "raise" for number in range(COUNT)}
    with pytest.raises(HandtoolError, match=r"of 12 frames 12 could not be looked at \(frames on which the detector"):
        find(pictures, tmp_path / "c.h5", faulty(every), workers=1)


class Numbers:
    """Answers even numbers, and raises on odd ones, with a message that is never the same."""

    batch = 4
    opened = 0

    def __init__(self) -> None:
        Numbers.opened += 1

    def ask(self, items: list[int]) -> list[str]:
        for item in items:
            if item % 2:
                raise ValueError(f"at {item}")
        return [f"even {item}" for item in items]


def test_reasons_that_are_never_the_same_are_not_all_told_and_our_own_mistakes_are_raised():
    guarded = Guarded("the estimator", Numbers, Numbers.ask, 0)
    answers = guarded.answer(list(range(40)))
    assert answers[::2] == [f"even {item}" for item in range(0, 40, 2)]
    assert all(isinstance(answer, Failed) for answer in answers[1::2])
    assert len({answer.reason for answer in answers[1::2]}) == 9
    assert answers[39] == Failed("the estimator failed (otherwise)")
    with pytest.raises(ValueError, match="at 3"):
        Guarded("the detector", Numbers, Numbers.ask, 0, is_foreign=False).answer([2, 3])


def open_finder_killed_once(settings, folder) -> Iterator[dict]:
    read_one = open_finder(settings, folder)

    def read_or_die(item, heartbeat):
        def beat_or_die():
            mark = folder / f"{item[0]} was killed"
            if item[2].name.endswith("kill.mp4") and list(folder.glob(f"video-{item[0]:07d}-*")) and not mark.exists():
                mark.touch()
                os.kill(os.getpid(), signal.SIGKILL)

        yield from read_one(item, beat_or_die)

    return read_or_die


def test_a_video_whose_worker_is_killed_once_is_whole_in_the_end(tmp_path, monkeypatch, caplog):
    (tmp_path / "f").mkdir()
    for name in ("a", "b", "kill"):
        make_video(tmp_path / "f" / f"{name}.mp4", frames=70)
    config = ExtractConfig(whole=True, every=1, workers=2)
    run_stage(extract, [tmp_path / "f"], tmp_path / "c.h5", config)
    monkeypatch.setattr(reading, "open_finder", open_finder_killed_once)
    report = run_stage(extract, [tmp_path / "f"], tmp_path / "d.h5", config)
    assert reasons(report, "videos")["done"] == 3 and not reasons(report, "videos")["failed"]
    same(tmp_path / "c.h5", tmp_path / "d.h5")
    assert "kill.mp4: its process died (SIGKILL); it is tried once more at the end" in caplog.text
