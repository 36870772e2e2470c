"""Two hundred videos, forty of them damaged in eight ways, and a run that is killed ten times at random moments.

    python tests/benchmarks/trial_damage.py [VIDEOS [KILLS [SEED]]]

Looks whether everything readable is in the file, the rest listed with reasons, in = done + skipped + failed, and
whether the tables of the run that was killed and resumed are those of an uninterrupted one. Exits with 1 where one of
these is not so.
"""

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve()
sys.path[:0] = [str(HERE.parents[1]), str(HERE.parents[2])]

from footage import damage, make_sound, make_video, number_of, tables_of  # noqa: E402

from handtool import store  # noqa: E402
from handtool.store import CROPS, VIDEOS  # noqa: E402
from handtool.vision.cropping import decode_jpeg  # noqa: E402

LENGTHS, EVERY, SIZE = (80, 100, 120, 140, 160), 10, (320, 240)  # frames; every N-th is kept; px
FRAMES = 120  # of a damaged video, before it was damaged


def zero_length(path: Path, rng: random.Random) -> None:
    path.write_bytes(b"")


def no_video(path: Path, rng: random.Random) -> None:
    path.write_bytes(rng.randbytes(20_000))


def cut_before_its_index(path: Path, rng: random.Random) -> None:
    """An mp4 whose index, at its end, is missing: a recorder that lost power."""
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * rng.uniform(0.2, 0.9))])


def cut_after_its_index(path: Path, rng: random.Random) -> None:
    """A download that broke off."""
    make_video(path, FRAMES, size=SIZE, options={"movflags": "faststart"})
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * rng.uniform(0.3, 0.8))])


def bytes_flipped(path: Path, rng: random.Random) -> None:
    damage(path, count=30, first=0.3, last=0.7, seed=rng.randrange(10**6))


def a_hole_of_zeros(path: Path, rng: random.Random) -> None:
    """Blocks that a file system lost."""
    data = bytearray(path.read_bytes())
    start = int(len(data) * rng.uniform(0.3, 0.5))
    data[start : start + len(data) // 10] = bytes(len(data) // 10)
    path.write_bytes(data)


def audio_only(path: Path, rng: random.Random) -> None:
    make_sound(path)


def no_key_frame_at_its_start(path: Path, rng: random.Random) -> None:
    """A stream that was joined while it ran (the name keeps its ending: FFmpeg looks at the content)."""
    stream = make_video(path.with_suffix(".ts"), FRAMES, size=SIZE)
    data = stream.read_bytes()
    stream.unlink()
    path.write_bytes(data[188 * (len(data) // 188 // 12) :])


WAYS = (
    zero_length,
    no_video,
    cut_before_its_index,
    audio_only,
    cut_after_its_index,
    bytes_flipped,
    a_hole_of_zeros,
    no_key_frame_at_its_start,
)
UNREADABLE = {way.__name__ for way in WAYS[:4]}


def make_footage(folder: Path, count: int, rng: random.Random) -> dict[str, str]:
    """Writes the videos; a fifth of them damaged. Returns file name -> the way."""
    folder.mkdir()
    sound = [make_video(folder / "x.mp4", frames, size=SIZE).read_bytes() for frames in LENGTHS]
    (folder / "x.mp4").unlink()
    for number in range(count):
        (folder / f"{number:04d}.mp4").write_bytes(sound[number % len(sound)])
    damaged = sorted(rng.sample(range(count), count // 5))
    ways = {}
    for place, number in enumerate(damaged):
        way = WAYS[place % len(WAYS)]
        (folder / f"{number:04d}.mp4").write_bytes(sound[LENGTHS.index(FRAMES)])
        way(folder / f"{number:04d}.mp4", rng)
        ways[f"{number:04d}.mp4"] = way.__name__
    return ways


def start(folder: Path, output: Path) -> subprocess.Popen:
    command = [
        sys.executable,
        "-m",
        "handtool",
        "extract",
        str(folder),
        "--whole",
        "--every",
        str(EVERY),
        "-o",
        str(output),
        "--json",
    ]
    environment = {**os.environ, "PYTHONPATH": str(HERE.parents[2])}
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
    )


def run(folder: Path, output: Path) -> tuple[dict, float]:
    began = time.perf_counter()
    process = start(folder, output)
    text, _ = process.communicate()
    assert process.returncode == 0, process.returncode
    return json.loads(text)["report"], time.perf_counter() - began


def kill_and_rerun(folder: Path, output: Path, kills: int, rng: random.Random) -> list[int]:
    """Kills the run at random moments: after a random number of new parts and a random while, half the time the
    whole group at once, half the time the parent alone. Returns how many videos were done at each kill. The output
    must not exist then."""
    state, count, done = output.with_name(output.name + ".partial"), len(list(folder.iterdir())), []
    while len(done) < kills:
        process = start(folder, output)
        before = len(list(state.glob("*.part.h5")))
        left = 3 * (count - (done[-1] if done else 0)) // 2  # parts: two for most videos, one for what cannot be read
        wanted = before + rng.randint(0, min(left, 2 * left // (kills - len(done) + 1)))
        while process.poll() is None and len(list(state.glob("*.part.h5"))) < wanted:
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.1))
        if process.poll() is not None:
            print(f"it was done before kill {len(done) + 1} of {kills}")
            break
        if rng.random() < 0.5:
            os.killpg(process.pid, 9)
        else:
            process.kill()
        process.communicate()
        assert not output.exists(), "half-made output under its final name"
        done.append(len(list(state.glob("video-???????.part.h5"))))
    return done


def check_content(output: Path, report: dict, ways: dict[str, str], count: int) -> list[str]:
    """What is not as promised, in words."""
    wrong = []
    for item in report["accounting"]:
        if item["in"] != item["done"] + sum(item["skipped"].values()) + sum(item["failed"].values()):
            wrong.append(f"{item['what']} do not add up")
    tables = tables_of(output, CROPS, VIDEOS)
    names = [name.split("/")[-1] for name in tables["videos/name"]]
    if len(names) != count or report["accounting"][0]["in"] != count:
        wrong.append(f"{len(names)} videos in the file, {report['accounting'][0]['in']} in the report")
    hands = np.bincount(tables["crops/video"], minlength=count)
    for number, name in enumerate(names):
        status, way, frames = tables["videos/status"][number], ways.get(name), LENGTHS[number % len(LENGTHS)]
        decoded, failed = tables["videos/frames_decoded"][number], tables["videos/frames_failed"][number]
        if way is None and (status != "ok" or hands[number] != frames // EVERY or decoded != frames):
            wrong.append(f"sound {name}: {status}, {hands[number]} hands")
        elif way in UNREADABLE and (status == "ok" or hands[number]):
            wrong.append(f"{way} {name}: {status}, {hands[number]} hands")
        elif (
            way is not None
            and way not in UNREADABLE
            and (decoded < FRAMES // 10 or not hands[number] or (status == "ok" and not failed))
        ):
            if not (
                way == "no_key_frame_at_its_start" and decoded and hands[number]
            ):  # what was never there cannot be missed
                wrong.append(f"{way} {name}: {status}, {decoded} decoded, {hands[number]} hands")
    listed = {line["video"].split("/")[-1] for line in report["videos_not_read_whole"]}
    if listed != {name for name, status in zip(names, tables["videos/status"]) if status != "ok"} or not listed <= set(
        ways
    ):
        wrong.append("the list of videos not read whole is not that of the file")
    return wrong + check_pictures(output, tables, names, ways)


def check_pictures(output: Path, tables: dict, names: list[str], ways: dict[str, str]) -> list[str]:
    """Every crop of a sound video shows the frame that its row names."""
    wrong = 0
    with store.open_file(output) as file:
        jpegs = store.open_jpegs(file)
        for row, (video, frame) in enumerate(zip(tables["crops/video"], tables["crops/frame"], strict=True)):
            if names[video] not in ways:
                frames = LENGTHS[int(names[video][:4]) % len(LENGTHS)]
                wrong += abs(number_of(decode_jpeg(jpegs[row])[30:-30], frames) - frame) > 3
    return [f"{wrong} crops show another frame"] if wrong else []


def compare(one: Path, other: Path) -> list[str]:
    mine, theirs = tables_of(one), tables_of(other)
    differ = [
        name for name in mine if not np.array_equal(mine[name], theirs[name], equal_nan=mine[name].dtype.kind == "f")
    ]
    with store.open_file(one) as a, store.open_file(other) as b:
        if a.uuid != b.uuid:  # over settings and the checksums of all tables, the images included
            differ.append("uuid")
    return [f"{name} differs" for name in differ] + ([] if mine.keys() == theirs.keys() else ["other columns"])


def main() -> int:
    count, kills, seed = (int(text) for text in (sys.argv[1:] + ["200", "10", "5"][len(sys.argv) - 1 :])[:3])
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as name:
        folder, whole, resumed = Path(name) / "videos", Path(name) / "whole.h5", Path(name) / "resumed.h5"
        ways = make_footage(folder, count, rng)
        report, seconds = run(folder, whole)
        print(
            f"{count} videos, {len(ways)} damaged "
            f"({', '.join(f'{n} {way}' for way, n in Counter(ways.values()).items())}), {seconds:.1f} s"
        )
        for item in report["accounting"]:
            print(
                f"  {item['what']}: {item['in']} in = {item['done']} done + {item['skipped']} skipped + "
                f"{item['failed']} failed"
            )
        done = kill_and_rerun(folder, resumed, kills, rng)
        print(f"killed {len(done)} times, with so many videos done: {done}")
        again, _ = run(folder, resumed)
        wrong = check_content(whole, report, ways, count) + compare(whole, resumed)
        wrong += [] if again == report else ["the resumed run reports something else"]
        wrong += [] if len(done) == kills else [f"only {len(done)} of {kills} kills"]
        wrong += ["the state folder is left"] if resumed.with_name("resumed.h5.partial").exists() else []
    print("\n".join(wrong) or "all as promised: tables, images (uuid) and report are those of the uninterrupted run")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
