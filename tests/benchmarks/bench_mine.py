"""`handtool mine` beside bare hnswlib, and the searches beside faiss and scipy: python tests/benchmarks/bench_mine.py
--hands 2000000

Each line is two processes one after the other: bare hnswlib, which builds an index of the vectors in memory and asks
for the k + 1 nearest of each with the parameters of `mine` and no constraint, and the whole command from file to file
(reading, search, recall, writing, fsync). Ratios are times of ours over theirs; recall is under the constraint, on
1,000 anchors; the peak is that of the process.

`--peers` instead: searches in one process, unconstrained on the peers' side (they know no videos), in microseconds a
hand (extra `bench`).
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from handtool import store
from handtool.config import MineConfig
from handtool.search import Exclusion, Search, find_neighbors

HANDS_PER_VIDEO = 1000
KINDS = ["random", "clustered-0.1", "clustered-0.3", "clustered-0.5", "one-giant"]


def make_hands(kind: str, num_hands: int, dim: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """vectors (n, dim) float32, video (n,). clustered-S: the hands of a video spread by S about a centre; centres
    spread by 1."""
    video = np.repeat(np.arange(-(-num_hands // HANDS_PER_VIDEO)), HANDS_PER_VIDEO)[:num_hands]
    vectors = rng.standard_normal((num_hands, dim), np.float32)
    if kind.startswith("clustered"):
        vectors *= np.float32(kind.split("-")[1])
        vectors += rng.standard_normal((video[-1] + 1, dim), np.float32)[video]
    if kind == "one-giant":
        video = np.where(rng.random(num_hands) < 0.5, 0, video)
    return vectors, rng.permutation(video) if kind in ("random", "one-giant") else video


def write_embeddings(path: Path, vectors: np.ndarray, video: np.ndarray, first: int = 0) -> None:
    """A file with all that `mine` reads; its crops hold no pixels. first: number of the first frame."""
    n, videos = len(vectors), int(video.max()) + 1
    with store.create_file(path, store.Record("bench", {})) as sink:
        names, ones = [str(i) for i in range(videos)], np.ones(videos)
        texts = dict.fromkeys(("name", "path", "subject", "place", "status"), names)
        store.write_table(
            sink,
            store.VIDEOS,
            dict(
                texts,
                ordinal=np.arange(videos),
                fps=ones,
                width=ones,
                height=ones,
                frames_decoded=ones,
                frames_failed=ones,
            ),
        )
        with store.open_table(sink, store.CROPS, {"size": 224, "box_scale": 1.3}) as crops:
            for start in range(0, n, 65536):
                rows = np.arange(start, min(start + 65536, n))
                floats = dict(
                    box=4,
                    landmarks=(21, 2),
                    crop_from_frame=(2, 3),
                    camera=(3, 3),
                    time=(),
                    score=(),
                    landmarks_score=(),
                )
                zeros = {
                    name: np.zeros((len(rows), *np.atleast_1d(shape).astype(int))) for name, shape in floats.items()
                }
                crops.append(
                    dict(
                        zeros,
                        video=video[rows],
                        frame=first + rows,
                        side=np.ones(len(rows)),
                        track=rows,
                        source_row=rows,
                        jpeg=[b""] * len(rows),
                    )
                )
        store.write_table(
            sink,
            store.EMBEDDINGS,
            dict(vector=vectors, valid=np.ones(n, bool)),
            {"kind": "pca", "normalization": "crop"},
        )
        sink.finish({})


def run(*command: str) -> tuple[float, float, str]:
    """Seconds, peak GiB and standard output of a process."""
    start = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    output = child.stdout.read()
    _, status, usage = os.wait4(child.pid, 0)
    if status:
        raise SystemExit(f"{command} failed")
    return time.perf_counter() - start, usage.ru_maxrss / 2**20, output


def bare(path: str) -> None:
    """What the child process does: prints the seconds of building and asking, without loading."""
    import hnswlib

    vectors, config = np.load(path), MineConfig()
    start = time.perf_counter()
    index = hnswlib.Index(space="l2", dim=vectors.shape[1])
    index.init_index(
        max_elements=len(vectors), M=config.m, ef_construction=config.ef_construction, random_seed=config.seed
    )
    index.add_items(vectors, num_threads=config.threads or -1)
    built = time.perf_counter()
    index.set_ef(config.ef)
    index.knn_query(vectors, k=config.topk + 1, num_threads=config.threads or -1)
    print(json.dumps({"build": built - start, "ask": time.perf_counter() - built}))


def compare_commands(kind: str, num_hands: int, dim: int, options: list[str], folder: Path) -> None:
    vectors, video = make_hands(kind, num_hands, dim, np.random.default_rng(0))
    np.save(folder / "vectors.npy", vectors)
    write_embeddings(folder / "e.h5", vectors, video)
    del vectors, video
    _, bare_peak, output = run(sys.executable, __file__, "--bare", str(folder / "vectors.npy"))
    theirs = json.loads(output)
    seconds = theirs["build"] + theirs["ask"]
    command = [
        sys.executable,
        "-m",
        "handtool",
        "mine",
        str(folder / "e.h5"),
        "--topk",
        "5",
        "--force",
        "--json",
        "-o",
        str(folder / "p.h5"),
        *options,
    ]
    ours, peak, output = run(*command)
    report = json.loads(output)["report"]
    line = (
        f"{kind:>14}  bare hnswlib {theirs['build']:6.1f} + {theirs['ask']:5.1f} s, {bare_peak:.2f} GiB   mine "
        f"{ours:6.1f} s = {ours / seconds:.2f} x"
    )
    line += f", {peak:.2f} GiB   recall@5 {report['recall']:.4f}  rejected {report['rejected_share']:.1%}"
    print(f"{line}  again {report['anchors_asked_again']:,}  scanned {report['anchors_scanned']:,}", flush=True)


def compare_peers(kind: str, num_hands: int, dim: int) -> None:
    """All neighbours of all hands; scipy's tree only of 2,000 of them, since in 14 dimensions it visits nearly
    everything."""
    import faiss
    from scipy.spatial import cKDTree

    vectors, video = make_hands(kind, num_hands, dim, np.random.default_rng(0))
    k, some = MineConfig.topk, np.random.default_rng(1).choice(num_hands, 2000, replace=False)
    flat = faiss.IndexFlatL2(dim)
    flat.add(vectors)
    truth = flat.search(vectors[some], k + 1)[1]

    def tell(name: str, start: float, found: np.ndarray | None = None, count: int = num_hands) -> float:
        each = 1e6 * (time.perf_counter() - start) / count
        recall = (
            ""
            if found is None
            else f"  recall {np.mean([len(set(a) & set(b)) / (k + 1) for a, b in zip(found, truth)]):.4f}"
        )
        print(f"{kind:>14}  {name:<28} {each:8.1f} us a hand{recall}", flush=True)
        return each

    start = time.perf_counter()
    flat.search(vectors, k + 1)
    theirs = tell("faiss Flat", start)
    start = time.perf_counter()
    find_neighbors(vectors, Exclusion(video), k, Search("exact"))
    ours = tell("handtool exact, other videos", start)
    print(f"{kind:>14}  exact has {theirs / ours:.2f} of the speed of faiss Flat")
    start = time.perf_counter()
    lists = faiss.IndexIVFFlat(faiss.IndexFlatL2(dim), dim, int(4 * num_hands**0.5))
    lists.train(vectors)
    lists.add(vectors)
    lists.nprobe = 32
    tell("faiss IVF-Flat, nprobe 32", start, lists.search(vectors, k + 1)[1][some])
    start = time.perf_counter()
    graph = faiss.IndexHNSWFlat(dim, MineConfig.m)
    graph.hnsw.efConstruction, graph.hnsw.efSearch = MineConfig.ef_construction, MineConfig.ef
    graph.add(vectors)
    tell("faiss HNSW", start, graph.search(vectors, k + 1)[1][some])
    for name in ("hnsw", "scan"):
        start = time.perf_counter()
        find_neighbors(vectors, Exclusion(video), k, Search(name))
        tell(f"handtool {name}, other videos", start)
    start = time.perf_counter()
    cKDTree(vectors).query(vectors[some], k + 1, workers=-1)
    tell("scipy cKDTree (2,000 asked)", start, count=len(some))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hands", type=int, default=200_000)
    parser.add_argument("--dim", type=int, default=14)
    parser.add_argument("--kinds", nargs="+", default=KINDS)
    parser.add_argument("--peers", action="store_true")
    parser.add_argument("--folder", type=Path, help="where the files go (default: a temporary folder)")
    parser.add_argument("--bare", help=argparse.SUPPRESS)
    arguments, options = parser.parse_known_args()  # what it does not know goes to `handtool mine`
    if arguments.bare:
        return bare(arguments.bare)
    for kind in arguments.kinds:
        if arguments.peers:
            compare_peers(kind, arguments.hands, arguments.dim)
            continue
        with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
            compare_commands(kind, arguments.hands, arguments.dim, options, Path(name))


if __name__ == "__main__":
    main()
