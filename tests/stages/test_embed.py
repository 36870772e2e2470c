"""embed: canonical right hands on their principal axes."""

import cv2
import numpy as np
import pytest
import torch
from making import SIZE, make_file, make_hands, record, write_crops, write_videos
from running import read, read_tables, run_stage, same_tables

from handtool import store
from handtool.config import EmbedConfig
from handtool.errors import HandtoolError, WrongCommand
from handtool.nn.files.features import encode_crops
from handtool.nn.files.weights import read_encoder, write_encoder
from handtool.nn.models.encoder import make_encoder, make_projection_head
from handtool.nn.views.augmentation import render_inputs, whole_crop
from handtool.nn.views.views import IMAGENET_MEAN, IMAGENET_STD
from handtool.stages import embed as stage
from handtool.stages.embed import embed
from handtool.store import CROPS, EMBEDDINGS, KEYPOINTS, LABELS, LEFT, RIGHT, UNKNOWN


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
    assert (
        np.abs(read(tmp_path / "whole.h5", EMBEDDINGS.vector) - read(tmp_path / "blocks.h5", EMBEDDINGS.vector)).max()
        < 1e-6
    )


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
    run_stage(
        embed, make_keypoints(tmp_path / "b.h5", wild, np.full(41, RIGHT), valid), tmp_path / "eb.h5", EmbedConfig()
    )
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


def test_all_42_numbers_are_kept_as_they_are_without_axes(tmp_path):
    xy = random_keypoints(50)
    source = make_keypoints(tmp_path / "k.h5", xy, np.full(50, RIGHT))
    report = run_stage(embed, source, tmp_path / "e.h5", EmbedConfig(dim=42))
    flat = (xy.astype(np.float64).reshape(50, 42) + 0.5) / SIZE
    assert np.abs(read(tmp_path / "e.h5", EMBEDDINGS.vector) - flat).max() < 1e-7
    assert "share_of_variance" not in report
    with store.open_file(tmp_path / "e.h5") as file:
        attrs = store.read_attrs(file, EMBEDDINGS)
        assert attrs["kind"] == "raw" and np.array_equal(attrs["basis"], np.eye(42)) and not attrs["mean"].any()
        assert np.allclose(attrs["explained_variance"], flat.var(axis=0, ddof=1), rtol=1e-5)
    other = make_keypoints(tmp_path / "k2.h5", random_keypoints(9, seed=1), np.full(9, RIGHT))
    run_stage(embed, other, tmp_path / "e2.h5", EmbedConfig(), basis=tmp_path / "e.h5")
    assert read(tmp_path / "e2.h5", EMBEDDINGS.vector).shape == (9, 42)


def test_joints_of_labels_describe_a_hand_in_three_dimensions(tmp_path):
    source = make_file(tmp_path / "l.h5", (20, 15), ("labels",))
    report = run_stage(embed, source, tmp_path / "e.h5", EmbedConfig(source="joints"))
    joints, side = read(source, LABELS.joints).astype(np.float64), read(source, CROPS.side)
    joints[side == LEFT, :, 0] *= -1
    joints -= joints[:, :1]
    joints /= np.sqrt((joints**2).sum(axis=2).mean(axis=1))[:, None, None]
    assert np.abs(read(tmp_path / "e.h5", EMBEDDINGS.vector) - joints.reshape(35, 63)).max() < 1e-6
    assert report["dim"] == 63 and report["normalization"] == "wrist-scale" and report["source"] == "joints"
    with store.open_file(tmp_path / "e.h5") as file:
        assert store.read_attrs(file, EMBEDDINGS)["source"] == "joints"


def test_joints_have_no_place_in_a_crop(tmp_path, handtool):
    make_file(tmp_path / "l.h5", (5, 5), ("labels",))
    done = handtool("embed", "l.h5", "--from", "joints", "--normalization", "crop", "-o", "e.h5")
    assert done.returncode == 2 and "wrist-scale, similarity" in done.stderr
    done = handtool("embed", "l.h5", "-o", "e.h5")
    assert done.returncode == 1 and "handtool keypoints l.h5" in done.stderr


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """An encoder.h5 with a random ResNet-18 that wants 32 px."""
    torch.manual_seed(0)
    network, path = make_encoder("resnet18"), tmp_path_factory.mktemp("encoder") / "encoder.h5"
    contract = {"size": 32, "mean": IMAGENET_MEAN, "std": IMAGENET_STD, "side": "RIGHT", "box_scale": 1.3}
    with store.create_file(path, record(seed=3)) as sink:
        write_encoder(sink, network, make_projection_head(512), contract, {})
        sink.finish({})
    return path


def test_features_of_an_encoder_are_of_unit_length_before_their_axes(tmp_path, encoder):
    source = make_file(tmp_path / "c.h5", (20, 15), ("keypoints",))
    report = run_stage(embed, source, tmp_path / "raw.h5", EmbedConfig(dim=512), encoder=encoder)
    vector = read(tmp_path / "raw.h5", EMBEDDINGS.vector)
    assert (
        vector.shape == (35, 512)
        and np.allclose(np.linalg.norm(vector, axis=1), 1, atol=1e-5)
        and report["source"] == "encoder"
    )
    run_stage(embed, source, tmp_path / "small.h5", EmbedConfig(dim=6, batch_size=8), encoder=encoder)
    centred = vector.astype(np.float64) - vector.mean(axis=0, dtype=np.float64)
    _, singular, axes = np.linalg.svd(centred, full_matrices=False)
    assert np.allclose(np.abs(read(tmp_path / "small.h5", EMBEDDINGS.vector)), np.abs(centred @ axes[:6].T), atol=1e-4)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c.h5", "raw.h5", "small.h5"]


def test_an_encoder_sees_a_left_hand_as_the_right_hand_that_it_mirrors(tmp_path, encoder):
    source = make_file(tmp_path / "c.h5", (12,), ())
    side = read(source, CROPS.side)
    with store.open_file(source, trusted=True) as file, store.open_file(encoder, trusted=True) as weights:
        features = next(encode_crops(file, weights, EmbedConfig(device="cpu")))[1]
        jpegs = store.open_jpegs(file)
        network = read_encoder(weights)[0].eval()
    for row in range(12):
        image = torch.from_numpy(cv2.imdecode(np.frombuffer(jpegs[row], np.uint8), 1)[..., ::-1].copy())
        image = image.flip(1) if side[row] == LEFT else image
        inputs = render_inputs(
            image[None], whole_crop(1, SIZE, 32), torch.tensor([False]), None, IMAGENET_MEAN, IMAGENET_STD
        )
        with torch.no_grad():
            assert np.allclose(network(inputs)[0], features[row], atol=1e-4)


def test_the_space_of_an_encoder_is_only_for_that_encoder(tmp_path, encoder, handtool):
    make_file(tmp_path / "c.h5", (6, 6), ("keypoints",))
    assert handtool("embed", "c.h5", "--encoder", encoder, "--dim", "4", "-o", "e.h5").returncode == 0
    same = handtool("embed", "c.h5", "--encoder", encoder, "--basis", "e.h5", "-o", "again.h5")
    assert same.returncode == 0, same.stderr
    assert np.allclose(
        read(tmp_path / "again.h5", EMBEDDINGS.vector), read(tmp_path / "e.h5", EMBEDDINGS.vector), atol=1e-6
    )
    without = handtool("embed", "c.h5", "--basis", "e.h5", "-o", "no.h5")
    assert without.returncode == 2 and "--encoder FILE" in without.stderr
    both = handtool("embed", "c.h5", "--encoder", encoder, "--from", "joints", "-o", "no.h5")
    assert both.returncode == 2
    wrong = handtool("embed", "c.h5", "--encoder", "c.h5", "-o", "no.h5")
    assert wrong.returncode == 1 and "has no /weights" in wrong.stderr
