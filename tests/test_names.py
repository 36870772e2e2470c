"""Names: their order, how they are shown, and what stands beside a file of a long name."""

import json
import os
import random
import shlex
import subprocess

import cv2
import numpy as np
import pytest
from making import record

from handtool.names import escape, name_beside, natural, printable, printable_json, printable_shell
from handtool.sources.find import find_videos
from handtool.store import create_file, open_job, stamp_raw

HOSTILE = "\x1b[31m[red]a\nSPLIT\r\x9b2J\u202etxt\u2028\x07<b>&'\"\udcff.png"


def test_names_sort_as_people_count():
    names = ["", "0", "1", "01", "2", "10", "a.jpg", "a1.jpg", "a2.jpg", "a10.jpg", "a10b2", "a10b10", "b"]
    shuffled = random.Random(1).sample(names, len(names))
    assert sorted(sorted(shuffled), key=natural) == ["", "0", "01", "1", *names[4:]]
    assert natural("9" * 10_000) < natural("1" + "0" * 10_000)


def test_names_whose_numbers_are_of_one_length_sort_as_texts():
    rng = random.Random(2)
    names = [
        "".join(rng.choices("ab-_. é", k=3)) + f"{rng.randrange(1000):03d}" + rng.choice(["", "x", "-"])
        for _ in range(500)
    ]
    assert sorted(names, key=natural) == sorted(names)


def test_images_and_folders_are_read_in_the_order_in_which_people_count(tmp_path):
    for folder in ("take 1", "take 2", "take 10"):
        (tmp_path / folder).mkdir()
        for number in (1, 2, 9, 10, 11, 100):
            cv2.imwrite(str(tmp_path / folder / f"{number}.png"), np.zeros((4, 4, 3), np.uint8))
    videos = find_videos([tmp_path]).videos
    assert [os.path.basename(video.path) for video in videos] == ["take 1", "take 2", "take 10"]
    assert [os.path.basename(file) for file in videos[0].files] == [f"{n}.png" for n in (1, 2, 9, 10, 11, 100)]


def test_only_a_folder_whose_order_is_another_than_that_of_texts_has_another_stamp(tmp_path):
    """So that what was made of the others by an older version stays up to date."""

    def plain_stamp(folder):
        from handtool.store.provenance import digest

        files = sorted((name.name, name.stat().st_size, name.stat().st_mtime_ns) for name in folder.iterdir())
        return digest(f"{name} {size} {changed}" for name, size, changed in files)

    for folder, numbers, same in (("a", ("01", "02", "10"), True), ("b", ("1", "2", "10"), False)):
        (tmp_path / folder).mkdir()
        for number in numbers:
            (tmp_path / folder / f"{number}.png").write_bytes(b"x")
        assert (stamp_raw(tmp_path / folder).stamp == plain_stamp(tmp_path / folder)) == same


def test_what_steers_a_terminal_is_spelled_out():
    assert printable(HOSTILE) == r"\x1b[31m[red]a\nSPLIT\r\x9b2J\u202etxt\u2028\x07<b>&'" + '"' + r"\xff.png"
    for fine in ("hand 1.mp4", "手 ✋🏽 é\tنماد‌ها", ""):
        assert printable(fine) == fine
    assert "\x1b" not in escape(HOSTILE) and "<b>" not in escape(HOSTILE)


def test_json_stays_json_and_a_shell_line_means_the_same():
    text = HOSTILE.replace("\udcff", "")
    written = printable_json(json.dumps({"a": text}, ensure_ascii=False, indent=1))
    assert json.loads(written) == {"a": text} and printable(written.replace("\n", "")) == written.replace("\n", "")
    line = shlex.join(["printf", "%s", HOSTILE])
    assert printable(printable_shell(line)) == printable_shell(line)
    said = subprocess.run(["bash", "-c", printable_shell(line)], capture_output=True, env={"LC_ALL": "C.UTF-8"}).stdout
    assert said == os.fsencode(HOSTILE)


@pytest.mark.parametrize("name", ["a" * 252 + ".h5", "手" * 84 + ".h5", "a" * 233 + ".h5", "a.h5"])
def test_an_output_may_have_the_longest_name_that_a_file_can_have(tmp_path, name):
    path = tmp_path / name
    with open_job(path, record("extract")) as job:
        job.save("000", {"a": np.arange(3)})
        assert (job.load("000")["a"] == np.arange(3)).all()
        with create_file(path, record("extract"), []) as sink:
            sink.finish({})
    assert [each for each in os.listdir(tmp_path) if each.endswith(".h5")] == [name]
    assert all(each == name or each.endswith(".partial") for each in os.listdir(tmp_path))
    with open_job(path, record("extract")) as job:
        assert job.names() == ["000"], "and the run is found again"
        job.remove()


def test_two_long_names_that_begin_alike_have_different_neighbours(tmp_path):
    one, two = (name_beside(tmp_path / ("a" * 252 + end), ".", ".partial", 8) for end in ("1.h", "2.h"))
    assert one != two and max(len(one), len(two)) <= 247


def test_a_hostile_name_reaches_neither_terminal_nor_page_nor_csv_as_it_is(tmp_path, handtool):
    films = tmp_path / ("films" + HOSTILE.replace("/", ""))
    films.mkdir()
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((64, 64, 3), np.uint8))
    os.rename(tmp_path / "a.png", films / HOSTILE)
    (films / ("b" + HOSTILE.replace(".png", ".mp4"))).write_bytes(b"no film")
    out = str(tmp_path / "out.h5")
    for words in (
        ["extract", str(films), "-o", out, "--whole", "-v"],
        ["extract", str(films), "-o", out, "--whole", "--json"],
        ["info", out],
        ["info", out, "--commands"],
        ["report", out, "-o", str(tmp_path / "page.html")],
        ["export", out, "--table", "crops", "-o", str(tmp_path / "t.csv")],
        ["show", str(films)],
        ["info", out, str(films)],
        ["check", str(films / HOSTILE)],
        ["mine", str(films / HOSTILE), "-o", out],
    ):
        done = handtool(*words)
        for said in (done.stdout, done.stderr):
            assert not set(said) & set("\x1b\r\x9b\u202e\u2028\x07\udcff"), words
            assert "\nSPLIT" not in said and "Traceback" not in said
    for written in ("page.html", "t.csv"):
        text = (tmp_path / written).read_bytes().decode()
        assert not set(text) & set("\x1b\r\x9b\u202e\u2028\x07")
