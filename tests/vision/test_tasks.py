"""MediaPipe's two APIs behind one contract, with a stand-in for the package: which side a hand is, which version is
refused."""

import hashlib
import sys
import zipfile
from types import SimpleNamespace

import numpy as np
import pytest

from handtool.errors import HandtoolError
from handtool.hands.skeleton import LEFT, RIGHT
from handtool.vision import mediapipe_package
from handtool.vision.contracts import HandCrop
from handtool.vision.mediapipe import MediaPipeDetector, MediaPipeKeypoints
from handtool.vision.mediapipe_package import NETWORKS, find_api
from handtool.vision.task_file import cached_task

IMAGE = np.zeros((100, 200, 3), np.uint8)
POINTS = np.random.default_rng(0).uniform(0.2, 0.8, (21, 2))
LANDMARKS = [SimpleNamespace(x=x, y=y) for x, y in POINTS]
JOINTS = np.random.default_rng(1).uniform(-0.09, 0.09, (21, 3))  # about the hand's centre
WORLD = [SimpleNamespace(x=x, y=y, z=z) for x, y, z in JOINTS]


def solutions(said: str):
    """The older API: it calls a hand by its mirror image."""
    found = SimpleNamespace(
        multi_hand_landmarks=[SimpleNamespace(landmark=LANDMARKS)],
        multi_hand_world_landmarks=[SimpleNamespace(landmark=WORLD)],
        multi_handedness=[SimpleNamespace(classification=[SimpleNamespace(label=said, score=0.9)])],
    )
    return SimpleNamespace(hands=SimpleNamespace(Hands=lambda **_: SimpleNamespace(process=lambda image: found)))


def tasks(said: str, opened: list):
    """The Tasks API: it calls a hand what it is."""
    found = SimpleNamespace(
        hand_landmarks=[LANDMARKS],
        hand_world_landmarks=[WORLD],
        handedness=[[SimpleNamespace(category_name=said, score=0.9)]],
    )
    create = SimpleNamespace(
        create_from_options=lambda options: opened.append(options) or SimpleNamespace(detect=lambda image: found)
    )
    vision = SimpleNamespace(HandLandmarker=create, HandLandmarkerOptions=SimpleNamespace)
    return SimpleNamespace(vision=vision, BaseOptions=SimpleNamespace)


@pytest.fixture
def install(monkeypatch):
    """Puts a module in the place of mediapipe, with the APIs that are given."""

    def put(version="0.10.33", **apis):
        module = SimpleNamespace(Image=SimpleNamespace, ImageFormat=SimpleNamespace(SRGB=1), **apis)
        monkeypatch.setitem(sys.modules, "mediapipe", module)
        monkeypatch.setattr(mediapipe_package, "installed_version", lambda: version)
        monkeypatch.setattr(mediapipe_package, "has_solutions", lambda: "solutions" in apis)

    return put


@pytest.fixture
def task(tmp_path):
    with zipfile.ZipFile(tmp_path / "hand_landmarker.task", "w") as archive:
        for name in NETWORKS:
            archive.writestr(name, b"x")
    return tmp_path / "hand_landmarker.task"


@pytest.mark.parametrize("said, solution_side, task_side", [("Left", RIGHT, LEFT), ("Right", LEFT, RIGHT)])
def test_the_side_is_that_of_the_hand_whatever_the_api_calls_it(install, task, said, solution_side, task_side):
    opened = []
    install(solutions=solutions(said), tasks=tasks(said, opened))
    for model, side in ((None, solution_side), (task, task_side)):
        [[hand]] = MediaPipeDetector(0.5, model).find_hands([IMAGE], ["a"])
        assert hand.side == side and hand.score == 0.9 and hand.landmarks_score == 0.9
        np.testing.assert_allclose(hand.landmarks, POINTS * (200, 100) - 0.5)
        np.testing.assert_allclose(hand.joints, JOINTS - JOINTS[0])
        np.testing.assert_allclose(hand.box, [*hand.landmarks.min(0), *(hand.landmarks.max(0) + 1)])
    assert opened[0].base_options.model_asset_path == str(task) and opened[0].min_hand_detection_confidence == 0.5


def test_keypoints_on_a_crop_are_those_of_the_padded_picture_moved_back(install, task):
    install(tasks=tasks("Right", []))
    [(xy, score, joints)] = MediaPipeKeypoints(0.5, task).find_keypoints(
        [HandCrop(np.zeros((100, 100, 3), np.uint8), context=1.3)]
    )
    np.testing.assert_allclose(xy, POINTS * 150 - 0.5 - 25)
    assert (score == 0.9).all()
    np.testing.assert_allclose(joints, JOINTS - JOINTS[0])


def test_the_solutions_api_stays_in_use_where_it_is_installed(install, task, monkeypatch):
    monkeypatch.setenv("HANDTOOL_CACHE", str(task.parent))
    install("0.10.21", solutions=solutions("Left"), tasks=tasks("Left", []))
    assert find_api().as_attrs() == {"mediapipe_api": "solutions", "mediapipe_version": "0.10.21"}
    assert find_api(task).name == "tasks"  # unless a file is named
    install("1.2.3", tasks=tasks("Left", []))
    assert find_api() == ("tasks", "1.2.3", task)
    assert find_api().as_attrs()["task_sha256"] == hashlib.sha256(task.read_bytes()).hexdigest()


def test_an_installation_without_solutions_needs_the_file_and_says_where_it_comes_from(install, tmp_path, monkeypatch):
    monkeypatch.setenv("HANDTOOL_CACHE", str(tmp_path / "cache"))
    install("1.2.3", tasks=tasks("Left", []))
    with pytest.raises(
        HandtoolError, match=f"1.2.3 brings no model, and {tmp_path}/cache/hand_.*task does not exist"
    ) as e:
        MediaPipeDetector(0.5)
    assert "handtool doctor --download" in e.value.hint and "--detector FILE" in e.value.hint


def test_a_cache_that_is_not_named_is_the_users(monkeypatch):
    monkeypatch.delenv("HANDTOOL_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/there")
    assert str(cached_task()) == "/there/handtool/hand_landmarker.task"


def test_a_version_that_named_the_other_side_is_refused(install, task):
    install("0.10.9", solutions=solutions("Left"), tasks=tasks("Left", []))
    with pytest.raises(HandtoolError, match="0.10.9 is too old for a task file"):
        MediaPipeDetector(0.5, task)


@pytest.mark.parametrize("version, offered", [((3, 11, 0), True), ((3, 12, 0), True), ((3, 13, 0), False)])
def test_the_hint_names_what_there_is_for_this_python(monkeypatch, version, offered):
    monkeypatch.setattr(mediapipe_package, "installed_version", lambda: None)
    monkeypatch.setattr(mediapipe_package.sys, "version_info", version)
    with pytest.raises(HandtoolError, match="is not installed") as caught:
        find_api()
    assert "handtool[mediapipe]" in caught.value.hint
    assert ("handtool[mediapipe-solutions]" in caught.value.hint) == offered


def test_what_is_no_task_file_is_refused_before_the_work(install, tmp_path):
    install("1.2.3", tasks=tasks("Left", []))
    (tmp_path / "text.task").write_text("no archive")
    with zipfile.ZipFile(tmp_path / "other.task", "w") as archive:
        archive.writestr("hand_detector.tflite", "something else")
    for name, message in (
        ("text.task", "is no MediaPipe task file"),
        ("other.task", "is no hand landmarker: it has no hand_landmarks_detector.tflite"),
        ("gone.task", "does not exist"),
    ):
        with pytest.raises(HandtoolError, match=message) as caught:
            find_api(tmp_path / name)
        assert "hand_landmarker.task" in caught.value.hint


@pytest.mark.parametrize("raised", [FileNotFoundError("not in the zip"), RuntimeError("not in the zip"), ValueError()])
def test_a_file_that_mediapipe_refuses_is_a_line_and_no_traceback(install, task, raised):
    def refuse(options):
        raise raised

    given = tasks("Left", [])
    given.vision.HandLandmarker.create_from_options = refuse
    install("1.2.3", tasks=given)
    with pytest.raises(HandtoolError, match="is no hand landmarker: (not in the zip|ValueError)"):
        MediaPipeDetector(0.5, task)


def test_an_image_of_floats_never_gets_to_mediapipe_which_would_hang(install, task):
    install("1.2.3", tasks=tasks("Left", []))
    with pytest.raises(AssertionError):
        MediaPipeDetector(0.5, task).find_hands([IMAGE.astype(np.float32)], ["a"])


def test_mediapipe_gets_an_array_that_is_contiguous(install, task):
    given, seen = tasks("Left", []), []
    create = given.vision.HandLandmarker.create_from_options

    def spy(options):
        hands = create(options)
        return SimpleNamespace(detect=lambda image: seen.append(image.data) or hands.detect(image))

    given.vision.HandLandmarker.create_from_options = spy
    install("1.2.3", tasks=given)
    image = np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8)
    MediaPipeDetector(0.5, task).find_hands([image[:, ::-1], image[::2, 5:20]], ["a", "b"])
    assert all(data.flags["C_CONTIGUOUS"] for data in seen)
    assert np.array_equal(seen[-2], image[:, ::-1]) and np.array_equal(seen[-1], image[::2, 5:20])
