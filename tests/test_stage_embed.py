"""embed: canonical right hands on their principal axes."""

import numpy as np
import pytest
from making import SIZE, make_file, make_hands, record, write_crops, write_videos
from running import read, read_tables, run_stage, same_tables

from handtool import store
from handtool.config import EmbedConfig
from handtool.errors import HandtoolError, WrongCommand
from handtool.stages import embed as stage
from handtool.stages.embed import embed
from handtool.store import CROPS, EMBEDDINGS, KEYPOINTS, LEFT, RIGHT, UNKNOWN


def make_keypoints(path, xy, side, valid=None):
    """A file whose keypoints, sides and validity are given: xy (n, 21, 2) px."""
    rng, n = np.random.default_rng(0), len(xy)
    with store.create_file(path, record(seed=1)) as sink:
        write_videos(sink, 1)
        write_crops(sink, np.zeros(n, int), side, make_hands(n, rng), rng)
        columns = dict(xy=xy, score=np.ones((n, 21)), valid=np.ones(n, bool) if valid is None else valid)
        store.write_table(sink, KEYPOINTS, columns, {"skeleton": "hand21", "model": "drawn"})
        sink.finish({})
    return path


def random_keypoints(n, seed=0):
    return np.random.default_rng(seed).uniform(5, SIZE - 5, (n, 21, 2)).astype(np.float32)


def test_the_axes_are_those_of_a_float64_svd(tmp_path):
    xy = random_keypoints(200)
    source = make_keypoints(tmp_path / "k.h5", xy, np.full(200, RIGHT))
    run_stage(embed, source, tmp_path / "e.h5", EmbedConfig(dim=14))
    flat = (xy.astype(np.float64).reshape(200, 42) + 0.5) / SIZE
    centred = flat - flat.mean(axis=0)
    _, singular, axes = np.linalg.svd(centred, full_matrices=False)
    axes *= np.sign(axes[np.arange(42), np.abs(axes).argmax(axis=1)])[:, None]
    assert np.abs(read(tmp_path / "e.h5", EMBEDDINGS.vector) - centred @ axes[:14].T).max() < 1e-6
    with store.open_file(tmp_path / "e.h5") as file:
        attrs = store.read_attrs(file, EMBEDDINGS)
        assert attrs["kind"] == "pca" and attrs["normalization"] == "crop"
        assert np.allclose(attrs["explained_variance"], singular[:14] ** 2 / 199)
        rebuilt = (flat - attrs["mean"]) @ attrs["basis"]
        assert np.abs(rebuilt - store.read_column(file, EMBEDDINGS.vector)).max() < 1e-6, "as SCHEMA.md says"


def test_small_blocks_give_the_same_vectors(tmp_path, monkeypatch):
    source = make_file(tmp_path / "k.h5", (40, 37))
    run_stage(embed, source, tmp_path / "whole.h5", EmbedConfig())
    monkeypatch.setattr(stage, "BLOCK_ROWS", 8)
    run_stage(embed, source, tmp_path / "blocks.h5", EmbedConfig())
    assert np.abs(read(tmp_path / "whole.h5", EMBEDDINGS.vector) - read(tmp_path / "blocks.h5", EMBEDDINGS.vector)).max() < 1e-6


@pytest.mark.parametrize("normalization", ["crop", "wrist-scale", "similarity"])
def test_a_left_hand_and_its_mirror_image_have_one_vector(tmp_path, normalization):
    right = random_keypoints(30)
    left = right.copy()
    left[..., 0] = SIZE - 1 - left[..., 0]
    source = make_keypoints(tmp_path / "k.h5", np.concatenate([right, left]), np.repeat([RIGHT, LEFT], 30))
    report = run_stage(embed, source, tmp_path / "e.h5", EmbedConfig(normalization=normalization))
    vector = read(tmp_path / "e.h5", EMBEDDINGS.vector)
    assert np.allclose(vector[:30], vector[30:], atol=1e-5)
    assert not np.allclose(vector[:29], vector[1:30], atol=1e-2)
    assert report["left_hands_mirrored"] == 30


def test_hands_without_keypoints_are_marked_and_counted(tmp_path):
    xy, valid = random_keypoints(40), np.ones(40, bool)
    valid[3] = False
    xy[7, 4, 1] = np.nan
    source = make_keypoints(tmp_path / "k.h5", xy, np.full(40, UNKNOWN), valid)
    report = run_stage(embed, source, tmp_path / "e.h5", EmbedConfig(dim=3))
    vector, embedded = read(tmp_path / "e.h5", EMBEDDINGS.vector), read(tmp_path / "e.h5", EMBEDDINGS.valid)
    assert np.flatnonzero(~embedded).tolist() == [3, 7]
    assert np.isnan(vector[[3, 7]]).all() and np.isfinite(vector[embedded]).all()
    [hands] = report["accounting"]
    assert (hands["in"], hands["done"]) == (40, 38)
    assert hands["skipped"] == {"no keypoints": 1} and sum(hands["failed"].values()) == 1
    assert report["unknown_side_counted_as_right"] == 38


def test_an_invalid_hand_does_not_move_the_axes(tmp_path):
    xy = random_keypoints(40)
    wild = np.concatenate([xy, np.full((1, 21, 2), 1e6, np.float32)])
    run_stage(embed, make_keypoints(tmp_path / "a.h5", xy, np.full(40, RIGHT)), tmp_path / "ea.h5", EmbedConfig())
    valid = np.arange(41) < 40
    run_stage(embed, make_keypoints(tmp_path / "b.h5", wild, np.full(41, RIGHT), valid), tmp_path / "eb.h5", EmbedConfig())
    assert np.array_equal(read(tmp_path / "ea.h5", EMBEDDINGS.vector), read(tmp_path / "eb.h5", EMBEDDINGS.vector)[:40])


def test_new_hands_are_embedded_in_an_old_space(tmp_path):
    old = make_keypoints(tmp_path / "old.h5", random_keypoints(50), np.full(50, RIGHT))
    run_stage(embed, old, tmp_path / "e.h5", EmbedConfig(dim=5, normalization="wrist-scale"))
    some = make_keypoints(tmp_path / "some.h5", random_keypoints(50)[10:20], np.full(10, RIGHT))
    run_stage(embed, some, tmp_path / "s.h5", EmbedConfig(), basis=tmp_path / "e.h5")
    assert np.array_equal(read(tmp_path / "s.h5", EMBEDDINGS.vector), read(tmp_path / "e.h5", EMBEDDINGS.vector)[10:20])
    with pytest.raises(WrongCommand, match="--dim 7 contradicts"):
        run_stage(embed, some, tmp_path / "t.h5", EmbedConfig(dim=7), basis=tmp_path / "e.h5")
    with pytest.raises(HandtoolError, match="has no /embeddings"):
        run_stage(embed, some, tmp_path / "t.h5", EmbedConfig(), basis=old)


def test_no_hand_with_keypoints_is_an_error_with_a_hint(tmp_path):
    source = make_keypoints(tmp_path / "k.h5", random_keypoints(4), np.full(4, RIGHT), np.zeros(4, bool))
    with pytest.raises(HandtoolError, match="none of the 4 hands"):
        run_stage(embed, source, tmp_path / "e.h5", EmbedConfig())
    assert not (tmp_path / "e.h5").exists()
    with pytest.raises(HandtoolError, match="has no /keypoints"):
        run_stage(embed, make_file(tmp_path / "crops.h5", tables=()), tmp_path / "e.h5", EmbedConfig())


def test_one_hand_lies_at_the_origin_of_its_own_space(tmp_path):
    source = make_keypoints(tmp_path / "k.h5", random_keypoints(1), np.full(1, RIGHT))
    run_stage(embed, source, tmp_path / "e.h5", EmbedConfig())
    assert (read(tmp_path / "e.h5", EMBEDDINGS.vector) == 0).all()


def test_the_command_links_what_was_there_and_a_pipe_gives_the_same_tables(tmp_path, handtool):
    make_file(tmp_path / "k.h5")
    done = handtool("embed", "k.h5", "-o", "e.h5")
    assert done.returncode == 0, done.stderr
    with store.open_file(tmp_path / "e.h5") as file:
        assert set(file.links) == {"videos", "crops", "keypoints"}
    piped = handtool("embed", stdin=(tmp_path / "k.h5").read_bytes(), binary=True)
    assert piped.returncode == 0, piped.stderr
    (tmp_path / "piped.h5").write_bytes(piped.stdout)
    assert same_tables(read_tables(tmp_path / "e.h5"), read_tables(tmp_path / "piped.h5"))
    assert len(read(tmp_path / "piped.h5", CROPS.side)) == 9
    assert handtool("embed", "k.h5", "--dim", "43", "-o", "x.h5").returncode == 2
