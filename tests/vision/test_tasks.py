"""MediaPipe's two APIs behind one contract, with a stand-in for the package: which side a hand is, which version is
refused."""

import sys
import zipfile
from types import SimpleNamespace

import numpy as np
import pytest

from handtool.errors import HandtoolError
from handtool.hands.skeleton import LEFT, RIGHT
from handtool.vision.contracts import HandCrop
from handtool.vision.mediapipe import MediaPipeDetector, MediaPipeKeypoints, require_mediapipe

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
    """Puts a module in the place of mediapipe."""

    def put(**parts):
        module = SimpleNamespace(
            Image=SimpleNamespace, ImageFormat=SimpleNamespace(SRGB=1), **{"__version__": "0.10.33", **parts}
        )
        monkeypatch.setitem(sys.modules, "mediapipe", module)
        monkeypatch.setattr("importlib.util.find_spec", lambda name: module)

    return put


@pytest.fixture
def task(tmp_path):
    with zipfile.ZipFile(tmp_path / "hand_landmarker.task", "w") as archive:
        archive.writestr("hand_detector.tflite", b"x")
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


def test_an_installation_without_the_api_that_is_asked_for_is_told_which_it_has(install, task):
    install(tasks=tasks("Left", []))
    with pytest.raises(HandtoolError, match="has no solutions API") as caught:
        MediaPipeDetector(0.5)
    assert "hand_landmarker.task" in caught.value.hint
    install(solutions=solutions("Left"), tasks=tasks("Left", []), __version__="0.10.9")
    with pytest.raises(HandtoolError, match="0.10.9 is too old for a task file"):
        MediaPipeDetector(0.5, task)
    (task.parent / "text.task").write_text("x")
    with pytest.raises(HandtoolError, match="is no MediaPipe task file"):
        require_mediapipe(task.parent / "text.task")
