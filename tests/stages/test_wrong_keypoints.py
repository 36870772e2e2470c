"""Keypoints that are noisy, or another hand's, do not break the pre-training that regresses them."""

import h5py
import numpy as np
import pytest
from making import SIZE, make_hands, record, write_crops, write_videos
from training import TinyEncoder, curve_of, run_pretrain

from handtool import store
from handtool.config import EmbedConfig
from handtool.nn.files.features import encode_crops
from handtool.nn.models.encoder import ENCODERS
from handtool.store import KEYPOINTS

HANDS = 200


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setitem(ENCODERS, "tiny", TinyEncoder)


def write_hands(path, wrong: bool):
    """One rigid hand, turned in the picture; where `wrong`, 4.5 % of the side off, and 15 % are another hand's."""
    rng = np.random.default_rng(6)
    angle = rng.uniform(-1.5, 1.5, HANDS)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]).transpose(2, 1, 0)
    xy = (np.column_stack([np.linspace(-6, 6, 21), np.linspace(-24, 24, 21)]) @ turn) + SIZE / 2
    hands = make_hands(HANDS, rng) | {"xy": xy}
    seen, which = xy.copy(), rng.random(HANDS) < 0.15
    if wrong:
        seen += rng.normal(0, 0.045 * SIZE, seen.shape)
        seen[which] = seen[rng.permutation(HANDS)[: which.sum()]]
    with store.create_file(path, record()) as sink:
        write_videos(sink, 1)
        write_crops(sink, np.zeros(HANDS, int), np.ones(HANDS, int), hands, rng)
        columns = dict(xy=seen, score=np.ones((HANDS, 21)), valid=np.ones(HANDS, bool))
        columns["joints"] = np.concatenate([seen, 0 * seen[..., :1]], 2) / 1000
        store.write_table(sink, KEYPOINTS, columns, {"skeleton": "hand21", "model": "drawn"})
        sink.finish({})
    return xy.reshape(HANDS, 42)


def miss_of_features(source, encoder, xy: np.ndarray) -> float:
    """Mean error, px, of the true keypoints read off frozen features by least squares, on hands not fitted to."""
    with store.open_file(source) as file, store.open_file(encoder) as network:
        features = np.concatenate([block for _, block in encode_crops(file, network, EmbedConfig(workers=1))])
    known = np.column_stack([features, np.ones(HANDS)])
    weights = np.linalg.lstsq(known[:120], xy[:120], rcond=None)[0]
    return float(np.abs(known[120:] @ weights - xy[120:]).mean())


@pytest.mark.parametrize("method", ["keypoints", "handtool"])
def test_wrong_keypoints_are_learnt_from_nearly_as_well(tmp_path, method):
    missed = {}
    for wrong in (False, True):
        name = "wrong" if wrong else "exact"
        xy = write_hands(tmp_path / f"{name}.h5", wrong)
        settings = {"method": method, "arch": "tiny", "batch_size": 20, "steps": 120, "learning_rate": 1e-2}
        run_pretrain(tmp_path / f"{name}.h5", tmp_path / f"encoder-{name}.h5", **settings)
        loss = curve_of(tmp_path / f"encoder-{name}.h5")
        assert np.mean(loss[-20:]) < 0.8 * np.mean(loss[:5]) and np.isfinite(loss).all()
        missed[name] = miss_of_features(tmp_path / f"{name}.h5", tmp_path / f"encoder-{name}.h5", xy)
    mean = np.abs(xy[120:] - xy[:120].mean(0)).mean()
    assert missed["wrong"] < 0.5 * mean and missed["wrong"] < 1.5 * missed["exact"] + 0.1


def test_the_copy_of_a_study_has_other_hands_keypoints(tmp_path, monkeypatch):
    import sys
    from pathlib import Path

    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[2] / "examples"))
    import study_wrong

    write_hands(tmp_path / "exact.h5", False)
    arguments = ["study_wrong", str(tmp_path / "exact.h5"), str(tmp_path / "wrong.h5"), "0.15"]
    monkeypatch.setattr(sys, "argv", arguments)
    study_wrong.main()
    with h5py.File(tmp_path / "exact.h5") as before, h5py.File(tmp_path / "wrong.h5") as after:
        was, now = before["keypoints/xy"][:], after["keypoints/xy"][:]
    changed = (was != now).any((1, 2))
    assert 0.08 < changed.mean() < 0.22
    assert all((now[row] == was).all((1, 2)).any() for row in np.flatnonzero(changed))
