"""Where hands are from: equal labels have equal digests, whatever else is in the rows, and others have not."""

import numpy as np
from making import make_hands, record, write_crops, write_videos

from handtool import store
from handtool.store import LABELS, origin
from handtool.store.origin import digest_labels, digest_rows, read_origin


def write_file(path, joints, valid, keypoints, keypoints_valid, video=None):
    rng, n = np.random.default_rng(0), len(joints)
    video = np.zeros(n, int) if video is None else video
    with store.create_file(path, record(seed=1)) as sink:
        write_videos(sink, max(video) + 1)
        write_crops(sink, video, np.ones(n, int), make_hands(n, rng), rng)
        columns = dict(joints=joints, valid=valid, keypoints=keypoints, keypoints_valid=keypoints_valid)
        names = {"sample_id": np.arange(n), "sample_key": [f"picture {i}" for i in range(n)]}
        store.write_table(sink, LABELS, columns | {"scale": np.full(n, np.nan)} | names)
        sink.finish({})
    return path


def test_rows_with_equal_labels_and_only_those_have_equal_digests(tmp_path, monkeypatch):
    monkeypatch.setattr(origin, "BLOCK_ROWS", 7)
    rng, n = np.random.default_rng(1), 40
    joints, keypoints = rng.normal(size=(n, 21, 3)).astype("f4"), rng.normal(size=(n, 21, 2)).astype("f4")
    valid, keypoints_valid = rng.random((n, 21)) < 0.9, rng.random((n, 21)) < 0.9
    joints[30], valid[30] = joints[3], valid[3]  # the same hand, in a crop of its own
    joints[31], valid[31] = joints[3], valid[3]
    joints[31, np.flatnonzero(~valid[3])] = 9  # what is not known does not count
    joints[32], valid[32] = joints[3], valid[3]
    joints[32, np.flatnonzero(valid[3])[0], 1] += 1e-6
    valid[5] = valid[6] = valid[7] = keypoints_valid[7] = False
    keypoints[6], keypoints_valid[6] = keypoints[5], keypoints_valid[5]
    keypoints_valid[7, 0] = True  # a single point may be equal by chance
    valid[8] = keypoints_valid[8] = False
    path = write_file(tmp_path / "l.h5", joints, valid, keypoints, keypoints_valid)
    with store.open_file(path) as file:
        digest = digest_labels(file)
    assert digest[3] == digest[30] == digest[31] != digest[32] and digest[5] == digest[6] != 0
    assert np.flatnonzero(digest == 0).tolist() == [7, 8]
    assert len(set(digest.tolist())) == n - 4


def test_digests_tell_order_and_hardly_differing_numbers_apart():
    steps = np.stack(np.meshgrid(*[np.arange(12, dtype=np.float32) / 8] * 4), axis=-1).reshape(-1, 4)
    assert len(np.unique(digest_rows(steps))) == len(steps) == 12**4


def test_each_video_tells_the_name_of_one_of_its_samples(tmp_path):
    n = 6
    nothing, known = np.zeros((n, 21), bool), np.zeros((n, 21, 3))
    path = write_file(tmp_path / "l.h5", known, nothing, known[:, :, :2], nothing, np.array([0, 0, 2, 2, 2, 3]))
    with store.open_file(path) as file:
        found = read_origin(file)
        assert found["owner"] == file.uuid
    assert found["sample_key"] == ["picture 0", "", "picture 2", "picture 5"]
    assert found["sample_id"].tolist() == list(range(n)) and not found["label"].any()
