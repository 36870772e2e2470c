"""Mining beside bare hnswlib and scipy's cKDTree on the same vectors: python tests/benchmarks/bench_mine.py --hands 200000

Bare hnswlib builds and asks every hand for its k + 1 nearest with the same parameters and no constraint; so does cKDTree, exactly.
Ratios are times of ours over theirs; recall is under the constraint, on 1,000 anchors.
"""

import argparse
import resource
import time

import hnswlib
import numpy as np
from scipy.spatial import cKDTree

from handtool.config import MineConfig
from handtool.search import find_neighbors, recall_on_sample

HANDS_PER_VIDEO = 1000


def make_hands(kind: str, num_hands: int, dim: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """vectors (n, dim) float32, video (n,). clustered: the hands of a video resemble each other."""
    video = np.repeat(np.arange(-(-num_hands // HANDS_PER_VIDEO)), HANDS_PER_VIDEO)[:num_hands]
    vectors = rng.standard_normal((num_hands, dim), np.float32)
    if kind.startswith("clustered"):
        spread = np.float32(kind.split("-")[1])
        vectors = rng.standard_normal((video[-1] + 1, dim), np.float32)[video] + spread * vectors
    if kind == "one-giant":
        video = np.where(rng.random(num_hands) < 0.5, 0, video)
    if kind in ("random", "one-giant"):
        video = rng.permutation(video)
    return vectors, video


def time_bare_hnswlib(vectors: np.ndarray, config: MineConfig) -> float:
    start = time.perf_counter()
    index = hnswlib.Index(space="l2", dim=vectors.shape[1])
    index.init_index(max_elements=len(vectors), M=config.m, ef_construction=config.ef_construction, random_seed=config.seed)
    index.add_items(vectors, num_threads=config.threads or -1)
    index.set_ef(config.ef)
    index.knn_query(vectors, k=config.topk + 1, num_threads=config.threads or -1)
    return time.perf_counter() - start


def time_ours(vectors: np.ndarray, video: np.ndarray, config: MineConfig, index: str) -> tuple[float, object]:
    start = time.perf_counter()
    found = find_neighbors(vectors, video, config.topk, index, config.m, config.ef_construction, config.ef, config.threads, config.seed)
    return time.perf_counter() - start, found


def time_tree(vectors: np.ndarray, topk: int) -> float:
    start = time.perf_counter()
    cKDTree(vectors).query(vectors, topk + 1, workers=-1)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hands", type=int, default=200_000)
    parser.add_argument("--dim", type=int, default=14)
    parser.add_argument("--kinds", nargs="+", default=["random", "clustered-0.1", "clustered-0.3", "clustered-0.5", "one-giant"])
    parser.add_argument("--exact", action="store_true", help="also the exact index")
    parser.add_argument("--tree", action="store_true", help="also scipy's cKDTree")
    arguments = parser.parse_args()
    for kind in arguments.kinds:
        vectors, video = make_hands(kind, arguments.hands, arguments.dim, np.random.default_rng(0))
        bare = time_bare_hnswlib(vectors, MineConfig())
        ours, found = time_ours(vectors, video, MineConfig(), "hnsw")
        recall = recall_on_sample(vectors, video, found.positive, found.distance)
        line = f"{kind:>14}  bare hnswlib {bare:6.1f} s  hnsw {ours:6.1f} s = {ours / bare:.2f} x  recall@5 {recall:.4f}"
        line += f"  rejected {found.rejected:.1%}  again {found.asked_again}  finished exactly {found.finished_exactly}"
        if arguments.exact:
            exact, _ = time_ours(vectors, video, MineConfig(), "exact")
            line += f"  exact {exact:.1f} s = {exact / bare:.2f} x, {len(vectors) ** 2 / exact / 1e9:.2f}e9 pairs/s"
        if arguments.tree:
            tree = time_tree(vectors, MineConfig.topk)
            line += f"  cKDTree {tree:.1f} s"
        print(f"{line}  peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB", flush=True)


if __name__ == "__main__":
    main()
