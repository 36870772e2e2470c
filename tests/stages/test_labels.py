"""Labels that cannot be: one such hand is marked and counted, a source of them is refused, sound ones pass."""

import numpy as np
import pytest
from comparing import reasons
from footage import make_boxes, run_stage, tables_of
from true_hands import FOCAL, SIZE, columns_of, draw_hands, make_true_labelled, see

from handtool import store
from handtool.config import EmbedConfig, ExtractConfig, FinetuneConfig
from handtool.errors import DamagedFile, WrongCommand
from handtool.hands.skeleton import FROM_MANO
from handtool.nn.files.labelled_hands import read_labelled
from handtool.sources import label_gate
from handtool.stages.embed import embed
from handtool.stages.eval import Predictions, count_hands, join_labels
from handtool.stages.extract import extract
from handtool.store import CROPS, LABELS

COUNT, ROW = 12, 5
ONE = ExtractConfig(workers=1)
pytestmark = pytest.mark.usefixtures("in_this_process")


def keypoints_of(columns):
    return np.array(
        [[see(joint, camera) for joint in hand] for hand, camera in zip(columns["joints_m"], columns["K"], strict=True)]
    )


def change_joints(change):
    def plant(columns, rows):
        columns["joints_m"][rows] = change(columns["joints_m"][rows])

    return plant


def scale_camera(columns, rows):
    columns["K"][rows, :2] /= SIZE


def shift_camera(columns, rows):
    columns["K"][rows] = [[3000.0, 0, 2000], [0, 3000.0, 1500], [0, 0, 1]]


def put_keypoints(change):
    def plant(columns, rows):
        columns["keypoints"] = keypoints_of(columns)
        columns["keypoints"][rows] = change(columns["keypoints"][rows])

    return plant


def put_boxes(columns, rows):
    points = keypoints_of(columns)
    columns["box"] = np.concatenate([points.min(axis=1) - 4, points.max(axis=1) + 4], axis=1)
    columns["box"][rows] = [1, 1, 12, 12]


# name: what is done to some rows; the reason that is counted of one; what the refusal of all says, and its hint
FAULTS = {
    "opengl": (change_joints(lambda j: j * (1, -1, -1)), "joints behind the camera", "negate y and z"),
    "relative": (change_joints(lambda j: j - j[:, :1]), "joints around the camera itself", "in the camera's frame"),
    "millimetres": (change_joints(lambda j: j * 1000), "bones of no hand's size", "in millimetres"),
    "centimetres": (change_joints(lambda j: j * 100), "bones of no hand's size", "in centimetres"),
    "normalised K": (scale_camera, "within two pixels", "K in shares of the picture"),
    "K of the full picture": (shift_camera, "all off the picture", "centre is 2000 1500, they have 224"),
    "normalised keypoints": (put_keypoints(lambda p: p / SIZE), "within two pixels", "keypoints in shares"),
    "keypoints elsewhere": (
        put_keypoints(lambda p: (p - 112) / 3 + (30, 180)),
        "elsewhere than the projected",
        "is K that of these pictures",
    ),
    "box elsewhere": (put_boxes, "outside the hand's box", "x0 y0 x1 y1"),
}


def make_set(folder, change, rows):
    """The labelled set of true hands with a fault in those rows. Returns its folder."""
    columns = columns_of(make_true_labelled(folder, COUNT))
    change(columns, rows)
    np.savez(folder / "labels.npz", **columns)
    return folder


@pytest.mark.parametrize("name", FAULTS)
def test_one_such_hand_is_marked_and_counted_and_the_others_stay_as_they_are(tmp_path, caplog, name):
    change, reason, _ = FAULTS[name]
    report = run_stage(extract, [make_set(tmp_path / "a", change, [ROW])], tmp_path / "a.h5", ONE)
    labels = reasons(report, "labels")
    assert (labels["in"], labels["done"]) == (COUNT, COUNT - 1) and reason in list(labels["failed"])[0]
    assert reasons(report, "hands")["done"] == COUNT, "its row is kept"
    (line,) = caplog.messages
    assert "labels.npz" in line and reason in line
    sound = run_stage(extract, [make_set(tmp_path / "b", change, [])], tmp_path / "b.h5", ONE)
    assert "labels" not in [each["what"] for each in sound["accounting"]] and len(caplog.messages) == 1
    marked, whole = (tables_of(tmp_path / name, CROPS, LABELS) for name in ("a.h5", "b.h5"))
    others = np.arange(COUNT) != ROW
    assert not marked["labels/valid"][ROW].any() and marked["labels/valid"][others].all()
    assert marked["labels/keypoints_valid"][others].all() and whole["labels/keypoints_valid"].all()
    for path in ("labels/joints", "labels/keypoints", "labels/valid"):
        np.testing.assert_array_equal(marked[path][others], whole[path][others])


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("name", FAULTS)
def test_a_source_of_them_is_refused_by_its_likely_cause_and_trusted_where_that_is_asked_for(
    tmp_path, monkeypatch, name, large
):
    """large: judged by a sample before the work begins, else at its end."""
    monkeypatch.setattr(label_gate, "LARGE", 4 if large else 10**6)
    change, reason, cause = FAULTS[name]
    folder, output = make_set(tmp_path / "a", change, range(COUNT)), tmp_path / "a.h5"
    with pytest.raises(DamagedFile) as refusal:
        run_stage(extract, [folder], output, ONE)
    assert f"{folder}/labels.npz: " in refusal.value.message and f"{COUNT} of {COUNT} hands" in refusal.value.message
    assert reason in refusal.value.message and cause in refusal.value.hint and "--trust-labels" in refusal.value.hint
    assert not output.exists() and not output.with_name("a.h5.partial").exists()
    report = run_stage(extract, [folder], output, ExtractConfig(workers=1, trust_labels=True))
    columns, labels = columns_of(folder), tables_of(output, LABELS)
    assert labels["labels/valid"].all() and np.array_equal(labels["labels/joints"], columns["joints_m"].astype("f4"))
    assert "labels" not in [each["what"] for each in report["accounting"]]
    with store.open_file(output) as file:
        assert file.provenance[-1]["config"]["trust_labels"] is True


@pytest.mark.parametrize("sides", [("left", "right"), ("right",), ("left",)])
def test_mirrored_joints_of_all_hands_or_of_those_of_one_side_are_refused(tmp_path, sides):
    folder = make_true_labelled(tmp_path / "a", 40)
    columns = columns_of(folder)
    columns["joints_m"][np.isin(columns["side"], sides)] *= (-1, 1, 1)
    np.savez(folder / "labels.npz", **columns)
    other = {"left": "right", "right": "left"}
    with pytest.raises(DamagedFile, match=".*".join(f"{side} hands bend as {other[side]} hands do" for side in sides)):
        run_stage(extract, [folder], tmp_path / "a.h5", ONE)


def test_sides_exchanged_in_the_labels_are_refused(tmp_path):
    folder = make_true_labelled(tmp_path / "a", 40, side=np.array(["right", "left"] * 20))
    with pytest.raises(DamagedFile, match="left hands bend as right.* and .* right hands bend as left") as refusal:
        run_stage(extract, [folder], tmp_path / "a.h5", ONE)
    assert "left and right exchanged" in refusal.value.hint and "irrored footage" in refusal.value.hint


def test_some_exchanged_sides_are_told_and_hands_of_unknown_side_say_nothing(tmp_path, caplog):
    folder = make_true_labelled(tmp_path / "a", 40)
    columns = columns_of(folder)
    columns["side"][:12] = np.where(columns["side"][:12] == "left", "right", "left")
    np.savez(folder / "labels.npz", **columns)
    report = run_stage(extract, [folder], tmp_path / "a.h5", ONE)
    assert "left and right exchanged?" in caplog.text and [each["what"] for each in report["accounting"]][-1] == "hands"
    caplog.clear()
    folder = make_true_labelled(tmp_path / "b", 40, side=np.array(["unknown"] * 40))
    run_stage(extract, [folder], tmp_path / "b.h5", ONE)
    assert not caplog.messages


def test_joints_in_another_order_are_refused_by_its_name(tmp_path):
    folder = make_true_labelled(tmp_path / "a")
    columns = columns_of(folder)
    columns["joints_m"][:, list(FROM_MANO)] = columns["joints_m"].copy()
    np.savez(folder / "labels.npz", **columns)
    with pytest.raises(DamagedFile, match="of 12 of 12 hands are in another order: MANO's"):
        run_stage(extract, [folder], tmp_path / "a.h5", ONE)


def test_zeros_for_unknown_joints_are_not_valid_and_counted(tmp_path, caplog):
    folder = make_true_labelled(tmp_path / "a")
    columns = columns_of(folder)
    columns["joints_m"][:, 12:] = 0
    np.savez(folder / "labels.npz", **columns)
    report = run_stage(extract, [folder], tmp_path / "a.h5", ONE)
    valid = tables_of(tmp_path / "a.h5", LABELS)["labels/valid"]
    assert valid.sum(axis=1).tolist() == [12] * COUNT and valid[:, :12].all()
    assert list(report["labels_in_part_not_valid"].values()) == [9 * COUNT] and f"{9 * COUNT}" in caplog.text


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_a_camera_of_pictures_of_another_size_is_told_and_refused_where_joints_leave_the_picture(
    tmp_path, caplog, factor
):
    """K of pictures twice as large: the centre lies at the corner. K of smaller ones: everything is on the picture."""
    folder = make_true_labelled(tmp_path / "a", 40)
    columns = columns_of(folder)
    columns["K"][:, :2] *= factor
    np.savez(folder / "labels.npz", **columns)
    if factor > 1:
        with pytest.raises(DamagedFile, match="lie on their picture") as refusal:
            run_stage(extract, [folder], tmp_path / "a.h5", ONE)
        assert "Its centre is 224 224, they have 224 x 224" in refusal.value.hint
    else:
        run_stage(extract, [folder], tmp_path / "a.h5", ONE)
        assert "K may be of pictures of another size" in caplog.text


def test_hands_that_leave_the_picture_keep_their_joints_and_say_nothing(tmp_path, caplog):
    """Seen from the head, wrists are often below the picture."""
    folder = make_true_labelled(tmp_path / "a", 40)
    columns = columns_of(folder)
    columns["joints_m"][::3] += (0, 0.1, 0)
    np.savez(folder / "labels.npz", **columns)
    inside = ((keypoints_of(columns) >= -0.5) & (keypoints_of(columns) <= SIZE - 0.5)).all(axis=2)
    assert inside.any(axis=1).all() and not inside.all() and columns["K"][0, 0, 0] == FOCAL
    run_stage(extract, [folder], tmp_path / "a.h5", ONE)
    labels = tables_of(tmp_path / "a.h5", LABELS)
    assert labels["labels/valid"].all() and labels["labels/keypoints_valid"].all() and not caplog.messages


def test_trust_without_labels_does_nothing_and_says_so(tmp_path):
    from footage import picture, write_image

    write_image(tmp_path / "f" / "0.png", picture(0, 1))
    with pytest.raises(WrongCommand, match="--trust-labels does nothing"):
        run_stage(extract, [tmp_path / "f"], tmp_path / "a.h5", ExtractConfig(workers=1, whole=True, trust_labels=True))


def test_what_is_marked_is_neither_trained_on_nor_scored_nor_embedded(tmp_path):
    change = FAULTS["opengl"][0]
    path = tmp_path / "a.h5"
    run_stage(extract, [make_set(tmp_path / "a", change, [ROW])], path, ONE)
    with store.open_file(path) as file:
        hands = read_labelled(file, FinetuneConfig(val_share=0.0))
        assert hands.train.tolist() == [row for row in range(COUNT) if row != ROW]
        assert np.isnan(hands.hands.bone[ROW]) and np.isfinite(np.delete(hands.hands.bone, ROW)).all()
        truth = store.read_column(file, LABELS.joints)
        columns = {"joints": truth + 0.01, "valid": np.ones(COUNT, bool), "absolute": np.ones(COUNT, bool)}
        scored = join_labels(file, Predictions(columns, "a model", "given", made_here=True))
        accounting, _ = count_hands(file, scored)
        assert accounting.done == COUNT - 1 and accounting.skipped == {"no true joint": 1}
        assert not scored.valid[ROW].any()
    with store.open_file(path) as file, store.create_file(tmp_path / "e.h5", store.Record("t", {}), [file]) as sink:
        sink.finish(embed(file, sink, EmbedConfig(source="joints", dim=4)))
    with store.open_file(tmp_path / "e.h5") as file:
        valid = store.read_column(file, store.EMBEDDINGS.valid)
        assert np.flatnonzero(~valid.astype(bool)).tolist() == [ROW]


def test_the_truth_beside_videos_passes_the_same_gate(tmp_path, caplog):
    from test_truth import make_world

    def rewrite(folder, change):
        """The world, its truth written anew with other columns. Returns its boxes."""
        _, boxes = make_world(folder)
        with store.open_file(folder / "truth.h5") as file:
            videos, truth = (
                {column.name: store.read_column(file, column) for column in table.columns if file.has(column)}
                for table in (store.VIDEOS, store.TRUTH)
            )
        change(truth)
        (folder / "truth.h5").unlink()
        with store.create_file(folder / "truth.h5", store.Record("handtool synth", {})) as sink:
            store.write_table(sink, store.VIDEOS, videos)
            store.write_table(sink, store.TRUTH, truth)
            sink.finish({})
        hands = {f"a.mp4#{n}": [[x, y, u - x, v - y] for x, y, u, v in of_it] for n, of_it in enumerate(boxes)}
        return make_boxes(tmp_path / f"{folder.name}.json", hands)

    def mark_one(truth):
        truth["joints"][3] *= (1, -1, -1)

    def mark_all(truth):
        truth["joints"] *= 1000

    settings = {"workers": 1, "every": 1}
    boxes = rewrite(tmp_path / "one", mark_one)
    report = run_stage(extract, [tmp_path / "one"], tmp_path / "o.h5", ExtractConfig(**settings), boxes=boxes)
    assert reasons(report, "labels")["failed"] == {"joints behind the camera": 1} and "truth.h5" in caplog.text
    labels = tables_of(tmp_path / "o.h5", LABELS)
    row = labels["labels/sample_id"].tolist().index(3)
    assert np.flatnonzero(~labels["labels/valid"].all(axis=1)).tolist() == [row]
    boxes = rewrite(tmp_path / "all", mark_all)
    with pytest.raises(DamagedFile, match="truth.h5: 24 of 24 hands have bones of no hand's size"):
        run_stage(extract, [tmp_path / "all"], tmp_path / "a.h5", ExtractConfig(**settings), boxes=boxes)
    trusted = ExtractConfig(**settings, trust_labels=True)
    run_stage(extract, [tmp_path / "all"], tmp_path / "a.h5", trusted, boxes=boxes)
    assert tables_of(tmp_path / "a.h5", LABELS)["labels/valid"].all()


def test_random_sets_of_true_hands_are_never_refused_nor_marked(tmp_path, caplog):
    for seed in range(12):
        rng = np.random.default_rng(seed)
        count = int(rng.integers(1, 30))
        left = rng.random(count) < rng.choice([0.0, 0.5, 1.0])
        joints = draw_hands(count, rng, left, depth_m=float(rng.uniform(0.3, 0.9)))
        side = np.where(left, "left", "right")
        folder = make_true_labelled(tmp_path / f"{seed}", count, joints_m=joints, side=side)
        report = run_stage(extract, [folder], tmp_path / f"{seed}.h5", ONE)
        labels = tables_of(tmp_path / f"{seed}.h5", LABELS)
        assert [each["what"] for each in report["accounting"]] == ["videos", "frames", "hands"]
        assert labels["labels/valid"].all() and labels["labels/keypoints_valid"].all()
    assert not caplog.messages
