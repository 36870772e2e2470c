"""finetune --correct: a model that corrects what an estimator sees, and needs it to predict."""

import json
from importlib.util import find_spec

import numpy as np
import pytest
from making import SIZE, make_hands, record, write_crops, write_labels, write_videos
from running import read, run_stage

from handtool import store
from handtool.cli.eval import evaluate_model
from handtool.cli.finetune import correct_estimator
from handtool.cli.predict import predict_crops
from handtool.config import CorrectConfig, EvalConfig, PredictConfig
from handtool.errors import HandtoolError
from handtool.hands.camera import project
from handtool.hands.hand_size import PROPORTIONS, bone_lengths
from handtool.hands.skeleton import BONES, bone_length
from handtool.nn.files.pose_weights import read_pose
from handtool.store import CROPS, KEYPOINTS, LABELS, PREDICTIONS


def with_bones_of_one_length(hands):
    """The same directions of bones, each of 40 mm, in the same picture."""
    joints = hands["joints"].copy()
    for parent, child in BONES:
        along = hands["joints"][:, child] - hands["joints"][:, parent]
        joints[:, child] = joints[:, parent] + 0.04 * along / np.linalg.norm(along, axis=1, keepdims=True)
    return hands | {"joints": joints, "xy": np.stack([project(*each) for each in zip(joints, hands["camera"])])}


def make_seen(path, seed, count=30, unseen=(), mirrored=False, with_joints=True, cameras=True):
    """A file with labels, and keypoints of an estimator whose joints are too large and shifted in one place. All hands
    are right ones, or all of them mirrored."""
    rng = np.random.default_rng(seed)
    hands = with_bones_of_one_length(make_hands(count, rng))
    joints = hands["joints"] - hands["joints"][:, :1]
    seen = 1.2 * joints + np.where(np.arange(21) > 9, 0.015, 0)[:, None]
    if mirrored:
        hands["joints"], seen = hands["joints"] * [-1, 1, 1], seen * [-1, 1, 1]
        hands["xy"][..., 0] = SIZE - 1 - hands["xy"][..., 0]
    if not cameras:
        hands["camera"][:] = np.nan
    seen[list(unseen)] = np.nan
    found = np.isfinite(seen).all((1, 2))
    with store.create_file(path, record(seed=seed)) as sink:
        write_videos(sink, 1)
        write_crops(sink, np.zeros(count, int), np.full(count, 0 if mirrored else 1), hands, rng)
        write_labels(sink, hands)
        columns = dict(xy=hands["xy"], score=np.ones((count, 21)), valid=found)
        columns |= {"joints": seen} if with_joints else {}
        attrs = {"skeleton": "hand21", "model": "mediapipe"} | ({"joints_source": "mediapipe"} if with_joints else {})
        store.write_table(sink, KEYPOINTS, columns, attrs)
        sink.finish({})
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("correct")


@pytest.fixture(scope="module")
def model(folder):
    run_stage(correct_estimator, make_seen(folder / "train.h5", 1), folder / "pose.h5", CorrectConfig())
    return folder / "pose.h5"


def errors_mm(path):
    truth, found = read(path, LABELS.joints), read(path, PREDICTIONS.joints)
    return 1000 * np.linalg.norm((found - found[:, :1]) - (truth - truth[:, :1]), axis=2).mean()


def test_the_report_says_what_it_was_trained_on_and_what_it_promises(folder):
    some = make_seen(folder / "some.h5", 2, unseen=(3, 4))
    report = run_stage(correct_estimator, some, folder / "some-pose.h5", CorrectConfig())
    assert report["accounting"][0]["skipped"] == {"not seen by mediapipe": 2} and report["trained_on"] == 28
    assert report["cross_validated_mm"] < report["estimator_mm"]


@pytest.mark.parametrize("mirrored", [False, True])
def test_hands_of_either_side_are_corrected_from_what_the_estimator_saw(folder, model, mirrored):
    test = make_seen(folder / f"test-{mirrored}.h5", 3, mirrored=mirrored)
    seen, truth = read(test, KEYPOINTS.joints), read(test, LABELS.joints)
    before = 1000 * np.linalg.norm(seen - (truth - truth[:, :1]), axis=2).mean()
    report = run_stage(predict_crops, test, folder / f"predicted-{mirrored}.h5", PredictConfig(), model=model)
    assert errors_mm(folder / f"predicted-{mirrored}.h5") < 0.8 * before
    assert report["scale_source"] == "estimator" and report["in_camera_frame"] == 30


def test_a_hand_and_its_mirror_image_get_mirrored_answers(folder, model):
    answers = []
    for mirrored in (False, True):
        test = make_seen(folder / f"pair-{mirrored}.h5", 6, mirrored=mirrored, cameras=False)
        run_stage(predict_crops, test, folder / f"pair-{mirrored}-p.h5", PredictConfig(), model=model)
        answers.append(read(folder / f"pair-{mirrored}-p.h5", PREDICTIONS.joints))
    assert np.allclose(answers[0], answers[1] * [-1, 1, 1], atol=1e-6)


def test_hands_that_the_estimator_did_not_see_are_counted_and_not_valid(folder, model):
    test = make_seen(folder / "gaps.h5", 4, unseen=(0, 5), cameras=False)
    report = run_stage(predict_crops, test, folder / "gaps-p.h5", PredictConfig(), model=model)
    assert report["accounting"][0]["skipped"] == {"no hand seen on the crop": 2}
    assert np.flatnonzero(~read(folder / "gaps-p.h5", PREDICTIONS.valid)).tolist() == [0, 5]
    assert report["relative_to_wrist"] == 28


def test_its_size_is_the_estimators_or_what_the_user_says(folder, model):
    test = make_seen(folder / "size.h5", 5)
    sizes = {}
    for bone, source in (("auto", "estimator"), ("truth", "truth"), ("mean", "given"), ("30", "given")):
        report = run_stage(predict_crops, test, folder / f"size-{bone}.h5", PredictConfig(bone=bone), model=model)
        assert report["scale_source"] == source
        sizes[bone] = bone_lengths(read(folder / f"size-{bone}.h5", PREDICTIONS.joints)).sum(1)
    assert np.allclose(sizes["truth"], bone_lengths(read(test, LABELS.joints)).sum(1), rtol=1e-4)
    assert np.allclose(sizes["30"], 0.03 * PROPORTIONS.sum(), rtol=1e-4)
    mean = bone_length(read(folder / "train.h5", LABELS.joints)).mean()
    assert np.allclose(sizes["mean"], mean * PROPORTIONS.sum(), rtol=1e-4)


def test_eval_scores_it_and_says_whose_scale_it_is(folder, model):
    scored = make_seen(folder / "scored.h5", 7)
    report = run_stage(evaluate_model, [scored], folder / "result.h5", EvalConfig(), model=model)
    assert report["results"][0]["scale_source"] == "estimator" and report["accounting"][0]["done"] == 30


def test_a_film_whose_detector_saw_the_joints_needs_no_second_look(folder, model):
    source = make_seen(folder / "film.h5", 8)
    with store.open_file(source) as file, store.create_file(folder / "landmarks.h5", record()) as sink:
        columns = {c.name: store.read_column(file, c) for c in CROPS.columns if file.has(c) and "jpeg" not in c.name}
        jpegs = store.open_jpegs(file)
        columns |= {"jpeg": [jpegs[row] for row in range(len(jpegs))]}
        columns |= {"landmarks": store.read_column(file, KEYPOINTS.xy)}
        columns |= {"landmarks_joints": store.read_column(file, KEYPOINTS.joints)}
        write_videos(sink, 1)
        store.write_table(sink, CROPS, columns, {"size": 64, "box_scale": 1.3})
        sink.finish({})
    for name in ("film", "landmarks"):
        run_stage(predict_crops, folder / f"{name}.h5", folder / f"{name}-p.h5", PredictConfig(), model=model)
    assert np.allclose(*(read(folder / f"{name}-p.h5", PREDICTIONS.joints) for name in ("film", "landmarks")))


@pytest.mark.skipif(find_spec("mediapipe") is not None, reason="mediapipe is here and is asked")
def test_an_estimator_that_is_needed_and_not_here_is_an_error(folder, model):
    bare = make_seen(folder / "bare.h5", 9, with_joints=False)
    stages = (correct_estimator, CorrectConfig(), {}), (predict_crops, PredictConfig(), {"model": model})
    for stage, config, more in stages:
        with pytest.raises(HandtoolError, match="mediapipe package is not installed"):
            run_stage(stage, bare, folder / "none.h5", config, **more)


def test_nine_hands_are_too_few(folder):
    with pytest.raises(HandtoolError, match="a correction needs 10"):
        run_stage(correct_estimator, make_seen(folder / "few.h5", 10, count=9), folder / "none.h5", CorrectConfig())


def test_it_is_no_network_for_those_who_want_one(folder, model):
    with store.open_file(model) as file, pytest.raises(HandtoolError, match="holds correction weights"):
        read_pose(file)


def test_the_command_fits_it_once_and_refuses_what_has_no_effect(handtool, folder, tmp_path):
    line = ["finetune", make_seen(folder / "line.h5", 11), "--correct", "mediapipe", "-o", tmp_path / "pose.h5"]
    first = handtool(*line, "--json")
    assert first.returncode == 0 and json.loads(first.stdout)["report"]["trained_on"] == 30, first.stderr
    again = handtool(*line)
    assert "up to date" in again.stderr
    idle = handtool(*line, "--steps", 3)
    assert idle.returncode == 2 and "--steps does nothing with --correct" in idle.stderr
    few = handtool(*line[:-1], tmp_path / "few.h5", "--label-fraction", 0.4, "--json")
    assert json.loads(few.stdout)["report"]["trained_on"] == 12
