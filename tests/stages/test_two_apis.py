"""Points found by MediaPipe's two APIs, or with two task files, are not mixed unnoticed."""

import logging

import h5py
import numpy as np
import pytest
from making import make_file, record
from running import run_stage

from handtool import store
from handtool.config import CatConfig, EmbedConfig, KeypointsConfig, MineConfig
from handtool.errors import HandtoolError
from handtool.stages.cat import cat
from handtool.stages.embed import embed
from handtool.stages.keypoints import keypoints
from handtool.stages.mine import mine
from handtool.store import CROPS, EMBEDDINGS, KEYPOINTS, differ, is_mixed, join_apis, name_api
from handtool.vision import estimators
from handtool.vision.mediapipe_package import Api

SOLUTIONS = {"mediapipe_api": "solutions", "mediapipe_version": "0.10.21"}
TASKS = {"mediapipe_api": "tasks", "mediapipe_version": "1.2.3", "task_sha256": "ab" * 32}
OLD_TASKS = {**TASKS, "mediapipe_version": "0.10.21"}
OTHER_TASK = {**TASKS, "task_sha256": "cd" * 32}


def tell(path, table: str, attrs: dict, model: str = "mediapipe"):
    """The file, whose table says what found its points."""
    with h5py.File(path, "r+") as file:
        for name, value in (attrs | ({"model": model} if table == "keypoints" else {})).items():
            file[table].attrs[name] = store.text.encode(value)
    return path


def told(path, table) -> dict:
    with store.open_file(path) as file:
        return store.api_attrs(store.read_attrs(file, table))


def test_the_version_alone_is_no_difference_and_who_does_not_say_differs_from_nobody():
    assert differ(SOLUTIONS, TASKS) and differ(TASKS, OTHER_TASK) and differ(SOLUTIONS, OLD_TASKS)
    assert not differ(TASKS, OLD_TASKS) and not differ({}, TASKS) and not differ({"model": "labels"}, SOLUTIONS)
    both = join_apis([TASKS, OLD_TASKS, {}])
    assert both == {**TASKS, "mediapipe_version": "0.10.21 + 1.2.3"} and not is_mixed(both)
    mixed = join_apis([SOLUTIONS, TASKS])
    assert is_mixed(mixed) and is_mixed(join_apis([TASKS, OTHER_TASK])) and not is_mixed(SOLUTIONS)
    assert name_api(mixed) == "solutions API + Tasks API of 0.10.21 + 1.2.3 with task abababab"
    assert name_api(SOLUTIONS) == "solutions API of 0.10.21"


@pytest.mark.parametrize("other", [TASKS, OTHER_TASK])
def test_keypoints_of_two_are_not_joined(tmp_path, other):
    one = tell(make_file(tmp_path / "1.h5", seed=1), "keypoints", SOLUTIONS if other is TASKS else TASKS)
    two = tell(make_file(tmp_path / "2.h5", seed=2), "keypoints", other)
    with pytest.raises(HandtoolError, match="keypoints were found by MediaPipe's .* in .*1.h5, by its Tasks") as caught:
        run_stage(cat, [one, two], tmp_path / "x.h5", CatConfig())
    assert f"handtool keypoints {two} --estimator mediapipe" in caught.value.hint


def test_keypoints_of_one_are_joined_with_each_other_and_with_labels(tmp_path):
    files = [
        tell(make_file(tmp_path / "1.h5", seed=1), "keypoints", {}, "labels"),
        tell(make_file(tmp_path / "2.h5", seed=2), "keypoints", TASKS),
        tell(make_file(tmp_path / "3.h5", seed=3), "keypoints", OLD_TASKS),
    ]
    run_stage(cat, files, tmp_path / "x.h5", CatConfig())
    assert told(tmp_path / "x.h5", KEYPOINTS) == {**TASKS, "mediapipe_version": "0.10.21 + 1.2.3"}


def test_a_file_that_does_not_say_which_is_joined_with_a_warning(tmp_path, caplog):
    one, two = make_file(tmp_path / "1.h5", seed=1), make_file(tmp_path / "2.h5", seed=2)
    tell(one, "keypoints", {}, "labels + detector"), tell(two, "keypoints", TASKS)
    with caplog.at_level(logging.WARNING, "handtool"):
        run_stage(cat, [one, two], tmp_path / "x.h5", CatConfig())
    assert "1.h5 does not say which of MediaPipe's APIs found its keypoints" in caplog.text


def with_landmarks(path, attrs: dict):
    """Crops whose first hand has landmarks."""
    make_file(path, (2, 1), tables=(), seed=len(path.name) + len(str(attrs)))
    with h5py.File(path, "r+") as file:
        crops = file["crops"]
        crops["landmarks"][0], crops["landmarks_score"][0] = 20.0, 0.9
        for name in ("landmarks", "landmarks_score"):
            crops[name].attrs["crc32"] = np.uint32(store.columns.crc32(crops[name][()]))
    return tell(path, "crops", attrs)


def find(source, target, count: int, **config) -> dict:
    """keypoints; what the estimator finds, on `count` hands, is there already."""
    with store.open_file(source) as file, store.open_job(target, record()) as job:
        found = {"xy": np.full((count, 21, 2), 30.0), "score": np.ones((count, 21)), "found": np.ones(count, bool)}
        job.save("hands-0000000", found)
        with store.create_file(target, record(), [file]) as sink:
            report = keypoints(file, sink, KeypointsConfig(**config), job=job)
            sink.finish(report)
        job.remove()
    return report


@pytest.fixture
def here(monkeypatch):
    """Chooses the API of this machine."""

    def choose(api: dict):
        known = Api(api["mediapipe_api"], api["mediapipe_version"])
        monkeypatch.setattr(estimators, "find_api", lambda model: known)
        monkeypatch.setattr(Api, "as_attrs", lambda self: dict(api))

    return choose


def test_crops_with_landmarks_of_two_are_joined_and_keypoints_are_then_found_anew(tmp_path, caplog, here):
    one, two = with_landmarks(tmp_path / "1.h5", SOLUTIONS), with_landmarks(tmp_path / "2.h5", TASKS)
    with caplog.at_level(logging.WARNING, "handtool"):
        run_stage(cat, [one, two], tmp_path / "x.h5", CatConfig())
    assert "landmarks were found by MediaPipe's solutions API" in caplog.text and is_mixed(
        told(tmp_path / "x.h5", CROPS)
    )
    here(TASKS)
    with pytest.raises(HandtoolError, match="solutions API . Tasks API of .* differ by 2 %") as caught:
        find(tmp_path / "x.h5", tmp_path / "k.h5", 4)
    assert "--estimator mediapipe" in caught.value.hint
    find(tmp_path / "x.h5", tmp_path / "k.h5", 6, estimator="mediapipe")
    assert told(tmp_path / "k.h5", KEYPOINTS) == TASKS


def test_landmarks_of_one_are_not_completed_by_the_other(tmp_path, here):
    source = with_landmarks(tmp_path / "c.h5", SOLUTIONS)
    here(TASKS)
    with pytest.raises(HandtoolError, match="solutions API of 0.10.21; the others would be found by the Tasks API"):
        find(source, tmp_path / "k.h5", 2)
    here(SOLUTIONS)
    assert find(source, tmp_path / "k.h5", 2)["mediapipe"] == "solutions API of 0.10.21"
    assert told(tmp_path / "k.h5", KEYPOINTS) == SOLUTIONS


def test_a_run_begun_with_one_is_not_continued_with_the_other(tmp_path):
    with store.open_job(tmp_path / "out.h5", record()) as job:
        job.keep_to(SOLUTIONS)
        job.save("one", {"x": np.ones(3)})
        job.keep_to({**SOLUTIONS, "mediapipe_version": "0.10.20"})  # another version is no difference
        with pytest.raises(
            HandtoolError, match="beginning of a run by MediaPipe's solutions API of 0.10.20; here"
        ) as caught:
            job.keep_to(TASKS)
        assert "--restart" in caught.value.hint
    with store.open_job(tmp_path / "out.h5", record(), restart=True) as job:
        job.keep_to(TASKS)


def embedded(tmp_path, name: str, seed: int, attrs: dict, **more):
    source = tell(make_file(tmp_path / f"{name}-k.h5", (9, 9), seed=seed), "keypoints", attrs)
    run_stage(embed, source, tmp_path / f"{name}.h5", EmbedConfig(dim=4), **more)
    return tmp_path / f"{name}.h5"


def test_hands_of_two_are_neither_embedded_in_one_space_nor_mined_in_each_other(tmp_path):
    one = embedded(tmp_path, "one", 1, SOLUTIONS)
    assert told(one, EMBEDDINGS) == SOLUTIONS
    with pytest.raises(HandtoolError, match="found the keypoints of .*two-k.h5, its solutions API of 0.10.21 those of"):
        embedded(tmp_path, "two", 2, TASKS, basis=one)
    same = embedded(tmp_path, "three", 3, SOLUTIONS, basis=one)
    run_stage(mine, one, tmp_path / "p.h5", MineConfig(index="exact"), pool=same)
    with pytest.raises(HandtoolError, match="differ by 2 %"):
        run_stage(mine, one, tmp_path / "q.h5", MineConfig(index="exact"), pool=tell(same, "embeddings", TASKS))
