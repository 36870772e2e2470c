"""doctor: what is there, what is missing, and what to do; it survives broken packages."""

import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from assembling import why_not

from handtool.stages import doctor as stage
from handtool.stages.doctor import DRAWN_SEED, check_compiler, check_disk, check_import, doctor, find_drawn_hand
from handtool.synth.crops import make_video
from handtool.vision import mediapipe_package
from handtool.vision.contracts import EstimatedHand
from handtool.vision.mediapipe_package import Api, find_api

DRAWN = make_video(DRAWN_SEED, 0, 1, 224, "easy", "left")


@pytest.fixture
def only(monkeypatch):
    """Leaves one probe, or puts another in its place."""

    def choose(name, code=None):
        monkeypatch.setattr(stage, "PROBES", {name: code or stage.PROBES[name]})

    return choose


def test_the_packages_of_this_environment_are_found():
    finding = check_import("tables")
    assert finding.status == "ok" and "h5py" in finding.found and finding.remedy == ""
    opencv = check_import("opencv")
    assert opencv.status == "ok" and "cv2" in opencv.found and "__init__" in opencv.found and "contrib" in opencv.found


def test_a_package_that_is_not_there_is_missing_with_a_remedy(only):
    only("hnswlib", "import surely_not_there_hnswlib")
    finding = check_import("hnswlib")
    assert (
        finding.status == "missing" and "surely_not_there_hnswlib" in finding.found and "C++ compiler" in finding.remedy
    )


def test_a_package_that_crashes_the_interpreter_does_not_crash_the_doctor(only):
    only("av", "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    finding = check_import("av")
    assert finding.status == "missing" and "SIGSEGV" in finding.found and finding.remedy


def test_a_package_that_does_not_answer_is_slow_where_it_is_installed_and_missing_where_not(only, monkeypatch):
    monkeypatch.setattr(stage, "TIMEOUT_S", 0.5)
    only("tables", "import time; time.sleep(60)")
    finding = check_import("tables")
    assert finding.status == "slow" and finding.needed and "installed, but no answer within 0.5 s" in finding.found
    assert "busy" in finding.remedy
    monkeypatch.setitem(stage.MODULES, "tables", "surely_not_there")
    finding = check_import("tables")
    assert finding.status == "missing" and finding.found == "no answer within 0.5 s"


def test_a_slow_machine_is_ready_and_called_slow(only, monkeypatch):
    monkeypatch.setattr(stage, "SLOW_S", 0.0)
    only("hnswlib", "found = 'there'")
    report = doctor()
    assert report["ready"] and report["findings"][-1]["status"] == "slow"
    assert report["findings"][-1]["found"].startswith("there (took ")


def test_a_missing_libgl_names_the_headless_opencv(only):
    only("opencv", "raise ImportError('libGL.so.1: cannot open shared object file: No such file or directory')")
    finding = check_import("opencv")
    assert finding.status == "missing" and "opencv-python-headless" in finding.remedy


def test_what_a_package_prints_does_not_confuse_the_doctor(only):
    only("tables", "print('welcome')\nfound = 'there'")
    assert check_import("tables").found == "there"


def test_without_mediapipe_or_its_file_the_way_to_them_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(mediapipe_package, "installed_version", lambda: None)
    found, missing, remedy = find_drawn_hand()
    assert missing and "not installed" in found and "pip install 'handtool[mediapipe]'" in remedy
    monkeypatch.setattr(mediapipe_package, "installed_version", lambda: "1.2.3")
    monkeypatch.setattr(mediapipe_package, "has_solutions", lambda: False)
    monkeypatch.setenv("HANDTOOL_CACHE", str(tmp_path))
    found, missing, remedy = find_drawn_hand()
    assert missing and f"{tmp_path}/hand_landmarker.task does not exist" in found and "doctor --download" in remedy


@pytest.mark.parametrize("where, missing", [("there", False), ("elsewhere", True), ("nowhere", True)])
def test_a_detector_is_proved_by_a_drawn_hand(monkeypatch, where, missing):
    """Found where it is drawn, found elsewhere, not found."""
    points = DRAWN["keypoints"][0] + (0 if where == "there" else 80)
    answer = None if where == "nowhere" else EstimatedHand(points, np.full(21, 0.9))
    estimator = SimpleNamespace(find_keypoints=lambda crops: [answer])
    monkeypatch.setattr("handtool.vision.mediapipe.MediaPipeKeypoints", lambda score: estimator)
    monkeypatch.setattr(stage, "find_api", lambda: Api("solutions", "0.10.21"))
    found, lacking, remedy = find_drawn_hand()
    assert lacking == missing and ("finds a drawn hand" in found) == (where == "there") and bool(remedy) == missing


@pytest.mark.mediapipe
@pytest.mark.skipif(why_not() != "", reason=why_not())
def test_mediapipe_finds_the_drawn_hand():
    finding = check_import("mediapipe")
    assert finding.status in ("ok", "slow") and "finds a drawn hand" in finding.found
    assert find_api().version in finding.found


def test_ready_means_that_nothing_needed_is_missing(only):
    only("hnswlib", "found = 'there'")
    assert doctor()["ready"]
    only("hnswlib", "raise ImportError('no')")
    report = doctor()
    assert not report["ready"]
    assert [finding["name"] for finding in report["findings"]] == ["python", "disk", "compiler", "hnswlib"]


def test_an_optional_package_does_not_make_the_machine_unready(monkeypatch):
    monkeypatch.setattr(stage, "PROBES", {"hnswlib": "found = 'there'", "cuda": "raise ImportError('no')"})
    report = doctor()
    assert report["ready"] and report["findings"][-1]["status"] == "missing"


def test_a_compiler_is_looked_for(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    assert "not needed while hnswlib works" in check_compiler(hnswlib_there=True).remedy
    assert check_compiler(hnswlib_there=False).status == "missing"
    (tmp_path / "g++").write_text("#!/bin/sh\n")
    (tmp_path / "g++").chmod(0o755)
    assert check_compiler(hnswlib_there=False).status == "ok"


def test_a_temporary_folder_that_cannot_be_written_is_missing(monkeypatch):
    monkeypatch.setattr(stage.tempfile, "gettempdir", lambda: "/proc/self")
    finding = check_disk()
    assert finding.status == "missing" and finding.needed and "TMPDIR" in finding.remedy


def test_the_command_prints_a_line_for_each_and_json(handtool):
    done = handtool("doctor", "--json")
    report = json.loads(done.stdout)["report"]
    assert done.returncode == (0 if report["ready"] else 1)
    assert {"python", "torch", "hnswlib", "opencv", "av", "mediapipe", "disk"} <= {
        finding["name"] for finding in report["findings"]
    }
    assert all(finding["remedy"] for finding in report["findings"] if finding["status"] == "missing")
    assert report["findings"][0]["found"].startswith(f"Python {sys.version.split()[0]}")
