"""The public face in Python: `import handtool`."""

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from making import make_file, record, write_crops, write_videos
from running import read, run_stage

import handtool as package
from handtool import store
from handtool.config import MineConfig, PredictConfig
from handtool.errors import DamagedFile, HandtoolError
from handtool.nn.files.pose_weights import write_pose
from handtool.nn.files.weights import write_encoder
from handtool.nn.models.encoder import make_encoder, make_projection_head
from handtool.nn.models.pose_model import Contract, PoseModel
from handtool.nn.views.views import IMAGENET_MEAN, IMAGENET_STD
from handtool.stages.mine import mine
from handtool.stages.predict import predict
from handtool.store import CROPS, KEYPOINTS, LABELS, PREDICTIONS

HEAVY = ("numpy", "torch", "h5py", "cv2", "pandas", "typer")


def run_python(text: str) -> str:
    """What a new interpreter prints."""
    return subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True).stdout.strip()


def test_import_handtool_loads_none_of_the_heavy_libraries():
    loaded = f"[name for name in {HEAVY} if name in sys.modules]"
    assert run_python(f"import sys, handtool; dir(handtool); handtool.__version__; print({loaded})") == "[]"


def test_opening_a_file_does_not_load_torch(tmp_path):
    path = make_file(tmp_path / "a.h5")
    text = f"import sys, handtool; print(len(handtool.open({str(path)!r})), 'torch' in sys.modules)"
    assert run_python(text) == "9 False"


def test_dir_names_the_public_face_and_an_unknown_name_is_an_attribute_error():
    assert {"open", "HandDataset", "load_encoder", "load_pose", "__version__"} <= set(dir(package))
    with pytest.raises(AttributeError, match="no attribute 'lead_pose'"):
        _ = package.lead_pose


@pytest.fixture
def pairs(tmp_path) -> Path:
    """pairs.h5, which links to e.h5 for everything else."""
    make_file(tmp_path / "e.h5", (5, 4), ("keypoints", "labels", "embeddings"))
    run_stage(mine, tmp_path / "e.h5", tmp_path / "pairs.h5", MineConfig(topk=2, threads=1))
    return tmp_path / "pairs.h5"


def test_tables_are_arrays_whether_they_lie_in_the_file_or_in_one_that_it_links_to(pairs):
    with package.open(pairs) as file:
        assert len(file) == 9 and file.tables == ["videos", "crops", "keypoints", "embeddings", "labels", "pairs"]
        np.testing.assert_array_equal(file["keypoints/xy"], read(pairs.with_name("e.h5"), KEYPOINTS.xy))
        np.testing.assert_array_equal(file.read("keypoints/xy", [3, 1, 3]), file["keypoints/xy"][[3, 1, 3]])
        np.testing.assert_array_equal(file.read("keypoints/xy", slice(2, 5)), file["keypoints/xy"][2:5])
        assert file["videos/name"].tolist() == ["video 0", "video 1"]
        assert file.columns("keypoints") == ["xy", "score", "valid"]
        assert file.attrs("crops") == {"size": 64, "box_scale": 1.3}
        assert "pairs/anchor" in file and "pairs" in file and "pairs/nothing" not in file and "metrics" not in file


def test_images_are_the_decoded_crops_in_rgb(tmp_path):
    """A crop that is red all over, so that channels cannot be confused."""
    import cv2

    red = np.zeros((64, 64, 3), np.uint8)
    red[..., 2] = 255
    jpeg = cv2.imencode(".jpg", red)[1].tobytes()
    path = make_file(tmp_path / "a.h5", (3,))
    with store.open_file(path) as file:
        columns = {c.name: store.read_column(file, c) for c in CROPS.columns if file.has(c) and "jpeg" not in c.name}
    with store.create_file(tmp_path / "red.h5", record()) as sink:
        write_videos(sink, 1)
        store.write_table(sink, CROPS, columns | {"jpeg": [jpeg] * 3}, {"size": 64, "box_scale": 1.3})
        sink.finish({})
    with package.open(tmp_path / "red.h5") as file:
        assert file.images[0].shape == (64, 64, 3) and file.images[0].dtype == np.uint8
        assert (abs(file.images[-1].astype(int) - (255, 0, 0)) < 8).all()


def test_images_are_chosen_as_rows_of_an_array_are(tmp_path):
    with package.open(make_file(tmp_path / "a.h5", (3, 2))) as file:
        everything = np.stack(list(file.images))
        assert everything.shape == (5, 64, 64, 3) and len(np.unique(everything.reshape(5, -1), axis=0)) == 5
        for rows in (slice(1, 4), slice(None, None, -2), [4, 0, 4], np.array([True, False, True, False, False])):
            np.testing.assert_array_equal(file.images[rows], everything[rows])
        with pytest.raises(IndexError):
            file.images[5]


def test_a_name_that_is_not_there_is_told_with_those_that_are(pairs):
    with package.open(pairs) as file:
        for name, hint in (("keypoints/xz", "xy, score, valid"), ("predictions/joints", "pairs"), ("crops", "frame")):
            with pytest.raises(HandtoolError, match=name.split("/")[0]) as error:
                file[name]
            assert hint in error.value.hint


def test_repr_says_what_is_inside_even_where_a_linked_file_is_gone(pairs):
    with package.open(pairs) as file:
        assert "9 x xy, score, valid, in" in repr(file) and "18 x anchor, positive" in repr(file)
    pairs.with_name("e.h5").unlink()
    with package.open(pairs) as file:
        assert "which is not there" in repr(file)
        with pytest.raises(HandtoolError, match="which is not there"):
            file["keypoints/xy"]
    assert "closed" in repr(file)


def test_damage_is_an_error_of_handtool(tmp_path):
    path = make_file(tmp_path / "a.h5")
    with store.open_file(path) as file:
        begin = file.h5["crops/jpeg"].id.get_offset()
    data = bytearray(path.read_bytes())
    data[begin + 700] ^= 1
    path.write_bytes(data)
    with package.open(path) as file, pytest.raises(DamagedFile, match="checksum"):
        list(file.images)
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(DamagedFile):
        package.open(path)
    with pytest.raises(HandtoolError, match="does not exist"):
        package.open(tmp_path / "none.h5")


def test_to_pandas_gives_the_columns_of_csv(tmp_path, handtool):
    pandas = pytest.importorskip("pandas")
    path = make_file(tmp_path / "a.h5", (3, 2), ("keypoints",))
    done = handtool("export", path, "--table", "keypoints", "-o", "a.csv")
    assert done.returncode == 0, done.stderr
    written = pandas.read_csv(tmp_path / "a.csv", index_col="row")
    with package.open(path) as file:
        frame = file.to_pandas("keypoints")
        assert file.to_pandas("videos")["name"].tolist() == ["video 0", "video 1"]
        with pytest.raises(HandtoolError, match="no /pairs"):
            file.to_pandas("pairs")
    assert list(frame) == list(written) and "wrist_x_px" in frame
    for name in written:
        np.testing.assert_array_equal(frame[name], written[name].astype(frame[name].dtype))


def test_to_pandas_without_pandas_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with package.open(make_file(tmp_path / "a.h5")) as file:
        with pytest.raises(HandtoolError) as error:
            file.to_pandas("videos")
    assert error.value.hint == "pip install pandas"


def double(image: np.ndarray) -> np.ndarray:
    return image.astype(np.int64) * 2


def test_a_hand_dataset_has_image_labels_camera_and_side(tmp_path):
    path = make_file(tmp_path / "a.h5", (3, 2), ("keypoints", "labels"))
    hands = package.HandDataset(path)
    with package.open(path) as file:
        for row in (0, 4, -1):
            item = hands[row]
            np.testing.assert_array_equal(item["image"], file.images[row])
            np.testing.assert_array_equal(item["joints"], file["labels/joints"][row])
            np.testing.assert_array_equal(item["keypoints"], file["labels/keypoints"][row])
            np.testing.assert_allclose(item["camera"], file["crops/camera"][row])
            assert item["side"] == file["crops/side"][row] and item["scale"] == file["labels/scale"][row]
            assert item["valid"].all() and item["keypoints_valid"].all() and item["row"] == row % 5
    assert len(hands) == 5
    np.testing.assert_array_equal(package.HandDataset(path, double)[1]["image"], hands[1]["image"].astype(int) * 2)
    with pytest.raises(IndexError):
        hands[5]


def make_half_labelled(path: Path) -> Path:
    """Three hands: of the first all is labelled but joint 20, of the second nothing, the third has neither label nor keypoints."""
    rng = np.random.default_rng(3)
    hands = {"joints": rng.normal(size=(3, 21, 3)), "camera": np.full((3, 3, 3), np.nan)}
    hands["xy"] = rng.uniform(5, 50, (3, 21, 2))
    valid = np.zeros((3, 21), bool)
    valid[0, :20] = True
    with store.create_file(path, record()) as sink:
        write_videos(sink, 1)
        write_crops(sink, np.zeros(3, int), np.array([0, 1, 2]), hands, rng)
        columns = {"joints": hands["joints"], "keypoints": hands["xy"], "valid": valid, "keypoints_valid": valid}
        rest = {"scale": np.full(3, np.nan), "sample_id": np.arange(3), "sample_key": ["a", "b", "c"]}
        store.write_table(sink, LABELS, columns | rest)
        found = {"xy": hands["xy"] + 100, "score": np.ones((3, 21)), "valid": np.array([True, True, False])}
        store.write_table(sink, KEYPOINTS, found, {"skeleton": "hand21", "model": "drawn"})
        sink.finish({})
    return path


def test_labelled_keypoints_come_before_found_ones_and_what_is_not_known_is_nan(tmp_path):
    labelled, found, unknown = package.HandDataset(make_half_labelled(tmp_path / "a.h5"))
    assert (labelled["keypoints"][:20] < 60).all() and np.isnan(labelled["keypoints"][20]).all()
    assert labelled["valid"].tolist() == labelled["keypoints_valid"].tolist() == [True] * 20 + [False]
    assert np.isnan(labelled["joints"][20]).all() and np.isnan(labelled["camera"]).all()
    assert (found["keypoints"] > 100).all() and found["keypoints_valid"].all() and not found["valid"].any()
    assert np.isnan(unknown["keypoints"]).all() and np.isnan(unknown["joints"]).all() and unknown["side"] == 2


def test_a_file_of_crops_alone_is_a_dataset_without_labels(tmp_path):
    item = package.HandDataset(make_file(tmp_path / "a.h5", tables=()))[0]
    assert item["image"].shape == (64, 64, 3) and not item["valid"].any() and np.isnan(item["scale"])
    with store.create_file(tmp_path / "none.h5", record()) as sink:
        write_videos(sink, 1)
        sink.finish({})
    with pytest.raises(HandtoolError, match="has no /crops"):
        package.HandDataset(tmp_path / "none.h5")


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_a_data_loader_with_workers_gives_the_batches_of_one_process(tmp_path, start):
    hands = package.HandDataset(make_file(tmp_path / "a.h5", (5, 4), ("labels",)), double)
    alone = list(torch.utils.data.DataLoader(hands, batch_size=4))
    shared = list(torch.utils.data.DataLoader(hands, batch_size=4, num_workers=2, multiprocessing_context=start))
    assert [len(batch["row"]) for batch in shared] == [4, 4, 1]
    for one, other in zip(alone, shared, strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_pickled_dataset_finds_out_that_its_file_was_made_anew(tmp_path):
    path = make_file(tmp_path / "a.h5", (3,))
    pickled = pickle.dumps(package.HandDataset(path))
    assert len(pickle.loads(pickled)[2]["image"]) == 64 and len(pickled) < 1000
    path.unlink()
    make_file(path, (3,), seed=1)
    with pytest.raises(HandtoolError, match="made anew"):
        pickle.loads(pickled)[0]


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    """A folder with encoder.h5 and pose.h5 of chance, for inputs of 32 px, and test.h5."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    encoder = make_encoder("resnet18")
    stated = {"size": 32, "mean": np.array(IMAGENET_MEAN), "std": np.array(IMAGENET_STD), "side": "RIGHT"}
    with store.create_file(folder / "encoder.h5", record("handtool pretrain")) as sink:
        write_encoder(sink, encoder, make_projection_head(512), stated | {"box_scale": 1.3}, {})
        sink.finish({})
    model = PoseModel(encoder, Contract(size=32, bone_m=0.031)).eval()
    with store.create_file(folder / "pose.h5", record("handtool finetune")) as sink:
        write_pose(sink, model, {})
        sink.finish({})
    make_file(folder / "test.h5", (5, 4), ("labels",))
    return folder


@pytest.mark.parametrize("bone", ["truth", "mean", "25"])
def test_load_pose_says_what_predict_writes(weights, tmp_path, bone):
    run_stage(predict, weights / "test.h5", tmp_path / "p.h5", PredictConfig(bone=bone), model=weights / "pose.h5")
    predictor = package.load_pose(weights / "pose.h5", device="cpu")
    with package.open(tmp_path / "p.h5") as file:
        length = {"truth": 1000 * file["labels/scale"].astype(float), "mean": None, "25": 25.0}[bone]
        poses = predictor(file.images[:], file["crops/side"], file["crops/camera"], length)
        for name in ("joints", "keypoints", "scale"):
            np.testing.assert_allclose(getattr(poses, name), file[f"predictions/{name}"], rtol=1e-5, atol=1e-6)
        assert poses.valid.all() and poses.absolute.all() and len(poses) == 9
        assert {"joints", "keypoints", "scale", "valid", "absolute"} <= {c.name for c in PREDICTIONS.columns}


def test_without_a_camera_joints_are_relative_to_the_wrist_and_sides_may_be_names(weights):
    predictor = package.load_pose(weights / "pose.h5", device="cpu")
    with package.open(weights / "test.h5") as file:
        images, camera = file.images[:3], file["crops/camera"][:3]
    poses = predictor(torch.from_numpy(images), ["left", "right", "unknown"])
    assert not poses.absolute.any() and (poses.joints[:, 0] == 0).all()
    np.testing.assert_allclose(poses.scale, 0.031, rtol=1e-6)
    np.testing.assert_array_equal(poses.joints, predictor(images, np.array([0, 1, 2])).joints)
    np.testing.assert_allclose(poses.joints, predictor(images, [0, 1, 2], batch_size=1).joints, rtol=1e-3, atol=1e-6)
    mirrored = predictor(images[:, :, ::-1], ["right", "left", "left"])
    np.testing.assert_allclose(mirrored.joints, poses.joints * (-1, 1, 1), rtol=1e-3, atol=1e-6)
    some = np.where(np.arange(3)[:, None, None] == 1, camera, np.nan)
    assert predictor(images, "right", some).absolute.tolist() == [False, True, False]
    assert predictor(images, "right", camera[0]).absolute.all()


def test_wrong_arrays_are_told_in_one_line(weights):
    predictor = package.load_pose(weights / "pose.h5", device="cpu")
    images = np.zeros((2, 64, 64, 3), np.uint8)
    for arguments, message in (
        ((images[0], "left"), r"not \(64, 64, 3\) uint8"),
        ((images.astype(np.float32), "left"), "not .* float32"),
        ((images, "links"), "left, right or unknown"),
        ((images, [0, 1, 1]), r"side is \(3,\), and there are 2 images"),
        ((images, "left", np.eye(4)), r"camera is \(4, 4\)"),
    ):
        with pytest.raises(HandtoolError, match=message):
            predictor(*arguments)
    with pytest.raises(HandtoolError, match="not a pose model"):
        package.load_pose(weights / "encoder.h5")


def test_load_encoder_gives_the_features_of_embed(weights, tmp_path):
    from handtool.config import EmbedConfig
    from handtool.nn.files.features import encode_crops

    encoder = package.load_encoder(weights / "encoder.h5", device="cpu")
    assert not encoder.training and encoder.contract.size == 32 and encoder.contract.arch == "resnet18"
    with package.open(weights / "test.h5") as file:
        inputs = encoder.transform(file.images[:], file["crops/side"])
    with store.open_file(weights / "test.h5") as source, store.open_file(weights / "encoder.h5") as kept:
        [(_, expected)] = encode_crops(source, kept, EmbedConfig(device="cpu"))
    assert inputs.shape == (9, 3, 32, 32)
    with torch.no_grad():
        np.testing.assert_allclose(encoder(inputs).numpy(), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        package.load_encoder(weights / "pose.h5", "cpu").conv1.weight.detach(), encoder.conv1.weight.detach()
    )


def test_an_encoders_transform_mirrors_left_hands(weights):
    encoder = package.load_encoder(weights / "encoder.h5", device="cpu")
    images = np.random.default_rng(0).integers(0, 255, (2, 64, 64, 3), np.uint8)
    seen = encoder.transform(images)
    np.testing.assert_allclose(encoder.transform(images, "left"), seen.flip(3), atol=1e-5)
    np.testing.assert_allclose(encoder.transform(torch.from_numpy(images), ["left", "right"])[1], seen[1], atol=1e-6)
    assert list(encoder.state_dict()) == list(make_encoder("resnet18").state_dict())
