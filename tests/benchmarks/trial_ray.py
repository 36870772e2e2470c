"""A Ray cluster of three nodes on this machine, whose nodes and whose driver are killed; and its pool beside the local.

    python tests/benchmarks/trial_ray.py [nodes] [driver] [speed] [--kills N] [--seed N]

nodes: extract, keypoints (an ONNX model) and synth on the cluster; every few seconds a raylet gets SIGKILL, with it all
that runs on its node, and a new node takes its place, until N kills hit. driver: extract is killed in the middle and
run again. Report, tables and uuid must be those of the local run. speed: units a second of two workers, from the first
unit that is done to the last, local and Ray in turn, three times. Exits with 1 where something differs.
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

HERE = Path(__file__).resolve()
sys.path[:0] = [str(HERE.parents[2]), str(HERE.parents[1])]
os.environ |= {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}

from footage import make_video  # noqa: E402
from onnx_models import make_onnx  # noqa: E402
from running import package_environment, read_tables, same_tables  # noqa: E402

import handtool  # noqa: E402
from handtool.config import SynthConfig  # noqa: E402
from handtool.engine.ray_connection import connected  # noqa: E402
from handtool.engine.units import run_units  # noqa: E402
from handtool.stages.synth import open_video_maker  # noqa: E402

NODES, FILMS, FRAMES = 3, 12, 60
SPEED_UNITS, SPEED_FRAMES = 40, 20
PYTHONPATH = os.pathsep.join(filter(None, [str(HERE.parents[2]), os.environ.get("PYTHONPATH")]))
SOON = {  # a dead node is missed after 3 s instead of 30
    "health_check_initial_delay_ms": 1000,
    "health_check_period_ms": 1000,
    "health_check_timeout_ms": 1000,
    "health_check_failure_threshold": 3,
}
CASES = {
    "extract": "extract films --whole --every 1 --size 224",
    "keypoints": "keypoints extract-local.h5 --estimator points.onnx --min-score 0",
    "synth": "synth --num-videos 16 --frames 20",
}


def start_cluster():
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "_system_config": SOON})
    for _ in range(NODES):
        add_node(cluster)
    return cluster


def add_node(cluster) -> None:
    """On a busy machine a node may not be up within the 30 s that Ray gives it."""
    for tries_left in (2, 1, 0):
        try:
            cluster.add_node(num_cpus=1)
            return
        except Exception:
            if not tries_left:
                raise


def start(folder: Path, case: str, engine: str, output: str, address: str = "") -> subprocess.Popen:
    words = [*CASES[case].split(), "--engine", engine, "-o", output, "--json", "-v"]
    environment = package_environment(PYTHONPATH=PYTHONPATH, **({"RAY_ADDRESS": address} if address else {}))
    with open(folder / f"{output}.log", "w") as said:
        return subprocess.Popen(
            [sys.executable, "-m", "handtool", *words],
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=said,
            text=True,
        )


def finish(process: subprocess.Popen, folder: Path, output: str) -> dict:
    report = process.communicate()[0]
    if process.returncode:
        raise SystemExit(f"{output}: exit {process.returncode}: {(folder / f'{output}.log').read_text()[-2000:]}")
    return {key: value for key, value in json.loads(report)["report"].items() if key != "crops_per_s"}


def kill_node(cluster, rng: random.Random) -> None:
    """SIGKILL to a raylet; what ran on its node goes with it. A new node takes its place."""
    node = rng.choice(sorted(cluster.worker_nodes, key=id))
    os.kill(node.all_processes["raylet"][0].process.pid, 9)
    time.sleep(1)
    cluster.remove_node(node, allow_graceful=False)
    add_node(cluster)


def differences(folder: Path, one: str, other: str, reports: tuple[dict, dict]) -> list[str]:
    wrong = [f"{one}, {other}: report {key}" for key in reports[0] if reports[0][key] != reports[1].get(key)]
    try:
        same_tables(read_tables(folder / one), read_tables(folder / other))
    except AssertionError as error:
        wrong.append(f"{one}, {other}: {error}")
    uuids = []
    for name in (one, other):
        with handtool.open(folder / name) as file:
            uuids.append(file.uuid)
    return wrong if len(set(uuids)) == 1 else [*wrong, f"{one}, {other}: uuid"]


def run_local(folder: Path) -> dict[str, dict]:
    reports = {}
    for case in CASES:
        began = time.monotonic()
        output = f"{case}-local.h5"
        reports[case] = finish(start(folder, case, "local", output), folder, output)
        print(f"{case}, local, two workers: {time.monotonic() - began:.0f} s", flush=True)
    return reports


def kill_nodes(folder: Path, cluster, expected: dict[str, dict], kills: int, seed: int) -> list[str]:
    wrong, hits, rng, runs = [], 0, random.Random(seed), 0
    while hits < kills or runs < len(CASES):
        case = list(CASES)[runs % len(CASES)]
        output, here, began = f"{case}-{runs}.h5", 0, time.monotonic()
        process = start(folder, case, "ray", output, cluster.address)
        quota = -(-(kills - hits) // max(1, len(CASES) - runs))
        while process.poll() is None:
            try:
                process.wait(rng.uniform(3, 8))
            except subprocess.TimeoutExpired:
                if here < quota:
                    kill_node(cluster, rng)
                    here += 1
        report = finish(process, folder, output)
        wrong += differences(folder, f"{case}-local.h5", output, (expected[case], report))
        said = (folder / f"{output}.log").read_text()
        told = f"{case}: {here} nodes killed, {said.count('is done again')} units in work done again"
        print(f"{told}, {said.count('once more')} of them alone, {time.monotonic() - began:.0f} s", flush=True)
        hits, runs = hits + here, runs + 1
    return wrong


def kill_driver(folder: Path, cluster, expected: dict[str, dict]) -> list[str]:
    """Twice in the middle, and the third run goes on to the end."""
    output, done = "extract-driver.h5", []
    for _ in range(2):
        process = start(folder, "extract", "ray", output, cluster.address)
        parts = len(list((folder / f"{output}.partial").glob("*.part.h5")))
        while len(list((folder / f"{output}.partial").glob("*.part.h5"))) < parts + 3 and process.poll() is None:
            time.sleep(0.1)
        process.kill()
        process.wait()
        done.append(len(list((folder / f"{output}.partial").glob("*.part.h5"))))
    report = finish(start(folder, "extract", "ray", output, cluster.address), folder, output)
    print(f"driver: killed with {done[0]} and {done[1]} parts, then ran to its end", flush=True)
    return differences(folder, "extract-local.h5", output, (expected["extract"], report))


def measure_speed() -> None:
    config = SynthConfig(num_videos=SPEED_UNITS, frames=SPEED_FRAMES)
    rates: dict[str, list[float]] = {"local": [], "ray": []}
    with connected(2):
        for engine in ("local", "ray") * 3:
            began, moments = time.monotonic(), []
            for event in run_units(engine, open_video_maker, (config, None), list(range(SPEED_UNITS)), 2, 300.0):
                if event.kind == "done":
                    moments.append(time.monotonic())
            rates[engine].append((len(moments) - 1) / (moments[-1] - moments[0]))
            told = f"{engine}: {rates[engine][-1]:.2f} units a second, the first after {moments[0] - began:.1f} s"
            print(f"{told}, all after {moments[-1] - began:.1f} s", flush=True)
    print(f"ray / local: {median(rates['ray']) / median(rates['local']):.3f}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=["nodes", "driver", "speed"])
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=5)
    asked = parser.parse_args()
    wrong: list[str] = []
    if "speed" in asked.parts:
        measure_speed()
    if {"nodes", "driver"} & set(asked.parts):
        folder = Path(tempfile.mkdtemp(prefix="trial-ray-"))
        try:
            (folder / "films").mkdir()
            for number in range(FILMS):
                make_video(folder / "films" / f"{number:02d}.mp4", FRAMES, size=(640, 480))
            make_onnx(folder / "points.onnx", "regression")
            expected = run_local(folder)
            cluster = start_cluster()
            try:
                wrong += (
                    kill_nodes(folder, cluster, expected, asked.kills, asked.seed) if "nodes" in asked.parts else []
                )
                wrong += kill_driver(folder, cluster, expected) if "driver" in asked.parts else []
            finally:
                cluster.shutdown()
        finally:
            shutil.rmtree(folder)
    print("\n".join(wrong) or "everything as of the local run")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
