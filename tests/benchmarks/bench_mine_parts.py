"""A pool mined in parts beside one search of it: python tests/benchmarks/bench_mine_parts.py --hands 2000000 --parts 4

Each line is one way, whole commands from file to file: seconds, the peak of the process that starts the search, the
largest peak of a worker, recall. `--nodes 4` adds a Ray cluster of so many nodes on this machine. `--exact 200000`:
three ways with the exact index on so many hands, which must give the same pairs row for row: at once, --parts, and
files mined one by one and merged.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from bench_mine import make_hands, write_embeddings

from handtool import store

LOOK_S = 0.05


def descendants(pid: int) -> list[int]:
    """All processes below one, as far as they are still there."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            below = [int(child) for child in task.read_text().split()]
        except OSError:
            continue
        found += below + [other for child in below for other in descendants(child)]
    return found


def peak(pid: int) -> tuple[bool, float]:
    """Whether it is a worker of handtool's, and its peak in GiB so far."""
    try:
        line = Path(f"/proc/{pid}/cmdline").read_bytes()
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False, 0.0
    high = [int(each.split()[1]) for each in status.splitlines() if each.startswith("VmHWM")]
    return b"spawn_main" in line, max(high, default=0) / 2**20


def run(*command: str) -> tuple[dict, str]:
    """The report of a `handtool` command, and how it went."""
    start, own, workers = time.perf_counter(), 0.0, {}
    with tempfile.TemporaryFile("w+") as output:
        child = subprocess.Popen([sys.executable, "-m", "handtool", *command, "--json", "--force"], stdout=output)
        while child.poll() is None:
            own = max(own, peak(child.pid)[1])
            for pid in descendants(os.getpid()):
                is_worker, high = peak(pid)
                if is_worker:
                    workers[pid] = high
            time.sleep(LOOK_S)
        if child.returncode:
            raise SystemExit(f"{command} failed")
        output.seek(0)
        report = json.load(output)["report"]
    told = f"{time.perf_counter() - start:7.1f} s  peak {own:.2f} GiB"
    told += f"  {len(workers)} workers, {max(workers.values()):.2f} GiB at most" if workers else ""
    return report, told


def mine(folder: Path, name: str, *options: str) -> None:
    report, told = run("mine", str(folder / "e.h5"), "-o", str(folder / f"{name}.h5"), *options)
    print(f"{name:>12}  {told}  recall@5 {report['recall']:.4f}", flush=True)


def read_pairs(path: Path) -> list[np.ndarray]:
    with store.open_file(path) as file:
        return [store.read_column(file, column) for column in store.PAIRS.columns]


@contextlib.contextmanager
def ray_cluster(nodes: int) -> Iterator[None]:
    """Nodes of one CPU each, all on this machine; commands that are started within use them."""
    os.environ |= {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    for _ in range(nodes):
        cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    os.environ["RAY_ADDRESS"] = cluster.address
    try:
        yield
    finally:
        cluster.shutdown()


def compare_exact(folder: Path, vectors: np.ndarray, video: np.ndarray, parts: int) -> None:
    ends = np.linspace(0, len(vectors), parts + 1).astype(int)
    files = [str(folder / f"part-{n}.h5") for n in range(parts)]
    for path, start, stop in zip(files, ends, ends[1:]):
        write_embeddings(Path(path), vectors[start:stop], video[start:stop], start)
    run("cat", "-q", "--link", *files, "-o", str(folder / "e.h5"))
    mine(folder, "exact", "--index", "exact", "--device", "cpu")
    mine(folder, "exact-parts", "--index", "exact", "--device", "cpu", "--parts", str(parts))
    pairs = [str(folder / f"pairs-{n}.h5") for n in range(parts)]
    for n in range(parts):
        inputs = [str(folder / "e.h5"), "--in", files[n], "-o", pairs[n]]
        _, told = run("mine", *inputs, "--index", "exact", "--device", "cpu")
        print(f"{f'exact-in {n}':>12}  {told}", flush=True)
    _, told = run("cat", "--merge-pairs", *pairs, "-o", str(folder / "merged.h5"))
    print(f"{'merge':>12}  {told}", flush=True)
    truth = read_pairs(folder / "exact.h5")
    for name in ("exact-parts", "merged"):
        same = all(np.array_equal(one, other) for one, other in zip(truth, read_pairs(folder / f"{name}.h5")))
        print(f"{name:>12}  {len(truth[0]):,} pairs, {'equal' if same else 'NOT equal'} to those of one search")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hands", type=int, default=2_000_000)
    parser.add_argument("--dim", type=int, default=14)
    parser.add_argument("--parts", type=int, default=4)
    parser.add_argument("--kind", default="random")
    parser.add_argument("--exact", type=int, help="instead: on so many hands, with the exact index")
    parser.add_argument("--nodes", type=int, help="of a Ray cluster on this machine")
    parser.add_argument("--folder", type=Path, help="where the files go (default: a temporary folder)")
    arguments, options = parser.parse_known_args()  # what it does not know goes to `handtool mine`
    vectors, video = make_hands(
        arguments.kind, arguments.exact or arguments.hands, arguments.dim, np.random.default_rng(0)
    )
    print(f"{len(vectors):,} x {arguments.dim} {arguments.kind}, {arguments.parts} parts, {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        if arguments.exact:
            return compare_exact(Path(name), vectors, video, arguments.parts)
        write_embeddings(Path(name) / "e.h5", vectors, video)
        del vectors, video
        mine(Path(name), "at once", *options)
        mine(Path(name), "parts", "--parts", str(arguments.parts), *options)
        if arguments.nodes:
            with ray_cluster(arguments.nodes):
                mine(Path(name), "ray", "--engine", "ray", "--parts", str(arguments.parts), *options)


if __name__ == "__main__":
    main()
