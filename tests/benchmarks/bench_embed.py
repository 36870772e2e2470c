"""Embedding beside the bare work (read the bytes twice, one matrix product, write, fsync).

python tests/benchmarks/bench_embed.py --hands 200000

The bare work does no mirroring, no crc32 and no PCA: once with numpy arrays in plain files, which is what the disk and
the product cost, and once with h5py on the columns of the same file, chunked and with libhdf5's own checksums as ours
are. Our time holds the look at the file's structure by a process of its own, a constant, which is also given alone.
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

import h5py
import numpy as np

from handtool import store
from handtool.config import EmbedConfig
from handtool.stages.embed import embed
from handtool.store.gatekeeper import checked, ensure_sound

HANDS_PER_VIDEO = 1000
BLOCK = 16_384


def make_keypoints(path: Path, num_hands: int) -> None:
    """A file with keypoints and one-byte images, written block by block."""
    videos = -(-num_hands // HANDS_PER_VIDEO)
    with store.create_file(path, store.Record("bench", {})) as sink:
        names = [str(i) for i in range(videos)]
        ones = np.ones(videos)
        store.write_table(
            sink,
            store.VIDEOS,
            dict(
                name=names,
                path=names,
                subject=names,
                place=names,
                status=names,
                ordinal=np.arange(videos),
                fps=ones,
                width=ones,
                height=ones,
                frames_decoded=ones,
                frames_failed=ones,
            ),
        )
        rng = np.random.default_rng(0)
        with store.open_table(sink, store.CROPS, {"size": 224, "box_scale": 1.3}) as crops:
            for start in range(0, num_hands, BLOCK):
                n = min(BLOCK, num_hands - start)
                rows = np.arange(start, start + n)
                crops.append(
                    dict(
                        video=rows // HANDS_PER_VIDEO,
                        frame=rows,
                        time=np.zeros(n),
                        side=rng.integers(0, 2, n),
                        box=np.zeros((n, 4)),
                        score=np.ones(n),
                        track=rows,
                        landmarks=np.zeros((n, 21, 2)),
                        landmarks_score=np.zeros(n),
                        crop_from_frame=np.zeros((n, 2, 3)),
                        camera=np.zeros((n, 3, 3)),
                        source_row=rows,
                        jpeg=[b"x"] * n,
                    )
                )
        with store.open_table(sink, store.KEYPOINTS, {"skeleton": "hand21", "model": "bench"}) as keypoints:
            for start in range(0, num_hands, BLOCK):
                n = min(BLOCK, num_hands - start)
                keypoints.append(
                    dict(xy=rng.uniform(0, 224, (n, 21, 2)), score=np.ones((n, 21)), valid=np.ones(n, bool))
                )
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


def time_bare_h5py(folder: Path) -> float:
    basis = np.random.default_rng(0).normal(size=(42, 14)).astype(np.float32)
    start = time.perf_counter()
    with h5py.File(folder / "k.h5") as source, h5py.File(folder / "bare.h5", "w") as target:
        points = source["keypoints/xy"]
        block = BLOCK // points.chunks[0] * points.chunks[0]
        out = target.create_dataset("vector", (len(points), 14), "f4", chunks=(1170, 14), fletcher32=True)
        for reading in range(2):
            for first in range(0, len(points), block):
                rows = points[first : first + block]
                if reading:
                    out[first : first + block] = rows.reshape(-1, 42) @ basis
    with (folder / "bare.h5").open("rb+") as file:
        os.fsync(file.fileno())
    return time.perf_counter() - start


def time_look(folder: Path) -> float:
    checked.clear()
    start = time.perf_counter()
    ensure_sound(folder / "k.h5")
    return time.perf_counter() - start


def time_ours(folder: Path) -> float:
    start = time.perf_counter()
    with (
        store.open_file(folder / "k.h5") as file,
        store.create_file(folder / "e.h5", store.Record("bench", {}), [file]) as sink,
    ):
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
            bare, bare_h5py, look = time_bare(folder, arguments.hands), time_bare_h5py(folder), time_look(folder)
            output = subprocess.run(
                [sys.executable, __file__, "--only", name], check=True, capture_output=True, text=True
            ).stdout
            ours, peak = map(float, output.split())
            print(
                f"embed {ours:.2f} s (the look at the file {look:.2f}); bare work in plain files {bare:.2f} s, "
                f"{bare / ours:.2f} of its speed; with h5py "
                f"{bare_h5py:.2f} s, {bare_h5py / ours:.2f}, without the look {bare_h5py / (ours - look):.2f}; peak "
                f"{peak:.0f} MiB",
                flush=True,
            )


if __name__ == "__main__":
    main()
