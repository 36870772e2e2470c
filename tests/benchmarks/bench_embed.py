"""Embedding beside the bare work (read the bytes twice, one matrix product, write, fsync).

python tests/benchmarks/bench_embed.py --hands 200000

The bare work keeps numpy arrays in plain files and does no mirroring, no checksums and no PCA; it is what the disk and the product cost.
Peak memory is that of a process which only embeds.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from handtool import store
from handtool.config import EmbedConfig
from handtool.stages.embed import embed

HANDS_PER_VIDEO = 1000
BLOCK = 16_384


def make_keypoints(path: Path, num_hands: int) -> None:
    """A file with keypoints and one-byte images, written block by block."""
    videos = -(-num_hands // HANDS_PER_VIDEO)
    with store.create_file(path, store.Record("bench", {})) as sink:
        names = [str(i) for i in range(videos)]
        ones = np.ones(videos)
        store.write_table(
            sink, store.VIDEOS,
            dict(name=names, path=names, subject=names, place=names, status=names, ordinal=np.arange(videos), fps=ones,
                 width=ones, height=ones, frames_decoded=ones, frames_failed=ones),
        )  # fmt: skip
        rng = np.random.default_rng(0)
        with store.open_table(sink, store.CROPS, {"size": 224, "box_scale": 1.3}) as crops:
            for start in range(0, num_hands, BLOCK):
                n = min(BLOCK, num_hands - start)
                rows = np.arange(start, start + n)
                crops.append(
                    dict(video=rows // HANDS_PER_VIDEO, frame=rows, time=np.zeros(n), side=rng.integers(0, 2, n), box=np.zeros((n, 4)),
                         score=np.ones(n), track=rows, landmarks=np.zeros((n, 21, 2)),
                         landmarks_score=np.zeros(n), crop_from_frame=np.zeros((n, 2, 3)),
                         camera=np.zeros((n, 3, 3)), source_row=rows, jpeg=[b"x"] * n)
                )  # fmt: skip
        with store.open_table(sink, store.KEYPOINTS, {"skeleton": "hand21", "model": "bench"}) as keypoints:
            for start in range(0, num_hands, BLOCK):
                n = min(BLOCK, num_hands - start)
                keypoints.append(dict(xy=rng.uniform(0, 224, (n, 21, 2)), score=np.ones((n, 21)), valid=np.ones(n, bool)))
        sink.finish({})


def time_bare(folder: Path, num_hands: int) -> float:
    rng = np.random.default_rng(0)
    with (folder / "bare.in").open("wb") as file:
        for start in range(0, num_hands, BLOCK):
            rng.uniform(0, 224, (min(BLOCK, num_hands - start), 42)).astype("<f4").tofile(file)
    basis = rng.normal(size=(42, 14)).astype(np.float32)
    start = time.perf_counter()
    with (folder / "bare.out").open("wb") as out:
        for reading in range(2):
            with (folder / "bare.in").open("rb") as file:
                while len(block := np.fromfile(file, "<f4", 42 * BLOCK)):
                    if reading:
                        (block.reshape(-1, 42) @ basis).tofile(out)
        out.flush()
        os.fsync(out.fileno())
    return time.perf_counter() - start


def time_ours(folder: Path) -> float:
    start = time.perf_counter()
    with store.open_file(folder / "k.h5") as file, store.create_file(folder / "e.h5", store.Record("bench", {}), [file]) as sink:
        sink.finish(embed(file, sink, EmbedConfig()))
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hands", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.only:
        print(time_ours(arguments.only), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_keypoints(folder / "k.h5", arguments.hands)
        for _ in range(arguments.rounds):
            bare = time_bare(folder, arguments.hands)
            output = subprocess.run([sys.executable, __file__, "--only", name], check=True, capture_output=True, text=True).stdout
            ours, peak = map(float, output.split())
            print(f"bare work {bare:.2f} s   embed {ours:.2f} s, {bare / ours:.2f} of its speed, peak {peak:.0f} MiB", flush=True)


if __name__ == "__main__":
    main()
