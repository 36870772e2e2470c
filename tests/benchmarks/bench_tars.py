"""CPU time of reading films inside a tar beside the same films as plain files, and of listing a tar.

    python tests/benchmarks/bench_tars.py [FILM...] [--rounds 7] [--fps 1]

Without FILM: the real films of the test data, if they are there, and films made here (64 px, 480 px). The members and
the plain files take turns, each round in the other order; the time is process time (demuxing, decoding and the
conversion of the kept frames to RGB), the median of the rounds. Exits with 1 where a kept frame or a count differs, or
where members cost over 1.05 times what plain files cost, all films together.
"""

import argparse
import os
import statistics
import sys
import tarfile
import tempfile
import time
import zlib
from pathlib import Path

HERE = Path(__file__).resolve()
sys.path[:0] = [str(HERE.parents[2]), str(HERE.parents[1])]

from footage import make_video  # noqa: E402

from handtool.sources import tar_index  # noqa: E402
from handtool.sources.find import find_videos  # noqa: E402
from handtool.sources.frame import Sampling, Tally, Video  # noqa: E402
from handtool.sources.read import read_frames  # noqa: E402

MOST = 1.05
WAYS = {"everything": {"decode": "all"}, "needed": {}, "key frames": {"keyframes": True}}
DATA = Path(os.environ.get("HANDTOOL_TEST_DATA", HERE.parents[3] / "shared" / "data")) / "videos"


def read(video: Video, sampling: Sampling) -> tuple[list, str, float]:
    """The kept frames as numbers that can be compared, the counts, CPU seconds."""
    tally, began, kept, checking = Tally(), time.process_time(), [], 0.0
    for frame in read_frames(video, sampling, tally):
        start = time.process_time()
        kept.append((frame.number, frame.time, zlib.crc32(frame.image.tobytes())))
        checking += time.process_time() - start
    return kept, str(tally.as_outcome()), time.process_time() - began - checking


def find_films(folder: Path) -> list[Path]:
    films = sorted(path for path in DATA.rglob("*") if path.suffix in (".mp4", ".webm", ".mov", ".mkv"))
    made = {"64": ((64, 64), 90), "480": ((640, 480), 300)}
    return films + [make_video(folder / f"made-{name}.mp4", frames, size=size) for name, (size, frames) in made.items()]


def measure(plain: Video, inside: Video, sampling: Sampling, rounds: int) -> tuple[float, float, bool]:
    """CPU seconds of the plain file and of the member, and whether they give the same."""
    spent: dict[str, list[float]] = {"plain": [], "inside": []}
    found = {}
    for number in range(rounds):
        for name, video in [("plain", plain), ("inside", inside)][:: 1 if number % 2 else -1]:
            kept, counts, seconds = read(video, sampling)
            found[name] = kept, counts
            spent[name].append(seconds)
    one, other = (statistics.median(times) for times in spent.values())
    return one, other, found["plain"] == found["inside"]


def time_listing(path: Path) -> float:
    tar_index.index_at.cache_clear()
    began = time.process_time()
    tar_index.read_index(str(path))
    return time.process_time() - began


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("films", nargs="*", type=Path)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--fps", type=float, default=1.0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        films, sound, sums = given.films or find_films(Path(folder)), True, dict.fromkeys(WAYS, (0.0, 0.0))
        path = Path(folder) / "films.tar"
        with tarfile.open(path, "w") as tar:
            for number, film in enumerate(films):
                tar.add(film, f"{number:05d}{film.suffix}")
        inside = find_videos([path]).videos
        print(f"{len(films)} films, {given.fps:g} a second, CPU s, median of {given.rounds} rounds, in turns")
        for film, member in zip(films, inside, strict=True):
            for way, more in WAYS.items():
                plain = Video(member.name, str(film), "video")
                one, other, same = measure(plain, member, Sampling(given.fps, **more), given.rounds)
                sums[way] = sums[way][0] + one, sums[way][1] + other
                sound &= same
                told = "" if same else "   NOT THE SAME FRAMES"
                print(f"{film.name[:36]:36} {way:12} {one:8.4f} {other:8.4f} {other / one:6.3f}{told}")
        for way, (one, other) in sums.items():
            sound &= other <= MOST * one
            print(f"{'all':36} {way:12} {one:8.4f} {other:8.4f} {other / one:6.3f}")
        print(f"listing {len(films)} members: {1e6 * time_listing(path) / len(films):.1f} us each")
    return 0 if sound else 1


if __name__ == "__main__":
    sys.exit(main())
