"""Labelled crops a second, by difficulty, beside encoding the same pictures as JPEG and nothing else.

    python tests/benchmarks/bench_synth.py [--size 128] [--videos 8] [--frames 40] [--workers 2] [--device cuda]

Wanted: at least 200 labelled 128 px crops a second on two cores at the easy setting. Worker processes are started
before the clock is.
"""

import argparse
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import cv2
import numpy as np

from handtool.synth.camera_model import encode
from handtool.synth.crops import make_video
from handtool.synth.setting import SETTINGS


def work(
    seed: int, video: int, frames: int, size: int, difficulty: str, device: str | None
) -> tuple[list[bytes], float]:
    """The crops of a video, and the seconds of processor time that they took."""
    start = time.process_time()
    jpegs = make_video(seed, video, frames, size, difficulty, "both", device)["jpeg"]
    return jpegs, time.process_time() - start


def encode_again(jpegs: list[bytes]) -> float:
    """Crops per second when the pictures are there already."""
    images = [
        cv2.cvtColor(cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB) for jpeg in jpegs
    ]
    start = time.perf_counter()
    for image in images:
        encode(image, 92)
    return len(images) / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("size", 128), ("videos", 8), ("frames", 40), ("workers", 2)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--device", help="torch's name of one; default: numpy")
    args = parser.parse_args()
    print(
        f"{'difficulty':<10} {'crops/s':>9} {'ms of a core per crop':>22} {'kB per crop':>12} "
        f"{'JPEG alone, crops/s':>20}"
    )
    with ProcessPoolExecutor(args.workers, get_context("spawn"), cv2.setNumThreads, (1,)) as pool:
        list(
            pool.map(
                work, *zip(*[(0, v, 2, args.size, "easy", args.device) for v in range(2 * args.workers)], strict=True)
            )
        )
        for difficulty in SETTINGS:
            start = time.perf_counter()
            tasks = [(5, v, args.frames, args.size, difficulty, args.device) for v in range(args.videos)]
            made = list(pool.map(work, *zip(*tasks, strict=True)))
            seconds = time.perf_counter() - start
            jpegs = [jpeg for part, _ in made for jpeg in part]
            core_ms, kilobytes = 1000 * sum(s for _, s in made) / len(jpegs), sum(map(len, jpegs)) / len(jpegs) / 1000
            rate = len(jpegs) / seconds
            print(f"{difficulty:<10} {rate:>9.1f} {core_ms:>22.2f} {kilobytes:>12.1f} {encode_again(jpegs):>20.0f}")


if __name__ == "__main__":
    main()
