"""A tar of thousands of short films, and one of tens of gigabytes, through `handtool extract`: time beside plain files,
memory as the tar grows, and a run that is killed and goes on.

    python tests/benchmarks/trial_tars.py [--films 2000] [--gigabytes 20] [--workers 1]

The films are 64 px, of a second; the large tar is a sparse file, in which films lie beside members of gigabytes that
are holes on the disk. Exits with 1 where a table differs from that of plain files, the killed run differs from the
whole one, or the memory of the tar exceeds that of plain files by over 10 %.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve()
sys.path[:0] = [str(HERE.parents[2]), str(HERE.parents[1])]

from archives import header  # noqa: E402
from footage import make_video, tables_of  # noqa: E402

from handtool.store import CROPS, VIDEOS  # noqa: E402

KINDS = 40  # different films
WORDS = "--whole --fps 2 --size 32".split()


def start(source: Path, output: Path, workers: int) -> subprocess.Popen:
    environment = os.environ | {"PYTHONPATH": str(HERE.parents[2])}
    words = ["extract", source, *WORDS, "--workers", str(workers), "-o", output, "--quiet"]
    return subprocess.Popen(
        [sys.executable, "-m", "handtool", *words], env=environment, stdout=subprocess.DEVNULL, process_group=0
    )


def run(source: Path, output: Path, workers: int) -> tuple[float, float, float]:
    """Seconds, CPU seconds, MB at most of the largest process."""
    began, process = time.monotonic(), start(source, output, workers)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, process.returncode
    return time.monotonic() - began, used.ru_utime + used.ru_stime, used.ru_maxrss / 1e3


def make_films(folder: Path, count: int) -> list[Path]:
    """Plain files under `folder`; few are encoded, the others are copies with other names."""
    kinds = [make_video(folder / f"kind{number}.mp4", 30, size=(64, 64)) for number in range(min(KINDS, count))]
    (folder / "plain").mkdir()
    return [
        Path(shutil.copy(kinds[number % len(kinds)], folder / "plain" / f"{number:05d}.mp4")) for number in range(count)
    ]


def make_sparse(path: Path, films: list[Path], size: int) -> None:
    """Films, and between them members that no disk has to hold, `size` bytes in all."""
    hole = size // len(films) // 512 * 512
    with path.open("wb") as file:
        for number, film in enumerate(films):
            content = film.read_bytes()
            file.write(header(f"{number:05d}.mp4".encode(), len(content)) + content + bytes(-len(content) % 512))
            file.write(header(f"{number:05d}.bin".encode(), hole))
            file.seek(hole, os.SEEK_CUR)
        file.write(bytes(1024))


def differences(one: Path, other: Path) -> list[str]:
    """Columns that differ, but for the names and paths."""
    first, second = (tables_of(path, VIDEOS, CROPS) for path in (one, other))
    named = {VIDEOS.name.path, VIDEOS.path.path}
    return [
        name
        for name in first
        if name not in named and not np.array_equal(first[name], second[name], equal_nan=first[name].dtype.kind == "f")
    ]


def kill_and_go_on(source: Path, output: Path, workers: int) -> float:
    """Seconds of the second run."""
    parts, process = output.with_name(output.name + ".partial"), start(source, output, workers)
    while process.poll() is None and len([*parts.glob("video-*")]) < 400:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    done = len([*parts.glob("video-*")])
    seconds = run(source, output, workers)[0]
    print(f"killed with {done} parts written; the second run took {seconds:.1f} s")
    return seconds


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--films", type=int, default=2000)
    parser.add_argument("--gigabytes", type=float, default=20.0)
    parser.add_argument("--workers", type=int, default=1)
    given = parser.parse_args()
    sound = True
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        films = make_films(folder, given.films)
        path, large = folder / "films.tar", folder / "large.tar"
        with tarfile.open(path, "w") as tar:
            for film in films:
                tar.add(film, film.name)
        make_sparse(large, films[:KINDS], int(given.gigabytes * 1e9))
        few = folder / "few.tar"
        with tarfile.open(few, "w") as tar:
            for film in films[: given.films // 10]:
                tar.add(film, film.name)
        print(f"{given.films} films of 64 px, {given.workers} workers;     s, CPU s, MB of the largest process")
        peaks = {}
        for what, source in {"plain": films[0].parent, "in a tar": path, "a tenth": few, "large": large}.items():
            seconds, used, peaks[what] = run(source, folder / f"{what}.h5", given.workers)
            size = source.stat().st_size / 1e9 if source.is_file() else 0
            print(f"{what:10} {size:8.2f} GB {seconds:8.1f} {used:8.1f} {peaks[what]:8.0f}")
        sound &= not (wrong := differences(folder / "plain.h5", folder / "in a tar.h5")) or bool(print(wrong))
        sound &= max(peaks["in a tar"], peaks["large"]) < 1.1 * peaks["plain"]
        kill_and_go_on(path, folder / "killed.h5", given.workers)
        sound &= not (wrong := differences(folder / "in a tar.h5", folder / "killed.h5")) or bool(print(wrong))
    print("as it should be" if sound else "NOT as it should be")
    return 0 if sound else 1


if __name__ == "__main__":
    sys.exit(main())
