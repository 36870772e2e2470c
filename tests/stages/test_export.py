"""export: tables for other programs, with every digit."""

import contextlib
import csv
import json
import resource
import zlib

import h5py
import numpy as np
import pytest
from making import make_file, record
from running import read, run_stage

from handtool import store
from handtool.config import EmbedConfig, ExportConfig, MineConfig
from handtool.errors import HandtoolError, WrongCommand
from handtool.hands.palm import palm_rotation
from handtool.progress import silent
from handtool.stages.embed import embed
from handtool.stages.export import export
from handtool.stages.mine import mine
from handtool.store import CROPS, EMBEDDINGS, KEYPOINTS, LABELS, PAIRS, PREDICTIONS

BOX_CELLS = ["box_x0_px", "box_y0_px", "box_x1_px", "box_y1_px"]
HAND_CELLS = ["row", "video", "frame", "time_s", "track", "side", *BOX_CELLS, "score"]


def export_file(source, target, **config):
    with store.open_file(source) as file:
        return export(file, target, ExportConfig(**config))


def read_csv(path):
    with path.open(newline="", encoding="utf-8") as file:
        head, *lines = csv.reader(file)
    return head, lines


def make_pairs(tmp_path):
    make_file(tmp_path / "k.h5", (6, 5))
    run_stage(embed, tmp_path / "k.h5", tmp_path / "e.h5", EmbedConfig(dim=4))
    run_stage(mine, tmp_path / "e.h5", tmp_path / "p.h5", MineConfig(topk=2))
    return tmp_path / "p.h5"


def make_predictions(path, absolute=np.ones(5, bool)):
    source = make_file(path.with_name("labelled.h5"), (3, 2), ("labels",))
    rng = np.random.default_rng(0)
    joints = rng.normal(size=(5, 21, 3)).astype(np.float32)
    joints[2] = np.nan
    with store.open_file(source) as file, store.create_file(path, record(seed=2), [file]) as sink:
        columns = dict(
            joints=joints,
            keypoints=rng.normal(size=(5, 21, 2)),
            valid=np.arange(5) != 2,
            absolute=absolute,
            scale=np.full(5, 0.03),
        )
        store.write_table(sink, PREDICTIONS, columns, {"scale_source": "mean"})
        sink.inherit(file)
        sink.finish({})
    return path


def test_csv_gives_back_every_float(tmp_path):
    path = make_predictions(tmp_path / "pred.h5")
    export_file(path, tmp_path / "t", format="csv", table="predictions")
    head, lines = read_csv(tmp_path / "t")
    assert head[: len(HAND_CELLS) + 3] == [*HAND_CELLS, "joints_wrist_x_m", "joints_wrist_y_m", "joints_wrist_z_m"]
    joints = np.array([line[11:74] for line in lines], dtype=np.float32).reshape(5, 21, 3)
    assert np.array_equal(joints, read(path, PREDICTIONS.joints), equal_nan=True)
    assert [line[1] for line in lines] == ["video 0"] * 3 + ["video 1"] * 2
    assert [line[head.index("valid")] for line in lines] == ["1", "1", "0", "1", "1"]
    assert head[head.index("scale_m") + 1 :] == [
        "wrist_x_m",
        "wrist_y_m",
        "wrist_z_m",
        "camera_source",
        *(f"palm_rotation_{r}_{c}" for r in range(3) for c in range(3)),
    ]


@pytest.mark.parametrize("format", ["csv", "json", "npz"])
def test_trajectories_say_where_when_and_which_way_each_hand_was(tmp_path, format):
    path = make_predictions(tmp_path / "pred.h5", absolute=np.arange(5) != 1)
    export_file(path, tmp_path / "t", format=format, table="predictions")
    joints, side, time = (read(path, column) for column in (PREDICTIONS.joints, CROPS.side, CROPS.time))
    if format == "csv":
        head, lines = read_csv(tmp_path / "t")
        cells = dict(zip(head, zip(*lines)))
        wrist = np.array([[cell or "nan" for cell in cells[f"wrist_{axis}_m"]] for axis in "xyz"], np.float32).T
        assert [cells["wrist_x_m"][row] == "" for row in range(5)] == [False, True, True, False, False]
        palm = np.array([cells[f"palm_rotation_{r}_{c}"] for r in range(3) for c in range(3)], np.float32).T.reshape(
            5, 3, 3
        )
        found = {
            "video": cells["video"],
            "side": cells["side"],
            "camera_source": cells["camera_source"],
            "track": np.array(cells["track"], int),
            "time": np.array(cells["time_s"], float),
        }
    else:
        found = (
            json.loads((tmp_path / "t").read_text())["columns"] if format == "json" else dict(np.load(tmp_path / "t"))
        )
        wrist, palm = np.array(found["wrist"], np.float32), np.array(found["palm_rotation"], np.float32)
    expected = np.where(
        (np.arange(5) != 1)[:, None], joints[:, 0], np.nan
    )  # a pose about its wrist says nothing of the wrist's place
    assert np.array_equal(wrist, expected, equal_nan=True)
    np.testing.assert_allclose(palm, palm_rotation(joints.astype(np.float64), side), atol=1e-6)
    assert np.isnan(palm[2]).all() and np.isfinite(palm[1]).all()
    assert (
        list(found["video"]) == ["video 0"] * 3 + ["video 1"] * 2
        and list(found["side"]) == np.array(["LEFT", "RIGHT"])[side].tolist()
    )
    np.testing.assert_allclose(np.array(found["time"], float), time)
    assert list(found["camera_source"]) == ["known"] * 5
    assert list(found["track"]) == [-1] * 5


def test_keypoints_are_named_by_joint_axis_and_unit(tmp_path):
    path = make_file(tmp_path / "k.h5")
    export_file(path, tmp_path / "t", format="csv", table="keypoints")
    head, lines = read_csv(tmp_path / "t")
    assert head[:11] == HAND_CELLS
    assert head[11:15] == ["wrist_x_px", "wrist_y_px", "thumb_cmc_x_px", "thumb_cmc_y_px"]
    assert head[53] == "keypoint_score_wrist"
    xy = np.array([line[11:53] for line in lines], np.float32).reshape(9, 21, 2)
    assert np.array_equal(xy, read(path, KEYPOINTS.xy)), "these crops are their frames"
    sides = np.array(["LEFT", "RIGHT", "UNKNOWN"])[read(path, CROPS.side)]
    assert [line[5] for line in lines] == sides.tolist()


def move_crops(path):
    """Crop i of a file of `make_file` becomes half as large as its part of the frame, which begins at 10 + 3 i, 20."""
    with h5py.File(path, "r+") as file:
        affine = file["crops/crop_from_frame"]
        count = len(affine)
        corner = np.stack([10 + 3.0 * np.arange(count), np.full(count, 20.0)], 1)
        values = np.zeros((count, 2, 3))
        values[:, [0, 1], [0, 1]] = 0.5
        values[:, :, 2] = 0.5 * (0.5 - corner) - 0.5  # pixel centres at integers
        affine[...] = values
        affine.attrs["crc32"] = np.uint32(zlib.crc32(values.tobytes()))
    return corner


@pytest.mark.parametrize("format", ["csv", "json", "npz"])
@pytest.mark.parametrize("table, column", [("keypoints", KEYPOINTS.xy), ("labels", LABELS.keypoints)])
def test_points_are_in_pixels_of_the_frame_unless_those_of_the_crop_are_asked_for(tmp_path, format, table, column):
    path = make_file(tmp_path / "k.h5", (3, 2), ("keypoints", "labels"))
    corner, in_crop = move_crops(path), read(path, column)
    for pixels, expected in ((None, 2 * (in_crop + 0.5) + corner[:, None] - 0.5), ("crop", in_crop)):
        report = export_file(path, tmp_path / "t", format=format, table=table, pixels=pixels)
        which = pixels or "frame"
        assert report["pixels_of"] == f"the {which}"
        if format == "csv":
            head, lines = read_csv(tmp_path / "t")
            prefix, unit = ("" if table == "keypoints" else "keypoints_"), ("crop_px" if pixels else "px")
            first = head.index(f"{prefix}wrist_x_{unit}")
            assert head[first + 41] == f"{prefix}little_tip_y_{unit}"
            found = np.array([line[first : first + 42] for line in lines], float).reshape(5, 21, 2)
        elif format == "json":
            body = json.loads((tmp_path / "t").read_text())
            found, units = np.array(body["columns"][column.name]), body["units"]
            assert body["pixels_of"] == which
        else:
            with np.load(tmp_path / "t") as arrays:
                found, units = arrays[column.name], dict(arrays["units"])
                assert arrays["pixels_of"] == which
        np.testing.assert_allclose(found, expected, atol=2e-5)
        if format != "csv":
            assert {"time": "s", "box": "px", column.name: "px"}.items() <= units.items()


@pytest.mark.parametrize("table", ["crops", "keypoints", "labels", "embeddings", "predictions"])
def test_every_row_of_every_format_says_which_hand_it_is(tmp_path, table):
    path = tmp_path / "p.h5"
    make_predictions(path) if table == "predictions" else make_file(path, (3, 2), ("keypoints", "labels", "embeddings"))
    for format in ("csv", "json", "npz"):
        export_file(path, tmp_path / format, format=format, table=table)
    head, lines = read_csv(tmp_path / "csv")
    cells = dict(zip(head, zip(*lines)))
    columns, arrays = json.loads((tmp_path / "json").read_text())["columns"], np.load(tmp_path / "npz")
    for name, cell, column in (
        ("frame", "frame", CROPS.frame),
        ("time", "time_s", CROPS.time),
        ("track", "track", CROPS.track),
        ("score", "score", CROPS.score),
    ):
        for found in (cells[cell], columns[name], arrays[name]):
            assert np.array_equal(np.array(found, float), read(path, column)), (table, name)
    box = read(path, CROPS.box)
    for found in (np.array([cells[name] for name in BOX_CELLS], float).T, columns["box"], arrays["box"]):
        assert np.array_equal(found, box)
    sides = np.array(["LEFT", "RIGHT"])[read(path, CROPS.side)].tolist()
    videos = ["video 0"] * 3 + ["video 1"] * 2
    for values in (cells, columns, arrays):
        assert list(values["video"]) == videos and list(values["side"]) == sides


def test_the_camera_of_a_crop_is_exported_as_that_of_the_frame(tmp_path):
    path = make_file(tmp_path / "k.h5", (3, 2))
    corner, camera = move_crops(path), read(path, CROPS.camera)
    export_file(path, tmp_path / "t", format="npz", table="crops")
    expected = camera.copy()
    expected[:, :2, :2] *= 2
    expected[:, :2, 2] = 2 * (camera[:, :2, 2] + 0.5) + corner - 0.5
    np.testing.assert_allclose(np.load(tmp_path / "t")["camera"], expected)


def test_a_choice_of_pixels_without_points_is_refused(tmp_path, handtool):
    path = make_file(tmp_path / "k.h5", (3, 2), ("keypoints", "embeddings"))
    with pytest.raises(WrongCommand, match="/embeddings has no points"):
        export_file(path, tmp_path / "t", format="csv", table="embeddings", pixels="frame")
    refused = handtool("export", path, "--format", "freihand", "--in", "crop", "-o", "pred.zip")
    assert refused.returncode == 2 and "--in does nothing except in a table" in refused.stderr
    assert handtool("export", path, "--table", "keypoints", "--in", "crop").stdout.startswith("row,video,frame,time_s")


def test_pairs_are_the_last_table_of_a_mined_file(tmp_path):
    path = make_pairs(tmp_path)
    report = export_file(path, tmp_path / "t", format="csv")
    head, lines = read_csv(tmp_path / "t")
    assert head == ["anchor", "positive", "distance", "rank"] and report["table"] == "pairs"
    assert np.array_equal(np.array([line[2] for line in lines], np.float32), read(path, PAIRS.distance))
    assert np.array_equal(np.array([line[1] for line in lines], np.int64), read(path, PAIRS.positive))


def test_json_gives_back_every_float_and_null_for_the_unknown(tmp_path):
    path = make_predictions(tmp_path / "pred.h5")
    export_file(path, tmp_path / "t", format="json", table="predictions")
    body = json.loads((tmp_path / "t").read_text(), parse_constant=lambda name: pytest.fail(name))
    assert body["rows"] == 5 and body["units"]["joints"] == "m"
    assert body["columns"]["joints"][2][0] == [None] * 3
    joints = np.array(body["columns"]["joints"], dtype=np.float32)
    assert np.array_equal(joints, read(path, PREDICTIONS.joints), equal_nan=True)
    assert body["columns"]["valid"] == [True, True, False, True, True]


def test_npz_holds_the_columns_as_they_are(tmp_path):
    path = make_file(tmp_path / "l.h5", (2, 1), ("labels", "embeddings"))
    export_file(path, tmp_path / "t", format="npz", table="labels")
    with np.load(tmp_path / "t", allow_pickle=False) as arrays:
        own = {column.name for column in LABELS.columns if not column.optional}
        assert set(arrays) - own == {"video", "frame", "time", "track", "side", "box", "score", "units", "pixels_of"}
        assert own < set(arrays)
        assert np.array_equal(arrays["joints"], read(path, LABELS.joints)) and arrays["joints"].dtype == np.float32
        assert arrays["sample_key"].tolist() == ["hand 0", "hand 1", "hand 2"]
    first = (tmp_path / "t").read_bytes()
    export_file(path, tmp_path / "t", format="npz", table="labels")
    assert (tmp_path / "t").read_bytes() == first, "no time of day inside"


@pytest.mark.parametrize("format", ["csv", "json", "npz"])
def test_blocks_do_not_show(tmp_path, monkeypatch, format):
    path = make_file(tmp_path / "l.h5", (9, 7), ("labels", "embeddings", "keypoints"))
    for table in ("labels", "embeddings", "keypoints", "crops", "videos"):
        export_file(path, tmp_path / "whole", format=format, table=table)
        with monkeypatch.context() as patch:
            patch.setattr("handtool.stages.export.BLOCK_ROWS", 4)
            export_file(path, tmp_path / "blocks", format=format, table=table)
        assert (tmp_path / "whole").read_bytes() == (tmp_path / "blocks").read_bytes(), table


@pytest.mark.parametrize("format", ["csv", "json", "npz"])
def test_an_empty_table_has_its_columns(tmp_path, format):
    export_file(make_file(tmp_path / "none.h5", (0,)), tmp_path / "t", format=format, table="keypoints")
    if format == "csv":
        head, lines = read_csv(tmp_path / "t")
        assert len(head) == len(HAND_CELLS) + 42 + 21 + 1 and lines == []
    elif format == "json":
        columns = json.loads((tmp_path / "t").read_text())["columns"]
        assert {"video", "time", "xy", "keypoint_score", "valid"} < set(columns) and not any(columns.values())
    else:
        assert np.load(tmp_path / "t")["xy"].shape == (0, 21, 2)


def test_metrics_are_one_line_per_figure(tmp_path):
    with store.create_file(tmp_path / "r.h5", record()) as sink:
        protocols = {"mpjpe": {"mean_mm": 12.345678901234567, "auc_0_50mm": 0.5, "hands": 3, "alignment": "none"}}
        store.write_metrics(sink, protocols, {"per_hand/mpjpe_mm": np.arange(3.0)})
        sink.finish({})
    report = export_file(tmp_path / "r.h5", tmp_path / "t", format="csv")
    head, lines = read_csv(tmp_path / "t")
    assert head == ["protocol", "figure", "value"] and report["figures"] == 4
    assert ["mpjpe", "mean_mm", "12.345678901234567"] in lines and ["mpjpe", "alignment", "none"] in lines
    export_file(tmp_path / "r.h5", tmp_path / "t", format="json")
    body = json.loads((tmp_path / "t").read_text())["metrics"]
    assert body["mpjpe"]["mean_mm"] == 12.345678901234567 and body["per_hand"]["mpjpe_mm"] == [0, 1, 2]
    export_file(tmp_path / "r.h5", tmp_path / "t", format="npz")
    assert np.load(tmp_path / "t")["per_hand/mpjpe_mm"].tolist() == [0, 1, 2]


def test_what_does_not_fit_is_refused(tmp_path):
    path = make_file(tmp_path / "k.h5")
    with pytest.raises(WrongCommand, match="/keypoints cannot be written as pth"):
        export_file(path, tmp_path / "t", format="pth", table="keypoints")
    with pytest.raises(WrongCommand, match="/weights cannot be written as csv"):
        export_file(path, tmp_path / "t", format="csv", table="weights")
    with pytest.raises(WrongCommand, match="no table 'keypoint'"):
        export_file(path, tmp_path / "t", format="csv", table="keypoint")
    with pytest.raises(HandtoolError, match="has no /pairs"):
        export_file(path, tmp_path / "t", format="csv", table="pairs")
    with pytest.raises(HandtoolError, match="has no /metrics"):
        export_file(path, tmp_path / "t", format="csv", table="metrics")


@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
def test_weights_leave_under_torchvisions_names(tmp_path, suffix):
    torch = pytest.importorskip("torch")
    from handtool.nn.files.weights import write_encoder
    from handtool.nn.models.encoder import make_encoder, make_projection_head

    encoder = make_encoder("resnet18")
    contract = {"size": 128, "mean": [0.5] * 3, "std": [0.2] * 3, "side": "right", "box_scale": 1.3}
    with store.create_file(tmp_path / "encoder.h5", record()) as sink:
        write_encoder(sink, encoder, make_projection_head(512, 64, 32), contract, {})
        sink.finish({})
    report = export_file(tmp_path / "encoder.h5", tmp_path / "out", format=suffix)
    assert report["table"] == "weights" and sorted(p.name for p in tmp_path.iterdir()) == ["encoder.h5", "out"]
    if suffix == "pth":
        weights = torch.load(tmp_path / "out", weights_only=True)
    else:
        from safetensors.torch import load_file

        weights = load_file(tmp_path / "out")
    assert torch.equal(weights["conv1.weight"], encoder.state_dict()["conv1.weight"])
    for name in ("again", "third"):
        export_file(tmp_path / "encoder.h5", tmp_path / name, format=suffix)
        assert (tmp_path / name).read_bytes() == (tmp_path / "out").read_bytes(), "the same command, the same bytes"


@contextlib.contextmanager
def disk_of(size: int):
    """Within, no file of this process grows beyond `size` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_weights_on_a_full_disk_are_one_line_and_leave_nothing(tmp_path):
    torch = pytest.importorskip("torch")
    from handtool.cli.export import write
    from handtool.nn.files.weights import write_encoder
    from handtool.nn.models.encoder import make_encoder
    from handtool.nn.training.checkpoint import pack

    encoder = make_encoder("resnet18")

    def make_file_of_weights(path):
        with store.create_file(path, record()) as sink:
            write_encoder(sink, encoder, None, {"size": 128, "kind": "encoder"}, {})
            sink.finish({})

    make_file_of_weights(tmp_path / "encoder.h5")
    optimiser = torch.optim.SGD(encoder.parameters())
    with store.open_file(tmp_path / "encoder.h5") as file, store.open_job(tmp_path / "x.h5", record()) as job:
        for name, make in {
            "e.h5": lambda: make_file_of_weights(tmp_path / "e.h5"),
            "e.pth": lambda: write(file, tmp_path / "e.pth", ExportConfig("pth"), False, silent),
            "e.safetensors": lambda: write(
                file, tmp_path / "e.safetensors", ExportConfig("safetensors"), False, silent
            ),
            "checkpoint": lambda: job.save("checkpoint", pack(encoder, optimiser)),
        }.items():
            with disk_of(1_000_000), pytest.raises(HandtoolError, match=rf"cannot write .*{name}.*: file too large"):
                make()
    assert [path.name for path in tmp_path.iterdir()] == ["encoder.h5"]


def test_the_suffix_decides_and_the_file_appears_whole(tmp_path, handtool):
    make_pairs(tmp_path)
    assert handtool("export", "p.h5", "-o", "pairs.csv").returncode == 0
    again = handtool("export", "p.h5", "-o", "pairs.csv")
    assert again.returncode == 0 and "up to date" in again.stderr
    other = handtool("export", "p.h5", "--table", "embeddings", "-o", "pairs.csv")
    assert other.returncode == 1 and "another content" in other.stderr
    assert handtool("export", "p.h5", "--table", "embeddings", "-o", "pairs.csv", "--force").returncode == 0
    assert len(read_csv(tmp_path / "pairs.csv")[1]) == len(read(tmp_path / "p.h5", EMBEDDINGS.valid))
    wrong = handtool("export", "p.h5", "-o", "pairs.xls")
    assert wrong.returncode == 2 and "names no format" in wrong.stderr
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")], "no temporary file is left"
    piped = handtool("export", "-", "--table", "videos", stdin=(tmp_path / "k.h5").read_bytes())
    assert piped.stdout.splitlines()[0].startswith("name,path,subject") and len(piped.stdout.splitlines()) == 3
    assert handtool("export", "p.h5", "-o", "nowhere/pairs.csv").returncode == 1


def test_a_full_disk_leaves_nothing(tmp_path, handtool):
    make_pairs(tmp_path)
    (tmp_path / "sitecustomize.py").write_text(
        "import resource, signal\nsignal.signal(signal.SIGXFSZ, "
        "signal.SIG_IGN)\nresource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))\n"
    )
    import os

    import handtool as package

    path = os.pathsep.join([str(tmp_path), os.path.dirname(os.path.dirname(package.__file__))])
    done = handtool("export", "p.h5", "-o", "pairs.csv", env={"PYTHONPATH": path}, fresh=True)
    assert done.returncode == 1 and "cannot write" in done.stderr and "Traceback" not in done.stderr, done.stderr
    assert not (tmp_path / "pairs.csv").exists() and not list(tmp_path.glob(".pairs*"))
