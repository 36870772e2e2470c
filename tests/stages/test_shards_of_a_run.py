"""Shards: together they are the single run, row for row. Lists: what they name is read, what is not there is told."""

import shutil

import numpy as np
import pytest
import running
from footage import damage, make_labelled, make_video, picture, run_stage, write_image
from running import read_tables, same_tables

from handtool import store
from handtool.config import CatConfig, ExtractConfig
from handtool.errors import HandtoolError
from handtool.stages.cat import cat
from handtool.stages.extract import extract
from handtool.store import CROPS, VIDEOS


def make_footage(folder):
    """Videos of several lengths, some of them bad, a folder of images and a labelled set."""
    folder.mkdir()
    for number, frames in enumerate((90, 30, 60)):
        make_video(folder / f"{number}.mp4", frames=frames)
    (folder / "empty.mp4").write_bytes(b"")
    damage(make_video(folder / "flipped.mp4", frames=120, size=(320, 240)), count=20, first=0.4, last=0.6)
    for number in range(4):
        write_image(folder / "still" / f"{number}.jpg", picture(number, 4, (224, 224)))
    make_labelled(folder / "set", count=3, size=256, box=np.tile([60.0, 70, 180, 200], (3, 1)))
    return folder


def extract_shards(footage, folder, of: int, numbers: range | None = None) -> list:
    paths = []
    for number in numbers or range(1, of + 1):
        paths.append(folder / f"{number}of{of}.h5")
        run_stage(extract, [footage], paths[-1], ExtractConfig(whole=True, every=15, shard=f"{number}/{of}", workers=1))
    return paths


def test_shards_joined_are_the_single_run_row_for_row(tmp_path):
    """With eight shards of seven videos one has nothing, and some only hands that are whole images."""
    footage, of = make_footage(tmp_path / "f"), 8
    run_stage(extract, [footage], tmp_path / "single.h5", ExtractConfig(whole=True, every=15, workers=1))
    shards = extract_shards(footage, tmp_path, of)
    order = np.random.default_rng(of).permutation(of)
    report = running.run_stage(cat, [shards[place] for place in order], tmp_path / "joined.h5", CatConfig())
    assert (
        same_tables(read_tables(tmp_path / "single.h5"), read_tables(tmp_path / "joined.h5"))
        and "missing_shards" not in report
    )
    with store.open_file(tmp_path / "single.h5") as single, store.open_file(tmp_path / "joined.h5") as joined:
        assert store.read_attrs(single, CROPS) == store.read_attrs(joined, CROPS)
    part = running.run_stage(cat, [shards[0], shards[1]], tmp_path / "part.h5", CatConfig())
    assert part.get("missing_shards", []) == [f"{number}/{of}" for number in range(3, of + 1)]
    whole = running.run_stage(cat, [tmp_path / "part.h5", *shards[2:]], tmp_path / "again.h5", CatConfig())
    assert (
        same_tables(read_tables(tmp_path / "single.h5"), read_tables(tmp_path / "again.h5"))
        and "missing_shards" not in whole
    )


def test_shards_of_two_divisions_do_not_pass_for_one_run(tmp_path, caplog):
    footage = make_footage(tmp_path / "f")
    two, three = (extract_shards(footage, tmp_path, of, range(1, 2)) for of in (2, 3))
    with caplog.at_level("WARNING", logger="handtool"):
        running.run_stage(cat, [two[0], three[0]], tmp_path / "x.h5", CatConfig())
    assert "have videos in common, which come twice" in caplog.text


def test_a_list_is_read_line_by_line_and_what_is_not_there_is_a_video_that_failed(tmp_path, handtool):
    names = ["a b.mp4", "ü.mp4", "#odd.mp4"]
    for name in names:
        make_video(tmp_path / name, frames=31)
    write_image(tmp_path / "still" / "1.jpg", picture(0, 1))
    (tmp_path / "list.txt").write_text("# a comment\na b.mp4\n\nü.mp4\nstill\n./#odd.mp4\r\nnone.mp4\na b.mp4\n")
    command = ("extract", "--list", "list.txt", "--whole", "--workers", "1")
    done = handtool(*command, "-o", "c.h5")
    assert done.returncode == 0, done.stderr
    assert "videos: 5 in = 4 done + 0 skipped + 1 (cannot be read: 1) failed" in done.stdout
    with store.open_file(tmp_path / "c.h5") as file:
        assert store.read_column(file, VIDEOS.name).tolist() == ["a b.mp4", "ü.mp4", "still", "#odd.mp4", "none.mp4"]
        assert "No such file" in store.read_column(file, VIDEOS.status)[4] and len(file.provenance[-1]["inputs"]) == 1
    shutil.copy(tmp_path / "list.txt", tmp_path / "copy.txt")
    (tmp_path / "list.txt").write_bytes((tmp_path / "copy.txt").read_bytes())  # written anew, as a script does
    assert "up to date" in handtool(*command, "-o", "c.h5").stderr
    make_video(tmp_path / "ü.mp4", frames=61)
    assert "from other inputs" in handtool(*command, "-o", "c.h5").stderr
    piped = handtool("extract", "--list", "-", "--whole", "-o", "d.h5", stdin="\0".join(["ü.mp4", "#odd.mp4"]).encode())
    assert piped.returncode == 0 and "hands: 5 in = 5 done" in piped.stdout, piped.stderr


def test_lists_that_name_nothing_are_refused(tmp_path, handtool):
    (tmp_path / "list.txt").write_text("# nothing\n\n")
    for name, text in (("list.txt", "names nothing"), ("absent.txt", "no such file")):
        done = handtool("extract", "--list", name, "--whole", "-o", "c.h5")
        assert done.returncode == 1 and text in done.stderr
    (tmp_path / "gone.txt").write_text("x.mp4\ny.mp4\n")
    done = handtool("extract", "--list", "gone.txt", "--whole", "-o", "c.h5")
    assert done.returncode == 1 and "none of 2 videos could be read" in done.stderr


def test_a_run_without_hands_is_an_error_and_a_shard_without_hands_is_not(tmp_path):
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "empty.mp4").write_bytes(b"")
    make_video(tmp_path / "f" / "a.mp4", frames=3)
    report = run_stage(extract, [tmp_path / "f"], tmp_path / "2.h5", ExtractConfig(whole=True, shard="2/2", workers=1))
    assert report["accounting"][0]["failed"] == {"empty file": 1} and report["videos_of_all_shards"] == 2
    with store.open_file(tmp_path / "2.h5") as file:
        assert file.count(CROPS) == 0 and file.count(VIDEOS) == 1 and not store.find_faults(file, deep=True)
    with pytest.raises(HandtoolError, match="none of 1 videos"):
        run_stage(extract, [tmp_path / "f" / "empty.mp4"], tmp_path / "x.h5", ExtractConfig(whole=True, workers=1))
