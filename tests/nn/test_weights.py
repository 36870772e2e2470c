"""Weights of every origin that people bring arrive whole, by name, without running anything of theirs."""

import collections
import enum
import io
import pickle
import urllib.request
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from making import record
from safetensors.torch import load_file, save_file

from handtool import store
from handtool.errors import DamagedFile, HandtoolError
from handtool.nn.files.weights import export_weights, init_encoder, read_encoder, read_state, write_encoder
from handtool.nn.models.encoder import make_encoder, make_projection_head


@pytest.fixture(scope="module")
def reference():
    """A torchvision resnet18 with random weights and statistics, classifier included."""
    torch.manual_seed(1)
    model = torchvision.models.resnet18()
    for value in model.state_dict().values():
        value.copy_(torch.rand_like(value.float()) * 3)
    return model.state_dict()


def fresh(arch="resnet18"):
    torch.manual_seed(2)
    return make_encoder(arch)


def assert_loaded(encoder, reference):
    for name, value in encoder.state_dict().items():
        assert torch.equal(value, reference[name]), name


NUMBERS = {"conv1": "0", "bn1": "1", "layer1": "4", "layer2": "5", "layer3": "6", "layer4": "7"}


def lightning_names(reference):
    named = {}
    for name, value in reference.items():
        first, rest = name.split(".", 1)
        named["encoder.final_layer.0." + rest if first == "fc" else f"encoder.features.{NUMBERS[first]}.{rest}"] = value
    return named | {"projection_head.0.weight": torch.zeros(3, 3)}


CONTAINERS = {
    "torchvision": lambda ref: ref,
    "under state_dict": lambda ref: {"state_dict": ref, "epoch": 3},
    "backend_model": lambda ref: {
        "state_dict": {f"backend_model.{k}": v for k, v in ref.items()} | {"zroot_ref.zroot_ref.6.bias": torch.zeros(1)}
    },
    "lightning": lambda ref: {"state_dict": lightning_names(ref), "epoch": 99},
    "ddp": lambda ref: {f"module.{k}": v for k, v in ref.items()},
    "compiled, in ddp": lambda ref: {f"module._orig_mod.{k}": v for k, v in ref.items()},
    "ddp around lightning": lambda ref: {"state_dict": {f"module.{k}": v for k, v in lightning_names(ref).items()}},
}


@pytest.mark.parametrize("container", CONTAINERS)
def test_every_published_container_fills_the_encoder(container, reference, tmp_path, caplog):
    path = tmp_path / "w.pth"
    torch.save(CONTAINERS[container](dict(reference)), path)
    encoder = fresh()
    report = init_encoder(encoder, str(path))
    assert_loaded(encoder, reference)
    assert report["loaded"] == len(encoder.state_dict()) and report["missing"] == []
    assert report["unexpected"] and not caplog.records  # the classifier and the heads are expected strangers


def test_safetensors_fill_the_encoder(reference, tmp_path):
    save_file(dict(reference), tmp_path / "w.safetensors")
    encoder = fresh()
    init_encoder(encoder, tmp_path / "w.safetensors")
    assert_loaded(encoder, reference)


def test_scratch_leaves_the_encoder_as_it_is():
    encoder = fresh()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    assert init_encoder(encoder, "scratch")["loaded"] == 0
    assert_loaded(encoder, before)


def test_a_foreign_file_may_lack_a_twentieth_of_the_weights_which_is_told(reference, tmp_path, caplog):
    torch.save({k: v for k, v in reference.items() if k != "layer3.0.bn1.weight"}, tmp_path / "w.pth")
    report = init_encoder(fresh(), tmp_path / "w.pth")
    assert report["missing"] == ["layer3.0.bn1.weight"] and report["loaded"] == 119
    assert "lacks 1 weights, which stay as they are initialised: layer3.0.bn1.weight" in caplog.text
    torch.save({k: v for k, v in reference.items() if not k.startswith("layer3.0")}, tmp_path / "x.pth")
    with pytest.raises(HandtoolError, match=r"lacks 15 of the 120 weights of resnet18: layer3\.0\.bn1\.bias"):
        init_encoder(fresh(), tmp_path / "x.pth")


def test_our_own_files_lack_no_weight(tmp_path):
    encoder = fresh()
    with store.create_file(tmp_path / "e.h5", record()) as sink:
        write_encoder(sink, encoder, None, {"size": 64, "box_scale": 1.3}, {})
        sink.finish({})
    with store.open_file(tmp_path / "e.h5") as file, pytest.MonkeyPatch.context() as patched:
        state, attrs = read_state(file)
        del state["encoder.layer3.0.bn1.weight"]
        patched.setattr("handtool.nn.files.weights.read_state", lambda _: (state, attrs))
        with pytest.raises(HandtoolError, match=r"lacks 1 of the 120 weights of resnet18: layer3\.0\.bn1\.weight"):
            read_encoder(file)


def test_old_files_without_batch_counters_load_and_say_so(reference, tmp_path):
    torch.save({k: v for k, v in reference.items() if "num_batches" not in k}, tmp_path / "w.pth")
    report = init_encoder(fresh(), tmp_path / "w.pth")
    assert len(report["missing"]) == 20 and all(name.endswith("num_batches_tracked") for name in report["missing"])


@pytest.mark.parametrize("shape", [(64, 1, 7, 7), (3, 64, 7, 7), (64, 147)])
def test_a_weight_of_another_shape_is_an_error(reference, tmp_path, shape):
    torch.save(dict(reference) | {"conv1.weight": torch.zeros(shape)}, tmp_path / "w.pth")
    with pytest.raises(HandtoolError, match=r"1 weights are of another shape than resnet18's: conv1\.weight"):
        init_encoder(fresh(), tmp_path / "w.pth")


def test_weights_of_another_architecture_are_named(tmp_path):
    torch.save(fresh("resnet34").state_dict(), tmp_path / "w.pth")
    with pytest.raises(HandtoolError, match="holds a resnet34, and the encoder is a resnet18") as caught:
        init_encoder(fresh(), tmp_path / "w.pth")
    assert caught.value.hint == "--arch resnet34"


def test_tensors_of_no_known_part_are_reported(reference, tmp_path, caplog):
    torch.save(dict(reference) | {"surprise.weight": torch.zeros(2)}, tmp_path / "w.pth")
    report = init_encoder(fresh(), tmp_path / "w.pth")
    assert report["unexpected"] == ["fc.bias", "fc.weight", "surprise.weight"]
    assert "surprise.weight" in caplog.text


class Hyperparameters:
    """Stands for a class of somebody's training code, which is not installed here."""

    def __init__(self):
        self.rate = 3


class Settings(dict):
    """The dictionaries with attributes that training frameworks like to save."""


class Mode(enum.Enum):
    TRAIN = 1


def test_a_checkpoint_with_foreign_classes_gives_its_weights_only(reference, tmp_path, caplog):
    content = {
        "state_dict": lightning_names(reference),
        "hyper_parameters": Hyperparameters(),
        "callbacks": collections.deque([1, 2]),
        "settings": Settings(rate=3, inner=Settings(a=1)),
        "mode": Mode.TRAIN,
        "kinds": {Settings: 1},
    }
    torch.save(content, tmp_path / "w.ckpt")
    encoder = fresh()
    init_encoder(encoder, tmp_path / "w.ckpt")
    assert_loaded(encoder, reference)
    assert "Hyperparameters" in caplog.text and "only its weights are read" in caplog.text


class Malicious:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (self.path, "w"))


def test_a_checkpoint_that_wants_to_run_something_runs_nothing(reference, tmp_path):
    torch.save({"state_dict": dict(reference), "extra": Malicious(str(tmp_path / "owned"))}, tmp_path / "w.pth")
    try:
        init_encoder(fresh(), tmp_path / "w.pth")
    except DamagedFile:
        pass
    assert not (tmp_path / "owned").exists()


def cut_file(path, reference):
    buffer = io.BytesIO()
    torch.save(dict(reference), buffer)
    path.write_bytes(buffer.getvalue()[: len(buffer.getvalue()) // 2])


def foreign_zip(path, _):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("hello.txt", "hello")


def flip_a_bit(path, reference):
    torch.save(dict(reference), path)
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\3\4", 1000) - 1000] ^= 4  # in the middle of numbers: torch.load reads it in silence
    path.write_bytes(data)


def save_bytearray(path, reference):
    torch.save({"state_dict": dict(reference), "more": bytearray(10)}, path)


def save_old_bytearray(path, reference):
    torch.save({"state_dict": dict(reference), "more": bytearray(10)}, path, _use_new_zipfile_serialization=False)


def save_nothing(path, reference):
    torch.save({name: value.to("meta") for name, value in reference.items()}, path)


def pack_a_bomb(path, _):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("a/data/0", "w") as member:
            for _ in range(200):
                member.write(bytes(1 << 20))
        archive.writestr("a/data.pkl", b"\x80\x02}.")


DAMAGED = {
    "a flipped bit": flip_a_bit,
    "a bytearray": save_bytearray,
    "a bytearray, old format": save_old_bytearray,
    "no numbers": save_nothing,
    "bomb": pack_a_bomb,
    "cut": cut_file,
    "text": lambda path, _: path.write_text("not weights"),
    "plain pickle": lambda path, _: path.write_bytes(pickle.dumps({"a": np.zeros(3)})),
    "other zip": foreign_zip,
    "empty": lambda path, _: path.write_bytes(b""),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_or_foreign_file_is_exit_3(damage, reference, tmp_path):
    DAMAGED[damage](tmp_path / "w.pth", reference)
    with pytest.raises(DamagedFile):
        init_encoder(fresh(), tmp_path / "w.pth")


def test_weights_that_were_written_without_checksums_load_and_say_so(reference, tmp_path, caplog):
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(dict(reference), tmp_path / "w.pth")
    finally:
        torch.serialization.set_crc32_options(True)
    encoder = fresh()
    with caplog.at_level("INFO"):
        init_encoder(encoder, tmp_path / "w.pth")
    assert_loaded(encoder, reference)
    assert "without checksums" in caplog.text


def test_weights_in_torchs_old_format_load(reference, tmp_path):
    torch.save(dict(reference), tmp_path / "w.pth", _use_new_zipfile_serialization=False)
    encoder = fresh()
    init_encoder(encoder, tmp_path / "w.pth")
    assert_loaded(encoder, reference)


def test_a_damaged_safetensors_file_is_exit_3(tmp_path):
    (tmp_path / "w.safetensors").write_bytes(b"\xff" * 100)
    with pytest.raises(DamagedFile):
        init_encoder(fresh(), tmp_path / "w.safetensors")


def test_a_file_without_a_state_dict_is_refused(tmp_path):
    torch.save([1, 2, 3], tmp_path / "w.pth")
    with pytest.raises(HandtoolError, match="no state dict"):
        init_encoder(fresh(), tmp_path / "w.pth")


def test_imagenet_offline_names_the_way_out(tmp_path, monkeypatch):
    monkeypatch.setenv("HANDTOOL_CACHE", str(tmp_path))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))

    def unreachable(*_, **__):
        raise urllib.error.URLError("no route")

    monkeypatch.setattr(urllib.request, "urlopen", unreachable)
    with pytest.raises(HandtoolError, match="resnet18-f37072fd.pth, which is not at") as caught:
        init_encoder(fresh(), "imagenet")
    assert "--init scratch" in caught.value.hint and str(tmp_path) in caught.value.hint


def test_imagenet_comes_from_the_cache_without_a_network(tmp_path, monkeypatch, reference):
    monkeypatch.setenv("HANDTOOL_CACHE", str(tmp_path))
    torch.save(dict(reference), tmp_path / "resnet18-f37072fd.pth")
    encoder = fresh()
    init_encoder(encoder, "imagenet")
    assert_loaded(encoder, reference)


CONTRACT = {
    "size": 128,
    "mean": np.array([0.485, 0.456, 0.406]),
    "std": np.array([0.229, 0.224, 0.225]),
    "side": "RIGHT",
    "box_scale": 1.3,
}


@pytest.fixture
def encoder_file(tmp_path):
    torch.manual_seed(3)
    encoder, head = make_encoder("resnet18"), make_projection_head(512)
    encoder.bn1.num_batches_tracked.fill_(7)
    with store.create_file(tmp_path / "encoder.h5", record()) as sink:
        write_encoder(sink, encoder, head, CONTRACT, {"method": "simhand", "epochs": 3})
        sink.finish({})
    return tmp_path / "encoder.h5", encoder, head


def test_an_encoder_file_round_trips_to_the_last_bit(encoder_file):
    path, encoder, head = encoder_file
    with store.open_file(path) as file:
        again, again_head, attrs = read_encoder(file)
    assert_loaded(again, encoder.state_dict())
    assert_loaded(again_head, head.state_dict())
    assert attrs["architecture"] == "resnet18" and attrs["size"] == 128 and attrs["box_scale"] == 1.3
    other = fresh()
    assert init_encoder(other, path)["loaded"] == 120
    assert_loaded(other, encoder.state_dict())


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_full_disk_stays_an_error_of_the_disk(encoder_file, suffix):
    with store.open_file(encoder_file[0]) as file, pytest.raises(OSError, match="No space left"):
        export_weights(file, Path("/dev/full"), suffix)


@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
def test_exported_weights_carry_torchvisions_names_and_come_back(encoder_file, suffix, tmp_path):
    path, encoder, _ = encoder_file
    out = tmp_path / f"w.{suffix}"
    with store.open_file(path) as file:
        report = export_weights(file, out)
    weights = load_file(out) if suffix == "safetensors" else torch.load(out, weights_only=True)
    result = torchvision.models.resnet18().load_state_dict(weights, strict=False)
    assert result.missing_keys == ["fc.weight", "fc.bias"] and all(
        key.startswith("projection_head.") for key in result.unexpected_keys
    )
    assert report["tensors"] == len(weights) and report["bytes"] == out.stat().st_size
    other = fresh()
    init_encoder(other, out)
    assert_loaded(other, encoder.state_dict())
