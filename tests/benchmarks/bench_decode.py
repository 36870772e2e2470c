"""CPU time of reading films at one frame a second: decoding everything, what the kept frames need, key frames alone.

    python tests/benchmarks/bench_decode.py [FILM...] [--rounds 5] [--fps 1] [--folder FOLDER]

Without FILM: the real films of the test data. Each film is also encoded anew as HEVC, VP9 and AV1
(--folder keeps them, and finds those that are there). The three ways take
turns, each round in another order; the time is process time (demuxing, decoding and the conversion of the kept frames
to RGB), the median of the rounds. Exits with 1 where the kept frames (number, time, CRC of the pixels) or the counts
of decoding what is needed are not those of decoding everything.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
import zlib
from pathlib import Path

import av

HERE = Path(__file__).resolve()
sys.path.insert(0, str(HERE.parents[2]))

from handtool.sources.decoding_plan import Plan  # noqa: E402
from handtool.sources.frame import Sampling, Tally, Video  # noqa: E402
from handtool.sources.video import find_plan, read_video  # noqa: E402

ENCODERS = {  # encoder, ending, options
    "HEVC": ("libx265", "mp4", {"preset": "veryfast", "x265-params": "log-level=error:pools=none"}),
    "VP9": ("libvpx-vp9", "webm", {"crf": "34", "b": "0", "deadline": "realtime", "cpu-used": "6"}),
    "AV1": ("libsvtav1", "mp4", {"preset": "10", "crf": "35", "svtav1-params": "lp=1"}),
}
WAYS = {"everything": {"decode": "all"}, "needed": {}, "key frames": {"keyframes": True}}


def encode(source: Path, target: Path, encoder: str, options: dict) -> Path:
    """The pictures of a film, coded anew; groups as long as the encoder makes them."""
    with av.open(str(source)) as film, av.open(str(target), "w") as out:
        before = film.streams.video[0]
        stream = out.add_stream(encoder, rate=before.average_rate, options=options)
        stream.width, stream.height, stream.pix_fmt = before.width, before.height, "yuv420p"
        stream.codec_context.thread_count, stream.codec_context.gop_size = 1, 250
        stream.codec_context.max_b_frames = 4 if encoder == "libx265" else 0
        for frame in film.decode(before):
            frame.pict_type = 0
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return target


def read(path: Path, sampling: Sampling) -> tuple[list, dict, float]:
    """The kept frames as numbers that can be compared, the counts, CPU seconds."""
    tally, began, kept, checking = Tally(), time.process_time(), [], 0.0
    for frame in read_video(Video("a", str(path), "video"), sampling, tally):
        start = time.process_time()
        kept.append((frame.number, frame.time, zlib.crc32(frame.image.tobytes())))
        checking += time.process_time() - start
    return kept, tally.as_outcome(), time.process_time() - began - checking


def measure(path: Path, fps: float, rounds: int) -> tuple[dict, dict, Plan | None, bool]:
    """By way: CPU seconds, kept frames; the plan; whether what is needed gives what everything gives."""
    spent: dict[str, list[float]] = {way: [] for way in WAYS}
    found, counts = {}, {}
    for number in range(rounds):
        for way in [*WAYS][number % 3 :] + [*WAYS][: number % 3]:
            found[way], counts[way], seconds = read(path, Sampling(fps, **WAYS[way]))
            spent[way].append(seconds)
    same = found["everything"] == found["needed"] and str(counts["everything"]) == str(counts["needed"])
    plan = find_plan(Video("a", str(path), "video"), Sampling(fps), Tally())
    return {way: statistics.median(times) for way, times in spent.items()}, found, plan, same


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("films", nargs="*", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--fps", type=float, default=1.0)
    parser.add_argument("--folder", type=Path)
    asked = parser.parse_args()
    data = Path(os.environ.get("HANDTOOL_TEST_DATA", HERE.parents[3] / "shared" / "data"))
    films, wrong = asked.films or sorted((data / "videos").glob("*.mp4")), 0
    if not films:
        parser.error(f"no films in {data}: name some, or set HANDTOOL_TEST_DATA")
    print("| film | codec | frames | kept | sent | CPU s, all decoded | needed | x | key frames | kept | x |")
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for film in films:
            with av.open(str(film)) as container:
                named = {container.streams.video[0].codec_context.name.upper(): film}
            for codec, (encoder, ending, options) in ENCODERS.items():
                path = (asked.folder or Path(folder)) / f"{film.stem}.{codec}.{ending}"
                named[codec] = path if path.exists() else encode(film, path, encoder, options)
            for codec, path in named.items():
                spent, found, plan, same = measure(path, asked.fps, asked.rounds)
                whole, needed, keys = spent.values()
                sent = f"{plan.sent.sum()} | " if plan else "all | "
                print(
                    f"| {film.name} | {codec} | {plan.frames if plan else ''} | {len(found['needed'])} | {sent}"
                    f"{whole:.3f} | {needed:.3f} | {whole / needed:.2f} | {keys:.3f} | {len(found['key frames'])} | "
                    f"{whole / keys:.1f} |" + ("" if same else " OTHER FRAMES"),
                    flush=True,
                )
                wrong += not same
    print("the kept frames and counts are those of decoding everything" if not wrong else f"{wrong} films differ")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
