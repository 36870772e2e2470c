"""What all published data sets share: the box scale that a set asks for, parts chosen by name, labels that travel
with their rows."""

import pickle
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from footage import make_boxes, make_labelled, picture, run_stage, write_image

from handtool import store
from handtool.config import BOX_SCALE, ExtractConfig
from handtool.errors import WrongCommand
from handtool.hands.boxes import crop_affine, same_scale
from handtool.hands.skeleton import RIGHT
from handtool.sources import datasets, folder_chunks
from handtool.sources.find import first_of
from handtool.sources.frame import Choice, KnownHand, Video
from handtool.sources.labelled_frames import Sample, only_a_box, read_known
from handtool.sources.sets.dataset_choice import choose_some, choose_split
from handtool.stages.extract import extract
from handtool.store import CROPS, LABELS

BOX = np.array([40.0, 30, 80, 90])
EXTRINSICS = np.hstack([np.eye(3), [[0.1], [0.2], [0.3]]])


def read_boxed(video, tally):
    """A set in one image, whose hands have a box and whose labels came with the video."""

    def label(row, place, image):
        return (
            KnownHand(
                RIGHT, sample_id=int(video.labels["id"][row]), sample_key="a", extrinsics=EXTRINSICS, **only_a_box(BOX)
            ),
        )

    return read_known(video, tally, lambda row: Sample(Path(video.path) / "a.png", "a.png", row), label)


@pytest.fixture
def boxed(tmp_path, monkeypatch):
    """The root of a set that is cut at 1.75."""
    root = tmp_path / "boxed"
    write_image(root / "a.png", picture(1, 2, (160, 120)))
    labels = {"id": np.arange(70, 75)}
    reader = SimpleNamespace(
        BOX_SCALE=1.75,
        is_root=lambda folder, names, below: folder.name == "boxed",
        read_labelled_frames=read_boxed,
        find_videos=lambda root, title, choice: [
            Video(title, str(root), "labelled", rows=tuple(range(5)), dataset="boxed", split="all", labels=labels)
        ],
    )
    monkeypatch.setitem(datasets.SETS, "boxed", reader)
    return root


def run(source, output, **settings):
    report = run_stage(extract, source, output, ExtractConfig(workers=0, **settings))
    with store.open_file(output) as file:
        return report, store.read_attrs(file, CROPS)["box_scale"], store.read_column(file, CROPS.crop_from_frame)


@pytest.mark.parametrize("asked, scale", [(None, 1.75), (1.3, 1.3), (2.0, 2.0)])
def test_the_box_scale_is_the_sets_own_unless_one_is_asked_for(tmp_path, boxed, in_this_process, asked, scale):
    report, written, affine = run([boxed], tmp_path / "c.h5", box_scale=asked)
    assert written == scale and report["box_scale"] == scale
    side = scale * 60  # px; the square is moved to whole pixels
    assert (
        affine[0, 0, 0] == pytest.approx(224 / round(side))
        and np.abs(affine[0] - crop_affine(BOX, 224, scale)).max() < 4
    )


def test_the_box_scale_of_anything_else_is_the_usual_one_and_of_unlabelled_whole_images_one(tmp_path, in_this_process):
    boxes = np.tile(BOX + 50, (6, 1))  # the hands are there
    assert run([make_labelled(tmp_path / "a", box=boxes)], tmp_path / "a.h5")[1] == BOX_SCALE
    write_image(tmp_path / "b" / "0.png", picture(0, 2, (160, 120)))
    assert run([tmp_path / "b"], tmp_path / "b.h5", whole=True)[1] == 1.0
    write_image(tmp_path / "v" / "0.png", picture(0, 2, (160, 120)))
    found = make_boxes(tmp_path / "b.json", {"v/0.png": [[30, 30, 40, 40]]})
    run_stage(extract, [tmp_path / "v"], tmp_path / "v.h5", ExtractConfig(workers=1), boxes=found)
    with store.open_file(tmp_path / "v.h5") as file:
        assert store.read_attrs(file, CROPS)["box_scale"] == BOX_SCALE


def test_the_box_scale_of_labelled_images_that_are_hands_is_measured_on_their_keypoints(
    tmp_path, in_this_process, monkeypatch
):
    monkeypatch.setattr(folder_chunks, "CHUNK_IMAGES", 2)
    share = np.array([0.5, 0.7, 0.8, 0.9, 0.8])  # larger side of the keypoints' box / side of the image
    keypoints = np.random.default_rng(0).uniform(0.3, 0.6, (5, 21, 2)) * 100
    keypoints[:, 0, 1], keypoints[:, 12, 1] = 10, 10 + 100 * share - 1  # a box covers its last pixel
    keypoints[0, 3] = np.nan  # only hands with all keypoints count
    labelled = make_labelled(tmp_path / "a", 5, 100, keypoints=keypoints)
    report, written, affine = run([labelled], tmp_path / "a.h5")
    assert written == report["box_scale"] == 1.25, "the median of 1/0.7, 1/0.8, 1/0.9, 1/0.8"
    assert np.allclose(affine[:, 0, 0], 2.24), "nothing is cut"
    assert run([labelled], tmp_path / "c.h5", box_scale=1.4)[1] == 1.4
    assert not same_scale(1.25, 1.4) and same_scale(1.25, 1.3) and same_scale(1.3, 1.25)


def test_sets_of_different_box_scales_do_not_go_into_one_file_unasked(tmp_path, boxed, in_this_process):
    other = make_labelled(tmp_path / "plain", box=np.tile(BOX + 50, (6, 1)))
    with pytest.raises(WrongCommand, match="boxed at 1.75, the rest at 1.3"):
        run([boxed, other], tmp_path / "c.h5")
    assert run([boxed, other], tmp_path / "c.h5", box_scale=1.5)[1] == 1.5


def test_labels_travel_with_their_rows_through_limits_and_chunks(tmp_path, boxed, in_this_process, monkeypatch):
    monkeypatch.setattr(folder_chunks, "CHUNK_IMAGES", 2)
    run([boxed], tmp_path / "c.h5", limit=3)
    with store.open_file(tmp_path / "c.h5") as file:
        assert store.read_column(file, LABELS.sample_id).tolist() == [70, 71, 72]
        assert np.array_equal(store.read_column(file, LABELS.extrinsics), np.tile(EXTRINSICS, (3, 1, 1)))
    whole = Video(
        "v",
        "p",
        "labelled",
        rows=tuple(range(5000)),
        dataset="boxed",
        labels={"x": np.zeros((5000, 100))},
        tables={"t": np.arange(3)},
    )
    parts = folder_chunks.split_into_chunks(next(first_of([whole], 4999)))
    assert [len(part.labels["x"]) for part in parts] == [2] * 2499 + [1] and all(
        part.tables["t"].tolist() == [0, 1, 2] for part in parts
    )
    assert len(pickle.dumps(parts[7])) < 4000, "only its own rows go to the process that reads a chunk"


def test_a_part_is_chosen_by_name_and_a_wrong_name_is_told(tmp_path):
    splits = {"train": "train", "training": "train", "val": "val"}
    assert (
        choose_split("S", "training", splits, ["train", "val"], tmp_path) == "train"
        and choose_split("S", None, splits, ["val"], tmp_path) == "val"
    )
    for asked, there, message in [
        ("dev", ["train"], "S has no split 'dev'"),
        (None, ["train", "val"], "train and val, which are not"),
        (None, [], "no split"),
    ]:
        with pytest.raises(WrongCommand, match=message):
            choose_split("S", asked, splits, there, tmp_path)
    assert choose_some("S", "--cameras", ("c", "a"), "abc") == ("a", "c") and choose_some(
        "S", "--cameras", (), "abc"
    ) == ("a", "b", "c")
    with pytest.raises(WrongCommand, match="S has no 'd' among what --cameras chooses"):
        choose_some("S", "--cameras", ("a", "d"), "abc")


def test_options_of_data_sets_without_one_and_a_lens_with_one_are_refused(tmp_path, boxed):
    folder = make_labelled(tmp_path / "plain")
    for choice, message in [
        (Choice(cameras=("a",)), "--cameras chooses a part"),
        (Choice(subset=("a",)), "--subset chooses a part"),
    ]:
        with pytest.raises(WrongCommand, match=message):
            run([folder], tmp_path / "c.h5", cameras=choice.cameras, subset=choice.subset)
    with pytest.raises(WrongCommand, match="the labels of boxed say what is known of its cameras"):
        run([boxed], tmp_path / "c.h5", camera="400,400,80,60")


def test_the_readme_names_every_data_set_and_its_reader_is_called_as_it_is():
    readme = (Path(__file__).resolve().parents[2] / "README.md").read_text()
    for name, reader in datasets.SETS.items():
        assert reader.NAME == name and f"| `{name}` |" in readme
