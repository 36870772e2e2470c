"""The public face in Python: `import handtool`."""

import dataclasses
import json
import os
import pickle
import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from making import make_file, record, write_crops, write_videos
from running import read, read_tables, run_stage, same_tables

import handtool as package
from handtool import store
from handtool.cli import state
from handtool.config import MineConfig, PredictConfig
from handtool.errors import DamagedFile, HandtoolError, WrongCommand
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
    assert {"open", "HandDataset", "run", "load_encoder", "load_pose", "__version__"} <= set(dir(package))
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
    """Three hands: of the first all is labelled but joint 20, of the second nothing, the third has neither label nor
    keypoints."""
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


@pytest.fixture
def embedded(tmp_path, monkeypatch) -> Path:
    """e.h5 in the working directory."""
    monkeypatch.chdir(tmp_path)
    return make_file(Path("e.h5"), (5, 4), ("keypoints", "labels", "embeddings"))


def test_run_makes_the_tables_and_the_report_of_the_command(embedded, handtool):
    report = package.run("mine", "e.h5", "pairs.h5", topk=2, threads=1, metric="cosine", max_distance=1.5)
    options = ("--topk", 2, "--threads", 1, "--metric", "cosine", "--max-distance", 1.5)
    done = handtool("mine", "e.h5", "-o", "other.h5", *options, "--json")
    assert json.loads(done.stdout)["report"] == json.loads(json.dumps(report))
    assert same_tables(read_tables(Path("pairs.h5")), read_tables(Path("other.h5")))


def test_the_history_of_what_run_made_is_a_line_of_shell_that_makes_the_same(embedded, handtool):
    package.run("mine", embedded, Path("pairs.h5"), topk=2, same_side=True, max_in_degree=None, threads=np.int64(1))
    [line] = package.run("info", "pairs.h5")["commands"][-1:]
    assert line == "handtool mine e.h5 --topk 2 --same-side --threads 1 -o pairs.h5"
    assert "pairs.h5 is up to date" in handtool(*shlex.split(line)[1:]).stderr


def test_run_keeps_what_is_up_to_date_and_refuses_to_overwrite_what_is_not(embedded):
    first = package.run("mine", "e.h5", "pairs.h5", topk=2, threads=1)
    before = Path("pairs.h5").stat().st_mtime_ns
    assert package.run("mine", "e.h5", "pairs.h5", topk=2, threads=1) == json.loads(json.dumps(first))
    with pytest.raises(HandtoolError, match="topk 2 instead of 3"):
        package.run("mine", "e.h5", "pairs.h5", topk=3, threads=1)
    assert Path("pairs.h5").stat().st_mtime_ns == before
    assert package.run("mine", "e.h5", "pairs.h5", topk=3, threads=1, force=True)["topk"] == 3


def test_run_prints_nothing_and_leaves_the_settings_of_the_command_line_alone(embedded, capfd):
    before = vars(state).copy()
    package.run("mine", "e.h5", "pairs.h5", topk=2, threads=1)
    package.run("check", ["e.h5", "pairs.h5"], deep=True)
    with pytest.raises(HandtoolError):
        package.run("mine", "none.h5", "other.h5")
    embedded.unlink()
    assert package.run("info", "pairs.h5")["missing"]
    assert capfd.readouterr() == ("", "") and vars(state) == before


@pytest.mark.parametrize(
    "arguments, settings, message, hint",
    [
        (("mine", "e.h5", "p.h5"), {"topq": 3}, "'topq' is no setting of mine", "topk"),
        (("mime", "e.h5", "p.h5"), {}, "'mime' is no command", "mine"),
        (("mine", "e.h5", "p.h5"), {"as_json": True}, "'as_json' is no setting", "topk"),
        (("mine", "e.h5", "p.h5"), {"topk": 0}, "0 is not in the range", "mine --help"),
        (("mine", "e.h5", "p.h5"), {"metric": "manhattan"}, "not one of 'euclidean', 'cosine'", "--help"),
        (("mine", "e.h5", "p.h5"), {"same_side": "no"}, "same_side='no': True or False", None),
        (("mine", "e.h5"), {}, "mine needs an output", "FILE.h5"),
        (("mine", None, "p.h5"), {}, "mine needs a source", "FILE.h5"),
        (("mine", "-", "p.h5"), {}, "not the name of a file", "./-"),
        (("doctor", "e.h5"), {}, "takes no source", None),
        (("info", "e.h5", "p.h5"), {}, "writes no file", None),
        (("split", "e.h5", ["one.h5"]), {}, "2 parts, 1 outputs", None),
    ],
)
def test_a_call_that_no_command_line_could_say_is_refused_with_what_is_meant(
    embedded, arguments, settings, message, hint
):
    with pytest.raises(WrongCommand) as error:
        package.run(*arguments, **settings)
    assert message in error.value.message and (hint is None or hint in error.value.hint)
    assert os.listdir() == ["e.h5"]


def test_several_sources_several_outputs_and_further_inputs(weights, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    test = weights / "test.h5"
    report = package.run("predict", test, "p.h5", model=weights / "pose.h5", bone=25, workers=1, device="cpu")
    assert report["accounting"][0]["done"] == 9 and report["scale_source"] == "given"
    parts = package.run("split", "p.h5", ["a.h5", "b.h5"], by="row", shares=(70, 30), seed=1)["parts"]
    assert [part["accounting"][0]["done"] for part in parts] == [6, 3]
    assert package.run("cat", ["a.h5", "b.h5"], "c.h5")["files"] == 2
    assert package.run("eval", "c.h5", protocols=["mpjpe", "pa_mpjpe"], resamples=0)["results"][0][
        "protocols"
    ].keys() == {"mpjpe", "pa_mpjpe"}
    package.run("export", "c.h5", "c.npz", table="predictions")
    assert np.load("c.npz")["joints"].shape == (9, 21, 3)


def test_an_interrupted_run_goes_on_where_it_was(tmp_path, monkeypatch):
    from handtool.stages import synth

    monkeypatch.chdir(tmp_path)
    settings = {"num_videos": 3, "frames": 1, "size": 32, "workers": 1, "device": "cpu"}
    make_videos, made = synth.make_videos, []

    def interrupted(waiting, *rest):
        made.append(len(waiting))
        for number, video in enumerate(make_videos(waiting, *rest)):
            yield video
            if len(made) == 1 and number == 1:
                raise KeyboardInterrupt

    monkeypatch.setattr(synth, "make_videos", interrupted)
    with pytest.raises(KeyboardInterrupt):
        package.run("synth", output="crops.h5", **settings)
    assert Path("crops.h5.partial").is_dir() and not Path("crops.h5").exists()
    assert package.run("synth", output="crops.h5", **settings)["accounting"][0]["done"] == 3
    assert made == [3, 1] and os.listdir() == ["crops.h5"]


def test_calls_of_several_threads_do_not_mix(embedded):
    def mine_with(topk: int) -> int:
        return package.run("mine", "e.h5", f"{topk}.h5", topk=topk, threads=1)["topk"]

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(mine_with, (1, 2, 3, 4))) == [1, 2, 3, 4]


NOT_ON_THE_COMMAND_LINE = {
    "batch_size_cuda", "batch_size_cpu", "base_rate", "checkpoint_seconds", "timeout_s", "part", "precision",
    "warmup", "weight_decay",
}  # fmt: skip


def test_every_setting_of_a_config_has_its_name_in_run():
    """But for those that the command line has not either."""
    from handtool import config
    from handtool.api.running import load_command, settings_of

    for command in (
        "extract",
        "keypoints",
        "embed",
        "mine",
        "pretrain",
        "finetune",
        "eval",
        "cat",
        "split",
        "export",
        "report",
    ):
        fields = {field.name for field in dataclasses.fields(getattr(config, f"{command.capitalize()}Config"))}
        assert fields - set(settings_of(load_command(command)[1])) <= NOT_ON_THE_COMMAND_LINE, command
    assert {"pool", "topk", "force"} <= set(settings_of(load_command("mine")[1]))
