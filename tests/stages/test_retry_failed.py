"""extract --retry-failed: what failed is read again, into the same output, as if it had not failed."""

import json
import shutil

import pytest
from comparing import assert_same_bytes as same
from comparing import reasons
from footage import make_boxes, make_labelled, make_video, picture, run_stage, tables_of, write_image

from handtool import store
from handtool.config import ExtractConfig
from handtool.sources.retried import FailedVideo, merge_reports, read_status
from handtool.stages.extract import extract
from handtool.store import rows

ONE = ExtractConfig(workers=1)
NAMES = ("a", "b", "c", "d")


@pytest.fixture
def films(tmp_path):
    """Four films and a labelled set, their list and the boxes on them; in `away` is what is put elsewhere."""
    for number, name in enumerate(NAMES):
        make_video(tmp_path / f"{name}.mp4", frames=60 + 30 * number)
    hands = {f"{name}.mp4#{number}": [[10, 10, 30, 20], [50, 20, 30, 30]] for name in NAMES for number in (0, 30, 60)}
    boxes = make_boxes(tmp_path / "boxes.json", hands, side="left")
    labelled = make_labelled(tmp_path / "set", size=96)
    listed = [*(tmp_path / f"{name}.mp4" for name in NAMES), labelled]
    (tmp_path / "list.txt").write_text("\n".join(map(str, listed)))
    (tmp_path / "away").mkdir()
    return tmp_path, listed, boxes


def move(folder, names, into):
    for name in names:
        shutil.move(folder / f"{name}.mp4", into / f"{name}.mp4")


def test_a_file_that_was_replaced_is_another_input(films, handtool):
    folder, _, boxes = films
    words = ["extract", "--list", "list.txt", "--boxes", boxes, "--workers", "1", "-o", "o.h5"]
    (folder / "c.mp4").write_text("no film " * 99)
    assert handtool(*words, cwd=folder).returncode == 0
    make_video(folder / "c.mp4", frames=60)
    again = handtool(*words, "--retry-failed", cwd=folder)
    assert again.returncode == 1 and "from other inputs" in again.stderr


def test_files_that_were_missing_are_read_when_they_are_there(films, handtool):
    folder, _, boxes = films
    words = ["extract", "--list", "list.txt", "--boxes", boxes, "--workers", "1", "--json"]
    whole = handtool(*words, "-o", "whole.h5", cwd=folder)
    assert whole.returncode == 0, whole.stderr
    move(folder, "ac", folder / "away")
    first = handtool(*words, "-o", "o.h5", cwd=folder)
    assert reasons(json.loads(first.stdout)["report"], "videos")["done"] == 3, first.stderr
    move(folder / "away", "a", folder)
    second = handtool(*words, "-o", "o.h5", "--retry-failed", cwd=folder)
    assert second.returncode == 0 and "2 videos of o.h5 failed" in second.stderr, second.stderr
    assert reasons(json.loads(second.stdout)["report"], "videos")["done"] == 4
    move(folder / "away", "c", folder)
    third = handtool(*words, "-o", "o.h5", "--retry-failed", cwd=folder)
    same(folder / "o.h5", folder / "whole.h5")
    uuids = []
    for name in ("o.h5", "whole.h5"):
        with store.open_file(folder / name) as file:
            uuids.append(file.uuid)
            assert len(file.provenance) == 1 and [len(file.provenance[0]["inputs"]), file.has("labels")] == [2, True]
    assert uuids[0] == uuids[1] and not (folder / "o.h5.partial").exists()
    assert json.loads(third.stdout)["report"] == json.loads(whole.stdout)["report"]
    for more in ([], ["--retry-failed"]):
        kept = handtool(*words, "-o", "o.h5", *more, cwd=folder)
        assert kept.returncode == 0 and json.loads(kept.stdout)["up_to_date"], kept.stderr
    assert "no video of o.h5 failed" in kept.stderr
    refused = handtool(*words, "-o", "o.h5", "--retry-failed", "--force", cwd=folder)
    assert refused.returncode == 2 and "--retry-failed does nothing" in refused.stderr


def test_healthy_videos_are_not_read_again_and_an_interruption_costs_nothing(films, monkeypatch):
    folder, listed, boxes = films
    run_stage(extract, [], folder / "whole.h5", ONE, listed=listed, boxes=boxes)
    move(folder, "b", folder / "away")
    run_stage(extract, [], folder / "o.h5", ONE, listed=listed, boxes=boxes)
    move(folder, "acd", folder / "away")  # they cannot be read now
    move(folder / "away", "b", folder)
    before = (folder / "o.h5").read_bytes()

    def fail(*args, **more):
        raise KeyboardInterrupt

    with store.open_file(folder / "o.h5") as kept:
        with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
            patched.setattr(rows, "copy_crops", fail)
            run_stage(extract, [], folder / "o.h5", ONE, listed=listed, boxes=boxes, kept=kept)
        assert (folder / "o.h5").read_bytes() == before
        move(folder, "b", folder / "away")  # its part is there
        run_stage(extract, [], folder / "o.h5", ONE, listed=listed, boxes=boxes, kept=kept)
    same(folder / "o.h5", folder / "whole.h5")


def test_what_fails_again_is_listed_again(films):
    folder, listed, boxes = films
    move(folder, "bd", folder / "away")
    first = run_stage(extract, [], folder / "o.h5", ONE, listed=listed, boxes=boxes)
    tables = tables_of(folder / "o.h5")
    with store.open_file(folder / "o.h5") as kept:
        again = run_stage(extract, [], folder / "o.h5", ONE, listed=listed, boxes=boxes, kept=kept)
    assert again == first
    assert tables_of(folder / "o.h5")["videos/status"].tolist() == tables["videos/status"].tolist()


def test_counts_of_a_folder_whose_images_failed_are_taken_back(tmp_path):
    config = ExtractConfig(workers=1, whole=True, every=2)
    for number in range(5):
        write_image(tmp_path / "good" / f"{number}.png", picture(number, 5))
        (tmp_path / "bad" / f"{number}.png").parent.mkdir(exist_ok=True)
        (tmp_path / "bad" / f"{number}.png").write_bytes(b"")
    sources = [tmp_path / "bad", tmp_path / "good"]
    first = run_stage(extract, sources, tmp_path / "o.h5", config)
    assert reasons(first, "frames")["failed"] and reasons(first, "frames")["skipped"] == {"not sampled": 4}
    with store.open_file(tmp_path / "o.h5") as kept:
        again = run_stage(extract, sources, tmp_path / "o.h5", config, kept=kept)
        assert again == first
        for number in range(5):
            write_image(tmp_path / "bad" / f"{number}.png", picture(number, 5))
        again = run_stage(extract, sources, tmp_path / "o.h5", config, kept=kept)
    assert again == run_stage(extract, sources, tmp_path / "whole.h5", config)
    same(tmp_path / "o.h5", tmp_path / "whole.h5")


def test_a_status_is_taken_apart_as_it_was_joined():
    status = "cannot be opened: end; of file; 12 frames, refused by FFmpeg, 3 frames marked as damaged"
    video = FailedVideo("x", status, 15)
    problem, frames = read_status(video)
    assert problem == "cannot be opened: end; of file"
    assert frames == {"frames, refused by FFmpeg": 12, "frames marked as damaged": 3}
    assert read_status(FailedVideo("x", "empty file; 3 of them", 0)) == ("empty file; 3 of them", {})


def test_what_only_one_of_two_reports_has_is_kept():
    account = {"what": "videos", "in": 2, "done": 1, "skipped": {}, "failed": {"empty file": 1}}
    hands = {"what": "hands", "in": 4, "done": 4, "skipped": {}, "failed": {}}
    before = {"accounting": [account, hands], "left": 4, "right": 0, "side_unknown": 0, "notes": {"dark": ["x", "y"]}}
    after = {"accounting": [account | {"in": 1, "failed": {}}, hands | {"in": 3, "done": 3}], "left": 3, "right": 0}
    after |= {"side_unknown": 0, "tracks": 2, "notes": {"dark": "7 videos", "turned": ["x"]}}
    after |= {"found": {"at the first look": 1, "looked again": 2, "the whole picture as a hand": 0}}
    merged = merge_reports(before, [FailedVideo("x", "empty file", 0)], after)
    assert merged["accounting"] == [account | {"in": 2, "done": 2, "failed": {}}, hands | {"in": 7, "done": 7}]
    assert merged["found"] == {"at the first look": 5, "looked again": 2, "the whole picture as a hand": 0}
    assert merged["left"] == 7 and merged["tracks"] == 2 and merged["notes"] == {"dark": "8 videos", "turned": ["x"]}
